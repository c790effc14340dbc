//! Enumerations of the model configuration as JSON: by name, as Triton writes them.
//!
//! Named in serde attributes of the generated messages; a number that the enumeration does not have is written as its
//! zero value and an unknown name refused.

macro_rules! named {
    ($($(#[$doc:meta])* $module:ident => $kind:path;)*) => { $(
        $(#[$doc])*
        pub mod $module {
            use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

            /// Writes the name.
            ///
            /// # Errors
            /// The serializer's.
            pub fn serialize<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                let named = <$kind>::try_from(*value).unwrap_or_default();
                serializer.serialize_str(named.as_str_name())
            }

            /// Reads a name.
            ///
            /// # Errors
            /// No text, or no name of this enumeration.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
                let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                let named = <$kind>::from_str_name(&name);
                named.map(i32::from).ok_or_else(|| D::Error::custom(format!("unknown name '{name}'")))
            }
        }
    )* };
}

named! {
    /// Element types: `TYPE_FP32`.
    datatype => crate::grpc::DataType;
    /// Kinds of device: `KIND_CPU`.
    kind => crate::grpc::model_instance_group::Kind;
    /// What happens to late requests: `REJECT`.
    timeout_action => crate::grpc::model_queue_policy::TimeoutAction;
}

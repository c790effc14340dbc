//! The numbers that are read and written, with the text that a client would send for them.

use serde::{Serialize, de::DeserializeOwned};
use weir_protocol::{Datatype, Tensor};

use crate::ELEMENTS;

/// What elements have to be able to do here.
pub(crate) trait Element: Copy + Serialize + DeserializeOwned {
    /// The protocol's name.
    const DATATYPE: Datatype;
    /// Appends the raw form.
    fn append_to(self, raw: &mut Vec<u8>);
}

macro_rules! elements {
    ($($type:ident: $datatype:ident,)*) => {$(
        impl Element for $type {
            const DATATYPE: Datatype = Datatype::$datatype;

            fn append_to(self, raw: &mut Vec<u8>) {
                raw.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

elements! { f32: Fp32, f64: Fp64, u8: Uint8, i64: Int64, }

/// A tensor's elements and a JSON array of them.
pub(crate) struct Numbers<T> {
    pub(crate) values: Vec<T>,
    pub(crate) text: String,
}

impl<T: Element> Numbers<T> {
    fn new(value: fn(u32) -> T, text: fn(T) -> String, separator: &str) -> Self {
        let values: Vec<_> = (0..ELEMENTS).map(value).collect();
        let texts: Vec<_> = values.iter().map(|value| text(*value)).collect();
        Self { values, text: format!("[{}]", texts.join(separator)) }
    }

    /// The same in the codec's form.
    pub(crate) fn tensor(&self) -> Tensor {
        let mut raw = Vec::new();
        self.values.iter().for_each(|value| value.append_to(&mut raw));
        let shape = vec![u64::from(ELEMENTS)];
        Tensor { name: "x".into(), datatype: T::DATATYPE, shape, data: raw.into() }
    }
}

/// An image, normalised to about -2 to 2, all digits of an FP32 in use and none more.
pub(crate) fn image() -> Numbers<f32> {
    Numbers::new(pixel, |value| format!("{value:?}"), ",")
}

/// The same image as Python's `json` writes it: FP32 is a Python float, of up to 17 digits, and spaces stand between.
pub(crate) fn image_from_python() -> Numbers<f32> {
    Numbers::new(pixel, |value| format!("{:?}", f64::from(value)), ", ")
}

/// FP64 with all their digits.
pub(crate) fn doubles() -> Numbers<f64> {
    Numbers::new(|index| f64::from(pixel(index)).sin(), |value| format!("{value:?}"), ",")
}

/// An image that is not normalised yet.
pub(crate) fn pixels() -> Numbers<u8> {
    Numbers::new(|index| (scrambled(index) >> 24) as u8, |value| value.to_string(), ",")
}

/// Integers of 18 and 19 digits, such as ids.
pub(crate) fn integers() -> Numbers<i64> {
    let value = |index| i64::from(scrambled(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64);
    Numbers::new(value, |value| value.to_string(), ",")
}

fn pixel(index: u32) -> f32 {
    (scrambled(index) >> 8) as f32 / (1 << 22) as f32 - 2.0
}

/// Spreads indexes over all of 32 bits.
fn scrambled(index: u32) -> u32 {
    index.wrapping_mul(2_654_435_761)
}

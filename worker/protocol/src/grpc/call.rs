//! The gRPC surface as data: which path is which method.
//!
//! One parser for worker and gateway, like [`crate::rest`] for REST. It looks at the path only; names are in messages.

/// A method of `inference.GRPCInferenceService`, or of the services beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the method of that name")]
pub enum GrpcCall {
    ServerLive,
    ServerReady,
    ModelReady,
    ServerMetadata,
    ModelMetadata,
    ModelInfer,
    ModelStreamInfer,
    ModelConfig,
    ModelStatistics,
    RepositoryIndex,
    RepositoryModelLoad,
    RepositoryModelUnload,
    /// `grpc.health.v1.Health/Check`
    HealthCheck,
    /// `grpc.health.v1.Health/Watch`
    HealthWatch,
    /// `grpc.reflection.v1.ServerReflection/ServerReflectionInfo`, and the same of `v1alpha`.
    Reflection,
}

/// Path of the service.
const SERVICE: &str = "/inference.GRPCInferenceService/";

impl GrpcCall {
    /// Every method.
    pub const ALL: [Self; 15] = [
        Self::ServerLive,
        Self::ServerReady,
        Self::ModelReady,
        Self::ServerMetadata,
        Self::ModelMetadata,
        Self::ModelInfer,
        Self::ModelStreamInfer,
        Self::ModelConfig,
        Self::ModelStatistics,
        Self::RepositoryIndex,
        Self::RepositoryModelLoad,
        Self::RepositoryModelUnload,
        Self::HealthCheck,
        Self::HealthWatch,
        Self::Reflection,
    ];

    /// The method of a request's path; `None` for any other path.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        match path {
            "/grpc.health.v1.Health/Check" => Some(Self::HealthCheck),
            "/grpc.health.v1.Health/Watch" => Some(Self::HealthWatch),
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Some(Self::Reflection),
            _ => {
                let name = path.strip_prefix(SERVICE)?;
                Self::ALL.into_iter().find(|call| call.method() == Some(name))
            }
        }
    }

    /// Whether its first message names a model (field 1) and a version (field 2), which decide where it goes.
    #[must_use]
    pub fn names_model(self) -> bool {
        matches!(
            self,
            Self::ModelReady
                | Self::ModelMetadata
                | Self::ModelInfer
                | Self::ModelStreamInfer
                | Self::ModelConfig
                | Self::ModelStatistics
        )
    }

    /// Whether client or server may send more than one message.
    #[must_use]
    pub fn is_stream(self) -> bool {
        matches!(self, Self::ModelStreamInfer | Self::HealthWatch | Self::Reflection)
    }

    /// Name within the inference service; `None` for the services beside it.
    fn method(self) -> Option<&'static str> {
        Some(match self {
            Self::ServerLive => "ServerLive",
            Self::ServerReady => "ServerReady",
            Self::ModelReady => "ModelReady",
            Self::ServerMetadata => "ServerMetadata",
            Self::ModelMetadata => "ModelMetadata",
            Self::ModelInfer => "ModelInfer",
            Self::ModelStreamInfer => "ModelStreamInfer",
            Self::ModelConfig => "ModelConfig",
            Self::ModelStatistics => "ModelStatistics",
            Self::RepositoryIndex => "RepositoryIndex",
            Self::RepositoryModelLoad => "RepositoryModelLoad",
            Self::RepositoryModelUnload => "RepositoryModelUnload",
            Self::HealthCheck | Self::HealthWatch | Self::Reflection => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_service_has_a_call_and_nothing_else_has() {
        let proto = include_str!("../../proto/inference.proto");
        let methods: Vec<_> = proto
            .lines()
            .filter_map(|line| line.trim().strip_prefix("rpc "))
            .filter_map(|rest| rest.split('(').next())
            .collect();
        let known: Vec<_> = GrpcCall::ALL.into_iter().filter_map(GrpcCall::method).collect();
        assert_eq!(
            {
                let mut m = methods.clone();
                m.sort_unstable();
                m
            },
            {
                let mut k = known.clone();
                k.sort_unstable();
                k
            }
        );
        for method in methods {
            assert_eq!(
                GrpcCall::parse(&format!("{SERVICE}{method}")).and_then(GrpcCall::method),
                Some(method)
            );
        }
        for path in
            ["/", "/inference.GRPCInferenceService/", "/inference.GRPCInferenceService/Nothing", "/v2"]
        {
            assert_eq!(GrpcCall::parse(path), None, "{path}");
        }
        assert_eq!(GrpcCall::parse("/grpc.health.v1.Health/Check"), Some(GrpcCall::HealthCheck));
    }
}

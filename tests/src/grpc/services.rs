//! Messages of the services beside inference, as far as tests read them: health, and reflection in its two versions.

use prost::{Enumeration, Message};

/// Path of a health check.
pub const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
/// Path of a health watch.
pub const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
/// Paths of reflection.
pub const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HealthRequest {
    /// A model; empty = the server.
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct HealthResponse {
    /// How it is.
    #[prost(enumeration = "Serving", tag = "1")]
    pub status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Serving {
    /// Nothing is known.
    Unknown = 0,
    /// It takes requests.
    Serving = 1,
    /// It takes none now.
    NotServing = 2,
    /// `Watch` only: there is no such service.
    ServiceUnknown = 3,
}

/// `grpc.reflection.v1.ServerReflectionRequest`; one of the fields is set.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReflectionRequest {
    /// The file that defines this symbol.
    #[prost(string, optional, tag = "4")]
    pub file_containing_symbol: Option<String>,
    /// All services; any text.
    #[prost(string, optional, tag = "7")]
    pub list_services: Option<String>,
}

/// `grpc.reflection.v1.ServerReflectionResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ReflectionResponse {
    /// Files asked for.
    #[prost(message, optional, tag = "4")]
    pub files: Option<Files>,
    /// Services asked for.
    #[prost(message, optional, tag = "6")]
    pub services: Option<Services>,
}

/// `grpc.reflection.v1.FileDescriptorResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Files {
    /// Each a `google.protobuf.FileDescriptorProto`.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub files: Vec<Vec<u8>>,
}

/// `grpc.reflection.v1.ListServiceResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Services {
    /// The services.
    #[prost(message, repeated, tag = "1")]
    pub services: Vec<Service>,
}

/// `grpc.reflection.v1.ServiceResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Service {
    /// Full name of the service.
    #[prost(string, tag = "1")]
    pub name: String,
}

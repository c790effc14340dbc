//! Server and model metadata of OIP v2, as served on REST.

use serde::{Deserialize, Serialize};

use crate::Datatype;

/// `GET /v2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMetadata {
    /// Name of the server.
    pub name: String,
    /// Version of the server.
    pub version: String,
    /// Protocol extensions it offers.
    pub extensions: Vec<String>,
}

/// `GET /v2/models/M`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelMetadata {
    /// Name of the model.
    pub name: String,
    /// Versions that can be asked for, ascending, in decimal.
    pub versions: Vec<String>,
    /// `pytorch_libtorch`, or `weir_synthetic` for the synthetic backend.
    pub platform: String,
    /// Inputs in the model's order.
    pub inputs: Vec<TensorMetadata>,
    /// Outputs in the model's order.
    pub outputs: Vec<TensorMetadata>,
}

/// Name, type and shape of an input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorMetadata {
    /// Name.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Dimensions with the batch dimension first; -1 = any size.
    pub shape: Vec<i64>,
}

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_has_the_keys_that_stock_clients_read() {
        let tensor =
            |name: &str, shape| TensorMetadata { name: name.into(), datatype: Datatype::Fp32, shape };
        let model = ModelMetadata {
            name: "digits".into(),
            versions: vec!["1".into(), "2".into()],
            platform: "pytorch_libtorch".into(),
            inputs: vec![tensor("INPUT__0", vec![-1, 1, 8, 8])],
            outputs: vec![tensor("OUTPUT__0", vec![-1, 10])],
        };
        let expected = json!({
            "name": "digits", "versions": ["1", "2"], "platform": "pytorch_libtorch",
            "inputs": [{"name": "INPUT__0", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
            "outputs": [{"name": "OUTPUT__0", "datatype": "FP32", "shape": [-1, 10]}],
        });
        assert_eq!(serde_json::to_value(&model).unwrap(), expected);
        assert_eq!(serde_json::from_value::<ModelMetadata>(expected).unwrap(), model);
        let server = ServerMetadata { name: "weir".into(), version: "0.1.0".into(), extensions: vec![] };
        let expected = json!({"name": "weir", "version": "0.1.0", "extensions": []});
        assert_eq!(serde_json::to_value(&server).unwrap(), expected);
    }
}

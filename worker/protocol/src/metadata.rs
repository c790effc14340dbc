//! Server and model metadata of OIP v2: the form of REST, and how gRPC's follows from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Datatype, grpc};

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

impl From<ServerMetadata> for grpc::ServerMetadataResponse {
    fn from(server: ServerMetadata) -> Self {
        let ServerMetadata { name, version, extensions } = server;
        Self { name, version, extensions }
    }
}

impl From<ModelMetadata> for grpc::ModelMetadataResponse {
    fn from(model: ModelMetadata) -> Self {
        let ModelMetadata { name, versions, platform, inputs, outputs } = model;
        let tensors = |tensors: Vec<TensorMetadata>| tensors.into_iter().map(Into::into).collect();
        let (inputs, outputs) = (tensors(inputs), tensors(outputs));
        Self { name, versions, platform, inputs, outputs, properties: BTreeMap::new() }
    }
}

impl From<TensorMetadata> for grpc::model_metadata_response::TensorMetadata {
    fn from(tensor: TensorMetadata) -> Self {
        let TensorMetadata { name, datatype, shape } = tensor;
        Self { name, datatype: datatype.name().to_owned(), shape }
    }
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

    #[test]
    fn the_two_forms_say_the_same() {
        let tensor =
            |name: &str, shape| TensorMetadata { name: name.into(), datatype: Datatype::Bf16, shape };
        let model = ModelMetadata {
            name: "m".into(),
            versions: vec!["3".into()],
            platform: "p".into(),
            inputs: vec![tensor("x", vec![-1, 2])],
            outputs: vec![tensor("y", vec![])],
        };
        let tensor = |name: &str, shape| grpc::model_metadata_response::TensorMetadata {
            name: name.into(),
            datatype: "BF16".into(),
            shape,
        };
        let expected = grpc::ModelMetadataResponse {
            name: "m".into(),
            versions: vec!["3".into()],
            platform: "p".into(),
            inputs: vec![tensor("x", vec![-1, 2])],
            outputs: vec![tensor("y", vec![])],
            properties: BTreeMap::new(),
        };
        assert_eq!(grpc::ModelMetadataResponse::from(model), expected);
        let (name, version, extensions) = ("weir".to_owned(), "1".to_owned(), vec!["e".to_owned()]);
        let server = ServerMetadata { name: name.clone(), version: version.clone(), extensions };
        let extensions = vec!["e".to_owned()];
        let expected = grpc::ServerMetadataResponse { name, version, extensions };
        assert_eq!(grpc::ServerMetadataResponse::from(server), expected);
    }
}

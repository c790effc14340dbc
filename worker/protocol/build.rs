//! Compiles the protocol's messages to Rust: protox reads the .proto (no protoc needed), prost writes the types.
//!
//! The service itself is made where it is served, in the worker's build script, from the same file.

use std::{env, fs, io, path::PathBuf};

/// Messages that REST answers as JSON too, with what is nested in them: one type for both, so that the two cannot
/// drift apart.
const JSON: [&str; 18] = [
    "DataType",
    "InferBatchStatistics",
    "InferResponseStatistics",
    "InferStatistics",
    "MemoryUsage",
    "ModelConfig",
    "ModelDynamicBatching",
    "ModelInput",
    "ModelInstanceGroup",
    "ModelOutput",
    "ModelParameter",
    "ModelQueuePolicy",
    "ModelResponseCache",
    "ModelStatistics",
    "ModelStatisticsResponse",
    "ModelTransactionPolicy",
    "ModelVersionPolicy",
    "StatisticDuration",
];

/// Enumerations in those messages: a number over gRPC, a name as JSON.
const NAMED: [(&str, &str); 4] = [
    ("ModelInput.data_type", "datatype"),
    ("ModelOutput.data_type", "datatype"),
    ("ModelInstanceGroup.kind", "kind"),
    ("ModelQueuePolicy.timeout_action", "timeout_action"),
];

/// Messages in those messages that may be absent: JSON then has no such key.
const OPTIONAL: [&str; 9] = [
    "ModelConfig.dynamic_batching",
    "ModelConfig.model_transaction_policy",
    "ModelConfig.response_cache",
    "ModelConfig.version_policy",
    "ModelDynamicBatching.default_queue_policy",
    "ModelStatistics.inference_stats",
    "ModelVersionPolicy.all",
    "ModelVersionPolicy.latest",
    "ModelVersionPolicy.specific",
];

/// A row of the repository index, likewise.
const INDEX: &str = ".inference.RepositoryIndexResponse.ModelIndex";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=proto/inference.proto");
    let set = protox::compile(["proto/inference.proto"], ["proto"]).map_err(io::Error::other)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    fs::write(out.join("inference.bin"), prost::Message::encode_to_vec(&set))?;
    let mut config = prost_build::Config::new();
    // Tensors stay in the buffer that they arrived in.
    config.bytes(["."]);
    config.btree_map(["."]);
    for message in JSON.map(|name| format!(".inference.{name}")).into_iter().chain([INDEX.to_owned()]) {
        config.type_attribute(&message, "#[derive(serde::Serialize, serde::Deserialize)]");
        config.message_attribute(&message, "#[serde(default)]");
    }
    // A model without versions has a row without one.
    config
        .field_attribute(format!("{INDEX}.version"), "#[serde(skip_serializing_if = \"String::is_empty\")]");
    for field in OPTIONAL {
        let skip = "#[serde(skip_serializing_if = \"Option::is_none\")]";
        config.field_attribute(format!(".inference.{field}"), skip);
    }
    for (field, name) in NAMED {
        let with = format!("#[serde(with = \"crate::grpc::named::{name}\")]");
        config.field_attribute(format!(".inference.{field}"), with);
    }
    config.compile_fds(set)
}

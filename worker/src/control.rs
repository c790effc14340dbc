//! What clients and operators ask of a worker beside inference: what is there, what it did, load this, unload that.
//!
//! Answers are the protocol's own types, so that REST and gRPC say the same; both fronts call these functions and know
//! nothing of the store. Loads and unloads run one at a time on a thread of their own, never on a front's.

mod describe;
mod repository;

use weir_protocol::{
    grpc::{MemoryUsage, ModelStatistics, ModelStatisticsResponse},
    metadata::ServerMetadata,
    rest::Target,
};

pub use self::{
    describe::{model_config, model_metadata},
    repository::{allow, index, load, unload},
};
use crate::model::{
    replica::Replica,
    store::{Store, Unresolved},
};

/// The extensions of the protocol that a worker offers, by the names that Triton gave them.
const EXTENSIONS: [&str; 5] =
    ["binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics"];

/// What the server says of itself.
#[must_use]
pub fn server_metadata() -> ServerMetadata {
    ServerMetadata {
        name: "weir-worker".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

/// What model versions have done since the worker started: one, all of a model, or (`None`) all there are. Versions
/// that are not loaded are among them; what they did before they were unloaded counts on.
///
/// # Errors
/// No such model or version.
pub fn statistics(store: &Store, target: Option<&Target>) -> Result<ModelStatisticsResponse, Unresolved> {
    let model_stats = match target {
        None => store.replicas().map(|replica| of_version(&replica)).collect(),
        Some(Target { model, version: None }) => {
            store.model(model)?.replicas.values().map(|replica| of_version(replica)).collect()
        }
        Some(Target { model, version: Some(version) }) => {
            vec![of_version(store.model(model)?.replica(version)?)]
        }
    };
    Ok(ModelStatisticsResponse { model_stats })
}

fn of_version(replica: &Replica) -> ModelStatistics {
    let size = replica.memory().0;
    let memory = (size > 0).then(|| MemoryUsage { r#type: "CPU".to_owned(), id: 0, byte_size: size });
    ModelStatistics {
        name: replica.model.to_string(),
        version: replica.version.to_string(),
        memory_usage: memory.into_iter().collect(),
        ..replica.statistics.snapshot()
    }
}

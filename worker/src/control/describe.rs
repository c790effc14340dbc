//! What a model takes, gives and how it is run, from the model.toml that it was loaded with.
//!
//! Two forms of the same: the protocol's metadata (shapes with the batch dimension) and Triton's model configuration
//! (without it), which perf_analyzer reads. A version that is not loaded is described by the file as it is now.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use weir_config::{
    ModelConfig as ModelToml,
    model::{Padding, TensorSpec},
};
use weir_protocol::{
    Datatype, Version,
    grpc::{
        DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup, ModelOutput,
        ModelQueuePolicy, ModelResponseCache, ModelTransactionPolicy, ModelVersionPolicy,
        model_instance_group::Kind, model_queue_policy::TimeoutAction, model_version_policy::All,
    },
    metadata::{ModelMetadata, TensorMetadata},
    rest::Target,
};

use crate::{
    backend,
    model::{
        replica::Replica,
        store::{Model, Store, Unresolved},
    },
};

/// The inputs, outputs and versions of a model. Without a version in `target`: every version that serves.
///
/// # Errors
/// No such model or version; not ready when its model.toml cannot be read.
pub fn model_metadata(store: &Store, target: &Target) -> Result<ModelMetadata, Unresolved> {
    let Described { model, toml, version, .. } = describe(store, target)?;
    let tensors = |specs: &[TensorSpec]| {
        let one = |spec: &TensorSpec| TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.datatype,
            shape: spec.shape.clone(),
        };
        specs.iter().map(one).collect()
    };
    Ok(ModelMetadata {
        name: target.model.to_string(),
        versions: match version {
            Some(version) => vec![version.to_string()],
            None => model.serving().map(|version| version.to_string()).collect(),
        },
        platform: backend::platform(&toml.backend).to_owned(),
        inputs: tensors(&toml.inputs),
        outputs: tensors(&toml.outputs),
    })
}

/// How a model is run. `max_batch_size` is that of the loaded version's batches: less than model.toml's where warm-up
/// found that larger ones give wrong rows.
///
/// # Errors
/// As [`model_metadata`].
pub fn model_config(store: &Store, target: &Target) -> Result<ModelConfig, Unresolved> {
    let Described { toml, max_rows, .. } = describe(store, target)?;
    let is_batched = toml.max_batch_size > 0;
    let group = ModelInstanceGroup {
        name: format!("{}_0", target.model),
        count: i32::try_from(toml.lanes).unwrap_or(i32::MAX),
        gpus: Vec::new(),
        kind: Kind::Cpu.into(),
    };
    Ok(ModelConfig {
        name: target.model.to_string(),
        platform: backend::platform(&toml.backend).to_owned(),
        version_policy: Some(ModelVersionPolicy { all: Some(All {}), ..ModelVersionPolicy::default() }),
        max_batch_size: i32::try_from(max_rows).unwrap_or(i32::MAX),
        input: toml.inputs.iter().map(|spec| input(spec, is_batched)).collect(),
        output: toml.outputs.iter().map(|spec| output(spec, is_batched)).collect(),
        instance_group: vec![group],
        dynamic_batching: is_batched.then(|| dynamic_batching(&toml)),
        parameters: BTreeMap::new(),
        backend: backend::name(&toml.backend).to_owned(),
        model_transaction_policy: Some(ModelTransactionPolicy { decoupled: false }),
        response_cache: Some(ModelResponseCache { enable: false }),
    })
}

/// A model as one of its versions runs it.
struct Described {
    model: Arc<Model>,
    toml: Arc<ModelToml>,
    /// Rows of the largest batch; 0 without a batch dimension.
    max_rows: u32,
    /// The version asked for, if one was.
    version: Option<Version>,
}

fn describe(store: &Store, target: &Target) -> Result<Described, Unresolved> {
    let model = store.model(&target.model)?;
    let asked = target.version.as_ref().map(|version| model.replica(version)).transpose()?;
    let version = asked.map(|replica| replica.version);
    let replica = asked.or_else(|| model.default_replica());
    let loaded = replica.filter(|replica| replica.state().queue().is_some());
    let toml = loaded.and_then(|replica| replica.config());
    let toml = toml.map_or_else(|| model.config.clone(), Ok).map_err(|_| model.not_ready(version))?;
    let found = loaded.map(|replica| max_rows(replica));
    let max_rows = if toml.max_batch_size == 0 { 0 } else { found.unwrap_or(toml.max_batch_size) };
    Ok(Described { toml, max_rows, version, model })
}

fn max_rows(replica: &Replica) -> u32 {
    replica.load().max_batch_size
}

fn input(spec: &TensorSpec, is_batched: bool) -> ModelInput {
    ModelInput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype).into(),
        dims: dims(spec, is_batched),
        // A mask is made when the request does not bring it.
        optional: spec.padding == Padding::Mask,
    }
}

fn output(spec: &TensorSpec, is_batched: bool) -> ModelOutput {
    let data_type = data_type(spec.datatype).into();
    ModelOutput { name: spec.name.clone(), data_type, dims: dims(spec, is_batched) }
}

/// The dimensions without that of the batch.
fn dims(spec: &TensorSpec, is_batched: bool) -> Vec<i64> {
    spec.shape.iter().skip(usize::from(is_batched)).copied().collect()
}

fn dynamic_batching(toml: &ModelToml) -> ModelDynamicBatching {
    let batching = &toml.batching;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let sizes = batching.preferred_batch_size.iter();
    // One level is none in Triton's words, and has no default.
    let levels = Some(batching.priority_levels).filter(|levels| *levels > 1);
    ModelDynamicBatching {
        preferred_batch_size: sizes.map(|size| i32::try_from(*size).unwrap_or(i32::MAX)).collect(),
        max_queue_delay_microseconds: micros(batching.max_queue_delay),
        preserve_ordering: false,
        priority_levels: levels.map_or(0, u64::from),
        default_priority_level: levels.map_or(0, |_| u64::from(batching.default_priority)),
        default_queue_policy: Some(ModelQueuePolicy {
            timeout_action: TimeoutAction::Reject.into(),
            default_timeout_microseconds: batching.default_timeout.map_or(0, micros),
            allow_timeout_override: true,
            max_queue_size: batching.max_queue_size,
        }),
    }
}

fn data_type(datatype: Datatype) -> DataType {
    match datatype {
        Datatype::Bool => DataType::TypeBool,
        Datatype::Uint8 => DataType::TypeUint8,
        Datatype::Uint16 => DataType::TypeUint16,
        Datatype::Uint32 => DataType::TypeUint32,
        Datatype::Uint64 => DataType::TypeUint64,
        Datatype::Int8 => DataType::TypeInt8,
        Datatype::Int16 => DataType::TypeInt16,
        Datatype::Int32 => DataType::TypeInt32,
        Datatype::Int64 => DataType::TypeInt64,
        Datatype::Fp16 => DataType::TypeFp16,
        Datatype::Bf16 => DataType::TypeBf16,
        Datatype::Fp32 => DataType::TypeFp32,
        Datatype::Fp64 => DataType::TypeFp64,
        Datatype::Bytes => DataType::TypeString,
    }
}

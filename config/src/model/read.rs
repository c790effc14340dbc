//! The keys of `model.toml`, with their ranges and defaults.
//!
//! Reads everything even after a problem, so that all are told at once. Knows nothing of the model's file: whether
//! its forward takes these inputs is seen when it is loaded. `tensor` reads inputs and outputs, `batching` what makes
//! batches of requests. Called by [`super::ModelConfig::parse`].

mod batching;
mod tensor;

use std::{collections::BTreeMap, time::Duration};

use weir_protocol::Bytes;

use super::{BackendConfig, ModelConfig, SyntheticSection, WarmupRows, WarmupSection};
use crate::{
    reader::{Read, Table},
    value::{choice, duration, integer, positive, ratio, size, version_labels},
};
use tensor::Shapes;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Most rows of a batch.
const MAX_BATCH_ROWS: i64 = 65_536;

#[derive(Clone, Copy, PartialEq)]
enum Backend {
    Torch,
    Synthetic,
}

/// Reads the root table.
pub(super) fn model(root: &mut Table<'_>) -> Read<ModelConfig> {
    let backends = [("torch", Backend::Torch), ("synthetic", Backend::Synthetic)];
    let backend = root.or("backend", Backend::Torch, choice(&backends));
    let max_batch_size = root.or("max_batch_size", 0, integer::<u32>(0..=MAX_BATCH_ROWS));
    let lanes = root.or("lanes", 1, integer(1..=64));
    let version_labels = root.or("version_labels", BTreeMap::new(), version_labels);
    let mut buckets = batching::Buckets::default();
    let batching = root.section("batching", |table| batching::read(table, max_batch_size, &mut buckets));
    let shapes = Shapes { backend, batched: max_batch_size > 0, bucketed: buckets.is_some() };
    let (inputs, fills) = tensor::inputs(root, shapes);
    let outputs = tensor::outputs(root, shapes);
    if let Some(place) = buckets.filter(|_| !fills) {
        let message = "no input is padded up to these".to_owned();
        place.wrong(message, "give an [[input]] a pad_value, or remove the buckets".to_owned());
    }
    let warmup = root.section("warmup", warmup);
    let synthetic = root.section("synthetic", synthetic);
    if backend == Backend::Torch && root.has("synthetic") {
        let help = "set backend = \"synthetic\", or remove the table".to_owned();
        root.wrong("synthetic", "the torch backend does not read this table".to_owned(), help);
    }
    let backend = match backend {
        Backend::Torch => BackendConfig::Torch,
        Backend::Synthetic => BackendConfig::Synthetic(synthetic?),
    };
    let (batching, warmup) = (batching?, warmup?);
    Ok(ModelConfig { backend, max_batch_size, lanes, inputs, outputs, batching, warmup, version_labels })
}

fn warmup(table: &mut Table<'_>) -> Read<WarmupSection> {
    let rows = [("limit", WarmupRows::Limit), ("require", WarmupRows::Require)];
    Ok(WarmupSection {
        passes: table.or("passes", 3, integer(3..=100)),
        rows: table.or("rows", WarmupRows::Limit, choice(&rows)),
        tolerance_ratio: table.optional("tolerance_ratio", ratio),
        free_size: table.optional("free_size", integer(1..=16_777_216)),
    })
}

fn synthetic(table: &mut Table<'_>) -> Read<SyntheticSection> {
    let forward = || duration(Duration::ZERO..=MINUTE);
    Ok(SyntheticSection {
        base: table.or("base", Duration::from_millis(10), forward()),
        per_item: table.or("per_item", Duration::from_millis(2), forward()),
        speed: table.or("speed", 1.0, positive(1000.0)),
        noise_ratio: table.or("noise_ratio", 0.0, ratio),
        memory: table.or("memory", Bytes(0), size(Bytes(0)..=Bytes(1 << 50))),
        failure_ratio: table.or("failure_ratio", 0.0, ratio),
        load_time: table.or("load_time", Duration::ZERO, duration(Duration::ZERO..=HOUR)),
    })
}

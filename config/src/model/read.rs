//! The keys of `model.toml`, with their ranges and defaults, and how shapes and batching must agree.
//!
//! Reads everything even after a problem, so that all are told at once. Knows nothing of the model's file: whether
//! its forward takes these inputs is seen when it is loaded. Called by [`super::ModelConfig::parse`].

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use weir_protocol::{Bytes, Datatype};

use super::{BackendConfig, BatchingSection, ModelConfig, SyntheticSection, TensorSpec};
use crate::{
    reader::{Item, Read, Table, Unique},
    value::{choice, duration, integer, path, positive, ratio, size, tensor_name, version_labels},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Most rows of a batch.
const MAX_BATCH_ROWS: i64 = 65_536;
/// Default of `batching.max_queue_size`, in rows.
const QUEUE_ROWS: u32 = 1024;
/// Most dimensions of a shape; libtorch's own bound.
const MAX_DIMENSIONS: usize = 64;
/// Most elements of a shape's known dimensions: more than any body may carry.
const MAX_ELEMENTS: i64 = 1 << 40;

#[derive(Clone, Copy, PartialEq)]
enum Backend {
    Torch,
    Synthetic,
}

/// What decides which shapes a tensor may have.
#[derive(Clone, Copy)]
struct Shapes {
    backend: Backend,
    batched: bool,
}

/// Reads the root table.
pub(super) fn model(root: &mut Table<'_>) -> Read<ModelConfig> {
    let backends = [("torch", Backend::Torch), ("synthetic", Backend::Synthetic)];
    let backend = root.or("backend", Backend::Torch, choice(&backends));
    let max_batch_size = root.or("max_batch_size", 0, integer::<u32>(0..=MAX_BATCH_ROWS));
    let lanes = root.or("lanes", 1, integer(1..=64));
    let version_labels = root.or("version_labels", BTreeMap::new(), version_labels);
    let shapes = Shapes { backend, batched: max_batch_size > 0 };
    let inputs = inputs(root, shapes);
    let outputs = outputs(root, shapes);
    let batching = root.section("batching", |table| batching(table, max_batch_size));
    let synthetic = root.section("synthetic", synthetic);
    if backend == Backend::Torch && root.has("synthetic") {
        let help = "set backend = \"synthetic\", or remove the table".to_owned();
        root.wrong("synthetic", "the torch backend does not read this table".to_owned(), help);
    }
    let backend = match backend {
        Backend::Torch => BackendConfig::Torch,
        Backend::Synthetic => BackendConfig::Synthetic(synthetic?),
    };
    Ok(ModelConfig { backend, max_batch_size, lanes, inputs, outputs, batching: batching?, version_labels })
}

fn inputs(root: &mut Table<'_>, shapes: Shapes) -> Vec<TensorSpec> {
    let names = Unique::new("an input named");
    let example = "[[input]] with name, datatype and shape";
    root.required_list("input", example, |table, _| tensor(table, shapes, &names, |_| None))
}

fn outputs(root: &mut Table<'_>, shapes: Shapes) -> Vec<TensorSpec> {
    let names = Unique::new("an output named");
    let example = "[[output]] with name, datatype and shape";
    let labels = |table: &mut Table<'_>| table.optional("labels", path);
    root.required_list("output", example, |table, _| tensor(table, shapes, &names, labels))
}

fn tensor(
    table: &mut Table<'_>,
    shapes: Shapes,
    names: &Unique,
    labels: impl FnOnce(&mut Table<'_>) -> Option<PathBuf>,
) -> Read<TensorSpec> {
    let name = table.required("name", "name = \"..\"", tensor_name);
    let datatypes = Datatype::ALL.map(|datatype| (datatype.name(), datatype));
    let datatype = table.required("datatype", "datatype = \"FP32\"", choice(&datatypes));
    let example = if shapes.batched { "shape = [-1, 3, 224, 224]" } else { "shape = [3, 224, 224]" };
    let shape = table.required("shape", example, |item| shape(item, shapes.batched));
    let labels = labels(table);
    if let Ok(name) = &name {
        names.check(table, "name", name, "give each a name of its own");
    }
    if let (Backend::Torch, Ok(Datatype::Bytes), Ok(shape)) = (shapes.backend, &datatype, &shape)
        && !matches!(shape[..], [_] | [_, 1])
    {
        let message = "TorchScript has no tensors of BYTES, only a list of texts".to_owned();
        table.wrong("shape", message, "write shape = [-1] or [-1, 1]".to_owned());
    }
    Ok(TensorSpec { name: name?, datatype: datatype?, shape: shape?, labels })
}

/// Dimensions of -1 (any) or more; the first is -1 where rows are batched.
fn shape(item: &Item<'_>, batched: bool) -> Read<Vec<i64>> {
    let help = "write one number a dimension, -1 for any size, such as [-1, 3, 224, 224]";
    let items = item.elements().ok_or_else(|| item.mismatch("an array", help))?;
    if items.len() > MAX_DIMENSIONS {
        return Err(item.wrong(format!("a shape has at most {MAX_DIMENSIONS} dimensions"), help));
    }
    let read: Vec<Read<i64>> = items.iter().map(integer(-1..=MAX_ELEMENTS)).collect();
    let shape: Vec<i64> = read.into_iter().collect::<Read<_>>()?;
    if batched && shape.first() != Some(&-1) {
        let help = "begin the shape with -1, or set max_batch_size = 0";
        return Err(item.wrong("the first dimension must be the batch's, since max_batch_size is set", help));
    }
    let known = shape.iter().filter(|dim| **dim > 0);
    let elements = known.fold(1_i64, |product, dim| product.saturating_mul(*dim));
    if elements > MAX_ELEMENTS {
        return Err(item.wrong(format!("the shape holds more than {MAX_ELEMENTS} elements"), help));
    }
    Ok(shape)
}

fn batching(table: &mut Table<'_>, max_batch_size: u32) -> Read<BatchingSection> {
    let max_queue_delay = table.or("max_queue_delay", Duration::ZERO, duration(Duration::ZERO..=MINUTE));
    let default = QUEUE_ROWS.max(max_batch_size);
    let max_queue_size = table.or("max_queue_size", default, integer::<u32>(1..=16_777_216));
    if max_queue_size < max_batch_size {
        let message =
            format!("{max_queue_size} rows can never fill a batch of max_batch_size = {max_batch_size}");
        table.wrong("max_queue_size", message, format!("write at least {max_batch_size}"));
    }
    Ok(BatchingSection { max_queue_delay, max_queue_size })
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

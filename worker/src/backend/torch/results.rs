//! What a module gave, as the outputs that model.toml names.
//!
//! A tensor or a list of texts is one output; a tuple or a list of those is as many, in order; of a dict the outputs
//! take their entries by name. Whether types and shapes are as promised is for the caller to check. Part of `torch`.

use bytes::Bytes;
use tch::{Device, Tensor};
use weir_config::model::TensorSpec;
use weir_protocol::{Datatype, infer};

use super::{
    datatype_of, failed,
    script::{Kind, Value},
};
use crate::backend::{BackendError, OutputBatch, byte_len};

/// Most names of a module's own that a message lists.
const SHOWN_NAMES: usize = 16;

/// Reads a module's result.
pub(super) fn read(value: &Value, outputs: &[TensorSpec]) -> Result<Vec<OutputBatch>, BackendError> {
    let all = |values: Vec<Value>| {
        values.iter().enumerate().map(|(at, value)| one(value, outputs.get(at))).collect()
    };
    match value.kind().map_err(|e| failed(&e))? {
        Kind::Tensor | Kind::Text => Ok(vec![one(value, outputs.first())?]),
        Kind::Dict => all(by_name(value, outputs)?),
        Kind::Tuple => all(value.items().map_err(|e| failed(&e))?),
        Kind::List => {
            let items = value.items().map_err(|e| failed(&e))?;
            if is_texts(&items, outputs)? { Ok(vec![texts(&items, outputs.first())?]) } else { all(items) }
        }
        Kind::Other => Err(not_outputs()),
    }
}

/// Whether a list is one output. An empty one says nothing itself.
fn is_texts(items: &[Value], outputs: &[TensorSpec]) -> Result<bool, BackendError> {
    match items.first() {
        Some(first) => Ok(first.kind().map_err(|e| failed(&e))? == Kind::Text),
        None => Ok(matches!(outputs, [only] if only.datatype == Datatype::Bytes)),
    }
}

/// The entries of a dict in the order of model.toml.
fn by_name(dict: &Value, outputs: &[TensorSpec]) -> Result<Vec<Value>, BackendError> {
    let mut entries = Vec::new();
    for (key, value) in dict.pairs().map_err(|e| failed(&e))? {
        if key.kind().map_err(|e| failed(&e))? != Kind::Text {
            return Err(not_outputs());
        }
        entries.push((key.to_text().map_err(|e| failed(&e))?, value));
    }
    let mut take = |spec: &TensorSpec| match entries.iter().position(|(key, _)| *key == spec.name.as_bytes())
    {
        Some(at) => Ok(entries.swap_remove(at).1),
        None => Err(BackendError::new(format!(
            "the model gave no output '{}'; it gave {}",
            spec.name,
            names(entries.iter().map(|(key, _)| key.as_slice()))
        ))),
    };
    outputs.iter().map(&mut take).collect()
}

fn names<'a>(keys: impl Iterator<Item = &'a [u8]>) -> String {
    let names: Vec<_> =
        keys.take(SHOWN_NAMES).map(|key| format!("'{}'", String::from_utf8_lossy(key))).collect();
    if names.is_empty() { "nothing else".to_owned() } else { names.join(", ") }
}

/// One output: a tensor, a text, or a list of texts.
fn one(value: &Value, spec: Option<&TensorSpec>) -> Result<OutputBatch, BackendError> {
    match value.kind().map_err(|e| failed(&e))? {
        Kind::Tensor => tensor(&value.to_tensor().map_err(|e| failed(&e))?),
        Kind::Text => texts(std::slice::from_ref(value), spec),
        Kind::List => texts(&value.items().map_err(|e| failed(&e))?, spec),
        _ => Err(not_outputs()),
    }
}

fn not_outputs() -> BackendError {
    BackendError::new(
        "the model must give tensors or lists of texts: one, a tuple, a list, or a dict by name",
    )
}

/// Texts as BYTES of as many dimensions as model.toml says: `[n]` or `[n, 1]`.
fn texts(items: &[Value], spec: Option<&TensorSpec>) -> Result<OutputBatch, BackendError> {
    let mut data = Vec::new();
    for item in items {
        if item.kind().map_err(|e| failed(&e))? != Kind::Text {
            return Err(not_outputs());
        }
        let text = item.to_text().map_err(|e| failed(&e))?;
        infer::push_string(&mut data, &text).map_err(|error| BackendError::new(error.message))?;
    }
    let mut shape = vec![i64::try_from(items.len()).unwrap_or(i64::MAX)];
    shape.resize(spec.map_or(1, |spec| spec.shape.len().max(1)), 1);
    Ok(OutputBatch { datatype: Datatype::Bytes, shape, data: data.into() })
}

/// Copies a tensor out. A slice of libtorch's own memory would save the copy, but a module may return one of its
/// buffers and write to it again in the next batch.
fn tensor(tensor: &Tensor) -> Result<OutputBatch, BackendError> {
    if !tensor.defined() || tensor.is_sparse() || tensor.is_mkldnn() || tensor.device() != Device::Cpu {
        return Err(BackendError::new("the model gave an output that is not a dense tensor on the CPU"));
    }
    let kind = tensor.f_kind().map_err(|e| failed(&e))?;
    let datatype = datatype_of(kind)
        .ok_or_else(|| BackendError::new(format!("the model gave an output of type {kind:?}")))?;
    let tensor = tensor.f_contiguous().map_err(|e| failed(&e))?;
    let shape = tensor.size();
    let len = byte_len(datatype, &shape)
        .ok_or_else(|| BackendError::new("the model gave an output whose size overflows"))?;
    if len == 0 {
        return Ok(OutputBatch { datatype, shape, data: Bytes::new() });
    }
    // SAFETY: the tensor is dense, on the CPU and contiguous, so `len` bytes (its elements times their size) lie at
    // its data pointer; it is alive until the copy is made.
    let bytes = unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), len) };
    let data = Bytes::copy_from_slice(bytes);
    Ok(OutputBatch { datatype, shape, data })
}

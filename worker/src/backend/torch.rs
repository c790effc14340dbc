//! TorchScript through libtorch. The only place that names `tch`.
//!
//! Numbers go in as tensors, BYTES as `List[str]`. Libtorch reads whatever it is given: a slice that is too short is a
//! crash, not an error. So every byte count is checked here once more, right before the copy. Called by
//! `backend::load` and by lane threads.

mod results;
mod script;

use std::{ffi::CString, mem::MaybeUninit, path::Path, sync::Arc};

use tch::{Device, Kind, TchError, Tensor};
use weir_config::{ModelConfig, model::TensorSpec};
use weir_protocol::{Datatype, infer};

use self::script::{Script, Value};
use super::{Backend, BackendError, InputBatch, LaneScope, OutputBatch, element_count};

/// Longest message for a client, in characters.
const SUMMARY_CHARS: usize = 200;

/// A loaded TorchScript module.
struct Torch {
    script: Script,
    outputs: Vec<TensorSpec>,
}

/// Loads `file` onto the CPU and puts it into evaluation mode.
///
/// # Errors
/// The file is not TorchScript that this libtorch can read, or model.toml names a datatype that libtorch lacks.
pub fn load(config: &ModelConfig, file: &Path) -> Result<Arc<dyn Backend>, BackendError> {
    for tensor in config.inputs.iter().chain(&config.outputs) {
        if tensor.datatype != Datatype::Bytes && kind_of(tensor.datatype).is_none() {
            let message = format!("'{}' has datatype {}, which libtorch lacks", tensor.name, tensor.datatype);
            return Err(BackendError::new(message));
        }
    }
    let script = Script::load(file).map_err(|e| failed(&e))?;
    Ok(Arc::new(Torch { script, outputs: config.outputs.clone() }))
}

/// Prepares the calling thread, see [`super::enter_lane`]. Both settings are thread-local in libtorch.
pub(super) fn enter_lane(intra_op_threads: usize) -> LaneScope {
    tch::set_num_threads(i32::try_from(intra_op_threads).unwrap_or(1));
    LaneScope::new(tch::no_grad_guard())
}

impl Backend for Torch {
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        let arguments = inputs.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
        let result = self.script.forward(&arguments).map_err(|e| failed(&e))?;
        results::read(&result, &self.outputs)
    }
}

/// An input as TorchScript takes it.
fn argument(input: &InputBatch<'_>) -> Result<Value, BackendError> {
    if input.datatype == Datatype::Bytes {
        Value::texts(&texts(input)?).map_err(|e| failed(&e))
    } else {
        Value::tensor(&assemble(input)?).map_err(|e| failed(&e))
    }
}

/// The elements of all requests, in batch order.
fn texts(input: &InputBatch<'_>) -> Result<Vec<CString>, BackendError> {
    let elements = input.parts.iter().flat_map(|part| infer::strings(part));
    let texts: Result<Vec<_>, _> = elements.map(CString::new).collect();
    // Never for a request, whose elements were checked.
    let texts = texts.map_err(|_| BackendError::new("a text may hold no NUL"))?;
    if element_count(&input.shape) == Some(texts.len()) { Ok(texts) } else { Err(unfit()) }
}

fn unfit() -> BackendError {
    BackendError::new("a batch does not fit its shape")
}

/// Writes each request's rows into one new tensor: one copy each, and the model may change its input in place.
fn assemble(input: &InputBatch<'_>) -> Result<Tensor, BackendError> {
    let len = input.byte_len().ok_or_else(unfit)?;
    let kind = kind_of(input.datatype).ok_or_else(unfit)?;
    let tensor = Tensor::f_empty(&input.shape, (kind, Device::Cpu)).map_err(|e| failed(&e))?;
    if len == 0 {
        return Ok(tensor);
    }
    let data = tensor.data_ptr().cast::<MaybeUninit<u8>>();
    // SAFETY: the tensor was just made, contiguous on the CPU, with `len` bytes (its elements times their size), and
    // nobody else has it.
    let memory = unsafe { std::slice::from_raw_parts_mut(data, len) };
    input.write(memory).ok_or_else(unfit)?;
    Ok(tensor)
}

fn kind_of(datatype: Datatype) -> Option<Kind> {
    Some(match datatype {
        Datatype::Bool => Kind::Bool,
        Datatype::Uint8 => Kind::Uint8,
        Datatype::Int8 => Kind::Int8,
        Datatype::Int16 => Kind::Int16,
        Datatype::Int32 => Kind::Int,
        Datatype::Int64 => Kind::Int64,
        Datatype::Fp16 => Kind::Half,
        Datatype::Bf16 => Kind::BFloat16,
        Datatype::Fp32 => Kind::Float,
        Datatype::Fp64 => Kind::Double,
        Datatype::Uint16 | Datatype::Uint32 | Datatype::Uint64 | Datatype::Bytes => return None,
    })
}

fn datatype_of(kind: Kind) -> Option<Datatype> {
    Datatype::ALL.into_iter().find(|datatype| kind_of(*datatype) == Some(kind))
}

/// Libtorch's errors carry C++ frames and paths: all of it goes to the log, one clean line to the client.
fn failed(error: &TchError) -> BackendError {
    let detail = error.to_string();
    BackendError { summary: summary(&detail), detail }
}

/// The line that says what went wrong. TorchScript puts a traceback first and the message last, as `SomeError: ...`.
fn summary(detail: &str) -> String {
    let is_message = |line: &&str| {
        line.split_once(": ").is_some_and(|(name, _)| name.ends_with("Error") && !name.contains(' '))
    };
    let line = detail.lines().find(is_message).or_else(|| detail.lines().next()).unwrap_or_default();
    let words = line.split_whitespace().map(|word| if word.contains('/') { "..." } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(SUMMARY_CHARS).collect()
}

#[cfg(test)]
mod tests;

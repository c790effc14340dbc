//! TorchScript through libtorch. The only file that names `tch`.
//!
//! Libtorch reads whatever it is given: a slice that is too short is a crash, not an error. So every byte count is
//! checked here once more, right before the copy. Called by `backend::load` and by lane threads.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use tch::{CModule, Device, IValue, Kind, TchError, Tensor};
use weir_config::ModelConfig;
use weir_protocol::Datatype;

use super::{Backend, BackendError, InputBatch, LaneScope, OutputBatch, byte_len};

/// Longest message for a client, in characters.
const SUMMARY_CHARS: usize = 200;

/// A loaded TorchScript module.
struct Torch {
    module: CModule,
    intra_op_threads: i32,
}

/// Loads `file` onto the CPU and puts it into evaluation mode.
///
/// # Errors
/// The file is not TorchScript that this libtorch can read, or model.toml names a datatype that libtorch lacks.
pub fn load(
    config: &ModelConfig,
    file: &Path,
    intra_op_threads: usize,
) -> Result<Arc<dyn Backend>, BackendError> {
    for tensor in config.inputs.iter().chain(&config.outputs) {
        if kind_of(tensor.datatype).is_none() {
            let message = format!("'{}' has datatype {}, which libtorch lacks", tensor.name, tensor.datatype);
            return Err(BackendError::new(message));
        }
    }
    let mut module = CModule::load_on_device(file, Device::Cpu).map_err(|e| failed(&e))?;
    module.f_set_eval().map_err(|e| failed(&e))?;
    let intra_op_threads = i32::try_from(intra_op_threads).unwrap_or(1);
    Ok(Arc::new(Torch { module, intra_op_threads }))
}

impl Backend for Torch {
    fn enter_lane(&self) -> LaneScope {
        // Both are thread-local in libtorch.
        tch::set_num_threads(self.intra_op_threads);
        LaneScope::new(tch::no_grad_guard())
    }

    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        let tensors = inputs.iter().map(assemble).collect::<Result<Vec<_>, _>>()?;
        let results = self.run(tensors)?;
        results.iter().map(read).collect()
    }
}

impl Torch {
    fn run(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>, BackendError> {
        let mut inputs: Vec<_> = tensors.into_iter().map(IValue::Tensor).collect();
        let result = self.module.forward_is(&inputs);
        if result.is_err() {
            // tch leaks its copy of every input when a forward fails: empty them, so that requests that fail on
            // purpose cannot eat the memory.
            for input in &mut inputs {
                if let IValue::Tensor(tensor) = input {
                    let _ = tensor.f_set_();
                }
            }
        }
        flatten(result.map_err(|e| failed(&e))?)
    }
}

/// A module's result as a list: a tensor, or a tuple or list of tensors.
fn flatten(value: IValue) -> Result<Vec<Tensor>, BackendError> {
    match value {
        IValue::Tensor(tensor) => Ok(vec![tensor]),
        IValue::TensorList(tensors) => Ok(tensors),
        IValue::Tuple(values) | IValue::GenericList(values) => values.into_iter().map(only_tensor).collect(),
        _ => Err(not_tensors()),
    }
}

fn only_tensor(value: IValue) -> Result<Tensor, BackendError> {
    if let IValue::Tensor(tensor) = value { Ok(tensor) } else { Err(not_tensors()) }
}

fn not_tensors() -> BackendError {
    BackendError::new("the model must give a tensor, or a tuple or list of tensors")
}

/// Writes each request's rows into one new tensor: one copy each, and the model may change its input in place.
fn assemble(input: &InputBatch<'_>) -> Result<Tensor, BackendError> {
    let unfit = || BackendError::new("a batch does not fit its shape");
    let len = input.byte_len().ok_or_else(unfit)?;
    let kind = kind_of(input.datatype).ok_or_else(unfit)?;
    let tensor = Tensor::f_empty(&input.shape, (kind, Device::Cpu)).map_err(|e| failed(&e))?;
    if len == 0 {
        return Ok(tensor);
    }
    let mut at = tensor.data_ptr().cast::<u8>();
    for part in &input.parts {
        // SAFETY: the tensor was just made, contiguous on the CPU, with room for `len` bytes, which is the sum of
        // the parts' lengths; `at` advances by each part's length.
        unsafe {
            std::ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
            at = at.add(part.len());
        }
    }
    Ok(tensor)
}

/// Copies a result out. A slice of libtorch's own memory would save the copy, but a module may return one of its
/// buffers and write to it again in the next batch.
fn read(tensor: &Tensor) -> Result<OutputBatch, BackendError> {
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

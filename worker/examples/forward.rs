//! A forward pass through libtorch with nothing of Weir around it: what answers are compared with.
//!
//!     forward MODEL.pt FOLDER DATATYPE:SHAPE:FILE...
//!
//! Each argument after the folder is an input of the model's `forward`, in order: its datatype by the protocol's name,
//! its dimensions with commas between, and a file with its elements as the binary tensor extension lays them out
//! (`FP32:2,4:a.bin`). BYTES become a list of text. Each output goes to a file in FOLDER, and a line
//! `DATATYPE SHAPE FILE` says so, in the order of outputs. It knows neither model.toml nor any crate of Weir.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, bail};
use tch::{CModule, Device, IValue, Kind, Tensor};

/// The protocol's datatypes and libtorch's.
const NAMES: [(&str, Kind); 10] = [
    ("BOOL", Kind::Bool),
    ("UINT8", Kind::Uint8),
    ("INT8", Kind::Int8),
    ("INT16", Kind::Int16),
    ("INT32", Kind::Int),
    ("INT64", Kind::Int64),
    ("FP16", Kind::Half),
    ("BF16", Kind::BFloat16),
    ("FP32", Kind::Float),
    ("FP64", Kind::Double),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, folder, inputs @ ..] = arguments.as_slice() else {
        bail!("use: forward MODEL.pt FOLDER DATATYPE:SHAPE:FILE...");
    };
    // As a lane runs it: one thread, no gradients, evaluation mode.
    tch::set_num_threads(1);
    let _guard = tch::no_grad_guard();
    let mut module = CModule::load_on_device(model, Device::Cpu)?;
    module.f_set_eval()?;
    let inputs = inputs.iter().map(|input| read(input)).collect::<Result<Vec<_>>>()?;
    for (index, output) in parts(module.forward_is(&inputs)?).into_iter().enumerate() {
        let file = Path::new(folder).join(format!("{index}.bin"));
        let (datatype, shape, data) = laid_out(output)?;
        fs::write(&file, data).with_context(|| format!("cannot write {}", file.display()))?;
        let shape = shape.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        println!("{datatype} {shape} {}", file.display());
    }
    Ok(())
}

/// An input from `DATATYPE:SHAPE:FILE`.
fn read(input: &str) -> Result<IValue> {
    let mut parts = input.splitn(3, ':');
    let (Some(datatype), Some(shape), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
        bail!("{input}: expected DATATYPE:SHAPE:FILE");
    };
    let data = fs::read(file).with_context(|| format!("cannot read {file}"))?;
    if datatype == "BYTES" {
        return Ok(IValue::StringList(texts(&data)?));
    }
    let dims = shape.split(',').map(str::parse::<i64>).collect::<Result<Vec<_>, _>>();
    let dims = dims.with_context(|| format!("{input}: bad shape"))?;
    let kind = kind_of(datatype).with_context(|| format!("{input}: no such datatype"))?;
    // libtorch reads as much as the shape says, whatever there is.
    let elements: i64 = dims.iter().product();
    if usize::try_from(elements)? * kind.elt_size_in_bytes() != data.len() {
        bail!("{input}: {} bytes do not fill the shape", data.len());
    }
    Ok(IValue::Tensor(Tensor::f_from_data_size(&data, &dims, kind)?))
}

/// The elements of a BYTES tensor: each its length in four bytes, then its text.
fn texts(mut data: &[u8]) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    while !data.is_empty() {
        let (length, rest) = data.split_first_chunk::<4>().context("a length is cut off")?;
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (text, rest) = rest.split_at_checked(length).context("an element is cut off")?;
        texts.push(String::from_utf8(text.to_vec())?);
        data = rest;
    }
    Ok(texts)
}

/// A module's result as a list of outputs. A list of text comes as a list of anything, and is one output.
fn parts(result: IValue) -> Vec<IValue> {
    match result {
        IValue::GenericList(values) if values.iter().any(|value| matches!(value, IValue::String(_))) => {
            let text = |value| if let IValue::String(text) = value { Some(text) } else { None };
            vec![IValue::StringList(values.into_iter().filter_map(text).collect())]
        }
        IValue::Tuple(values) | IValue::GenericList(values) => values,
        IValue::TensorList(tensors) => tensors.into_iter().map(IValue::Tensor).collect(),
        one => vec![one],
    }
}

/// Datatype, dimensions and bytes of an output.
fn laid_out(output: IValue) -> Result<(&'static str, Vec<i64>, Vec<u8>)> {
    match output {
        IValue::Tensor(tensor) => {
            let kind = tensor.f_kind()?;
            let tensor = tensor.f_contiguous()?;
            let mut data = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
            tensor.f_copy_data_u8(&mut data, tensor.numel())?;
            let datatype = NAMES.iter().find(|(_, known)| *known == kind);
            let (datatype, _) = datatype.with_context(|| format!("no datatype for {kind:?}"))?;
            Ok((datatype, tensor.size(), data))
        }
        IValue::StringList(texts) => {
            let mut data = Vec::new();
            for text in &texts {
                data.extend(u32::try_from(text.len())?.to_le_bytes());
                data.extend(text.as_bytes());
            }
            Ok(("BYTES", vec![i64::try_from(texts.len())?], data))
        }
        other => bail!("an output is neither a tensor nor a list of text: {other:?}"),
    }
}

fn kind_of(datatype: &str) -> Option<Kind> {
    NAMES.iter().find(|(name, _)| *name == datatype).map(|(_, kind)| *kind)
}

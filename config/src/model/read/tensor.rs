//! The keys of `[[input]]` and `[[output]]`: shapes, and how requests of different lengths are padded.

use std::cell::Cell;

use half::{bf16, f16};
use weir_protocol::Datatype;

use crate::{
    model::{Padding, TensorSpec},
    reader::{Item, Read, Reported, Table, Unique},
    value::{choice, flag, integer, path, tensor_name, within},
};

use super::Backend;

/// Most dimensions of a shape; libtorch's own bound.
const MAX_DIMENSIONS: usize = 64;
/// Most elements of a shape's known dimensions: more than any body may carry.
const MAX_ELEMENTS: i64 = 1 << 40;

/// What decides which shapes and paddings a tensor may have.
#[derive(Clone, Copy)]
pub(super) struct Shapes {
    /// What runs the model.
    pub(super) backend: Backend,
    /// Whether the first dimension is the batch's.
    pub(super) batched: bool,
    /// Whether `[batching]` has buckets.
    pub(super) bucketed: bool,
}

/// Reads `[[input]]`; answers too whether one of them has a `pad_value`.
pub(super) fn inputs(root: &mut Table<'_>, shapes: Shapes) -> (Vec<TensorSpec>, bool) {
    let names = Unique::new("an input named");
    let example = "[[input]] with name, datatype and shape";
    let fills = Cell::new(false);
    let inputs = root.required_list("input", example, |table, _| {
        fills.set(fills.get() || table.has("pad_value"));
        let tensor = tensor(table, shapes, &names);
        let padding = input_padding(table, shapes, tensor.as_ref().ok());
        Ok(TensorSpec { padding: padding?, ..tensor? })
    });
    (inputs, fills.get())
}

/// Reads `[[output]]`.
pub(super) fn outputs(root: &mut Table<'_>, shapes: Shapes) -> Vec<TensorSpec> {
    let names = Unique::new("an output named");
    let example = "[[output]] with name, datatype and shape";
    root.required_list("output", example, |table, _| {
        let tensor = tensor(table, shapes, &names);
        let labels = table.optional("labels", path);
        let padding = output_padding(table, shapes, tensor.as_ref().ok());
        Ok(TensorSpec { labels, padding: padding?, ..tensor? })
    })
}

/// The keys that inputs and outputs share.
fn tensor(table: &mut Table<'_>, shapes: Shapes, names: &Unique) -> Read<TensorSpec> {
    let name = table.required("name", "name = \"..\"", tensor_name);
    let datatypes = Datatype::ALL.map(|datatype| (datatype.name(), datatype));
    let datatype = table.required("datatype", "datatype = \"FP32\"", choice(&datatypes));
    let example = if shapes.batched { "shape = [-1, 3, 224, 224]" } else { "shape = [3, 224, 224]" };
    let shape = table.required("shape", example, |item| shape(item, shapes.batched));
    if let Ok(name) = &name {
        names.check(table, "name", name, "give each a name of its own");
    }
    if let (Backend::Torch, Ok(Datatype::Bytes), Ok(shape)) = (shapes.backend, &datatype, &shape)
        && !matches!(shape[..], [_] | [_, 1])
    {
        let message = "TorchScript has no tensors of BYTES, only a list of texts".to_owned();
        table.wrong("shape", message, "write shape = [-1] or [-1, 1]".to_owned());
    }
    let (name, datatype, shape) = (name?, datatype?, shape?);
    Ok(TensorSpec { name, datatype, shape, labels: None, padding: Padding::None })
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

/// `pad_value` and `mask`; `tensor` is `None` where it could not be read, and then its shape is not judged.
fn input_padding(table: &mut Table<'_>, shapes: Shapes, tensor: Option<&TensorSpec>) -> Read<Padding> {
    let fill = table.optional("pad_value", |item| match tensor {
        Some(tensor) => element(item, tensor.datatype),
        None => Ok(Box::default()),
    });
    let mask = table.or("mask", false, flag);
    match (fill, mask) {
        (Some(_), true) => {
            let help = "remove one of the two".to_owned();
            Err(table.wrong("mask", "a mask is padded with 0 and has no pad_value".to_owned(), help))
        }
        (Some(fill), false) => {
            padded(table, "pad_value", shapes, tensor)?;
            Ok(Padding::Fill(fill))
        }
        (None, true) => {
            padded(table, "mask", shapes, tensor)?;
            if let Some(tensor) = tensor.filter(|tensor| tensor.shape != [-1, -1]) {
                let message =
                    format!("a mask has one element for each place, and this shape is {:?}", tensor.shape);
                return Err(table.wrong(
                    "mask",
                    message,
                    "write shape = [-1, -1], or remove mask".to_owned(),
                ));
            }
            Ok(Padding::Mask)
        }
        (None, false) => Ok(Padding::None),
    }
}

/// `unpad`; `tensor` as for inputs.
fn output_padding(table: &mut Table<'_>, shapes: Shapes, tensor: Option<&TensorSpec>) -> Read<Padding> {
    if !table.or("unpad", false, flag) {
        return Ok(Padding::None);
    }
    padded(table, "unpad", shapes, tensor)?;
    Ok(Padding::Cut)
}

/// Checks that a tensor may take part in padding by way of `key`.
fn padded(
    table: &Table<'_>,
    key: &'static str,
    shapes: Shapes,
    tensor: Option<&TensorSpec>,
) -> Result<(), Reported> {
    let wrong = |message: &str, help: &str| Err(table.wrong(key, message.to_owned(), help.to_owned()));
    if !shapes.batched {
        return wrong("requests are padded to share batches, and max_batch_size is 0", "set max_batch_size");
    }
    if !shapes.bucketed {
        return wrong("there is no length to pad to", "add buckets = [32, 128, 512] below [batching]");
    }
    match tensor {
        Some(tensor) if tensor.datatype == Datatype::Bytes => {
            wrong("tensors of BYTES are not padded", "remove this key")
        }
        Some(tensor) if tensor.free_dim().is_none() => wrong(
            "padding is about the one dimension of -1 after the batch's, and this shape has none or several",
            "write a shape such as [-1, -1] or [-1, -1, 768]",
        ),
        _ => Ok(()),
    }
}

/// One element of a datatype, raw and little-endian. BYTES, which [`padded`] refuses, has none.
fn element(item: &Item<'_>, datatype: Datatype) -> Read<Box<[u8]>> {
    let whole = |range| integer::<i64>(range)(item).map(i64::to_le_bytes);
    let real = |most: f64| within(most)(item);
    let raw = match datatype {
        Datatype::Bool => whole(0..=1)?,
        Datatype::Uint8 => whole(0..=i64::from(u8::MAX))?,
        Datatype::Uint16 => whole(0..=i64::from(u16::MAX))?,
        Datatype::Uint32 => whole(0..=i64::from(u32::MAX))?,
        Datatype::Uint64 => whole(0..=i64::MAX)?,
        Datatype::Int8 => whole(i64::from(i8::MIN)..=i64::from(i8::MAX))?,
        Datatype::Int16 => whole(i64::from(i16::MIN)..=i64::from(i16::MAX))?,
        Datatype::Int32 => whole(i64::from(i32::MIN)..=i64::from(i32::MAX))?,
        Datatype::Int64 => whole(i64::MIN..=i64::MAX)?,
        Datatype::Fp16 => return Ok(f16::from_f64(real(f16::MAX.to_f64())?).to_le_bytes().into()),
        Datatype::Bf16 => return Ok(bf16::from_f64(real(bf16::MAX.to_f64())?).to_le_bytes().into()),
        #[expect(clippy::cast_possible_truncation, reason = "rounds: the range is that of the type")]
        Datatype::Fp32 => return Ok((real(f32::MAX.into())? as f32).to_le_bytes().into()),
        Datatype::Fp64 => return Ok(real(f64::MAX)?.to_le_bytes().into()),
        Datatype::Bytes => return Ok(Box::default()),
    };
    let size = datatype.size().unwrap_or_default();
    // Two's complement: the low bytes are the same number in a smaller type that holds it.
    Ok(raw.iter().take(size).copied().collect())
}

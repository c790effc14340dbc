//! Raw-binary requests (`Inference-Header-Content-Length: 0`): the body is the one input's data, nothing names it.
//!
//! Owns how the shape follows from the declared one and the body's length. Knows of the model only what it is told.
//! Called by `decode_raw`.

use bytes::Bytes;

use super::text::Checked;
use crate::{
    Datatype, InferRequest, Tensor,
    infer::{self, Parameters},
};

/// What a model declares of the one input that a raw-binary request carries.
#[derive(Debug, Clone, Copy)]
pub struct RawInput<'a> {
    /// Name of the input.
    pub name: &'a str,
    /// Element type.
    pub datatype: Datatype,
    /// Whole shape as the model declares it, the batch dimension included; -1 = any size.
    pub shape: &'a [i64],
    /// Whether the first dimension is the batch: a raw-binary request is always one row.
    pub batched: bool,
}

/// Makes the request that the body stands for; all outputs are asked for, in binary form.
pub(super) fn read(body: &Bytes, input: &RawInput<'_>) -> Checked<InferRequest> {
    let (shape, data) = match input.datatype {
        Datatype::Bytes => (shape_of_one(input)?, one_string(body)?),
        _ => (shape_of(body.len() as u64, input)?, body.clone()),
    };
    let tensor = Tensor { name: input.name.to_owned(), datatype: input.datatype, shape, data };
    tensor.check_content()?;
    Ok(InferRequest {
        id: None,
        parameters: Parameters::new(),
        inputs: vec![tensor],
        outputs: vec![],
        binary_output: true,
    })
}

/// The shape that `length` bytes of data have: at most one dimension besides the batch is deduced.
fn shape_of(length: u64, input: &RawInput<'_>) -> Checked<Vec<u64>> {
    let RawInput { datatype, .. } = *input;
    let dimensions = one_row(input);
    let known: Vec<u64> = dimensions.iter().flatten().copied().collect();
    let free = dimensions.len() - known.len();
    let step = infer::least_bytes(datatype, &known).unwrap_or(u64::MAX);
    let deduced = match free {
        0 if length == step => 0,
        0 => return Err(format!("one row of {} is {step} bytes, the body has {length}", declared(input))),
        1 if step > 0 && length.is_multiple_of(step) => length / step,
        1 => {
            return Err(format!(
                "one row of {} is a multiple of {step} bytes, the body has {length}",
                declared(input)
            ));
        }
        _ => {
            return Err(format!(
                "{} has {free} dimensions of any size besides the batch, a raw request can leave one open: send the JSON part",
                declared(input)
            ));
        }
    };
    Ok(dimensions.into_iter().map(|dimension| dimension.unwrap_or(deduced)).collect())
}

/// The shape of a single element, if the input may have one.
fn shape_of_one(input: &RawInput<'_>) -> Checked<Vec<u64>> {
    let dimensions = one_row(input);
    if dimensions.iter().flatten().any(|size| *size != 1) {
        return Err(format!(
            "{} is not one element, a raw request of BYTES is: send the JSON part",
            declared(input)
        ));
    }
    Ok(vec![1; dimensions.len()])
}

/// The declared dimensions, `None` where any size will do, with a batch of one.
fn one_row(input: &RawInput<'_>) -> Vec<Option<u64>> {
    let size = |(at, size): (usize, &i64)| {
        if input.batched && at == 0 { Some(1) } else { u64::try_from(*size).ok() }
    };
    input.shape.iter().enumerate().map(size).collect()
}

/// The body as one element: its length goes before it, which costs the one copy of this path.
fn one_string(body: &Bytes) -> Checked<Bytes> {
    let length = u32::try_from(body.len()).map_err(|_| "the element is longer than 4 GiB".to_owned())?;
    Ok([&length.to_le_bytes()[..], body].concat().into())
}

fn declared(input: &RawInput<'_>) -> String {
    let sizes: Vec<_> = input.shape.iter().map(ToString::to_string).collect();
    format!("{} [{}]", input.datatype, sizes.join(","))
}

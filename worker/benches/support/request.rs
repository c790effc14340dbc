//! The requests of benchmarks: one row, in binary form both ways.

use anyhow::{Context, Result};
use weir_protocol::{
    Datatype, InferRequest, Tensor,
    codec::{Encoded, encode_request},
};

/// One row of FP32, every value 0.5. The batch dimension is not in `shape`.
pub(crate) fn one_row(input: &str, shape: &[i64]) -> Result<Encoded> {
    let elements: i64 = shape.iter().product();
    let data: Vec<u8> = (0..elements).flat_map(|_| 0.5_f32.to_le_bytes()).collect();
    let shape = std::iter::once(1).chain(shape.iter().map(|dim| dim.unsigned_abs())).collect();
    let tensor = Tensor { name: input.to_owned(), datatype: Datatype::Fp32, shape, data: data.into() };
    let request = InferRequest {
        id: None,
        parameters: Default::default(),
        inputs: vec![tensor],
        outputs: vec![],
        binary_output: true,
    };
    encode_request(&request, true).context("encoding a request")
}

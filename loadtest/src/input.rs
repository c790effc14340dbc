//! The tensor that requests carry: `name:DATATYPE:1x8x8`, and random data for it.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rand::{Rng, RngExt};
use weir_protocol::{Datatype, Tensor, metadata::TensorMetadata};

/// Largest tensor that is generated, in bytes: what a worker takes by default.
const MAX_TENSOR_BYTES: usize = 1 << 30;
/// Length of a random BYTES element.
const WORD_BYTES: usize = 8;

/// Name, type and whole shape of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Name of the input.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Dimensions, the batch dimension first where the model has one.
    pub shape: Vec<u64>,
}

impl FromStr for InputSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let form =
            || format!("'{text}' is not an input: write NAME:DATATYPE:SHAPE, such as image:FP32:1x8x8");
        let (rest, shape) = text.rsplit_once(':').with_context(form)?;
        let (name, datatype) = rest.rsplit_once(':').with_context(form)?;
        if name.is_empty() {
            bail!(form());
        }
        let shape = shape.split('x').map(str::parse).collect::<Result<Vec<u64>, _>>().with_context(form)?;
        let datatype = datatype.parse().map_err(anyhow::Error::msg)?;
        Self { name: name.to_owned(), datatype, shape }.checked()
    }
}

impl InputSpec {
    /// An input as the server's metadata describes it, for `rows` rows: a leading -1 becomes `rows`.
    ///
    /// # Errors
    /// Another dimension is free as well, so that the caller must say what to send.
    pub fn of_metadata(tensor: &TensorMetadata, rows: u64) -> Result<Self> {
        let dimension = |(axis, size): (usize, &i64)| match (axis, *size) {
            (0, -1) => Ok(rows),
            (_, size) => u64::try_from(size).with_context(|| {
                format!("input '{}' has the shape {:?}: give --input with sizes", tensor.name, tensor.shape)
            }),
        };
        let shape = tensor.shape.iter().enumerate().map(dimension).collect::<Result<_>>()?;
        Self { name: tensor.name.clone(), datatype: tensor.datatype, shape }.checked()
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        // `checked` made sure that the product fits.
        self.shape.iter().product::<u64>() as usize
    }

    fn checked(self) -> Result<Self> {
        let size = self.datatype.size().unwrap_or(size_of::<u32>() + WORD_BYTES) as u64;
        let bytes = self.shape.iter().try_fold(size, |product, &d| product.checked_mul(d));
        match bytes {
            Some(bytes) if bytes <= MAX_TENSOR_BYTES as u64 => Ok(self),
            _ => bail!("input '{}' is larger than {} bytes", self.name, MAX_TENSOR_BYTES),
        }
    }

    /// A tensor of this shape with random elements: floats in [0, 1), integers and letters over their range.
    pub fn random(&self, random: &mut impl Rng) -> Tensor {
        let mut data = Vec::new();
        for _ in 0..self.elements() {
            push_element(self.datatype, random, &mut data);
        }
        self.tensor(data.into())
    }

    /// A tensor of this shape with the given raw data.
    #[must_use]
    pub fn tensor(&self, data: Bytes) -> Tensor {
        Tensor { name: self.name.clone(), datatype: self.datatype, shape: self.shape.clone(), data }
    }
}

fn push_element(datatype: Datatype, random: &mut impl Rng, data: &mut Vec<u8>) {
    let bits = random.random::<u64>().to_le_bytes();
    match datatype {
        Datatype::Bool => data.push(u8::from(random.random::<bool>())),
        Datatype::Fp32 => data.extend_from_slice(&random.random::<f32>().to_le_bytes()),
        Datatype::Fp64 => data.extend_from_slice(&random.random::<f64>().to_le_bytes()),
        // BF16 is the upper half of an FP32.
        Datatype::Bf16 => data.extend(random.random::<f32>().to_le_bytes().into_iter().skip(2)),
        // Exponent of [0.5, 1), random mantissa: finite whatever the bits.
        Datatype::Fp16 => data.extend_from_slice(&(0x3800 | (random.random::<u16>() & 0x03ff)).to_le_bytes()),
        Datatype::Bytes => {
            data.extend_from_slice(&(WORD_BYTES as u32).to_le_bytes());
            data.extend(bits.iter().map(|b| b'a' + b % 26));
        }
        integer => data.extend(bits.into_iter().take(integer.size().unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn an_input_is_read_from_its_text() {
        let spec: InputSpec = "a:b:FP32:2x3".parse().unwrap();
        assert_eq!(spec, InputSpec { name: "a:b".into(), datatype: Datatype::Fp32, shape: vec![2, 3] });
        for bad in
            ["", "x", "x:FP32", ":FP32:1", "x:FP31:1", "x:FP32:1x", "x:FP32:-1", "x:FP64:99999999x99999999"]
        {
            assert!(bad.parse::<InputSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn random_data_fits_the_shape_of_every_datatype() {
        let mut random = StdRng::seed_from_u64(1);
        for datatype in Datatype::ALL {
            let spec = InputSpec { name: "x".into(), datatype, shape: vec![3, 5] };
            let size = datatype.size().unwrap_or(4 + WORD_BYTES);
            assert_eq!(spec.random(&mut random).data.len(), 15 * size, "{datatype}");
        }
    }

    #[test]
    fn metadata_leaves_only_the_rows_open() {
        let metadata = |shape: &[i64]| TensorMetadata {
            name: "x".into(),
            datatype: Datatype::Fp32,
            shape: shape.into(),
        };
        assert_eq!(InputSpec::of_metadata(&metadata(&[-1, 8]), 4).unwrap().shape, [4, 8]);
        assert!(InputSpec::of_metadata(&metadata(&[-1, -1]), 4).is_err());
    }
}

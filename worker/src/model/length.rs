//! Requests of different lengths in one batch: the bucket that a length falls into, and the shapes that follow from it.
//!
//! What model.toml says of padding, in the terms of batches. Used where requests are checked, where batches are
//! assembled and cut, and by warm-up, so that all of them agree. Pure.

use half::{bf16, f16};
use weir_batching::ShapeKey;
use weir_config::model::{Padding, TensorSpec};
use weir_protocol::Datatype;

use super::ModelSpec;
use crate::backend::Element;

/// How long a request is along the padded dimension of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Of its longest padded input, in elements; at least 1.
    pub own: u64,
    /// What the batch has: the smallest bucket that is not shorter.
    pub bucket: u64,
}

impl ModelSpec {
    /// Whether inputs are padded.
    #[must_use]
    pub fn pads(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// A length with its bucket; `None` above the largest.
    #[must_use]
    pub fn length(&self, own: u64) -> Option<Length> {
        let at = self.buckets.partition_point(|bucket| *bucket < own);
        self.buckets.get(at).map(|&bucket| Length { own, bucket })
    }

    /// What requests have in common that can share a batch: the sizes of their free dimensions, in the order of inputs,
    /// the batch dimension left out and padded ones as long as the bucket. `shapes` are those of the inputs, padded
    /// or not.
    #[must_use]
    pub fn shape_key(&self, shapes: &[Vec<i64>], bucket: Option<u64>) -> ShapeKey {
        let mut key = Vec::new();
        for (spec, shape) in self.inputs.iter().zip(shapes) {
            let padded = padded_dim(spec).zip(bucket);
            let dims = spec.shape.iter().zip(shape).enumerate();
            let free = dims.filter(|(at, (want, _))| **want < 0 && !self.is_batch_dim(*at));
            key.extend(free.map(|(at, (_, dim))| match padded {
                Some((padded, bucket)) if padded == at => bucket,
                _ => dim.unsigned_abs(),
            }));
        }
        ShapeKey(key.into())
    }

    /// The shape of an input in a batch of `rows`, given its shape in one of the requests.
    #[must_use]
    pub fn batch_shape(&self, spec: &TensorSpec, own: &[i64], rows: u32, bucket: Option<u64>) -> Vec<i64> {
        let mut shape = own.to_vec();
        if let (true, Some(batch)) = (self.batched, shape.first_mut()) {
            *batch = i64::from(rows);
        }
        if let Some((padded, bucket)) = padded_dim(spec).zip(bucket)
            && let Some(dim) = shape.get_mut(padded)
        {
            *dim = i64::try_from(bucket).unwrap_or(i64::MAX);
        }
        shape
    }
}

/// The dimension of a tensor whose size is the length of a request; `None` when padding leaves the tensor alone.
#[must_use]
pub fn padded_dim(spec: &TensorSpec) -> Option<usize> {
    if spec.padding == Padding::None { None } else { spec.free_dim() }
}

/// What an input is filled up with; `None` when it is not padded.
#[must_use]
pub fn pad_element(spec: &TensorSpec) -> Option<Element> {
    match &spec.padding {
        Padding::Fill(raw) => Element::new(raw),
        Padding::Mask => Element::new([0; 8].get(..spec.datatype.size()?)?),
        Padding::None | Padding::Cut => None,
    }
}

/// What a mask has where a request has an element: 1 in its datatype; `None` for BYTES.
#[must_use]
pub fn mask_element(datatype: Datatype) -> Option<Element> {
    match datatype {
        Datatype::Fp16 => Element::new(&f16::ONE.to_le_bytes()),
        Datatype::Bf16 => Element::new(&bf16::ONE.to_le_bytes()),
        Datatype::Fp32 => Element::new(&1_f32.to_le_bytes()),
        Datatype::Fp64 => Element::new(&1_f64.to_le_bytes()),
        Datatype::Bytes => None,
        // The low bytes of an integer come first.
        _ => Element::new(1_u64.to_le_bytes().get(..datatype.size()?)?),
    }
}

#[cfg(test)]
mod tests {
    use weir_config::ModelConfig;
    use weir_protocol::Version;

    use super::*;

    /// A model whose inputs are padded along different dimensions, with a mask, and one that is free and not padded.
    fn spec() -> ModelSpec {
        let toml = r#"
backend = "synthetic"
max_batch_size = 8
[[input]]
name = "ids"
datatype = "INT64"
shape = [-1, -1]
pad_value = -1
[[input]]
name = "mask"
datatype = "BOOL"
shape = [-1, -1]
mask = true
[[input]]
name = "features"
datatype = "FP32"
shape = [-1, 3, -1]
pad_value = 0.5
[[input]]
name = "any"
datatype = "FP32"
shape = [-1, -1]
[[output]]
name = "y"
datatype = "INT64"
shape = [-1, -1]
unpad = true
[batching]
buckets = [4, 16]
[synthetic]
"#;
        let config = ModelConfig::parse(toml, std::path::Path::new("model.toml")).unwrap();
        ModelSpec::new("m".parse().unwrap(), Version::new(1).unwrap(), &config)
    }

    #[test]
    fn a_length_falls_into_the_smallest_bucket_that_holds_it() {
        let spec = spec();
        for (own, bucket) in [(1, Some(4)), (4, Some(4)), (5, Some(16)), (16, Some(16)), (17, None)] {
            assert_eq!(spec.length(own), bucket.map(|bucket| Length { own, bucket }), "{own}");
        }
    }

    #[test]
    fn requests_of_one_bucket_have_one_key_and_sizes_that_are_not_padded_tell_them_apart() {
        let spec = spec();
        let shapes = |length, any| [vec![2, length], vec![2, length], vec![2, 3, length], vec![2, any]];
        let key = |length, any, bucket| spec.shape_key(&shapes(length, any), Some(bucket));
        assert_eq!(key(2, 7, 4), ShapeKey([4, 4, 4, 7].into()));
        assert_eq!(key(2, 7, 4), key(3, 7, 4));
        assert_ne!(key(2, 7, 4), key(2, 8, 4));
        assert_ne!(key(2, 7, 4), key(2, 7, 16));
        assert_eq!(key(2, 7, 4), spec.shape_key(&shapes(4, 7), None), "padded already");
    }

    #[test]
    fn a_batch_is_as_long_as_its_bucket_along_the_padded_dimension_only() {
        let spec = spec();
        let shape = |input: usize, own: &[i64]| spec.batch_shape(&spec.inputs[input], own, 5, Some(16));
        assert_eq!(shape(0, &[2, 9]), [5, 16]);
        assert_eq!(shape(2, &[2, 3, 9]), [5, 3, 16]);
        assert_eq!(shape(3, &[2, 9]), [5, 9]);
    }

    #[test]
    fn padding_is_the_declared_value_and_masks_are_padded_with_0() {
        let spec = spec();
        let pads: Vec<_> = spec.inputs.iter().map(pad_element).collect();
        let raw: Vec<_> = pads.iter().map(|element| element.as_ref().map(Element::as_bytes)).collect();
        let half = 0.5_f32.to_le_bytes();
        assert_eq!(raw, [Some(&[255; 8][..]), Some(&[0]), Some(&half), None]);
        assert_eq!(padded_dim(&spec.outputs[0]), Some(1));
    }

    #[test]
    fn a_mask_has_1_in_every_datatype_that_has_a_size() {
        for datatype in Datatype::ALL {
            let one = mask_element(datatype);
            assert_eq!(one.map(|one| one.as_bytes().len()), datatype.size(), "{datatype}");
        }
        let raw = |datatype| mask_element(datatype).unwrap().as_bytes().to_vec();
        assert_eq!(raw(Datatype::Int16), [1, 0]);
        assert_eq!(raw(Datatype::Bool), [1]);
        assert_eq!(raw(Datatype::Fp32), 1_f32.to_le_bytes());
        assert_eq!(raw(Datatype::Fp16), [0x00, 0x3c]);
        assert_eq!(raw(Datatype::Bf16), [0x80, 0x3f]);
    }
}

//! How much memory an inference message becomes, told from its bytes before it is decoded.
//!
//! Decoded, a message can be many times what it was: an input of two bytes becomes a structure of three hundred, a number
//! of one byte one of eight. So tensors are counted, and what grows is summed, before anything is made of it. Knows the
//! wire format of protocol buffers; a mistake in it is left to the decoder, which gets no further than this. Pure.
//! Called by `messages`.

use bytes::Bytes;
use weir_protocol::OipError;

/// Bytes of an entry in a map of parameters: key, value, and their room in a tree that is half full.
const ENTRY_BYTES: usize = 256;

/// Bytes that the elements, dimensions and parameters of a ModelInferRequest take beside the message itself.
///
/// # Errors
/// `bad-request`: more than `most` inputs, outputs or raw contents.
pub(super) fn of(message: &[u8], most: usize) -> Result<usize, OipError> {
    let (mut bytes, mut inputs, mut outputs, mut raw) = (0_usize, 0, 0, 0);
    for (number, value) in Fields(message) {
        let (more, count, what) = match number {
            4 => {
                bytes = bytes.saturating_add(ENTRY_BYTES);
                continue;
            }
            5 => (input(value), &mut inputs, "inputs"),
            6 => (entries(value, 2), &mut outputs, "outputs"),
            7 => (0, &mut raw, "raw_input_contents"),
            _ => continue,
        };
        bytes = bytes.saturating_add(more);
        *count += 1;
        if *count > most {
            return Err(OipError::bad_request(format!("more than {most} {what}")));
        }
    }
    Ok(bytes)
}

/// Of an InferInputTensor.
fn input(value: Option<&[u8]>) -> usize {
    let one = |(number, value)| match number {
        3 => varints(value) * size_of::<i64>(),
        4 => ENTRY_BYTES,
        5 => contents(value),
        _ => 0,
    };
    Fields(value.unwrap_or_default()).map(one).fold(0, usize::saturating_add)
}

/// Of an InferTensorContents.
fn contents(value: Option<&[u8]>) -> usize {
    let one = |(number, value): (usize, Option<&[u8]>)| match number {
        1 => varints(value) * size_of::<bool>(),
        2 | 4 => varints(value) * size_of::<u32>(),
        3 | 5 => varints(value) * size_of::<u64>(),
        // Fixed size: as many bytes as on the wire.
        6 | 7 => value.map_or(size_of::<f64>(), <[u8]>::len),
        8 => size_of::<Bytes>(),
        _ => 0,
    };
    Fields(value.unwrap_or_default()).map(one).fold(0, usize::saturating_add)
}

/// Of the entries that a message has in field `map`.
fn entries(value: Option<&[u8]>, map: usize) -> usize {
    Fields(value.unwrap_or_default()).filter(|(number, _)| *number == map).count() * ENTRY_BYTES
}

/// Numbers in a field that is repeated: packed, or one alone.
fn varints(value: Option<&[u8]>) -> usize {
    // Only the last byte of a number has no top bit.
    value.map_or(1, |packed| packed.iter().filter(|byte| **byte < 0x80).count())
}

/// The fields of a message: number, and the value where that has a length.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<usize> {
        prost::decode_length_delimiter(&mut self.0).ok()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (usize, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => self.varint().map(|_| None)?,
            1 => self.take(size_of::<u64>()).map(|_| None)?,
            2 => {
                let length = self.varint()?;
                Some(self.take(length)?)
            }
            // Begin and end of a group: what is in it counts as if it were not.
            3 | 4 => None,
            5 => self.take(size_of::<u32>()).map(|_| None)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message;
    use weir_protocol::grpc::{
        InferParameter, InferTensorContents, ModelInferRequest,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    };

    use super::*;

    const ANY: usize = 1000;

    fn weight(message: &ModelInferRequest) -> usize {
        of(&message.encode_to_vec(), ANY).unwrap()
    }

    fn typed(contents: InferTensorContents) -> ModelInferRequest {
        let input = InferInputTensor { contents: Some(contents), ..Default::default() };
        ModelInferRequest { inputs: vec![input], ..Default::default() }
    }

    #[test]
    fn elements_weigh_what_they_are_in_memory() {
        type Contents = InferTensorContents;
        let texts = Contents { bytes_contents: vec![Bytes::from_static(b"long"); 5], ..Default::default() };
        for (contents, bytes) in [
            (Contents { bool_contents: vec![true; 5], ..Default::default() }, 5),
            (Contents { int_contents: vec![-1; 5], ..Default::default() }, 20),
            (Contents { int64_contents: vec![1; 5], ..Default::default() }, 40),
            (Contents { uint_contents: vec![300; 5], ..Default::default() }, 20),
            (Contents { uint64_contents: vec![u64::MAX; 5], ..Default::default() }, 40),
            (Contents { fp32_contents: vec![1.0; 5], ..Default::default() }, 20),
            (Contents { fp64_contents: vec![1.0; 5], ..Default::default() }, 40),
            (texts, 5 * size_of::<Bytes>()),
        ] {
            assert_eq!(weight(&typed(contents.clone())), bytes, "{contents:?}");
        }
        // Two numbers that are not packed.
        let message = [0x2a, 6, 0x2a, 4, 0x28, 1, 0x28, 2];
        assert_eq!(ModelInferRequest::decode(&message[..]).unwrap().inputs[0], {
            let contents = Contents { uint64_contents: vec![1, 2], ..Default::default() };
            typed(contents).inputs[0].clone()
        });
        assert_eq!(of(&message, ANY), Ok(16));
    }

    #[test]
    fn dimensions_and_parameters_weigh_and_raw_contents_do_not() {
        let parameters: BTreeMap<_, _> = (0..3).map(|n| (n.to_string(), InferParameter::default())).collect();
        let input =
            InferInputTensor { shape: vec![1, -1], parameters: parameters.clone(), ..Default::default() };
        let output = InferRequestedOutputTensor { parameters: parameters.clone(), ..Default::default() };
        let mut message = ModelInferRequest {
            model_name: "m".into(),
            id: "i".into(),
            parameters,
            inputs: vec![input],
            outputs: vec![output],
            ..Default::default()
        };
        let expected = 9 * ENTRY_BYTES + 16;
        assert_eq!(weight(&message), expected);
        message.raw_input_contents = vec![vec![7; 1000].into()];
        assert_eq!(weight(&message), expected);
    }

    #[test]
    fn tensors_are_counted_before_any_is_made() {
        for (field, words) in
            [(0x2a, "more than 2 inputs"), (0x32, "more than 2 outputs"), (0x3a, "raw_input_contents")]
        {
            assert_eq!(of(&[field, 0].repeat(2), 2), Ok(0));
            let error = of(&[field, 0].repeat(3), 2).unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
    }

    #[test]
    fn what_the_decoder_reads_is_weighed_and_no_mistake_panics() {
        // A group and an unknown field of each kind do not hide what follows.
        let unknown = [0xf3, 1, 0xf0, 1, 5, 0xf4, 1, 0xf9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xf5, 1, 0, 0, 0, 0];
        let hidden = [&unknown[..], &[0x2a, 0]].concat();
        assert_eq!(ModelInferRequest::decode(&hidden[..]).unwrap().inputs.len(), 1);
        assert!(of(&hidden, 0).is_err());
        for wrong in [&[0x2a][..], &[0x2a, 9, 0], &[0xff; 12], &[0x2f, 0], &[0x2a, 2, 0x1a, 9]] {
            assert!(ModelInferRequest::decode(wrong).is_err(), "{wrong:?}");
            assert_eq!(of(wrong, ANY), Ok(0), "{wrong:?}");
        }
    }
}

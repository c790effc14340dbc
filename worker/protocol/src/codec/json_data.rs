//! Reads a tensor's `data` from JSON text straight into its raw little-endian form.
//!
//! Accepts the elements flat in row-major order, or nested exactly as the shape says. Memory grows with the
//! elements that are really there, never with what the shape claims. Called by the tensor reader.

use std::str::FromStr;

use bytes::Bytes;

use super::text::{Checked, Cursor};
use crate::{Datatype, error::shown, infer};

/// Fewest bytes of JSON text that an element takes: one digit and one comma.
const ELEMENT_TEXT: usize = 2;

/// What the elements must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// Element type.
    pub(super) datatype: Datatype,
    /// Dimensions.
    pub(super) shape: &'a [u64],
    /// Most bytes that the raw form may take.
    pub(super) tensor_bytes: usize,
}

/// Reads the array at the cursor.
pub(super) fn read(cursor: &mut Cursor<'_>, expected: &Expected<'_>) -> Checked<Bytes> {
    let datatype = expected.datatype;
    match datatype {
        Datatype::Bool => fill(cursor, expected, boolean),
        Datatype::Uint8 => fill(cursor, expected, |c, out| integer(c, out, datatype, u8::to_le_bytes)),
        Datatype::Uint16 => fill(cursor, expected, |c, out| integer(c, out, datatype, u16::to_le_bytes)),
        Datatype::Uint32 => fill(cursor, expected, |c, out| integer(c, out, datatype, u32::to_le_bytes)),
        Datatype::Uint64 => fill(cursor, expected, |c, out| integer(c, out, datatype, u64::to_le_bytes)),
        Datatype::Int8 => fill(cursor, expected, |c, out| integer(c, out, datatype, i8::to_le_bytes)),
        Datatype::Int16 => fill(cursor, expected, |c, out| integer(c, out, datatype, i16::to_le_bytes)),
        Datatype::Int32 => fill(cursor, expected, |c, out| integer(c, out, datatype, i32::to_le_bytes)),
        Datatype::Int64 => fill(cursor, expected, |c, out| integer(c, out, datatype, i64::to_le_bytes)),
        Datatype::Fp32 => fill(cursor, expected, fp32),
        Datatype::Fp64 => fill(cursor, expected, fp64),
        Datatype::Bytes => fill(cursor, expected, string),
        Datatype::Fp16 | Datatype::Bf16 => {
            Err(format!("{datatype} has no JSON form: send it as a binary tensor (binary_data_size)"))
        }
    }
}

fn fill<R>(cursor: &mut Cursor<'_>, expected: &Expected<'_>, read_one: R) -> Checked<Bytes>
where
    R: FnMut(&mut Cursor<'_>, &mut Vec<u8>) -> Checked<()>,
{
    let count = infer::element_count(expected.shape)
        .ok_or_else(|| format!("shape {:?} has too many elements", expected.shape))?;
    let out = Vec::with_capacity(room(expected, count, cursor.remaining()));
    let mut filling = Filling { expected, count, seen: 0, out, read_one };
    if expected.shape.len() == 1 || cursor.nests() {
        filling.level(cursor, expected.shape)?;
    } else {
        filling.flat(cursor)?;
    }
    Ok(filling.out.into())
}

/// Bytes to reserve for `count` elements of which at most `text` bytes of JSON are there.
fn room(expected: &Expected<'_>, count: u64, text: usize) -> usize {
    let present = count.min((text / ELEMENT_TEXT + 1) as u64);
    let bytes = present.saturating_mul(expected.datatype.size().unwrap_or(size_of::<u32>()) as u64);
    usize::try_from(bytes).unwrap_or(usize::MAX).min(expected.tensor_bytes)
}

/// A tensor of which the first `seen` elements have been read.
struct Filling<'e, R> {
    expected: &'e Expected<'e>,
    count: u64,
    seen: u64,
    out: Vec<u8>,
    read_one: R,
}

impl<R> Filling<'_, R>
where
    R: FnMut(&mut Cursor<'_>, &mut Vec<u8>) -> Checked<()>,
{
    fn flat(&mut self, cursor: &mut Cursor<'_>) -> Checked<()> {
        cursor.array(|c| self.element(c))?;
        if self.seen == self.count {
            return Ok(());
        }
        Err(format!("shape {:?} needs {} elements, there are {}", self.expected.shape, self.count, self.seen))
    }

    /// One array of a nested tensor: `shape` is what is left of the shape from this level inwards.
    fn level(&mut self, cursor: &mut Cursor<'_>, shape: &[u64]) -> Checked<()> {
        let Some((&length, inner)) = shape.split_first() else {
            return self.element(cursor);
        };
        let mut here = 0;
        cursor.array(|c| {
            here += 1;
            if here > length {
                return Err(self.wrong_length(inner.len(), length, "more"));
            }
            if inner.is_empty() { self.element(c) } else { self.level(c, inner) }
        })?;
        if here == length { Ok(()) } else { Err(self.wrong_length(inner.len(), length, &here.to_string())) }
    }

    fn wrong_length(&self, inner: usize, length: u64, found: &str) -> String {
        let shape = self.expected.shape;
        let dimension = shape.len() - inner - 1;
        format!("shape {shape:?} needs {length} items in dimension {dimension}, there are {found}")
    }

    fn element(&mut self, cursor: &mut Cursor<'_>) -> Checked<()> {
        let Expected { datatype, shape, tensor_bytes } = *self.expected;
        if self.seen == self.count {
            return Err(format!("shape {shape:?} needs {} elements, there are more", self.count));
        }
        (self.read_one)(cursor, &mut self.out)
            .map_err(|fault| format!("element {} ({datatype}): {fault}", self.seen))?;
        if self.out.len() > tensor_bytes {
            return Err(format!(
                "element {}: the data exceeds the limit of {tensor_bytes} bytes per tensor",
                self.seen
            ));
        }
        self.seen += 1;
        Ok(())
    }
}

fn boolean(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Checked<()> {
    out.push(u8::from(cursor.boolean()?));
    Ok(())
}

fn integer<T: FromStr, const N: usize>(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    datatype: Datatype,
    to_le_bytes: fn(T) -> [u8; N],
) -> Checked<()> {
    let text = cursor.number()?;
    let value =
        text.parse().map_err(|_| format!("expected {}, found {}", integer_range(datatype), shown(text)))?;
    out.extend_from_slice(&to_le_bytes(value));
    Ok(())
}

fn integer_range(datatype: Datatype) -> String {
    let bits = datatype.size().map_or(0, |size| size * 8);
    match datatype {
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 | Datatype::Int64 => {
            let half = 1_i128 << (bits - 1);
            format!("an integer from {} to {}", -half, half - 1)
        }
        _ => format!("an integer from 0 to {}", (1_i128 << bits) - 1),
    }
}

fn fp32(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Checked<()> {
    let value = match cursor.non_finite() {
        Some(value) => value as f32,
        None => finite(cursor.number()?, f32::is_finite)?,
    };
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

fn fp64(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Checked<()> {
    let value = match cursor.non_finite() {
        Some(value) => value,
        None => finite(cursor.number()?, f64::is_finite)?,
    };
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

fn finite<T: FromStr + Copy>(text: &str, is_finite: fn(T) -> bool) -> Checked<T> {
    let value = text.parse().ok().filter(|value| is_finite(*value));
    value.ok_or_else(|| format!("{} is out of range", shown(text)))
}

fn string(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Checked<()> {
    let text = cursor.string()?;
    let length = u32::try_from(text.len()).map_err(|_| "the string is longer than 4 GiB".to_owned())?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_reserved_for_what_is_there_and_not_for_what_the_shape_claims() {
        let expected = |datatype| Expected { datatype, shape: &[], tensor_bytes: 1000 };
        let fp32 = expected(Datatype::Fp32);
        assert_eq!(room(&fp32, 6, usize::MAX), 24, "no more than the shape needs");
        assert_eq!(room(&fp32, u64::MAX, 11), 24, "11 bytes of text hold at most 6 elements");
        assert_eq!(room(&fp32, u64::MAX, usize::MAX), 1000, "no more than the limit");
        assert_eq!(room(&expected(Datatype::Fp64), 0, 100), 0);
        assert_eq!(
            room(&expected(Datatype::Bytes), 3, 100),
            12,
            "length prefixes; the text comes as it is read"
        );
    }
}

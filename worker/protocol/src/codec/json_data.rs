//! Reads a tensor's `data` from JSON text straight into its raw little-endian form.
//!
//! Accepts the elements flat in row-major order, or nested exactly as the shape says. Memory grows with the
//! elements that are really there, never with what the shape claims. Called by the tensor reader.

mod element;

use bytes::Bytes;
use half::{bf16, f16};

use self::element::{Booleans, Elements, Numbers, Strings};
use super::text::{Checked, Cursor};
use crate::{Datatype, infer};

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
    match expected.datatype {
        Datatype::Bool => fill(cursor, expected, Booleans),
        Datatype::Uint8 => fill(cursor, expected, Numbers::<u8>::NEW),
        Datatype::Uint16 => fill(cursor, expected, Numbers::<u16>::NEW),
        Datatype::Uint32 => fill(cursor, expected, Numbers::<u32>::NEW),
        Datatype::Uint64 => fill(cursor, expected, Numbers::<u64>::NEW),
        Datatype::Int8 => fill(cursor, expected, Numbers::<i8>::NEW),
        Datatype::Int16 => fill(cursor, expected, Numbers::<i16>::NEW),
        Datatype::Int32 => fill(cursor, expected, Numbers::<i32>::NEW),
        Datatype::Int64 => fill(cursor, expected, Numbers::<i64>::NEW),
        Datatype::Fp16 => fill(cursor, expected, Numbers::<f16>::NEW),
        Datatype::Bf16 => fill(cursor, expected, Numbers::<bf16>::NEW),
        Datatype::Fp32 => fill(cursor, expected, Numbers::<f32>::NEW),
        Datatype::Fp64 => fill(cursor, expected, Numbers::<f64>::NEW),
        Datatype::Bytes => fill(cursor, expected, Strings(expected.tensor_bytes)),
    }
}

fn fill(cursor: &mut Cursor<'_>, expected: &Expected<'_>, elements: impl Elements) -> Checked<Bytes> {
    let count = infer::element_count(expected.shape)
        .ok_or_else(|| format!("shape {:?} has too many elements", expected.shape))?;
    let out = Vec::with_capacity(room(expected, count, cursor.remaining()));
    let mut filling = Filling { expected, count, seen: 0, out, elements };
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
struct Filling<'e, E> {
    expected: &'e Expected<'e>,
    count: u64,
    seen: u64,
    out: Vec<u8>,
    elements: E,
}

impl<E: Elements> Filling<'_, E> {
    fn flat(&mut self, cursor: &mut Cursor<'_>) -> Checked<()> {
        cursor.array(|c| {
            self.run(c, self.count);
            self.element(c)
        })?;
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
            if inner.is_empty() {
                here += self.run(c, length - here);
            }
            if here == length {
                return Err(self.wrong_length(inner.len(), length, "more"));
            }
            here += 1;
            self.level(c, inner)
        })?;
        if here == length { Ok(()) } else { Err(self.wrong_length(inner.len(), length, &here.to_string())) }
    }

    fn wrong_length(&self, inner: usize, length: u64, found: &str) -> String {
        let shape = self.expected.shape;
        let dimension = shape.len() - inner - 1;
        format!("shape {shape:?} needs {length} items in dimension {dimension}, there are {found}")
    }

    /// Reads elements in a row, and the comma behind each: fewer than `left`, so that the last one is read with care.
    fn run(&mut self, cursor: &mut Cursor<'_>, left: u64) -> u64 {
        let most = left.min(self.count - self.seen).saturating_sub(1);
        let here = self.elements.many(cursor, &mut self.out, most);
        self.seen += here;
        here
    }

    fn element(&mut self, cursor: &mut Cursor<'_>) -> Checked<()> {
        let Expected { datatype, shape, .. } = *self.expected;
        if self.seen == self.count {
            return Err(format!("shape {shape:?} needs {} elements, there are more", self.count));
        }
        self.elements
            .one(cursor, &mut self.out)
            .map_err(|fault| format!("element {} ({datatype}): {fault}", self.seen))?;
        self.seen += 1;
        Ok(())
    }
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

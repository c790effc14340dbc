//! What goes into a forward pass and comes out of it: raw tensors of whole batches.
//!
//! Owns how shorter rows are padded to the length that a batch has. Made by `model::lanes` and warm-up, read by the
//! backends; knows nothing of requests, model.toml or libtorch.

use std::mem::MaybeUninit;

use bytes::Bytes;
use weir_protocol::Datatype;

use super::byte_len;

/// Bytes of the largest element.
const ELEMENT_BYTES: usize = 8;

/// One input of a batch: the rows of all its requests.
#[derive(Debug)]
pub struct InputBatch<'a> {
    /// Element type.
    pub datatype: Datatype,
    /// Shape of the whole batch, padding included. Its product is the number of elements in all parts and padding.
    pub shape: Vec<i64>,
    /// Raw rows, one part per request, in batch order; BYTES with a length before each element.
    pub parts: Vec<&'a [u8]>,
    /// What fills up the parts that are shorter than the batch; `None` when none may be.
    pub padding: Option<BatchPadding>,
}

/// How the parts of an input are filled up along one dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPadding {
    /// The dimension; never the batch's.
    pub axis: usize,
    /// What stands where a request has nothing.
    pub element: Element,
    /// Size of that dimension in each part; at most that of the batch.
    pub lengths: Vec<usize>,
}

/// One element in raw form, of a datatype that has a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    bytes: [u8; ELEMENT_BYTES],
    size: usize,
}

/// Consecutive bytes of a batch: some of a request's, then as many of padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run<'a> {
    data: &'a [u8],
    padding: usize,
}

/// One output of a batch, copied out of the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputBatch {
    /// Element type.
    pub datatype: Datatype,
    /// Shape of the whole batch.
    pub shape: Vec<i64>,
    /// Raw elements, little-endian, row-major; BYTES with a length before each. There are as many as the shape says.
    pub data: Bytes,
}

impl Element {
    /// The element of these bytes, of which there are 1 to 8.
    #[must_use]
    pub fn new(raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; ELEMENT_BYTES];
        bytes.get_mut(..raw.len()).filter(|bytes| !bytes.is_empty())?.copy_from_slice(raw);
        Some(Self { bytes, size: raw.len() })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }
}

impl<'a> InputBatch<'a> {
    /// A batch of parts that are all as long as the batch.
    #[must_use]
    pub fn whole(datatype: Datatype, shape: Vec<i64>, parts: Vec<&'a [u8]>) -> Self {
        Self { datatype, shape, parts, padding: None }
    }

    /// Length of the whole batch in bytes, from its shape; `None` when the shape has negative dimensions, overflows
    /// or is not what parts and padding add up to.
    #[must_use]
    pub fn byte_len(&self) -> Option<usize> {
        let wanted = byte_len(self.datatype, &self.shape)?;
        let given = match &self.padding {
            None => self.parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.len()))?,
            Some(padding) => self.padded_len(padding)?,
        };
        (wanted == given).then_some(wanted)
    }

    /// Writes every byte of `to`: all rows, padded, in batch order, each part copied once. `None`, and nothing is written,
    /// unless `to` is exactly as long as the batch ([`Self::byte_len`]).
    pub fn write(&self, to: &mut [MaybeUninit<u8>]) -> Option<()> {
        let mut rest = Some(to).filter(|to| self.byte_len() == Some(to.len()))?;
        for Run { data, padding } in self.runs() {
            let (own, after) = rest.split_at_mut_checked(data.len())?;
            own.write_copy_of_slice(data);
            let (pad, after) = after.split_at_mut_checked(padding)?;
            self.fill(pad);
            rest = after;
        }
        rest.is_empty().then_some(())
    }

    /// All rows, padded, in batch order.
    #[must_use]
    pub fn concat(&self) -> Vec<u8> {
        let element = self.padding.as_ref().map_or(&[0][..], |padding| padding.element.as_bytes());
        let mut all = Vec::with_capacity(self.byte_len().unwrap_or_default());
        for Run { data, padding } in self.runs() {
            all.extend_from_slice(data);
            all.extend(element.iter().cycle().take(padding));
        }
        all
    }

    fn padded_len(&self, padding: &BatchPadding) -> Option<usize> {
        if padding.lengths.len() != self.parts.len() || padding.element.size != self.datatype.size()? {
            return None;
        }
        let parts = self.parts.iter().zip(&padding.lengths);
        parts
            .map(|(part, length)| self.padded_part(padding, part, *length))
            .try_fold(0_usize, |sum, len| sum.checked_add(len?))
    }

    /// Bytes of one part with its padding.
    fn padded_part(&self, padding: &BatchPadding, part: &[u8], length: usize) -> Option<usize> {
        let (own, whole) =
            (self.run_bytes(padding, length)?, self.run_bytes(padding, self.size_of(padding))?);
        let fits = own <= whole && (if own == 0 { part.is_empty() } else { part.len().is_multiple_of(own) });
        fits.then(|| (part.len() / own.max(1)).checked_mul(whole))?
    }

    /// Consecutive bytes of one index of the dimensions before the padded one, when that has `length` entries.
    fn run_bytes(&self, padding: &BatchPadding, length: usize) -> Option<usize> {
        let inner = byte_len(self.datatype, self.shape.get(padding.axis + 1..)?)?;
        inner.checked_mul(length)
    }

    /// Size of the padded dimension in the batch.
    fn size_of(&self, padding: &BatchPadding) -> usize {
        self.shape.get(padding.axis).and_then(|dim| usize::try_from(*dim).ok()).unwrap_or(0)
    }

    /// The batch from its first byte to its last.
    fn runs(&self) -> impl Iterator<Item = Run<'a>> {
        let padding = self.padding.as_ref();
        let whole = padding.and_then(|padding| self.run_bytes(padding, self.size_of(padding)));
        self.parts.iter().enumerate().flat_map(move |(at, part)| {
            let own = padding.and_then(|padding| self.run_bytes(padding, *padding.lengths.get(at)?));
            // A part that is not padded is one run.
            let (own, whole) = own.zip(whole).unwrap_or((part.len(), part.len()));
            let padding = whole.saturating_sub(own);
            let own = if padding == 0 { part.len() } else { own };
            part.chunks(own.max(1)).map(move |data| Run { data, padding })
        })
    }

    fn fill(&self, pad: &mut [MaybeUninit<u8>]) {
        let element = self.padding.as_ref().map_or(&[][..], |padding| padding.element.as_bytes());
        let mut done = element.len().min(pad.len());
        if let (Some(first), Some(element)) = (pad.get_mut(..done), element.get(..done)) {
            first.write_copy_of_slice(element);
        }
        // What is written is copied behind itself, twice as much each time.
        while done > 0 && done < pad.len() {
            let more = done.min(pad.len() - done);
            pad.copy_within(..more, done);
            done += more;
        }
    }
}

#[cfg(test)]
mod tests;

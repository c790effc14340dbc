//! Raw tensors by rows: where each row lies, and how rows of padded lengths are cut back.
//!
//! A row is one index of the first dimension. Used to give each request of a batch its own, and to split requests that are
//! larger than a batch. Pure; the copies that it avoids are what it is for.

use std::ops::Range;

use bytes::Bytes;
use weir_protocol::{Datatype, infer};

use super::{byte_len, element_count};

/// Where the rows of a raw tensor lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// Each has so many bytes.
    Even(usize),
    /// BYTES: row `i` goes from the offset at `i` to the one at `i + 1`.
    At(Vec<usize>),
}

impl Rows {
    /// The rows of a tensor; `None` when its data is not what its shape says, or it has no first dimension.
    #[must_use]
    pub fn new(datatype: Datatype, shape: &[i64], data: &[u8]) -> Option<Self> {
        let (first, rest) = shape.split_first()?;
        let rows = usize::try_from(*first).ok()?;
        if datatype != Datatype::Bytes {
            let fits = byte_len(datatype, shape) == Some(data.len());
            return fits.then(|| Self::Even(data.len() / rows.max(1)));
        }
        let elements = element_count(rest)?;
        let (mut cuts, mut at, mut seen) = (vec![0], 0, 0);
        let mut strings = infer::strings(data);
        for _ in 0..rows {
            for string in strings.by_ref().take(elements) {
                at += size_of::<u32>() + string.len();
                seen += 1;
            }
            cuts.push(at);
        }
        (at == data.len() && element_count(shape)? == seen).then_some(Self::At(cuts))
    }

    /// Where the bytes of some of the tensor's rows are.
    #[must_use]
    pub fn bytes(&self, rows: &Range<u32>) -> Range<usize> {
        let (first, last) = (rows.start as usize, rows.end as usize);
        match self {
            Self::Even(length) => first * length..last * length,
            Self::At(cuts) => {
                let at = |row: usize| cuts.get(row).or(cuts.last()).copied().unwrap_or(0);
                at(first)..at(last)
            }
        }
    }
}

/// Cuts one dimension of a tensor back to its first `length` indexes. No copy where what stays lies together.
#[must_use]
pub fn trim(
    datatype: Datatype,
    mut shape: Vec<i64>,
    data: Bytes,
    at: usize,
    length: u64,
) -> (Vec<i64>, Bytes) {
    let Some((whole, own)) = runs(datatype, &shape, at, length).filter(|(whole, own)| own <= whole) else {
        return (shape, data);
    };
    if let Some(dim) = shape.get_mut(at) {
        *dim = i64::try_from(length).unwrap_or(i64::MAX);
    }
    if own == whole {
        return (shape, data);
    }
    if data.len() <= whole {
        let end = own.min(data.len());
        return (shape, data.slice(..end));
    }
    let mut cut = Vec::with_capacity(data.len() / whole * own);
    data.chunks_exact(whole).for_each(|run| cut.extend_from_slice(run.get(..own).unwrap_or(run)));
    (shape, cut.into())
}

/// Bytes that lie together below dimension `at`, as it is and with `length` indexes; `None` where there are none.
fn runs(datatype: Datatype, shape: &[i64], at: usize, length: u64) -> Option<(usize, usize)> {
    let inner = byte_len(datatype, shape.get(at + 1..)?)?;
    let whole = usize::try_from(*shape.get(at)?).ok()?.checked_mul(inner)?;
    Some((whole, usize::try_from(length).ok()?.checked_mul(inner)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(strings: &[&str]) -> Vec<u8> {
        let mut data = Vec::new();
        strings.iter().for_each(|string| infer::push_string(&mut data, string.as_bytes()).unwrap());
        data
    }

    #[test]
    fn rows_of_bytes_end_where_their_last_element_does() {
        let data = texts(&["a", "", "ccc", "dd", "", ""]);
        let rows = Rows::new(Datatype::Bytes, &[3, 2], &data).unwrap();
        for (range, expected) in [
            (0..1, texts(&["a", ""])),
            (1..3, texts(&["ccc", "dd", "", ""])),
            (0..3, data.clone()),
            (2..2, Vec::new()),
        ] {
            assert_eq!(data[rows.bytes(&range)], expected, "{range:?}");
        }
        let nothing = Rows::new(Datatype::Bytes, &[2, 0], &[]).unwrap();
        assert_eq!(nothing.bytes(&(1..2)), 0..0);
    }

    #[test]
    fn rows_of_numbers_are_all_equally_long() {
        let rows = Rows::new(Datatype::Uint16, &[3, 2], &[0; 12]).unwrap();
        assert_eq!((rows.bytes(&(0..1)), rows.bytes(&(1..3))), (0..4, 4..12));
        let nothing = Rows::new(Datatype::Uint16, &[3, 0], &[]).unwrap();
        assert_eq!(nothing.bytes(&(1..3)), 0..0);
    }

    #[test]
    fn a_tensor_whose_data_is_not_what_its_shape_says_has_no_rows() {
        assert_eq!(Rows::new(Datatype::Bytes, &[2, 1], &texts(&["a"])), None);
        assert_eq!(Rows::new(Datatype::Bytes, &[2, 1], &texts(&["a", "b", "c"])), None);
        assert_eq!(Rows::new(Datatype::Bytes, &[2, 1], &texts(&["a", "b"])[..9]), None);
        for (shape, length) in [(&[2, 3][..], 10), (&[2, 3], 14), (&[], 2), (&[-1, 3], 12)] {
            assert_eq!(Rows::new(Datatype::Uint16, shape, &vec![0; length]), None, "{shape:?} {length}");
        }
    }

    #[test]
    fn what_is_cut_back_keeps_the_first_indexes_of_its_dimension() {
        let data = Bytes::from_iter(0..12);
        for (shape, at, length, expected) in [
            (&[2, 6][..], 1, 2, &[0, 1, 6, 7][..]),
            (&[2, 3, 2], 1, 1, &[0, 1, 6, 7]),
            (&[2, 2, 3], 2, 2, &[0, 1, 3, 4, 6, 7, 9, 10]),
            (&[1, 12], 1, 5, &[0, 1, 2, 3, 4]),
            (&[1, 4, 3], 1, 1, &[0, 1, 2]),
        ] {
            let (cut, bytes) = trim(Datatype::Uint8, shape.to_vec(), data.clone(), at, length);
            let mut wanted = shape.to_vec();
            wanted[at] = i64::try_from(length).unwrap();
            assert_eq!((&cut, &bytes[..]), (&wanted, expected), "{shape:?}");
        }
    }

    #[test]
    fn whole_rows_and_single_runs_are_not_copied() {
        let data = Bytes::from_iter(0..12);
        let (shape, whole) = trim(Datatype::Uint8, vec![2, 6], data.clone(), 1, 6);
        assert_eq!((shape, whole.as_ptr()), (vec![2, 6], data.as_ptr()));
        let (shape, one) = trim(Datatype::Uint32, vec![1, 3], data.clone(), 1, 2);
        assert_eq!((shape, one.as_ptr(), one.len()), (vec![1, 2], data.as_ptr(), 8));
        let (shape, nothing) = trim(Datatype::Uint8, vec![2, 6, 0], Bytes::new(), 1, 4);
        assert_eq!((shape, nothing.len()), (vec![2, 4, 0], 0));
    }
}

//! What a batch gave, checked against model.toml and cut into the rows of its requests.
//!
//! Part of `lanes`; pure.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use weir_batching::Ticket;
use weir_protocol::{Datatype, infer};

use super::{Done, Job};
use crate::{
    backend::{BackendError, OutputBatch, byte_len, element_count},
    model::{ModelSpec, contract},
};

/// The outputs of one batch, known to be as model.toml says.
#[derive(Debug)]
pub(super) struct BatchRows {
    outputs: Vec<(OutputBatch, Cuts)>,
}

/// Where the rows of an output end.
#[derive(Debug)]
enum Cuts {
    /// Nowhere: the model has no batch dimension, its one request gets everything.
    Whole,
    /// After every so many bytes.
    Even(usize),
    /// BYTES: row `i` goes from the offset at `i` to the one at `i + 1`.
    At(Vec<usize>),
}

impl BatchRows {
    /// Checks what the backend gave for a batch of `rows`.
    pub(super) fn check(
        spec: &ModelSpec,
        outputs: Vec<OutputBatch>,
        rows: u32,
    ) -> Result<Self, BackendError> {
        contract::check_outputs(spec, &outputs, rows)?;
        let cut = |output: OutputBatch| {
            let cuts = if spec.batched { Cuts::new(&output, rows) } else { Some(Cuts::Whole) };
            let cuts = cuts.ok_or_else(|| BackendError::new("an output does not fit its own shape"))?;
            Ok((output, cuts))
        };
        Ok(Self { outputs: outputs.into_iter().map(cut).collect::<Result<_, _>>()? })
    }

    /// Sends every request its rows; a requester that is gone is skipped.
    pub(super) fn send(&self, tickets: Vec<Ticket<Job>>, taken: Duration, forward: Duration) {
        let mut start = 0;
        for ticket in tickets {
            let rows = start..start + ticket.rows;
            start = rows.end;
            let outputs =
                self.outputs.iter().map(|(output, cuts)| cuts.slice(output, rows.clone())).collect();
            let waited = taken.saturating_sub(ticket.payload.arrived);
            ticket.payload.answer(Ok(Done { outputs, waited, forward }));
        }
    }
}

impl Cuts {
    /// Cuts an output whose first dimension is `rows`; `None` when its data is not what its shape says.
    fn new(output: &OutputBatch, rows: u32) -> Option<Self> {
        let rows = rows.max(1) as usize;
        let length = output.data.len();
        if output.datatype != Datatype::Bytes {
            let fits = byte_len(output.datatype, &output.shape) == Some(length);
            return fits.then_some(Self::Even(length / rows));
        }
        let elements = element_count(output.shape.get(1..)?)?;
        let (mut cuts, mut at, mut seen) = (vec![0], 0, 0);
        let mut strings = infer::strings(&output.data);
        for _ in 0..rows {
            for string in strings.by_ref().take(elements) {
                at += size_of::<u32>() + string.len();
                seen += 1;
            }
            cuts.push(at);
        }
        (at == length && element_count(&output.shape)? == seen).then_some(Self::At(cuts))
    }

    /// Some rows of an output: a slice of the batch's buffer, not a copy.
    fn slice(&self, output: &OutputBatch, rows: Range<u32>) -> (Vec<i64>, Bytes) {
        let (first, last) = (rows.start as usize, rows.end as usize);
        // `check` saw that the first dimension is the batch's rows, so these ranges are inside.
        let range = match self {
            Self::Whole => return (output.shape.clone(), output.data.clone()),
            Self::Even(length) => first * length..last * length,
            Self::At(cuts) => {
                let at = |row: usize| cuts.get(row).copied().unwrap_or(output.data.len());
                at(first)..at(last)
            }
        };
        let mut shape = output.shape.clone();
        if let Some(batch) = shape.first_mut() {
            *batch = i64::from(rows.end - rows.start);
        }
        (shape, output.data.slice(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(shape: &[i64], strings: &[&str]) -> OutputBatch {
        let mut data = Vec::new();
        strings.iter().for_each(|string| infer::push_string(&mut data, string.as_bytes()).unwrap());
        OutputBatch { datatype: Datatype::Bytes, shape: shape.to_vec(), data: data.into() }
    }

    #[test]
    fn rows_of_bytes_end_where_their_last_element_does() {
        let all = bytes(&[3, 2], &["a", "", "ccc", "dd", "", ""]);
        let cuts = Cuts::new(&all, 3).unwrap();
        for (rows, expected) in [
            (0..1, bytes(&[1, 2], &["a", ""])),
            (1..3, bytes(&[2, 2], &["ccc", "dd", "", ""])),
            (0..3, all.clone()),
        ] {
            assert_eq!(cuts.slice(&all, rows), (expected.shape, expected.data));
        }
        let none = bytes(&[2, 0], &[]);
        assert_eq!(Cuts::new(&none, 2).unwrap().slice(&none, 1..2), (vec![1, 0], Bytes::new()));
    }

    #[test]
    fn an_output_whose_data_is_not_what_its_shape_says_is_not_cut() {
        assert!(Cuts::new(&bytes(&[2, 1], &["a"]), 2).is_none());
        assert!(Cuts::new(&bytes(&[2, 1], &["a", "b", "c"]), 2).is_none());
        let mut short = bytes(&[2, 1], &["a", "b"]);
        short.data.truncate(9);
        assert!(Cuts::new(&short, 2).is_none());
        let numbers =
            |len| OutputBatch { datatype: Datatype::Uint16, shape: vec![2, 3], data: vec![0; len].into() };
        assert!(Cuts::new(&numbers(12), 2).is_some());
        assert!(Cuts::new(&numbers(10), 2).is_none() && Cuts::new(&numbers(14), 2).is_none());
    }
}

//! Requests with more rows than a batch may have: the parts that run, and their outputs as one again.
//!
//! Part of `infer`; pure. Parts share the request's buffers. Outputs are copied once, and only where there is more than one
//! part.

use std::ops::Range;

use bytes::Bytes;
use weir_config::model::TensorSpec;

use crate::{backend::Rows, lanes::Part, model::ModelSpec};

/// Splits a request that was checked into parts that fit a batch, in order: all of the most rows but the last.
pub(super) fn split(spec: &ModelSpec, whole: Part) -> Vec<Part> {
    let most = spec.max_rows.max(1);
    if !spec.batched || whole.rows <= most {
        return vec![whole];
    }
    // A mask that is yet to be made has a shape and no data, and so no rows in it.
    let rows = |(at, input): (usize, &TensorSpec)| {
        Rows::new(input.datatype, whole.shapes.get(at)?, whole.inputs.get(at)?)
    };
    let rows: Vec<_> = spec.inputs.iter().enumerate().map(rows).collect();
    let starts = (0..whole.rows).step_by(most as usize);
    starts.map(|start| part(&whole, &rows, start..whole.rows.min(start.saturating_add(most)))).collect()
}

fn part(whole: &Part, rows: &[Option<Rows>], range: Range<u32>) -> Part {
    let count = range.end - range.start;
    let input = |(data, rows): (&Bytes, &Option<Rows>)| match rows {
        Some(rows) => data.slice(rows.bytes(&range)),
        None => Bytes::new(),
    };
    let shape = |shape: &Vec<i64>| {
        let rest = shape.iter().skip(1).copied();
        std::iter::once(i64::from(count)).chain(rest).collect()
    };
    Part {
        rows: count,
        inputs: whole.inputs.iter().zip(rows).map(input).collect(),
        shapes: whole.shapes.iter().map(shape).collect(),
        length: whole.length,
    }
}

/// One output of all parts, in order, as if they had run together; `None` when the sizes of rows differ from part to
/// part, or there is no part.
pub(super) fn join(parts: &[&(Vec<i64>, Bytes)]) -> Option<(Vec<i64>, Bytes)> {
    let ((first, data), rest) = parts.split_first()?;
    let mut shape = first.clone();
    if rest.is_empty() {
        return Some((shape, data.clone()));
    }
    let (rows, row) = shape.split_first_mut()?;
    for (other, _) in rest {
        let (others, other) = other.split_first()?;
        (other == row).then_some(())?;
        *rows = rows.saturating_add(*others);
    }
    let mut joined = Vec::with_capacity(parts.iter().map(|(_, data)| data.len()).sum());
    parts.iter().for_each(|(_, data)| joined.extend_from_slice(data));
    Some((shape, joined.into()))
}

#[cfg(test)]
mod tests {
    use weir_config::ModelConfig;
    use weir_protocol::{Version, infer};

    use super::*;

    fn spec(max_rows: u32) -> ModelSpec {
        let toml = r#"
backend = "synthetic"
max_batch_size = 8
[[input]]
name = "ids"
datatype = "UINT8"
shape = [-1, -1]
pad_value = 0
[[input]]
name = "mask"
datatype = "UINT8"
shape = [-1, -1]
mask = true
[[input]]
name = "words"
datatype = "BYTES"
shape = [-1, 1]
[[output]]
name = "y"
datatype = "UINT8"
shape = [-1]
[batching]
buckets = [4]
[synthetic]
"#;
        let config = ModelConfig::parse(toml, std::path::Path::new("model.toml")).unwrap();
        let spec = ModelSpec::new("m".parse().unwrap(), Version::new(1).unwrap(), &config);
        ModelSpec { max_rows, ..spec }
    }

    fn texts(strings: &[&str]) -> Bytes {
        let mut data = Vec::new();
        strings.iter().for_each(|string| infer::push_string(&mut data, string.as_bytes()).unwrap());
        data.into()
    }

    fn whole() -> Part {
        let words = texts(&["a", "", "ccc", "dd", "e"]);
        let inputs = vec![Bytes::from_iter(0..10), Bytes::new(), words];
        Part { rows: 5, inputs, shapes: vec![vec![5, 2], vec![5, 2], vec![5, 1]], length: None }
    }

    #[test]
    fn a_request_that_fits_a_batch_is_one_part_and_is_left_as_it_is() {
        assert_eq!(split(&spec(5), whole()), [whole()]);
        let unbatched = ModelSpec { batched: false, ..spec(1) };
        assert_eq!(split(&unbatched, whole()), [whole()]);
    }

    #[test]
    fn a_larger_request_is_parts_of_the_most_rows_and_a_rest() {
        let parts = split(&spec(2), whole());
        let rows: Vec<_> = parts.iter().map(|part| part.rows).collect();
        assert_eq!(rows, [2, 2, 1]);
        assert_eq!(parts[1].inputs, [Bytes::from_static(&[4, 5, 6, 7]), Bytes::new(), texts(&["ccc", "dd"])]);
        assert_eq!(parts[1].shapes, [vec![2, 2], vec![2, 2], vec![2, 1]]);
        assert_eq!(parts[2].inputs, [Bytes::from_static(&[8, 9]), Bytes::new(), texts(&["e"])]);
        assert_eq!(parts[2].shapes[0], [1, 2]);
    }

    #[test]
    fn parts_share_the_memory_of_the_request() {
        let whole = whole();
        let all: Vec<_> = whole.inputs.iter().map(|data| data.as_ptr_range()).collect();
        for part in split(&spec(1), whole) {
            assert!(all[0].contains(&part.inputs[0].as_ptr()) && all[2].contains(&part.inputs[2].as_ptr()));
        }
    }

    #[test]
    fn outputs_of_parts_are_one_after_the_other() {
        let parts = [(vec![2, 2], Bytes::from_static(b"abcd")), (vec![1, 2], Bytes::from_static(b"ef"))];
        assert_eq!(join(&[&parts[0], &parts[1]]), Some((vec![3, 2], Bytes::from_static(b"abcdef"))));
        let (shape, data) = join(&[&parts[0]]).unwrap();
        assert_eq!((shape, data.as_ptr()), (vec![2, 2], parts[0].1.as_ptr()), "one part is not copied");
        assert_eq!(join(&[]), None);
    }

    #[test]
    fn outputs_whose_rows_differ_cannot_be_joined() {
        let of = |shape: &[i64]| (shape.to_vec(), Bytes::new());
        assert_eq!(join(&[&of(&[1, 2]), &of(&[1, 3])]), None);
        assert_eq!(join(&[&of(&[1, 2]), &of(&[1, 2, 1])]), None);
    }
}

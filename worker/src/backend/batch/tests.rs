//! BatchPadding against a model of it that works element by element, and every way in which a batch can be inconsistent.

use proptest::prelude::*;

use super::*;

/// Writes a batch into memory that held something else.
fn written(batch: &InputBatch<'_>) -> Option<Vec<u8>> {
    let mut memory = vec![MaybeUninit::new(0xaa_u8); batch.byte_len()?];
    batch.write(&mut memory)?;
    Some(read(&memory))
}

fn read(memory: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: every test fills its memory before it is written to.
    memory.iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

fn padded<'a>(shape: &[i64], axis: usize, parts: &[(usize, &'a [u8])]) -> InputBatch<'a> {
    let element = Element::new(&[9]).unwrap();
    let lengths = parts.iter().map(|(length, _)| *length).collect();
    let parts = parts.iter().map(|(_, part)| *part).collect();
    let padding = Some(BatchPadding { axis, element, lengths });
    InputBatch { datatype: Datatype::Uint8, shape: shape.to_vec(), parts, padding }
}

#[test]
fn shorter_rows_are_filled_up_and_whole_ones_are_not() {
    let batch = padded(&[4, 3], 1, &[(1, &[1, 2]), (3, &[3, 4, 5]), (2, &[6, 7])]);
    assert_eq!(written(&batch).unwrap(), [1, 9, 9, 2, 9, 9, 3, 4, 5, 6, 7, 9]);
}

#[test]
fn padding_stands_where_its_dimension_does() {
    let rows: &[u8] = &[1, 2, 3, 4];
    let last = padded(&[1, 2, 3], 2, &[(2, rows)]);
    assert_eq!(written(&last).unwrap(), [1, 2, 9, 3, 4, 9]);
    let middle = padded(&[1, 3, 2], 1, &[(2, rows)]);
    assert_eq!(written(&middle).unwrap(), [1, 2, 3, 4, 9, 9]);
    let of_two_rows = padded(&[2, 2, 2], 1, &[(1, rows)]);
    assert_eq!(written(&of_two_rows).unwrap(), [1, 2, 9, 9, 3, 4, 9, 9]);
}

#[test]
fn an_element_of_several_bytes_is_repeated_whole() {
    let element = Element::new(&[1, 2, 3, 4]).unwrap();
    let padding = Some(BatchPadding { axis: 1, element, lengths: vec![1] });
    let batch = InputBatch { datatype: Datatype::Fp32, shape: vec![1, 4], parts: vec![&[7; 4]], padding };
    let expected: Vec<u8> = [[7; 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]].concat();
    assert_eq!((written(&batch), batch.concat()), (Some(expected.clone()), expected));
}

#[test]
fn an_element_has_one_to_eight_bytes() {
    assert_eq!(Element::new(&[]), None);
    assert_eq!(Element::new(&[0; 9]), None);
    assert_eq!(Element::new(&[1; 8]).unwrap().as_bytes(), [1; 8]);
}

#[test]
fn a_batch_without_padding_is_its_parts_in_a_row() {
    let whole = |shape| InputBatch::whole(Datatype::Uint8, shape, vec![&[1, 2], &[3]]);
    assert_eq!(whole(vec![3]).byte_len(), Some(3));
    assert_eq!(written(&whole(vec![3])), Some(vec![1, 2, 3]));
    for shape in [vec![4], vec![2], vec![-3], vec![3, 0], vec![i64::MAX, i64::MAX]] {
        assert_eq!(whole(shape.clone()).byte_len(), None, "{shape:?}");
    }
}

#[test]
fn a_padded_batch_that_does_not_add_up_has_no_length_and_writes_nothing() {
    let good = || padded(&[2, 3], 1, &[(1, &[1]), (2, &[2, 3])]);
    let with = |change: &dyn Fn(&mut BatchPadding)| {
        let mut batch = good();
        change(batch.padding.as_mut().unwrap());
        batch
    };
    for (why, batch) in [
        ("a part longer than the batch", with(&|padding| padding.lengths[1] = 4)),
        ("a part that is not a number of rows", padded(&[1, 4], 1, &[(3, &[1, 2, 3, 4])])),
        ("a part without a length", with(&|padding| padding.lengths.truncate(1))),
        ("an element of another size", with(&|padding| padding.element = Element::new(&[1, 2]).unwrap())),
        ("no such dimension", with(&|padding| padding.axis = 2)),
        ("a row too few", padded(&[3, 3], 1, &[(1, &[1]), (2, &[2, 3])])),
        ("a length of zero", padded(&[1, 3], 1, &[(0, &[])])),
        ("BYTES", InputBatch { datatype: Datatype::Bytes, ..good() }),
    ] {
        assert_eq!((batch.byte_len(), written(&batch)), (None, None), "{why}");
    }
    let mut short = [MaybeUninit::new(7); 5];
    assert_eq!(good().write(&mut short), None);
    assert_eq!(read(&short), [7; 5]);
}

proptest! {
    /// Each element of the batch is the request's own where it has one, else the padding.
    #[test]
    fn padding_agrees_with_a_model_of_it_by_index(
        lengths in prop::collection::vec((1_usize..4, 1_usize..6), 1..5),
        (outer, inner) in (1_usize..3, 1_usize..3),
        extra in 0_usize..3,
    ) {
        let longest = lengths.iter().map(|(_, length)| *length).max().unwrap() + extra;
        let parts: Vec<Vec<u8>> = lengths
            .iter()
            .map(|(rows, length)| (0..rows * outer * length * inner).map(|at| u8::try_from(at % 200).unwrap()).collect())
            .collect();
        let mut expected = Vec::new();
        for ((rows, length), part) in lengths.iter().zip(&parts) {
            for run in 0..rows * outer {
                for at in 0..longest {
                    for element in 0..inner {
                        let own = (run * length + at) * inner + element;
                        expected.push(if at < *length { part[own] } else { 255 });
                    }
                }
            }
        }
        let rows: usize = lengths.iter().map(|(rows, _)| rows).sum();
        let shape = [rows, outer, longest, inner].map(|dim| i64::try_from(dim).unwrap()).to_vec();
        let padding = BatchPadding {
            axis: 2,
            element: Element::new(&[255]).unwrap(),
            lengths: lengths.iter().map(|(_, length)| *length).collect(),
        };
        let batch = InputBatch {
            datatype: Datatype::Uint8,
            shape,
            parts: parts.iter().map(Vec::as_slice).collect(),
            padding: Some(padding),
        };
        prop_assert_eq!(batch.byte_len(), Some(expected.len()));
        prop_assert_eq!(&batch.concat(), &expected);
        prop_assert_eq!(written(&batch).unwrap(), expected);
    }
}

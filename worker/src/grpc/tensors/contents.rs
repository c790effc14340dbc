//! Elements in the fields of their types, written in raw form.
//!
//! One field for each datatype, and nothing in the others; numbers must fit their datatype.

use bytes::{BufMut, Bytes};
use weir_protocol::{Datatype, grpc::InferTensorContents};

/// The raw form of the elements in the datatype's field; at most `most_bytes`.
///
/// # Errors
/// What is wrong, for a client.
pub(super) fn data(
    datatype: Datatype,
    contents: InferTensorContents,
    most_bytes: usize,
) -> Result<Bytes, String> {
    check_fields(datatype, &contents)?;
    match datatype {
        Datatype::Bool => Ok(contents.bool_contents.into_iter().map(u8::from).collect()),
        Datatype::Uint8 => narrow(datatype, &contents.uint_contents, u8::to_le_bytes),
        Datatype::Uint16 => narrow(datatype, &contents.uint_contents, u16::to_le_bytes),
        Datatype::Uint32 => Ok(wide(&contents.uint_contents, |n| n.to_le_bytes())),
        Datatype::Uint64 => Ok(wide(&contents.uint64_contents, |n| n.to_le_bytes())),
        Datatype::Int8 => narrow(datatype, &contents.int_contents, i8::to_le_bytes),
        Datatype::Int16 => narrow(datatype, &contents.int_contents, i16::to_le_bytes),
        Datatype::Int32 => Ok(wide(&contents.int_contents, |n| n.to_le_bytes())),
        Datatype::Int64 => Ok(wide(&contents.int64_contents, |n| n.to_le_bytes())),
        Datatype::Fp32 => Ok(wide(&contents.fp32_contents, |n| n.to_le_bytes())),
        Datatype::Fp64 => Ok(wide(&contents.fp64_contents, |n| n.to_le_bytes())),
        Datatype::Bytes => strings(&contents.bytes_contents, most_bytes),
        Datatype::Fp16 | Datatype::Bf16 => Err(format!("send {datatype} in raw_input_contents")),
    }
}

/// Finds elements in a field that is not the datatype's.
fn check_fields(datatype: Datatype, contents: &InferTensorContents) -> Result<(), String> {
    let own = match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => "uint_contents",
        Datatype::Uint64 => "uint64_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
        Datatype::Bytes => "bytes_contents",
        Datatype::Fp16 | Datatype::Bf16 => "raw_input_contents",
    };
    let filled = [
        ("bool_contents", contents.bool_contents.is_empty()),
        ("int_contents", contents.int_contents.is_empty()),
        ("int64_contents", contents.int64_contents.is_empty()),
        ("uint_contents", contents.uint_contents.is_empty()),
        ("uint64_contents", contents.uint64_contents.is_empty()),
        ("fp32_contents", contents.fp32_contents.is_empty()),
        ("fp64_contents", contents.fp64_contents.is_empty()),
        ("bytes_contents", contents.bytes_contents.is_empty()),
    ];
    match filled.into_iter().find(|(field, is_empty)| !is_empty && *field != own) {
        Some((field, _)) => Err(format!("the elements of {datatype} go into {own}, found {field}")),
        None => Ok(()),
    }
}

fn wide<T: Copy, const N: usize>(elements: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    let mut data = Vec::with_capacity(elements.len() * N);
    elements.iter().for_each(|element| data.extend_from_slice(&bytes(*element)));
    data.into()
}

/// Numbers in a wider field than their datatype.
fn narrow<W, T, const N: usize>(
    datatype: Datatype,
    elements: &[W],
    bytes: impl Fn(T) -> [u8; N],
) -> Result<Bytes, String>
where
    W: Copy + std::fmt::Display,
    T: TryFrom<W>,
{
    let mut data = Vec::with_capacity(elements.len() * N);
    for (index, &element) in elements.iter().enumerate() {
        let fits = T::try_from(element);
        let fits = fits.map_err(|_| format!("element {index}: {element} is no {datatype}"))?;
        data.extend_from_slice(&bytes(fits));
    }
    Ok(data.into())
}

fn strings(elements: &[Bytes], most_bytes: usize) -> Result<Bytes, String> {
    let total = elements
        .iter()
        .try_fold(0_usize, |total, element| total.checked_add(size_of::<u32>() + element.len()));
    let total = total.filter(|total| *total <= most_bytes);
    let total = total.ok_or_else(|| format!("the elements take more than {most_bytes} bytes"))?;
    let mut data = Vec::with_capacity(total);
    for element in elements {
        let length = u32::try_from(element.len()).map_err(|_| "an element has more than 4 GiB".to_owned())?;
        data.put_u32_le(length);
        data.extend_from_slice(element);
    }
    Ok(data.into())
}

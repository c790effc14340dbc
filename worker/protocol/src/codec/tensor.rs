//! Reads one tensor object of a request's `inputs` or a response's `outputs`, whichever form its data has.
//!
//! Owns the order-free gathering of fields (`data` may come before `datatype` or `shape`) and the check that data,
//! datatype and shape agree. Names the tensor in every error. Called by the request and response readers.

use bytes::Bytes;

use super::{
    CodecLimits,
    binary::Tail,
    json_data::{self, Expected},
    number::Number,
    text::{Checked, Cursor},
};
use crate::{
    Datatype, Tensor,
    error::shown,
    infer::{self, MAX_RANK},
};

/// Reads tensor number `index` of a list of `kind` (`input` or `output`); also tells whether it was binary.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    tail: &mut Tail,
    limits: &CodecLimits,
    (kind, index): (&str, usize),
) -> Checked<(Tensor, bool)> {
    let mut fields = Fields::default();
    let tensor = fields.read(cursor, limits).and_then(|()| fields.build(tail, limits));
    tensor.map_err(|fault| match &fields.name {
        Some(name) => format!("{kind} {index} '{}': {fault}", shown(name)),
        None => format!("{kind} {index}: {fault}"),
    })
}

/// Puts a field's value in its place, which must be empty.
pub(super) fn set<T>(slot: &mut Option<T>, key: &str, value: T) -> Checked<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("'{key}' appears twice")),
    }
}

/// What has been read of a tensor object.
#[derive(Default)]
struct Fields<'a> {
    name: Option<String>,
    datatype: Option<Datatype>,
    shape: Option<Vec<u64>>,
    data: Option<Data<'a>>,
    parameters: Option<()>,
    binary_size: Option<u64>,
}

enum Data<'a> {
    Read(Bytes),
    /// Where `data` stands; passed over because datatype or shape were not known yet.
    Later(Cursor<'a>),
}

impl<'a> Fields<'a> {
    fn read(&mut self, cursor: &mut Cursor<'a>, limits: &CodecLimits) -> Checked<()> {
        cursor.object(|cursor, key| match key.as_ref() {
            "name" => set(&mut self.name, &key, cursor.string()?.into_owned()),
            "datatype" => set(&mut self.datatype, &key, cursor.string()?.parse()?),
            "shape" => set(&mut self.shape, &key, shape(cursor)?),
            "data" => {
                let data = self.data(cursor, limits)?;
                set(&mut self.data, &key, data)
            }
            "parameters" => {
                set(&mut self.parameters, &key, ())?;
                self.read_parameters(cursor)
            }
            _ => cursor.skip(),
        })
    }

    fn read_parameters(&mut self, cursor: &mut Cursor<'a>) -> Checked<()> {
        if cursor.null() {
            return Ok(());
        }
        cursor.object(|cursor, key| match key.as_ref() {
            "binary_data_size" => {
                let size = cursor.number(|number| {
                    let wrong = || {
                        let found = shown(number.text());
                        format!("binary_data_size: expected a number of bytes, found {found}")
                    };
                    number.integer().ok_or_else(wrong)
                })?;
                set(&mut self.binary_size, &key, size)
            }
            _ => cursor.skip(),
        })
    }

    fn data(&self, cursor: &mut Cursor<'a>, limits: &CodecLimits) -> Checked<Data<'a>> {
        if let (Some(datatype), Some(shape)) = (self.datatype, &self.shape) {
            return json(cursor, datatype, shape, limits).map(Data::Read);
        }
        let here = cursor.clone();
        cursor.skip()?;
        Ok(Data::Later(here))
    }

    fn build(&mut self, tail: &mut Tail, limits: &CodecLimits) -> Checked<(Tensor, bool)> {
        let name = self.name.clone().ok_or("'name' is missing")?;
        let datatype = self.datatype.ok_or("'datatype' is missing")?;
        let shape = self.shape.take().ok_or("'shape' is missing")?;
        let (data, binary) = match (self.data.take(), self.binary_size) {
            (Some(_), Some(_)) => return Err("has both data and binary_data_size: send one of them".into()),
            (None, None) => return Err("has no data: send data or a binary tensor (binary_data_size)".into()),
            (Some(Data::Read(data)), None) => (data, false),
            (Some(Data::Later(mut cursor)), None) => (json(&mut cursor, datatype, &shape, limits)?, false),
            (None, Some(size)) => {
                fits(datatype, &shape, limits)?;
                infer::check_size(datatype, &shape, size)
                    .map_err(|fault| format!("{fault}, binary_data_size is {size}"))?;
                (tail.take(size)?, true)
            }
        };
        let tensor = Tensor { name, datatype, shape, data };
        if binary {
            tensor.check_content()?;
        }
        Ok((tensor, binary))
    }
}

fn json(cursor: &mut Cursor<'_>, datatype: Datatype, shape: &[u64], limits: &CodecLimits) -> Checked<Bytes> {
    fits(datatype, shape, limits)?;
    let expected = Expected { datatype, shape, tensor_bytes: limits.tensor_bytes };
    json_data::read(cursor, &expected).map_err(|fault| format!("data: {fault}"))
}

/// Checks that what the shape claims is within the limits, before anything is read or allocated for it.
fn fits(datatype: Datatype, shape: &[u64], limits: &CodecLimits) -> Checked<()> {
    match infer::least_bytes(datatype, shape) {
        Some(least) if least <= limits.tensor_bytes as u64 => Ok(()),
        _ => Err(format!(
            "shape {shape:?} of {datatype} exceeds the limit of {} bytes per tensor",
            limits.tensor_bytes
        )),
    }
}

fn shape(cursor: &mut Cursor<'_>) -> Checked<Vec<u64>> {
    let mut shape = Vec::new();
    cursor
        .array(|cursor| {
            if shape.len() == MAX_RANK {
                return Err(format!("more than {MAX_RANK} dimensions"));
            }
            let index = shape.len();
            shape.push(cursor.number(|number| dimension(number, index))?);
            Ok(())
        })
        .map_err(|fault| format!("shape: {fault}"))?;
    Ok(shape)
}

fn dimension(number: &Number<'_>, index: usize) -> Checked<u64> {
    let size = number.integer::<i64>().and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| {
        let found = shown(number.text());
        format!("dimension {index}: expected an integer from 0 to {}, found {found}", i64::MAX)
    })
}

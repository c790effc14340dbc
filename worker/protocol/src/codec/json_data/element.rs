//! Reads elements of a tensor's `data` and appends their raw little-endian form.
//!
//! Owns what an element of each datatype may look like and the words for what it is not. Knows neither shapes nor
//! how many elements there are. Called by the array reader for every element, so the usual case does not allocate.

use std::marker::PhantomData;

use half::{bf16, f16};

use crate::{
    codec::{
        number::Number,
        text::{Checked, Cursor},
    },
    error::shown,
};

/// How elements of one datatype are read.
pub(super) trait Elements {
    /// Reads one element.
    fn one(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Checked<()>;

    /// Reads elements and the comma behind each as long as that is simple, `most` at most, and tells how many.
    fn many(&self, _cursor: &mut Cursor<'_>, _out: &mut Vec<u8>, _most: u64) -> u64 {
        0
    }
}

/// `true` and `false`.
pub(super) struct Booleans;

impl Elements for Booleans {
    fn one(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Checked<()> {
        out.push(u8::from(cursor.boolean()?));
        Ok(())
    }
}

/// Strings, whose raw form may take so many bytes together.
pub(super) struct Strings(pub(super) usize);

impl Elements for Strings {
    fn one(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Checked<()> {
        let text = cursor.string()?;
        let length = u32::try_from(text.len()).map_err(|_| "the string is longer than 4 GiB".to_owned())?;
        if out.len() + size_of_val(&length) + text.len() > self.0 {
            return Err(format!("the data exceeds the limit of {} bytes per tensor", self.0));
        }
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Numbers that become a `T`.
pub(super) struct Numbers<T>(PhantomData<T>);

impl<T> Numbers<T> {
    pub(super) const NEW: Self = Self(PhantomData);
}

impl<T: Numeric> Elements for Numbers<T> {
    fn one(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Checked<()> {
        T::read(cursor)?.append_to(out);
        Ok(())
    }

    fn many(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>, most: u64) -> u64 {
        cursor.plain_numbers(most, |number| T::of(number).map(|value| value.append_to(out)).is_some())
    }
}

/// A numeric type of elements.
pub(super) trait Numeric: Sized {
    /// The number as this type, if it has it.
    fn of(number: &Number<'_>) -> Option<Self>;
    /// Reads one.
    fn read(cursor: &mut Cursor<'_>) -> Checked<Self>;
    /// Appends its little-endian bytes.
    fn append_to(self, out: &mut Vec<u8>);
}

macro_rules! integers {
    ($($integer:ident)*) => {$(
        impl Numeric for $integer {
            #[inline(always)]
            fn of(number: &Number<'_>) -> Option<Self> {
                number.integer()
            }

            fn read(cursor: &mut Cursor<'_>) -> Checked<Self> {
                let wrong = |number: &Number<'_>| {
                    let found = shown(number.text());
                    format!("expected an integer from {} to {}, found {found}", Self::MIN, Self::MAX)
                };
                cursor.number(|number| Self::of(number).ok_or_else(|| wrong(number)))
            }

            #[inline(always)]
            fn append_to(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i8 i16 i32 i64);

macro_rules! floats {
    ($($float:ident: $round:ident, $convert:expr;)*) => {$(
        impl Numeric for $float {
            #[inline(always)]
            fn of(number: &Number<'_>) -> Option<Self> {
                number.$round()
            }

            fn read(cursor: &mut Cursor<'_>) -> Checked<Self> {
                let wrong = |number: &Number<'_>| format!("{} is out of range", shown(number.text()));
                cursor.float(|number| Self::of(number).ok_or_else(|| wrong(number)), $convert)
            }

            #[inline(always)]
            fn append_to(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

floats! {
    f16: fp16, f16::from_f64;
    bf16: bf16, bf16::from_f64;
    f32: fp32, |value| value as f32;
    f64: fp64, |value| value;
}

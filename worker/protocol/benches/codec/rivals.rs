//! The same arrays read and written by JSON libraries, the way each is meant to be used.
//!
//! They get less to do than the codec: no request around the array, no check of a shape, FP32 by way of FP64 (but for
//! one rounding), no NaN. simd-json changes the text it reads, so it reads a copy.

use std::{fmt, hint::black_box, marker::PhantomData};

use criterion::{BenchmarkGroup, measurement::WallTime};
use serde::de::{Deserializer as _, SeqAccess, Visitor};

use crate::numbers::{Element, Numbers};

/// Measures reading into a `Vec`, and with serde_json also straight into raw form.
pub(crate) fn decode<T: Element>(group: &mut BenchmarkGroup<'_, WallTime>, numbers: &Numbers<T>) {
    let text = numbers.text.as_bytes();
    group.bench_function("serde_json", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Vec<T>>(black_box(text)));
    });
    group.bench_function("serde_json_into_raw", |bencher| {
        bencher.iter(|| {
            let mut json = serde_json::Deserializer::from_slice(black_box(text));
            json.deserialize_seq(IntoRaw::<T>(numbers.values.len(), PhantomData))
        });
    });
    group.bench_function("sonic_rs", |bencher| {
        bencher.iter(|| sonic_rs::from_slice::<Vec<T>>(black_box(text)));
    });
    group.bench_function("simd_json", |bencher| {
        bencher.iter(|| simd_json::from_slice::<Vec<T>>(&mut black_box(text).to_vec()));
    });
}

/// Measures writing a `Vec`.
pub(crate) fn encode<T: Element>(group: &mut BenchmarkGroup<'_, WallTime>, numbers: &Numbers<T>) {
    let values = &numbers.values;
    group.bench_function("serde_json", |bencher| bencher.iter(|| serde_json::to_vec(black_box(values))));
    group.bench_function("sonic_rs", |bencher| bencher.iter(|| sonic_rs::to_vec(black_box(values))));
    group.bench_function("simd_json", |bencher| bencher.iter(|| simd_json::to_vec(black_box(values))));
}

/// Reads so many elements into the raw form that the codec makes.
struct IntoRaw<T>(usize, PhantomData<T>);

impl<'de, T: Element> Visitor<'de> for IntoRaw<T> {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut raw = Vec::with_capacity(self.0 * size_of::<T>());
        while let Some(value) = array.next_element::<T>()? {
            value.append_to(&mut raw);
        }
        Ok(raw)
    }
}

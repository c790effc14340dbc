//! The first forward passes of a model version: are its outputs as model.toml says, does it really batch, and what does
//! a batch cost?
//!
//! Libtorch needs three passes to reach its steady speed, and a module that was traced may have the traced batch size
//! baked in. So before the first request every bucket runs one row alone and batches up to the largest; a row must give
//! the same alone and in company, else batches are limited to what works. Then batches are timed, with every lane of the
//! device at work: what the queue knows of costs until requests teach it better. Pure but for the backend and the
//! threads it is timed on; called by `loader`.

use std::time::Duration;

use weir_batching::{BatchCost, ShapeKey, useful_rows};
use weir_config::model::{Padding, TensorSpec, WarmupSection};
use weir_protocol::Datatype;

pub use self::timing::Crew;
use self::trial::Trial;
use super::ModelSpec;
use crate::backend::Backend;

mod compare;
mod limit;
mod probe;
mod sample;
mod timing;
mod trial;

/// Sizes to try for dimensions that model.toml leaves free, until one works.
const FREE_SIZES: [u64; 4] = [8, 32, 128, 224];

/// A clock to time passes with, read by the thread that makes them.
pub type Time = dyn Fn() -> Duration + Sync;

/// How a version is warmed up.
pub struct Plan<'a> {
    /// `[warmup]` of its model.toml.
    pub section: &'a WarmupSection,
    /// Who runs while passes are timed.
    pub crew: Crew,
    /// What they are timed with.
    pub time: &'a Time,
}

/// What warm-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarmUp {
    /// It serves.
    Good(Findings),
    /// Its free dimensions or texts could not be guessed, so nothing is known; what the model said.
    Unknown(String),
    /// It cannot serve; the reason.
    Bad(String),
}

/// What is known of a version that has run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Most rows of a batch that works; at least 1.
    pub max_rows: u32,
    /// What the operator should know, in words.
    pub warning: Option<String>,
    /// What batches cost, by shape.
    pub shapes: Vec<ShapeCost>,
}

/// What batches of one shape cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeCost {
    /// The queue's bucket.
    pub key: ShapeKey,
    /// Length that padded dimensions have, in a model that pads.
    pub bucket: Option<u64>,
    /// Median time of a batch by its rows, ascending; never empty.
    pub times: Vec<(u32, Duration)>,
    /// The line through them.
    pub cost: BatchCost,
    /// Rows of a batch beyond which throughput hardly grows.
    pub useful_rows: u32,
}

impl ShapeCost {
    /// What these times say; `None` without any.
    #[must_use]
    pub fn new(key: ShapeKey, bucket: Option<u64>, times: Vec<(u32, Duration)>) -> Option<Self> {
        let (cost, useful_rows) = (BatchCost::fit(&times)?, useful_rows(&times));
        Some(Self { key, bucket, times, cost, useful_rows })
    }
}

/// What is about to run, for whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Shapes that are done.
    pub shapes_done: usize,
    /// Shapes in all; at least 1.
    pub shapes: usize,
    /// Length that padded dimensions have.
    pub bucket: Option<u64>,
    /// Rows of the batch.
    pub rows: u32,
    /// Whether passes are timed, rather than checked.
    pub is_timed: bool,
}

/// Runs the first passes on the calling thread, which is prepared for them (`backend::enter_lane`), and timed ones on
/// threads of their own. `told` hears what is about to run.
pub fn run(spec: &ModelSpec, backend: &dyn Backend, plan: &Plan<'_>, told: &mut dyn FnMut(Step)) -> WarmUp {
    let guesses = free_sizes(spec, plan.section);
    let mut trial = Trial::new(spec, backend, plan, told);
    match trial.first_shape(&guesses) {
        Ok(first) => trial.run(first).map_or_else(WarmUp::Bad, WarmUp::Good),
        // A model may well know a few words only.
        Err(why) if guesses.len() > 1 || takes_texts(spec) => WarmUp::Unknown(why),
        Err(why) => WarmUp::Bad(why),
    }
}

/// What there is to know of a model that says itself how long its batches take.
pub fn declared(spec: &ModelSpec, time: impl Fn(u32) -> Duration) -> Findings {
    let shapes: Vec<_> = spec.inputs.iter().map(|input| input.shape.clone()).collect();
    let shape = |bucket: Option<u64>| {
        let times = limit::sizes(spec.max_rows).into_iter().map(|rows| (rows, time(rows))).collect();
        ShapeCost::new(spec.shape_key(&shapes, bucket), bucket, times)
    };
    // Shapes that only requests know are learned from them.
    let known =
        if spec.inputs.iter().any(|input| has_free(spec, input)) { Vec::new() } else { trial::buckets(spec) };
    Findings { max_rows: spec.max_rows, warning: None, shapes: known.into_iter().filter_map(shape).collect() }
}

/// Sizes to try for free dimensions that are not padded.
fn free_sizes(spec: &ModelSpec, section: &WarmupSection) -> Vec<u64> {
    let count = if spec.inputs.iter().any(|input| has_free(spec, input)) { FREE_SIZES.len() } else { 1 };
    let guesses = || FREE_SIZES.into_iter().take(count).collect();
    section.free_size.map_or_else(guesses, |size| vec![u64::from(size)])
}

/// Whether an input has dimensions that are whatever a request says.
fn has_free(spec: &ModelSpec, input: &TensorSpec) -> bool {
    let mut dims = input.shape.iter().enumerate();
    input.padding == Padding::None && dims.any(|(at, dim)| *dim < 0 && !spec.is_batch_dim(at))
}

fn takes_texts(spec: &ModelSpec) -> bool {
    spec.inputs.iter().any(|input| input.datatype == Datatype::Bytes)
}

#[cfg(test)]
mod tests;

//! One model version tried shape by shape: what works, what rows give in company, what batches cost.
//!
//! Part of `warmup`.

use std::time::Duration;

use weir_config::model::WarmupRows;

use super::{
    Findings, Plan, ShapeCost, Step, limit,
    probe::{Pass, Probe},
    sample::{Samples, Sizes},
    timing::{Timer, beside_stand_ins},
};
use crate::{backend::Backend, model::ModelSpec};

/// Bound on the timed passes of one version, in each of the threads that make them. With the passes before them this
/// bounds warm-up: in every shape some of one row and three of the largest batch (one, where it takes 2 s or more), in
/// the first shape one of each size below it.
const TIMED_WORK: Duration = Duration::from_secs(10);

/// One version, as far as it has been tried.
pub(super) struct Trial<'a> {
    spec: &'a ModelSpec,
    backend: &'a dyn Backend,
    plan: &'a Plan<'a>,
    told: &'a mut dyn FnMut(Step),
    /// See [`buckets`].
    buckets: Vec<Option<u64>>,
    findings: Findings,
    /// Why batches are smaller than model.toml allows.
    limit: Option<String>,
    /// Why their times are rough.
    untimed: Option<String>,
}

/// The first shape, which has run one row.
pub(super) struct FirstShape<'a> {
    probe: Probe<'a>,
    one: Pass,
    /// Size that free dimensions have which are not padded.
    free: u64,
}

/// Lengths that padded dimensions have; one of `None` in a model that pads nothing.
pub(super) fn buckets(spec: &ModelSpec) -> Vec<Option<u64>> {
    if spec.pads() { spec.buckets.iter().copied().map(Some).collect() } else { vec![None] }
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        spec: &'a ModelSpec,
        backend: &'a dyn Backend,
        plan: &'a Plan<'a>,
        told: &'a mut dyn FnMut(Step),
    ) -> Self {
        let findings = Findings { max_rows: spec.max_rows, ..Findings::default() };
        Self { spec, backend, plan, told, buckets: buckets(spec), findings, limit: None, untimed: None }
    }

    /// Runs one row of the first shape with each of the sizes for free dimensions, until one works.
    pub(super) fn first_shape(&mut self, sizes: &[u64]) -> Result<FirstShape<'a>, String> {
        let bucket = self.buckets.first().copied().flatten();
        let mut first_error = None;
        for &free in sizes {
            let found = self.probe(Sizes { bucket, free }).and_then(|probe| {
                self.tell(bucket, 1, false);
                let one = probe.first_passes().map_err(|why| self.alone(&probe, why))?;
                Ok(FirstShape { probe, one, free })
            });
            match found {
                Ok(found) => return Ok(found),
                Err(why) => first_error = first_error.or(Some(why)),
            }
        }
        Err(first_error.unwrap_or_default())
    }

    /// Tries every shape and times its batches.
    pub(super) fn run(mut self, first: FirstShape<'a>) -> Result<Findings, String> {
        let FirstShape { probe, one, free } = first;
        self.shape(&probe, &one)?;
        // As large as the largest batch.
        drop(probe);
        for bucket in self.buckets.clone().into_iter().skip(1) {
            let named = |why| format!("{why}, in the bucket {}", bucket.unwrap_or_default());
            let probe = self.probe(Sizes { bucket, free }).map_err(named)?;
            self.tell(bucket, 1, false);
            let one = probe.first_passes().map_err(named)?;
            self.shape(&probe, &one)?;
        }
        let Findings { max_rows, shapes, .. } = self.findings;
        let warnings: Vec<_> = self.limit.into_iter().chain(self.untimed).collect();
        let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
        // A later shape may have shown that batches must be smaller.
        let fits = |ShapeCost { key, bucket, times, .. }: ShapeCost| {
            ShapeCost::new(key, bucket, times.into_iter().filter(|(rows, _)| *rows <= max_rows).collect())
        };
        Ok(Findings { max_rows, warning, shapes: shapes.into_iter().filter_map(fits).collect() })
    }

    fn shape(&mut self, probe: &Probe<'_>, one: &Pass) -> Result<(), String> {
        let (most, bucket) = (self.most_rows(probe, one)?, probe.bucket);
        let mut first = vec![(1, one.time)];
        if let (rows @ 2.., time) = most {
            let steady =
                probe.steady(rows, time).map_err(|why| format!("a batch of {rows} rows fails: {why}"))?;
            first.push((rows, steady));
        }
        let timer = Timer { crew: self.plan.crew, passes: self.plan.section.passes };
        let shapes = u32::try_from(self.buckets.len()).unwrap_or(u32::MAX).max(1);
        let times = beside_stand_ins(timer.crew.stand_ins, || {
            timer.measure(probe, &first, TIMED_WORK / shapes, &mut |rows| self.tell(bucket, rows, true))
        });
        let times = times.unwrap_or_else(|why| {
            self.untimed =
                Some(format!("what its batches cost is known roughly, because timed passes fail: {why}"));
            first
        });
        self.findings.shapes.extend(ShapeCost::new(probe.samples.key().clone(), bucket, times));
        Ok(())
    }

    /// The most rows that work, and how long they took.
    fn most_rows(&mut self, probe: &Probe<'_>, one: &Pass) -> Result<(u32, Duration), String> {
        let (max, is_first) = (self.findings.max_rows, self.findings.shapes.is_empty());
        let mut last = (1, one.time);
        let mut works = |rows| {
            self.tell(probe.bucket, rows, false);
            last = (rows, probe.works(&one.outputs, rows)?);
            Ok(())
        };
        // Sizes below the largest are tried in the first shape only, unless the largest fails.
        if max > 1 && !is_first && works(max).is_ok() {
            return Ok(last);
        }
        let (rows, why) = limit::largest(max, works);
        if let Some(why) = why {
            let allowed = self.spec.max_rows;
            if self.plan.section.rows == WarmupRows::Require {
                return Err(format!("does not batch {allowed} rows as model.toml requires: {why}"));
            }
            self.findings.max_rows = rows;
            self.limit = Some(format!(
                "runs at most {rows} rows at a time, although model.toml allows {allowed}: {why}"
            ));
        }
        Ok(last)
    }

    /// Why one row fails, with a batch that does not if there is one: a size that was baked in.
    fn alone(&self, probe: &Probe<'_>, why: String) -> String {
        let sizes = limit::sizes(self.spec.max_rows);
        match sizes.into_iter().skip(1).find(|rows| probe.pass(0..*rows).is_ok()) {
            Some(rows) => format!("a batch of {rows} rows works and a single row does not: {why}"),
            None => why,
        }
    }

    fn probe(&self, sizes: Sizes) -> Result<Probe<'a>, String> {
        Ok(Probe {
            spec: self.spec,
            backend: self.backend,
            samples: Samples::new(self.spec, sizes, self.findings.max_rows)?,
            bucket: sizes.bucket,
            tolerance: self.plan.section.tolerance_ratio,
            time: self.plan.time,
        })
    }

    fn tell(&mut self, bucket: Option<u64>, rows: u32, is_timed: bool) {
        let (shapes_done, shapes) = (self.findings.shapes.len(), self.buckets.len());
        (self.told)(Step { shapes_done, shapes, bucket, rows, is_timed });
    }
}

//! What is simulated: a device, its models, who asks them, and what must come out. Read from TOML, checked once.
//!
//! The file beside the code that explains every key by example is `loadtest/scenarios/batching.toml`.

mod defaults;
mod model;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use weir_batching::{BatchCost, TurnOrder};

pub use self::model::Model;
pub(crate) use self::model::shape;
use crate::simulate::batching::{figure::Figure, rule::Rule};

/// The file of a study.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: Vec<Scenario>,
}

/// One device under several loads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name in tables and checks.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub about: String,
    /// Offered loads, as shares of what the device can do with full batches.
    pub loads: Vec<f64>,
    /// Length of a run; 65 s by default.
    #[serde(default = "defaults::length", deserialize_with = "defaults::duration")]
    pub length: Duration,
    /// How long nothing is counted at the start of a run; 5 s by default.
    #[serde(default = "defaults::warm_up", deserialize_with = "defaults::duration")]
    pub warm_up: Duration,
    /// Batches that the device runs at once; 1 by default.
    #[serde(default = "defaults::one")]
    pub lanes: u32,
    /// Whose turn it is among models; in order of arrival by default.
    #[serde(default)]
    pub turn_order: Turns,
    /// Spread of batch times, as standard deviation over mean, lognormal; 0 by default.
    #[serde(default)]
    pub noise_ratio: f64,
    /// When and how much slower everything becomes: another process takes cores, a device throttles. Never by default.
    #[serde(default)]
    pub slowdown: Option<Slowdown>,
    /// The models of the device.
    pub model: Vec<Model>,
    /// Who asks.
    pub stream: Vec<Stream>,
    /// Shares in time that an independent study found for the best rule it knew, one per load; shown beside Weir's.
    #[serde(default)]
    pub study: Option<Vec<f64>>,
    /// Rules to compare with.
    #[serde(default)]
    pub baselines: Vec<Baseline>,
    /// What Weir must reach.
    #[serde(default)]
    pub gate: Vec<Gate>,
}

/// From a moment on, batches take longer. Loads stay shares of what the device could do before.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slowdown {
    /// The moment, from the start of the run.
    #[serde(deserialize_with = "defaults::duration")]
    pub at: Duration,
    /// How long batches take then, as a multiple.
    pub ratio: f64,
}

/// Requests of one kind, from independent clients (Poisson).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name in tables and checks; may be left out when there is only one.
    #[serde(default)]
    pub name: String,
    /// Index of the model that it asks; 0 by default.
    #[serde(default)]
    pub model: usize,
    /// Its share of the offered load; the shares of a scenario sum up to 1, the default.
    #[serde(default = "defaults::whole")]
    pub share: f64,
    /// Rows of each request; 1 by default.
    #[serde(default = "defaults::one")]
    pub rows: u32,
    /// What a row costs, in multiples of `per_row`; 1 by default.
    #[serde(default = "defaults::one")]
    pub units_per_row: u32,
    /// Index of the shape bucket that it asks for; 0 by default.
    #[serde(default)]
    pub bucket: usize,
    /// Priority class, 0 first, the default.
    #[serde(default)]
    pub class: u8,
    /// How long answers are useful; for ever by default.
    #[serde(default, deserialize_with = "defaults::some_duration")]
    pub deadline: Option<Duration>,
}

/// A rule to compare with, and what is known of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The rule.
    pub rule: Rule,
    /// Shares in time that an independent study found, one per load: ours must be within 5 points, or one of the two
    /// simulations is wrong.
    #[serde(default)]
    pub study: Option<Vec<f64>>,
}

/// A bound on a figure of Weir.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The figure.
    pub figure: Figure,
    /// Of one stream; of all together by default.
    #[serde(default)]
    pub stream: Option<String>,
    /// The loads at which it holds; all of the scenario by default.
    #[serde(default)]
    pub loads: Option<Vec<f64>>,
    /// Least value, one per load.
    #[serde(default)]
    pub at_least: Option<Vec<f64>>,
    /// Greatest value, one per load.
    #[serde(default)]
    pub at_most: Option<Vec<f64>>,
}

/// [`TurnOrder`], as scenarios spell it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turns {
    /// [`TurnOrder::Arrival`]
    #[default]
    Arrival,
    /// [`TurnOrder::Slo`]
    Slo,
}

impl From<Turns> for TurnOrder {
    fn from(turns: Turns) -> Self {
        match turns {
            Turns::Arrival => Self::Arrival,
            Turns::Slo => Self::Slo,
        }
    }
}

impl Scenario {
    /// Reads the scenarios of a file.
    ///
    /// # Errors
    /// Where the text is not as it should be, or which scenario contradicts itself.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let File { scenario } = toml::from_str(text)?;
        let mut names = BTreeSet::new();
        for scenario in &scenario {
            scenario.check().with_context(|| format!("scenario '{}'", scenario.name))?;
            if !names.insert(&scenario.name) {
                bail!("two scenarios are named '{}'", scenario.name);
            }
        }
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        let share: f64 = self.stream.iter().map(|stream| stream.share).sum();
        let unknown = |s: &Stream| self.model.get(s.model).is_none_or(|m| s.bucket >= m.bucket_ratios.len());
        let rows =
            |stream: &Stream| self.model.get(stream.model).is_some_and(|m| stream.rows > m.max_batch_rows);
        let zero = |model: &Model| model.max_batch_rows == 0 || model.believed_ratio <= 0.0;
        if self.model.is_empty() || self.stream.is_empty() || self.stream.iter().any(unknown) {
            bail!("give at least one model and one stream, and name only models and buckets that are there");
        }
        if self.loads.is_empty() || !self.loads.iter().all(|load| *load > 0.0) || self.lanes == 0 {
            bail!("loads and lanes are above 0");
        }
        if (share - 1.0).abs() > 1e-9 || self.warm_up >= self.length {
            bail!("the shares of the streams sum up to 1, and the warm-up is shorter than the run");
        }
        if self.model.iter().any(zero)
            || self.stream.iter().any(|s| s.rows == 0 || s.units_per_row == 0 || rows(s))
        {
            bail!("batches and requests have at least one row, and a request fits a batch");
        }
        let plain = self.model.len() == 1 && self.model.iter().all(|model| model.bucket_ratios.len() == 1);
        if !plain && !self.baselines.is_empty() {
            bail!("baselines know one model with one bucket only");
        }
        if self.slowdown.is_some_and(|slowdown| slowdown.ratio <= 0.0) {
            bail!("a slowdown has a ratio above 0");
        }
        let per_load =
            |values: &Option<Vec<f64>>| values.as_ref().is_none_or(|v| v.len() == self.loads.len());
        if !per_load(&self.study) || !self.baselines.iter().all(|baseline| per_load(&baseline.study)) {
            bail!("a study has one value per load");
        }
        self.gate.iter().try_for_each(|gate| self.check_gate(gate))
    }

    fn check_gate(&self, gate: &Gate) -> Result<()> {
        let loads = gate.loads.as_ref().unwrap_or(&self.loads);
        let known = loads.iter().all(|load| self.loads.contains(load));
        let limits = [&gate.at_least, &gate.at_most];
        let fits = limits.into_iter().flatten().all(|limits| limits.len() == loads.len());
        if !known || !fits || limits.iter().all(|limits| limits.is_none()) {
            bail!("a gate has loads of its scenario, and one limit for each of them");
        }
        match &gate.stream {
            Some(name) if !self.stream.iter().any(|stream| stream.name == *name) => {
                bail!("there is no stream '{name}' to hold a gate against")
            }
            _ => Ok(()),
        }
    }

    /// One model, one lane, requests of one row that all have the same deadline.
    #[must_use]
    pub(crate) fn of_one(model: Model, deadline: Duration) -> Self {
        let stream = Stream {
            name: String::new(),
            model: 0,
            share: defaults::whole(),
            rows: defaults::one(),
            units_per_row: defaults::one(),
            bucket: 0,
            class: 0,
            deadline: Some(deadline),
        };
        Self {
            name: String::new(),
            about: String::new(),
            loads: Vec::new(),
            length: defaults::length(),
            warm_up: defaults::warm_up(),
            lanes: defaults::one(),
            turn_order: Turns::Arrival,
            noise_ratio: 0.0,
            slowdown: None,
            model: vec![model],
            stream: vec![stream],
            study: None,
            baselines: Vec::new(),
            gate: Vec::new(),
        }
    }

    /// What the rules other than Weir know: the cost and the full batch of the first model.
    pub(crate) fn only_model(&self) -> (BatchCost, u32) {
        let none = BatchCost { base: Duration::ZERO, per_unit: Duration::ZERO };
        self.model.first().map_or((none, 1), |model| (model.believed(0), model.max_batch_rows))
    }

    /// The tightest deadline of all streams.
    pub(crate) fn tightest_deadline(&self) -> Option<Duration> {
        self.stream.iter().filter_map(|stream| stream.deadline).min()
    }

    /// Requests per second of a stream when the device is offered `load`.
    pub(crate) fn rate(&self, stream: &Stream, load: f64) -> f64 {
        let Some(model) = self.model.get(stream.model) else { return 0.0 };
        let units = model.max_batch_rows.saturating_mul(stream.units_per_row);
        let full = model.cost(stream.bucket).of(units).as_secs_f64();
        let rows_per_second = f64::from(model.max_batch_rows) / full * f64::from(self.lanes);
        load * stream.share * rows_per_second / f64::from(stream.rows)
    }
}

#[cfg(test)]
mod tests;

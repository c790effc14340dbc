//! What is simulated: a device, its models, who asks them, and what must come out. Read from TOML, checked once.
//!
//! The file beside the code that explains every key by example is `loadtest/scenarios/batching.toml`.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer, de::Error};
use weir_batching::{BatchCost, QueueSettings, ShapeKey, TurnOrder};

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
    #[serde(default = "length", deserialize_with = "duration")]
    pub length: Duration,
    /// How long nothing is counted at the start of a run; 5 s by default.
    #[serde(default = "warm_up", deserialize_with = "duration")]
    pub warm_up: Duration,
    /// Batches that the device runs at once; 1 by default.
    #[serde(default = "one")]
    pub lanes: u32,
    /// Whose turn it is among models; in order of arrival by default.
    #[serde(default)]
    pub turn_order: Turns,
    /// Spread of batch times, as standard deviation over mean, lognormal; 0 by default.
    #[serde(default)]
    pub noise_ratio: f64,
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

/// A model: what its batches cost and how its queue is set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Time that every batch takes.
    #[serde(deserialize_with = "duration")]
    pub base: Duration,
    /// Time that every row takes.
    #[serde(deserialize_with = "duration")]
    pub per_row: Duration,
    /// Rows of a full batch.
    pub max_batch_rows: u32,
    /// What the queue is told of the cost, as a share of the truth; 1 by default.
    #[serde(default = "whole")]
    pub believed_ratio: f64,
    /// Rows of a batch that are worth while; no bound by default.
    #[serde(default)]
    pub useful_rows: Option<u32>,
    /// Longest wait for company; none by default.
    #[serde(default, deserialize_with = "duration")]
    pub max_queue_delay: Duration,
    /// Sizes that need no more company; none by default.
    #[serde(default)]
    pub preferred_batch_rows: Vec<u32>,
    /// Most rows that may wait; 65,536 by default, more than any scenario reaches.
    #[serde(default = "roomy")]
    pub max_queued_rows: u32,
    /// Wait that raises a request by one priority class; 1 s by default.
    #[serde(default = "ageing", deserialize_with = "duration")]
    pub ageing: Duration,
    /// Batches of this model that run at once; as many as the device has lanes by default.
    #[serde(default)]
    pub lanes: Option<u32>,
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
    #[serde(default = "whole")]
    pub share: f64,
    /// Rows of each request; 1 by default.
    #[serde(default = "one")]
    pub rows: u32,
    /// Priority class, 0 first, the default.
    #[serde(default)]
    pub class: u8,
    /// How long answers are useful; for ever by default.
    #[serde(default, deserialize_with = "some_duration")]
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
        let unknown = self.stream.iter().any(|stream| self.model.get(stream.model).is_none());
        let rows =
            |stream: &Stream| self.model.get(stream.model).is_some_and(|m| stream.rows > m.max_batch_rows);
        let zero = |model: &Model| model.max_batch_rows == 0 || model.believed_ratio <= 0.0;
        if self.model.is_empty() || self.stream.is_empty() || unknown {
            bail!("give at least one model and one stream, and name only models that are there");
        }
        if self.loads.is_empty() || !self.loads.iter().all(|load| *load > 0.0) || self.lanes == 0 {
            bail!("loads and lanes are above 0");
        }
        if (share - 1.0).abs() > 1e-9 || self.warm_up >= self.length {
            bail!("the shares of the streams sum up to 1, and the warm-up is shorter than the run");
        }
        if self.model.iter().any(zero) || self.stream.iter().any(|s| s.rows == 0 || rows(s)) {
            bail!("batches and requests have at least one row, and a request fits a batch");
        }
        if self.model.len() > 1 && !self.baselines.is_empty() {
            bail!("baselines know one model only");
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
            share: whole(),
            rows: one(),
            class: 0,
            deadline: Some(deadline),
        };
        Self {
            name: String::new(),
            about: String::new(),
            loads: Vec::new(),
            length: length(),
            warm_up: warm_up(),
            lanes: one(),
            turn_order: Turns::Arrival,
            noise_ratio: 0.0,
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
        self.model.first().map_or((none, 1), |model| (model.believed(), model.max_batch_rows))
    }

    /// The tightest deadline of all streams.
    pub(crate) fn tightest_deadline(&self) -> Option<Duration> {
        self.stream.iter().filter_map(|stream| stream.deadline).min()
    }

    /// Requests per second of a stream when the device is offered `load`.
    pub(crate) fn rate(&self, stream: &Stream, load: f64) -> f64 {
        let Some(model) = self.model.get(stream.model) else { return 0.0 };
        let full = model.cost().of(model.max_batch_rows).as_secs_f64();
        let rows_per_second = f64::from(model.max_batch_rows) / full * f64::from(self.lanes);
        load * stream.share * rows_per_second / f64::from(stream.rows)
    }
}

impl Model {
    /// A model with these batches and every other key at its default.
    #[must_use]
    pub fn of(cost: BatchCost, max_batch_rows: u32) -> Self {
        Self {
            base: cost.base,
            per_row: cost.per_unit,
            max_batch_rows,
            believed_ratio: whole(),
            useful_rows: None,
            max_queue_delay: Duration::ZERO,
            preferred_batch_rows: Vec::new(),
            max_queued_rows: roomy(),
            ageing: ageing(),
            lanes: None,
        }
    }

    /// What batches take.
    pub(crate) fn cost(&self) -> BatchCost {
        BatchCost { base: self.base, per_unit: self.per_row }
    }

    /// What the queue is told that batches take.
    pub(crate) fn believed(&self) -> BatchCost {
        let believed = |time: Duration| time.mul_f64(self.believed_ratio);
        BatchCost { base: believed(self.base), per_unit: believed(self.per_row) }
    }

    /// The settings of its queue, on a device with `lanes`.
    pub(crate) fn queue_settings(&self, lanes: u32) -> QueueSettings {
        QueueSettings {
            max_batch_rows: self.max_batch_rows,
            max_queue_delay: self.max_queue_delay,
            preferred_batch_rows: self.preferred_batch_rows.clone(),
            max_queued_rows: self.max_queued_rows,
            default_timeout: None,
            ageing: self.ageing,
            lanes: self.lanes.unwrap_or(lanes),
            costs: vec![(ShapeKey::default(), self.believed())],
            useful_rows: self.useful_rows.map(|rows| (ShapeKey::default(), rows)).into_iter().collect(),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| D::Error::custom(format!("'{text}': {error}")))
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn length() -> Duration {
    Duration::from_secs(65)
}

fn warm_up() -> Duration {
    Duration::from_secs(5)
}

fn ageing() -> Duration {
    Duration::from_secs(1)
}

fn one() -> u32 {
    1
}

fn whole() -> f64 {
    1.0
}

fn roomy() -> u32 {
    1 << 16
}

#[cfg(test)]
mod tests;

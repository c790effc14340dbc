//! What a study found: checks against gates, tables for people, shares by seed for the record.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::simulate::{
    Check, Side,
    batching::{Figure, Gate, Job, Rule, Scenario, Stream, tally::Tally},
    seeds::median,
    table::Table,
};

/// How far a rule may be from what an independent study found for it, as a share of requests.
const STUDY_DISTANCE: f64 = 0.05;

/// Every run of a study.
#[derive(Debug)]
pub struct Results {
    scenarios: Vec<Scenario>,
    seeds: Vec<u64>,
    runs: Vec<(Job, Tally)>,
}

/// What came out for one scenario, rule and load, by seed: what a later run of the same code must give again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the rule.
    pub rule: String,
    /// Offered load.
    pub load: f64,
    /// [`Figure::InTime`] with each seed, in the order of the seeds, to a hundredth of a point.
    pub in_time: Vec<f64>,
    /// [`Figure::RefusalP99`], likewise, in milliseconds.
    pub refusal_p99_ms: Vec<f64>,
}

impl Results {
    pub(super) fn new(scenarios: Vec<Scenario>, seeds: &[u64], runs: Vec<(Job, Tally)>) -> Self {
        Self { scenarios, seeds: seeds.to_vec(), runs }
    }

    /// Every gate of Weir, and every baseline's distance from the study that it was taken from.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for (index, scenario) in self.scenarios.iter().enumerate() {
            for gate in &scenario.gate {
                checks.extend(self.gate(index, scenario, gate));
            }
            checks.extend(self.distances(index, scenario));
        }
        checks
    }

    fn gate(&self, index: usize, scenario: &Scenario, gate: &Gate) -> Vec<Check> {
        let loads = gate.loads.as_ref().unwrap_or(&scenario.loads);
        let sides = [(Side::AtLeast, &gate.at_least, "at least"), (Side::AtMost, &gate.at_most, "at most")];
        let stream = gate.stream.as_deref();
        let subject = stream.map(|stream| format!(", {stream}")).unwrap_or_default();
        let mut checks = Vec::new();
        for (side, limits, word) in sides {
            for (load, limit) in loads.iter().zip(limits.iter().flatten()) {
                let name = format!("{}{subject}, load {load}: {}, {word}", scenario.name, gate.figure.name());
                let value = self.value(index, Rule::Weir, *load, gate.figure, stream);
                checks.push(Check::new(name, value, side, *limit));
            }
        }
        checks
    }

    fn distances(&self, index: usize, scenario: &Scenario) -> Vec<Check> {
        let mut checks = Vec::new();
        for baseline in &scenario.baselines {
            for (load, study) in scenario.loads.iter().zip(baseline.study.iter().flatten()) {
                if self.tallies(index, baseline.rule, *load).next().is_some() {
                    let name = baseline.rule.name();
                    let name =
                        format!("{}, {name}, load {load}: distance from the study, at most", scenario.name);
                    let share = self.value(index, baseline.rule, *load, Figure::InTime, None);
                    checks.push(Check::new(
                        name,
                        rounded((share - study).abs()),
                        Side::AtMost,
                        STUDY_DISTANCE,
                    ));
                }
            }
        }
        checks
    }

    /// The median over seeds.
    fn value(&self, index: usize, rule: Rule, load: f64, figure: Figure, stream: Option<&str>) -> f64 {
        let values: Vec<f64> =
            self.tallies(index, rule, load).map(|tally| tally.figure(figure, stream)).collect();
        rounded(median(&values))
    }

    fn tallies(&self, index: usize, rule: Rule, load: f64) -> impl Iterator<Item = &Tally> {
        let wanted = move |job: &Job| (job.scenario, job.rule, job.load) == (index, rule, load);
        self.runs.iter().filter(move |(job, _)| wanted(job)).map(|(_, tally)| tally)
    }

    /// What came out for every scenario, rule and load, in the order of the file.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        for runs in
            self.runs.chunk_by(|(a, _), (b, _)| (a.scenario, a.rule, a.load) == (b.scenario, b.rule, b.load))
        {
            let Some((job, _)) = runs.first() else { continue };
            let by_seed =
                |figure| runs.iter().map(|(_, tally)| rounded(tally.figure(figure, None))).collect();
            let scenario = self.scenarios.get(job.scenario).map(|scenario| scenario.name.clone());
            records.push(Record {
                scenario: scenario.unwrap_or_default(),
                rule: job.rule.name().to_owned(),
                load: job.load,
                in_time: by_seed(Figure::InTime),
                refusal_p99_ms: by_seed(Figure::RefusalP99),
            });
        }
        records
    }

    fn fmt_checks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["check", "value", "limit", "holds"]);
        for check in self.checks() {
            let holds = if check.ok { "yes" } else { "NO" };
            table.push([
                check.name,
                format!("{:.3}", check.value),
                check.limit.to_string(),
                holds.to_owned(),
            ]);
        }
        write!(f, "## Checks\n\n{table}")
    }

    fn fmt_scenario(&self, f: &mut fmt::Formatter<'_>, index: usize, scenario: &Scenario) -> fmt::Result {
        write!(f, "\n## {}\n\n{}\n\n", scenario.name, scenario.about.trim())?;
        writeln!(f, "{}", self.comparison(index, scenario))?;
        let streams = scenario.stream.iter().map(|stream: &Stream| Some(stream.name.as_str()));
        let alone = scenario.stream.len() == 1;
        let mut table = Table::new(
            ["weir"].into_iter().map(str::to_owned).chain(Figure::ALL.map(|f| f.name().to_owned())),
        );
        for load in &scenario.loads {
            for stream in [None].into_iter().chain(streams.clone().filter(|_| !alone)) {
                let name =
                    format!("load {load}{}", stream.map(|name| format!(", {name}")).unwrap_or_default());
                let show = |figure: Figure| figure.show(self.value(index, Rule::Weir, *load, figure, stream));
                table.push([name].into_iter().chain(Figure::ALL.map(show)));
            }
        }
        write!(f, "{table}")
    }

    /// Shares in time by rule and load, in percent.
    fn comparison(&self, index: usize, scenario: &Scenario) -> Table {
        let loads = scenario.loads.iter().map(|load| format!("load {load}"));
        let mut table =
            Table::new([String::from("in time, %")].into_iter().chain(loads).chain([String::from("study")]));
        let others = scenario.baselines.iter().map(|baseline| (baseline.rule, baseline.study.as_ref()));
        for (rule, study) in others.chain([(Rule::Weir, scenario.study.as_ref())]) {
            if scenario.loads.iter().all(|load| self.tallies(index, rule, *load).next().is_none()) {
                continue;
            }
            let share =
                |load: &f64| Figure::InTime.show(self.value(index, rule, *load, Figure::InTime, None));
            let study =
                study.iter().flat_map(|study| study.iter()).map(|share| format!("{:.0}", share * 100.0));
            let row = [rule.name().to_owned()].into_iter().chain(scenario.loads.iter().map(share));
            table.push(row.chain([study.collect::<Vec<_>>().join(" / ")]));
        }
        table
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_checks(f)?;
        let scenarios = self.scenarios.iter().enumerate();
        scenarios.into_iter().try_for_each(|(index, scenario)| self.fmt_scenario(f, index, scenario))?;
        let seeds = self.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        writeln!(f, "\nMedians over the seeds {seeds}. Times in ms, shares in percent.")
    }
}

/// To a hundredth of a point: finer differences are noise, and a file that has them would change for nothing.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

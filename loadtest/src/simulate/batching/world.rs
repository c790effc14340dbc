//! One run: clients ask, lanes run batches, a rule decides, the tally counts. All in virtual time.
//!
//! Knows what batches really take; the rule knows only what it was told and what it has seen.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    Process, Schedule,
    simulate::{
        Agenda,
        batching::{
            request::Request,
            rule::{Batcher, Offer, Rule, Turn},
            scenario::Scenario,
            tally::Tally,
        },
    },
};

/// Streams draw from seeds of their own, so that one more stream leaves the others' arrivals as they were.
const STREAM_STRIDE: u64 = 1_000_003;
/// What sets the noise of batch times apart from arrivals of the same seed.
const NOISE_SALT: u64 = 0x5EED_0F70_15E5;
/// A rule that asks to be called for the present or the past is called this much later instead: time must pass.
const LEAST_WAIT: Duration = Duration::from_micros(1);

/// Something that happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A client of that stream sends a request.
    Arrival { stream: usize },
    /// The batch that began with that request ends.
    End { batch: u64 },
    /// The rule asked to be called.
    Wake,
}

/// A batch that runs.
struct Running {
    requests: Vec<Request>,
    took: Duration,
}

struct World<'a> {
    scenario: &'a Scenario,
    agenda: Agenda<Event>,
    arrivals: Vec<Box<dyn Iterator<Item = Duration>>>,
    batcher: Box<dyn Batcher>,
    running: BTreeMap<u64, Running>,
    wake: Option<Duration>,
    noise: StdRng,
    requests: u64,
    tally: Tally,
}

/// Runs a scenario at one load with one rule and one seed.
///
/// # Errors
/// A stream has no requests at this load, or more than a million in a second.
pub(crate) fn run(scenario: &Scenario, rule: Rule, load: f64, seed: u64) -> Result<Tally> {
    let mut arrivals: Vec<Box<dyn Iterator<Item = Duration>>> = Vec::new();
    for (index, stream) in scenario.stream.iter().enumerate() {
        let seed = seed.wrapping_mul(STREAM_STRIDE).wrapping_add(index as u64);
        let rate = scenario.rate(stream, load);
        let schedule = Schedule::lasting(Process::Poisson, rate, scenario.length, seed)?;
        arrivals.push(Box::new(schedule.offsets()));
    }
    let mut world = World {
        scenario,
        agenda: Agenda::default(),
        arrivals,
        batcher: rule.batcher(scenario),
        running: BTreeMap::new(),
        wake: None,
        noise: StdRng::seed_from_u64(seed ^ NOISE_SALT),
        requests: 0,
        tally: Tally::new(scenario),
    };
    (0..scenario.stream.len()).for_each(|stream| world.plan_arrival(stream));
    while let Some(event) = world.agenda.advance() {
        world.happen(event);
        world.serve();
    }
    world.tally.end(world.agenda.now());
    Ok(world.tally)
}

impl World<'_> {
    fn plan_arrival(&mut self, stream: usize) {
        let due = self.arrivals.get_mut(stream).and_then(Iterator::next);
        if let Some(due) = due {
            self.agenda.plan(due, Event::Arrival { stream });
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.agenda.now();
        match event {
            Event::Arrival { stream } => {
                self.arrive(now, stream);
                self.plan_arrival(stream);
            }
            Event::End { batch } => {
                if let Some(Running { requests, took }) = self.running.remove(&batch) {
                    self.batcher.finish(now, &requests, took);
                    self.tally.answered(now, &requests);
                }
            }
            Event::Wake if self.wake.is_some_and(|wake| wake <= now) => self.wake = None,
            Event::Wake => {}
        }
    }

    fn arrive(&mut self, now: Duration, index: usize) {
        let Some(stream) = self.scenario.stream.get(index) else { return };
        let request = Request {
            id: self.requests,
            stream: index,
            model: stream.model,
            bucket: stream.bucket,
            rows: stream.rows,
            units: stream.rows.saturating_mul(stream.units_per_row),
            class: stream.class,
            arrived: now,
            deadline: stream.deadline.map(|deadline| now + deadline),
        };
        self.requests += 1;
        self.tally.offered(&request);
        match self.batcher.offer(now, request) {
            Offer::Queued(quote) => self.tally.quoted(&request, quote),
            Offer::Refused => self.tally.refused(now, &request),
        }
    }

    /// Gives every free lane something to do.
    fn serve(&mut self) {
        let now = self.agenda.now();
        let mut dropped = Vec::new();
        while self.running.len() < self.scenario.lanes as usize {
            match self.batcher.next(now, &mut dropped) {
                Turn::Run(requests) => self.start(now, requests),
                Turn::WaitUntil(at) => {
                    self.plan_wake(at.max(now + LEAST_WAIT));
                    break;
                }
                Turn::Idle => break,
            }
        }
        dropped.iter().for_each(|request| self.tally.dropped(now, request));
    }

    fn plan_wake(&mut self, at: Duration) {
        if self.wake.is_none_or(|planned| at < planned) {
            self.wake = Some(at);
            self.agenda.plan(at, Event::Wake);
        }
    }

    fn start(&mut self, now: Duration, requests: Vec<Request>) {
        let Some(first) = requests.first().copied() else { return };
        let rows = requests.iter().map(|request| request.rows).sum();
        let units = requests.iter().map(|request| request.units).sum();
        let cost = self.scenario.model.get(first.model).map(|model| model.cost(first.bucket));
        let took =
            cost.map_or(Duration::ZERO, |cost| cost.of(units)).mul_f64(self.slower(now) * self.draw_noise());
        self.tally.started(now, rows, took);
        self.agenda.plan(now + took, Event::End { batch: first.id });
        self.running.insert(first.id, Running { requests, took });
    }

    fn slower(&self, now: Duration) -> f64 {
        let slowdown = self.scenario.slowdown.filter(|slowdown| slowdown.at <= now);
        slowdown.map_or(1.0, |slowdown| slowdown.ratio)
    }

    /// A lognormal factor with mean 1 and the scenario's spread.
    fn draw_noise(&mut self) -> f64 {
        let ratio = self.scenario.noise_ratio;
        if ratio == 0.0 {
            return 1.0;
        }
        let variance = (1.0 + ratio * ratio).ln();
        // Box-Muller; 1 - u is in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.noise.random::<f64>()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.noise.random::<f64>()).cos();
        (normal * variance.sqrt() - variance / 2.0).exp()
    }
}

#[cfg(test)]
mod tests;

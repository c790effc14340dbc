//! Statistics of the fleet: who is asked, and how answers are added up.
//!
//! Counts and times of the same model version are added; the last inference is the latest. What a worker says of a
//! model that clients may not ask for stays out of the sum.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::StreamExt as _;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use weir_protocol::{
    OipError, Reason, Version,
    grpc::{
        InferBatchStatistics, InferResponseStatistics, InferStatistics, MemoryUsage, ModelStatistics,
        ModelStatisticsResponse, StatisticDuration,
    },
    rest::model_path,
};
use weir_routing::{Endpoint, EndpointKind, Health};

use super::{AT_ONCE, FleetCall, FleetOutcome, GATHERING_TIME, Statistics, Subject, WorkerCalls};
use crate::{outbound::Call, registry::Snapshot};

/// One round of asking the fleet.
pub(super) struct Gathering {
    calls: WorkerCalls,
    seats: Arc<Semaphore>,
    snapshot: Arc<Snapshot>,
    subject: Option<Subject>,
}

/// What one worker answered.
enum Answer {
    /// Its statistics.
    Rows(Vec<ModelStatistics>),
    /// It keeps none.
    Without,
    /// Nothing, or nothing that can be read.
    Failed,
}

/// A worker and what it is asked.
struct Asked {
    worker: Arc<Endpoint>,
    path: String,
}

impl Gathering {
    pub(super) fn new(
        calls: WorkerCalls,
        seats: Arc<Semaphore>,
        snapshot: Arc<Snapshot>,
        subject: Option<Subject>,
    ) -> Self {
        Self { calls, seats, snapshot, subject }
    }

    pub(super) async fn run(&self) -> Statistics {
        let asked = self.asked();
        let (mut sum, mut answered, mut without) = (Sum::default(), 0_u64, 0_u64);
        let until = Instant::now() + GATHERING_TIME;
        let mut left = asked.len();
        let ask = |asked| self.ask(asked);
        let mut answers = futures_util::stream::iter(asked).map(ask).buffer_unordered(AT_ONCE);
        while let Ok(Some(answer)) = timeout_at(until, answers.next()).await {
            left -= 1;
            self.calls.count(FleetCall::Statistics, answer.outcome());
            match answer {
                Answer::Rows(rows) => {
                    answered += 1;
                    rows.into_iter().filter(|row| self.wanted(row)).for_each(|row| sum.add(row));
                }
                Answer::Without => without += 1,
                Answer::Failed => {}
            }
        }
        (0..left).for_each(|_| self.calls.count(FleetCall::Statistics, FleetOutcome::Failed));
        match &self.subject {
            Some(subject) if answered == 0 => Err(nobody(subject, without > 0)),
            _ => Ok(Arc::new(sum.total())),
        }
    }

    /// The healthy workers that have the subject, or all healthy ones, each once.
    fn asked(&self) -> Vec<Asked> {
        let Some(subject) = &self.subject else {
            let all = self.snapshot.endpoints.iter();
            let path = || "/v2/models/stats".to_owned();
            return all
                .filter(|w| healthy(w))
                .map(|w| Asked { worker: Arc::clone(w), path: path() })
                .collect();
        };
        let model = self.snapshot.directory.model(subject.model.as_str());
        let versions = model.into_iter().flat_map(|model| &model.versions);
        let wanted = versions.filter(|(version, _)| subject.version.is_none_or(|only| **version == only));
        let mut seen = BTreeSet::new();
        let once = wanted.flat_map(|(_, pool)| &pool.replicas).filter(|r| seen.insert(&r.endpoint.spec.id));
        let asked = once.filter(|replica| healthy(&replica.endpoint)).map(|replica| Asked {
            worker: Arc::clone(&replica.endpoint),
            path: model_path(&subject.model, subject.version.filter(|_| replica.versioned), "stats"),
        });
        asked.collect()
    }

    async fn ask(&self, Asked { worker, path }: Asked) -> Answer {
        // Never closed.
        let _seat = self.seats.acquire().await;
        let limit = self.snapshot.config.health.timeout;
        let reply = match self.calls.call(&self.snapshot, &worker.spec, Call::get(&path), limit).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(worker = %worker.spec.id, %error, "a worker's statistics are left out");
                return Answer::Failed;
            }
        };
        match reply.status {
            200 => match serde_json::from_slice::<ModelStatisticsResponse>(&reply.body) {
                Ok(answer) => Answer::Rows(numbered(answer.model_stats, worker.spec.kind)),
                Err(error) => {
                    tracing::debug!(worker = %worker.spec.id, %error, "a worker's statistics cannot be read");
                    Answer::Failed
                }
            },
            404 | 405 | 501 => Answer::Without,
            _ => Answer::Failed,
        }
    }

    /// Whether a row belongs into the answer.
    fn wanted(&self, row: &ModelStatistics) -> bool {
        match &self.subject {
            None => self.snapshot.directory.model(&row.name).is_some(),
            Some(subject) => {
                let version = |only: Version| row.version.parse() == Ok(only);
                row.name == subject.model.as_str() && subject.version.is_none_or(version)
            }
        }
    }
}

impl Answer {
    fn outcome(&self) -> FleetOutcome {
        match self {
            Self::Rows(_) => FleetOutcome::Answered,
            Self::Without => FleetOutcome::Refused,
            Self::Failed => FleetOutcome::Failed,
        }
    }
}

fn healthy(worker: &Endpoint) -> bool {
    worker.live.health() == Health::Healthy
}

fn nobody(subject: &Subject, without: bool) -> OipError {
    let model = &subject.model;
    if without {
        let message = format!("no worker that has model '{model}' keeps statistics");
        return OipError::new(Reason::Unsupported, message);
    }
    let message = format!("no worker that has model '{model}' gave its statistics; try again later");
    OipError::new(Reason::NotReady, message)
}

/// Rows of a foreign worker without version numbers are those of version 1, as everywhere in the gateway.
fn numbered(mut rows: Vec<ModelStatistics>, kind: EndpointKind) -> Vec<ModelStatistics> {
    if kind == EndpointKind::Foreign {
        for row in rows.iter_mut().filter(|row| row.version.parse::<Version>().is_err()) {
            row.version = Version::FIRST.to_string();
        }
    }
    rows
}

/// Statistics of several workers, added up by model and version.
#[derive(Default)]
pub(super) struct Sum {
    rows: BTreeMap<(String, u64), ModelStatistics>,
}

impl Sum {
    /// Adds one worker's statistics of one version.
    pub(super) fn add(&mut self, row: ModelStatistics) {
        let version = row.version.parse().map_or(0, Version::number);
        let empty =
            || ModelStatistics { name: row.name.clone(), version: row.version.clone(), ..Default::default() };
        let sum = self.rows.entry((row.name.clone(), version)).or_insert_with(empty);
        sum.last_inference = sum.last_inference.max(row.last_inference);
        sum.inference_count = sum.inference_count.saturating_add(row.inference_count);
        sum.execution_count = sum.execution_count.saturating_add(row.execution_count);
        requests(sum.inference_stats.get_or_insert_default(), row.inference_stats.unwrap_or_default());
        row.batch_stats.into_iter().for_each(|batches| add_batches(&mut sum.batch_stats, batches));
        row.memory_usage.into_iter().for_each(|memory| add_memory(&mut sum.memory_usage, memory));
        for (index, more) in row.response_stats {
            responses(sum.response_stats.entry(index).or_default(), more);
        }
    }

    /// By name, then version.
    pub(super) fn total(self) -> ModelStatisticsResponse {
        ModelStatisticsResponse { model_stats: self.rows.into_values().collect() }
    }
}

fn requests(sum: &mut InferStatistics, more: InferStatistics) {
    duration(&mut sum.success, more.success);
    duration(&mut sum.fail, more.fail);
    duration(&mut sum.queue, more.queue);
    duration(&mut sum.compute_input, more.compute_input);
    duration(&mut sum.compute_infer, more.compute_infer);
    duration(&mut sum.compute_output, more.compute_output);
    duration(&mut sum.cache_hit, more.cache_hit);
    duration(&mut sum.cache_miss, more.cache_miss);
}

fn responses(sum: &mut InferResponseStatistics, more: InferResponseStatistics) {
    duration(&mut sum.compute_infer, more.compute_infer);
    duration(&mut sum.compute_output, more.compute_output);
    duration(&mut sum.success, more.success);
    duration(&mut sum.fail, more.fail);
    duration(&mut sum.empty_response, more.empty_response);
    duration(&mut sum.cancel, more.cancel);
}

/// Adds batches of one size, kept in ascending order of size.
fn add_batches(sum: &mut Vec<InferBatchStatistics>, more: InferBatchStatistics) {
    let place = sum.binary_search_by_key(&more.batch_size, |batches| batches.batch_size);
    let place = place.unwrap_or_else(|free| {
        sum.insert(free, InferBatchStatistics { batch_size: more.batch_size, ..Default::default() });
        free
    });
    if let Some(batches) = sum.get_mut(place) {
        duration(&mut batches.compute_input, more.compute_input);
        duration(&mut batches.compute_infer, more.compute_infer);
        duration(&mut batches.compute_output, more.compute_output);
    }
}

/// Adds memory of one kind and device.
fn add_memory(sum: &mut Vec<MemoryUsage>, more: MemoryUsage) {
    match sum.iter_mut().find(|memory| memory.r#type == more.r#type && memory.id == more.id) {
        Some(memory) => memory.byte_size = memory.byte_size.saturating_add(more.byte_size),
        None => sum.push(more),
    }
}

/// Adds a count and its time; what a worker leaves out is 0, never absent.
fn duration(sum: &mut Option<StatisticDuration>, more: Option<StatisticDuration>) {
    let (sum, more) = (sum.get_or_insert_default(), more.unwrap_or_default());
    sum.count = sum.count.saturating_add(more.count);
    sum.ns = sum.ns.saturating_add(more.ns);
}

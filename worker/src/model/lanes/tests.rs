//! Lanes with a scripted backend: order, neighbours, panics, contracts, ends.

use std::collections::VecDeque;

use tokio::sync::oneshot::{Receiver, channel};
use weir_batching::ShapeKey;
use weir_config::model::TensorSpec;
use weir_protocol::{Datatype, Refusal};

use super::*;
use crate::{
    backend::{BackendError, InputBatch, LaneScope, OutputBatch},
    telemetry::Telemetry,
    tests::fixture::Gate,
};

/// A backend that answers as told, then echoes; the rows of every forward pass are noted.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Step>>,
    passes: Mutex<Vec<Vec<u8>>>,
}

enum Step {
    Echo,
    Fail,
    Panic,
    Give(OutputBatch),
}

impl Backend for Scripted {
    fn enter_lane(&self) -> LaneScope {
        LaneScope::new(())
    }

    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        let rows = inputs[0].parts.concat();
        self.passes.lock().push(rows.clone());
        let step = self.script.lock().pop_front();
        match step.unwrap_or(Step::Echo) {
            Step::Echo => Ok(vec![output(Datatype::Uint8, &inputs[0].shape, rows)]),
            Step::Fail => Err(BackendError::new("no luck")),
            Step::Panic => panic!("scripted"),
            Step::Give(output) => Ok(vec![output]),
        }
    }
}

fn output(datatype: Datatype, shape: &[i64], data: Vec<u8>) -> OutputBatch {
    OutputBatch { datatype, shape: shape.to_vec(), data: data.into() }
}

fn lanes(backend: Arc<dyn Backend>, batched: bool, max_queued_rows: u32) -> Lanes {
    let (model, version) = ("m".parse().unwrap(), weir_protocol::Version::new(1).unwrap());
    let shape = if batched { vec![-1, 2] } else { vec![2] };
    let tensor = |name: &str| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Uint8,
        shape: shape.clone(),
        labels: None,
    };
    let metrics = Telemetry::new().replica(&model, version);
    let spec = ModelSpec {
        name: model,
        version,
        batched,
        max_rows: if batched { 4 } else { 1 },
        takes_texts: false,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
    };
    let max_batch_rows = if batched { 4 } else { 0 };
    let settings = LaneSettings {
        spec: Arc::new(spec),
        limits: Limits { max_batch_rows, max_delay: Duration::ZERO, max_queued_rows },
        lanes: 1,
        clock: Clock::start(),
        metrics,
        statistics: Arc::default(),
    };
    Lanes::start(settings, backend).unwrap()
}

/// Lanes that nothing is sent to.
pub(crate) fn idle() -> Lanes {
    lanes(Arc::new(Scripted::default()), true, 1)
}

type Answer = Receiver<Result<Done, JobError>>;

/// A ticket of as many rows as there are pairs of bytes, and where its answer comes.
fn ticket(data: &[u8], batched: bool) -> (Ticket<Job>, Answer) {
    let (reply, answer) = channel();
    let rows = data.len() / 2;
    let shape = if batched { vec![i64::try_from(rows).unwrap(), 2] } else { vec![2] };
    let job = Job {
        inputs: vec![Bytes::copy_from_slice(data)],
        shapes: vec![shape],
        arrived: Duration::ZERO,
        reply,
    };
    let rows = if batched { u32::try_from(rows).unwrap() } else { 1 };
    (Ticket { rows, shape: ShapeKey::default(), deadline: None, payload: job }, answer)
}

/// Admits while the lane is held, so that what fits runs as one batch; then lets it go.
fn run_together(lanes: &Lanes, batches: &[&[u8]]) -> Vec<Answer> {
    let mut queue = lanes.shared.queue.lock();
    let mut answers = Vec::new();
    for data in batches {
        let (ticket, answer) = ticket(data, true);
        queue.batcher.admit(Duration::ZERO, ticket).unwrap();
        answers.push(answer);
    }
    drop(queue);
    lanes.shared.work.notify_one();
    answers
}

fn data(answer: Answer) -> Vec<u8> {
    answer.blocking_recv().unwrap().unwrap().outputs[0].1.to_vec()
}

fn error(answer: Answer) -> JobError {
    answer.blocking_recv().unwrap().unwrap_err()
}

fn failed(words: &str) -> JobError {
    JobError::Failed(words.to_owned())
}

#[test]
fn every_request_gets_its_own_rows_of_the_batch() {
    let backend = Arc::new(Scripted::default());
    let lanes = lanes(Arc::clone(&backend) as _, true, 64);
    let answers = run_together(&lanes, &[&[1, 2], &[3, 4, 5, 6], &[7, 8]]);
    let done: Vec<_> = answers.into_iter().map(|a| a.blocking_recv().unwrap().unwrap()).collect();
    let outputs: Vec<_> = done.into_iter().map(|done| done.outputs).collect();
    let expected = |shape: &[i64], data: &'static [u8]| vec![(shape.to_vec(), Bytes::from_static(data))];
    assert_eq!(outputs[0], expected(&[1, 2], &[1, 2]));
    assert_eq!(outputs[1], expected(&[2, 2], &[3, 4, 5, 6]));
    assert_eq!(outputs[2], expected(&[1, 2], &[7, 8]));
    assert_eq!(*backend.passes.lock(), [[1, 2, 3, 4, 5, 6, 7, 8]]);
}

#[test]
fn a_model_without_a_batch_dimension_gets_whole_shapes_one_by_one() {
    let backend = Arc::new(Scripted::default());
    let lanes = lanes(Arc::clone(&backend) as _, false, 64);
    let (first, first_answer) = ticket(&[1, 2], false);
    let (second, second_answer) = ticket(&[3, 4], false);
    lanes.admit(first).unwrap();
    lanes.admit(second).unwrap();
    assert_eq!((data(first_answer), data(second_answer)), (vec![1, 2], vec![3, 4]));
    assert_eq!(backend.passes.lock().len(), 2);
}

#[test]
fn after_a_failed_batch_each_request_runs_alone() {
    let backend = Arc::new(Scripted::default());
    // The batch fails, then the second of three alone.
    backend.script.lock().extend([Step::Fail, Step::Echo, Step::Fail, Step::Echo]);
    let lanes = lanes(Arc::clone(&backend) as _, true, 64);
    let mut answers = run_together(&lanes, &[&[1, 2], &[3, 4], &[5, 6]]).into_iter();
    assert_eq!(data(answers.next().unwrap()), [1, 2]);
    assert_eq!(error(answers.next().unwrap()), failed("no luck"));
    assert_eq!(data(answers.next().unwrap()), [5, 6]);
    assert_eq!(backend.passes.lock().len(), 4);
}

#[test]
fn passes_that_gave_a_result_are_counted_by_their_rows_before_it_leaves() {
    let backend = Arc::new(Scripted::default());
    // A batch of two fails, then the second of them alone; the batch after it does well.
    backend.script.lock().extend([Step::Fail, Step::Echo, Step::Fail]);
    let lanes = lanes(Arc::clone(&backend) as _, true, 64);
    let answers = run_together(&lanes, &[&[1, 2], &[3, 4], &[5, 6, 7, 8, 9, 10]]);
    assert_eq!(answers.into_iter().filter_map(|answer| answer.blocking_recv().unwrap().ok()).count(), 2);
    let statistics = lanes.shared.statistics.snapshot();
    assert_eq!(statistics.execution_count, 2);
    let sizes: Vec<_> = statistics.batch_stats.iter().map(|batch| batch.batch_size).collect();
    assert_eq!(sizes, [1, 3]);
    assert!(statistics.batch_stats.iter().all(|batch| batch.compute_infer.unwrap().count == 1));
}

#[test]
fn a_request_that_fails_alone_is_not_run_again() {
    let backend = Arc::new(Scripted::default());
    backend.script.lock().push_back(Step::Fail);
    let lanes = lanes(Arc::clone(&backend) as _, true, 64);
    let answers = run_together(&lanes, &[&[1, 2]]);
    assert_eq!(answers.into_iter().map(error).collect::<Vec<_>>(), [failed("no luck")]);
    assert_eq!(backend.passes.lock().len(), 1);
}

#[test]
fn a_lane_survives_a_panic_in_the_backend() {
    let backend = Arc::new(Scripted::default());
    backend.script.lock().push_back(Step::Panic);
    let lanes = lanes(backend, true, 64);
    let answers = run_together(&lanes, &[&[1, 2]]);
    assert_eq!(answers.into_iter().map(error).collect::<Vec<_>>(), [failed("the forward pass panicked")]);
    let (ticket, answer) = ticket(&[3, 4], true);
    lanes.admit(ticket).unwrap();
    assert_eq!(data(answer), [3, 4]);
}

#[test]
fn an_output_that_breaks_the_contract_fails_the_request_and_names_both_sides() {
    let backend = Arc::new(Scripted::default());
    for (given, words) in [
        (output(Datatype::Int8, &[1, 2], vec![0; 2]), "output 'y' is INT8 [1, 2]"),
        (output(Datatype::Uint8, &[2, 2], vec![0; 4]), "output 'y' is UINT8 [2, 2] for 1 rows"),
        (output(Datatype::Uint8, &[1, 3], vec![0; 3]), "model.toml says UINT8 [-1, 2]"),
        (output(Datatype::Uint8, &[2], vec![0; 2]), "output 'y' is UINT8 [2]"),
    ] {
        backend.script.lock().push_back(Step::Give(given));
        let lanes = lanes(Arc::clone(&backend) as _, true, 64);
        let (ticket, answer) = ticket(&[1, 2], true);
        lanes.admit(ticket).unwrap();
        let JobError::Failed(message) = error(answer) else { panic!("expired") };
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn closing_finishes_what_is_queued() {
    let lanes = lanes(Arc::new(Scripted::default()), true, 64);
    let answers = run_together(&lanes, &[&[1, 2, 3, 4, 5, 6], &[7, 8, 9, 10], &[11, 12]]);
    lanes.close();
    let all: Vec<_> = answers.into_iter().map(data).collect();
    assert_eq!(all.concat(), (1..=12).collect::<Vec<u8>>());
    let (late, _answer) = ticket(&[1, 2], true);
    assert_eq!(lanes.admit(late).unwrap_err().refusal, Refusal::NotReady, "nobody is left to run it");
}

#[tokio::test]
async fn a_queue_of_the_gone_is_not_full_and_never_runs() {
    let gate = Gate::new();
    let lanes = lanes(Arc::clone(&gate) as _, true, 2);
    // The gate gives floats, so what runs fails: only the count of forward passes matters here.
    let (held, _held_answer) = ticket(&[1, 2], true);
    lanes.admit(held).unwrap();
    gate.entered().await;
    for _ in 0..2 {
        let (ticket, answer) = ticket(&[1, 2], true);
        lanes.admit(ticket).unwrap();
        drop(answer);
    }
    assert!(!lanes.is_full(), "nobody waits in it");
    let (live, answer) = ticket(&[3, 4, 5, 6], true);
    lanes.admit(live).unwrap();
    assert!(lanes.is_full());
    let (refused, _answer) = ticket(&[1, 2], true);
    assert_eq!(lanes.admit(refused).unwrap_err().refusal, Refusal::QueueFull);
    gate.open(2);
    assert!(answer.await.unwrap().is_err());
    assert_eq!(gate.entered.available_permits(), 1, "two passes in all: the first and the live one");
}

/// Inputs that note, when they go, whether their request was answered already.
struct Noting {
    answer: Arc<Mutex<Answer>>,
    late: Arc<AtomicBool>,
}

impl AsRef<[u8]> for Noting {
    fn as_ref(&self) -> &[u8] {
        &[1, 2]
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.late.store(!self.answer.lock().is_empty(), Ordering::SeqCst);
    }
}

#[test]
fn inputs_are_gone_before_the_answer_leaves() {
    for step in [Step::Echo, Step::Fail] {
        let (ticket, answer) = ticket(&[1, 2], true);
        let (answer, late) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicBool::new(true)));
        let inputs = vec![Bytes::from_owner(Noting { answer, late: Arc::clone(&late) })];
        let ticket = Ticket { payload: Job { inputs, ..ticket.payload }, ..ticket };
        let lanes =
            lanes(Arc::new(Scripted { script: Mutex::new([step].into()), ..Scripted::default() }), true, 4);
        lanes.admit(ticket).unwrap();
        lanes.close();
        assert!(!late.load(Ordering::SeqCst));
    }
}

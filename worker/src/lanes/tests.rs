//! Lanes with a scripted backend: neighbours, panics, contracts, ends. Several models are in `sharing`.

mod sharing;

use std::{collections::VecDeque, sync::atomic::Ordering};

use bytes::Bytes;
use tokio::sync::oneshot::{Receiver, channel};
use weir_batching::{ShapeKey, Ticket, TurnOrder};
use weir_config::model::{Padding, TensorSpec};
use weir_protocol::{Datatype, Refusal};

use super::*;
use crate::{
    backend::{BackendError, InputBatch, OutputBatch},
    model::Terms,
    telemetry::Telemetry,
    tests::fixture::{Gate, queue},
};

/// A backend that answers as told, then echoes; the rows of every forward pass are noted.
#[derive(Default)]
pub(super) struct Scripted {
    script: Mutex<VecDeque<Step>>,
    pub(super) passes: Mutex<Vec<Vec<u8>>>,
}

pub(super) enum Step {
    Echo,
    Fail,
    /// Does something, then fails.
    FailAfter(Box<dyn FnOnce() + Send>),
    Panic,
    Give(OutputBatch),
}

impl Backend for Scripted {
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        let rows = inputs[0].parts.concat();
        self.passes.lock().push(rows.clone());
        let step = self.script.lock().pop_front();
        match step.unwrap_or(Step::Echo) {
            Step::Echo => Ok(vec![output(Datatype::Uint8, &inputs[0].shape, rows)]),
            Step::Fail => Err(BackendError::new("no luck")),
            Step::FailAfter(act) => {
                act();
                Err(BackendError::new("no luck"))
            }
            Step::Panic => panic!("scripted"),
            Step::Give(output) => Ok(vec![output]),
        }
    }
}

fn output(datatype: Datatype, shape: &[i64], data: Vec<u8>) -> OutputBatch {
    OutputBatch { datatype, shape: shape.to_vec(), data: data.into() }
}

/// Lanes that no test measures time on.
pub(crate) fn two_lanes() -> Lanes {
    start(2)
}

fn start(lanes: u32) -> Lanes {
    let settings = DeviceSettings { lanes, turn_order: TurnOrder::Arrival };
    Lanes::start(settings, 1, Clock::start()).unwrap()
}

/// A queue on `lanes`, whose batches have at most 4 rows.
fn add(lanes: &Lanes, backend: Arc<dyn Backend>, batched: bool, max_queued_rows: u32) -> Queue {
    add_with(lanes, backend, batched, queue(if batched { 4 } else { 1 }, max_queued_rows))
}

fn add_with(lanes: &Lanes, backend: Arc<dyn Backend>, batched: bool, settings: QueueSettings) -> Queue {
    let (model, version) = ("m".parse().unwrap(), weir_protocol::Version::new(1).unwrap());
    let shape = if batched { vec![-1, 2] } else { vec![2] };
    let tensor = |name: &str| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Uint8,
        shape: shape.clone(),
        labels: None,
        padding: Padding::None,
    };
    let metrics = Telemetry::new().replica(&model, version);
    let max_rows = settings.max_batch_rows;
    let spec = ModelSpec {
        name: model,
        version,
        batched,
        max_rows,
        max_request_rows: max_rows,
        buckets: Vec::new(),
        terms: Terms::default(),
        takes_texts: false,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
    };
    let served = Served::new(Arc::new(spec), backend, metrics, Arc::default());
    lanes.add(served, settings)
}

/// A queue that nothing is sent to. Its lane ends at once.
pub(crate) fn idle() -> Queue {
    add(&start(1), Arc::new(Scripted::default()), true, 1)
}

pub(super) type Answer = Receiver<Result<Done, JobError>>;

/// A ticket of as many rows as there are pairs of bytes, and where its answer comes.
pub(super) fn ticket(queue: &Queue, data: &[u8]) -> (Ticket<Job>, Answer) {
    let (reply, answer) = channel();
    let (rows, batched) = (data.len() / 2, queue.spec().batched);
    let shape = if batched { vec![i64::try_from(rows).unwrap(), 2] } else { vec![2] };
    let rows = if batched { u32::try_from(rows).unwrap() } else { 1 };
    let part = Part { rows, inputs: vec![Bytes::copy_from_slice(data)], shapes: vec![shape], length: None };
    let job = queue.job(part, reply);
    (Ticket { rows, units: rows, shape: ShapeKey::default(), class: 0, deadline: None, payload: job }, answer)
}

fn admit(queue: &Queue, data: &[u8]) -> Answer {
    let (ticket, answer) = ticket(queue, data);
    queue.admit(vec![ticket]).unwrap();
    answer
}

/// A forward pass of another model that takes up a lane.
struct Held {
    gate: Arc<Gate>,
    _queue: Queue,
    _answer: Answer,
}

impl Held {
    fn new(lanes: &Lanes) -> Self {
        let gate = Gate::new();
        let queue = add(lanes, Arc::clone(&gate) as _, true, 64);
        let answer = admit(&queue, &[0, 0]);
        gate.entered_blocking();
        Self { gate, _queue: queue, _answer: answer }
    }

    fn let_go(&self) {
        self.gate.open(1);
    }
}

/// Admits while the only lane is held, so that what fits runs as one batch; then lets it go.
fn run_together(lanes: &Lanes, queue: &Queue, batches: &[&[u8]]) -> Vec<Answer> {
    let held = Held::new(lanes);
    let answers = batches.iter().map(|data| admit(queue, data)).collect();
    held.let_go();
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

/// One lane with one queue on a backend that does as scripted.
pub(super) fn scripted(script: impl IntoIterator<Item = Step>) -> (Lanes, Queue, Arc<Scripted>) {
    let backend =
        Arc::new(Scripted { script: Mutex::new(script.into_iter().collect()), ..Scripted::default() });
    let lanes = start(1);
    let queue = add(&lanes, Arc::clone(&backend) as _, true, 64);
    (lanes, queue, backend)
}

#[test]
fn every_request_gets_its_own_rows_of_the_batch() {
    let (lanes, queue, backend) = scripted([]);
    let answers = run_together(&lanes, &queue, &[&[1, 2], &[3, 4, 5, 6], &[7, 8]]);
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
    let lanes = start(1);
    let queue = add(&lanes, Arc::clone(&backend) as _, false, 64);
    let answers = run_together(&lanes, &queue, &[&[1, 2], &[3, 4]]);
    assert_eq!(answers.into_iter().map(data).collect::<Vec<_>>(), [[1, 2], [3, 4]]);
    assert_eq!(backend.passes.lock().len(), 2);
}

#[test]
fn halves_of_a_failed_batch_run_again_until_what_is_bad_is_alone() {
    // Four fail, the first half does well, the second fails, its first half too.
    let (lanes, queue, backend) = scripted([Step::Fail, Step::Echo, Step::Fail, Step::Fail, Step::Echo]);
    let mut answers = run_together(&lanes, &queue, &[&[1, 2], &[3, 4], &[5, 6], &[7, 8]]).into_iter();
    assert_eq!(data(answers.next().unwrap()), [1, 2]);
    assert_eq!(data(answers.next().unwrap()), [3, 4]);
    assert_eq!(error(answers.next().unwrap()), failed("no luck"));
    assert_eq!(data(answers.next().unwrap()), [7, 8]);
    let passes: [&[u8]; 5] = [&[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4], &[5, 6, 7, 8], &[5, 6], &[7, 8]];
    assert_eq!(*backend.passes.lock(), passes);
}

#[test]
fn who_left_during_a_failed_pass_does_not_run_again() {
    let leaving: Arc<Mutex<Option<Answer>>> = Arc::default();
    let leaves = Arc::clone(&leaving);
    let step = Step::FailAfter(Box::new(move || drop(leaves.lock().take())));
    let (lanes, queue, backend) = scripted([step]);
    let held = Held::new(&lanes);
    *leaving.lock() = Some(admit(&queue, &[1, 2]));
    let stays = admit(&queue, &[3, 4]);
    held.let_go();
    assert_eq!(data(stays), [3, 4]);
    let passes: [&[u8]; 2] = [&[1, 2, 3, 4], &[3, 4]];
    assert_eq!(*backend.passes.lock(), passes);
}

#[test]
fn passes_that_gave_a_result_are_counted_by_their_rows_before_it_leaves() {
    // A batch of two fails, then the second of them alone; the batch after it does well.
    let (lanes, queue, _) = scripted([Step::Fail, Step::Echo, Step::Fail]);
    let answers = run_together(&lanes, &queue, &[&[1, 2], &[3, 4], &[5, 6, 7, 8, 9, 10]]);
    assert_eq!(answers.into_iter().filter_map(|answer| answer.blocking_recv().unwrap().ok()).count(), 2);
    let statistics = queue.served.statistics.snapshot();
    assert_eq!(statistics.execution_count, 2);
    let sizes: Vec<_> = statistics.batch_stats.iter().map(|batch| batch.batch_size).collect();
    assert_eq!(sizes, [1, 3]);
    assert!(statistics.batch_stats.iter().all(|batch| batch.compute_infer.unwrap().count == 1));
}

#[test]
fn a_request_that_fails_alone_is_not_run_again() {
    let (_lanes, queue, backend) = scripted([Step::Fail]);
    assert_eq!(error(admit(&queue, &[1, 2])), failed("no luck"));
    assert_eq!(backend.passes.lock().len(), 1);
}

#[test]
fn a_lane_survives_a_panic_in_the_backend() {
    let (_lanes, queue, _) = scripted([Step::Panic]);
    assert_eq!(error(admit(&queue, &[1, 2])), failed("the forward pass panicked"));
    assert_eq!(data(admit(&queue, &[3, 4])), [3, 4]);
}

/// Inputs that panic when they go.
struct Brittle;

impl AsRef<[u8]> for Brittle {
    fn as_ref(&self) -> &[u8] {
        &[1, 2]
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("scripted");
    }
}

#[test]
fn a_lane_survives_a_panic_outside_the_backend() {
    let (_lanes, queue, _) = scripted([]);
    let (mut ticket, answer) = ticket(&queue, &[1, 2]);
    ticket.payload.part.inputs = vec![Bytes::from_owner(Brittle)];
    queue.admit(vec![ticket]).unwrap();
    assert!(answer.blocking_recv().is_err(), "there is nothing to answer");
    assert_eq!(data(admit(&queue, &[3, 4])), [3, 4]);
}

#[test]
fn an_output_that_breaks_the_contract_fails_the_request_and_names_both_sides() {
    for (given, words) in [
        (output(Datatype::Int8, &[1, 2], vec![0; 2]), "output 'y' is INT8 [1, 2]"),
        (output(Datatype::Uint8, &[2, 2], vec![0; 4]), "output 'y' is UINT8 [2, 2] for 1 rows"),
        (output(Datatype::Uint8, &[1, 3], vec![0; 3]), "model.toml says UINT8 [-1, 2]"),
        (output(Datatype::Uint8, &[2], vec![0; 2]), "output 'y' is UINT8 [2]"),
    ] {
        let (_lanes, queue, _) = scripted([Step::Give(given)]);
        let JobError::Failed(message) = error(admit(&queue, &[1, 2])) else { panic!("expired") };
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn closing_a_queue_finishes_what_is_in_it_and_leaves_the_others_alone() {
    let (lanes, queue, _) = scripted([]);
    let other = add(&lanes, Arc::new(Scripted::default()), true, 64);
    let answers = run_together(&lanes, &queue, &[&[1, 2, 3, 4, 5, 6], &[7, 8, 9, 10], &[11, 12]]);
    queue.close();
    let all: Vec<_> = answers.into_iter().map(|mut answer| answer.try_recv().unwrap().unwrap()).collect();
    let all: Vec<_> = all.into_iter().flat_map(|done| done.outputs[0].1.to_vec()).collect();
    assert_eq!(all, (1..=12).collect::<Vec<u8>>(), "all were answered before it was closed");
    let (late, _answer) = ticket(&queue, &[1, 2]);
    assert_eq!(queue.admit(vec![late]).unwrap_err().refusal, Refusal::NotReady);
    assert_eq!(data(admit(&other, &[1, 2])), [1, 2]);
}

#[test]
fn closing_the_lanes_finishes_what_is_queued() {
    let (lanes, queue, _) = scripted([]);
    let answers = run_together(&lanes, &queue, &[&[1, 2, 3, 4, 5, 6], &[7, 8, 9, 10], &[11, 12]]);
    lanes.close();
    let all: Vec<_> = answers.into_iter().map(data).collect();
    assert_eq!(all.concat(), (1..=12).collect::<Vec<u8>>());
    let (late, _answer) = ticket(&queue, &[1, 2]);
    assert_eq!(queue.admit(vec![late]).unwrap_err().refusal, Refusal::NotReady, "nobody is left to run it");
}

#[test]
fn a_queue_of_the_gone_is_not_full_and_never_runs() {
    let lanes = start(1);
    let backend = Arc::new(Scripted::default());
    let queue = add(&lanes, Arc::clone(&backend) as _, true, 2);
    let held = Held::new(&lanes);
    for _ in 0..2 {
        drop(admit(&queue, &[1, 2]));
    }
    assert_eq!(queue.refuses(None), None, "nobody waits in it");
    let live = admit(&queue, &[3, 4, 5, 6]);
    assert_eq!(queue.refuses(None), Some(Refusal::QueueFull));
    let (refused, _answer) = ticket(&queue, &[1, 2]);
    assert_eq!(queue.admit(vec![refused]).unwrap_err().refusal, Refusal::QueueFull);
    held.let_go();
    assert_eq!(data(live), [3, 4, 5, 6]);
    assert_eq!(*backend.passes.lock(), [[3, 4, 5, 6]]);
}

#[test]
fn the_inputs_of_those_who_left_do_not_pile_up_behind_a_busy_lane() {
    let lanes = start(1);
    let queue = add(&lanes, Arc::new(Scripted::default()), true, 2);
    let held = Held::new(&lanes);
    let memory = Arc::new([1, 2]);
    let leave = || {
        let (mut ticket, answer) = ticket(&queue, &[1, 2]);
        ticket.payload.part.inputs = vec![Bytes::from_owner(Kept(Arc::clone(&memory)))];
        queue.admit(vec![ticket]).unwrap();
        drop(answer);
    };
    leave();
    leave();
    assert_eq!(Arc::strong_count(&memory), 3);
    assert_eq!(queue.refuses(None), None, "nobody waits in it");
    assert_eq!(Arc::strong_count(&memory), 1, "both are gone, and the lane is held");
    held.let_go();
}

/// Inputs that are counted.
struct Kept(Arc<[u8; 2]>);

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
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
        let (lanes, queue, _) = scripted([step]);
        let (mut ticket, answer) = ticket(&queue, &[1, 2]);
        let (answer, late) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicBool::new(true)));
        let input = Bytes::from_owner(Noting { answer, late: Arc::clone(&late) });
        ticket.payload.part.inputs = vec![input];
        queue.admit(vec![ticket]).unwrap();
        lanes.close();
        assert!(!late.load(Ordering::SeqCst));
    }
}

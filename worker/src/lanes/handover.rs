//! The meeting point of those who bring requests and the lanes that run them: a [`Device`] behind a lock.
//!
//! Decides nothing: what runs is the device's business. What is owned here is that no lane sleeps while there is work for
//! it, and that none is woken for nothing. **Invariant:** when a free lane would get something ([`Device::next_at`]), now or
//! at some time, one is awake and will look, or one that sleeps wakes by then. So whoever admits, and a lane that takes a
//! batch, wakes the next. The lane that went to sleep last is woken first: its caches are warm. Knows neither clock nor
//! runtime, and takes its locks from `crate::sync`: `tests/handover` runs this very file under a model checker.

use std::{sync::Arc, time::Duration};

use weir_batching::{
    Batch, BatchId, Cancel, Costs, Device, DeviceSettings, Dropped, Ended, Next, QueueId, QueueSettings,
    QueueView, Quote, Refused, Ticket, Turn,
};
use weir_protocol::Refusal;

use crate::sync::{Condvar, Mutex};

/// The queues of a device, shared by the fronts and the lanes.
pub(super) struct Handover<T> {
    state: Mutex<State<T>>,
    /// Told to all who wait for a queue to run dry, whenever one may have.
    dry: Condvar,
}

struct State<T> {
    device: Device<T>,
    /// Tickets that were admitted and have not left, those included that the device has dropped and told nobody of.
    waiting: usize,
    /// Queues that take nothing more and are waited for; nearly always none.
    closing: Vec<QueueId>,
    /// Lanes that sleep, the one that went last at the end.
    sleepers: Vec<Sleeper>,
    /// No queue takes anything more, and lanes end when nothing waits.
    ended: bool,
}

/// A lane's own place to sleep. Each lane makes one.
#[derive(Default)]
pub(super) struct Bed(Arc<Condvar>);

struct Sleeper {
    bed: Arc<Condvar>,
    /// When it wakes by itself; `None` = never.
    until: Option<Duration>,
}

/// What a lane gets.
#[derive(Debug)]
pub(super) struct Work<T> {
    /// To be answered first.
    pub(super) dropped: Vec<Dropped<T>>,
    /// To be run; its end is told with the next [`Handover::take`].
    pub(super) batch: Option<Batch<T>>,
}

impl<T: Cancel> Handover<T> {
    pub(super) fn new(settings: DeviceSettings) -> Self {
        let state = State {
            device: Device::new(settings),
            waiting: 0,
            closing: Vec::new(),
            sleepers: Vec::new(),
            ended: false,
        };
        Self { state: Mutex::new(state), dry: Condvar::new() }
    }

    /// Adds a queue.
    pub(super) fn add(&self, settings: QueueSettings) -> QueueId {
        self.state.lock().device.add(settings)
    }

    /// Lets the parts of a request in, as [`Device::admit`]. The time is read under the lock, so that the device never
    /// sees it go back. Gives back as well who was found to have left meanwhile, to be answered by the caller.
    pub(super) fn admit(
        &self,
        now: impl Fn() -> Duration,
        queue: QueueId,
        parts: Vec<Ticket<T>>,
    ) -> (Result<Duration, Refused<T>>, Vec<Dropped<T>>) {
        let (admitted, dropped, roused) = {
            let mut state = self.state.lock();
            if state.ended || state.closing.contains(&queue) {
                return (Err(Refused { refusal: Refusal::NotReady, parts }), Vec::new());
            }
            let (now, count) = (now(), parts.len());
            let admitted = state.device.admit(now, queue, parts);
            if admitted.is_ok() {
                state.waiting += count;
            }
            let dropped = self.swept(&mut state);
            let roused = if admitted.is_ok() { state.rouse(now) } else { None };
            (admitted, dropped, roused)
        };
        // Without the lock, which the lane will want.
        if let Some(bed) = roused {
            bed.notify_one();
        }
        (admitted, dropped)
    }

    /// As [`Device::refuses`]; with those to be answered, as [`Self::admit`].
    pub(super) fn refuses(
        &self,
        now: impl Fn() -> Duration,
        queue: QueueId,
        deadline: Option<Duration>,
    ) -> (Option<Refusal>, Vec<Dropped<T>>) {
        let mut state = self.state.lock();
        let refusal = state.device.refuses(now(), queue, deadline);
        (refusal, self.swept(&mut state))
    }

    /// As [`Device::quote`].
    pub(super) fn quote(&self, now: impl Fn() -> Duration, queue: QueueId) -> Option<Quote> {
        let state = self.state.lock();
        state.device.quote(now(), queue)
    }

    /// As [`Device::quote`] and [`Device::costs`], at one moment.
    pub(super) fn expected(&self, now: impl Fn() -> Duration, queue: QueueId) -> Option<(Quote, Costs)> {
        let state = self.state.lock();
        Some((state.device.quote(now(), queue)?, state.device.costs(queue)?.clone()))
    }

    /// As [`Device::view`].
    pub(super) fn view(&self, queue: QueueId) -> QueueView {
        self.state.lock().device.view(queue)
    }

    /// What a lane does next: tells that its last batch has ended, and waits for work. `None` once the end was asked
    /// for and nothing waits.
    pub(super) fn take(
        &self,
        bed: &Bed,
        now: impl Fn() -> Duration,
        ended: Option<(BatchId, Ended)>,
    ) -> Option<Work<T>> {
        let mut state = self.state.lock();
        if let Some((batch, ended)) = ended {
            state.device.finish(now(), batch, ended);
            self.tell(&state);
        }
        loop {
            let time = now();
            let Turn { dropped, next } = state.device.next(time);
            self.left(&mut state, dropped.len());
            match next {
                Next::Run(batch) => {
                    state.waiting = state.waiting.saturating_sub(batch.tickets.len());
                    if let Some(bed) = state.rouse(time) {
                        bed.notify_one();
                    }
                    return Some(Work { dropped, batch: Some(batch) });
                }
                _ if !dropped.is_empty() => return Some(Work { dropped, batch: None }),
                _ if state.ended && state.waiting == 0 => {
                    // The last one out: those that sleep beside it would wait for a ticket that never comes.
                    state.rouse_all();
                    return None;
                }
                Next::WaitUntil(due) => {
                    state.lie_down(bed, Some(due));
                    bed.0.wait_for(&mut state, due.saturating_sub(time));
                    state.get_up(bed);
                }
                Next::Idle => {
                    state.lie_down(bed, None);
                    bed.0.wait(&mut state);
                    state.get_up(bed);
                }
            }
        }
    }

    /// Closes a queue: nothing more gets in. Waits until what is in it has run, and removes it. Blocks.
    pub(super) fn close(&self, queue: QueueId) {
        let mut state = self.state.lock();
        state.closing.push(queue);
        loop {
            let view = state.device.view(queue);
            if view.queued_rows == 0 && view.running == 0 {
                break;
            }
            self.dry.wait(&mut state);
        }
        state.closing.retain(|closing| *closing != queue);
        state.remove(queue);
    }

    /// Removes a queue at once and gives back what waited in it. A batch of it that runs ends as it would.
    pub(super) fn remove(&self, queue: QueueId) -> Vec<Ticket<T>> {
        let mut state = self.state.lock();
        let left = state.remove(queue);
        self.tell(&state);
        left
    }

    /// Lets lanes end once nothing waits.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.rouse_all();
    }

    /// Those that the device dropped when it was asked to make room. They do not wait for a lane to be told, which may
    /// be busy for long: a queue that fills up and is swept out again and again would keep all of them in memory.
    fn swept(&self, state: &mut State<T>) -> Vec<Dropped<T>> {
        let dropped = state.device.take_dropped();
        self.left(state, dropped.len());
        dropped
    }

    /// Takes note that so many tickets left without running.
    fn left(&self, state: &mut State<T>, count: usize) {
        if count == 0 {
            return;
        }
        state.waiting = state.waiting.saturating_sub(count);
        self.tell(state);
        if state.ended && state.waiting == 0 {
            state.rouse_all();
        }
    }

    /// Tells those who wait for a queue to run dry that one may have.
    fn tell(&self, state: &State<T>) {
        if !state.closing.is_empty() {
            self.dry.notify_all();
        }
    }
}

impl<T: Cancel> State<T> {
    /// Picks a sleeper to be woken, if one is needed for what the device has to do.
    fn rouse(&mut self, now: Duration) -> Option<Arc<Condvar>> {
        if self.sleepers.is_empty() {
            return None;
        }
        let due = self.device.next_at(now)?;
        let is_expected = self.sleepers.iter().any(|sleeper| sleeper.until.is_some_and(|until| until <= due));
        if is_expected { None } else { self.sleepers.pop().map(|sleeper| sleeper.bed) }
    }

    fn rouse_all(&mut self) {
        for sleeper in self.sleepers.drain(..) {
            sleeper.bed.notify_one();
        }
    }

    fn lie_down(&mut self, bed: &Bed, until: Option<Duration>) {
        self.sleepers.push(Sleeper { bed: Arc::clone(&bed.0), until });
    }

    /// Not there any more when it was woken, still there when its time came.
    fn get_up(&mut self, bed: &Bed) {
        self.sleepers.retain(|sleeper| !Arc::ptr_eq(&sleeper.bed, &bed.0));
    }

    fn remove(&mut self, queue: QueueId) -> Vec<Ticket<T>> {
        let left = self.device.remove(queue);
        self.waiting = self.waiting.saturating_sub(left.len());
        left
    }
}

//! Locks and time under the model checker, in the form that `lanes/handover.rs` uses.
//!
//! Every call is a point at which the checker may go on with another thread. Time passes only here and is part of the
//! schedule: a timed wait ends told, or at any moment with the clock moved on to its end. No other wait ends untold, so
//! a thread that nobody wakes is found as a deadlock.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shuttle::{
    rand::{Rng, thread_rng},
    sync,
    thread::{self, Thread},
};

/// Waits of an hour and more do not end by themselves: whoever counts on that sleeps too long.
const ENDLESS: Duration = Duration::from_secs(3600);
/// How likely a timed wait is to end each time that its thread could go on.
const END_RATIO: f64 = 0.2;

thread_local! {
    // The checker runs all threads of a schedule on one of the system's.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Begins a schedule.
pub(crate) fn restart_clock() {
    NOW.set(Duration::ZERO);
}

/// The time; no two readings are equal.
pub(crate) fn now() -> Duration {
    NOW.set(NOW.get() + Duration::from_nanos(1));
    NOW.get()
}

pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: &self.0, held: Some(self.0.lock().unwrap()) }
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a sync::Mutex<T>,
    /// `None` only within a wait.
    held: Option<sync::MutexGuard<'a, T>>,
}

impl<T> MutexGuard<'_, T> {
    /// Lets others in while `wait` runs.
    fn unlocked(&mut self, wait: impl FnOnce()) {
        self.held = None;
        wait();
        self.held = Some(self.mutex.lock().unwrap());
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().unwrap()
    }
}

#[derive(Default)]
pub(crate) struct Condvar {
    /// Never held while the checker may go on with another thread.
    sleepers: std::sync::Mutex<Vec<Arc<Sleeper>>>,
}

struct Sleeper {
    thread: Thread,
    told: AtomicBool,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let me = self.lie_down();
        guard.unlocked(|| {
            while !me.told() {
                thread::park();
            }
        });
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) {
        let (me, end) = (self.lie_down(), NOW.get() + limit);
        guard.unlocked(|| {
            while !me.told() {
                if limit < ENDLESS && thread_rng().gen_bool(END_RATIO) {
                    self.sleepers.lock().unwrap().retain(|sleeper| !Arc::ptr_eq(sleeper, &me));
                    NOW.set(NOW.get().max(end));
                    return;
                }
                thread::yield_now();
            }
        });
    }

    /// Wakes any one of those that wait, which one is the schedule's choice.
    pub(crate) fn notify_one(&self) {
        let mut sleepers = self.sleepers.lock().unwrap();
        if !sleepers.is_empty() {
            let chosen = thread_rng().gen_range(0..sleepers.len());
            let chosen = sleepers.swap_remove(chosen);
            drop(sleepers);
            chosen.wake();
        }
    }

    pub(crate) fn notify_all(&self) {
        let all = std::mem::take(&mut *self.sleepers.lock().unwrap());
        all.iter().for_each(|sleeper| sleeper.wake());
    }

    /// From here on the thread may be told, though it does not sleep yet: so no word is lost in between.
    fn lie_down(&self) -> Arc<Sleeper> {
        let me = Arc::new(Sleeper { thread: thread::current(), told: AtomicBool::new(false) });
        self.sleepers.lock().unwrap().push(Arc::clone(&me));
        me
    }
}

impl Sleeper {
    fn told(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        self.told.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

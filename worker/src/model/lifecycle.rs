//! The life of one model version, as a state machine.
//!
//! Absent -> Loading -> Warming -> Serving -> Draining -> Unloaded, and Failed from every state before Serving. What is
//! unloaded or failed may be loaded again. Each event lists the states it may come from; any other is an error of the
//! caller, told and ignored. Written by loader threads and by shutdown, read by every request through `store`.

use std::sync::Arc;

use weir_protocol::Lifecycle;

use crate::lanes::Queue;

/// Where a version is in its life, with what only that state has.
#[derive(Debug, Clone, Default)]
pub enum State {
    /// In the repository, not in memory: its turn to be loaded will come.
    #[default]
    Absent,
    /// In the repository, not in memory: somebody asked for that. Reported as absent.
    Unloaded,
    /// Being read.
    Loading,
    /// Running its first forward passes.
    Warming,
    /// Answering requests through this queue.
    Serving(Arc<Queue>),
    /// Finishing what it accepted.
    Draining(Arc<Queue>),
    /// Could not be loaded, for this reason.
    Failed(Arc<str>),
}

/// Something that happens to a version.
#[derive(Debug)]
pub enum Event {
    /// Loading begins.
    Load,
    /// The model is in memory; its first forward passes begin.
    WarmUp,
    /// It is ready; requests come through this queue.
    Serve(Arc<Queue>),
    /// It cannot be loaded.
    Fail(String),
    /// Nothing new is to be accepted.
    Drain,
    /// It is out of memory, and nobody is to load it unasked.
    Unload,
}

/// An event that makes no sense in the state that the version is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version that is {} cannot take the event '{event}'", .state.name())]
pub struct IllegalEvent {
    /// The state it stays in.
    pub state: Lifecycle,
    /// The event's name.
    pub event: &'static str,
}

impl State {
    /// The state after an event.
    ///
    /// # Errors
    /// The event is not legal here.
    pub fn on(&self, event: Event) -> Result<Self, IllegalEvent> {
        match (self, event) {
            (Self::Absent | Self::Unloaded | Self::Failed(_), Event::Load) => Ok(Self::Loading),
            (Self::Loading, Event::WarmUp) => Ok(Self::Warming),
            (Self::Warming, Event::Serve(queue)) => Ok(Self::Serving(queue)),
            (Self::Absent | Self::Loading | Self::Warming, Event::Fail(reason)) => {
                Ok(Self::Failed(reason.into()))
            }
            (Self::Serving(queue), Event::Drain) => Ok(Self::Draining(Arc::clone(queue))),
            (Self::Absent | Self::Failed(_) | Self::Draining(_), Event::Unload) => Ok(Self::Unloaded),
            (_, event) => Err(IllegalEvent { state: self.lifecycle(), event: event.name() }),
        }
    }

    /// The state's name in reports.
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        match self {
            Self::Absent | Self::Unloaded => Lifecycle::Absent,
            Self::Loading => Lifecycle::Loading,
            Self::Warming => Lifecycle::Warming,
            Self::Serving(_) => Lifecycle::Serving,
            Self::Draining(_) => Lifecycle::Draining,
            Self::Failed(_) => Lifecycle::Failed,
        }
    }

    /// The queue, while there is one.
    #[must_use]
    pub fn queue(&self) -> Option<&Arc<Queue>> {
        match self {
            Self::Serving(queue) | Self::Draining(queue) => Some(queue),
            Self::Absent | Self::Unloaded | Self::Loading | Self::Warming | Self::Failed(_) => None,
        }
    }

    /// Whether nothing is to come by itself: loading ended, good or bad, or nobody wants it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !matches!(self, Self::Absent | Self::Loading | Self::Warming)
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::WarmUp => "warm up",
            Self::Serve(_) => "serve",
            Self::Fail(_) => "fail",
            Self::Drain => "drain",
            Self::Unload => "unload",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::tests::idle;

    /// One state of each kind.
    fn states() -> [State; 7] {
        let queue = Arc::new(idle());
        [
            State::Absent,
            State::Loading,
            State::Warming,
            State::Serving(Arc::clone(&queue)),
            State::Draining(queue),
            State::Failed("why".into()),
            State::Unloaded,
        ]
    }

    /// The state's own name: unlike in reports, what is unloaded is not absent.
    fn kind(state: &State) -> &'static str {
        if matches!(state, State::Unloaded) { "unloaded" } else { state.lifecycle().name() }
    }

    #[test]
    fn every_event_is_legal_from_its_sources_and_an_error_elsewhere() {
        let queue = Arc::new(idle());
        let table = || {
            [
                (Event::Load, &["absent", "failed", "unloaded"][..], "loading"),
                (Event::WarmUp, &["loading"], "warming"),
                (Event::Serve(Arc::clone(&queue)), &["warming"], "serving"),
                (Event::Fail("x".to_owned()), &["absent", "loading", "warming"], "failed"),
                (Event::Drain, &["serving"], "draining"),
                (Event::Unload, &["absent", "failed", "draining"], "unloaded"),
            ]
        };
        for state in states() {
            for (event, sources, target) in table() {
                let (before, name) = (kind(&state), event.name());
                let after = state.on(event).ok();
                let legal = sources.contains(&before);
                assert_eq!(after.as_ref().map(kind), legal.then_some(target), "{name} when {before}");
            }
        }
    }

    #[test]
    fn only_states_with_a_queue_have_one_and_only_ends_of_loading_are_settled() {
        let with_queue: Vec<_> = states().iter().map(|state| state.queue().is_some()).collect();
        assert_eq!(with_queue, [false, false, false, true, true, false, false]);
        let settled: Vec<_> = states().iter().map(State::is_settled).collect();
        assert_eq!(settled, [false, false, false, true, true, true, true]);
    }
}

//! The life of one model version, as a state machine.
//!
//! Absent -> Loading -> Warming -> Serving -> Draining, and Failed from either of the two before Serving. Each event
//! lists the states it may come from; any other is an error of the caller, told and ignored. Written by the loader
//! thread and by shutdown, read by every request through `store`.

use std::sync::Arc;

use weir_protocol::Lifecycle;

use crate::model::lanes::Lanes;

/// Where a version is in its life, with what only that state has.
#[derive(Debug, Clone, Default)]
pub enum State {
    /// In the repository, not in memory.
    #[default]
    Absent,
    /// Being read.
    Loading,
    /// Running its first forward passes.
    Warming,
    /// Answering requests on these lanes.
    Serving(Arc<Lanes>),
    /// Finishing what it accepted.
    Draining(Arc<Lanes>),
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
    /// It is ready, on these lanes.
    Serve(Arc<Lanes>),
    /// It cannot be loaded.
    Fail(String),
    /// Nothing new is to be accepted.
    Drain,
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
            (Self::Absent, Event::Load) => Ok(Self::Loading),
            (Self::Loading, Event::WarmUp) => Ok(Self::Warming),
            (Self::Warming, Event::Serve(lanes)) => Ok(Self::Serving(lanes)),
            (Self::Absent | Self::Loading | Self::Warming, Event::Fail(reason)) => {
                Ok(Self::Failed(reason.into()))
            }
            (Self::Serving(lanes), Event::Drain) => Ok(Self::Draining(Arc::clone(lanes))),
            (_, event) => Err(IllegalEvent { state: self.lifecycle(), event: event.name() }),
        }
    }

    /// The state's name in reports.
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        match self {
            Self::Absent => Lifecycle::Absent,
            Self::Loading => Lifecycle::Loading,
            Self::Warming => Lifecycle::Warming,
            Self::Serving(_) => Lifecycle::Serving,
            Self::Draining(_) => Lifecycle::Draining,
            Self::Failed(_) => Lifecycle::Failed,
        }
    }

    /// The lanes, while there are any.
    #[must_use]
    pub fn lanes(&self) -> Option<&Arc<Lanes>> {
        match self {
            Self::Serving(lanes) | Self::Draining(lanes) => Some(lanes),
            Self::Absent | Self::Loading | Self::Warming | Self::Failed(_) => None,
        }
    }

    /// Whether loading has come to an end, good or bad.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Serving(_) | Self::Draining(_) | Self::Failed(_))
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
        }
    }
}

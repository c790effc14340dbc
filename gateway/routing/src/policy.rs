//! The rules that order replicas. Config chooses one per model or per route.
//!
//! A policy sees only eligible replicas and plain numbers and names the one to take; it excludes nothing, counts
//! nothing in and keeps no state of its own beyond what lives in the replicas, so policies can be swapped while
//! requests run. Called by pools.

mod least;
mod least_connections;
mod round_robin;

use crate::{Replica, filter::Survey};

/// Which rule picks among the eligible replicas of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Each in turn, by weight.
    RoundRobin,
    /// The one with the fewest requests in flight per weight.
    LeastConnections,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::RoundRobin, Self::LeastConnections];

    /// The name in configuration, metrics and explanations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
        }
    }

    /// The replica to take; `None` when none is eligible. `survey` says which are and counts the others.
    pub(crate) fn choose<'a>(self, survey: &mut Survey<'a>, random: u64) -> Option<&'a Replica> {
        match self {
            Self::RoundRobin => round_robin::choose(survey, random),
            Self::LeastConnections => least_connections::choose(survey, random),
        }
    }
}

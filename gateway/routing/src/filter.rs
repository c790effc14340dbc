//! Whether a replica may serve a request, and if not, why: the one place where the separate states (life of the
//! replica, health and drain of the worker, the request's own conditions) come together.
//!
//! Owns the order in which reasons are given, nothing else. Policies see only what passes. Called by pools.

use weir_protocol::{Lifecycle, WorkerId};

use crate::{EndpointSpec, Health, Labels, Replica};

/// Why a replica may not serve a request. Where several hold, the first in this order is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exclusion {
    /// The worker does not serve this version now: absent, loading, draining it or failed.
    NotServing,
    /// The worker fails its probes.
    Unhealthy,
    /// No probe has said anything yet.
    NotYetProbed,
    /// An operator drains the worker.
    Draining,
    /// The worker says that it takes nothing new.
    NotAccepting,
    /// This request was there already.
    Tried,
    /// The worker lacks a label that the route asks for.
    Labels,
    /// The request is a gRPC call, and the worker is registered without an address for those.
    NoGrpc,
}

impl Exclusion {
    /// Every reason, in the order in which they are given.
    pub const ALL: [Self; 8] = [
        Self::NotServing,
        Self::Unhealthy,
        Self::NotYetProbed,
        Self::Draining,
        Self::NotAccepting,
        Self::Tried,
        Self::Labels,
        Self::NoGrpc,
    ];

    /// The reason in a word or two, as answers and explanations show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotServing => "not serving",
            Self::Unhealthy => "unhealthy",
            Self::NotYetProbed => "not yet probed",
            Self::Draining => "draining",
            Self::NotAccepting => "not accepting",
            Self::Tried => "tried",
            Self::Labels => "without the labels",
            Self::NoGrpc => "without gRPC",
        }
    }
}

/// How many replicas were excluded, by reason. `Copy` and of fixed size, so that a pick can return it for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exclusions {
    counts: [u32; Exclusion::ALL.len()],
}

impl Exclusions {
    /// Replicas excluded for this reason.
    #[must_use]
    pub fn count(&self, reason: Exclusion) -> u32 {
        self.counts.get(reason as usize).copied().unwrap_or(0)
    }

    /// Replicas excluded for any reason.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// The reasons that excluded at least one replica, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Exclusion, u32)> {
        Exclusion::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }

    pub(crate) fn add(&mut self, reason: Exclusion) {
        if let Some(count) = self.counts.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

/// What a request needs of the worker that serves it, as that was registered.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// Labels that it must carry, all of them.
    pub labels: &'a Labels,
    /// Whether it must speak gRPC; every worker speaks REST.
    pub grpc: bool,
}

impl<'a> Needs<'a> {
    /// Those of a REST request.
    #[must_use]
    pub fn rest(labels: &'a Labels) -> Self {
        Self { labels, grpc: false }
    }

    fn unmet(self, spec: &EndpointSpec) -> Option<Exclusion> {
        if !self.labels.iter().all(|(key, value)| spec.labels.get(key) == Some(value)) {
            return Some(Exclusion::Labels);
        }
        (self.grpc && spec.grpc.is_none()).then_some(Exclusion::NoGrpc)
    }
}

/// One request's view of a pool: which replicas are eligible for it, and how many are not.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    replicas: &'a [Replica],
    needs: Needs<'a>,
    tried: &'a [WorkerId],
    considered: u32,
    excluded: Exclusions,
}

impl<'a> Survey<'a> {
    /// A view for a request that has these needs and was already at the workers in `tried`.
    pub(crate) fn new(replicas: &'a [Replica], needs: Needs<'a>, tried: &'a [WorkerId]) -> Self {
        Self { replicas, needs, tried, considered: 0, excluded: Exclusions::default() }
    }

    /// Shows every eligible replica to `visit`, in the pool's order, and counts anew.
    pub(crate) fn visit(&mut self, mut visit: impl FnMut(&'a Replica)) {
        self.considered = 0;
        self.excluded = Exclusions::default();
        for replica in self.replicas {
            match eligible(replica, self.needs, self.tried) {
                Ok(()) => {
                    self.considered += 1;
                    visit(replica);
                }
                Err(reason) => self.excluded.add(reason),
            }
        }
    }

    /// Eligible replicas in the last visit.
    pub(crate) fn considered(&self) -> u32 {
        self.considered
    }

    /// The others in the last visit, by reason.
    pub(crate) fn excluded(&self) -> Exclusions {
        self.excluded
    }
}

/// Decides whether `replica` may serve a request that has these needs and was already at the workers in `tried`.
pub(crate) fn eligible(replica: &Replica, needs: Needs<'_>, tried: &[WorkerId]) -> Result<(), Exclusion> {
    if replica.state != Lifecycle::Serving {
        return Err(Exclusion::NotServing);
    }
    let live = &replica.endpoint.live;
    match live.health() {
        Health::Unhealthy => return Err(Exclusion::Unhealthy),
        Health::Unknown => return Err(Exclusion::NotYetProbed),
        Health::Healthy => {}
    }
    if live.draining() {
        return Err(Exclusion::Draining);
    }
    if !live.accepting() {
        return Err(Exclusion::NotAccepting);
    }
    let spec = &replica.endpoint.spec;
    if tried.contains(&spec.id) {
        return Err(Exclusion::Tried);
    }
    needs.unmet(spec).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;

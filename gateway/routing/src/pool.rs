//! The replicas of one model version, and the pick among them.
//!
//! A pick filters, lets the policy choose and takes a lease; it allocates nothing and takes no lock. Immutable but
//! for the atomics in its replicas. Built by the directory, asked by the proxy.

use weir_protocol::{Lifecycle, ModelName, Version, WorkerId};

use crate::{
    Exclusions, Lease, Needs, Policy, Replica,
    filter::{self, Survey},
};

/// The replicas of one model version.
#[derive(Debug)]
pub struct Pool {
    /// The model.
    pub model: ModelName,
    /// Its version.
    pub version: Version,
    /// At most one per worker, in the order of worker names.
    pub replicas: Vec<Replica>,
    /// Whether any replica of this version was ever serving.
    served: bool,
}

/// What a request asks of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The rule that chooses.
    pub policy: Policy,
    /// What the worker must have.
    pub needs: Needs<'a>,
    /// Workers that this request was at already.
    pub tried: &'a [WorkerId],
    /// A fresh random number: decides between equals.
    pub random: u64,
}

/// How a pick came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The rule that chose.
    pub policy: Policy,
    /// Eligible replicas it chose from, at least 1.
    pub considered: u32,
    /// The others, by reason.
    pub excluded: Exclusions,
}

impl Pool {
    /// An empty pool of a version that was, or was not yet, ever serving.
    pub(crate) fn new(model: ModelName, version: Version, served: bool) -> Self {
        Self { model, version, replicas: Vec::new(), served }
    }

    /// Adds a replica whose worker's name comes after all before it; one of a worker that is there already is left
    /// out, since a worker holds a version once, whatever it reports.
    pub(crate) fn push(&mut self, replica: Replica) {
        if self.replicas.last().is_some_and(|last| last.endpoint.spec.id == replica.endpoint.spec.id) {
            return;
        }
        self.served |= replica.state == Lifecycle::Serving;
        self.replicas.push(replica);
    }

    /// The replica on this worker.
    pub(crate) fn on(&self, worker: &WorkerId) -> Option<&Replica> {
        let found = self.replicas.binary_search_by(|replica| replica.endpoint.spec.id.cmp(worker)).ok()?;
        self.replicas.get(found)
    }

    /// Whether any replica of this version was ever serving, now or before an earlier rebuild.
    pub(crate) fn served(&self) -> bool {
        self.served
    }

    /// Chooses a replica, counts the request in on it and says how it was chosen.
    ///
    /// # Errors
    /// Why each replica is out of the question, when all are. The same call may do better a moment later.
    pub fn pick(&self, ask: &Ask<'_>) -> Result<(Lease, Decision), Exclusions> {
        let mut survey = Survey::new(&self.replicas, ask.needs, ask.tried);
        // Another round only when a drain began between choice and lease; the next survey then leaves it out.
        while let Some(replica) = ask.policy.choose(&mut survey, ask.random) {
            if let Some(lease) = Lease::take(replica) {
                let (considered, excluded) = (survey.considered(), survey.excluded());
                return Ok((lease, Decision { policy: ask.policy, considered, excluded }));
            }
        }
        Err(survey.excluded())
    }

    /// How many replicas may serve a request that has these needs now.
    #[must_use]
    pub fn eligible(&self, needs: Needs<'_>) -> usize {
        self.eligible_replicas(needs).count()
    }

    /// Whether [`Self::eligible`] is above 0, without counting on.
    pub(crate) fn has_eligible(&self, needs: Needs<'_>) -> bool {
        self.eligible_replicas(needs).next().is_some()
    }

    fn eligible_replicas<'a>(&'a self, needs: Needs<'a>) -> impl Iterator<Item = &'a Replica> {
        self.replicas.iter().filter(move |replica| filter::eligible(replica, needs, &[]).is_ok())
    }
}

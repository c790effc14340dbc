//! Everything a model name can mean: models, their versions, the replicas of each.
//!
//! Immutable. The registry, its one writer, builds a new one from the last whenever registration, reports or
//! settings change; what requests count survives for replicas that stay. Requests resolve names against the one
//! they loaded. Decides which names are known, which version an unversioned request gets, and what is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weir_protocol::{LoadReport, ModelName, Version, WorkerId};

use crate::{Endpoint, Needs, Policy, Pool, Replica, replica::Held};

/// Everything a model name can mean. The default knows nothing and waits: every name is [`Unresolved::Starting`].
#[derive(Debug, Default)]
pub struct Directory {
    models: BTreeMap<ModelName, Model>,
    /// Whether every member has reported or failed a probe: a name not known now is then not known at all.
    settled: bool,
    /// The only names that may be known; `None` for any.
    door: Option<BTreeSet<ModelName>>,
}

/// A worker as the directory takes it in.
#[derive(Debug, Clone)]
pub struct Member {
    /// The worker.
    pub endpoint: Arc<Endpoint>,
    /// Its last report. While there is none, what the previous directory knew of the worker stays.
    pub report: Option<Arc<LoadReport>>,
    /// Whether it has reported or failed a probe since it was registered.
    pub settled: bool,
}

/// What configuration says about names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// Policy of models that name none.
    pub default_policy: Policy,
    /// Policies by model.
    pub per_model: BTreeMap<ModelName, Policy>,
    /// Whether only models in `per_model` and `listed` are known, whatever workers report.
    pub listed_only: bool,
    /// Models that are listed without a policy of their own.
    pub listed: BTreeSet<ModelName>,
}

/// One model: its versions and how requests for it are spread.
#[derive(Debug)]
pub struct Model {
    /// The rule for requests whose route names none.
    pub policy: Policy,
    /// Every version that some worker has, loaded or not; never empty.
    pub versions: BTreeMap<Version, Pool>,
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Some worker has neither reported nor failed a probe: the name may turn up in a moment.
    #[error("not every worker has reported yet")]
    Starting,
    /// No worker has the model.
    #[error("no worker has the model")]
    UnknownModel,
    /// Workers have the model, but not this version.
    #[error("no worker has this version of the model")]
    UnknownVersion {
        /// The versions there are, ascending.
        known: Vec<Version>,
    },
    /// The model is known and no version of it was ever serving.
    #[error("no version of the model is serving yet")]
    NotReady,
}

impl Directory {
    /// Builds the directory of `members`, whose worker names are unique.
    ///
    /// Counts of a replica live on when its worker keeps name, address and kind; another one is a new process and
    /// starts from zero. Models of a member without report stay as `previous` had them, so a known name does not
    /// become unknown while its workers are away. Models of workers that are no members any more go.
    #[must_use]
    pub fn build(previous: &Self, members: &[Member], settings: &DirectorySettings) -> Self {
        let mut directory = Self {
            models: BTreeMap::new(),
            settled: members.iter().all(|member| member.settled),
            door: settings.door(),
        };
        let mut by_name: Vec<&Member> = members.iter().collect();
        by_name.sort_by(|a, b| a.endpoint.spec.id.cmp(&b.endpoint.spec.id));
        for member in by_name {
            for replica in previous.replicas_of(member) {
                directory.add(replica, previous, settings);
            }
        }
        directory
    }

    /// Finds what a request means by a model name and, where given, a version.
    ///
    /// Without a version: the highest that has a replica eligible under `needs`, else the highest that was ever
    /// serving. A pool that is returned may still have nothing eligible; picking from it says why.
    ///
    /// # Errors
    /// [`Unresolved`]; clients see 404 for the two unknowns and 503 with Retry-After for the others.
    pub fn resolve(
        &self,
        model: &ModelName,
        version: Option<Version>,
        needs: Needs<'_>,
    ) -> Result<(&Model, &Pool), Unresolved> {
        let found = self.models.get(model).ok_or_else(|| self.unknown_model(model))?;
        let pool = match version {
            Some(version) => found.versions.get(&version).ok_or_else(|| self.unknown_version(found))?,
            None => found.current(needs).ok_or(Unresolved::NotReady)?,
        };
        Ok((found, pool))
    }

    /// The model of that name, if it is known.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.get(name)
    }

    /// Every known model, by name.
    pub fn models(&self) -> impl Iterator<Item = (&ModelName, &Model)> {
        self.models.iter()
    }

    fn unknown_model(&self, model: &ModelName) -> Unresolved {
        let may_turn_up = !self.settled && self.door.as_ref().is_none_or(|door| door.contains(model));
        if may_turn_up { Unresolved::Starting } else { Unresolved::UnknownModel }
    }

    fn unknown_version(&self, model: &Model) -> Unresolved {
        if self.settled {
            Unresolved::UnknownVersion { known: model.versions.keys().copied().collect() }
        } else {
            Unresolved::Starting
        }
    }

    /// The replicas a member brings: those of its report, else those known before, with their counts where this
    /// directory has them.
    fn replicas_of(&self, member: &Member) -> Vec<Replica> {
        let spec = &member.endpoint.spec;
        let replica = |held: Held<'_>| {
            let before = self.pool(held.model, held.version).and_then(|pool| pool.on(&spec.id));
            let live = before.filter(|before| before.endpoint.spec.same_process(spec));
            let live = live.map(|before| Arc::clone(&before.live)).unwrap_or_default();
            Replica::new(Arc::clone(&member.endpoint), held, live)
        };
        match &member.report {
            Some(report) => report.models.iter().map(|load| replica(load.into())).collect(),
            None => self.on(&spec.id).map(|before| replica(before.into())).collect(),
        }
    }

    fn add(&mut self, replica: Replica, previous: &Self, settings: &DirectorySettings) {
        if self.door.as_ref().is_some_and(|door| !door.contains(&replica.model)) {
            return;
        }
        let (name, version) = (replica.model.clone(), replica.version);
        let model = self.models.entry(name.clone()).or_insert_with(|| Model {
            policy: settings.per_model.get(&name).copied().unwrap_or(settings.default_policy),
            versions: BTreeMap::new(),
        });
        let served = || previous.pool(&name, version).is_some_and(Pool::served);
        let pool =
            model.versions.entry(version).or_insert_with(|| Pool::new(name.clone(), version, served()));
        pool.push(replica);
    }

    fn pool(&self, model: &ModelName, version: Version) -> Option<&Pool> {
        self.models.get(model)?.versions.get(&version)
    }

    /// Every replica on this worker.
    fn on<'a>(&'a self, worker: &'a WorkerId) -> impl Iterator<Item = &'a Replica> {
        let pools = self.models.values().flat_map(|model| model.versions.values());
        pools.filter_map(|pool| pool.on(worker))
    }
}

impl DirectorySettings {
    fn door(&self) -> Option<BTreeSet<ModelName>> {
        self.listed_only.then(|| self.per_model.keys().chain(&self.listed).cloned().collect())
    }
}

impl Model {
    /// The version for requests that name none.
    fn current(&self, needs: Needs<'_>) -> Option<&Pool> {
        let newest_first = || self.versions.values().rev();
        newest_first().find(|pool| pool.has_eligible(needs)).or_else(|| newest_first().find(|p| p.served()))
    }
}

#[cfg(test)]
mod tests;

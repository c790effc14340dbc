//! What differs between two configurations of a gateway: what a reload applies, and what only a restart can.
//!
//! A pure function over checked configurations. Called by the gateway's reload, which applies the live part and
//! tells the operator of the rest.

use std::collections::BTreeMap;

use weir_protocol::{ModelName, WorkerId};

use crate::gateway::{GatewayConfig, GatewaySection, Worker};

/// A key that only a restart applies, and whether it differs.
type RestartKey = (&'static str, fn(&GatewayConfig, &GatewayConfig) -> bool);

/// Sockets and threads are made once, at start. The running process keeps the old values of these keys.
const RESTART_KEYS: [RestartKey; 4] = [
    ("gateway.listen", |old, new| old.gateway.listen != new.gateway.listen),
    ("gateway.threads", |old, new| old.gateway.threads != new.gateway.threads),
    ("admin.listen", |old, new| old.admin.listen != new.admin.listen),
    ("admin.token", |old, new| old.admin.token != new.admin.token),
];

/// The keys of `gateway.toml` whose change only a restart applies.
pub fn restart_keys() -> impl Iterator<Item = &'static str> {
    RESTART_KEYS.iter().map(|(key, _)| *key)
}

/// What differs between an old and a new configuration. The default is: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Workers that only the new one has, in its order.
    pub workers_added: Vec<WorkerId>,
    /// Workers that only the old one has, in its order.
    pub workers_removed: Vec<WorkerId>,
    /// Workers of the same name whose address, weight or labels differ, in the new order.
    pub workers_changed: Vec<WorkerId>,
    /// Whether any route or the order of routes differs.
    pub routes: bool,
    /// Models whose `[[model]]` was added, removed or changed, by name.
    pub models: Vec<ModelName>,
    /// Whether anything in `[limits]` differs.
    pub limits: bool,
    /// Whether anything in `[timeouts]` differs.
    pub timeouts: bool,
    /// Whether anything in `[health]` differs.
    pub health: bool,
    /// Whether a key of `[gateway]` that is applied live differs.
    pub gateway: bool,
    /// Keys that differ and that only a restart applies, such as `gateway.listen`.
    pub needs_restart: Vec<&'static str>,
}

impl Changes {
    /// Compares two configurations. The order of workers is no difference; that of routes is.
    #[must_use]
    pub fn between(old: &GatewayConfig, new: &GatewayConfig) -> Self {
        let (before, after) = (by_name(&old.workers), by_name(&new.workers));
        let names = |workers: &[Worker], keep: &dyn Fn(&Worker) -> bool| {
            workers.iter().filter(|worker| keep(worker)).map(|worker| worker.name.clone()).collect()
        };
        let differs = |worker: &Worker| before.get(&worker.name).is_some_and(|old| *old != worker);
        Self {
            workers_added: names(&new.workers, &|worker| !before.contains_key(&worker.name)),
            workers_removed: names(&old.workers, &|worker| !after.contains_key(&worker.name)),
            workers_changed: names(&new.workers, &differs),
            routes: old.routes != new.routes,
            models: changed_models(old, new),
            limits: old.limits != new.limits,
            timeouts: old.timeouts != new.timeouts,
            health: old.health != new.health,
            gateway: live_part(&old.gateway) != live_part(&new.gateway),
            needs_restart: RESTART_KEYS
                .iter()
                .filter(|(_, differs)| differs(old, new))
                .map(|(key, _)| *key)
                .collect(),
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn by_name(workers: &[Worker]) -> BTreeMap<&WorkerId, &Worker> {
    workers.iter().map(|worker| (&worker.name, worker)).collect()
}

fn changed_models(old: &GatewayConfig, new: &GatewayConfig) -> Vec<ModelName> {
    let removed = old.models.keys().filter(|name| !new.models.contains_key(*name));
    let others =
        new.models.iter().filter(|(name, model)| old.models.get(*name) != Some(model)).map(|(name, _)| name);
    let mut changed: Vec<_> = removed.chain(others).cloned().collect();
    changed.sort();
    changed
}

/// `[gateway]` with the keys blanked that only a restart applies.
fn live_part(section: &GatewaySection) -> GatewaySection {
    GatewaySection { listen: Vec::new(), threads: 0, ..section.clone() }
}

#[cfg(test)]
mod tests;

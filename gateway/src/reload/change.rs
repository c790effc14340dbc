//! What differs between two configurations, in words for the log, and what a running gateway cannot take over.

use std::{collections::BTreeMap, fmt};

use weir_config::{GatewayConfig, gateway::Worker};
use weir_protocol::WorkerId;

/// The difference between two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    added: Vec<WorkerId>,
    removed: Vec<WorkerId>,
    changed: Vec<WorkerId>,
    sections: Vec<&'static str>,
}

impl Change {
    pub(super) fn between(old: &GatewayConfig, new: &GatewayConfig) -> Self {
        let (before, after) = (by_name(old), by_name(new));
        let only_in = |these: &BTreeMap<&WorkerId, &Worker>, those: &BTreeMap<&WorkerId, &Worker>| {
            these.keys().filter(|name| !those.contains_key(*name)).map(|name| (*name).clone()).collect()
        };
        let differs = |(name, worker): (&&WorkerId, &&Worker)| {
            before.get(*name).is_some_and(|old| old != worker).then(|| (*name).clone())
        };
        let sections = [
            ("gateway", old.gateway != new.gateway),
            ("admin", old.admin != new.admin),
            ("limits", old.limits != new.limits),
            ("timeouts", old.timeouts != new.timeouts),
            ("health", old.health != new.health),
            ("routes", old.routes != new.routes),
            ("models", old.models != new.models),
        ];
        Self {
            added: only_in(&after, &before),
            removed: only_in(&before, &after),
            changed: after.iter().filter_map(differs).collect(),
            sections: sections.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect(),
        }
    }
}

fn by_name(config: &GatewayConfig) -> BTreeMap<&WorkerId, &Worker> {
    config.workers.iter().map(|worker| (&worker.name, worker)).collect()
}

impl fmt::Display for Change {
    /// `workers added: a, b; workers removed: c; changed: limits`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |names: &[WorkerId]| names.iter().map(WorkerId::as_str).collect::<Vec<_>>().join(", ");
        let parts = [
            ("workers added", join(&self.added)),
            ("workers removed", join(&self.removed)),
            ("workers changed", join(&self.changed)),
            ("changed", self.sections.join(", ")),
        ];
        let said: Vec<String> = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, n)| format!("{what}: {n}"))
            .collect();
        f.write_str(if said.is_empty() { "order of workers" } else { "" })?;
        f.write_str(&said.join("; "))
    }
}

/// Keys whose new value only a restart can bring into use, compared with what the process started with.
pub(super) fn needs_restart(started: &GatewayConfig, new: &GatewayConfig) -> Vec<&'static str> {
    let keys = [
        ("gateway.listen", started.gateway.listen != new.gateway.listen),
        ("gateway.threads", started.gateway.threads != new.gateway.threads),
        ("admin.listen", started.admin.listen != new.admin.listen),
        ("admin.token", started.admin.token != new.admin.token),
    ];
    keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> GatewayConfig {
        GatewayConfig::parse(text, Path::new("gateway.toml")).unwrap()
    }

    #[test]
    fn a_change_names_workers_and_sections_that_differ() {
        let old = config(
            "version = 1\n[[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\n\
             [[worker]]\nname = \"b\"\nurl = \"http://127.0.0.1:2\"\n",
        );
        let new = config(
            "version = 1\n[limits]\nattempts = 2\n[[worker]]\nname = \"b\"\nurl = \"http://127.0.0.1:2\"\nweight = 2.0\n\
             [[worker]]\nname = \"c\"\nurl = \"http://127.0.0.1:3\"\n",
        );
        let change = Change::between(&old, &new);
        let said = "workers added: c; workers removed: a; workers changed: b; changed: limits";
        assert_eq!(change.to_string(), said);
        assert_eq!(Change::between(&old, &old), Change::default());
    }

    #[test]
    fn only_listeners_threads_and_the_admin_token_need_a_restart() {
        let started = config("version = 1\n[[worker]]\nname = \"a\"\nurl = \"http://127.0.0.1:1\"\n");
        let mut new = started.clone();
        new.limits.attempts = 1;
        new.gateway.access_log = true;
        assert!(needs_restart(&started, &new).is_empty());
        new.gateway.listen = vec!["127.0.0.1:1".parse().unwrap()];
        new.gateway.threads += 1;
        new.admin.listen.set_port(9);
        assert_eq!(needs_restart(&started, &new), ["gateway.listen", "gateway.threads", "admin.listen"]);
    }
}

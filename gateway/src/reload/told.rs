//! A change of configuration in words, for the log.

use weir_config::Changes;

/// `workers added: a, b; changed: routes, [limits]`; empty when nothing differs.
pub(super) fn told(changes: &Changes) -> String {
    let sections = [
        (changes.routes, "routes"),
        (changes.limits, "[limits]"),
        (changes.timeouts, "[timeouts]"),
        (changes.health, "[health]"),
        (changes.gateway, "[gateway]"),
    ];
    let sections: Vec<_> =
        sections.into_iter().filter_map(|(differs, name)| differs.then_some(name)).collect();
    let parts = [
        ("workers added", joined(&changes.workers_added)),
        ("workers removed", joined(&changes.workers_removed)),
        ("workers changed", joined(&changes.workers_changed)),
        ("models changed", joined(&changes.models)),
        ("changed", sections.join(", ")),
        ("needs a restart", changes.needs_restart.join(", ")),
    ];
    let said =
        parts.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what}: {names}"));
    said.collect::<Vec<_>>().join("; ")
}

/// Whether more than half of the workers there were are gone: more likely half a file than what somebody wants.
pub(super) fn removes_most(changes: &Changes, workers_before: usize) -> bool {
    changes.workers_removed.len() * 2 > workers_before
}

/// Names in a row: `a, b`.
pub(super) fn joined(names: &[impl ToString]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_and_what_does_not_is_left_out() {
        let changes = Changes {
            workers_added: vec!["c".parse().unwrap(), "d".parse().unwrap()],
            workers_removed: vec!["a".parse().unwrap()],
            limits: true,
            routes: true,
            needs_restart: vec!["gateway.listen"],
            ..Changes::default()
        };
        let said = "workers added: c, d; workers removed: a; changed: routes, [limits]; needs a restart: gateway.listen";
        assert_eq!(told(&changes), said);
        assert_eq!(told(&Changes::default()), "");
    }

    #[test]
    fn more_than_half_of_the_workers_are_most() {
        let names = ["a", "b", "c"].map(|name| name.parse().unwrap());
        for (removed, before, most) in
            [(0, 0, false), (0, 3, false), (1, 3, false), (1, 2, false), (2, 3, true), (1, 1, true)]
        {
            let changes = Changes { workers_removed: names[..removed].to_vec(), ..Changes::default() };
            assert_eq!(removes_most(&changes, before), most, "{removed} of {before}");
        }
    }
}

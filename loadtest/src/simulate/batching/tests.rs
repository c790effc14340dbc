//! The gates themselves, and the results that are kept in the repository against what the code gives today.

use super::*;
use crate::simulate::{Check, seeds::median};

/// What `weir-loadtest simulate batching --write` wrote.
const KEPT: &str = include_str!("../../../results/batching.json");
/// The tables that batching must reproduce: one run of each is short enough for every test run.
const TABLES: [&str; 2] = ["uniform", "mixed"];
/// A hundredth of a point more than rounding: logarithms may differ in their last bit between machines.
const ROUNDING: f64 = 0.0002;

fn tables() -> Vec<Scenario> {
    let mut scenarios = Scenario::parse(SCENARIOS).unwrap();
    scenarios.retain(|scenario| TABLES.contains(&scenario.name.as_str()));
    scenarios
}

fn kept() -> Vec<Record> {
    serde_json::from_str(KEPT).unwrap()
}

#[test]
fn both_tables_hold_with_the_first_seed_and_give_what_was_kept() {
    let results = study(tables(), &[1], false, |_, _| {}).unwrap();
    let fallen: Vec<Check> = results.checks().into_iter().filter(|check| !check.ok).collect();
    assert!(fallen.is_empty(), "{fallen:#?}");
    for found in results.records() {
        let same = |kept: &&Record| {
            (&kept.scenario, &kept.rule, kept.load) == (&found.scenario, &found.rule, found.load)
        };
        let kept = kept().iter().find(same).cloned().unwrap_or_else(|| panic!("not kept: {found:?}"));
        let near = |kept: f64, found: f64, most: f64| (kept - found).abs() <= most;
        assert!(
            near(kept.in_time[0], found.in_time[0], ROUNDING)
                && near(kept.refusal_p99_ms[0], found.refusal_p99_ms[0], 0.1),
            "batching has changed; run `weir-loadtest simulate batching --write`.\nkept {kept:?}\nfound {found:?}"
        );
    }
}

#[test]
fn what_is_kept_has_every_scenario_rule_and_load_and_five_seeds() {
    let names = |scenario: &str, rule: Rule, load: f64| format!("{scenario} {} {load}", rule.name());
    let mut expected = Vec::new();
    for scenario in Scenario::parse(SCENARIOS).unwrap() {
        for rule in scenario.baselines.iter().map(|baseline| baseline.rule).chain([Rule::Weir]) {
            expected.extend(scenario.loads.iter().map(|load| names(&scenario.name, rule, *load)));
        }
    }
    let kept = kept();
    let found: Vec<String> =
        kept.iter().map(|record| format!("{} {} {}", record.scenario, record.rule, record.load)).collect();
    assert_eq!(found, expected);
    assert!(kept.iter().all(|record| record.in_time.len() == 5));
}

#[test]
fn the_medians_that_are_kept_hold_in_both_tables() {
    for scenario in tables() {
        let in_time = |gate: &&Gate| gate.figure == Figure::InTime && gate.stream.is_none();
        let limits = scenario.gate.iter().find(in_time).and_then(|gate| gate.at_least.clone()).unwrap();
        for (load, limit) in scenario.loads.iter().zip(limits) {
            let of = |record: &&Record| {
                (record.scenario.as_str(), record.rule.as_str(), record.load)
                    == (&scenario.name, "weir", *load)
            };
            let share = median(&kept().iter().find(of).unwrap().in_time);
            assert!(share >= limit, "{} at {load}: {share}", scenario.name);
        }
    }
}

#[test]
fn the_bar_of_a_live_run_is_the_simulation_of_the_tables() {
    let cost = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };
    let share = goodput(cost, 32, Duration::from_millis(50), 0.8 * 800.0, &[1]).unwrap();
    let weir = |record: &&Record| (record.scenario.as_str(), record.rule.as_str()) == ("uniform", "weir");
    let kept = kept().iter().find(weir).unwrap().in_time[0];
    assert!((share - kept).abs() <= ROUNDING, "{share}, not {kept}");
    assert!(goodput(cost, 32, Duration::from_millis(50), 0.0, &[1]).is_err());
}

#[test]
fn results_do_not_depend_on_which_thread_ran_what() {
    let mut scenarios = tables();
    for scenario in &mut scenarios {
        scenario.length = Duration::from_secs(6);
    }
    let counts = std::sync::Mutex::new(Vec::new());
    let results =
        study(scenarios.clone(), &[1, 2], true, |done, all| counts.lock().unwrap().push((done, all)))
            .unwrap();
    let again = study(scenarios, &[1, 2], true, |_, _| {}).unwrap();
    assert_eq!(results.records(), again.records());
    let mut counts = counts.into_inner().unwrap();
    counts.sort_unstable();
    let all = counts.len();
    assert_eq!(counts, (1..=all).map(|done| (done, all)).collect::<Vec<_>>());
}

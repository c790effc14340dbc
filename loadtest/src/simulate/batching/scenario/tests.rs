//! Reading of scenarios: what is left out, and what contradicts itself.

use weir_batching::BatchCost;

use super::*;
use crate::simulate::batching::SCENARIOS;

const MODEL: &str = "model = [{ base = '8ms', per_row = '1ms', max_batch_rows = 32 }]";
const STREAM: &str = "stream = [{ deadline = '50ms' }]";

fn parse(body: &str) -> Result<Vec<Scenario>> {
    Scenario::parse(&format!("[[scenario]]\nname = 'x'\nabout = 'y'\n{body}"))
}

#[test]
fn what_is_left_out_is_one_lane_without_noise_or_waiting() {
    let scenario = parse(&format!("loads = [0.8]\n{MODEL}\n{STREAM}")).unwrap().remove(0);
    let built = Scenario::of_one(
        Model::of(BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) }, 32),
        Duration::from_millis(50),
    );
    let named = Scenario { name: "x".to_owned(), about: "y".to_owned(), loads: vec![0.8], ..built };
    assert_eq!(format!("{scenario:?}"), format!("{named:?}"));
}

#[test]
fn contradictions_are_named_with_their_scenario() {
    let gate = "gate = [{ figure = 'in_time'";
    for (body, problem) in [
        (format!("loads = []\n{MODEL}\n{STREAM}"), "loads"),
        (format!("loads = [0.0]\n{MODEL}\n{STREAM}"), "loads"),
        (format!("loads = [1.0]\nlanes = 0\n{MODEL}\n{STREAM}"), "lanes"),
        (format!("loads = [1.0]\n{MODEL}\nstream = []"), "at least one model and one stream"),
        (format!("loads = [1.0]\n{MODEL}\nstream = [{{ model = 1 }}]"), "at least one model and one stream"),
        (format!("loads = [1.0]\n{MODEL}\nstream = [{{ bucket = 1 }}]"), "buckets that are there"),
        (format!("loads = [1.0]\n{MODEL}\nstream = [{{ share = 0.5 }}]"), "shares"),
        (format!("loads = [1.0]\nslowdown = {{ at = '9s', ratio = 0.0 }}\n{MODEL}\n{STREAM}"), "slowdown"),
        (format!("loads = [1.0]\n{MODEL}\nstream = [{{ rows = 33 }}]"), "fits a batch"),
        (format!("loads = [1.0]\nlength = '5s'\n{MODEL}\n{STREAM}"), "warm-up is shorter"),
        (format!("loads = [1.0]\nstudy = [1.0, 2.0]\n{MODEL}\n{STREAM}"), "one value per load"),
        (format!("loads = [1.0]\n{gate} }}]\n{MODEL}\n{STREAM}"), "one limit for each"),
        (
            format!("loads = [1.0]\n{gate}, at_least = [1.0, 1.0] }}]\n{MODEL}\n{STREAM}"),
            "one limit for each",
        ),
        (
            format!("loads = [1.0]\n{gate}, loads = [2.0], at_most = [1.0] }}]\n{MODEL}\n{STREAM}"),
            "loads of its",
        ),
        (
            format!("loads = [1.0]\n{gate}, stream = 'z', at_most = [1.0] }}]\n{MODEL}\n{STREAM}"),
            "stream 'z'",
        ),
    ] {
        let error = format!("{:#}", parse(&body).unwrap_err());
        assert!(error.contains("scenario 'x'") && error.contains(problem), "{problem}: {error}");
    }
}

#[test]
fn unknown_keys_and_times_without_a_unit_are_refused() {
    for (body, problem) in [
        (format!("loads = [1.0]\nload = 1\n{MODEL}\n{STREAM}"), "unknown field `load`"),
        (format!("loads = [1.0]\n{MODEL}\nstream = [{{ deadline = '50' }}]"), "'50'"),
        (format!("loads = [1.0]\nturn_order = 'random'\n{MODEL}\n{STREAM}"), "unknown variant"),
    ] {
        let error = format!("{:#}", parse(&body).unwrap_err());
        assert!(error.contains(problem), "{problem}: {error}");
    }
}

#[test]
fn names_are_given_once() {
    let one = format!("[[scenario]]\nname = 'x'\nabout = ''\nloads = [1.0]\n{MODEL}\n{STREAM}\n");
    let error = Scenario::parse(&format!("{one}{one}")).unwrap_err().to_string();
    assert!(error.contains("two scenarios are named 'x'"), "{error}");
}

#[test]
fn what_a_queue_is_told_is_a_share_of_the_truth() {
    let body = format!(
        "loads = [1.0]\nlanes = 3\n{STREAM}\n\
         model = [{{ base = '8ms', per_row = '1ms', max_batch_rows = 32, bucket_ratios = [1.0, 2.0], believed_ratio = 0.5, useful_rows = 7 }}]"
    );
    let scenario = parse(&body).unwrap().remove(0);
    let settings = scenario.model[0].queue_settings(scenario.lanes);
    let believed = BatchCost { base: Duration::from_millis(4), per_unit: Duration::from_micros(500) };
    let double = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) };
    assert_eq!(settings.costs, [(shape(0), believed), (shape(1), double)]);
    assert_eq!((settings.useful_rows, settings.lanes), (vec![(shape(0), 7), (shape(1), 7)], 3));
    assert_eq!(scenario.model[0].cost(0).of(32), Duration::from_millis(40));
}

#[test]
fn the_scenarios_of_the_repository_are_good() {
    let scenarios = Scenario::parse(SCENARIOS).unwrap();
    assert!(["uniform", "mixed"].iter().all(|name| scenarios.iter().any(|s| s.name == *name)));
}

//! The same history comes out the same, and nothing that ran could have run earlier in another's place.

use crate::{
    machine::{Outcome, Setup},
    traffic::Stream,
};

fn mixed() -> Setup {
    let streams = [
        Stream::of(0.6),
        Stream { patience_ms: Some(300), class: 1, ..Stream::of(0.4) },
        Stream { rows: 4, patience_ms: None, class: 2, ..Stream::of(0.3) },
    ];
    Setup { lanes: 2, noise: 0.1, until_ms: 2_000, ..Setup::of(&streams) }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let (first, second) = (mixed().run(), mixed().run());
    assert_eq!(first.records, second.records);
    assert_eq!(first.batches, second.batches);
    let other = Setup { seed: 2, ..mixed() }.run();
    assert_ne!(first.batches, other.batches, "so that the test can fail");
}

#[test]
fn requests_of_one_kind_are_answered_in_the_order_in_which_they_came() {
    let machine = Setup { lanes: 1, noise: 0.0, ..mixed() }.run();
    for stream in 0..3 {
        let answers = machine.records.iter().filter(|record| record.stream == stream);
        let answers: Vec<_> = answers
            .filter_map(|record| match record.outcome? {
                Outcome::Answered(at) => Some(at),
                _ => None,
            })
            .collect();
        assert!(answers.len() > 100, "{} answers of stream {stream}", answers.len());
        assert!(answers.is_sorted(), "stream {stream}");
    }
}

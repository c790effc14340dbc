//! The index against a plain walk over all standings.

use proptest::prelude::*;

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn ready(at: u64, sequence: u64) -> Standing {
    Standing { ready: Some((ms(at), sequence)), ..Standing::default() }
}

#[test]
fn the_oldest_goes_first_and_the_first_of_equally_old() {
    let mut turns = Turns::default();
    turns.set('a', ready(7, 3));
    turns.set('b', ready(5, 9));
    turns.set('c', ready(5, 8));
    assert_eq!(turns.ready().collect::<Vec<_>>(), ['c', 'b', 'a']);
    turns.set('c', ready(9, 10));
    assert_eq!(turns.ready().next(), Some('b'));
    assert_eq!(turns.summary().ready, Some((ms(5), 9)));
}

#[test]
fn what_becomes_idle_is_gone() {
    let mut turns = Turns::default();
    turns.set('a', Standing { ready: Some((ms(1), 1)), wakes: Some(ms(2)), doom: Some(ms(3)) });
    turns.set('a', Standing::default());
    assert_eq!((turns.len(), turns.summary()), (0, Standing::default()));
    assert_eq!((turns.woken(ms(9)), turns.doomed(ms(9))), (None, vec![]));
}

#[test]
fn something_wakes_at_its_time_and_is_doomed_after_it() {
    let mut turns = Turns::default();
    turns.set('a', Standing { wakes: Some(ms(5)), doom: Some(ms(8)), ..Standing::default() });
    assert_eq!((turns.woken(ms(4)), turns.woken(ms(5))), (None, Some('a')));
    assert_eq!((turns.doomed(ms(8)), turns.doomed(ms(9))), (vec![], vec!['a']));
}

fn standing() -> impl Strategy<Value = Standing> {
    let time = || prop::option::of((0_u64..20).prop_map(ms));
    (time(), 0_u64..5, time(), time()).prop_map(|(ready, sequence, wakes, doom)| Standing {
        ready: ready.map(|at| (at, sequence)),
        wakes,
        doom,
    })
}

proptest! {
    #[test]
    fn it_tells_what_a_walk_over_all_standings_would(
        changes in prop::collection::vec((0_u8..6, standing()), 1..40),
        now in 0_u64..25,
    ) {
        let mut turns = Turns::default();
        let mut all = BTreeMap::new();
        for (key, standing) in changes {
            turns.set(key, standing);
            all.insert(key, standing);
        }
        all.retain(|_, standing| *standing != Standing::default());

        let mut ready: Vec<_> = all.iter().filter_map(|(key, s)| Some((s.ready?, *key))).collect();
        ready.sort_unstable();
        prop_assert_eq!(turns.ready().collect::<Vec<_>>(), ready.iter().map(|(_, key)| *key).collect::<Vec<_>>());
        let mut waking: Vec<_> = all.iter().filter_map(|(key, s)| Some((s.wakes?, *key))).collect();
        waking.sort_unstable();
        prop_assert_eq!(turns.waking().collect::<Vec<_>>(), waking.clone());
        let woken = waking.first().filter(|(time, _)| *time <= ms(now)).map(|(_, key)| *key);
        prop_assert_eq!(turns.woken(ms(now)), woken);
        let mut doomed = turns.doomed(ms(now));
        doomed.sort_unstable();
        let expected: Vec<_> = all.iter().filter(|(_, s)| s.doom.is_some_and(|doom| doom < ms(now))).collect();
        prop_assert_eq!(doomed, expected.iter().map(|(key, _)| **key).collect::<Vec<_>>());
        prop_assert_eq!(turns.keys().collect::<Vec<_>>(), all.keys().copied().collect::<Vec<_>>());
        let summary = Standing {
            ready: ready.first().map(|(turn, _)| *turn),
            wakes: waking.first().map(|(time, _)| *time),
            doom: all.values().filter_map(|s| s.doom).min(),
        };
        prop_assert_eq!((turns.len(), turns.summary()), (all.len(), summary));
    }
}

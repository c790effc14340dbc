//! The formulas by hand in a few places, and what holds of them everywhere.

use proptest::prelude::*;

use super::*;

mod truth;

const IDLE: DeviceView = DeviceView { lanes: 1, free_in: Duration::ZERO, down: Duration::ZERO };

/// 8 ms + 1 ms per unit, 32 rows, nothing queued, nobody arrives.
const EMPTY: BucketView = BucketView {
    cost: BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_millis(1) },
    lanes: 1,
    free_in: Duration::ZERO,
    batch_rows: 32,
    ready_rows: 32,
    max_queue_delay: Duration::ZERO,
    queued_rows: 0,
    queued_units: 0,
    oldest: Duration::ZERO,
    turn_offset: Duration::ZERO,
    arrivals: 0.0,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn busy(left: u64) -> DeviceView {
    DeviceView { free_in: ms(left), ..IDLE }
}

fn queued(rows: u64, oldest: u64) -> BucketView {
    BucketView { queued_rows: rows, queued_units: rows, oldest: ms(oldest), free_in: ms(1), ..EMPTY }
}

fn alone(device: &DeviceView, bucket: &BucketView) -> Quote {
    quote(device, bucket, std::iter::empty(), Ask::default())
}

fn among(device: &DeviceView, bucket: &BucketView, others: &[BucketView]) -> Quote {
    quote(device, bucket, others.iter().copied(), Ask::default())
}

/// Within a microsecond: means are fractions.
#[track_caller]
fn near(is: Duration, wanted: Duration) {
    assert!(is.abs_diff(wanted) < Duration::from_micros(1), "{is:?}, not {wanted:?}");
}

#[test]
fn an_idle_device_quotes_its_floor() {
    let waits = BucketView { max_queue_delay: ms(5), ..EMPTY };
    let preferred = BucketView { ready_rows: 1, ..waits };
    for (bucket, floor) in [(EMPTY, 9), (waits, 14), (preferred, 9)] {
        let quote = alone(&IDLE, &bucket);
        assert_eq!((quote.quote, quote.floor), (ms(floor), ms(floor)));
        assert_eq!(quote.quote_admission, ms(floor), "nobody arrives who could fill the batch");
        assert_eq!(quote.device_ahead, Duration::ZERO);
    }
}

#[test]
fn a_running_batch_counts_for_what_is_left_of_it() {
    near(alone(&busy(6), &EMPTY).quote, ms(6 + 9));
    near(alone(&DeviceView { down: ms(100), ..busy(6) }, &EMPTY).quote, ms(100 + 6 + 9));
    assert_eq!(alone(&busy(6), &EMPTY).floor, ms(9), "the floor is that of an idle device");
    assert_eq!(residual(ms(20), ms(14)), ms(6));
    assert_eq!(residual(ms(20), ms(18)), ms(18) / 4, "near its end it is not believed to end at once");
    assert_eq!(residual(ms(20), ms(60)), ms(15), "late already: a quarter more");
    assert_eq!(residual(ms(20), Duration::ZERO), ms(20));
}

#[test]
fn queued_rows_are_full_batches_and_a_tail_that_is_joined() {
    for (rows, expected) in [
        (1, 6 + 10),
        (31, 6 + 40),
        (32, 6 + 40 + 9),
        (40, 6 + 40 + 17),
        (64, 6 + 80 + 9),
        (100, 6 + 120 + 13),
    ] {
        near(alone(&busy(6), &queued(rows, 5)).quote, ms(expected));
    }
}

#[test]
fn units_of_queued_rows_count_by_their_mean() {
    // 40 rows of 2 units: a full batch is 8 + 64, the tail has 8 rows.
    let heavy = BucketView { queued_units: 80, ..queued(40, 5) };
    near(alone(&busy(6), &heavy).quote, ms(6 + 72 + 8 + 16 + 1));
    near(
        quote(&busy(6), &heavy, std::iter::empty(), Ask { units: 4, ..Ask::default() }).quote,
        ms(6 + 72 + 8 + 16 + 4),
    );
}

#[test]
fn a_request_of_several_batches_is_done_with_its_last() {
    let ask = |rows, bucket| {
        quote(&busy(6), &bucket, std::iter::empty(), Ask { rows, units: rows, before: None }).quote
    };
    near(ask(32, EMPTY), ms(6 + 40));
    near(ask(33, EMPTY), ms(6 + 40 + 9));
    near(ask(80, EMPTY), ms(6 + 80 + 24));
    near(ask(8, queued(30, 5)), ms(6 + 40 + 14));
    // Two rows of 4 units join 30 of one: the rest, 6 rows of 4, is a batch of its own.
    near(
        quote(&busy(6), &queued(30, 5), std::iter::empty(), Ask { rows: 8, units: 32, before: None }).quote,
        ms(6 + 46 + 32),
    );
}

#[test]
fn a_request_that_goes_before_others_runs_with_those_behind_it() {
    let at = |before, bucket| {
        quote(&busy(6), &bucket, std::iter::empty(), Ask { before: Some(before), ..Ask::default() }).quote
    };
    for (rows, before, expected) in [
        (20, 0, 6 + 8 + 21),
        (20, 20, 6 + 8 + 21),
        (20, 99, 6 + 8 + 21),
        (40, 0, 6 + 40),
        (40, 31, 6 + 40),
        (40, 32, 6 + 40 + 17),
    ] {
        near(at(before, queued(rows, 5)), ms(expected));
    }
    // It has the age of the batch that it joins.
    let ask = Ask { before: Some(0), ..Ask::default() };
    near(quote(&busy(6), &queued(4, 10), [queued(5, 9)].into_iter(), ask).quote, ms(6 + 13));
}

#[test]
fn admission_expects_its_batch_and_those_ahead_to_fill() {
    // 500 rows a second: half of what comes in 6 ms of waiting joins.
    let bucket = BucketView { arrivals: 500.0, ..queued(4, 5) };
    near(alone(&busy(6), &bucket).quote, ms(6 + 8 + 5));
    near(alone(&busy(6), &bucket).quote_admission, ms(6 + 8 + 5) + Duration::from_micros(1500));
    let flooded = BucketView { arrivals: 1e6, ..bucket };
    near(alone(&busy(6), &flooded).quote_admission, ms(6 + 40));
}

#[test]
fn batches_of_other_buckets_go_first_when_their_head_is_older() {
    let mine = queued(4, 10);
    for (other, ahead) in [
        (queued(0, 0), 0),
        (queued(5, 20), 13),
        (queued(5, 10), 0),
        (queued(5, 3), 0),
        (queued(40, 20), 40),
        (queued(40, 60), 40 + 16),
        (queued(96, 16), 80),
    ] {
        near(among(&busy(6), &mine, &[other]).quote, ms(6 + ahead + 12 + 1));
    }
    // With a full batch in the queue a request joins one without a head yet: everything is older.
    near(among(&busy(6), &queued(32, 10), &[queued(5, 1)]).quote, ms(6 + 40 + 13 + 9));
}

#[test]
fn the_last_batch_of_another_bucket_fills_until_it_runs() {
    // Half of what comes in the 46 ms until then would be 23 rows; the quote expects half of that again.
    let other = BucketView { arrivals: 1000.0, ..queued(4, 40) };
    let quote = among(&busy(34), &queued(1, 30), &[other]);
    near(quote.quote, ms(34 + 12 + 10) + Duration::from_micros(11_500));
    near(quote.quote_admission, ms(34 + 12 + 10 + 23));
    let flood = BucketView { arrivals: 1e9, ..other };
    near(among(&busy(34), &queued(1, 30), &[flood]).quote, ms(34 + 40 + 10));
}

#[test]
fn a_turn_offset_lets_a_bucket_go_as_if_it_had_come_later() {
    let mine = BucketView { turn_offset: ms(5), ..queued(4, 10) };
    near(among(&busy(6), &mine, &[queued(5, 6)]).quote, ms(6 + 13 + 13));
    near(among(&busy(6), &mine, &[queued(5, 4)]).quote, ms(6 + 13));
    near(among(&busy(6), &mine, &[BucketView { turn_offset: ms(5), ..queued(5, 6) }]).quote, ms(6 + 13));
}

#[test]
fn waiting_for_company_counts_while_the_device_is_idle_and_the_batch_is_not_ready() {
    let waits = |rows, oldest| BucketView {
        max_queue_delay: ms(20),
        free_in: Duration::ZERO,
        ..queued(rows, oldest)
    };
    near(alone(&IDLE, &waits(4, 15)).quote, ms(5 + 13));
    near(alone(&IDLE, &waits(4, 90)).quote, ms(13));
    near(alone(&IDLE, &waits(31, 5)).quote, ms(40));
    near(alone(&busy(6), &waits(4, 5)).quote, ms(6 + 13));
    let preferred = BucketView { ready_rows: 8, ..waits(7, 5) };
    near(alone(&IDLE, &preferred).quote, ms(16));
}

#[test]
fn several_lanes_share_the_batches_ahead() {
    let two = DeviceView { lanes: 2, ..busy(6) };
    let mine = BucketView { lanes: 2, ..queued(68, 5) };
    near(alone(&two, &mine).quote, ms(6 + 40 + 13));
    near(among(&two, &mine, &[queued(5, 9)]).quote, ms(6 + 40 + 13) + Duration::from_micros(6500));
    // A model that may use one of the lanes has half the device, whatever the other one does.
    let one = BucketView { lanes: 1, free_in: ms(11), ..mine };
    near(alone(&two, &one).quote, ms(11 + 80 + 13));
    near(alone(&DeviceView { lanes: 2, ..IDLE }, &one).quote, ms(11 + 80 + 13));
}

#[test]
fn a_lane_is_free_when_fewer_run_than_there_are() {
    for (lanes, running, free) in [(1, &[][..], 0), (2, &[9], 0), (2, &[9, 4], 4), (1, &[3, 9], 3)] {
        assert_eq!(free_in(lanes, running.iter().map(|left| ms(*left))), ms(free), "{lanes} {running:?}");
    }
}

#[test]
fn marginal_and_capacity_are_those_of_full_batches() {
    // A full batch of 32 takes 40 ms: 1.25 ms each, 800 a second.
    let quote = alone(&IDLE, &EMPTY);
    near(quote.marginal, Duration::from_micros(1250));
    assert!((quote.capacity - 800.0).abs() < 1e-6, "{}", quote.capacity);
    // 2 units a row: 72 ms for 64 units, so 1.125 ms a unit, and 444 rows a second.
    let heavy = alone(&IDLE, &BucketView { queued_units: 80, ..queued(40, 5) });
    near(heavy.marginal, Duration::from_micros(1125));
    assert!((heavy.capacity - 1000.0 / 2.25).abs() < 1e-3, "{}", heavy.capacity);
    let twice = alone(&DeviceView { lanes: 4, ..IDLE }, &BucketView { lanes: 2, ..EMPTY });
    near(twice.marginal, Duration::from_micros(625));
    assert!((twice.capacity - 1600.0).abs() < 1e-6, "{}", twice.capacity);
}

#[test]
fn the_device_is_busy_until_everything_queued_has_run() {
    let others = [queued(40, 5), queued(1, 2)];
    near(among(&busy(6), &queued(4, 1), &others).device_ahead, ms(6 + 12 + 40 + 16 + 9));
    near(
        among(&DeviceView { lanes: 2, ..IDLE }, &EMPTY, &others).device_ahead,
        Duration::from_micros(32_500),
    );
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0_u64..1_000_000).prop_map(Duration::from_micros),
        1 => Just(Duration::ZERO),
        1 => Just(Duration::MAX),
    ]
}

fn cost() -> impl Strategy<Value = BatchCost> {
    (duration(), duration()).prop_map(|(base, per_unit)| BatchCost { base, per_unit })
}

fn device() -> impl Strategy<Value = DeviceView> {
    (0_u32..9, duration(), duration()).prop_map(|(lanes, free_in, down)| DeviceView { lanes, free_in, down })
}

fn bucket() -> impl Strategy<Value = BucketView> {
    let rows = prop_oneof![4 => 0_u64..200, 1 => Just(u64::MAX)];
    let rate = prop_oneof![4 => 0.0..1e5, 1 => Just(f64::MAX), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)];
    let limits = (0_u32..5, 0_u32..65, 0_u32..65, duration(), duration(), duration());
    (cost(), limits, rows, 1_u64..5, duration(), rate).prop_map(
        |(cost, limits, rows, mean, oldest, arrivals)| {
            let (lanes, batch_rows, ready_rows, max_queue_delay, free_in, turn_offset) = limits;
            BucketView {
                cost,
                lanes,
                free_in,
                batch_rows,
                ready_rows,
                max_queue_delay,
                queued_rows: rows,
                queued_units: rows.saturating_mul(mean),
                oldest,
                turn_offset,
                arrivals,
            }
        },
    )
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::default()),
        (any::<u32>(), any::<u32>(), any::<Option<u64>>()).prop_map(|(rows, units, before)| Ask {
            rows,
            units,
            before
        }),
        (1_u32..100, 1_u32..5, prop::option::of(0_u64..200)).prop_map(|(rows, mean, before)| Ask {
            rows,
            units: rows * mean,
            before
        }),
    ]
}

proptest! {
    #[test]
    fn admission_is_never_quoted_less_and_nothing_overflows(
        device in device(),
        bucket in bucket(),
        others in prop::collection::vec(bucket(), 0..6),
        ask in ask(),
    ) {
        let quote = quote(&device, &bucket, others.iter().copied(), ask);
        prop_assert!(quote.quote <= quote.quote_admission, "{quote:?}");
        prop_assert!(quote.capacity.is_finite() && quote.capacity >= 0.0, "{quote:?}");
        prop_assert!(quote.quote >= device.down, "{quote:?}");
    }

    #[test]
    fn an_idle_device_quotes_its_floor_whatever_its_model(
        lanes in 1_u32..9,
        bucket in bucket(),
        others in prop::collection::vec(bucket(), 0..6),
    ) {
        let empty = |bucket: BucketView| BucketView {
            free_in: Duration::ZERO, queued_rows: 0, queued_units: 0, oldest: Duration::ZERO, ..bucket
        };
        let bucket = BucketView { ready_rows: bucket.ready_rows.min(bucket.batch_rows.max(1)), ..empty(bucket) };
        let others: Vec<_> = others.into_iter().map(empty).collect();
        let quote = among(&DeviceView { lanes, ..IDLE }, &bucket, &others);
        prop_assert_eq!(quote.quote, quote.floor);
    }

    // With several lanes a row that begins another batch may be done before those that it no longer waits for.
    #[test]
    fn a_longer_queue_is_never_quoted_less_on_one_lane(
        device in device(),
        bucket in bucket(),
        mean in 1_u64..5,
        (few, more) in (0_u64..300, 0_u64..300),
        ask in ask(),
    ) {
        let device = DeviceView { lanes: 1, ..device };
        let quoted = |rows| {
            let bucket = BucketView {
                queued_rows: rows, queued_units: rows * mean, max_queue_delay: Duration::ZERO, ..bucket
            };
            quote(&device, &bucket, std::iter::empty(), ask).quote
        };
        // An empty queue has no mean of its own. Means are fractions: they are rounded.
        let (short, long) = (quoted(few.max(1)), quoted(few.max(1) + more));
        let rounding = Duration::from_nanos(9).saturating_add(long / 1_000_000_000);
        prop_assert!(short <= long.saturating_add(rounding), "{short:?} {long:?}");
    }

    #[test]
    fn more_work_of_others_is_never_quoted_less(
        device in device(),
        bucket in bucket(),
        other in bucket(),
        rest in prop::collection::vec(bucket(), 0..3),
        more in 0_u64..300,
    ) {
        let longer = BucketView {
            queued_rows: other.queued_rows.saturating_add(more),
            queued_units: other.queued_units.saturating_add(more),
            ..other
        };
        // The same mean, or rows that are lighter than others would make all of them lighter.
        let unit = |other: BucketView| BucketView { queued_units: other.queued_rows, ..other };
        let with = |other: BucketView| {
            let all: Vec<_> = rest.iter().copied().chain([unit(other)]).collect();
            among(&device, &bucket, &all)
        };
        let (short, long) = (with(other), with(longer));
        prop_assert!(short.quote <= long.quote);
        prop_assert!(short.quote_admission <= long.quote_admission);
        prop_assert!(short.device_ahead <= long.device_ahead);
        let none = among(&device, &bucket, &rest);
        prop_assert!(none.quote <= short.quote);
    }

    #[test]
    fn what_runs_longer_is_quoted_more(bucket in bucket(), first in duration(), second in duration()) {
        let bucket = BucketView { max_queue_delay: Duration::ZERO, ..bucket };
        let quoted = |free_in| alone(&DeviceView { free_in, ..IDLE }, &bucket).quote;
        prop_assert!(quoted(first.min(second)) <= quoted(first.max(second)));
    }
}

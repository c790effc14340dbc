//! What warm-up makes of good, strange and broken models, on a clock that only their passes move.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::ThreadId,
};

use weir_config::ModelConfig;
use weir_protocol::{Version, infer};

use super::*;
use crate::backend::{BackendError, InputBatch, OutputBatch};

thread_local! {
    /// The time that passes of this thread have taken.
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn spend(time: Duration) {
    SPENT.set(SPENT.get() + time);
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// 8 ms and 1 ms a row.
fn usual_cost(rows: u32) -> Duration {
    ms(8) + ms(1) * rows
}

type Answer = Result<Vec<f32>, &'static str>;

/// A model of floats: what it makes of the values of its first input, given the rows, and how long a pass takes, given
/// the rows, the values of a row and how many passes there were before.
struct Model<F, C> {
    forward: F,
    cost: C,
    /// Batches by their shape.
    passes: Mutex<BTreeMap<Vec<i64>, u32>>,
    total: AtomicU32,
    threads: Mutex<HashSet<ThreadId>>,
}

fn model<F: Fn(&[f32], u32) -> Answer>(forward: F) -> Model<F, fn(u32, usize, u32) -> Duration> {
    timed(forward, |rows, _, _| usual_cost(rows))
}

fn timed<F: Fn(&[f32], u32) -> Answer, C: Fn(u32, usize, u32) -> Duration>(
    forward: F,
    cost: C,
) -> Model<F, C> {
    let (passes, threads) = (Mutex::default(), Mutex::default());
    Model { forward, cost, passes, total: AtomicU32::new(0), threads }
}

impl<F, C> Model<F, C> {
    fn total(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }
}

impl<F, C> Backend for Model<F, C>
where
    F: Fn(&[f32], u32) -> Answer + Send + Sync,
    C: Fn(u32, usize, u32) -> Duration + Send + Sync,
{
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        let (before, shape) = (self.total.fetch_add(1, Ordering::Relaxed), inputs[0].shape.clone());
        *self.passes.lock().unwrap().entry(shape.clone()).or_default() += 1;
        self.threads.lock().unwrap().insert(std::thread::current().id());
        let bytes = inputs[0].parts.concat();
        assert_eq!(inputs[0].byte_len(), Some(bytes.len()), "the sample does not fit its shape");
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let rows = u32::try_from(shape[0]).unwrap();
        spend((self.cost)(rows, values.len() / rows as usize, before));
        let output = (self.forward)(&values, rows).map_err(BackendError::new)?;
        let data = output.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        Ok(vec![OutputBatch { datatype: Datatype::Fp32, shape, data: data.into() }])
    }
}

fn doubled(values: &[f32], _: u32) -> Answer {
    Ok(values.iter().map(|value| value * 2.0).collect())
}

/// A model of one input and one output of floats, with lines of its own in model.toml.
fn config(shape: &str, max_rows: u32, extra: &str) -> ModelConfig {
    let toml = format!(
        "max_batch_size = {max_rows}\n[[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = {shape}\n{}\
         [[output]]\nname = \"y\"\ndatatype = \"FP32\"\nshape = {shape}\n{extra}",
        if extra.contains("buckets") { "pad_value = 0\n" } else { "" }
    );
    ModelConfig::parse(&toml, Path::new("model.toml")).unwrap()
}

const ONE_LANE: Crew = Crew { lanes: 1, stand_ins: 0, intra_op_threads: 1 };

fn warm_up(config: &ModelConfig, backend: &dyn Backend, crew: Crew) -> WarmUp {
    let spec = spec(config);
    run(&spec, backend, &Plan { section: &config.warmup, crew, time: &|| SPENT.get() }, &mut |_| ())
}

fn spec(config: &ModelConfig) -> ModelSpec {
    ModelSpec::new("m".parse().unwrap(), Version::new(1).unwrap(), config)
}

fn found(config: &ModelConfig, backend: &dyn Backend) -> Findings {
    match warm_up(config, backend, ONE_LANE) {
        WarmUp::Good(findings) => findings,
        other => panic!("{other:?}"),
    }
}

/// Most rows that were found to work, and the reason where that is not all.
fn limit_of(config: &ModelConfig, backend: &dyn Backend) -> (u32, Option<String>) {
    let findings = found(config, backend);
    let why = findings.warning.map(|warning| {
        let (limit, why) = warning.split_once(": ").unwrap();
        let (rows, allowed) = (findings.max_rows, config.max_batch_size);
        assert_eq!(
            limit,
            format!("runs at most {rows} rows at a time, although model.toml allows {allowed}")
        );
        why.to_owned()
    });
    (findings.max_rows, why)
}

#[test]
fn a_model_that_batches_is_good_and_its_cost_is_known() {
    let model = model(doubled);
    let Findings { max_rows, warning, shapes } = found(&config("[-1, 3]", 8, ""), &model);
    assert_eq!((max_rows, warning), (8, None));
    let [shape] = &shapes[..] else { panic!("{shapes:?}") };
    assert_eq!(shape.times, [1, 2, 4, 8].map(|rows| (rows, usual_cost(rows))));
    assert_eq!((&shape.key, shape.bucket), (&ShapeKey::default(), None));
    assert_eq!(shape.cost, BatchCost { base: ms(8), per_unit: ms(1) });
    for (rows, passes) in model.passes.lock().unwrap().iter() {
        assert!(*passes >= 3, "{passes} passes of {rows:?}");
    }
}

#[test]
fn a_model_without_batches_is_timed_alone() {
    let model = model(doubled);
    let findings = found(&config("[2, 3]", 0, ""), &model);
    assert_eq!((findings.max_rows, findings.warning), (1, None));
    assert_eq!(findings.shapes[0].times, [(1, usual_cost(2))], "its first dimension is no batch");
    assert!(model.total() >= 3);
}

#[test]
fn noise_moves_the_fit_by_less_than_a_quarter() {
    // Every third pass is a tenth slower, every seventh three times as slow.
    let noisy = |rows: u32, _, before: u32| match before {
        n if n % 7 == 6 => usual_cost(rows) * 3,
        n if n % 3 == 2 => usual_cost(rows) * 11 / 10,
        _ => usual_cost(rows),
    };
    let findings = found(&config("[-1, 3]", 32, "[warmup]\npasses = 9\n"), &timed(doubled, noisy));
    let BatchCost { base, per_unit } = findings.shapes[0].cost;
    assert!((ms(6)..ms(10)).contains(&base), "{base:?}");
    assert!((ms(8)..ms(12)).contains(&(per_unit * 10)), "{per_unit:?}");
}

#[test]
fn the_first_passes_which_are_slow_do_not_count() {
    let slow = |rows, _, before: u32| if before < 2 { ms(500) } else { usual_cost(rows) };
    let findings = found(&config("[-1, 3]", 1, ""), &timed(doubled, slow));
    assert_eq!(findings.shapes[0].times, [(1, usual_cost(1))]);
    // Also when each size has a slow first pass of its own, on each thread.
    let seen = Mutex::new(HashSet::new());
    let slow_by_size = move |rows, _, _| {
        let is_new = seen.lock().unwrap().insert((std::thread::current().id(), rows));
        if is_new { ms(500) } else { usual_cost(rows) }
    };
    let findings = found(&config("[-1, 3]", 4, ""), &timed(doubled, slow_by_size));
    assert_eq!(findings.shapes[0].times, [1, 2, 4].map(|rows| (rows, usual_cost(rows))));
}

#[test]
fn rows_that_depend_on_their_company_are_found_at_either_end() {
    // Each row's answer depends on the row before it, so the first row is right and the last one is not.
    let shifted = model(|values, _| {
        let before = [&values[..1], &values[..values.len() - 1]].concat();
        Ok(values.iter().zip(before).map(|(value, before)| value + before).collect())
    });
    let (rows, why) = limit_of(&config("[-1, 1]", 4, ""), &shifted);
    let differs = "output 'y' of a row differs when the row runs in a batch of 2";
    assert_eq!((rows, why.as_deref()), (1, Some(differs)));
    let first =
        model(|values, rows| Ok(values.iter().map(|v| if rows > 1 { v + values[1] } else { *v }).collect()));
    assert_eq!(limit_of(&config("[-1, 1]", 4, ""), &first).0, 1);
}

#[test]
fn a_difference_that_summation_order_explains_is_none_unless_the_tolerance_says_so() {
    let model =
        model(|values, rows| Ok(values.iter().map(|v| if rows > 1 { v * 1.0001 } else { *v }).collect()));
    for (tolerance, rows) in [("", 4), ("tolerance_ratio = 0.001", 4), ("tolerance_ratio = 0.00001", 1)] {
        let config = config("[-1, 4]", 4, &format!("[warmup]\n{tolerance}\n"));
        assert_eq!(limit_of(&config, &model).0, rows, "{tolerance}");
    }
    let bit_for_bit = config("[-1, 4]", 4, "[warmup]\ntolerance_ratio = 0\n");
    assert_eq!(limit_of(&bit_for_bit, &model).0, 1);
}

#[test]
fn a_batch_size_that_is_baked_in_limits_batches_or_fails() {
    let up_to =
        |most| model(move |values, rows| if rows <= most { doubled(values, rows) } else { Err("baked") });
    for most in [1, 2, 5, 11, 15] {
        let next = if most == 1 { 2 } else { most + 1 };
        let why = Some(format!("a batch of {next} rows fails: baked"));
        let findings = found(&config("[-1, 2]", 16, ""), &up_to(most));
        assert_eq!(findings.shapes[0].times.last().unwrap().0, most, "nothing larger is timed");
        assert_eq!(limit_of(&config("[-1, 2]", 16, ""), &up_to(most)), (most, why));
    }
    let required = config("[-1, 2]", 16, "[warmup]\nrows = \"require\"\n");
    let why = "does not batch 16 rows as model.toml requires: a batch of 8 rows fails: baked";
    assert_eq!(warm_up(&required, &up_to(7), ONE_LANE), WarmUp::Bad(why.to_owned()));
    assert_eq!(found(&required, &up_to(16)).max_rows, 16);
    let four = model(|values, rows| if rows == 4 { doubled(values, rows) } else { Err("baked") });
    let why = "a batch of 4 rows works and a single row does not: baked";
    assert_eq!(warm_up(&config("[-1, 2]", 16, ""), &four, ONE_LANE), WarmUp::Bad(why.to_owned()));
}

#[test]
fn free_dimensions_are_tried_in_several_sizes_unless_model_toml_names_one() {
    let at_least_30 = || {
        model(
            |values, rows| {
                if values.len() >= 30 * rows as usize { doubled(values, rows) } else { Err("too small") }
            },
        )
    };
    let guessed = found(&config("[-1, -1]", 2, ""), &at_least_30());
    assert_eq!(guessed.shapes[0].key, ShapeKey(Box::new([32])));
    let named = found(&config("[-1, -1]", 2, "[warmup]\nfree_size = 57\n"), &at_least_30());
    assert_eq!(named.shapes[0].key, ShapeKey(Box::new([57])));
    let never = model(|_, _| Err("too small"));
    let unknown = WarmUp::Unknown("too small".to_owned());
    assert_eq!(warm_up(&config("[-1, -1]", 2, ""), &never, ONE_LANE), unknown);
    let bad = WarmUp::Bad("too small".to_owned());
    assert_eq!(warm_up(&config("[-1, 5]", 2, ""), &never, ONE_LANE), bad);
    assert_eq!(warm_up(&config("[-1, -1]", 2, "[warmup]\nfree_size = 8\n"), &never, ONE_LANE), bad);
}

/// Three buckets.
fn bucketed(max_rows: u32) -> ModelConfig {
    config("[-1, -1]", max_rows, "[batching]\nbuckets = [4, 16, 64]\n")
}

#[test]
fn every_bucket_runs_at_least_three_times_and_has_a_cost_of_its_own() {
    let by_length = timed(doubled, |rows, length, _| ms(2) + ms(length as u64) * rows / 4);
    let findings = found(&bucketed(8), &by_length);
    assert_eq!((findings.max_rows, findings.warning), (8, None));
    let buckets = [4, 16, 64];
    assert_eq!(findings.shapes.len(), buckets.len());
    for (shape, bucket) in findings.shapes.iter().zip(buckets) {
        assert_eq!((&shape.key, shape.bucket), (&ShapeKey(Box::new([bucket])), Some(bucket)));
        assert_eq!(shape.cost, BatchCost { base: ms(2), per_unit: ms(bucket) / 4 });
        for rows in [1, 8] {
            let passes = by_length.passes.lock().unwrap()[&vec![rows, bucket as i64]];
            assert!(passes >= 3, "{passes} passes of {rows} rows of {bucket}");
        }
    }
}

#[test]
fn a_bucket_in_which_fewer_rows_work_limits_all() {
    let small =
        model(|values, rows| if values.len() <= 200 { doubled(values, rows) } else { Err("no memory") });
    let findings = found(&bucketed(16), &small);
    assert_eq!(findings.max_rows, 3);
    assert_eq!(
        findings.warning.unwrap(),
        "runs at most 3 rows at a time, although model.toml allows 16: a batch of 4 rows fails: no memory"
    );
    let largest: Vec<_> = findings.shapes.iter().map(|shape| shape.times.last().unwrap().0).collect();
    assert!(largest.iter().all(|rows| *rows <= 3), "{largest:?}");
    let never = model(|values, rows| if values.len() < 64 { doubled(values, rows) } else { Err("too long") });
    let why = "too long, in the bucket 64".to_owned();
    assert_eq!(warm_up(&bucketed(2), &never, ONE_LANE), WarmUp::Bad(why));
}

#[test]
fn every_lane_runs_timed_passes_and_those_of_one_lane_run_elsewhere() {
    for (lanes, stand_ins) in [(1, 0), (1, 2), (3, 0)] {
        let model = model(doubled);
        let crew = Crew { lanes, stand_ins, intra_op_threads: 1 };
        let WarmUp::Good(findings) = warm_up(&config("[-1, 3]", 1, ""), &model, crew) else { panic!() };
        assert_eq!(findings.shapes[0].cost.of(1), usual_cost(1));
        let threads = model.threads.lock().unwrap();
        assert_eq!(threads.len(), lanes as usize + 1, "one size, and the first passes on this thread");
    }
}

#[test]
fn the_time_of_timed_passes_is_bounded_however_long_they_take() {
    for row in [10, 100, 1_000, 60_000] {
        let model = timed(doubled, move |rows, _, _| ms(row) * rows);
        let findings = found(&config("[-1, 3]", 8, "[warmup]\npasses = 100\n"), &model);
        let rows_run = |(shape, passes): (&Vec<i64>, &u32)| shape[0].unsigned_abs() * u64::from(*passes);
        let rows: u64 = model.passes.lock().unwrap().iter().map(rows_run).sum();
        // 3 and 3 of one row, 2, 4, and three times 8.
        let bound = ms(row) * 36 + Duration::from_secs(10);
        assert!(ms(row) * u32::try_from(rows).unwrap() <= bound, "{rows} rows of {row} ms");
        // What was not timed is known from the first passes, and that is enough for a line.
        let cost = findings.shapes[0].cost;
        assert!(cost.of(8).abs_diff(ms(row) * 8) < ms(1), "{cost:?}");
    }
}

#[test]
fn timed_passes_that_fail_leave_what_is_known() {
    let here = std::thread::current().id();
    let elsewhere =
        model(
            move |values, rows| {
                if std::thread::current().id() == here { doubled(values, rows) } else { Err("not twice") }
            },
        );
    let Findings { max_rows, warning, shapes } = found(&config("[-1, 3]", 4, ""), &elsewhere);
    assert_eq!(max_rows, 4);
    assert!(warning.unwrap().ends_with("timed passes fail: not twice"));
    assert_eq!(shapes[0].times, [1, 4].map(|rows| (rows, usual_cost(rows))));
}

#[test]
fn a_model_that_panics_is_bad() {
    let panics = model(|_, _| panic!("on purpose"));
    let why = "the forward pass panicked".to_owned();
    assert_eq!(warm_up(&config("[-1, 3]", 4, ""), &panics, ONE_LANE), WarmUp::Bad(why));
}

#[test]
fn steps_are_told_in_order() {
    let config = bucketed(4);
    let (model, mut steps) = (model(doubled), Vec::new());
    let plan = Plan { section: &config.warmup, crew: ONE_LANE, time: &|| SPENT.get() };
    run(&spec(&config), &model, &plan, &mut |step| steps.push(step));
    let told = |bucket: u64| {
        let steps = steps.iter().filter(|step| step.bucket == Some(bucket));
        steps.map(|step| (step.shapes_done, step.is_timed, step.rows)).collect::<Vec<_>>()
    };
    let checks = |done| [(done, false, 1), (done, false, 2), (done, false, 4)];
    let timed = |done| [(done, true, 1), (done, true, 4), (done, true, 2)];
    assert_eq!(told(4), [checks(0), timed(0)].concat());
    assert_eq!(
        told(16),
        [&checks(1)[..1], &checks(1)[2..], &timed(1)].concat(),
        "other sizes were tried before"
    );
    assert!(steps.iter().all(|step| step.shapes == 3));
}

/// A backend that answers each text with what a function makes of it and of the number of texts.
struct Texts(fn(&str, usize) -> Result<String, &'static str>);

impl Backend for Texts {
    fn forward(&self, inputs: &[InputBatch<'_>]) -> Result<Vec<OutputBatch>, BackendError> {
        let bytes = inputs[0].parts.concat();
        let texts: Vec<_> = infer::strings(&bytes).map(|text| std::str::from_utf8(text).unwrap()).collect();
        let mut data = Vec::new();
        for text in &texts {
            let answer = (self.0)(text, texts.len()).map_err(BackendError::new)?;
            infer::push_string(&mut data, answer.as_bytes()).unwrap();
        }
        let shape = inputs[0].shape.clone();
        Ok(vec![OutputBatch { datatype: Datatype::Bytes, shape, data: data.into() }])
    }
}

#[test]
fn texts_are_made_and_compared_by_row_and_unknown_words_are_no_failure() {
    let mut config = config("[-1]", 12, "");
    config.inputs[0].datatype = Datatype::Bytes;
    config.outputs[0].datatype = Datatype::Bytes;
    assert_eq!(limit_of(&config, &Texts(|text, _| Ok(format!("<{text}>")))), (12, None));
    let company =
        Texts(|text, count| Ok(if count > 3 { format!("{text} of {count}") } else { text.to_owned() }));
    let why = "output 'y' of a row differs when the row runs in a batch of 4".to_owned();
    assert_eq!(limit_of(&config, &company), (3, Some(why)));
    let picky = Texts(|text, _| if text == "hello" { Ok(text.to_owned()) } else { Err("unknown word") });
    assert_eq!(warm_up(&config, &picky, ONE_LANE), WarmUp::Unknown("unknown word".to_owned()));
}

#[test]
fn an_input_that_cannot_be_made_is_an_answer_not_an_allocation() {
    let mut config = config("[-1, 1]", 2, "");
    config.inputs[0].shape[1] = i64::MAX;
    let why = "input 'x' is too large to be made".to_owned();
    assert_eq!(warm_up(&config, &model(doubled), ONE_LANE), WarmUp::Bad(why));
}

#[test]
fn a_model_that_says_what_it_costs_is_believed() {
    let of = |config: &ModelConfig| declared(&spec(config), usual_cost);
    let plain = of(&config("[-1, 3]", 32, ""));
    assert_eq!(plain.shapes[0].cost, BatchCost { base: ms(8), per_unit: ms(1) });
    let keys: Vec<_> = of(&bucketed(8)).shapes.into_iter().map(|shape| shape.key).collect();
    assert_eq!(keys, [4, 16, 64].map(|bucket| ShapeKey(Box::new([bucket]))));
    assert!(of(&config("[-1, -1]", 8, "")).shapes.is_empty(), "shapes that only requests know");
}

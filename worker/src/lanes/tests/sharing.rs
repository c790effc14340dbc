//! Several models on the lanes of one device.

use std::time::Duration;

use super::*;

/// Two queues on one backend, so that the order of their batches shows.
fn two_models(lanes: &Lanes) -> (Queue, Queue, Arc<Scripted>) {
    let backend = Arc::new(Scripted::default());
    let add = || add(lanes, Arc::clone(&backend) as _, true, 64);
    (add(), add(), backend)
}

#[test]
fn models_that_share_a_lane_take_turns_by_their_oldest_request() {
    let lanes = start(1);
    let (first, second, backend) = two_models(&lanes);
    let held = Held::new(&lanes);
    // Four rows are a batch.
    let requests: [(&Queue, &[u8]); 5] =
        [(&first, &[1; 8]), (&second, &[2; 8]), (&first, &[3; 2]), (&second, &[4; 8]), (&first, &[5; 2])];
    let answers = requests.map(|(queue, data)| admit(queue, data));
    held.let_go();
    assert_eq!(answers.map(data).concat(), requests.map(|(_, data)| data).concat());
    let passes: [&[u8]; 4] = [&[1; 8], &[2; 8], &[3, 3, 5, 5], &[4; 8]];
    assert_eq!(*backend.passes.lock(), passes);
}

#[test]
fn a_model_runs_no_more_batches_at_once_than_it_may_and_the_rest_of_the_lanes_serve_others() {
    let lanes = start(3);
    let (gate, settings) = (Gate::new(), queue(4, 64));
    let narrow = add_with(&lanes, Arc::clone(&gate) as _, true, settings.clone());
    let _running = [admit(&narrow, &[1; 2]), admit(&narrow, &[2; 8])];
    let (wide_gate, settings) = (Gate::new(), QueueSettings { lanes: 2, ..settings });
    let wide = add_with(&lanes, Arc::clone(&wide_gate) as _, true, settings);
    let _running = [admit(&wide, &[3; 8]), admit(&wide, &[4; 8])];
    for gate in [&gate, &wide_gate, &wide_gate] {
        gate.entered_blocking();
    }
    assert!(gate.entered.try_acquire().is_err(), "a second batch of a model that runs one at a time");
    gate.open(2);
    gate.entered_blocking();
    wide_gate.open(2);
}

#[test]
fn a_model_that_hangs_stops_neither_its_neighbours_nor_their_unloading() {
    let lanes = start(2);
    let gate = Gate::new();
    let hangs = add(&lanes, Arc::clone(&gate) as _, true, 64);
    let _stuck = [admit(&hangs, &[1; 8]), admit(&hangs, &[2; 8])];
    gate.entered_blocking();
    let neighbour = add(&lanes, Arc::new(Scripted::default()), true, 64);
    assert_eq!(data(admit(&neighbour, &[3, 4])), [3, 4]);
    neighbour.close();
    gate.open(2);
}

#[test]
fn a_request_that_waits_long_for_company_holds_up_nobody_who_waits_less() {
    let lanes = start(1);
    let (backend, hour) = (Arc::new(Scripted::default()), Duration::from_secs(3_600));
    let add = |max_queue_delay| {
        let settings = QueueSettings { max_queue_delay, ..queue(4, 64) };
        add_with(&lanes, Arc::clone(&backend) as _, true, settings)
    };
    let (patient, hasty) = (add(hour), add(Duration::from_micros(1)));
    let _waits = admit(&patient, &[1, 2]);
    for _ in 0..50 {
        assert_eq!(data(admit(&hasty, &[3, 4])), [3, 4]);
    }
    assert_eq!(patient.queued_rows(), 1);
}

#[test]
fn what_runs_outlives_its_queue() {
    let lanes = start(1);
    let gate = Gate::new();
    let queue = add(&lanes, Arc::clone(&gate) as _, true, 64);
    let _running = admit(&queue, &[1; 8]);
    gate.entered_blocking();
    let (waiting, backend) = (admit(&queue, &[2; 8]), Arc::downgrade(&gate));
    drop(queue);
    assert!(waiting.blocking_recv().is_err(), "nobody runs what is left of a dropped queue");
    gate.open(1);
    let other = add(&lanes, Arc::new(Scripted::default()), true, 64);
    assert_eq!(data(admit(&other, &[3, 4])), [3, 4]);
    drop(gate);
    assert!(backend.upgrade().is_none(), "the model is still in memory");
}

//! How long a request can wait while others keep coming: the bound that ageing gives, and who is in time.

use proptest::prelude::*;

use super::*;

/// A request of an endless stream: when it comes, its class and its patience.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    after_us: u64,
    rows: u32,
    class: u8,
    patience_us: Option<u64>,
}

fn arrivals(most_us: u64) -> impl Strategy<Value = Vec<Arrival>> {
    let one = (0..most_us, 1_u32..5, 0_u8..3, prop::option::weighted(0.8, 9_000_u64..90_000))
        .prop_map(|(after_us, rows, class, patience_us)| Arrival { after_us, rows, class, patience_us });
    prop::collection::vec(one, 200..400)
}

/// One lane that runs batches one after the other, each as long as its cost says.
struct Run {
    device: Device<Job>,
    queue: QueueId,
    now: Duration,
    /// The batch that runs, and when it ends.
    running: Option<(Batch<Job>, Duration)>,
    batches: u32,
}

impl Run {
    fn new(ageing: Duration) -> Self {
        let settings = QueueSettings { max_batch_rows: 8, max_queued_rows: 1_000_000, ageing, ..settings() };
        let (mut device, queue) = one(settings);
        measure(&mut device, queue, 9);
        Self { device, queue, now: ms(9), running: None, batches: 0 }
    }

    /// Lets time pass until `until`, with batches beginning and ending; gives those that ended and when.
    fn pass(&mut self, until: Duration) -> Vec<(Batch<Job>, Duration)> {
        let mut ended = Vec::new();
        loop {
            if self.running.is_none()
                && let Next::Run(batch) = self.device.next(self.now).next
            {
                let end = self.now + COST.of(batch.units);
                self.batches += 1;
                self.running = Some((batch, end));
            }
            match self.running.take() {
                Some((batch, end)) if end <= until => {
                    self.now = end;
                    self.device.finish(end, batch.id, Ended::Ran(COST.of(batch.units)));
                    ended.push((batch, end));
                }
                running => {
                    self.running = running;
                    self.now = until;
                    return ended;
                }
            }
        }
    }

    fn admit(&mut self, name: &'static str, arrival: Arrival) -> bool {
        let Arrival { rows, class, patience_us, .. } = arrival;
        let deadline = patience_us.map(|us| self.now + Duration::from_micros(us));
        let ticket = Ticket { rows, units: rows, class, deadline, ..ticket(name) };
        self.device.admit(self.now, self.queue, vec![ticket]).is_ok()
    }

    fn holds(batches: &[(Batch<Job>, Duration)], name: &str) -> bool {
        batches.iter().any(|(batch, _)| batch.tickets.iter().any(|ticket| ticket.payload.name == name))
    }
}

proptest! {
    /// A request of class c goes before all that come (c + 1) ageings after it; each batch takes at least the first that
    /// waits without a deadline, so those that are ahead of it then are all that it waits for.
    #[test]
    fn no_class_starves(stream in arrivals(6_000), class in 0_u8..4, ageing_ms in 5_u64..60) {
        let mut run = Run::new(ms(ageing_ms));
        let mut bound = None;
        let mut ran = false;
        let marked = run.now + ms(ageing_ms) * (u32::from(class) + 1);
        run.admit("running", Arrival { after_us: 0, rows: 8, class: 0, patience_us: None });
        run.pass(run.now);
        run.admit("patient", Arrival { after_us: 0, rows: 1, class, patience_us: None });
        for arrival in stream.iter().cycle().take(4_000) {
            let ended = run.pass(run.now + Duration::from_micros(arrival.after_us));
            ran |= Run::holds(&ended, "patient");
            if ran {
                break;
            }
            if run.now >= marked && bound.is_none() {
                let ahead = run.device.view(run.queue).queued_rows;
                bound = Some(run.batches + u32::try_from(ahead).unwrap() + 2);
            }
            prop_assert!(bound.is_none_or(|bound| run.batches <= bound), "starved");
            run.admit("other", *arrival);
        }
        prop_assert!(ran || bound.is_none(), "it never ran");
    }

    #[test]
    fn where_batches_take_what_they_should_every_answer_is_in_time(stream in arrivals(8_000)) {
        let mut run = Run::new(ms(1_000));
        for arrival in stream {
            let ended = run.pass(run.now + Duration::from_micros(arrival.after_us));
            for (batch, end) in ended {
                let late = batch.tickets.iter().find(|ticket| ticket.deadline.is_some_and(|due| due < end));
                prop_assert!(late.is_none(), "{late:?} was done at {end:?}");
            }
            run.admit("any", arrival);
        }
    }

    #[test]
    fn what_gets_in_is_done_in_time_when_nothing_else_comes(
        running in 1_u32..9, waiting in 0..60, own in 1_u32..9, patience_ms in 9_u64..400,
    ) {
        let mut run = Run::new(ms(1_000));
        run.admit("running", Arrival { after_us: 0, rows: running, class: 0, patience_us: None });
        run.pass(run.now);
        for _ in 0..waiting {
            run.admit("waiting", Arrival { after_us: 0, rows: 1, class: 0, patience_us: None });
        }
        // Far off deadlines stand behind those without: all that waits goes first.
        let last = Arrival { after_us: 0, rows: own, class: 1, patience_us: Some(patience_ms * 1_000) };
        let due = run.now + Duration::from_micros(patience_ms * 1_000);
        let admitted = run.admit("last", last);
        let ended = run.pass(run.now + ms(2_000));
        let in_time = ended.iter().find(|(batch, _)| names(&batch.tickets).contains(&"last"));
        prop_assert!(!admitted || in_time.is_some_and(|(_, end)| *end <= due), "{:?}", in_time);
    }
}

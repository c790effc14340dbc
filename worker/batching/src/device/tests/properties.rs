//! Properties that hold for every history of arrivals, cancellations, turns, ends and passing time.

use proptest::prelude::*;

use super::{
    world::{World, device, queue, steps},
    *,
};

fn queues() -> impl Strategy<Value = Vec<QueueSettings>> {
    prop::collection::vec(queue(), 3)
}

proptest! {
    #[test]
    fn every_ticket_is_answered_exactly_once_in_order_and_within_limits(
        device in device(), queues in queues(), steps in steps(),
    ) {
        let mut world = World::new(device, queues);
        for step in steps {
            world.step(step);
        }
        world.settle();
        for (id, sent) in world.sent.iter().enumerate() {
            prop_assert_eq!(sent.answers, 1, "ticket {} was answered {} times", id, sent.answers);
        }
    }

    #[test]
    fn without_a_delay_a_live_ticket_never_waits_for_a_free_lane(
        device in device(), queues in queues(), steps in steps(),
    ) {
        let queues = queues.into_iter().map(|queue| QueueSettings { max_queue_delay: Duration::ZERO, ..queue });
        let mut world = World::new(device, queues.collect());
        for step in steps {
            world.step(step);
            while world.turn() {}
            prop_assert_eq!(world.overdue().count(), 0, "kept waiting");
        }
    }

    #[test]
    fn a_lane_that_sleeps_as_told_serves_everybody_by_their_due_time(
        device in device(), queues in queues(), steps in steps(),
    ) {
        let mut world = World::new(device, queues);
        for step in steps {
            world.step(step);
            while world.turn() {}
            prop_assert_eq!(world.overdue().count(), 0, "a ticket that was due is still queued");
        }
    }
}

//! Until when an answer is useful and how urgent it is, where model.toml and the request have a say in both.
//!
//! Pure. `infer` puts the result on the request's tickets; `weir-batching` orders and drops by it.

use std::time::Duration;

use weir_config::model::BatchingSection;
use weir_protocol::Priority;

/// What model.toml says of requests' time and urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long an answer is useful at most, from the request's last byte; `None` = for ever.
    pub default_timeout: Option<Duration>,
    /// Priorities there are; at least 1.
    pub priority_levels: u8,
    /// Priority of requests that name none; 1 to `priority_levels`.
    pub default_priority: u8,
}

impl Default for Terms {
    fn default() -> Self {
        Self { default_timeout: None, priority_levels: 1, default_priority: 1 }
    }
}

impl From<&BatchingSection> for Terms {
    fn from(section: &BatchingSection) -> Self {
        Self {
            default_timeout: section.default_timeout,
            priority_levels: section.priority_levels,
            default_priority: section.default_priority,
        }
    }
}

impl Terms {
    /// When the answer to a request stops being useful: the first of `head` (a point in time), its own `timeout` and the
    /// model's. Those two count from when it was `received`, less what it had `waited` elsewhere before.
    #[must_use]
    pub fn deadline(
        &self,
        (received, waited): (Duration, Duration),
        head: Option<Duration>,
        timeout: Option<Duration>,
    ) -> Option<Duration> {
        let timeout = timeout.into_iter().chain(self.default_timeout).min();
        head.into_iter()
            .chain(timeout.map(|timeout| received.saturating_add(timeout.saturating_sub(waited))))
            .min()
    }

    /// The class of a request in the queue, 0 first.
    #[must_use]
    pub fn class(&self, priority: Option<Priority>) -> u8 {
        priority.unwrap_or_default().class(self.priority_levels, self.default_priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_of_all_deadlines_counts() {
        let of_model = Terms { default_timeout: Some(ms(50)), ..Terms::default() };
        for (terms, head, timeout, expected) in [
            (Terms::default(), None, None, None),
            (Terms::default(), Some(ms(30)), None, Some(ms(30))),
            (Terms::default(), Some(ms(30)), Some(ms(5)), Some(ms(15))),
            (Terms::default(), Some(ms(12)), Some(ms(5)), Some(ms(12))),
            (Terms::default(), None, Some(Duration::MAX), Some(Duration::MAX)),
            (of_model, None, None, Some(ms(60))),
            (of_model, None, Some(ms(100)), Some(ms(60))),
            (of_model, None, Some(ms(40)), Some(ms(50))),
            (of_model, Some(ms(20)), Some(ms(40)), Some(ms(20))),
        ] {
            let deadline = terms.deadline((ms(10), ms(0)), head, timeout);
            assert_eq!(deadline, expected, "{terms:?} {head:?} {timeout:?}");
        }
    }

    #[test]
    fn time_spent_elsewhere_counts_from_what_request_and_model_allow() {
        let terms = Terms { default_timeout: Some(ms(50)), ..Terms::default() };
        let deadline = |waited, head, timeout| terms.deadline((ms(10), ms(waited)), head, timeout);
        assert_eq!(deadline(30, None, None), Some(ms(30)));
        assert_eq!(deadline(30, None, Some(ms(40))), Some(ms(20)));
        assert_eq!(deadline(30, Some(ms(25)), None), Some(ms(25)), "what is left was told already");
        assert_eq!(deadline(70, None, None), Some(ms(10)), "it is over");
    }

    #[test]
    fn a_request_without_a_priority_is_of_the_default_class() {
        let terms = Terms { priority_levels: 3, default_priority: 2, ..Terms::default() };
        let class = |priority: Option<u32>| terms.class(priority.map(Priority));
        assert_eq!([None, Some(0), Some(1), Some(3), Some(7)].map(class), [1, 1, 0, 2, 2]);
        assert_eq!(Terms::default().class(Some(Priority(9))), 0);
    }
}

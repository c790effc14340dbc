//! Health of a worker from probes alone: three states and how many results in a row move between them.
//!
//! Owns the counting, not the probing: whoever owns a tracker calls [`HealthTracker::on_probe`] after each probe, and
//! after each request that could not connect as if a probe had failed, and publishes the transitions. Knows no time.

/// What probes say of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Health {
    /// Not enough results yet.
    Unknown,
    /// Answers its probes.
    Healthy,
    /// Does not.
    Unhealthy,
}

impl Health {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Healthy, Self::Unhealthy];

    /// Lower-case name, for the admin API and metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The state whose discriminant `code` is; anything else reads as unhealthy, which only withholds traffic.
    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Unknown,
            1 => Self::Healthy,
            _ => Self::Unhealthy,
        }
    }
}

/// How many results in a row change a worker's health. 0 counts as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthThresholds {
    /// Failures in a row that make a worker unhealthy.
    pub unhealthy_after: u32,
    /// Good probes in a row that make it healthy again; the first time in its life takes one.
    pub healthy_after: u32,
}

/// Turns single results into [`Health`].
#[derive(Debug, Clone)]
pub struct HealthTracker {
    thresholds: HealthThresholds,
    health: Health,
    /// Results in a row that speak against `health`.
    contrary: u32,
    /// Whether it was healthy once: before that, one good probe is enough.
    proven: bool,
}

impl HealthTracker {
    /// A worker that was never probed.
    #[must_use]
    pub fn new(thresholds: HealthThresholds) -> Self {
        Self { thresholds, health: Health::Unknown, contrary: 0, proven: false }
    }

    /// Counts by other thresholds from the next result on; health and what was counted so far stay.
    pub fn set_thresholds(&mut self, thresholds: HealthThresholds) {
        self.thresholds = thresholds;
    }

    /// Takes in one probe's result. Returns the new health when this result changed it.
    pub fn on_probe(&mut self, ok: bool) -> Option<Health> {
        let (verdict, needed) = match (ok, self.proven) {
            (true, false) => (Health::Healthy, 1),
            (true, true) => (Health::Healthy, self.thresholds.healthy_after),
            (false, _) => (Health::Unhealthy, self.thresholds.unhealthy_after),
        };
        if verdict == self.health {
            self.contrary = 0;
            return None;
        }
        self.contrary = self.contrary.saturating_add(1);
        if self.contrary < needed {
            return None;
        }
        self.contrary = 0;
        self.health = verdict;
        self.proven |= ok;
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tracker(unhealthy_after: u32, healthy_after: u32) -> HealthTracker {
        HealthTracker::new(HealthThresholds { unhealthy_after, healthy_after })
    }

    /// The transitions that results bring, `+` for a good probe and `-` for a failed one: `H`, `U` or `.`.
    fn story(mut tracker: HealthTracker, results: &str) -> String {
        let told = results.chars().map(|result| match tracker.on_probe(result == '+') {
            Some(Health::Healthy) => 'H',
            Some(Health::Unhealthy) => 'U',
            Some(Health::Unknown) => '?',
            None => '.',
        });
        told.collect()
    }

    #[test]
    fn results_in_a_row_decide() {
        let cases = [
            // The first good probe of a life is enough, however late it comes.
            ("+", "H"),
            ("-+", ".H"),
            ("---+", ".U.H"),
            // Failures count in a row only.
            ("+-+-+--", "H.....U"),
            // Coming back takes more than the first time.
            ("+--++", "H.U.H"),
            ("+--+-+-++", "H.U.....H"),
            // Nothing is said twice.
            ("+++", "H.."),
            ("----", ".U.."),
        ];
        for (results, transitions) in cases {
            assert_eq!(story(tracker(2, 2), results), transitions, "{results}");
        }
    }

    #[test]
    fn zero_counts_as_one() {
        assert_eq!(story(tracker(0, 0), "+-+-"), "HUHU");
    }

    #[test]
    fn new_thresholds_judge_the_results_counted_so_far() {
        let mut tracker = tracker(3, 1);
        assert_eq!(tracker.on_probe(true), Some(Health::Healthy));
        assert_eq!(tracker.on_probe(false), None);
        tracker.set_thresholds(HealthThresholds { unhealthy_after: 2, healthy_after: 2 });
        assert_eq!(tracker.on_probe(false), Some(Health::Unhealthy));
        assert_eq!(tracker.on_probe(true), None);
        assert_eq!(tracker.on_probe(true), Some(Health::Healthy));
    }

    #[test]
    fn every_state_survives_its_code() {
        for health in Health::ALL {
            assert_eq!(Health::from_code(health as u8), health);
        }
    }

    proptest! {
        #[test]
        fn health_changes_only_after_enough_equal_results(
            unhealthy_after in 1_u32..5,
            healthy_after in 1_u32..5,
            results in prop::collection::vec(any::<bool>(), 0..80),
        ) {
            let mut tracker = tracker(unhealthy_after, healthy_after);
            let (mut streak, mut last, mut was_healthy) = (0, None, false);
            for ok in results {
                streak = if last == Some(ok) { streak + 1 } else { 1 };
                last = Some(ok);
                let Some(health) = tracker.on_probe(ok) else { continue };
                prop_assert_eq!(health, if ok { Health::Healthy } else { Health::Unhealthy });
                let needed = if !ok { unhealthy_after } else if was_healthy { healthy_after } else { 1 };
                prop_assert_eq!(streak, needed);
                was_healthy |= ok;
            }
        }
    }
}

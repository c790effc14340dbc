//! Health of a worker from probes alone: three states and how many results in a row move between them.
//!
//! Owns the counting, not the probing: the prober calls [`HealthTracker::on_probe`] after each probe, the proxy's
//! failed connects come in through [`HealthTracker::on_connect_failure`], and whoever owns the tracker publishes
//! the transitions. Knows no time.

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

    /// Takes in that a request could not connect: as strong as a failed probe. Returns the new health when this
    /// changed it.
    pub fn on_connect_failure(&mut self) -> Option<Health> {
        self.on_probe(false)
    }
}

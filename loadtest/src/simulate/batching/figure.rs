//! The figures that a run gives, by name.

use serde::Deserialize;

/// Something that is measured in a run. Shares are in 0..1, times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Share of all offered requests that were answered by their deadline.
    InTime,
    /// Share of all offered requests that were refused at the door; those dropped later are not among them.
    Refused,
    /// 99th percentile of the time until a request that is not answered learns so, at the door or later.
    RefusalP99,
    /// Median time to an answer.
    LatencyP50,
    /// 99th percentile of the time to an answer, late answers included.
    LatencyP99,
    /// Mean rows of a batch, over all models.
    BatchRows,
    /// Share of the time in which a lane ran something.
    Busy,
    /// Median of |quoted - actual| / actual over answered requests; zero for rules that quote nothing.
    QuoteErrorP50,
    /// 95th percentile of the same.
    QuoteErrorP95,
}

impl Figure {
    /// Every figure, in the order of tables.
    pub const ALL: [Self; 9] = [
        Self::InTime,
        Self::Refused,
        Self::RefusalP99,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::BatchRows,
        Self::Busy,
        Self::QuoteErrorP50,
        Self::QuoteErrorP95,
    ];

    /// What checks and tables call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InTime => "in time",
            Self::Refused => "refused",
            Self::RefusalP99 => "refusal p99 ms",
            Self::LatencyP50 => "p50 ms",
            Self::LatencyP99 => "p99 ms",
            Self::BatchRows => "rows",
            Self::Busy => "busy",
            Self::QuoteErrorP50 => "quote error p50",
            Self::QuoteErrorP95 => "quote error p95",
        }
    }

    /// A value of this figure, as tables show it: shares in percent.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::InTime | Self::Refused | Self::Busy => format!("{:.1}", value * 100.0),
            Self::RefusalP99 | Self::LatencyP50 | Self::LatencyP99 | Self::BatchRows => format!("{value:.1}"),
            Self::QuoteErrorP50 | Self::QuoteErrorP95 => format!("{value:.2}"),
        }
    }
}

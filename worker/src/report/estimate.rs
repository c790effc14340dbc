//! What a version's queue expects, in the units of the load report.
//!
//! Pure conversion: the expectation is `weir-batching`'s, the queue asks for it when a report is made.

use std::time::Duration;

use weir_batching::{Costs, Quote};
use weir_protocol::load::{BatchLatency, Estimate};

/// The expectation as gateways read it.
pub(crate) fn estimate(quote: &Quote, costs: &Costs) -> Estimate {
    let line = |(shape, cost): (&weir_batching::ShapeKey, weir_batching::BatchCost)| BatchLatency {
        shape: shape.0.to_vec(),
        base_us: micros(cost.base),
        per_unit_ns: nanos(cost.per_unit),
    };
    Estimate {
        latency: costs.lines().map(line).collect(),
        // Between 250 and 20,000.
        scale_milli: (costs.scale() * 1e3).round() as u32,
        quote_us: micros(quote.quote),
        quote_admission_us: micros(quote.quote_admission),
        floor_us: micros(quote.floor),
        marginal_ns: nanos(quote.marginal),
        // Saturates.
        capacity_mrps: (quote.capacity * 1e3).round() as u64,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use weir_batching::{BatchCost, ShapeKey};

    use super::*;

    #[test]
    fn every_figure_has_the_unit_of_its_name() {
        let key = ShapeKey([128].into());
        let line = BatchCost { base: Duration::from_millis(8), per_unit: Duration::from_nanos(1_500) };
        let mut costs = Costs::new(&[(key.clone(), line)]);
        costs.observe(Duration::ZERO, &key, 4, line.of(4) * 2);
        let quote = Quote {
            quote: Duration::from_millis(15),
            quote_admission: Duration::from_millis(31),
            floor: Duration::from_millis(9),
            marginal: Duration::from_micros(2),
            capacity: 499_500.5,
            ..Quote::default()
        };
        assert_eq!(
            estimate(&quote, &costs),
            Estimate {
                latency: vec![BatchLatency { shape: vec![128], base_us: 8_000, per_unit_ns: 1_500 }],
                scale_milli: 1_200,
                quote_us: 15_000,
                quote_admission_us: 31_000,
                floor_us: 9_000,
                marginal_ns: 2_000,
                capacity_mrps: 499_500_500,
            }
        );
    }

    #[test]
    fn what_is_too_large_for_the_report_is_the_largest() {
        let quote = Quote { quote: Duration::MAX, capacity: f64::MAX, ..Quote::default() };
        let estimate = estimate(&quote, &Costs::new(&[]));
        assert_eq!((estimate.quote_us, estimate.capacity_mrps), (u64::MAX, u64::MAX));
        assert_eq!((estimate.latency.len(), estimate.scale_milli), (0, 1_000));
    }
}

//! Which seeds a study runs with: `3`, `1-5` or `1,4,7-9`.
//!
//! A figure of a study is the median over its seeds, so that no single history of arrivals decides a gate.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result, bail};

/// Most seeds of one study: a typing error must not run for a day.
const MOST: u64 = 1_000;

/// Seeds in the order in which they were written; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeds {
    text: String,
    values: Vec<u64>,
}

impl Seeds {
    /// The seeds.
    #[must_use]
    pub fn values(&self) -> &[u64] {
        &self.values
    }
}

impl FromStr for Seeds {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = || format!("'{text}' is no list of seeds: write 1-5, or 1,4,7-9");
        let mut values = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u64 = first.trim().parse().with_context(form)?;
            let last: u64 = last.trim().parse().with_context(form)?;
            if last < first || last - first >= MOST {
                bail!(form());
            }
            values.extend(first..=last);
        }
        if values.len() as u64 > MOST {
            bail!("at most {MOST} seeds");
        }
        Ok(Self { text: text.to_owned(), values })
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The middle of the values, of an even number the mean of the two in the middle; zero of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    f64::midpoint(at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_seeds_ranges_and_lists_are_read() {
        for (text, values) in
            [("3", vec![3]), ("1-5", vec![1, 2, 3, 4, 5]), ("1,4, 7-9", vec![1, 4, 7, 8, 9])]
        {
            assert_eq!(text.parse::<Seeds>().unwrap().values(), values, "{text}");
        }
        for bad in ["", "x", "5-1", "1-", "1-5000", "-3", "1,,2"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_median_ignores_order_and_outliers() {
        for (values, expected) in
            [(vec![], 0.0), (vec![4.0], 4.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 99.0], 3.0)]
        {
            assert_eq!(median(&values), expected, "{values:?}");
        }
    }
}

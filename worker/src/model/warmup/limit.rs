//! The largest batch that works, when the largest that model.toml allows does not.
//!
//! Part of `warmup`; pure. A model whose batch size is baked in may work at one size and at another and not between
//! them, so sizes are tried upwards: up to the answer everything that was tried works.

/// The batch sizes that are tried and timed up to `max`: the powers of two, half of `max` and `max`. Ascending, from 1.
pub(super) fn sizes(max: u32) -> Vec<u32> {
    let powers = (0..u32::BITS).map(|bit| 1 << bit);
    let mut sizes: Vec<u32> = powers.take_while(|size| *size < max).chain([(max / 2).max(1), max]).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The largest size up to `max` that `works`, and why the next one does not. One row is known to work. The last size
/// for which `works` said so is the answer.
pub(super) fn largest(max: u32, mut works: impl FnMut(u32) -> Result<(), String>) -> (u32, Option<String>) {
    let mut good = 1;
    let (mut bad, mut why) = (max, None);
    for size in sizes(max).into_iter().skip(1) {
        match works(size) {
            Ok(()) => good = size,
            Err(reason) => {
                (bad, why) = (size, Some(reason));
                break;
            }
        }
    }
    if why.is_none() {
        return (max, None);
    }
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match works(middle) {
            Ok(()) => good = middle,
            Err(reason) => (bad, why) = (middle, Some(reason)),
        }
    }
    (good, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_and_the_half_and_the_whole() {
        for (max, expected) in [
            (1, &[1][..]),
            (2, &[1, 2]),
            (3, &[1, 2, 3]),
            (24, &[1, 2, 4, 8, 12, 16, 24]),
            (8, &[1, 2, 4, 8]),
        ] {
            assert_eq!(sizes(max), expected, "{max}");
        }
        assert_eq!(sizes(u32::MAX).len(), 34);
    }

    #[test]
    fn the_largest_size_below_the_first_that_fails_is_found() {
        for max in 1..70 {
            for limit in 1..=max {
                let mut last = 1;
                let works = |size| {
                    if size > limit {
                        return Err(format!("{size} is too many"));
                    }
                    last = size;
                    Ok(())
                };
                let why = (limit < max).then(|| format!("{} is too many", limit + 1));
                assert_eq!(largest(max, works), (limit, why), "of {max}");
                assert_eq!(last, limit, "the last that worked");
            }
        }
    }

    #[test]
    fn a_size_above_a_gap_does_not_count() {
        let works = |size| if size == 1 || size == 16 { Ok(()) } else { Err("baked".to_owned()) };
        assert_eq!(largest(16, works), (1, Some("baked".to_owned())));
    }
}

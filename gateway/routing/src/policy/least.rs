//! The smallest of a stream of scores, equals drawn by weight from one random number.
//!
//! Shared by the policies, which differ only in what they score.

/// Keeps the item with the least score offered so far. Among equals each is kept with a probability in proportion
/// to its weight (weighted reservoir of one), so gateways that see the same numbers do not all choose the same.
#[derive(Debug)]
pub(super) struct Least<S, T> {
    best: Option<(S, T)>,
    /// Weight of all offered items that share the best score.
    tied: f64,
    random: u64,
}

impl<S: PartialOrd + Copy, T> Least<S, T> {
    pub(super) fn new(random: u64) -> Self {
        Self { best: None, tied: 0.0, random }
    }

    pub(super) fn offer(&mut self, score: S, weight: f64, item: T) {
        let keep_new = match &self.best {
            Some((best, _)) if score > *best => return,
            Some((best, _)) if score == *best => {
                self.tied += weight;
                self.draw() * self.tied < weight
            }
            _ => {
                self.tied = weight;
                true
            }
        };
        if keep_new {
            self.best = Some((score, item));
        }
    }

    pub(super) fn into_best(self) -> Option<(S, T)> {
        self.best
    }

    /// The next of a sequence that `random` seeds, 0 <= draw < 1: SplitMix64 (Steele, Lea, Flood 2014), its upper
    /// 53 bits as a fraction.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each index wins among `offers` of (score, weight), over 10,000 seeds.
    fn wins(offers: &[(f64, f64)]) -> Vec<u32> {
        let mut wins = vec![0; offers.len()];
        for seed in 0..10_000 {
            let mut least = Least::new(seed);
            for (index, (score, weight)) in offers.iter().enumerate() {
                least.offer(*score, *weight, index);
            }
            wins[least.into_best().unwrap().1] += 1;
        }
        wins
    }

    #[test]
    fn nothing_offered_is_nothing_kept() {
        assert_eq!(Least::<u64, ()>::new(7).into_best(), None);
    }

    #[test]
    fn the_least_score_wins_wherever_it_stands() {
        assert_eq!(wins(&[(1.0, 1.0), (2.0, 9.0), (3.0, 9.0)]), [10_000, 0, 0]);
        assert_eq!(wins(&[(3.0, 9.0), (1.0, 1.0), (2.0, 9.0)]), [0, 10_000, 0]);
        assert_eq!(wins(&[(3.0, 9.0), (2.0, 9.0), (1.0, 1.0)]), [0, 0, 10_000]);
    }

    #[test]
    fn equals_win_in_proportion_to_their_weight() {
        // 10,000 draws: four standard deviations are below 200.
        for (won, fair) in
            wins(&[(5.0, 1.0), (1.0, 1.0), (1.0, 2.0), (1.0, 5.0)]).iter().zip([0_u32, 1250, 2500, 6250])
        {
            assert!(fair.abs_diff(*won) < 200, "{won} won, {fair} were fair");
        }
    }

    #[test]
    fn an_earlier_tie_at_a_higher_score_takes_no_part() {
        let wins = wins(&[(2.0, 100.0), (2.0, 100.0), (1.0, 1.0), (1.0, 1.0)]);
        assert_eq!(wins[..2], [0, 0]);
        assert!(wins[2].abs_diff(5_000) < 200, "{wins:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_winner() {
        let best = |seed| {
            let mut least = Least::new(seed);
            (0..50).for_each(|item| least.offer(1_u64, 1.0, item));
            least.into_best()
        };
        assert_eq!(best(42), best(42));
        assert!((0..50).any(|seed| best(seed) != best(42)));
    }
}

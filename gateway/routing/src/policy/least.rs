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

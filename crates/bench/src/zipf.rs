//! Keys by Zipf's law: rank k with a probability in proportion to 1 / k.
//!
//! Rejection-inversion: W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from
//! monotone discrete distributions", 1996. With the exponent 1 the integral of the hat is the
//! logarithm. The job for Flink, `tests/flink/bench/Zipf.java`, has the same formulas.

use crate::job::mixed;

/// The ranks from 1 to some number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    ranks: u64,
    /// Area below the hat: up to the first rank, and up to the last.
    first: f64,
    last: f64,
    /// A point of the hat that is this close to its rank is never rejected.
    squeeze: f64,
}

impl Zipf {
    pub(crate) fn new(ranks: u64) -> Self {
        Zipf {
            ranks,
            first: 1.5f64.ln() - 1.0,
            last: (ranks as f64 + 0.5).ln(),
            squeeze: 2.0 - (2.5f64.ln() - 0.5).exp(),
        }
    }

    /// The rank that a random number stands for; a rejected one is mixed again.
    #[inline]
    pub(crate) fn rank(&self, mut random: u64) -> u64 {
        loop {
            // As many bits as a double has.
            let share = (random >> 11) as f64 * (-53f64).exp2();
            let area = self.last + share * (self.first - self.last);
            let x = area.exp();
            let rank = ((x + 0.5) as u64).clamp(1, self.ranks);
            let k = rank as f64;
            if k - x <= self.squeeze || area >= (k + 0.5).ln() - 1.0 / k {
                return rank;
            }
            random = mixed(random);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_in_proportion_to_their_inverse() {
        const RANKS: u64 = 1000;
        const SAMPLES: u64 = 4_000_000;
        let zipf = Zipf::new(RANKS);
        let mut counts = vec![0u64; RANKS as usize + 1];
        for record in 0..SAMPLES {
            counts[zipf.rank(mixed(record)) as usize] += 1;
        }
        assert_eq!(counts[0], 0);
        let all: f64 = (1..=RANKS).map(|rank| 1.0 / rank as f64).sum();
        for rank in [1, 2, 3, 10, 100, 999, 1000] {
            let expected = SAMPLES as f64 / (rank as f64 * all);
            let found = counts[rank as usize] as f64;
            // Five standard deviations of a count.
            let bound = 5.0 * expected.sqrt();
            assert!(
                (found - expected).abs() < bound,
                "rank {rank}: {found}, expected {expected}"
            );
        }
    }
}

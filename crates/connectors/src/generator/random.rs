//! Random numbers that are the same in every run.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", 2014): its state is one word, so that a fresh one per record costs nothing.

/// A generator of random numbers; not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The generator of record `n` of a source with this seed.
    pub fn of(seed: u64, n: u64) -> Self {
        // Mixed, as neighbouring states of SplitMix64 are shifted copies of one sequence.
        Random(mix(seed ^ mix(n.wrapping_add(GOLDEN_GAMMA))))
    }

    /// A number out of all 64-bit numbers.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high word of the product; its bias is at most bound / 2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference_implementation() {
        let mut random = Random(1_234_567);
        let numbers: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn bounded_numbers_stay_in_their_bounds_and_reach_all_of_them() {
        let mut seen = [0; 6];
        for n in 0..6000 {
            let mut random = Random::of(7, n);
            seen[random.below(6) as usize] += 1;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert!(
            seen.iter().all(|times| (900..1100).contains(times)),
            "{seen:?}"
        );
        assert_eq!(Random::of(1, 1).below(0), 0);
    }
}

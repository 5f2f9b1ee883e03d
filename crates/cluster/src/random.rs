//! Randomness for names and tokens: nothing here decides what a job computes.

use std::hash::{BuildHasher, RandomState};

/// 64 random bits: the standard library seeds each hasher from the system.
pub fn bits() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0u8; N];
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&bits().to_le_bytes()[..chunk.len()]);
    }
    out
}

/// `bytes` random bytes as lower-case hex digits.
pub fn hex(bytes: usize) -> String {
    (0..bytes)
        .map(|_| format!("{:02x}", bits() as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::bytes::<16>(), super::bytes::<16>());
        assert_eq!(super::hex(16).len(), 32);
    }
}

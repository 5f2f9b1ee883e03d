//! MurmurHash3 x64 128, seed 0, in the byte order that Flink's operator ids use.

/// Returns the 16 hash bytes of `input`: `h1` then `h2`, each as 8 little-endian bytes.
///
/// Source: Guava `Hashing.murmur3_128(0)`, as called by Flink 2.3.0, class `StreamGraphHasherV2`.
pub fn murmur3_128(input: &[u8]) -> [u8; 16] {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let (mut h1, mut h2) = (0u64, 0u64);
    let mut blocks = input.chunks_exact(16);
    for block in &mut blocks {
        let (low, high) = block.split_at(8);
        h1 ^= scramble(read_le(low), C1, 31, C2);
        h1 = h1
            .rotate_left(27)
            .wrapping_add(h2)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        h2 ^= scramble(read_le(high), C2, 33, C1);
        h2 = h2
            .rotate_left(31)
            .wrapping_add(h1)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    let tail = blocks.remainder();
    if tail.len() > 8 {
        h2 ^= scramble(read_le(&tail[8..]), C2, 33, C1);
    }
    if !tail.is_empty() {
        h1 ^= scramble(read_le(&tail[..tail.len().min(8)]), C1, 31, C2);
    }
    h1 ^= input.len() as u64;
    h2 ^= input.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    let mut out = [0u8; 16];
    out[..8].copy_from_slice(&h1.to_le_bytes());
    out[8..].copy_from_slice(&h2.to_le_bytes());
    out
}

fn read_le(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn scramble(k: u64, first: u64, rotation: u32, second: u64) -> u64 {
    k.wrapping_mul(first)
        .rotate_left(rotation)
        .wrapping_mul(second)
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

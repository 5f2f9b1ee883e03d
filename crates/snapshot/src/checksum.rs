//! Checksums of files: XXH3-64, computed while the bytes are written.

use std::io::{self, Write};

use xxhash_rust::xxh3::Xxh3;

/// Passes bytes on and computes their number and checksum.
pub struct ChecksumWriter<W> {
    inner: W,
    hash: Xxh3,
    bytes: u64,
}

impl<W: Write> ChecksumWriter<W> {
    /// Returns a writer in front of `inner`.
    pub fn new(inner: W) -> Self {
        ChecksumWriter {
            inner,
            hash: Xxh3::new(),
            bytes: 0,
        }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the writer behind, and the number and the checksum of the bytes that went there.
    pub fn finish(self) -> (W, u64, u64) {
        (self.inner, self.bytes, self.hash.digest())
    }
}

impl<W: Write> Write for ChecksumWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns the checksum of bytes at hand.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_does_not_depend_on_how_the_bytes_were_cut() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        let mut writer = ChecksumWriter::new(Vec::new());
        for part in bytes.chunks(7) {
            writer.write_all(part).expect("memory");
        }
        let (out, length, sum) = writer.finish();
        assert_eq!((out == bytes, length, sum), (true, 5000, checksum(&bytes)));
    }
}

//! Snappy framing, which Flink uses when `execution.checkpointing.snapshot-compression` is on.
//!
//! Streams may follow one another; each begins with the stream identifier.

use std::io::Read;

use crate::Error;

/// `ff 06 00 00 "sNaPpY"`: how every stream begins.
const STREAM_IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";

/// Returns the plain bytes of one or more framed streams that lie at `offset`.
///
/// The plain bytes are at most about twenty times as many as the framed ones.
///
/// # Errors
///
/// Corrupt, if the bytes are no such stream or a checksum in it does not match.
pub(crate) fn decompress(framed: &[u8], offset: u64) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    match snap::read::FrameDecoder::new(framed).read_to_end(&mut plain) {
        Ok(_) => Ok(plain),
        Err(error) => Err(Error::corrupt(
            offset,
            "a framed Snappy stream",
            error.to_string(),
        )),
    }
}

/// As [`decompress`], for chunks from the middle of a stream, without identifier.
///
/// # Errors
///
/// As [`decompress`].
pub(crate) fn decompress_chunks(chunks: &[u8], offset: u64) -> Result<Vec<u8>, Error> {
    if chunks.starts_with(&STREAM_IDENTIFIER) {
        return decompress(chunks, offset);
    }
    decompress(&[&STREAM_IDENTIFIER, chunks].concat(), offset)
}

/// Returns `plain` as one framed stream.
pub(crate) fn compress(plain: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    let mut encoder = snap::read::FrameEncoder::new(plain);
    encoder
        .read_to_end(&mut framed)
        .expect("memory can be read and compressed");
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_behind_one_another_and_chunks_without_identifier_are_read() {
        let plain = b"abc".repeat(1000);
        let mut framed = compress(&plain);
        framed.extend_from_within(..);
        assert_eq!(
            decompress(&framed, 0).expect("two streams"),
            b"abc".repeat(2000)
        );
        let chunks = &framed[STREAM_IDENTIFIER.len()..framed.len() / 2];
        assert_eq!(decompress_chunks(chunks, 0).expect("chunks"), plain);
        framed[20] ^= 1;
        assert!(decompress(&framed, 7).is_err());
    }
}

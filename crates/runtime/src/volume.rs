//! How much: records, and their bytes in the form in which they travel between processes.
//!
//! The head of a batch is left out: it does not matter in how many pieces records are taken.

use std::ops::AddAssign;

use millpond_operator::batch::HEAD_BYTES;
use millpond_operator::{AnyBatch, Element};

use crate::packet::Payload;

/// A number of records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Bytes.
    pub bytes: u64,
    /// Records.
    pub records: u64,
}

impl Volume {
    /// That of a batch. It goes through all of its records: for use while a barrier waits only.
    pub(crate) fn of_batch(batch: &dyn AnyBatch) -> Self {
        Volume {
            bytes: batch.encoded_len(),
            records: batch.len() as u64,
        }
    }

    /// That of the records in a packet.
    pub(crate) fn of_payload(payload: &Payload) -> Self {
        if let Payload::Element(Element::Records(batch)) = payload {
            return Volume::of_batch(&**batch);
        }
        payload
            .encoded_records()
            .map_or_else(Volume::default, |records| Volume {
                bytes: records.len().saturating_sub(HEAD_BYTES) as u64,
                records: encoded_count(records),
            })
    }
}

impl AddAssign for Volume {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.records += other.records;
    }
}

/// The number of records in an encoded batch (`millpond_operator`, `batch`).
pub(crate) fn encoded_count(batch: &[u8]) -> u64 {
    let count = batch
        .first_chunk()
        .map_or(0, |count| u32::from_le_bytes(*count));
    u64::from(count)
}

#[cfg(test)]
mod tests {
    use millpond_operator::Batch;

    use super::*;

    /// If it breaks, it depends on where a sender runs how much a checkpoint says it has processed.
    #[test]
    fn a_packet_has_the_same_volume_in_this_process_and_from_another_one() {
        let batch = Batch {
            rows: vec![1i64, -1, i64::MAX, 0, 300],
            timestamps: vec![5; 5],
            key_groups: vec![7; 5],
        };
        let texts = Batch::of(vec!["".to_owned(), "two".to_owned()]);
        let elements = [
            Element::Records(Box::new(batch)),
            Element::Records(Box::new(texts)),
            Element::Watermark(7),
            Element::EndOfData,
        ];
        let volumes = elements.map(|element| {
            let far = Volume::of_payload(&Payload::encode(&element).expect("encodes"));
            let near = Volume::of_payload(&Payload::Element(element));
            assert_eq!(near, far);
            near
        });
        assert_eq!(volumes.map(|volume| volume.records), [5, 2, 0, 0]);
        assert_eq!(volumes[1].bytes, 1 + 4);
        assert_eq!(volumes[2], Volume::default());
    }
}

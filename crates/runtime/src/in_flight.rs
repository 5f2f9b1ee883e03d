//! Records in flight: what an unaligned checkpoint has overtaken, on their way into it and back.
//!
//! They are channel state (`millpond_snapshot`, `channel_state`), one buffer per batch:
//!
//! | order | width | meaning |
//! |---|---|---|
//! | 1 | 4 | `FF FF FF FF` |
//! | 2 | 4 | `MPIF` |
//! | 3 | u8 | layout 1 |
//! | 4 | 16 | operator that sent the records |
//! | 5 | u32 | input of the operator that was to get them |
//! | 6 | text | side output of the sender, empty for the main one |
//! | 7 | text | record type, as the compiler names it |
//! | 8 | rest | the batch (`millpond_operator`, `batch`) |
//!
//! Numbers are little-endian; a text is a u16 number of bytes and UTF-8. Flink's buffers hold another
//! stream of records. Taken for one of those, the first four bytes are a length and the fifth is a tag
//! that no element has, so Flink refuses it at once.
//!
//! A handle has the batches of one input edge of one subtask, in the order in which they arrived, so
//! in order per sender. At a restore every subtask of the receiver reads all of them, distributes them
//! as the edge would, and keeps its own part: so it does not matter how many subtasks there were.

use std::collections::BTreeMap;
use std::io::Write;

use millpond_operator::partition::Partition;
use millpond_operator::{AnyBatch, BatchCodec, Element, FunctionError};
use millpond_snapshot::{ChannelHandle, ChannelOffsets, ChannelStateReader, ChannelStateWriter};
use millpond_types::OperatorId;

use crate::packet::Payload;
use crate::volume::{Volume, encoded_count};

const MARK: [u8; 9] = *b"\xff\xff\xff\xffMPIF\x01";

/// What an edge is called in a checkpoint: the same in another build of the same job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EdgeName {
    /// The operator that sends.
    pub(crate) sender: OperatorId,
    /// The input of the operator that receives.
    pub(crate) input: u32,
    /// The side output of the sender, empty for the main one.
    pub(crate) side_output: String,
}

/// The batches that one subtask has put into one checkpoint.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Buffers by input edge, the place of the edge among the inputs of the vertex.
    gates: BTreeMap<usize, Vec<Vec<u8>>>,
    volume: Volume,
}

impl InFlight {
    /// Adds what travels in `payload`, if it is records.
    ///
    /// # Errors
    ///
    /// A record's `Serialize` failed.
    pub(crate) fn add(
        &mut self,
        gate: usize,
        edge: &EdgeName,
        codec: BatchCodec,
        payload: &Payload,
    ) -> Result<(), FunctionError> {
        let mut buffer = Vec::new();
        buffer.extend_from_slice(&MARK);
        buffer.extend_from_slice(&edge.sender.0);
        buffer.extend_from_slice(&edge.input.to_le_bytes());
        for text in [edge.side_output.as_str(), codec.type_name()] {
            // What is longer is refused at a restore, as it is another name then.
            let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
            buffer.extend_from_slice(&(text.len() as u16).to_le_bytes());
            buffer.extend_from_slice(text);
        }
        match payload {
            Payload::Element(Element::Records(batch)) => {
                batch.encode(&mut buffer)?;
                self.volume.records += batch.len() as u64;
            }
            Payload::Element(Element::Watermark(_) | Element::Idle(_) | Element::EndOfData) => {
                return Ok(());
            }
            Payload::Outgoing(_) | Payload::Incoming(_) => match payload.encoded_records() {
                Some(records) => {
                    buffer.extend_from_slice(records);
                    self.volume.records += encoded_count(records);
                }
                None => return Ok(()),
            },
        }
        self.volume.bytes += buffer.len() as u64;
        self.gates.entry(gate).or_default().push(buffer);
        Ok(())
    }

    /// Bytes of all buffers, and the records in them.
    pub(crate) fn volume(&self) -> Volume {
        self.volume
    }

    /// The input edges that there are batches of, ascending.
    pub(crate) fn gates(&self) -> impl Iterator<Item = usize> + '_ {
        self.gates.keys().copied()
    }

    /// Writes the stream of one edge.
    ///
    /// # Errors
    ///
    /// Of `out`.
    pub(crate) fn write(
        &self,
        gate: usize,
        out: &mut dyn Write,
    ) -> std::io::Result<ChannelOffsets> {
        let mut writer = ChannelStateWriter::new(out)?;
        for buffer in self.gates.get(&gate).into_iter().flatten() {
            writer.buffer(buffer)?;
        }
        Ok(writer.finish())
    }
}

/// An input edge of a subtask that is being restored.
pub(crate) struct RestoredEdge<'a> {
    pub(crate) name: &'a EdgeName,
    pub(crate) codec: BatchCodec,
    /// Makes the partition that subtask n of the sender would have; `None` for a broadcast, whose
    /// records would go to all.
    pub(crate) partition: Option<&'a dyn Fn(u32) -> Box<dyn Partition>>,
}

/// Records of a checkpoint that are to be processed again.
pub(crate) struct ResumedBatch {
    /// The input edge that they came by, by its place among the inputs of the vertex.
    pub(crate) gate: usize,
    /// The records.
    pub(crate) batch: Box<dyn AnyBatch>,
}

/// Reads the batches of `handle` and returns what of it is for `subtask`, in order. `edges` are the
/// inputs of the vertex.
///
/// # Errors
///
/// Storage; damage; in-flight data of Flink; records of an edge that there is no more, that has
/// become part of a chain, or that has another record type now.
pub(crate) fn restore(
    buffers: ChannelStateReader,
    handle: &ChannelHandle,
    edges: &[RestoredEdge<'_>],
    subtask: u32,
) -> Result<Vec<ResumedBatch>, FunctionError> {
    let ChannelHandle::Single {
        subtask: sender, ..
    } = handle
    else {
        return Err(of_flink());
    };
    let sender = u32::try_from(*sender).unwrap_or(0);
    let mut partitions: BTreeMap<usize, Box<dyn Partition>> = BTreeMap::new();
    let mut own = Vec::new();
    for buffer in buffers {
        let buffer = buffer?;
        let (name, type_name, batch) = open(&buffer)?;
        let found = edges.iter().position(|edge| *edge.name == name);
        let Some((gate, edge)) = found.map(|gate| (gate, &edges[gate])) else {
            return Err(FunctionError::refused_state(format!(
                "the checkpoint holds in-flight records that operator {} sent to input {}, and the \
                 operator gets none from there any more; restore it with the program that took it, \
                 take a savepoint, and start from that",
                name.sender, name.input
            )));
        };
        let Some(partition) = edge.partition else {
            return Err(FunctionError::refused_state(format!(
                "Cannot recover from unaligned checkpoint when topology changes: records from \
                 operator {} went to one subtask each, and are a broadcast now; restore it with the \
                 program that took it, take a savepoint, and start from that",
                name.sender
            )));
        };
        if type_name != edge.codec.type_name() {
            return Err(FunctionError::refused_state(format!(
                "the checkpoint holds in-flight records from operator {} of type {type_name}, and \
                 the program expects {}; restore it with the program that took it, take a savepoint, \
                 and start from that",
                name.sender,
                edge.codec.type_name()
            )));
        }
        let batch = edge.codec.decode(batch)?;
        let partition = partitions.entry(gate).or_insert_with(|| partition(sender));
        partition.route(batch, &mut |to, batch| {
            if to == subtask {
                own.push(ResumedBatch { gate, batch });
            }
        });
    }
    for (&gate, partition) in &mut partitions {
        partition.flush(&mut |to, batch| {
            if to == subtask {
                own.push(ResumedBatch { gate, batch });
            }
        });
    }
    Ok(own)
}

fn of_flink() -> FunctionError {
    FunctionError::refused_state(
        "the checkpoint holds in-flight data that Flink wrote, which cannot be restored; let Flink \
         take a savepoint or an aligned checkpoint, and start from that",
    )
}

/// Takes a buffer apart: the edge, the record type, the batch.
fn open(buffer: &[u8]) -> Result<(EdgeName, &str, &[u8]), FunctionError> {
    let rest = buffer.strip_prefix(&MARK).ok_or_else(of_flink)?;
    let parts = || {
        let (sender, rest) = rest.split_first_chunk::<16>()?;
        let (input, rest) = rest.split_first_chunk::<4>()?;
        let (side_output, rest) = text(rest)?;
        let (type_name, batch) = text(rest)?;
        let name = EdgeName {
            sender: OperatorId(*sender),
            input: u32::from_le_bytes(*input),
            side_output: side_output.to_owned(),
        };
        Some((name, type_name, batch))
    };
    parts().ok_or_else(|| {
        FunctionError::new("an in-flight batch of the checkpoint is cut: the checkpoint is damaged")
    })
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millpond_damage::Damage;
    use millpond_operator::Batch;
    use millpond_operator::batch::downcast;
    use millpond_operator::partition::{ByKey, ByValue, RoundRobin};
    use millpond_snapshot::{StateSource, StreamHandle};

    use super::*;

    fn edge() -> EdgeName {
        EdgeName {
            sender: OperatorId([7; 16]),
            input: 1,
            side_output: "late".to_owned(),
        }
    }

    fn codec() -> BatchCodec {
        BatchCodec::of::<i64>()
    }

    /// Batches of numbers, one inside the process and one from another.
    fn logged() -> (Vec<u8>, ChannelHandle) {
        let mut in_flight = InFlight::default();
        let batch = |from: i64| {
            Element::Records(Box::new(Batch::of((from..from + 50).collect::<Vec<_>>())))
        };
        let payloads = [
            Payload::Element(batch(0)),
            Payload::Element(Element::Watermark(7)),
            Payload::encode(&batch(50)).expect("encodes"),
            Payload::encode(&Element::EndOfData).expect("encodes"),
        ];
        for payload in &payloads {
            in_flight
                .add(2, &edge(), codec(), payload)
                .expect("encodes");
        }
        assert_eq!(in_flight.gates().collect::<Vec<_>>(), [2]);
        let sizes = in_flight.gates[&2].iter().map(Vec::len);
        let volume = Volume {
            bytes: sizes.sum::<usize>() as u64,
            records: 100,
        };
        assert_eq!(in_flight.volume(), volume);
        let mut bytes = Vec::new();
        let place = in_flight.write(2, &mut bytes).expect("to memory");
        assert_eq!(place.offsets.len(), 2, "watermarks and ends are no records");
        let handle = ChannelHandle::Single {
            subtask: 3,
            channel: (2, 0),
            offsets: place.offsets,
            size: place.size,
            stream: StreamHandle::Bytes {
                name: "s".to_owned(),
                data: bytes.clone(),
            },
        };
        (bytes, handle)
    }

    fn read(
        bytes: &[u8],
        handle: &ChannelHandle,
        edges: &[RestoredEdge<'_>],
        subtask: u32,
    ) -> Result<Vec<i64>, FunctionError> {
        let buffers = ChannelStateReader::new(StateSource::of_bytes("s", bytes), handle)?;
        let batches = restore(buffers, handle, edges, subtask)?;
        let rows = batches.into_iter().flat_map(|resumed| {
            assert_eq!(resumed.gate, 0);
            downcast::<i64>(resumed.batch).rows
        });
        Ok(rows.collect())
    }

    #[test]
    fn each_record_comes_back_in_one_subtask_and_in_order_at_any_parallelism() {
        let (bytes, handle) = logged();
        for parallelism in [1, 2, 3, 8] {
            let by_key = |_| -> Box<dyn Partition> {
                let selector = ByValue(|n: &i64| *n, std::marker::PhantomData);
                Box::new(ByKey::<i64, _>::new(Arc::new(selector), parallelism, 128))
            };
            let in_turn = |sender| -> Box<dyn Partition> {
                Box::new(RoundRobin::<i64>::new(sender, parallelism))
            };
            let partitions: [&dyn Fn(u32) -> Box<dyn Partition>; 2] = [&by_key, &in_turn];
            for partition in partitions {
                let edges = [RestoredEdge {
                    name: &edge(),
                    codec: codec(),
                    partition: Some(partition),
                }];
                let mut all = Vec::new();
                for subtask in 0..parallelism {
                    let rows = read(&bytes, &handle, &edges, subtask).expect("reads");
                    assert!(rows.is_sorted(), "{rows:?}");
                    all.extend(rows);
                }
                all.sort_unstable();
                assert_eq!(all, (0..100).collect::<Vec<i64>>());
            }
        }
    }

    #[test]
    fn records_that_have_no_place_any_more_are_refused_by_name() {
        let (bytes, handle) = logged();
        let partition = |_| -> Box<dyn Partition> { Box::new(RoundRobin::<i64>::new(0, 1)) };
        let other = EdgeName { input: 0, ..edge() };
        let name = edge();
        let edge_of = |name, codec, partition| {
            [RestoredEdge {
                name,
                codec,
                partition,
            }]
        };
        let refusals = [
            (
                edge_of(&other, codec(), Some(&partition as _)),
                "gets none from there",
            ),
            (edge_of(&name, codec(), None), "topology changes"),
            (
                edge_of(&name, BatchCodec::of::<String>(), Some(&partition)),
                "of type i64",
            ),
        ];
        for (edges, words) in refusals {
            let error = read(&bytes, &handle, &edges, 0).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn damage_and_buffers_of_flink_are_errors() {
        let (bytes, handle) = logged();
        let partition = |_| -> Box<dyn Partition> { Box::new(RoundRobin::<i64>::new(0, 1)) };
        let name = edge();
        let edges = [RestoredEdge {
            name: &name,
            codec: codec(),
            partition: Some(&partition),
        }];
        let mut of_flink = bytes.clone();
        of_flink[8] = 0;
        let error = read(&of_flink, &handle, &edges, 0).expect_err("no mark");
        assert!(error.to_string().contains("Flink wrote"), "{error}");
        for end in 0..bytes.len() {
            assert!(
                read(&bytes[..end], &handle, &edges, 0).is_err(),
                "cut at {end}"
            );
        }
        Damage::seeded().search(&[bytes], |_, bytes| drop(read(bytes, &handle, &edges, 0)));
    }
}

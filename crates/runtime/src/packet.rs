//! Packets: what timely carries between workers, and their form between processes.
//!
//! | order | width | meaning |
//! |---|---|---|
//! | 1 | u32 | number of packets |
//! | per packet | u32 | receiving worker |
//! | | u32 | sending subtask |
//! | | u8 | 0 records, 1 watermark, 2 idle, 3 active, 4 end of data, 5 credit |
//! | | u32 | number of bytes that follow |
//! | | bytes | records: see `operator::batch`; watermark: i64; credit: below |
//!
//! A credit goes the other way, from the subtask that receives records to the one that sends them:
//! u32 edge, u32 subtask that sends the records, u64 records taken in total.
//!
//! All numbers little-endian; zero bytes fill the whole up to a multiple of 8.

use std::io::Write;

use millpond_operator::{BatchCodec, Element, FunctionError};
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::container::Accountable;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};

use crate::congestion::{Credit, Pair};

/// An element on its way from one subtask to another.
#[derive(Clone)]
pub(crate) struct Packet {
    /// The worker that runs the receiving subtask.
    pub(crate) worker: u32,
    /// The sending subtask, counted from 0.
    pub(crate) sender: u32,
    /// What is sent.
    pub(crate) payload: Payload,
}

/// The element, or its bytes.
#[derive(Clone)]
pub(crate) enum Payload {
    /// Stays in this process.
    Element(Element),
    /// Goes to another process.
    Outgoing(Vec<u8>),
    /// Came from another process.
    Incoming(Bytes),
}

impl Payload {
    /// Encodes an element for another process: kind, length, bytes.
    pub(crate) fn encode(element: &Element) -> Result<Payload, FunctionError> {
        let mut out = vec![0u8; 5];
        let kind = match element {
            Element::Records(batch) => {
                batch.encode(&mut out)?;
                0
            }
            Element::Watermark(watermark) => {
                out.extend_from_slice(&watermark.to_le_bytes());
                1
            }
            Element::Idle(true) => 2,
            Element::Idle(false) => 3,
            Element::EndOfData => 4,
        };
        out[0] = kind;
        let length = (out.len() - 5) as u32;
        out[1..5].copy_from_slice(&length.to_le_bytes());
        Ok(Payload::Outgoing(out))
    }

    /// Encodes a credit.
    pub(crate) fn credit(credit: &Credit) -> Payload {
        let mut out = vec![5];
        out.extend_from_slice(&16u32.to_le_bytes());
        out.extend_from_slice(&(credit.pair.edge as u32).to_le_bytes());
        out.extend_from_slice(&credit.pair.sender.to_le_bytes());
        out.extend_from_slice(&credit.taken.to_le_bytes());
        Payload::Outgoing(out)
    }

    /// The credit of `receiver` that the packet carries.
    pub(crate) fn into_credit(self, receiver: u32) -> Result<Credit, FunctionError> {
        let bytes: &[u8] = match &self {
            Payload::Element(_) => &[],
            Payload::Outgoing(bytes) => bytes,
            Payload::Incoming(bytes) => bytes,
        };
        let credit = || {
            let (head, body) = bytes.split_first_chunk::<5>()?;
            let (edge, body) = body.split_first_chunk::<4>()?;
            let (sender, body) = body.split_first_chunk::<4>()?;
            let taken = u64::from_le_bytes(*body.first_chunk()?);
            let pair = Pair {
                edge: u32::from_le_bytes(*edge) as usize,
                sender: u32::from_le_bytes(*sender),
                receiver,
            };
            (head[0] == 5).then_some(Credit { pair, taken })
        };
        credit().ok_or_else(|| FunctionError::new("a credit from another process is broken"))
    }

    /// The records that it carries as [`AnyBatch::encode`](millpond_operator::AnyBatch::encode)
    /// writes them; `None` if it carries something else, or is not encoded.
    pub(crate) fn encoded_records(&self) -> Option<&[u8]> {
        let bytes: &[u8] = match self {
            Payload::Element(_) => return None,
            Payload::Outgoing(bytes) => bytes,
            Payload::Incoming(bytes) => bytes,
        };
        (bytes.first() == Some(&0)).then(|| bytes.get(5..))?
    }

    /// The element that the packet carries.
    pub(crate) fn into_element(self, codec: BatchCodec) -> Result<Element, FunctionError> {
        let bytes: &[u8] = match &self {
            Payload::Element(_) => {
                let Payload::Element(element) = self else {
                    unreachable!()
                };
                return Ok(element);
            }
            Payload::Outgoing(bytes) => bytes,
            Payload::Incoming(bytes) => bytes,
        };
        let broken = || FunctionError::new("a packet from another process is broken");
        let body = bytes.get(5..).ok_or_else(broken)?;
        match bytes[0] {
            0 => Ok(Element::Records(codec.decode(body)?)),
            1 => {
                let watermark = body.try_into().map_err(|_| broken())?;
                Ok(Element::Watermark(i64::from_le_bytes(watermark)))
            }
            2 => Ok(Element::Idle(true)),
            3 => Ok(Element::Idle(false)),
            4 => Ok(Element::EndOfData),
            _ => Err(broken()),
        }
    }
}

/// The container that timely moves: packets, each counted as one record.
#[derive(Clone, Default)]
pub(crate) struct Packets(pub(crate) Vec<Packet>);

impl Accountable for Packets {
    fn record_count(&self) -> i64 {
        self.0.len() as i64
    }
}

impl Packets {
    fn unpadded_length(&self) -> usize {
        let payloads = self.0.iter().map(|packet| match &packet.payload {
            Payload::Outgoing(bytes) => 8 + bytes.len(),
            Payload::Element(_) | Payload::Incoming(_) => {
                unreachable!("edges encode what leaves the process")
            }
        });
        4 + payloads.sum::<usize>()
    }
}

/// Takes a packet from the front; `None` if there is none.
fn extract_packet(bytes: &mut Bytes) -> Option<Packet> {
    let (worker, rest) = bytes.split_first_chunk()?;
    let (sender, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*rest.get(1..)?.first_chunk()?);
    let (worker, sender) = (u32::from_le_bytes(*worker), u32::from_le_bytes(*sender));
    let encoded = (length as usize).checked_add(5)?;
    if encoded > rest.len() {
        return None;
    }
    bytes.extract_to(8);
    Some(Packet {
        worker,
        sender,
        payload: Payload::Incoming(bytes.extract_to(encoded)),
    })
}

impl ContainerBytes for Packets {
    fn from_bytes(mut bytes: Bytes) -> Self {
        // Timely has no place for an error here. What is damaged becomes a packet that holds no
        // element and no credit, so that the attempt fails where it is opened.
        let mut packets = Vec::new();
        let count = match bytes.first_chunk() {
            Some(count) => u32::from_le_bytes(*count),
            None => 1,
        };
        bytes.extract_to(bytes.len().min(4));
        for _ in 0..count {
            let packet = extract_packet(&mut bytes);
            let is_damaged = packet.is_none();
            packets.push(packet.unwrap_or_else(|| Packet {
                worker: 0,
                sender: 0,
                payload: Payload::Outgoing(Vec::new()),
            }));
            if is_damaged {
                break;
            }
        }
        Packets(packets)
    }

    fn length_in_bytes(&self) -> usize {
        self.unpadded_length().next_multiple_of(8)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let mut write = |bytes: &[u8]| {
            writer
                .write_all(bytes)
                .expect("timely's buffers never fail")
        };
        write(&(self.0.len() as u32).to_le_bytes());
        for packet in &self.0 {
            write(&packet.worker.to_le_bytes());
            write(&packet.sender.to_le_bytes());
            if let Payload::Outgoing(bytes) = &packet.payload {
                write(bytes);
            }
        }
        let length = self.unpadded_length();
        write(&[0u8; 8][..length.next_multiple_of(8) - length]);
    }
}

/// Pushes every packet to the worker that it names.
pub(crate) struct ByWorker;

impl Distributor<Packets> for ByWorker {
    fn partition<T: Clone, P: Push<Message<T, Packets>>>(
        &mut self,
        container: &mut Packets,
        time: &T,
        pushers: &mut [P],
    ) {
        // A container usually holds one packet, or several for the same worker.
        let mut packets = std::mem::take(&mut container.0);
        while let Some(last) = packets.last() {
            let worker = last.worker as usize;
            let same = packets
                .iter()
                .rev()
                .take_while(|packet| packet.worker as usize == worker);
            let begin = packets.len() - same.count();
            if begin == 0 {
                Message::push_at(&mut Packets(packets), time.clone(), &mut pushers[worker]);
                return;
            }
            // Only the order per receiver matters, and runs to one receiver must not overtake.
            let first = packets[0].worker as usize;
            let end = packets
                .iter()
                .position(|packet| packet.worker as usize != first);
            let rest = packets.split_off(end.unwrap_or(packets.len()));
            Message::push_at(&mut Packets(packets), time.clone(), &mut pushers[first]);
            packets = rest;
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Packets>>>(&mut self, _: &T, _: &mut [P]) {}
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use millpond_damage::Damage;
    use millpond_job::VertexIndex;
    use millpond_operator::Batch;
    use millpond_types::{ManualClock, OperatorId};
    use timely::bytes::arc::BytesMut;

    use super::*;
    use crate::barrier::{Alignment, Mode};
    use crate::board::Board;
    use crate::chain::Chain;
    use crate::congestion::Intake;
    use crate::control::Control;
    use crate::gate::Gates;
    use crate::in_flight::EdgeName;
    use crate::snapshot_pool::SnapshotPool;
    use crate::task::{InputEdge, Task, TaskParts};

    #[test]
    fn a_credit_comes_back_from_its_bytes_and_nothing_else_is_one() {
        let pair = Pair {
            edge: 300,
            sender: 70_000,
            receiver: 9,
        };
        let credit = Credit {
            pair,
            taken: 1 << 40,
        };
        let back = Payload::credit(&credit).into_credit(9).expect("decodes");
        assert_eq!(back, credit);
        let watermark = Payload::encode(&Element::Watermark(7)).expect("encodes");
        assert!(watermark.into_credit(9).is_err());
        assert!(Payload::Element(Element::EndOfData).into_credit(9).is_err());
    }

    #[test]
    fn packets_survive_the_way_to_another_process() {
        let batch = Batch {
            rows: vec![7i64, 8],
            timestamps: vec![1, 2],
            key_groups: vec![3, 4],
        };
        let elements = [
            Element::Records(Box::new(batch.clone())),
            Element::Watermark(i64::MAX),
            Element::Idle(true),
            Element::EndOfData,
        ];
        let packets = elements.iter().enumerate().map(|(index, element)| Packet {
            worker: index as u32,
            sender: 9,
            payload: Payload::encode(element).expect("encodes"),
        });
        let packets = Packets(packets.collect());
        let mut bytes = Vec::new();
        packets.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), packets.length_in_bytes());
        let bytes = timely::bytes::arc::BytesMut::from(bytes).freeze();
        let back = Packets::from_bytes(bytes);
        assert_eq!(back.record_count(), 4);
        let mut elements = back.0.into_iter().map(|packet| {
            assert_eq!(packet.sender, 9);
            packet
                .payload
                .into_element(BatchCodec::of::<i64>())
                .expect("decodes")
        });
        match elements.next() {
            Some(Element::Records(rows)) => {
                assert_eq!(millpond_operator::batch::downcast::<i64>(rows), batch);
            }
            _ => panic!("expected records"),
        }
        assert!(matches!(
            elements.next(),
            Some(Element::Watermark(i64::MAX))
        ));
        assert!(matches!(elements.next(), Some(Element::Idle(true))));
        assert!(matches!(elements.next(), Some(Element::EndOfData)));
    }

    fn sent(packets: Packets) -> Vec<u8> {
        let mut bytes = Vec::new();
        packets.into_bytes(&mut bytes);
        bytes
    }

    fn records() -> Packets {
        let rows = (0..20)
            .map(|n| (format!("row {n}"), n))
            .collect::<Vec<(String, i64)>>();
        let batch = Batch {
            timestamps: rows.iter().map(|(_, n)| *n).collect(),
            key_groups: rows.iter().map(|(_, n)| *n as u16).collect(),
            rows,
        };
        let packets = [Element::Records(Box::new(batch)), Element::Watermark(7)];
        let packets = packets.iter().map(|element| Packet {
            worker: 1,
            sender: 2,
            payload: Payload::encode(element).expect("encodes"),
        });
        Packets(packets.collect())
    }

    /// What a damaged container holds fails the attempt where it is opened: no panic in a thread
    /// of timely's, and no memory for packets that are not there.
    #[test]
    fn damage_becomes_a_packet_that_cannot_be_opened() {
        let open = |bytes: &[u8]| {
            let packets = Packets::from_bytes(BytesMut::from(bytes.to_vec()).freeze());
            assert!(packets.0.len() <= bytes.len() / 13 + 1);
            let codec = BatchCodec::of::<(String, i64)>();
            let opened = packets.0.into_iter().map(|packet| {
                // A credit is no element: any answer will do.
                packet.payload.clone().into_credit(packet.sender).ok();
                packet.payload.into_element(codec)
            });
            opened
                .collect::<Result<Vec<_>, _>>()
                .map(|elements| elements.len())
        };
        let whole = sent(records());
        assert_eq!(open(&whole).expect("whole"), 2);
        let unpadded = records().unpadded_length();
        for cut in 0..unpadded {
            assert!(open(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut huge = u32::MAX.to_le_bytes().to_vec();
        assert!(open(&huge).is_err());
        huge.extend_from_slice(&[255; 60]);
        assert!(open(&huge).is_err());
        let corpus = [whole, sent(Packets(Vec::new()))];
        Damage::seeded().search(&corpus, |_, bytes| drop(open(bytes)));
    }
    /// A task whose one input is sent to by two subtasks of another operator.
    fn task() -> Task {
        let control = Arc::new(Control::new(1, 1));
        let (pool, _) = SnapshotPool::start(0, None).expect("no thread is needed");
        let (to_master, _) = std::sync::mpsc::channel();
        let clock = Arc::new(ManualClock::at(0));
        let board = Rc::new(Board::new(control, clock, pool, to_master, 0, 0));
        let mut gates = Gates::default();
        gates.add(2, |_| true);
        let intakes = (0..2).map(|sender| Pair {
            edge: 0,
            sender,
            receiver: 0,
        });
        let parts = TaskParts {
            name: "counter (1/1)".to_owned(),
            vertex: VertexIndex(1),
            subtask: 0,
            workers: 1,
            is_source: false,
            had_ended: false,
            chain: Chain::new(Vec::new(), Vec::new()),
            inputs: vec![InputEdge {
                input: 0,
                name: EdgeName {
                    sender: OperatorId::of_uid("source"),
                    input: 0,
                    side_output: String::new(),
                },
                codec: BatchCodec::of::<i64>(),
                intakes: intakes.map(Intake::remote).collect(),
            }],
            gates,
            alignment: Alignment::new(Mode::ExactlyOnce, vec![false]),
            in_flight: Vec::new(),
        };
        Task::new(parts, board)
    }

    /// A subtask that there is not has no place in the counts of back-pressure and watermarks: it
    /// was looked up there with what the packet said, and the worker thread ended by a panic.
    #[test]
    fn a_packet_of_a_subtask_that_there_is_not_fails_the_attempt_with_words() {
        let elements = [
            Element::Records(Box::new(Batch::of(vec![7i64]))),
            Element::Watermark(7),
            Element::Idle(true),
            Element::EndOfData,
        ];
        for sender in [2, 3, u32::MAX] {
            for element in &elements {
                let mut task = task();
                let packet = |sender, element| Packet {
                    worker: 0,
                    sender,
                    payload: Payload::encode(element).expect("encodes"),
                };
                let mut take = |packet| {
                    task.receive(0, 0, packet).expect("nothing is overtaken");
                    task.run(&[Some(0)], std::time::Instant::now())
                };
                take(packet(1, &Element::Watermark(3))).expect("a subtask that there is");
                let error = take(packet(sender, element)).expect_err("refused").chain();
                let words = format!("from subtask {sender}, of 2 that send to it");
                assert!(error.contains(&words), "{error}");
            }
        }
    }
}

//! The way in for fuzzing (`fuzz/`); in no other build.

use millpond_operator::{Batch, BatchCodec, Data, Element, batch};
use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;

use crate::packet::{Packet, Packets, Payload};

/// Reads what another process is said to have sent: packets of records of type `T`, and credits.
///
/// # Panics
///
/// If what was read is not the same once it is written and read again.
pub fn packets<T: Data + PartialEq>(bytes: &[u8]) {
    for packet in Packets::from_bytes(BytesMut::from(bytes.to_vec()).freeze()).0 {
        let payload = packet.payload.clone();
        // Any answer will do.
        payload.into_credit(packet.sender).ok();
        let codec = BatchCodec::of::<T>();
        let Ok(element) = packet.payload.into_element(codec) else {
            continue;
        };
        let again = written_and_read(packet.worker, packet.sender, &element);
        let again = again.into_element(codec).expect("what was written");
        match (element, again) {
            (Element::Records(one), Element::Records(other)) => {
                let (one, other): (Batch<T>, Batch<T>) =
                    (batch::downcast(one), batch::downcast(other));
                assert_eq!(one.timestamps, other.timestamps);
                assert_eq!(one.key_groups, other.key_groups);
                assert!(one.rows == other.rows);
            }
            (Element::Watermark(one), Element::Watermark(other)) => assert_eq!(one, other),
            (Element::Idle(one), Element::Idle(other)) => assert_eq!(one, other),
            (Element::EndOfData, Element::EndOfData) => {}
            _ => panic!("another element"),
        }
    }
}

fn written_and_read(worker: u32, sender: u32, element: &Element) -> Payload {
    let payload = Payload::encode(element).expect("what was read can be written");
    let packets = Packets(vec![Packet {
        worker,
        sender,
        payload,
    }]);
    let mut bytes = Vec::new();
    packets.into_bytes(&mut bytes);
    let mut back = Packets::from_bytes(BytesMut::from(bytes).freeze()).0;
    back.pop().expect("one packet").payload
}

/// Writes packets as they go to another process, to begin with.
///
/// # Panics
///
/// If a record cannot be written.
pub fn packet_bytes<T: Data>(rows: Vec<T>) -> Vec<u8> {
    let count = rows.len();
    let batch = Batch {
        rows,
        timestamps: (0..count as i64).collect(),
        key_groups: (0..count as u16).collect(),
    };
    let elements = [
        Element::Records(Box::new(batch)),
        Element::Watermark(7),
        Element::Idle(true),
        Element::EndOfData,
    ];
    let packets = elements.iter().map(|element| Packet {
        worker: 1,
        sender: 2,
        payload: Payload::encode(element).expect("encodes"),
    });
    let mut bytes = Vec::new();
    Packets(packets.collect()).into_bytes(&mut bytes);
    bytes
}

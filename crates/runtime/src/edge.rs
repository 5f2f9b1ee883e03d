//! The sending end of an edge: distributes elements over receivers and packs them.

use std::ops::Range;

use millpond_operator::partition::Partition;
use millpond_operator::{Element, FunctionError};

use crate::congestion::Backlog;
use crate::packet::{Packet, Payload};

/// The sending end of one edge in one subtask.
pub(crate) struct EdgeWriter {
    partition: Box<dyn Partition>,
    sender: u32,
    /// Who hears watermarks and the end: every receiver, or the one of a forward edge.
    receivers: Range<u32>,
    /// Workers of this process; the others get bytes.
    local_workers: Range<u32>,
    /// Of each receiver, by subtask.
    backlogs: Vec<Backlog>,
    packets: Vec<Packet>,
    records: u64,
}

impl EdgeWriter {
    /// The end of subtask `sender`.
    pub(crate) fn new(
        partition: Box<dyn Partition>,
        sender: u32,
        receivers: Range<u32>,
        local_workers: Range<u32>,
        backlogs: Vec<Backlog>,
    ) -> Self {
        EdgeWriter {
            partition,
            sender,
            receivers,
            local_workers,
            backlogs,
            packets: Vec::new(),
            records: 0,
        }
    }

    /// Takes an element; records may be kept back until [`EdgeWriter::flush`].
    pub(crate) fn write(&mut self, element: Element) -> Result<(), FunctionError> {
        match element {
            Element::Records(batch) => {
                self.records += batch.len() as u64;
                let mut ready = Vec::new();
                self.partition
                    .route(batch, &mut |to, batch| ready.push((to, batch)));
                for (receiver, batch) in ready {
                    self.pack(receiver, Element::Records(batch))?;
                }
                Ok(())
            }
            Element::Watermark(_) | Element::Idle(_) | Element::EndOfData => {
                // It keeps its place among the records.
                self.flush()?;
                for receiver in self.receivers.clone() {
                    self.pack(receiver, element.clone())?;
                }
                Ok(())
            }
        }
    }

    /// Packs everything kept back.
    pub(crate) fn flush(&mut self) -> Result<(), FunctionError> {
        let mut ready = Vec::new();
        self.partition
            .flush(&mut |to, batch| ready.push((to, batch)));
        for (receiver, batch) in ready {
            self.pack(receiver, Element::Records(batch))?;
        }
        Ok(())
    }

    fn pack(&mut self, receiver: u32, element: Element) -> Result<(), FunctionError> {
        // Subtask i runs on worker i, for every vertex.
        let worker = receiver;
        if let Element::Records(batch) = &element {
            self.backlogs[receiver as usize].sent(batch.len());
        }
        let payload = if self.local_workers.contains(&worker) {
            Payload::Element(element)
        } else {
            Payload::encode(&element)?
        };
        self.packets.push(Packet {
            worker,
            sender: self.sender,
            payload,
        });
        Ok(())
    }

    /// Whether a receiver is so far behind that the task should pause.
    pub(crate) fn is_congested(&self) -> bool {
        self.backlogs.iter().any(Backlog::is_congested)
    }

    /// The packets to be sent now.
    pub(crate) fn take(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.packets)
    }

    /// Records written since the begin.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }
}

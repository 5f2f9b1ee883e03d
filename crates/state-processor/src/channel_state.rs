//! In-flight data of unaligned checkpoints: which channels have how much.

use millpond_serializer::ByteReader;
use millpond_snapshot::ChannelHandle;
use serde::Serialize;

use crate::{Error, Operator};

/// Which way data was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelDirection {
    /// To the operator: it lay in the channels of an input.
    Input,
    /// From the operator: it lay in a subpartition of its result.
    Output,
}

/// One channel with data in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// The subtask of this operator.
    pub subtask: u32,
    /// Which way the data was going.
    pub direction: ChannelDirection,
    /// The gate, or the partition.
    pub gate: i32,
    /// The channel, or the subpartition.
    pub channel: i32,
    /// How many buffers there are.
    pub buffers: u64,
    /// Their bytes, with their lengths.
    pub bytes: u64,
}

impl Operator<'_> {
    /// Returns the channels with data in flight; none unless the checkpoint was unaligned.
    ///
    /// # Errors
    ///
    /// Snapshot: the description of merged channels is damaged.
    pub fn channels(&self) -> Result<Vec<Channel>, Error> {
        let mut channels = Vec::new();
        for (subtask, state) in &self.metadata().subtasks {
            for (direction, handles) in [
                (ChannelDirection::Input, &state.input_channels),
                (ChannelDirection::Output, &state.result_subpartitions),
            ] {
                for handle in handles {
                    read_handle(*subtask, direction, handle, &mut channels)?;
                }
            }
        }
        Ok(channels)
    }
}

fn read_handle(
    subtask: u32,
    direction: ChannelDirection,
    handle: &ChannelHandle,
    channels: &mut Vec<Channel>,
) -> Result<(), Error> {
    match handle {
        ChannelHandle::Single {
            channel: (gate, channel),
            offsets,
            size,
            ..
        } => channels.push(Channel {
            subtask,
            direction,
            gate: *gate,
            channel: *channel,
            buffers: offsets.len() as u64,
            bytes: u64::try_from(*size).unwrap_or(0),
        }),
        ChannelHandle::Merged {
            channels: merged, ..
        } => {
            let mut input = ByteReader::new(merged);
            for _ in 0..input.count(20)? {
                let (gate, channel, size) = (input.i32()?, input.i32()?, input.i64()?);
                let buffers = input.count(8)?;
                input.take(buffers * 8)?;
                channels.push(Channel {
                    subtask,
                    direction,
                    gate,
                    channel,
                    buffers: buffers as u64,
                    bytes: u64::try_from(size).unwrap_or(0),
                });
            }
        }
    }
    Ok(())
}

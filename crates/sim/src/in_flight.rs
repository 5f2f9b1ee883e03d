//! Records that an unaligned barrier has overtaken, as channel state and back.
//!
//! At a restore every subtask reads all of them and keeps its own part, as `runtime::in_flight` does.

use millpond_checkpoint::OperatorRestore;
use millpond_snapshot::{ChannelHandle, StreamHandle};
use millpond_types::KeyGroupRange;

use crate::job::{Job, Row};

/// Bytes of a record.
const ROW: usize = 5;

/// The channel state of one subtask.
pub(crate) fn channel_state(subtask: u32, rows: &[Row]) -> Vec<ChannelHandle> {
    if rows.is_empty() {
        return Vec::new();
    }
    let bytes = |(key, number): &Row| {
        let [a, b, c, d] = number.to_be_bytes();
        [*key, a, b, c, d]
    };
    vec![ChannelHandle::Single {
        subtask: subtask as i32,
        channel: (0, 0),
        offsets: (0..rows.len()).map(|i| (i * ROW) as i64).collect(),
        size: (rows.len() * ROW) as i64,
        stream: StreamHandle::Bytes {
            name: String::new(),
            data: rows.iter().flat_map(bytes).collect(),
        },
    }]
}

/// The records of channel states, in order.
pub(crate) fn rows(channels: &[ChannelHandle]) -> Vec<Row> {
    let data = channels.iter().flat_map(|channel| match channel {
        ChannelHandle::Single {
            stream: StreamHandle::Bytes { data, .. },
            ..
        } => data.as_slice(),
        ChannelHandle::Single { .. } | ChannelHandle::Merged { .. } => &[],
    });
    let data: Vec<u8> = data.copied().collect();
    let row = |bytes: &[u8; ROW]| {
        let [key, a, b, c, d] = *bytes;
        (key, u32::from_be_bytes([a, b, c, d]))
    };
    let rows = data
        .chunks_exact(ROW)
        .filter_map(|bytes| bytes.first_chunk::<ROW>());
    rows.map(row).collect()
}

/// What a counting subtask has to process of the records that were in flight.
pub(crate) fn of_key_groups(
    restored: &OperatorRestore,
    job: &Job,
    range: KeyGroupRange,
) -> Vec<Row> {
    let mut own = rows(&restored.in_flight);
    own.retain(|(key, _)| range.contains(job.key_group(*key)));
    own
}

/// What a subtask of the sink has to process of the records that were in flight: they are dealt out anew.
pub(crate) fn of_subtask(restored: &OperatorRestore, subtask: u32, parallelism: u32) -> Vec<Row> {
    let own = rows(&restored.in_flight).into_iter().skip(subtask as usize);
    own.step_by(parallelism as usize).collect()
}

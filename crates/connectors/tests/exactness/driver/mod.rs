//! Plays the engine for sources and sinks, through their traits.

mod sink;
mod source;

use millpond_operator::SubtaskInfo;
use millpond_types::{JobId, OperatorId};

pub(crate) use sink::{SinkJob, SinkSnapshot};
pub(crate) use source::SourceJob;

/// The job of most tests.
pub(crate) const JOB: JobId = JobId([0xab; 16]);

pub(crate) fn subtask_info(
    job: JobId,
    attempt: u32,
    subtask: u32,
    parallelism: u32,
) -> SubtaskInfo {
    SubtaskInfo {
        job,
        attempt,
        operator: OperatorId::of_uid("under test"),
        name: "under test".to_owned(),
        subtask,
        parallelism,
        max_parallelism: 128,
        checkpointing: true,
        describing: false,
    }
}

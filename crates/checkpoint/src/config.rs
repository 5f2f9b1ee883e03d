//! How a job's checkpoints are taken and kept.

use millpond_job::JobStatus;
use millpond_job::gateway::FileMerging;
use millpond_types::JobId;

/// The scheme of what lies in the memory of the job master, and is gone with it.
pub const JOB_MANAGER_SCHEME: &str = "jobmanager";

/// The most bytes of one operator subtask's state that go there (Flink 2.3.0, class
/// `JobManagerCheckpointStorage`).
pub const MAX_STATE_BYTES_IN_MEMORY: u64 = 5 << 20;

/// Whether a snapshot is kept in the memory of the job master.
pub fn is_in_memory(directory: &str) -> bool {
    directory
        .strip_prefix(JOB_MANAGER_SCHEME)
        .is_some_and(|rest| rest.starts_with(':'))
}

/// How a job's checkpoints are taken and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorConfig {
    /// The job, named in messages.
    pub job: JobId,
    /// The directory that holds the job's `chk-N` directories, as a URI without a slash at the end.
    pub checkpoint_directory: String,
    /// Milliseconds between periodic triggers; `None` is off.
    pub interval_ms: Option<u64>,
    /// Milliseconds after which a checkpoint or savepoint is given up.
    pub timeout_ms: u64,
    /// Milliseconds between the end of one and the begin of the next periodic checkpoint; more
    /// than 0 means that there is only one at a time.
    pub min_pause_ms: u64,
    /// How many checkpoints may be in progress at once, at least 1. Savepoints do not count.
    pub max_concurrent: u32,
    /// How many checkpoints may fail in a row without failing the job.
    pub tolerable_failed: u32,
    /// How many completed checkpoints are kept, at least 1.
    pub num_retained: u32,
    /// What is kept when the job ends.
    pub retention: Retention,
    /// Whether checkpoints go on, and a last one is taken, when sources have ended.
    pub checkpoints_after_tasks_finish: bool,
    /// Whether a checkpoint leaves in the files of earlier ones what has not changed.
    pub incremental: bool,
    /// State of at most this many bytes goes inline into the metadata.
    pub inline_threshold_bytes: u32,
    /// How small state files of checkpoints are merged; `None`: not at all.
    pub file_merging: Option<FileMerging>,
    /// All state goes into the metadata, and more than this many bytes of one operator subtask are
    /// refused: checkpoint storage `jobmanager`. `None`: what is larger than the threshold goes into
    /// files.
    pub metadata_only_bytes: Option<u64>,
    /// Milliseconds after the trigger at which a checkpoint that is not aligned overtakes what is in
    /// flight; 0 is at once, `None` never (`execution.checkpointing.unaligned.enabled`,
    /// `execution.checkpointing.aligned-checkpoint-timeout`). Then `max_concurrent` is 1.
    pub aligned_timeout_ms: Option<u64>,
    /// The snapshot of an operator is given up when more bytes of its state change meanwhile.
    pub changes_limit_bytes: u64,
    /// Milliseconds after which an epoch ends even without a snapshot, so that ticks begin anew
    /// before their counter is full.
    pub tick_reset_interval_ms: u64,
    /// How many checkpoints the statistics remember.
    pub history: usize,
    /// Whether recovery may go back behind a snapshot whose transactions may have been committed:
    /// `execution.state-recovery.allow-fallback-past-committed-transactions`.
    pub allow_fallback_past_committed_transactions: bool,
}

impl CoordinatorConfig {
    /// Flink's defaults: no periodic checkpoints, 10 minutes of timeout, one checkpoint kept.
    pub fn new(job: JobId, checkpoint_directory: impl Into<String>) -> Self {
        CoordinatorConfig {
            job,
            checkpoint_directory: checkpoint_directory.into(),
            interval_ms: None,
            timeout_ms: 600_000,
            min_pause_ms: 0,
            max_concurrent: 1,
            tolerable_failed: 0,
            num_retained: 1,
            retention: Retention::Unset,
            checkpoints_after_tasks_finish: true,
            incremental: false,
            inline_threshold_bytes: 20 * 1024,
            file_merging: None,
            metadata_only_bytes: None,
            aligned_timeout_ms: None,
            changes_limit_bytes: 1 << 30,
            tick_reset_interval_ms: 6 * 60 * 60 * 1000,
            history: 10,
            allow_fallback_past_committed_transactions: false,
        }
    }

    /// How many checkpoints may really be in progress at once.
    pub(crate) fn concurrency(&self) -> usize {
        if self.min_pause_ms > 0 {
            1
        } else {
            self.max_concurrent.max(1) as usize
        }
    }
}

/// What happens to the completed checkpoints when the job ends
/// (`execution.checkpointing.externalized-checkpoint-retention`).
///
/// | | FINISHED | CANCELED | FAILED |
/// | --- | --- | --- | --- |
/// | `Unset` | deleted | deleted | kept |
/// | `NoExternalized` | deleted | deleted | deleted |
/// | `DeleteOnCancellation` | deleted | deleted | kept |
/// | `RetainOnCancellation` | deleted | kept | kept |
///
/// Flink has no `Unset`: its default is `NoExternalized`. A job that failed for good with nothing
/// left to resume from is a trap, so without a setting Millpond keeps what a failed job has.
/// Savepoints are never deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// The user set nothing.
    #[default]
    Unset,
    /// `NO_EXTERNALIZED_CHECKPOINTS`.
    NoExternalized,
    /// `DELETE_ON_CANCELLATION`.
    DeleteOnCancellation,
    /// `RETAIN_ON_CANCELLATION`.
    RetainOnCancellation,
}

impl Retention {
    /// Whether a job that ends as `status` leaves its checkpoints.
    ///
    /// False for states that are no end.
    pub fn keeps(self, status: JobStatus) -> bool {
        match status {
            JobStatus::Failed => self != Retention::NoExternalized,
            JobStatus::Canceled | JobStatus::Suspended => self == Retention::RetainOnCancellation,
            JobStatus::Finished
            | JobStatus::Initializing
            | JobStatus::Created
            | JobStatus::Running
            | JobStatus::Failing
            | JobStatus::Cancelling
            | JobStatus::Restarting
            | JobStatus::Reconciling => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_job_keeps_nothing_and_only_no_externalized_drops_those_of_a_failed_one() {
        let all = [
            (Retention::Unset, false, true),
            (Retention::NoExternalized, false, false),
            (Retention::DeleteOnCancellation, false, true),
            (Retention::RetainOnCancellation, true, true),
        ];
        for (retention, canceled, failed) in all {
            assert!(!retention.keeps(JobStatus::Finished), "{retention:?}");
            assert_eq!(
                retention.keeps(JobStatus::Canceled),
                canceled,
                "{retention:?}"
            );
            assert_eq!(retention.keeps(JobStatus::Failed), failed, "{retention:?}");
        }
    }

    #[test]
    fn a_minimum_pause_forces_one_checkpoint_at_a_time() {
        let mut config = CoordinatorConfig::new(JobId([0; 16]), "file:/c");
        config.max_concurrent = 3;
        assert_eq!(config.concurrency(), 3);
        config.min_pause_ms = 1;
        assert_eq!(config.concurrency(), 1);
    }
}

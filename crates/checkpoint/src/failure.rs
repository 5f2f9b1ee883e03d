//! Why checkpoints fail, and how many failures in a row a job takes.
//!
//! Source: Flink 2.3.0, classes `CheckpointFailureReason` and `CheckpointFailureManager`.

use std::collections::BTreeSet;
use std::fmt;

use millpond_types::CheckpointId;

/// Why a checkpoint failed or could not begin. Displays Flink's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// A trigger came while not all tasks run.
    NotAllTasksRunning,
    /// Too many triggers wait.
    TooManyRequests,
    /// A subtask could not write its part.
    Declined,
    /// Not all subtasks acknowledged in time.
    Expired,
    /// A newer checkpoint completed first.
    Subsumed,
    /// The metadata could not be written.
    Finalize,
    /// The attempt has failed.
    JobFailure,
    /// The job is being stopped or cancelled.
    Suspended,
    /// The job has ended.
    Shutdown,
}

impl FailureReason {
    /// Whether it counts against the tolerable number of failures in a row.
    pub fn counts(self) -> bool {
        match self {
            FailureReason::Declined | FailureReason::Expired | FailureReason::Finalize => true,
            FailureReason::NotAllTasksRunning
            | FailureReason::TooManyRequests
            | FailureReason::Subsumed
            | FailureReason::JobFailure
            | FailureReason::Suspended
            | FailureReason::Shutdown => false,
        }
    }

    /// Whether a task failed rather than the job master; a savepoint that fails in the job master
    /// never counts against the job.
    pub fn is_of_task(self) -> bool {
        self == FailureReason::Declined
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureReason::NotAllTasksRunning => "Not all required tasks are currently running.",
            FailureReason::TooManyRequests => {
                "The maximum number of queued checkpoint requests exceeded"
            }
            FailureReason::Declined => "Checkpoint was declined.",
            FailureReason::Expired => "Checkpoint expired before completing.",
            FailureReason::Subsumed => "Checkpoint has been subsumed.",
            FailureReason::Finalize => "Failure to finalize checkpoint.",
            FailureReason::JobFailure => "The job has failed.",
            FailureReason::Suspended => "Checkpoint Coordinator is suspending.",
            FailureReason::Shutdown => "CheckpointCoordinator shutdown.",
        })
    }
}

/// Counts failures in a row; a newer success resets it.
#[derive(Debug)]
pub(crate) struct FailureCounter {
    tolerable: u32,
    in_a_row: u32,
    counted: BTreeSet<CheckpointId>,
    last_success: Option<CheckpointId>,
}

impl FailureCounter {
    pub(crate) fn new(tolerable: u32) -> Self {
        FailureCounter {
            tolerable,
            in_a_row: 0,
            counted: BTreeSet::new(),
            last_success: None,
        }
    }

    /// Takes a failure; whether it is one more than the job tolerates. If so, counting begins anew.
    pub(crate) fn failed(&mut self, checkpoint: CheckpointId, reason: FailureReason) -> bool {
        let is_old = self
            .last_success
            .is_some_and(|success| checkpoint < success);
        if !reason.counts() || is_old || !self.counted.insert(checkpoint) {
            return false;
        }
        self.in_a_row += 1;
        let exceeded = self.in_a_row > self.tolerable;
        if exceeded {
            self.in_a_row = 0;
            self.counted.clear();
        }
        exceeded
    }

    /// Takes a success, which ends the row unless a newer one came first.
    pub(crate) fn succeeded(&mut self, checkpoint: CheckpointId) {
        if self.last_success.is_none_or(|success| checkpoint > success) {
            self.last_success = Some(checkpoint);
            self.in_a_row = 0;
            self.counted.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_in_a_row_count_and_a_success_resets_them() {
        let mut counter = FailureCounter::new(1);
        assert!(!counter.failed(1, FailureReason::Expired));
        counter.succeeded(2);
        assert!(!counter.failed(3, FailureReason::Declined));
        assert!(counter.failed(4, FailureReason::Finalize));
        assert!(
            !counter.failed(5, FailureReason::Expired),
            "counting began anew"
        );
    }

    #[test]
    fn each_checkpoint_counts_once_and_one_older_than_a_success_not_at_all() {
        let mut counter = FailureCounter::new(1);
        assert!(!counter.failed(1, FailureReason::Declined));
        assert!(!counter.failed(1, FailureReason::Expired));
        counter.succeeded(3);
        assert!(!counter.failed(2, FailureReason::Expired));
        counter.succeeded(2);
        assert!(!counter.failed(4, FailureReason::Expired));
        assert!(counter.failed(5, FailureReason::Expired));
    }

    #[test]
    fn what_is_nobodys_fault_never_counts() {
        let mut counter = FailureCounter::new(0);
        let innocent = [
            FailureReason::NotAllTasksRunning,
            FailureReason::TooManyRequests,
            FailureReason::Subsumed,
            FailureReason::JobFailure,
            FailureReason::Suspended,
            FailureReason::Shutdown,
        ];
        for (id, reason) in (1..).zip(innocent) {
            assert!(!counter.failed(id, reason), "{reason:?}");
        }
    }
}

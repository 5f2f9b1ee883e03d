//! The complete snapshots of a job: what a recovery may use, and when each is discarded.
//!
//! Checkpoints are owned: the oldest is discarded when more than `num-retained` are complete, and
//! what is left when the job ends by [`Retention`]. Savepoints and a snapshot that the job was merely
//! started from belong to the user: they are remembered as recovery points and never discarded.

use std::collections::VecDeque;

use millpond_job::JobStatus;
use millpond_types::CheckpointId;
use millpond_types::config::ClaimMode;

use crate::action::DiscardReason;
use crate::config::Retention;
use crate::event::StartedFrom;

/// How many savepoints are remembered as recovery points; the oldest are forgotten first.
const REMEMBERED_SAVEPOINTS: usize = 100;

/// A complete snapshot that a recovery may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedSnapshot {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// Where it lies, as a URI.
    pub directory: String,
    /// Whether it belongs to the user.
    pub is_savepoint: bool,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Whether an exactly-once sink has transactions in it that are committed when it is complete
    /// (a plain savepoint: when it is restored).
    pub pending_transactions: bool,
}

/// A snapshot to be discarded, and why.
pub(crate) type Discarded = (CompletedSnapshot, DiscardReason);

/// The complete snapshots of one job.
#[derive(Debug)]
pub(crate) struct CompletedStore {
    num_retained: usize,
    retention: Retention,
    /// Ascending; owned.
    checkpoints: VecDeque<CompletedSnapshot>,
    /// Ascending; of the user.
    savepoints: VecDeque<CompletedSnapshot>,
    /// Owned, no recovery points; discarded when a newer checkpoint is complete.
    damaged: Vec<CompletedSnapshot>,
    /// Not claimed.
    started_from: Option<CompletedSnapshot>,
}

impl CompletedStore {
    pub(crate) fn new(num_retained: u32, retention: Retention) -> Self {
        CompletedStore {
            num_retained: num_retained.max(1) as usize,
            retention,
            checkpoints: VecDeque::new(),
            savepoints: VecDeque::new(),
            damaged: Vec::new(),
            started_from: None,
        }
    }

    /// Notes the snapshot that the job is started from.
    pub(crate) fn start_from(&mut self, from: StartedFrom) {
        let snapshot = CompletedSnapshot {
            checkpoint: from.checkpoint,
            directory: from.directory,
            is_savepoint: from.is_savepoint && from.mode != ClaimMode::Claim,
            state_bytes: from.state_bytes,
            pending_transactions: from.pending_transactions,
        };
        match from.mode {
            ClaimMode::Claim => self.checkpoints.push_back(snapshot),
            ClaimMode::NoClaim | ClaimMode::Legacy => self.started_from = Some(snapshot),
        }
    }

    /// The newest own (or claimed) checkpoint.
    pub(crate) fn newest_checkpoint(&self) -> Option<CheckpointId> {
        self.checkpoints.back().map(|snapshot| snapshot.checkpoint)
    }

    /// Adds a checkpoint, newer than all others, and returns what it makes superfluous.
    pub(crate) fn add_checkpoint(&mut self, snapshot: CompletedSnapshot) -> Vec<Discarded> {
        let mut discarded: Vec<Discarded> = self
            .damaged
            .drain(..)
            .map(|old| (old, DiscardReason::Damaged))
            .collect();
        self.checkpoints.push_back(snapshot);
        let surplus = self.checkpoints.len().saturating_sub(self.num_retained);
        discarded.extend(
            self.checkpoints
                .drain(..surplus)
                .map(|old| (old, DiscardReason::Subsumed)),
        );
        if let Some(oldest) = self.checkpoints.front().map(|oldest| oldest.checkpoint) {
            self.savepoints
                .retain(|savepoint| savepoint.checkpoint > oldest);
        }
        discarded
    }

    /// Adds a savepoint of this job as a recovery point.
    pub(crate) fn add_savepoint(&mut self, snapshot: CompletedSnapshot) {
        self.savepoints.push_back(snapshot);
        self.savepoints
            .make_contiguous()
            .sort_by_key(|savepoint| savepoint.checkpoint);
        if self.savepoints.len() > REMEMBERED_SAVEPOINTS {
            self.savepoints.pop_front();
        }
    }

    /// Notes that a recovery found this snapshot damaged: it is no recovery point any more.
    pub(crate) fn mark_damaged(&mut self, checkpoint: CheckpointId) {
        if let Some(at) = self
            .checkpoints
            .iter()
            .position(|old| old.checkpoint == checkpoint)
        {
            self.damaged.extend(self.checkpoints.remove(at));
        }
        self.savepoints
            .retain(|savepoint| savepoint.checkpoint != checkpoint);
    }

    /// Forgets a savepoint that its owner has removed.
    pub(crate) fn forget_savepoint(&mut self, directory: &str) {
        self.savepoints
            .retain(|savepoint| savepoint.directory != directory);
        self.started_from
            .take_if(|snapshot| snapshot.directory == directory);
    }

    /// What a recovery may use, newest first; the snapshot that the job was started from comes last.
    pub(crate) fn candidates(&self) -> Vec<CompletedSnapshot> {
        let mut all: Vec<_> = self
            .checkpoints
            .iter()
            .chain(&self.savepoints)
            .cloned()
            .collect();
        all.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.checkpoint));
        all.extend(self.started_from.clone());
        all
    }

    /// Whether a snapshot that a recovery may use holds transactions to be committed.
    pub(crate) fn has_pending_transactions(&self, checkpoint: CheckpointId) -> bool {
        let all = self
            .checkpoints
            .iter()
            .chain(&self.savepoints)
            .chain(&self.started_from);
        all.filter(|snapshot| snapshot.checkpoint == checkpoint)
            .any(|s| s.pending_transactions)
    }

    /// The job has ended: returns what it does not keep.
    pub(crate) fn end(&mut self, status: JobStatus) -> Vec<Discarded> {
        if self.retention.keeps(status) {
            return Vec::new();
        }
        let owned = self.damaged.drain(..).chain(self.checkpoints.drain(..));
        owned.map(|old| (old, DiscardReason::JobEnded)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(checkpoint: CheckpointId, is_savepoint: bool) -> CompletedSnapshot {
        let kind = if is_savepoint { "savepoint" } else { "chk" };
        let directory = format!("file:/{kind}-{checkpoint}");
        CompletedSnapshot {
            checkpoint,
            directory,
            is_savepoint,
            state_bytes: 1,
            pending_transactions: false,
        }
    }

    fn started_from(checkpoint: CheckpointId, mode: ClaimMode) -> StartedFrom {
        StartedFrom {
            checkpoint,
            directory: format!("file:/from-{checkpoint}"),
            is_savepoint: true,
            mode,
            files: Vec::new(),
            files_of_others: Vec::new(),
            state_bytes: 1,
            pending_transactions: false,
        }
    }

    fn ids(snapshots: &[CompletedSnapshot]) -> Vec<CheckpointId> {
        snapshots
            .iter()
            .map(|snapshot| snapshot.checkpoint)
            .collect()
    }

    fn discarded(list: &[Discarded]) -> Vec<(CheckpointId, DiscardReason)> {
        list.iter()
            .map(|(snapshot, reason)| (snapshot.checkpoint, *reason))
            .collect()
    }

    #[test]
    fn only_the_newest_checkpoints_are_kept() {
        let mut store = CompletedStore::new(2, Retention::Unset);
        assert!(store.add_checkpoint(snapshot(1, false)).is_empty());
        assert!(store.add_checkpoint(snapshot(2, false)).is_empty());
        let gone = store.add_checkpoint(snapshot(4, false));
        assert_eq!(discarded(&gone), [(1, DiscardReason::Subsumed)]);
        assert_eq!(ids(&store.candidates()), [4, 2]);
    }

    #[test]
    fn a_savepoint_newer_than_the_last_checkpoint_is_the_first_recovery_point() {
        let mut store = CompletedStore::new(1, Retention::Unset);
        store.add_checkpoint(snapshot(1, false));
        store.add_savepoint(snapshot(2, true));
        assert_eq!(ids(&store.candidates()), [2, 1]);
        let gone = store.add_checkpoint(snapshot(3, false));
        assert_eq!(
            discarded(&gone),
            [(1, DiscardReason::Subsumed)],
            "never the savepoint"
        );
        assert_eq!(ids(&store.candidates()), [3]);
    }

    #[test]
    fn the_snapshot_that_the_job_was_started_from_is_the_last_resort_and_never_discarded() {
        let mut store = CompletedStore::new(1, Retention::NoExternalized);
        store.start_from(started_from(7, ClaimMode::NoClaim));
        assert_eq!(ids(&store.candidates()), [7]);
        store.add_checkpoint(snapshot(8, false));
        assert_eq!(ids(&store.candidates()), [8, 7]);
        assert_eq!(
            discarded(&store.end(JobStatus::Failed)),
            [(8, DiscardReason::JobEnded)]
        );
    }

    #[test]
    fn a_claimed_snapshot_counts_as_a_checkpoint_and_goes_when_subsumed() {
        let mut store = CompletedStore::new(1, Retention::Unset);
        store.start_from(started_from(7, ClaimMode::Claim));
        assert!(!store.candidates()[0].is_savepoint);
        let gone = store.add_checkpoint(snapshot(8, false));
        assert_eq!(discarded(&gone), [(7, DiscardReason::Subsumed)]);
    }

    #[test]
    fn a_damaged_checkpoint_takes_no_place_and_goes_with_the_next_complete_one() {
        let mut store = CompletedStore::new(2, Retention::Unset);
        store.add_checkpoint(snapshot(1, false));
        store.add_checkpoint(snapshot(2, false));
        store.mark_damaged(2);
        assert_eq!(ids(&store.candidates()), [1]);
        let gone = store.add_checkpoint(snapshot(3, false));
        assert_eq!(discarded(&gone), [(2, DiscardReason::Damaged)]);
        assert_eq!(ids(&store.candidates()), [3, 1]);
    }

    #[test]
    fn a_savepoint_that_its_owner_removed_is_forgotten() {
        let mut store = CompletedStore::new(1, Retention::Unset);
        store.add_savepoint(snapshot(2, true));
        store.forget_savepoint("file:/savepoint-2");
        assert!(store.candidates().is_empty());
    }
}

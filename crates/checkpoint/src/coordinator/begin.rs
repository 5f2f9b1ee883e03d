//! Beginning: what the end of the next epoch is, and when.
//!
//! In this order: a savepoint that waits, a checkpoint by hand, the last checkpoint, a periodic one,
//! and an end without a snapshot before ticks run out.

use millpond_job::VertexIndex;
use millpond_job::dispatcher::{CheckpointKind, SavepointFormat};
use millpond_job::gateway::{EpochEnd, SnapshotOptions, StopMode, ToWorker};
use millpond_types::CheckpointId;

use super::{Coordinator, LastCheckpoint, stop_mode};
use crate::announcement::Announcement;
use crate::config::{MAX_STATE_BYTES_IN_MEMORY, is_in_memory};
use crate::pending::{Origin, PendingCheckpoint, Phase};

/// Milliseconds, at least, until a process that does not confirm an announcement fails the attempt.
/// Dead processes are found much sooner, by their heartbeats.
const ANNOUNCEMENT_TIMEOUT_MS: u64 = 60_000;

/// Where the files of a snapshot go, and whose files it may refer to.
struct Place {
    directory: String,
    shared_directory: String,
    base: Option<CheckpointId>,
}

impl Coordinator {
    /// Whether an epoch may be announced now.
    pub(super) fn may_begin(&self) -> bool {
        self.all_running()
            && !self.ending
            && self.announcement.is_none()
            // Behind a synchronous snapshot the job ends, so no epoch follows until it has failed.
            && !self.pending.values().any(|p| p.attempt == self.attempt && p.is_synchronous())
    }

    /// What is in progress; not what only waits for its outcome to be discarded.
    fn in_progress(&self) -> impl Iterator<Item = &PendingCheckpoint> {
        self.pending
            .values()
            .filter(|pending| pending.phase != Phase::Abandoned)
    }

    fn has_free_place(&self) -> bool {
        let checkpoints = self
            .in_progress()
            .filter(|pending| !pending.options.is_savepoint);
        checkpoints.count() < self.config.concurrency()
    }

    /// Whether the last checkpoint may begin at this time.
    fn last_checkpoint_ms(&self) -> Option<u64> {
        match self.last_checkpoint {
            LastCheckpoint::Due { not_before_ms } if self.in_progress().next().is_none() => {
                Some(not_before_ms)
            }
            LastCheckpoint::Due { .. } | LastCheckpoint::NotDue => None,
        }
    }

    /// When the next epoch will end if nothing happens before; only asked if it may begin.
    pub(super) fn next_begin_ms(&self) -> Option<u64> {
        let tick_reset = self
            .epoch_began_ms
            .saturating_add(self.config.tick_reset_interval_ms);
        let periodic = self.periodic_ms();
        [Some(tick_reset), self.last_checkpoint_ms(), periodic]
            .into_iter()
            .flatten()
            .min()
    }

    /// The earliest time of the next periodic checkpoint, if there may be one.
    fn periodic_ms(&self) -> Option<u64> {
        let may = self.last_checkpoint == LastCheckpoint::NotDue
            && !self.is_behind_finished_tasks()
            && !self.is_paused()
            && self.has_free_place();
        self.schedule.next_ms().filter(|_| may)
    }

    /// Announces what is due, at most one epoch; whether there may be more.
    pub(super) fn begin_next(&mut self) -> bool {
        if !self.may_begin() {
            return false;
        }
        let now_ms = self.now_ms;
        if let Some(request) = self.savepoint_requests.pop_front() {
            let origin = Origin::Savepoint(request.trigger, request.then);
            let stop = stop_mode(request.then);
            let place = Place {
                shared_directory: request.directory.clone(),
                directory: request.directory,
                base: None,
            };
            self.begin(origin, place, request.format, stop);
        } else if !self.checkpoint_requests.is_empty() && self.has_free_place() {
            let (trigger, kind) = self
                .checkpoint_requests
                .pop_front()
                .expect("checked not to be empty");
            self.begin_checkpoint(Origin::Manual(trigger), kind, None);
        } else if self.last_checkpoint_ms().is_some_and(|due| due <= now_ms) {
            self.begin_checkpoint(
                Origin::EndOfInput,
                CheckpointKind::Configured,
                Some(StopMode::EndOfInput),
            );
        } else if self.periodic_ms().is_some_and(|due| due <= now_ms) {
            self.schedule.triggered(now_ms);
            self.begin_checkpoint(Origin::Periodic, CheckpointKind::Configured, None);
        } else if self
            .epoch_began_ms
            .saturating_add(self.config.tick_reset_interval_ms)
            <= now_ms
        {
            self.announce(EpochEnd::Nothing);
        } else {
            return false;
        }
        true
    }

    fn begin_checkpoint(&mut self, origin: Origin, kind: CheckpointKind, stop: Option<StopMode>) {
        let base = match kind {
            CheckpointKind::Configured | CheckpointKind::Incremental => self.base,
            CheckpointKind::Full => None,
        };
        let place = Place {
            directory: format!("{}/chk-{}", self.config.checkpoint_directory, self.next_id),
            shared_directory: format!("{}/shared", self.config.checkpoint_directory),
            base,
        };
        // Every state backend restores it, of Millpond as of Flink; if it is incremental, that holds
        // for what does not lie in files.
        self.begin(origin, place, SavepointFormat::Canonical, stop);
    }

    fn begin(
        &mut self,
        origin: Origin,
        place: Place,
        format: SavepointFormat,
        stop: Option<StopMode>,
    ) {
        if let Some(base) = place.base {
            self.registry.lease(self.next_id, base);
        }
        let in_memory = is_in_memory(&place.directory);
        let in_memory = in_memory.then_some(MAX_STATE_BYTES_IN_MEMORY);
        let is_savepoint = matches!(origin, Origin::Savepoint(..));
        let metadata_only_bytes = self.config.metadata_only_bytes.or(in_memory);
        let options = SnapshotOptions {
            id: self.next_id,
            is_savepoint,
            format,
            // Files in the metadata would be sent again and again.
            incremental: self.config.incremental && !is_savepoint && metadata_only_bytes.is_none(),
            directory: place.directory,
            shared_directory: place.shared_directory,
            base: place.base,
            metadata_only_bytes,
            inline_threshold_bytes: self.config.inline_threshold_bytes,
            file_merging: self
                .config
                .file_merging
                .filter(|_| !is_savepoint && metadata_only_bytes.is_none()),
            changes_limit_bytes: self.config.changes_limit_bytes,
            triggered_at_ms: self.now_ms,
            aligned_timeout_ms: self.config.aligned_timeout_ms,
            stop,
        };
        self.next_id += 1;
        let deadline_ms = self.now_ms.saturating_add(self.config.timeout_ms.max(1));
        let subtasks = self
            .vertices
            .iter()
            .zip(0..)
            .flat_map(|((_, parallelism), vertex)| {
                (0..*parallelism).map(move |subtask| (VertexIndex(vertex), subtask))
            });
        let pending =
            PendingCheckpoint::new(self.attempt, options.clone(), origin, deadline_ms, subtasks);
        self.pending.insert(options.id, pending);
        self.statistics.triggered(&options);
        self.announce(EpochEnd::Snapshot(options));
    }

    fn announce(&mut self, end: EpochEnd) {
        let epoch = self.epoch;
        let patience_ms = self.config.timeout_ms.max(ANNOUNCEMENT_TIMEOUT_MS);
        let deadline_ms = self.now_ms.saturating_add(patience_ms);
        self.announcement = Some(Announcement::new(epoch, self.processes, deadline_ms));
        self.send(|attempt| ToWorker::Announce {
            attempt,
            epoch,
            end,
        });
    }
}

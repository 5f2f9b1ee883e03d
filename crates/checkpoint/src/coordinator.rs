//! The life of every checkpoint and savepoint of one job.
//!
//! ```text
//!            all announced           all acknowledged         metadata written
//!  trigger ─▶ Announce ─▶ Advance ─▶ (subtasks write) ─▶ Complete ─▶ NotifyComplete, subsume older
//!                                          │
//!             declined, expired, failover  └─▶ NotifyAborted, Discard
//! ```
//!
//! A trigger takes the next checkpoint number and the current epoch. Every process is first told
//! what the end of that epoch is, and only when all have confirmed may sources advance. One
//! announcement is under way at a time, and an epoch cannot be taken back: a checkpoint that is given
//! up meanwhile has used its epoch, which still ends.
//!
//! Writing `_metadata` is the moment of truth. Once it has been asked for, neither a timeout nor a
//! decline ends the checkpoint, only the outcome of the write: otherwise a snapshot could be on disk
//! that the job believes it does not have.
//!
//! Source of the rules: Flink 2.3.0, classes `CheckpointCoordinator`, `CheckpointRequestDecider` and
//! `CheckpointFailureManager`.

mod attempt;
mod begin;
mod complete;
mod fail;
mod request;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millpond_job::dispatcher::{
    AfterSavepoint, CheckpointKind, CheckpointStatistics, Operation, OperationFailure,
    SavepointFormat,
};
use millpond_job::gateway::{Attempt, Epoch, StopMode, ToWorker};
use millpond_job::{JobGraph, VertexIndex};
use millpond_snapshot::StateRead;
use millpond_types::config::ClaimMode;
use millpond_types::{CheckpointId, TriggerId};

use crate::action::{Action, DiscardReason};
use crate::announcement::Announcement;
use crate::completed::{CompletedSnapshot, CompletedStore};
use crate::config::CoordinatorConfig;
use crate::event::{Event, StartedFrom};
use crate::failure::FailureCounter;
use crate::operations::Operations;
use crate::pending::{Origin, PendingCheckpoint, Phase};
use crate::recovery::RecoveryPolicy;
use crate::schedule::Schedule;
use crate::shared_registry::{Released, Scope, SharedStateRegistry, SnapshotFiles, is_below};
use crate::statistics::Statistics;

/// How many checkpoints that were given up are remembered, to clean up behind late subtasks.
const REMEMBERED_ABORTED: usize = 1000;

const CHECKPOINT_EXCEPTION: &str = "org.apache.flink.runtime.checkpoint.CheckpointException";
const STOPPING_EXCEPTION: &str =
    "org.apache.flink.runtime.scheduler.stopwithsavepoint.StopWithSavepointStoppingException";

/// A savepoint that waits for its turn.
#[derive(Debug)]
struct SavepointRequest {
    trigger: TriggerId,
    directory: String,
    then: AfterSavepoint,
    format: SavepointFormat,
}

/// Whether the checkpoint behind the last record is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastCheckpoint {
    /// Not all sources have ended, or none is taken.
    NotDue,
    /// As soon as nothing else is in progress, and not before this time.
    Due { not_before_ms: u64 },
}

/// Decides when a checkpoint begins, completes, fails, is kept, subsumed and discarded.
///
/// One per job, for all its attempts. The job master tells it what happens by [`handle`](Self::handle)
/// and carries out the actions in their order; it calls with [`Event::Timer`] when
/// [`next_deadline`](Self::next_deadline) has come.
#[derive(Debug)]
pub struct Coordinator {
    config: CoordinatorConfig,
    /// Name and number of subtasks by [`VertexIndex`].
    vertices: Vec<(String, u32)>,
    source_subtasks: BTreeSet<(VertexIndex, u32)>,

    attempt: Attempt,
    processes: u32,
    /// Whether the attempt is neither failed nor to be failed.
    alive: bool,
    running: BTreeSet<u32>,
    /// The epoch that ends next.
    epoch: Epoch,
    epoch_began_ms: u64,
    announcement: Option<Announcement>,
    /// The job ends behind what has completed: nothing more is triggered in this attempt.
    ending: bool,
    sources_ended: BTreeSet<(VertexIndex, u32)>,
    last_checkpoint: LastCheckpoint,
    /// The complete savepoint behind which the job is stopping.
    stopping: Option<(TriggerId, CheckpointId, String)>,
    ended: bool,

    next_id: CheckpointId,
    pending: BTreeMap<CheckpointId, PendingCheckpoint>,
    aborted: VecDeque<(CheckpointId, String)>,
    savepoint_requests: VecDeque<SavepointRequest>,
    checkpoint_requests: VecDeque<(TriggerId, CheckpointKind)>,
    schedule: Schedule,
    failures: FailureCounter,
    completed: CompletedStore,
    registry: SharedStateRegistry,
    /// The complete checkpoint that the next one may build on; see [`SnapshotOptions::base`].
    ///
    /// [`SnapshotOptions::base`]: millpond_job::gateway::SnapshotOptions::base
    base: Option<CheckpointId>,
    /// The snapshot that the job was started from with `LEGACY`.
    legacy: Option<CheckpointId>,
    newest_committed: Option<CheckpointId>,
    started_from: Option<String>,
    operations: Operations,
    statistics: Statistics,

    now_ms: u64,
    actions: Vec<Action>,
}

impl Coordinator {
    /// Returns a coordinator for a job that has not started, whose first checkpoint is `next_id`.
    pub fn new(config: CoordinatorConfig, graph: &JobGraph, next_id: CheckpointId) -> Self {
        Coordinator {
            vertices: vertices(graph),
            source_subtasks: source_subtasks(graph),
            attempt: 0,
            processes: 0,
            alive: false,
            running: BTreeSet::new(),
            epoch: 0,
            epoch_began_ms: 0,
            announcement: None,
            ending: false,
            sources_ended: BTreeSet::new(),
            last_checkpoint: LastCheckpoint::NotDue,
            stopping: None,
            ended: false,
            next_id,
            pending: BTreeMap::new(),
            aborted: VecDeque::new(),
            savepoint_requests: VecDeque::new(),
            checkpoint_requests: VecDeque::new(),
            schedule: Schedule::new(config.interval_ms, config.min_pause_ms),
            failures: FailureCounter::new(config.tolerable_failed),
            completed: CompletedStore::new(config.num_retained, config.retention),
            registry: SharedStateRegistry::default(),
            base: None,
            legacy: None,
            newest_committed: None,
            started_from: None,
            operations: Operations::default(),
            statistics: Statistics::new(graph, config.history),
            now_ms: 0,
            actions: Vec::new(),
            config,
        }
    }

    /// Notes the snapshot that the job is started from: it is the recovery point until a checkpoint
    /// completes, and checkpoint numbers continue from it.
    pub fn start_from(&mut self, from: StartedFrom) {
        self.next_id = self.next_id.max(from.checkpoint + 1);
        self.started_from = Some(from.directory.clone());
        self.registry.protect(from.files_of_others.iter().cloned());
        match from.mode {
            ClaimMode::Claim => {
                let snapshot = SnapshotFiles {
                    directory: from.directory.clone(),
                    claimed: true,
                    files: from.files.iter().cloned().collect(),
                };
                self.registry.add(from.checkpoint, snapshot);
            }
            ClaimMode::NoClaim => self.registry.protect(from.files.iter().cloned()),
            ClaimMode::Legacy => {
                self.registry.protect(from.files.iter().cloned());
                self.legacy = Some(from.checkpoint);
            }
        }
        self.completed.start_from(from);
    }

    /// Notes how many subtasks the vertices have from the next attempt on.
    pub fn rescale(&mut self, graph: &JobGraph) {
        self.vertices = vertices(graph);
        self.source_subtasks = source_subtasks(graph);
        self.statistics.rescale(graph);
    }

    /// Whether something is under way that a new attempt would undo: what a user has asked for, or the
    /// end of the job.
    pub fn is_occupied(&self) -> bool {
        self.ending
            || self.stopping.is_some()
            || self.last_checkpoint != LastCheckpoint::NotDue
            || !self.savepoint_requests.is_empty()
            || !self.checkpoint_requests.is_empty()
            || self.pending.values().any(|pending| match pending.origin {
                Origin::Savepoint(..) | Origin::Manual(_) | Origin::EndOfInput => true,
                Origin::Periodic => false,
            })
    }

    /// Takes an event and returns what is to be done, in this order.
    ///
    /// `now_ms` is the time since 1970; should it go back, the latest time seen is used.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.now_ms = self.now_ms.max(now_ms);
        match event {
            Event::Timer => {}
            Event::AttemptStarted { attempt, processes } => {
                self.attempt_started(attempt, processes)
            }
            Event::AttemptFailed { reason } => self.attempt_failed(&reason),
            Event::Worker(message) => self.worker_says(message),
            Event::TriggerSavepoint {
                trigger,
                directory,
                then,
                format,
            } => {
                self.savepoint_wanted(SavepointRequest {
                    trigger,
                    directory,
                    then,
                    format,
                });
            }
            Event::TriggerCheckpoint { trigger, kind } => self.checkpoint_wanted(trigger, kind),
            Event::CheckpointInterval { interval_ms } => {
                self.schedule.change_interval(interval_ms, self.now_ms);
            }
            Event::MetadataWritten { checkpoint, result } => {
                self.metadata_written(checkpoint, result)
            }
            Event::Measured {
                checkpoint,
                records_per_second_before: before,
                records_per_second_during: during,
            } => self.statistics.measured(checkpoint, before, during),
            Event::Restored {
                checkpoint,
                directory,
                is_savepoint,
                skipped,
            } => {
                self.restored(checkpoint, directory, is_savepoint, &skipped);
            }
            Event::SavepointDisposed { directory } => self.completed.forget_savepoint(&directory),
            Event::JobEnded { status } => self.job_ended(status),
        }
        self.expire();
        while self.begin_next() {}
        std::mem::take(&mut self.actions)
    }

    /// The time at which [`Event::Timer`] is due, always later than the last event; `None` if only
    /// an event can change anything.
    pub fn next_deadline(&self) -> Option<u64> {
        let expiry = self
            .pending
            .values()
            .filter(|p| p.phase == Phase::Collecting);
        let expiry = expiry.map(|pending| pending.deadline_ms).min();
        let announcement = self.announcement.as_ref().map(|a| a.deadline_ms);
        let announcement = announcement.filter(|_| self.alive);
        let begin = self.may_begin().then(|| self.next_begin_ms()).flatten();
        [expiry, announcement, begin].into_iter().flatten().min()
    }

    /// Counts, sizes, durations and history of the job's checkpoints.
    pub fn statistics(&self) -> &CheckpointStatistics {
        self.statistics.current()
    }

    /// Something was read to check the snapshot that the current attempt is restored from. What its
    /// tasks read, they tell themselves.
    pub fn restore_read(&mut self, read: StateRead) {
        self.statistics.restore_read(read);
    }

    /// The state of a savepoint; `None` if none was started under this id.
    pub fn savepoint_status(&self, trigger: TriggerId) -> Option<Operation<String>> {
        self.operations.savepoint(trigger)
    }

    /// The state of a checkpoint; `None` if none was started under this id.
    pub fn checkpoint_status(&self, trigger: TriggerId) -> Option<Operation<CheckpointId>> {
        self.operations.checkpoint(trigger)
    }

    /// What a recovery may use, newest first, for [`choose_recovery`](crate::choose_recovery).
    ///
    /// To be asked when nothing [is being finalized](Self::is_finalizing).
    pub fn recovery_candidates(&self) -> Vec<CompletedSnapshot> {
        self.completed.candidates()
    }

    /// What stands against going back, for [`choose_recovery`](crate::choose_recovery).
    pub fn recovery_policy(&self) -> RecoveryPolicy {
        RecoveryPolicy {
            newest_committed: self.newest_committed,
            allow_fallback_past_committed_transactions: self
                .config
                .allow_fallback_past_committed_transactions,
        }
    }

    /// Whether metadata is being written. A new attempt, or the end of the job, should wait for
    /// the outcome: a snapshot that is complete only afterwards is discarded.
    pub fn is_finalizing(&self) -> bool {
        self.pending
            .values()
            .any(|pending| pending.phase == Phase::Finalizing)
    }

    /// The number that the next checkpoint will have.
    pub fn next_checkpoint_id(&self) -> CheckpointId {
        self.next_id
    }

    /// Whether all processes of the current attempt run.
    pub fn all_running(&self) -> bool {
        self.alive && self.processes > 0 && self.running.len() == self.processes as usize
    }

    fn ids_in(&self, phase: Phase) -> Vec<CheckpointId> {
        let in_phase = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.phase == phase);
        in_phase.map(|(id, _)| *id).collect()
    }

    fn send(&mut self, message: impl FnOnce(Attempt) -> ToWorker) {
        self.actions.push(Action::Send(message(self.attempt)));
    }

    /// Discards a checkpoint that was complete.
    fn discard(&mut self, checkpoint: CheckpointId, directory: String, reason: DiscardReason) {
        self.statistics.discarded(checkpoint);
        let known = self.registry.remove(checkpoint);
        // What is not known to be the job's alone is not deleted as a whole.
        let (scope, released) = known.unwrap_or((Scope::Named, Released::default()));
        self.actions.push(Action::Discard {
            checkpoint,
            directory,
            reason,
            scope,
            released,
        });
    }

    /// Discards what a snapshot has written that did not become complete. `files` are those that its
    /// parts refer to; what others need of them stays.
    fn discard_parts<'a>(
        &mut self,
        checkpoint: CheckpointId,
        directory: String,
        files: impl IntoIterator<Item = &'a String>,
        reason: DiscardReason,
    ) {
        let mut released = self.registry.end_lease(checkpoint);
        let elsewhere = files.into_iter().filter(|file| !is_below(file, &directory));
        released.files.extend(self.registry.unused(elsewhere));
        released.files.sort_unstable();
        released.files.dedup();
        self.actions.push(Action::Discard {
            checkpoint,
            directory,
            reason,
            scope: Scope::Whole,
            released,
        });
    }

    fn remember_aborted(&mut self, id: CheckpointId, directory: String) {
        self.aborted.push_back((id, directory));
        if self.aborted.len() > REMEMBERED_ABORTED {
            self.aborted.pop_front();
        }
    }

    fn finish(
        &mut self,
        trigger: TriggerId,
        result: Result<(CheckpointId, String), OperationFailure>,
    ) {
        if let Some(outcome) = self.operations.finish(trigger, result) {
            self.actions.push(Action::Finish { trigger, outcome });
        }
    }

    fn failed_while_stopping(&self, path: &str) -> OperationFailure {
        OperationFailure {
            class: STOPPING_EXCEPTION.to_owned(),
            message: format!(
                "A savepoint has been created at: {path}, but the corresponding job {} failed \
                 during stopping. The savepoint is consistent, but might have uncommitted \
                 transactions. If you want to commit the transaction please restart a job from \
                 this savepoint.",
                self.config.job
            ),
        }
    }

    /// Name of a task as Flink shows it: `counter (1/2)`.
    fn task_name(&self, vertex: VertexIndex, subtask: u32) -> String {
        match self.vertices.get(vertex.0 as usize) {
            Some((name, parallelism)) => format!("{name} ({}/{parallelism})", subtask + 1),
            None => format!("vertex {} ({})", vertex.0, subtask + 1),
        }
    }
}

/// Name and number of subtasks of each vertex.
fn vertices(graph: &JobGraph) -> Vec<(String, u32)> {
    let vertices = graph.vertices.iter();
    vertices
        .map(|vertex| (vertex.name.clone(), vertex.parallelism))
        .collect()
}

fn source_subtasks(graph: &JobGraph) -> BTreeSet<(VertexIndex, u32)> {
    let sources = graph.vertices.iter().filter(|vertex| vertex.is_source());
    sources
        .flat_map(|vertex| (0..vertex.parallelism).map(|subtask| (vertex.index, subtask)))
        .collect()
}

fn stop_mode(then: AfterSavepoint) -> Option<StopMode> {
    match then {
        AfterSavepoint::Continue | AfterSavepoint::Cancel => None,
        AfterSavepoint::Stop => Some(StopMode::Suspend),
        AfterSavepoint::Drain => Some(StopMode::Drain),
    }
}

fn failure(message: String) -> OperationFailure {
    OperationFailure {
        class: CHECKPOINT_EXCEPTION.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests;

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

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millpond_job::dispatcher::{
    AfterSavepoint, CheckpointStatistics, Operation, OperationFailure, RestoredCheckpoint,
};
use millpond_job::gateway::{
    Attempt, Epoch, EpochEnd, FromWorker, SnapshotOptions, StopMode, ToWorker,
};
use millpond_job::{JobGraph, JobStatus, SubtaskAcknowledgement, VertexIndex};
use millpond_types::{CheckpointId, TriggerId};

use crate::action::{Action, Completion, DiscardReason};
use crate::announcement::Announcement;
use crate::completed::{CompletedSnapshot, CompletedStore};
use crate::config::CoordinatorConfig;
use crate::event::{Event, StartedFrom};
use crate::failure::{FailureCounter, FailureReason};
use crate::operations::{Kind, Operations};
use crate::pending::{Origin, PendingCheckpoint, Phase};
use crate::recovery::RecoveryPolicy;
use crate::schedule::Schedule;
use crate::statistics::Statistics;

/// How many triggers of users may wait (Flink's bound).
const MAX_QUEUED_REQUESTS: usize = 1000;
/// How many checkpoints that were given up are remembered, to clean up behind late subtasks.
const REMEMBERED_ABORTED: usize = 1000;
/// Milliseconds, at most, until the last checkpoint is tried again after it failed.
const FINAL_RETRY_MS: u64 = 1000;

/// Milliseconds, at least, until a process that does not confirm an announcement fails the attempt.
/// Dead processes are found much sooner, by their heartbeats.
const ANNOUNCEMENT_TIMEOUT_MS: u64 = 60_000;

const CHECKPOINT_EXCEPTION: &str = "org.apache.flink.runtime.checkpoint.CheckpointException";
const STOPPING_EXCEPTION: &str =
    "org.apache.flink.runtime.scheduler.stopwithsavepoint.StopWithSavepointStoppingException";

/// A savepoint that waits for its turn.
#[derive(Debug)]
struct SavepointRequest {
    trigger: TriggerId,
    directory: String,
    then: AfterSavepoint,
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
    checkpoint_requests: VecDeque<TriggerId>,
    schedule: Schedule,
    failures: FailureCounter,
    completed: CompletedStore,
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
        let subtasks_of_sources = graph
            .vertices
            .iter()
            .filter(|vertex| vertex.is_source())
            .flat_map(|vertex| (0..vertex.parallelism).map(|subtask| (vertex.index, subtask)));
        Coordinator {
            vertices: graph
                .vertices
                .iter()
                .map(|v| (v.name.clone(), v.parallelism))
                .collect(),
            source_subtasks: subtasks_of_sources.collect(),
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
        self.completed.start_from(from);
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
            } => {
                self.savepoint_wanted(SavepointRequest {
                    trigger,
                    directory,
                    then,
                });
            }
            Event::TriggerCheckpoint { trigger } => self.checkpoint_wanted(trigger),
            Event::MetadataWritten { checkpoint, result } => {
                self.metadata_written(checkpoint, result)
            }
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

    // Attempts and workers.

    fn attempt_started(&mut self, attempt: Attempt, processes: u32) {
        self.alive = false;
        self.give_up_everything(FailureReason::JobFailure, "a new attempt has begun");
        self.abandon_finalizing(FailureReason::JobFailure, "a new attempt has begun");
        self.attempt = attempt;
        self.processes = processes;
        self.alive = !self.ended;
        self.running.clear();
        self.epoch = 0;
        self.epoch_began_ms = self.now_ms;
        self.announcement = None;
        self.ending = false;
        self.sources_ended.clear();
        self.last_checkpoint = LastCheckpoint::NotDue;
        self.schedule.stop();
    }

    fn restored(
        &mut self,
        id: CheckpointId,
        directory: String,
        is_savepoint: bool,
        skipped: &[CheckpointId],
    ) {
        skipped
            .iter()
            .for_each(|damaged| self.completed.mark_damaged(*damaged));
        // Restoring commits the transactions that a snapshot holds.
        if self.completed.has_pending_transactions(id) {
            self.newest_committed = self.newest_committed.max(Some(id));
        }
        self.statistics.restored(RestoredCheckpoint {
            id,
            restore_timestamp_ms: self.now_ms,
            is_savepoint,
            external_path: directory,
        });
    }

    fn attempt_failed(&mut self, reason: &str) {
        self.alive = false;
        self.schedule.stop();
        self.announcement = None;
        self.give_up_everything(FailureReason::JobFailure, reason);
    }

    /// Gives up all that is in progress or waits, and settles a stop that did not come to its end.
    fn give_up_everything(&mut self, reason: FailureReason, why: &str) {
        for id in self.ids_in(Phase::Collecting) {
            self.give_up(id, reason, why);
        }
        self.drop_requests(reason, why);
        if let Some((trigger, _, path)) = self.stopping.take() {
            let failure = self.failed_while_stopping(&path);
            self.finish(trigger, Err(failure));
        }
    }

    fn fail_attempt(&mut self, reason: String) {
        if !self.alive {
            return;
        }
        self.alive = false;
        self.give_up_everything(FailureReason::JobFailure, &reason);
        self.actions.push(Action::FailAttempt { reason });
    }

    fn worker_says(&mut self, message: FromWorker) {
        match message {
            FromWorker::Running { attempt, process } => {
                if self.is_current(attempt) && process < self.processes {
                    self.running.insert(process);
                    if self.all_running() {
                        self.schedule.start(self.now_ms);
                        self.epoch_began_ms = self.now_ms;
                    }
                }
            }
            FromWorker::Announced {
                attempt,
                process,
                epoch,
            } => {
                if self.is_current(attempt) {
                    self.announced(process, epoch);
                }
            }
            FromWorker::Acknowledge {
                attempt,
                checkpoint,
                acknowledgement,
            } => {
                self.acknowledged(attempt, checkpoint, acknowledgement);
            }
            FromWorker::Decline {
                attempt,
                checkpoint,
                vertex,
                subtask,
                reason,
            } => {
                if self.is_current(attempt) {
                    let task = self.task_name(vertex, subtask);
                    self.give_up(
                        checkpoint,
                        FailureReason::Declined,
                        &format!("{task}: {reason}"),
                    );
                }
            }
            FromWorker::SourceEnded {
                attempt,
                vertex,
                subtask,
            } => {
                if self.is_current(attempt) {
                    self.source_ended(vertex, subtask);
                }
            }
            FromWorker::Failed { .. } | FromWorker::Ended { .. } | FromWorker::Metrics { .. } => {}
        }
    }

    fn is_current(&self, attempt: Attempt) -> bool {
        self.alive && attempt == self.attempt
    }

    fn announced(&mut self, process: u32, epoch: Epoch) {
        let Some(announcement) = &mut self.announcement else {
            return;
        };
        if announcement.confirm(process, epoch) {
            self.announcement = None;
            self.epoch = epoch + 1;
            self.epoch_began_ms = self.now_ms;
            self.send(|attempt| ToWorker::Advance { attempt, epoch });
        }
    }

    fn source_ended(&mut self, vertex: VertexIndex, subtask: u32) {
        let is_new = self.source_subtasks.contains(&(vertex, subtask))
            && self.sources_ended.insert((vertex, subtask));
        if !is_new || self.sources_ended.len() < self.source_subtasks.len() {
            return;
        }
        if self.schedule.is_periodic() && self.config.checkpoints_after_tasks_finish {
            self.last_checkpoint = LastCheckpoint::Due {
                not_before_ms: self.now_ms,
            };
        } else {
            self.actions.push(Action::EndOfInput);
        }
    }

    // What users want.

    fn savepoint_wanted(&mut self, request: SavepointRequest) {
        if !self.operations.begin(request.trigger, Kind::Savepoint) {
            return;
        }
        match self.refusal(self.savepoint_requests.len()) {
            Some(failure) => self.refuse(request.trigger, failure),
            None => self.savepoint_requests.push_back(request),
        }
    }

    fn checkpoint_wanted(&mut self, trigger: TriggerId) {
        if !self.operations.begin(trigger, Kind::Checkpoint) {
            return;
        }
        match self.refusal(self.checkpoint_requests.len()) {
            Some(failure) => self.refuse(trigger, failure),
            None => self.checkpoint_requests.push_back(trigger),
        }
    }

    /// Why a trigger cannot even wait; `None` if it can.
    fn refusal(&self, waiting: usize) -> Option<OperationFailure> {
        if self.ended {
            return Some(OperationFailure {
                class: "org.apache.flink.runtime.messages.FlinkJobNotFoundException".to_owned(),
                message: format!("Could not find Flink job ({})", self.config.job),
            });
        }
        if !self.all_running() {
            let task = self.task_name(VertexIndex(0), 0);
            return Some(failure(format!(
                "Checkpoint triggering task {task} of job {} is not being executed at the moment. \
                 Aborting checkpoint. Failure reason: {}",
                self.config.job,
                FailureReason::NotAllTasksRunning
            )));
        }
        if self.is_behind_finished_tasks() {
            return Some(failure(format!(
                "{} Cause: some tasks of job {} have already finished and \
                 execution.checkpointing.checkpoints-after-tasks-finish is false",
                FailureReason::NotAllTasksRunning,
                self.config.job
            )));
        }
        if self.ending || self.stop_is_wanted() {
            let why = "the job is already being stopped or cancelled";
            return Some(failure(format!("{} {why}", FailureReason::Suspended)));
        }
        let full = waiting >= MAX_QUEUED_REQUESTS;
        full.then(|| failure(FailureReason::TooManyRequests.to_string()))
    }

    fn refuse(&mut self, trigger: TriggerId, failure: OperationFailure) {
        self.statistics.refused();
        self.finish(trigger, Err(failure));
    }

    /// Whether a synchronous savepoint waits or is in progress.
    fn stop_is_wanted(&self) -> bool {
        let stops = |then: AfterSavepoint| stop_mode(then).is_some();
        self.savepoint_requests
            .iter()
            .any(|request| stops(request.then))
            || self.pending.values().any(|pending| match pending.origin {
                Origin::Savepoint(_, then) => stops(then),
                Origin::Periodic | Origin::Manual(_) | Origin::EndOfInput => false,
            })
    }

    /// Whether periodic checkpoints wait for a stop or a cancellation.
    fn is_paused(&self) -> bool {
        let ends = |then: AfterSavepoint| then != AfterSavepoint::Continue;
        self.savepoint_requests
            .iter()
            .any(|request| ends(request.then))
            || self.pending.values().any(|pending| match pending.origin {
                Origin::Savepoint(_, then) => ends(then),
                Origin::Periodic | Origin::Manual(_) | Origin::EndOfInput => false,
            })
    }

    /// Whether sources have ended and checkpoints are not to go on without them.
    fn is_behind_finished_tasks(&self) -> bool {
        !self.config.checkpoints_after_tasks_finish && !self.sources_ended.is_empty()
    }

    // Beginning.

    /// Whether an epoch may be announced now.
    fn may_begin(&self) -> bool {
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
    fn next_begin_ms(&self) -> Option<u64> {
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
    fn begin_next(&mut self) -> bool {
        if !self.may_begin() {
            return false;
        }
        let now_ms = self.now_ms;
        if let Some(request) = self.savepoint_requests.pop_front() {
            let origin = Origin::Savepoint(request.trigger, request.then);
            self.begin(origin, request.directory, stop_mode(request.then));
        } else if !self.checkpoint_requests.is_empty() && self.has_free_place() {
            let trigger = self
                .checkpoint_requests
                .pop_front()
                .expect("checked not to be empty");
            self.begin_checkpoint(Origin::Manual(trigger), None);
        } else if self.last_checkpoint_ms().is_some_and(|due| due <= now_ms) {
            self.begin_checkpoint(Origin::EndOfInput, Some(StopMode::EndOfInput));
        } else if self.periodic_ms().is_some_and(|due| due <= now_ms) {
            self.schedule.triggered(now_ms);
            self.begin_checkpoint(Origin::Periodic, None);
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

    fn begin_checkpoint(&mut self, origin: Origin, stop: Option<StopMode>) {
        let directory = format!("{}/chk-{}", self.config.checkpoint_directory, self.next_id);
        self.begin(origin, directory, stop);
    }

    fn begin(&mut self, origin: Origin, directory: String, stop: Option<StopMode>) {
        let options = SnapshotOptions {
            id: self.next_id,
            is_savepoint: matches!(origin, Origin::Savepoint(..)),
            directory,
            inline_threshold_bytes: self.config.inline_threshold_bytes,
            triggered_at_ms: self.now_ms,
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

    // Acknowledging and completing.

    fn acknowledged(&mut self, attempt: Attempt, id: CheckpointId, part: SubtaskAcknowledgement) {
        let now_ms = self.now_ms;
        let pending = self
            .pending
            .get_mut(&id)
            .filter(|pending| pending.attempt == attempt);
        let Some(pending) = pending.filter(|pending| pending.phase == Phase::Collecting) else {
            self.acknowledged_late(id);
            return;
        };
        // A part that is not new must not be counted twice.
        if !pending.is_missing(&part) {
            return;
        }
        self.statistics.acknowledged(id, &part, now_ms);
        if pending.acknowledge(part) {
            pending.phase = Phase::Finalizing;
            let completion = Completion {
                attempt,
                options: pending.options.clone(),
                acknowledgements: pending.take_acknowledgements(),
                started_from: self.started_from.clone(),
            };
            self.actions.push(Action::Complete(Box::new(completion)));
        }
    }

    /// A subtask wrote files for a checkpoint that has been given up: they go too.
    fn acknowledged_late(&mut self, id: CheckpointId) {
        if let Some((_, directory)) = self.aborted.iter().find(|(aborted, _)| *aborted == id) {
            let directory = directory.clone();
            self.discard(id, directory, DiscardReason::Late);
        }
    }

    fn metadata_written(&mut self, id: CheckpointId, result: Result<(), String>) {
        let Some(pending) = self.pending.get(&id) else {
            return;
        };
        match (pending.phase, result) {
            // No answer was asked for.
            (Phase::Collecting, _) => {}
            (Phase::Finalizing, Ok(())) => self.complete(id),
            (Phase::Finalizing, Err(why)) => self.fail(id, FailureReason::Finalize, &why),
            (Phase::Abandoned, _) => {
                // Its failure was told when it was abandoned.
                if let Some(pending) = self.pending.remove(&id) {
                    self.remember_aborted(id, pending.options.directory.clone());
                    self.discard(id, pending.options.directory, DiscardReason::Aborted);
                }
            }
        }
    }

    fn complete(&mut self, id: CheckpointId) {
        let is_savepoint = self
            .pending
            .get(&id)
            .is_some_and(|p| p.options.is_savepoint);
        if !is_savepoint
            && self
                .completed
                .newest_checkpoint()
                .is_some_and(|newest| newest > id)
        {
            self.fail(
                id,
                FailureReason::Subsumed,
                "a newer checkpoint was complete first",
            );
            return;
        }
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        let directory = pending.options.directory.clone();
        self.statistics.completed(id, &directory, self.now_ms);
        self.schedule.ended(self.now_ms);
        self.failures.succeeded(id);
        let snapshot = CompletedSnapshot {
            checkpoint: id,
            directory: directory.clone(),
            is_savepoint,
            state_bytes: pending.state_bytes,
            pending_transactions: pending.pending_transactions,
        };
        if !is_savepoint || pending.is_synchronous() {
            self.give_up_older_checkpoints(id);
            self.notify_complete(id, &pending);
        }
        if is_savepoint {
            self.completed.add_savepoint(snapshot);
        } else {
            for (old, reason) in self.completed.add_checkpoint(snapshot) {
                self.discard(old.checkpoint, old.directory, reason);
            }
        }
        self.completed_for_its_origin(id, &pending, directory);
    }

    /// Checkpoints in progress that are older than a complete one are of no use any more.
    fn give_up_older_checkpoints(&mut self, id: CheckpointId) {
        let older = self.pending.range(..id).filter(|(_, pending)| {
            pending.phase == Phase::Collecting && !pending.options.is_savepoint
        });
        let older: Vec<CheckpointId> = older.map(|(older, _)| *older).collect();
        for older in older {
            self.give_up(
                older,
                FailureReason::Subsumed,
                &format!("checkpoint {id} is complete"),
            );
        }
    }

    fn notify_complete(&mut self, id: CheckpointId, pending: &PendingCheckpoint) {
        if !self.is_current(pending.attempt) {
            return;
        }
        self.send(|attempt| ToWorker::NotifyComplete {
            attempt,
            checkpoint: id,
        });
        if pending.pending_transactions {
            self.newest_committed = self.newest_committed.max(Some(id));
        }
    }

    fn completed_for_its_origin(
        &mut self,
        id: CheckpointId,
        pending: &PendingCheckpoint,
        path: String,
    ) {
        let goes_on = self.is_current(pending.attempt);
        match pending.origin {
            Origin::Periodic => {}
            Origin::EndOfInput => self.ending = true,
            Origin::Manual(trigger) | Origin::Savepoint(trigger, AfterSavepoint::Continue) => {
                self.finish(trigger, Ok((id, path)));
            }
            Origin::Savepoint(trigger, AfterSavepoint::Cancel) => {
                self.finish(trigger, Ok((id, path)));
                if !self.ended && !self.ending {
                    self.ending = true;
                    self.actions.push(Action::CancelJob);
                }
            }
            Origin::Savepoint(trigger, AfterSavepoint::Stop | AfterSavepoint::Drain) => {
                if goes_on {
                    self.ending = true;
                    self.stopping = Some((trigger, id, path));
                } else {
                    let failure = self.failed_while_stopping(&path);
                    self.finish(trigger, Err(failure));
                }
            }
        }
        if self.ending {
            self.drop_requests(FailureReason::Suspended, "the job ends");
        }
    }

    // Failing.

    fn expire(&mut self) {
        let now_ms = self.now_ms;
        let late = self.pending.iter().filter(|(_, pending)| {
            pending.phase == Phase::Collecting && pending.deadline_ms <= now_ms
        });
        let late: Vec<CheckpointId> = late.map(|(id, _)| *id).collect();
        for id in late {
            self.give_up(id, FailureReason::Expired, "");
        }
        // An epoch cannot be taken back, so without this answer no checkpoint can ever follow.
        let silent = self
            .announcement
            .as_ref()
            .filter(|a| self.alive && a.deadline_ms <= now_ms);
        if let Some(announcement) = silent {
            let missing: Vec<String> = announcement.missing().map(|p| p.to_string()).collect();
            let reason = format!(
                "process {} did not confirm the end of epoch {} in time",
                missing.join(", "),
                announcement.epoch
            );
            self.fail_attempt(reason);
        }
    }

    /// Fails a checkpoint whose parts are not all in; any other is left alone.
    fn give_up(&mut self, id: CheckpointId, reason: FailureReason, why: &str) {
        if self
            .pending
            .get(&id)
            .is_some_and(|pending| pending.phase == Phase::Collecting)
        {
            self.fail(id, reason, why);
        }
    }

    /// Fails a checkpoint in progress, with all that follows from it.
    fn fail(&mut self, id: CheckpointId, reason: FailureReason, why: &str) {
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        let message = self.tell_failure(id, &pending, reason, why);
        self.remember_aborted(id, pending.options.directory.clone());
        if self.is_current(pending.attempt) {
            self.send(|attempt| ToWorker::NotifyAborted {
                attempt,
                checkpoint: id,
            });
        }
        self.discard(
            id,
            pending.options.directory.clone(),
            DiscardReason::Aborted,
        );
        self.schedule.ended(self.now_ms);
        self.failed_for_its_origin(id, &pending, reason, &message);
    }

    /// The job goes on without the checkpoints whose metadata is being written.
    fn abandon_finalizing(&mut self, reason: FailureReason, why: &str) {
        for id in self.ids_in(Phase::Finalizing) {
            if let Some(mut pending) = self.pending.remove(&id) {
                self.tell_failure(id, &pending, reason, why);
                pending.phase = Phase::Abandoned;
                self.pending.insert(id, pending);
                self.schedule.ended(self.now_ms);
            }
        }
    }

    /// Tells statistics and user that a checkpoint has failed.
    fn tell_failure(
        &mut self,
        id: CheckpointId,
        pending: &PendingCheckpoint,
        reason: FailureReason,
        why: &str,
    ) -> String {
        let message = if why.is_empty() {
            reason.to_string()
        } else {
            format!("{reason} Cause: {why}")
        };
        self.statistics.failed(id, &message, self.now_ms);
        if let Some(trigger) = pending.origin.trigger() {
            self.finish(trigger, Err(failure(message.clone())));
        }
        message
    }

    fn failed_for_its_origin(
        &mut self,
        id: CheckpointId,
        pending: &PendingCheckpoint,
        reason: FailureReason,
        message: &str,
    ) {
        let counts = match pending.origin {
            // Sources may have stopped already: only a new attempt starts them again.
            Origin::Savepoint(_, AfterSavepoint::Stop | AfterSavepoint::Drain) => {
                let job = self.config.job;
                self.fail_attempt(format!(
                    "Could not stop with a savepoint job \"{job}\". {message}"
                ));
                false
            }
            Origin::Savepoint(_, AfterSavepoint::Continue | AfterSavepoint::Cancel) => {
                reason.is_of_task()
            }
            Origin::EndOfInput => {
                let pause = self
                    .config
                    .interval_ms
                    .unwrap_or(FINAL_RETRY_MS)
                    .min(FINAL_RETRY_MS);
                let not_before_ms = self.now_ms.saturating_add(pause.max(1));
                self.last_checkpoint = LastCheckpoint::Due { not_before_ms };
                true
            }
            Origin::Periodic | Origin::Manual(_) => true,
        };
        if counts && self.failures.failed(id, reason) {
            self.fail_attempt(format!(
                "Exceeded checkpoint tolerable failure threshold. The latest checkpoint failed due \
                 to {message}"
            ));
        }
    }

    fn drop_requests(&mut self, reason: FailureReason, why: &str) {
        let savepoints = std::mem::take(&mut self.savepoint_requests);
        let checkpoints = std::mem::take(&mut self.checkpoint_requests);
        let triggers = savepoints
            .into_iter()
            .map(|request| request.trigger)
            .chain(checkpoints);
        for trigger in triggers {
            self.refuse(trigger, failure(format!("{reason} Cause: {why}")));
        }
    }

    fn job_ended(&mut self, status: JobStatus) {
        self.alive = false;
        self.announcement = None;
        self.schedule.stop();
        if status == JobStatus::Finished
            && let Some((trigger, id, path)) = self.stopping.take()
        {
            self.finish(trigger, Ok((id, path)));
        }
        let why = format!("the job has ended as {status}");
        self.give_up_everything(FailureReason::Shutdown, &why);
        self.abandon_finalizing(FailureReason::Shutdown, &why);
        self.ended = true;
        for (old, reason) in self.completed.end(status) {
            self.discard(old.checkpoint, old.directory, reason);
        }
    }

    // Small steps.

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

    fn discard(&mut self, checkpoint: CheckpointId, directory: String, reason: DiscardReason) {
        self.statistics.discarded(checkpoint);
        self.actions.push(Action::Discard {
            checkpoint,
            directory,
            reason,
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

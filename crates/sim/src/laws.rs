//! What must hold whatever happens, and what has to be remembered to tell.
//!
//! The laws are told of everything that reaches and leaves a coordinator, and keep books of their own.

mod checkpoint;
mod claim;
mod elastic;
mod end;
mod restart;
mod restore;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use millpond_checkpoint::{Action, StartedFrom};
use millpond_job::dispatcher::AfterSavepoint;
use millpond_job::gateway::{Attempt, Epoch, FromWorker, SnapshotOptions};
use millpond_snapshot::StreamHandle;
use millpond_types::config::ClaimMode;
use millpond_types::{CheckpointId, TriggerId};

use crate::world::World;

/// The books about one master.
#[derive(Debug, Default)]
pub(crate) struct MasterLaws {
    newest_id: CheckpointId,
    options: BTreeMap<CheckpointId, SnapshotOptions>,
    attempt_of: BTreeMap<CheckpointId, Attempt>,
    /// Which subtasks have really acknowledged.
    parts: BTreeMap<CheckpointId, BTreeSet<(u32, u32)>>,
    finalized: BTreeSet<CheckpointId>,
    durable: BTreeSet<CheckpointId>,
    complete: BTreeSet<CheckpointId>,
    notified: BTreeSet<CheckpointId>,
    aborted: BTreeSet<CheckpointId>,
    in_progress: BTreeSet<CheckpointId>,
    /// The newest one whose transactions workers were told to commit.
    committed: Option<CheckpointId>,
    with_transactions: BTreeSet<CheckpointId>,
    started_from: Option<StartedFrom>,
    has_fallen_back: bool,
    next_epoch: Epoch,
    unconfirmed: Option<(Epoch, BTreeSet<u32>)>,
    /// The snapshot behind which nothing may begin.
    synchronous: Option<CheckpointId>,
    is_over: bool,
    last_end_ms: Option<u64>,
    /// Since when all processes of the attempt run.
    running_since_ms: u64,
    failures_ms: Vec<u64>,
    /// What users have started, and whether it has ended.
    triggers: BTreeMap<TriggerId, bool>,
    manual: BTreeSet<TriggerId>,
    endings: BTreeSet<TriggerId>,
    /// Files of which the coordinator has heard.
    known_files: BTreeSet<String>,
}

impl MasterLaws {
    /// The newest snapshot whose transactions workers were told to commit.
    pub(crate) fn told_to_commit(&self) -> Option<CheckpointId> {
        self.committed
    }

    pub(crate) fn new(taken: CheckpointId) -> Self {
        MasterLaws {
            newest_id: taken,
            is_over: true,
            ..MasterLaws::default()
        }
    }

    pub(crate) fn is_given_up(&self, checkpoint: CheckpointId) -> bool {
        self.aborted.contains(&checkpoint)
    }

    /// All processes of the attempt run.
    pub(crate) fn runs(&mut self, now_ms: u64) {
        self.running_since_ms = now_ms;
    }

    /// When a snapshot was triggered.
    pub(crate) fn triggered_at_ms(&self, id: CheckpointId) -> u64 {
        self.options
            .get(&id)
            .map_or(0, |options| options.triggered_at_ms)
    }

    /// Whether a checkpoint has become complete that is no savepoint.
    pub(crate) fn has_completed_checkpoints(&self) -> bool {
        self.complete
            .iter()
            .any(|id| !self.options[id].is_savepoint)
    }

    /// Whether a savepoint has become complete.
    pub(crate) fn has_completed_savepoints(&self) -> bool {
        self.complete.iter().any(|id| self.options[id].is_savepoint)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(crate) fn attempt_is_over(&mut self) {
        self.is_over = true;
    }

    pub(crate) fn start_from(&mut self, from: &StartedFrom) {
        self.newest_id = self.newest_id.max(from.checkpoint);
        if from.pending_transactions {
            // Restoring commits them.
            self.committed = Some(from.checkpoint);
        }
        if from.mode == ClaimMode::Claim {
            let of_others = &from.files_of_others;
            let own = from.files.iter().filter(|file| !of_others.contains(file));
            self.known_files.extend(own.cloned());
        }
        self.started_from = Some(from.clone());
    }

    /// A user has started an operation that may end the job.
    pub(crate) fn wanted(&mut self, trigger: TriggerId, then: AfterSavepoint) {
        self.triggers.insert(trigger, false);
        if then != AfterSavepoint::Continue {
            self.endings.insert(trigger);
        }
    }

    /// A user wants a checkpoint.
    pub(crate) fn wanted_checkpoint(&mut self, trigger: TriggerId) {
        self.triggers.insert(trigger, false);
        self.manual.insert(trigger);
    }

    fn ended(&mut self, id: CheckpointId, attempt: Attempt, now_ms: u64) {
        self.in_progress.remove(&id);
        // One that was abandoned had ended, as a failure, when its attempt did.
        if self.attempt_of.get(&id) == Some(&attempt) {
            self.last_end_ms = Some(now_ms);
        }
        if self.synchronous == Some(id) && self.aborted.contains(&id) {
            self.synchronous = None;
        }
    }
}

impl World {
    pub(crate) fn laws_hear(&mut self, m: usize, pid: usize, message: &FromWorker) {
        let process = self.workers[pid].index;
        let master = &mut self.masters[m];
        let (attempt, laws) = (master.lifecycle.attempt(), &mut master.laws);
        match message {
            FromWorker::Announced {
                attempt: of, epoch, ..
            } if *of == attempt => {
                if let Some((unconfirmed, missing)) = &mut laws.unconfirmed
                    && unconfirmed == epoch
                {
                    missing.remove(&process);
                }
            }
            FromWorker::Acknowledge {
                attempt: of,
                checkpoint,
                acknowledgement: part,
            } => {
                if laws.attempt_of.get(checkpoint) == Some(of) {
                    let parts = laws.parts.entry(*checkpoint).or_default();
                    parts.insert((part.vertex.0, part.subtask));
                }
                for operator in &part.operators {
                    operator.state.streams(&mut |stream| {
                        let of_others =
                            laws.started_from.as_ref().map(|from| &from.files_of_others);
                        if let StreamHandle::File { path, .. } = stream
                            && !of_others.is_some_and(|files| files.contains(path))
                        {
                            laws.known_files.insert(path.clone());
                        }
                    });
                    if operator.pending_transactions {
                        laws.with_transactions.insert(*checkpoint);
                    }
                }
            }
            FromWorker::Announced { .. }
            | FromWorker::Running { .. }
            | FromWorker::Decline { .. }
            | FromWorker::SourceEnded { .. }
            | FromWorker::Failed { .. }
            | FromWorker::Ended { .. }
            | FromWorker::Metrics { .. } => {}
        }
    }

    /// Metadata is durable: the checkpoint is complete, unless it is given up at once.
    pub(crate) fn laws_of_written(&mut self, m: usize, id: CheckpointId, actions: &[Action]) {
        let is_given_up = actions.iter().any(|action| match action {
            Action::Discard { checkpoint, .. } => *checkpoint == id,
            _ => false,
        });
        let (now_ms, attempt) = (self.now_ms, self.masters[m].lifecycle.attempt());
        let laws = &mut self.masters[m].laws;
        laws.durable.insert(id);
        if !is_given_up {
            laws.complete.insert(id);
            laws.ended(id, attempt, now_ms);
        }
    }

    pub(crate) fn laws_begin_attempt(&mut self, m: usize) {
        let laws = &mut self.masters[m].laws;
        laws.is_over = false;
        laws.next_epoch = 0;
        laws.unconfirmed = None;
        laws.synchronous = None;
        laws.in_progress.clear();
    }

    pub(crate) fn laws_fail_attempt(&mut self, m: usize) {
        let now_ms = self.now_ms;
        let laws = &mut self.masters[m].laws;
        laws.is_over = true;
        laws.failures_ms.push(now_ms);
    }

    pub(crate) fn laws_of_action(&mut self, m: usize, action: &Action) {
        match action {
            Action::Send(message) => self.check_send(m, message),
            Action::Complete(completion) => self.check_complete(m, completion),
            Action::Discard {
                checkpoint,
                directory,
                reason,
                ..
            } => self.check_discard(m, *checkpoint, directory, *reason),
            Action::Finish { trigger, outcome } => self.check_outcome(m, *trigger, outcome),
            Action::FailAttempt { .. } => {
                let is_over = self.masters[m].laws.is_over;
                self.law(!is_over, || format!("an attempt of master {m} fails twice"));
            }
            Action::Release(_)
            | Action::EndClaim { .. }
            | Action::CancelJob
            | Action::EndOfInput => {}
        }
    }

    /// Whether some master of a job has told workers to commit.
    pub(crate) fn has_told_to_commit(&self, lineage: usize) -> bool {
        self.masters
            .iter()
            .filter(|master| master.lineage == lineage)
            .any(|master| master.laws.committed.is_some())
    }
}

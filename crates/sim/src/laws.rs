//! What must hold whatever happens, and what has to be remembered to tell.
//!
//! The laws are told of everything that reaches and leaves a coordinator, and keep books of their own.

use std::collections::{BTreeMap, BTreeSet};

use millpond_checkpoint::{Action, Completion, DiscardReason, Outcome, RestartConfig, StartedFrom};
use millpond_job::JobStatus;
use millpond_job::dispatcher::{AfterSavepoint, CheckpointStatus};
use millpond_job::gateway::{
    Attempt, Epoch, EpochEnd, FromWorker, SnapshotOptions, StopMode, ToWorker,
};
use millpond_snapshot::StreamHandle;
use millpond_types::config::ClaimMode;
use millpond_types::{CheckpointId, KeyGroup, KeyGroupRange, TriggerId};

use crate::job::Key;
use crate::state::Content;
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
                        if let StreamHandle::File { path, .. } = stream {
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

    /// How many failures the restart strategy counts now, and how many of them it lets pass.
    fn failures(&self, m: usize) -> (usize, usize, u64) {
        let failures = &self.masters[m].laws.failures_ms;
        let newest = failures.last().copied().unwrap_or(0);
        match &self.setting.restart {
            RestartConfig::None => (failures.len(), 0, 0),
            RestartConfig::FixedDelay { attempts, delay_ms } => {
                (failures.len(), *attempts as usize, *delay_ms)
            }
            RestartConfig::FailureRate {
                max_failures_per_interval,
                interval_ms,
                delay_ms,
            } => {
                let recent = failures.iter().filter(|at| newest - **at <= *interval_ms);
                (
                    recent.count(),
                    *max_failures_per_interval as usize,
                    *delay_ms,
                )
            }
            RestartConfig::ExponentialDelay {
                initial_backoff_ms,
                jitter_factor,
                reset_backoff_threshold_ms,
                attempts_before_reset_backoff,
                ..
            } => {
                let quiet = |pair: &&[u64]| pair[1] - pair[0] < *reset_backoff_threshold_ms;
                let in_a_row = failures.windows(2).rev().take_while(quiet).count();
                let least = (*initial_backoff_ms as f64 * (1.0 - jitter_factor)) as u64;
                let limit = attempts_before_reset_backoff.map_or(usize::MAX, |n| n as usize);
                let count = (in_a_row + 1).min(failures.len());
                (count, limit, least.saturating_sub(1))
            }
        }
    }

    /// Each key group has one owner, and both ways of asking for it agree.
    pub(crate) fn check_key_groups(&mut self, m: usize) {
        for vertex in 0..self.masters[m].graph.vertices.len() {
            let vertex = &self.masters[m].graph.vertices[vertex];
            let (parallelism, max) = (vertex.parallelism, vertex.max_parallelism);
            let ranges = (0..parallelism).map(|subtask| {
                (
                    subtask,
                    KeyGroupRange::of_subtask(subtask, parallelism, max),
                )
            });
            let owned = ranges.flat_map(|(subtask, range)| range.iter().map(move |g| (g, subtask)));
            let expected = (0..max as u16).map(KeyGroup);
            let expected = expected.map(|group| (group, group.subtask(parallelism, max)));
            let holds = owned.eq(expected);
            self.law(holds, || {
                format!("{max} key groups are no partition over {parallelism} subtasks")
            });
        }
    }

    /// An attempt begins behind failures: as late and as rarely as the restart strategy says.
    pub(crate) fn check_begin(&mut self, m: usize) {
        let Some(newest) = self.masters[m].laws.failures_ms.last().copied() else {
            return;
        };
        let (counted, limit, delay_ms) = self.failures(m);
        let now_ms = self.now_ms;
        self.law(counted <= limit, || {
            format!("master {m} restarts behind {counted} failures, and may behind {limit}")
        });
        self.law(now_ms >= newest + delay_ms, || {
            format!("master {m} restarts before a delay of {delay_ms} ms from {newest}")
        });
    }

    /// A job has failed for good: the strategy allows no more.
    pub(crate) fn check_final_failure(&mut self, m: usize) {
        let all = self.masters[m].laws.failures_ms.len();
        let (_, limit, _) = self.failures(m);
        self.law(all > limit, || {
            format!("master {m} gives up behind {all} failures, and may restart behind {limit}")
        });
    }

    pub(crate) fn check_recovery(
        &mut self,
        m: usize,
        restored: Option<CheckpointId>,
        skipped: &[(CheckpointId, String)],
    ) {
        let master = &mut self.masters[m];
        master.laws.has_fallen_back |= !skipped.is_empty();
        let laws = &master.laws;
        let committed = laws.committed;
        let newest = laws.complete.iter().rev().find(|id| {
            let stored = self.disk.snapshot(&laws.options[id].directory);
            !laws.aborted.contains(id) && stored.is_some_and(|snapshot| !snapshot.damaged)
        });
        let newest = newest.copied().filter(|_| !laws.has_fallen_back);
        self.law(restored >= committed, || {
            format!("{restored:?} is restored, behind the commit of {committed:?}")
        });
        self.law(restored >= newest, || {
            format!("{restored:?} is restored, and {newest:?} is newer, complete and intact")
        });
        let laws = &mut self.masters[m].laws;
        if let Some(id) = restored
            && laws.with_transactions.contains(&id)
        {
            laws.committed = laws.committed.max(Some(id));
        }
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

    fn check_send(&mut self, m: usize, message: &ToWorker) {
        let current = self.masters[m].lifecycle.attempt();
        let processes = self.setting.processes;
        let laws = &mut self.masters[m].laws;
        match message {
            ToWorker::Announce {
                attempt,
                epoch,
                end,
            } => {
                let next = laws.next_epoch;
                let is_alone = laws.unconfirmed.is_none() && laws.synchronous.is_none();
                laws.unconfirmed = Some((*epoch, (0..processes).collect()));
                self.law(*attempt == current && *epoch == next && is_alone, || {
                    format!("{message:?} is announced in attempt {current}, epoch {next}")
                });
                match end {
                    EpochEnd::Snapshot(options) => self.check_trigger(m, options),
                    EpochEnd::Nothing => self.see("an epoch without snapshot"),
                }
            }
            ToWorker::Advance { epoch, .. } => {
                let confirmed = laws.unconfirmed.take();
                laws.next_epoch += 1;
                let holds =
                    matches!(&confirmed, Some((of, missing)) if of == epoch && missing.is_empty());
                self.law(holds, || {
                    format!("epoch {epoch} ends, and is announced as {confirmed:?}")
                });
            }
            ToWorker::NotifyComplete { checkpoint, .. } => {
                let id = *checkpoint;
                let is_new = laws.notified.insert(id);
                let is_durable = laws.durable.contains(&id) && !laws.aborted.contains(&id);
                if laws.with_transactions.contains(&id) {
                    laws.committed = laws.committed.max(Some(id));
                }
                let stop = laws.options.get(&id).and_then(|options| options.stop);
                self.law(is_new && is_durable, || {
                    format!("checkpoint {id} is told to be complete, twice or before it is")
                });
                match stop {
                    Some(StopMode::Suspend | StopMode::Drain) => {
                        self.masters[m].has_stopped = true;
                        self.see("a stop");
                    }
                    Some(StopMode::EndOfInput) => self.see("the end of the input"),
                    None => self.see("a complete checkpoint"),
                }
            }
            ToWorker::NotifyAborted { checkpoint, .. } => {
                let was_complete = laws.notified.contains(checkpoint);
                self.law(!was_complete, || {
                    format!("checkpoint {checkpoint} is aborted, and was complete")
                });
            }
            ToWorker::EndOfInput { .. } | ToWorker::Cancel { .. } => {}
        }
    }

    fn check_trigger(&mut self, m: usize, options: &SnapshotOptions) {
        let (now_ms, config) = (self.now_ms, &self.setting.config);
        let (min_pause_ms, periodic) = (config.min_pause_ms, config.interval_ms.is_some());
        let most = match min_pause_ms {
            0 => config.max_concurrent as usize,
            _ => 1,
        };
        let attempt = self.masters[m].lifecycle.attempt();
        let laws = &mut self.masters[m].laws;
        let id = options.id;
        let newest = std::mem::replace(&mut laws.newest_id, id);
        laws.options.insert(id, options.clone());
        laws.attempt_of.insert(id, attempt);
        laws.synchronous = options.stop.map(|_| id);
        laws.in_progress.insert(id);
        let checkpoints = laws.in_progress.iter();
        let checkpoints = checkpoints.filter(|id| !laws.options[id].is_savepoint);
        let checkpoints = checkpoints.count();
        let base_is_complete = options.base.is_none_or(|base| {
            let from = laws.started_from.as_ref();
            let is_start =
                from.is_some_and(|from| from.checkpoint == base && from.mode != ClaimMode::NoClaim);
            is_start || laws.complete.contains(&base) && !laws.options[&base].is_savepoint
        });
        let pause_over = laws.last_end_ms.map_or(0, |end| end + min_pause_ms);
        let is_periodic = !options.is_savepoint && options.stop.is_none() && laws.manual.is_empty();
        let is_ending = !laws.endings.is_empty();
        self.law(id > newest, || {
            format!("checkpoint {id} begins behind {newest}")
        });
        self.law(checkpoints <= most, || {
            format!("{checkpoints} checkpoints are in progress, and {most} may be")
        });
        self.law(base_is_complete, || {
            format!("checkpoint {id} may refer to files of {:?}", options.base)
        });
        if is_periodic {
            self.law(periodic && !is_ending && now_ms >= pause_over, || {
                format!("checkpoint {id} begins, and may not before {pause_over}")
            });
        }
        if options.base.is_some() {
            self.see("a checkpoint on top of another");
        }
    }

    fn check_complete(&mut self, m: usize, completion: &Completion) {
        let id = completion.options.id;
        let subtasks = self.masters[m].graph.subtasks() as usize;
        let laws = &mut self.masters[m].laws;
        let is_new = laws.finalized.insert(id) && !laws.aborted.contains(&id);
        let real = laws.parts.get(&id).map_or(0, BTreeSet::len);
        let counted = completion.acknowledgements.len();
        self.law(is_new, || {
            format!("checkpoint {id} is complete twice, or given up")
        });
        self.law(real == subtasks && counted == subtasks, || {
            format!("checkpoint {id} is complete with {real} of {subtasks} acknowledgements")
        });
    }

    fn check_discard(
        &mut self,
        m: usize,
        id: CheckpointId,
        directory: &str,
        reason: DiscardReason,
    ) {
        let (now_ms, attempt) = (self.now_ms, self.masters[m].lifecycle.attempt());
        let candidates = self.masters[m].coordinator.recovery_candidates();
        let is_needed = candidates.iter().any(|c| c.directory == directory);
        let has_newer = candidates.iter().any(|other| other.checkpoint > id);
        self.law(!is_needed, || {
            format!("checkpoint {id} is discarded ({reason:?}), and may be needed")
        });
        let laws = &mut self.masters[m].laws;
        let is_ours = laws
            .started_from
            .as_ref()
            .is_none_or(|from| from.mode == ClaimMode::Claim || from.directory != directory);
        let is_savepoint = laws
            .options
            .get(&id)
            .is_some_and(|options| options.is_savepoint);
        match reason {
            DiscardReason::Aborted => {
                let is_new = laws.aborted.insert(id) && !laws.complete.contains(&id);
                laws.ended(id, attempt, now_ms);
                self.law(is_new, || {
                    format!("checkpoint {id} is given up twice, or complete")
                });
            }
            DiscardReason::Late => {
                let was = laws.aborted.contains(&id);
                self.law(was, || format!("checkpoint {id} was never given up"));
                self.see("a late part");
            }
            DiscardReason::Subsumed | DiscardReason::Damaged | DiscardReason::JobEnded => {
                let may = has_newer || reason == DiscardReason::JobEnded;
                self.law(may && is_ours && !is_savepoint, || {
                    format!("checkpoint {id} is discarded ({reason:?}), and may not be")
                });
                self.see("a checkpoint that is superfluous");
            }
        }
    }

    fn check_outcome(&mut self, m: usize, trigger: TriggerId, outcome: &Outcome) {
        let laws = &mut self.masters[m].laws;
        let before = laws.triggers.insert(trigger, true);
        laws.manual.remove(&trigger);
        laws.endings.remove(&trigger);
        self.law(before == Some(false), || {
            format!("an operation ends that was {before:?}: {outcome:?}")
        });
        match outcome {
            Outcome::Savepoint(Ok(path)) => {
                let is_there = self.disk.snapshot(path).is_some();
                self.law(is_there, || {
                    format!("savepoint \"{path}\" is told, and not there")
                });
                self.see("a savepoint");
            }
            Outcome::Checkpoint(Ok(id)) => {
                let is_durable = self.masters[m].laws.durable.contains(id);
                self.law(is_durable, || {
                    format!("checkpoint {id} is told, and not there")
                });
                self.see("a checkpoint by hand");
            }
            Outcome::Savepoint(Err(_)) | Outcome::Checkpoint(Err(_)) => {}
        }
    }

    /// What a coordinator believes, behind an event that changes it most.
    pub(crate) fn check_store(&mut self, m: usize) {
        let most = self.setting.config.num_retained as usize;
        let master = &self.masters[m];
        let laws = &master.laws;
        let candidates = master.coordinator.recovery_candidates();
        let is_start = |id| {
            laws.started_from
                .as_ref()
                .is_some_and(|f| f.checkpoint == id)
        };
        let holds = candidates.iter().all(|candidate| {
            let is_known = laws.complete.contains(&candidate.checkpoint);
            (is_known || is_start(candidate.checkpoint))
                && self.disk.snapshot(&candidate.directory).is_some()
        });
        let kept = candidates.iter().filter(|candidate| {
            let options = laws.options.get(&candidate.checkpoint);
            options.is_some_and(|options| !options.is_savepoint)
        });
        let kept = kept.count();
        let newest = master.coordinator.recovery_policy().newest_committed;
        let committed = laws.committed;
        self.law(holds, || {
            format!("a recovery point of master {m} is not complete, or not there: {candidates:?}")
        });
        self.law(kept <= most, || {
            format!("{kept} checkpoints are kept, and {most} may be")
        });
        self.law(newest == committed, || {
            format!("{newest:?} is the newest commit known, and {committed:?} was told")
        });
        let statistics = self.masters[m].coordinator.statistics();
        let sum = statistics.in_progress + statistics.completed + statistics.failed;
        let total = statistics.total;
        let in_history = statistics.history.iter();
        let in_history = in_history.filter(|r| r.status == CheckpointStatus::InProgress);
        let holds = total == sum && in_history.count() as u64 == statistics.in_progress;
        self.law(holds, || "the statistics do not add up".to_owned());
    }

    /// A snapshot is what a sequential run would have at its positions.
    pub(crate) fn check_content(&mut self, id: CheckpointId, content: &Content) {
        let splits = content.positions.len();
        let all = self.job.splits.len();
        self.law(splits == all, || {
            format!("snapshot {id} has positions of {splits} splits, and there are {all}")
        });
        let expected = self.job.counts_before(&content.positions);
        let mut counts: BTreeMap<Key, u32> = BTreeMap::new();
        for file in &content.files {
            let found = self.disk.read(file).map(|file| file.counts.clone());
            let is_there = found.is_some();
            counts.extend(found.into_iter().flatten());
            self.law(is_there, || format!("\"{file}\" of snapshot {id} is gone"));
        }
        self.law(counts == expected, || {
            format!("snapshot {id} has the counts {counts:?}, and its positions say {expected:?}")
        });
        let mut prepared = BTreeSet::new();
        for transaction in &content.transactions {
            prepared.extend(self.output.rows_of(*transaction).iter().copied());
        }
        let stray = prepared
            .iter()
            .find(|(key, number)| expected.get(key).is_none_or(|count| number > count))
            .copied();
        self.law(stray.is_none(), || {
            format!("snapshot {id} holds {stray:?} to be committed, which is behind it")
        });
        for (key, count) in expected {
            let lost = (1..=count).find(|number| {
                !prepared.contains(&(key, *number)) && !self.output.is_committed((key, *number))
            });
            self.law(lost.is_none(), || {
                format!(
                    "record {lost:?} of key {key} is before snapshot {id}, and in no transaction"
                )
            });
        }
    }

    /// A master has ended by itself: what it leaves is what is to be left.
    pub(crate) fn check_end_of_master(&mut self, m: usize, status: JobStatus) {
        let keeps = self.setting.config.retention.keeps(status);
        let master = &self.masters[m];
        let laws = &master.laws;
        let open = laws.triggers.iter().find(|(_, ended)| !**ended);
        let open = open.map(|(trigger, _)| *trigger);
        let in_progress = master.coordinator.statistics().in_progress;
        let mut left = None;
        for (id, options) in &laws.options {
            let is_there = self.disk.snapshot(&options.directory).is_some();
            let may_be = laws.complete.contains(id) && (options.is_savepoint || keeps);
            if is_there && !may_be {
                left = Some(format!("snapshot \"{}\"", options.directory));
            }
        }
        let needed: BTreeSet<&String> = self
            .disk
            .snapshots()
            .flat_map(|(_, snapshot)| &snapshot.files)
            .collect();
        let file = laws.known_files.iter().find(|file| {
            self.disk.read(file).is_some()
                && !needed.contains(file)
                && !self.garbage.contains(*file)
        });
        let left = left.or(file.map(|file| format!("\"{file}\"")));
        self.law(open.is_none(), || {
            format!("operation {open:?} has no outcome")
        });
        self.law(in_progress == 0, || {
            format!("{in_progress} checkpoints are in progress")
        });
        self.law(left.is_none(), || {
            format!("master {m} ends as {status} and leaves {left:?}, which nobody needs")
        });
    }

    /// Whether some master has told workers to commit.
    pub(crate) fn has_told_to_commit(&self) -> bool {
        self.masters
            .iter()
            .any(|master| master.laws.committed.is_some())
    }

    /// The history is over: what was committed is the beginning of what had to be. A job that was ended
    /// together with its last snapshot may take some of its transactions with it.
    pub(crate) fn check_the_end(&mut self) {
        if self.is_given_up {
            return;
        }
        let outcome = self.output.counts().map(|_| ());
        self.law_of(outcome);
    }
}

//! The job master: what `cluster::master` does around the product's coordinator, restart strategy,
//! choice of a recovery and restore plan.
//!
//! Those decide here as they do there, and so does the life of a job with its attempts. What carries their
//! decisions out is a model: the thread that writes metadata, the thread that deletes, and the processes.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use millpond_checkpoint::{
    Action, Cancellation, Completion, Coordinator, DiscardReason, Due, Event, JobFacts, Lifecycle,
    Outcome, RecoveryChoice, Released, Restart, RestartStrategy, RestorePlan, RestoreRequest,
    SavepointSchedule, Scope, StartedFrom, Verification, assemble, choose_recovery,
};
use millpond_job::dispatcher::{AfterSavepoint, SavepointFormat};
use millpond_job::gateway::{Attempt, FromWorker, ToWorker};
use millpond_job::{JobGraph, JobStatus};
use millpond_snapshot::Metadata;
use millpond_types::config::ClaimMode;
use millpond_types::{CheckpointId, TriggerId};

use crate::bug::Bug;
use crate::disk::StoredSnapshot;
use crate::laws::MasterLaws;
use crate::state;
use crate::worker::{Deployment, Life, Worker};
use crate::world::{What, World};

/// Something to be deleted.
pub(crate) struct Deletion {
    snapshot: Option<(String, Scope)>,
    released: Released,
}

/// A job master and its threads.
pub(crate) struct Master {
    pub(crate) life: Life,
    pub(crate) directory: String,
    pub(crate) graph: JobGraph,
    pub(crate) coordinator: Coordinator,
    pub(crate) lifecycle: Lifecycle,
    /// How the job has ended.
    pub(crate) status: Option<JobStatus>,
    pub(crate) laws: MasterLaws,
    /// The snapshot that it starts from, until it was used.
    start: Option<(String, ClaimMode)>,
    children: Vec<Option<usize>>,
    /// A planted bug: when an attempt begins that may not.
    restarts_at_ms: Option<u64>,
    schedule: Option<SavepointSchedule>,
    scheduled: Option<TriggerId>,
    /// Metadata to be written.
    writing: VecDeque<(CheckpointId, String, bool, Metadata)>,
    cleaning: VecDeque<Deletion>,
    timer_ms: Option<u64>,
    /// Behind its stop savepoint.
    pub(crate) has_stopped: bool,
}

impl Master {
    /// Whether the checkpoint was given up, or its attempt is over.
    pub(crate) fn has_given_up(&self, attempt: Attempt, checkpoint: CheckpointId) -> bool {
        self.life == Life::Dead
            || attempt != self.lifecycle.attempt()
            || self.laws.is_given_up(checkpoint)
            || !self.lifecycle.is_under_way()
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = usize> + '_ {
        self.children.iter().flatten().copied()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.life != Life::Dead && !self.lifecycle.is_ended()
    }
}

impl World {
    /// Starts a master, and with it a life of the job.
    pub(crate) fn start_master(&mut self, start: Option<(String, ClaimMode)>) {
        let number = self.masters.len();
        // The same job again, or another one of the same program.
        let directory = match self.masters.last() {
            Some(before) if !self.setting.shares_exclusive && self.random.percent(40) => {
                before.directory.clone()
            }
            _ => format!("file:/c{number}"),
        };
        let taken = self.prepare_directory(&directory);
        let parallelism = self.job.some_parallelism(&mut self.random);
        let graph = self.job.graph(parallelism);
        let mut config = self.setting.config.clone();
        config.checkpoint_directory.clone_from(&directory);
        match self.bug {
            Some(Bug::NoPause) => config.min_pause_ms = 0,
            Some(Bug::TooManyCheckpoints) => config.max_concurrent += 1,
            Some(_) | None => {}
        }
        self.note(|| {
            format!("master {number} starts at {directory} from {start:?} with {parallelism:?}")
        });
        let coordinator = Coordinator::new(config, &graph, taken + 1);
        let seed = self.random.below(u64::MAX);
        let restart = RestartStrategy::new(self.setting.restart.clone(), seed);
        let processes = self.setting.processes;
        let schedule = self.setting.schedule;
        self.masters.push(Master {
            life: Life::Runs,
            directory,
            graph,
            coordinator,
            lifecycle: Lifecycle::new(restart, self.now_ms),
            status: None,
            laws: MasterLaws::new(taken),
            start,
            children: vec![None; processes as usize],
            restarts_at_ms: None,
            schedule: schedule.map(|config| SavepointSchedule::new(config, self.now_ms)),
            scheduled: None,
            writing: VecDeque::new(),
            cleaning: VecDeque::new(),
            timer_ms: None,
            has_stopped: false,
        });
        self.master_goes_on(number);
    }

    /// Removes unfinished checkpoints of an earlier master of the same job; returns the highest number
    /// that is taken.
    fn prepare_directory(&mut self, directory: &str) -> CheckpointId {
        let prefix = format!("{directory}/chk-");
        let number = |path: &str| -> Option<CheckpointId> {
            path.strip_prefix(&prefix)?.split('/').next()?.parse().ok()
        };
        let with_files: BTreeSet<CheckpointId> =
            self.disk.files().filter_map(|file| number(file)).collect();
        let complete: BTreeSet<CheckpointId> = self
            .disk
            .snapshots()
            .filter_map(|(directory, _)| number(directory))
            .collect();
        for unfinished in with_files.difference(&complete) {
            let outcome = self.disk.delete_directory(&format!("{prefix}{unfinished}"));
            self.law_of(outcome);
        }
        complete.last().copied().unwrap_or(0)
    }

    fn master_takes(&mut self, m: usize, what: impl FnOnce() -> What) -> bool {
        match self.masters[m].life.at(self.now_ms) {
            Life::Runs => !self.masters[m].lifecycle.is_ended(),
            Life::Dead => false,
            Life::Paused(until) => {
                self.put_off(until, what());
                false
            }
        }
    }

    /// Behind every event: what is due, and when to look again.
    pub(crate) fn master_goes_on(&mut self, m: usize) {
        self.tell(m, Event::Timer);
        self.take_scheduled(m);
        self.proceed(m);
        self.arm_timer(m);
    }

    fn arm_timer(&mut self, m: usize) {
        let master = &self.masters[m];
        if master.lifecycle.is_ended() {
            return;
        }
        let own = master.lifecycle.next_ms(self.now_ms);
        let may = self.may_take_scheduled(m);
        let schedule = master.schedule.as_ref().filter(|_| may);
        let deadline = master.coordinator.next_deadline();
        let next = own
            .into_iter()
            .chain(schedule.map(SavepointSchedule::next_ms))
            .chain(deadline)
            .min();
        let now_ms = self.now_ms;
        self.law(deadline.is_none_or(|at| at > now_ms), || {
            format!("the coordinator has a deadline that has passed: {deadline:?}")
        });
        // The real one looks once a second as well.
        let at_ms = next.unwrap_or(now_ms + 1000).min(now_ms + 1000);
        let late = match self.random.below(20) {
            0 => self.random.below(20),
            _ => 0,
        };
        let at_ms = at_ms.max(now_ms + 1) + late;
        if self.masters[m]
            .timer_ms
            .is_none_or(|timer| timer > at_ms || timer <= now_ms)
        {
            self.masters[m].timer_ms = Some(at_ms);
            self.later(at_ms - now_ms, What::Timer { master: m });
        }
    }

    pub(crate) fn master_timer(&mut self, m: usize) {
        if self.masters[m].timer_ms != Some(self.now_ms) {
            // It was set to another time meanwhile.
            return;
        }
        if let Life::Paused(until) = self.masters[m].life.at(self.now_ms) {
            self.masters[m].timer_ms = Some(until);
        }
        if self.master_takes(m, || What::Timer { master: m }) {
            self.master_goes_on(m);
        }
    }

    pub(crate) fn master_hears(&mut self, m: usize, pid: usize, message: FromWorker) {
        if !self.master_takes(m, || What::ToMaster {
            master: m,
            pid,
            message: message.clone(),
        }) {
            return;
        }
        self.note(|| format!("master {m} hears from process {pid}: {}", brief(&message)));
        let message = match self.bug {
            Some(Bug::StaleAttempt) => with_attempt(message, self.masters[m].lifecycle.attempt()),
            Some(_) | None => message,
        };
        self.laws_hear(m, pid, &message);
        let process = self.workers[pid].index;
        if attempt_of(&message) == self.masters[m].lifecycle.attempt() {
            self.on_worker(m, process, message);
        } else if matches!(
            message,
            FromWorker::Acknowledge { .. } | FromWorker::Decline { .. }
        ) {
            self.see("a late part of an older attempt");
            self.tell(m, Event::Worker(message));
        }
        self.master_goes_on(m);
    }

    fn on_worker(&mut self, m: usize, process: u32, message: FromWorker) {
        let now_ms = self.now_ms;
        match message {
            FromWorker::Failed { kind, .. } => match self.masters[m].lifecycle.is_final(kind) {
                true => self.fail_for_good(m),
                false => self.fail_attempt(m, "a task has failed"),
            },
            FromWorker::Ended { .. } => {
                self.masters[m].lifecycle.process_ended(process, now_ms);
            }
            FromWorker::Running { .. } => {
                self.tell(m, Event::Worker(message));
                self.masters[m].lifecycle.process_runs(process);
            }
            FromWorker::Acknowledge {
                attempt,
                checkpoint,
                acknowledgement,
            } if self.bug == Some(Bug::SkippedAcknowledgement) => {
                // The first part of a checkpoint counts for another subtask too.
                let mut forged = acknowledgement.clone();
                for message in [acknowledgement, {
                    forged.subtask = (forged.subtask + 1)
                        % self.masters[m].graph.vertices[forged.vertex.0 as usize].parallelism;
                    for operator in &mut forged.operators {
                        operator.state = Default::default();
                    }
                    forged
                }] {
                    let message = FromWorker::Acknowledge {
                        attempt,
                        checkpoint,
                        acknowledgement: message,
                    };
                    self.tell(m, Event::Worker(message));
                }
            }
            FromWorker::Metrics { .. } => {}
            FromWorker::Announced { .. }
            | FromWorker::Acknowledge { .. }
            | FromWorker::Decline { .. }
            | FromWorker::SourceEnded { .. } => self.tell(m, Event::Worker(message)),
        }
    }

    pub(crate) fn master_loses(&mut self, m: usize, pid: usize) {
        if !self.master_takes(m, || What::Lost { master: m, pid })
            || self.bug == Some(Bug::DeafMaster)
        {
            return;
        }
        let process = self.workers[pid].index as usize;
        if self.masters[m].children[process] != Some(pid) {
            return;
        }
        self.note(|| format!("master {m} loses process {pid}"));
        self.forget(m, process);
        if self.masters[m].lifecycle.is_under_way() {
            self.see("a lost process");
            self.fail_attempt(m, "a process is lost");
        }
        self.master_goes_on(m);
    }

    /// Kills a child, which may go on for a while if the history has zombies.
    fn forget(&mut self, m: usize, process: usize) {
        let Some(pid) = self.masters[m].children[process].take() else {
            return;
        };
        if self.setting.has_zombies && !self.is_calm && self.random.percent(60) {
            if self.workers[pid].life != Life::Dead {
                self.see("a zombie");
            }
            let last = self.random.pick(&[20, 300, 3000]);
            self.later(last, What::Orphaned { pid });
        } else {
            self.kill_worker(pid);
        }
    }

    fn proceed(&mut self, m: usize) {
        let master = &mut self.masters[m];
        let lost = (0..self.setting.processes).zip(&master.children);
        let lost = lost.filter(|(_, child)| child.is_none());
        let lost: Vec<u32> = lost.map(|(process, _)| process).collect();
        let is_finalizing = match self.bug {
            Some(Bug::HastyEnd) => false,
            Some(_) | None => master.coordinator.is_finalizing(),
        };
        let due = match master.restarts_at_ms {
            Some(at_ms) if at_ms <= self.now_ms => Due::Allocate,
            Some(_) => Due::Nothing,
            None => master.lifecycle.due(self.now_ms, &lost, is_finalizing),
        };
        match due {
            Due::Nothing => {}
            Due::Allocate => self.begin_attempt(m),
            Due::Kill(late) => {
                self.see("a process that did not end in time");
                for process in &late {
                    self.forget(m, *process as usize);
                }
                self.masters[m].lifecycle.killed(&late);
                self.proceed(m);
            }
            Due::End { status, .. } => self.end(m, status),
        }
    }

    fn end(&mut self, m: usize, status: JobStatus) {
        self.note(|| format!("master {m} ends: {status}"));
        self.tell(m, Event::JobEnded { status });
        self.masters[m].lifecycle.end();
        self.masters[m].status = Some(status);
        // It waits for its threads.
        while !self.masters[m].writing.is_empty() {
            self.write_next(m);
        }
        while !self.masters[m].cleaning.is_empty() {
            self.clean_next(m);
        }
        for process in 0..self.masters[m].children.len() {
            self.forget(m, process);
        }
        self.check_end_of_master(m, status);
        self.job_has_ended(m, status);
    }

    fn begin_attempt(&mut self, m: usize) {
        self.masters[m].restarts_at_ms = None;
        self.masters[m].lifecycle.begin(self.setting.processes);
        let now_ms = self.now_ms;
        let (plan, event) = match self.recover(m) {
            Ok(recovered) => recovered,
            Err(reason) => {
                self.note(|| format!("master {m} cannot recover: {reason:?}"));
                if reason.is_some() && self.masters[m].lifecycle.unreachable(now_ms).is_some() {
                    return;
                }
                self.see("a refusal to go back");
                return self.end(m, JobStatus::Failed);
            }
        };
        self.check_begin(m);
        self.deploy(m, plan, event);
    }

    /// Chooses, verifies and plans; an error with a reason may pass.
    fn recover(
        &mut self,
        m: usize,
    ) -> Result<(Option<RestorePlan>, Option<Event>), Option<String>> {
        if let Some((directory, mode)) = self.masters[m].start.clone() {
            return self.start_from(m, &directory, mode);
        }
        let candidates = self.masters[m].coordinator.recovery_candidates();
        let policy = self.masters[m].coordinator.recovery_policy();
        let mut results = Vec::new();
        loop {
            match choose_recovery(&candidates, &results, policy) {
                RecoveryChoice::Empty => {
                    self.check_recovery(m, None, &[]);
                    return Ok((None, None));
                }
                RecoveryChoice::Verify(index) => {
                    let result = self.verify(&candidates[index].directory);
                    results.push(result);
                }
                RecoveryChoice::Restore { mut index, skipped } => {
                    if self.bug == Some(Bug::OldSnapshot) && index + 1 < candidates.len() {
                        index += 1;
                    }
                    if !skipped.is_empty() {
                        self.see("a fall back");
                    }
                    let candidate = &candidates[index];
                    self.check_recovery(m, Some(candidate.checkpoint), &skipped);
                    let event = Event::Restored {
                        checkpoint: candidate.checkpoint,
                        directory: candidate.directory.clone(),
                        is_savepoint: candidate.is_savepoint,
                        skipped,
                    };
                    let plan = self.plan_restore(m, &candidate.directory)?;
                    return Ok((Some(plan), Some(event)));
                }
                RecoveryChoice::RetryLater { reason } => return Err(Some(reason)),
                RecoveryChoice::Refuse { .. } => return Err(None),
            }
        }
    }

    fn verify(&mut self, directory: &str) -> Verification {
        if self.fault(40) {
            self.see("storage that is out of reach");
            return Verification::Unreachable("timed out".to_owned());
        }
        let Some(snapshot) = self.disk.snapshot(directory) else {
            self.law(false, || {
                format!("\"{directory}\" is a recovery point, and is no snapshot")
            });
            return Verification::Damaged(vec!["gone".to_owned()]);
        };
        match snapshot.damaged {
            true => Verification::Damaged(vec!["bits have flipped".to_owned()]),
            false => Verification::Intact,
        }
    }

    fn plan_restore(&mut self, m: usize, directory: &str) -> Result<RestorePlan, Option<String>> {
        let Some(snapshot) = self.disk.snapshot(directory) else {
            return Err(None);
        };
        let metadata = Arc::clone(&snapshot.metadata);
        let request = RestoreRequest {
            pointer: directory,
            directory,
            allow_non_restored_state: false,
        };
        let plan = RestorePlan::new(&metadata, &self.masters[m].graph, request);
        self.law_of(plan.as_ref().map(|_| ()).map_err(ToString::to_string));
        plan.map_err(|_| None)
    }

    fn start_from(
        &mut self,
        m: usize,
        directory: &str,
        mode: ClaimMode,
    ) -> Result<(Option<RestorePlan>, Option<Event>), Option<String>> {
        if let Verification::Unreachable(why) = self.verify(directory) {
            return Err(Some(why));
        }
        let Some(snapshot) = self.disk.snapshot(directory).cloned() else {
            return Err(None);
        };
        let plan = self.plan_restore(m, directory)?;
        let files_of_others = match mode {
            ClaimMode::Claim => self.files_of_others(m, directory, &snapshot.files),
            ClaimMode::NoClaim | ClaimMode::Legacy => Vec::new(),
        };
        if mode == ClaimMode::Claim {
            self.claims.insert(directory.to_owned(), m);
        }
        let from = StartedFrom {
            checkpoint: snapshot.checkpoint,
            directory: directory.to_owned(),
            is_savepoint: snapshot.is_savepoint,
            mode,
            files: snapshot.files.clone(),
            files_of_others,
            state_bytes: 1,
            pending_transactions: snapshot
                .metadata
                .trailer
                .as_ref()
                .is_some_and(|trailer| trailer.has_pending_transactions()),
        };
        let event = Event::Restored {
            checkpoint: snapshot.checkpoint,
            directory: directory.to_owned(),
            is_savepoint: snapshot.is_savepoint && mode != ClaimMode::Claim,
            skipped: Vec::new(),
        };
        let master = &mut self.masters[m];
        master.start = None;
        master.laws.start_from(&from);
        master.coordinator.start_from(from);
        Ok((Some(plan), Some(event)))
    }

    /// Those of a claimed snapshot's files that others need as well, as `cluster::siblings` finds them: the
    /// snapshots in the directories that its files come from, and those of jobs that have claimed one of
    /// these.
    fn files_of_others(&self, m: usize, claimed: &str, files: &[String]) -> Vec<String> {
        let inside = format!("{claimed}/");
        let outside: Vec<&String> = files.iter().filter(|f| !f.starts_with(&inside)).collect();
        if outside.is_empty() {
            return Vec::new();
        }
        let mut places = BTreeSet::from([parent(claimed)]);
        if self.bug != Some(Bug::NearSighted) {
            places.extend(outside.iter().map(|file| parent(parent(file))));
        }
        let own = self.masters[m].directory.as_str();
        let mut owners = self.owners_of_claims_in(&places);
        owners.remove(own);
        let others = self.disk.snapshots().filter(|(other, _)| {
            let place = parent(other);
            *other != claimed && (places.contains(place) || owners.contains(place))
        });
        let needed: BTreeSet<&String> = others.flat_map(|(_, snapshot)| &snapshot.files).collect();
        let of_others = files.iter().filter(|file| needed.contains(file));
        of_others.cloned().collect()
    }

    /// The directories of jobs that have claimed a snapshot in one of `places`, or one in the directory of
    /// such a job, and so on.
    pub(crate) fn owners_of_claims_in<'a>(
        &'a self,
        places: &BTreeSet<&'a str>,
    ) -> BTreeSet<&'a str> {
        let mut owners = BTreeSet::new();
        loop {
            let is_in = |of: &str| places.contains(parent(of)) || owners.contains(parent(of));
            let found = self.claims.iter().filter(|(of, _)| is_in(of));
            let found = found.map(|(_, owner)| self.masters[*owner].directory.as_str());
            let found: BTreeSet<&str> = found.collect();
            if found.is_subset(&owners) {
                return owners;
            }
            owners.extend(found);
        }
    }

    fn deploy(&mut self, m: usize, plan: Option<RestorePlan>, event: Option<Event>) {
        let processes = self.setting.processes;
        let attempt = self.masters[m].lifecycle.attempt();
        self.masters[m].lifecycle.recovered(match &event {
            Some(Event::Restored { directory, .. }) => Some(directory.clone()),
            _ => None,
        });
        self.laws_begin_attempt(m);
        self.check_key_groups(m);
        self.tell(m, Event::AttemptStarted { attempt, processes });
        if let Some(event) = event {
            self.tell(m, event);
        }
        for process in 0..processes {
            if self.masters[m].children[process as usize].is_none() {
                self.workers.push(Worker::new(m, process));
                self.masters[m].children[process as usize] = Some(self.workers.len() - 1);
            }
        }
        if self.fault(20) {
            // Some process cannot be reached.
            self.see("a failed deployment");
            self.masters[m].lifecycle.not_deployed();
            return self.fail_attempt(m, "a process does not start");
        }
        let pids: Vec<usize> = self.masters[m].pids().collect();
        self.note(|| {
            let from = plan.as_ref().map(|plan| plan.checkpoint);
            format!("master {m} deploys attempt {attempt} to {pids:?} from {from:?}")
        });
        let deployment = Rc::new(Deployment {
            master: m,
            attempt,
            graph: self.masters[m].graph.clone(),
            plan,
            pids: pids.clone(),
        });
        for pid in pids {
            let deployment = Rc::clone(&deployment);
            self.tell_worker(pid, What::Deployed { pid, deployment });
        }
        self.masters[m].lifecycle.deployed();
    }

    fn tell_worker(&mut self, pid: usize, what: What) {
        let mut last = self.workers[pid].last_from_master_ms;
        let in_ms = self.arrival(&mut last);
        self.workers[pid].last_from_master_ms = last;
        self.later(in_ms, what);
    }

    fn send(&mut self, m: usize, message: &ToWorker) {
        let pids: Vec<usize> = self.masters[m].pids().collect();
        for pid in pids {
            let message = message.clone();
            self.tell_worker(pid, What::ToWorker { pid, message });
        }
    }

    fn fail_attempt(&mut self, m: usize, why: &str) {
        let now_ms = self.now_ms;
        let Some(restart) = self.masters[m].lifecycle.failed(now_ms, why) else {
            return;
        };
        self.note(|| format!("master {m}: attempt fails: {why}"));
        self.laws_fail_attempt(m);
        let reason = why.to_owned();
        self.tell(m, Event::AttemptFailed { reason });
        match restart {
            Restart::Fail { .. } if self.bug == Some(Bug::EndlessRestarts) => {
                self.masters[m].restarts_at_ms = Some(now_ms + 10);
            }
            Restart::After { .. } if self.bug == Some(Bug::ImpatientRestart) => {
                self.masters[m].restarts_at_ms = Some(now_ms);
            }
            Restart::Fail { .. } => {
                self.see("a failed job");
                self.check_final_failure(m);
            }
            Restart::After { .. } => {}
        }
        self.end_attempt(m);
    }

    fn fail_for_good(&mut self, m: usize) {
        let (is_new, ends_attempt) = self.masters[m]
            .lifecycle
            .failed_for_good(self.now_ms, "refused");
        if is_new {
            self.note(|| format!("master {m}: the job fails for good"));
            self.see("a failure for good");
        }
        if ends_attempt {
            self.masters[m].laws.attempt_is_over();
            let reason = "refused".to_owned();
            self.tell(m, Event::AttemptFailed { reason });
            self.end_attempt(m);
        }
    }

    fn end_attempt(&mut self, m: usize) {
        let attempt = self.masters[m].lifecycle.attempt();
        self.send(m, &ToWorker::Cancel { attempt });
    }

    pub(crate) fn cancel(&mut self, m: usize) {
        let cancellation = self.masters[m].lifecycle.cancel(self.now_ms);
        if cancellation == Cancellation::Ignored {
            return;
        }
        let reason = "the job was cancelled".to_owned();
        self.masters[m].laws.attempt_is_over();
        self.tell(m, Event::AttemptFailed { reason });
        match cancellation {
            Cancellation::Ignored => {}
            Cancellation::EndJob => self.end(m, JobStatus::Canceled),
            Cancellation::EndAttempt => self.end_attempt(m),
        }
    }

    // Savepoints by the clock.

    fn may_take_scheduled(&self, m: usize) -> bool {
        let master = &self.masters[m];
        master.lifecycle.is_running() && master.scheduled.is_none()
    }

    fn take_scheduled(&mut self, m: usize) {
        let may = self.may_take_scheduled(m);
        let now_ms = self.now_ms;
        let Some(schedule) = self.masters[m].schedule.as_mut().filter(|_| may) else {
            return;
        };
        if schedule.next_ms() > now_ms {
            return;
        }
        schedule.began(now_ms);
        let trigger = self.new_trigger();
        self.masters[m].scheduled = Some(trigger);
        self.trigger_savepoint(m, trigger, AfterSavepoint::Continue);
    }

    pub(crate) fn new_trigger(&mut self) -> TriggerId {
        let mut trigger = [0; 16];
        trigger[..8].copy_from_slice(&self.next_trigger.to_le_bytes());
        self.next_trigger += 1;
        TriggerId(trigger)
    }

    pub(crate) fn trigger_savepoint(&mut self, m: usize, trigger: TriggerId, then: AfterSavepoint) {
        let directory = format!("file:/s/savepoint-{}", self.next_trigger);
        self.next_trigger += 1;
        self.masters[m].laws.wanted(trigger, then);
        self.tell(
            m,
            Event::TriggerSavepoint {
                trigger,
                directory,
                then,
                format: SavepointFormat::Canonical,
            },
        );
    }

    fn scheduled_ended(&mut self, m: usize, directory: Option<String>) {
        let now_ms = self.now_ms;
        self.masters[m].scheduled = None;
        let (Some(directory), Some(schedule)) = (directory, &mut self.masters[m].schedule) else {
            return;
        };
        schedule.taken(directory, now_ms);
        for old in schedule.superfluous(now_ms) {
            self.see("a superfluous savepoint");
            self.dispose(m, &old);
        }
    }

    /// Deletes a savepoint, and tells its master.
    fn dispose(&mut self, m: usize, directory: &str) {
        if self.claims.contains_key(directory) {
            return;
        }
        self.note(|| format!("\"{directory}\" is disposed of"));
        self.disk.delete_metadata(directory);
        let outcome = self.disk.delete_directory(directory);
        self.law_of(outcome);
        let directory = directory.to_owned();
        self.tell(m, Event::SavepointDisposed { directory });
    }

    // What the coordinator wants.

    /// Tells the coordinator and carries out what it wants.
    pub(crate) fn tell(&mut self, m: usize, event: Event) {
        let written = match &event {
            Event::MetadataWritten {
                checkpoint,
                result: Ok(()),
            } => Some(*checkpoint),
            _ => None,
        };
        let was_over = self.masters[m].laws.is_over();
        let actions = self.masters[m].coordinator.handle(self.now_ms, event);
        if let Some(checkpoint) = written {
            self.laws_of_written(m, checkpoint, &actions);
        }
        for action in actions {
            if let Action::Send(message) = &action {
                // What one of these actions ends is sent what follows; it does not listen any more.
                self.law(!was_over, || {
                    format!("master {m} sends to an attempt that is over: {message:?}")
                });
            }
            self.act(m, action);
        }
        if written.is_some() {
            self.check_store(m);
        }
    }

    fn act(&mut self, m: usize, action: Action) {
        self.laws_of_action(m, &action);
        match action {
            Action::Send(message) => {
                self.note(|| format!("master {m} sends {message:?}"));
                self.send(m, &message);
            }
            Action::Complete(completion) => self.complete(m, &completion),
            Action::Discard {
                directory,
                scope,
                released,
                reason,
                checkpoint,
            } => {
                self.note(|| format!("master {m} discards {checkpoint} ({reason:?}, {scope:?})"));
                if reason == DiscardReason::Subsumed && scope == Scope::Named {
                    self.see("a directory that outlives its checkpoint");
                }
                self.delete(m, Some((directory, scope)), released);
            }
            Action::Release(released) => {
                self.see("a file that a checkpoint in progress held");
                self.delete(m, None, released);
            }
            Action::EndClaim { directory } => {
                let claims_ended = vec![directory];
                let files = Vec::new();
                self.delete(
                    m,
                    None,
                    Released {
                        files,
                        claims_ended,
                    },
                );
            }
            Action::Finish { trigger, outcome } => {
                self.note(|| format!("master {m} answers {outcome:?}"));
                if self.masters[m].scheduled == Some(trigger) {
                    let directory = match outcome {
                        Outcome::Savepoint(result) => result.ok(),
                        Outcome::Checkpoint(_) => None,
                    };
                    self.scheduled_ended(m, directory);
                }
            }
            Action::FailAttempt { reason } => self.fail_attempt(m, &reason),
            Action::CancelJob => {
                self.see("a cancellation with savepoint");
                self.cancel(m);
            }
            Action::EndOfInput => {
                let attempt = self.masters[m].lifecycle.attempt();
                self.send(m, &ToWorker::EndOfInput { attempt });
            }
        }
    }

    fn complete(&mut self, m: usize, completion: &Completion) {
        let facts = JobFacts {
            job: self.setting.config.job,
            name: "job",
            millpond_version: "0",
        };
        let metadata = match assemble(completion, &self.masters[m].graph, facts) {
            Ok(metadata) => metadata,
            Err(error) => return self.law(false, || error.to_string()),
        };
        let options = &completion.options;
        if self.bug == Some(Bug::EarlyCommit) && options.stop.is_none() && !options.is_savepoint {
            let message = ToWorker::NotifyComplete {
                attempt: completion.attempt,
                checkpoint: options.id,
            };
            self.send(m, &message);
        }
        let directory = options.directory.clone();
        let is_savepoint = options.is_savepoint;
        let is_idle = self.masters[m].writing.is_empty();
        self.masters[m]
            .writing
            .push_back((options.id, directory, is_savepoint, metadata));
        if is_idle {
            self.writer_goes_on(m);
        }
    }

    // The thread that writes metadata.

    fn writer_goes_on(&mut self, m: usize) {
        let duration = match self.is_calm {
            true => 2,
            false => self.random.pick(&[0, 1, 1, 5, 60, 400]),
        };
        self.later(duration, What::MetadataWritten { master: m });
    }

    pub(crate) fn metadata_written(&mut self, m: usize) {
        if !self.master_takes(m, || What::MetadataWritten { master: m }) {
            return;
        }
        let Some((checkpoint, result)) = self.write_next(m) else {
            return;
        };
        if !self.masters[m].writing.is_empty() {
            self.writer_goes_on(m);
        }
        self.note(|| format!("master {m}: metadata of {checkpoint}: {result:?}"));
        self.tell(m, Event::MetadataWritten { checkpoint, result });
        self.master_goes_on(m);
    }

    fn write_next(&mut self, m: usize) -> Option<(CheckpointId, Result<(), String>)> {
        let (checkpoint, directory, is_savepoint, metadata) =
            self.masters[m].writing.pop_front()?;
        if self.fault(15) {
            self.see("metadata that cannot be written");
            return Some((checkpoint, Err("no space left on device".to_owned())));
        }
        let mut content = Vec::new();
        for (vertex, operator) in self.masters[m].graph.vertices.iter().zip(0usize..) {
            let found = metadata.operator(vertex.operators[0].id);
            content.extend(
                found
                    .iter()
                    .flat_map(|found| found.subtasks.iter())
                    .map(|(_, part)| (operator, part)),
            );
        }
        let content = state::content(content.into_iter());
        self.check_content(checkpoint, &content);
        let snapshot = StoredSnapshot {
            checkpoint,
            metadata: Arc::new(metadata),
            files: content.files,
            is_savepoint,
            damaged: false,
        };
        let published = self.disk.publish(directory.clone(), snapshot);
        self.law_of(published.map_err(|file| {
            format!("\"{file}\" of checkpoint {checkpoint} is gone when that is complete")
        }));
        if self.fault(15) {
            self.see("a damaged snapshot");
            self.disk.damage(&directory);
        }
        Some((checkpoint, Ok(())))
    }

    /// What its threads are at when a master dies may be done, and nobody hears of it.
    pub(crate) fn half_done(&mut self, m: usize) {
        if self.random.percent(50) {
            self.write_next(m);
        }
        if self.random.percent(50) {
            self.clean_next(m);
        }
    }

    // The thread that deletes.

    fn delete(&mut self, m: usize, snapshot: Option<(String, Scope)>, mut released: Released) {
        match self.bug {
            Some(Bug::EarlyDeletion) => {
                if let Some((directory, Scope::Whole)) = &snapshot
                    && let Some(known) = self.disk.snapshot(directory)
                {
                    released.files.extend(known.files.iter().cloned());
                }
            }
            Some(Bug::ForgottenDeletion) => released.files.clear(),
            Some(_) | None => {}
        }
        let is_idle = self.masters[m].cleaning.is_empty();
        self.masters[m]
            .cleaning
            .push_back(Deletion { snapshot, released });
        if is_idle {
            let duration = self.random.pick(&[0, 0, 3, 100]);
            self.later(duration, What::Cleaned { master: m });
        }
    }

    pub(crate) fn cleaned(&mut self, m: usize) {
        if !self.master_takes(m, || What::Cleaned { master: m }) {
            return;
        }
        self.clean_next(m);
        if !self.masters[m].cleaning.is_empty() {
            let duration = self.random.pick(&[0, 0, 3, 100]);
            self.later(duration, What::Cleaned { master: m });
        }
    }

    fn clean_next(&mut self, m: usize) {
        let Some(Deletion { snapshot, released }) = self.masters[m].cleaning.pop_front() else {
            return;
        };
        if let Some((directory, scope)) = &snapshot {
            // The metadata first, so that what a crash leaves is no snapshot.
            self.disk.delete_metadata(directory);
            if *scope == Scope::Whole {
                let outcome = self.disk.delete_directory(directory);
                self.law_of(outcome.map_err(|what| format!("master {m} deletes {what}")));
            }
        }
        for file in &released.files {
            let outcome = self.disk.delete_file(file);
            self.law_of(outcome.map_err(|user| {
                format!("master {m} deletes \"{file}\", which \"{user}\" refers to")
            }));
        }
        for directory in &released.claims_ended {
            let owner = self.claims.remove(directory);
            self.law(owner == Some(m), || {
                format!("master {m} ends a claim of \"{directory}\", which {owner:?} has")
            });
        }
    }
}

/// The directory around a file or directory.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

pub(crate) fn attempt_of(message: &FromWorker) -> Attempt {
    match message {
        FromWorker::Running { attempt, .. }
        | FromWorker::Announced { attempt, .. }
        | FromWorker::Acknowledge { attempt, .. }
        | FromWorker::Decline { attempt, .. }
        | FromWorker::SourceEnded { attempt, .. }
        | FromWorker::Failed { attempt, .. }
        | FromWorker::Ended { attempt, .. }
        | FromWorker::Metrics { attempt, .. } => *attempt,
    }
}

fn with_attempt(mut message: FromWorker, now: Attempt) -> FromWorker {
    match &mut message {
        FromWorker::Running { attempt, .. }
        | FromWorker::Announced { attempt, .. }
        | FromWorker::Acknowledge { attempt, .. }
        | FromWorker::Decline { attempt, .. }
        | FromWorker::SourceEnded { attempt, .. }
        | FromWorker::Failed { attempt, .. }
        | FromWorker::Ended { attempt, .. }
        | FromWorker::Metrics { attempt, .. } => *attempt = now,
    }
    message
}

fn brief(message: &FromWorker) -> String {
    match message {
        FromWorker::Acknowledge {
            attempt,
            checkpoint,
            acknowledgement: part,
        } => format!(
            "acknowledges {checkpoint} of attempt {attempt} for vertex {}, subtask {}",
            part.vertex.0, part.subtask
        ),
        FromWorker::Running { .. }
        | FromWorker::Announced { .. }
        | FromWorker::Decline { .. }
        | FromWorker::SourceEnded { .. }
        | FromWorker::Failed { .. }
        | FromWorker::Ended { .. }
        | FromWorker::Metrics { .. } => format!("{message:?}"),
    }
}

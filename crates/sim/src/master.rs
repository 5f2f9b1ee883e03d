//! The job master: what `cluster::master` does around the product's coordinator, restart strategy,
//! choice of a recovery and restore plan.
//!
//! Those decide here as they do there, and so does the life of a job with its attempts. What carries their
//! decisions out is a model: the thread that writes metadata, the thread that deletes, and the processes.

mod actions;
mod allocation;
mod attempt;
mod claim;
mod cleaner;
mod fence;
mod recovery;
mod savepoint;
mod writer;

use std::collections::{BTreeSet, VecDeque};

use millpond_checkpoint::{
    Coordinator, Elastic, Entry, Event, Fencing, Lifecycle, RestartStrategy, SavepointSchedule,
};
use millpond_job::gateway::{Attempt, FromWorker};
use millpond_job::{JobGraph, JobStatus};
use millpond_snapshot::Metadata;
use millpond_types::config::ClaimMode;
use millpond_types::{CheckpointId, TriggerId};

use crate::bug::Bug;
use crate::laws::MasterLaws;
use crate::worker::Life;
use crate::world::{What, World};

use cleaner::Deletion;

/// A job master and its threads.
pub(crate) struct Master {
    pub(crate) life: Life,
    /// Its job.
    pub(crate) lineage: usize,
    pub(crate) directory: String,
    pub(crate) graph: JobGraph,
    pub(crate) coordinator: Coordinator,
    pub(crate) lifecycle: Lifecycle,
    /// How the job has ended.
    pub(crate) status: Option<JobStatus>,
    pub(crate) laws: MasterLaws,
    pub(crate) fencing: Fencing,
    /// The snapshot that it starts from, until it was used.
    start: Option<(String, ClaimMode)>,
    children: Vec<Option<usize>>,
    /// If its parallelism follows the slots of the cluster.
    pub(crate) elastic: Option<Elastic>,
    /// The slots that it has, in elastic mode.
    slots: Option<u32>,
    /// How many times it has asked for slots.
    requests: u64,
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
    fn has_given_up(&self, attempt: Attempt, checkpoint: CheckpointId) -> bool {
        self.life == Life::Dead
            || attempt != self.lifecycle.attempt()
            || self.laws.is_given_up(checkpoint)
            || !self.lifecycle.is_under_way()
    }

    pub(crate) fn pids(&self) -> impl Iterator<Item = usize> + '_ {
        self.children.iter().flatten().copied()
    }

    /// How many processes the attempt has, or had.
    pub(crate) fn processes(&self) -> u32 {
        self.children.len() as u32
    }

    /// The snapshot that it is still to start from.
    pub(crate) fn starts_from(&self) -> Option<&str> {
        self.start.as_ref().map(|(directory, _)| directory.as_str())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.life != Life::Dead && !self.lifecycle.is_ended()
    }
}

impl World {
    /// Whether nobody will need what this checkpoint is: it was given up, or its attempt is over, or
    /// another master has begun in the place of its own.
    pub(crate) fn is_in_vain(&self, m: usize, attempt: Attempt, checkpoint: CheckpointId) -> bool {
        self.masters[m].has_given_up(attempt, checkpoint) || self.is_replaced(m)
    }

    /// Starts a master, and with it a life of the job.
    pub(crate) fn start_master(
        &mut self,
        lineage: usize,
        start: Option<(String, ClaimMode)>,
        directory: Option<String>,
    ) {
        let number = self.masters.len();
        // The same job again, or another one of the same program.
        let before = self.lineages[lineage]
            .present
            .map(|before| &self.masters[before]);
        let directory = match (directory, before) {
            (Some(directory), _) => directory,
            (None, Some(before)) if !self.setting.shares_exclusive && self.random.percent(40) => {
                before.directory.clone()
            }
            (None, _) => format!("file:/c{number}"),
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
        let elastic = allocation::elastic(self, &graph);
        let processes = match &elastic {
            Some(_) => 0,
            None => self.setting.processes,
        };
        let schedule = self.setting.schedule;
        self.masters.push(Master {
            life: Life::Runs,
            lineage,
            directory,
            graph,
            coordinator,
            lifecycle: Lifecycle::new(restart, self.now_ms, 0),
            status: None,
            laws: MasterLaws::new(taken),
            fencing: Fencing::default(),
            start,
            children: vec![None; processes as usize],
            elastic,
            slots: None,
            requests: 0,
            restarts_at_ms: None,
            schedule: schedule.map(|config| SavepointSchedule::new(config, self.now_ms)),
            scheduled: None,
            writing: VecDeque::new(),
            cleaning: VecDeque::new(),
            timer_ms: None,
            has_stopped: false,
        });
        self.lineages[lineage].present = Some(number);
        self.entered
            .insert(self.masters[number].directory.clone(), number);
        let look = self.look(number);
        let entry = self.masters[number]
            .fencing
            .enter(look, self.now_ms, self.now_ms);
        self.law(entry == Entry::Enter, || {
            format!("master {number} begins where another one is")
        });
        self.offer(number);
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
        let complete = self.numbers_of_complete(directory);
        let complete: BTreeSet<CheckpointId> = complete.into_iter().collect();
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
        if self.masters[m].lifecycle.is_ended() {
            return;
        }
        let elastic = self.elastic_deadline(m);
        let master = &self.masters[m];
        let own = master.lifecycle.next_ms(self.now_ms);
        let may = self.may_take_scheduled(m);
        let schedule = master.schedule.as_ref().filter(|_| may);
        let deadline = master.coordinator.next_deadline();
        let next = own
            .into_iter()
            .chain(schedule.map(SavepointSchedule::next_ms))
            .chain(deadline)
            .chain(elastic)
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
                let master = &mut self.masters[m];
                if master.lifecycle.process_runs(process) {
                    master.laws.runs(now_ms);
                    if let Some(elastic) = &mut master.elastic {
                        elastic.running(now_ms);
                    }
                }
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
        if self.masters[m].children.get(process) != Some(&Some(pid)) {
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

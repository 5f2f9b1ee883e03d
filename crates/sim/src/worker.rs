//! Worker processes and their tasks.
//!
//! A process takes part in one attempt at a time. Its sources send a barrier when the master lets an
//! epoch end; every other task takes its snapshot when the product's [`Alignment`] says that the barrier
//! is reached, and holds back until then what came behind it. Parts of snapshots are written later, by
//! somebody else; so are commits. A process may be killed, or stand still and wake up, at any event.

mod channel;
mod commit;
mod opening;
mod snapshot;
mod source;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use millpond_checkpoint::RestorePlan;
use millpond_job::gateway::{Attempt, Epoch, EpochEnd, FromWorker, SnapshotOptions, ToWorker};
use millpond_job::{JobGraph, VertexIndex};
use millpond_runtime::barrier::{Alignment, Overtaken};
use millpond_runtime::time::{Time, pack};
use millpond_types::{CheckpointId, KeyGroupRange};

use crate::job::{Key, Row, SOURCE};
use crate::output::TransactionId;
use crate::world::{What, World};

/// One attempt, for all its processes.
pub(crate) struct Deployment {
    pub(crate) master: usize,
    pub(crate) attempt: Attempt,
    pub(crate) graph: JobGraph,
    pub(crate) plan: Option<RestorePlan>,
    /// The process of each process index.
    pub(crate) pids: Vec<usize>,
}

impl Deployment {
    fn pid_of(&self, subtask: u32) -> usize {
        self.pids[subtask as usize % self.pids.len()]
    }

    fn parallelism(&self, vertex: VertexIndex) -> u32 {
        self.graph.vertices[vertex.0 as usize].parallelism
    }
}

/// What travels between tasks.
pub(crate) enum Element {
    /// Records of an epoch.
    Rows(Epoch, Vec<Row>),
    /// Nothing of this epoch follows.
    Barrier(Epoch),
}

/// A way to another task.
struct Way {
    pid: usize,
    task: (u32, u32),
    channel: usize,
    last_ms: u64,
}

/// What is frozen of a task for a snapshot.
#[derive(Clone, Debug)]
pub(crate) enum Frozen {
    Source(BTreeMap<u32, u32>),
    Count(BTreeMap<Key, u32>),
    Sink(Vec<TransactionId>),
}

/// A subtask's part of a snapshot that is to be written.
pub(crate) struct Part {
    pub(crate) attempt: Attempt,
    pub(crate) options: SnapshotOptions,
    pub(crate) vertex: VertexIndex,
    pub(crate) subtask: u32,
    pub(crate) frozen: Frozen,
    /// What the barrier has overtaken.
    pub(crate) in_flight: Vec<Row>,
}

enum Kind {
    Source {
        positions: BTreeMap<u32, u32>,
        told_end: bool,
    },
    Count {
        counts: BTreeMap<Key, u32>,
        range: KeyGroupRange,
        next_sink: usize,
    },
    Sink {
        rows: Vec<Row>,
        /// Prepared and not yet being committed.
        pending: BTreeMap<CheckpointId, TransactionId>,
        under_way: Vec<(CheckpointId, TransactionId)>,
        due: Option<CheckpointId>,
        /// What was restored is not committed yet: nothing is taken before.
        restoring: bool,
        waiting: VecDeque<(usize, Element)>,
    },
}

struct Task {
    vertex: VertexIndex,
    subtask: u32,
    alignment: Alignment,
    /// The epoch that the next element of each channel belongs to, at least.
    frontiers: Vec<Epoch>,
    stash: VecDeque<(Epoch, Vec<Row>)>,
    /// Its parts of snapshots that lack records which a barrier has overtaken.
    overtaken: Overtaken<Box<Part>>,
    ways: Vec<Way>,
    /// It has stopped behind this snapshot and waits for its fate.
    held: Option<CheckpointId>,
    /// Whether a step of a source is planned.
    steps: bool,
    kind: Kind,
    /// The file of each key group in each of its checkpoints.
    files: BTreeMap<CheckpointId, BTreeMap<u16, String>>,
}

impl Task {
    /// The lowest time that can still arrive.
    fn frontier(&self) -> Option<Time> {
        self.frontiers.iter().min().map(|epoch| pack(*epoch, 0))
    }
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Runs,
    /// Until this time.
    Paused(u64),
    Dead,
}

impl Life {
    /// As it is now.
    pub(crate) fn at(self, now_ms: u64) -> Life {
        match self {
            Life::Paused(until) if until <= now_ms => Life::Runs,
            life => life,
        }
    }
}

/// A worker process.
pub(crate) struct Worker {
    pub(crate) master: usize,
    pub(crate) index: u32,
    pub(crate) life: Life,
    pub(crate) attempt: Attempt,
    pub(crate) last_to_master_ms: u64,
    pub(crate) last_from_master_ms: u64,
    deployment: Option<Rc<Deployment>>,
    tasks: Vec<Task>,
    is_open: bool,
    /// Arrived before the tasks were open.
    early: Vec<(Attempt, (u32, u32), usize, Element)>,
    ends: BTreeMap<Epoch, EpochEnd>,
    /// The epochs before this one may end.
    may_end: Epoch,
    heard_aborted: BTreeSet<CheckpointId>,
    /// The attempt ends here as soon as no commit is under way.
    is_ending: bool,
    has_ended: bool,
}

impl Worker {
    pub(crate) fn new(master: usize, index: u32) -> Worker {
        Worker {
            master,
            index,
            life: Life::Runs,
            attempt: 0,
            last_to_master_ms: 0,
            last_from_master_ms: 0,
            deployment: None,
            tasks: Vec::new(),
            is_open: false,
            early: Vec::new(),
            ends: BTreeMap::new(),
            may_end: 0,
            heard_aborted: BTreeSet::new(),
            is_ending: false,
            has_ended: false,
        }
    }

    fn task(&self, (vertex, subtask): (u32, u32)) -> Option<usize> {
        let is_it = |task: &Task| task.vertex.0 == vertex && task.subtask == subtask;
        self.tasks.iter().position(is_it)
    }

    fn commits(&self) -> bool {
        self.tasks.iter().any(|task| match &task.kind {
            Kind::Sink { under_way, .. } => !under_way.is_empty(),
            Kind::Source { .. } | Kind::Count { .. } => false,
        })
    }
}

impl World {
    /// Whether the process takes an event now; a paused one takes it when it wakes.
    fn takes(&mut self, pid: usize, what: impl FnOnce() -> What) -> bool {
        match self.workers[pid].life.at(self.now_ms) {
            Life::Runs => true,
            Life::Dead => false,
            Life::Paused(until) => {
                self.put_off(until, what());
                false
            }
        }
    }

    pub(crate) fn tell_master(&mut self, pid: usize, message: FromWorker) {
        let mut last = self.workers[pid].last_to_master_ms;
        let in_ms = self.arrival(&mut last);
        self.workers[pid].last_to_master_ms = last;
        let master = self.workers[pid].master;
        self.later(
            in_ms,
            What::ToMaster {
                master,
                pid,
                message,
            },
        );
    }

    /// A process dies; of a commit under way any part may be done.
    pub(crate) fn kill_worker(&mut self, pid: usize) {
        if self.workers[pid].life == Life::Dead {
            return;
        }
        self.note(|| format!("process {pid} dies"));
        self.workers[pid].life = Life::Dead;
        let mut under_way = Vec::new();
        for task in &self.workers[pid].tasks {
            if let Kind::Sink { under_way: of, .. } = &task.kind {
                under_way.extend(of.iter().map(|(_, transaction)| *transaction));
            }
        }
        for transaction in under_way {
            if self.random.percent(50) {
                let outcome = self.output_of(pid).commit(transaction);
                self.law_of(outcome);
            }
        }
        self.workers[pid].tasks.clear();
    }

    pub(crate) fn orphaned(&mut self, pid: usize) {
        if self.takes(pid, || What::Orphaned { pid }) {
            self.kill_worker(pid);
        }
    }

    pub(crate) fn deployed(&mut self, pid: usize, deployment: Rc<Deployment>) {
        if !self.takes(pid, || What::Deployed {
            pid,
            deployment: Rc::clone(&deployment),
        }) {
            return;
        }
        let attempt = deployment.attempt;
        let worker = &mut self.workers[pid];
        worker.attempt = attempt;
        worker.tasks.clear();
        worker.early.retain(|(of, ..)| *of >= attempt);
        worker.ends.clear();
        worker.may_end = 0;
        worker.heard_aborted.clear();
        worker.is_open = false;
        worker.is_ending = false;
        worker.has_ended = false;
        worker.deployment = Some(deployment);
        let duration = self.random.pick(&[0, 2, 15]);
        self.later(duration, What::Opened { pid, attempt });
    }

    pub(crate) fn worker_hears(&mut self, pid: usize, message: ToWorker) {
        if !self.takes(pid, || What::ToWorker {
            pid,
            message: message.clone(),
        }) {
            return;
        }
        let attempt = self.workers[pid].attempt;
        let process = self.workers[pid].index;
        match message {
            ToWorker::Announce {
                attempt: of,
                epoch,
                end,
            } if of == attempt => {
                self.workers[pid].ends.insert(epoch, end);
                let message = FromWorker::Announced {
                    attempt,
                    process,
                    epoch,
                };
                self.tell_master(pid, message);
            }
            ToWorker::Advance { attempt: of, epoch } if of == attempt => {
                self.workers[pid].may_end = epoch + 1;
                self.plan_to_overtake(pid, epoch);
                for task in 0..self.workers[pid].tasks.len() {
                    let of = &self.workers[pid].tasks[task];
                    if of.vertex == SOURCE {
                        let (at, held) = (of.alignment.epoch(), of.held);
                        self.law(at == epoch && held.is_none(), || {
                            format!(
                                "epoch {epoch} ends at a source that is at {at}, held by {held:?}"
                            )
                        });
                        self.pass_barrier(pid, task);
                    }
                }
            }
            ToWorker::NotifyComplete {
                attempt: of,
                checkpoint,
            } if of == attempt => self.checkpoint_is_complete(pid, checkpoint),
            ToWorker::NotifyAborted {
                attempt: of,
                checkpoint,
            } if of == attempt => {
                self.workers[pid].heard_aborted.insert(checkpoint);
                for task in 0..self.workers[pid].tasks.len() {
                    let of = &mut self.workers[pid].tasks[task];
                    of.overtaken.aborted(checkpoint);
                    if of.held == Some(checkpoint) {
                        of.held = None;
                        self.source_goes_on(pid, task);
                    }
                }
            }
            ToWorker::Cancel { attempt: of } if of == attempt => {
                if self.fault(15) {
                    // User code that does not return, while heartbeats go on.
                    self.workers[pid].life = Life::Paused(self.now_ms + 12_000);
                }
                for task in &mut self.workers[pid].tasks {
                    if let Kind::Sink { due, .. } = &mut task.kind {
                        *due = None;
                    }
                }
                self.end_attempt_in(pid);
            }
            ToWorker::Announce { .. }
            | ToWorker::Advance { .. }
            | ToWorker::NotifyComplete { .. }
            | ToWorker::NotifyAborted { .. }
            | ToWorker::EndOfInput { .. }
            | ToWorker::Cancel { .. } => {}
        }
    }

    /// Ends the attempt in a process, when the commits that it has begun are done.
    fn end_attempt_in(&mut self, pid: usize) {
        let worker = &mut self.workers[pid];
        worker.is_ending = true;
        if worker.commits() || worker.has_ended {
            return;
        }
        worker.has_ended = true;
        worker.tasks.clear();
        let (attempt, process) = (worker.attempt, worker.index);
        self.tell_master(pid, FromWorker::Ended { attempt, process });
    }
}

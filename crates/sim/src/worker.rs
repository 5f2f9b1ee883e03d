//! Worker processes and their tasks.
//!
//! A process takes part in one attempt at a time. Its sources send a barrier when the master lets an
//! epoch end; every other task takes its snapshot when the product's [`Alignment`] says that the barrier
//! is reached, and holds back until then what came behind it. Parts of snapshots are written later, by
//! somebody else; so are commits. A process may be killed, or stand still and wake up, at any event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use millpond_checkpoint::RestorePlan;
use millpond_job::gateway::{Attempt, Epoch, EpochEnd, FromWorker, SnapshotOptions, ToWorker};
use millpond_job::{JobGraph, VertexIndex};
use millpond_runtime::barrier::{Alignment, Arrival, Mode};
use millpond_runtime::time::pack;
use millpond_types::{CheckpointId, KeyGroupRange};

use crate::bug::Bug;
use crate::job::{COUNT, Key, Row, SINK, SOURCE};
use crate::output::TransactionId;
use crate::state;
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
    ways: Vec<Way>,
    /// It has stopped behind this snapshot and waits for its fate.
    held: Option<CheckpointId>,
    /// Whether a step of a source is planned.
    steps: bool,
    kind: Kind,
    /// The file of each key group in each of its checkpoints.
    files: BTreeMap<CheckpointId, BTreeMap<u16, String>>,
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

    /// Rows that processes which live were told to commit in the last attempt of their master, and may not
    /// have committed yet: one that is lost may do so at any time.
    pub(crate) fn rows_in_doubt(&self) -> BTreeSet<Row> {
        let mut rows = BTreeSet::new();
        for worker in self.workers.iter().filter(|one| one.life != Life::Dead) {
            let master = &self.masters[worker.master];
            let is_last = worker.attempt == master.lifecycle.attempt();
            let told = master.laws.told_to_commit().filter(|_| is_last);
            for task in &worker.tasks {
                let Kind::Sink {
                    pending, under_way, ..
                } = &task.kind
                else {
                    continue;
                };
                let pending = pending.iter().filter(|(id, _)| Some(**id) <= told);
                let pending = pending.map(|(_, transaction)| transaction);
                let under_way = under_way.iter().map(|(_, transaction)| transaction);
                for transaction in pending.chain(under_way) {
                    rows.extend(self.output.rows_of(*transaction).iter().copied());
                }
            }
        }
        rows
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
                let outcome = self.output.commit(transaction);
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
        worker.heard_aborted.clear();
        worker.is_open = false;
        worker.is_ending = false;
        worker.has_ended = false;
        worker.deployment = Some(deployment);
        let duration = self.random.pick(&[0, 2, 15]);
        self.later(duration, What::Opened { pid, attempt });
    }

    pub(crate) fn opened(&mut self, pid: usize, attempt: Attempt) {
        if !self.takes(pid, || What::Opened { pid, attempt })
            || self.workers[pid].attempt != attempt
            || self.workers[pid].is_ending
        {
            return;
        }
        let Some(deployment) = self.workers[pid].deployment.clone() else {
            return;
        };
        for vertex in [SOURCE, COUNT, SINK] {
            for subtask in 0..deployment.parallelism(vertex) {
                if deployment.pid_of(subtask) == pid {
                    let task = self.open_task(&deployment, vertex, subtask);
                    self.workers[pid].tasks.push(task);
                }
            }
        }
        self.workers[pid].is_open = true;
        let process = self.workers[pid].index;
        self.tell_master(
            pid,
            FromWorker::Running {
                attempt,
                process,
                read: Default::default(),
            },
        );
        for task in 0..self.workers[pid].tasks.len() {
            let is_restoring = matches!(self.workers[pid].tasks[task].kind, Kind::Sink { restoring, .. } if restoring);
            if is_restoring {
                self.see("a restored transaction");
                let duration = self.random.pick(&[0, 5, 60]);
                self.later(duration, What::Committed { pid, attempt, task });
            }
            self.source_goes_on(pid, task);
        }
        for (of, to, channel, element) in std::mem::take(&mut self.workers[pid].early) {
            self.data_arrives(pid, of, to, channel, element);
        }
    }

    fn open_task(&mut self, deployment: &Deployment, vertex: VertexIndex, subtask: u32) -> Task {
        let operator = deployment.graph.vertices[vertex.0 as usize].operators[0].id;
        let restored = deployment
            .plan
            .as_ref()
            .and_then(|plan| plan.operator(operator, subtask));
        let mut files = BTreeMap::new();
        let parallelism = deployment.parallelism(vertex);
        let kind = match vertex {
            SOURCE => Kind::Source {
                positions: match (restored, &deployment.plan) {
                    (Some(restored), _) => state::positions(restored),
                    (None, _) => self.first_splits(subtask, parallelism),
                },
                told_end: false,
            },
            COUNT => {
                let max = self.job.max_parallelism;
                let mut range = KeyGroupRange::of_subtask(subtask, parallelism, max);
                let mut counts = BTreeMap::new();
                if let (Some(restored), Some(plan)) = (restored, &deployment.plan) {
                    if self.bug == Some(Bug::LostKeyGroup) && range.len() > 1 {
                        let last = millpond_types::KeyGroup(range.last().0 - 1);
                        range = KeyGroupRange::new(range.first(), last);
                    }
                    let own = state::key_group_files(restored, range);
                    for (group, file) in &own {
                        match self.disk.read(file) {
                            Some(content) => {
                                let is_it = content.group == *group;
                                counts.extend(content.counts.iter().copied());
                                self.law(is_it, || format!("\"{file}\" holds another key group"));
                            }
                            None => {
                                // A zombie comes too late, and fails.
                                let is_stale = self.masters[deployment.master]
                                    .has_given_up(deployment.attempt, plan.checkpoint);
                                self.law(is_stale, || {
                                    format!("\"{file}\" is restored from, and is not there")
                                });
                            }
                        }
                    }
                    files.insert(plan.checkpoint, own);
                    range = KeyGroupRange::of_subtask(subtask, parallelism, max);
                }
                Kind::Count {
                    counts,
                    range,
                    next_sink: 0,
                }
            }
            _ => {
                let transactions = restored.map(state::transactions).unwrap_or_default();
                let restoring = !transactions.is_empty();
                Kind::Sink {
                    rows: Vec::new(),
                    pending: BTreeMap::new(),
                    under_way: transactions.into_iter().map(|id| (0, id)).collect(),
                    due: None,
                    restoring,
                    waiting: VecDeque::new(),
                }
            }
        };
        let (channels, ways) = self.ways(deployment, vertex, subtask);
        let mode = match self.bug {
            Some(Bug::NoAlignment) => Mode::AtLeastOnce,
            _ => Mode::ExactlyOnce,
        };
        Task {
            vertex,
            subtask,
            alignment: Alignment::new(mode, vec![false]),
            frontiers: vec![0; channels],
            stash: VecDeque::new(),
            ways,
            held: None,
            steps: false,
            kind,
            files,
        }
    }

    /// The splits that a source subtask has in the first attempt of a job without a snapshot.
    fn first_splits(&self, subtask: u32, parallelism: u32) -> BTreeMap<u32, u32> {
        let splits = 0..self.job.splits.len() as u32;
        let own = splits.filter(|split| split % parallelism == subtask);
        own.map(|split| (split, 0)).collect()
    }

    /// How many inputs a task has, and the ways to those behind it.
    fn ways(
        &self,
        deployment: &Deployment,
        vertex: VertexIndex,
        subtask: u32,
    ) -> (usize, Vec<Way>) {
        let channels = match vertex {
            SOURCE => 0,
            COUNT => deployment.parallelism(SOURCE),
            _ => deployment.parallelism(COUNT),
        };
        let receivers = match vertex {
            SOURCE => Some(COUNT),
            COUNT => Some(SINK),
            _ => None,
        };
        let ways = receivers.into_iter().flat_map(|to| {
            (0..deployment.parallelism(to)).map(move |receiver| Way {
                pid: deployment.pid_of(receiver),
                task: (to.0, receiver),
                channel: subtask as usize,
                last_ms: 0,
            })
        });
        (channels as usize, ways.collect())
    }

    fn send_data(&mut self, pid: usize, task: usize, way: usize, element: Element) {
        let attempt = self.workers[pid].attempt;
        let to = &self.workers[pid].tasks[task].ways[way];
        let (receiver, of, channel, mut last) = (to.pid, to.task, to.channel, to.last_ms);
        let in_ms = self.arrival(&mut last);
        self.workers[pid].tasks[task].ways[way].last_ms = last;
        self.later(
            in_ms,
            What::Data {
                pid: receiver,
                attempt,
                task: of,
                channel,
                element,
            },
        );
    }

    // Sources.

    fn source_goes_on(&mut self, pid: usize, task: usize) {
        let attempt = self.workers[pid].attempt;
        let of = &mut self.workers[pid].tasks[task];
        let goes = matches!(of.kind, Kind::Source { .. }) && of.held.is_none() && !of.steps;
        if goes {
            of.steps = true;
            let pace = self.random.pick(&[1, 8, 25]);
            self.later(pace, What::Step { pid, attempt, task });
        }
    }

    pub(crate) fn source_steps(&mut self, pid: usize, attempt: Attempt, task: usize) {
        if !self.takes(pid, || What::Step { pid, attempt, task })
            || self.workers[pid].attempt != attempt
            || self.workers[pid].is_ending
        {
            return;
        }
        let of = &mut self.workers[pid].tasks[task];
        of.steps = false;
        if of.held.is_some() {
            return;
        }
        let epoch = of.alignment.epoch();
        let subtask = of.subtask;
        let Kind::Source {
            positions,
            told_end,
        } = &mut of.kind
        else {
            return;
        };
        let splits = &self.job.splits;
        let left: Vec<u32> = positions
            .iter()
            .filter(|(split, at)| (**at as usize) < splits[**split as usize].len())
            .map(|(split, _)| *split)
            .collect();
        if left.is_empty() {
            if !std::mem::replace(told_end, true) {
                let message = FromWorker::SourceEnded {
                    attempt,
                    vertex: SOURCE,
                    subtask,
                };
                self.tell_master(pid, message);
            }
            return;
        }
        let mut keys = Vec::new();
        for _ in 0..=self.random.below(2) {
            let split = self.random.pick(&left);
            let at = positions.get_mut(&split).expect("is one of its own");
            if let Some(key) = splits[split as usize].get(*at as usize) {
                *at += 1;
                keys.push(*key);
            }
        }
        let receivers = of.ways.len() as u32;
        for key in keys {
            let group = self.job.key_group(key);
            let way = group.subtask(receivers, self.job.max_parallelism);
            self.send_data(
                pid,
                task,
                way as usize,
                Element::Rows(epoch, vec![(key, 0)]),
            );
        }
        self.source_goes_on(pid, task);
    }

    // Records and barriers.

    pub(crate) fn data_arrives(
        &mut self,
        pid: usize,
        attempt: Attempt,
        to: (u32, u32),
        channel: usize,
        element: Element,
    ) {
        match self.workers[pid].life.at(self.now_ms) {
            Life::Dead => return,
            Life::Paused(until) => {
                let what = What::Data {
                    pid,
                    attempt,
                    task: to,
                    channel,
                    element,
                };
                return self.put_off(until, what);
            }
            Life::Runs => {}
        }
        let worker = &mut self.workers[pid];
        if worker.attempt < attempt || worker.attempt == attempt && !worker.is_open {
            // Its own deployment is on its way.
            return worker.early.push((attempt, to, channel, element));
        }
        if worker.attempt > attempt || worker.is_ending {
            return;
        }
        let Some(task) = worker.task(to) else {
            return self.law(false, || format!("task {to:?} is not in process {pid}"));
        };
        if let Kind::Sink {
            restoring: true,
            waiting,
            ..
        } = &mut worker.tasks[task].kind
        {
            return waiting.push_back((channel, element));
        }
        self.task_takes(pid, task, channel, element);
    }

    fn task_takes(&mut self, pid: usize, task: usize, channel: usize, element: Element) {
        let of = &mut self.workers[pid].tasks[task];
        match element {
            Element::Rows(epoch, rows) => match of.alignment.arrive(pack(epoch, 0), || 0) {
                Arrival::Queue => self.work(pid, task, rows),
                Arrival::Stash => of.stash.push_back((epoch, rows)),
                Arrival::Overtaken => {
                    self.law(false, || format!("epoch {epoch} is over at task {task}"));
                }
            },
            Element::Barrier(epoch) => {
                of.frontiers[channel] = epoch + 1;
                loop {
                    let of = &self.workers[pid].tasks[task];
                    let frontier = of.frontiers.iter().min().map(|epoch| pack(*epoch, 0));
                    if !of.alignment.is_reached(frontier, []) {
                        return;
                    }
                    self.pass_barrier(pid, task);
                    if self.workers[pid].tasks.is_empty() {
                        return;
                    }
                    let stash = std::mem::take(&mut self.workers[pid].tasks[task].stash);
                    for (epoch, rows) in stash {
                        let of = &mut self.workers[pid].tasks[task];
                        match of.alignment.arrive(pack(epoch, 0), || 0) {
                            Arrival::Queue => self.work(pid, task, rows),
                            Arrival::Stash | Arrival::Overtaken => {
                                of.stash.push_back((epoch, rows));
                            }
                        }
                    }
                }
            }
        }
    }

    fn work(&mut self, pid: usize, task: usize, rows: Vec<Row>) {
        let of = &mut self.workers[pid].tasks[task];
        let epoch = of.alignment.epoch();
        let ways = of.ways.len();
        match &mut of.kind {
            Kind::Source { .. } => {}
            Kind::Sink { rows: written, .. } => written.extend(rows),
            Kind::Count {
                counts,
                range,
                next_sink,
            } => {
                let mut out = Vec::new();
                let range = *range;
                for (key, _) in rows {
                    let count = counts.entry(key).or_default();
                    *count += 1;
                    out.push((key, *count));
                }
                *next_sink += 1;
                let way = *next_sink % ways;
                for (key, _) in &out {
                    let group = self.job.key_group(*key);
                    self.law(range.contains(group), || {
                        format!("key {key} is at the subtask of {range:?}")
                    });
                }
                self.send_data(pid, task, way, Element::Rows(epoch, out));
            }
        }
    }

    /// The task snapshots, if that is what the end of its epoch is, and enters the next epoch.
    fn pass_barrier(&mut self, pid: usize, task: usize) {
        let epoch = self.workers[pid].tasks[task].alignment.epoch();
        match self.workers[pid].ends.get(&epoch).cloned() {
            Some(EpochEnd::Snapshot(options)) => self.freeze(pid, task, options),
            Some(EpochEnd::Nothing) => {}
            None => self.law(false, || {
                format!("process {pid} does not know what the end of epoch {epoch} is")
            }),
        }
        let of = &mut self.workers[pid].tasks[task];
        of.alignment.pass(0);
        for way in 0..of.ways.len() {
            self.send_data(pid, task, way, Element::Barrier(epoch));
        }
    }

    fn freeze(&mut self, pid: usize, task: usize, options: SnapshotOptions) {
        let worker = &mut self.workers[pid];
        let is_aborted = worker.heard_aborted.contains(&options.id);
        let of = &mut worker.tasks[task];
        if options.stop.is_some() && !is_aborted {
            of.held = Some(options.id);
        }
        let frozen = match &mut of.kind {
            Kind::Source { positions, .. } => Frozen::Source(positions.clone()),
            Kind::Count { counts, .. } => Frozen::Count(counts.clone()),
            Kind::Sink {
                rows,
                pending,
                under_way,
                ..
            } => {
                if !rows.is_empty() {
                    let transaction = self.output.prepare(std::mem::take(rows));
                    pending.insert(options.id, transaction);
                }
                let all = under_way.iter().map(|(_, id)| *id);
                Frozen::Sink(all.chain(pending.values().copied()).collect())
            }
        };
        let part = Box::new(Part {
            attempt: worker.attempt,
            vertex: of.vertex,
            subtask: of.subtask,
            options,
            frozen,
        });
        let duration = match self.is_calm {
            true => 3,
            false => self.random.pick(&[0, 1, 5, 5, 20, 20, 100, 700]),
        };
        self.later(duration, What::Part { pid, part });
    }

    pub(crate) fn write_part(&mut self, pid: usize, part: Box<Part>) {
        match self.workers[pid].life.at(self.now_ms) {
            Life::Runs => {}
            Life::Paused(until) => return self.put_off(until, What::Part { pid, part }),
            Life::Dead => {
                // Some of its files were written; nobody hears of them.
                if self.random.percent(30) {
                    self.leave_file(&part.options.directory.clone());
                }
                return;
            }
        }
        let is_over = self.workers[pid].attempt != part.attempt || self.workers[pid].is_ending;
        if is_over && self.random.percent(50) {
            // An attempt that ends does not wait for ever for what is being written.
            return self.leave_file(&part.options.shared_directory.clone());
        }
        let (attempt, checkpoint) = (part.attempt, part.options.id);
        let written = match self.fault(10) {
            true => None,
            false => self.write_state(pid, &part),
        };
        let message = match written {
            Some(acknowledgement) => FromWorker::Acknowledge {
                attempt,
                checkpoint,
                acknowledgement,
            },
            None => {
                self.see("a declined checkpoint");
                FromWorker::Decline {
                    attempt,
                    checkpoint,
                    vertex: part.vertex,
                    subtask: part.subtask,
                    reason: "no space left on device".to_owned(),
                }
            }
        };
        self.tell_master(pid, message);
    }

    /// The files of the key groups of a part's base, as far as the task knows them.
    pub(crate) fn base_files(&self, pid: usize, part: &Part) -> Option<&BTreeMap<u16, String>> {
        let worker = &self.workers[pid];
        let task = worker.task((part.vertex.0, part.subtask))?;
        worker.tasks[task].files.get(&part.options.base?)
    }

    pub(crate) fn remember_files(&mut self, pid: usize, part: &Part, own: BTreeMap<u16, String>) {
        let worker = &mut self.workers[pid];
        if let Some(task) = worker.task((part.vertex.0, part.subtask))
            && worker.attempt == part.attempt
        {
            worker.tasks[task].files.insert(part.options.id, own);
        }
    }

    // What the master says.

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

    fn checkpoint_is_complete(&mut self, pid: usize, checkpoint: CheckpointId) {
        let is_stop = self.workers[pid].ends.values().any(|end| match end {
            EpochEnd::Snapshot(options) => options.id == checkpoint && options.stop.is_some(),
            EpochEnd::Nothing => false,
        });
        for task in 0..self.workers[pid].tasks.len() {
            let of = &mut self.workers[pid].tasks[task];
            let held = of.held;
            if let Kind::Sink { due, .. } = &mut of.kind {
                *due = (*due).max(Some(checkpoint));
                self.commit_next(pid, task);
            }
            self.law(!is_stop || held == Some(checkpoint), || {
                format!(
                    "task {task} is told that {checkpoint} is complete, and is held by {held:?}"
                )
            });
        }
        if is_stop {
            self.end_attempt_in(pid);
        }
    }

    fn commit_next(&mut self, pid: usize, task: usize) {
        let attempt = self.workers[pid].attempt;
        let Kind::Sink {
            pending,
            under_way,
            due,
            ..
        } = &mut self.workers[pid].tasks[task].kind
        else {
            return;
        };
        if !under_way.is_empty() {
            return;
        }
        let Some(up_to) = due.take() else {
            return;
        };
        let later = pending.split_off(&(up_to + 1));
        under_way.extend(std::mem::replace(pending, later));
        if !under_way.is_empty() {
            let duration = self.random.pick(&[0, 3, 50]);
            self.later(duration, What::Committed { pid, attempt, task });
        }
    }

    pub(crate) fn committed(&mut self, pid: usize, attempt: Attempt, task: usize) {
        if !self.takes(pid, || What::Committed { pid, attempt, task })
            || self.workers[pid].attempt != attempt
        {
            return;
        }
        let Some(Task {
            kind:
                Kind::Sink {
                    under_way,
                    restoring,
                    waiting,
                    ..
                },
            ..
        }) = self.workers[pid].tasks.get_mut(task)
        else {
            return;
        };
        let transactions = std::mem::take(under_way);
        let was_restoring = std::mem::replace(restoring, false);
        let waiting = std::mem::take(waiting);
        self.note(|| format!("process {pid} commits {transactions:?}"));
        for (_, mut transaction) in transactions {
            if was_restoring && self.bug == Some(Bug::CommitTwice) {
                let rows = self.output.rows_of(transaction).to_vec();
                transaction = self.output.prepare(rows);
            }
            let outcome = self.output.commit(transaction);
            self.law_of(outcome);
        }
        self.commit_next(pid, task);
        if self.workers[pid].is_ending {
            return self.end_attempt_in(pid);
        }
        for (channel, element) in waiting {
            self.task_takes(pid, task, channel, element);
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

//! A task passes a barrier; its part of a snapshot is written later.

use std::collections::BTreeMap;

use millpond_job::gateway::{Attempt, Epoch, EpochEnd, FromWorker, SnapshotOptions};

use super::{Element, Frozen, Kind, Life, Part};
use crate::job::SOURCE;
use crate::world::{What, World};

impl World {
    /// The task snapshots, if that is what the end of its epoch is, and enters the next epoch.
    pub(super) fn pass_barrier(&mut self, pid: usize, task: usize) {
        let epoch = self.workers[pid].tasks[task].alignment.epoch();
        match self.workers[pid].ends.get(&epoch).cloned() {
            Some(EpochEnd::Snapshot(options)) => {
                let part = self.freeze(pid, task, options);
                self.submit(pid, part);
            }
            Some(EpochEnd::Nothing) => {}
            None => self.law(false, || {
                format!("process {pid} does not know what the end of epoch {epoch} is")
            }),
        }
        self.enter_next_epoch(pid, task);
    }

    fn enter_next_epoch(&mut self, pid: usize, task: usize) {
        let of = &mut self.workers[pid].tasks[task];
        let epoch = of.alignment.epoch();
        of.alignment.pass(0);
        for way in 0..of.ways.len() {
            self.send_data(pid, task, way, Element::Barrier(epoch));
        }
    }

    /// When the barrier at the end of an epoch waits no longer for records in flight, tasks look again.
    pub(super) fn plan_to_overtake(&mut self, pid: usize, epoch: Epoch) {
        let Some(EpochEnd::Snapshot(options)) = self.workers[pid].ends.get(&epoch) else {
            return;
        };
        if let Some(at_ms) = options.overtakes_at_ms() {
            let attempt = self.workers[pid].attempt;
            let in_ms = at_ms.saturating_sub(self.now_ms);
            self.later(in_ms, What::Overtake { pid, attempt });
        }
    }

    pub(crate) fn tasks_overtake(&mut self, pid: usize, attempt: Attempt) {
        if !self.takes(pid, || What::Overtake { pid, attempt })
            || self.workers[pid].attempt != attempt
            || self.workers[pid].is_ending
        {
            return;
        }
        for task in 0..self.workers[pid].tasks.len() {
            self.overtake(pid, task);
        }
    }

    /// Passes the barriers that are due and need not wait for records in flight.
    pub(super) fn overtake(&mut self, pid: usize, task: usize) {
        while let Some(options) = self.may_overtake(pid, task) {
            self.see("a barrier that overtakes records");
            let id = options.id;
            let part = self.freeze(pid, task, options);
            let of = &mut self.workers[pid].tasks[task];
            let epoch = of.alignment.epoch();
            of.overtaken.wait(id, epoch, part);
            self.enter_next_epoch(pid, task);
            self.take_from_stash(pid, task);
            self.submit_whole(pid, task);
        }
    }

    fn may_overtake(&self, pid: usize, task: usize) -> Option<SnapshotOptions> {
        let worker = &self.workers[pid];
        let of = worker.tasks.get(task)?;
        let epoch = of.alignment.epoch();
        let restoring = matches!(of.kind, Kind::Sink { restoring, .. } if restoring);
        if of.vertex == SOURCE || restoring || epoch >= worker.may_end {
            return None;
        }
        let Some(EpochEnd::Snapshot(options)) = worker.ends.get(&epoch) else {
            return None;
        };
        let is_time = options
            .overtakes_at_ms()
            .is_some_and(|at_ms| at_ms <= self.now_ms);
        let may = is_time && of.alignment.can_overtake(&[of.frontier()], []);
        may.then(|| options.clone())
    }

    /// Has the parts written that lack no record any more.
    pub(super) fn submit_whole(&mut self, pid: usize, task: usize) {
        let of = &mut self.workers[pid].tasks[task];
        let frontier = of.frontier();
        for part in of.overtaken.whole(frontier) {
            self.submit(pid, part);
        }
    }

    fn submit(&mut self, pid: usize, part: Box<Part>) {
        let duration = match self.is_calm {
            true => 3,
            false => self.random.pick(&[0, 1, 5, 5, 20, 20, 100, 700]),
        };
        self.later(duration, What::Part { pid, part });
    }

    fn freeze(&mut self, pid: usize, task: usize, options: SnapshotOptions) -> Box<Part> {
        let lineage = self.masters[self.workers[pid].master].lineage;
        let output = &mut self.lineages[lineage].output;
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
                    let transaction = output.prepare(std::mem::take(rows));
                    pending.insert(options.id, transaction);
                }
                let all = under_way.iter().map(|(_, id)| *id);
                Frozen::Sink(all.chain(pending.values().copied()).collect())
            }
        };
        Box::new(Part {
            attempt: worker.attempt,
            vertex: of.vertex,
            subtask: of.subtask,
            options,
            frozen,
            in_flight: Vec::new(),
        })
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
}

//! A task passes a barrier; its part of a snapshot is written later.

use std::collections::BTreeMap;

use millpond_job::gateway::{EpochEnd, FromWorker, SnapshotOptions};

use super::{Element, Frozen, Kind, Life, Part};
use crate::world::{What, World};

impl World {
    /// The task snapshots, if that is what the end of its epoch is, and enters the next epoch.
    pub(super) fn pass_barrier(&mut self, pid: usize, task: usize) {
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
}

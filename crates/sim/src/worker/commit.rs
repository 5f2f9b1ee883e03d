//! Transactions of sinks, committed when their snapshot is complete.

use std::collections::BTreeSet;

use millpond_job::gateway::{Attempt, EpochEnd};
use millpond_types::CheckpointId;

use super::{Kind, Life, Task};
use crate::bug::Bug;
use crate::job::Row;
use crate::world::{What, World};

impl World {
    /// Rows that processes which live were told to commit in the last attempt of their master, and may not
    /// have committed yet: one that is lost may do so at any time.
    pub(crate) fn rows_in_doubt(&self, lineage: usize) -> BTreeSet<Row> {
        let mut rows = BTreeSet::new();
        for worker in self.workers.iter().filter(|one| one.life != Life::Dead) {
            let master = &self.masters[worker.master];
            if master.lineage != lineage {
                continue;
            }
            let output = &self.lineages[lineage].output;
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
                    rows.extend(output.rows_of(*transaction).iter().copied());
                }
            }
        }
        rows
    }

    pub(super) fn checkpoint_is_complete(&mut self, pid: usize, checkpoint: CheckpointId) {
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
                let rows = self.output_of(pid).rows_of(transaction).to_vec();
                transaction = self.output_of(pid).prepare(rows);
            }
            let outcome = self.output_of(pid).commit(transaction);
            self.law_of(outcome);
        }
        self.commit_next(pid, task);
        if self.workers[pid].is_ending {
            return self.end_attempt_in(pid);
        }
        for (channel, element) in waiting {
            self.task_takes(pid, task, channel, element);
        }
        self.overtake(pid, task);
    }
}

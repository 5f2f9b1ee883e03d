//! Sources: a few records of some splits at a time.

use millpond_job::gateway::{Attempt, FromWorker};

use super::{Element, Kind};
use crate::job::SOURCE;
use crate::world::{What, World};

impl World {
    pub(super) fn source_goes_on(&mut self, pid: usize, task: usize) {
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
}

//! Records and barriers between tasks.

use millpond_job::gateway::Attempt;
use millpond_runtime::barrier::Arrival;
use millpond_runtime::time::pack;

use super::{Element, Kind, Life};
use crate::bug::Bug;
use crate::job::Row;
use crate::world::{What, World};

impl World {
    pub(super) fn send_data(&mut self, pid: usize, task: usize, way: usize, element: Element) {
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

    pub(super) fn task_takes(&mut self, pid: usize, task: usize, channel: usize, element: Element) {
        let of = &mut self.workers[pid].tasks[task];
        match element {
            Element::Rows(epoch, rows) => match of.alignment.arrive(pack(epoch, 0), || 0) {
                Arrival::Queue => self.work(pid, task, rows),
                Arrival::Stash => of.stash.push_back((epoch, rows)),
                Arrival::Overtaken => {
                    for part in of.overtaken.of(pack(epoch, 0)) {
                        if self.bug != Some(Bug::LostInFlight) {
                            part.in_flight.extend(&rows);
                        }
                    }
                    self.work(pid, task, rows);
                }
            },
            Element::Barrier(epoch) => {
                of.frontiers[channel] = epoch + 1;
                self.submit_whole(pid, task);
                loop {
                    let of = &self.workers[pid].tasks[task];
                    if !of.alignment.is_reached(of.frontier(), []) {
                        break;
                    }
                    self.pass_barrier(pid, task);
                    if self.workers[pid].tasks.is_empty() {
                        return;
                    }
                    self.take_from_stash(pid, task);
                }
                self.overtake(pid, task);
            }
        }
    }

    /// Works on what waited for the epoch that has begun.
    pub(super) fn take_from_stash(&mut self, pid: usize, task: usize) {
        let stash = std::mem::take(&mut self.workers[pid].tasks[task].stash);
        for (epoch, rows) in stash {
            let of = &mut self.workers[pid].tasks[task];
            match of.alignment.arrive(pack(epoch, 0), || 0) {
                Arrival::Queue => self.work(pid, task, rows),
                Arrival::Stash | Arrival::Overtaken => of.stash.push_back((epoch, rows)),
            }
        }
    }

    pub(super) fn work(&mut self, pid: usize, task: usize, rows: Vec<Row>) {
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
}

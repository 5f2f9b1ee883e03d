//! A process takes part in an attempt: its tasks, and what they restore.

use std::collections::{BTreeMap, VecDeque};

use millpond_job::VertexIndex;
use millpond_job::gateway::{Attempt, FailureKind, FromWorker};
use millpond_runtime::barrier::{Alignment, Mode, Overtaken};
use millpond_types::KeyGroupRange;

use super::{Deployment, Element, Kind, Task, Way};
use crate::bug::Bug;
use crate::in_flight;
use crate::job::{COUNT, SINK, SOURCE};
use crate::state;
use crate::world::{What, World};

impl World {
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
        if self.is_origin_gone(&deployment) {
            return self.cannot_open(pid, attempt);
        }
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
        self.take_in_flight(pid, &deployment);
        for (of, to, channel, element) in std::mem::take(&mut self.workers[pid].early) {
            self.data_arrives(pid, of, to, channel, element);
        }
    }

    /// Whether the snapshot that is restored was another job's, which has deleted it.
    fn is_origin_gone(&self, deployment: &Deployment) -> bool {
        deployment.plan.as_ref().is_some_and(|plan| {
            self.is_of_others(deployment.master, &plan.directory)
                && self.disk.snapshot(&plan.directory).is_none()
        })
    }

    fn cannot_open(&mut self, pid: usize, attempt: Attempt) {
        self.see("a snapshot of another job that is gone");
        let message = FromWorker::Failed {
            attempt,
            process: self.workers[pid].index,
            task: None,
            message: "a file is not there".to_owned(),
            kind: FailureKind::DamagedState,
        };
        self.tell_master(pid, message);
    }

    /// Works on what was in flight in the snapshot, before anything else.
    fn take_in_flight(&mut self, pid: usize, deployment: &Deployment) {
        let Some(plan) = &deployment.plan else {
            return;
        };
        for task in 0..self.workers[pid].tasks.len() {
            let (vertex, subtask) = {
                let of = &self.workers[pid].tasks[task];
                (of.vertex, of.subtask)
            };
            let (operator, parallelism) = {
                let vertex = &deployment.graph.vertices[vertex.0 as usize];
                (vertex.operators[0].id, vertex.parallelism)
            };
            let Some(restored) = plan.operator(operator, subtask) else {
                continue;
            };
            let rows = match vertex {
                SOURCE => continue,
                _ if self.bug == Some(Bug::InFlightTwice) => in_flight::rows(&restored.in_flight),
                COUNT => {
                    let max = self.job.max_parallelism;
                    let range = KeyGroupRange::of_subtask(subtask, parallelism, max);
                    in_flight::of_key_groups(restored, &self.job, range)
                }
                _ => in_flight::of_subtask(restored, subtask, parallelism),
            };
            if rows.is_empty() {
                continue;
            }
            self.see("a restored record in flight");
            match &mut self.workers[pid].tasks[task].kind {
                Kind::Sink {
                    restoring: true,
                    waiting,
                    ..
                } => waiting.push_back((0, Element::Rows(0, rows))),
                Kind::Source { .. } | Kind::Count { .. } | Kind::Sink { .. } => {
                    self.work(pid, task, rows);
                }
            }
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
                    (Some(restored), _) => state::positions(restored).into_iter().collect(),
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
                    if self.bug == Some(Bug::KeyGroupTwice) && u32::from(range.last().0) + 1 < max {
                        let next = millpond_types::KeyGroup(range.last().0 + 1);
                        range = KeyGroupRange::new(range.first(), next);
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
                                let Deployment {
                                    master, attempt, ..
                                } = deployment;
                                let is_stale = self.is_in_vain(*master, *attempt, plan.checkpoint)
                                    || self.is_of_others(*master, &plan.directory);
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
            alignment: Alignment::new(mode, vec![true]),
            frontiers: vec![0; channels],
            stash: VecDeque::new(),
            overtaken: Overtaken::default(),
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
}

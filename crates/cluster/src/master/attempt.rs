//! Attempts: begun, restored, deployed, failed, ended, as [`Lifecycle`](millpond_checkpoint::Lifecycle) decides.

use millpond_checkpoint::{Cancellation, Elastic, Event, Restart};
use millpond_job::dispatcher::ExceptionEntry;
use millpond_job::{JobStatus, ToWorker};
use millpond_operator::source::SourceCoordinator;

use super::Master;
use crate::deployment::{AssignedSplits, Deployment};
use crate::launcher::Room;
use crate::plan;
use crate::recovery::{Recovered, RecoveryError};

impl Master {
    pub(super) fn allocate(&mut self, now_ms: u64) {
        let elastic = self.elastic.as_ref();
        let may_stay = elastic.is_none_or(Elastic::may_keep_slots);
        match self.processes.allocate(self.slot_request(), may_stay) {
            Some(room) => self.begin_attempt(now_ms, room),
            None => self.lifecycle.allocating(),
        }
    }

    pub(super) fn begin_attempt(&mut self, now_ms: u64, room: Room) {
        self.lifecycle.begin(room.processes);
        self.scale(room.parallelism);
        let ask = || {
            let checkpointing = self.options.coordinator.interval_ms.is_some();
            plan::describe(&self.program, self.options.job, checkpointing, &self.clock)
        };
        let recovered = match self
            .recovery
            .recover(&mut self.coordinator, &self.program, ask)
        {
            Ok(recovered) => recovered,
            Err(RecoveryError::Unreachable(reason)) => {
                return match self.lifecycle.unreachable(now_ms) {
                    Some(retry_ms) => tracing::warn!("{reason}; trying again in {retry_ms} ms"),
                    None => self.fail(reason),
                };
            }
            Err(RecoveryError::Refused(message)) => return self.fail(message),
        };
        self.lifecycle.recovered(match &recovered.event {
            Some(Event::Restored { directory, .. }) => Some(directory.clone()),
            _ => None,
        });
        if let Some(from) = &recovered.restore {
            // What the snapshot has fixed stays so in all that follow it.
            from.plan.adopt_max_parallelism(&mut self.program.graph);
            self.view.lock().graph = self.program.graph.clone();
        }
        for warning in &recovered.warnings {
            tracing::warn!("{warning}");
        }
        match self.deploy(recovered, room) {
            Ok(()) => self.lifecycle.deployed(),
            Err(message) => {
                // Those that were not reached have nothing to end; the others are told to.
                self.lifecycle.not_deployed();
                self.fail_attempt(None, message);
            }
        }
    }

    fn deploy(&mut self, recovered: Recovered, room: Room) -> Result<(), String> {
        let attempt = self.lifecycle.attempt();
        {
            let mut view = self.view.lock();
            view.restarts = attempt - 1;
            view.counters.clear();
        }
        self.throughput.reset();
        let splits = self.assign_splits(&recovered)?;
        let count = room.processes;
        let workers = room.workers;
        let restored = recovered.event;
        self.view.lock().restored_from =
            recovered.restore.as_ref().map(|from| from.pointer.clone());
        let deployment = Deployment {
            job: self.options.job,
            attempt,
            workers,
            parallelism: self
                .program
                .graph
                .vertices
                .iter()
                .map(|vertex| vertex.parallelism)
                .collect(),
            exactly_once: self.options.exactly_once,
            checkpointing: self.options.coordinator.interval_ms.is_some()
                && self.options.coordinator.checkpoints_after_tasks_finish,
            restore: recovered.restore,
            local_recovery: self.options.local_recovery.clone(),
            splits,
            data_addresses: Vec::new(),
        };
        self.tell(Event::AttemptStarted {
            attempt,
            processes: count,
        });
        if let Some(event) = restored {
            self.tell(event);
        }
        self.coordinator.restore_read(self.recovery.take_read());
        self.processes.deploy(deployment)
    }

    /// Restores the enumerators, lets them discover splits, and deals these out.
    fn assign_splits(&mut self, recovered: &Recovered) -> Result<Vec<AssignedSplits>, String> {
        let mut assigned = Vec::new();
        self.coordinator_bytes.clear();
        for vertex in &self.program.graph.vertices {
            let head = &vertex.operators[0];
            let Some(factory) = &self.program.nodes[head.node.0 as usize].coordinator else {
                continue;
            };
            let plan = recovered.restore.as_ref().map(|from| &from.plan);
            let restored = plan.and_then(|plan| plan.operator(head.id, 0));
            if restored.is_some_and(|restored| restored.finished) {
                // It had read everything: what it would discover now has been read.
                continue;
            }
            let mut coordinator: Box<dyn SourceCoordinator> = factory();
            let restored = recovered.coordinators.get(&head.id).map(Vec::as_slice);
            let splits = coordinator
                .start(restored, vertex.parallelism)
                .map_err(|error| format!("source \"{}\": {}", head.name, error.chain()))?;
            for (subtask, splits) in splits
                .into_iter()
                .enumerate()
                .filter(|(_, all)| !all.is_empty())
            {
                assigned.push(AssignedSplits {
                    operator: head.id,
                    subtask: subtask as u32,
                    splits,
                });
            }
            self.coordinator_bytes
                .insert(head.id, coordinator.snapshot());
        }
        Ok(assigned)
    }

    pub(super) fn fail_attempt(&mut self, task: Option<String>, message: String) {
        let text = of_task(task.as_deref(), message);
        let now_ms = self.clock.now_ms();
        let Some(restart) = self.lifecycle.failed(now_ms, &text) else {
            return;
        };
        tracing::warn!("attempt {} failed: {text}", self.lifecycle.attempt());
        match &restart {
            // Whoever looks for the reason wants to know why there is no other attempt.
            Restart::Fail { reason } => self.record_exception(task, &format!("{reason}: {text}")),
            Restart::After { .. } => self.record_exception(task, &text),
        }
        self.tell(Event::AttemptFailed { reason: text });
        if let Some(elastic) = &mut self.elastic {
            elastic.ended(false);
        }
        let status = match restart {
            Restart::After { delay_ms } => {
                tracing::info!("restarting in {delay_ms} ms");
                JobStatus::Restarting
            }
            Restart::Fail { .. } => JobStatus::Failing,
        };
        self.view.lock().enter(status, now_ms);
        self.end_attempt();
    }

    /// Fails the job for a reason that no other attempt can mend.
    pub(super) fn fail_for_good(&mut self, task: Option<String>, message: String) {
        let text = of_task(task.as_deref(), message);
        let now_ms = self.clock.now_ms();
        let (is_new, ends_attempt) = self.lifecycle.failed_for_good(now_ms, &text);
        if ends_attempt {
            let reason = text.clone();
            self.tell(Event::AttemptFailed { reason });
            self.end_attempt();
        }
        if is_new {
            let attempt = self.lifecycle.attempt();
            tracing::error!("attempt {attempt} failed for good: {text}");
            self.record_exception(task, &text);
            self.view.lock().enter(JobStatus::Failing, now_ms);
        }
    }

    pub(super) fn cancel(&mut self) {
        let now_ms = self.clock.now_ms();
        let cancellation = self.lifecycle.cancel(now_ms);
        let reason = "the job was cancelled".to_owned();
        match cancellation {
            Cancellation::Ignored => {}
            Cancellation::EndJob => {
                self.tell(Event::AttemptFailed { reason });
                self.end(JobStatus::Canceled, None);
            }
            Cancellation::EndAttempt => {
                self.view.lock().enter(JobStatus::Cancelling, now_ms);
                self.tell(Event::AttemptFailed { reason });
                self.end_attempt();
            }
        }
    }

    /// Has the processes end the attempt.
    pub(super) fn end_attempt(&mut self) {
        self.processes.send(&ToWorker::Cancel {
            attempt: self.lifecycle.attempt(),
        });
    }

    pub(super) fn record_exception(&mut self, task: Option<String>, message: &str) {
        let timestamp_ms = self.clock.now_ms();
        let message = message.to_owned();
        self.view.lock().exception(ExceptionEntry {
            timestamp_ms,
            task,
            message,
        });
    }
}

/// What has happened, with the task in which it did.
fn of_task(task: Option<&str>, message: String) -> String {
    match task {
        Some(task) => format!("{task}: {message}"),
        None => message,
    }
}

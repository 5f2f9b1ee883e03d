//! The job master: carries out what coordinator and [`Lifecycle`] decide.
//!
//! One thread hears everything that happens to a job as [`MasterEvent`]s, in order. What takes
//! time (metadata, deletions) happens on a thread of its own and comes back as an event.

mod actions;
mod attempt;
mod elastic;
mod report;
mod savepoint;
mod scheduled;
mod start;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use millpond_checkpoint::{Coordinator, Due, Elastic, Event, Lifecycle, SavepointSchedule};
use millpond_job::gateway::FailureKind;
use millpond_job::{FromWorker, JobStatus};
use millpond_runtime::Program;
use millpond_snapshot::JobDirectories;
use millpond_types::{Clock, OperatorId};

use crate::event::MasterEvent;
use crate::options::JobOptions;
use crate::processes::{Processes, is_of};
use crate::recovery::Recovery;
use crate::savepoint_history::SavepointHistory;
use crate::snapshot_io::SnapshotIo;
use crate::throughput::Throughput;
use crate::view::View;

pub(crate) use start::start;

/// How a job has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// FINISHED, CANCELED or FAILED.
    pub status: JobStatus,
    /// Why, if it failed.
    pub failure: Option<String>,
    /// Milliseconds from its start.
    pub runtime_ms: u64,
    /// How often it was restored from an older snapshot than the newest, as that was damaged.
    pub fallbacks: u64,
}

struct Master {
    program: Program,
    options: JobOptions,
    coordinator: Coordinator,
    recovery: Recovery,
    lifecycle: Lifecycle,
    /// How the job has ended.
    result: Option<JobResult>,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    processes: Processes,
    /// Where local copies of state lie, if there are any.
    copies: JobDirectories,
    has_removed_dead_copies: bool,
    io: SnapshotIo,
    started_ms: u64,
    /// What the enumerators of the sources have to be restored from.
    coordinator_bytes: HashMap<OperatorId, Vec<u8>>,
    throughput: Throughput,
    savepoint_schedule: Option<SavepointSchedule>,
    /// What the schedule has taken, as the next process of this job will read it.
    savepoint_history: Option<SavepointHistory>,
    /// The savepoint of the schedule that is under way.
    scheduled: Option<scheduled::Scheduled>,
    /// If its parallelism follows the slots that there are.
    elastic: Option<Elastic>,
}

impl Master {
    fn run(mut self, events: &Receiver<MasterEvent>) -> JobResult {
        loop {
            let now_ms = self.clock.now_ms();
            self.tell(Event::Timer);
            self.proceed(now_ms);
            self.measure(false);
            if let Some(result) = self.result.take() {
                self.publish();
                self.io.finish();
                return result;
            }
            self.publish();
            match events.recv_timeout(self.timeout()) {
                Ok(event) => {
                    self.on_event(event);
                    // Handle what has queued up meanwhile before looking at deadlines again.
                    for event in events.try_iter().take(64) {
                        self.on_event(event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the master keeps a sender"),
            }
        }
    }

    fn timeout(&mut self) -> Duration {
        let now_ms = self.clock.now_ms();
        let elastic = self.elastic_deadline();
        let own = self.lifecycle.next_ms(now_ms);
        let savepoint = self
            .savepoint_schedule
            .as_ref()
            .map(SavepointSchedule::next_ms);
        let savepoint = savepoint.filter(|_| self.may_take_scheduled());
        let next = own
            .into_iter()
            .chain(savepoint)
            .chain(elastic)
            .chain(self.coordinator.next_deadline())
            .min();
        let wait = next.map_or(1000, |at| at.saturating_sub(now_ms)).min(1000);
        Duration::from_millis(wait)
    }

    /// Does what is due.
    fn proceed(&mut self, now_ms: u64) {
        self.take_scheduled(now_ms);
        let (lost, is_finalizing) = (self.processes.lost(), self.coordinator.is_finalizing());
        match self.lifecycle.due(now_ms, &lost, is_finalizing) {
            Due::Nothing => self.rescale(now_ms),
            Due::Allocate => self.allocate(now_ms),
            Due::Kill(late) => {
                tracing::warn!("worker processes {late:?} did not end in time and are killed");
                if !self.processes.kill(late.iter().copied()) {
                    let message = "task threads of this process did not end within 10 s; \
                                   they are in user code that does not return";
                    return self.end(JobStatus::Failed, Some(message.to_owned()));
                }
                self.lifecycle.killed(&late);
                self.proceed(now_ms);
            }
            Due::End { status, failure } => self.end(status, failure),
        }
    }

    /// Fails the job, of which nothing runs.
    fn fail(&mut self, why: String) {
        tracing::error!("{why}");
        self.record_exception(None, &why);
        self.end(JobStatus::Failed, Some(why));
    }

    fn end(&mut self, status: JobStatus, failure: Option<String>) {
        self.measure(true);
        self.processes.job_ends(status);
        self.tell(Event::JobEnded { status });
        let now_ms = self.clock.now_ms();
        let runtime_ms = now_ms.saturating_sub(self.started_ms);
        self.lifecycle.end();
        self.result = Some(JobResult {
            status,
            failure,
            runtime_ms,
            fallbacks: self.coordinator.statistics().fallbacks,
        });
        // Deletions come first: whoever sees the end sees what is left.
        self.io.finish();
        self.copies.remove();
        self.copies.remove_dead();
        self.view.lock().end(status, now_ms);
    }

    fn on_event(&mut self, event: MasterEvent) {
        match event {
            MasterEvent::Worker { process, message } => {
                if is_of(&message, self.lifecycle.attempt()) {
                    self.on_worker(process, message);
                } else if matches!(
                    message,
                    FromWorker::Acknowledge { .. } | FromWorker::Decline { .. }
                ) {
                    // Its files are garbage; the coordinator knows whose.
                    self.tell(Event::Worker(message));
                }
            }
            MasterEvent::ProcessLost {
                process,
                generation,
                what,
            } => {
                let lost = self.processes.forget(process, generation);
                // Between two attempts the next deployment starts it again.
                if lost && self.lifecycle.is_under_way() {
                    let process = self.processes.shown(process);
                    self.fail_attempt(None, format!("{process} {what}"));
                }
            }
            MasterEvent::Allocated(room) => {
                self.processes.allocated(room);
                self.view.lock().places = self.processes.places();
                if self.lifecycle.is_allocating() {
                    self.begin_attempt(self.clock.now_ms(), room);
                }
            }
            MasterEvent::Slots(available) => {
                if let Some(elastic) = &mut self.elastic {
                    elastic.offered(available);
                }
            }
            MasterEvent::Require(requirements) => self.require(requirements),
            MasterEvent::NoSlots(reason) => self.fail_attempt(None, reason),
            MasterEvent::MetadataWritten { checkpoint, result } => {
                self.tell(Event::MetadataWritten { checkpoint, result });
                self.log_completed(checkpoint);
                self.remove_dead_copies();
            }
            MasterEvent::Savepoint { trigger, request } => self.on_savepoint(trigger, request),
            MasterEvent::Checkpoint { trigger, kind } => {
                self.tell(Event::TriggerCheckpoint { trigger, kind });
            }
            MasterEvent::CheckpointInterval { interval_ms } => {
                tracing::info!("checkpoints are taken every {interval_ms} ms from now on");
                self.tell(Event::CheckpointInterval { interval_ms });
            }
            MasterEvent::Disposed { directory } => {
                self.note_disposed(&directory);
                self.tell(Event::SavepointDisposed { directory });
            }
            MasterEvent::Cancel => self.cancel(),
        }
    }

    fn on_worker(&mut self, process: u32, message: FromWorker) {
        match message {
            FromWorker::Metrics { subtasks, .. } => {
                let now_ms = self.clock.now_ms();
                let mut view = self.view.lock();
                view.counters.hear(subtasks, now_ms);
                let records = view.source_records();
                drop(view);
                self.throughput.sample(now_ms, records);
            }
            FromWorker::Failed {
                task,
                message,
                kind,
                ..
            } => {
                if kind == FailureKind::DamagedState {
                    self.recovery.damage_found();
                }
                match self.lifecycle.is_final(kind) {
                    true => self.fail_for_good(task, message),
                    false => self.fail_attempt(task, message),
                }
            }
            FromWorker::Ended { .. } => {
                self.lifecycle.process_ended(process, self.clock.now_ms());
            }
            FromWorker::Running { .. } => {
                self.tell(Event::Worker(message));
                if self.lifecycle.process_runs(process) {
                    if let Some(elastic) = &mut self.elastic {
                        elastic.running(self.clock.now_ms());
                    }
                    self.log_restore();
                    self.view
                        .lock()
                        .enter(JobStatus::Running, self.clock.now_ms());
                }
            }
            FromWorker::Announced { .. }
            | FromWorker::Acknowledge { .. }
            | FromWorker::Decline { .. }
            | FromWorker::SourceEnded { .. } => self.tell(Event::Worker(message)),
        }
    }

    /// Deletes the local copies of jobs that were killed, once this one has a snapshot of its own to be
    /// restored from.
    fn remove_dead_copies(&mut self) {
        if self.coordinator.statistics().completed == 0 || self.has_removed_dead_copies {
            return;
        }
        self.has_removed_dead_copies = true;
        let copies = self.copies.clone();
        // If this process ends before, the next job does it.
        std::thread::spawn(move || copies.remove_dead());
    }
}

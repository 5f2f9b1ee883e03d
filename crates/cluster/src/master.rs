//! The job master: carries out what the coordinator and the restart strategy decide.
//!
//! One thread hears everything that happens to a job as [`MasterEvent`]s, in order. What takes
//! time (metadata, deletions) happens on a thread of its own and comes back as an event.

mod elastic;
mod scheduled;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use millpond_checkpoint::{
    Action, Coordinator, Event, Outcome, Released, Restart, RestartConfig, RestartStrategy,
    SavepointSchedule, is_in_memory,
};
use millpond_job::dispatcher::{
    CheckpointStatus, ExceptionEntry, Operation, OperationFailure, SavepointRequest,
};
use millpond_job::gateway::{Attempt, FailureKind};
use millpond_job::{FromWorker, JobStatus, ToWorker};
use millpond_operator::source::SourceCoordinator;
use millpond_runtime::Program;
use millpond_snapshot::{Claim, JobDirectories, OwnerProcess, savepoint_directory};
use millpond_types::{CheckpointId, Clock, OperatorId, TriggerId};

use crate::alignment::Alignment;
use crate::cleaner::Deletion;
use crate::deployment::{AssignedSplits, Deployment};
use crate::elastic::Elastic;
use crate::event::MasterEvent;
use crate::fence::Fence;
use crate::launcher::{Forks, Launcher, Room};
use crate::options::JobOptions;
use crate::plan;
use crate::processes::{Host, Processes, is_of};
use crate::recovery::{Recovered, Recovery, RecoveryError};
use crate::savepoint_history::SavepointHistory;
use crate::snapshot_io::{SnapshotIo, make_shared_directories, prepare_job_directory};
use crate::storage::Storage;
use crate::throughput::{Impact, Throughput};
use crate::view::View;

/// How long a process may take to end an attempt before it is killed.
const END_TIMEOUT_MS: u64 = 10_000;

/// How long to wait before an unreachable snapshot is tried again.
const RECOVERY_RETRY_MS: u64 = 1_000;

/// How many times in a row an unreachable snapshot is tried.
const RECOVERY_RETRIES: u32 = 30;

/// How long the master before this one may take to end, when its process was killed.
const FENCE_PATIENCE: Duration = Duration::from_secs(5);

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

/// Where the job is in its life.
enum Phase {
    /// An attempt is to begin at this time, in milliseconds since 1970.
    Waiting(u64),
    /// Room for worker processes is being looked for.
    Allocating,
    /// Processes are restoring state.
    Deploying,
    /// Records flow.
    Running,
    /// Processes are ending the attempt.
    Ending { next: AfterEnd, deadline_ms: u64 },
    /// Over.
    Ended(JobResult),
}

/// What follows when all processes have ended an attempt.
#[derive(Clone, Debug)]
enum AfterEnd {
    /// Another attempt, not before this time.
    Restart(u64),
    /// The job has failed for good.
    Fail(String),
    /// The job is cancelled.
    Cancel,
    /// The job has reached its end.
    Finish,
}

/// Runs a job on a thread of its own.
pub(crate) fn start(
    program: Program,
    options: JobOptions,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    storage: Storage,
    cluster: Option<(Box<dyn Launcher>, Host)>,
) -> std::io::Result<(Sender<MasterEvent>, JoinHandle<JobResult>)> {
    let (sender, events) = channel();
    let own = (options.processes > 1).then(|| -> (Box<dyn Launcher>, Host) {
        (Box::new(Forks::new(options.processes)), Host::loopback())
    });
    let processes = match cluster.or(own) {
        Some((launcher, host)) => {
            let (events, security) = (sender.clone(), options.security.clone());
            Processes::launched(launcher, &host, security, events, options.heartbeat)?
        }
        None => Processes::local(program.clone(), sender.clone()),
    };
    let fence = Fence::of(storage.clone(), &options.coordinator.checkpoint_directory);
    let io = SnapshotIo::start(
        sender.clone(),
        options.name.clone(),
        options.job,
        storage.clone(),
        fence.clone(),
    )?;
    let elastic = options.elastic.clone().map(|elastic| {
        // By itself a job makes the workers that it wants; a cluster will say.
        let available = if options.cluster.is_some() {
            0
        } else {
            u32::MAX
        };
        Elastic::new(elastic, &program.graph, available)
    });
    // Before anybody can ask for it.
    view.lock().requirements = elastic.as_ref().map(|all| all.requirements().clone());
    let thread = std::thread::Builder::new()
        .name("job-master".to_owned())
        .spawn(move || {
            let directory = &options.coordinator.checkpoint_directory;
            let now_ms = clock.now_ms();
            let checkpointing = options.coordinator.interval_ms.is_some();
            // First of all: what is there may be another master's.
            let entered = fence.enter(checkpointing, FENCE_PATIENCE);
            let taken = match &entered {
                Ok(()) => prepare_job_directory(&storage, directory, options.job),
                Err(_) => 0,
            };
            let mark = match checkpointing && entered.is_ok() {
                true => make_shared_directories(&storage, directory),
                false => None,
            };
            let mut schedule = options
                .savepoint_schedule
                .map(|config| SavepointSchedule::new(config, now_ms));
            let history = options
                .savepoint_directory
                .as_ref()
                .filter(|_| schedule.is_some())
                .and_then(|target| SavepointHistory::read(&storage, target, options.job));
            if let (Some(schedule), Some(history)) = (&mut schedule, &history) {
                schedule.remember(history.taken());
            }
            let restart = options.restart.clone();
            let restart = restart.unwrap_or_else(|| RestartConfig::default_for(checkpointing));
            let strategy = RestartStrategy::new(restart, crate::random::bits());
            let copies = match &entered {
                Ok(()) => options.local_recovery.of_job(options.job),
                Err(_) => JobDirectories::new(&[], options.job),
            };
            if options.local_recovery.backup {
                copies.make();
            }
            view.lock().restart_strategy = strategy.describe();
            let mut master = Master {
                coordinator: Coordinator::new(
                    options.coordinator.clone(),
                    &program.graph,
                    taken + 1,
                ),
                recovery: Recovery::new(
                    options.restore.clone(),
                    storage,
                    own_claim(&options),
                    mark,
                ),
                restart: strategy,
                program,
                options,
                view,
                clock,
                processes,
                copies,
                has_removed_dead_copies: false,
                io,
                phase: Phase::Waiting(now_ms),
                attempt: 0,
                started_ms: now_ms,
                running: BTreeSet::new(),
                ended: BTreeSet::new(),
                coordinator_bytes: HashMap::new(),
                recovery_retries: 0,
                restored: None,
                unreadable: None,
                throughput: Throughput::default(),
                savepoint_schedule: schedule,
                savepoint_history: history,
                scheduled: None,
                elastic,
            };
            if let Err(why) = entered {
                master.fail(why);
            }
            master.run(&events)
        })?;
    Ok((sender, thread))
}

/// How this job notes what it claims.
fn own_claim(options: &JobOptions) -> Claim {
    let checkpoints = &options.coordinator.checkpoint_directory;
    Claim {
        job: options.job.to_string(),
        name: options.name.clone(),
        checkpoints: (!is_in_memory(checkpoints)).then(|| checkpoints.clone()),
        process: OwnerProcess::this(),
    }
}

struct Master {
    program: Program,
    options: JobOptions,
    coordinator: Coordinator,
    recovery: Recovery,
    restart: RestartStrategy,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    processes: Processes,
    /// Where local copies of state lie, if there are any.
    copies: JobDirectories,
    has_removed_dead_copies: bool,
    io: SnapshotIo,
    phase: Phase,
    attempt: Attempt,
    started_ms: u64,
    /// Processes whose subtasks all run.
    running: BTreeSet<u32>,
    /// Processes that have ended the attempt.
    ended: BTreeSet<u32>,
    /// What the enumerators of the sources have to be restored from.
    coordinator_bytes: HashMap<OperatorId, Vec<u8>>,
    recovery_retries: u32,
    /// Directory of the snapshot that the attempt was restored from.
    restored: Option<String>,
    /// The attempt that could not be opened as state was damaged though its files had been found
    /// intact, and its snapshot.
    unreadable: Option<(Attempt, String)>,
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
            if let Phase::Ended(result) = &self.phase {
                let result = result.clone();
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
        let own = match &self.phase {
            Phase::Waiting(until) => Some(*until),
            // Behind its deadline it waits for metadata, whose outcome is an event.
            Phase::Ending { deadline_ms, .. } => Some(*deadline_ms).filter(|at| *at > now_ms),
            Phase::Allocating | Phase::Deploying | Phase::Running | Phase::Ended(_) => None,
        };
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
        match &self.phase {
            Phase::Waiting(until) if *until <= now_ms && !self.coordinator.is_finalizing() => {
                self.allocate(now_ms);
            }
            Phase::Ending { next, deadline_ms } => {
                let missing: Vec<u32> = (0..self.processes.count())
                    .filter(|p| !self.ended.contains(p))
                    .collect();
                let lost = self.processes.lost();
                let waits = missing.iter().any(|process| !lost.contains(process));
                if waits && *deadline_ms > now_ms {
                    return;
                }
                let next = next.clone();
                if waits {
                    tracing::warn!(
                        "worker processes {missing:?} did not end in time and are killed"
                    );
                    if !self.processes.kill(missing.into_iter()) {
                        let message = "task threads of this process did not end within 10 s; \
                                       they are in user code that does not return";
                        self.end(JobStatus::Failed, Some(message.to_owned()));
                        return;
                    }
                }
                if !self.coordinator.is_finalizing() {
                    self.after_end(next, now_ms);
                }
            }
            Phase::Running => self.rescale(now_ms),
            Phase::Waiting(_) | Phase::Allocating | Phase::Deploying | Phase::Ended(_) => {}
        }
    }

    fn allocate(&mut self, now_ms: u64) {
        let elastic = self.elastic.as_ref();
        let may_stay = elastic.is_none_or(Elastic::may_keep_slots);
        match self.processes.allocate(self.slot_request(), may_stay) {
            Some(room) => self.begin_attempt(now_ms, room),
            None => self.phase = Phase::Allocating,
        }
    }

    fn after_end(&mut self, next: AfterEnd, now_ms: u64) {
        match next {
            AfterEnd::Restart(at) => self.phase = Phase::Waiting(at.max(now_ms)),
            AfterEnd::Fail(message) => self.end(JobStatus::Failed, Some(message)),
            AfterEnd::Cancel => self.end(JobStatus::Canceled, None),
            AfterEnd::Finish => self.end(JobStatus::Finished, None),
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
        self.phase = Phase::Ended(JobResult {
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

    fn begin_attempt(&mut self, now_ms: u64, room: Room) {
        self.attempt += 1;
        self.running.clear();
        self.ended.clear();
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
            Err(RecoveryError::Unreachable(reason)) if self.recovery_retries < RECOVERY_RETRIES => {
                tracing::warn!("{reason}; trying again in {RECOVERY_RETRY_MS} ms");
                self.recovery_retries += 1;
                self.phase = Phase::Waiting(now_ms + RECOVERY_RETRY_MS);
                return;
            }
            Err(RecoveryError::Unreachable(message) | RecoveryError::Refused(message)) => {
                self.fail(message);
                return;
            }
        };
        self.recovery_retries = 0;
        if let Some(from) = &recovered.restore {
            // What the snapshot has fixed stays so in all that follow it.
            from.plan.adopt_max_parallelism(&mut self.program.graph);
            self.view.lock().graph = self.program.graph.clone();
        }
        for warning in &recovered.warnings {
            tracing::warn!("{warning}");
        }
        match self.deploy(recovered, room) {
            Ok(()) => self.phase = Phase::Deploying,
            Err(message) => {
                // Those that were not reached have nothing to end; the others are told to.
                self.ended.extend(0..self.processes.count());
                self.fail_attempt(None, message);
            }
        }
    }

    fn deploy(&mut self, recovered: Recovered, room: Room) -> Result<(), String> {
        {
            let mut view = self.view.lock();
            view.restarts = self.attempt - 1;
            view.counters.clear();
        }
        self.throughput.reset();
        let splits = self.assign_splits(&recovered)?;
        let count = room.processes;
        let workers = room.workers;
        let restored = recovered.event;
        self.restored = match &restored {
            Some(Event::Restored { directory, .. }) => Some(directory.clone()),
            _ => None,
        };
        self.view.lock().restored_from =
            recovered.restore.as_ref().map(|from| from.pointer.clone());
        let deployment = Deployment {
            job: self.options.job,
            attempt: self.attempt,
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
            attempt: self.attempt,
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

    fn on_event(&mut self, event: MasterEvent) {
        match event {
            MasterEvent::Worker { process, message } => {
                if is_of(&message, self.attempt) {
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
                if lost && matches!(self.phase, Phase::Deploying | Phase::Running) {
                    self.fail_attempt(None, format!("worker process {process} {what}"));
                }
            }
            MasterEvent::Allocated(room) => {
                self.processes.allocated(room);
                if matches!(self.phase, Phase::Allocating) {
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
            } => match self.is_final(kind) {
                true => self.fail_for_good(task, message),
                false => self.fail_attempt(task, message),
            },
            FromWorker::Ended { .. } => {
                self.ended.insert(process);
                let all = self.ended.len() as u32 == self.processes.count();
                if all && matches!(self.phase, Phase::Running | Phase::Deploying) {
                    // Metadata of a slower snapshot may be being written: its outcome is awaited, or it
                    // would lie there and nobody would know of it.
                    self.phase = Phase::Ending {
                        next: AfterEnd::Finish,
                        deadline_ms: self.clock.now_ms(),
                    };
                }
            }
            FromWorker::Running { .. } => {
                self.running.insert(process);
                self.tell(Event::Worker(message));
                let all = self.running.len() as u32 == self.processes.count();
                if all && matches!(self.phase, Phase::Deploying) {
                    self.phase = Phase::Running;
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

    /// Tells what the restore of this attempt has read, if it was restored.
    fn log_restore(&self) {
        let restored = self.coordinator.statistics().latest_restored.as_ref();
        let Some(restored) = restored.filter(|_| self.restored.is_some()) else {
            return;
        };
        let read = restored.read;
        tracing::info!(
            "attempt {} is restored from \"{}\": {} bytes of state read locally, {} from the storage of \
             checkpoints; {} local copies of no use",
            self.attempt,
            restored.external_path,
            read.local_bytes,
            read.remote_bytes,
            read.unusable_copies
        );
    }

    fn on_savepoint(&mut self, trigger: TriggerId, request: SavepointRequest) {
        if self.coordinator.savepoint_status(trigger).is_some() {
            return;
        }
        let directory = match self.directory_of_savepoint(request.target_directory) {
            Ok(directory) => directory,
            Err(why) => return self.refuse_savepoint(trigger, why),
        };
        self.tell(Event::TriggerSavepoint {
            trigger,
            directory,
            then: request.then,
            format: request.format,
        });
    }

    /// A new directory for a savepoint, in `target` or where the job's savepoints go.
    fn directory_of_savepoint(&self, target: Option<String>) -> Result<String, String> {
        let target = target
            .or_else(|| self.options.savepoint_directory.clone())
            .ok_or("no target directory")?;
        let target = millpond_fs::Location::parse(&target).map_err(|error| error.to_string())?;
        let directory = savepoint_directory(&target, self.options.job, crate::random::bytes());
        Ok(directory.to_string())
    }

    fn refuse_savepoint(&mut self, trigger: TriggerId, message: String) {
        let class = "org.apache.flink.util.FlinkException".to_owned();
        let failure = OperationFailure { class, message };
        self.view
            .lock()
            .savepoints
            .insert(trigger, Operation::Completed(Err(failure)));
    }

    fn cancel(&mut self) {
        match &self.phase {
            Phase::Ended(_) => {}
            Phase::Waiting(_) | Phase::Allocating => {
                self.tell(Event::AttemptFailed {
                    reason: "the job was cancelled".to_owned(),
                });
                self.end(JobStatus::Canceled, None);
            }
            Phase::Ending {
                next: AfterEnd::Fail(_) | AfterEnd::Finish,
                ..
            } => {}
            Phase::Ending { .. } | Phase::Deploying | Phase::Running => {
                self.view
                    .lock()
                    .enter(JobStatus::Cancelling, self.clock.now_ms());
                self.tell(Event::AttemptFailed {
                    reason: "the job was cancelled".to_owned(),
                });
                self.end_attempt(AfterEnd::Cancel);
            }
        }
    }

    fn end_attempt(&mut self, next: AfterEnd) {
        let deadline_ms = self.clock.now_ms() + END_TIMEOUT_MS;
        self.phase = Phase::Ending { next, deadline_ms };
        self.processes.send(&ToWorker::Cancel {
            attempt: self.attempt,
        });
    }

    fn record_exception(&mut self, task: Option<String>, message: &str) {
        let timestamp_ms = self.clock.now_ms();
        let message = message.to_owned();
        self.view.lock().exception(ExceptionEntry {
            timestamp_ms,
            task,
            message,
        });
    }

    fn fail_attempt(&mut self, task: Option<String>, message: String) {
        if !matches!(
            self.phase,
            Phase::Allocating | Phase::Deploying | Phase::Running | Phase::Waiting(_)
        ) {
            return;
        }
        let text = match &task {
            Some(task) => format!("{task}: {message}"),
            None => message,
        };
        tracing::warn!("attempt {} failed: {text}", self.attempt);
        self.record_exception(task, &text);
        let now_ms = self.clock.now_ms();
        self.tell(Event::AttemptFailed {
            reason: text.clone(),
        });
        if let Some(elastic) = &mut self.elastic {
            elastic.ended(false);
        }
        match self.restart.failed(now_ms) {
            Restart::After { delay_ms } => {
                tracing::info!("restarting in {delay_ms} ms");
                self.view.lock().enter(JobStatus::Restarting, now_ms);
                self.end_attempt(AfterEnd::Restart(now_ms + delay_ms));
            }
            Restart::Fail { reason } => {
                self.view.lock().enter(JobStatus::Failing, now_ms);
                self.end_attempt(AfterEnd::Fail(format!("{reason}: {text}")));
            }
        }
    }

    /// Whether a failure ends the job whatever the restart strategy says.
    fn is_final(&mut self, kind: FailureKind) -> bool {
        match kind {
            FailureKind::Retryable => false,
            FailureKind::RefusedState => true,
            FailureKind::DamagedState => {
                let Some(restored) = self.restored.clone() else {
                    return false;
                };
                // Several processes may tell of the same attempt.
                let before = self.unreadable.as_ref();
                let again = before.is_some_and(|(attempt, snapshot)| {
                    *attempt < self.attempt && *snapshot == restored
                });
                self.unreadable = Some((self.attempt, restored));
                again
            }
        }
    }

    /// Fails the job for a reason that no other attempt can mend.
    fn fail_for_good(&mut self, task: Option<String>, message: String) {
        let text = match &task {
            Some(task) => format!("{task}: {message}"),
            None => message,
        };
        let failure = format!("The failure is not recoverable: {text}");
        match &mut self.phase {
            // Another process was faster, with what it saw of the same failure.
            Phase::Ending { next, .. } if matches!(next, AfterEnd::Restart(_)) => {
                *next = AfterEnd::Fail(failure);
            }
            Phase::Deploying | Phase::Running => {
                self.tell(Event::AttemptFailed {
                    reason: text.clone(),
                });
                self.end_attempt(AfterEnd::Fail(failure));
            }
            Phase::Waiting(_) | Phase::Allocating | Phase::Ending { .. } | Phase::Ended(_) => {
                return;
            }
        }
        tracing::error!("attempt {} failed for good: {text}", self.attempt);
        self.record_exception(task, &text);
        let now_ms = self.clock.now_ms();
        self.view.lock().enter(JobStatus::Failing, now_ms);
    }

    /// Tells the coordinator and carries out what it wants.
    fn tell(&mut self, event: Event) {
        let actions = self.coordinator.handle(self.clock.now_ms(), event);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(message) => self.processes.send(&message),
            Action::Complete(completion) => {
                self.io
                    .complete(*completion, &self.program.graph, &self.coordinator_bytes);
            }
            Action::Discard {
                directory,
                scope,
                released,
                ..
            } => self.io.delete(Deletion {
                snapshot: Some((directory, scope)),
                released,
            }),
            Action::Release(released) => self.io.delete(Deletion {
                snapshot: None,
                released,
            }),
            Action::EndClaim { directory } => self.io.delete(Deletion {
                snapshot: None,
                released: Released {
                    files: Vec::new(),
                    claims_ended: vec![directory],
                },
            }),
            Action::Finish { trigger, outcome } => {
                let mut view = self.view.lock();
                match outcome {
                    Outcome::Savepoint(result) if self.is_scheduled(trigger) => {
                        drop(view);
                        self.scheduled_ended(result);
                    }
                    Outcome::Savepoint(result) => {
                        view.savepoints
                            .insert(trigger, Operation::Completed(result));
                    }
                    Outcome::Checkpoint(result) if self.is_of_elastic(trigger) => {
                        drop(view);
                        let result = result.map(drop).map_err(|failure| failure.message);
                        self.elastic_checkpoint_ended(result);
                    }
                    Outcome::Checkpoint(result) => {
                        view.checkpoints
                            .insert(trigger, Operation::Completed(result));
                    }
                }
            }
            Action::FailAttempt { reason } => self.fail_attempt(None, reason),
            Action::CancelJob => self.cancel(),
            Action::EndOfInput => {
                self.processes.send(&ToWorker::EndOfInput {
                    attempt: self.attempt,
                });
            }
        }
    }

    /// Tells how fast the job read before and during its snapshots; `finally` waits for no more.
    fn measure(&mut self, finally: bool) {
        let statistics = self.coordinator.statistics();
        let latest = [
            &statistics.latest_completed,
            &statistics.latest_savepoint,
            &statistics.latest_failed,
        ];
        for record in statistics
            .history
            .iter()
            .rev()
            .chain(latest.into_iter().flatten())
        {
            self.throughput
                .began(record.id, record.trigger_timestamp_ms);
            let ended_ms = record.trigger_timestamp_ms + record.end_to_end_duration_ms;
            match record.status {
                CheckpointStatus::InProgress => {}
                CheckpointStatus::Completed => self.throughput.ended(record.id, ended_ms),
                CheckpointStatus::Failed => self.throughput.failed(record.id),
            }
        }
        for impact in self.throughput.measured(self.clock.now_ms(), finally) {
            self.tell(Event::Measured {
                checkpoint: impact.checkpoint,
                records_per_second_before: impact.before,
                records_per_second_during: impact.during,
            });
            self.log_impact(&impact);
        }
    }

    /// Tells of a checkpoint that has just become complete; of a savepoint more is told
    /// [later](Self::log_impact).
    fn log_completed(&self, checkpoint: CheckpointId) {
        let completed = &self.coordinator.statistics().latest_completed;
        let Some(record) = completed.as_ref().filter(|c| c.id == checkpoint) else {
            return;
        };
        tracing::info!(
            "Completed checkpoint {checkpoint} for job {} ({} bytes, of which {} are new, \
             {} files made, checkpointDuration={} ms; {}).",
            self.options.job,
            record.state_bytes,
            record.checkpointed_bytes,
            record.created_files,
            record.end_to_end_duration_ms,
            Alignment(record)
        );
    }

    fn log_impact(&self, impact: &Impact) {
        let savepoint = &self.coordinator.statistics().latest_savepoint;
        let Some(savepoint) = savepoint.as_ref().filter(|s| s.id == impact.checkpoint) else {
            return;
        };
        let before = match impact.before {
            Some(before) => format!("{before:.0} records/s before it"),
            None => "nothing was read before it".to_owned(),
        };
        tracing::info!(
            "savepoint {} \"{}\" is complete after {} ms: {before}, {:.0} records/s during it",
            savepoint.id,
            savepoint.external_path.as_deref().unwrap_or_default(),
            savepoint.end_to_end_duration_ms,
            impact.during
        );
    }

    /// Lets others see the coordinator's statistics.
    fn publish(&mut self) {
        let mut view = self.view.lock();
        if view.statistics != *self.coordinator.statistics() {
            view.statistics = self.coordinator.statistics().clone();
        }
    }
}

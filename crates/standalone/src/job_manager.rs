//! The job manager: starts the masters of jobs, finds slots for them, and hands on what is said.
//!
//! One thread hears everything as [`Event`]s, in order.

mod changes;
mod masterless;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millpond_cluster::{Disposals, Heartbeat, JobManagerAddress, Outbox, random};
use millpond_job::dispatcher::{DispatchError, Dispatcher, TaskManagerOverview};
use millpond_job::gateway::Attempt;
use millpond_job::programs::Programs;
use millpond_job::resources::{
    FromJobMaster, FromTaskManager, StartWorker, TaskManagerInfo, ToJobMaster, ToTaskManager,
    Welcome, WorkerId,
};
use millpond_job::{JobReport, JobRequirements, JobStatus};
use millpond_leadership::Term;
use millpond_security::Internal;
use millpond_types::config::{Configuration, options};
use millpond_types::{ATTEMPTS_PER_MASTER, Clock, JobId, SystemClock};

use crate::application::{Application, Left, Preparation};
use crate::connections::Acceptor;
use crate::job_process::{JobProcess, ProcessEnd, Program};
use crate::job_recovery::RecoveryError;
use crate::job_store::{JobStore, StoredJob};
use crate::offers::Offers;
use crate::program_store::ProgramStore;
use crate::registry::Registry;
use crate::session_dispatcher::SessionDispatcher;
use crate::slot_pool::SlotPool;

/// How long a program may take until it has a job.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(60);

/// The pause before a job is started again, the second time; each is twice the one before, up to a minute.
const RETRY: Duration = Duration::from_secs(1);

/// How often deadlines are looked at when nothing happens.
const LOOK: Duration = Duration::from_millis(200);

/// How a job manager works.
#[derive(Clone, Debug)]
pub(crate) struct JobManagerOptions {
    /// The address that it binds to, for task managers and job masters.
    pub(crate) bind_host: String,
    /// Its port for them; 0: one that the system chooses.
    pub(crate) port: u16,
    /// Its name or address for them.
    pub(crate) address: String,
    /// Where its REST API listens, for programs that want to tell their users.
    pub(crate) rest: String,
    /// How all in the cluster say that they live.
    pub(crate) heartbeat: Heartbeat,
    /// For how long a job waits for slots.
    pub(crate) slot_timeout: Duration,
    /// Where it keeps programs and logs of jobs.
    pub(crate) directory: PathBuf,
    /// Whether it keeps the jobs there as well, goes on with those that it finds, and starts a job again
    /// whose master is gone.
    pub(crate) keeps_jobs: bool,
    /// Until when it leads.
    pub(crate) term: Term,
    /// What it runs.
    pub(crate) mode: Mode,
    /// The most bytes of a program.
    pub(crate) max_program_bytes: u64,
    /// Who may connect.
    pub(crate) security: Internal,
    /// The options of the cluster, weaker than those of each job.
    pub(crate) configuration: Configuration,
}

/// What a job manager runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What users submit to it.
    Session,
    /// One program, once.
    Application,
}

/// What a job manager hears.
pub(crate) enum Event {
    TaskManagerCame {
        info: TaskManagerInfo,
        connection: u64,
        outbox: Outbox<ToTaskManager>,
    },
    TaskManagerSaid {
        id: String,
        message: FromTaskManager,
    },
    TaskManagerLost {
        id: String,
        connection: u64,
        why: String,
    },
    JobMasterWants {
        job: JobId,
        token: String,
        answer: Sender<Welcome>,
    },
    JobMasterCame {
        job: JobId,
        outbox: Outbox<ToJobMaster>,
    },
    JobMasterSaid {
        job: JobId,
        message: FromJobMaster,
    },
    JobMasterLost {
        job: JobId,
        why: String,
    },
    /// The process of a job master has ended.
    ProcessEnded {
        job: JobId,
        how: ProcessEnd,
    },
    /// A program is to be run.
    Submit {
        program: Box<Program>,
        job: Option<JobId>,
        reply: Sender<Result<JobId, String>>,
    },
    /// A job is to be started again, with these options, or cannot be now or at all.
    Recovered {
        job: JobId,
        configuration: Result<Configuration, RecoveryError>,
    },
    /// A user wants other bounds for the parallelism of a job.
    Require {
        job: JobId,
        requirements: JobRequirements,
        reply: Sender<Result<(), String>>,
    },
    /// A user wants another interval of periodic checkpoints.
    SetCheckpointInterval {
        job: JobId,
        interval_ms: u64,
        reply: Sender<Result<(), String>>,
    },
    /// A user wants a program to be deleted.
    DeleteProgram {
        program: String,
        reply: Sender<Result<(), DispatchError>>,
    },
    /// A user wants something of a job.
    ForJobMaster {
        job: JobId,
        message: ToJobMaster,
    },
    /// A savepoint was deleted.
    Disposed {
        directory: String,
    },
    /// Nothing more is to be done; `done` hears when the masters of all jobs have ended.
    End {
        done: Sender<()>,
    },
}

/// A running job manager; it works until the process ends.
pub(crate) struct JobManager {
    dispatcher: Arc<SessionDispatcher>,
    events: Mutex<Sender<Event>>,
    address: String,
    programs: ProgramStore,
    store: Option<JobStore>,
    /// The jobs that it goes on with.
    going_on: Vec<JobId>,
    /// Those that are to be begun once more.
    not_begun: Vec<JobId>,
    patience: Duration,
}

impl JobManager {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// No socket, thread or directory can be had; which, for people.
    pub(crate) fn start(options: JobManagerOptions) -> Result<Self, String> {
        let directory = &options.directory;
        let in_directory = |error: std::io::Error| format!("\"{}\": {error}", directory.display());
        let programs = ProgramStore::open(directory, options.term.clone()).map_err(in_directory)?;
        std::fs::create_dir_all(directory.join("logs")).map_err(in_directory)?;
        let at = (options.bind_host.as_str(), options.port);
        let listener = std::net::TcpListener::bind(at).map_err(|error| {
            format!(
                "cannot listen for task managers at {}:{}: {error}; see {} and {}",
                options.bind_host,
                options.port,
                options::JOB_MANAGER_BIND_HOST.key(),
                options::JOB_MANAGER_RPC_PORT.key()
            )
        })?;
        let port = listener.local_addr().map_err(|error| error.to_string())?;
        let address = format!("{}:{}", options.address, port.port());
        let registry = Arc::new(Registry::default());
        let (sender, events) = channel();
        let acceptor = Acceptor {
            programs: programs.clone(),
            heartbeat: options.heartbeat,
            events: sender.clone(),
            term: options.term.clone(),
        };
        let dispatcher = Arc::new(SessionDispatcher {
            registry: Arc::clone(&registry),
            events: Mutex::new(sender.clone()),
            configuration: options.configuration.clone(),
            programs: programs.clone(),
            max_program_bytes: options.max_program_bytes,
            disposals: Disposals::in_files(&options.term),
            mode: options.mode,
        });
        let store = match options.keeps_jobs {
            true => {
                let store = JobStore::open(&options.directory, options.term.clone());
                Some(store.map_err(in_directory)?)
            }
            false => None,
        };
        let left = store
            .as_ref()
            .map(|store| Left::in_store(store, options.mode));
        let left = left.transpose()?.unwrap_or_default();
        let security = options.security.clone();
        let of_owner = sender.clone();
        let going_on = left.jobs.iter().map(|(job, _)| *job).collect();
        let patience = options.heartbeat.timeout;
        let mut manager = Manager {
            store: store.clone(),
            recovering: BTreeMap::new(),
            deaths: BTreeMap::new(),
            programs: programs.clone(),
            address: address.clone(),
            options,
            registry,
            events: sender,
            clock: Arc::new(SystemClock),
            pool: SlotPool::default(),
            offers: Offers::default(),
            task_managers: BTreeMap::new(),
            jobs: BTreeMap::new(),
        };
        let programs = programs.clone();
        for (job, stored) in left.jobs {
            tracing::info!("job {job} goes on");
            manager.recover(job, stored, Duration::ZERO);
        }
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let started = acceptor
            .serve(listener, security)
            .and_then(|()| thread("job-manager").spawn(move || manager.run(&events)));
        started.map_err(|error| format!("no thread can be had: {error}"))?;
        Ok(JobManager {
            dispatcher,
            events: Mutex::new(of_owner),
            address,
            programs,
            store,
            going_on,
            not_begun: left.not_begun,
            patience,
        })
    }

    /// Does nothing more, and ends the masters of all jobs; whether it is known that they have ended, and
    /// another job manager may go on with these. The process is to end then.
    pub(crate) fn end(&self) -> bool {
        let (done, wait) = channel();
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.send(Event::End { done }).is_ok() && wait.recv().is_ok()
    }

    /// For the REST API.
    pub(crate) fn dispatcher(&self) -> Arc<dyn Dispatcher> {
        Arc::clone(&self.dispatcher) as Arc<dyn Dispatcher>
    }

    /// What the REST API may run.
    pub(crate) fn programs(&self) -> Arc<dyn Programs> {
        Arc::clone(&self.dispatcher) as Arc<dyn Programs>
    }

    /// Where programs are kept.
    pub(crate) fn program_store(&self) -> &ProgramStore {
        &self.programs
    }

    /// Where jobs are kept, if they are.
    pub(crate) fn store(&self) -> Option<&JobStore> {
        self.store.as_ref()
    }

    /// An application, ready to be begun.
    pub(crate) fn prepare(&self, application: Application) -> Preparation {
        Preparation {
            application,
            programs: self.programs(),
            store: self.store.clone(),
            going_on: self.going_on.clone(),
            not_begun: self.not_begun.clone(),
            patience: self.patience,
            registry: Arc::clone(&self.dispatcher.registry),
        }
    }

    /// How many programs of jobs run.
    pub(crate) fn masters(&self) -> usize {
        self.dispatcher.registry.lock().masters.len()
    }

    /// How jobs have ended, and are, as far as is known.
    pub(crate) fn statuses(&self) -> Vec<JobStatus> {
        let state = self.dispatcher.registry.lock();
        let told = state.jobs.values();
        let told = told.map(|report| report.details.overview.status);
        told.chain(state.ended.values().copied()).collect()
    }

    /// Where task managers find it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

struct TaskManager {
    info: TaskManagerInfo,
    connection: u64,
    outbox: Outbox<ToTaskManager>,
}

/// The connection of a job's master, which has one in its life.
enum Connection {
    Awaited,
    /// It has been told that it may come.
    Accepted,
    Open(Outbox<ToJobMaster>),
    /// Everything that it has said is heard.
    Ended,
}

struct Job {
    /// As it was submitted.
    stored: StoredJob,
    program: Program,
    token: String,
    process: JobProcess,
    /// How its process has ended.
    ended: Option<ProcessEnd>,
    connection: Connection,
    /// Who waits until it is accepted, and for how long.
    reply: Option<(Sender<Result<JobId, String>>, u64)>,
    /// Whether its master has told anything.
    has_reported: bool,
    /// Worker processes that were started, and where.
    workers: BTreeMap<WorkerId, String>,
}

impl Job {
    fn reply(&mut self, result: Result<JobId, String>) {
        if let Some((reply, _)) = self.reply.take() {
            // Whoever asked has gone away.
            let _ = reply.send(result);
        }
    }
}

struct Manager {
    /// None if jobs end with this process.
    store: Option<JobStore>,
    /// Those whose next master is not there yet.
    recovering: BTreeMap<JobId, StoredJob>,
    /// How many masters in a row have died without a checkpoint of their own.
    deaths: BTreeMap<JobId, u32>,
    programs: ProgramStore,
    options: JobManagerOptions,
    address: String,
    registry: Arc<Registry>,
    events: Sender<Event>,
    clock: Arc<dyn Clock>,
    pool: SlotPool,
    offers: Offers,
    task_managers: BTreeMap<String, TaskManager>,
    /// Those whose process lives.
    jobs: BTreeMap<JobId, Job>,
}

impl Manager {
    fn run(mut self, events: &Receiver<Event>) {
        loop {
            let event = events.recv_timeout(LOOK);
            if !self.options.term.holds() {
                // Its jobs are another one's now, and the process is about to end.
                tracing::error!("this job manager leads no more and does nothing more");
                return;
            }
            match event {
                Ok(Event::End { done }) => return self.end(&done),
                Ok(event) => self.on_event(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("it keeps a sender"),
            }
            self.give_slots();
            self.give_up();
            self.end_the_late();
        }
    }

    fn end(&self, done: &Sender<()>) {
        self.jobs.values().for_each(|job| job.process.kill());
        self.jobs.values().for_each(|job| job.process.wait());
        // Whoever asked has gone away.
        let _ = done.send(());
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::End { done } => self.end(&done),
            Event::TaskManagerCame {
                info,
                connection,
                outbox,
            } => self.task_manager_came(info, connection, outbox),
            Event::TaskManagerSaid { id, message } => {
                let now_ms = self.clock.now_ms();
                if let Some(row) = self.registry.lock().task_managers.get_mut(&id) {
                    row.last_heartbeat_ms = now_ms;
                }
                match message {
                    FromTaskManager::Alive => {}
                    FromTaskManager::Ended { worker, how } => self.worker_ended(worker, how),
                }
            }
            Event::TaskManagerLost {
                id,
                connection,
                why,
            } => {
                let current = self.task_managers.get(&id);
                if current.is_some_and(|current| current.connection == connection) {
                    self.task_manager_lost(&id, &why);
                }
            }
            Event::JobMasterWants { job, token, answer } => {
                // The connection has ended meanwhile.
                let _ = answer.send(self.welcome(job, &token));
            }
            Event::JobMasterCame { job, outbox } => {
                if let Some(known) = self.jobs.get_mut(&job) {
                    if let Some(interval_ms) = known.stored.checkpoint_interval_ms {
                        // A user has changed it since the program was submitted.
                        outbox.send(ToJobMaster::CheckpointInterval { interval_ms });
                    }
                    known.connection = Connection::Open(outbox);
                }
            }
            Event::JobMasterSaid { job, message } => self.on_job_master(job, message),
            Event::JobMasterLost { job, why } => self.job_master_lost(job, &why),
            Event::ProcessEnded { job, how } => {
                if let Some(known) = self.jobs.get_mut(&job) {
                    known.ended = Some(how);
                    self.job_master_gone(job);
                }
            }
            Event::Submit {
                program,
                job,
                reply,
            } => self.submit(*program, job, reply),
            Event::Recovered { job, configuration } => self.recovered(job, configuration),
            Event::Require {
                job,
                requirements,
                reply,
            } => {
                // Whoever asked has gone away.
                let _ = reply.send(self.require(job, requirements));
            }
            Event::SetCheckpointInterval {
                job,
                interval_ms,
                reply,
            } => {
                let _ = reply.send(self.set_checkpoint_interval(job, interval_ms));
            }
            Event::DeleteProgram { program, reply } => {
                let _ = reply.send(self.delete_program(&program));
            }
            Event::ForJobMaster { job, message } => {
                match message == ToJobMaster::Cancel && self.recovering.contains_key(&job) {
                    true => self.end_without_master(job, JobStatus::Canceled, None),
                    false => self.tell_job_master(job, message),
                }
            }
            Event::Disposed { directory } => {
                let jobs: Vec<JobId> = self.jobs.keys().copied().collect();
                for job in jobs {
                    let directory = directory.clone();
                    self.tell_job_master(job, ToJobMaster::Disposed { directory });
                }
            }
        }
    }

    fn task_manager_came(
        &mut self,
        info: TaskManagerInfo,
        connection: u64,
        outbox: Outbox<ToTaskManager>,
    ) {
        let id = info.id.clone();
        if self.task_managers.contains_key(&id) {
            // It has lost its connection sooner than this end did, and has killed its workers.
            self.task_manager_lost(&id, "it has come again");
        }
        tracing::info!("task manager {id} has come with {} slots", info.slots);
        self.pool.register(&id, info.slots.max(1));
        let row = TaskManagerOverview {
            id: id.clone(),
            path: format!("millpond://{}/{id}", info.host),
            slots: info.slots.max(1),
            free_slots: info.slots.max(1),
            last_heartbeat_ms: self.clock.now_ms(),
        };
        self.registry.lock().task_managers.insert(id.clone(), row);
        let came = TaskManager {
            info,
            connection,
            outbox,
        };
        self.task_managers.insert(id, came);
    }

    fn task_manager_lost(&mut self, id: &str, why: &str) {
        tracing::warn!("task manager {id} is lost: {why}");
        self.task_managers.remove(id);
        self.pool.remove(id);
        self.registry.lock().task_managers.remove(id);
        let lost: Vec<WorkerId> = self
            .jobs
            .values()
            .flat_map(|job| &job.workers)
            .filter(|(_, place)| *place == id)
            .map(|(worker, _)| *worker)
            .collect();
        for worker in lost {
            self.worker_ended(worker, format!("task manager {id} is lost: {why}"));
        }
        self.count_slots();
    }

    fn worker_ended(&mut self, worker: WorkerId, how: String) {
        if let Some(job) = self.jobs.get_mut(&worker.job) {
            job.workers.remove(&worker);
        }
        let message = ToJobMaster::WorkerEnded { worker, how };
        self.tell_job_master(worker.job, message);
    }

    fn tell_job_master(&self, job: JobId, message: ToJobMaster) {
        match self.jobs.get(&job).map(|job| &job.connection) {
            Some(Connection::Open(outbox)) => {
                outbox.send(message);
            }
            _ => self.registry.lock().lose_operations(job),
        }
    }

    fn submit(
        &mut self,
        program: Program,
        job: Option<JobId>,
        reply: Sender<Result<JobId, String>>,
    ) {
        let job = job.unwrap_or_else(|| JobId(random::bytes()));
        if self.jobs.contains_key(&job) || self.recovering.contains_key(&job) {
            let why = format!("Job has already been submitted: {job}");
            // Whoever asked has gone away.
            let _ = reply.send(Err(why));
            return;
        }
        let mut program = program;
        program
            .configuration
            .set(options::FIXED_JOB_ID.key(), job.to_string());
        let stored = StoredJob::of(&program, self.options.mode == Mode::Application);
        let put = self.store.as_ref().map(|store| store.put(job, &stored));
        if let Some(Err(error)) = put {
            let _ = reply.send(Err(format!("the job cannot be kept: {error}")));
            return;
        }
        self.start_master(job, stored, program, Some(reply));
    }

    fn start_master(
        &mut self,
        job: JobId,
        stored: StoredJob,
        program: Program,
        reply: Option<Sender<Result<JobId, String>>>,
    ) {
        // How its processes prove who they are is the cluster's business.
        let mut program = program;
        let cluster = &self.options.configuration;
        program.configuration.take_security_of(cluster);
        let lock = self.store.as_ref().map(|store| store.lock(job));
        let term = &self.options.term;
        let address = JobManagerAddress {
            rpc: self.address.clone(),
            token: random::hex(16),
            rest: self.options.rest.clone(),
            lock: lock.map(|path| path.display().to_string()),
            term: term
                .length()
                .map(|length| (term.until_ms(), length.as_millis() as u64)),
            earlier_attempts: earlier_attempts(stored.earlier_masters),
        };
        let log = self
            .options
            .directory
            .join("logs")
            .join(format!("{job}.log"));
        let events = self.events.clone();
        let started = JobProcess::start(&program, &address, log, move |how| {
            // The job manager is ending.
            let _ = events.send(Event::ProcessEnded { job, how });
        });
        match started {
            Ok(process) => {
                tracing::info!(
                    "job {job} is started from program {}, its log is {}",
                    program.id,
                    process.log().display()
                );
                let until_ms = self.clock.now_ms() + ACCEPT_TIMEOUT.as_millis() as u64;
                let new = Job {
                    stored,
                    program,
                    token: address.token,
                    process,
                    ended: None,
                    connection: Connection::Awaited,
                    reply: reply.map(|reply| (reply, until_ms)),
                    has_reported: false,
                    workers: BTreeMap::new(),
                };
                self.jobs.insert(job, new);
                self.registry.lock().masters.insert(job);
            }
            Err(error) => {
                let why = format!("the program cannot be started: {error}");
                match reply {
                    Some(reply) => {
                        self.forget(job, None);
                        let _ = reply.send(Err(why));
                    }
                    // It was accepted once, and may be started again when there is room for it.
                    None if self.store.is_some() => {
                        tracing::warn!("job {job} cannot be started again now: {why}");
                        self.recover(job, stored, RETRY);
                    }
                    None => self.end_without_master(job, JobStatus::Failed, Some(why)),
                }
            }
        }
    }

    /// Notes where the checkpoints of a job are and whether it has one, once its master has told.
    fn note_checkpoints(&mut self, job: JobId, report: &JobReport) {
        let (Some(store), Some(known)) = (&self.store, self.jobs.get_mut(&job)) else {
            return;
        };
        let stored = StoredJob {
            checkpoints: Some(report.checkpoint_directory.clone()),
            has_checkpoint: known.stored.has_checkpoint
                || report.statistics.latest_completed.is_some(),
            ..known.stored.clone()
        };
        if stored == known.stored {
            return;
        }
        match store.put(job, &stored) {
            Ok(()) => known.stored = stored,
            Err(error) => {
                tracing::error!("where the checkpoints of job {job} are is not noted: {error}");
            }
        }
    }

    fn on_job_master(&mut self, job: JobId, message: FromJobMaster) {
        match message {
            FromJobMaster::Alive => {}
            FromJobMaster::Report(report) => self.on_report(job, *report),
            FromJobMaster::Allocate(request) => {
                self.kill_workers(job);
                let timeout = match request.elastic {
                    Some(wait) => {
                        self.offers.follow(job);
                        wait.resource_wait_ms
                    }
                    None => self.options.slot_timeout.as_millis() as u64,
                };
                let until_ms = self.clock.now_ms().saturating_add(timeout);
                self.pool.request(job, request, until_ms);
            }
            FromJobMaster::Start { process, orders } => self.start_worker(job, process, orders),
            FromJobMaster::Kill { worker } => {
                let known = self.jobs.get_mut(&worker.job);
                let place = known.and_then(|known| known.workers.remove(&worker));
                if let Some(task_manager) = place.and_then(|id| self.task_managers.get(&id)) {
                    task_manager.outbox.send(ToTaskManager::Kill(worker));
                }
            }
        }
    }

    fn on_report(&mut self, job: JobId, report: JobReport) {
        let status = report.details.overview.status;
        self.note_checkpoints(job, &report);
        if report.statistics.latest_completed.is_some() {
            self.deaths.remove(&job);
        }
        self.registry.lock().put(job, report);
        if let Some(known) = self.jobs.get_mut(&job) {
            known.has_reported = true;
            known.reply(Ok(job));
        }
        if status.is_globally_terminal() {
            self.forget(job, Some(status));
            self.pool.release(job);
            self.offers.forget(job);
            self.count_slots();
        }
    }

    fn start_worker(&mut self, job: JobId, process: u32, orders: String) {
        let Some(allocation) = self.pool.of(job) else {
            return;
        };
        let worker = WorkerId {
            job,
            allocation: allocation.id,
            process,
        };
        let place = allocation.task_managers.get(process as usize).cloned();
        let known = self.jobs.get_mut(&job);
        let (Some(place), Some(known)) = (place, known) else {
            return;
        };
        let Some(task_manager) = self.task_managers.get(&place) else {
            self.worker_ended(worker, format!("task manager {place} is gone"));
            return;
        };
        let start = StartWorker {
            worker,
            program: known.program.id.clone(),
            arguments: known.program.arguments.clone(),
            configuration: known.program.configuration.to_environment(),
            orders,
        };
        known.workers.insert(worker, task_manager.info.id.clone());
        task_manager
            .outbox
            .send(ToTaskManager::Start(Box::new(start)));
    }

    fn kill_workers(&mut self, job: JobId) {
        let Some(known) = self.jobs.get_mut(&job) else {
            return;
        };
        for (worker, place) in std::mem::take(&mut known.workers) {
            if let Some(task_manager) = self.task_managers.get(&place) {
                task_manager.outbox.send(ToTaskManager::Kill(worker));
            }
        }
    }

    fn welcome(&mut self, job: JobId, token: &str) -> Welcome {
        let known = self.jobs.get_mut(&job);
        let Some(known) = known.filter(|known| known.token == token) else {
            return Welcome::Refused(format!("job {job} was not started by this job manager"));
        };
        if !matches!(known.connection, Connection::Awaited) {
            return Welcome::Refused(
                "this program has a job already: in a cluster each run of a program is one job"
                    .to_owned(),
            );
        }
        known.connection = Connection::Accepted;
        Welcome::Accepted
    }

    fn job_master_lost(&mut self, job: JobId, why: &str) {
        let is_alive = self.registry.lock().is_alive(job);
        let Some(known) = self.jobs.get_mut(&job) else {
            return;
        };
        known.connection = Connection::Ended;
        if is_alive && known.ended.is_none() {
            tracing::warn!("the master of job {job} is lost: {why}");
            // One that only stood still must not wake up and go on.
            known.process.kill();
        }
        self.job_master_gone(job);
    }

    /// Judges a master once its process has ended and all that it has said is heard.
    fn job_master_gone(&mut self, job: JobId) {
        let Some(known) = self.jobs.get(&job) else {
            return;
        };
        let silent = matches!(known.connection, Connection::Awaited | Connection::Ended);
        if let (true, Some(how)) = (silent, known.ended.clone()) {
            self.job_master_ended(job, &how);
        }
    }

    fn job_master_ended(&mut self, job: JobId, how: &ProcessEnd) {
        self.kill_workers(job);
        self.pool.release(job);
        self.offers.forget(job);
        self.count_slots();
        let Some(mut known) = self.jobs.remove(&job) else {
            return;
        };
        self.registry.lock().masters.remove(&job);
        let text = format!(
            "the process of the job master ended ({how}); its output is in {}",
            known.process.log().display()
        );
        let was_submitted = known.reply.is_none();
        if !was_submitted && !known.has_reported {
            // Its program did not get as far as its job.
            self.forget(job, None);
        }
        known.reply(Err(format!(
            "{text} and ends with:\n{}",
            known.process.last_words()
        )));
        let has_ended = known.has_reported && !self.registry.lock().is_alive(job);
        if has_ended && !how.is_success() {
            tracing::warn!("{text}, behind the end of the job");
        }
        if has_ended || !was_submitted {
            return;
        }
        if self.store.is_none() {
            self.end_without_master(job, JobStatus::Failed, Some(text));
            return;
        }
        let deaths = self.deaths.entry(job).or_default();
        let delay = RETRY * (1 << (*deaths).min(6));
        let delay = if *deaths == 0 { Duration::ZERO } else { delay };
        *deaths += 1;
        tracing::warn!(
            "{text}; job {job} is started again in {} ms",
            delay.as_millis()
        );
        let now_ms = self.clock.now_ms();
        {
            let mut state = self.registry.lock();
            state.lose_operations(job);
            if let Some(report) = state.jobs.get_mut(&job) {
                masterless::enter(report, JobStatus::Restarting, Some(text), now_ms);
            }
        }
        self.recover(job, known.stored, delay);
    }

    /// Ends those who have not reported in time.
    fn end_the_late(&mut self) {
        let now_ms = self.clock.now_ms();
        let late: BTreeSet<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(&job.reply, Some((_, until_ms)) if *until_ms <= now_ms))
            .map(|(id, _)| *id)
            .collect();
        for job in late {
            // Whoever waits hears of it by the end of the process.
            if let Some(known) = self.jobs.get(&job) {
                tracing::warn!("job {job} has not reported within {ACCEPT_TIMEOUT:?} and is ended");
                known.process.kill();
            }
        }
    }
}

/// How many attempts masters are taken to have made. Numbers of attempts tell whether a file was written by an
/// earlier one: they may not begin anew with each master.
fn earlier_attempts(masters: u32) -> Attempt {
    // After so many that they do not fit, files of earlier ones stay.
    (masters % (Attempt::MAX / ATTEMPTS_PER_MASTER)) * ATTEMPTS_PER_MASTER
}

#[cfg(test)]
mod tests;

//! A task manager: brings slots, and starts worker processes in them.
//!
//! Without its job manager it runs nothing: it kills its workers and tries to come back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use millpond_cluster::{Heartbeat, Host, LocalRecovery, Outbox, TaskManagerCopies, receive, send};
use millpond_job::resources::{
    FromTaskManager, Hello, PROTOCOL, Peer, StartWorker, TaskManagerInfo, ToTaskManager, Welcome,
};
use millpond_leadership::Election;
use millpond_security::{Connection, Internal};
use millpond_types::config::{Configuration, format_duration, options};

use crate::program_cache::ProgramCache;
use crate::worker_child::WorkerChildren;

/// How often worker processes are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The pause between two tries to reach the job manager.
const RETRY: Duration = Duration::from_millis(200);

/// How long the job manager may take to be connected to, and to answer the first message.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a job manager is.
#[derive(Clone, Debug)]
pub(crate) enum JobManagerPlace {
    /// At this address and port.
    Address(String),
    /// Where the leader of this election says that it is.
    Leader(Arc<dyn Election>),
}

impl JobManagerPlace {
    fn address(&self) -> std::io::Result<String> {
        match self {
            JobManagerPlace::Address(address) => Ok(address.clone()),
            JobManagerPlace::Leader(election) => Ok(election.leader()?.rpc),
        }
    }
}

impl std::fmt::Display for JobManagerPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            JobManagerPlace::Address(address) => f.write_str(address),
            JobManagerPlace::Leader(election) => write!(f, "{election}"),
        }
    }
}

/// How a task manager works.
#[derive(Clone, Debug)]
pub(crate) struct TaskManagerOptions {
    /// Its name, unique in the cluster.
    pub(crate) id: String,
    /// Where the job manager is.
    pub(crate) job_manager: JobManagerPlace,
    /// Where its worker processes listen.
    pub(crate) host: Host,
    /// Its slots.
    pub(crate) slots: u32,
    /// How all in the cluster say that they live.
    pub(crate) heartbeat: Heartbeat,
    /// For how long it tries to reach the job manager.
    pub(crate) registration_timeout: Duration,
    /// Where it keeps programs.
    pub(crate) directory: PathBuf,
    /// For how long one that no worker runs.
    pub(crate) programs_kept: Duration,
    /// Who may connect.
    pub(crate) security: Internal,
    /// The options of this machine, of which its workers have those about security.
    pub(crate) configuration: Configuration,
}

/// Runs a task manager; `registered` is called whenever the job manager has accepted it.
///
/// # Errors
///
/// The job manager does not want it, or cannot be reached for too long; for people.
pub(crate) fn run(options: &TaskManagerOptions, registered: impl Fn(&str)) -> Result<(), String> {
    std::fs::create_dir_all(&options.directory)
        .map_err(|error| format!("\"{}\": {error}", options.directory.display()))?;
    let children = Arc::new(WorkerChildren::default());
    loop {
        let (stream, address) = register(options)?;
        registered(&address);
        let programs = ProgramCache::new(
            address.clone(),
            options.security.clone(),
            options.directory.clone(),
            options.programs_kept,
        );
        let programs = Arc::new(programs);
        let why = match attend(options, stream, &address, &children, &programs) {
            Ok(why) => why,
            Err(error) => error.to_string(),
        };
        tracing::warn!("the job manager at {address} is gone: {why}");
        children.kill_all();
    }
}

/// Connects, and is accepted.
fn register(options: &TaskManagerOptions) -> Result<(Connection, String), String> {
    let deadline = Instant::now() + options.registration_timeout;
    let mut told = String::new();
    loop {
        let error = match try_to_register(options) {
            Ok(Ok(registered)) => return Ok(registered),
            Ok(Err(refused)) => return Err(format!("the job manager refuses: {refused}")),
            Err(error) => error,
        };
        let why = error.to_string();
        if why != told {
            tracing::warn!(
                "the job manager at {} is not reached: {why}",
                options.job_manager
            );
            told = why;
        }
        if Instant::now() >= deadline {
            return Err(format!(
                "cannot reach the job manager at {} for {} ({}): {error}; see {} and {}",
                options.job_manager,
                format_duration(options.registration_timeout),
                options::TASK_MANAGER_REGISTRATION_TIMEOUT.key(),
                options::JOB_MANAGER_RPC_ADDRESS.key(),
                options::JOB_MANAGER_RPC_PORT.key()
            ));
        }
        std::thread::sleep(RETRY);
    }
}

/// A connection to the job manager, and its address; or why that refuses.
type Registered = Result<(Connection, String), String>;

fn try_to_register(options: &TaskManagerOptions) -> std::io::Result<Registered> {
    let address = options.job_manager.address()?;
    let mut stream = options.security.connect(&address, WELCOME_TIMEOUT)?;
    stream.set_write_timeout(Some(options.heartbeat.timeout))?;
    stream.set_read_timeout(Some(WELCOME_TIMEOUT))?;
    let hello = Hello {
        protocol: PROTOCOL,
        who: Peer::TaskManager(TaskManagerInfo {
            id: options.id.clone(),
            host: options.host.advertised.clone(),
            slots: options.slots,
        }),
    };
    send(&mut stream, &hello)?;
    match receive(&mut stream)? {
        Some(Welcome::Accepted) => {}
        Some(Welcome::Refused(why)) => return Ok(Err(why)),
        None => {
            let what = format!("no answer; {}", options.security.hint());
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what));
        }
    }
    stream.set_read_timeout(Some(options.heartbeat.timeout))?;
    Ok(Ok((stream, address)))
}

/// Does what the job manager says until it is gone; returns why it is.
fn attend(
    options: &TaskManagerOptions,
    stream: Connection,
    address: &str,
    children: &Arc<WorkerChildren>,
    programs: &Arc<ProgramCache>,
) -> std::io::Result<String> {
    let mut incoming = stream.try_clone()?;
    let outbox = Outbox::start(
        stream,
        "to-job-manager",
        options.heartbeat.interval,
        || FromTaskManager::Alive,
        // The reader of this connection hears of its end as well.
        |_| {},
    )?;
    let (orders, queue) = channel();
    // Until it is dropped somebody looks who leads.
    let _follows = follow(&options.job_manager, address, orders.clone())?;
    std::thread::Builder::new()
        .name("from-job-manager".to_owned())
        .spawn(move || {
            loop {
                let order = match receive::<ToTaskManager>(&mut incoming) {
                    Ok(Some(ToTaskManager::Alive)) => continue,
                    Ok(Some(order)) => Ok(order),
                    Ok(None) => Err("its connection has ended".to_owned()),
                    Err(error) => Err(error.to_string()),
                };
                let is_end = order.is_err();
                if orders.send(order).is_err() || is_end {
                    return;
                }
            }
        })?;
    loop {
        match queue.recv_timeout(LOOK) {
            Ok(Ok(ToTaskManager::Start(start))) => {
                begin(options, *start, children, programs, &outbox)?;
            }
            Ok(Ok(ToTaskManager::Kill(worker))) => children.kill(worker),
            Ok(Ok(ToTaskManager::JobEnded(job))) => children.end_job(job),
            Ok(Ok(ToTaskManager::Alive)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Err(why)) => return Ok(why),
            Err(RecvTimeoutError::Disconnected) => return Ok("its connection has ended".to_owned()),
        }
        for (worker, how) in children.ended() {
            outbox.send(FromTaskManager::Ended { worker, how });
        }
        children.forget_unused(Instant::now());
        programs.forget_unused(&children.programs(), Instant::now());
    }
}

/// Looks who leads until the returned mark is dropped; whoever is not the one at `address` ends the
/// connection to that, which may stand still and say nothing of it.
fn follow(
    place: &JobManagerPlace,
    address: &str,
    orders: Sender<Result<ToTaskManager, String>>,
) -> std::io::Result<Arc<()>> {
    let mark = Arc::new(());
    if let JobManagerPlace::Leader(election) = place {
        let (election, address) = (Arc::clone(election), address.to_owned());
        let mark = Arc::downgrade(&mark);
        std::thread::Builder::new()
            .name("follow-leader".to_owned())
            .spawn(move || {
                while mark.upgrade().is_some() {
                    // Whether nobody leads or nobody can be asked: this one may still.
                    let found = election.leader().ok().map(|leader| leader.rpc);
                    if let Some(other) = found.filter(|found| *found != address) {
                        // The connection has ended by itself meanwhile.
                        let _ = orders.send(Err(format!("the one at {other} leads")));
                        return;
                    }
                    std::thread::sleep(election.look_interval());
                }
            })?;
    }
    Ok(mark)
}

/// Starts a worker on a thread of its own, as its program may have to be fetched.
fn begin(
    options: &TaskManagerOptions,
    start: StartWorker,
    children: &Arc<WorkerChildren>,
    programs: &Arc<ProgramCache>,
    outbox: &Outbox<FromTaskManager>,
) -> std::io::Result<()> {
    let (children, programs) = (Arc::clone(children), Arc::clone(programs));
    let (outbox, host) = (outbox.clone(), options.host.clone());
    let generation = children.generation();
    let (own, id) = (options.configuration.clone(), options.id.clone());
    std::thread::Builder::new()
        .name("start-worker".to_owned())
        .spawn(move || {
            let worker = start.worker;
            let started = programs.get(&start.program).and_then(|program| {
                let configuration = of_this_machine(&start.configuration, &own)?;
                let copies = copies_on_this_machine(&configuration, &own, id)?;
                let start = StartWorker {
                    configuration: configuration.to_environment(),
                    ..start
                };
                children.start(&start, &program.path, &host, &copies, generation)
            });
            if let Err(error) = started {
                let how = format!("it cannot be started: {error}");
                outbox.send(FromTaskManager::Ended { worker, how });
            }
        })?;
    Ok(())
}

/// The options of a worker: how it proves who it is belongs to its machine.
fn of_this_machine(configuration: &str, own: &Configuration) -> std::io::Result<Configuration> {
    let configuration = Configuration::from_environment(configuration);
    let mut configuration = configuration.map_err(std::io::Error::other)?;
    configuration.take_security_of(own);
    Ok(configuration)
}

/// Where workers have their copies of state: as this machine is configured, else as the job is.
fn copies_on_this_machine(
    of_worker: &Configuration,
    own: &Configuration,
    task_manager: String,
) -> std::io::Result<TaskManagerCopies> {
    let key = &options::LOCAL_BACKUP_DIRECTORIES;
    let is_of_job = !own.contains(key) && of_worker.contains(key);
    let configuration = if is_of_job { of_worker } else { own };
    let configured = LocalRecovery::from_configuration(configuration);
    let directories = configured.map_err(std::io::Error::other)?.directories;
    Ok(TaskManagerCopies::new(directories, task_manager))
}

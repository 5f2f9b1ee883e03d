//! The worker processes of a job, as the job master sees them.
//!
//! Either the one process that the master lives in, or processes of the same executable that a
//! [`Launcher`] starts: on this machine, or in the slots of a cluster. One that dies is started again
//! for the next attempt; when the master dies they end by themselves, as their connection ends.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millpond_job::dispatcher::WorkerPlace;
use millpond_job::gateway::Attempt;
use millpond_job::resources::SlotRequest;
use millpond_job::{JobStatus, ToWorker};
use millpond_runtime::{AttemptHandle, Program, start_attempt};
use millpond_security::{Connection, Internal};
use millpond_types::config::{ConfigValue, PortRange, options};

use crate::deployment::Deployment;
use crate::door::{self, Unknown};
use crate::event::MasterEvent;
use crate::launcher::{Launcher, Room};
use crate::local_recovery::OwnCopies;
use crate::lock::lock;
use crate::options::Heartbeat;
use crate::process::{MasterMessage, ProcessMessage};
use crate::transport::{receive, send, silence};
use crate::worker_process::attempt_options;

/// For how long the job master waits for a worker process to take a message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker process may take to report to the master after its start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The worker processes of a job.
pub(crate) enum Processes {
    /// Worker threads in the master's own process.
    Local(Box<LocalProcess>),
    /// Processes of their own.
    Launched(Launched),
}

impl Processes {
    /// The master's own process.
    pub(crate) fn local(program: Program, events: Sender<MasterEvent>) -> Self {
        Processes::Local(Box::new(LocalProcess {
            program,
            events,
            attempt: None,
            copies: None,
        }))
    }

    /// Processes of their own, which reach the master at a new port of `host`.
    ///
    /// # Errors
    ///
    /// No socket can be opened.
    pub(crate) fn launched(
        launcher: Box<dyn Launcher>,
        host: &Host,
        security: Internal,
        events: Sender<MasterEvent>,
        heartbeat: Heartbeat,
    ) -> std::io::Result<Self> {
        Launched::new(launcher, host, security, events, heartbeat).map(Processes::Launched)
    }

    /// Sees to processes: those of before if they `may_stay`, are all there and are enough, else others.
    /// `None` if that takes time; then [`Processes::allocated`] is to be called.
    pub(crate) fn allocate(&mut self, request: SlotRequest, may_stay: bool) -> Option<Room> {
        match self {
            Processes::Local(_) => Some(Room::spread(request.most, 1)),
            Processes::Launched(launched) => launched.allocate(request, may_stay),
        }
    }

    /// There is room now.
    pub(crate) fn allocated(&mut self, room: Room) {
        match self {
            Processes::Local(_) => {}
            Processes::Launched(launched) => launched.room = Some(room),
        }
    }

    /// Starts an attempt in all of them; those that are not there are started first.
    ///
    /// # Errors
    ///
    /// A process cannot be started, for people.
    pub(crate) fn deploy(&mut self, deployment: Deployment) -> Result<(), String> {
        match self {
            Processes::Local(local) => local.deploy(&deployment),
            Processes::Launched(launched) => launched.deploy(deployment),
        }
    }

    /// Sends a message to all of them; those that are gone have been reported as lost.
    pub(crate) fn send(&mut self, message: &ToWorker) {
        match self {
            Processes::Local(local) => {
                if let Some(copies) = &local.copies {
                    copies.hear(message);
                }
                if let Some(attempt) = &local.attempt {
                    attempt.deliver(message.clone());
                }
            }
            Processes::Launched(launched) => launched.send(message),
        }
    }

    /// The processes that cannot report anything any more.
    pub(crate) fn lost(&self) -> Vec<u32> {
        match self {
            Processes::Local(_) => Vec::new(),
            Processes::Launched(launched) => launched.lost(),
        }
    }

    /// Ends a process whose connection has ended, or that was silent for too long; returns false if
    /// the connection is an older one's.
    pub(crate) fn forget(&mut self, process: u32, generation: u64) -> bool {
        match self {
            Processes::Local(_) => false,
            Processes::Launched(launched) => launched.forget(process, generation),
        }
    }

    /// A process, for people, with where it is.
    pub(crate) fn shown(&self, process: u32) -> String {
        shown(process, &self.places())
    }

    /// Where each process is, if they are not on this machine.
    pub(crate) fn places(&self) -> Vec<WorkerPlace> {
        match self {
            Processes::Local(_) => Vec::new(),
            Processes::Launched(launched) => launched.launcher.places(),
        }
    }

    /// The job has ended, and nothing of it is deleted yet.
    pub(crate) fn job_ends(&mut self, status: JobStatus) {
        match self {
            Processes::Local(_) => {}
            Processes::Launched(launched) => launched.launcher.job_ends(status),
        }
    }

    /// Kills what has not ended an attempt in time; false if that cannot be done, as threads of
    /// the master's own process cannot be killed.
    pub(crate) fn kill(&mut self, processes: impl Iterator<Item = u32>) -> bool {
        match self {
            Processes::Local(local) => local.attempt.as_ref().is_none_or(AttemptHandle::is_ended),
            Processes::Launched(launched) => {
                processes.for_each(|process| launched.kill(process));
                true
            }
        }
    }
}

/// Worker threads in the master's own process.
pub(crate) struct LocalProcess {
    program: Program,
    events: Sender<MasterEvent>,
    attempt: Option<AttemptHandle>,
    /// Since the first deployment, if there are to be any.
    copies: Option<OwnCopies>,
}

impl LocalProcess {
    fn deploy(&mut self, deployment: &Deployment) -> Result<(), String> {
        if let Some(previous) = self.attempt.take() {
            previous.cancel();
            previous.join();
        }
        if self.copies.is_none() {
            let (config, job) = (&deployment.local_recovery, deployment.job);
            self.copies =
                OwnCopies::new(config, None, job, 0).map_err(|error| error.to_string())?;
        }
        let (to_master, messages) = channel();
        let events = self.events.clone();
        std::thread::spawn(move || {
            for message in messages {
                if events
                    .send(MasterEvent::Worker {
                        process: 0,
                        message,
                    })
                    .is_err()
                {
                    return;
                }
            }
        });
        let program = deployment.program(&self.program);
        let copies = self.copies.as_ref();
        let options = attempt_options(deployment, &program, 0, Vec::new(), copies)?;
        let attempt = start_attempt(Arc::new(program), options, to_master)
            .map_err(|error| error.to_string())?;
        self.attempt = Some(attempt);
        Ok(())
    }
}

/// A process that has said hello.
struct Connected {
    stream: Connection,
    data_address: String,
    generation: u64,
}

/// Where a process listens, and how others reach it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The address that it binds to.
    pub bind: String,
    /// Its name or address for others.
    pub advertised: String,
    /// The ports that it may listen on, as an option says.
    pub ports: PortRange,
}

impl Host {
    /// Reachable on this machine only.
    pub fn loopback() -> Self {
        Host {
            bind: "127.0.0.1".to_owned(),
            advertised: "127.0.0.1".to_owned(),
            ports: PortRange::single(0),
        }
    }

    /// As text, for the environment of a worker process.
    pub fn to_environment(&self) -> String {
        format!("{}|{}|{}", self.bind, self.advertised, self.ports)
    }

    /// What [`to_environment`](Self::to_environment) has made.
    pub(crate) fn from_environment(text: &str) -> Option<Self> {
        let mut parts = text.split('|');
        let host = Host {
            bind: parts.next()?.to_owned(),
            advertised: parts.next()?.to_owned(),
            ports: PortRange::parse(parts.next()?).ok()?,
        };
        parts.next().is_none().then_some(host)
    }

    /// Listens on the first of its ports that is free; returns its address for others as well.
    ///
    /// # Errors
    ///
    /// The address is none of this machine's, or no port is free.
    pub fn listen(&self) -> std::io::Result<(TcpListener, String)> {
        let mut ports = self.ports.ports();
        let listener = loop {
            let Some(port) = ports.next() else {
                let what = format!("no port of {} is free at {}", self.ports, self.bind);
                return Err(std::io::Error::new(ErrorKind::AddrInUse, what));
            };
            match TcpListener::bind((self.bind.as_str(), port)) {
                Ok(listener) => break listener,
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => {
                    let what = format!("cannot listen at {}: {error}", self.bind);
                    return Err(std::io::Error::new(error.kind(), what));
                }
            }
        };
        let port = listener.local_addr()?.port();
        let host = match self.advertised.contains(':') {
            true => format!("[{}]", self.advertised),
            false => self.advertised.clone(),
        };
        Ok((listener, format!("{host}:{port}")))
    }
}

/// Processes of their own.
pub(crate) struct Launched {
    launcher: Box<dyn Launcher>,
    room: Option<Room>,
    address: String,
    /// Changes with the room: a process of an older one is none of ours.
    token: Arc<Mutex<String>>,
    heartbeat: Heartbeat,
    connected: Arc<Mutex<BTreeMap<u32, Connected>>>,
}

impl Launched {
    fn new(
        launcher: Box<dyn Launcher>,
        host: &Host,
        security: Internal,
        events: Sender<MasterEvent>,
        heartbeat: Heartbeat,
    ) -> std::io::Result<Self> {
        let (listener, address) = host.listen().map_err(|error| {
            let (bind, ports) = (
                options::JOB_MANAGER_BIND_HOST.key(),
                options::JOB_MANAGER_MASTER_PORT.key(),
            );
            std::io::Error::new(error.kind(), format!("{error}; see {bind} and {ports}"))
        })?;
        let token = Arc::new(Mutex::new(crate::random::hex(16)));
        let connected = Arc::new(Mutex::default());
        let acceptor = Acceptor {
            token: Arc::clone(&token),
            timeout: heartbeat.timeout,
            connected: Arc::clone(&connected),
            events,
        };
        door::open(
            "worker-processes",
            listener,
            security,
            move |generation, stream, unknown| acceptor.attend(generation, stream, unknown),
        )?;
        Ok(Launched {
            launcher,
            room: None,
            address,
            token,
            heartbeat,
            connected,
        })
    }

    fn count(&self) -> u32 {
        self.room.map_or(0, |room| room.processes)
    }

    fn allocate(&mut self, request: SlotRequest, may_stay: bool) -> Option<Room> {
        if let Some(room) = self.room
            && may_stay
            && (request.enough..=request.most).contains(&room.parallelism)
            && lock(&self.connected).len() as u32 == room.processes
        {
            return Some(room);
        }
        // Room on this machine stays what it was, and so do the processes that live.
        self.room = self.launcher.allocate(request);
        if self.room.is_none() {
            // Whoever finds other room ends what there was.
            let mut token = lock(&self.token);
            *token = crate::random::hex(16);
            lock(&self.connected).clear();
        }
        self.room
    }

    fn start(&mut self, process: u32) -> Result<(), String> {
        let orders = format!(
            "{}|{process}|{}|{}|{}",
            self.address,
            lock(&self.token),
            self.heartbeat.interval.as_millis(),
            self.heartbeat.timeout.as_millis()
        );
        self.launcher.start(process, &orders)
    }

    fn deploy(&mut self, mut deployment: Deployment) -> Result<(), String> {
        for process in 0..self.count() {
            if !lock(&self.connected).contains_key(&process) {
                self.kill(process);
                self.start(process)?;
            }
        }
        self.wait_until_connected()?;
        let mut connected = lock(&self.connected);
        deployment.data_addresses = connected
            .values()
            .map(|process| process.data_address.clone())
            .collect();
        let message = MasterMessage::Deploy(Box::new(deployment));
        for (process, connected) in connected.iter_mut() {
            send(&mut connected.stream, &message).map_err(|error| {
                format!(
                    "cannot reach {}: {error}",
                    shown(*process, &self.launcher.places())
                )
            })?;
        }
        Ok(())
    }

    fn wait_until_connected(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        while (lock(&self.connected).len() as u32) < self.count() {
            if let Some((process, how)) = self.launcher.ended() {
                return Err(format!(
                    "{} ended at its start: {how}",
                    shown(process, &self.launcher.places())
                ));
            }
            if Instant::now() >= deadline {
                return Err(format!(
                    "a worker process did not report within {START_TIMEOUT:?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn send(&mut self, message: &ToWorker) {
        let message = MasterMessage::Worker(message.clone());
        for process in lock(&self.connected).values_mut() {
            // The reader of this connection reports the process as lost.
            let _ = send(&mut process.stream, &message);
        }
    }

    fn lost(&self) -> Vec<u32> {
        let connected = lock(&self.connected);
        (0..self.count())
            .filter(|process| !connected.contains_key(process))
            .collect()
    }

    fn forget(&mut self, process: u32, generation: u64) -> bool {
        let current = lock(&self.connected)
            .get(&process)
            .is_some_and(|connected| connected.generation == generation);
        if current {
            // One that only stood still must not wake up and go on.
            self.kill(process);
        }
        current
    }

    fn kill(&mut self, process: u32) {
        self.launcher.kill(process);
        lock(&self.connected).remove(&process);
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        for process in 0..self.count() {
            self.kill(process);
        }
    }
}

/// Takes the connections of worker processes.
struct Acceptor {
    token: Arc<Mutex<String>>,
    /// For how long a process may say nothing.
    timeout: Duration,
    connected: Arc<Mutex<BTreeMap<u32, Connected>>>,
    events: Sender<MasterEvent>,
}

impl Acceptor {
    fn attend(
        &self,
        generation: u64,
        mut stream: Connection,
        unknown: Unknown,
    ) -> std::io::Result<()> {
        let hello = receive(&mut stream)?;
        // Every process says something now and then: one that is silent is lost.
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT.min(self.timeout)))?;
        // Whoever says anything else is none of ours.
        let Some(ProcessMessage::Hello {
            process,
            token,
            data_address,
        }) = hello
        else {
            return Ok(());
        };
        let mut reader = stream.try_clone()?;
        // Together: a process of older room must not come in behind its end.
        let current = lock(&self.token);
        if token != *current {
            return Ok(());
        }
        drop(unknown);
        let mut connected = lock(&self.connected);
        connected.insert(
            process,
            Connected {
                stream,
                data_address,
                generation,
            },
        );
        drop(connected);
        drop(current);
        let what = loop {
            let message = match receive(&mut reader) {
                Ok(Some(ProcessMessage::Worker(message))) => message,
                Ok(Some(ProcessMessage::Alive)) => continue,
                Ok(Some(ProcessMessage::Hello { .. }) | None) => break "died".to_owned(),
                Err(error) => {
                    break silence(&error, self.timeout).unwrap_or_else(|| "died".to_owned());
                }
            };
            if self
                .events
                .send(MasterEvent::Worker { process, message })
                .is_err()
            {
                return Ok(());
            }
        };
        // The master is gone, or hears that the process is.
        let _ = self.events.send(MasterEvent::ProcessLost {
            process,
            generation,
            what,
        });
        Ok(())
    }
}

/// A process that is in one of these places, for people.
fn shown(process: u32, places: &[WorkerPlace]) -> String {
    match places.get(process as usize) {
        Some(place) => format!(
            "worker process {process} (task manager {})",
            place.task_manager
        ),
        None => format!("worker process {process}"),
    }
}

/// Whether a message is about this attempt.
pub(crate) fn is_of(message: &millpond_job::FromWorker, attempt: Attempt) -> bool {
    use millpond_job::FromWorker;
    let of = match message {
        FromWorker::Running { attempt, .. }
        | FromWorker::Announced { attempt, .. }
        | FromWorker::Acknowledge { attempt, .. }
        | FromWorker::Decline { attempt, .. }
        | FromWorker::SourceEnded { attempt, .. }
        | FromWorker::Failed { attempt, .. }
        | FromWorker::Ended { attempt, .. }
        | FromWorker::Metrics { attempt, .. } => *attempt,
    };
    of == attempt
}

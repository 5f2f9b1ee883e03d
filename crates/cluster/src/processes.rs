//! The worker processes of a job, as the job master sees them.
//!
//! Either the one process that the master lives in, or child processes of the same executable on
//! loopback. A child that dies is started again for the next attempt; when the master dies its
//! children end by themselves, as their connection ends.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millpond_job::ToWorker;
use millpond_job::gateway::Attempt;
use millpond_runtime::{AttemptHandle, Program, start_attempt};
use millpond_types::config::WORKER_VARIABLE;

use crate::deployment::Deployment;
use crate::event::MasterEvent;
use crate::options::Heartbeat;
use crate::process::{MasterMessage, ProcessMessage};
use crate::transport::{receive, send};
use crate::worker_process::attempt_options;

/// For how long the job master waits for a worker process to take a message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker process may take to report to the master after its start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The worker processes of a job.
pub(crate) enum Processes {
    /// Worker threads in the master's own process.
    Local(LocalProcess),
    /// Children of the master.
    Children(Children),
}

impl Processes {
    /// One process is the master's own; more are children.
    ///
    /// # Errors
    ///
    /// No socket can be opened.
    pub(crate) fn new(
        processes: u32,
        program: Program,
        events: Sender<MasterEvent>,
        heartbeat: Heartbeat,
    ) -> std::io::Result<Self> {
        Ok(match processes {
            0 | 1 => Processes::Local(LocalProcess {
                program,
                events,
                attempt: None,
            }),
            _ => Processes::Children(Children::new(processes, events, heartbeat)?),
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        match self {
            Processes::Local(_) => 1,
            Processes::Children(children) => children.count,
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
            Processes::Children(children) => children.deploy(deployment),
        }
    }

    /// Sends a message to all of them; those that are gone have been reported as lost.
    pub(crate) fn send(&mut self, message: &ToWorker) {
        match self {
            Processes::Local(local) => {
                if let Some(attempt) = &local.attempt {
                    attempt.deliver(message.clone());
                }
            }
            Processes::Children(children) => children.send(message),
        }
    }

    /// The processes that cannot report anything any more.
    pub(crate) fn lost(&self) -> Vec<u32> {
        match self {
            Processes::Local(_) => Vec::new(),
            Processes::Children(children) => children.lost(),
        }
    }

    /// Ends a process whose connection has ended, or that was silent for too long; returns false if
    /// the connection is an older one's.
    pub(crate) fn forget(&mut self, process: u32, generation: u64) -> bool {
        match self {
            Processes::Local(_) => false,
            Processes::Children(children) => children.forget(process, generation),
        }
    }

    /// Kills what has not ended an attempt in time; false if that cannot be done, as threads of
    /// the master's own process cannot be killed.
    pub(crate) fn kill(&mut self, processes: impl Iterator<Item = u32>) -> bool {
        match self {
            Processes::Local(local) => local.attempt.as_ref().is_none_or(AttemptHandle::is_ended),
            Processes::Children(children) => {
                processes.for_each(|process| children.kill(process));
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
}

impl LocalProcess {
    fn deploy(&mut self, deployment: &Deployment) -> Result<(), String> {
        if let Some(previous) = self.attempt.take() {
            previous.cancel();
            previous.join();
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
        let options = attempt_options(deployment, &program, 0, Vec::new())?;
        let attempt = start_attempt(Arc::new(program), options, to_master)
            .map_err(|error| error.to_string())?;
        self.attempt = Some(attempt);
        Ok(())
    }
}

/// A child process that has said hello.
struct Connected {
    stream: TcpStream,
    data_address: String,
    generation: u64,
}

/// Child processes of the master.
pub(crate) struct Children {
    count: u32,
    address: String,
    token: String,
    heartbeat: Heartbeat,
    children: BTreeMap<u32, Child>,
    connected: Arc<Mutex<BTreeMap<u32, Connected>>>,
}

impl Children {
    fn new(count: u32, events: Sender<MasterEvent>, heartbeat: Heartbeat) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let token = crate::random::hex(16);
        let connected = Arc::new(Mutex::default());
        let acceptor = Acceptor {
            token: token.clone(),
            timeout: heartbeat.timeout,
            connected: Arc::clone(&connected),
            events,
        };
        std::thread::Builder::new()
            .name("worker-processes".to_owned())
            .spawn(move || acceptor.serve(&listener))?;
        Ok(Children {
            count,
            address,
            token,
            heartbeat,
            children: BTreeMap::new(),
            connected,
        })
    }

    fn connected(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Connected>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&mut self, process: u32) -> Result<(), String> {
        let executable = std::env::current_exe().map_err(|error| error.to_string())?;
        let child = Command::new(&executable)
            .args(std::env::args_os().skip(1))
            .env(
                WORKER_VARIABLE,
                format!(
                    "{}|{process}|{}|{}",
                    self.address,
                    self.token,
                    self.heartbeat.interval.as_millis()
                ),
            )
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!(
                    "cannot start worker process {process} ({}): {error}",
                    executable.display()
                )
            })?;
        self.children.insert(process, child);
        Ok(())
    }

    fn deploy(&mut self, mut deployment: Deployment) -> Result<(), String> {
        for process in 0..self.count {
            if !self.connected().contains_key(&process) {
                self.kill(process);
                self.start(process)?;
            }
        }
        self.wait_until_connected()?;
        let mut connected = self.connected();
        deployment.data_addresses = connected
            .values()
            .map(|child| child.data_address.clone())
            .collect();
        let message = MasterMessage::Deploy(Box::new(deployment));
        for (process, child) in connected.iter_mut() {
            send(&mut child.stream, &message)
                .map_err(|error| format!("cannot reach worker process {process}: {error}"))?;
        }
        Ok(())
    }

    fn wait_until_connected(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        while (self.connected().len() as u32) < self.count {
            for (process, child) in &mut self.children {
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(format!(
                        "worker process {process} ended at its start: {status}"
                    ));
                }
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
        for child in self.connected().values_mut() {
            // The reader of this connection reports the process as lost.
            let _ = send(&mut child.stream, &message);
        }
    }

    fn lost(&self) -> Vec<u32> {
        let connected = self.connected();
        (0..self.count)
            .filter(|process| !connected.contains_key(process))
            .collect()
    }

    fn forget(&mut self, process: u32, generation: u64) -> bool {
        let current = self
            .connected()
            .get(&process)
            .is_some_and(|child| child.generation == generation);
        if current {
            // One that only stood still must not wake up and go on.
            self.kill(process);
        }
        current
    }

    fn kill(&mut self, process: u32) {
        if let Some(mut child) = self.children.remove(&process) {
            // It may have ended already; either way it is to be reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.connected().remove(&process);
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for process in 0..self.count {
            self.kill(process);
        }
    }
}

/// Takes the connections of child processes.
struct Acceptor {
    token: String,
    /// For how long a process may say nothing.
    timeout: Duration,
    connected: Arc<Mutex<BTreeMap<u32, Connected>>>,
    events: Sender<MasterEvent>,
}

impl Acceptor {
    fn serve(&self, listener: &TcpListener) {
        for (generation, stream) in (1u64..).zip(listener.incoming()) {
            let Ok(mut stream) = stream else { continue };
            let hello = || -> std::io::Result<Option<ProcessMessage>> {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                let hello = receive(&mut stream)?;
                // Every process says something now and then: one that is silent is lost.
                stream.set_read_timeout(Some(self.timeout))?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT.min(self.timeout)))?;
                Ok(hello)
            };
            let hello = {
                let mut hello = hello;
                hello()
            };
            // Whoever says anything else is none of ours.
            let Ok(Some(ProcessMessage::Hello {
                process,
                token,
                data_address,
            })) = hello
            else {
                continue;
            };
            if token != self.token {
                continue;
            }
            let Ok(mut reader) = stream.try_clone() else {
                continue;
            };
            let mut connected = self
                .connected
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            connected.insert(
                process,
                Connected {
                    stream,
                    data_address,
                    generation,
                },
            );
            drop(connected);
            let (events, timeout) = (self.events.clone(), self.timeout);
            std::thread::spawn(move || {
                let what = loop {
                    let message = match receive(&mut reader) {
                        Ok(Some(ProcessMessage::Worker(message))) => message,
                        Ok(Some(ProcessMessage::Alive)) => continue,
                        Ok(Some(ProcessMessage::Hello { .. }) | None) => break "died".to_owned(),
                        Err(error) => break lost(&error, timeout),
                    };
                    if events
                        .send(MasterEvent::Worker { process, message })
                        .is_err()
                    {
                        return;
                    }
                };
                // The master is gone, or hears that the process is.
                let _ = events.send(MasterEvent::ProcessLost {
                    process,
                    generation,
                    what,
                });
            });
        }
    }
}

/// What a process has done whose connection gave this error.
fn lost(error: &std::io::Error, timeout: Duration) -> String {
    // What a read says when its time is up depends on the system.
    let timed_out = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
    match timed_out.contains(&error.kind()) {
        true => format!(
            "said nothing for {} ms (heartbeat.timeout)",
            timeout.as_millis()
        ),
        false => "died".to_owned(),
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

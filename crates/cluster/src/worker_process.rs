//! A worker process: connects to its job master and runs what it is told to.
//!
//! It ends when the connection to the master ends: a master that dies takes its workers along.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use millpond_job::FromWorker;
use millpond_job::gateway::FailureKind;
use millpond_runtime::barrier::Mode;
use millpond_runtime::{AttemptHandle, AttemptOptions, Program, start_attempt};
use millpond_security::{Connection, Internal};
use millpond_types::SystemClock;
use millpond_types::config::{WORKER_HOST_VARIABLE, WORKER_VARIABLE, options};

use crate::data_connections::DataConnections;
use crate::deployment::Deployment;
use crate::local_recovery::{OwnCopies, TaskManagerCopies};
use crate::options::Heartbeat;
use crate::process::{MasterMessage, ProcessMessage};
use crate::processes::Host;
use crate::transport::{receive, send};

/// Whether this process was started as a worker by a job master.
pub fn is_worker_process() -> bool {
    std::env::var_os(WORKER_VARIABLE).is_some()
}

/// Runs as a worker process until the master lets go.
///
/// # Errors
///
/// The master cannot be reached, for people.
pub fn run_worker_process(program: Program, security: Internal) -> Result<(), String> {
    let orders = std::env::var(WORKER_VARIABLE).map_err(|error| error.to_string())?;
    let mut parts = orders.split('|');
    let (Some(address), Some(process), Some(token), Some(interval), Some(timeout)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(format!(
            "{WORKER_VARIABLE} is \"{orders}\", expected \
             address|process|token|heartbeat interval in ms|heartbeat timeout in ms"
        ));
    };
    let heartbeat = Heartbeat {
        interval: milliseconds(interval)?,
        timeout: milliseconds(timeout)?,
    };
    let process: u32 = process
        .parse()
        .map_err(|_| format!("\"{process}\" is no process number"))?;
    let host = own_host()?;
    let place_of_copies = TaskManagerCopies::from_environment()?;
    if std::env::var_os(WORKER_HOST_VARIABLE).is_some() {
        std::thread::spawn(end_with_task_manager);
    }
    let (listener, data_address) = host.listen().map_err(|error| {
        let bind = options::TASK_MANAGER_BIND_HOST.key();
        let ports = options::TASK_MANAGER_DATA_PORT.key();
        format!("no other worker can come: {error}; see {bind} and {ports}")
    })?;
    let mut master = security
        .connect(address, heartbeat.timeout)
        .map_err(|error| format!("cannot reach the job master at {address}: {error}"))?;
    let hello = ProcessMessage::Hello {
        process,
        token: token.to_owned(),
        data_address,
    };
    send(&mut master, &hello).map_err(|error| error.to_string())?;
    let reader = master.try_clone().map_err(|error| error.to_string())?;
    let (orders, incoming) = channel();
    std::thread::spawn(move || listen(reader, &orders));
    let (outgoing, messages) = channel();
    std::thread::spawn(move || forward(master, messages, heartbeat.interval));
    Worker {
        program,
        process,
        connections: DataConnections::listen(
            listener,
            process,
            token.to_owned(),
            heartbeat.timeout,
            security,
        )
        .map_err(|error| format!("cannot listen for other workers: {error}"))?,
        outgoing,
        attempt: None,
        place_of_copies,
        copies: None,
    }
    .serve(&incoming);
    Ok(())
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let parsed = text.parse().map(Duration::from_millis);
    parsed.map_err(|_| format!("\"{text}\" is no time in milliseconds"))
}

/// A task manager keeps the other end of standard input open for as long as it lives.
fn end_with_task_manager() {
    // Nothing comes; an error is an end as well.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    std::process::exit(0);
}

/// Where this process is to listen.
fn own_host() -> Result<Host, String> {
    let Ok(text) = std::env::var(WORKER_HOST_VARIABLE) else {
        return Ok(Host::loopback());
    };
    Host::from_environment(&text).ok_or_else(|| {
        format!("{WORKER_HOST_VARIABLE} is \"{text}\", expected address to bind|address for others|ports")
    })
}

/// Hears the master until the connection ends, then ends the process at once, whatever it is doing:
/// nothing that it could still do would count.
fn listen(mut master: Connection, orders: &Sender<MasterMessage>) {
    while let Ok(Some(message)) = receive::<MasterMessage>(&mut master) {
        if orders.send(message).is_err() {
            break;
        }
    }
    std::process::exit(0);
}

/// Carries messages to the master until it is gone.
fn forward(mut master: Connection, messages: Receiver<FromWorker>, heartbeat: Duration) {
    loop {
        let message = match messages.recv_timeout(heartbeat) {
            Ok(message) => ProcessMessage::Worker(message),
            Err(RecvTimeoutError::Timeout) => ProcessMessage::Alive,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if send(&mut master, &message).is_err() {
            // Whatever runs here runs for nobody.
            std::process::exit(1);
        }
    }
}

struct Worker {
    program: Program,
    process: u32,
    connections: DataConnections,
    outgoing: Sender<FromWorker>,
    attempt: Option<AttemptHandle>,
    /// If a task manager has started this process.
    place_of_copies: Option<TaskManagerCopies>,
    /// Since the first deployment, if there are to be any.
    copies: Option<OwnCopies>,
}

impl Worker {
    /// Obeys until the process ends.
    fn serve(mut self, orders: &Receiver<MasterMessage>) {
        for message in orders {
            match message {
                MasterMessage::Deploy(deployment) => self.deploy(*deployment),
                MasterMessage::Worker(message) => {
                    if let Some(copies) = &self.copies {
                        copies.hear(&message);
                    }
                    if let Some(attempt) = &self.attempt {
                        attempt.deliver(message);
                    }
                }
            }
        }
    }

    fn deploy(&mut self, deployment: Deployment) {
        if let Some(previous) = self.attempt.take() {
            previous.cancel();
            previous.join();
        }
        let attempt = deployment.attempt;
        let copies = self.have_copies(&deployment);
        let started = copies
            .and_then(|()| self.connections.open(attempt, &deployment.data_addresses))
            .and_then(|sockets| self.start(&deployment, sockets));
        match started {
            Ok(handle) => self.attempt = Some(handle),
            Err(message) => {
                let process = self.process;
                for message in [
                    FromWorker::Failed {
                        attempt,
                        process,
                        task: None,
                        message,
                        kind: FailureKind::Retryable,
                    },
                    FromWorker::Ended { attempt, process },
                ] {
                    // The master is gone: the next receive ends the process.
                    let _ = self.outgoing.send(message);
                }
            }
        }
    }

    fn have_copies(&mut self, deployment: &Deployment) -> Result<(), String> {
        if self.copies.is_none() {
            let (config, job) = (&deployment.local_recovery, deployment.job);
            let place = self.place_of_copies.as_ref();
            let copies = OwnCopies::new(config, place, job, self.process);
            self.copies = copies.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn start(
        &self,
        deployment: &Deployment,
        sockets: Vec<Option<Connection>>,
    ) -> Result<AttemptHandle, String> {
        let program = deployment.program(&self.program);
        let copies = self.copies.as_ref();
        let options = attempt_options(deployment, &program, self.process, sockets, copies)?;
        start_attempt(Arc::new(program), options, self.outgoing.clone())
            .map_err(|error| error.to_string())
    }
}

/// How one process runs its share of a deployment.
pub(crate) fn attempt_options(
    deployment: &Deployment,
    program: &Program,
    process: u32,
    sockets: Vec<Option<Connection>>,
    copies: Option<&OwnCopies>,
) -> Result<AttemptOptions, String> {
    Ok(AttemptOptions {
        job: deployment.job,
        attempt: deployment.attempt,
        process,
        processes: deployment.data_addresses.len().max(1) as u32,
        workers: deployment.workers,
        mode: if deployment.exactly_once {
            Mode::ExactlyOnce
        } else {
            Mode::AtLeastOnce
        },
        checkpointing: deployment.checkpointing,
        restore: deployment.restore(program, copies)?,
        copies: copies.and_then(OwnCopies::to_write),
        clock: Arc::new(SystemClock),
        sockets,
    })
}

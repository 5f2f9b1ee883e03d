//! The job manager of a cluster, as the master of one of its jobs sees it.
//!
//! The job manager has started the master, finds slots for its worker processes, hears how the job is
//! doing, and hands on what users want. When it is gone the master ends at once, and its workers with
//! it: whoever takes over starts the job again from its newest checkpoint.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond_job::JobStatus;
use millpond_job::dispatcher::{Dispatcher, WorkerPlace};
use millpond_job::gateway::Attempt;
use millpond_job::report::JobReport;
use millpond_job::resources::{
    FromJobMaster, Hello, PROTOCOL, Peer, SlotRequest, ToJobMaster, Welcome, WorkerId,
};
use millpond_leadership::{Term, now_ms};
use millpond_security::{Connection, Internal};
use millpond_types::JobId;
use millpond_types::config::JOB_MANAGER_VARIABLE;

use crate::event::MasterEvent;
use crate::launcher::{Launcher, Room};
use crate::local_dispatcher::LocalDispatcher;
use crate::lock::lock;
use crate::master_lock::MasterLock;
use crate::options::Heartbeat;
use crate::transport::{Outbox, receive, send};

/// How often a report is made, and sent if it says anything new.
const REPORT_INTERVAL: Duration = Duration::from_millis(50);

/// How long the job manager may take to be connected to, and to answer the first message.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// What a job manager tells the master that it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobManagerAddress {
    /// Where it listens.
    pub rpc: String,
    /// Proves that it has started the master.
    pub token: String,
    /// Where its REST API listens.
    pub rest: String,
    /// The file that the master of this job holds locked for as long as it lives, if its cluster is
    /// highly available; no path with `|` in it.
    pub lock: Option<String>,
    /// Until when it is known to lead, in milliseconds of [`millpond_leadership::now_ms`], and for how many
    /// it does each time; `None` if for as long as it lives.
    pub term: Option<(u64, u64)>,
    /// How many attempts of the job are taken to have begun under earlier masters: those of this one have
    /// higher numbers.
    pub earlier_attempts: Attempt,
}

impl JobManagerAddress {
    /// What stands in the environment of this process; `None` if no job manager has started it.
    ///
    /// # Errors
    ///
    /// The variable holds something else.
    pub fn from_environment() -> Result<Option<Self>, String> {
        let Ok(text) = std::env::var(JOB_MANAGER_VARIABLE) else {
            return Ok(None);
        };
        Self::parse(&text).map(Some).ok_or_else(|| {
            format!(
                "{JOB_MANAGER_VARIABLE} is \"{text}\", expected address|token|rest address|lock|term|attempts"
            )
        })
    }

    /// The text for [`JOB_MANAGER_VARIABLE`].
    pub fn to_environment(&self) -> String {
        let lock = self.lock.as_deref().unwrap_or_default();
        let term = self.term.map(|(until, length)| format!("{until}+{length}"));
        let term = term.unwrap_or_default();
        let (rpc, token, rest) = (&self.rpc, &self.token, &self.rest);
        let attempts = self.earlier_attempts;
        format!("{rpc}|{token}|{rest}|{lock}|{term}|{attempts}")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(6, '|').map(str::to_owned);
        let (rpc, token, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let lock = parts.next().filter(|path| !path.is_empty());
        let term = match parts.next().filter(|term| !term.is_empty()) {
            Some(term) => {
                let (until, length) = term.split_once('+')?;
                Some((until.parse().ok()?, length.parse().ok()?))
            }
            None => None,
        };
        let earlier_attempts = match parts.next() {
            Some(attempts) => attempts.parse().ok()?,
            None => 0,
        };
        Some(JobManagerAddress {
            rpc,
            token,
            rest,
            lock,
            term,
            earlier_attempts,
        })
    }

    fn term(&self) -> Term {
        match self.term {
            Some((until_ms, length_ms)) => Term::until(until_ms, Duration::from_millis(length_ms)),
            None => Term::unlimited(),
        }
    }
}

/// What both the slots and the connection know.
#[derive(Default)]
struct Shared {
    /// The newest request for slots.
    requested: u64,
    allocation: u64,
    /// Where its processes are.
    places: Vec<WorkerPlace>,
    /// Processes of that allocation that have ended, and how.
    ended: Vec<(u32, String)>,
}

/// A connection to the job manager.
pub(crate) struct JobManager {
    job: JobId,
    address: String,
    outgoing: Outbox<FromJobMaster>,
    incoming: Option<Connection>,
    shared: Arc<Mutex<Shared>>,
    lock: Option<Arc<MasterLock>>,
    term: Term,
}

impl JobManager {
    /// Connects as the master of `job`.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or does not want this master.
    pub(crate) fn connect(
        manager: &JobManagerAddress,
        job: JobId,
        heartbeat: Heartbeat,
        security: &Internal,
    ) -> std::io::Result<Self> {
        let term = manager.term();
        end_with(&manager.rpc, &term)?;
        let lock = manager.lock.as_ref();
        let lock = lock.map(|path| MasterLock::acquire(Path::new(path), heartbeat.timeout));
        let lock = lock.transpose()?.map(Arc::new);
        let mut stream = security.connect(&manager.rpc, WELCOME_TIMEOUT)?;
        stream.set_write_timeout(Some(heartbeat.timeout))?;
        stream.set_read_timeout(Some(WELCOME_TIMEOUT))?;
        let token = manager.token.clone();
        let hello = Hello {
            protocol: PROTOCOL,
            who: Peer::JobMaster { job, token },
        };
        send(&mut stream, &hello)?;
        match receive(&mut stream)? {
            Some(Welcome::Accepted) => {}
            Some(Welcome::Refused(why)) => return Err(std::io::Error::other(why)),
            None => {
                let what = format!("no answer; {}", security.hint());
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what));
            }
        }
        // It says something now and then: one that is silent is gone.
        stream.set_read_timeout(Some(heartbeat.timeout))?;
        let incoming = stream.try_clone()?;
        let address = manager.rpc.clone();
        let outgoing = Outbox::start(
            stream,
            "to-job-manager",
            heartbeat.interval,
            || FromJobMaster::Alive,
            move |error| end(&address, &format!("cannot be told anything ({error})")),
        )?;
        Ok(JobManager {
            job,
            address: manager.rpc.clone(),
            outgoing,
            incoming: Some(incoming),
            shared: Arc::default(),
            lock,
            term,
        })
    }

    /// Until when the job manager leads, as it has told last.
    pub(crate) fn term(&self) -> Term {
        self.term.clone()
    }

    /// What starts worker processes in slots of the cluster.
    pub(crate) fn slots(&self) -> Box<dyn Launcher> {
        Box::new(Slots {
            job: self.job,
            outgoing: self.outgoing.clone(),
            shared: Arc::clone(&self.shared),
            lock: self.lock.clone(),
        })
    }

    /// Begins to hear the job manager and to tell it how the job is doing.
    pub(crate) fn attend(
        &mut self,
        dispatcher: &Arc<LocalDispatcher>,
        events: Sender<MasterEvent>,
    ) -> std::io::Result<()> {
        let Some(incoming) = self.incoming.take() else {
            return Ok(());
        };
        let listener = Listener {
            job: self.job,
            address: self.address.clone(),
            dispatcher: Arc::clone(dispatcher),
            events,
            shared: Arc::clone(&self.shared),
            term: self.term.clone(),
        };
        std::thread::Builder::new()
            .name("from-job-manager".to_owned())
            .spawn(move || listener.listen(incoming))?;
        let (dispatcher, outgoing) = (Arc::clone(dispatcher), self.outgoing.clone());
        std::thread::Builder::new()
            .name("job-report".to_owned())
            .spawn(move || {
                let mut last = None;
                loop {
                    let report = dispatcher.report();
                    let ended = report.details.overview.status.is_globally_terminal();
                    let is_new = last.as_ref() != Some(&report);
                    if is_new && !outgoing.send(message(&report)) || ended {
                        return;
                    }
                    last = Some(report);
                    std::thread::sleep(REPORT_INTERVAL);
                }
            })?;
        Ok(())
    }

    /// Tells how the job has ended, and waits until that is on its way.
    pub(crate) fn finish(&self, report: &JobReport) {
        if self.outgoing.send(message(report)) {
            self.outgoing.flush();
        }
    }
}

fn message(report: &JobReport) -> FromJobMaster {
    FromJobMaster::Report(Box::new(report.clone()))
}

/// Without a job manager this master's job is nobody's: it will be started again elsewhere, and must
/// not run twice.
fn end(address: &str, what: &str) -> ! {
    tracing::error!("the job manager at {address} {what}: this job master ends");
    std::process::exit(1);
}

/// Ends this process when the term of its leader is over: a leader that stands still or is cut off cannot
/// say so, and another one may go on with the job.
fn end_with(address: &str, term: &Term) -> std::io::Result<()> {
    if term.length().is_none() {
        return Ok(());
    }
    let (address, term) = (address.to_owned(), term.clone());
    std::thread::Builder::new()
        .name("leader-term".to_owned())
        .spawn(move || {
            loop {
                match term.until_ms().saturating_sub(now_ms()) {
                    0 => end(&address, "is not known to lead any more"),
                    left_ms => std::thread::sleep(Duration::from_millis(left_ms)),
                }
            }
        })?;
    Ok(())
}

struct Listener {
    term: Term,
    job: JobId,
    address: String,
    dispatcher: Arc<LocalDispatcher>,
    events: Sender<MasterEvent>,
    shared: Arc<Mutex<Shared>>,
}

impl Listener {
    fn listen(self, mut incoming: Connection) {
        loop {
            match receive::<ToJobMaster>(&mut incoming) {
                Ok(Some(message)) => self.hear(message),
                Ok(None) => end(&self.address, "is gone"),
                Err(error) => end(&self.address, &format!("is not heard any more ({error})")),
            }
        }
    }

    fn hear(&self, message: ToJobMaster) {
        let event = match message {
            ToJobMaster::Alive { leads_until_ms } => {
                self.term.extend(leads_until_ms);
                return;
            }
            ToJobMaster::Allocated {
                number,
                allocation,
                parallelism,
                workers,
                places,
            } => {
                let mut shared = lock(&self.shared);
                if number != shared.requested {
                    return;
                }
                shared.allocation = allocation;
                shared.ended.clear();
                let processes = places.len() as u32;
                shared.places = places;
                MasterEvent::Allocated(Room {
                    parallelism,
                    processes,
                    workers,
                })
            }
            ToJobMaster::NoSlots { number, reason } => {
                if number != lock(&self.shared).requested {
                    return;
                }
                MasterEvent::NoSlots(reason)
            }
            ToJobMaster::Slots { available } => MasterEvent::Slots(available),
            ToJobMaster::Require(requirements) => MasterEvent::Require(requirements),
            ToJobMaster::WorkerEnded { worker, how } => {
                let mut shared = lock(&self.shared);
                if worker.allocation == shared.allocation {
                    shared.ended.push((worker.process, how));
                }
                return;
            }
            ToJobMaster::Cancel => MasterEvent::Cancel,
            ToJobMaster::Savepoint { trigger, request } => {
                // What it refuses it tells as the operation's result.
                let _ = self
                    .dispatcher
                    .trigger_savepoint(self.job, trigger, request);
                return;
            }
            ToJobMaster::Checkpoint { trigger, kind } => {
                let _ = self.dispatcher.trigger_checkpoint(self.job, trigger, kind);
                return;
            }
            ToJobMaster::CheckpointInterval { interval_ms } => {
                // The job manager has asked whether it can be.
                let _ = self
                    .dispatcher
                    .set_checkpoint_interval(self.job, interval_ms);
                return;
            }
            ToJobMaster::Disposed { directory } => MasterEvent::Disposed { directory },
        };
        // The job has ended: nothing is left to be done.
        let _ = self.events.send(event);
    }
}

/// Slots of a cluster.
struct Slots {
    job: JobId,
    outgoing: Outbox<FromJobMaster>,
    shared: Arc<Mutex<Shared>>,
    lock: Option<Arc<MasterLock>>,
}

impl Slots {
    fn tell(&self, message: FromJobMaster) {
        // The process is about to end with its connection.
        let _ = self.outgoing.send(message);
    }
}

impl Launcher for Slots {
    fn allocate(&mut self, request: SlotRequest) -> Option<Room> {
        let number = {
            let mut shared = lock(&self.shared);
            shared.requested += 1;
            shared.requested
        };
        self.tell(FromJobMaster::Allocate(SlotRequest { number, ..request }));
        None
    }

    fn places(&self) -> Vec<WorkerPlace> {
        lock(&self.shared).places.clone()
    }

    fn start(&mut self, process: u32, orders: &str) -> Result<(), String> {
        let orders = orders.to_owned();
        self.tell(FromJobMaster::Start { process, orders });
        Ok(())
    }

    fn ended(&mut self) -> Option<(u32, String)> {
        lock(&self.shared).ended.pop()
    }

    fn kill(&mut self, process: u32) {
        let worker = WorkerId {
            job: self.job,
            allocation: lock(&self.shared).allocation,
            process,
        };
        self.tell(FromJobMaster::Kill { worker });
    }

    fn job_ends(&mut self, status: JobStatus) {
        if let Some(Err(error)) = self.lock.as_ref().map(|lock| lock.end(status)) {
            tracing::error!("that the job is {status} cannot be noted: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_master_is_told_passes_through_its_environment() {
        let address = JobManagerAddress {
            rpc: "host:6123".to_owned(),
            token: "secret".to_owned(),
            rest: "host:8081".to_owned(),
            lock: None,
            term: None,
            earlier_attempts: 0,
        };
        let kept = JobManagerAddress {
            lock: Some("/ha/jobs/1.lock".to_owned()),
            ..address.clone()
        };
        let led = JobManagerAddress {
            term: Some((1_000, 60_000)),
            ..kept.clone()
        };
        let later = JobManagerAddress {
            earlier_attempts: 300_000,
            ..address.clone()
        };
        for address in [address, kept, led, later] {
            let text = address.to_environment();
            assert_eq!(JobManagerAddress::parse(&text), Some(address), "{text}");
        }
        assert_eq!(JobManagerAddress::parse("a|b|c|d|e"), None);
        assert_eq!(JobManagerAddress::parse("a|b|c|d||e"), None);
    }
}

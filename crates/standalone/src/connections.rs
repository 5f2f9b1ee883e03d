//! Connections to a job manager: who is there, and what each says.

use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::mpsc::Sender;
use std::time::Duration;

use millpond_cluster::door::{self, Unknown};
use millpond_cluster::{Heartbeat, Outbox, receive, send, silence};
use millpond_job::resources::{
    FromJobMaster, FromTaskManager, Hello, PROTOCOL, Peer, ToJobMaster, ToTaskManager, Welcome,
};
use millpond_leadership::Term;
use millpond_security::{Connection, Internal};
use millpond_types::JobId;

use crate::job_manager::Event;
use crate::program_store::ProgramStore;

/// How often a master is told until when its job manager leads, while that lasts.
const ALIVE_PER_TERM: u32 = 10;

/// Takes connections until the process ends.
pub(crate) struct Acceptor {
    pub(crate) programs: ProgramStore,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) events: Sender<Event>,
    /// Until when this job manager leads.
    pub(crate) term: Term,
}

impl Acceptor {
    /// Takes connections from now on.
    ///
    /// # Errors
    ///
    /// No thread can be had.
    pub(crate) fn serve(self, listener: TcpListener, security: Internal) -> io::Result<()> {
        let Acceptor {
            programs,
            heartbeat,
            events,
            term,
        } = self;
        door::open(
            "connections",
            listener,
            security,
            move |connection, stream, unknown| {
                let cluster = Cluster {
                    programs: &programs,
                    heartbeat,
                    events: &events,
                    term: &term,
                };
                cluster.attend(stream, unknown, connection)
            },
        )
    }
}

/// What each connection is about.
struct Cluster<'a> {
    programs: &'a ProgramStore,
    heartbeat: Heartbeat,
    events: &'a Sender<Event>,
    term: &'a Term,
}

impl Cluster<'_> {
    fn attend(&self, mut stream: Connection, unknown: Unknown, connection: u64) -> io::Result<()> {
        let Cluster {
            programs,
            heartbeat,
            events,
            ..
        } = *self;
        stream.set_write_timeout(Some(heartbeat.timeout))?;
        let Some(hello) = receive::<Hello>(&mut stream)? else {
            return Ok(());
        };
        if hello.protocol != PROTOCOL {
            let why = format!(
                "this job manager speaks version {PROTOCOL} of its protocol, and not {}: use one build of \
             Millpond for the whole cluster",
                hello.protocol
            );
            return send(&mut stream, &Welcome::Refused(why));
        }
        drop(unknown);
        // Everybody says something now and then: one that is silent is lost.
        stream.set_read_timeout(Some(heartbeat.timeout))?;
        match hello.who {
            Peer::Program { program } => give_program(&mut stream, programs, &program),
            Peer::TaskManager(info) => {
                let writer = stream.try_clone()?;
                send(&mut stream, &Welcome::Accepted)?;
                let outbox = Outbox::start(
                    writer,
                    "to-task-manager",
                    heartbeat.interval,
                    || ToTaskManager::Alive,
                    // The reader of this connection hears of its end as well.
                    |_| {},
                )?;
                let id = info.id.clone();
                tell(
                    events,
                    Event::TaskManagerCame {
                        info,
                        connection,
                        outbox,
                    },
                )?;
                let why = loop {
                    match receive::<FromTaskManager>(&mut stream) {
                        Ok(Some(message)) => {
                            let id = id.clone();
                            tell(events, Event::TaskManagerSaid { id, message })?;
                        }
                        Ok(None) => break "its connection has ended".to_owned(),
                        Err(error) => break lost(&error, heartbeat.timeout),
                    }
                };
                tell(
                    events,
                    Event::TaskManagerLost {
                        id,
                        connection,
                        why,
                    },
                )
            }
            Peer::JobMaster { job, token } => {
                let (answer, answered) = std::sync::mpsc::channel();
                tell(events, Event::JobMasterWants { job, token, answer })?;
                let welcome = answered
                    .recv()
                    .unwrap_or_else(|_| Welcome::Refused("the job manager ends".to_owned()));
                if welcome != Welcome::Accepted {
                    return send(&mut stream, &welcome);
                }
                // Whoever was accepted is heard of once more, however soon its connection ends.
                let why = match self.attend_job_master(&mut stream, job) {
                    Ok(()) => "its connection has ended".to_owned(),
                    Err(error) => lost(&error, heartbeat.timeout),
                };
                tell(events, Event::JobMasterLost { job, why })
            }
        }
    }

    fn attend_job_master(&self, stream: &mut Connection, job: JobId) -> io::Result<()> {
        let events = self.events;
        send(stream, &Welcome::Accepted)?;
        // Often enough that it always knows of most of a term.
        let of_term = self
            .term
            .length()
            .map_or(Duration::MAX, |length| length / ALIVE_PER_TERM);
        let term = self.term.clone();
        let outbox = Outbox::start(
            stream.try_clone()?,
            "to-job-master",
            self.heartbeat.interval.min(of_term),
            move || ToJobMaster::Alive {
                leads_until_ms: term.until_ms(),
            },
            |_| {},
        )?;
        tell(events, Event::JobMasterCame { job, outbox })?;
        while let Some(message) = receive::<FromJobMaster>(stream)? {
            tell(events, Event::JobMasterSaid { job, message })?;
        }
        Ok(())
    }
}

fn tell(events: &Sender<Event>, event: Event) -> io::Result<()> {
    events
        .send(event)
        .map_err(|_| io::Error::other("the job manager has ended"))
}

fn lost(error: &io::Error, timeout: Duration) -> String {
    silence(error, timeout).map_or_else(|| error.to_string(), |what| format!("it {what}"))
}

fn give_program(stream: &mut Connection, programs: &ProgramStore, id: &str) -> io::Result<()> {
    let Ok(path) = programs.path(id) else {
        return stream.write_all(&u64::MAX.to_le_bytes());
    };
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    stream.write_all(&length.to_le_bytes())?;
    io::copy(&mut file, stream)?;
    Ok(())
}

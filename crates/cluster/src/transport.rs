//! Messages between processes over a socket.
//!
//! A message is a u32 length (little-endian) and that many bytes in postcard's form. Job master and
//! workers are the same executable, so the form may change with any version; where they may differ
//! the first message tells the version.

use std::io::{Read, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use millpond_security::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// More than any message of ours needs; what claims to be longer is no message.
const MAX_MESSAGE_BYTES: u32 = 1 << 30;

/// Sends a message.
///
/// # Errors
///
/// The connection broke.
pub fn send<M: Serialize>(stream: &mut impl Write, message: &M) -> std::io::Result<()> {
    let mut bytes = postcard::to_extend(message, vec![0u8; 4]).map_err(std::io::Error::other)?;
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&bytes)
}

/// Waits for a message; `None` when the other end has closed the connection.
///
/// # Errors
///
/// The connection broke, or something else than a message came.
pub fn receive<M: DeserializeOwned>(stream: &mut impl Read) -> std::io::Result<Option<M>> {
    let mut length = [0u8; 4];
    if let Err(error) = stream.read_exact(&mut length) {
        let ended = error.kind() == std::io::ErrorKind::UnexpectedEof;
        return if ended { Ok(None) } else { Err(error) };
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_MESSAGE_BYTES {
        return Err(std::io::Error::other(format!(
            "a message of {length} bytes announced, at most {MAX_MESSAGE_BYTES} expected"
        )));
    }
    let mut bytes = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Ok(None);
    }
    postcard::from_bytes(&bytes)
        .map(Some)
        .map_err(std::io::Error::other)
}

/// What a peer has done whose connection gave this error when its time was up: "said nothing for ..."; `None`
/// if the connection broke.
pub fn silence(error: &std::io::Error, timeout: Duration) -> Option<String> {
    // What a read says when its time is up depends on the system.
    let timed_out = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
    timed_out.contains(&error.kind()).then(|| {
        format!(
            "said nothing for {} ms (heartbeat.timeout)",
            timeout.as_millis()
        )
    })
}

enum Item<M> {
    Message(M),
    /// Answer when everything before is on its way.
    Flush(Sender<()>),
}

/// Sends messages on a thread of its own, and says again and again that it lives.
pub struct Outbox<M> {
    items: Sender<Item<M>>,
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Outbox {
            items: self.items.clone(),
        }
    }
}

impl<M: Serialize + Send + 'static> Outbox<M> {
    /// Starts the thread. It sends `alive()` every `interval`, whatever else there is to send, and ends when
    /// all outboxes are gone, or with `broken` when the connection is.
    ///
    /// # Errors
    ///
    /// No thread can be had.
    pub fn start(
        mut stream: Connection,
        name: &str,
        interval: Duration,
        alive: impl Fn() -> M + Send + 'static,
        broken: impl FnOnce(std::io::Error) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (items, queue) = channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut next = Instant::now() + interval;
                loop {
                    let patience = next.saturating_duration_since(Instant::now());
                    let said = match queue.recv_timeout(patience) {
                        Ok(Item::Message(message)) => send(&mut stream, &message),
                        Ok(Item::Flush(done)) => {
                            // Whoever asked has gone away.
                            let _ = done.send(());
                            continue;
                        }
                        Err(RecvTimeoutError::Timeout) => Ok(()),
                        Err(RecvTimeoutError::Disconnected) => return,
                    };
                    let said = said.and_then(|()| {
                        if Instant::now() < next {
                            return Ok(());
                        }
                        next = Instant::now() + interval;
                        send(&mut stream, &alive())
                    });
                    if let Err(error) = said {
                        return broken(error);
                    }
                }
            })?;
        Ok(Outbox { items })
    }

    /// Sends a message; false if the connection is known to be broken.
    pub fn send(&self, message: M) -> bool {
        self.items.send(Item::Message(message)).is_ok()
    }

    /// Waits until all messages are on their way, or the connection is broken.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if self.items.send(Item::Flush(done)).is_ok() {
            // Fails only if the connection is broken.
            let _ = wait.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use millpond_damage::{Damage, peak_memory_mib};
    use millpond_job::resources::{
        FromJobMaster, Hello, PROTOCOL, Peer, StartWorker, TaskManagerInfo, ToTaskManager, WorkerId,
    };
    use millpond_job::{EpochEnd, FromWorker, SnapshotOptions, StopMode, ToWorker};

    use millpond_types::JobId;

    use super::*;
    use crate::process::{MasterMessage, ProcessMessage};

    #[test]
    fn messages_arrive_in_order_and_the_end_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (mut far, _) = listener.accept().expect("accepts");
        for text in ["one", "two"] {
            send(&mut near, &text.to_owned()).expect("sends");
        }
        drop(near);
        assert_eq!(
            receive::<String>(&mut far).expect("receives"),
            Some("one".to_owned())
        );
        assert_eq!(
            receive::<String>(&mut far).expect("receives"),
            Some("two".to_owned())
        );
        assert_eq!(receive::<String>(&mut far).expect("ends"), None);
    }

    /// It says until when a job manager leads, which must not wait until there is nothing else to say.
    #[test]
    fn whoever_has_much_to_say_says_as_well_that_it_lives() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (mut far, _) = listener.accept().expect("accepts");
        let (much, lives) = ("much".to_owned(), "lives".to_owned());
        let said = lives.clone();
        let interval = Duration::from_millis(50);
        let stream = Connection::in_clear(near);
        let outbox = Outbox::start(stream, "talks", interval, move || said.clone(), |_| {});
        let outbox = outbox.expect("a thread");
        // There is always one more to be sent.
        for _ in 0..1_000 {
            outbox.send(much.clone());
        }
        let mut heard = 0;
        loop {
            match receive::<String>(&mut far).expect("receives") {
                Some(text) if text == lives => break,
                Some(_) => outbox.send(much.clone()),
                None => panic!("it has ended behind {heard}"),
            };
            heard += 1;
        }
    }

    fn framed(message: &impl Serialize) -> Vec<u8> {
        let body = postcard::to_allocvec(message).expect("memory takes all");
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    }

    /// A peer that is no worker process, or one whose connection damages what it says, costs an
    /// error and no memory beyond what has come.
    #[test]
    fn damaged_messages_are_errors_or_others_but_no_panic() {
        let options = SnapshotOptions {
            id: 3,
            is_savepoint: true,
            format: millpond_job::dispatcher::SavepointFormat::Canonical,
            incremental: false,
            directory: "file:/savepoints/savepoint-1".to_owned(),
            shared_directory: "file:/checkpoints/shared".to_owned(),
            base: None,
            metadata_only_bytes: None,
            inline_threshold_bytes: 20_480,
            file_merging: None,
            changes_limit_bytes: 1 << 30,
            triggered_at_ms: 5,
            aligned_timeout_ms: None,
            stop: Some(StopMode::Drain),
        };
        let announce = MasterMessage::Worker(ToWorker::Announce {
            attempt: 1,
            epoch: 2,
            end: EpochEnd::Snapshot(options),
        });
        let decline = ProcessMessage::Worker(FromWorker::Decline {
            attempt: 1,
            checkpoint: 3,
            vertex: millpond_job::VertexIndex(1),
            subtask: 1,
            reason: "no room on the device".to_owned(),
        });
        let start = StartWorker {
            worker: WorkerId {
                job: JobId([7; 16]),
                allocation: 2,
                process: 1,
            },
            program: "0123_flights".to_owned(),
            arguments: vec!["--keys".to_owned(), "1000".to_owned()],
            configuration: "parallelism.default=2\n".to_owned(),
            orders: "127.0.0.1:1|1|token|200".to_owned(),
        };
        let hello = Hello {
            protocol: PROTOCOL,
            who: Peer::TaskManager(TaskManagerInfo {
                id: "tm".to_owned(),
                host: "127.0.0.1".to_owned(),
                slots: 4,
            }),
        };
        let corpus = [
            framed(&announce),
            framed(&decline),
            framed(&ToTaskManager::Start(Box::new(start))),
            framed(&hello),
        ];
        let is_some = |received: std::io::Result<Option<_>>| matches!(received, Ok(Some(_)));
        assert!(is_some(
            receive::<MasterMessage>(&mut &corpus[0][..]).map(|m| m.map(drop))
        ));
        assert!(is_some(
            receive::<ProcessMessage>(&mut &corpus[1][..]).map(|m| m.map(drop))
        ));
        let mut errors = 0u64;
        let total = Damage::seeded().search(&corpus, |_, bytes| {
            errors += u64::from(receive::<MasterMessage>(&mut &bytes[..]).is_err());
            errors += u64::from(receive::<ProcessMessage>(&mut &bytes[..]).is_err());
            errors += u64::from(receive::<ToTaskManager>(&mut &bytes[..]).is_err());
            errors += u64::from(receive::<FromJobMaster>(&mut &bytes[..]).is_err());
            errors += u64::from(receive::<Hello>(&mut &bytes[..]).is_err());
        });
        assert!(total == 0 || errors > 0, "none of {total} was found");
        assert!(peak_memory_mib().is_none_or(|peak| peak < 512));
        let claims_much = [&(MAX_MESSAGE_BYTES + 1).to_le_bytes()[..], &[0; 99]].concat();
        let error = receive::<MasterMessage>(&mut &claims_much[..]).expect_err("too long");
        assert!(error.to_string().contains("bytes announced"), "{error}");
    }
}

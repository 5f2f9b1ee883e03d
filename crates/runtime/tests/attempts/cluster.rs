//! Plays the job master for one attempt.

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use millpond_fs::{FileSystem, Location, file_system_for};
use millpond_job::gateway::Attempt;
use millpond_job::{
    EpochEnd, FromWorker, SnapshotOptions, StopMode, SubtaskAcknowledgement, ToWorker,
};
use millpond_operator::RestoredState;
use millpond_runtime::barrier::Mode;
use millpond_runtime::{AttemptHandle, AttemptOptions, Program, Restore, start_attempt};
use millpond_security::Connection;
use millpond_snapshot::{Metadata, OperatorSnapshot, load, write_metadata};
use millpond_types::{CheckpointId, JobId, SystemClock};

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an attempt begins.
#[derive(Default)]
pub(crate) struct Start {
    pub(crate) processes: u32,
    /// Of each process; 0 is one as well.
    pub(crate) workers: u32,
    pub(crate) checkpointing: bool,
    pub(crate) attempt: Attempt,
    pub(crate) restore: Restore,
}

/// The worker processes of one attempt, and what they have said.
pub(crate) struct Cluster {
    attempt: Attempt,
    processes: Vec<AttemptHandle>,
    messages: Receiver<FromWorker>,
    heard: Vec<FromWorker>,
}

impl Cluster {
    pub(crate) fn start(program: &Program, start: Start) -> Self {
        let (to_master, messages) = channel();
        let count = start.processes.max(1);
        let attempt = start.attempt.max(1);
        let processes = sockets(count)
            .into_iter()
            .zip(0..)
            .map(|(sockets, process)| {
                let options = AttemptOptions {
                    job: JobId([7; 16]),
                    attempt,
                    process,
                    processes: count,
                    workers: start.workers.max(1),
                    mode: Mode::ExactlyOnce,
                    checkpointing: start.checkpointing,
                    restore: start.restore.clone(),
                    copies: None,
                    clock: Arc::new(SystemClock),
                    sockets,
                };
                start_attempt(Arc::new(program.clone()), options, to_master.clone())
                    .expect("starts")
            });
        Cluster {
            attempt,
            processes: processes.collect(),
            messages,
            heard: Vec::new(),
        }
    }

    pub(crate) fn send(&self, message: &ToWorker) {
        for process in &self.processes {
            process.deliver(message.clone());
        }
    }

    /// Waits for a message and takes it out of what was heard.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&FromWorker) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self
                .heard
                .iter()
                .position(|message| pick(message).is_some());
            if let Some(found) = found {
                return pick(&self.heard.remove(found)).expect("it was picked before");
            }
            let failed = self.heard.iter().find_map(failure);
            assert_eq!(failed, None, "while waiting for {what}");
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left);
            self.heard
                .push(message.unwrap_or_else(|_| panic!("waited too long for {what}")));
        }
    }

    /// Whether a message of this kind has come, or comes within a short time.
    pub(crate) fn hears_soon(&mut self, mut is: impl FnMut(&FromWorker) -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_millis(300);
        while let Ok(message) = self
            .messages
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.heard.push(message);
        }
        self.heard.iter().any(&mut is)
    }

    /// Has an aligned snapshot taken at the end of `epoch`, and does not wait for it.
    pub(crate) fn announce(
        &mut self,
        directory: &Path,
        id: CheckpointId,
        epoch: u32,
        stop: Option<StopMode>,
    ) {
        self.announce_with(directory, id, epoch, stop, None, 1 << 20);
    }

    /// As [`announce`](Self::announce), with a snapshot that overtakes what is in flight.
    pub(crate) fn announce_unaligned(&mut self, directory: &Path, id: CheckpointId, epoch: u32) {
        self.announce_with(directory, id, epoch, None, Some(0), 1 << 20);
    }

    /// As [`announce`](Self::announce), with all state in files.
    pub(crate) fn announce_in_files(&mut self, directory: &Path, id: CheckpointId, epoch: u32) {
        self.announce_with(directory, id, epoch, None, None, 0);
    }

    fn announce_with(
        &mut self,
        directory: &Path,
        id: CheckpointId,
        epoch: u32,
        stop: Option<StopMode>,
        aligned_timeout_ms: Option<u64>,
        inline_threshold_bytes: u32,
    ) {
        let attempt = self.attempt;
        let directory = location(directory, id);
        let end = EpochEnd::Snapshot(SnapshotOptions {
            format: millpond_job::dispatcher::SavepointFormat::Canonical,
            incremental: false,
            id,
            is_savepoint: false,
            directory: directory.to_string(),
            shared_directory: directory.join("shared").to_string(),
            base: None,
            metadata_only_bytes: None,
            inline_threshold_bytes,
            file_merging: None,
            changes_limit_bytes: u64::MAX,
            triggered_at_ms: 0,
            aligned_timeout_ms,
            stop,
        });
        self.send(&ToWorker::Announce {
            attempt,
            epoch,
            end,
        });
        for _ in 0..self.processes.len() {
            self.wait_for("the confirmation of an announcement", |message| {
                matches!(message, FromWorker::Announced { .. }).then_some(())
            });
        }
        self.send(&ToWorker::Advance { attempt, epoch });
    }

    /// Waits for all parts of a snapshot.
    pub(crate) fn acknowledged(
        &mut self,
        program: &Program,
        id: CheckpointId,
    ) -> Vec<SubtaskAcknowledgement> {
        let part = |cluster: &mut Self| {
            cluster.wait_for("an acknowledgement", |message| {
                let (checkpoint, part) = part_of(message)?;
                (checkpoint == id).then(|| part.clone())
            })
        };
        (0..program.graph.subtasks()).map(|_| part(self)).collect()
    }

    pub(crate) fn notify_aborted(&self, checkpoint: CheckpointId) {
        let attempt = self.attempt;
        self.send(&ToWorker::NotifyAborted {
            attempt,
            checkpoint,
        });
    }

    pub(crate) fn notify_complete(&self, checkpoint: CheckpointId) {
        let attempt = self.attempt;
        self.send(&ToWorker::NotifyComplete {
            attempt,
            checkpoint,
        });
    }

    /// Waits until all processes have ended the attempt.
    pub(crate) fn ended(&mut self) {
        for _ in 0..self.processes.len() {
            self.wait_for("the end", |message| is_end(message).then_some(()));
        }
    }

    /// Waits for the failure of a process: its text, and the task.
    pub(crate) fn failed(&mut self) -> (String, Option<String>) {
        self.wait_for("a failure", |message| {
            let FromWorker::Failed { message, task, .. } = message else {
                return None;
            };
            Some((message.clone(), task.clone()))
        })
    }

    /// Ends the attempt and waits for its threads.
    pub(crate) fn cancel(self) {
        for process in self.processes {
            process.cancel();
            process.join();
        }
    }
}

pub(crate) fn is_end(message: &FromWorker) -> bool {
    matches!(message, FromWorker::Ended { .. })
}

/// The part of a snapshot that a message carries.
pub(crate) fn part_of(message: &FromWorker) -> Option<(CheckpointId, &SubtaskAcknowledgement)> {
    let FromWorker::Acknowledge {
        checkpoint,
        acknowledgement,
        ..
    } = message
    else {
        return None;
    };
    Some((*checkpoint, acknowledgement))
}

fn failure(message: &FromWorker) -> Option<String> {
    if let FromWorker::Failed { message, .. } = message {
        return Some(message.clone());
    }
    if let FromWorker::Decline { reason, .. } = message {
        return Some(reason.clone());
    }
    None
}

/// A connection between each two processes, by process and peer.
fn sockets(processes: u32) -> Vec<Vec<Option<Connection>>> {
    if processes == 1 {
        return vec![Vec::new()];
    }
    let mut all: Vec<Vec<Option<Connection>>> = (0..processes)
        .map(|_| (0..processes).map(|_| None).collect())
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("is bound");
    let pairs =
        (0..processes as usize).flat_map(|first| (0..first).map(move |second| (first, second)));
    for (first, second) in pairs {
        let stream = TcpStream::connect(address).expect("connects");
        let (peer, _) = listener.accept().expect("accepts");
        for stream in [&stream, &peer] {
            stream.set_nodelay(true).expect("is a TCP connection");
        }
        all[first][second] = Some(Connection::in_clear(stream));
        all[second][first] = Some(Connection::in_clear(peer));
    }
    all
}

fn location(directory: &Path, id: CheckpointId) -> Location {
    let directory = directory.join(format!("chk-{id}"));
    Location::parse(directory.to_str().expect("UTF-8")).expect("a path")
}

/// What the next attempt restores from a snapshot, at the same parallelism. `with_ends` says whether
/// the marks of ended subtasks are handed on, as they are but for snapshots of Flink.
pub(crate) fn restore(
    directory: &Path,
    program: &Program,
    id: CheckpointId,
    parts: &[SubtaskAcknowledgement],
    with_ends: bool,
) -> Restore {
    let fs = file_system_for(&location(directory, id)).expect("is local");
    restore_by(fs, directory, program, id, parts, with_ends)
}

/// As [`restore`], from a file system.
pub(crate) fn restore_by(
    fs: Arc<dyn FileSystem>,
    directory: &Path,
    program: &Program,
    id: CheckpointId,
    parts: &[SubtaskAcknowledgement],
    with_ends: bool,
) -> Restore {
    let mut metadata = Metadata::new(id);
    for vertex in &program.graph.vertices {
        for operator in &vertex.operators {
            let mut snapshot =
                OperatorSnapshot::new(operator.id, vertex.parallelism, vertex.max_parallelism);
            for part in parts {
                for own in part
                    .operators
                    .iter()
                    .filter(|own| own.operator == operator.id)
                {
                    snapshot.subtasks.push((part.subtask, own.state.clone()));
                }
            }
            metadata.operators.push(snapshot);
        }
    }
    metadata.trailer = Some(millpond_snapshot::Trailer {
        millpond_version: "0.1.0".to_owned(),
        job_id: JobId([7; 16]),
        job_name: "test".to_owned(),
        savepoint: false,
        parent: None,
        files: parts
            .iter()
            .flat_map(|part| &part.operators)
            .flat_map(|operator| operator.files.iter().cloned())
            .collect(),
        operators: Vec::new(),
    });
    let location = location(directory, id);
    write_metadata(&*fs, &location, &metadata).expect("can be written");
    let snapshot = Arc::new(load(fs, &location).expect("can be read"));
    let mut states = HashMap::new();
    for part in parts {
        for operator in &part.operators {
            let all = parts.iter().flat_map(|part| &part.operators);
            let all = all.filter(|other| other.operator == operator.operator);
            let restored = RestoredState {
                snapshot: Arc::clone(&snapshot),
                checkpoint: id,
                keyed: operator.state.managed_keyed.iter().cloned().collect(),
                operator: operator.state.managed_operator.iter().cloned().collect(),
                in_flight: all
                    .flat_map(|other| other.state.input_channels.iter().cloned())
                    .collect(),
                finished: false,
                ended: with_ends && operator.ended,
                allow_non_restored_state: false,
                carries_unregistered_state: false,
            };
            states.insert((operator.operator, part.subtask), restored);
        }
    }
    Restore {
        states,
        splits: HashMap::new(),
        read: Arc::default(),
    }
}

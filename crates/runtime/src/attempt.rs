//! One attempt to run a job in one process: worker threads under a supervisor.
//!
//! A panic in user code, a dead peer, an operator that returns an error: whatever ends a worker
//! ends the whole attempt in this process, is reported to the master once, and leaves the process
//! fit for the next attempt.

use std::collections::HashMap;
use std::net::Shutdown;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use millpond_job::gateway::{Attempt, FailureKind};
use millpond_job::{ChainedOperator, FromWorker, JobVertex, ToWorker};
use millpond_operator::{FunctionError, RestoredState, StateFault, SubtaskInfo};
use millpond_security::Connection;
use millpond_snapshot::{LocalCopies, ReadBytes};
use millpond_types::{Clock, JobId, OperatorId};
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Config as Communication, Hooks};
use timely::worker::Worker;

use crate::barrier::Mode;
use crate::board::Board;
use crate::control::Control;
use crate::credits;
use crate::dataflow;
use crate::panic::contain;
use crate::program::Program;
use crate::snapshot_pool::SnapshotPool;
use crate::socket::Socket;

/// How often a worker looks for messages that did not wake it.
const IDLE_PARK: Duration = Duration::from_millis(100);

/// How often counters go to the master.
const METRICS_PERIOD: Duration = Duration::from_millis(100);

/// What an attempt is restored from, by operator and subtask.
#[derive(Clone, Default)]
pub struct Restore {
    /// State of the subtasks that have any.
    pub states: HashMap<(OperatorId, u32), RestoredState>,
    /// Splits that the enumerators of the sources have assigned, serialized.
    pub splits: HashMap<(OperatorId, u32), Vec<Vec<u8>>>,
    /// What is read of the states.
    pub read: Arc<ReadBytes>,
}

impl Restore {
    pub(crate) fn state(&self, operator: OperatorId, subtask: u32) -> Option<RestoredState> {
        self.states.get(&(operator, subtask)).cloned()
    }

    pub(crate) fn splits(&self, operator: OperatorId, subtask: u32) -> Vec<Vec<u8>> {
        self.splits
            .get(&(operator, subtask))
            .cloned()
            .unwrap_or_default()
    }
}

/// How an attempt runs in one process.
pub struct AttemptOptions {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// This process, counted from 0.
    pub process: u32,
    /// Number of processes.
    pub processes: u32,
    /// Worker threads in each process.
    pub workers: u32,
    /// What a checkpoint guarantees.
    pub mode: Mode,
    /// Whether the job takes checkpoints, so that sinks wait for them to commit.
    pub checkpointing: bool,
    /// What to restore from.
    pub restore: Restore,
    /// Takes second copies of what is written for checkpoints; `None`: there are none.
    pub copies: Option<Arc<LocalCopies>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Connections to the other processes, by process; empty for a single process.
    pub sockets: Vec<Option<Connection>>,
}

impl AttemptOptions {
    pub(crate) fn local_workers(&self) -> Range<u32> {
        self.process * self.workers..(self.process + 1) * self.workers
    }

    pub(crate) fn subtask_info(
        &self,
        vertex: &JobVertex,
        operator: &ChainedOperator,
        subtask: u32,
    ) -> SubtaskInfo {
        SubtaskInfo {
            job: self.job,
            attempt: self.attempt,
            operator: operator.id,
            name: operator.name.clone(),
            subtask,
            parallelism: vertex.parallelism,
            max_parallelism: vertex.max_parallelism,
            checkpointing: self.checkpointing,
            describing: false,
        }
    }
}

/// An attempt that runs in this process.
pub struct AttemptHandle {
    control: Arc<Control>,
    sockets: Vec<Connection>,
    process: u32,
    to_master: Sender<FromWorker>,
    supervisor: JoinHandle<()>,
}

impl AttemptHandle {
    /// Takes a message of the master.
    pub fn deliver(&self, message: ToWorker) {
        if let Some(epoch) = self.control.deliver(message) {
            let (attempt, process) = (self.control.attempt, self.process);
            // The master is gone: the process is about to end, and nobody is left to be told.
            let _ = self.to_master.send(FromWorker::Announced {
                attempt,
                process,
                epoch,
            });
        }
        if self.control.is_cancelled() {
            self.disconnect();
        }
    }

    /// Ends the attempt and cuts its connections, so that no thread waits for a peer.
    pub fn cancel(&self) {
        self.control.cancel();
        self.disconnect();
    }

    fn disconnect(&self) {
        for socket in &self.sockets {
            // Already closed by the peer: what is wanted is done.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Whether all its threads have ended.
    pub fn is_ended(&self) -> bool {
        self.supervisor.is_finished()
    }

    /// Waits until all its threads have ended.
    pub fn join(self) {
        // Panics were caught and reported by the supervisor itself.
        let _ = self.supervisor.join();
    }
}

/// Starts an attempt; what happens is told to `to_master`, last of all [`FromWorker::Ended`].
///
/// # Errors
///
/// The threads or connections cannot be set up.
pub fn start_attempt(
    program: Arc<Program>,
    mut options: AttemptOptions,
    to_master: Sender<FromWorker>,
) -> std::io::Result<AttemptHandle> {
    let control = Arc::new(Control::new(options.attempt, options.workers as usize));
    let sockets = std::mem::take(&mut options.sockets);
    let clones = sockets
        .iter()
        .flatten()
        .map(Connection::try_clone)
        .collect::<Result<Vec<_>, _>>()?;
    let (attempt, process) = (options.attempt, options.process);
    let supervisor = {
        let (control, to_master) = (Arc::clone(&control), to_master.clone());
        std::thread::Builder::new()
            .name(format!("attempt-{attempt}"))
            .spawn(move || {
                let failed = |message: String| {
                    if !control.is_cancelled() {
                        // The master is gone: nobody is left to be told.
                        let _ = to_master.send(FromWorker::Failed {
                            attempt,
                            process,
                            task: None,
                            message,
                            kind: FailureKind::Retryable,
                        });
                    }
                    control.cancel();
                };
                match contain(|| run(program, options, sockets, &control, &to_master)) {
                    Ok(Ok(())) => {}
                    Ok(Err(message)) | Err(message) => failed(message),
                }
                // The master is gone: nobody is left to be told.
                let _ = to_master.send(FromWorker::Ended { attempt, process });
            })?
    };
    Ok(AttemptHandle {
        control,
        sockets: clones,
        process,
        to_master,
        supervisor,
    })
}

/// What a dead peer looks like.
const BROKEN_CONNECTION: &str = "the connection to another worker process broke";

/// Runs the workers to their end. A peer that dies shows as a panic in here.
fn run(
    program: Arc<Program>,
    options: AttemptOptions,
    sockets: Vec<Option<Connection>>,
    control: &Arc<Control>,
    to_master: &Sender<FromWorker>,
) -> Result<(), String> {
    let workers = options.workers as usize;
    let (builders, others): (Vec<AllocatorBuilder>, Box<dyn std::any::Any + Send>) =
        if options.processes == 1 {
            let communication = match workers {
                1 => Communication::Thread,
                _ => Communication::Process(workers),
            };
            communication.try_build()?
        } else {
            let hooks = Hooks::default();
            let inner = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), None);
            let (builders, guard) = initialize_networking_from_sockets(
                inner,
                sockets
                    .into_iter()
                    .map(|socket| socket.map(Socket))
                    .collect(),
                options.process as usize,
                workers,
                hooks,
            )
            .map_err(|error| format!("cannot connect the worker processes: {error}"))?;
            (
                builders.into_iter().map(AllocatorBuilder::Tcp).collect(),
                Box::new(guard),
            )
        };
    let (pool, snapshot_threads) = SnapshotPool::start(workers.min(2), options.copies.clone())
        .map_err(|error| format!("cannot start threads: {error}"))?;
    let starting = AtomicU32::new(options.workers);
    let (control_of_workers, to_master_of_workers) = (Arc::clone(control), to_master.clone());
    let sender = std::sync::Mutex::new(to_master_of_workers);
    let guards = timely::execute::execute_from(
        builders,
        others,
        timely::WorkerConfig::default(),
        move |worker| {
            let to_master = sender
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone();
            let board = Rc::new(Board::new(
                Arc::clone(&control_of_workers),
                Arc::clone(&options.clock),
                pool.clone(),
                to_master,
                options.process,
                worker.index() % options.workers as usize,
            ));
            board.control.register_thread();
            let outcome = contain(|| work(worker, &program, &options, &board, &starting));
            if let Err(message) = outcome {
                match is_of_connection(&message) {
                    true => board.fail(None, BROKEN_CONNECTION.to_owned()),
                    false => board.fail(board.current.take(), message),
                }
            }
            // Dropping a dataflow whose peer is dead panics once more; it is already reported.
            let _ = contain(|| {
                for dataflow in worker.installed_dataflows() {
                    worker.drop_dataflow(dataflow);
                }
            });
            // The attempt ends when what its operators do on other threads has ended.
            if let Err(message) = contain(|| board.clear()) {
                board.fail(None, message);
            }
        },
    )?;
    let panicked = contain(|| guards.join().into_iter().filter(Result::is_err).count());
    snapshot_threads.wait();
    match panicked {
        Ok(0) => Ok(()),
        Ok(_) => Err(BROKEN_CONNECTION.to_owned()),
        Err(message) => Err(format!("{BROKEN_CONNECTION}: {message}")),
    }
}

/// Whether a panic, as [`contain`] tells it, is that of the data plane whose peer has died.
fn is_of_connection(panic: &str) -> bool {
    panic.contains("timely_communication")
}

/// Whether an operator that could not be restored can be by another attempt.
fn kind_at_open(error: &FunctionError) -> FailureKind {
    match error.state_fault() {
        None => FailureKind::Retryable,
        Some(StateFault::Refused) => FailureKind::RefusedState,
        Some(StateFault::Damaged) => FailureKind::DamagedState,
    }
}

/// The life of a worker thread.
fn work(
    worker: &mut Worker,
    program: &Program,
    options: &AttemptOptions,
    board: &Rc<Board>,
    starting: &AtomicU32,
) {
    if let Err((task, error)) = dataflow::build(worker, program, options, board) {
        let kind = match options.restore.states.is_empty() {
            true => FailureKind::Retryable,
            false => kind_at_open(&error),
        };
        board.fail_as(kind, Some(task), error.chain());
    }
    if options.processes > 1 {
        credits::build(worker, board);
    }
    let last = starting.fetch_sub(1, Ordering::SeqCst) == 1;
    if last && !board.control.is_cancelled() {
        board.send(FromWorker::Running {
            attempt: options.attempt,
            process: options.process,
            read: options.restore.read.so_far(),
        });
    }
    let mut reported = std::time::Instant::now();
    while !board.control.is_cancelled() {
        let waits = board.tend() || board.last_snapshot.get().is_some();
        if !worker.has_dataflows() && !waits {
            break;
        }
        board.hear();
        if reported.elapsed() >= METRICS_PERIOD {
            reported = std::time::Instant::now();
            board.send(FromWorker::Metrics {
                attempt: options.attempt,
                subtasks: board.metrics(),
            });
        }
        if worker.has_dataflows() {
            worker.step_or_park(Some(IDLE_PARK));
        } else {
            std::thread::park_timeout(IDLE_PARK);
        }
    }
    if !board.control.is_cancelled() {
        board.send(FromWorker::Metrics {
            attempt: options.attempt,
            subtasks: board.metrics(),
        });
    }
}

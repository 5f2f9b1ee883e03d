//! A task: one subtask of a vertex, with its queue, its barrier and its chain.
//!
//! At every activation the data plane moves everything that has arrived into the task's own queue
//! ([`Task::receive`]), so that no unread message holds a frontier back, and lets it work for a
//! slice ([`Task::run`]). The task answers with the lowest time that it still holds: to that time
//! its capabilities may fall.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_job::acknowledgement::AcknowledgeMetrics;
use millpond_job::gateway::SubtaskMetrics;
use millpond_job::{EpochEnd, FromWorker, SnapshotOptions, StopMode, VertexIndex};
use millpond_operator::source::InputStatus;
use millpond_operator::{BatchCodec, Element, FunctionError, MAX_WATERMARK, SnapshotContext};
use millpond_types::CheckpointId;

use crate::barrier::{Alignment, Arrival};
use crate::board::Board;
use crate::chain::{Chain, Step};
use crate::congestion::Intake;
use crate::control::Notice;
use crate::durables::Durables;
use crate::edge::EdgeWriter;
use crate::gate::{Change, Gates};
use crate::live_images::LiveImages;
use crate::packet::{Packet, Payload};
use crate::snapshot_pool::SnapshotWork;
use crate::time::{Time, epoch_of, last_of, pack, ticks};
use crate::window::Window;

/// For how long a task works before it lets others have the worker.
const SLICE: Duration = Duration::from_millis(1);

/// How many records a source makes at one tick.
const RECORDS_PER_TICK: u64 = 4096;

/// How many records of one source subtask may be in flight.
const RECORDS_IN_FLIGHT: u64 = 16 * 1024;

/// How far ahead an idle source lets its tick run, so that it holds no other source back.
const IDLE_LEAP: Duration = Duration::from_millis(20);

/// How often an idle source leaps.
const IDLE_PERIOD: Duration = Duration::from_millis(10);

/// For how long a task pauses when a receiver is too far behind.
const CONGESTION_PAUSE: Duration = Duration::from_millis(1);

/// When a task wants to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// As soon as others have had their turn.
    Now,
    /// After this long, or when something arrives.
    After(Duration),
    /// When something arrives.
    WhenWoken,
}

/// What a task says after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The lowest time that it may still send at; `None` when it has ended.
    pub(crate) hold: Option<Time>,
    /// When it wants to run again.
    pub(crate) again: Again,
}

/// Which input of the chain's head an edge feeds, and how its records are read.
pub(crate) struct InputEdge {
    pub(crate) input: usize,
    pub(crate) codec: BatchCodec,
    /// Of each sender.
    pub(crate) intakes: Vec<Intake>,
}

/// Where a source stands.
struct SourceState {
    window: Window,
    waits_for_room: bool,
    ended: bool,
    /// It had nothing to read when it was last asked.
    quiet: bool,
    /// It had ended in the snapshot, and still has to say so.
    had_ended: bool,
}

/// Whether the job is about to end behind a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// It is not.
    No,
    /// This snapshot was taken, behind which the job ends. Until its fate is known the task makes
    /// nothing, and a source keeps the next epoch open, so that another snapshot can follow.
    Behind(CheckpointId),
    /// That snapshot is complete.
    Now,
}

struct Waiting {
    time: Time,
    gate: usize,
    sender: u32,
    payload: Payload,
}

/// One subtask of a vertex.
pub(crate) struct Task {
    name: String,
    vertex: VertexIndex,
    subtask: u32,
    board: Rc<Board>,
    chain: Chain,
    inputs: Vec<InputEdge>,
    gates: Gates,
    queue: VecDeque<Waiting>,
    stash: VecDeque<Waiting>,
    alignment: Alignment,
    live_images: LiveImages,
    source: Option<SourceState>,
    /// The lowest time that it may send at now.
    capability: Time,
    started: Instant,
    records_in: u64,
    closing: Closing,
    durables: Arc<Durables>,
    ended: bool,
}

/// What a task is made of.
pub(crate) struct TaskParts {
    pub(crate) name: String,
    pub(crate) vertex: VertexIndex,
    pub(crate) subtask: u32,
    pub(crate) is_source: bool,
    /// A source that had ended in the snapshot.
    pub(crate) had_ended: bool,
    pub(crate) chain: Chain,
    pub(crate) inputs: Vec<InputEdge>,
    pub(crate) gates: Gates,
    pub(crate) alignment: Alignment,
}

impl Task {
    /// A task that begins in epoch 0.
    pub(crate) fn new(parts: TaskParts, board: Rc<Board>) -> Self {
        let source = parts.is_source.then(|| SourceState {
            window: Window::new(RECORDS_IN_FLIGHT),
            waits_for_room: false,
            ended: false,
            quiet: false,
            had_ended: parts.had_ended,
        });
        Task {
            name: parts.name,
            vertex: parts.vertex,
            subtask: parts.subtask,
            board,
            chain: parts.chain,
            inputs: parts.inputs,
            gates: parts.gates,
            queue: VecDeque::new(),
            stash: VecDeque::new(),
            alignment: parts.alignment,
            live_images: LiveImages::default(),
            source,
            capability: 0,
            started: Instant::now(),
            records_in: 0,
            closing: Closing::No,
            durables: Arc::default(),
            ended: false,
        }
    }

    /// Name and subtask for people: `counter (1/2)`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a source that waits for the sinks.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.source
            .as_ref()
            .is_some_and(|source| source.waits_for_room)
    }

    /// Whether it has given up its capabilities and is not run any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether one of its operators does something on another thread that the end has to wait for.
    pub(crate) fn has_background_work(&self) -> bool {
        self.chain.has_background_work()
    }

    /// Takes the results of that; [`Task::run`] does so too.
    ///
    /// # Errors
    ///
    /// It has failed.
    pub(crate) fn poll_background(&mut self) -> Result<(), FunctionError> {
        self.chain.poll_background()
    }

    /// Its counters.
    pub(crate) fn metrics(&self) -> SubtaskMetrics {
        SubtaskMetrics {
            vertex: self.vertex,
            subtask: self.subtask,
            records_in: self.records_in,
            records_out: self.chain.edges.iter().map(|edge| edge.records()).sum(),
            watermark: self.gates.current(),
            pending_records: self.chain.pending_records(),
        }
    }

    /// The edges out of the task, to be emptied after each slice.
    pub(crate) fn edges(&mut self) -> &mut [EdgeWriter] {
        &mut self.chain.edges
    }

    /// Takes a packet that has arrived at input edge `gate`.
    pub(crate) fn receive(&mut self, gate: usize, time: Time, packet: Packet) {
        let started = self.started;
        let arrival = self
            .alignment
            .arrive(time, || started.elapsed().as_nanos() as u64);
        let waiting = Waiting {
            time,
            gate,
            sender: packet.sender,
            payload: packet.payload,
        };
        match arrival {
            Arrival::Queue => self.queue.push_back(waiting),
            Arrival::Stash => self.stash.push_back(waiting),
        }
    }

    /// Works for a slice. `frontier` is the lowest time that can still arrive.
    ///
    /// # Errors
    ///
    /// Whatever an operator returned: the attempt fails.
    pub(crate) fn run(&mut self, frontier: Option<Time>) -> Result<Outcome, FunctionError> {
        self.board.current.replace(Some(self.name.clone()));
        self.chain.poll_background()?;
        if self.ended {
            return Ok(Outcome {
                hold: None,
                again: Again::WhenWoken,
            });
        }
        let begin = Instant::now();
        let again = loop {
            if let Some(again) = self.work(frontier)? {
                break again;
            }
            if begin.elapsed() >= SLICE {
                break Again::Now;
            }
        };
        self.chain.flush()?;
        let hold = self.hold(frontier);
        self.capability = hold.unwrap_or(self.capability);
        self.ended = hold.is_none();
        self.live_images.limit_changes();
        Ok(Outcome {
            hold,
            again: if self.chain.maintain() {
                Again::Now
            } else {
                again
            },
        })
    }

    /// Does one piece of work; returns when to come back if there is none.
    fn work(&mut self, frontier: Option<Time>) -> Result<Option<Again>, FunctionError> {
        let has_work = !self.chain.is_idle() || !self.queue.is_empty();
        if has_work && self.chain.edges.iter().any(EdgeWriter::is_congested) {
            return Ok(Some(Again::After(CONGESTION_PAUSE)));
        }
        match self.chain.step()? {
            Step::Worked => return Ok(None),
            Step::Blocked => return Ok(Some(Again::WhenWoken)),
            Step::Idle => {}
        }
        if self.closing != Closing::No {
            return Ok(Some(self.wait_for_the_last_snapshot()));
        }
        let now_ms = self.board.clock.now_ms();
        if self.waits_for_room() || !self.queue.is_empty() {
            self.chain.held_back(now_ms);
        }
        if self
            .chain
            .next_processing_time()
            .is_some_and(|at| at <= now_ms)
        {
            self.chain.on_processing_time(now_ms)?;
            return Ok(None);
        }
        if self.barrier(frontier)? {
            // What was made before the barrier must leave before the capability passes it.
            return Ok(Some(Again::Now));
        }
        if self.source.is_some() {
            return self.work_as_source(now_ms);
        }
        match self.queue.pop_front() {
            Some(waiting) => {
                self.dispatch(waiting)?;
                Ok(None)
            }
            None => Ok(Some(self.rest(now_ms))),
        }
    }

    /// Nothing is made between the snapshot and its fate, not even by timers of machine time: it
    /// would be made again by the job that is resumed from it.
    fn wait_for_the_last_snapshot(&mut self) -> Again {
        let Some(source) = &mut self.source else {
            return Again::WhenWoken;
        };
        source.window.taken(self.board.sinks.get());
        source.waits_for_room = false;
        source.quiet = true;
        Again::After(IDLE_PERIOD)
    }

    /// When to come back if nothing arrives.
    fn rest(&self, now_ms: u64) -> Again {
        match self.chain.next_processing_time() {
            Some(at) => Again::After(Duration::from_millis(at.saturating_sub(now_ms).max(1))),
            None => Again::WhenWoken,
        }
    }

    fn dispatch(&mut self, waiting: Waiting) -> Result<(), FunctionError> {
        let Waiting {
            gate,
            sender,
            payload,
            ..
        } = waiting;
        let InputEdge {
            input,
            codec,
            ref mut intakes,
        } = self.inputs[gate];
        if sender as usize >= intakes.len() {
            return Err(FunctionError::new(format!(
                "a packet says that it is from subtask {sender}, of {} that send to it; its \
                 connection is broken",
                intakes.len()
            )));
        }
        let change = match payload.into_element(codec)? {
            Element::Records(batch) => {
                self.records_in += batch.len() as u64;
                if let Some(credit) = intakes[sender as usize].taken(batch.len()) {
                    self.board.credits.send(credit);
                }
                self.chain.give(input, Element::Records(batch));
                return Ok(());
            }
            Element::Watermark(watermark) => self.gates.watermark(gate, sender, watermark),
            Element::Idle(idle) => self.gates.idle(gate, sender, idle),
            Element::EndOfData => self.gates.end(gate, sender),
        };
        match change {
            Some(Change::Watermark(watermark)) => {
                self.chain.give(input, Element::Watermark(watermark))
            }
            Some(Change::Idle(idle)) => self.chain.give(input, Element::Idle(idle)),
            Some(Change::Ended) => self.chain.give(input, Element::EndOfData),
            None => {}
        }
        Ok(())
    }

    fn work_as_source(&mut self, now_ms: u64) -> Result<Option<Again>, FunctionError> {
        let Some(source) = &mut self.source else {
            return Ok(None);
        };
        source.window.taken(self.board.sinks.get());
        source.quiet = false;
        if std::mem::take(&mut source.had_ended) {
            self.end_source()?;
            return Ok(None);
        }
        if source.ended {
            source.quiet = true;
            return Ok(Some(Again::After(IDLE_PERIOD)));
        }
        let room = source.window.room();
        source.waits_for_room = room == 0;
        if room == 0 {
            return Ok(Some(Again::WhenWoken));
        }
        let (status, records) = self.chain.poll(room.min(RECORDS_PER_TICK) as usize)?;
        source.window.emitted(self.capability, records);
        self.records_in += records;
        match status {
            // The tick moves on only once what was made has been processed.
            InputStatus::MoreAvailable if !self.chain.is_idle() => Ok(None),
            InputStatus::MoreAvailable => Ok(Some(Again::Now)),
            InputStatus::NothingAvailable(until_ms) => {
                source.quiet = true;
                let period = until_ms.map_or(IDLE_PERIOD, |until| {
                    Duration::from_millis(until.saturating_sub(now_ms)).min(IDLE_PERIOD)
                });
                // What was just made is processed before the source rests.
                let again = if self.chain.is_idle() {
                    None
                } else {
                    Some(Again::Now)
                };
                Ok(Some(again.unwrap_or(Again::After(period))))
            }
            InputStatus::EndOfInput => {
                self.end_source()?;
                Ok(None)
            }
        }
    }

    /// The source has made its last record.
    fn end_source(&mut self) -> Result<(), FunctionError> {
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        if source.ended {
            return Ok(());
        }
        source.ended = true;
        self.chain.emit(Element::Watermark(MAX_WATERMARK))?;
        self.chain.emit(Element::EndOfData)?;
        self.board.send(FromWorker::SourceEnded {
            attempt: self.board.control.attempt,
            vertex: self.vertex,
            subtask: self.subtask,
        });
        Ok(())
    }

    /// Passes the barrier if it has been reached; the chain is idle.
    fn barrier(&mut self, frontier: Option<Time>) -> Result<bool, FunctionError> {
        let epoch = self.alignment.epoch();
        let reached = if self.source.is_some() {
            self.board.control.may_advance(epoch)
        } else {
            let held = self.queue.iter().map(|waiting| waiting.time);
            self.alignment.is_reached(frontier, held)
        };
        if !reached {
            return Ok(false);
        }
        let Some(end) = self.board.control.announced(epoch) else {
            // Nothing was announced and nothing can arrive: the job has ended.
            return Ok(false);
        };
        if let EpochEnd::Snapshot(options) = &end {
            let ends_input = matches!(options.stop, Some(StopMode::Drain | StopMode::EndOfInput));
            if ends_input && self.source.as_ref().is_some_and(|source| !source.ended) {
                self.end_source()?;
                return Ok(false);
            }
            self.snapshot(options)?;
        } else {
            self.alignment.pass(0);
        }
        let epoch = self.alignment.epoch();
        let (ready, stash): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.stash)
            .into_iter()
            .partition(|w| epoch_of(w.time) <= epoch);
        self.queue.extend(ready);
        self.stash = stash;
        Ok(true)
    }

    fn snapshot(&mut self, options: &SnapshotOptions) -> Result<(), FunctionError> {
        let begin = Instant::now();
        let now_ns = self.started.elapsed().as_nanos() as u64;
        let aligning_ms = self
            .alignment
            .early_since_ns()
            .map_or(0, |at| (now_ns - at) / 1_000_000);
        let start_delay_ms = self
            .board
            .clock
            .now_ms()
            .saturating_sub(options.triggered_at_ms + aligning_ms);
        let alignment_duration_ns = self.alignment.pass(now_ns);
        self.chain.flush()?;
        let context = SnapshotContext {
            id: options.id,
            is_savepoint: options.is_savepoint,
        };
        let mut operators = self.chain.snapshot(context)?;
        for (_, snapshot) in &mut operators {
            self.durables.add(snapshot.durable.drain(..));
        }
        // One that was given up before this task came to it is none to wait for.
        if options.stop.is_some() && self.board.newest_aborted.get() < options.id {
            self.closing = Closing::Behind(options.id);
            self.board.last_snapshot.set(Some(options.id));
        }
        for (_, operator) in &operators {
            if let Some(keyed) = &operator.keyed {
                self.live_images.add(options, keyed.handle());
            }
        }
        let metrics = AcknowledgeMetrics {
            start_delay_ms,
            alignment_duration_ns,
            sync_duration_ms: begin.elapsed().as_millis() as u64,
            ..AcknowledgeMetrics::default()
        };
        self.board.pool.submit(SnapshotWork {
            attempt: self.board.control.attempt,
            options: options.clone(),
            process: self.board.process,
            task: self.name.clone(),
            durables: Arc::clone(&self.durables),
            vertex: self.vertex,
            subtask: self.subtask,
            operators,
            metrics,
            to_master: self.board.to_master.clone(),
        });
        Ok(())
    }

    /// The lowest time that the task may still send at.
    fn hold(&self, frontier: Option<Time>) -> Option<Time> {
        let epoch = self.alignment.epoch();
        let within =
            |time: Time| Some(time.clamp(self.capability.max(pack(epoch, 0)), last_of(epoch)));
        if !self.chain.is_idle() {
            return within(self.capability);
        }
        if let Some(source) = &self.source {
            let control = &self.board.control;
            // An epoch whose end has been announced is still to be ended.
            let done =
                source.ended && control.is_end_of_input() && control.announced(epoch).is_none();
            if self.closing == Closing::Now || done {
                return None;
            }
            let tick = self.board.control.ticks.tick();
            let ahead = if source.quiet { ticks(IDLE_LEAP) } else { 0 };
            let next = (self.capability as u32).saturating_add(1);
            let next = if epoch_of(self.capability) == epoch {
                next
            } else {
                0
            };
            return within(pack(epoch, tick.saturating_add(ahead).max(next)));
        }
        let waiting = self
            .queue
            .iter()
            .chain(&self.stash)
            .map(|waiting| waiting.time);
        match waiting.chain(frontier).min() {
            Some(time) => within(time),
            // Nothing can arrive and nothing is held; a barrier that is due still has to be passed.
            None if self.board.control.announced(epoch).is_some() => within(self.capability),
            None => None,
        }
    }

    /// Passes a notification on to every operator.
    ///
    /// # Errors
    ///
    /// A commit failed for good.
    pub(crate) fn hear(&mut self, notice: Notice) -> Result<(), FunctionError> {
        match notice {
            Notice::Complete(id) => {
                if self.closing == Closing::Behind(id) {
                    self.closing = Closing::Now;
                }
                self.chain.notify_complete(id)
            }
            Notice::Aborted(id) => {
                if self.closing == Closing::Behind(id) {
                    self.closing = Closing::No;
                }
                self.live_images.aborted(id);
                self.chain.notify_aborted(id)
            }
        }
    }
}

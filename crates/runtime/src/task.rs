//! A task: one subtask of a vertex, with its queue, its barrier and its chain.
//!
//! At every activation the data plane moves everything that has arrived into the task's own queue
//! ([`Task::receive`]), so that no unread message holds a frontier back, and lets it work for a
//! slice ([`Task::run`]). The task answers with the lowest time that it still holds: to that time
//! its capabilities may fall.
//!
//! When a barrier overtakes what waits in the queue, that is moved to the first time of the next
//! epoch: it leaves the task behind the barrier, and sinks come past that time only when it has been
//! processed, which is what a source counts by.

mod source_state;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millpond_job::acknowledgement::AcknowledgeMetrics;
use millpond_job::metrics::SubtaskMetrics;
use millpond_job::{EpochEnd, FromWorker, SnapshotOptions, StopMode, VertexIndex};
use millpond_operator::source::InputStatus;
use millpond_operator::{BatchCodec, Element, FunctionError, MAX_WATERMARK, SnapshotContext};
use millpond_types::CheckpointId;

use self::source_state::SourceState;
use crate::barrier::{Alignment, Arrival, Overtaken, Passed};
use crate::board::Board;
use crate::chain::{Chain, Step};
use crate::congestion::Intake;
use crate::control::Notice;
use crate::durables::Durables;
use crate::edge::EdgeWriter;
use crate::gate::{Change, Gates};
use crate::in_flight::{EdgeName, InFlight, ResumedBatch};
use crate::live_images::LiveImages;
use crate::pace::Pace;
use crate::packet::{Packet, Payload};
use crate::snapshot_pool::SnapshotWork;
use crate::task_time::{Doing, TaskTime, nanoseconds};
use crate::time::{Time, epoch_of, last_of, pack};
use crate::uploaded_files::UploadedFiles;
use crate::volume::Volume;

/// For how long a task works before it lets others have the worker.
const SLICE: Duration = Duration::from_millis(1);

/// How many records a source makes at one tick.
const RECORDS_PER_TICK: u64 = 4096;

/// How often an idle source is asked again, and for how long a source holds others back at most.
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
    /// What it does until then.
    pub(crate) doing: Doing,
}

/// Why a task gives up the thread.
#[derive(Clone, Copy, Debug)]
struct Pause {
    again: Again,
    doing: Doing,
}

impl Pause {
    /// Its receivers, or the sinks, are behind.
    fn back_pressured(again: Again) -> Self {
        Pause {
            again,
            doing: Doing::SoftBackPressured,
        }
    }

    /// So they are, and it has stopped in the middle of an element.
    fn back_pressured_within(again: Again) -> Self {
        Pause {
            again,
            doing: Doing::HardBackPressured,
        }
    }
}

impl From<Again> for Pause {
    /// It is not held up by others.
    fn from(again: Again) -> Self {
        let doing = match again {
            Again::Now => Doing::Wait,
            Again::After(_) | Again::WhenWoken => Doing::Idle,
        };
        Pause { again, doing }
    }
}

/// Which input of the chain's head an edge feeds, and how its records are read.
pub(crate) struct InputEdge {
    pub(crate) input: usize,
    /// What it is called in a checkpoint.
    pub(crate) name: EdgeName,
    pub(crate) codec: BatchCodec,
    /// Of each sender.
    pub(crate) intakes: Vec<Intake>,
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
    /// `None`: it was in flight in the checkpoint that the task was restored from.
    sender: Option<u32>,
    payload: Payload,
}

/// A snapshot that has overtaken records and waits for the last of them.
struct OvertakingSnapshot {
    work: SnapshotWork,
    began: Instant,
    /// Until then.
    passed: Passed,
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
    overtaken: Overtaken<OvertakingSnapshot>,
    pace: Pace,
    live_images: LiveImages,
    source: Option<SourceState>,
    /// The lowest time that it may send at now.
    capability: Time,
    started: Instant,
    time_spent: TaskTime,
    records_in: u64,
    closing: Closing,
    durables: Arc<Durables>,
    uploaded: Arc<Mutex<UploadedFiles>>,
    ended: bool,
}

/// What a task is made of.
pub(crate) struct TaskParts {
    pub(crate) name: String,
    pub(crate) vertex: VertexIndex,
    pub(crate) subtask: u32,
    /// How many there are in all processes.
    pub(crate) workers: u32,
    pub(crate) is_source: bool,
    /// A source that had ended in the snapshot.
    pub(crate) had_ended: bool,
    pub(crate) chain: Chain,
    pub(crate) inputs: Vec<InputEdge>,
    pub(crate) gates: Gates,
    pub(crate) alignment: Alignment,
    /// Records that were in flight in the checkpoint.
    pub(crate) in_flight: Vec<ResumedBatch>,
}

impl Task {
    /// A task that begins in epoch 0.
    pub(crate) fn new(parts: TaskParts, board: Rc<Board>) -> Self {
        let source = parts
            .is_source
            .then(|| SourceState::new(parts.had_ended, parts.workers));
        let started = Instant::now();
        let in_flight = parts.in_flight.into_iter();
        let queue = in_flight.map(|resumed| Waiting {
            time: 0,
            gate: resumed.gate,
            sender: None,
            payload: Payload::Element(Element::Records(resumed.batch)),
        });
        Task {
            name: parts.name,
            vertex: parts.vertex,
            subtask: parts.subtask,
            board,
            chain: parts.chain,
            inputs: parts.inputs,
            gates: parts.gates,
            queue: queue.collect(),
            stash: VecDeque::new(),
            alignment: parts.alignment,
            overtaken: Overtaken::default(),
            pace: Pace::default(),
            live_images: LiveImages::default(),
            source,
            capability: 0,
            started,
            time_spent: TaskTime::new(started),
            records_in: 0,
            closing: Closing::No,
            durables: Arc::default(),
            uploaded: Arc::default(),
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
            process: self.board.process,
            records_in: self.records_in,
            records_out: self.chain.edges.iter().map(|edge| edge.records()).sum(),
            watermark: self.gates.current(),
            pending_records: self.chain.pending_records(),
            time: self.time_spent.spent(Instant::now()),
            operators: self.chain.metrics(),
        }
    }

    /// It gets the thread.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.time_spent.begin(Doing::Work, now);
    }

    /// It gives up the thread, to do what [`Task::run`] has said.
    pub(crate) fn pause(&mut self, doing: Doing, now: Instant) {
        self.time_spent.begin(doing, now);
    }

    /// The edges out of the task, to be emptied after each slice.
    pub(crate) fn edges(&mut self) -> &mut [EdgeWriter] {
        &mut self.chain.edges
    }

    /// Takes a packet that has arrived at input edge `gate`.
    ///
    /// # Errors
    ///
    /// A record cannot be written into the checkpoint that has overtaken it.
    pub(crate) fn receive(
        &mut self,
        gate: usize,
        time: Time,
        packet: Packet,
    ) -> Result<(), FunctionError> {
        let started = self.started;
        let arrival = self
            .alignment
            .arrive(time, || started.elapsed().as_nanos() as u64);
        let mut waiting = Waiting {
            time,
            gate,
            sender: Some(packet.sender),
            payload: packet.payload,
        };
        match arrival {
            Arrival::Queue => self.queue.push_back(waiting),
            Arrival::Stash => {
                self.alignment
                    .buffered(Volume::of_payload(&waiting.payload));
                self.stash.push_back(waiting);
            }
            Arrival::Overtaken => {
                let edge = &self.inputs[gate];
                for snapshot in self.overtaken.of(time) {
                    let in_flight = &mut snapshot.work.in_flight;
                    in_flight.add(gate, &edge.name, edge.codec, &waiting.payload)?;
                }
                waiting.time = pack(self.alignment.epoch(), 0);
                self.queue.push_back(waiting);
            }
        }
        Ok(())
    }

    /// Works for a slice that began at `begin`. `frontiers` are the lowest times that can still
    /// arrive, by input edge.
    ///
    /// # Errors
    ///
    /// Whatever an operator returned: the attempt fails.
    pub(crate) fn run(
        &mut self,
        frontiers: &[Option<Time>],
        begin: Instant,
    ) -> Result<Outcome, FunctionError> {
        let frontier = frontiers.iter().flatten().copied().min();
        self.board.current.replace(Some(self.name.clone()));
        self.chain.poll_background()?;
        if self.ended {
            return Ok(Outcome {
                hold: None,
                again: Again::WhenWoken,
                doing: Doing::Idle,
            });
        }
        self.submit_whole(frontier);
        let started = self.started;
        self.alignment
            .look(frontiers, || started.elapsed().as_nanos() as u64);
        let mut pause = loop {
            if let Some(pause) = self.work(frontiers)? {
                break pause;
            }
            if begin.elapsed() >= SLICE {
                break Again::Now.into();
            }
        };
        self.chain.flush()?;
        let hold = self.hold(frontier);
        self.capability = hold.unwrap_or(self.capability);
        self.ended = hold.is_none();
        self.live_images.limit_changes();
        if self.chain.maintain() {
            pause.again = Again::Now;
            if pause.doing == Doing::Idle {
                pause.doing = Doing::Wait;
            }
        }
        Ok(Outcome {
            hold,
            again: pause.again,
            doing: pause.doing,
        })
    }

    /// Does one piece of work; returns when to come back if there is none.
    fn work(&mut self, frontiers: &[Option<Time>]) -> Result<Option<Pause>, FunctionError> {
        let is_congested = self.chain.edges.iter().any(EdgeWriter::is_congested);
        if !self.chain.is_idle() {
            if is_congested {
                let again = Again::After(CONGESTION_PAUSE);
                return Ok(Some(Pause::back_pressured_within(again)));
            }
            let begin = Instant::now();
            match self.chain.step()? {
                Step::Worked(position) => {
                    let spent = begin.elapsed();
                    self.pace.spent(spent);
                    self.chain.spent(position, spent);
                    return Ok(None);
                }
                Step::Blocked => return Ok(Some(Pause::back_pressured_within(Again::WhenWoken))),
                Step::Idle => {}
            }
        }
        if self.closing != Closing::No {
            return Ok(Some(self.wait_for_the_last_snapshot().into()));
        }
        let now_ms = self.board.clock.now_ms();
        if is_congested && !self.queue.is_empty() {
            // Only a barrier that overtakes the queue can be passed.
            let again = match self.barrier(frontiers, now_ms)? {
                true => Again::Now,
                false => Again::After(CONGESTION_PAUSE),
            };
            return Ok(Some(Pause::back_pressured(again)));
        }
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
        if self.barrier(frontiers, now_ms)? {
            // What was made before the barrier must leave before the capability passes it.
            return Ok(Some(Again::Now.into()));
        }
        if self.source.is_some() {
            return self.work_as_source(now_ms);
        }
        match self.queue.pop_front() {
            Some(waiting) => {
                self.dispatch(waiting)?;
                Ok(None)
            }
            None => Ok(Some(self.rest(now_ms).into())),
        }
    }

    /// Nothing is made between the snapshot and its fate, not even by timers of machine time: it
    /// would be made again by the job that is resumed from it.
    fn wait_for_the_last_snapshot(&mut self) -> Again {
        let Some(source) = &mut self.source else {
            return Again::WhenWoken;
        };
        let now_ns = self.started.elapsed().as_nanos() as u64;
        source.window.taken(self.board.sinks.get(), now_ns);
        source.waits_for_room = false;
        source.quiet = true;
        Again::After(IDLE_PERIOD)
    }

    /// When to come back if nothing arrives.
    fn rest(&self, now_ms: u64) -> Again {
        let timer = self.chain.next_processing_time();
        // If that time has come, the barrier waits for an input that is never overtaken.
        let overtakes = self.overtakes_at_ms().filter(|at| *at > now_ms);
        match timer.into_iter().chain(overtakes).min() {
            Some(at) => Again::After(Duration::from_millis(at.saturating_sub(now_ms).max(1))),
            None => Again::WhenWoken,
        }
    }

    /// When the barrier that is due stops waiting for records, if it does.
    fn overtakes_at_ms(&self) -> Option<u64> {
        let (control, epoch) = (&self.board.control, self.alignment.epoch());
        if self.source.is_some() || !control.may_advance(epoch) {
            return None;
        }
        match control.announced(epoch)? {
            EpochEnd::Snapshot(options) => options.overtakes_at_ms(),
            EpochEnd::Nothing => None,
        }
    }

    fn dispatch(&mut self, waiting: Waiting) -> Result<(), FunctionError> {
        let Waiting {
            time,
            gate,
            sender,
            payload,
        } = waiting;
        let edge = &mut self.inputs[gate];
        let (input, senders) = (edge.input, edge.intakes.len());
        if let Some(sender) = sender.filter(|sender| *sender as usize >= senders) {
            return Err(FunctionError::new(format!(
                "a packet says that it is from subtask {sender}, of {senders} that send to it; its \
                 connection is broken",
            )));
        }
        let element = payload.into_element(edge.codec)?;
        let change = match (element, sender) {
            (Element::Records(mut batch), _) => {
                let limit = self.pace.limit();
                if batch.len() > limit {
                    let front = batch.split_front(limit);
                    let rest = std::mem::replace(&mut batch, front);
                    self.queue.push_front(Waiting {
                        time,
                        gate,
                        sender,
                        payload: Payload::Element(Element::Records(rest)),
                    });
                }
                self.pace.begin(batch.len());
                self.records_in += batch.len() as u64;
                let intake = sender.map(|sender| &mut edge.intakes[sender as usize]);
                if let Some(credit) = intake.and_then(|intake| intake.taken(batch.len())) {
                    self.board.credits.send(credit);
                }
                if self.alignment.is_aligning() || !self.overtaken.is_empty() {
                    self.took_beside_a_barrier(Volume::of_batch(&*batch));
                }
                self.chain.give(input, Element::Records(batch));
                return Ok(());
            }
            (Element::Watermark(watermark), Some(sender)) => {
                self.gates.watermark(gate, sender, watermark)
            }
            (Element::Idle(idle), Some(sender)) => self.gates.idle(gate, sender, idle),
            (Element::EndOfData, Some(sender)) => self.gates.end(gate, sender),
            // Only records are restored.
            (Element::Watermark(_) | Element::Idle(_) | Element::EndOfData, None) => None,
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

    /// Records were taken while a barrier waits, or while what it has overtaken arrives.
    fn took_beside_a_barrier(&mut self, volume: Volume) {
        if self.alignment.is_aligning() {
            self.alignment.processed(volume);
        }
        for snapshot in self.overtaken.all() {
            snapshot.passed.processed += volume;
        }
    }

    fn work_as_source(&mut self, now_ms: u64) -> Result<Option<Pause>, FunctionError> {
        let Some(source) = &mut self.source else {
            return Ok(None);
        };
        let now_ns = self.started.elapsed().as_nanos() as u64;
        source.window.taken(self.board.sinks.get(), now_ns);
        source.quiet = false;
        if std::mem::take(&mut source.had_ended) {
            self.end_source()?;
            return Ok(None);
        }
        if source.ended {
            source.quiet = true;
            return Ok(Some(Again::After(IDLE_PERIOD).into()));
        }
        let room = source.window.room();
        source.waits_for_room = room == 0;
        if room == 0 {
            return Ok(Some(Pause::back_pressured(Again::WhenWoken)));
        }
        let begin = Instant::now();
        let limit = (room.min(RECORDS_PER_TICK) as usize).min(self.pace.limit());
        let (status, records) = self.chain.poll(limit)?;
        let spent = begin.elapsed();
        self.chain.spent(0, spent);
        if records > 0 {
            self.pace.begin(records as usize);
            self.pace.spent(spent);
        }
        source.window.emitted(self.capability, records);
        self.records_in += records;
        match status {
            // The tick moves on only once what was made has been processed.
            InputStatus::MoreAvailable if !self.chain.is_idle() => Ok(None),
            InputStatus::MoreAvailable => Ok(Some(Again::Now.into())),
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
                Ok(Some(again.unwrap_or(Again::After(period)).into()))
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
    fn barrier(&mut self, frontiers: &[Option<Time>], now_ms: u64) -> Result<bool, FunctionError> {
        let epoch = self.alignment.epoch();
        let may_advance = self.board.control.may_advance(epoch);
        let frontier = frontiers.iter().flatten().copied().min();
        let is_aligned = if self.source.is_some() {
            may_advance
        } else {
            let held = self.queue.iter().map(|waiting| waiting.time);
            self.alignment.is_reached(frontier, held)
        };
        if !is_aligned && !may_advance {
            return Ok(false);
        }
        let Some(end) = self.board.control.announced(epoch) else {
            // Nothing was announced and nothing can arrive: the job has ended.
            return Ok(false);
        };
        if !is_aligned && !self.can_overtake(&end, frontiers, now_ms) {
            return Ok(false);
        }
        if let EpochEnd::Snapshot(options) = &end {
            let ends_input = matches!(options.stop, Some(StopMode::Drain | StopMode::EndOfInput));
            if ends_input && self.source.as_ref().is_some_and(|source| !source.ended) {
                self.end_source()?;
                return Ok(false);
            }
            self.snapshot(options, is_aligned)?;
            self.submit_whole(frontier);
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

    /// Whether the barrier need not wait any longer for records that are in flight.
    fn can_overtake(&self, end: &EpochEnd, frontiers: &[Option<Time>], now_ms: u64) -> bool {
        let EpochEnd::Snapshot(options) = end else {
            return false;
        };
        options.overtakes_at_ms().is_some_and(|at| at <= now_ms) && {
            let held = self
                .queue
                .iter()
                .map(|waiting| (waiting.gate, waiting.time));
            self.alignment.can_overtake(frontiers, held)
        }
    }

    /// Moves what is queued behind the barrier; returns what of it belongs into the snapshot.
    fn overtake(&mut self) -> Result<InFlight, FunctionError> {
        let epoch = self.alignment.epoch();
        let mut in_flight = InFlight::default();
        for waiting in &mut self.queue {
            let edge = &self.inputs[waiting.gate];
            in_flight.add(waiting.gate, &edge.name, edge.codec, &waiting.payload)?;
            // A barrier before this one, whose snapshot failed, may still lack records too.
            for earlier in self.overtaken.of(waiting.time) {
                let in_flight = &mut earlier.work.in_flight;
                in_flight.add(waiting.gate, &edge.name, edge.codec, &waiting.payload)?;
            }
            waiting.time = pack(epoch + 1, 0);
        }
        Ok(in_flight)
    }

    fn snapshot(
        &mut self,
        options: &SnapshotOptions,
        is_aligned: bool,
    ) -> Result<(), FunctionError> {
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
        let epoch = self.alignment.epoch();
        let in_flight = match is_aligned {
            true => InFlight::default(),
            false => self.overtake()?,
        };
        if let Some(source) = self.source.as_mut()
            && options.overtakes_at_ms().is_some()
        {
            source.window.overtaken(pack(epoch + 1, 0));
        }
        let passed = self.alignment.pass(now_ns);
        self.chain.flush()?;
        let context = SnapshotContext {
            id: options.id,
            is_savepoint: options.is_savepoint,
            incremental: options.incremental,
            base: options.base,
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
            alignment_duration_ns: passed.duration_ns,
            buffered_bytes: passed.buffered.bytes,
            buffered_records: passed.buffered.records,
            processed_bytes: passed.processed.bytes,
            processed_records: passed.processed.records,
            sync_duration_ms: begin.elapsed().as_millis() as u64,
            unaligned: !is_aligned,
            ..AcknowledgeMetrics::default()
        };
        let work = SnapshotWork {
            attempt: self.board.control.attempt,
            options: options.clone(),
            process: self.board.process,
            task: self.name.clone(),
            durables: Arc::clone(&self.durables),
            uploaded: Arc::clone(&self.uploaded),
            vertex: self.vertex,
            subtask: self.subtask,
            operators,
            in_flight,
            metrics,
            to_master: self.board.to_master.clone(),
        };
        match is_aligned {
            true => self.board.pool.submit(work),
            false => {
                let snapshot = OvertakingSnapshot {
                    work,
                    began: begin,
                    passed,
                };
                self.overtaken.wait(options.id, epoch, snapshot);
            }
        }
        Ok(())
    }

    /// Has the snapshots written that lack no record any more.
    fn submit_whole(&mut self, frontier: Option<Time>) {
        if self.overtaken.is_empty() {
            return;
        }
        for snapshot in self.overtaken.whole(frontier) {
            let OvertakingSnapshot {
                mut work,
                began,
                passed,
            } = snapshot;
            let persisted = work.in_flight.volume();
            let metrics = &mut work.metrics;
            metrics.alignment_duration_ns = passed.duration_ns + nanoseconds(began.elapsed());
            metrics.processed_bytes = passed.processed.bytes;
            metrics.processed_records = passed.processed.records;
            metrics.persisted_bytes = persisted.bytes;
            metrics.persisted_records = persisted.records;
            self.board.pool.submit(work);
        }
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
            let present = (epoch_of(self.capability) == epoch).then_some(self.capability);
            let tick = source.tick(present, control.ticks.tick());
            return within(pack(epoch, tick));
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
        let before = self.time_spent.begin(Doing::Work, Instant::now());
        let heard = self.act_on(notice);
        self.time_spent.begin(before, Instant::now());
        heard
    }

    fn act_on(&mut self, notice: Notice) -> Result<(), FunctionError> {
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
                self.overtaken.aborted(id);
                self.live_images.aborted(id);
                let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
                uploaded.forget(id);
                self.chain.notify_aborted(id)
            }
        }
    }
}

#[cfg(test)]
mod tests;

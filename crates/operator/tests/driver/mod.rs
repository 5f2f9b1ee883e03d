//! Plays the engine for one operator: routes records to its subtasks, snapshots and rescales it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millpond_fs::Location;
use millpond_fs::memory::MemoryFileSystem;
use millpond_operator::batch::downcast;
use millpond_operator::{
    Batch, Data, Element, OpenContext, Operator, Output, Port, RestoredState, SnapshotContext,
    SubtaskInfo,
};
use millpond_serializer::FlinkKey;
use millpond_snapshot::{
    KeyGroupsKind, KeyedHandle, LoadedSnapshot, Metadata, OperatorStateHandle, StreamHandle, load,
    write_metadata,
};
use millpond_state::store::MemoryBackend;
use millpond_state::{BackendChoice, StoreChoice};
use millpond_types::{JobId, KeyGroup, ManualClock, OperatorId};

/// Max parallelism of operators that start without state.
const MAX_PARALLELISM: u32 = 16;

thread_local! {
    static BACKEND: RefCell<BackendChoice> = RefCell::default();
}

/// Runs a test on the heap, and above a store with a cache that forgets all the time.
pub(crate) fn on_each_backend(test: impl Fn()) {
    test();
    let choice = BackendChoice::Store(StoreChoice {
        backend: Arc::new(MemoryBackend),
        cache: millpond_state::CacheMemory::of_each(4_000),
        directory: PathBuf::new(),
        configuration: Arc::default(),
    });
    BACKEND.set(choice);
    test();
    BACKEND.take();
}

/// Makes one subtask of the operator.
pub(crate) type Make = Box<dyn Fn() -> Box<dyn Operator>>;

/// All subtasks of one operator, whose main output is of type `Out`.
pub(crate) struct Driver<Out> {
    make: Make,
    max_parallelism: u32,
    operators: Vec<Box<dyn Operator>>,
    clock: Arc<ManualClock>,
    watermark: i64,
    checkpoint: i64,
    /// What came out of the main output since it was last taken, with timestamps.
    emitted: Vec<(i64, Out)>,
    /// What came out of side outputs: encoded batches by tag.
    side: Vec<(String, Element)>,
    /// The most records that waited in an output at once.
    pub(crate) most_waiting: usize,
    /// The watermarks that came out of subtask 0.
    pub(crate) watermarks: Vec<i64>,
}

impl<Out: Data> Driver<Out> {
    /// Opens the subtasks without state, at time 0 of the clock.
    pub(crate) fn new(parallelism: u32, make: impl Fn() -> Box<dyn Operator> + 'static) -> Self {
        let mut driver = Driver {
            make: Box::new(make),
            max_parallelism: MAX_PARALLELISM,
            operators: Vec::new(),
            clock: Arc::new(ManualClock::at(0)),
            watermark: i64::MIN,
            checkpoint: 0,
            emitted: Vec::new(),
            side: Vec::new(),
            most_waiting: 0,
            watermarks: Vec::new(),
        };
        driver.open(parallelism, &|_| None);
        driver
    }

    /// Opens the subtasks with the state that an operator has in a snapshot.
    pub(crate) fn of_snapshot(
        snapshot: &Arc<LoadedSnapshot>,
        uid: &str,
        parallelism: u32,
        make: impl Fn() -> Box<dyn Operator> + 'static,
    ) -> Self {
        let operator = snapshot.metadata.operator(OperatorId::of_uid(uid));
        let operator = operator.expect("in the snapshot");
        let states = operator.subtasks.iter().map(|(_, state)| state);
        let keyed: Vec<_> = states
            .clone()
            .filter_map(|state| state.managed_keyed.clone())
            .collect();
        let operator_states: Vec<_> = states
            .filter_map(|state| state.managed_operator.clone())
            .collect();
        let mut driver = Driver::new(1, make);
        driver.max_parallelism = operator.max_parallelism;
        let restored = |subtask: u32| {
            let copies = operator_states.len().max(1);
            Some(RestoredState {
                snapshot: Arc::clone(snapshot),
                checkpoint: snapshot.metadata.checkpoint_id,
                keyed: keyed.clone(),
                operator: operator_states
                    .get(subtask as usize % copies)
                    .cloned()
                    .into_iter()
                    .collect(),
                in_flight: Vec::new(),
                finished: false,
                ended: false,
                allow_non_restored_state: false,
                carries_unregistered_state: false,
            })
        };
        driver.open(parallelism, &restored);
        driver
    }

    fn open(&mut self, parallelism: u32, restored: &dyn Fn(u32) -> Option<RestoredState>) {
        let clock = Arc::clone(&self.clock);
        let open = |subtask| {
            let mut operator = (self.make)();
            let info = SubtaskInfo {
                job: JobId([1; 16]),
                attempt: 1,
                operator: OperatorId::of_uid("tested"),
                name: "tested".to_owned(),
                subtask,
                parallelism,
                max_parallelism: self.max_parallelism,
                checkpointing: true,
                describing: false,
            };
            let context = OpenContext {
                info,
                restored: restored(subtask),
                assigned_splits: Vec::new(),
                clock: Arc::clone(&clock) as Arc<_>,
                wake: Arc::new(|| {}),
                backend: BACKEND.with_borrow(Clone::clone),
            };
            operator.open(context).expect("opens");
            operator
        };
        self.operators = (0..parallelism).map(open).collect();
    }

    pub(crate) fn parallelism(&self) -> u32 {
        self.operators.len() as u32
    }

    /// Sends records of one key to the subtask of that key.
    pub(crate) fn keyed<K: FlinkKey, T: Data>(
        &mut self,
        input: usize,
        key: &K,
        rows: Vec<(i64, T)>,
    ) {
        let group = KeyGroup::of_hash(key.hash_code(), self.max_parallelism);
        let subtask = group.subtask(self.parallelism(), self.max_parallelism);
        let (timestamps, rows): (Vec<i64>, Vec<T>) = rows.into_iter().unzip();
        let batch = Batch {
            key_groups: vec![group.0; rows.len()],
            rows,
            timestamps,
        };
        self.give(subtask as usize, input, Element::Records(Box::new(batch)));
    }

    /// Sends a record to one subtask.
    pub(crate) fn send_to<T: Data>(
        &mut self,
        subtask: usize,
        input: usize,
        timestamp: i64,
        row: T,
    ) {
        let batch = Batch {
            rows: vec![row],
            timestamps: vec![timestamp],
            key_groups: Vec::new(),
        };
        self.give(subtask, input, Element::Records(Box::new(batch)));
    }

    /// Sends a record to every subtask.
    pub(crate) fn broadcast<T: Data>(&mut self, input: usize, timestamp: i64, row: T) {
        for subtask in 0..self.operators.len() {
            self.send_to(subtask, input, timestamp, row.clone());
        }
    }

    /// Sends a watermark to every subtask.
    pub(crate) fn watermark(&mut self, watermark: i64) {
        self.watermark = watermark;
        for subtask in 0..self.operators.len() {
            self.give(subtask, 0, Element::Watermark(watermark));
        }
    }

    /// Moves the clock, and fires what is due.
    pub(crate) fn advance_clock(&mut self, by_ms: u64) {
        self.clock.advance(Duration::from_millis(by_ms));
        let now_ms = self.now_ms();
        for subtask in 0..self.operators.len() {
            while self.operators[subtask]
                .next_processing_time()
                .is_some_and(|at| at <= now_ms)
            {
                let mut output = Output::default();
                let operator = &mut self.operators[subtask];
                operator
                    .on_processing_time(now_ms, &mut output)
                    .expect("fires");
                self.take(subtask, output);
                self.resume(subtask);
            }
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        millpond_types::Clock::now_ms(&*self.clock)
    }

    /// Ends the input.
    pub(crate) fn finish(&mut self) {
        self.watermark(millpond_operator::MAX_WATERMARK);
        for subtask in 0..self.operators.len() {
            let mut output = Output::default();
            self.operators[subtask]
                .finish(&mut output)
                .expect("finishes");
            self.take(subtask, output);
        }
    }

    fn give(&mut self, subtask: usize, input: usize, element: Element) {
        let mut output = Output::default();
        self.operators[subtask]
            .process(input, element, &mut output)
            .expect("processes");
        self.take(subtask, output);
        self.resume(subtask);
    }

    fn resume(&mut self, subtask: usize) {
        while self.operators[subtask].is_paused() {
            let mut output = Output::default();
            self.operators[subtask]
                .resume(&mut output)
                .expect("goes on");
            self.take(subtask, output);
        }
    }

    fn take(&mut self, subtask: usize, mut output: Output) {
        self.most_waiting = self.most_waiting.max(output.records());
        while let Some((port, element)) = output.pop() {
            match (port, element) {
                (Port::Main, Element::Records(batch)) => {
                    let batch: Batch<Out> = downcast(batch);
                    let timestamps: Vec<i64> = (0..batch.rows.len())
                        .map(|index| batch.timestamp(index))
                        .collect();
                    self.emitted.extend(timestamps.into_iter().zip(batch.rows));
                }
                (Port::Main, Element::Watermark(watermark)) if subtask == 0 => {
                    self.watermarks.push(watermark);
                }
                (Port::Side(tag), element) => self.side.push((tag, element)),
                (Port::Main, Element::Watermark(_) | Element::Idle(_) | Element::EndOfData) => {}
            }
        }
    }

    /// What came out since the last call, with timestamps, in order per subtask.
    pub(crate) fn emitted(&mut self) -> Vec<(i64, Out)> {
        std::mem::take(&mut self.emitted)
    }

    /// The records of a side output since the last call, with timestamps.
    pub(crate) fn side_output<T: Data>(&mut self, tag: &str) -> Vec<(i64, T)> {
        let (wanted, other) = std::mem::take(&mut self.side)
            .into_iter()
            .partition(|(name, _)| name == tag);
        self.side = other;
        let wanted: Vec<(String, Element)> = wanted;
        let mut records = Vec::new();
        for (_, element) in wanted {
            if let Element::Records(batch) = element {
                let batch: Batch<T> = downcast(batch);
                for (index, row) in batch.rows.iter().enumerate() {
                    records.push((batch.timestamp(index), row.clone()));
                }
            }
        }
        records
    }

    /// Takes a snapshot, and goes on from it with another number of subtasks.
    pub(crate) fn restore_at(&mut self, parallelism: u32) {
        self.checkpoint += 1;
        let (mut keyed, mut operator_states) = (Vec::new(), Vec::new());
        for operator in &mut self.operators {
            let snapshot = operator
                .snapshot(SnapshotContext {
                    incremental: false,
                    base: None,
                    id: self.checkpoint,
                    is_savepoint: true,
                })
                .expect("freezes");
            if let Some(image) = snapshot.keyed.filter(|image| !image.is_empty()) {
                let mut data = Vec::new();
                let written = image.write(&mut data).expect("writes");
                keyed.push(KeyedHandle::KeyGroups {
                    kind: KeyGroupsKind::Savepoint,
                    groups: written.groups,
                    stream: bytes(data),
                });
            }
            let image = snapshot.operator.filter(|image| !image.is_empty());
            operator_states.push(image.map(|image| {
                let mut data = Vec::new();
                let written = image.write(&mut data).expect("writes");
                OperatorStateHandle {
                    states: written.offsets,
                    stream: bytes(data),
                    merged: None,
                }
            }));
        }
        let fs = Arc::new(MemoryFileSystem::new());
        let directory = Location::parse("/snapshot").expect("a location");
        write_metadata(&*fs, &directory, &Metadata::new(self.checkpoint)).expect("writes");
        let snapshot = Arc::new(load(fs, &directory).expect("loads"));
        let checkpoint = self.checkpoint;
        let restored = |subtask: u32| {
            // Broadcast state: the copy of old subtask i mod old. Lists do not occur in these tests.
            let copy = operator_states[subtask as usize % operator_states.len()].clone();
            Some(RestoredState {
                snapshot: Arc::clone(&snapshot),
                checkpoint,
                keyed: keyed.clone(),
                operator: copy.into_iter().collect(),
                in_flight: Vec::new(),
                finished: false,
                ended: false,
                allow_non_restored_state: false,
                carries_unregistered_state: false,
            })
        };
        self.open(parallelism, &restored);
        // A restored operator knows no watermark until one comes.
        if self.watermark != i64::MIN {
            self.watermark(self.watermark);
        }
    }

    /// Tells every subtask that a checkpoint is complete, or will never be.
    pub(crate) fn notify(&mut self, checkpoint: i64, complete: bool) {
        for operator in &mut self.operators {
            let told = if complete {
                operator.notify_complete(checkpoint)
            } else {
                operator.notify_aborted(checkpoint)
            };
            told.expect("hears");
        }
    }
}

fn bytes(data: Vec<u8>) -> StreamHandle {
    StreamHandle::Bytes {
        name: String::new(),
        data,
    }
}

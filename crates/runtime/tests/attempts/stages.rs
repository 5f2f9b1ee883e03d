//! The parts of small jobs: a source of numbers, functions, and a sink that the test holds up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millpond_job::{
    ChainingStrategy, JobGraph, NodeId, NodeKind, Partitioner, StreamEdge, StreamGraph, StreamNode,
};
use millpond_operator::functions::{
    FunctionOpenContext, ProcessContext, ProcessFunction, ProcessOperator,
};
use millpond_operator::partition::{PartitionFactory, RoundRobin, ToSubtask};
use millpond_operator::sink::{Committer, Prepared, Sink, SinkOperator, SinkWriter, WriterContext};
use millpond_operator::source::{InputStatus, SourceFunction, SourceFunctionOperator};
use millpond_operator::{
    BatchCodec, Collector, FunctionError, Operator, OperatorFactory, Result, SubtaskInfo,
};
use millpond_runtime::{EdgeProgram, NodeProgram, Program};
use millpond_state::OperatorListState;

/// An operator of a job, behind the one before it.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) parallelism: u32,
    pub(crate) operator: OperatorFactory,
}

/// A job in a row; all records are numbers. Stages of equal parallelism are chained.
pub(crate) fn program(stages: &[Stage]) -> Program {
    let mut graph = StreamGraph::default();
    let (mut nodes, mut edges) = (Vec::new(), Vec::new());
    for (stage, index) in stages.iter().zip(0u32..) {
        graph.nodes.push(StreamNode {
            id: NodeId(index),
            name: stage.name.to_owned(),
            uid: Some(stage.name.to_owned()),
            uid_hash: None,
            kind: match index {
                0 => NodeKind::Source,
                _ if index as usize + 1 == stages.len() => NodeKind::Sink,
                _ => NodeKind::Operator,
            },
            parallelism: stage.parallelism,
            max_parallelism: None,
            chaining: ChainingStrategy::Always,
        });
        nodes.push(NodeProgram {
            operator: Arc::clone(&stage.operator),
            coordinator: None,
        });
        let Some(before) = index.checked_sub(1) else {
            continue;
        };
        let chained = stages[before as usize].parallelism == stage.parallelism;
        let partition: PartitionFactory = match chained {
            true => Arc::new(|sender, _, _| Box::new(ToSubtask(sender))),
            false => {
                Arc::new(|sender, receivers, _| Box::new(RoundRobin::<i64>::new(sender, receivers)))
            }
        };
        graph.edges.push(StreamEdge {
            from: NodeId(before),
            to: NodeId(index),
            input: 0,
            partitioner: match chained {
                true => Partitioner::Forward,
                false => Partitioner::Rebalance,
            },
            side_output: None,
        });
        edges.push(EdgeProgram {
            partition,
            codec: BatchCodec::of::<i64>(),
        });
    }
    let edges = edges.into_iter().zip(&graph.edges);
    let edges = edges.filter(|(_, edge)| !graph.is_chainable(edge, true));
    Program {
        edges: edges.map(|(program, _)| program).collect(),
        graph: JobGraph::build(&graph, true, true).expect("is a job"),
        nodes,
        backend: Default::default(),
    }
}

/// Makes an operator factory.
pub(crate) fn factory<O: Operator + 'static>(
    make: impl Fn() -> O + Send + Sync + 'static,
) -> OperatorFactory {
    Arc::new(move || Box::new(make()))
}

/// The numbers from 0 to an end, or without one; remembers how far it has come.
pub(crate) fn numbers(end: i64) -> OperatorFactory {
    let open = Arc::new(move |context: &mut FunctionOpenContext<'_>| {
        let state: OperatorListState<i64> = context.operator_list_state("next")?;
        let next = state.get().first().copied().unwrap_or(0);
        Ok(Numbers { state, next, end })
    });
    factory(move || SourceFunctionOperator::new(Arc::clone(&open)))
}

struct Numbers {
    state: OperatorListState<i64>,
    next: i64,
    end: i64,
}

impl SourceFunction for Numbers {
    type Out = i64;

    fn poll_next(&mut self, limit: usize, out: &mut Collector<i64>) -> Result<InputStatus> {
        if self.next == self.end {
            return Ok(InputStatus::EndOfInput);
        }
        for _ in 0..limit.min(256) {
            if self.next < self.end {
                out.collect(self.next);
                self.next += 1;
            }
        }
        Ok(InputStatus::MoreAvailable)
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> Result<()> {
        self.state.update([self.next]);
        Ok(())
    }
}

/// Passes records on and says farewell: -1 at the end.
pub(crate) fn farewell() -> OperatorFactory {
    let open = Arc::new(|_: &mut FunctionOpenContext<'_>| Ok(Farewell));
    factory(move || ProcessOperator::new(Arc::clone(&open)))
}

struct Farewell;

impl ProcessFunction for Farewell {
    type In = i64;
    type Out = i64;

    fn process_element(
        &mut self,
        value: i64,
        _context: &ProcessContext<'_>,
        out: &mut Collector<i64>,
    ) -> Result<()> {
        out.collect(value);
        Ok(())
    }

    fn finish(&mut self, out: &mut Collector<i64>) -> Result<()> {
        out.collect(-1);
        Ok(())
    }
}

/// A door that the test opens and closes.
#[derive(Default)]
pub(crate) struct Door {
    closed: Mutex<bool>,
    moved: Condvar,
}

impl Door {
    pub(crate) fn close(&self) {
        *lock(&self.closed) = true;
    }

    pub(crate) fn open(&self) {
        *lock(&self.closed) = false;
        self.moved.notify_all();
    }

    pub(crate) fn pass(&self) {
        let mut closed = lock(&self.closed);
        while *closed {
            closed = self
                .moved
                .wait(closed)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a commit does instead of committing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    Error,
    Panic,
}

/// A two-phase sink of numbers and what is seen of it.
#[derive(Clone, Default)]
pub(crate) struct TestSink {
    pub(crate) seen: Arc<Seen>,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Records that writers have taken.
    pub(crate) written: AtomicU64,
    /// Commits that have begun.
    pub(crate) begun: AtomicU64,
    /// Of commits that are done.
    committed: Mutex<Vec<i64>>,
    /// Every commit passes it.
    pub(crate) door: Door,
    /// What each record costs, in microseconds.
    pub(crate) delay_us: AtomicU64,
    mishap: Mutex<Option<Mishap>>,
}

impl Seen {
    pub(crate) fn committed(&self) -> Vec<i64> {
        lock(&self.committed).clone()
    }

    pub(crate) fn fail_with(&self, mishap: Mishap) {
        *lock(&self.mishap) = Some(mishap);
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }
}

/// Waits until a state is there.
pub(crate) fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl TestSink {
    pub(crate) fn operator(&self) -> OperatorFactory {
        let sink = Arc::new(self.clone());
        factory(move || SinkOperator::new(Arc::clone(&sink)))
    }
}

impl Sink for TestSink {
    type Record = i64;
    type Writer = TestWriter;

    fn create_writer(&self, _context: WriterContext) -> Result<TestWriter> {
        Ok(TestWriter {
            seen: Arc::clone(&self.seen),
            rows: Vec::new(),
        })
    }

    fn create_committer(&self, _info: &SubtaskInfo) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(TestCommitter(Arc::clone(&self.seen)))))
    }
}

pub(crate) struct TestWriter {
    seen: Arc<Seen>,
    rows: Vec<i64>,
}

impl SinkWriter<i64> for TestWriter {
    fn write(&mut self, record: i64, _timestamp: Option<i64>) -> Result<()> {
        let begin = Instant::now();
        let delay = Duration::from_micros(self.seen.delay_us.load(Ordering::SeqCst));
        while begin.elapsed() < delay {
            std::hint::spin_loop();
        }
        self.rows.push(record);
        self.seen.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn prepare_commit(&mut self) -> Result<Prepared> {
        let rows = std::mem::take(&mut self.rows);
        let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_be_bytes()).collect();
        Ok(Prepared {
            committables: (!rows.is_empty()).then_some(bytes).into_iter().collect(),
            durable: Vec::new(),
        })
    }
}

struct TestCommitter(Arc<Seen>);

impl Committer for TestCommitter {
    fn commit(&mut self, committables: &[Vec<u8>]) -> Result<()> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.door.pass();
        match *lock(&self.0.mishap) {
            Some(Mishap::Error) => return Err(FunctionError::new("the broker says no")),
            Some(Mishap::Panic) => panic!("the committer is out of order"),
            None => {}
        }
        let numbers = committables.iter().flat_map(|bytes| bytes.chunks(8));
        let numbers = numbers.map(|bytes| i64::from_be_bytes(bytes.try_into().expect("8 bytes")));
        lock(&self.0.committed).extend(numbers);
        Ok(())
    }
}

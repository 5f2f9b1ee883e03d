//! A task in the hands of a test, which is its senders, its receivers and its scheduler.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, channel};

use millpond_job::ToWorker;
use millpond_job::dispatcher::SavepointFormat;
use millpond_operator::batch::HEAD_BYTES;
use millpond_operator::partition::ToSubtask;
use millpond_operator::{AnyBatch, Batch, OpenContext, Operator, OperatorSnapshot, Output, Port};
use millpond_state::StateDescription;
use millpond_types::{ManualClock, OperatorId};

use super::*;
use crate::barrier::Mode;
use crate::chain::{Link, Route, Target};
use crate::congestion::{Backlogs, Pair};
use crate::control::Control;
use crate::snapshot_pool::SnapshotPool;

/// What the operator under test does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Passes records on.
    Relay,
    /// Makes ten batches of one, pausing behind each.
    Amplifier,
    /// Makes records for ever.
    Source,
    /// Takes records, until the outside world takes none.
    BlockedSink,
}

struct TestOperator {
    role: Role,
    to_make: VecDeque<i64>,
}

fn batch(numbers: std::ops::Range<i64>) -> Box<dyn AnyBatch> {
    Box::new(Batch::of(numbers.collect::<Vec<i64>>()))
}

impl Operator for TestOperator {
    fn open(&mut self, _context: OpenContext) -> millpond_operator::Result<()> {
        Ok(())
    }

    fn state(&self) -> StateDescription {
        StateDescription::default()
    }

    fn process(
        &mut self,
        _input: usize,
        element: Element,
        output: &mut Output,
    ) -> millpond_operator::Result<()> {
        match self.role {
            Role::Amplifier => self.to_make.extend(0..10),
            Role::Relay | Role::Source | Role::BlockedSink => output.push(Port::Main, element),
        }
        Ok(())
    }

    fn is_paused(&self) -> bool {
        !self.to_make.is_empty()
    }

    fn resume(&mut self, output: &mut Output) -> millpond_operator::Result<()> {
        let next = self.to_make.pop_front().expect("it is paused");
        output.push(Port::Main, Element::Records(batch(next..next + 10_000)));
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        self.role == Role::BlockedSink
    }

    fn poll(
        &mut self,
        limit: usize,
        output: &mut Output,
    ) -> millpond_operator::Result<InputStatus> {
        output.push(Port::Main, Element::Records(batch(0..limit as i64)));
        Ok(InputStatus::MoreAvailable)
    }

    fn snapshot(
        &mut self,
        _context: SnapshotContext,
    ) -> millpond_operator::Result<OperatorSnapshot> {
        Ok(OperatorSnapshot::default())
    }
}

/// A task with two senders at one input edge, and one receiver.
struct Bench {
    task: Task,
    control: Arc<Control>,
    messages: Receiver<FromWorker>,
    clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
}

const ATTEMPT: u32 = 1;

impl Bench {
    fn new(role: Role, mode: Mode) -> Self {
        let control = Arc::new(Control::new(ATTEMPT, 1));
        let (to_master, messages) = channel();
        let (pool, _) = SnapshotPool::start(1, None).expect("a thread");
        let clock = Arc::new(ManualClock::at(1_000));
        let board = Board::new(
            Arc::clone(&control),
            Arc::<ManualClock>::clone(&clock),
            pool,
            to_master,
            0,
            0,
        );
        let pair = |sender, receiver| Pair {
            edge: 0,
            sender,
            receiver,
        };
        let edge = EdgeWriter::new(
            Box::new(ToSubtask(0)),
            0,
            0..1,
            0..1,
            vec![Backlogs::default().of(pair(0, 0))],
        );
        let route = Route {
            port: Port::Main,
            target: Target::Edge(0),
        };
        let operator = TestOperator {
            role,
            to_make: VecDeque::new(),
        };
        let link = Link::new(OperatorId([7; 16]), Box::new(operator), vec![route]);
        let is_source = role == Role::Source;
        let mut gates = Gates::default();
        let mut inputs = Vec::new();
        if !is_source {
            gates.add(2, |_| true);
            inputs.push(InputEdge {
                input: 0,
                name: EdgeName {
                    sender: OperatorId([8; 16]),
                    input: 0,
                    side_output: String::new(),
                },
                codec: BatchCodec::of::<i64>(),
                intakes: (0..2)
                    .map(|sender| Intake::Local(Backlogs::default().of(pair(sender, 0))))
                    .collect(),
            });
        }
        let parts = TaskParts {
            name: "task (1/1)".to_owned(),
            vertex: VertexIndex(0),
            subtask: 0,
            workers: 1,
            is_source,
            had_ended: false,
            chain: Chain::new(vec![link], vec![edge]),
            alignment: Alignment::new(mode, inputs.iter().map(|_| true).collect()),
            inputs,
            gates,
            in_flight: Vec::new(),
        };
        Bench {
            task: Task::new(parts, Rc::new(board)),
            control,
            messages,
            clock,
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// So many numbers, from 0 on, arrive in `epoch` from a sender.
    fn arrive(&mut self, sender: u32, epoch: u32, records: i64) {
        let packet = Packet {
            worker: 0,
            sender,
            payload: Payload::Element(Element::Records(batch(0..records))),
        };
        let received = self.task.receive(0, pack(epoch, 5), packet);
        received.expect("can be encoded");
    }

    /// Lets it work until it gives up the thread; nothing below `epoch` can arrive any more.
    fn run(&mut self, epoch: u32) -> Outcome {
        loop {
            let frontiers = [Some(pack(epoch, 0))];
            let inputs = self.task.inputs.len();
            let outcome = self.task.run(&frontiers[..inputs], Instant::now());
            let outcome = outcome.expect("nothing fails");
            if outcome.again != Again::Now {
                return outcome;
            }
        }
    }

    /// The barrier behind epoch 0 is announced and let go.
    fn announce(&self, aligned_timeout_ms: Option<u64>) {
        let directory = format!("file:{}", self.directory.path().display());
        let end = EpochEnd::Snapshot(SnapshotOptions {
            id: 1,
            is_savepoint: false,
            format: SavepointFormat::Canonical,
            incremental: false,
            shared_directory: directory.clone(),
            directory,
            base: None,
            metadata_only_bytes: None,
            inline_threshold_bytes: 1 << 20,
            file_merging: None,
            changes_limit_bytes: u64::MAX,
            triggered_at_ms: 900,
            aligned_timeout_ms,
            stop: None,
        });
        let (attempt, epoch) = (ATTEMPT, 0);
        self.control.deliver(ToWorker::Announce {
            attempt,
            epoch,
            end,
        });
        self.control.deliver(ToWorker::Advance { attempt, epoch });
    }

    /// What the snapshot has cost.
    fn acknowledged(&self) -> AcknowledgeMetrics {
        let patience = Duration::from_secs(60);
        let message = self.messages.recv_timeout(patience).expect("a message");
        let FromWorker::Acknowledge {
            acknowledgement, ..
        } = message
        else {
            panic!("{message:?}");
        };
        acknowledgement.metrics
    }
}

/// Bytes and records of batches of so many numbers, from 0 on, on their way to another process.
fn volume(batches: &[i64]) -> (u64, u64) {
    let (mut bytes, mut count) = (0, 0);
    for records in batches {
        let (batch, mut encoded) = (batch(0..*records), Vec::new());
        batch.encode(&mut encoded).expect("encodes");
        bytes += encoded.len() - HEAD_BYTES;
        count += batch.len();
    }
    (bytes as u64, count as u64)
}

fn buffered(metrics: &AcknowledgeMetrics) -> (u64, u64) {
    (metrics.buffered_bytes, metrics.buffered_records)
}

fn processed(metrics: &AcknowledgeMetrics) -> (u64, u64) {
    (metrics.processed_bytes, metrics.processed_records)
}

#[test]
fn an_aligned_checkpoint_tells_what_was_processed_and_what_waited_between_its_barriers() {
    let mut bench = Bench::new(Role::Relay, Mode::ExactlyOnce);
    bench.arrive(0, 0, 100);
    bench.run(0);
    bench.announce(None);
    // Behind the barrier of sender 0; sender 1 still has something before it.
    bench.arrive(0, 1, 7);
    bench.arrive(1, 0, 300);
    bench.run(0);
    bench.arrive(0, 1, 500);
    bench.arrive(1, 0, 20);
    bench.run(0);
    bench.run(1);
    let metrics = bench.acknowledged();
    assert_eq!(processed(&metrics), volume(&[300, 20]));
    assert_eq!(buffered(&metrics), volume(&[7, 500]));
    assert_eq!(metrics.persisted_bytes + metrics.persisted_records, 0);
    assert!(metrics.alignment_duration_ns > 0 && !metrics.unaligned);
    // The clock stands still; the barrier cannot have come before its trigger.
    assert_eq!(metrics.start_delay_ms, 100);
}

#[test]
fn a_barrier_that_waits_for_the_task_itself_counts_as_one_that_waits_for_others() {
    let mut bench = Bench::new(Role::Relay, Mode::ExactlyOnce);
    bench.announce(None);
    bench.arrive(0, 0, 50);
    bench.run(1);
    assert_eq!(processed(&bench.acknowledged()), volume(&[50]));
}

#[test]
fn in_at_least_once_mode_nothing_is_aligned() {
    let mut bench = Bench::new(Role::Relay, Mode::AtLeastOnce);
    bench.announce(None);
    bench.arrive(0, 1, 7);
    bench.arrive(1, 0, 300);
    bench.run(0);
    bench.run(1);
    let metrics = bench.acknowledged();
    assert_eq!(metrics.alignment_duration_ns, 0);
    assert_eq!((buffered(&metrics), processed(&metrics)), ((0, 0), (0, 0)));
}

#[test]
fn an_unaligned_checkpoint_tells_what_it_has_overtaken_and_what_was_processed_until_it_was_whole() {
    let mut bench = Bench::new(Role::Relay, Mode::ExactlyOnce);
    bench.announce(Some(0));
    bench.arrive(0, 0, 100);
    // Overtakes the hundred, and processes them behind the barrier.
    bench.run(0);
    // Three late ones, and one from behind the barrier.
    bench.arrive(1, 0, 3);
    bench.arrive(0, 1, 1);
    bench.run(0);
    bench.run(1);
    let metrics = bench.acknowledged();
    assert!(metrics.unaligned);
    assert_eq!(metrics.persisted_records, 103);
    assert!(metrics.persisted_bytes > volume(&[100, 3]).0);
    assert_eq!(processed(&metrics), volume(&[100, 3, 1]));
    assert_eq!(buffered(&metrics), (0, 0));
}

/// It was triggered 100 ms ago, and 500 ms are there for it to align.
#[test]
fn a_checkpoint_overtakes_once_its_time_to_align_is_over_and_not_before() {
    let slow_to_align = || {
        let mut bench = Bench::new(Role::Relay, Mode::ExactlyOnce);
        bench.announce(Some(500));
        // Sender 0 is behind the barrier, sender 1 is not.
        bench.arrive(0, 1, 7);
        bench.arrive(1, 0, 100);
        bench
    };
    let mut bench = slow_to_align();
    bench.clock.advance(Duration::from_millis(399));
    bench.run(0);
    bench.arrive(1, 0, 20);
    bench.run(0);
    bench.run(1);
    let metrics = bench.acknowledged();
    assert!(!metrics.unaligned, "{metrics:?}");
    assert_eq!(processed(&metrics), volume(&[100, 20]));
    assert_eq!(
        (metrics.persisted_records, metrics.buffered_records),
        (0, 7)
    );

    let mut bench = slow_to_align();
    bench.clock.advance(Duration::from_millis(400));
    bench.run(0);
    bench.arrive(1, 0, 20);
    bench.run(0);
    bench.run(1);
    let metrics = bench.acknowledged();
    assert!(metrics.unaligned, "{metrics:?}");
    assert_eq!(metrics.persisted_records, 120);

    // What was aligned in time stays so, whatever the clock says then.
    let mut bench = slow_to_align();
    bench.run(0);
    bench.run(1);
    bench.clock.advance(Duration::from_secs(1));
    bench.arrive(1, 1, 3);
    bench.run(1);
    let metrics = bench.acknowledged();
    assert!(
        !metrics.unaligned && metrics.persisted_records == 0,
        "{metrics:?}"
    );
}

#[test]
fn a_task_says_why_it_gives_up_the_thread() {
    let mut relay = Bench::new(Role::Relay, Mode::ExactlyOnce);
    assert_eq!(relay.run(0).doing, Doing::Idle);
    // 40,000 records that its receiver does not take: the next batch may not begin.
    (0..4).for_each(|_| relay.arrive(0, 0, 10_000));
    relay.run(0);
    relay.arrive(0, 0, 1);
    assert_eq!(relay.run(0).doing, Doing::SoftBackPressured);

    let mut amplifier = Bench::new(Role::Amplifier, Mode::ExactlyOnce);
    amplifier.arrive(0, 0, 1);
    assert_eq!(amplifier.run(0).doing, Doing::HardBackPressured);

    let mut sink = Bench::new(Role::BlockedSink, Mode::ExactlyOnce);
    sink.arrive(0, 0, 1);
    assert_eq!(sink.run(0).doing, Doing::HardBackPressured);

    let mut source = Bench::new(Role::Source, Mode::ExactlyOnce);
    assert_eq!(source.run(0).doing, Doing::SoftBackPressured);
    let metrics = source.task.metrics();
    assert_eq!(metrics.operators.len(), 1);
    assert_eq!(metrics.operators[0].records_in, metrics.records_in);
    assert_eq!(metrics.operators[0].records_out, metrics.records_out);
    assert!(metrics.operators[0].busy_ns > 0);
}

#[test]
fn what_a_task_does_between_two_turns_is_what_it_has_said() {
    let mut bench = Bench::new(Role::Relay, Mode::ExactlyOnce);
    let begin = bench.task.started;
    let at = |ms| begin + Duration::from_millis(ms);
    bench.task.resume(at(10));
    bench.task.pause(Doing::SoftBackPressured, at(30));
    bench.task.resume(at(60));
    bench.task.pause(Doing::Wait, at(100));
    bench.task.resume(at(150));
    let spent = bench.task.time_spent.spent(at(150));
    assert_eq!(spent.busy_ns, 60_000_000);
    assert_eq!(spent.back_pressured_ns(), 30_000_000);
    assert_eq!((spent.idle_ns, spent.waiting_ns), (60_000_000, 50_000_000));
}

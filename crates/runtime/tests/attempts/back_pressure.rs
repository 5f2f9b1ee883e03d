//! An operator that makes many records of one waits for receivers, also for those in other processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_job::{FromWorker, ToWorker};
use millpond_operator::functions::FlatMapOperator;
use millpond_operator::sink::{Sink, SinkOperator, SinkWriter, WriterContext};
use millpond_operator::{OperatorFactory, Result};

use crate::cluster::{Cluster, Start};
use crate::stages::{Stage, factory, numbers, program};

/// What one record becomes.
const RECORDS: u64 = 1_000_000;

/// The limit of a pair, what a receiver may have taken and not told, and what is made in one go.
const MOST_IN_FLIGHT: u64 = 32 * 1024 + 8 * 1024 + 16 * 1024;

#[derive(Default)]
struct Counts {
    made: AtomicU64,
    /// Taken by the sink's subtask in the other process.
    taken: AtomicU64,
    sum: AtomicU64,
    most_in_flight: AtomicU64,
}

impl Counts {
    /// How many of the records for the slow subtask, half of all, are on their way; once no more
    /// are made.
    fn settle(&self) {
        let mut before = u64::MAX;
        loop {
            let made = self.made.load(Ordering::SeqCst);
            if made == before {
                break;
            }
            before = made;
            std::thread::sleep(Duration::from_millis(100));
        }
        let in_flight = before / 2 - self.taken.load(Ordering::SeqCst);
        self.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
    }
}

/// A sink whose second subtask stops now and then until nothing moves any more.
struct SlowSink(Arc<Counts>);

struct SlowWriter {
    counts: Arc<Counts>,
    is_slow: bool,
}

impl Sink for SlowSink {
    type Record = i64;
    type Writer = SlowWriter;

    fn create_writer(&self, context: WriterContext) -> Result<SlowWriter> {
        Ok(SlowWriter {
            counts: Arc::clone(&self.0),
            is_slow: context.info.subtask == 1,
        })
    }
}

impl SinkWriter<i64> for SlowWriter {
    fn write(&mut self, record: i64, _timestamp: Option<i64>) -> Result<()> {
        self.counts.sum.fetch_add(record as u64, Ordering::SeqCst);
        if self.is_slow {
            let taken = self.counts.taken.fetch_add(1, Ordering::SeqCst);
            if taken.is_multiple_of(200_000) {
                self.counts.settle();
            }
        }
        Ok(())
    }
}

fn amplify(counts: &Arc<Counts>) -> OperatorFactory {
    let counts = Arc::clone(counts);
    let function = Arc::new(move |_: i64| {
        let counts = Arc::clone(&counts);
        (0..RECORDS as i64).inspect(move |_| {
            counts.made.fetch_add(1, Ordering::SeqCst);
        })
    });
    factory(move || FlatMapOperator::new(Arc::clone(&function)))
}

/// If it breaks, one record of a source can fill the memory of a process.
#[test]
fn a_slow_receiver_in_another_process_holds_back_whoever_makes_a_million_records_of_one() {
    let counts = Arc::new(Counts::default());
    let sink = Arc::new(SlowSink(Arc::clone(&counts)));
    let program = program(&[
        Stage {
            name: "numbers",
            parallelism: 1,
            operator: numbers(2),
        },
        Stage {
            name: "amplify",
            parallelism: 1,
            operator: amplify(&counts),
        },
        Stage {
            name: "slow sink",
            parallelism: 2,
            operator: factory(move || SinkOperator::new(Arc::clone(&sink))),
        },
    ]);
    let start = Start {
        processes: 2,
        ..Start::default()
    };
    let mut cluster = Cluster::start(&program, start);
    cluster.wait_for("the end of the source", |message| {
        matches!(message, FromWorker::SourceEnded { .. }).then_some(())
    });
    cluster.send(&ToWorker::EndOfInput { attempt: 1 });
    // Also that of the first process, which ends before its own receivers in the other.
    cluster.ended();
    let most = counts.most_in_flight.load(Ordering::SeqCst);
    assert!(most <= MOST_IN_FLIGHT, "{most} records were in flight");
    assert!(most > 0, "the receiver was never behind");
    assert_eq!(counts.taken.load(Ordering::SeqCst), RECORDS);
    let sum = RECORDS * (RECORDS - 1);
    assert_eq!(counts.sum.load(Ordering::SeqCst), sum, "no record is lost");
    cluster.cancel();
}

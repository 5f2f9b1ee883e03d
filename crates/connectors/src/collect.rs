//! A sink that collects records in memory, for tests.
//!
//! It publishes in two phases: a record is visible once the checkpoint behind it is complete, so a
//! test sees results exactly once however often the job fails. A committable holds its records, not
//! a reference to them, so a savepoint taken with one sink can be restored with another.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond_operator::batch::downcast;
use millpond_operator::sink::{Committer, Prepared, Sink, SinkWriter, WriterContext};
use millpond_operator::{AnyBatch, Batch, BatchCodec, Data, FunctionError, Result, SubtaskInfo};
use millpond_serializer::{ByteReader, ByteWriter};

/// Collects records; clones share what is collected.
///
/// Works where sink and test are one process, that is without `cluster.processes`. A job without
/// checkpoints commits when its input ends.
///
/// # Examples
///
/// ```
/// use millpond_connectors::CollectSink;
///
/// let sink = CollectSink::<i64>::new();
/// // stream.sink_to(sink.clone()); env.execute("job")?;
/// assert!(sink.results().is_empty());
/// ```
pub struct CollectSink<T> {
    shared: Arc<Mutex<Collected<T>>>,
}

struct Collected<T> {
    committed: Vec<T>,
    transactions: BTreeSet<Vec<u8>>,
    written: u64,
}

impl<T> CollectSink<T> {
    /// An empty sink.
    pub fn new() -> Self {
        let collected = Collected {
            committed: Vec::new(),
            transactions: BTreeSet::new(),
            written: 0,
        };
        CollectSink {
            shared: Arc::new(Mutex::new(collected)),
        }
    }

    /// The committed records: each exactly once, in the order of their commits.
    pub fn results(&self) -> Vec<T>
    where
        T: Clone,
    {
        lock(&self.shared).committed.clone()
    }

    /// How many records were written, committed or not: at least once, so after a failure some
    /// count twice. For tests that wait for a job to get somewhere.
    pub fn written(&self) -> u64 {
        lock(&self.shared).written
    }
}

impl<T> Default for CollectSink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for CollectSink<T> {
    fn clone(&self) -> Self {
        CollectSink {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A panic elsewhere leaves a list of records as whole as before.
fn lock<T>(shared: &Mutex<Collected<T>>) -> MutexGuard<'_, Collected<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Data> Sink for CollectSink<T> {
    type Record = T;
    type Writer = CollectWriter<T>;

    fn create_writer(&self, context: WriterContext) -> Result<CollectWriter<T>> {
        Ok(CollectWriter {
            info: context.info,
            shared: Arc::clone(&self.shared),
            rows: Vec::new(),
            transactions: 0,
        })
    }

    fn create_committer(&self, _info: &SubtaskInfo) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(CollectCommitter {
            shared: Arc::clone(&self.shared),
        })))
    }
}

/// Gathers the records of one transaction of one subtask.
pub struct CollectWriter<T> {
    info: SubtaskInfo,
    shared: Arc<Mutex<Collected<T>>>,
    rows: Vec<T>,
    transactions: u64,
}

impl<T: Data> SinkWriter<T> for CollectWriter<T> {
    fn write(&mut self, record: T, _timestamp: Option<i64>) -> Result<()> {
        self.rows.push(record);
        lock(&self.shared).written += 1;
        Ok(())
    }

    fn prepare_commit(&mut self) -> Result<Prepared> {
        if self.rows.is_empty() {
            return Ok(Prepared::default());
        }
        let SubtaskInfo {
            job,
            operator,
            attempt,
            subtask,
            ..
        } = &self.info;
        let name = format!("{job}-{operator}-{attempt}-{subtask}-{}", self.transactions);
        self.transactions += 1;
        let mut committable = Vec::new();
        committable.put_utf(&name)?;
        Batch::of(std::mem::take(&mut self.rows)).encode(&mut committable)?;
        Ok(Prepared {
            committables: vec![committable],
            durable: Vec::new(),
        })
    }
}

struct CollectCommitter<T> {
    shared: Arc<Mutex<Collected<T>>>,
}

impl<T: Data> Committer for CollectCommitter<T> {
    fn commit(&mut self, committables: &[Vec<u8>]) -> Result<()> {
        for committable in committables {
            let mut reader = ByteReader::new(committable);
            let name = reader.utf()?.into_bytes();
            let records = committable
                .get(reader.position()..)
                .ok_or_else(|| FunctionError::new("a transaction of a collecting sink is cut"))?;
            let batch: Batch<T> = downcast(BatchCodec::of::<T>().decode(records)?);
            let mut collected = lock(&self.shared);
            if collected.transactions.insert(name) {
                collected.committed.extend(batch.rows);
            }
        }
        Ok(())
    }
}

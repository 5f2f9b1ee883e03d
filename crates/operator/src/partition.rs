//! Partitioners: which subtasks of the receiver get a record.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use millpond_serializer::FlinkKey;
use millpond_types::KeyGroup;

use crate::batch::{AnyBatch, BATCH_RECORDS, Batch, Data, downcast};
use crate::element::NO_TIMESTAMP;

/// Extracts the key of a record.
pub trait KeySelector<T>: Send + Sync + 'static {
    /// The type of the key.
    type Key: FlinkKey;

    /// The key of `record`, borrowed from it if it lies there.
    fn key<'a>(&self, record: &'a T) -> Cow<'a, Self::Key>;
}

/// A selector that computes the key.
pub struct ByValue<F, K>(pub F, pub PhantomData<fn() -> K>);

impl<T, K: FlinkKey, F: Fn(&T) -> K + Send + Sync + 'static> KeySelector<T> for ByValue<F, K> {
    type Key = K;

    #[inline]
    fn key<'a>(&self, record: &'a T) -> Cow<'a, K> {
        Cow::Owned((self.0)(record))
    }
}

/// A selector that points at the key inside the record.
pub struct ByReference<F, K>(pub F, pub PhantomData<fn() -> K>);

impl<T, K, F> KeySelector<T> for ByReference<F, K>
where
    K: FlinkKey,
    F: for<'a> Fn(&'a T) -> &'a K + Send + Sync + 'static,
{
    type Key = K;

    #[inline]
    fn key<'a>(&self, record: &'a T) -> Cow<'a, K> {
        Cow::Borrowed((self.0)(record))
    }
}

/// Gives all records the same key, byte 0, as Flink does for windows over a whole stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullByteKey;

impl<T> KeySelector<T> for NullByteKey {
    type Key = i8;

    fn key<'a>(&self, _record: &'a T) -> Cow<'a, i8> {
        Cow::Owned(0)
    }
}

/// Takes batches ready to be sent: the receiving subtask and the records.
pub type Sender<'a> = &'a mut dyn FnMut(u32, Box<dyn AnyBatch>);

/// Distributes the records of one sender over the subtasks of the receiver.
pub trait Partition {
    /// Distributes a batch; may keep records back until [`Partition::flush`].
    fn route(&mut self, batch: Box<dyn AnyBatch>, send: Sender<'_>);

    /// Sends everything kept back.
    fn flush(&mut self, send: Sender<'_>);
}

/// Makes the partition of one sending subtask.
///
/// Arguments: the sending subtask, the receiver's parallelism and maximum parallelism.
pub type PartitionFactory = Arc<dyn Fn(u32, u32, u32) -> Box<dyn Partition> + Send + Sync>;

/// Sends every batch to one subtask: forward and global edges.
pub struct ToSubtask(pub u32);

impl Partition for ToSubtask {
    fn route(&mut self, batch: Box<dyn AnyBatch>, send: Sender<'_>) {
        send(self.0, batch);
    }

    fn flush(&mut self, _send: Sender<'_>) {}
}

/// Sends a copy of every batch to every subtask.
pub struct ToAll(pub u32);

impl Partition for ToAll {
    fn route(&mut self, batch: Box<dyn AnyBatch>, send: Sender<'_>) {
        for subtask in 1..self.0 {
            send(subtask, batch.clone());
        }
        send(0, batch);
    }

    fn flush(&mut self, _send: Sender<'_>) {}
}

/// What a bucket allocates at most before it holds anything.
const FIRST_BYTES: usize = 64 * 1024;

/// Records waiting for one receiving subtask each.
struct Buckets<T> {
    batches: Vec<Batch<T>>,
    /// Whether records carry the key group that they were sent by.
    keyed: bool,
}

impl<T: Data> Buckets<T> {
    fn new(parallelism: u32, keyed: bool) -> Self {
        let batches = (0..parallelism).map(|_| Self::empty(keyed)).collect();
        Buckets { batches, keyed }
    }

    fn empty(keyed: bool) -> Batch<T> {
        Batch {
            rows: Vec::with_capacity(BATCH_RECORDS.min(FIRST_BYTES / size_of::<T>().max(1))),
            timestamps: Vec::new(),
            key_groups: Vec::with_capacity(if keyed { BATCH_RECORDS } else { 0 }),
        }
    }

    /// Adds a record without timestamp: the fast way.
    #[inline]
    fn push(&mut self, subtask: usize, row: T, key_group: u16, send: Sender<'_>) {
        let bucket = &mut self.batches[subtask];
        bucket.rows.push(row);
        if self.keyed {
            bucket.key_groups.push(key_group);
        }
        if bucket.rows.len() >= BATCH_RECORDS {
            self.send(subtask, send);
        }
    }

    fn push_with_timestamp(
        &mut self,
        subtask: usize,
        row: T,
        timestamp: i64,
        key_group: u16,
        send: Sender<'_>,
    ) {
        let bucket = &mut self.batches[subtask];
        // Earlier records of this bucket may have had none.
        bucket.timestamps.resize(bucket.rows.len(), NO_TIMESTAMP);
        bucket.timestamps.push(timestamp);
        self.push(subtask, row, key_group, send);
    }

    fn send(&mut self, subtask: usize, send: Sender<'_>) {
        let mut batch = std::mem::replace(&mut self.batches[subtask], Self::empty(self.keyed));
        if !batch.timestamps.is_empty() {
            batch.timestamps.resize(batch.rows.len(), NO_TIMESTAMP);
        }
        send(subtask as u32, Box::new(batch));
    }

    fn flush(&mut self, send: Sender<'_>) {
        for subtask in 0..self.batches.len() {
            if !self.batches[subtask].rows.is_empty() {
                self.send(subtask, send);
            }
        }
    }
}

/// Sends records round robin, one by one.
pub struct RoundRobin<T> {
    buckets: Buckets<T>,
    next: usize,
}

impl<T: Data> RoundRobin<T> {
    /// Begins with the subtask of the sender's own number, so that senders spread.
    pub fn new(sender: u32, parallelism: u32) -> Self {
        RoundRobin {
            buckets: Buckets::new(parallelism, false),
            next: (sender % parallelism) as usize,
        }
    }
}

impl<T: Data> Partition for RoundRobin<T> {
    fn route(&mut self, batch: Box<dyn AnyBatch>, send: Sender<'_>) {
        let Batch {
            rows, timestamps, ..
        } = downcast::<T>(batch);
        let mut timestamps = timestamps.into_iter();
        for row in rows {
            match timestamps.next() {
                Some(timestamp) => {
                    self.buckets
                        .push_with_timestamp(self.next, row, timestamp, 0, send);
                }
                None => self.buckets.push(self.next, row, 0, send),
            }
            self.next += 1;
            if self.next == self.buckets.batches.len() {
                self.next = 0;
            }
        }
    }

    fn flush(&mut self, send: Sender<'_>) {
        self.buckets.flush(send);
    }
}

/// Sends records to the owner of their key's group, and tells it the group.
pub struct ByKey<T, S> {
    selector: Arc<S>,
    max_parallelism: u32,
    owners: Vec<u16>,
    buckets: Buckets<T>,
}

impl<T: Data, S: KeySelector<T>> ByKey<T, S> {
    /// A partition over `parallelism` subtasks and `max_parallelism` key groups.
    pub fn new(selector: Arc<S>, parallelism: u32, max_parallelism: u32) -> Self {
        let owners = (0..max_parallelism)
            .map(|group| KeyGroup(group as u16).subtask(parallelism, max_parallelism) as u16)
            .collect();
        ByKey {
            selector,
            max_parallelism,
            owners,
            buckets: Buckets::new(parallelism, true),
        }
    }
}

impl<T: Data, S: KeySelector<T>> ByKey<T, S> {
    #[inline]
    fn owner(&self, row: &T) -> (usize, u16) {
        let hash_code = self.selector.key(row).hash_code();
        let group = KeyGroup::of_hash(hash_code, self.max_parallelism).0;
        (usize::from(self.owners[usize::from(group)]), group)
    }
}

impl<T: Data, S: KeySelector<T>> Partition for ByKey<T, S> {
    fn route(&mut self, batch: Box<dyn AnyBatch>, send: Sender<'_>) {
        let Batch {
            rows, timestamps, ..
        } = downcast::<T>(batch);
        if timestamps.is_empty() {
            for row in rows {
                let (owner, group) = self.owner(&row);
                self.buckets.push(owner, row, group, send);
            }
            return;
        }
        for (row, timestamp) in rows.into_iter().zip(timestamps) {
            let (owner, group) = self.owner(&row);
            self.buckets
                .push_with_timestamp(owner, row, timestamp, group, send);
        }
    }

    fn flush(&mut self, send: Sender<'_>) {
        self.buckets.flush(send);
    }
}

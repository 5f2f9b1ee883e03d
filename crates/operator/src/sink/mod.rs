//! Sinks: a writer per subtask, and a committer for those that publish in two phases.
//!
//! The shape is that of Flink's sink v2. Committables are bytes: they lie in the operator state
//! `streaming_committer_raw_states` until their checkpoint is complete, the writers' own state in
//! `writer_raw_states`. Completing checkpoint n commits everything prepared up to n, since
//! notifications may be lost and an aborted checkpoint's transactions go with the next; a restore
//! commits what the snapshot holds; committing twice is the same as once.
//!
//! Commits happen on a thread of the subtask's own (`commit_thread`), while its writer goes on. What
//! is being committed counts as not committed until it is done: a snapshot taken meanwhile holds it
//! once more. After a restore the writer gets its first record, and the subtask takes its first
//! snapshot, when what the snapshot held has been committed: a later snapshot never refers to a
//! transaction of an attempt before its own.

mod commit_thread;
mod operator;

use millpond_types::CheckpointId;

pub use operator::SinkOperator;

use crate::batch::Data;
use crate::context::{SubtaskInfo, Wake};
use crate::error::Result;
use crate::operator::Durable;

/// What a writer gets when it is made.
pub struct WriterContext {
    /// Which subtask this is.
    pub info: SubtaskInfo,
    /// To be called from other threads when a blocked writer can go on.
    pub wake: Wake,
    /// Whether the attempt goes on from a snapshot, of which this writer may have got nothing.
    pub is_restored: bool,
    /// State of the writers that this one takes over, each as its version and bytes.
    pub restored: Vec<(i32, Vec<u8>)>,
}

/// A sink.
pub trait Sink: Send + Sync + 'static {
    /// Its records.
    type Record: Data;
    /// Writes in one subtask.
    type Writer: SinkWriter<Self::Record>;

    /// Makes the writer of one subtask.
    ///
    /// # Errors
    ///
    /// The outside world refuses; restored state of an unknown version.
    fn create_writer(&self, context: WriterContext) -> Result<Self::Writer>;

    /// Makes the committer of one subtask; `None` for sinks that publish at once.
    ///
    /// # Errors
    ///
    /// The outside world refuses.
    fn create_committer(&self, _info: &SubtaskInfo) -> Result<Option<Box<dyn Committer>>> {
        Ok(None)
    }
}

/// What a writer hands over when it is asked to prepare.
#[derive(Default)]
pub struct Prepared {
    /// Transactions to be committed, each as bytes that the committer understands.
    pub committables: Vec<Vec<u8>>,
    /// To be done in the background before this or any later snapshot counts; a failure fails the
    /// attempt.
    pub durable: Vec<Durable>,
}

/// Writes records in one subtask. It must not block for long.
pub trait SinkWriter<T> {
    /// Version of the bytes of [`SinkWriter::snapshot_state`].
    const VERSION: i32 = 1;

    /// Writes a record; `timestamp` is in milliseconds.
    ///
    /// # Errors
    ///
    /// Any error fails the job with its message.
    fn write(&mut self, record: T, timestamp: Option<i64>) -> Result<()>;

    /// Hands everything buffered to the outside world.
    ///
    /// # Errors
    ///
    /// As [`SinkWriter::write`].
    fn flush(&mut self, _end_of_input: bool) -> Result<()> {
        Ok(())
    }

    /// Ends the present transaction: what was written is to be published by its committables.
    ///
    /// # Errors
    ///
    /// As [`SinkWriter::write`].
    fn prepare_commit(&mut self) -> Result<Prepared> {
        Ok(Prepared::default())
    }

    /// The writer's own state, each element to be dealt out on restore.
    ///
    /// # Errors
    ///
    /// As [`SinkWriter::write`].
    fn snapshot_state(&mut self, _checkpoint: CheckpointId) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// Whether it takes no more for now; it calls its wake-up when it does again.
    fn is_blocked(&self) -> bool {
        false
    }
}

/// Publishes prepared transactions, on a thread of its own: it may block.
///
/// A commit that is under way when the attempt ends is waited for.
pub trait Committer: Send {
    /// Publishes transactions; one that has been published before is left as it is.
    ///
    /// # Errors
    ///
    /// A transaction can be neither published nor found published: the job fails.
    fn commit(&mut self, committables: &[Vec<u8>]) -> Result<()>;
}

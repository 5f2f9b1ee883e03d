//! The contract between an operator and whoever runs it.

use std::sync::Arc;

use millpond_state::{FrozenKeyedState, OperatorStateImage, StateDescription};
use millpond_types::CheckpointId;

use crate::context::{OpenContext, SnapshotContext};
use crate::element::Element;
use crate::error::Result;
use crate::output::Output;

/// One subtask of an operator.
///
/// It lives on one thread and must not block it. Work that makes much output pauses when
/// [`Output::is_full`] and goes on in [`Operator::resume`]; nothing else is given to it meanwhile.
pub trait Operator {
    /// Restores state and opens the user function. Called once, first.
    ///
    /// # Errors
    ///
    /// State that cannot be restored; whatever the user function returns.
    fn open(&mut self, context: OpenContext) -> Result<()>;

    /// What state it has registered when it was opened, and what it was given and has not.
    fn state(&self) -> StateDescription;

    /// Says what state it has, without being run: called in the place of [`Operator::open`].
    ///
    /// A function is opened on empty backends, which is how it says what it registers; it can tell by
    /// [`SubtaskInfo::describing`](crate::SubtaskInfo::describing). Sources and sinks have a fixed
    /// list, and make neither reader nor writer.
    ///
    /// # Errors
    ///
    /// Whatever the user function returns.
    fn describe(&mut self, context: OpenContext) -> Result<StateDescription> {
        self.open(context)?;
        Ok(self.state())
    }

    /// Processes records or a watermark of logical input `input`.
    ///
    /// # Errors
    ///
    /// Whatever the user function returns: the job fails.
    fn process(&mut self, input: usize, element: Element, output: &mut Output) -> Result<()>;

    /// Whether it paused in the middle of its work.
    fn is_paused(&self) -> bool {
        false
    }

    /// Goes on where it paused.
    ///
    /// # Errors
    ///
    /// As [`Operator::process`].
    fn resume(&mut self, _output: &mut Output) -> Result<()> {
        Ok(())
    }

    /// When [`Operator::on_processing_time`] wants to be called next, in milliseconds since 1970.
    fn next_processing_time(&self) -> Option<u64> {
        None
    }

    /// Tells it the time. May pause.
    ///
    /// # Errors
    ///
    /// As [`Operator::process`].
    fn on_processing_time(&mut self, _now_ms: u64, _output: &mut Output) -> Result<()> {
        Ok(())
    }

    /// Its input is held back by what is behind it, and therefore not idle.
    fn held_back(&mut self, _now_ms: u64) {}

    /// Source only: makes about `limit` records at most.
    ///
    /// # Errors
    ///
    /// As [`Operator::process`].
    fn poll(&mut self, _limit: usize, _output: &mut Output) -> Result<crate::source::InputStatus> {
        Ok(crate::source::InputStatus::EndOfInput)
    }

    /// Source only: how many records it could emit and has not, if it knows.
    fn pending_records(&self) -> Option<u64> {
        None
    }

    /// Whether a sink's outside world takes no more for now; its wake-up ends that.
    fn is_blocked(&self) -> bool {
        false
    }

    /// All inputs have sent their last record and watermark: emit what is left.
    ///
    /// # Errors
    ///
    /// As [`Operator::process`].
    fn finish(&mut self, _output: &mut Output) -> Result<()> {
        Ok(())
    }

    /// All inputs have ended, as they had in the snapshot that it was restored from, and no record
    /// has come since: what [`Operator::finish`] emitted then must not be emitted once more.
    ///
    /// # Errors
    ///
    /// As [`Operator::process`].
    fn finish_again(&mut self, _output: &mut Output) -> Result<()> {
        Ok(())
    }

    /// Takes the results of work on threads of its own; called whenever the task is woken.
    ///
    /// # Errors
    ///
    /// That work has failed: the job fails.
    fn poll_background(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether work on threads of its own is under way that the end of the job has to wait for.
    fn has_background_work(&self) -> bool {
        false
    }

    /// Freezes its state; what takes time happens in the image, on another thread.
    ///
    /// # Errors
    ///
    /// State that cannot be frozen: the task fails.
    fn snapshot(&mut self, context: SnapshotContext) -> Result<OperatorSnapshot>;

    /// The checkpoint is complete. Idempotent; notifications may be lost.
    ///
    /// # Errors
    ///
    /// Whatever the user function returns: the job fails.
    fn notify_complete(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }

    /// The checkpoint will never complete.
    ///
    /// # Errors
    ///
    /// As [`Operator::notify_complete`].
    fn notify_aborted(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }

    /// Does a slice of house-keeping; returns whether there is more to do.
    fn maintain(&mut self) -> bool {
        false
    }
}

/// Something to be done in the background before a snapshot counts, such as an fsync.
pub type Durable = Box<dyn FnOnce() -> Result<()> + Send>;

/// The frozen state of one operator subtask.
#[derive(Default)]
pub struct OperatorSnapshot {
    /// Keyed state.
    pub keyed: Option<FrozenKeyedState>,
    /// Operator state.
    pub operator: Option<OperatorStateImage>,
    /// Source positions in words, one line per split.
    pub positions: Vec<String>,
    /// Whether transactions are still to be committed.
    pub pending_transactions: bool,
    /// The operator had ended in the snapshot that it was restored from, and says so again.
    pub finished: bool,
    /// The end of its input has been processed: [`Operator::finish`] was called.
    pub ended: bool,
    /// To be done in the background before the snapshot counts.
    pub durable: Vec<Durable>,
}

/// Makes one subtask of an operator; called on the thread that will own it.
pub type OperatorFactory = Arc<dyn Fn() -> Box<dyn Operator> + Send + Sync>;

//! The thread on which a sink subtask commits, so that no rename or fsync holds a worker up.
//!
//! The operator asks for one commit at a time, so commits keep their order; it forgets what it
//! asked for only when the outcome is there. Dropping the thread waits for the commit that is under
//! way: when an attempt has ended in this process, nothing of it publishes any more. What a killed
//! process had begun is published by whoever restores the checkpoint, as committing twice is the
//! same as once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use crate::context::Wake;
use crate::error::{FunctionError, Result};
use crate::operator::Durable;
use crate::sink::Committer;

/// One commit.
pub(crate) struct Request {
    /// To be done before.
    pub(crate) durable: Vec<Durable>,
    /// What is published.
    pub(crate) committables: Arc<Vec<Vec<u8>>>,
}

/// The thread and the way to it.
pub(crate) struct CommitThread {
    /// `None` once it has been told to end.
    requests: Option<Sender<Request>>,
    outcomes: Receiver<Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CommitThread {
    /// Starts it; `wake` is called after each commit.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(crate) fn start(committer: Option<Box<dyn Committer>>, wake: Wake) -> Result<Self> {
        let (requests, work) = channel();
        let (results, outcomes) = channel();
        let thread = std::thread::Builder::new()
            .name("sink-commit".to_owned())
            .spawn(move || serve(committer, &work, &results, &wake))?;
        Ok(CommitThread {
            requests: Some(requests),
            outcomes,
            thread: Some(thread),
        })
    }

    /// Asks for a commit; its outcome comes through [`CommitThread::outcome`].
    pub(crate) fn ask(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // If the thread has ended, the outcome says so.
            let _ = requests.send(request);
        }
    }

    /// The outcome of the commit that was asked for; `None` while it is under way.
    pub(crate) fn outcome(&self) -> Option<Result<()>> {
        match self.outcomes.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err(FunctionError::new("the commit thread of a sink died")))
            }
        }
    }
}

impl Drop for CommitThread {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It contains the panics of the committer.
            let _ = thread.join();
        }
    }
}

fn serve(
    mut committer: Option<Box<dyn Committer>>,
    work: &Receiver<Request>,
    results: &Sender<Result<()>>,
    wake: &Wake,
) {
    for request in work {
        let outcome = catch_unwind(AssertUnwindSafe(|| commit(&mut committer, request)));
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = text_of(&*panic);
            Err(FunctionError::new(format!("a committer panicked: {text}")))
        });
        if results.send(outcome).is_err() {
            // The operator is gone.
            return;
        }
        wake();
    }
}

fn commit(committer: &mut Option<Box<dyn Committer>>, request: Request) -> Result<()> {
    request
        .durable
        .into_iter()
        .try_for_each(|durable| durable())?;
    if request.committables.is_empty() {
        return Ok(());
    }
    match committer {
        Some(committer) => committer.commit(&request.committables),
        None => Err(FunctionError::new(
            "the writer of a sink made committables, and the sink has no committer",
        )),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic with a value that is no text".to_owned())
}

//! A job that runs in this process, for the program that started it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millpond_cluster::random;
use millpond_job::dispatcher::{
    AfterSavepoint, CheckpointKind, CheckpointStatistics, Dispatcher, JobDetails, Operation,
    SavepointFormat, SavepointRequest,
};
use millpond_types::{CheckpointId, JobId, TriggerId};

use crate::error::{Error, Result};
use crate::execute::{JobResult, RunningJob};

/// How often the state of an operation is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A job that runs in this process, as Flink's `JobClient`.
pub struct JobClient {
    running: RunningJob,
    dispatcher: Arc<dyn Dispatcher>,
}

impl JobClient {
    pub(crate) fn new(running: RunningJob) -> Self {
        JobClient {
            dispatcher: running.handle.dispatcher(),
            running,
        }
    }

    /// The job's id.
    pub fn job_id(&self) -> JobId {
        self.running.job
    }

    /// Where its REST API listens.
    pub fn rest_address(&self) -> SocketAddr {
        self.running.rest
    }

    /// What the REST API would say of it.
    ///
    /// # Panics
    ///
    /// Never: the job is known to its own dispatcher.
    pub fn details(&self) -> JobDetails {
        self.dispatcher
            .job(self.running.job)
            .expect("a job is known to its own dispatcher")
    }

    /// Counts and history of its checkpoints.
    ///
    /// # Panics
    ///
    /// Never, as [`JobClient::details`].
    pub fn checkpoints(&self) -> CheckpointStatistics {
        self.dispatcher
            .checkpoints(self.running.job)
            .expect("a job is known to its own dispatcher")
    }

    /// Takes a savepoint below `directory`, or the configured one, and returns its path.
    ///
    /// # Errors
    ///
    /// The savepoint failed; the job goes on.
    pub fn savepoint(&self, directory: Option<&str>) -> Result<String> {
        self.savepoint_as(SavepointFormat::Canonical, directory)
    }

    /// As [`JobClient::savepoint`], in a format.
    ///
    /// # Errors
    ///
    /// The savepoint failed; the job goes on.
    pub fn savepoint_as(&self, format: SavepointFormat, directory: Option<&str>) -> Result<String> {
        self.take_savepoint(directory, format, AfterSavepoint::Continue)
    }

    /// Stops the job with a savepoint and returns its path.
    ///
    /// With `advance_to_end_of_event_time` all event-time timers fire first (`--drain`).
    ///
    /// # Errors
    ///
    /// The savepoint or the stop failed.
    pub fn stop_with_savepoint(
        &self,
        advance_to_end_of_event_time: bool,
        directory: Option<&str>,
    ) -> Result<String> {
        let format = SavepointFormat::Canonical;
        self.stop_with_savepoint_as(format, advance_to_end_of_event_time, directory)
    }

    /// As [`JobClient::stop_with_savepoint`], in a format.
    ///
    /// # Errors
    ///
    /// The savepoint or the stop failed.
    pub fn stop_with_savepoint_as(
        &self,
        format: SavepointFormat,
        advance_to_end_of_event_time: bool,
        directory: Option<&str>,
    ) -> Result<String> {
        let then = match advance_to_end_of_event_time {
            true => AfterSavepoint::Drain,
            false => AfterSavepoint::Stop,
        };
        self.take_savepoint(directory, format, then)
    }

    fn take_savepoint(
        &self,
        directory: Option<&str>,
        format: SavepointFormat,
        then: AfterSavepoint,
    ) -> Result<String> {
        let trigger = TriggerId(random::bytes());
        let request = SavepointRequest {
            target_directory: directory.map(str::to_owned),
            then,
            format,
        };
        let failed = |error| Error::caused_by("the savepoint failed", error);
        self.dispatcher
            .trigger_savepoint(self.running.job, trigger, request)
            .map_err(failed)?;
        poll(|| self.dispatcher.savepoint_status(self.running.job, trigger))
    }

    /// Takes a checkpoint now and returns its number.
    ///
    /// # Errors
    ///
    /// The checkpoint failed.
    pub fn checkpoint(&self) -> Result<CheckpointId> {
        let trigger = TriggerId(random::bytes());
        let (job, kind) = (self.running.job, CheckpointKind::Configured);
        self.dispatcher
            .trigger_checkpoint(job, trigger, kind)
            .map_err(|error| Error::caused_by("the checkpoint failed", error))?;
        poll(|| self.dispatcher.checkpoint_status(self.running.job, trigger))
    }

    /// Cancels the job.
    ///
    /// # Errors
    ///
    /// It has already ended by itself.
    pub fn cancel(&self) -> Result<()> {
        self.dispatcher
            .cancel(self.running.job)
            .map_err(|error| Error::caused_by("the job cannot be cancelled", error))
    }

    /// Waits for the end of the job.
    ///
    /// # Errors
    ///
    /// It has failed.
    pub fn wait(self) -> Result<JobResult> {
        self.running.wait()
    }
}

fn poll<T>(status: impl Fn() -> Option<Operation<T>>) -> Result<T> {
    loop {
        match status() {
            Some(Operation::Completed(Ok(value))) => return Ok(value),
            Some(Operation::Completed(Err(failure))) => return Err(Error::new(failure.message)),
            Some(Operation::InProgress) => std::thread::sleep(POLL_INTERVAL),
            None => return Err(Error::new("the operation is not known to the job any more")),
        }
    }
}

//! What a job master tells its job manager about its job, again whenever it has changed.

use std::collections::BTreeMap;

use millpond_types::{CheckpointId, TriggerId};
use serde::{Deserialize, Serialize};

use crate::dispatcher::{
    CheckpointConfig, CheckpointStatistics, DispatchError, ExceptionEntry, JobDetails, JobOverview,
    Operation,
};
use crate::requirements::JobRequirements;

/// Everything that REST can be asked about one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// The job with its vertices.
    pub details: JobDetails,
    /// Counts and history of its checkpoints.
    pub statistics: CheckpointStatistics,
    /// What made it fail, newest first.
    pub exceptions: Vec<ExceptionEntry>,
    /// Savepoints that were asked for.
    pub savepoints: BTreeMap<TriggerId, Operation<String>>,
    /// Checkpoints that were asked for.
    pub checkpoints: BTreeMap<TriggerId, Operation<CheckpointId>>,
    /// Where its own checkpoints are, as a URI.
    pub checkpoint_directory: String,
    /// Where savepoints go whose trigger names no directory.
    pub savepoint_directory: Option<String>,
    /// Between which bounds its parallelism may be, in elastic mode.
    pub requirements: Option<JobRequirements>,
    /// How its checkpoints are configured.
    pub checkpoint_config: CheckpointConfig,
}

impl JobReport {
    /// Between which bounds the parallelism of the job may be.
    ///
    /// # Errors
    ///
    /// It has ended, or is not in elastic mode.
    pub fn bounds(&self) -> Result<&JobRequirements, DispatchError> {
        let JobOverview { id, status, .. } = self.details.overview;
        if status.is_globally_terminal() {
            return Err(DispatchError::UnknownJob(id));
        }
        self.requirements.as_ref().ok_or(DispatchError::NotElastic)
    }

    /// Whether the job can have such bounds from now on.
    ///
    /// # Errors
    ///
    /// As [`bounds`](Self::bounds); it takes no checkpoints, or cannot have these bounds.
    pub fn may_require(&self, requirements: &JobRequirements) -> Result<(), DispatchError> {
        self.bounds()?;
        if self.checkpoint_config.interval_ms.is_none() {
            return Err(DispatchError::Refused(
                "The job takes no checkpoints (execution.checkpointing.interval is not set): at another \
                 parallelism it would begin anew."
                    .to_owned(),
            ));
        }
        requirements
            .check(&self.details.vertices)
            .map_err(|error| DispatchError::Refused(error.to_string()))
    }

    /// Whether its periodic checkpoints can have another interval from now on.
    ///
    /// # Errors
    ///
    /// It has ended, or has no periodic checkpoints.
    pub fn may_change_checkpoint_interval(&self) -> Result<(), DispatchError> {
        let JobOverview { id, status, .. } = self.details.overview;
        if status.is_globally_terminal() {
            return Err(DispatchError::UnknownJob(id));
        }
        match self.checkpoint_config.interval_ms {
            Some(_) => Ok(()),
            None => Err(DispatchError::Refused(
                "The job takes no periodic checkpoints (execution.checkpointing.interval is not set): \
                 whether it does cannot be changed while it runs."
                    .to_owned(),
            )),
        }
    }
}

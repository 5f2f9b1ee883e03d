//! What a job master tells its job manager about its job, again whenever it has changed.

use std::collections::BTreeMap;

use millpond_types::{CheckpointId, TriggerId};
use serde::{Deserialize, Serialize};

use crate::dispatcher::{
    CheckpointConfig, CheckpointStatistics, ExceptionEntry, JobDetails, Operation,
};

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
    /// How its checkpoints are configured.
    pub checkpoint_config: CheckpointConfig,
}

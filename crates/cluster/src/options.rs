//! How a job is run.

use std::time::Duration;

use millpond_checkpoint::plan::PlanOptions;
use millpond_checkpoint::{
    CoordinatorConfig, ElasticOptions, RestartConfig, SavepointScheduleConfig,
};
use millpond_job::dispatcher::CheckpointConfig;
use millpond_security::Internal;
use millpond_types::JobId;
use millpond_types::config::{ClaimMode, ConfigError, Configuration, options};

use crate::job_manager::JobManagerAddress;
use crate::local_recovery::LocalRecovery;
use crate::processes::Host;

/// How a job is run.
#[derive(Clone, Debug)]
pub struct JobOptions {
    /// The job's id.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Worker processes; 1 is the process of the job master itself.
    pub processes: u32,
    /// The cluster that the job runs in: it finds room for worker processes, whatever `processes`
    /// says.
    pub cluster: Option<ClusterOptions>,
    /// How worker processes say that they live; of no effect with one process.
    pub heartbeat: Heartbeat,
    /// How the processes of the job and the job manager speak with each other.
    pub security: Internal,
    /// Whether a record counts exactly once, or at least once after a recovery.
    pub exactly_once: bool,
    /// How checkpoints are taken and kept.
    pub coordinator: CoordinatorConfig,
    /// Whether and when a failed job runs again; `None` is Flink's default, which depends on
    /// whether checkpoints are taken.
    pub restart: Option<RestartConfig>,
    /// Where savepoints go whose trigger names no directory.
    pub savepoint_directory: Option<String>,
    /// Savepoints by the clock; `None`: none are taken. Needs `savepoint_directory`.
    pub savepoint_schedule: Option<SavepointScheduleConfig>,
    /// The snapshot that the job starts from.
    pub restore: Option<RestoreOptions>,
    /// How its parallelism follows the slots that there are; `None`: it does not.
    pub elastic: Option<ElasticOptions>,
    /// Second copies of state on the disks of the machine.
    pub local_recovery: LocalRecovery,
    /// How checkpoints are configured, for the REST API.
    pub checkpoint_config: CheckpointConfig,
    /// Options as configured, secrets hidden, for the REST API.
    pub configuration: Vec<(String, String)>,
}

/// The cluster that a job runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// Its job manager.
    pub job_manager: JobManagerAddress,
    /// Where the job master listens for its worker processes.
    pub host: Host,
}

/// How worker processes say that they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// How often a process that has nothing else to say does so; more than 0.
    pub interval: Duration,
    /// For how long one may say nothing until it is lost; at least the interval.
    pub timeout: Duration,
}

impl Heartbeat {
    /// What the options say.
    ///
    /// # Errors
    ///
    /// An interval of 0, or a timeout below it.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, ConfigError> {
        let interval = configuration.get(&options::HEARTBEAT_INTERVAL)?;
        let timeout = configuration.get(&options::HEARTBEAT_TIMEOUT)?;
        if interval.is_zero() || timeout < interval {
            return Err(ConfigError::new(
                options::HEARTBEAT_TIMEOUT.key(),
                format!("{} ms", timeout.as_millis()),
                format!(
                    "expected at least {}, which is {} ms and may not be 0",
                    options::HEARTBEAT_INTERVAL.key(),
                    interval.as_millis()
                ),
            ));
        }
        Ok(Heartbeat { interval, timeout })
    }
}

/// The snapshot that a job starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Its directory or metadata file.
    pub path: String,
    /// Whether state may be left behind that the program does not claim.
    pub allow_non_restored_state: bool,
    /// Whether state may be carried on unread that an operator could take and does not register.
    pub ignore_unregistered_state: bool,
    /// Whose the snapshot is from now on.
    pub mode: ClaimMode,
}

impl RestoreOptions {
    /// How much may be lost.
    pub(crate) fn plan_options(&self) -> PlanOptions {
        PlanOptions {
            allow_non_restored_state: self.allow_non_restored_state,
            ignore_unregistered_state: self.ignore_unregistered_state,
        }
    }
}

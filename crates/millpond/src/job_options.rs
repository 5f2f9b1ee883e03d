//! From configuration to how a job is run.

use std::time::Duration;

use millpond_checkpoint::{CoordinatorConfig, RestartConfig, Retention};
use millpond_cluster::{Heartbeat, JobOptions, RestoreOptions, random};
use millpond_fs::Location;
use millpond_job::dispatcher::CheckpointConfig;
use millpond_types::JobId;
use millpond_types::config::{
    CheckpointingMode, ClaimMode, ConfigError, Configuration, ExternalizedCheckpointRetention,
    RestartStrategyType, StateBackendType, options,
};

use crate::error::{Error, Result};

/// Where checkpoints go when they are on and no directory is set.
const DEFAULT_CHECKPOINT_DIRECTORY: &str = ".millpond/checkpoints";

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Says which options are set and have no effect yet.
fn warn_of_no_effect(configuration: &Configuration) {
    let without_effect = [
        options::UNALIGNED_ENABLED.info(),
        options::INCREMENTAL.info(),
        options::LOCAL_BACKUP_ENABLED.info(),
        options::RECOVER_FROM_LOCAL.info(),
        options::CHECKPOINT_STORAGE.info(),
        options::PARALLELISM_OVERRIDES.info(),
    ];
    for info in without_effect {
        if info.names().any(|name| configuration.raw(name).is_some()) {
            tracing::warn!(
                "option {} is set and has no effect: it is not supported yet",
                info.key
            );
        }
    }
}

/// Reads everything that concerns a job as a whole.
///
/// # Errors
///
/// An option's value is not usable.
pub(crate) fn job_options(configuration: &Configuration, name: &str) -> Result<JobOptions> {
    let bad = |error: ConfigError| Error::caused_by("the configuration is not usable", error);
    warn_of_no_effect(configuration);
    read(configuration, name).map_err(bad)
}

fn read(configuration: &Configuration, name: &str) -> std::result::Result<JobOptions, ConfigError> {
    let job = match configuration.get(&options::FIXED_JOB_ID)? {
        Some(text) => text
            .parse()
            .map_err(|error: millpond_types::ids::ParseIdError| {
                ConfigError::new(options::FIXED_JOB_ID.key(), &text, error.to_string())
            })?,
        None => JobId(random::bytes()),
    };
    let coordinator = coordinator(configuration, job)?;
    let exactly_once =
        configuration.get(&options::CHECKPOINTING_MODE)? == CheckpointingMode::ExactlyOnce;
    let claim = configuration.get(&options::CLAIM_MODE)? == ClaimMode::Claim;
    let allow = configuration.get(&options::IGNORE_UNCLAIMED_STATE)?;
    let ignore_unregistered = configuration.get(&options::IGNORE_UNREGISTERED_STATE)?;
    let restore = configuration
        .get(&options::RECOVERY_PATH)?
        .map(|path| RestoreOptions {
            path,
            allow_non_restored_state: allow,
            ignore_unregistered_state: ignore_unregistered,
            claim,
        });
    let retention = coordinator.retention;
    let checkpoint_config = CheckpointConfig {
        exactly_once,
        interval_ms: coordinator.interval_ms,
        timeout_ms: coordinator.timeout_ms,
        min_pause_ms: coordinator.min_pause_ms,
        max_concurrent: coordinator.max_concurrent,
        tolerable_failed: coordinator.tolerable_failed,
        externalized: !matches!(retention, Retention::Unset | Retention::NoExternalized),
        delete_on_cancellation: retention != Retention::RetainOnCancellation,
        state_backend: match configuration.get(&options::STATE_BACKEND)? {
            StateBackendType::HashMap => "HashMapStateBackend".to_owned(),
            StateBackendType::Named(name) if name == "rocksdb" => {
                "EmbeddedRocksDBStateBackend".to_owned()
            }
            StateBackendType::Named(name) => name,
        },
        checkpoint_storage: "FileSystemCheckpointStorage".to_owned(),
    };
    Ok(JobOptions {
        job,
        name: configuration
            .get(&options::JOB_NAME)?
            .unwrap_or_else(|| name.to_owned()),
        processes: configuration.get(&options::CLUSTER_PROCESSES)?,
        heartbeat: heartbeat(configuration)?,
        exactly_once,
        coordinator,
        restart: restart(configuration)?,
        savepoint_directory: configuration.get(&options::SAVEPOINT_DIRECTORY)?,
        restore,
        checkpoint_config,
        configuration: configuration.shown(),
    })
}

fn heartbeat(configuration: &Configuration) -> std::result::Result<Heartbeat, ConfigError> {
    let interval = configuration.get(&options::HEARTBEAT_INTERVAL)?;
    let timeout = configuration.get(&options::HEARTBEAT_TIMEOUT)?;
    if interval.is_zero() || timeout < interval {
        return Err(ConfigError::new(
            options::HEARTBEAT_TIMEOUT.key(),
            format!("{} ms", ms(timeout)),
            format!(
                "expected at least {}, which is {} ms and may not be 0",
                options::HEARTBEAT_INTERVAL.key(),
                ms(interval)
            ),
        ));
    }
    Ok(Heartbeat { interval, timeout })
}

fn coordinator(
    configuration: &Configuration,
    job: JobId,
) -> std::result::Result<CoordinatorConfig, ConfigError> {
    let root = configuration.get(&options::CHECKPOINTS_DIRECTORY)?;
    let root = root.unwrap_or_else(|| DEFAULT_CHECKPOINT_DIRECTORY.to_owned());
    let root = Location::parse(&root).map_err(|error| {
        ConfigError::new(
            options::CHECKPOINTS_DIRECTORY.key(),
            &root,
            error.to_string(),
        )
    })?;
    let directory = match configuration.get(&options::CHECKPOINTS_CREATE_SUBDIRECTORY)? {
        true => millpond_snapshot::job_directory(&root, job),
        false => root,
    };
    let mut config = CoordinatorConfig::new(job, directory.to_string());
    config.interval_ms = configuration.get(&options::CHECKPOINTING_INTERVAL)?.map(ms);
    config.timeout_ms = ms(configuration.get(&options::CHECKPOINTING_TIMEOUT)?);
    config.min_pause_ms = ms(configuration.get(&options::CHECKPOINTING_MIN_PAUSE)?);
    config.max_concurrent = configuration.get(&options::MAX_CONCURRENT_CHECKPOINTS)?;
    config.tolerable_failed = configuration.get(&options::TOLERABLE_FAILED_CHECKPOINTS)?;
    config.num_retained = configuration.get(&options::NUM_RETAINED)?;
    config.retention = match configuration.get(&options::EXTERNALIZED_CHECKPOINT_RETENTION)? {
        None => Retention::Unset,
        Some(ExternalizedCheckpointRetention::NoExternalizedCheckpoints) => {
            Retention::NoExternalized
        }
        Some(ExternalizedCheckpointRetention::DeleteOnCancellation) => {
            Retention::DeleteOnCancellation
        }
        Some(ExternalizedCheckpointRetention::RetainOnCancellation) => {
            Retention::RetainOnCancellation
        }
    };
    config.checkpoints_after_tasks_finish =
        configuration.get(&options::CHECKPOINTS_AFTER_TASKS_FINISH)?;
    config.inline_threshold_bytes = configuration
        .get(&options::DATA_INLINE_THRESHOLD)?
        .bytes()
        .min(1 << 20) as u32;
    config.changes_limit_bytes = configuration.get(&options::HEAP_CHANGES_LIMIT)?.bytes();
    config.history = configuration.get(&options::WEB_CHECKPOINTS_HISTORY)? as usize;
    config.allow_fallback_past_committed_transactions =
        configuration.get(&options::ALLOW_FALLBACK_PAST_COMMITTED_TRANSACTIONS)?;
    Ok(config)
}

fn restart(
    configuration: &Configuration,
) -> std::result::Result<Option<RestartConfig>, ConfigError> {
    let Some(strategy) = configuration.get(&options::RESTART_STRATEGY)? else {
        return Ok(None);
    };
    Ok(Some(match strategy {
        RestartStrategyType::None => RestartConfig::None,
        RestartStrategyType::FixedDelay => RestartConfig::FixedDelay {
            attempts: configuration.get(&options::FIXED_DELAY_ATTEMPTS)?,
            delay_ms: ms(configuration.get(&options::FIXED_DELAY)?),
        },
        RestartStrategyType::FailureRate => RestartConfig::FailureRate {
            max_failures_per_interval: configuration.get(&options::FAILURE_RATE_MAX_FAILURES)?,
            interval_ms: ms(configuration.get(&options::FAILURE_RATE_INTERVAL)?),
            delay_ms: ms(configuration.get(&options::FAILURE_RATE_DELAY)?),
        },
        RestartStrategyType::ExponentialDelay => RestartConfig::ExponentialDelay {
            initial_backoff_ms: ms(configuration.get(&options::EXPONENTIAL_INITIAL_BACKOFF)?),
            max_backoff_ms: ms(configuration.get(&options::EXPONENTIAL_MAX_BACKOFF)?),
            backoff_multiplier: configuration.get(&options::EXPONENTIAL_MULTIPLIER)?,
            reset_backoff_threshold_ms: ms(
                configuration.get(&options::EXPONENTIAL_RESET_THRESHOLD)?
            ),
            jitter_factor: configuration.get(&options::EXPONENTIAL_JITTER)?,
            attempts_before_reset_backoff: configuration.get(&options::EXPONENTIAL_ATTEMPTS)?,
        },
    }))
}

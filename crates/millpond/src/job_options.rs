//! From configuration to how a job is run.

use std::time::Duration;

use millpond_checkpoint::{
    CoordinatorConfig, ElasticOptions, JOB_MANAGER_SCHEME, MAX_STATE_BYTES_IN_MEMORY, Retention,
    SavepointScheduleConfig,
};
use millpond_cluster::{Heartbeat, JobOptions, LocalRecovery, RestoreOptions, random};
use millpond_fs::Location;
use millpond_job::JobRequirements;
use millpond_job::dispatcher::CheckpointConfig;
use millpond_job::gateway::FileMerging;
use millpond_job::requirements::RequirementsBody;
use millpond_security::Internal;
use millpond_types::JobId;
use millpond_types::config::{
    CheckpointStorage, CheckpointingMode, ClaimMode, ConfigError, ConfigOption, Configuration,
    ExternalizedCheckpointRetention, Scheduler, StateBackendType, options,
};

use crate::error::{Error, Result};
use crate::restart_options;

/// Where checkpoints go when they are on and no directory is set.
const DEFAULT_CHECKPOINT_DIRECTORY: &str = ".millpond/checkpoints";

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Says which options are set and have no effect yet.
fn warn_of_no_effect(configuration: &Configuration) {
    let without_effect = [
        options::PARALLELISM_OVERRIDES.info(),
        options::FILE_MERGING_ACROSS_BOUNDARY.info(),
        options::FILE_MERGING_POOL_BLOCKING.info(),
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
    let storage = storage(configuration)?;
    let coordinator = coordinator(configuration, job, storage)?;
    let savepoint_directory = savepoint_directory(configuration)?;
    let exactly_once =
        configuration.get(&options::CHECKPOINTING_MODE)? == CheckpointingMode::ExactlyOnce;
    let mode = configuration.get(&options::CLAIM_MODE)?;
    if mode == ClaimMode::Legacy {
        tracing::warn!(
            "{} is {mode}. This mode is deprecated, please use CLAIM or NO_CLAIM mode to get a clear \
             state file ownership.",
            options::CLAIM_MODE.key()
        );
    }
    let allow = configuration.get(&options::IGNORE_UNCLAIMED_STATE)?;
    let ignore_unregistered = configuration.get(&options::IGNORE_UNREGISTERED_STATE)?;
    let mut path = configuration.get(&options::RECOVERY_PATH)?;
    if configuration.get(&options::START_WITHOUT_STATE)?
        && let Some(ignored) = path.take()
    {
        tracing::warn!(
            "{} is set: the job starts without state, and not from \"{ignored}\"",
            options::START_WITHOUT_STATE.key()
        );
    }
    let restore = path.map(|path| RestoreOptions {
        path,
        allow_non_restored_state: allow,
        ignore_unregistered_state: ignore_unregistered,
        mode,
    });
    let retention = coordinator.retention;
    let checkpoint_config = CheckpointConfig {
        exactly_once,
        interval_ms: coordinator.interval_ms,
        timeout_ms: coordinator.timeout_ms,
        min_pause_ms: coordinator.min_pause_ms,
        max_concurrent: coordinator.max_concurrent,
        aligned_timeout_ms: coordinator.aligned_timeout_ms,
        tolerable_failed: coordinator.tolerable_failed,
        after_tasks_finish: coordinator.checkpoints_after_tasks_finish,
        externalized: !matches!(retention, Retention::Unset | Retention::NoExternalized),
        delete_on_cancellation: retention != Retention::RetainOnCancellation,
        state_backend: match configuration.get(&options::STATE_BACKEND)? {
            StateBackendType::HashMap => "HashMapStateBackend".to_owned(),
            StateBackendType::Named(name) if name == "rocksdb" => {
                "EmbeddedRocksDBStateBackend".to_owned()
            }
            StateBackendType::Named(name) => name,
        },
        checkpoint_storage: match storage {
            CheckpointStorage::JobManager => "JobManagerCheckpointStorage",
            CheckpointStorage::FileSystem => "FileSystemCheckpointStorage",
        }
        .to_owned(),
    };
    Ok(JobOptions {
        job,
        name: configuration
            .get(&options::JOB_NAME)?
            .unwrap_or_else(|| name.to_owned()),
        processes: configuration.get(&options::CLUSTER_PROCESSES)?,
        cluster: None,
        heartbeat: Heartbeat::from_configuration(configuration)?,
        security: Internal::from_configuration(configuration)?,
        exactly_once,
        coordinator,
        restart: restart_options::restart(configuration)?,
        savepoint_schedule: savepoint_schedule(configuration, savepoint_directory.as_deref())?,
        savepoint_directory,
        restore,
        elastic: elastic(configuration)?,
        local_recovery: LocalRecovery::from_configuration(configuration)?,
        checkpoint_config,
        configuration: configuration.shown(),
    })
}

/// Longer than any job runs.
const WITHOUT_END: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Whether and how the parallelism follows the slots that there are.
fn elastic(
    configuration: &Configuration,
) -> std::result::Result<Option<ElasticOptions>, ConfigError> {
    let is_reactive = configuration.get(&options::SCHEDULER_MODE)?.is_some();
    if configuration.get(&options::SCHEDULER)? == Scheduler::Default && !is_reactive {
        return Ok(None);
    }
    // As in Flink, which in reactive mode waits for slots as long as it takes, and then not for more.
    let by_mode = |info: &'static ConfigOption<Duration>, reactive: Duration| {
        let is_said = configuration.contains(info);
        match is_reactive && !is_said {
            true => Ok(reactive),
            false => configuration.get(info),
        }
    };
    let key = options::RESOURCE_REQUIREMENTS.key();
    let requirements = configuration.get(&options::RESOURCE_REQUIREMENTS)?;
    let requirements = requirements.map(|text| {
        let body: RequirementsBody = serde_json::from_str(&text)
            .map_err(|error| ConfigError::new(key, &text, error.to_string()))?;
        JobRequirements::try_from(&body)
            .map_err(|error| ConfigError::new(key, &text, error.to_string()))
    });
    Ok(Some(ElasticOptions {
        resource_wait: by_mode(&options::ADAPTIVE_RESOURCE_WAIT_TIMEOUT, WITHOUT_END)?,
        stabilization: by_mode(
            &options::ADAPTIVE_RESOURCE_STABILIZATION_TIMEOUT,
            Duration::ZERO,
        )?,
        cooldown: configuration.get(&options::ADAPTIVE_COOLDOWN)?,
        executing_stabilization: configuration
            .get(&options::ADAPTIVE_EXECUTING_STABILIZATION_TIMEOUT)?,
        max_checkpoint_failures: configuration.get(&options::ADAPTIVE_MAX_CHECKPOINT_FAILURES)?,
        requirements: requirements.transpose()?,
    }))
}

/// Where checkpoints go: as told, else as the old name of a state backend says, else to files.
fn storage(configuration: &Configuration) -> std::result::Result<CheckpointStorage, ConfigError> {
    if let Some(storage) = configuration.get(&options::CHECKPOINT_STORAGE)? {
        return Ok(storage);
    }
    let mut names = options::STATE_BACKEND.info().names();
    let backend = names.find_map(|name| configuration.raw(name));
    let storage = backend.and_then(StateBackendType::storage_of);
    Ok(storage.unwrap_or(CheckpointStorage::FileSystem))
}

/// Where savepoints go that name no directory, the old store of that name included.
fn savepoint_directory(
    configuration: &Configuration,
) -> std::result::Result<Option<String>, ConfigError> {
    let directory = configuration.get(&options::SAVEPOINT_DIRECTORY)?;
    let Some(store) = configuration.get(&options::SAVEPOINT_STORE)? else {
        return Ok(directory);
    };
    let key = options::SAVEPOINT_STORE.key();
    match (store, directory) {
        (CheckpointStorage::FileSystem, Some(directory)) => {
            tracing::warn!(
                "{key} is deprecated: {} is enough",
                options::SAVEPOINT_DIRECTORY.key()
            );
            Ok(Some(directory))
        }
        // Without a directory that was, in old Flink, the job manager too.
        (CheckpointStorage::JobManager, _) | (CheckpointStorage::FileSystem, None) => {
            tracing::warn!(
                "{key} is deprecated: savepoints that name no directory are kept in the memory of \
                 the job master, and lost when it ends; set {} instead",
                options::SAVEPOINT_DIRECTORY.key()
            );
            Ok(Some(format!("{JOB_MANAGER_SCHEME}:/savepoints")))
        }
    }
}

/// Savepoints by the clock.
fn savepoint_schedule(
    configuration: &Configuration,
    directory: Option<&str>,
) -> std::result::Result<Option<SavepointScheduleConfig>, ConfigError> {
    let Some(interval) = configuration.get(&options::SAVEPOINT_INTERVAL)? else {
        return Ok(None);
    };
    let wrong = |what: &str| {
        let key = options::SAVEPOINT_INTERVAL.key();
        Err(ConfigError::new(key, format!("{} ms", ms(interval)), what))
    };
    if interval.is_zero() {
        return wrong("expected more than 0");
    }
    if directory.is_none() {
        return wrong("execution.checkpointing.savepoint-dir has to be set with it");
    }
    Ok(Some(SavepointScheduleConfig {
        interval_ms: ms(interval),
        max_count: configuration.get(&options::SAVEPOINT_HISTORY_MAX_COUNT)?,
        max_age_ms: ms(configuration.get(&options::SAVEPOINT_HISTORY_MAX_AGE)?),
    }))
}

fn coordinator(
    configuration: &Configuration,
    job: JobId,
    storage: CheckpointStorage,
) -> std::result::Result<CoordinatorConfig, ConfigError> {
    let root = configuration.get(&options::CHECKPOINTS_DIRECTORY)?;
    let root = root.unwrap_or_else(|| match storage {
        // With a directory, Flink too puts the metadata there, which then holds all state.
        CheckpointStorage::JobManager => format!("{JOB_MANAGER_SCHEME}:/checkpoints"),
        CheckpointStorage::FileSystem => DEFAULT_CHECKPOINT_DIRECTORY.to_owned(),
    });
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
    config.aligned_timeout_ms = aligned_timeout_ms(configuration)?;
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
    config.incremental = configuration.get(&options::INCREMENTAL)?;
    config.inline_threshold_bytes = configuration
        .get(&options::DATA_INLINE_THRESHOLD)?
        .bytes()
        .min(1 << 20) as u32;
    config.file_merging = file_merging(configuration)?;
    config.metadata_only_bytes = match storage {
        CheckpointStorage::JobManager => Some(MAX_STATE_BYTES_IN_MEMORY),
        CheckpointStorage::FileSystem => None,
    };
    config.changes_limit_bytes = configuration.get(&options::HEAP_CHANGES_LIMIT)?.bytes();
    config.history = configuration.get(&options::WEB_CHECKPOINTS_HISTORY)? as usize;
    config.allow_fallback_past_committed_transactions =
        configuration.get(&options::ALLOW_FALLBACK_PAST_COMMITTED_TRANSACTIONS)?;
    Ok(config)
}

/// How small state files are merged; `None` if they are not.
fn file_merging(
    configuration: &Configuration,
) -> std::result::Result<Option<FileMerging>, ConfigError> {
    let most = configuration.get(&options::FILE_MERGING_MAX_SUBTASKS)?;
    let amplification = configuration.get(&options::FILE_MERGING_MAX_SPACE_AMPLIFICATION)?;
    let merging = FileMerging {
        max_file_bytes: configuration
            .get(&options::FILE_MERGING_MAX_FILE_SIZE)?
            .bytes(),
        max_subtasks_per_file: most,
        // No file is as large as what this cuts off.
        max_space_percent: (amplification * 100.0) as u32,
    };
    if most == 0 {
        return Err(ConfigError::new(
            options::FILE_MERGING_MAX_SUBTASKS.key(),
            most.to_string(),
            "expected at least 1".to_owned(),
        ));
    }
    let is_enabled = configuration.get(&options::FILE_MERGING_ENABLED)?;
    Ok(is_enabled.then_some(merging))
}

/// When checkpoints stop waiting for records in flight; `None` if never.
///
/// Source: Flink 2.3.0, classes `StreamGraphGenerator`, `CheckpointCoordinatorConfiguration`.
fn aligned_timeout_ms(
    configuration: &Configuration,
) -> std::result::Result<Option<u64>, ConfigError> {
    if !configuration.get(&options::UNALIGNED_ENABLED)? {
        return Ok(None);
    }
    if configuration.get(&options::CHECKPOINTING_MODE)? != CheckpointingMode::ExactlyOnce {
        tracing::warn!(
            "{} has no effect: Unaligned checkpoints can only be used with checkpointing mode \
             EXACTLY_ONCE",
            options::UNALIGNED_ENABLED.key()
        );
        return Ok(None);
    }
    let max_concurrent = configuration.get(&options::MAX_CONCURRENT_CHECKPOINTS)?;
    if max_concurrent > 1 {
        return Err(ConfigError::new(
            options::MAX_CONCURRENT_CHECKPOINTS.key(),
            max_concurrent.to_string(),
            format!("expected 1 with {}", options::UNALIGNED_ENABLED.key()),
        ));
    }
    let timeout = configuration.get(&options::ALIGNED_CHECKPOINT_TIMEOUT)?;
    Ok(Some(ms(timeout)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn files_are_merged_as_flink_would_only_if_that_is_enabled() {
        let mut configuration = Configuration::new();
        assert_eq!(file_merging(&configuration).expect("usable"), None);
        configuration.set(options::FILE_MERGING_ENABLED.key(), "true");
        let flinks = FileMerging {
            max_file_bytes: 32 << 20,
            max_subtasks_per_file: 4,
            max_space_percent: 200,
        };
        assert_eq!(file_merging(&configuration).expect("usable"), Some(flinks));
        configuration.set(options::FILE_MERGING_MAX_SUBTASKS.key(), "0");
        let error = file_merging(&configuration).expect_err("nobody could join");
        assert!(
            error.to_string().contains("max-subtasks-per-file"),
            "{error}"
        );
    }

    fn recovery(pairs: &[(&str, &str)]) -> LocalRecovery {
        let pairs = pairs.iter().map(|(key, value)| (*key, *value));
        LocalRecovery::from_configuration(&Configuration::from_pairs(pairs)).expect("usable")
    }

    #[test]
    fn local_copies_are_configured_as_in_flink() {
        let off = recovery(&[]);
        assert_eq!((off.backup, off.recover), (false, false));
        assert_eq!(off.directories, [std::env::temp_dir()]);
        let both = recovery(&[
            ("state.backend.local-recovery", "true"),
            ("io.tmp.dirs", "/a,/b"),
        ]);
        assert_eq!((both.backup, both.recover), (true, true));
        assert_eq!(both.directories, [PathBuf::from("/a")]);
        let written = recovery(&[
            ("execution.checkpointing.local-backup.enabled", "true"),
            ("taskmanager.state.local.root-dirs", "/a:, /b , relative"),
        ]);
        assert_eq!((written.backup, written.recover), (true, false));
        let here = std::env::current_dir().expect("a directory");
        let expected = [
            PathBuf::from("/a"),
            PathBuf::from("/b"),
            here.join("relative"),
        ];
        assert_eq!(written.directories, expected);
        let off = recovery(&[
            ("execution.state-recovery.from-local", "true"),
            ("execution.checkpointing.local-backup.enabled", "false"),
        ]);
        assert_eq!((off.backup, off.recover), (false, true));
    }
}

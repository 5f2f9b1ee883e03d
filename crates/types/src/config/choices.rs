//! Options whose value is one of a few words, with Flink's words and its texts of errors.

use std::fmt;

use super::ConfigValue;

/// Reads one of `choices`, in any case.
pub(super) fn parse_choice<T: Copy + fmt::Display>(
    text: &str,
    class: &str,
    choices: &[T],
) -> Result<T, String> {
    let wanted = text.trim();
    choices
        .iter()
        .find(|choice| choice.to_string().eq_ignore_ascii_case(wanted))
        .copied()
        .ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(T::to_string).collect();
            format!(
                "Could not parse value for enum {class}. Expected one of: [[{}]]",
                names.join(", ")
            )
        })
}

/// Whether a record can be counted twice after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointingMode {
    /// Records behind a barrier wait until all barriers are there.
    ExactlyOnce,
    /// They do not wait.
    AtLeastOnce,
}

impl fmt::Display for CheckpointingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CheckpointingMode::ExactlyOnce => "EXACTLY_ONCE",
            CheckpointingMode::AtLeastOnce => "AT_LEAST_ONCE",
        })
    }
}

impl ConfigValue for CheckpointingMode {
    fn parse(text: &str) -> Result<Self, String> {
        parse_choice(
            text,
            "CheckpointingMode",
            &[
                CheckpointingMode::ExactlyOnce,
                CheckpointingMode::AtLeastOnce,
            ],
        )
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Where the jobs of a cluster and its leader are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HighAvailability {
    /// Nowhere: jobs end with their job manager.
    None,
    /// In a directory. Millpond's own.
    FileSystem,
    /// The leader in Apache ZooKeeper, the jobs in a directory.
    ZooKeeper,
    /// The leader in a Lease of Kubernetes, the jobs in a directory.
    Kubernetes,
}

impl fmt::Display for HighAvailability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HighAvailability::None => "NONE",
            HighAvailability::FileSystem => "FILESYSTEM",
            HighAvailability::ZooKeeper => "ZOOKEEPER",
            HighAvailability::Kubernetes => "KUBERNETES",
        })
    }
}

impl ConfigValue for HighAvailability {
    fn parse(text: &str) -> Result<Self, String> {
        parse_choice(
            text,
            "HighAvailabilityMode",
            &[
                HighAvailability::None,
                HighAvailability::FileSystem,
                HighAvailability::ZooKeeper,
                HighAvailability::Kubernetes,
            ],
        )
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// How many slots a job wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerMode {
    /// All that there are.
    Reactive,
}

impl ConfigValue for SchedulerMode {
    fn parse(text: &str) -> Result<Self, String> {
        parse_choice(text, "SchedulerExecutionMode", &[SchedulerMode::Reactive])
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for SchedulerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REACTIVE")
    }
}

/// Whether the parallelism of a job follows the slots that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// No: a job has its parallelism, or waits.
    Default,
    /// Yes.
    Adaptive,
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheduler::Default => "Default",
            Scheduler::Adaptive => "Adaptive",
        })
    }
}

impl ConfigValue for Scheduler {
    fn parse(text: &str) -> Result<Self, String> {
        parse_choice(
            text,
            "SchedulerType",
            &[Scheduler::Default, Scheduler::Adaptive],
        )
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// What becomes of a job's checkpoints when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalizedCheckpointRetention {
    /// Deleted when it is cancelled, kept when it fails.
    DeleteOnCancellation,
    /// Kept when it is cancelled or fails.
    RetainOnCancellation,
    /// In Flink: always deleted.
    NoExternalizedCheckpoints,
}

impl fmt::Display for ExternalizedCheckpointRetention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExternalizedCheckpointRetention::DeleteOnCancellation => "DELETE_ON_CANCELLATION",
            ExternalizedCheckpointRetention::RetainOnCancellation => "RETAIN_ON_CANCELLATION",
            ExternalizedCheckpointRetention::NoExternalizedCheckpoints => {
                "NO_EXTERNALIZED_CHECKPOINTS"
            }
        })
    }
}

impl ConfigValue for ExternalizedCheckpointRetention {
    fn parse(text: &str) -> Result<Self, String> {
        parse_choice(
            text,
            "ExternalizedCheckpointRetention",
            &[
                ExternalizedCheckpointRetention::DeleteOnCancellation,
                ExternalizedCheckpointRetention::RetainOnCancellation,
                ExternalizedCheckpointRetention::NoExternalizedCheckpoints,
            ],
        )
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Who owns the files of the snapshot that a job is restored from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimMode {
    /// The job: it deletes them when they are no longer needed.
    Claim,
    /// The user; the first checkpoint of the job stands on its own.
    NoClaim,
    /// The user; later checkpoints may lean on them. Deprecated in Flink.
    Legacy,
}

impl fmt::Display for ClaimMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClaimMode::Claim => "CLAIM",
            ClaimMode::NoClaim => "NO_CLAIM",
            ClaimMode::Legacy => "LEGACY",
        })
    }
}

impl ConfigValue for ClaimMode {
    fn parse(text: &str) -> Result<Self, String> {
        parse_choice(
            text,
            "RecoveryClaimMode",
            &[ClaimMode::Claim, ClaimMode::NoClaim, ClaimMode::Legacy],
        )
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// When a failed job is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartStrategyType {
    /// Never.
    None,
    /// A fixed number of times.
    FixedDelay,
    /// While failures are not too frequent.
    FailureRate,
    /// Always, after pauses that grow.
    ExponentialDelay,
}

impl fmt::Display for RestartStrategyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RestartStrategyType::None => "none",
            RestartStrategyType::FixedDelay => "fixed-delay",
            RestartStrategyType::FailureRate => "failure-rate",
            RestartStrategyType::ExponentialDelay => "exponential-delay",
        })
    }
}

impl ConfigValue for RestartStrategyType {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "none" | "off" | "disable" => Ok(RestartStrategyType::None),
            "fixed-delay" | "fixeddelay" => Ok(RestartStrategyType::FixedDelay),
            "failure-rate" | "failurerate" => Ok(RestartStrategyType::FailureRate),
            "exponential-delay" | "exponentialdelay" => Ok(RestartStrategyType::ExponentialDelay),
            _ => Err(format!(
                "Unknown restart strategy {text}. Expected one of: \
                 [none, fixed-delay, failure-rate, exponential-delay]"
            )),
        }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Where working state lives.
///
/// Flink 1.x had names that also chose where checkpoints go: `jobmanager` (`MemoryStateBackend`) and
/// `filesystem` (`FsStateBackend`). They are read here as [`StateBackendType::HashMap`];
/// [`StateBackendType::storage_of`] says what else they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateBackendType {
    /// On the heap.
    HashMap,
    /// In a backend of this name, in lower case: `rocksdb`, or another that the program knows.
    Named(String),
}

impl fmt::Display for StateBackendType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateBackendType::HashMap => "hashmap",
            StateBackendType::Named(name) => name,
        })
    }
}

impl ConfigValue for StateBackendType {
    fn parse(text: &str) -> Result<Self, String> {
        match backend_name(text).as_str() {
            "hashmap" | "hashmapstatebackend" => Ok(StateBackendType::HashMap),
            _ if StateBackendType::storage_of(text).is_some() => Ok(StateBackendType::HashMap),
            "rocksdbstatebackend" | "embeddedrocksdbstatebackend" => {
                Ok(StateBackendType::Named("rocksdb".to_owned()))
            }
            "" => Err("a state backend has a name, such as hashmap or rocksdb".to_owned()),
            _ => Ok(StateBackendType::Named(text.trim().to_ascii_lowercase())),
        }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl StateBackendType {
    /// Where checkpoints go with a backend that an old name means; `None` if the name does not say.
    pub fn storage_of(text: &str) -> Option<CheckpointStorage> {
        match backend_name(text).as_str() {
            "jobmanager" | "memorystatebackend" => Some(CheckpointStorage::JobManager),
            "filesystem" | "fsstatebackend" => Some(CheckpointStorage::FileSystem),
            _ => None,
        }
    }
}

/// A name of a state backend in lower case: of a class or its factory, what is behind the last dot.
fn backend_name(text: &str) -> String {
    let name = text.trim().rsplit('.').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    name.strip_suffix("factory").unwrap_or(&name).to_owned()
}

/// Where completed checkpoints go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointStorage {
    /// Into the memory of the job master: gone with it.
    JobManager,
    /// Into the directory for checkpoints.
    FileSystem,
}

impl fmt::Display for CheckpointStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CheckpointStorage::JobManager => "jobmanager",
            CheckpointStorage::FileSystem => "filesystem",
        })
    }
}

impl ConfigValue for CheckpointStorage {
    fn parse(text: &str) -> Result<Self, String> {
        match backend_name(text).as_str() {
            "jobmanagercheckpointstorage" => return Ok(CheckpointStorage::JobManager),
            "filesystemcheckpointstorage" => return Ok(CheckpointStorage::FileSystem),
            _ => {}
        }
        parse_choice(
            text,
            "CheckpointStorage",
            &[CheckpointStorage::JobManager, CheckpointStorage::FileSystem],
        )
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_in_any_case_and_the_error_names_all() {
        assert_eq!(ClaimMode::parse("no_claim"), Ok(ClaimMode::NoClaim));
        assert_eq!(ClaimMode::parse("CLAIM"), Ok(ClaimMode::Claim));
        let error = ClaimMode::parse("borrow").expect_err("no mode");
        assert!(
            error.ends_with("Expected one of: [[CLAIM, NO_CLAIM, LEGACY]]"),
            "{error}"
        );
    }

    #[test]
    fn a_restart_strategy_has_the_spellings_of_flink() {
        for text in ["none", "off", "disable", "NONE"] {
            assert_eq!(
                RestartStrategyType::parse(text),
                Ok(RestartStrategyType::None)
            );
        }
        assert_eq!(
            RestartStrategyType::parse("fixeddelay"),
            Ok(RestartStrategyType::FixedDelay)
        );
        assert!(RestartStrategyType::parse("sometimes").is_err());
    }

    #[test]
    fn the_state_backends_of_flink_1_are_read_as_the_heap() {
        assert_eq!(
            StateBackendType::parse("filesystem"),
            Ok(StateBackendType::HashMap)
        );
        assert_eq!(
            StateBackendType::parse("RocksDB"),
            Ok(StateBackendType::Named("rocksdb".to_owned()))
        );
        assert!(StateBackendType::parse(" ").is_err());
        let package = "org.apache.flink.runtime.state";
        for (name, backend, storage) in [
            ("jobmanager", "hashmap", Some(CheckpointStorage::JobManager)),
            (
                "MemoryStateBackend",
                "hashmap",
                Some(CheckpointStorage::JobManager),
            ),
            (
                "FsStateBackend",
                "hashmap",
                Some(CheckpointStorage::FileSystem),
            ),
            (
                &*format!("{package}.filesystem.FsStateBackendFactory"),
                "hashmap",
                Some(CheckpointStorage::FileSystem),
            ),
            (
                &*format!("{package}.hashmap.HashMapStateBackendFactory"),
                "hashmap",
                None,
            ),
            ("RocksDBStateBackend", "rocksdb", None),
        ] {
            let parsed = StateBackendType::parse(name).expect(name);
            assert_eq!(parsed.to_string(), backend, "{name}");
            assert_eq!(StateBackendType::storage_of(name), storage, "{name}");
        }
    }
}

//! Options: how each is spelled, its older names, its default and its meaning.
//!
//! A [`Configuration`] is a flat map of texts, filled from the arguments, the environment and
//! `config.yaml`; who reads the YAML hands flat keys over. An option ([`options`]) knows its key,
//! its older keys and how its text is read. Nobody else in the project spells a key.
//!
//! A key that no option knows is kept and can be read: it may be the program's own.
//! [`Configuration::unknown_keys`] lists them, so that a misspelt one can be told to the user.
//!
//! Keys, defaults and texts of errors: Flink 2.3.0, classes `Configuration`, `ConfigurationUtils`
//! and the option classes.

mod choices;
mod duration;
mod environment;
mod memory_size;
mod option;
pub mod options;
mod port_range;
mod rocksdb_choices;
mod similar;

use std::collections::BTreeMap;
use std::fmt;

pub use choices::{
    CheckpointStorage, CheckpointingMode, ClaimMode, ExternalizedCheckpointRetention,
    HighAvailability, RestartStrategyType, Scheduler, SchedulerMode, StateBackendType,
};
pub use duration::{format_duration, parse_duration};
pub use environment::{
    CONFIGURATION_VARIABLE, Handshake, INFO_VARIABLE, JOB_MANAGER_VARIABLE, PLAN_COUNTED,
    PLAN_VARIABLE, READY_FILE_VARIABLE, WORKER_COPIES_VARIABLE, WORKER_HOST_VARIABLE,
    WORKER_VARIABLE,
};
pub use memory_size::MemorySize;
pub use option::{ConfigOption, ConfigValue, OptionInfo};
pub use port_range::PortRange;
pub use rocksdb_choices::{CompactionStyle, Compression, CompressionPerLevel, PredefinedOptions};

/// What a secret is shown as.
pub const HIDDEN: &str = "******";

/// Parts of a key that make its value a secret; compared in lower case.
const SECRET_PARTS: [&str; 11] = [
    "password",
    "secret",
    "fs.azure.account.key",
    "apikey",
    "api-key",
    "auth-params",
    "service-key",
    "token",
    "basic-auth",
    "jaas.config",
    "http-headers",
];

/// Whether the value of `key` is a secret that must not be shown.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET_PARTS.iter().any(|part| key.contains(part))
}

/// Options as they were given: a flat map from key to text.
///
/// Its `Debug` and [`Configuration::shown`] hide secrets.
///
/// # Examples
///
/// ```
/// use millpond_types::config::{Configuration, options};
/// use std::time::Duration;
///
/// let mut configuration = Configuration::new();
/// configuration.parse_dynamic("execution.checkpointing.interval=10 s")?;
/// configuration.set("state.savepoints.dir", "/savepoints"); // an older name
/// assert_eq!(
///     configuration.get(&options::CHECKPOINTING_INTERVAL)?,
///     Some(Duration::from_secs(10))
/// );
/// assert_eq!(configuration.get(&options::SAVEPOINT_DIRECTORY)?.as_deref(), Some("/savepoints"));
/// assert_eq!(configuration.get(&options::NUM_RETAINED)?, 1);
/// # Ok::<(), millpond_types::config::ConfigError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    values: BTreeMap<String, String>,
}

impl Configuration {
    /// Returns an empty one.
    pub fn new() -> Self {
        Configuration::default()
    }

    /// Returns one that holds `pairs`; of two with the same key the later wins.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Configuration {
            values: pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        }
    }

    /// Sets a key as it is spelled, without looking at its older or newer names.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.values.insert(key.into(), value.into());
    }

    /// Sets an option under its current name; values under its older names are dropped.
    pub fn set_option<T: ConfigValue>(&mut self, option: &ConfigOption<T>, value: &T) {
        for old in option.info().deprecated_keys {
            self.values.remove(*old);
        }
        self.set(option.key(), value.to_text());
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    /// Takes `key=value`, as behind `-D`; a key alone means `true`.
    ///
    /// # Errors
    ///
    /// An empty key.
    pub fn parse_dynamic(&mut self, text: &str) -> Result<(), ConfigError> {
        let (key, value) = text.split_once('=').unwrap_or((text, "true"));
        let key = key.trim();
        if key.is_empty() {
            return Err(ConfigError {
                key: String::new(),
                value: text.to_owned(),
                reason: "expected key=value".to_owned(),
            });
        }
        self.override_with(Configuration::from_pairs([(key, value.trim())]));
        Ok(())
    }

    /// Lays `stronger` over this one.
    ///
    /// An option counts as one, whichever of its names is used: an old name in `stronger` wins over
    /// the current name here. (In Flink the current name wins wherever it stands.)
    pub fn override_with(&mut self, stronger: Configuration) {
        for (key, value) in stronger.values {
            for info in options::ALL.iter().filter(|info| info.owns(&key)) {
                for name in info.names().filter(|name| *name != key && info.owns(name)) {
                    self.values.remove(name);
                }
            }
            self.values.insert(key, value);
        }
    }

    /// Takes what `other` says about security, in place of all that this one does: how a process
    /// proves who it is belongs to its machine, and not to its job.
    pub fn take_security_of(&mut self, other: &Configuration) {
        self.values.retain(|key, _| !is_of_security(key));
        self.values.extend(other.security().values);
    }

    /// What is said about security alone.
    pub fn security(&self) -> Configuration {
        let own = self.iter().filter(|(key, _)| is_of_security(key));
        Configuration::from_pairs(own)
    }

    /// The text under exactly this key.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The value of an option: under its key, else under its older keys in their order, else its
    /// default.
    ///
    /// # Errors
    ///
    /// The text is no value of this option.
    pub fn get<T: ConfigValue>(&self, option: &ConfigOption<T>) -> Result<T, ConfigError> {
        match self.find(option.info()) {
            Some((key, text)) => T::parse(text).map_err(|reason| ConfigError {
                key: key.to_owned(),
                value: if is_secret(key) {
                    HIDDEN.to_owned()
                } else {
                    text.to_owned()
                },
                reason,
            }),
            None => Ok(option.default_value()),
        }
    }

    /// Whether an option is set, under any of its names.
    pub fn contains<T>(&self, option: &ConfigOption<T>) -> bool {
        self.find(option.info()).is_some()
    }

    /// Reads every option that is set, so that a bad value is found before anything starts.
    ///
    /// # Errors
    ///
    /// The first text that is no value of its option.
    pub fn check(&self) -> Result<(), ConfigError> {
        options::ALL
            .iter()
            .try_for_each(|info| match self.find(info) {
                Some((key, text)) => info.check(text).map_err(|reason| ConfigError {
                    key: key.to_owned(),
                    value: if is_secret(key) {
                        HIDDEN.to_owned()
                    } else {
                        text.to_owned()
                    },
                    reason,
                }),
                None => Ok(()),
            })
    }

    /// Refuses reactive mode, where a job does not have a cluster for itself.
    ///
    /// # Errors
    ///
    /// It is set, or is no mode.
    pub fn check_not_reactive(&self) -> Result<(), ConfigError> {
        match self.get(&options::SCHEDULER_MODE)? {
            None => Ok(()),
            Some(mode) => Err(ConfigError::new(
                options::SCHEDULER_MODE.key(),
                mode.to_string(),
                "a job that uses all slots that there are needs a cluster for itself: start it by \
                 millpond standalone-job",
            )),
        }
    }

    /// The keys that no option has as its current or an older name, in order, each with the option
    /// that may have been meant.
    pub fn unknown_keys(&self) -> Vec<UnknownKey> {
        let known = || options::ALL.iter().flat_map(|info| info.names());
        self.values
            .keys()
            .filter(|key| !known().any(|name| name == key.as_str()))
            .map(|key| UnknownKey {
                key: key.clone(),
                meant: similar::nearest(key, known()),
            })
            .collect()
    }

    /// The keys that are an older name of an option, each with the current name.
    pub fn deprecated_keys(&self) -> Vec<(&str, &'static str)> {
        self.values
            .keys()
            .filter_map(|key| {
                let info = options::ALL.iter().find(|info| info.owns(key))?;
                (info.key != key).then_some((key.as_str(), info.key))
            })
            .collect()
    }

    /// All keys and texts as they were given, ordered by key, secrets included.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// All keys and texts as they were given, ordered by key, secrets hidden.
    pub fn shown(&self) -> Vec<(String, String)> {
        self.iter()
            .map(|(key, value)| {
                (
                    key.to_owned(),
                    if is_secret(key) { HIDDEN } else { value }.to_owned(),
                )
            })
            .collect()
    }

    fn find(&self, info: &OptionInfo) -> Option<(&str, &str)> {
        info.names().find_map(|name| {
            self.values
                .get_key_value(name)
                .map(|(key, value)| (key.as_str(), value.as_str()))
        })
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

fn is_of_security(key: &str) -> bool {
    key.starts_with("security.")
}

/// A key that no option has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// As it was given.
    pub key: String,
    /// The option that was perhaps meant.
    pub meant: Option<&'static str>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown configuration key \"{}\"", self.key)?;
        match self.meant {
            Some(meant) => write!(f, "; did you mean \"{meant}\"?"),
            None => Ok(()),
        }
    }
}

/// A text that is no value of its option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    value: String,
    reason: String,
}

impl ConfigError {
    /// Returns an error for a value that is well formed, but not possible here.
    pub fn new(
        key: impl Into<String>,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        ConfigError {
            key: key.into(),
            value: value.into(),
            reason: reason.into(),
        }
    }

    /// The key as it was given; empty if there was none.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigError { key, value, reason } = self;
        write!(
            f,
            "Could not parse value '{value}' for key '{key}': {reason}"
        )
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_current_name_is_stronger_than_older_ones_and_those_count_in_order() {
        let mut configuration = Configuration::new();
        let mut dir = |key: &str, value: &str| {
            configuration.set(key, value);
            configuration
                .get(&options::SAVEPOINT_DIRECTORY)
                .expect("text")
        };
        assert_eq!(
            dir("savepoints.state.backend.fs.dir", "oldest").as_deref(),
            Some("oldest")
        );
        assert_eq!(
            dir("state.savepoints.dir", "older").as_deref(),
            Some("older")
        );
        assert_eq!(
            dir("execution.checkpointing.savepoint-dir", "now").as_deref(),
            Some("now")
        );
    }

    #[test]
    fn what_is_stronger_wins_under_whichever_name() {
        let mut file = Configuration::from_pairs([("execution.checkpointing.dir", "/file")]);
        file.override_with(Configuration::from_pairs([(
            "state.checkpoints.dir",
            "/argument",
        )]));
        assert_eq!(
            file.get(&options::CHECKPOINTS_DIRECTORY),
            Ok(Some("/argument".to_owned()))
        );
        // from-local is an option of its own and only lends its value to local-backup.enabled.
        let mut file = Configuration::from_pairs([("execution.state-recovery.from-local", "true")]);
        file.parse_dynamic("execution.checkpointing.local-backup.enabled=false")
            .expect("parses");
        assert_eq!(file.get(&options::RECOVER_FROM_LOCAL), Ok(true));
        assert_eq!(file.get(&options::LOCAL_BACKUP_ENABLED), Ok(false));
    }

    #[test]
    fn a_bad_value_is_told_with_the_key_as_it_was_given() {
        let mut configuration = Configuration::new();
        configuration.set("state.checkpoints.num-retained", "many");
        let error = configuration
            .get(&options::NUM_RETAINED)
            .expect_err("no number")
            .to_string();
        assert!(error.contains("'many'") && error.contains("state.checkpoints.num-retained"));
        assert_eq!(
            configuration.check().map_err(|error| error.to_string()),
            Err(error)
        );
        configuration.set("execution.checkpointing.mode", "twice");
        let error = configuration
            .get(&options::CHECKPOINTING_MODE)
            .expect_err("no mode");
        assert!(
            error
                .to_string()
                .contains("Expected one of: [[EXACTLY_ONCE, AT_LEAST_ONCE]]"),
            "{error}"
        );
    }

    #[test]
    fn a_dynamic_property_is_trimmed_and_a_key_alone_means_true() {
        let mut configuration = Configuration::new();
        configuration
            .parse_dynamic(" execution.checkpointing.timeout = 3 min ")
            .expect("parses");
        configuration
            .parse_dynamic("execution.checkpointing.unaligned.enabled")
            .expect("parses");
        configuration.parse_dynamic("my.query=a=b").expect("parses");
        assert_eq!(
            configuration.get(&options::CHECKPOINTING_TIMEOUT),
            Ok(Duration::from_secs(180))
        );
        assert_eq!(configuration.get(&options::UNALIGNED_ENABLED), Ok(true));
        assert_eq!(configuration.raw("my.query"), Some("a=b"));
        assert!(configuration.parse_dynamic("=x").is_err());
    }

    #[test]
    fn an_unknown_key_is_kept_and_a_misspelt_one_is_told() {
        let configuration = Configuration::from_pairs([
            ("execution.checkpointing.intervall", "1 s"),
            ("my.program.input", "/in"),
            ("state.backend", "hashmap"),
        ]);
        let unknown = configuration.unknown_keys();
        assert_eq!(unknown.len(), 2);
        assert_eq!(unknown[0].meant, Some("execution.checkpointing.interval"));
        assert_eq!(unknown[1].meant, None);
        assert_eq!(configuration.raw("my.program.input"), Some("/in"));
        assert_eq!(
            configuration.deprecated_keys(),
            [("state.backend", "state.backend.type")]
        );
    }

    #[test]
    fn secrets_are_never_shown() {
        let configuration = Configuration::from_pairs([
            ("s3.secret-key", "xyz"),
            ("security.Password", "xyz"),
            ("rest.port", "8081"),
        ]);
        assert!(!format!("{configuration:?}").contains("xyz"));
        assert_eq!(configuration.raw("s3.secret-key"), Some("xyz"));
        assert!(
            configuration
                .shown()
                .contains(&("rest.port".into(), "8081".into()))
        );
    }
}

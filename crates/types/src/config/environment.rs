//! What the command `millpond` and the program that it starts tell each other.
//!
//! | variable | set by | means |
//! | --- | --- | --- |
//! | `MILLPOND_CONFIGURATION` | `millpond run`, `info` | options, one `key=value` per line |
//! | `MILLPOND_READY_FILE` | `millpond run` | where the program writes a [`Handshake`] |
//! | `MILLPOND_INFO` | `millpond info` | print the plan as one line of JSON and end |
//! | `MILLPOND_PLAN` | `millpond plan`, `run --plan` | print the plan of the restore as one line of JSON and end; `count`: with all entries counted |
//! | `MILLPOND_WORKER` | a job master | be a worker process |
//!
//! In a line of `MILLPOND_CONFIGURATION` a backslash is written `\\`, a line feed `\n`, a carriage
//! return `\r`, and a `=` in the key `\e`.

use serde::{Deserialize, Serialize};

use super::{ConfigError, Configuration};

/// The variable that holds options, as [`Configuration::to_environment`] writes them.
pub const CONFIGURATION_VARIABLE: &str = "MILLPOND_CONFIGURATION";

/// The variable that names the file for the [`Handshake`].
///
/// A program that finds it set leaves it to whoever set it to tell the user the job's id.
pub const READY_FILE_VARIABLE: &str = "MILLPOND_READY_FILE";

/// The variable that asks a program for its plan; any value but the empty one.
pub const INFO_VARIABLE: &str = "MILLPOND_INFO";

/// The variable that asks a program for the plan of its restore; [`PLAN_COUNTED`], or any other
/// value.
pub const PLAN_VARIABLE: &str = "MILLPOND_PLAN";

/// The value of [`PLAN_VARIABLE`] that asks to count entries where the snapshot does not tell.
pub const PLAN_COUNTED: &str = "count";

/// The variable that makes a program a worker process of a job.
pub const WORKER_VARIABLE: &str = "MILLPOND_WORKER";

/// The variable that tells a worker process which address it binds to and which one others use, with
/// `|` between them; without it only this machine can reach it.
pub const WORKER_HOST_VARIABLE: &str = "MILLPOND_WORKER_HOST";

/// The variable that tells a worker process where its task manager has its copies of state, as JSON.
pub const WORKER_COPIES_VARIABLE: &str = "MILLPOND_WORKER_COPIES";

/// The variable that makes a program the master of a job in a cluster.
pub const JOB_MANAGER_VARIABLE: &str = "MILLPOND_JOB_MANAGER";

/// What a started program tells about its job, as JSON in the file named by
/// [`READY_FILE_VARIABLE`].
///
/// It is written atomically (another name in the same directory, then renamed): once when the job
/// has been accepted and REST listens, and once more when the job has ended, with `status` set.
/// Whoever waits for the first may be gone by then, and the directory with it: that the second
/// cannot be written is no failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake {
    /// 32 hex digits.
    pub job_id: String,
    /// Where REST listens, as `host:port`.
    pub rest: String,
    /// Whether REST is spoken by TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub https: bool,
    /// How the job ended: `FINISHED`, `CANCELED` or `FAILED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Milliseconds from the start of the job to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_ms: Option<u64>,
    /// Why it failed, for people: the causes one below the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// How often it was restored from an older snapshot than the newest, as that was damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallbacks: Option<u64>,
}

impl Handshake {
    /// Where REST listens, with `http://` or `https://`.
    pub fn rest_url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.rest)
    }
}

impl Configuration {
    /// Writes all keys and texts, secrets included, for [`CONFIGURATION_VARIABLE`].
    pub fn to_environment(&self) -> String {
        let escape = |text: &str| {
            text.replace('\\', "\\\\")
                .replace('\n', "\\n")
                .replace('\r', "\\r")
        };
        self.iter()
            .map(|(key, value)| {
                let key = escape(key).replace('=', "\\e");
                format!("{key}={}\n", escape(value))
            })
            .collect()
    }

    /// Reads what [`Configuration::to_environment`] wrote.
    ///
    /// # Errors
    ///
    /// A line without `=`.
    pub fn from_environment(text: &str) -> Result<Self, ConfigError> {
        let mut configuration = Configuration::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let Some((key, value)) = line.split_once('=') else {
                return Err(ConfigError::new(
                    CONFIGURATION_VARIABLE,
                    line,
                    "expected lines of key=value",
                ));
            };
            configuration.set(unescape(key), unescape(value));
        }
        Ok(configuration)
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match (next, rest.clone().next()) {
            ('\\', Some(escaped)) => {
                rest.next();
                out.push(match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    'e' => '=',
                    other => other,
                });
            }
            _ => out.push(next),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_out_of_the_environment_as_they_went_in() {
        let configuration = Configuration::from_pairs([
            ("execution.state-recovery.path", "file:/tmp/a b/c=d"),
            ("my.lines", "one\ntwo\r\\n three"),
            ("my.empty", ""),
            // Found by fuzzing `config.yaml`: "a=b: 1" came out as "a" with "b=1".
            ("a=b\\e", "1=2"),
            ("", "without a key"),
        ]);
        assert_eq!(
            Configuration::from_environment(&configuration.to_environment()),
            Ok(configuration)
        );
        assert_eq!(
            Configuration::from_environment(""),
            Ok(Configuration::new())
        );
        assert!(Configuration::from_environment("no equals sign").is_err());
    }
}

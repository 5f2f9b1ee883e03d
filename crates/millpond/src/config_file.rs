//! `config.yaml`: Flink's file, nested or flat or mixed, as a flat map of options.
//!
//! It is looked for in `$MILLPOND_CONF_DIR`, `$FLINK_CONF_DIR`, then in the working directory. Where
//! there is no `config.yaml`, Flink 1.x's `flink-conf.yaml` is read.

use std::path::{Path, PathBuf};

use millpond_types::config::Configuration;
use serde_yaml_ng::Value;

use crate::error::{Error, Result};

const FILES: [&str; 2] = ["config.yaml", "flink-conf.yaml"];

/// Reads the file if there is one.
pub(crate) fn load() -> Result<Configuration> {
    match find() {
        Some(path) => read(&path),
        None => Ok(Configuration::new()),
    }
}

/// Where the file is looked for.
pub(crate) fn directory() -> PathBuf {
    let named = ["MILLPOND_CONF_DIR", "FLINK_CONF_DIR"]
        .into_iter()
        .find_map(std::env::var_os);
    named.map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn find() -> Option<PathBuf> {
    let directory = directory();
    FILES
        .iter()
        .map(|name| directory.join(name))
        .find(|path| path.is_file())
}

fn read(path: &Path) -> Result<Configuration> {
    let problem = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::caused_by(
            format!("cannot read the configuration file \"{}\"", path.display()),
            source,
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.into()))?;
    parse(&text).map_err(problem)
}

/// Reads the text of such a file.
pub(crate) fn parse(
    text: &str,
) -> std::result::Result<Configuration, Box<dyn std::error::Error + Send + Sync>> {
    let value: Value = serde_yaml_ng::from_str(text)?;
    let mut pairs = Vec::new();
    flatten("", &value, &mut pairs)?;
    Ok(Configuration::from_pairs(pairs))
}

fn flatten(
    prefix: &str,
    value: &Value,
    pairs: &mut Vec<(String, String)>,
) -> std::result::Result<(), String> {
    let Value::Mapping(mapping) = value else {
        if !prefix.is_empty() {
            pairs.push((prefix.to_owned(), text(prefix, value)?));
            return Ok(());
        }
        if matches!(value, Value::Null) {
            return Ok(());
        }
        return Err("expected lines of \"key: value\"".to_owned());
    };
    for (key, value) in mapping {
        let key = text(prefix, key)?;
        let key = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        flatten(&key, value, pairs)?;
    }
    Ok(())
}

fn text(key: &str, value: &Value) -> std::result::Result<String, String> {
    Ok(match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => value.clone(),
        Value::Sequence(values) => {
            let texts: std::result::Result<Vec<_>, _> =
                values.iter().map(|value| text(key, value)).collect();
            texts?.join(";")
        }
        Value::Mapping(_) | Value::Tagged(_) => {
            return Err(format!(
                "\"{key}\" holds something that is no text, number or list"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use millpond_damage::{Damage, peak_memory_mib};

    use super::*;
    use crate::job_options::job_options;

    #[test]
    fn nested_and_flat_keys_mix() {
        let yaml = "execution:\n  checkpointing:\n    interval: 1s\n    num-retained: 3\n\
                    state.backend.type: hashmap\nparallelism.default: 2\n";
        let configuration = parse(yaml).expect("parses");
        assert_eq!(
            configuration.raw("execution.checkpointing.interval"),
            Some("1s")
        );
        assert_eq!(
            configuration.raw("execution.checkpointing.num-retained"),
            Some("3")
        );
        assert_eq!(configuration.raw("state.backend.type"), Some("hashmap"));
        assert_eq!(configuration.raw("parallelism.default"), Some("2"));
    }

    #[test]
    fn damaged_files_are_refused_or_read_but_never_a_panic() {
        let corpus = [
            "execution:\n  checkpointing:\n    interval: 1s\n    num-retained: 3\n    timeout: 10 min\n",
            "restart-strategy.type: exponential-delay\nrestart-strategy:\n  exponential-delay:\n    \
             backoff-multiplier: 1.5\n    jitter-factor: 0.1\n    initial-backoff: 100 ms\n",
            "execution.checkpointing.data-inline-threshold: 20kb\nrest.bind-port: 8081-8090,9000\n\
             heartbeat.interval: 1000\na: &a [1, two, 'three']\nb: *a\n",
        ];
        let corpus = corpus.map(|text| text.as_bytes().to_vec());
        let mut read = 0u64;
        let total = Damage::seeded().search(&corpus, |_, bytes| {
            let Ok(configuration) = parse(&String::from_utf8_lossy(bytes)) else {
                return;
            };
            read += 1;
            // Any answer will do.
            configuration.check().ok();
            job_options(&configuration, "job").ok();
        });
        assert!(total == 0 || read * 100 > total, "{read} of {total}");
        assert!(peak_memory_mib().is_none_or(|peak| peak < 512));
    }

    /// Aliases of aliases: nine lines that would be a thousand million texts.
    #[test]
    fn a_file_that_unfolds_without_end_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = level - 1;
            let aliases = vec![format!("*a{before}"); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(parse(&text).is_err());
    }
}

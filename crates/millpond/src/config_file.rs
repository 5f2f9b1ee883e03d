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

fn find() -> Option<PathBuf> {
    let named = ["MILLPOND_CONF_DIR", "FLINK_CONF_DIR"]
        .into_iter()
        .find_map(std::env::var_os);
    let directory = named.map_or_else(|| PathBuf::from("."), PathBuf::from);
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
    let value: Value = serde_yaml_ng::from_str(&text).map_err(|error| problem(error.into()))?;
    let mut pairs = Vec::new();
    flatten("", &value, &mut pairs).map_err(|message| problem(message.into()))?;
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
    use super::*;

    #[test]
    fn nested_and_flat_keys_mix() {
        let yaml = "execution:\n  checkpointing:\n    interval: 1s\n    num-retained: 3\n\
                    state.backend.type: hashmap\nparallelism.default: 2\n";
        let value: Value = serde_yaml_ng::from_str(yaml).expect("parses");
        let mut pairs = Vec::new();
        flatten("", &value, &mut pairs).expect("flat");
        let configuration = Configuration::from_pairs(pairs);
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
}

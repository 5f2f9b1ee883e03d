//! What the processes of a cluster that run no program share with those that do.

use std::path::PathBuf;
use std::sync::Once;

use millpond_types::config::{CONFIGURATION_VARIABLE, Configuration};

use crate::config_file;
use crate::error::{Error, Result};

/// The options of this process: `config.yaml`, over it what the environment holds.
///
/// # Errors
///
/// An unreadable file.
pub fn configuration() -> Result<Configuration> {
    let mut configuration = config_file::load()?;
    if let Ok(text) = std::env::var(CONFIGURATION_VARIABLE) {
        let stronger = Configuration::from_environment(&text)
            .map_err(|error| Error::caused_by("the configuration is not usable", error))?;
        configuration.override_with(stronger);
    }
    Ok(configuration)
}

/// The directory in which `config.yaml` is looked for.
pub fn configuration_directory() -> PathBuf {
    config_file::directory()
}

/// Logs to standard error what is at least of level `least`, or what `RUST_LOG` says.
pub fn log_to_stderr(least: &str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The client of ZooKeeper tells of each connection, and a leader makes one for each renewal.
        let default = format!("{least},zookeeper_client=error");
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
        let subscriber = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(filter)
            .with_ansi(false)
            .with_target(false);
        // The program has set up logging of its own.
        let _ = subscriber.try_init();
    });
}

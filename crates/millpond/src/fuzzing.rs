//! The way in for fuzzing (`fuzz/`); in no other build.

use millpond_rest::RestOptions;
use millpond_types::config::Configuration;

use crate::{config_file, job_options};

/// Reads a text as `config.yaml`, and everything that a job makes of it.
///
/// # Panics
///
/// If what was read is not the same once it is written and read again.
pub fn configuration(text: &str) {
    let Ok(configuration) = config_file::parse(text) else {
        return;
    };
    // Any answer will do.
    configuration.check().ok();
    configuration.unknown_keys();
    configuration.deprecated_keys();
    configuration.shown();
    job_options::job_options(&configuration, "job").ok();
    RestOptions::from_configuration(&configuration).ok();
    let text = configuration.to_environment();
    let again = Configuration::from_environment(&text).expect("what was written can be read");
    assert!(again.iter().eq(configuration.iter()));
}

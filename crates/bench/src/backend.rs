//! The state backend of a job that is measured, and how much memory it has.

use millpond::types::config::{Configuration, options};

use crate::{Failure, failure};

/// Which backend, and its memory.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Backend {
    /// State backend: hashmap, memory, or rocksdb if built with it
    #[arg(long, default_value = "hashmap")]
    pub(crate) backend: String,
    /// Memory of state in RocksDB, such as 512mb: its own and that of all caches of decoded values
    #[arg(long)]
    memory: Option<String>,
    /// Any other option of the job
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    options: Vec<String>,
}

impl Backend {
    /// Sets what it says in the configuration of a job.
    pub(crate) fn configure(&self, configuration: &mut Configuration) -> Result<(), Failure> {
        configuration.set("state.backend.type", &self.backend);
        if self.backend == "rocksdb" {
            // As its users have it, here and in Flink.
            configuration.set("execution.checkpointing.incremental", "true");
        }
        if let Some(size) = &self.memory {
            configuration.set(options::MANAGED_MEMORY_SIZE.key(), size);
        }
        for option in &self.options {
            configuration.parse_dynamic(option).map_err(failure)?;
        }
        Ok(())
    }

    /// What a command line says that leads to the same.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--backend".to_owned(), self.backend.clone()];
        if let Some(size) = &self.memory {
            arguments.extend(["--memory".to_owned(), size.clone()]);
        }
        for option in &self.options {
            arguments.extend(["-D".to_owned(), option.clone()]);
        }
        arguments
    }
}

//! The state backend of a job that is measured, and how much memory it has.

use millpond::types::config::{Configuration, MemorySize, options};

use crate::{Failure, failure};

/// Which backend, and its memory.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Backend {
    /// State backend: hashmap, memory, or rocksdb if built with it
    #[arg(long, default_value = "hashmap")]
    pub(crate) backend: String,
    /// Memory of state in another backend than hashmap, such as 512mb: that of all caches of decoded
    /// values and that of RocksDB; half of it is the caches' unless --cache says more or less
    #[arg(long)]
    memory: Option<String>,
    /// Decoded state of one subtask above another backend than hashmap, such as 64mb
    #[arg(long)]
    cache: Option<String>,
    /// Any other option of the job
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    options: Vec<String>,
}

impl Backend {
    /// Sets what it says in the configuration of a job with this parallelism.
    pub(crate) fn configure(
        &self,
        configuration: &mut Configuration,
        parallelism: u32,
    ) -> Result<(), Failure> {
        configuration.set("state.backend.type", &self.backend);
        if self.backend == "rocksdb" {
            // As its users have it, here and in Flink.
            configuration.set("execution.checkpointing.incremental", "true");
        }
        let (cache, managed) = (
            &options::WRITE_BACK_CACHE_SIZE,
            &options::MANAGED_MEMORY_SIZE,
        );
        if let Some(size) = &self.cache {
            configuration.set(cache.key(), size);
        }
        if let Some(size) = &self.memory {
            configuration.set(managed.key(), size);
            let all = configuration.get(managed).map_err(failure)?.bytes();
            if self.cache.is_none() {
                let of_subtask = MemorySize::of_bytes(all / 2 / u64::from(parallelism));
                configuration.set_option(cache, &of_subtask);
            }
            let caches = configuration.get(cache).map_err(failure)?.bytes();
            let rest = all.checked_sub(caches * u64::from(parallelism));
            let rest = rest.ok_or("the caches of all subtasks take more than all memory")?;
            configuration.set_option(managed, &MemorySize::of_bytes(rest));
        }
        for option in &self.options {
            configuration.parse_dynamic(option).map_err(failure)?;
        }
        Ok(())
    }

    /// What a command line says that leads to the same.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--backend".to_owned(), self.backend.clone()];
        for (name, value) in [("--memory", &self.memory), ("--cache", &self.cache)] {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value.clone()]);
            }
        }
        for option in &self.options {
            arguments.extend(["-D".to_owned(), option.clone()]);
        }
        arguments
    }
}

//! The state backends that a program may choose by name, and the choice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use millpond_state::store::StateBackend;
use millpond_state::{BackendChoice, CacheMemory, StoreChoice};
use millpond_types::config::{ConfigError, Configuration, StateBackendType, options};

/// State backends by name, beside the heap.
#[derive(Clone, Default)]
pub(crate) struct StateBackends {
    by_name: BTreeMap<String, Arc<dyn StateBackend>>,
}

impl StateBackends {
    /// Those that the program is built with.
    pub(crate) fn built_in() -> Self {
        let built_in: &[fn() -> Arc<dyn StateBackend>] = &[
            #[cfg(feature = "rocksdb")]
            || -> Arc<dyn StateBackend> { Arc::new(millpond_state_rocksdb::RocksDbBackend::new()) },
        ];
        let mut backends = StateBackends::default();
        built_in.iter().for_each(|make| backends.add(make()));
        backends
    }

    /// Adds a backend, in the place of one of its name.
    pub(crate) fn add(&mut self, backend: Arc<dyn StateBackend>) {
        self.by_name
            .insert(backend.name().to_ascii_lowercase(), backend);
    }

    /// Returns what `state.backend.type` chooses.
    ///
    /// # Errors
    ///
    /// No backend has that name.
    pub(crate) fn choose(
        &self,
        configuration: &Configuration,
    ) -> Result<BackendChoice, ConfigError> {
        let name = match configuration.get(&options::STATE_BACKEND)? {
            StateBackendType::HashMap if configuration.get(&options::INCREMENTAL)? => {
                return Ok(BackendChoice::IncrementalHeap);
            }
            StateBackendType::HashMap => return Ok(BackendChoice::Heap),
            StateBackendType::Named(name) => name,
        };
        let Some(backend) = self.by_name.get(&name) else {
            let mut names = vec!["hashmap"];
            names.extend(self.by_name.keys().map(String::as_str));
            let names = names.join(", ");
            let hint = match name.as_str() {
                "rocksdb" => "; build the program with feature \"rocksdb\" for it",
                _ => "",
            };
            return Err(ConfigError::new(
                options::STATE_BACKEND.key(),
                &name,
                format!("expected one of [{names}]{hint}"),
            ));
        };
        let directory = configuration.get(&options::TMP_DIRS)?;
        // Flink spreads over several; one store per subtask needs one.
        let directory = directory.and_then(|all| {
            let mut all = all.split([',', ':', '|']).map(str::trim);
            all.find(|one| !one.is_empty()).map(PathBuf::from)
        });
        let shared = backend.memory_bytes(configuration)?;
        let all = configuration.iter();
        Ok(BackendChoice::Store(StoreChoice {
            backend: Arc::clone(backend),
            cache: CacheMemory::of(configuration, shared)?,
            directory: directory.unwrap_or_else(std::env::temp_dir),
            configuration: Arc::new(
                all.map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
            ),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_state::store::MemoryBackend;

    fn choose(pairs: &[(&str, &str)]) -> Result<BackendChoice, ConfigError> {
        let mut backends = StateBackends::default();
        backends.add(Arc::new(MemoryBackend));
        backends.choose(&Configuration::from_pairs(pairs.iter().copied()))
    }

    #[test]
    fn a_backend_is_chosen_by_its_name_and_the_heap_is_the_default() {
        assert!(matches!(choose(&[]), Ok(BackendChoice::Heap)));
        assert!(matches!(
            choose(&[("state.backend", "filesystem")]),
            Ok(BackendChoice::Heap)
        ));
        assert!(matches!(
            choose(&[("execution.checkpointing.incremental", "true")]),
            Ok(BackendChoice::IncrementalHeap)
        ));
        let chosen = choose(&[
            ("state.backend.type", "Memory"),
            ("io.tmp.dirs", "/scratch, /other"),
            ("state.backend.write-back-cache.size", "3 mb"),
        ]);
        let Ok(BackendChoice::Store(choice)) = chosen else {
            panic!("{chosen:?}");
        };
        assert_eq!(choice.backend.name(), "memory");
        assert_eq!(choice.directory, PathBuf::from("/scratch"));
        assert_eq!(choice.configuration["io.tmp.dirs"], "/scratch, /other");
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_there_are() {
        let error = choose(&[("state.backend.type", "rocksdb")]).expect_err("not added");
        let text = error.to_string();
        assert!(text.contains("[hashmap, memory]"), "{text}");
        assert!(text.contains("feature \"rocksdb\""), "{text}");
    }
}

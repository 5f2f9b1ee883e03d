//! What the keyed state of a job stands on.

use crate::store::{StateBackend, StoreContext};
use crate::{KeyedBackend, Result};
use millpond_serializer::FlinkKey;
use millpond_types::{KeyGroupRange, OperatorId};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What the keyed state of a job stands on, chosen once for all of its operators.
#[derive(Clone, Debug, Default)]
pub enum BackendChoice {
    /// Tables in memory.
    #[default]
    Heap,
    /// A store for each operator subtask, below a cache.
    Store(StoreChoice),
}

/// A state backend with its options.
#[derive(Clone)]
pub struct StoreChoice {
    /// Makes the stores.
    pub backend: Arc<dyn StateBackend>,
    /// Memory for decoded values of one operator subtask, in bytes.
    pub cache_bytes: usize,
    /// Where stores make their directories.
    pub directory: PathBuf,
    /// The configuration of the job.
    pub configuration: Arc<BTreeMap<String, String>>,
}

/// The subtask that a backend is made for.
#[derive(Clone, Debug)]
pub struct BackendOwner {
    /// The operator.
    pub operator: OperatorId,
    /// Its name, for people.
    pub operator_name: String,
    /// The subtask, counted from 0.
    pub subtask: u32,
    /// The key groups of the subtask.
    pub range: KeyGroupRange,
    /// Number of key groups of the operator.
    pub max_parallelism: u32,
}

impl BackendChoice {
    /// Returns an empty backend for a subtask.
    ///
    /// # Errors
    ///
    /// Whatever the state backend returns when a store is made.
    pub fn keyed_backend<K: FlinkKey>(&self, owner: &BackendOwner) -> Result<KeyedBackend<K>> {
        let (max_parallelism, range) = (owner.max_parallelism, owner.range);
        let StoreChoice {
            backend,
            cache_bytes,
            directory,
            configuration,
        } = match self {
            BackendChoice::Heap => return Ok(KeyedBackend::new(max_parallelism, range)),
            BackendChoice::Store(choice) => choice,
        };
        let context = StoreContext {
            operator: owner.operator,
            operator_name: owner.operator_name.clone(),
            subtask: owner.subtask,
            range,
            max_parallelism,
            directory: directory.clone(),
            configuration: Arc::clone(configuration),
        };
        let store = backend.open(&context, None, &[])?;
        KeyedBackend::above(max_parallelism, range, store, *cache_bytes)
    }
}

impl fmt::Debug for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreChoice")
            .field("backend", &self.backend)
            .field("cache_bytes", &self.cache_bytes)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

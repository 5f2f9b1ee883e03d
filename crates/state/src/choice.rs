//! What the keyed state of a job stands on.

use crate::restored_files::BroughtFiles;
use crate::store::{StateBackend, StoreContext};
use crate::{CacheMemory, KeyedBackend, Result};
use millpond_serializer::FlinkKey;
use millpond_snapshot::{KeyedHandle, LoadedSnapshot};
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
    /// Tables in memory, and what has changed in them: for incremental checkpoints.
    IncrementalHeap,
    /// A store for each operator subtask, below a cache.
    Store(StoreChoice),
}

/// A state backend with its options.
#[derive(Clone)]
pub struct StoreChoice {
    /// Makes the stores.
    pub backend: Arc<dyn StateBackend>,
    /// Memory for decoded values above the stores.
    pub cache: CacheMemory,
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
        match self {
            BackendChoice::Heap => Ok(KeyedBackend::new(max_parallelism, range)),
            BackendChoice::IncrementalHeap => {
                Ok(KeyedBackend::tracking_changes(max_parallelism, range))
            }
            BackendChoice::Store(choice) => {
                let store = choice.backend.open(&choice.context(owner), None, &[])?;
                KeyedBackend::above(max_parallelism, range, store, &choice.cache)
            }
        }
    }

    /// Returns a backend with the key groups of a subtask out of handles of a snapshot.
    ///
    /// If the state backend knows the files of a handle, it is opened on them.
    ///
    /// # Errors
    ///
    /// As [`keyed_backend`](Self::keyed_backend), and as [`KeyedBackend::restore`].
    pub fn restored_backend<K: FlinkKey>(
        &self,
        owner: &BackendOwner,
        snapshot: &LoadedSnapshot,
        handles: &[KeyedHandle],
    ) -> Result<KeyedBackend<K>> {
        let opened = match self {
            BackendChoice::Heap | BackendChoice::IncrementalHeap => None,
            BackendChoice::Store(choice) => choice.opened(owner, snapshot, handles)?,
        };
        let (backend, opened) = match opened {
            Some((backend, handle)) => (backend, Some(handle)),
            None => (self.keyed_backend(owner)?, None),
        };
        for (index, handle) in handles.iter().enumerate() {
            if opened != Some(index) {
                backend.restore(snapshot, handle)?;
            }
        }
        Ok(backend)
    }
}

impl StoreChoice {
    fn context(&self, owner: &BackendOwner) -> StoreContext {
        StoreContext {
            operator: owner.operator,
            operator_name: owner.operator_name.clone(),
            subtask: owner.subtask,
            range: owner.range,
            max_parallelism: owner.max_parallelism,
            directory: self.directory.clone(),
            configuration: Arc::clone(&self.configuration),
        }
    }

    /// Opens a store on the files of one of the handles, if it can; says on which.
    fn opened<K: FlinkKey>(
        &self,
        owner: &BackendOwner,
        snapshot: &LoadedSnapshot,
        handles: &[KeyedHandle],
    ) -> Result<Option<(KeyedBackend<K>, usize)>> {
        let (backend, parent) = (&*self.backend, &self.directory);
        let brought = BroughtFiles::of::<K>(backend, owner, parent, snapshot, handles)?;
        let Some(brought) = brought else {
            return Ok(None);
        };
        let files = Some(brought.directory.path());
        let store = backend.open(&self.context(owner), files, &brought.states)?;
        let (max_parallelism, range) = (owner.max_parallelism, owner.range);
        let backend = KeyedBackend::above(max_parallelism, range, store, &self.cache)?;
        backend.take_over(Arc::new(brought.restored))?;
        Ok(Some((backend, brought.handle)))
    }
}

impl fmt::Debug for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreChoice")
            .field("backend", &self.backend)
            .field("cache", &self.cache)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

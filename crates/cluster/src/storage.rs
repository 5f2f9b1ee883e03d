//! Where the snapshots of a job lie: on a file system, or in the memory of its job master.
//!
//! What lies at `jobmanager:/...` is in this process alone and gone with it: checkpoints with the
//! storage `jobmanager`, and savepoints of the legacy store of that name. All of their state is in their
//! metadata, so that only the job master reads and writes there.

use std::sync::Arc;

use millpond_checkpoint::{JOB_MANAGER_SCHEME, is_in_memory};
use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{Error, FileSystem, Location, file_system_for};
use millpond_snapshot::{LoadedSnapshot, LocalCopies, RangedReads, ReadBytes};

/// The file systems of one job. Clones share the memory and the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storage {
    memory: MemoryFileSystem,
    copies: Option<Arc<LocalCopies>>,
    read: Arc<ReadBytes>,
    reads: Arc<RangedReads>,
}

impl Storage {
    /// Reads copies of the state of snapshots in place of it.
    pub(crate) fn with_copies(self, copies: Option<Arc<LocalCopies>>) -> Self {
        Storage { copies, ..self }
    }

    /// What has been read of the state of snapshots.
    pub(crate) fn read(&self) -> &Arc<ReadBytes> {
        &self.read
    }

    /// A snapshot whose state is read as this storage is told.
    ///
    /// # Errors
    ///
    /// A path in it cannot be understood.
    pub(crate) fn with_state_of(
        &self,
        snapshot: LoadedSnapshot,
    ) -> Result<LoadedSnapshot, millpond_snapshot::Error> {
        let snapshot = snapshot.with_reads(Arc::clone(&self.reads));
        snapshot.with_copies(self.copies.clone(), Arc::clone(&self.read))
    }

    /// The file system that serves a location.
    ///
    /// # Errors
    ///
    /// There is none for its scheme.
    pub(crate) fn file_system(&self, location: &Location) -> Result<Arc<dyn FileSystem>, Error> {
        match location.scheme() {
            JOB_MANAGER_SCHEME => Ok(Arc::new(self.memory.clone())),
            _ => file_system_for(location),
        }
    }

    /// The metadata of a snapshot that no other process can read; `None` if others can.
    pub(crate) fn metadata_for_others(&self, metadata_file: &Location) -> Option<Vec<u8>> {
        is_in_memory(&metadata_file.to_string())
            .then(|| self.memory.read(metadata_file).ok())
            .flatten()
    }

    /// The storage of a process that was told the metadata of a snapshot.
    pub(crate) fn holding(metadata_file: &Location, metadata: &[u8]) -> Result<Self, Error> {
        let storage = Storage::default();
        storage.memory.write_atomic(metadata_file, metadata)?;
        Ok(storage)
    }
}

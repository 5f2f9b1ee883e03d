//! Where the snapshots of a job lie: on a file system, or in the memory of its job master.
//!
//! What lies at `jobmanager:/...` is in this process alone and gone with it: checkpoints with the
//! storage `jobmanager`, and savepoints of the legacy store of that name. All of their state is in their
//! metadata, so that only the job master reads and writes there.

use std::sync::Arc;

use millpond_checkpoint::{JOB_MANAGER_SCHEME, is_in_memory};
use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{Error, FencedFileSystem, FileSystem, Location, file_system_for};
use millpond_leadership::Term;
use millpond_snapshot::{LoadedSnapshot, LocalCopies, RangedReads, ReadBytes};

/// The file systems of one job. Clones share the memory and the counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storage {
    memory: MemoryFileSystem,
    copies: Option<Arc<LocalCopies>>,
    read: Arc<ReadBytes>,
    reads: Arc<RangedReads>,
    /// Until when this process may change what others see.
    term: Option<Term>,
}

impl Storage {
    /// Reads copies of the state of snapshots in place of it.
    pub(crate) fn with_copies(self, copies: Option<Arc<LocalCopies>>) -> Self {
        Storage { copies, ..self }
    }

    /// Changes nothing that others see when this term is over.
    pub(crate) fn fenced_by(self, term: &Term) -> Self {
        let term = term.length().map(|_| term.clone());
        Storage { term, ..self }
    }

    /// Whether what was changed was so in time.
    ///
    /// # Errors
    ///
    /// The term is over; for people.
    pub(crate) fn check_term(&self) -> Result<(), String> {
        self.term.as_ref().map_or(Ok(()), Term::check)
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
            _ => Ok(match self.term.clone() {
                None => file_system_for(location)?,
                Some(term) => {
                    let guard = Arc::new(move || term.check());
                    Arc::new(FencedFileSystem::new(file_system_for(location)?, guard))
                }
            }),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A master whose leader leads no more may have been in the middle of anything.
    #[test]
    fn behind_the_end_of_a_term_nothing_completes_and_nothing_is_deleted() {
        let place = tempfile::tempdir().expect("room");
        let at = |name: &str| Location::of_path(&place.path().join(name)).expect("a path");
        let length = Duration::from_secs(600);
        let term = Term::until(millpond_leadership::now_ms() + 600_000, length);
        let storage = Storage::default().fenced_by(&term);
        let fs = storage.file_system(&at("chk-1")).expect("of files");
        fs.write_atomic(&at("chk-1/_metadata"), b"whole")
            .expect("it leads");
        term.end();
        fs.write_atomic(&at("chk-2/_metadata"), b"whole")
            .expect_err("it leads no more");
        fs.delete_dir(&at("chk-1")).expect_err("it leads no more");
        assert!(fs.exists(&at("chk-1/_metadata")).expect("looked"));
        assert!(!fs.exists(&at("chk-2/_metadata")).expect("looked"));
        // What is in the memory of the master is nobody else's.
        let memory = Location::parse("jobmanager:/chk-2/_metadata").expect("a location");
        let own = storage.file_system(&memory).expect("in memory");
        own.write_atomic(&memory, b"whole").expect("its own");
    }

    #[test]
    fn a_leader_for_as_long_as_it_lives_needs_no_fence() {
        let storage = Storage::default().fenced_by(&Term::unlimited());
        assert!(storage.term.is_none());
    }
}

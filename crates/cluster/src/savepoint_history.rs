//! The savepoints that a job has taken by the clock, noted beside them, so that a process of the same
//! job that is started later deletes them in their time.
//!
//! ```text
//! <savepoint directory>/.scheduled-<job id>      [{"directory":"file:/...","at_ms":1700000000000}, ...]
//! ```
//!
//! A savepoint stands in it from its begin, before its metadata can be there, until it is deleted: a kill
//! at any point loses none that is complete. One that was never completed, or that its owner has
//! removed, is left out when the file is read.

use millpond_checkpoint::TakenSavepoint;
use millpond_fs::{ErrorKind, Location};
use millpond_snapshot::{METADATA_FILE, scheduled_savepoints};
use millpond_types::JobId;

use crate::storage::Storage;

/// The most bytes of the file that are read.
const MAX_BYTES: u64 = 16 << 20;

/// What stands in the file.
#[derive(Debug)]
pub(crate) struct SavepointHistory {
    file: Location,
    taken: Vec<TakenSavepoint>,
}

impl SavepointHistory {
    /// Reads what earlier processes of the job have noted in `directory`. Without it they would only be
    /// kept for longer: what cannot be read is logged.
    pub(crate) fn read(storage: &Storage, directory: &str, job: JobId) -> Option<Self> {
        let directory = Location::parse(directory).ok()?;
        let file = scheduled_savepoints(&directory, job);
        let taken = read(storage, &file).unwrap_or_else(|why| {
            tracing::warn!(
                "scheduled savepoints of an earlier process will not be deleted, as \"{file}\" cannot \
                 be read: {why}"
            );
            Vec::new()
        });
        Some(SavepointHistory { file, taken })
    }

    /// What was noted.
    pub(crate) fn taken(&self) -> Vec<TakenSavepoint> {
        self.taken.clone()
    }

    /// Notes one that begins; returns what is to be written where.
    pub(crate) fn add(&mut self, taken: TakenSavepoint) -> (Location, Vec<u8>) {
        self.taken.push(taken);
        self.content()
    }

    /// One is deleted, or has failed; returns what is to be written where, nothing if it was none of these.
    pub(crate) fn remove(&mut self, directory: &str) -> Option<(Location, Vec<u8>)> {
        let before = self.taken.len();
        self.taken.retain(|taken| taken.directory != directory);
        (self.taken.len() < before).then(|| self.content())
    }

    fn content(&self) -> (Location, Vec<u8>) {
        let text = serde_json::to_vec(&self.taken).expect("text and numbers are JSON");
        (self.file.clone(), text)
    }
}

fn read(storage: &Storage, file: &Location) -> Result<Vec<TakenSavepoint>, String> {
    let fs = storage
        .file_system(file)
        .map_err(|error| error.to_string())?;
    match fs.len(file) {
        Ok(len) if len > MAX_BYTES => return Err(format!("{len} bytes are too many")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    }
    let bytes = fs.read(file).map_err(|error| error.to_string())?;
    let mut taken: Vec<TakenSavepoint> =
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    taken.retain(|taken| {
        let metadata = Location::parse(&taken.directory).map(|path| path.join(METADATA_FILE));
        // If that cannot be told now, it is not known to be gone.
        metadata.is_ok_and(|metadata| fs.exists(&metadata).unwrap_or(true))
    });
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId([7; 16]);

    fn taken(name: &str, at_ms: u64) -> TakenSavepoint {
        TakenSavepoint {
            directory: format!("jobmanager:/s/{name}"),
            at_ms,
        }
    }

    fn write(storage: &Storage, (file, bytes): (Location, Vec<u8>)) {
        let fs = storage.file_system(&file).expect("in memory");
        fs.write_atomic(&file, &bytes).expect("room");
    }

    #[test]
    fn the_next_process_knows_what_is_there_and_not_what_somebody_has_removed() {
        let storage = Storage::default();
        let read = || SavepointHistory::read(&storage, "jobmanager:/s", JOB).expect("a location");
        let mut history = read();
        assert!(history.taken().is_empty());
        for (name, at_ms) in [("sp-1", 1), ("sp-2", 2), ("sp-3", 3)] {
            let metadata = Location::parse(&taken(name, 0).directory).expect("a location");
            write(&storage, (metadata.join(METADATA_FILE), Vec::new()));
            write(&storage, history.add(taken(name, at_ms)));
        }
        assert_eq!(read().taken().len(), 3);
        let gone = Location::parse("jobmanager:/s/sp-1/_metadata").expect("a location");
        let fs = storage.file_system(&gone).expect("in memory");
        fs.delete_file(&gone).expect("there");
        assert_eq!(read().taken(), [taken("sp-2", 2), taken("sp-3", 3)]);
        assert!(history.remove("jobmanager:/s/other").is_none());
        let content = history.remove("jobmanager:/s/sp-3").expect("known");
        write(&storage, content);
        assert_eq!(read().taken(), [taken("sp-2", 2)]);
        // Another job has its own.
        let other = SavepointHistory::read(&storage, "jobmanager:/s", JobId([8; 16]));
        assert!(other.expect("a location").taken().is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_understood_costs_nothing_but_the_deletions() {
        let storage = Storage::default();
        let file = Location::parse(&format!("jobmanager:/s/.scheduled-{JOB}")).expect("a location");
        write(&storage, (file, b"cut".to_vec()));
        let history = SavepointHistory::read(&storage, "jobmanager:/s", JOB);
        assert!(history.expect("a location").taken().is_empty());
    }
}

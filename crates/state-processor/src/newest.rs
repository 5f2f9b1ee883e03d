//! The newest intact snapshot below some directories, for scripts that start a job again.
//!
//! Numbers order the snapshots of one job. Of several jobs, the one that wrote last comes first: a job
//! that was resumed has its own directory, and a job that was started anew counts from 1 again.
//!
//! A snapshot may go while it is looked at, as a running job deletes what it has subsumed. It is passed
//! over then; only what is there and wrong is damage.

use std::collections::HashMap;
use std::time::SystemTime;

use millpond_fs::{FileSystem, Location, file_system_for};
use millpond_snapshot::{ErrorKind, LoadedSnapshot, METADATA_FILE, load};
use millpond_types::CheckpointId;
use serde::Serialize;

use crate::Error;

/// How many directories deep snapshots are looked for: `<dir>/<job id>/chk-1`.
const DEPTH: u32 = 2;

/// A snapshot, and whether it is sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundSnapshot {
    /// Its directory, as a URI.
    pub path: String,
    /// Its number; `None` if neither its metadata nor its name tell.
    pub checkpoint: Option<CheckpointId>,
    /// The job that took it, if its metadata tells.
    pub job: Option<String>,
    /// What is wrong with it, for good; nothing if it is sound.
    pub damage: Vec<String>,
}

/// What was found: everything down to the first intact snapshot, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Newest {
    /// The newest intact one.
    pub snapshot: Option<FoundSnapshot>,
    /// Newer ones, which are damaged.
    pub damaged: Vec<FoundSnapshot>,
}

/// Finds the newest intact snapshot below `directories`: reads all its files, and all of what is
/// damaged and newer.
///
/// # Errors
///
/// A directory cannot be listed, or a file cannot be read at present, which says nothing about the
/// snapshot: an older one would be the wrong answer.
pub fn newest_snapshot(directories: &[Location]) -> Result<Newest, Error> {
    let mut candidates = Vec::new();
    for directory in directories {
        let fs = file_system_for(directory)?;
        look(&*fs, directory, DEPTH, &mut candidates)?;
    }
    order(&mut candidates);
    let mut newest = Newest::default();
    for candidate in candidates {
        let Some(found) = candidate.check()? else {
            continue;
        };
        if found.damage.is_empty() {
            newest.snapshot = Some(found);
            break;
        }
        newest.damaged.push(found);
    }
    Ok(newest)
}

/// A directory with metadata in it.
struct Candidate {
    directory: Location,
    /// Whose it is: the job if that is known, else where it lies.
    group: String,
    checkpoint: Option<CheckpointId>,
    job: Option<String>,
    written: SystemTime,
}

fn look(
    fs: &dyn FileSystem,
    directory: &Location,
    depth: u32,
    found: &mut Vec<Candidate>,
) -> Result<(), millpond_fs::Error> {
    if fs.exists(&directory.join(METADATA_FILE))? {
        found.push(Candidate::at(directory));
        return Ok(());
    }
    for entry in fs.list(directory)?.into_iter().filter(|entry| entry.is_dir) {
        let below = directory.join(&entry.name);
        if depth > 0 {
            match look(fs, &below, depth - 1, found) {
                // Deleted since it was listed.
                Err(error) if error.kind() == millpond_fs::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
    }
    Ok(())
}

/// The newest first.
fn order(candidates: &mut [Candidate]) {
    let mut last_written: HashMap<String, SystemTime> = HashMap::new();
    for candidate in candidates.iter() {
        let last = last_written
            .entry(candidate.group.clone())
            .or_insert(candidate.written);
        *last = candidate.written.max(*last);
    }
    candidates.sort_by_key(|candidate| {
        let order = (
            last_written[&candidate.group],
            candidate.group.clone(),
            candidate.checkpoint,
            candidate.written,
        );
        std::cmp::Reverse(order)
    });
}

impl Candidate {
    fn at(directory: &Location) -> Self {
        let loaded = load_from(directory).ok();
        let metadata = loaded.as_ref().map(|loaded| &loaded.metadata);
        let number = directory.file_name().strip_prefix("chk-");
        let number = number.and_then(|number| number.parse().ok());
        let trailer = metadata.and_then(|metadata| metadata.trailer.as_ref());
        let job = trailer.map(|trailer| trailer.job_id.to_string());
        let parent = directory.parent().unwrap_or_else(|| directory.clone());
        // A checkpoint lies in the directory of its job, whatever became of its metadata.
        let job_directory = number.map(|_| parent.file_name().to_owned());
        let file = directory.join(METADATA_FILE).to_local_path();
        let written = file.and_then(|file| std::fs::metadata(file).ok()?.modified().ok());
        Candidate {
            group: job_directory
                .or_else(|| job.clone())
                .unwrap_or_else(|| directory.to_string()),
            checkpoint: metadata.map(|metadata| metadata.checkpoint_id).or(number),
            job,
            written: written.unwrap_or(SystemTime::UNIX_EPOCH),
            directory: directory.clone(),
        }
    }

    /// Reads all of it; `None` if it has gone.
    fn check(self) -> Result<Option<FoundSnapshot>, Error> {
        let result = load_from(&self.directory);
        let damage = match result {
            Ok(snapshot) => {
                let damages = snapshot.verify();
                let passing = damages.iter().find(|damage| !damage.permanent);
                let is_there = || snapshot.file_system().exists(&snapshot.metadata_file);
                if !damages.is_empty() && matches!(is_there(), Ok(false)) {
                    return Ok(None);
                }
                if let Some(damage) = passing {
                    return Err(Error::request(format!("cannot be read now: {damage}")));
                }
                damages.iter().map(ToString::to_string).collect()
            }
            Err(error) => match error.kind() {
                ErrorKind::Io(io) if io.kind() == millpond_fs::ErrorKind::NotFound => {
                    return Ok(None);
                }
                ErrorKind::Io(_) => return Err(error.into()),
                ErrorKind::Corrupt { .. }
                | ErrorKind::Incompatible { .. }
                | ErrorKind::Unsupported { .. } => vec![error.to_string()],
            },
        };
        Ok(Some(FoundSnapshot {
            path: self.directory.to_string(),
            checkpoint: self.checkpoint,
            job: self.job,
            damage,
        }))
    }
}

fn load_from(directory: &Location) -> Result<LoadedSnapshot, millpond_snapshot::Error> {
    load(file_system_for(directory)?, directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_snapshot::{Metadata, Trailer, write_metadata};
    use millpond_types::JobId;
    use std::time::Duration;

    /// Writes a snapshot of a job, last written at this second.
    fn write(root: &Location, name: &str, job: u8, checkpoint: CheckpointId, second: u64) {
        let mut metadata = Metadata::new(checkpoint);
        metadata.trailer = Some(Trailer {
            millpond_version: "0".to_owned(),
            job_id: JobId([job; 16]),
            job_name: String::new(),
            savepoint: !name.contains("chk-"),
            parent: None,
            files: Vec::new(),
            operators: Vec::new(),
        });
        let directory = root.join(name);
        let fs = file_system_for(root).expect("local");
        let file = write_metadata(&*fs, &directory, &metadata).expect("room");
        let file = std::fs::File::options()
            .append(true)
            .open(file.to_local_path().expect("local"));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        file.and_then(|file| file.set_modified(time))
            .expect("a file");
    }

    fn damage(root: &Location, name: &str) {
        let file = root.join(name).join(METADATA_FILE).to_local_path();
        let file = file.expect("local");
        let modified = std::fs::metadata(&file)
            .and_then(|m| m.modified())
            .expect("a file");
        std::fs::write(&file, b"cut").expect("room");
        let opened = std::fs::File::options().append(true).open(&file);
        opened
            .and_then(|file| file.set_modified(modified))
            .expect("a file");
    }

    fn found(root: &Location) -> (Option<String>, usize) {
        let newest = newest_snapshot(std::slice::from_ref(root)).expect("listed");
        let name = newest.snapshot.map(|found| {
            let prefix = format!("{root}/");
            found.path.strip_prefix(&prefix).expect("below").to_owned()
        });
        (name, newest.damaged.len())
    }

    #[test]
    fn the_number_counts_within_a_job_and_the_time_between_jobs() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Location::of_path(directory.path()).expect("a path");
        assert_eq!(found(&root), (None, 0));
        let (one, two) = (JobId([1; 16]).to_string(), JobId([2; 16]).to_string());
        write(&root, &format!("{one}/chk-9"), 1, 9, 200);
        // Copied later, but older.
        write(&root, &format!("{one}/chk-8"), 1, 8, 300);
        assert_eq!(found(&root).0, Some(format!("{one}/chk-9")));
        write(&root, "savepoints/savepoint-1", 1, 10, 250);
        assert_eq!(found(&root).0.as_deref(), Some("savepoints/savepoint-1"));
        // Started anew, so that it counts from 1.
        write(&root, &format!("{two}/chk-1"), 2, 1, 400);
        assert_eq!(found(&root), (Some(format!("{two}/chk-1")), 0));
        damage(&root, &format!("{two}/chk-1"));
        damage(&root, "savepoints/savepoint-1");
        assert_eq!(found(&root), (Some(format!("{one}/chk-9")), 1));
        // A snapshot itself may be named.
        let itself = newest_snapshot(&[root.join(&one).join("chk-8")]).expect("listed");
        assert_eq!(itself.snapshot.expect("sound").checkpoint, Some(8));
        assert!(newest_snapshot(&[root.join("nowhere")]).is_err());
    }
}

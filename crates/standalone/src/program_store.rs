//! Programs that were uploaded to a job manager: executables in a directory.
//!
//! ```text
//! <directory>/programs/<32 hex digits>_<name>     mode 0755; the file's name is the program's id
//! ```
//!
//! The digits are the begin of the SHA-256 of the content: what is uploaded again is the same program. So a
//! directory does not grow with each run, and task managers that have a program need not fetch it again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use millpond_cluster::random;
use millpond_job::dispatcher::DispatchError;
use millpond_job::programs::{ProgramInfo, Upload};
use millpond_leadership::Term;
use ring::digest::{Context, SHA256};

/// The most characters of a name.
const MAX_NAME: usize = 100;

/// How much of the hash of a program its id has.
const ID_BYTES: usize = 16;

/// The directory of programs.
#[derive(Clone, Debug)]
pub(crate) struct ProgramStore {
    directory: PathBuf,
    /// Until when this job manager leads: then the programs are another one's.
    term: Term,
}

impl ProgramStore {
    /// Opens the directory, and makes it if it is not there.
    pub(crate) fn open(directory: &Path, term: Term) -> io::Result<Self> {
        let directory = directory.join("programs");
        std::fs::create_dir_all(&directory)?;
        Ok(ProgramStore { directory, term })
    }

    /// All programs, the newest first.
    pub(crate) fn list(&self) -> Vec<ProgramInfo> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        let mut all: Vec<ProgramInfo> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let id = entry.file_name().into_string().ok()?;
                let name = name_of(&id)?.to_owned();
                let modified = entry.metadata().ok()?.modified().ok()?;
                let age = modified.duration_since(UNIX_EPOCH).ok()?;
                Some(ProgramInfo {
                    id,
                    name,
                    uploaded_ms: age.as_millis() as u64,
                })
            })
            .collect();
        all.sort_by_key(|program| std::cmp::Reverse(program.uploaded_ms));
        all
    }

    /// Where a program is.
    ///
    /// # Errors
    ///
    /// There is none of that id.
    pub(crate) fn path(&self, id: &str) -> Result<PathBuf, DispatchError> {
        let unknown = || DispatchError::UnknownProgram(id.to_owned());
        // An id is a file's name here, and nothing else.
        let is_id = name_of(id).is_some_and(|name| name == safe(name));
        let path = self.directory.join(id);
        match is_id && path.is_file() {
            true => Ok(path),
            false => Err(unknown()),
        }
    }

    /// Whether it is certain that there is none of that id: a store that cannot be read at present says nothing.
    pub(crate) fn is_gone(&self, id: &str) -> bool {
        let is_there = self.directory.join(id).try_exists();
        self.directory.is_dir() && matches!(is_there, Ok(false))
    }

    /// Begins to take one in.
    pub(crate) fn upload(&self, name: &str) -> io::Result<ProgramUpload> {
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = safe(name);
        let temporary = self
            .directory
            .join(format!(".{}_{name}", random::hex(ID_BYTES)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(&temporary)?;
        Ok(ProgramUpload {
            file: Some(file),
            content: Context::new(&SHA256),
            temporary,
            name,
            store: self.clone(),
        })
    }

    /// Removes one.
    pub(crate) fn delete(&self, id: &str) -> Result<(), DispatchError> {
        let path = self.path(id)?;
        let removed = self.term.check().map_err(io::Error::other);
        let removed = removed.and_then(|()| std::fs::remove_file(&path));
        removed.map_err(|error| {
            DispatchError::Refused(format!("Could not delete the program {id}: {error}"))
        })
    }
}

/// The name that was uploaded, of an id.
fn name_of(id: &str) -> Option<&str> {
    let (content, name) = id.split_at_checked(2 * ID_BYTES)?;
    let is_content = content.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_prefix('_').filter(|_| is_content)
}

/// A name that is one in any file system.
fn safe(name: &str) -> String {
    let safe = |c: char| match c.is_ascii_alphanumeric() || "._-+".contains(c) {
        true => c,
        false => '_',
    };
    let name: String = name.chars().take(MAX_NAME).map(safe).collect();
    match name.is_empty() {
        true => "program".to_owned(),
        false => name,
    }
}

/// A program on its way; dropped, it is deleted.
pub(crate) struct ProgramUpload {
    /// Until it is finished.
    file: Option<File>,
    /// What has been written.
    content: Context,
    temporary: PathBuf,
    name: String,
    store: ProgramStore,
}

impl Write for ProgramUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => {
                let written = file.write(bytes)?;
                self.content.update(&bytes[..written]);
                Ok(written)
            }
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for ProgramUpload {
    fn finish(mut self: Box<Self>) -> Result<String, DispatchError> {
        let digest = self.content.clone().finish();
        let content: String = digest.as_ref()[..ID_BYTES]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let path = self
            .store
            .directory
            .join(format!("{content}_{}", self.name));
        let keep = || -> io::Result<()> {
            if let Some(file) = &self.file {
                file.sync_all()?;
            }
            self.store.term.check().map_err(io::Error::other)?;
            std::fs::rename(&self.temporary, &path)
        };
        keep().map_err(|error| {
            DispatchError::Refused(format!("Could not keep the program: {error}"))
        })?;
        self.file = None;
        Ok(path.display().to_string())
    }
}

impl Drop for ProgramUpload {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // It is garbage that a user can see, no more.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn put(store: &ProgramStore, name: &str) -> String {
        put_content(store, name, b"#!/bin/sh\n")
    }

    fn put_content(store: &ProgramStore, name: &str, content: &[u8]) -> String {
        let mut upload = Box::new(store.upload(name).expect("room"));
        upload.write_all(content).expect("room");
        let path = upload.finish().expect("kept");
        path.rsplit('/').next().expect("a name").to_owned()
    }

    #[test]
    fn what_was_uploaded_is_listed_until_it_is_deleted() {
        let place = tempfile::tempdir().expect("room");
        let store = ProgramStore::open(place.path(), Term::unlimited()).expect("a directory");
        let id = put(&store, "flights");
        assert!(id.ends_with("_flights"), "{id}");
        let listed = store.list();
        assert_eq!(
            (listed[0].id.as_str(), listed[0].name.as_str()),
            (id.as_str(), "flights")
        );
        let mode = store.path(&id).expect("there").metadata().expect("a file");
        assert_eq!(mode.permissions().mode() & 0o777, 0o755);
        assert!(!store.is_gone(&id));
        store.delete(&id).expect("there");
        assert!(store.is_gone(&id));
        assert_eq!(
            store.path(&id),
            Err(DispatchError::UnknownProgram(id.clone()))
        );
        assert!(store.delete(&id).is_err() && store.list().is_empty());
    }

    #[test]
    fn the_same_content_is_the_same_program() {
        let place = tempfile::tempdir().expect("room");
        let store = ProgramStore::open(place.path(), Term::unlimited()).expect("a directory");
        let id = put_content(&store, "flights", b"abc");
        // As `printf abc | sha256sum` begins.
        assert_eq!(id, "ba7816bf8f01cfea414140de5dae2223_flights");
        assert_eq!(put_content(&store, "flights", b"abc"), id);
        assert_ne!(put_content(&store, "flights", b"abd"), id);
        assert_ne!(put_content(&store, "trains", b"abc"), id);
        assert_eq!(store.list().len(), 3);
    }

    #[test]
    fn whoever_leads_no_more_changes_nothing() {
        let place = tempfile::tempdir().expect("room");
        let store = ProgramStore::open(place.path(), Term::unlimited()).expect("a directory");
        let id = put(&store, "flights");
        let of_old = Term::until(0, Duration::from_secs(1));
        let of_old = ProgramStore::open(place.path(), of_old).expect("a directory");
        let why = of_old.delete(&id).expect_err("another one's").to_string();
        assert!(why.contains("Could not delete the program"), "{why}");
        let mut upload = Box::new(of_old.upload("trains").expect("room"));
        upload.write_all(b"x").expect("room");
        assert!(upload.finish().is_err());
        assert_eq!(store.list().len(), 1);
        let all = std::fs::read_dir(place.path().join("programs")).expect("a directory");
        assert_eq!(all.count(), 1);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let place = tempfile::tempdir().expect("room");
        std::fs::write(place.path().join("secret"), "x").expect("room");
        let store = ProgramStore::open(place.path(), Term::unlimited()).expect("a directory");
        let id = put(&store, "../../etc/pass wd\0é");
        assert!(id.ends_with("_pass_wd__"), "{id}");
        assert!(put(&store, "").ends_with("_program"));
        let hex = "0".repeat(32);
        for id in [
            "../secret",
            "",
            "x",
            &format!("{hex}_/../../secret"),
            &format!("{hex}_"),
        ] {
            assert!(store.path(id).is_err(), "{id}");
        }
    }

    #[test]
    fn what_did_not_come_whole_is_gone() {
        let place = tempfile::tempdir().expect("room");
        let store = ProgramStore::open(place.path(), Term::unlimited()).expect("a directory");
        let mut upload = store.upload("half").expect("room");
        upload.write_all(b"ha").expect("room");
        drop(upload);
        let left = std::fs::read_dir(place.path().join("programs")).expect("a directory");
        assert_eq!(left.count(), 0);
    }
}

//! Disposal of a savepoint or retained checkpoint.

use std::sync::Arc;

use crate::claim;
use crate::pointer;
use crate::storage::Storage;

/// Deletes a snapshot: nothing but one, so that a typing error deletes nothing else.
pub(crate) fn dispose(storage: &Storage, path: &str) -> Result<String, String> {
    let snapshot = pointer::load(storage, path).map_err(|error| error.message)?;
    let fs = Arc::clone(snapshot.file_system());
    if let Some(owner) = claim::who_has(&*fs, &snapshot.directory) {
        return Err(owner);
    }
    let mut files = Vec::new();
    let mut problem = None;
    snapshot
        .metadata
        .streams(&mut |stream| match snapshot.file_of(stream) {
            Ok(Some(file)) if file.starts_with(&snapshot.directory) => files.push(file),
            Ok(_) => {}
            Err(error) => problem = Some(error.to_string()),
        });
    if let Some(problem) = problem {
        return Err(problem);
    }
    let delete = || -> Result<(), millpond_fs::Error> {
        fs.delete_file(&snapshot.directory.join(millpond_snapshot::METADATA_FILE))?;
        for file in &files {
            if fs.exists(file)? {
                fs.delete_file(file)?;
            }
        }
        // What else lies there is the owner's.
        fs.delete_empty_dir(&snapshot.directory)?;
        Ok(())
    };
    delete().map_err(|error| error.to_string())?;
    Ok(snapshot.directory.to_string())
}

//! Disposal of a savepoint or retained checkpoint.

use std::sync::Arc;

use millpond_fs::Location;

use crate::claim;
use crate::pointer;
use crate::storage::Storage;

/// Deletes a snapshot: nothing but one, so that a typing error deletes nothing else.
pub(crate) fn dispose(storage: &Storage, path: &str) -> Result<String, String> {
    let snapshot = pointer::load(storage, path).map_err(|error| error.message)?;
    let fs = Arc::clone(snapshot.file_system());
    let named = snapshot.files().map_err(|error| error.to_string())?;
    if let Some(owner) = claim::who_has(&*fs, &snapshot.directory, &named) {
        return Err(owner);
    }
    let files: Result<Vec<_>, _> = named.iter().map(|file| Location::parse(file)).collect();
    let mut files = files.map_err(|error| error.to_string())?;
    files.retain(|file| file.starts_with(&snapshot.directory));
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

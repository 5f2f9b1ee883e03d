//! Disposal of a savepoint or retained checkpoint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use millpond_fs::Location;
use millpond_job::dispatcher::{Operation, OperationFailure};
use millpond_leadership::Term;
use millpond_types::TriggerId;

use crate::claim;
use crate::lock::lock;
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

/// Disposals that users have asked for, and what has become of each.
pub struct Disposals {
    storage: Storage,
    all: Arc<Mutex<HashMap<TriggerId, Operation<()>>>>,
}

impl Disposals {
    pub(crate) fn new(storage: Storage) -> Self {
        Disposals {
            storage,
            all: Arc::default(),
        }
    }

    /// Of snapshots in files, by a job manager for as long as it leads.
    pub fn in_files(term: &Term) -> Self {
        Disposals::new(Storage::default().fenced_by(term))
    }

    /// Starts one under `trigger`, if there is none; `then` hears which directory is gone.
    pub fn start(
        &self,
        trigger: TriggerId,
        path: String,
        then: impl FnOnce(String) + Send + 'static,
    ) {
        {
            let mut all = lock(&self.all);
            if all.contains_key(&trigger) {
                return;
            }
            all.insert(trigger, Operation::InProgress);
        }
        let (storage, all) = (self.storage.clone(), Arc::clone(&self.all));
        std::thread::spawn(move || {
            let result = match dispose(&storage, &path) {
                Ok(directory) => {
                    then(directory);
                    Ok(())
                }
                Err(message) => Err(OperationFailure {
                    class: "org.apache.flink.util.FlinkException".to_owned(),
                    message: format!("Could not dispose savepoint {path}: {message}"),
                }),
            };
            lock(&all).insert(trigger, Operation::Completed(result));
        });
    }

    /// What has become of one; `None` if it is not known.
    pub fn status(&self, trigger: TriggerId) -> Option<Operation<()>> {
        lock(&self.all).get(&trigger).cloned()
    }
}

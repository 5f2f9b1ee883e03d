//! What a store held at one moment: links to its files.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use millpond_fs::ScratchDirectory;
use millpond_state::Result;
use millpond_state::store::{ColumnId, Sharing, StoreFile, StoreImage, Visit};

use super::Deleted;
use super::database::{Access, Database, Shared};
use crate::native_writer::is_of_the_set;

/// A checkpoint of a database.
pub(super) struct RocksDbImage {
    // In this order: the database is closed before its files are deleted.
    open: Mutex<Option<Arc<Database>>>,
    path: Deleted,
    /// The directory around it, which the last one deletes.
    _home: Arc<ScratchDirectory>,
    columns: Vec<Arc<str>>,
    shared: Arc<Shared>,
}

impl RocksDbImage {
    pub(super) fn new(
        path: Deleted,
        home: Arc<ScratchDirectory>,
        columns: Vec<Arc<str>>,
        shared: Arc<Shared>,
    ) -> Self {
        RocksDbImage {
            open: Mutex::default(),
            path,
            _home: home,
            columns,
            shared,
        }
    }

    /// Opens the files when they are first read.
    fn database(&self) -> Result<Arc<Database>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*open {
            return Ok(Arc::clone(database));
        }
        let names: Vec<String> = self.columns.iter().map(|name| name.to_string()).collect();
        let opened = Database::open(&self.path.0, &names, &self.shared, Access::ReadOnly);
        let database = Arc::new(opened?.0);
        *open = Some(Arc::clone(&database));
        Ok(database)
    }
}

impl StoreImage for RocksDbImage {
    fn scan(
        &self,
        column: ColumnId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        // A column that was opened later was empty then.
        let Some(name) = self.columns.get(column.0 as usize) else {
            return Ok(());
        };
        super::scan(&*self.database()?, name, from, to, visit)
    }

    fn files(&self) -> Option<Vec<StoreFile>> {
        files_in(&self.path.0).ok()
    }

    fn transfer_threads(&self) -> usize {
        self.shared.tuning.transfer_threads
    }
}

/// The files of a checkpoint of RocksDB, by name.
fn files_in(directory: &Path) -> io::Result<Vec<StoreFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_of_the_set(&name) {
            continue;
        }
        let sharing = match name.ends_with(".sst") {
            true => Sharing::Shared,
            false => Sharing::Private,
        };
        files.push(StoreFile {
            path: entry.path(),
            bytes: entry.metadata()?.len(),
            name,
            sharing,
        });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

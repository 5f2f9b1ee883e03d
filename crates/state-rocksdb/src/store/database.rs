//! A database with its column families, and what must live as long as it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use millpond_state::store::{Filtered, StoredFilter};
use millpond_state::{Error, Result};
use rocksdb::{
    BoundColumnFamily, ColumnFamilyDescriptor, CompactionDecision, DBWithThreadMode, MultiThreaded,
    Options,
};

use super::memory::SharedMemory;
use super::tuning::Tuning;

pub(super) type Db = DBWithThreadMode<MultiThreaded>;

/// A database.
pub(super) struct Database {
    // In this order: the options, with the filters in them, outlive the database.
    pub(super) db: Db,
    options: Mutex<Vec<Options>>,
    pub(super) tuning: Arc<Tuning>,
    pub(super) memory: Arc<Shared>,
}

/// What all databases of a process share.
pub(super) struct Shared {
    pub(super) tuning: Arc<Tuning>,
    pub(super) memory: Option<SharedMemory>,
}

/// The filter of a column family, which may come later than it and change.
#[derive(Default)]
pub(super) struct FilterSlot(RwLock<Option<StoredFilter>>);

impl FilterSlot {
    pub(super) fn set(&self, filter: Option<StoredFilter>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = filter;
    }

    /// What becomes of a value at a compaction. What is left of a value that has expired in part
    /// would have to live forever, so such a value stays whole.
    fn decide(&self, value: &[u8]) -> CompactionDecision {
        let filter = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match filter.as_ref().map(|filter| filter(value)) {
            Some(Filtered::Remove) => CompactionDecision::Remove,
            Some(Filtered::Keep | Filtered::Replace(_)) | None => CompactionDecision::Keep,
        }
    }
}

/// Whether a database is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadWrite,
    ReadOnly,
}

impl Database {
    /// Opens a database with column families, each with a filter that may be set later. All that
    /// it has must be named, but for the one that every database has.
    pub(super) fn open(
        path: &Path,
        families: &[String],
        shared: &Arc<Shared>,
        access: Access,
    ) -> Result<(Self, Vec<Arc<FilterSlot>>)> {
        let options = shared.tuning.database(shared.memory.as_ref());
        let slots: Vec<Arc<FilterSlot>> = families.iter().map(|_| Arc::default()).collect();
        let of_states = families.iter().zip(&slots).map(|(family, slot)| {
            let options = family_options(shared, slot);
            ColumnFamilyDescriptor::new(family, options)
        });
        let is_default = |family: &String| family == rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
        let default = (!families.iter().any(is_default)).then(|| {
            let options = shared.tuning.column_family(shared.memory.as_ref());
            ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, options)
        });
        let descriptors: Vec<_> = of_states.chain(default).collect();
        let opened = match access {
            Access::ReadWrite => Db::open_cf_descriptors(&options, path, descriptors),
            Access::ReadOnly => {
                Db::open_cf_descriptors_read_only(&options, path, descriptors, false)
            }
        };
        use rocksdb::ErrorKind::{Corruption, InvalidArgument};
        let db =
            opened.map_err(
                |error| match matches!(error.kind(), Corruption | InvalidArgument) {
                    true => Error::corrupt("files of RocksDB", error),
                    false => Error::storage("opening RocksDB", error),
                },
            )?;
        let database = Database {
            db,
            options: Mutex::default(),
            tuning: Arc::clone(&shared.tuning),
            memory: Arc::clone(shared),
        };
        Ok((database, slots))
    }

    /// Makes the column family of a state, unless it is there.
    pub(super) fn create(&self, name: &str) -> Result<Arc<FilterSlot>> {
        let slot = Arc::default();
        if self.db.cf_handle(name).is_some() {
            return Ok(slot);
        }
        let options = family_options(&self.memory, &slot);
        let created = self.db.create_cf(name, &options);
        created.map_err(|error| super::failed("making a place for", name, error))?;
        let mut kept = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(options);
        Ok(slot)
    }

    /// A column family that is there.
    pub(super) fn family(&self, name: &str) -> Arc<BoundColumnFamily<'_>> {
        let family = self.db.cf_handle(name);
        family.expect("a column has its family until the store is dropped")
    }
}

fn family_options(shared: &Shared, slot: &Arc<FilterSlot>) -> Options {
    let mut options = shared.tuning.column_family(shared.memory.as_ref());
    let slot = Arc::clone(slot);
    options.set_compaction_filter("millpond.time-to-live", move |_, _, value: &[u8]| {
        slot.decide(value)
    });
    options
}

//! A store in memory: an ordered map per column, whose image is a copy in O(1).
//!
//! It proves the trait and carries the tests of everything above it. A job gains nothing by it that
//! the heap backend does not do better.

use super::{
    ColumnId, Filtered, KeyValueStore, Keys, StateBackend, StoreChange, StoreContext, StoreImage,
    StoreStatistics, StoredFilter, Visit, WriteBatch,
};
use crate::{Error, Result};
use imbl::OrdMap;
use millpond_snapshot::{LIST_DELIMITER, StateMeta};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

type Bytes = Arc<[u8]>;
type Entries = OrdMap<Bytes, Bytes>;

/// Makes [`MemoryStore`]s, under the name `memory`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryBackend;

impl StateBackend for MemoryBackend {
    fn name(&self) -> &str {
        "memory"
    }

    fn open(
        &self,
        _context: &StoreContext,
        files: Option<&Path>,
        _states: &[StateMeta],
    ) -> Result<Arc<dyn KeyValueStore>> {
        match files {
            None => Ok(Arc::new(MemoryStore::new())),
            Some(_) => Err(Error::unsupported(
                "native files of another state backend; restore a canonical savepoint",
            )),
        }
    }
}

/// Bytes under byte keys, in memory.
#[derive(Default)]
pub struct MemoryStore {
    columns: RwLock<Vec<Column>>,
}

struct Column {
    meta: StateMeta,
    filter: Option<StoredFilter>,
    entries: Entries,
}

impl MemoryStore {
    /// Returns a store without columns.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    // What a panic under the lock leaves is whole: entries change one by one.
    fn columns(&self) -> RwLockReadGuard<'_, Vec<Column>> {
        self.columns.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn columns_mut(&self) -> RwLockWriteGuard<'_, Vec<Column>> {
        self.columns.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the filters of all columns to all that they hold, as a compaction would.
    pub fn compact(&self) {
        for column in self.columns_mut().iter_mut() {
            let Some(filter) = &column.filter else {
                continue;
            };
            for (key, value) in column.entries.clone() {
                match filter(&value) {
                    Filtered::Keep => {}
                    Filtered::Remove => {
                        column.entries.remove(&key);
                    }
                    Filtered::Replace(value) => {
                        column.entries.insert(key, value.into());
                    }
                }
            }
        }
    }
}

impl KeyValueStore for MemoryStore {
    fn open_column(&self, meta: &StateMeta, filter: Option<StoredFilter>) -> Result<ColumnId> {
        let mut columns = self.columns_mut();
        let known = columns
            .iter()
            .position(|column| column.meta.name == meta.name);
        let at = match known {
            Some(at) => {
                columns[at].meta = meta.clone();
                columns[at].filter = filter;
                at
            }
            None => {
                columns.push(Column {
                    meta: meta.clone(),
                    filter,
                    entries: Entries::new(),
                });
                columns.len() - 1
            }
        };
        Ok(ColumnId(at as u32))
    }

    fn columns(&self) -> Vec<StateMeta> {
        let columns = self.columns();
        columns.iter().map(|column| column.meta.clone()).collect()
    }

    fn get(&self, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let columns = self.columns();
        let value = columns[column.0 as usize].entries.get(key);
        Ok(value.map(|value| value.to_vec()))
    }

    fn multi_get(
        &self,
        column: ColumnId,
        keys: &Keys,
        found: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let columns = self.columns();
        let entries = &columns[column.0 as usize].entries;
        for (at, key) in keys.iter().enumerate() {
            found(at, entries.get(key).map(|value| &**value));
        }
        Ok(())
    }

    fn write(&self, column: ColumnId, batch: &WriteBatch) -> Result<()> {
        let mut columns = self.columns_mut();
        let entries = &mut columns[column.0 as usize].entries;
        for change in batch.iter() {
            match change {
                StoreChange::Put { key, value } => {
                    entries.insert(key.into(), value.into());
                }
                StoreChange::Append { key, value } => {
                    let whole = match entries.get(key) {
                        Some(old) => [old, &[LIST_DELIMITER][..], value].concat().into(),
                        None => value.into(),
                    };
                    entries.insert(key.into(), whole);
                }
                StoreChange::Delete { key } => {
                    entries.remove(key);
                }
            }
        }
        Ok(())
    }

    fn scan(
        &self,
        column: ColumnId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        // Cloned, so that the visitor runs without the lock.
        let entries = self.columns()[column.0 as usize].entries.clone();
        scan(&entries, from, to, visit);
        Ok(())
    }

    fn checkpoint(&self) -> Result<Arc<dyn StoreImage>> {
        let columns = self.columns();
        let columns = columns.iter().map(|column| column.entries.clone());
        Ok(Arc::new(MemoryImage {
            columns: columns.collect(),
        }))
    }

    fn statistics(&self) -> StoreStatistics {
        let columns = self.columns();
        let entries = columns.iter().flat_map(|column| &column.entries);
        StoreStatistics {
            disk_bytes: 0,
            memory_bytes: entries
                .map(|(key, value)| (key.len() + value.len()) as u64)
                .sum(),
        }
    }
}

struct MemoryImage {
    columns: Vec<Entries>,
}

impl StoreImage for MemoryImage {
    fn scan(
        &self,
        column: ColumnId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        // A column that was opened later was empty then.
        if let Some(entries) = self.columns.get(column.0 as usize) {
            scan(entries, from, to, visit);
        }
        Ok(())
    }
}

fn scan(entries: &Entries, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) {
    if to.is_some_and(|to| to <= from) {
        return;
    }
    let to = to.map_or(Bound::Unbounded, Bound::Excluded);
    for (key, value) in entries.range::<_, [u8]>((Bound::Included(from), to)) {
        if visit(key, value).is_break() {
            return;
        }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore")
            .field("columns", &self.columns().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn it_keeps_the_promises_of_a_store() {
        conformance::check(&mut || Arc::new(MemoryStore::new()));
    }
}

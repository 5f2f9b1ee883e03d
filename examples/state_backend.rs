//! A state backend of one's own: bytes in a `BTreeMap`, behind the traits that a backend implements.
//!
//! ```sh
//! cargo run --example state_backend -- -D state.backend.type=btree
//! ```
//!
//! It counts words. Its state is in the store below; what the job changed lately is in a cache above
//! it, and each checkpoint writes that back. See `docs/backends.md`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millpond::connectors::GeneratorSource;
use millpond::prelude::*;
use millpond::state::store::{
    ColumnId, KeyValueStore, Keys, StateBackend, StateMeta, StoreChange, StoreContext, StoreImage,
    StoredFilter, Visit, WriteBatch,
};
use millpond::state::{Error, Result};

/// Makes the stores.
struct BTreeBackend;

impl StateBackend for BTreeBackend {
    fn name(&self) -> &str {
        "btree"
    }

    fn open(
        &self,
        _context: &StoreContext,
        files: Option<&Path>,
        _states: &[StateMeta],
    ) -> Result<Arc<dyn KeyValueStore>> {
        match files {
            None => Ok(Arc::new(BTreeStore::default())),
            Some(_) => Err(Error::unsupported("native files: it has none")),
        }
    }
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// One map per state. An image shares the maps; a later write copies the one that it changes.
#[derive(Default)]
struct BTreeStore(Mutex<Vec<(StateMeta, Arc<Entries>)>>);

impl BTreeStore {
    fn columns(&self) -> MutexGuard<'_, Vec<(StateMeta, Arc<Entries>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self, column: ColumnId) -> Arc<Entries> {
        Arc::clone(&self.columns()[column.0 as usize].1)
    }
}

impl KeyValueStore for BTreeStore {
    fn open_column(&self, meta: &StateMeta, _filter: Option<StoredFilter>) -> Result<ColumnId> {
        let mut columns = self.columns();
        let known = columns
            .iter()
            .position(|(other, _)| other.name == meta.name);
        let at = known.unwrap_or_else(|| {
            columns.push((meta.clone(), Arc::default()));
            columns.len() - 1
        });
        columns[at].0 = meta.clone();
        Ok(ColumnId(at as u32))
    }

    fn columns(&self) -> Vec<StateMeta> {
        let columns = BTreeStore::columns(self);
        columns.iter().map(|(meta, _)| meta.clone()).collect()
    }

    fn get(&self, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.entries(column).get(key).cloned())
    }

    fn multi_get(
        &self,
        column: ColumnId,
        keys: &Keys,
        found: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let entries = self.entries(column);
        for (at, key) in keys.iter().enumerate() {
            found(at, entries.get(key).map(Vec::as_slice));
        }
        Ok(())
    }

    fn write(&self, column: ColumnId, batch: &WriteBatch) -> Result<()> {
        let mut columns = self.columns();
        let entries = Arc::make_mut(&mut columns[column.0 as usize].1);
        for change in batch.iter() {
            match change {
                StoreChange::Put { key, value } => {
                    entries.insert(key.to_vec(), value.to_vec());
                }
                StoreChange::Append { key, value } => match entries.get_mut(key) {
                    Some(old) => {
                        old.push(b',');
                        old.extend_from_slice(value);
                    }
                    None => {
                        entries.insert(key.to_vec(), value.to_vec());
                    }
                },
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
        scan(&self.entries(column), from, to, visit);
        Ok(())
    }

    fn checkpoint(&self) -> Result<Arc<dyn StoreImage>> {
        let columns = self.columns();
        let shared = columns.iter().map(|(_, entries)| Arc::clone(entries));
        Ok(Arc::new(BTreeImage(shared.collect())))
    }
}

/// The maps as they were.
struct BTreeImage(Vec<Arc<Entries>>);

impl StoreImage for BTreeImage {
    fn scan(
        &self,
        column: ColumnId,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        // A column that was opened later was empty then.
        if let Some(entries) = self.0.get(column.0 as usize) {
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
    for (key, value) in entries.range::<[u8], _>((Bound::Included(from), to)) {
        if visit(key, value).is_break() {
            return;
        }
    }
}

/// Counts how often each word comes.
struct Counter {
    count: millpond::state::ValueState<i64>,
}

impl KeyedProcessFunction for Counter {
    type Key = String;
    type In = String;
    type Out = String;

    fn process_element(
        &mut self,
        word: String,
        _context: &mut KeyedContext<'_, String>,
        out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        let count = self.count.value().unwrap_or(0) + 1;
        self.count.update(count);
        out.collect(format!("{word} {count}"));
        Ok(())
    }
}

fn main() -> millpond::Result<()> {
    let env = Environment::from_args()?;
    env.add_state_backend(BTreeBackend);
    let words = ["pond", "mill", "wheel"];
    env.from_source(
        GeneratorSource::new(Some(12), move |number| {
            words[number as usize % words.len()].to_owned()
        }),
        "words",
    )
    .uid("words")
    .key_by_ref(|word| word)
    .process(|context| {
        Ok(Counter {
            count: context.value_state("count")?,
        })
    })
    .uid("counter")
    .print();
    env.execute("words in a tree")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_promises_of_a_store() {
        millpond::state::store::conformance::check(&mut || Arc::new(BTreeStore::default()));
    }
}

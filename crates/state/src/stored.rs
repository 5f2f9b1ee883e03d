//! What the states of a backend above a store share: the store, its writer, and the cache's budget.

use crate::cache::{Budget, CacheMemory, Column, GroupPrefix, PendingImage, WriteBack};
use crate::frozen::StateWriter;
use crate::image::{FrozenEntries, FrozenState};
use crate::key_context::Attention;
use crate::store::{ColumnId, Filtered, KeyValueStore, StoreImage, StoredFilter, prefix_end};
use crate::{Error, RestoredFiles, Result};
use millpond_snapshot::StateMeta;
use millpond_types::KeyGroupRange;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

/// A store with what belongs to it.
pub(crate) struct Stored {
    store: Arc<dyn KeyValueStore>,
    write_back: WriteBack,
    budget: Rc<Budget>,
    prefix: GroupPrefix,
    groups: usize,
    /// The image that states are being frozen for.
    image: RefCell<Option<Arc<PendingImage>>>,
    /// What the store was opened on.
    restored: RefCell<Option<Arc<RestoredFiles>>>,
}

impl Stored {
    /// Takes over a store; the decoded values above it have a share of `cache`.
    ///
    /// # Errors
    ///
    /// Storage, if its thread cannot be started.
    pub(crate) fn new(
        store: Arc<dyn KeyValueStore>,
        cache: &CacheMemory,
        range: KeyGroupRange,
        max_parallelism: u32,
        attention: Rc<dyn Attention>,
    ) -> Result<Self> {
        Ok(Stored {
            write_back: WriteBack::start(Arc::clone(&store))?,
            store,
            budget: Rc::new(Budget::new(cache.share(), attention)),
            prefix: GroupPrefix::new(range, max_parallelism),
            groups: range.len(),
            image: RefCell::new(None),
            restored: RefCell::new(None),
        })
    }

    /// Notes what the store was opened on; returns the states that came with it.
    pub(crate) fn take_over(&self, restored: Arc<RestoredFiles>) -> Vec<StateMeta> {
        *self.restored.borrow_mut() = Some(restored);
        self.store.columns()
    }

    /// What the store was opened on, if on anything.
    pub(crate) fn restored(&self) -> Option<Arc<RestoredFiles>> {
        self.restored.borrow().clone()
    }

    pub(crate) fn write_back(&self) -> &WriteBack {
        &self.write_back
    }

    pub(crate) fn budget(&self) -> &Rc<Budget> {
        &self.budget
    }

    /// How many key groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Opens the column of a state.
    pub(crate) fn open(&self, meta: &StateMeta, filter: Option<StoredFilter>) -> Result<Column> {
        let id = self.store.open_column(meta, filter)?;
        Ok(Column::new(
            Arc::clone(&self.store),
            id,
            &meta.name,
            self.prefix,
        ))
    }

    /// Asks for an image, which all states that are frozen next belong to.
    pub(crate) fn begin_image(&self) -> Arc<PendingImage> {
        let image = self.write_back.image();
        *self.image.borrow_mut() = Some(Arc::clone(&image));
        image
    }

    /// All states are frozen: an image keeps files, and goes with who writes it.
    pub(crate) fn end_image(&self) {
        *self.image.borrow_mut() = None;
    }

    /// The image that states are being frozen for.
    pub(crate) fn image(&self) -> Option<Arc<PendingImage>> {
        self.image.borrow().clone()
    }
}

/// The image of a store, or of what will be in it.
pub(crate) struct StoredImage {
    image: Arc<PendingImage>,
    columns: Vec<ColumnId>,
    restored: Option<Arc<RestoredFiles>>,
}

impl StoredImage {
    pub(crate) fn new(
        image: Arc<PendingImage>,
        columns: Vec<ColumnId>,
        restored: Option<Arc<RestoredFiles>>,
    ) -> Self {
        StoredImage {
            image,
            columns,
            restored,
        }
    }

    /// What the store was opened on, if on anything.
    pub(crate) fn restored(&self) -> Option<&Arc<RestoredFiles>> {
        self.restored.as_ref()
    }

    /// The image itself; waits for it.
    ///
    /// # Errors
    ///
    /// Storage.
    pub(crate) fn taken(&self) -> Result<Arc<dyn StoreImage>> {
        self.image.wait()
    }

    /// Whether no column holds anything; waits for the image.
    ///
    /// # Errors
    ///
    /// Storage.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        let image = self.image.wait()?;
        let mut is_empty = true;
        for column in &self.columns {
            image.scan(*column, &[], None, &mut |_, _| {
                is_empty = false;
                ControlFlow::Break(())
            })?;
        }
        Ok(is_empty)
    }
}

/// One state in the image of a store.
pub(crate) struct StoredState {
    image: Option<Arc<PendingImage>>,
    column: ColumnId,
    prefix: GroupPrefix,
    /// What is left out, if anything is.
    filter: Option<StoredFilter>,
}

impl StoredState {
    /// The state in an image; nothing if there is none.
    pub(crate) fn new(
        image: Option<Arc<PendingImage>>,
        column: &Column,
        filter: Option<StoredFilter>,
    ) -> Self {
        StoredState {
            image,
            column: column.id(),
            prefix: column.prefix(),
            filter,
        }
    }
}

impl FrozenState for StoredState {
    fn take_group(&mut self, group: usize) -> Option<Box<dyn FrozenEntries>> {
        Some(Box::new(StoredGroup {
            image: self.image.clone()?,
            column: self.column,
            prefix: self.prefix,
            group,
            filter: self.filter.clone(),
        }))
    }
}

/// One key group of one state in the image of a store.
struct StoredGroup {
    image: Arc<PendingImage>,
    column: ColumnId,
    prefix: GroupPrefix,
    group: usize,
    filter: Option<StoredFilter>,
}

impl StoredGroup {
    /// Visits the entries, with keys behind the key group, until `visit` fails.
    fn try_for_each(
        &self,
        mut visit: impl FnMut(&[u8], &[u8]) -> std::result::Result<(), millpond_snapshot::Error>,
    ) -> Result<std::result::Result<(), millpond_snapshot::Error>> {
        let image = self.image.wait()?;
        let mut from = Vec::with_capacity(self.prefix.bytes());
        self.prefix.put(self.group, &mut from);
        let mut outcome = Ok(());
        let to = prefix_end(&from);
        image.scan(
            self.column,
            &from,
            to.as_deref(),
            &mut |key, value| match visit(&key[from.len()..], value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        Ok(outcome)
    }
}

impl FrozenEntries for StoredGroup {
    fn write(
        &self,
        writer: &mut StateWriter<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        let written = self.try_for_each(|key, value| {
            match self
                .filter
                .as_ref()
                .map_or(Filtered::Keep, |filter| filter(value))
            {
                Filtered::Keep => writer.raw_entry(key, value),
                Filtered::Replace(value) => writer.raw_entry(key, &value),
                Filtered::Remove => Ok(()),
            }
        });
        written.unwrap_or_else(|error: Error| {
            Err(millpond_snapshot::Error::write(std::io::Error::other(
                error,
            )))
        })
    }
}

//! The column of a state in a store, as its table sees it.

use crate::Error;
use crate::composite_key::{is_ambiguous, put_with_length};
use crate::store::{ColumnId, KeyValueStore, Keys, NextBatch, WriteBatch, prefix_end};
use millpond_serializer::{FlinkKey, Namespace};
use millpond_snapshot::key_group_prefix_bytes;
use millpond_types::{KeyGroup, KeyGroupRange};
use std::ops::ControlFlow;
use std::sync::Arc;

/// One column, with the key groups of the subtask.
#[derive(Clone)]
pub(crate) struct Column {
    store: Arc<dyn KeyValueStore>,
    id: ColumnId,
    state: Arc<str>,
    prefix: GroupPrefix,
}

/// How a key begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupPrefix {
    first: KeyGroup,
    bytes: usize,
}

impl GroupPrefix {
    pub(crate) fn new(range: KeyGroupRange, max_parallelism: u32) -> Self {
        GroupPrefix {
            first: range.first(),
            bytes: key_group_prefix_bytes(max_parallelism),
        }
    }

    /// How many bytes a key group takes.
    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }

    /// Appends the key group at `position` of the range.
    #[inline]
    pub(crate) fn put(self, position: usize, out: &mut Vec<u8>) {
        let group = self.first.0 + position as u16;
        match self.bytes {
            1 => out.push(group as u8),
            _ => out.extend_from_slice(&group.to_be_bytes()),
        }
    }
}

impl Column {
    pub(crate) fn new(
        store: Arc<dyn KeyValueStore>,
        id: ColumnId,
        state: &str,
        prefix: GroupPrefix,
    ) -> Self {
        Column {
            store,
            id,
            state: state.into(),
            prefix,
        }
    }

    pub(crate) fn id(&self) -> ColumnId {
        self.id
    }

    pub(crate) fn prefix(&self) -> GroupPrefix {
        self.prefix
    }

    /// Appends what the entries of a key begin with.
    #[inline]
    pub(crate) fn put_head<K: FlinkKey, N: Namespace>(
        &self,
        group: usize,
        key: &K,
        namespace: &N,
        out: &mut Vec<u8>,
    ) {
        self.prefix.put(group, out);
        if is_ambiguous::<K, N>() {
            put_with_length(key, out);
            put_with_length(namespace, out);
        } else {
            key.write(out);
            namespace.write(out);
        }
    }

    /// The value of a key.
    ///
    /// # Panics
    ///
    /// If the store fails, as all methods here: a function that reads its state cannot go on.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.store.get(self.id, key);
        value.unwrap_or_else(|error| self.fail("reading", &error))
    }

    /// Calls `found` for each key.
    pub(crate) fn multi_get(&self, keys: &Keys, found: &mut dyn FnMut(usize, Option<&[u8]>)) {
        let read = self.store.multi_get(self.id, keys, found);
        read.unwrap_or_else(|error| self.fail("reading", &error));
    }

    /// Writes changes that are in any order, and takes them out of the batch.
    pub(crate) fn write_all(&self, changes: &mut WriteBatch) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        changes.sort();
        self.write_run(&mut |batch| {
            std::mem::swap(batch, changes);
            Ok(false)
        })
    }

    /// As [`KeyValueStore::write_run`].
    pub(crate) fn write_run(&self, next: NextBatch<'_>) -> Result<(), Error> {
        self.store.write_run(self.id, next)
    }

    /// Calls `visit` with what follows `prefix` in each key that begins with it, until it fails.
    pub(crate) fn try_scan<E>(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, Error> {
        let mut outcome = Ok(());
        let to = prefix_end(prefix);
        self.store.scan(
            self.id,
            prefix,
            to.as_deref(),
            &mut |key, value| match visit(&key[prefix.len()..], value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        Ok(outcome)
    }

    /// As [`Column::try_scan`], with keys and values that are read without an error.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<(), millpond_snapshot::Error>,
    ) {
        match self.try_scan(prefix, visit) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.damaged(&error),
            Err(error) => self.fail("reading", &error),
        }
    }

    /// As [`Column::scan`], over the first `groups` key groups of the subtask.
    pub(crate) fn scan_groups(
        &self,
        groups: usize,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), millpond_snapshot::Error>,
    ) {
        let mut prefix = Vec::new();
        for group in 0..groups {
            prefix.clear();
            self.prefix.put(group, &mut prefix);
            self.scan(&prefix, &mut visit);
        }
    }

    /// Says that what is stored cannot be read.
    pub(crate) fn damaged(&self, error: &dyn std::error::Error) -> ! {
        self.fail("decoding", error)
    }

    /// Says that the store cannot be read.
    pub(crate) fn failed(&self, error: &Error) -> ! {
        self.fail("reading", error)
    }

    fn fail(&self, what: &str, error: &dyn std::error::Error) -> ! {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        panic!("{what} state \"{}\" failed: {message}", self.state)
    }
}

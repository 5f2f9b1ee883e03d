//! A heap table that notes what changes.

use super::change_log::{ChangeLog, ChangedKeys, History, since};
use super::change_mark::{ChangeMark, ChangedUserKeys, ChangedValue};
use crate::codec::{Codec, EntryPerUserKey, OneEntry};
use crate::composite_key::put_head;
use crate::frozen::StateWriter;
use crate::image::{FrozenChanges, FrozenEntries, FrozenState};
use crate::keyed_table::{Cells, CleanCells, FrozenTable, KeyedTable};
use crate::layered::FrozenGroup;
use crate::map_cells::MapCells;
use crate::registered::{RegisteredState, Touch};
use crate::table::Change;
use crate::ttl::Expiry;
use millpond_serializer::{ByteReader, FlinkKey, FlinkType, Incompatibility, Namespace};
use millpond_snapshot::StateMeta;
use millpond_types::CheckpointId;
use std::any::Any;

/// Of a large key group one key in so many is noted; if more change, all of it is written.
const SHARE: usize = 4;

/// The table of a state, and what has changed in it.
pub(crate) struct TrackedTable<K, N, C: Codec, M> {
    table: KeyedTable<K, N, C>,
    log: ChangeLog<K, N, M>,
}

impl<K, N, C, M> TrackedTable<K, N, C, M>
where
    K: FlinkKey,
    N: Namespace,
    C: Codec,
    M: ChangeMark<C>,
{
    pub(crate) fn new(table: KeyedTable<K, N, C>) -> Self {
        TrackedTable {
            table,
            log: ChangeLog::new(),
        }
    }

    pub(crate) fn table(&self) -> &KeyedTable<K, N, C> {
        &self.table
    }

    /// What is written in part takes little even if all keys change.
    const SHARE: usize = if M::IN_PARTS { 1 } else { SHARE };

    /// Notes a change of the current key.
    #[inline]
    fn note(&self, namespace: &N, mark: impl FnOnce(&mut M) -> usize) {
        if self.log.is_open() {
            self.table.context().with(namespace, |group, probe| {
                let keys = || self.table.entries_of(group);
                self.log.note(group, probe, Self::SHARE, keys, mark);
            });
        }
    }

    fn clean_some(&self) {
        self.table.clean_some(|(group, keys), probe, before, left| {
            let mark = |mark: &mut M| mark.sweep(before, left);
            self.log.note(group, probe, Self::SHARE, || keys, mark);
        });
    }
}

impl<K, N, C> Cells<N, C::Value> for TrackedTable<K, N, C, ChangedValue>
where
    K: FlinkKey,
    N: Namespace,
    C: OneEntry,
{
    fn get(&self, namespace: &N) -> Option<C::Value> {
        self.table.get(namespace)
    }

    fn read(&self, namespace: &N, read: &mut dyn FnMut(Option<&C::Value>)) {
        Cells::read(&self.table, namespace, read);
    }

    fn put(&self, namespace: &N, value: C::Value) {
        self.table.put(namespace, value);
        // Whether there was a value costs a lookup; at worst something is removed that is not there.
        self.note(namespace, |mark| mark.replace(true));
    }

    fn remove(&self, namespace: &N) {
        let mut existed = false;
        self.table.update_with(namespace, &mut |value| {
            existed = value.take().is_some();
        });
        if existed {
            self.note(namespace, |mark| mark.replace(true));
        }
    }

    fn modify(
        &self,
        namespace: &N,
        change: &mut dyn FnMut(Option<&mut C::Value>) -> Change<C::Value>,
    ) {
        let (mut existed, mut changes) = (false, false);
        Cells::modify(&self.table, namespace, &mut |value| {
            existed = value.is_some();
            let change = change(value);
            changes = existed || matches!(change, Change::Set(_));
            change
        });
        if changes {
            self.note(namespace, |mark| mark.replace(existed));
        }
    }

    fn append(
        &self,
        namespace: &N,
        extend: &mut dyn FnMut(Option<&mut C::Value>) -> Change<C::Value>,
    ) {
        let mut before = 0;
        Cells::modify(&self.table, namespace, &mut |value| {
            before = value.as_ref().map_or(0, |value| C::length(value));
            extend(value)
        });
        self.note(namespace, |mark| mark.append(before));
    }

    fn update_with(&self, namespace: &N, change: &mut dyn FnMut(&mut Option<C::Value>)) {
        let (mut existed, mut exists) = (false, false);
        self.table.update_with(namespace, &mut |value| {
            existed = value.is_some();
            change(value);
            exists = value.is_some();
        });
        if existed || exists {
            self.note(namespace, |mark| mark.replace(existed));
        }
    }
}

impl<K, N, C> CleanCells<N, C::Value> for TrackedTable<K, N, C, ChangedValue>
where
    K: FlinkKey,
    N: Namespace,
    C: OneEntry,
{
    fn clean(&self) {
        self.clean_some();
    }

    fn is_being_read(&self) -> bool {
        CleanCells::is_being_read(&self.table)
    }
}

impl<K, N, C, UK, UV> MapCells<N, UK, UV> for TrackedTable<K, N, C, ChangedUserKeys<UK, UV>>
where
    K: FlinkKey,
    N: Namespace,
    C: EntryPerUserKey<UK, UV>,
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    fn read(&self, namespace: &N, key: &UK, read: &mut dyn FnMut(Option<&UV>)) {
        MapCells::read(&self.table, namespace, key, read);
    }

    fn modify(
        &self,
        namespace: &N,
        key: UK,
        change: &mut dyn FnMut(Option<&mut UV>) -> Change<UV>,
    ) {
        let noted = self.log.is_open().then(|| key.clone());
        let (mut existed, mut changes) = (false, false);
        MapCells::modify(&self.table, namespace, key, &mut |value| {
            existed = value.is_some();
            let change = change(value);
            changes = existed || matches!(change, Change::Set(_));
            change
        });
        if let Some(key) = noted.filter(|_| changes) {
            self.note(namespace, |mark| mark.change(key, existed));
        }
    }

    fn visit(&self, namespace: &N, visit: &mut dyn FnMut(&UK, &UV) -> bool) {
        self.table.visit(namespace, visit);
    }

    fn apply(&self, namespace: &N, edits: Vec<(UK, Option<UV>)>) {
        if edits.is_empty() {
            return;
        }
        let keys: Vec<UK> = match self.log.is_open() {
            true => edits.iter().map(|(key, _)| key.clone()).collect(),
            false => Vec::new(),
        };
        self.table.apply(namespace, edits);
        if !keys.is_empty() {
            self.note(namespace, |mark| {
                keys.into_iter().map(|key| mark.change(key, true)).sum()
            });
        }
    }

    fn len(&self, namespace: &N) -> usize {
        MapCells::len(&self.table, namespace)
    }

    fn clear(&self, namespace: &N) {
        let mut keys = Vec::new();
        if self.log.is_open() {
            self.table.visit(namespace, &mut |key, _| {
                keys.push(key.clone());
                true
            });
        }
        MapCells::clear(&self.table, namespace);
        if !keys.is_empty() {
            self.note(namespace, |mark| {
                keys.into_iter().map(|key| mark.change(key, true)).sum()
            });
        }
    }

    fn clean(&self) {
        self.clean_some();
    }

    fn is_being_read(&self) -> bool {
        CleanCells::is_being_read(&self.table)
    }
}

impl<K, N, C, M> RegisteredState<K> for TrackedTable<K, N, C, M>
where
    K: FlinkKey,
    N: Namespace,
    C: Codec,
    M: ChangeMark<C>,
{
    fn clean(&self) {
        self.clean_some();
    }

    fn cleans_on_every_record(&self) -> bool {
        self.table.cleans_on_every_record()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn for_each_key(&self, visit: &mut dyn FnMut(&K)) {
        self.table.for_each_key(visit);
    }

    fn meta(&self) -> &StateMeta {
        self.table.meta()
    }

    fn prepare(
        &self,
        previous: &StateMeta,
    ) -> std::result::Result<std::result::Result<(), Incompatibility>, millpond_snapshot::Error>
    {
        self.table.prepare(previous)
    }

    fn entries(&self) -> usize {
        self.table.entries()
    }

    fn allocated_bytes(&self) -> usize {
        self.table.allocated_bytes() + self.log.allocated_bytes()
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        self.table.freeze()
    }

    fn freeze_at(
        &self,
        checkpoint: CheckpointId,
        oldest: Option<CheckpointId>,
    ) -> Box<dyn FrozenState> {
        let table = self.table.freeze_table();
        let history = self.log.end(checkpoint, oldest, table.groups.len());
        Box::new(FrozenTracked { table, history })
    }

    fn maintain(&self, budget: &mut usize) -> bool {
        self.table.maintain(budget)
    }

    fn is_large(&self) -> bool {
        self.table.is_large()
    }

    #[inline]
    fn touch(&self, keys: &[Touch<'_, K>]) -> usize {
        self.table.touch(keys)
    }

    fn reserve(&self, group: usize, entries: usize) {
        self.table.reserve(group, entries);
    }

    fn restore_entry(
        &self,
        group: usize,
        key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        self.table.restore_entry(group, key, value)
    }
}

/// The image of a state at a checkpoint, and what had changed before.
struct FrozenTracked<K, N, C: Codec, M> {
    table: FrozenTable<K, N, C>,
    history: History<K, N, M>,
}

impl<K, N, C, M> FrozenState for FrozenTracked<K, N, C, M>
where
    K: FlinkKey,
    N: Namespace,
    C: Codec,
    M: ChangeMark<C>,
{
    fn take_group(&mut self, group: usize) -> Option<Box<dyn FrozenEntries>> {
        self.table.take_group(group)
    }

    fn take_changes(&mut self, group: usize, base: CheckpointId) -> FrozenChanges {
        let Some(history) = since(&self.history, base) else {
            return FrozenChanges::All(self.take_group(group));
        };
        if history
            .iter()
            .any(|interval| interval.groups[group].is_all())
        {
            return FrozenChanges::All(self.take_group(group));
        }
        if history
            .iter()
            .all(|interval| interval.groups[group].len() == 0)
        {
            self.table.groups[group] = None;
            return FrozenChanges::Nothing;
        }
        FrozenChanges::Some(Box::new(ChangedGroup::<K, N, C, M> {
            history: history.to_vec(),
            position: group,
            group: self.table.groups[group].take(),
            expiry: self.table.expiry,
        }))
    }

    fn changed_since(&self, base: CheckpointId) -> usize {
        let history = since(&self.history, base).unwrap_or_default();
        let groups = history.iter().flat_map(|interval| &interval.groups);
        // How much of a map or list has changed is seen once it is written.
        let counted = groups.filter(|changed| changed.is_all() || !M::IN_PARTS);
        counted.map(ChangedKeys::len).sum()
    }
}

/// What has changed in one key group since a base.
struct ChangedGroup<K, N, C: Codec, M> {
    history: History<K, N, M>,
    position: usize,
    group: Option<FrozenGroup<K, N, C::Value>>,
    expiry: Option<Expiry>,
}

impl<K, N, C, M> FrozenEntries for ChangedGroup<K, N, C, M>
where
    K: FlinkKey,
    N: Namespace,
    C: Codec,
    M: ChangeMark<C>,
{
    fn write(
        &self,
        writer: &mut StateWriter<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error> {
        let intervals = self.history.iter();
        let intervals: Vec<_> = intervals.map(|i| &i.groups[self.position]).collect();
        let mut marks = Vec::with_capacity(intervals.len());
        for (at, interval) in intervals.iter().enumerate() {
            for entry in interval.iter() {
                let probe = crate::hash::Probe::of(&entry.key, &entry.namespace);
                // Once, with the oldest interval that has it.
                if intervals[..at]
                    .iter()
                    .any(|older| older.get(probe).is_some())
                {
                    continue;
                }
                marks.clear();
                marks.push(&entry.value);
                marks.extend(intervals[at + 1..].iter().filter_map(|i| i.get(probe)));
                let value = self.group.as_ref().and_then(|group| group.get(probe));
                let head = |out: &mut Vec<u8>| put_head(&entry.key, &entry.namespace, out);
                M::write(&marks, value, self.expiry, head, writer)?;
            }
        }
        Ok(())
    }
}

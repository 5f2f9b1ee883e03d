//! What the backend needs of a state that the job has registered, whatever its types.

use crate::cache::{Changes, Column};
use crate::image::FrozenState;
use crate::{Error, ErrorKind, Result};
use millpond_serializer::{ByteReader, Incompatibility, SerializerSnapshot};
use millpond_snapshot::{StateKind, StateMeta};
use millpond_types::CheckpointId;
use std::any::Any;

/// A key that will be current soon.
pub(crate) struct Touch<'a, K> {
    /// The position of its key group.
    pub(crate) group: usize,
    pub(crate) hash: u64,
    pub(crate) key: &'a K,
}

/// A state whose types, but for that of the key, are hidden.
pub(crate) trait RegisteredState<K>: Any {
    /// The state itself, for who knows its types.
    fn as_any(&self) -> &dyn Any;

    /// Calls `visit` for each key that has a value in some namespace, once per namespace.
    fn for_each_key(&self, visit: &mut dyn FnMut(&K));

    /// How the header of a snapshot describes it.
    fn meta(&self) -> &StateMeta;

    /// Gets ready to read the entries that `previous` describes, or says why it cannot.
    ///
    /// Keys are as the job declares them: the backend has seen to that.
    ///
    /// # Errors
    ///
    /// If `previous` lacks a serializer.
    fn prepare(
        &self,
        previous: &StateMeta,
    ) -> std::result::Result<std::result::Result<(), Incompatibility>, millpond_snapshot::Error>;

    /// How many keys, or timers, there are.
    fn entries(&self) -> usize;

    /// The memory of the tables, in bytes; not what keys and values own elsewhere.
    fn allocated_bytes(&self) -> usize;

    /// Returns the image of the state as it is now; copies no entry.
    fn freeze(&self) -> Box<dyn FrozenState>;

    /// As [`freeze`](Self::freeze), for a checkpoint that later ones may be based on: the image knows
    /// what has changed since those that are not older than `oldest`.
    fn freeze_at(
        &self,
        _checkpoint: CheckpointId,
        _oldest: Option<CheckpointId>,
    ) -> Box<dyn FrozenState> {
        self.freeze()
    }

    /// Merges at most `budget` entries, which it lowers; returns whether there is more to merge.
    fn maintain(&self, budget: &mut usize) -> bool;

    /// Looks at some entries and removes what has expired of them.
    fn clean(&self) {}

    /// Whether the state cleans up at each record, even if that does not touch it.
    fn cleans_on_every_record(&self) -> bool {
        false
    }

    /// Whether the state is too large for the caches of a processor.
    fn is_large(&self) -> bool;

    /// Looks keys up, so that they are in the caches soon; what is returned means nothing.
    fn touch(&self, keys: &[Touch<'_, K>]) -> usize;

    /// Makes room in the group at position `group` for entries to be restored.
    fn reserve(&self, group: usize, entries: usize);

    /// Adds an entry of what [`prepare`](Self::prepare) has seen; `key` begins behind the key group.
    fn restore_entry(
        &self,
        group: usize,
        key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> std::result::Result<(), millpond_snapshot::Error>;

    // Above a store:

    /// Whether entries of what [`prepare`](Self::prepare) has seen are written as they are.
    fn reads_as_is(&self) -> bool {
        false
    }

    /// All entries of a key group have been restored, or as many as are to be held at once.
    ///
    /// # Errors
    ///
    /// Storage.
    fn restored_group(&self) -> Result<()> {
        Ok(())
    }

    /// Its column; `None` on the heap.
    fn column(&self) -> Option<&Column> {
        None
    }

    /// The column holds what was restored, as this state would have written it: takes over what does
    /// not stay in the store alone.
    ///
    /// # Errors
    ///
    /// Corrupt or storage.
    fn take_over(&self) -> Result<()> {
        Ok(())
    }

    /// Returns what was changed since the last call, to be written back.
    fn seal(&self) -> Option<Box<dyn Changes>> {
        None
    }

    /// The memory of cached values, in bytes.
    fn cached_bytes(&self) -> usize {
        0
    }

    /// Looks at no more than `steps` cached values, which it lowers, and forgets some that are stored.
    fn forget(&self, _steps: &mut usize) {}
}

impl<K: 'static> dyn RegisteredState<K> {
    /// Gets ready to restore what `previous` describes into this state.
    ///
    /// # Errors
    ///
    /// Incompatible, if it cannot be restored; nothing has been touched then.
    pub(crate) fn accept(&self, previous: &StateMeta) -> Result<()> {
        let meta = self.meta();
        let incompatible = |expected: String, found: String| {
            let state = meta.name.clone();
            Err(Error::new(ErrorKind::Incompatible {
                state,
                expected,
                found,
            }))
        };
        if meta.kind != previous.kind || meta.keyed_state_type() != previous.keyed_state_type() {
            return incompatible(kind_of(meta), kind_of(previous));
        }
        let prepared = self.prepare(previous).map_err(|error| {
            let what = format!("the description of state \"{}\"", meta.name);
            Error::caused_by(ErrorKind::Corrupt { what }, error)
        })?;
        prepared
            .or_else(|why| incompatible(describe(meta), format!("{} ({why})", describe(previous))))
    }
}

/// What a state is, for people: `MAP state`, `timers`.
fn kind_of(meta: &StateMeta) -> String {
    match (meta.kind, meta.keyed_state_type()) {
        (StateKind::KeyValue, Some(state_type)) => format!("{} state", state_type.name()),
        (StateKind::PriorityQueue, _) => "timers".to_owned(),
        (StateKind::KeyValueV2, _) => "state of the asynchronous API".to_owned(),
        (StateKind::KeyValue, None) => "keyed state of an unknown kind".to_owned(),
        (StateKind::Operator | StateKind::Broadcast, _) => "operator state".to_owned(),
    }
}

/// The types of a state, for people.
fn describe(meta: &StateMeta) -> String {
    let value = meta.value_serializer().map_or_else(
        |_| "an unknown type".to_owned(),
        SerializerSnapshot::describe,
    );
    match meta.namespace_serializer() {
        Ok(namespace) if *namespace != SerializerSnapshot::void_namespace() => {
            format!("{value} in namespace {}", namespace.describe())
        }
        // Timers have no namespace of their own.
        Ok(_) | Err(_) => value,
    }
}

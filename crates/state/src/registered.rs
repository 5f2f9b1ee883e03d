//! What the backend needs of a state that the job has registered, whatever its types.

use crate::frozen::FrozenState;
use crate::{Error, ErrorKind, Result};
use millpond_serializer::{ByteReader, Compatibility, SerializerSnapshot};
use std::any::Any;
use std::fmt;

/// The kind of a keyed state, as a snapshot names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateType {
    /// One value per key.
    Value,
    /// A list per key.
    List,
    /// A map per key.
    Map,
    /// One value per key, to which others are added.
    Reducing,
    /// One accumulator per key.
    Aggregating,
    /// A priority queue: timers.
    PriorityQueue,
}

impl StateType {
    /// The word of the format, which is that of people too.
    pub fn as_str(self) -> &'static str {
        match self {
            StateType::Value => "VALUE",
            StateType::List => "LIST",
            StateType::Map => "MAP",
            StateType::Reducing => "REDUCING",
            StateType::Aggregating => "AGGREGATING",
            StateType::PriorityQueue => "PRIORITY_QUEUE",
        }
    }
}

impl fmt::Display for StateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A keyed state as the header of a snapshot describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDescription {
    pub(crate) name: String,
    pub(crate) state_type: StateType,
    /// The serializer of the namespace; a priority queue has none.
    pub(crate) namespace: Option<SerializerSnapshot>,
    /// The serializer of the whole value, or of a queue's element.
    pub(crate) value: SerializerSnapshot,
}

/// A state whose types, but for that of the key, are hidden.
pub(crate) trait RegisteredState<K>: Any {
    /// The state itself, for who knows its types.
    fn as_any(&self) -> &dyn Any;

    /// Calls `visit` for each key that has a value in some namespace, once per namespace.
    fn for_each_key(&self, visit: &mut dyn FnMut(&K));

    fn description(&self) -> &StateDescription;

    /// Whether values and namespaces that `previous` describes can be read.
    fn resolve(&self, previous: &StateDescription) -> Compatibility;

    /// How many keys, or timers, there are.
    fn entries(&self) -> usize;

    /// The memory of the tables, in bytes; not what keys and values own elsewhere.
    fn allocated_bytes(&self) -> usize;

    /// Returns the image of the state as it is now; copies no entry.
    fn freeze(&self) -> Box<dyn FrozenState>;

    /// Merges at most `budget` entries, which it lowers; returns whether there is more to merge.
    fn maintain(&self, budget: &mut usize) -> bool;

    /// Makes room in the group at position `group`.
    fn reserve(&self, group: usize, additional: usize);

    /// Adds an entry of a snapshot; `key` begins behind the key group.
    fn restore_entry(
        &self,
        group: usize,
        key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> std::result::Result<(), millpond_serializer::Error>;
}

impl<K: 'static> dyn RegisteredState<K> {
    /// Checks that state which `previous` describes can be restored into this one.
    pub(crate) fn check(&self, previous: &StateDescription) -> Result<()> {
        let description = self.description();
        let incompatible = |expected: String, found: String| {
            Err(Error::new(ErrorKind::Incompatible {
                state: description.name.clone(),
                expected,
                found,
            }))
        };
        if description.state_type != previous.state_type {
            return incompatible(
                format!("{} state", description.state_type),
                format!("{} state", previous.state_type),
            );
        }
        match self.resolve(previous) {
            Compatibility::AsIs | Compatibility::Reconfigured => Ok(()),
            Compatibility::AfterMigration => Err(Error::new(ErrorKind::Unsupported {
                what: format!(
                    "migration of state \"{}\" from {} to {}",
                    description.name,
                    previous.describe(),
                    description.describe()
                ),
            })),
            Compatibility::Incompatible { reason } => incompatible(
                description.describe(),
                format!("{} ({reason})", previous.describe()),
            ),
        }
    }
}

impl StateDescription {
    fn describe(&self) -> String {
        match &self.namespace {
            Some(namespace) if *namespace != SerializerSnapshot::void_namespace() => {
                format!(
                    "{} in namespace {}",
                    self.value.describe(),
                    namespace.describe()
                )
            }
            Some(_) | None => self.value.describe(),
        }
    }
}

//! State metas: how a header describes one state.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | UTF | name |
//! | 2 | i32 | kind: 0 KEY_VALUE, 1 OPERATOR, 2 BROADCAST, 3 PRIORITY_QUEUE, 4 KEY_VALUE_V2 |
//! | 3 | i32 n, n (UTF, UTF) | options |
//! | 4 | i32 n, n (UTF, ENCLOSED snapshot) | serializers |
//!
//! | kind | options | serializers |
//! | --- | --- | --- |
//! | KEY_VALUE | KEYED_STATE_TYPE | VALUE_SERIALIZER, NAMESPACE_SERIALIZER |
//! | OPERATOR | OPERATOR_STATE_DISTRIBUTION_MODE | VALUE_SERIALIZER |
//! | BROADCAST | OPERATOR_STATE_DISTRIBUTION_MODE | KEY_SERIALIZER, VALUE_SERIALIZER |
//! | PRIORITY_QUEUE | | VALUE_SERIALIZER |
//!
//! Options and serializers stand in the order of a Java hash map; reading keeps it, and it means
//! nothing.
//!
//! Source: Flink 2.3.0, classes `StateMetaInfoSnapshot` and `StateMetaInfoSnapshotReadersWriters`.

use millpond_serializer::{ByteReader, ByteWriter, OpaqueBodies, SerializerSnapshot};

use crate::handle::read_list;
use crate::{DistributionMode, Error};

const KEYED_STATE_TYPE: &str = "KEYED_STATE_TYPE";
const DISTRIBUTION_MODE: &str = "OPERATOR_STATE_DISTRIBUTION_MODE";
const KEY_SERIALIZER: &str = "KEY_SERIALIZER";
const NAMESPACE_SERIALIZER: &str = "NAMESPACE_SERIALIZER";
const VALUE_SERIALIZER: &str = "VALUE_SERIALIZER";

/// The description of one state in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateMeta {
    /// The name of the state.
    pub name: String,
    /// What it is.
    pub kind: StateKind,
    /// Options by name.
    pub options: Vec<(String, String)>,
    /// Serializers by name.
    pub serializers: Vec<(String, SerializerSnapshot)>,
}

/// What a state is to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// Keyed state.
    KeyValue,
    /// A list of operator state.
    Operator,
    /// A broadcast map.
    Broadcast,
    /// Timers.
    PriorityQueue,
    /// Keyed state of the asynchronous API (2.0 and later).
    KeyValueV2,
}

/// What a keyed state is to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyedStateType {
    /// One value.
    Value,
    /// A list.
    List,
    /// A value that every addition is merged into.
    Reducing,
    /// Removed from Flink.
    Folding,
    /// As reducing, with an accumulator of another type.
    Aggregating,
    /// A map.
    Map,
}

impl KeyedStateType {
    const ALL: [(KeyedStateType, &str); 6] = [
        (KeyedStateType::Value, "VALUE"),
        (KeyedStateType::List, "LIST"),
        (KeyedStateType::Reducing, "REDUCING"),
        (KeyedStateType::Folding, "FOLDING"),
        (KeyedStateType::Aggregating, "AGGREGATING"),
        (KeyedStateType::Map, "MAP"),
    ];

    /// The word in headers.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == self)
            .map_or("", |(_, name)| name)
    }
}

impl StateMeta {
    /// Returns the meta of a keyed state; `value` is the serializer of the whole value: for LIST
    /// and MAP that of the list or map.
    pub fn key_value(
        name: &str,
        state_type: KeyedStateType,
        namespace: SerializerSnapshot,
        value: SerializerSnapshot,
    ) -> Self {
        StateMeta {
            name: name.to_owned(),
            kind: StateKind::KeyValue,
            options: vec![(KEYED_STATE_TYPE.to_owned(), state_type.name().to_owned())],
            serializers: vec![
                (VALUE_SERIALIZER.to_owned(), value),
                (NAMESPACE_SERIALIZER.to_owned(), namespace),
            ],
        }
    }

    /// Returns the meta of timers; `element` is [`SerializerSnapshot::timer`].
    pub fn priority_queue(name: &str, element: SerializerSnapshot) -> Self {
        StateMeta {
            name: name.to_owned(),
            kind: StateKind::PriorityQueue,
            options: Vec::new(),
            serializers: vec![(VALUE_SERIALIZER.to_owned(), element)],
        }
    }

    /// Returns the meta of a list of operator state.
    ///
    /// # Panics
    ///
    /// If the mode is broadcast, which lists cannot have.
    pub fn operator(name: &str, mode: DistributionMode, element: SerializerSnapshot) -> Self {
        let mode = match mode {
            DistributionMode::SplitDistribute => "SPLIT_DISTRIBUTE",
            DistributionMode::Union => "UNION",
            DistributionMode::Broadcast => panic!("list state \"{name}\" with broadcast mode"),
        };
        StateMeta {
            name: name.to_owned(),
            kind: StateKind::Operator,
            options: vec![(DISTRIBUTION_MODE.to_owned(), mode.to_owned())],
            serializers: vec![(VALUE_SERIALIZER.to_owned(), element)],
        }
    }

    /// Returns the meta of a broadcast map.
    pub fn broadcast(name: &str, key: SerializerSnapshot, value: SerializerSnapshot) -> Self {
        StateMeta {
            name: name.to_owned(),
            kind: StateKind::Broadcast,
            options: vec![(DISTRIBUTION_MODE.to_owned(), "BROADCAST".to_owned())],
            serializers: vec![
                (KEY_SERIALIZER.to_owned(), key),
                (VALUE_SERIALIZER.to_owned(), value),
            ],
        }
    }

    /// What the state is to a function; `None` unless it is keyed state.
    pub fn keyed_state_type(&self) -> Option<KeyedStateType> {
        let (_, word) = self
            .options
            .iter()
            .find(|(name, _)| name == KEYED_STATE_TYPE)?;
        KeyedStateType::ALL
            .iter()
            .find(|(_, name)| name == word)
            .map(|(known, _)| *known)
    }

    /// How a list is dealt out, or that it is a broadcast map; `None` unless it is operator state.
    pub fn distribution_mode(&self) -> Option<DistributionMode> {
        let (_, word) = self
            .options
            .iter()
            .find(|(name, _)| name == DISTRIBUTION_MODE)?;
        match word.as_str() {
            "SPLIT_DISTRIBUTE" => Some(DistributionMode::SplitDistribute),
            "UNION" => Some(DistributionMode::Union),
            "BROADCAST" => Some(DistributionMode::Broadcast),
            _ => None,
        }
    }

    /// Whether entries that the other meta describes can stand beside those of this one.
    ///
    /// The order of options and serializers means nothing.
    pub fn describes_same(&self, other: &StateMeta) -> bool {
        fn same<T: PartialEq>(left: &[(String, T)], right: &[(String, T)]) -> bool {
            left.len() == right.len() && left.iter().all(|one| right.contains(one))
        }
        self.name == other.name
            && self.kind == other.kind
            && same(&self.options, &other.options)
            && same(&self.serializers, &other.serializers)
    }

    fn serializer(&self, which: &str) -> Result<&SerializerSnapshot, Error> {
        let found = self.serializers.iter().find(|(name, _)| name == which);
        found.map(|(_, snapshot)| snapshot).ok_or_else(|| {
            Error::incompatible(format!(
                "state \"{}\" has no {which} in its header",
                self.name
            ))
        })
    }

    /// The serializer of values, of list elements in operator state, or of timers.
    ///
    /// # Errors
    ///
    /// Incompatible, if the header has none.
    pub fn value_serializer(&self) -> Result<&SerializerSnapshot, Error> {
        self.serializer(VALUE_SERIALIZER)
    }

    /// The serializer of namespaces of keyed state.
    ///
    /// # Errors
    ///
    /// Incompatible, if the header has none.
    pub fn namespace_serializer(&self) -> Result<&SerializerSnapshot, Error> {
        self.serializer(NAMESPACE_SERIALIZER)
    }

    /// The serializer of keys of a broadcast map.
    ///
    /// # Errors
    ///
    /// Incompatible, if the header has none.
    pub fn key_serializer(&self) -> Result<&SerializerSnapshot, Error> {
        self.serializer(KEY_SERIALIZER)
    }

    /// Appends the meta.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_utf(&self.name)?;
        out.put_i32(match self.kind {
            StateKind::KeyValue => 0,
            StateKind::Operator => 1,
            StateKind::Broadcast => 2,
            StateKind::PriorityQueue => 3,
            StateKind::KeyValueV2 => 4,
        });
        out.put_count(self.options.len());
        for (name, value) in &self.options {
            out.put_utf(name)?;
            out.put_utf(value)?;
        }
        out.put_count(self.serializers.len());
        for (name, snapshot) in &self.serializers {
            out.put_utf(name)?;
            snapshot.write_enclosed(out)?;
        }
        Ok(())
    }

    /// Reads a meta.
    pub(crate) fn read(
        input: &mut ByteReader<'_>,
        opaque: &mut OpaqueBodies,
    ) -> Result<Self, Error> {
        let name = input.utf()?;
        let at = input.offset();
        let kind = match input.i32()? {
            0 => StateKind::KeyValue,
            1 => StateKind::Operator,
            2 => StateKind::Broadcast,
            3 => StateKind::PriorityQueue,
            4 => StateKind::KeyValueV2,
            other => {
                return Err(Error::corrupt(
                    at,
                    "a state kind of 0 to 4",
                    other.to_string(),
                ));
            }
        };
        let options = read_list(input, 4, |input| Ok((input.utf()?, input.utf()?)))?;
        let serializers = read_list(input, 12, |input| {
            let name = input.utf()?;
            if ![KEY_SERIALIZER, NAMESPACE_SERIALIZER, VALUE_SERIALIZER].contains(&name.as_str()) {
                return Err(Error::corrupt(
                    at,
                    "the name of a serializer",
                    format!("{name:?}"),
                ));
            }
            Ok((name, SerializerSnapshot::read_enclosed_with(input, opaque)?))
        })?;
        Ok(StateMeta {
            name,
            kind,
            options,
            serializers,
        })
    }
}

/// Appends i16 n and n metas.
pub(crate) fn write_metas(metas: &[StateMeta], out: &mut Vec<u8>) -> Result<(), Error> {
    let count = i16::try_from(metas.len())
        .map_err(|_| Error::unsupported(format!("{} states in one header", metas.len())))?;
    out.put_i16(count);
    metas.iter().try_for_each(|meta| meta.write(out))
}

/// Reads i16 n and n metas.
pub(crate) fn read_metas(
    input: &mut ByteReader<'_>,
    opaque: &mut OpaqueBodies,
) -> Result<Vec<StateMeta>, Error> {
    let at = input.offset();
    let count = input.i16()?;
    if count < 0 {
        return Err(Error::corrupt(at, "a number of states", count.to_string()));
    }
    (0..count).map(|_| StateMeta::read(input, opaque)).collect()
}

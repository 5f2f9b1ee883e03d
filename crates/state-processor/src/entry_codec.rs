//! Entries of keyed state as rows of values, and rows as entries.
//!
//! An entry is a composite key and a value ([`millpond_snapshot::Entry`]). What a row is depends
//! on the state: one value, a whole list, one entry of a map, or a timer.

use std::sync::Arc;

use millpond_serializer::{
    ByteReader, Error as SerializerError, ErrorKind as SerializerErrorKind, SerializerSnapshot,
    Value, ValueCodec,
};
use millpond_snapshot::{
    Entry, Error as SnapshotError, KeyedHeader, KeyedStateType, LIST_DELIMITER, StateKind,
    is_ambiguous, put_length, read_length,
};

use crate::Error;

/// How much of an entry is decoded; the rest of the row is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parts {
    /// Nothing: only that there is an entry, and its key group.
    KeyGroup,
    /// Key, namespace, user key, and all of a timer.
    Key,
    /// The value as well.
    All,
}

/// What a keyed state is to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateType {
    /// One value.
    Value,
    /// A list.
    List,
    /// A map.
    Map,
    /// A value that every addition is merged into.
    Reducing,
    /// The accumulator of an aggregation.
    Aggregating,
    /// Removed from Flink.
    Folding,
    /// Timers.
    Timers,
}

impl StateType {
    /// The word for it: "value", "list", ...
    pub fn name(self) -> &'static str {
        match self {
            StateType::Value => "value",
            StateType::List => "list",
            StateType::Map => "map",
            StateType::Reducing => "reducing",
            StateType::Aggregating => "aggregating",
            StateType::Folding => "folding",
            StateType::Timers => "timers",
        }
    }
}

/// A keyed state, or a queue of timers, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedState {
    /// The name.
    pub name: String,
    /// What it is to a function.
    pub kind: StateType,
    /// The serializer of keys.
    pub key: SerializerSnapshot,
    /// The serializer of namespaces.
    pub namespace: SerializerSnapshot,
    /// The serializer of values; of elements for a list, of user values for a map, of the whole
    /// timer for timers.
    pub value: SerializerSnapshot,
    /// The serializer of user keys, for a map.
    pub user_key: Option<SerializerSnapshot>,
    /// The serializer of the whole value, as it stands in the header.
    pub declared: SerializerSnapshot,
}

/// One row of keyed state.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The key.
    pub key: Value,
    /// The namespace; null if void.
    pub namespace: Value,
    /// The rest.
    pub content: Content,
}

/// What stands under a key and a namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The value of a value, reducing or aggregating state.
    Value(Value),
    /// The elements of a list state.
    List(Vec<Value>),
    /// One entry of a map state.
    MapEntry(Value, Value),
    /// When a timer fires, in milliseconds.
    Timer(i64),
}

impl KeyedState {
    /// Returns the states of a header, in its order.
    ///
    /// # Errors
    ///
    /// Snapshot: the header lacks a serializer, or has state that is not keyed.
    pub fn all_of(header: &KeyedHeader) -> Result<Vec<KeyedState>, Error> {
        (0..header.states.len())
            .map(|state| KeyedState::of(header, state))
            .collect()
    }

    fn of(header: &KeyedHeader, state: usize) -> Result<KeyedState, Error> {
        let meta = &header.states[state];
        let wrong = |what: &str| {
            let what = format!("state \"{}\" {what}", meta.name);
            Error::from(SnapshotError::unsupported(what))
        };
        let declared = meta.value_serializer()?;
        let state = |kind, namespace: &SerializerSnapshot, value: &SerializerSnapshot| KeyedState {
            name: meta.name.clone(),
            kind,
            key: header.key_serializer.clone(),
            namespace: namespace.clone(),
            value: value.clone(),
            user_key: None,
            declared: declared.clone(),
        };
        match meta.kind {
            StateKind::PriorityQueue => match declared.nested() {
                [key, namespace] => Ok(KeyedState {
                    key: key.clone(),
                    ..state(StateType::Timers, namespace, declared)
                }),
                _ => Err(wrong("has elements that are no timers")),
            },
            StateKind::KeyValue | StateKind::KeyValueV2 => {
                let namespace = meta.namespace_serializer()?;
                match (meta.keyed_state_type(), declared.nested()) {
                    (Some(KeyedStateType::List), [element]) => {
                        Ok(state(StateType::List, namespace, element))
                    }
                    (Some(KeyedStateType::Map), [user_key, value]) => Ok(KeyedState {
                        user_key: Some(user_key.clone()),
                        ..state(StateType::Map, namespace, value)
                    }),
                    (Some(KeyedStateType::List), _) => Err(wrong("is a list of no elements")),
                    (Some(KeyedStateType::Map), _) => Err(wrong("is a map without keys")),
                    (Some(KeyedStateType::Value), _) => {
                        Ok(state(StateType::Value, namespace, declared))
                    }
                    (Some(KeyedStateType::Reducing), _) => {
                        Ok(state(StateType::Reducing, namespace, declared))
                    }
                    (Some(KeyedStateType::Aggregating), _) => {
                        Ok(state(StateType::Aggregating, namespace, declared))
                    }
                    (Some(KeyedStateType::Folding), _) => {
                        Ok(state(StateType::Folding, namespace, declared))
                    }
                    (None, _) => Err(wrong("does not say what kind of keyed state it is")),
                }
            }
            StateKind::Operator | StateKind::Broadcast => Err(wrong("is operator state")),
        }
    }

    /// Whether values carry the time of their last use.
    pub fn has_ttl(&self) -> bool {
        self.value.class.ends_with("TtlSerializerSnapshot")
    }

    /// Whether state is told apart by nothing but its key.
    pub fn has_void_namespace(&self) -> bool {
        self.namespace.class == SerializerSnapshot::void_namespace().class
    }

    /// The namespace in words: "void", "window", or a type.
    pub fn namespace_words(&self) -> String {
        self.namespace.type_words()
    }

    /// The types of the values in words: of a map both.
    pub fn type_words(&self) -> Vec<String> {
        let types = self.user_key.iter().chain([&self.value]);
        types.map(SerializerSnapshot::type_words).collect()
    }

    /// The service of a queue of timers, and whether they are of event time:
    /// `_timer_state/event_user-timers`.
    pub fn timer_service(&self) -> Option<(&str, bool)> {
        let rest = self.name.strip_prefix("_timer_state/")?;
        let event = rest.strip_prefix("event_").map(|service| (service, true));
        event.or_else(|| Some((rest.strip_prefix("processing_")?, false)))
    }
}

/// Reads and writes the entries of one state.
#[derive(Clone, Debug)]
pub struct EntryCodec {
    state: Arc<KeyedState>,
    /// Whether keys and namespaces are followed by their lengths.
    ambiguous: bool,
    void_namespace: bool,
    key: ValueCodec,
    namespace: ValueCodec,
    /// If all namespaces have as many bytes: they lie at the end of a key that cannot be read.
    namespace_bytes: Option<usize>,
    user_key: Option<ValueCodec>,
    value: ValueCodec,
}

impl EntryCodec {
    /// Returns a codec for each state of a header, in its order.
    ///
    /// # Errors
    ///
    /// As [`KeyedState::all_of`].
    pub fn all_of(header: &KeyedHeader) -> Result<Vec<EntryCodec>, Error> {
        let states = KeyedState::all_of(header)?;
        Ok(states.into_iter().map(EntryCodec::new).collect())
    }

    /// Returns the codec of a state.
    pub fn new(state: KeyedState) -> Self {
        let namespace = ValueCodec::new(&state.namespace);
        let namespace_bytes = match state.namespace.fixed_length() {
            // A void namespace says 0 and takes one byte.
            Some(0) => Some(1),
            other => other,
        };
        EntryCodec {
            void_namespace: state.has_void_namespace(),
            ambiguous: state.kind != StateType::Timers
                && is_ambiguous(&state.key, &state.namespace),
            key: ValueCodec::new(&state.key),
            namespace,
            namespace_bytes,
            user_key: state.user_key.as_ref().map(ValueCodec::new),
            value: ValueCodec::new(&state.value),
            state: Arc::new(state),
        }
    }

    /// The state.
    pub fn state(&self) -> &Arc<KeyedState> {
        &self.state
    }

    /// Whether keys and namespaces are followed by their lengths.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Whether state is told apart by nothing but its key.
    pub fn has_void_namespace(&self) -> bool {
        self.void_namespace
    }

    /// The codec of keys.
    pub fn key(&self) -> &ValueCodec {
        &self.key
    }

    /// The codec of namespaces.
    pub fn namespace(&self) -> &ValueCodec {
        &self.namespace
    }

    /// The codec of user keys; `None` unless the state is a map.
    pub fn user_key(&self) -> Option<&ValueCodec> {
        self.user_key.as_ref()
    }

    /// The codec of values: of elements for a list, of user values for a map.
    pub fn value(&self) -> &ValueCodec {
        &self.value
    }

    /// Reads an entry; what only Java understands is [`Value::Opaque`].
    ///
    /// # Errors
    ///
    /// Snapshot: damage, or a key that cannot be told from what follows it. Offsets are of the
    /// entry's key or value.
    pub fn decode(&self, entry: &Entry<'_>) -> Result<Row, Error> {
        self.decode_parts(entry, Parts::All)
    }

    /// As [`decode`](Self::decode), but only the parts that are asked for; a list whose value is
    /// not asked for is a null value.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode); damage in the other parts is not found.
    pub fn decode_parts(&self, entry: &Entry<'_>, parts: Parts) -> Result<Row, Error> {
        if parts == Parts::KeyGroup {
            return Ok(Row {
                key: Value::Null,
                namespace: Value::Null,
                content: Content::Value(Value::Null),
            });
        }
        if self.state.kind == StateType::Timers {
            return self.decode_timer(entry);
        }
        let mut input = ByteReader::new(entry.key);
        let (key, namespace) = self.decode_key(&mut input)?;
        let content = match &self.user_key {
            Some(user_key) => {
                let user_key = user_key.decode_or_opaque(input.rest())?;
                let value = match parts {
                    Parts::All => self.decode_map_value(entry.value)?,
                    Parts::Key | Parts::KeyGroup => Value::Null,
                };
                Content::MapEntry(user_key, value)
            }
            None if !input.is_empty() => {
                let found = format!("{} more bytes", input.remaining());
                return Err(input.corrupt("the end of a key", found).into());
            }
            None if parts != Parts::All => Content::Value(Value::Null),
            None if self.state.kind == StateType::List => self.decode_list(entry.value)?,
            None => Content::Value(self.value.decode_or_opaque(entry.value)?),
        };
        Ok(Row {
            key,
            namespace,
            content,
        })
    }

    /// Reads key and namespace from the front of a composite key.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn decode_key(&self, input: &mut ByteReader<'_>) -> Result<(Value, Value), Error> {
        if self.key.opaque().is_some() {
            return self.decode_opaque_key(input);
        }
        let key = part(&self.key, self.ambiguous, input)?;
        let namespace = part(&self.namespace, self.ambiguous, input)?;
        Ok((key, namespace))
    }

    /// A key without layout ends where a namespace of fixed length begins, if nothing follows it.
    fn decode_opaque_key(&self, input: &mut ByteReader<'_>) -> Result<(Value, Value), Error> {
        let rest = input.rest();
        let key_bytes = self
            .namespace_bytes
            .filter(|_| self.user_key.is_none())
            .and_then(|bytes| rest.len().checked_sub(bytes));
        let Some(key_bytes) = key_bytes else {
            let serializer = self.key.opaque().unwrap_or_default();
            return Err(SerializerError::unsupported(format!(
                "keys of {serializer} in state \"{}\"",
                self.state.name
            ))
            .into());
        };
        let key = self.key.decode_or_opaque(input.take(key_bytes)?)?;
        Ok((key, self.namespace.decode(input)?))
    }

    fn decode_timer(&self, entry: &Entry<'_>) -> Result<Row, Error> {
        if !entry.value.is_empty() {
            let found = format!("{} bytes", entry.value.len());
            let error = SnapshotError::corrupt(0, "a timer without value", found);
            return Err(error.into());
        }
        let Value::Timer {
            timestamp,
            key,
            namespace,
        } = self.value.decode_all(entry.key)?
        else {
            return Err(SnapshotError::corrupt(0, "a timer", "another value").into());
        };
        Ok(Row {
            key: *key,
            namespace: *namespace,
            content: Content::Timer(timestamp),
        })
    }

    fn decode_map_value(&self, bytes: &[u8]) -> Result<Value, Error> {
        let mut input = ByteReader::new(bytes);
        match input.bool()? {
            // The heap backend writes a value behind the flag all the same: it means nothing.
            true => Ok(Value::Null),
            false => Ok(self.value.decode_or_opaque(input.rest())?),
        }
    }

    fn decode_list(&self, bytes: &[u8]) -> Result<Content, Error> {
        match self.elements(bytes) {
            Ok(elements) => Ok(Content::List(elements)),
            // An element without layout hides where the next one begins.
            Err(error) if matches!(error.kind(), SerializerErrorKind::Unsupported { .. }) => {
                Ok(Content::Value(self.value.decode_or_opaque(bytes)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn elements(&self, bytes: &[u8]) -> Result<Vec<Value>, SerializerError> {
        let mut input = ByteReader::new(bytes);
        let mut elements = vec![self.value.decode(&mut input)?];
        while !input.is_empty() {
            let at = input.offset();
            let delimiter = input.u8()?;
            if delimiter != LIST_DELIMITER {
                let expected = format!("the byte {LIST_DELIMITER:#04x} between elements");
                let found = format!("{delimiter:#04x}");
                return Err(SerializerError::corrupt(at, expected, found));
            }
            elements.push(self.value.decode(&mut input)?);
        }
        Ok(elements)
    }

    /// Appends key and namespace (and user key) of a row as they stand in an entry, without the
    /// key group in front.
    ///
    /// # Errors
    ///
    /// Snapshot: the row is none of this state.
    pub fn encode_key(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), Error> {
        if let Content::Timer(timestamp) = row.content {
            let timer = Value::Timer {
                timestamp,
                key: Box::new(row.key.clone()),
                namespace: Box::new(row.namespace.clone()),
            };
            return Ok(self.value.encode(&timer, out)?);
        }
        for (codec, value) in [(&self.key, &row.key), (&self.namespace, &row.namespace)] {
            let start = out.len();
            codec.encode(value, out)?;
            if self.ambiguous {
                put_length(out.len() - start, out);
            }
        }
        match (&self.user_key, &row.content) {
            (Some(codec), Content::MapEntry(user_key, _)) => Ok(codec.encode(user_key, out)?),
            (None, Content::Value(_) | Content::List(_)) => Ok(()),
            (Some(_), _) | (None, Content::MapEntry(..) | Content::Timer(_)) => Err(self.refuses()),
        }
    }

    /// Appends the value of a row as it stands in an entry; nothing for timers.
    ///
    /// # Errors
    ///
    /// Snapshot: the row is none of this state; an empty list has no entry.
    pub fn encode_value(&self, row: &Row, out: &mut Vec<u8>) -> Result<(), Error> {
        match &row.content {
            Content::Timer(_) => Ok(()),
            Content::Value(value) => Ok(self.value.encode(value, out)?),
            Content::MapEntry(_, value) => {
                let is_null = value.is_null();
                out.push(u8::from(is_null));
                match is_null {
                    true => Ok(()),
                    false => Ok(self.value.encode(value, out)?),
                }
            }
            Content::List(elements) if elements.is_empty() => Err(self.refuses()),
            Content::List(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(LIST_DELIMITER);
                    }
                    self.value.encode(element, out)?;
                }
                Ok(())
            }
        }
    }

    #[cold]
    fn refuses(&self) -> Error {
        let (name, kind) = (&self.state.name, self.state.kind.name());
        SnapshotError::incompatible(format!("a row of another kind for {kind} state \"{name}\""))
            .into()
    }
}

fn part(codec: &ValueCodec, ambiguous: bool, input: &mut ByteReader<'_>) -> Result<Value, Error> {
    let start = input.position();
    let value = codec.decode(input)?;
    if ambiguous {
        read_length(input.since(start).len(), input)?;
    }
    Ok(value)
}

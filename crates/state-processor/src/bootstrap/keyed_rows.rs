//! Keyed state and timers as rows of Rust values, in any order.

use std::marker::PhantomData;
use std::sync::Arc;

use millpond_serializer::{
    ByteWriter, FlinkKey, FlinkType, Namespace, SerializerSnapshot, TimerElement, VoidNamespace,
};
use millpond_snapshot::{
    Error as SnapshotError, KeyedFormat, KeyedHeader, KeyedStateType, LIST_DELIMITER, StateKind,
    StateMeta, put_length,
};
use millpond_types::KeyGroup;

use crate::Error;
use crate::entry_writer::WrittenSubtask;
use crate::rehash::write_sorted;
use crate::snapshot_writer::SnapshotWriter;
use crate::sorter::{SortedEntry, Sorter};

/// The rows of one operator with keys of type `K`.
///
/// States are registered first; the handle that comes back says which state a row is of.
pub struct KeyedRows<K> {
    sorter: Sorter,
    max_parallelism: u32,
    states: Vec<StateMeta>,
    key: Vec<u8>,
    value: Vec<u8>,
    keys: PhantomData<fn(K)>,
}

/// A state with one value of type `V` per key and namespace `N`.
#[derive(Clone, Copy, Debug)]
pub struct ValueOf<V, N = VoidNamespace>(u16, PhantomData<fn(V, N)>);

/// A list of `T` per key.
#[derive(Clone, Copy, Debug)]
pub struct ListOf<T>(u16, PhantomData<fn(T)>);

/// A map from `UK` to `UV` per key.
#[derive(Clone, Copy, Debug)]
pub struct MapOf<UK, UV>(u16, PhantomData<fn(UK, UV)>);

/// The timers of one service, with namespaces `N`.
#[derive(Clone, Copy, Debug)]
pub struct TimersOf<N = VoidNamespace> {
    event: u16,
    processing: u16,
    namespaces: PhantomData<fn(N)>,
}

impl<K: FlinkKey> KeyedRows<K> {
    pub(super) fn new(sorter: Sorter, max_parallelism: u32) -> Self {
        KeyedRows {
            sorter,
            max_parallelism,
            states: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
            keys: PhantomData,
        }
    }

    fn register(&mut self, meta: StateMeta) -> Result<u16, Error> {
        if self.states.iter().any(|known| known.name == meta.name) {
            let reason = format!("state \"{}\" is registered twice", meta.name);
            return Err(Error::request(reason));
        }
        let state = i16::try_from(self.states.len())
            .map_err(|_| Error::request("more than 32768 states of one operator"))?;
        self.states.push(meta);
        Ok(state as u16)
    }

    fn register_value<V: FlinkType, N: Namespace>(
        &mut self,
        name: &str,
        state_type: KeyedStateType,
    ) -> Result<ValueOf<V, N>, Error> {
        let (namespace, value) = (N::serializer_snapshot(), V::serializer_snapshot());
        let meta = StateMeta::key_value(name, state_type, namespace, value);
        Ok(ValueOf(self.register(meta)?, PhantomData))
    }

    /// Registers a `ValueState`.
    ///
    /// # Errors
    ///
    /// A request that makes no sense, if there is a state of this name; as all methods that register.
    pub fn value<V: FlinkType>(&mut self, name: &str) -> Result<ValueOf<V>, Error> {
        self.register_value(name, KeyedStateType::Value)
    }

    /// Registers a `ReducingState`.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn reducing<V: FlinkType>(&mut self, name: &str) -> Result<ValueOf<V>, Error> {
        self.register_value(name, KeyedStateType::Reducing)
    }

    /// Registers an `AggregatingState` with the accumulator `A`.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn aggregating<A: FlinkType>(&mut self, name: &str) -> Result<ValueOf<A>, Error> {
        self.register_value(name, KeyedStateType::Aggregating)
    }

    /// Registers a state of the given kind with one value per key and namespace, such as the
    /// `window-contents` of a window with reduce.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    ///
    /// # Panics
    ///
    /// If the kind is list or map.
    pub fn namespaced<V: FlinkType, N: Namespace>(
        &mut self,
        name: &str,
        state_type: KeyedStateType,
    ) -> Result<ValueOf<V, N>, Error> {
        assert!(
            !matches!(state_type, KeyedStateType::List | KeyedStateType::Map),
            "state \"{name}\" with one value cannot be a list or a map"
        );
        self.register_value(name, state_type)
    }

    /// Registers a `ListState`.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn list<T: FlinkType>(&mut self, name: &str) -> Result<ListOf<T>, Error> {
        let list = SerializerSnapshot::list(T::serializer_snapshot());
        let void = VoidNamespace::serializer_snapshot();
        let meta = StateMeta::key_value(name, KeyedStateType::List, void, list);
        Ok(ListOf(self.register(meta)?, PhantomData))
    }

    /// Registers a `MapState`. Values of type `Option<T>` are Flink's values of type `T` that may
    /// be null.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn map<UK: FlinkType, UV: FlinkType>(
        &mut self,
        name: &str,
    ) -> Result<MapOf<UK, UV>, Error> {
        let value = UV::serializer_snapshot();
        let value = match (UV::NULLABLE, value.nested()) {
            (true, [value]) => value.clone(),
            (true | false, _) => value,
        };
        let map = SerializerSnapshot::map(UK::serializer_snapshot(), value);
        let void = VoidNamespace::serializer_snapshot();
        let meta = StateMeta::key_value(name, KeyedStateType::Map, void, map);
        Ok(MapOf(self.register(meta)?, PhantomData))
    }

    /// Registers the timers of a service: "user-timers" for process functions, "window-timers"
    /// for windows.
    ///
    /// # Errors
    ///
    /// As [`value`](Self::value).
    pub fn timers<N: Namespace>(&mut self, service: &str) -> Result<TimersOf<N>, Error> {
        let mut queue = |kind: &str| {
            let element =
                SerializerSnapshot::timer(K::serializer_snapshot(), N::serializer_snapshot());
            let name = format!("_timer_state/{kind}_{service}");
            self.register(StateMeta::priority_queue(&name, element))
        };
        Ok(TimersOf {
            processing: queue("processing")?,
            event: queue("event")?,
            namespaces: PhantomData,
        })
    }

    fn put_head<N: Namespace>(&mut self, key: &K, namespace: &N) {
        self.key.clear();
        self.value.clear();
        let ambiguous = K::fixed_length().is_none() && N::fixed_length().is_none();
        key.write(&mut self.key);
        if ambiguous {
            put_length(self.key.len(), &mut self.key);
        }
        let start = self.key.len();
        namespace.write(&mut self.key);
        if ambiguous {
            put_length(self.key.len() - start, &mut self.key);
        }
    }

    fn push(&mut self, state: u16, key: &K) -> Result<(), Error> {
        let group = KeyGroup::of_hash(key.hash_code(), self.max_parallelism);
        self.sorter.push(group, state, &self.key, &self.value)?;
        Ok(())
    }

    /// Gives a key its value; once for each key.
    ///
    /// # Errors
    ///
    /// Io, if rows have to be written to a temporary file and cannot; as all methods that take
    /// rows.
    pub fn put<V: FlinkType>(
        &mut self,
        state: &ValueOf<V>,
        key: &K,
        value: &V,
    ) -> Result<(), Error> {
        self.put_in(state, key, &VoidNamespace, value)
    }

    /// Gives a key its value in a namespace; once for each.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn put_in<V: FlinkType, N: Namespace>(
        &mut self,
        state: &ValueOf<V, N>,
        key: &K,
        namespace: &N,
        value: &V,
    ) -> Result<(), Error> {
        self.put_head(key, namespace);
        value.write(&mut self.value);
        self.push(state.0, key)
    }

    /// Adds an element to the list of a key, behind those that were added before.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn add<T: FlinkType>(
        &mut self,
        state: &ListOf<T>,
        key: &K,
        element: &T,
    ) -> Result<(), Error> {
        self.put_head(key, &VoidNamespace);
        element.write(&mut self.value);
        self.push(state.0, key)
    }

    /// Puts an entry into the map of a key; each user key once.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn put_entry<UK: FlinkType, UV: FlinkType>(
        &mut self,
        state: &MapOf<UK, UV>,
        key: &K,
        user_key: &UK,
        user_value: &UV,
    ) -> Result<(), Error> {
        self.put_head(key, &VoidNamespace);
        user_key.write(&mut self.key);
        // The bool of an `Option` is that of the map.
        if !UV::NULLABLE {
            self.value.put_bool(false);
        }
        user_value.write(&mut self.value);
        self.push(state.0, key)
    }

    /// Registers a timer of event time, in milliseconds.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn event_timer<N: Namespace>(
        &mut self,
        timers: &TimersOf<N>,
        key: &K,
        namespace: &N,
        timestamp: i64,
    ) -> Result<(), Error> {
        self.push_timer(timers.event, key, namespace, timestamp)
    }

    /// Registers a timer of processing time, in milliseconds.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub fn processing_timer<N: Namespace>(
        &mut self,
        timers: &TimersOf<N>,
        key: &K,
        namespace: &N,
        timestamp: i64,
    ) -> Result<(), Error> {
        self.push_timer(timers.processing, key, namespace, timestamp)
    }

    fn push_timer<N: Namespace>(
        &mut self,
        state: u16,
        key: &K,
        namespace: &N,
        timestamp: i64,
    ) -> Result<(), Error> {
        self.key.clear();
        self.value.clear();
        let timer = TimerElement {
            timestamp,
            key: key.clone(),
            namespace: namespace.clone(),
        };
        timer.write(&mut self.key);
        self.push(state, key)
    }

    pub(super) fn erase(self) -> AnyKeyedRows {
        AnyKeyedRows {
            header: KeyedHeader {
                compressed: false,
                key_serializer: K::serializer_snapshot(),
                states: self.states,
            },
            max_parallelism: self.max_parallelism,
            sorter: self.sorter,
        }
    }
}

impl<K> std::fmt::Debug for KeyedRows<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.states.iter().map(|state| &state.name).collect();
        f.debug_struct("KeyedRows")
            .field("states", &names)
            .finish_non_exhaustive()
    }
}

/// Rows whose key type is hidden.
pub(super) struct AnyKeyedRows {
    header: KeyedHeader,
    pub(super) max_parallelism: u32,
    sorter: Sorter,
}

impl AnyKeyedRows {
    pub(super) fn write(
        self,
        writer: &SnapshotWriter,
        format: KeyedFormat,
        parallelism: u32,
    ) -> Result<Vec<WrittenSubtask>, SnapshotError> {
        let header = Arc::new(self.header);
        let mut rows = Joined::new(&header);
        write_sorted(
            writer,
            header.clone(),
            format,
            |emit| {
                self.sorter.try_for_each(|row| rows.row(row, emit))?;
                rows.leave(emit)
            },
            parallelism,
            self.max_parallelism,
        )
    }
}

/// Joins the rows of one list, and finds keys that have two values.
struct Joined<'a> {
    header: &'a KeyedHeader,
    /// The entry that the last rows were of; none before the first.
    last: Option<(KeyGroup, u16, Vec<u8>, Vec<u8>)>,
}

impl<'a> Joined<'a> {
    fn new(header: &'a KeyedHeader) -> Self {
        Joined { header, last: None }
    }

    fn row(
        &mut self,
        row: SortedEntry<'_>,
        emit: &mut dyn FnMut(SortedEntry<'_>) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        if let Some((group, state, key, value)) = &mut self.last
            && (*group, *state, key.as_slice()) == (row.group, row.state, row.key)
        {
            let meta = &self.header.states[usize::from(row.state)];
            if meta.keyed_state_type() == Some(KeyedStateType::List) {
                value.push(LIST_DELIMITER);
                value.extend_from_slice(row.value);
                return Ok(());
            }
            // Timers are a set.
            if meta.kind == StateKind::PriorityQueue {
                return Ok(());
            }
            let reason = format!("state \"{}\" has two values for one key", meta.name);
            return Err(SnapshotError::incompatible(reason));
        }
        self.leave(emit)?;
        self.last = Some((row.group, row.state, row.key.to_vec(), row.value.to_vec()));
        Ok(())
    }

    fn leave(
        &mut self,
        emit: &mut dyn FnMut(SortedEntry<'_>) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        match self.last.take() {
            None => Ok(()),
            Some((group, state, key, value)) => emit(SortedEntry {
                group,
                state,
                key: &key,
                value: &value,
            }),
        }
    }
}

//! Operator state: lists and broadcast maps, which belong to a subtask and not to a key.
//!
//! | mode | after a change of parallelism |
//! | --- | --- |
//! | split list | every element goes to one subtask |
//! | union list | every element goes to every subtask |
//! | broadcast map | every subtask goes on with a copy of the whole map |
//!
//! A broadcast map is one element: i32 n, then n times key and value.
//!
//! All of it is small, so that its image is taken by writing it to memory.

use crate::broadcast_state::{BroadcastMap, BroadcastState};
use crate::description::{DescribedState, OperatorDescription, UnclaimedState};
use crate::migration::{Migrations, StateMigrations};
use crate::{Error, ErrorKind, Result};
use millpond_serializer::{
    ByteReader, FlinkType, Incompatibility, Reader, SerializerSnapshot, skip_value,
};
use millpond_snapshot::{
    DistributionMode, KeyGroupRecord, LoadedSnapshot, OperatorStateHandle, OperatorStateHeader,
    OperatorStateOffsets, OperatorStateReader, OperatorStateWriter, StateMeta, StateRecord,
};
use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::rc::Rc;

/// A list, or a broadcast map as one element, as bytes.
#[derive(Clone, Debug)]
pub(crate) struct EncodedList {
    pub(crate) meta: StateMeta,
    pub(crate) mode: DistributionMode,
    pub(crate) bytes: Vec<u8>,
    /// Where each element ends in `bytes`.
    pub(crate) ends: Vec<usize>,
}

impl EncodedList {
    /// Whether there is anything in it: an element, or an entry of a map.
    fn holds_entries(&self) -> bool {
        match self.mode {
            DistributionMode::SplitDistribute | DistributionMode::Union => !self.ends.is_empty(),
            DistributionMode::Broadcast => self
                .elements()
                .any(|map| ByteReader::new(map).i32().is_ok_and(|count| count != 0)),
        }
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }
}

/// The operator state of one operator subtask.
#[derive(Default)]
pub struct OperatorStateBackend {
    migrations: Migrations,
    /// In the order of registration.
    lists: RefCell<Vec<Slot>>,
}

enum Slot {
    Registered(Rc<dyn RegisteredList>),
    /// Restored and not registered: decoded once it is, and written again until then.
    Raw(EncodedList),
}

/// A list or a broadcast map whose types are hidden.
pub(crate) trait RegisteredList {
    fn meta(&self) -> &StateMeta;
    fn mode(&self) -> DistributionMode;
    /// Gets ready to read what `previous` describes, or says why it cannot.
    ///
    /// # Errors
    ///
    /// If `previous` lacks a serializer.
    fn prepare(
        &self,
        previous: &StateMeta,
    ) -> std::result::Result<std::result::Result<(), Incompatibility>, millpond_snapshot::Error>;
    fn encode(&self) -> EncodedList;
    /// Adds what [`prepare`](Self::prepare) has seen.
    fn restore(
        &self,
        elements: &EncodedList,
    ) -> std::result::Result<(), millpond_serializer::Error>;
}

impl OperatorStateBackend {
    /// Returns a backend without state.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what becomes of values of `Old` in a list, or of map values in a broadcast state, that
    /// has values of `New`; as [`KeyedBackend::migrate_state`](crate::KeyedBackend::migrate_state).
    pub fn migrate_state<Old: FlinkType, New: FlinkType>(
        &self,
        state: &str,
        function: impl Fn(Old) -> New + Send + Sync + 'static,
    ) {
        self.migrations.add(state, function);
    }

    /// Registers a list whose elements are dealt out to the subtasks on restore.
    ///
    /// # Errors
    ///
    /// Registered, if the name is taken; incompatible, corrupt or unsupported, if a restored
    /// snapshot holds a list of this name that cannot be read as it is declared.
    pub fn list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        self.register(name, DistributionMode::SplitDistribute)
    }

    /// Registers a list of which every subtask gets all elements on restore.
    ///
    /// # Errors
    ///
    /// As [`OperatorStateBackend::list_state`].
    pub fn union_list_state<T: FlinkType>(&self, name: &str) -> Result<OperatorListState<T>> {
        self.register(name, DistributionMode::Union)
    }

    /// Registers a map that is the same in every subtask, which the operator sees to.
    ///
    /// # Errors
    ///
    /// As [`OperatorStateBackend::list_state`].
    pub fn broadcast_state<K: FlinkType + Ord, V: FlinkType>(
        &self,
        name: &str,
    ) -> Result<BroadcastState<K, V>> {
        let migrations = self.migrations.of(name);
        migrations.check::<V>()?;
        let map = Rc::new(BroadcastMap::new(name, migrations));
        self.add(name, Rc::clone(&map) as Rc<dyn RegisteredList>)?;
        Ok(BroadcastState::new(map))
    }

    fn register<T: FlinkType>(
        &self,
        name: &str,
        mode: DistributionMode,
    ) -> Result<OperatorListState<T>> {
        let migrations = self.migrations.of(name);
        migrations.check::<T>()?;
        let list = Rc::new(List::<T> {
            meta: StateMeta::operator(name, mode, T::serializer_snapshot()),
            mode,
            migrations,
            reader: RefCell::new(Reader::as_is()),
            elements: RefCell::new(Vec::new()),
        });
        self.add(name, Rc::clone(&list) as Rc<dyn RegisteredList>)?;
        Ok(OperatorListState { list })
    }

    /// Adds a list or map, or puts it in the place of raw state of its name, which it decodes.
    fn add(&self, name: &str, list: Rc<dyn RegisteredList>) -> Result<()> {
        let mut lists = self.lists.borrow_mut();
        match lists.iter_mut().find(|slot| slot.meta().name == name) {
            Some(Slot::Registered(_)) => {
                return Err(Error::new(ErrorKind::Registered {
                    state: name.to_owned(),
                }));
            }
            Some(slot) => {
                if let Slot::Raw(raw) = slot {
                    restore(&*list, raw)?;
                }
                *slot = Slot::Registered(list);
            }
            None => lists.push(Slot::Registered(list)),
        }
        Ok(())
    }

    /// Takes over the elements that a handle lists; all of them fell to this subtask.
    ///
    /// Called once per handle, before or after lists are registered. Lists that are not
    /// registered are kept as bytes, and written again by every snapshot until they are.
    ///
    /// # Errors
    ///
    /// Incompatible or unsupported, if a list does not fit what is registered; corrupt or
    /// storage, if the bytes are damaged or cannot be read.
    pub fn restore(&self, snapshot: &LoadedSnapshot, handle: &OperatorStateHandle) -> Result<()> {
        let source = snapshot.open(&handle.stream).map_err(Error::restoring)?;
        let bytes = source.read_all().map_err(Error::restoring)?;
        self.restore_bytes(bytes, handle)
    }

    /// As [`OperatorStateBackend::restore`], from the bytes of the file.
    ///
    /// # Errors
    ///
    /// As [`OperatorStateBackend::restore`].
    pub fn restore_bytes(&self, bytes: Vec<u8>, handle: &OperatorStateHandle) -> Result<()> {
        let reader = OperatorStateReader::new(bytes, handle).map_err(Error::restoring)?;
        for state in &handle.states {
            let meta = reader
                .meta(&state.name)
                .expect("the reader checked the names");
            let list = encoded(&reader, meta, state).map_err(|error| {
                Error::reading(format!("operator state \"{}\"", state.name), error)
            })?;
            self.restore_list(list)?;
        }
        Ok(())
    }

    fn restore_list(&self, restored: EncodedList) -> Result<()> {
        let mut lists = self.lists.borrow_mut();
        let name = &restored.meta.name;
        match lists.iter_mut().find(|slot| slot.meta().name == *name) {
            Some(Slot::Registered(list)) => restore(&**list, &restored)?,
            Some(Slot::Raw(raw)) => {
                if (raw.mode, &raw.meta.serializers) != (restored.mode, &restored.meta.serializers)
                {
                    let what =
                        format!("operator state \"{name}\" that its handles describe differently");
                    return Err(Error::new(ErrorKind::Unsupported { what }));
                }
                let start = raw.bytes.len();
                raw.bytes.extend_from_slice(&restored.bytes);
                raw.ends.extend(restored.ends.iter().map(|end| start + end));
            }
            None => lists.push(Slot::Raw(restored)),
        }
        Ok(())
    }

    /// Describes what is registered, and restored state that nothing was registered for.
    pub fn describe(&self) -> OperatorDescription {
        let mut description = OperatorDescription::default();
        for slot in self.lists.borrow().iter() {
            match slot {
                Slot::Registered(list) => {
                    let (meta, list) = (list.meta().clone(), Rc::clone(list));
                    let mode = list.mode();
                    let described = DescribedState::new(meta, move |old| {
                        check(&*list, old, old.distribution_mode().unwrap_or(mode))
                    });
                    description.states.push(described);
                }
                Slot::Raw(raw) if raw.holds_entries() => {
                    description.unclaimed.push(UnclaimedState {
                        meta: raw.meta.clone(),
                        entries: raw.ends.len(),
                    });
                }
                Slot::Raw(_) => {}
            }
        }
        description
    }

    /// Returns the image of all lists as they are now.
    pub fn freeze(&self) -> OperatorStateImage {
        let lists = self.lists.borrow();
        let lists = lists
            .iter()
            .map(|slot| match slot {
                Slot::Registered(list) => list.encode(),
                Slot::Raw(raw) => raw.clone(),
            })
            .collect();
        OperatorStateImage { lists }
    }
}

impl fmt::Debug for OperatorStateBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.lists.borrow();
        let names: Vec<_> = lists.iter().map(|slot| &slot.meta().name).collect();
        f.debug_struct("OperatorStateBackend")
            .field("lists", &names)
            .finish()
    }
}

impl Slot {
    fn meta(&self) -> &StateMeta {
        match self {
            Slot::Registered(list) => list.meta(),
            Slot::Raw(raw) => &raw.meta,
        }
    }
}

/// Takes the elements that a handle lists out of its file.
fn encoded(
    reader: &OperatorStateReader,
    meta: &StateMeta,
    state: &OperatorStateOffsets,
) -> std::result::Result<EncodedList, millpond_snapshot::Error> {
    let mut list = EncodedList {
        meta: meta.clone(),
        mode: state.mode,
        bytes: Vec::new(),
        ends: Vec::with_capacity(state.offsets.len()),
    };
    for offset in &state.offsets {
        let element = reader.element(*offset)?;
        // Other elements may follow. Where the serializer is not known they come along: a reader
        // that knows it stops in time.
        let mut input = ByteReader::new(&element);
        let skipped = match state.mode {
            DistributionMode::SplitDistribute | DistributionMode::Union => {
                skip_value(meta.value_serializer()?, &mut input)
            }
            DistributionMode::Broadcast => skip_broadcast(meta, &mut input)?,
        };
        let length = skipped.map_or(element.len(), |()| input.position());
        list.bytes.extend_from_slice(&element[..length]);
        list.ends.push(list.bytes.len());
    }
    Ok(list)
}

/// Reads over a broadcast map: i32 n, n (key, value).
fn skip_broadcast(
    meta: &StateMeta,
    input: &mut ByteReader<'_>,
) -> std::result::Result<
    std::result::Result<(), millpond_serializer::Error>,
    millpond_snapshot::Error,
> {
    let (key, value) = (meta.key_serializer()?, meta.value_serializer()?);
    let mut skip = || {
        for _ in 0..input.i32()? {
            skip_value(key, input)?;
            skip_value(value, input)?;
        }
        Ok(())
    };
    Ok(skip())
}

fn restore(list: &dyn RegisteredList, restored: &EncodedList) -> Result<()> {
    if !restored.holds_entries() {
        // What is empty may have been of any type.
        return Ok(());
    }
    check(list, &restored.meta, restored.mode)?;
    list.restore(restored).map_err(|error| {
        let what = format!("operator state \"{}\"", list.meta().name);
        Error::reading(what, error.into())
    })
}

/// Checks that a list or map which `previous` describes can be restored into this one.
fn check(list: &dyn RegisteredList, previous: &StateMeta, mode: DistributionMode) -> Result<()> {
    let name = || list.meta().name.clone();
    let incompatible = |expected: String, found: String| {
        Err(Error::new(ErrorKind::Incompatible {
            state: name(),
            expected,
            found,
        }))
    };
    if list.mode() != mode {
        return incompatible(word(list.mode()).to_owned(), word(mode).to_owned());
    }
    let reading = |error| Error::reading(format!("operator state \"{}\"", name()), error);
    match list.prepare(previous).map_err(reading)? {
        Ok(()) => Ok(()),
        Err(why) => {
            let found = format!("{} ({why})", types_of(previous));
            incompatible(types_of(list.meta()), found)
        }
    }
}

/// The types of a list or map, for people.
fn types_of(meta: &StateMeta) -> String {
    let word = |serializer: std::result::Result<&SerializerSnapshot, _>| {
        serializer.map_or_else(
            |_: millpond_snapshot::Error| "an unknown type".to_owned(),
            SerializerSnapshot::describe,
        )
    };
    match meta.key_serializer() {
        Ok(key) => format!("{} to {}", key.describe(), word(meta.value_serializer())),
        Err(_) => word(meta.value_serializer()),
    }
}

/// What a mode makes of a state, for people.
fn word(mode: DistributionMode) -> &'static str {
    match mode {
        DistributionMode::SplitDistribute => "a list that is split",
        DistributionMode::Union => "a union list",
        DistributionMode::Broadcast => "a broadcast map",
    }
}

struct List<T> {
    meta: StateMeta,
    mode: DistributionMode,
    migrations: Rc<StateMigrations>,
    /// Reads the elements of the handle that is being restored.
    reader: RefCell<Reader<T>>,
    elements: RefCell<Vec<T>>,
}

impl<T: FlinkType> RegisteredList for List<T> {
    fn meta(&self) -> &StateMeta {
        &self.meta
    }

    fn mode(&self) -> DistributionMode {
        self.mode
    }

    fn prepare(
        &self,
        previous: &StateMeta,
    ) -> std::result::Result<std::result::Result<(), Incompatibility>, millpond_snapshot::Error>
    {
        let reader = self.migrations.reader(previous.value_serializer()?);
        Ok(reader.map(|reader| *self.reader.borrow_mut() = reader))
    }

    fn encode(&self) -> EncodedList {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for element in self.elements.borrow().iter() {
            element.write(&mut bytes);
            ends.push(bytes.len());
        }
        EncodedList {
            meta: self.meta.clone(),
            mode: self.mode,
            bytes,
            ends,
        }
    }

    fn restore(
        &self,
        elements: &EncodedList,
    ) -> std::result::Result<(), millpond_serializer::Error> {
        let mut list = self.elements.borrow_mut();
        let reader = self.reader.borrow();
        for element in elements.elements() {
            list.push(reader.read(&mut ByteReader::new(element))?);
        }
        Ok(())
    }
}

/// A list of this subtask.
pub struct OperatorListState<T> {
    list: Rc<List<T>>,
}

impl<T: FlinkType> OperatorListState<T> {
    /// Returns a copy of the elements; after a restore those that fell to this subtask.
    pub fn get(&self) -> Vec<T> {
        self.list.elements.borrow().clone()
    }

    /// Adds an element at the end.
    pub fn add(&mut self, element: T) {
        self.list.elements.borrow_mut().push(element);
    }

    /// Replaces all elements.
    pub fn update(&mut self, elements: impl IntoIterator<Item = T>) {
        let elements = elements.into_iter().collect();
        *self.list.elements.borrow_mut() = elements;
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.update([]);
    }
}

impl<T> fmt::Debug for OperatorListState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorListState").finish_non_exhaustive()
    }
}

/// The operator state of one subtask at the moment of its freeze.
#[derive(Debug)]
pub struct OperatorStateImage {
    lists: Vec<EncodedList>,
}

impl OperatorStateImage {
    /// Whether there is no list at all: no handle is needed then.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The bytes of all elements together.
    pub fn bytes(&self) -> usize {
        self.lists.iter().map(|list| list.bytes.len()).sum()
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// Storage, if `out` fails; serializer, if a name cannot be written.
    pub fn write(self, out: &mut dyn Write) -> Result<WrittenOperatorState> {
        let (broadcasts, lists): (Vec<_>, Vec<_>) = self
            .lists
            .into_iter()
            .partition(|list| list.mode == DistributionMode::Broadcast);
        let metas = |lists: &[EncodedList]| lists.iter().map(|list| list.meta.clone()).collect();
        let header = OperatorStateHeader::new(metas(&lists), metas(&broadcasts));
        let refused = |error: millpond_snapshot::Error| {
            let (state, reason) = ("the operator state".to_owned(), error.to_string());
            Error::caused_by(ErrorKind::Serializer { state, reason }, error)
        };
        let mut writer = OperatorStateWriter::new(&header).map_err(refused)?;
        let mut records = Vec::new();
        for (state, list) in lists.iter().chain(&broadcasts).enumerate() {
            for element in list.elements() {
                writer.element(state, |out| out.extend_from_slice(element));
            }
            let (entries, bytes) = (list.ends.len() as u64, list.bytes.len() as u64);
            let all = KeyGroupRecord {
                key_group: 0,
                entries,
                bytes,
            };
            let key_groups = if entries > 0 { vec![all] } else { Vec::new() };
            records.push(StateRecord {
                name: list.meta.name.clone(),
                key_groups,
            });
        }
        let (bytes, offsets) = writer.finish();
        out.write_all(&bytes).map_err(|error| {
            let what = "writing operator state".to_owned();
            Error::caused_by(ErrorKind::Storage { what }, error)
        })?;
        Ok(WrittenOperatorState {
            offsets,
            bytes: bytes.len() as u64,
            states: records,
        })
    }
}

/// What was written of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenOperatorState {
    /// Where each element of each state begins, for the handle.
    pub offsets: Vec<OperatorStateOffsets>,
    /// All bytes.
    pub bytes: u64,
    /// How much each state holds, at key group 0.
    pub states: Vec<StateRecord>,
}

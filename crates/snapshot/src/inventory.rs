//! What state a snapshot holds: every named state of every operator, from the headers of its files.
//!
//! Entries are not read. How many there are says the trailer, where Millpond wrote the snapshot;
//! otherwise [`LoadedSnapshot::count_entries`] reads the files of one operator for it.

use std::collections::HashMap;

use millpond_serializer::{ByteReader, SerializerSnapshot};
use millpond_types::{KeyGroupRange, OperatorId};

use crate::{
    DistributionMode, Error, ErrorKind, LoadedSnapshot, OperatorRecord, OperatorSnapshot,
    OperatorStateHandle, OperatorStateReader, StateKind, StateMeta, key_group_prefix_bytes,
};

/// The named states of one operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInventory {
    /// The operator.
    pub id: OperatorId,
    /// The serializers of its keys: more than one only if the files of its subtasks disagree.
    pub keys: Vec<SerializerSnapshot>,
    /// Its states, keyed ones first, in the order of the files.
    pub states: Vec<StateInventory>,
    /// Why the header of a file cannot be understood, once per reason; what states it has is
    /// unknown then.
    pub unreadable: Vec<String>,
}

/// One named state of an operator, of all its subtasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateInventory {
    /// How it is described, at least once: more often only if the files of subtasks disagree.
    pub metas: Vec<StateMeta>,
    /// Entries: keys times namespaces, for maps user keys, timers, elements; `None` if not known.
    pub entries: Option<u64>,
    /// Bytes of keys and values with their lengths; `None` if not known.
    pub bytes: Option<u64>,
}

impl StateInventory {
    /// The name of the state.
    pub fn name(&self) -> &str {
        self.meta().name.as_str()
    }

    /// How it is described.
    pub fn meta(&self) -> &StateMeta {
        &self.metas[0]
    }

    /// Whether it belongs to keys: keyed state and timers.
    pub fn is_keyed(&self) -> bool {
        match self.meta().kind {
            StateKind::KeyValue | StateKind::PriorityQueue | StateKind::KeyValueV2 => true,
            StateKind::Operator | StateKind::Broadcast => false,
        }
    }
}

impl OperatorInventory {
    fn new(id: OperatorId) -> Self {
        OperatorInventory {
            id,
            keys: Vec::new(),
            states: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// The state of a name, keyed or not.
    pub fn state(&self, name: &str, keyed: bool) -> Option<&StateInventory> {
        let mut states = self.states.iter();
        states.find(|state| state.name() == name && state.is_keyed() == keyed)
    }

    fn add(&mut self, meta: StateMeta) -> &mut StateInventory {
        let new = StateInventory {
            metas: vec![meta],
            entries: None,
            bytes: None,
        };
        let place = self
            .states
            .iter()
            .position(|known| known.name() == new.name() && known.is_keyed() == new.is_keyed());
        let Some(place) = place else {
            self.states.push(new);
            return self.states.last_mut().expect("one was pushed");
        };
        let state = &mut self.states[place];
        let described = state.metas.iter().any(|m| m.describes_same(new.meta()));
        if !described {
            state.metas.extend(new.metas);
        }
        state
    }

    /// Notes a file whose header is not understood; any other error is passed on.
    fn unless_unsupported<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => {
                let why = error.to_string();
                if !self.unreadable.contains(&why) {
                    self.unreadable.push(why);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes over what the trailer says about keyed states, and about bytes of operator state.
    fn measure(&mut self, record: &OperatorRecord) {
        let mut sums: HashMap<&str, (u64, u64)> = HashMap::new();
        let states = record.subtasks.iter().flat_map(|subtask| &subtask.states);
        for state in states {
            let (entries, bytes) = sums.entry(state.name.as_str()).or_default();
            for group in &state.key_groups {
                *entries = entries.saturating_add(group.entries);
                *bytes = bytes.saturating_add(group.bytes);
            }
        }
        for at in 0..self.states.len() {
            let (name, keyed) = (self.states[at].name(), self.states[at].is_keyed());
            // The trailer tells states by their names alone.
            if self.state(name, !keyed).is_some() {
                continue;
            }
            let Some((entries, bytes)) = sums.get(name).copied() else {
                continue;
            };
            let state = &mut self.states[at];
            state.bytes = Some(bytes);
            if keyed {
                state.entries = Some(entries);
            }
        }
    }
}

impl LoadedSnapshot {
    /// Returns the named states of every operator, in the order of the metadata.
    ///
    /// Reads the header of every file of keyed state, and all operator state, which is small.
    ///
    /// # Errors
    ///
    /// Corrupt, if a header is damaged; Io, if a file cannot be read. A file whose header is not
    /// understood is no error: see [`OperatorInventory::unreadable`].
    pub fn inventory(&self) -> Result<Vec<OperatorInventory>, Error> {
        let operators = self.metadata.operators.iter();
        operators
            .map(|operator| self.operator_inventory(operator))
            .collect()
    }

    fn operator_inventory(&self, operator: &OperatorSnapshot) -> Result<OperatorInventory, Error> {
        let mut inventory = OperatorInventory::new(operator.id);
        let subtasks = operator.subtasks.iter().map(|(_, subtask)| subtask);
        for handle in subtasks.clone().filter_map(|s| s.managed_keyed.as_ref()) {
            let header = self.keyed_header(handle);
            let Some(header) = inventory.unless_unsupported(header)? else {
                continue;
            };
            if !inventory.keys.contains(&header.key_serializer) {
                inventory.keys.push(header.key_serializer);
            }
            for meta in header.states {
                inventory.add(meta);
            }
        }
        for handle in subtasks.filter_map(|s| s.managed_operator.as_ref()) {
            let reader = self.open_operator(handle);
            if let Some(reader) = inventory.unless_unsupported(reader)? {
                add_operator_state(&mut inventory, handle, &reader)?;
            }
        }
        let trailer = self.metadata.trailer.as_ref();
        if let Some(record) = trailer.and_then(|trailer| trailer.operator(operator.id)) {
            inventory.measure(record);
        }
        Ok(inventory)
    }

    /// Reads all keyed entries of an operator, to say how many each of its states has.
    ///
    /// # Errors
    ///
    /// Corrupt, unsupported or Io, as reading may fail.
    pub fn count_entries(&self, inventory: &mut OperatorInventory) -> Result<(), Error> {
        let Some(operator) = self.metadata.operator(inventory.id) else {
            return Ok(());
        };
        let mut counted: HashMap<String, (u64, u64)> = HashMap::new();
        let subtasks = operator.subtasks.iter().map(|(_, subtask)| subtask);
        for handle in subtasks.filter_map(|subtask| subtask.managed_keyed.as_ref()) {
            let max = operator.max_parallelism;
            let all = KeyGroupRange::of_subtask(0, 1, max);
            let Some(mut reader) = self.open_keyed(handle, all, max)? else {
                continue;
            };
            let mut of_file = vec![(0u64, 0u64); reader.header().states.len()];
            while let Some(entry) = reader.next_entry()? {
                let (entries, bytes) = &mut of_file[entry.state];
                *entries += 1;
                // As the canonical format has them: two lengths, and the key group.
                let head = 8 + key_group_prefix_bytes(max);
                *bytes += (head + entry.key.len() + entry.value.len()) as u64;
            }
            for (meta, (entries, bytes)) in reader.header().states.iter().zip(of_file) {
                let sum = counted.entry(meta.name.clone()).or_default();
                *sum = (sum.0 + entries, sum.1 + bytes);
            }
        }
        for state in inventory.states.iter_mut().filter(|s| s.is_keyed()) {
            if let Some((entries, bytes)) = counted.get(state.name()) {
                (state.entries, state.bytes) = (Some(*entries), Some(*bytes));
            }
        }
        Ok(())
    }
}

/// Adds the states of one file of operator state, with how many elements a handle lists.
fn add_operator_state(
    inventory: &mut OperatorInventory,
    handle: &OperatorStateHandle,
    reader: &OperatorStateReader,
) -> Result<(), Error> {
    for state in &handle.states {
        let meta = reader
            .meta(&state.name)
            .expect("the reader checked the names");
        let is_map = state.mode == DistributionMode::Broadcast;
        let mut entries = 0;
        for offset in &state.offsets {
            entries += match is_map {
                false => 1,
                true => {
                    let element = reader.element(*offset)?;
                    u64::try_from(ByteReader::new(&element).i32()?).unwrap_or(0)
                }
            };
        }
        let known = inventory.add(meta.clone());
        let before = known.entries.unwrap_or(0);
        known.entries = Some(match is_map {
            // Every subtask has a copy of the whole map.
            true => before.max(entries),
            false => before + entries,
        });
    }
    Ok(())
}

//! An operator of a new savepoint: its ids, its lists and broadcast maps, and its keyed rows.

use millpond_serializer::{ByteWriter, FlinkKey, FlinkType};
use millpond_snapshot::{
    DistributionMode, KeyedFormat, OperatorRecord, OperatorSnapshot, StateMeta, SubtaskSnapshot,
};
use millpond_types::OperatorId;
use millpond_types::key_group::UPPER_BOUND_MAX_PARALLELISM;

use super::keyed_rows::{AnyKeyedRows, KeyedRows};
use crate::Error;
use crate::operator_input::{ListOrMap, OperatorStates};
use crate::rewrite::{NewOperator, Target};
use crate::snapshot_writer::SnapshotWriter;

/// The state of one operator.
pub struct OperatorRows {
    uid: String,
    name: String,
    parallelism: u32,
    max_parallelism: u32,
    keyed: Option<AnyKeyedRows>,
    lists: OperatorStates,
}

impl OperatorRows {
    /// Begins the operator of a uid.
    ///
    /// # Errors
    ///
    /// A request that makes no sense, unless the parallelism is at least 1 and at most the maximum parallelism, and
    /// that at most 32768.
    pub fn new(uid: &str, parallelism: u32, max_parallelism: u32) -> Result<Self, Error> {
        let possible = 1..=UPPER_BOUND_MAX_PARALLELISM;
        if !possible.contains(&max_parallelism) || !(1..=max_parallelism).contains(&parallelism) {
            return Err(Error::request(format!(
                "operator \"{uid}\": parallelism {parallelism} with maximum parallelism \
                 {max_parallelism}"
            )));
        }
        Ok(OperatorRows {
            uid: uid.to_owned(),
            name: uid.to_owned(),
            parallelism,
            max_parallelism,
            keyed: None,
            lists: OperatorStates::default(),
        })
    }

    /// Gives it a name other than its uid.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    pub(super) fn id(&self) -> OperatorId {
        OperatorId::of_uid(&self.uid)
    }

    /// Gives it keyed state, made by [`NewSavepoint::keyed_rows`](super::NewSavepoint::keyed_rows)
    /// of the savepoint that it is added to.
    ///
    /// # Errors
    ///
    /// A request that makes no sense, if the rows are for another maximum parallelism.
    pub fn keyed<K: FlinkKey>(mut self, rows: KeyedRows<K>) -> Result<Self, Error> {
        let rows = rows.erase();
        if rows.max_parallelism != self.max_parallelism {
            return Err(Error::request(format!(
                "operator \"{}\" has the maximum parallelism {}, its rows {}",
                self.uid, self.max_parallelism, rows.max_parallelism
            )));
        }
        self.keyed = Some(rows);
        Ok(self)
    }

    fn list<T: FlinkType>(
        mut self,
        name: &str,
        mode: DistributionMode,
        elements: impl IntoIterator<Item = T>,
    ) -> Result<Self, Error> {
        let meta = StateMeta::operator(name, mode, T::serializer_snapshot());
        let elements = elements.into_iter().enumerate().map(|(index, element)| {
            let mut out = Vec::new();
            element.write(&mut out);
            ((index % self.parallelism as usize) as u32, out)
        });
        let elements = elements.collect();
        self.push(ListOrMap {
            meta,
            mode,
            elements,
        })?;
        Ok(self)
    }

    fn push(&mut self, state: ListOrMap) -> Result<(), Error> {
        let states = &mut self.lists.states;
        if states
            .iter()
            .any(|known| known.meta.name == state.meta.name)
        {
            let reason = format!("state \"{}\" is given twice", state.meta.name);
            return Err(Error::request(reason));
        }
        states.push(state);
        Ok(())
    }

    /// Gives it an operator list of which each subtask gets a part: one element after the other.
    ///
    /// # Errors
    ///
    /// A request that makes no sense, if there is a state of this name.
    pub fn split<T: FlinkType>(
        self,
        name: &str,
        elements: impl IntoIterator<Item = T>,
    ) -> Result<Self, Error> {
        self.list(name, DistributionMode::SplitDistribute, elements)
    }

    /// Gives it an operator list of which each subtask gets all.
    ///
    /// # Errors
    ///
    /// As [`split`](Self::split).
    pub fn union<T: FlinkType>(
        self,
        name: &str,
        elements: impl IntoIterator<Item = T>,
    ) -> Result<Self, Error> {
        self.list(name, DistributionMode::Union, elements)
    }

    /// Gives it broadcast state.
    ///
    /// # Errors
    ///
    /// As [`split`](Self::split).
    pub fn broadcast<K: FlinkType, V: FlinkType>(
        mut self,
        name: &str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        let (key, value) = (K::serializer_snapshot(), V::serializer_snapshot());
        let mut body = Vec::new();
        let mut count = 0;
        for (key, value) in entries {
            key.write(&mut body);
            value.write(&mut body);
            count += 1;
        }
        let mut map = Vec::new();
        map.put_count(count);
        map.append(&mut body);
        let elements = (0..self.parallelism).map(|subtask| (subtask, map.clone()));
        let elements = elements.collect();
        self.push(ListOrMap {
            meta: StateMeta::broadcast(name, key, value),
            mode: DistributionMode::Broadcast,
            elements,
        })?;
        Ok(self)
    }

    pub(super) fn write(
        self,
        writer: &SnapshotWriter,
        target: Target,
        format: KeyedFormat,
    ) -> Result<NewOperator, Error> {
        let id = self.id();
        let mut snapshot = OperatorSnapshot::new(id, self.parallelism, self.max_parallelism);
        snapshot.name = Some(self.name.clone());
        snapshot.uid = Some(self.uid.clone());
        let subtasks = (0..self.parallelism).map(|index| (index, SubtaskSnapshot::default()));
        snapshot.subtasks = subtasks.collect();
        let record = OperatorRecord {
            id,
            name: self.name,
            uid: Some(self.uid),
            subtasks: Vec::new(),
        };
        let mut new = NewOperator { snapshot, record };
        if let Some(keyed) = self.keyed {
            let written = keyed.write(writer, format, self.parallelism)?;
            for (index, written) in (0..).zip(written) {
                new.set_keyed(index, written);
            }
        }
        if !self.lists.states.is_empty() {
            new.write_operator_states(writer, &self.lists, target.operator_state_version)?;
        }
        Ok(new)
    }
}

impl std::fmt::Debug for OperatorRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorRows")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

//! Registers states with time-to-live.

use crate::codec::{ListCodec, MapCodec, OneEntry, ValueCodec};
use crate::keyed_table::{Cells, CleanCells};
use crate::ttl::{StateTtlConfig, Ttl};
use crate::ttl_cells::TtlCells;
use crate::ttl_codec::{Timed, WithTtl};
use crate::ttl_list::TtlLists;
use crate::ttl_map::TtlMaps;
use crate::{
    AggregateFunction, AggregatingState, KeyedBackend, ListState, MapState, ReducingState, Result,
    ValueState,
};
use millpond_serializer::{FlinkKey, FlinkType, TtlValue, VoidNamespace};
use millpond_snapshot::KeyedStateType;
use millpond_types::Clock;
use std::rc::Rc;
use std::sync::Arc;

/// Registers states of one backend with a time-to-live; made by [`KeyedBackend::with_ttl`].
///
/// In a snapshot such a state holds Flink's `TtlValue`s. As in Flink 2, a state may get or lose its
/// time-to-live between a snapshot and its restore: values that had none count as used then.
///
/// # Errors
///
/// All methods as [`KeyedBackend::value_state`].
pub struct TtlStates<'a, K> {
    backend: &'a KeyedBackend<K>,
    config: StateTtlConfig,
    clock: Arc<dyn Clock>,
}

impl<'a, K: FlinkKey> TtlStates<'a, K> {
    pub(crate) fn new(
        backend: &'a KeyedBackend<K>,
        config: StateTtlConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        TtlStates {
            backend,
            config,
            clock,
        }
    }

    fn ttl(&self) -> Ttl {
        Ttl::new(self.config, Arc::clone(&self.clock))
    }

    fn table<C: Timed + OneEntry>(
        &self,
        name: &str,
        state_type: KeyedStateType,
    ) -> Result<Rc<dyn CleanCells<VoidNamespace, C::Value>>> {
        let ttl = Some(self.ttl());
        self.backend
            .table_with::<VoidNamespace, WithTtl<C>>(name, state_type, &VoidNamespace, ttl)
    }

    fn values<V: FlinkType>(
        &self,
        name: &str,
        state_type: KeyedStateType,
    ) -> Result<Rc<dyn Cells<VoidNamespace, V>>> {
        let table = self.table::<ValueCodec<TtlValue<V>>>(name, state_type)?;
        Ok(Rc::new(TtlCells::new(table, self.ttl())))
    }

    /// Registers a value state.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn value_state<V: FlinkType>(&self, name: &str) -> Result<ValueState<V>> {
        if !self.config.is_enabled() {
            return self.backend.value_state(name);
        }
        let cells = self.values(name, KeyedStateType::Value)?;
        Ok(ValueState::new(cells, VoidNamespace))
    }

    /// Registers a list state; each element has its own time-to-live.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn list_state<T: FlinkType>(&self, name: &str) -> Result<ListState<T>> {
        if !self.config.is_enabled() {
            return self.backend.list_state(name);
        }
        let table = self.table::<ListCodec<TtlValue<T>>>(name, KeyedStateType::List)?;
        let lists = TtlLists::new(table, self.ttl());
        Ok(ListState::with_ttl(lists, VoidNamespace))
    }

    /// Registers a map state; each entry has its own time-to-live.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn map_state<UK: FlinkType + Ord, UV: FlinkType>(
        &self,
        name: &str,
    ) -> Result<MapState<UK, UV>> {
        if !self.config.is_enabled() {
            return self.backend.map_state(name);
        }
        let maps = self
            .backend
            .maps_with::<VoidNamespace, WithTtl<MapCodec<UK, TtlValue<UV>>>, UK, TtlValue<UV>>(
                name,
                &VoidNamespace,
                Some(self.ttl()),
            )?;
        let maps = TtlMaps::new(maps, self.ttl());
        Ok(MapState::with_ttl(maps, VoidNamespace))
    }

    /// Registers a reducing state; `reduce` makes one value of two.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn reducing_state<V: FlinkType>(
        &self,
        name: &str,
        reduce: impl Fn(&V, &V) -> V + 'static,
    ) -> Result<ReducingState<V>> {
        if !self.config.is_enabled() {
            return self.backend.reducing_state(name, reduce);
        }
        let cells = self.values(name, KeyedStateType::Reducing)?;
        Ok(ReducingState::new(cells, VoidNamespace, Box::new(reduce)))
    }

    /// Registers an aggregating state.
    ///
    /// # Errors
    ///
    /// As [`KeyedBackend::value_state`].
    pub fn aggregating_state<F: AggregateFunction>(
        &self,
        name: &str,
        function: F,
    ) -> Result<AggregatingState<F>> {
        if !self.config.is_enabled() {
            return self.backend.aggregating_state(name, function);
        }
        let cells = self.values(name, KeyedStateType::Aggregating)?;
        Ok(AggregatingState::new(cells, VoidNamespace, function))
    }
}

impl<K> std::fmt::Debug for TtlStates<'_, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(f)
    }
}

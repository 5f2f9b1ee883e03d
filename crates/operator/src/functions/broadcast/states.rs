//! The broadcast states of one operator, found by their descriptors.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use millpond_serializer::FlinkType;
use millpond_state::{BroadcastState, OperatorStateBackend, ReadOnlyBroadcastState};

use crate::error::{FunctionError, Result};

/// Names a broadcast state and its types.
///
/// # Examples
///
/// ```
/// use millpond_operator::functions::broadcast::MapStateDescriptor;
/// const RULES: MapStateDescriptor<String, i64> = MapStateDescriptor::new("rules");
/// assert_eq!(RULES.name(), "rules");
/// ```
pub struct MapStateDescriptor<K, V> {
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> MapStateDescriptor<K, V> {
    /// A descriptor.
    pub const fn new(name: &'static str) -> Self {
        MapStateDescriptor {
            name,
            types: PhantomData,
        }
    }

    /// The name of the state.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<K, V> Clone for MapStateDescriptor<K, V> {
    fn clone(&self) -> Self {
        MapStateDescriptor::new(self.name)
    }
}

type Register = dyn Fn(&OperatorStateBackend) -> Result<Box<dyn Any>> + Send + Sync;

/// The broadcast states that a program asks for, before they are registered.
#[derive(Clone, Default)]
pub struct BroadcastStates {
    descriptors: Vec<(&'static str, Arc<Register>)>,
}

impl BroadcastStates {
    /// Adds a state.
    pub fn add<K: FlinkType + Ord, V: FlinkType>(&mut self, descriptor: &MapStateDescriptor<K, V>) {
        let name = descriptor.name();
        let register = move |backend: &OperatorStateBackend| {
            Ok(Box::new(backend.broadcast_state::<K, V>(name)?) as Box<dyn Any>)
        };
        self.descriptors.push((name, Arc::new(register)));
    }

    pub(super) fn register(&self, backend: &OperatorStateBackend) -> Result<Registered> {
        let mut states = Vec::new();
        for (name, register) in &self.descriptors {
            states.push((*name, register(backend)?));
        }
        Ok(Registered { states })
    }
}

/// The broadcast states of one subtask.
pub(super) struct Registered {
    /// By name; few.
    states: Vec<(&'static str, Box<dyn Any>)>,
}

impl Registered {
    pub(super) fn get<K: FlinkType + Ord, V: FlinkType>(
        &self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Result<BroadcastState<K, V>> {
        let found = self
            .states
            .iter()
            .find(|(name, _)| *name == descriptor.name())
            .and_then(|(_, state)| state.downcast_ref::<BroadcastState<K, V>>());
        found.cloned().ok_or_else(|| {
            FunctionError::new(format!(
                "The requested state does not exist: the stream was not broadcast with a \
                 descriptor \"{}\" of these types",
                descriptor.name()
            ))
        })
    }

    pub(super) fn read<K: FlinkType + Ord, V: FlinkType>(
        &self,
        descriptor: &MapStateDescriptor<K, V>,
    ) -> Result<ReadOnlyBroadcastState<K, V>> {
        Ok(self.get(descriptor)?.read_only())
    }
}

//! What state an operator has: what it has registered, and what it was given and has not.
//!
//! So a restore can be planned before anything runs: an operator is opened on empty backends, these
//! describe what it has registered, and each description says whether it can take over a state of
//! a snapshot, by the very check that the restore will make.

use crate::Result;
use millpond_serializer::SerializerSnapshot;
use millpond_snapshot::StateMeta;
use std::fmt;

/// What state an operator has registered.
#[derive(Debug, Default)]
pub struct StateDescription {
    /// Its keyed state and timers; `None` if it has no place for any.
    pub keyed: Option<KeyedDescription>,
    /// Its operator state; `None` if it has no place for any.
    pub operator: Option<OperatorDescription>,
}

/// The keyed state that an operator has registered.
pub struct KeyedDescription {
    /// The serializer of its keys.
    pub key: SerializerSnapshot,
    /// In the order of registration.
    pub states: Vec<DescribedState>,
    /// Restored state that nothing was registered for.
    pub unclaimed: Vec<UnclaimedState>,
    pub(crate) accepts_key: fn(&SerializerSnapshot) -> Result<()>,
}

/// The operator state that an operator has registered.
#[derive(Debug, Default)]
pub struct OperatorDescription {
    /// In the order of registration.
    pub states: Vec<DescribedState>,
    /// Restored state that nothing was registered for.
    pub unclaimed: Vec<UnclaimedState>,
}

/// Whether a state that a meta describes can be restored.
type Accepts = Box<dyn Fn(&StateMeta) -> Result<()>>;

/// One state that an operator has registered.
pub struct DescribedState {
    meta: StateMeta,
    accepts: Accepts,
}

/// Restored state that nothing was registered for: it is kept as bytes and written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnclaimedState {
    /// How the snapshot describes it.
    pub meta: StateMeta,
    /// Entries of this subtask: at least one.
    pub entries: usize,
}

impl StateDescription {
    /// Of an operator without any state.
    pub fn stateless() -> Self {
        StateDescription::default()
    }

    /// Restored state that nothing was registered for, of both kinds.
    pub fn unclaimed(&self) -> impl Iterator<Item = &UnclaimedState> {
        let keyed = self.keyed.iter().flat_map(|keyed| &keyed.unclaimed);
        let operator = self.operator.iter().flat_map(|all| &all.unclaimed);
        keyed.chain(operator)
    }
}

impl KeyedDescription {
    /// Checks that keys which `previous` describes can be restored.
    ///
    /// # Errors
    ///
    /// Incompatible, if they cannot.
    pub fn accept_key(&self, previous: &SerializerSnapshot) -> Result<()> {
        (self.accepts_key)(previous)
    }
}

impl DescribedState {
    pub(crate) fn new(
        meta: StateMeta,
        accepts: impl Fn(&StateMeta) -> Result<()> + 'static,
    ) -> Self {
        DescribedState {
            meta,
            accepts: Box::new(accepts),
        }
    }

    /// How the header of a snapshot would describe it.
    pub fn meta(&self) -> &StateMeta {
        &self.meta
    }

    /// Checks that a state which `previous` describes can be restored into this one.
    ///
    /// # Errors
    ///
    /// Incompatible or unsupported, if it cannot; corrupt, if `previous` lacks a serializer.
    pub fn accept(&self, previous: &StateMeta) -> Result<()> {
        (self.accepts)(previous)
    }
}

impl fmt::Debug for KeyedDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedDescription")
            .field("key", &self.key)
            .field("states", &self.states)
            .field("unclaimed", &self.unclaimed)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DescribedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DescribedState").field(&self.meta).finish()
    }
}

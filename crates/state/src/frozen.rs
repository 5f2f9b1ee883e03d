//! The image of an operator's keyed state, written in another thread than the one that goes on.

use crate::Result;
use crate::codec::EntrySink;
use crate::registered::StateDescription;
use millpond_types::KeyGroupRange;
use std::fmt;

/// Tables of up to this many bytes are written at once: the stall is about a millisecond.
const SMALL_BYTES: usize = 4 << 20;

/// The image of one state with its types hidden.
pub(crate) trait FrozenState: Send {
    /// The name of the state.
    fn name(&self) -> &str;

    /// How many keys, or timers, are left to write.
    fn entries(&self) -> usize;

    /// Whether the group at position `group` has anything to write.
    fn has_entries(&self, group: usize) -> bool;

    /// Writes the group at position `group` and lets go of it; returns how many keys it had.
    fn write_group(&mut self, group: usize, sink: &mut dyn EntrySink) -> Result<u64>;
}

/// The keyed state of one operator subtask at the moment of its freeze.
///
/// It costs no copy; dropping it, written or not, lets the owner fold its changes in.
pub struct FrozenKeyedState {
    pub(crate) range: KeyGroupRange,
    pub(crate) states: Vec<(StateDescription, Box<dyn FrozenState>)>,
    pub(crate) allocated_bytes: usize,
}

impl FrozenKeyedState {
    /// The key groups that it covers.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// How many entries there are to write: keys times namespaces, and timers.
    pub fn entries(&self) -> usize {
        self.states.iter().map(|(_, state)| state.entries()).sum()
    }

    /// Whether there is no state at all: no handle is needed then.
    pub fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// Whether there is so little state that it can be written at once, to memory, by the owner.
    pub fn is_small(&self) -> bool {
        self.allocated_bytes <= SMALL_BYTES
    }
}

impl fmt::Debug for FrozenKeyedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.states.iter().map(|(state, _)| &state.name).collect();
        f.debug_struct("FrozenKeyedState")
            .field("range", &self.range)
            .field("states", &names)
            .finish_non_exhaustive()
    }
}

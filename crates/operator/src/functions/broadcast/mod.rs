//! Functions with broadcast state: a stream that every subtask hears, and what it has made known.
//!
//! The second input is the broadcast one. Its records are processed by every subtask, in an order
//! that may differ between subtasks, and they alone change broadcast state: the state is the same
//! everywhere as long as what they do does not depend on the order, the clock or keyed state. A
//! snapshot holds a copy of each subtask; after rescaling each takes one.

mod keyed;
mod process;
mod states;

pub use keyed::{
    KeyedBroadcastContext, KeyedBroadcastOperator, KeyedBroadcastProcessFunction,
    KeyedReadOnlyContext,
};
pub use process::{BroadcastContext, BroadcastFunction, BroadcastProcessFunction, ReadOnlyContext};
pub use states::{BroadcastStates, MapStateDescriptor};

//! Keyed and operator state as a function sees it; the heap backend; what other backends implement.
//!
//! Keyed state belongs to a key: [`KeyedBackend`] holds it, [`ValueState`], [`ListState`],
//! [`MapState`], [`ReducingState`], [`AggregatingState`] and [`TimerHandle`] show what belongs to
//! the current key, each state with a time-to-live where [`KeyedBackend::with_ttl`] gives it one. A
//! snapshot is taken while records go on: [`KeyedBackend::freeze`] shares the tables in O(key
//! groups), another thread writes them, or only what has changed since an earlier checkpoint.

mod aggregate_function;
mod aggregating_state;
mod backend;
mod broadcast_state;
mod cache;
mod choice;
mod chunked;
mod codec;
mod composite_key;
mod delta;
mod description;
mod error;
mod frozen;
mod groups;
mod hash;
mod image;
mod key_context;
mod keyed_table;
mod layered;
mod list_state;
mod list_value;
mod map_cells;
mod map_state;
mod map_value;
mod migration;
mod minimum;
mod operator_state;
mod raw;
mod reducing_state;
mod registered;
mod restored_files;
mod restored_key;
mod segmented;
pub mod store;
mod stored;
mod table;
mod timers;
mod tracked;
mod ttl;
mod ttl_cells;
mod ttl_codec;
mod ttl_list;
mod ttl_map;
mod ttl_states;
mod value_state;

pub use aggregate_function::AggregateFunction;
pub use aggregating_state::AggregatingState;
pub use backend::KeyedBackend;
pub use broadcast_state::{BroadcastState, ReadOnlyBroadcastState};
pub use cache::CacheMemory;
pub use choice::{BackendChoice, BackendOwner, StoreChoice};
pub use description::{
    DescribedState, KeyedDescription, OperatorDescription, StateDescription, UnclaimedState,
};
pub use error::{Error, ErrorKind, Result};
pub use frozen::{FrozenKeyedState, KeyedFormat, NativeStoreFiles, WrittenKeyedState};
pub use image::ImageHandle;
pub use list_state::ListState;
pub use map_state::MapState;
pub use operator_state::{
    OperatorListState, OperatorStateBackend, OperatorStateImage, WrittenOperatorState,
};
pub use reducing_state::ReducingState;
pub use restored_files::{RestoredFile, RestoredFiles};
pub use timers::{Timer, TimerHandle, TimerService};
pub use ttl::{StateTtlConfig, TtlTimeCharacteristic, TtlUpdateType, TtlVisibility};
pub use ttl_states::TtlStates;
pub use value_state::ValueState;

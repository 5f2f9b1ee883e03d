//! What a backend stands on: tests of what state means run on each.

#![allow(dead_code, reason = "not every test uses all of it")]

use millpond_serializer::FlinkKey;
use millpond_state::store::MemoryStore;
use millpond_state::{CacheMemory, KeyedBackend};
use millpond_types::KeyGroupRange;
use std::cell::Cell;
use std::sync::Arc;

/// So little that a cache writes back and forgets all the time.
const CACHE_BYTES: usize = 2_000;

/// Where the entries of a backend are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In memory.
    Heap,
    /// In a store, below a cache that holds a few of them.
    Store,
}

thread_local! {
    static STANDING: Cell<Standing> = const { Cell::new(Standing::Heap) };
}

/// Runs a test on each.
pub(crate) fn on_each(test: impl Fn()) {
    for standing in [Standing::Heap, Standing::Store] {
        on(standing, &test);
    }
}

/// Runs a test on one.
pub(crate) fn on<R>(standing: Standing, test: impl FnOnce() -> R) -> R {
    // Shown where a test fails.
    eprintln!("{standing:?}:");
    STANDING.set(standing);
    let result = test();
    STANDING.set(Standing::Heap);
    result
}

/// The one that the test runs on.
pub(crate) fn standing() -> Standing {
    STANDING.get()
}

/// Makes a backend on the one that the test runs on.
pub(crate) fn backend<K: FlinkKey>(max_parallelism: u32, range: KeyGroupRange) -> KeyedBackend<K> {
    match STANDING.get() {
        Standing::Heap => KeyedBackend::new(max_parallelism, range),
        Standing::Store => {
            let store = Arc::new(MemoryStore::new());
            let cache = CacheMemory::of_each(CACHE_BYTES);
            let backend = KeyedBackend::above(max_parallelism, range, store, &cache);
            backend.expect("a thread starts")
        }
    }
}

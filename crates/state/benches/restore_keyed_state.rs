//! How long does it take to restore 1e7 keys?
//!
//! Counted for `i64` keys with one `i64` each in one canonical file in memory, on one thread: the
//! whole file into one subtask, and one half of it. `registered first` decodes entries as they are
//! read; `restored first` keeps them as bytes until the state is registered. A surprise would be
//! more than a second for the whole file.

#![expect(clippy::print_stdout, reason = "a bench prints what it found")]

use millpond_snapshot::{CanonicalReader, KeyedReader, StateSource};
use millpond_state::{KeyedBackend, WrittenKeyedState};
use millpond_types::KeyGroupRange;
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: i64 = 10_000_000;

fn backend(parallelism: u32) -> KeyedBackend<i64> {
    KeyedBackend::new(128, KeyGroupRange::of_subtask(0, parallelism, 128))
}

fn restore(backend: &KeyedBackend<i64>, bytes: &Arc<[u8]>, written: &WrittenKeyedState) {
    let source = StateSource::of_bytes("state", Arc::clone(bytes));
    let reader = CanonicalReader::open(source, &written.groups, backend.range(), 128);
    let mut reader = KeyedReader::Canonical(reader.expect("a header"));
    backend.restore_entries(&mut reader).expect("entries");
}

fn main() {
    let full = backend(1);
    let mut count = full.value_state::<i64>("count").expect("a fresh backend");
    for key in 0..KEYS {
        full.set_current_key(&key, full.key_group(&key));
        count.update(key);
    }
    let mut bytes = Vec::new();
    let written = full.freeze().write(&mut bytes).expect("memory");
    let bytes: Arc<[u8]> = bytes.into();
    drop((full, count));
    for parallelism in [1, 2] {
        for registered_first in [true, false] {
            let start = Instant::now();
            let backend = backend(parallelism);
            let early = registered_first.then(|| backend.value_state::<i64>("count"));
            restore(&backend, &bytes, &written);
            let state = early.unwrap_or_else(|| backend.value_state::<i64>("count"));
            state.expect("the same types");
            println!(
                "{} of {KEYS} keys in {:.2?}, {}",
                backend.entries(),
                start.elapsed(),
                if registered_first {
                    "registered first"
                } else {
                    "restored first"
                },
            );
        }
    }
}

//! Whole snapshots, looked at: listed, verified, read in every format, measured, compared; channels
//! in flight and the state of sources too.
#![no_main]

use std::io;
use std::num::NonZero;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_fuzz::{golden, seeds, within};
use millpond_snapshot::load;
use millpond_state_processor::{
    Counting, Format, OpenSnapshot, Progress, ReadOptions, Selection, SimpleVersioned, Threads,
    coordinator_state, diff, list, read, usage, verify,
};

fuzz_target!(
    init: seeds(|put| golden().into_iter().filter(|golden| golden.bytes.len() < 40_000).for_each(|golden| put(golden.bytes))),
    |bytes: &[u8]| {
        let whole = &*WHOLE;
        within(bytes.len(), || look(bytes, whole));
    }
);

/// What others are compared with.
static WHOLE: LazyLock<OpenSnapshot> = LazyLock::new(|| {
    let kinds = golden()
        .into_iter()
        .find(|golden| golden.name.contains("kinds"));
    open(&kinds.expect("one has every kind").bytes).expect("whole")
});

fn open(metadata: &[u8]) -> Option<OpenSnapshot> {
    let fs = MemoryFileSystem::new();
    let file = Location::parse("/sp/_metadata").expect("a location");
    fs.write_atomic(&file, metadata).expect("memory");
    let loaded = load(Arc::new(fs), &file).ok()?;
    Some(OpenSnapshot::of_loaded(loaded))
}

/// Any answer will do, as long as there is one.
fn look(bytes: &[u8], whole: &OpenSnapshot) {
    SimpleVersioned::read(bytes).ok();
    coordinator_state(bytes).ok();
    let Some(snapshot) = open(bytes) else { return };
    let one = Threads(NonZero::new(1).expect("not zero"));
    let progress = Progress::default();
    verify(&snapshot, one, &progress).ok();
    list(&snapshot, Counting::Full, one, &progress).ok();
    let format = match bytes.len() % 4 {
        0 => Format::Json,
        1 => Format::JsonLines,
        2 => Format::Csv,
        _ => Format::Table,
    };
    let options = ReadOptions {
        selection: Selection::default(),
        format,
        ttl: true,
        limit: None,
    };
    read(&snapshot, &options, one, &progress, &mut io::sink()).ok();
    usage(&snapshot, 3, one, &progress).ok();
    diff(whole, &snapshot, None, one, &progress).ok();
    for operator in snapshot.operators() {
        operator.channels().ok();
        operator.unreadable();
        operator.label();
    }
}

//! Whole snapshots, written again: in both formats, at another parallelism, with other key groups,
//! edited. What comes of it is read again, and sound.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_fuzz::{golden, seeds, within};
use millpond_snapshot::{KeyedFormat, LoadedSnapshot, load};
use millpond_state_processor::{
    ConvertOptions, Edit, EditOptions, Error, RehashOptions, convert, edit, rehash,
};

fuzz_target!(
    init: seeds(|put| golden().into_iter().filter(|golden| golden.bytes.len() < 40_000).for_each(|golden| put(golden.bytes))),
    |bytes: &[u8]| within(bytes.len(), || rewrite(bytes))
);

const EDITS: [&str; 5] = [
    "set all-kinds/map-string-long key=key-0 user_key=u value=6",
    "delete timers/_timer_state/event_user-timers where timestamp > 20000",
    "set rules-join/rules key=new value=4",
    "delete window-sum/window-contents where value.1 > 3",
    "delete counter/count where value < 3",
];

fn rewrite(metadata: &[u8]) {
    let fs: Arc<dyn FileSystem> = Arc::new(MemoryFileSystem::new());
    let from = Location::parse("/from").expect("a path");
    fs.write_atomic(&from.join("_metadata"), metadata)
        .expect("memory");
    let Ok(snapshot) = load(fs.clone(), &from) else {
        return;
    };
    let check = |name: &str, run: &dyn Fn(&LoadedSnapshot, &Location) -> Result<(), Error>| {
        let to = Location::parse("/to").expect("a path").join(name);
        match run(&snapshot, &to) {
            Ok(()) => {
                let new = load(fs.clone(), &to).expect("what was written can be read");
                assert!(new.verify().is_empty(), "{:?}", new.verify());
            }
            Err(_) => assert!(!fs.exists(&to).expect("memory"), "{name} left something"),
        }
    };
    let converted = |options: ConvertOptions| {
        let fs = fs.clone();
        move |from: &LoadedSnapshot, to: &Location| {
            convert(from, fs.clone(), to, &options).map(drop)
        }
    };
    let formats = [KeyedFormat::Canonical, KeyedFormat::NativeHeap];
    for (name, format) in ["canonical", "native"].into_iter().zip(formats) {
        let options = ConvertOptions {
            format: Some(format),
            ..ConvertOptions::default()
        };
        check(name, &converted(options));
    }
    let options = ConvertOptions {
        parallelism: Some(3),
        ..ConvertOptions::default()
    };
    check("three", &converted(options));
    check("rehashed", &|from, to| {
        let options = RehashOptions {
            max_parallelism: 64,
            for_flink: None,
        };
        rehash(from, fs.clone(), to, &options).map(drop)
    });
    for (at, text) in EDITS.iter().enumerate() {
        let edits: [Edit; 1] = [text.parse().expect("an edit")];
        check(&format!("edited-{at}"), &|from, to| {
            edit(from, fs.clone(), to, &edits, &EditOptions::default()).map(drop)
        });
    }
}

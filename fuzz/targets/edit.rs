//! Edits as users write them: parsed, shown, and done to a snapshot that Flink wrote.
//!
//! An input is a byte that chooses the snapshot, and the text of an edit.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_fuzz::{golden, seeds, within};
use millpond_snapshot::load;
use millpond_state_processor::{Edit, EditOptions, edit};

const EDITS: [(u8, &str); 12] = [
    (
        0,
        "set all-kinds/map-string-long key=key-0 user_key=u value=6",
    ),
    (0, "set all-kinds/list-long key=key-0 value=[7,8]"),
    (
        0,
        "delete all-kinds/value-pojo where value.name = \"key-2\"",
    ),
    (0, "rename all-kinds/reducing-sum to sum"),
    (0, "drop all-kinds/map-long-long"),
    (1, "shift-timers timers event by -1 s"),
    (
        1,
        "delete timers/_timer_state/processing_user-timers where key = key-1",
    ),
    (2, "delete op-state/union-list where value.1 >= 2"),
    (2, "set source/offsets value=[5,6]"),
    (2, "uid op-state to renamed"),
    (
        3,
        "delete window-sum/window-contents where namespace.0 >= 16000",
    ),
    (4, "set with-ttl/ttl-list key=key-1 value=[\"x\"]"),
];

fuzz_target!(
    init: seeds(|put| {
        for (snapshot, text) in EDITS {
            put([&[snapshot], text.as_bytes()].concat());
        }
    }),
    |bytes: &[u8]| {
        let snapshots = &*SNAPSHOTS;
        within(bytes.len(), || read(bytes, snapshots));
    }
);

static SNAPSHOTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let all = golden();
    let names = ["kinds", "timers", "opstate", "window", "ttl"];
    let of = |name: &str| {
        let wanted = format!("1.20.5-{name}-hashmap-canonical");
        let found = all.iter().find(|golden| golden.name == wanted);
        found.expect("a golden snapshot").bytes.clone()
    };
    names.map(of).into()
});

fn read(bytes: &[u8], snapshots: &[Vec<u8>]) {
    let Some((chosen, text)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(one) = text.parse::<Edit>() else {
        return;
    };
    let shown = one.to_string();
    let again: Edit = shown.parse().expect("what is shown can be read");
    assert_eq!(again.to_string(), shown);
    let fs: Arc<dyn FileSystem> = Arc::new(MemoryFileSystem::new());
    let [from, to] = ["/from", "/to"].map(|path| Location::parse(path).expect("a path"));
    let metadata = &snapshots[usize::from(*chosen) % snapshots.len()];
    fs.write_atomic(&from.join("_metadata"), metadata)
        .expect("memory");
    let snapshot = load(fs.clone(), &from).expect("Flink wrote it");
    if edit(&snapshot, fs.clone(), &to, &[one], &EditOptions::default()).is_ok() {
        let new = load(fs, &to).expect("what was written can be read");
        assert!(new.verify().is_empty(), "{:?}", new.verify());
    }
}

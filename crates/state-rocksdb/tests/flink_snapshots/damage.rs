//! Damaged files of RocksDB: an error that says which file, and never a panic.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millpond_fs::Location;
use millpond_golden::Golden;
use millpond_snapshot::{IncrementalHandle, KeyedHandle, StreamHandle};
use millpond_state_processor::{OpenSnapshot, PathMap, Progress, Threads, verify};

use crate::fixture::{Open, copy_directory, document, item_named, rocksdb};

/// A copy of a snapshot that a test may damage.
struct Copy {
    _home: tempfile::TempDir,
    directory: PathBuf,
    paths: PathMap,
}

impl Copy {
    fn of(item: &Golden) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut paths = PathMap::default();
        let directory = match item.sidecar["metadata_dir"].as_str() {
            None => {
                let to = home.path().join("savepoint");
                copy_directory(&item.directory, &to);
                to
            }
            Some(inside) => {
                let top = inside.split('/').next().expect("a directory");
                let release = item.directory.ancestors().nth(inside.split('/').count());
                let from = release.expect("the folder of the release").join(top);
                copy_directory(&from, &home.path().join(top));
                let prefix = item.sidecar["origin_prefix"].as_str().expect("a prefix");
                let to = home.path().to_str().expect("a text");
                paths.add(prefix, to).expect("locations");
                home.path().join(inside)
            }
        };
        Copy {
            _home: home,
            directory,
            paths,
        }
    }

    fn open(&self) -> OpenSnapshot {
        let opened = OpenSnapshot::open(self.directory.to_str().expect("a text"), &self.paths);
        opened.expect("a snapshot").with_rocksdb(Some(rocksdb()))
    }

    /// Local name and path of each file of the first subtask that is one of its own.
    fn files(&self) -> Vec<(String, PathBuf)> {
        let snapshot = self.open();
        let handle = first_handle(&snapshot).clone();
        let files = handle.shared.iter().chain(&handle.private);
        files
            .filter_map(|file| {
                let location = snapshot.loaded().file_of(&file.stream).expect("a path")?;
                Some((file.name.clone(), self.path(&location)))
            })
            .collect()
    }

    fn path(&self, location: &Location) -> PathBuf {
        self.paths.map(location).to_local_path().expect("local")
    }

    fn file(&self, is_it: impl Fn(&str) -> bool) -> PathBuf {
        let files = self.files();
        let found = files.iter().find(|(name, _)| is_it(name));
        found.unwrap_or_else(|| panic!("{files:?}")).1.clone()
    }

    fn error(&self) -> String {
        document(&self.open()).expect_err("damaged")
    }
}

fn first_handle(snapshot: &OpenSnapshot) -> &IncrementalHandle {
    let operators = snapshot.metadata().operators.iter();
    let mut subtasks = operators.flat_map(|operator| &operator.subtasks);
    let handle = subtasks.find_map(|(_, subtask)| match &subtask.managed_keyed {
        Some(KeyedHandle::Incremental(handle)) => Some(handle),
        _ => None,
    });
    handle.expect("files of RocksDB")
}

fn is_table(name: &str) -> bool {
    name.ends_with(".sst")
}

/// A savepoint whose files are all files of their own.
const IN_FILES: &str = "2.3.0/files-timers-rocksdb-native";
/// Snapshots whose small files lie inside of the metadata, of every release.
const INLINE: [&str; 3] = [
    "1.15.4/checkpoint-incremental-rocksdb",
    "1.20.5/kinds-rocksdb-native",
    "2.3.0/kinds-rocksdb-native",
];

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("a text")
}

#[test]
fn a_missing_table_is_named() {
    let copy = Copy::of(&item_named(IN_FILES));
    let table = copy.file(is_table);
    std::fs::remove_file(&table).expect("there");
    let error = copy.error();
    assert!(error.contains(file_name(&table)), "{error}");
    let snapshot = copy.open();
    let found = verify(&snapshot, Threads::default(), &Progress::default()).expect("a disk");
    assert!(!found.sound);
}

#[test]
fn a_table_that_the_handle_has_not_but_the_manifest_has_is_named() {
    let copy = Copy::of(&item_named(IN_FILES));
    let snapshot = copy.open();
    let mut handle = first_handle(&snapshot).clone();
    let at = handle.private.iter().position(|file| is_table(&file.name));
    let gone = handle.private.remove(at.expect("a table"));
    let error = read(&snapshot, handle)
        .expect_err("it lacks a table")
        .to_string();
    assert!(error.contains(&gone.name), "{error}");
}

#[test]
fn a_wrong_current_is_told_with_the_manifests_that_there_are() {
    let copy = Copy::of(&item_named(IN_FILES));
    let current = copy.file(|name| name == "CURRENT");
    let right = std::fs::read_to_string(&current).expect("text");
    let mut other = right.clone().into_bytes();
    let last = other.len() - 2;
    other[last] = if other[last] == b'9' { b'8' } else { b'9' };
    let mut outside = b"../../../etc/passwd".to_vec();
    outside.resize(right.len(), b'\n');
    for content in [other, outside, vec![0xff; right.len()]] {
        std::fs::write(&current, &content).expect("room");
        let error = copy.error();
        assert!(error.contains(right.trim()), "{error}");
        assert!(error.contains(file_name(&current)), "{error}");
    }
}

#[test]
fn a_local_name_that_leads_out_of_the_directory_is_refused() {
    let copy = Copy::of(&item_named(IN_FILES));
    let snapshot = copy.open();
    for name in ["../x.sst", "/x.sst", "", ".", "..", "a/b", "x\0"] {
        let mut handle = first_handle(&snapshot).clone();
        handle.private[0].name = name.to_owned();
        let handle = KeyedHandle::Incremental(handle);
        let range = handle.key_groups().expect("some");
        let opened = snapshot.loaded().open_keyed(&handle, range, 128);
        let error = opened.err().expect("refused").to_string();
        assert!(error.contains("local name"), "{error}");
    }
}

#[test]
fn changed_bytes_of_a_table_are_found_by_its_checksums_and_the_file_is_named() {
    let copy = Copy::of(&item_named(IN_FILES));
    let table = copy.file(is_table);
    let whole = std::fs::read(&table).expect("there");
    // The first bytes are those of the first data block.
    for at in [0, 7, 20] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&table, &bytes).expect("room");
        let error = copy.error();
        assert!(error.contains(file_name(&table)), "{error}");
        let is_local = error.contains("millpond-rocksdb-");
        assert!(!is_local, "no working directory: {error}");
        let snapshot = copy.open();
        let verified = verify(&snapshot, Threads::default(), &Progress::default());
        assert!(!verified.expect("a disk").sound, "at {at}");
    }
    let (mut found, mut total) = (0, 0);
    for at in (0..whole.len()).step_by(whole.len() / 40 + 1) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&table, &bytes).expect("room");
        total += 1;
        found += u32::from(document(&copy.open()).is_err());
    }
    std::fs::write(&table, &whole[..whole.len() / 2]).expect("room");
    assert!(copy.error().contains(file_name(&table)));
    println!("{found} of {total} changed bytes of tables are found by reading alone");
    assert!(found * 2 > total, "{found} of {total}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// RocksDB read such a record again and again.
#[test]
fn a_manifest_with_a_record_of_a_recycled_log_is_found() {
    const HEADER_BYTES: usize = 7;
    let copy = Copy::of(&item_named(IN_FILES));
    let manifest = copy.file(|name| name.starts_with("MANIFEST-"));
    let mut bytes = std::fs::read(&manifest).expect("there");
    let mut at = 0;
    for _ in 0..3 {
        at += HEADER_BYTES + usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
    }
    // Longer than what is left, and the middle of a record of a recycled log.
    bytes[at + 4..at + HEADER_BYTES].copy_from_slice(&[0x08, 0x70, 7]);
    std::fs::write(&manifest, &bytes).expect("room");
    let error = copy.error();
    assert!(error.contains(file_name(&manifest)), "{error}");
    assert!(error.contains("type 7"), "{error}");
}

/// Any answer will do, as long as there is one.
#[test]
fn random_damage_never_ends_the_process() {
    let seed = number("MILLPOND_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("MILLPOND_FUZZ_SEED={seed}");
    let seconds = number("MILLPOND_FUZZ_SECONDS").unwrap_or(2);
    let mut state = seed | 1;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let copy = Copy::of(&item_named(IN_FILES));
    let files = copy.files();
    let inline = INLINE.map(|name| item_named(name).open());
    let mut mutate = |bytes: &mut [u8]| {
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            match below(3) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = [0, 0xff, 0x7f, 0x80][below(4)],
                _ => {
                    let end = bytes.len().min(at + 1 + below(16));
                    bytes[at..end].fill(below(256) as u8);
                }
            }
        }
        below(1 << 16)
    };
    let start = Instant::now();
    let (mut damaged, mut total) = (0u32, 0u32);
    let mut which = 0;
    while start.elapsed() < Duration::from_secs(seconds) || total == 0 {
        let (_, path) = &files[which % files.len()];
        let whole = std::fs::read(path).expect("there");
        let mut bytes = whole.clone();
        which = mutate(&mut bytes);
        std::fs::write(path, &bytes).expect("room");
        damaged += u32::from(document(&copy.open()).is_err());
        std::fs::write(path, &whole).expect("room");
        let snapshot = &inline[which % inline.len()];
        let mut handle = first_handle(snapshot).clone();
        let count = handle.private.len() + handle.shared.len();
        let file = handle
            .private
            .iter_mut()
            .chain(&mut handle.shared)
            .nth(which % count);
        if let StreamHandle::Bytes { data, .. } = &mut file.expect("it is below").stream {
            which = mutate(data);
        }
        damaged += u32::from(read(snapshot, handle).is_err());
        total += 2;
    }
    println!("{damaged} of {total} were found damaged");
}

/// Reads all entries of a handle; returns how many.
fn read(
    snapshot: &OpenSnapshot,
    handle: IncrementalHandle,
) -> Result<u64, millpond_snapshot::Error> {
    let handle = KeyedHandle::Incremental(handle);
    let range = handle.key_groups().expect("some");
    let mut reader = snapshot
        .loaded()
        .open_keyed(&handle, range, 128)?
        .expect("its own key groups");
    let mut entries = 0;
    while reader.next_entry()?.is_some() {
        entries += 1;
    }
    Ok(entries)
}

/// What is inline in the metadata has no file of its own, and is written into the directory.
#[test]
fn inline_files_that_are_cut_are_damage() {
    let item = item_named("2.3.0/kinds-rocksdb-native");
    let snapshot = item.open();
    let mut handle = first_handle(&snapshot).clone();
    for file in &mut handle.private {
        if let (true, StreamHandle::Bytes { data, .. }) = (is_table(&file.name), &mut file.stream) {
            data.truncate(data.len() / 2);
        }
    }
    let error = read(&snapshot, handle).expect_err("cut");
    assert!(error.to_string().contains("_metadata"), "{error}");
}

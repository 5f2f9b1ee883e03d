//! RocksDB as a store: the promises of every store, and a random history beside an oracle.
#![cfg(feature = "rocksdb")]

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use millpond_snapshot::StateMeta;
use millpond_state::store::{
    ColumnId, Filtered, KeyValueStore, Keys, Sharing, StateBackend, StoreContext, StoreImage,
    WriteBatch, conformance,
};
use millpond_state_rocksdb::RocksDbBackend;
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const MAX_PARALLELISM: u32 = 128;

fn context(directory: &Path, range: KeyGroupRange, options: &[(&str, &str)]) -> StoreContext {
    let pairs = options
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    StoreContext {
        operator: OperatorId::of_uid("op"),
        operator_name: "op".to_owned(),
        subtask: 0,
        range,
        max_parallelism: MAX_PARALLELISM,
        directory: directory.to_owned(),
        configuration: Arc::new(pairs.collect()),
    }
}

fn all_groups() -> KeyGroupRange {
    KeyGroupRange::of_subtask(0, 1, MAX_PARALLELISM)
}

/// Little memory, so that files are written and compacted within a test.
const SMALL: [(&str, &str); 5] = [
    ("state.backend.rocksdb.memory.fixed-per-slot", "4 mb"),
    ("state.backend.rocksdb.writebuffer.size", "64 kb"),
    (
        "state.backend.rocksdb.compaction.level.target-file-size-base",
        "64 kb",
    ),
    (
        "state.backend.rocksdb.compaction.level.max-size-level-base",
        "256 kb",
    ),
    ("state.backend.rocksdb.write-batch-size", "1 kb"),
];

#[test]
fn it_keeps_the_promises_of_a_store() {
    let home = tempfile::tempdir().expect("a directory");
    let backend = RocksDbBackend::new();
    conformance::check(&mut || {
        let context = context(home.path(), all_groups(), &[]);
        backend.open(&context, None, &[]).expect("it opens")
    });
    let left = std::fs::read_dir(home.path()).expect("a directory").count();
    assert_eq!(left, 0, "dropped stores and images leave nothing");
}

fn content(scan: impl Fn(&mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>)) -> Model {
    let mut found = Model::new();
    scan(&mut |key, value| {
        let first = found.insert(key.to_vec(), value.to_vec());
        assert!(first.is_none(), "each key once");
        ControlFlow::Continue(())
    });
    found
}

fn of_store(store: &dyn KeyValueStore, column: ColumnId) -> Model {
    content(|visit| store.scan(column, &[], None, visit).expect("it scans"))
}

fn of_image(image: &dyn StoreImage, column: ColumnId) -> Model {
    content(|visit| image.scan(column, &[], None, visit).expect("it scans"))
}

/// Copies the files of an image as a restore would find them, under their names.
fn files_of(image: &dyn StoreImage, to: &Path) {
    std::fs::create_dir(to).expect("room");
    for file in image.files().expect("RocksDB has files") {
        assert_eq!(
            std::fs::metadata(&file.path).expect("there").len(),
            file.bytes
        );
        std::fs::copy(&file.path, to.join(&file.name)).expect("room");
    }
}

fn meta(name: &str) -> StateMeta {
    conformance::meta(name)
}

/// Any history of writes, checkpoints and restores holds what sorted maps would hold.
#[test]
fn a_random_history_holds_what_maps_would_hold() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("MILLPOND_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("MILLPOND_FUZZ_SEED={seed}");
    let mut state = seed | 1;
    let mut below = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let home = tempfile::tempdir().expect("a directory");
    let backend = RocksDbBackend::new();
    let small = context(home.path(), all_groups(), &SMALL);
    let metas = [meta("a"), meta("_timer_state/event_b")];
    let mut store = backend.open(&small, None, &[]).expect("it opens");
    let mut models = [Model::new(), Model::new()];
    let open = |store: &dyn KeyValueStore| {
        let opened = metas.iter().map(|meta| store.open_column(meta, None));
        opened
            .map(|column| column.expect("it opens"))
            .collect::<Vec<_>>()
    };
    let mut columns = open(&*store);
    let mut images: Vec<(Arc<dyn StoreImage>, [Model; 2])> = Vec::new();
    let mut restores = 0;
    for round in 0..300 {
        let which = below(2);
        let mut changes = BTreeMap::new();
        for _ in 0..below(200) {
            let mut key = vec![below(128) as u8];
            key.extend((0..below(3)).map(|_| below(4) as u8 * 85));
            changes.insert(key, below(4));
        }
        let mut batch = WriteBatch::new();
        for (key, what) in &changes {
            let mut value = format!("{seed}.{round}").into_bytes();
            value.resize(value.len() + below(60), b'.');
            let model = &mut models[which];
            let put_key = |out: &mut Vec<u8>| out.extend(key);
            match what {
                0 => {
                    batch.delete(put_key);
                    model.remove(key);
                }
                1 => {
                    batch.append(put_key, |out| out.extend(&value));
                    let joined = match model.get(key) {
                        Some(old) => [old.as_slice(), b",", &value].concat(),
                        None => value,
                    };
                    model.insert(key.clone(), joined);
                }
                _ => {
                    batch.put(put_key, |out| out.extend(&value));
                    model.insert(key.clone(), value);
                }
            }
        }
        store.write(columns[which], &batch).expect("it writes");
        let mut keys = Keys::new();
        changes
            .keys()
            .for_each(|key| keys.push(|out| out.extend(key)));
        let mut seen = 0;
        let read = store.multi_get(columns[which], &keys, &mut |at, value| {
            let expected = models[which].get(keys.get(at)).map(Vec::as_slice);
            assert_eq!(value, expected, "round {round}");
            seen += 1;
        });
        read.expect("it reads");
        assert_eq!(seen, changes.len());
        match below(12) {
            0 => images.push((store.checkpoint().expect("an image"), models.clone())),
            1 if !images.is_empty() => {
                let (image, of_then) = images.swap_remove(below(images.len()));
                for (column, model) in columns.iter().zip(&of_then) {
                    assert_eq!(&of_image(&*image, *column), model, "round {round}");
                }
                let files = home.path().join(format!("files-{round}"));
                files_of(&*image, &files);
                drop(image);
                images.clear();
                store = backend
                    .open(&small, Some(&files), &metas)
                    .expect("it opens");
                std::fs::remove_dir_all(&files).expect("made before");
                assert_eq!(store.columns(), metas);
                columns = open(&*store);
                models = of_then;
                restores += 1;
            }
            2 => {
                for (column, model) in columns.iter().zip(&models) {
                    assert_eq!(&of_store(&*store, *column), model, "round {round}");
                }
            }
            _ => {}
        }
    }
    println!("{restores} restores; {:?}", store.statistics());
    assert!(store.statistics().disk_bytes > 0);
}

/// What a checkpoint has in common with the one before has the same name and is the same file.
#[test]
fn a_second_image_shares_the_tables_of_the_first() {
    use std::os::unix::fs::MetadataExt;
    let home = tempfile::tempdir().expect("a directory");
    let backend = RocksDbBackend::new();
    let context = context(home.path(), all_groups(), &[]);
    let store = backend.open(&context, None, &[]).expect("it opens");
    let column = store.open_column(&meta("s"), None).expect("it opens");
    let put = |key: u8| {
        let mut batch = WriteBatch::new();
        batch.put(|out| out.push(key), |out| out.extend([key; 1000]));
        store.write(column, &batch).expect("it writes");
    };
    put(1);
    let first = store.checkpoint().expect("an image");
    put(2);
    let second = store.checkpoint().expect("an image");
    let tables = |image: &dyn StoreImage| -> BTreeMap<String, u64> {
        let files = image.files().expect("RocksDB has files");
        let shared = files
            .into_iter()
            .filter(|file| file.sharing == Sharing::Shared);
        shared
            .map(|file| {
                (
                    file.name,
                    std::fs::metadata(file.path).expect("there").ino(),
                )
            })
            .collect()
    };
    let (first, second) = (tables(&*first), tables(&*second));
    assert!(
        !first.is_empty() && second.len() > first.len(),
        "{first:?} {second:?}"
    );
    assert!(
        first
            .iter()
            .all(|(name, file)| second.get(name) == Some(file))
    );
}

/// Rescaling: of a larger range, only the key groups of the subtask are there, and a key group that
/// comes back later has nothing of what was cut off.
#[test]
fn a_restored_store_has_its_own_key_groups_alone() {
    let home = tempfile::tempdir().expect("a directory");
    let backend = RocksDbBackend::new();
    let whole = context(home.path(), all_groups(), &[]);
    let store = backend.open(&whole, None, &[]).expect("it opens");
    let column = store.open_column(&meta("s"), None).expect("it opens");
    let mut batch = WriteBatch::new();
    for group in 0..128u8 {
        for key in 0..3u8 {
            batch.put(|out| out.extend([group, key]), |out| out.push(key));
        }
    }
    store.write(column, &batch).expect("it writes");
    let image = store.checkpoint().expect("an image");
    for (index, parallelism) in [(0, 1), (0, 3), (1, 3), (2, 3), (127, 128)] {
        let range = KeyGroupRange::of_subtask(index, parallelism, MAX_PARALLELISM);
        let context = context(home.path(), range, &[]);
        let files = home.path().join(format!("files-{index}-{parallelism}"));
        files_of(&*image, &files);
        let part = backend
            .open(&context, Some(&files), &[meta("s")])
            .expect("it opens");
        let found = of_store(&*part, ColumnId(0));
        assert_eq!(found.len(), range.len() * 3);
        assert!(
            found
                .keys()
                .all(|key| range.contains(KeyGroup(key[0].into())))
        );
        let again = part.checkpoint().expect("an image");
        assert_eq!(of_image(&*again, ColumnId(0)), found);
    }
}

/// Rescaling costs no copy and no rewrite of a table whose keys all stay: it is linked, whatever is cut off
/// around it.
#[test]
fn tables_whose_key_groups_all_stay_are_those_of_the_snapshot_behind_a_clip() {
    use std::os::unix::fs::MetadataExt;
    let home = tempfile::tempdir().expect("a directory");
    let backend = RocksDbBackend::new();
    let whole = context(home.path(), all_groups(), &[]);
    let store = backend.open(&whole, None, &[]).expect("it opens");
    let column = store.open_column(&meta("s"), None).expect("it opens");
    // A table for the key groups of each of three subtasks.
    let parts: Vec<KeyGroupRange> = (0..3)
        .map(|index| KeyGroupRange::of_subtask(index, 3, MAX_PARALLELISM))
        .collect();
    let mut image = None;
    for range in &parts {
        let mut batch = WriteBatch::new();
        for group in range.iter() {
            let group = group.0 as u8;
            batch.put(|out| out.extend([group, 1]), |out| out.push(group));
        }
        store.write(column, &batch).expect("it writes");
        image = Some(store.checkpoint().expect("an image"));
    }
    let image = image.expect("three");
    let inodes = |directory: &Path| -> BTreeMap<String, u64> {
        let entries = std::fs::read_dir(directory).expect("a directory");
        let entries = entries.map(|entry| entry.expect("an entry"));
        let named = entries.map(|entry| {
            let name = entry.file_name().into_string().expect("text");
            (name, entry.metadata().expect("there").ino())
        });
        named.filter(|(name, _)| name.ends_with(".sst")).collect()
    };
    for (index, parallelism, kept) in [(0, 1, 0..3), (0, 3, 0..1), (1, 3, 1..2), (2, 3, 2..3)] {
        let range = KeyGroupRange::of_subtask(index, parallelism, MAX_PARALLELISM);
        let files = home.path().join(format!("files-{index}-{parallelism}"));
        files_of(&*image, &files);
        let of_snapshot: Vec<u64> = inodes(&files).into_values().collect();
        assert_eq!(of_snapshot.len(), 3, "a table for each part");
        let place = home.path().join(format!("work-{index}-{parallelism}"));
        std::fs::create_dir(&place).expect("room");
        let context = context(&place, range, &[]);
        let part = backend
            .open(&context, Some(&files), &[meta("s")])
            .expect("it opens");
        assert_eq!(of_store(&*part, ColumnId(0)).len(), range.len());
        // A checkpoint of it shares them, too.
        let own = part.checkpoint().expect("an image");
        let own = own.files().expect("RocksDB has files");
        let own: Vec<u64> = own
            .iter()
            .map(|file| std::fs::metadata(&file.path).expect("there").ino())
            .collect();
        for table in &of_snapshot[kept] {
            assert!(
                own.contains(table),
                "{index} of {parallelism}: {table} {own:?}"
            );
        }
    }
}

#[test]
fn what_has_expired_goes_at_a_compaction() {
    let home = tempfile::tempdir().expect("a directory");
    let backend = RocksDbBackend::new();
    let mut options = SMALL.to_vec();
    options.push((
        "state.backend.rocksdb.compaction.level.max-size-level-base",
        "64 kb",
    ));
    let context = context(home.path(), all_groups(), &options);
    let store = backend.open(&context, None, &[]).expect("it opens");
    let expired = |value: &[u8]| match value.first() {
        Some(b'x') => Filtered::Remove,
        Some(b'r') => Filtered::Replace(Vec::new()),
        _ => Filtered::Keep,
    };
    let column = store
        .open_column(&meta("s"), Some(Arc::new(expired)))
        .expect("it opens");
    let kept = [b"keeps".as_slice(), b"replaced"];
    for round in 0..400u32 {
        let mut batch = WriteBatch::new();
        for key in 0..20u32 {
            let key = (round * 20 + key) * 7919 % 8000;
            let value: &[u8] = match key % 10 {
                0 => kept[0],
                1 => kept[1],
                _ => b"x",
            };
            let mut value = value.to_vec();
            value.resize(200, b'.');
            batch.put(|out| out.extend(key.to_be_bytes()), |out| out.extend(value));
        }
        batch.sort();
        store.write(column, &batch).expect("it writes");
    }
    let found = of_store(&*store, column);
    let of = |first: u8| found.values().filter(|value| value[0] == first).count();
    assert_eq!(
        (of(b'k'), of(b'r')),
        (800, 800),
        "what has not expired stays"
    );
    assert!(
        of(b'x') < 6400,
        "{} of 6400 expired ones are still there",
        of(b'x')
    );
}

#[test]
fn files_that_are_damaged_or_lack_a_state_are_refused() {
    let home = tempfile::tempdir().expect("a directory");
    let backend = RocksDbBackend::new();
    let context = context(home.path(), all_groups(), &[]);
    let store = backend.open(&context, None, &[]).expect("it opens");
    let column = store.open_column(&meta("s"), None).expect("it opens");
    let mut batch = WriteBatch::new();
    batch.put(|out| out.push(1), |out| out.push(1));
    store.write(column, &batch).expect("it writes");
    let image = store.checkpoint().expect("an image");
    let files = home.path().join("files");
    files_of(&*image, &files);
    let error = backend
        .open(&context, Some(&files), &[meta("s"), meta("other")])
        .err()
        .expect("no such state");
    let told = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(told.contains("other"), "{told}");
    let manifest = image.files().expect("files").into_iter();
    let mut manifest = manifest.filter(|file| file.name.starts_with("MANIFEST"));
    let manifest = files.join(manifest.next().expect("a manifest").name);
    std::fs::write(&manifest, b"nothing of a manifest").expect("room");
    let refused = backend.open(&context, Some(&files), &[meta("s")]);
    assert!(refused.is_err());
}

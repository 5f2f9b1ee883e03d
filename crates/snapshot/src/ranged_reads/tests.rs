use super::*;
use crate::{
    CanonicalWriter, ChangesBlock, ChangesWriter, HeapIncrement, HeapIncrements, KeyGroupOffsets,
    KeyGroupsKind, KeyedHeader, KeyedReader, KeyedStateType, MergedReader, StateMeta, StreamHandle,
};
use millpond_fs::memory::{Faults, MemoryFileSystem};
use millpond_fs::{FileSystem, Location};
use millpond_serializer::{FlinkType, VoidNamespace};
use millpond_types::{KeyGroup, KeyGroupRange};
use std::time::Duration;

const MAX_PARALLELISM: u32 = 64;
/// What the values of a key group take, more or less.
const GROUP_BYTES: usize = 256 << 10;
const VALUE_BYTES: usize = 1 << 10;
/// What is read of a file before it is known where its header ends.
const HEADER_BYTES: u64 = 16 << 10;

/// Storage where each request takes a while, so that others can begin meanwhile.
fn slow() -> MemoryFileSystem {
    let fs = MemoryFileSystem::new();
    fs.set_faults(delayed());
    fs
}

fn delayed() -> Faults {
    Faults {
        read_delay: Duration::from_millis(10),
        ..Faults::default()
    }
}

fn at(name: &str) -> Location {
    Location::parse("memory:/sp").expect("a path").join(name)
}

fn source(fs: &MemoryFileSystem, name: &str, reads: &Arc<RangedReads>) -> StateSource {
    let reader = fs.open(&at(name)).expect("there");
    let len = reader.len();
    let source = StateSource::of_file(name, reader, 0, len).expect("whole");
    source.with_reads(Some(Arc::clone(reads)))
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at * 31) >> 4) as u8).collect()
}

fn header() -> KeyedHeader {
    let value = KeyedStateType::Value;
    let void = VoidNamespace::serializer_snapshot();
    KeyedHeader {
        compressed: false,
        key_serializer: i64::serializer_snapshot(),
        states: vec![StateMeta::key_value(
            "count",
            value,
            void,
            String::serializer_snapshot(),
        )],
    }
}

fn all_groups() -> KeyGroupRange {
    KeyGroupRange::of_subtask(0, 1, MAX_PARALLELISM)
}

/// Writes 64 key groups of a quarter of a mebibyte each.
fn write_base(fs: &MemoryFileSystem, name: &str) -> KeyGroupOffsets {
    let mut writer =
        CanonicalWriter::new(Vec::new(), &header(), all_groups(), MAX_PARALLELISM).expect("memory");
    for group in all_groups().iter() {
        writer.begin_state(group, 0).expect("memory");
        for entry in 0..GROUP_BYTES / VALUE_BYTES {
            let written = writer.raw_entry(&key(group, entry), &value(group, entry));
            written.expect("memory");
        }
    }
    let written = writer.finish().expect("memory");
    fs.write_atomic(&at(name), &written.out).expect("room");
    written.groups
}

/// Writes changes of one entry in each key group.
fn write_changes(fs: &MemoryFileSystem, name: &str, entry: usize) -> KeyGroupOffsets {
    let mut writer = ChangesWriter::new(Vec::new(), &header(), all_groups()).expect("memory");
    for group in all_groups().iter() {
        let begun = writer.begin_state(group, 0, ChangesBlock::Some);
        begun.expect("memory");
        let put = writer.put(
            |out| out.extend(key(group, entry)),
            |out| out.extend_from_slice(name.as_bytes()),
        );
        put.expect("memory");
    }
    let written = writer.finish().expect("memory");
    fs.write_atomic(&at(name), &written.out).expect("room");
    written.groups
}

fn key(group: KeyGroup, entry: usize) -> Vec<u8> {
    let mut out = Vec::new();
    (i64::from(group.0) * 1_000_000 + entry as i64).write(&mut out);
    VoidNamespace.write(&mut out);
    out
}

fn value(group: KeyGroup, entry: usize) -> Vec<u8> {
    vec![(usize::from(group.0) + entry) as u8; VALUE_BYTES]
}

/// The bytes of the key groups that a subtask wants.
fn bytes_of(groups: &KeyGroupOffsets, wanted: KeyGroupRange, len: u64) -> u64 {
    let offsets: Vec<u64> = groups.iter().map(|(_, offset)| offset as u64).collect();
    let end_of = |at: usize| offsets.get(at + 1).copied().unwrap_or(len);
    let wanted = wanted.iter().map(|group| usize::from(group.0));
    wanted.map(|at| end_of(at) - offsets[at]).sum()
}

/// Reads all and checks that it is what was written, but for the entry `changed` of each group.
fn check(mut reader: KeyedReader, wanted: KeyGroupRange, changed: Option<(usize, &str)>) {
    let mut seen = 0;
    while let Some(found) = reader.next_entry().expect("sound") {
        let per_group = GROUP_BYTES / VALUE_BYTES;
        let group = KeyGroup(wanted.first().0 + (seen / per_group) as u16);
        let entry = seen % per_group;
        assert_eq!(
            (found.key_group, found.key),
            (group, &key(group, entry)[..])
        );
        match changed {
            Some((at, to)) if at == entry => assert_eq!(found.value, to.as_bytes()),
            _ => assert_eq!(found.value, value(group, entry)),
        }
        seen += 1;
    }
    assert_eq!(seen, wanted.len() * GROUP_BYTES / VALUE_BYTES);
}

#[test]
fn a_subtask_reads_its_key_groups_with_several_requests_at_once_and_nothing_else() {
    let fs = MemoryFileSystem::new();
    let groups = write_base(&fs, "canonical");
    let reads = Arc::new(RangedReads::default());
    for (subtask, parallelism) in [(0, 1), (1, 4), (4, 5)] {
        let wanted = KeyGroupRange::of_subtask(subtask, parallelism, MAX_PARALLELISM);
        fs.set_faults(delayed());
        let source = source(&fs, "canonical", &reads);
        let len = source.len();
        let kind = KeyGroupsKind::Savepoint;
        let reader = KeyedReader::open(source, &kind, &groups, wanted, MAX_PARALLELISM);
        check(reader.expect("sound"), wanted, None);
        let read = fs.reads();
        assert_eq!(read.bytes, HEADER_BYTES + bytes_of(&groups, wanted, len));
        assert!(read.most_at_once > 1, "{read:?}");
        assert!(read.most_at_once <= PARTS_AHEAD as u64, "{read:?}");
        assert_eq!(reads.pool().ahead_bytes, 0, "all room is given back");
    }
}

#[test]
fn a_base_and_its_changes_are_read_at_the_same_time() {
    let fs = MemoryFileSystem::new();
    let names = ["base", "changes-1", "changes-2", "changes-3"];
    let groups: Vec<KeyGroupOffsets> = names
        .iter()
        .map(|name| match *name {
            "base" => write_base(&fs, name),
            name => write_changes(&fs, name, 7),
        })
        .collect();
    let files = names.iter().zip(&groups).zip(1..);
    let files = files.map(|((name, groups), checkpoint)| HeapIncrement {
        checkpoint,
        groups: groups.clone(),
        stream: StreamHandle::Relative {
            name: (*name).to_owned(),
            size: 0,
        },
    });
    let files: Vec<_> = files.collect();
    let base = HeapIncrements::of_base(files[0].clone());
    let increments = files[1..]
        .iter()
        .fold(base, |all, file| all.with(file.clone()));
    let wanted = KeyGroupRange::of_subtask(1, 4, MAX_PARALLELISM);
    let reads = Arc::new(RangedReads::default());
    fs.set_faults(delayed());
    let sources: Vec<_> = names.iter().map(|name| source(&fs, name, &reads)).collect();
    let sizes: Vec<u64> = sources.iter().map(StateSource::len).collect();
    let asked = sources.into_iter().map(KeyedHeader::ask_for).collect();
    let reader = MergedReader::open(&increments, asked, wanted, MAX_PARALLELISM).expect("sound");
    let reader = KeyedReader::HeapIncrements(Box::new(reader));
    check(reader, wanted, Some((7, "changes-3")));
    let read = fs.reads();
    let needed = groups.iter().zip(&sizes);
    let needed =
        needed.map(|(groups, len)| len.min(&HEADER_BYTES) + bytes_of(groups, wanted, *len));
    assert_eq!(read.bytes, needed.sum::<u64>());
    assert!(read.most_at_once > 1, "{read:?}");
}

#[test]
fn files_are_copied_in_parts_at_the_same_time_and_whole() {
    let fs = slow();
    let reads = Arc::new(RangedReads::default());
    let place = tempfile::tempdir().expect("room");
    let sizes = [0, 1, 5 << 20, (9 << 20) + 17, 3];
    let mut copies = Vec::new();
    for size in sizes {
        let name = format!("sst-{size}");
        fs.write_atomic(&at(&name), &pattern(size)).expect("room");
        copies.push((source(&fs, &name, &reads), place.path().join(&name)));
    }
    copy_files(Some(&reads), &copies).expect("room");
    for (size, (_, to)) in sizes.into_iter().zip(&copies) {
        assert!(std::fs::read(to).expect("there") == pattern(size), "{size}");
    }
    let read = fs.reads();
    assert_eq!(read.bytes, sizes.iter().sum::<usize>() as u64);
    assert!(read.most_at_once > 1, "{read:?}");
    assert!(read.most_at_once <= REQUESTS as u64, "{read:?}");
    assert!(read.most_bytes_at_once <= REQUESTS as u64 * PART_BYTES);
    // Nothing is overwritten: a snapshot may name a file twice.
    let again = copy_files(Some(&reads), &copies).expect_err("there already");
    assert!(matches!(again, CopyError::Write(..)), "{again:?}");
}

#[test]
fn a_copy_that_cannot_be_read_ends_with_the_error() {
    for reads in [None, Some(Arc::new(RangedReads::default()))] {
        let fs = MemoryFileSystem::new();
        fs.write_atomic(&at("sst"), &pattern(12 << 20))
            .expect("room");
        fs.set_faults(Faults {
            failing_reads: [3].into(),
            ..Faults::default()
        });
        let place = tempfile::tempdir().expect("room");
        let opened = source(&fs, "sst", &Arc::default()).with_reads(reads.clone());
        let copies = [(opened, place.path().join("sst"))];
        let error = copy_files(reads.as_ref(), &copies).expect_err("a read fails");
        assert!(matches!(error, CopyError::Read(_)), "{error:?}");
    }
}

/// More streams than there is room for, none of which is read for long.
#[test]
fn streams_that_nobody_reads_take_bounded_memory_and_hold_no_other_up() {
    let fs = slow();
    let size = 8 << 20;
    fs.write_atomic(&at("file"), &pattern(size)).expect("room");
    let reads = Arc::new(RangedReads::default());
    let whole = source(&fs, "file", &reads);
    let begun: Vec<_> = (0..40)
        .map(|_| whole.read_ahead(std::iter::once(0..size as u64)))
        .collect();
    let most = MOST_AHEAD_BYTES.min(40 * PARTS_AHEAD as u64 * PART_BYTES);
    assert_eq!(reads.pool().ahead_bytes, most);
    assert!(reads.pool().threads <= REQUESTS);
    let late = whole.read_ahead(std::iter::once(0..size as u64));
    assert!(late.read_all().expect("sound") == pattern(size));
    assert!(reads.pool().ahead_bytes <= most);
    drop((begun, late));
    while reads.pool().threads > 0 {
        thread::yield_now();
    }
    assert_eq!(reads.pool().ahead_bytes, 0);
}

#[test]
fn reading_in_any_pieces_and_outside_of_what_was_asked_for_yields_the_bytes() {
    let fs = MemoryFileSystem::new();
    let size = 6 << 20;
    let content = pattern(size);
    fs.write_atomic(&at("file"), &content).expect("room");
    let reads = Arc::new(RangedReads::default());
    let whole = source(&fs, "file", &reads);
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    // In order and in odd pieces, over gaps, backwards, over the ends of parts.
    for piece in [777_777, 1 << 20, (1 << 20) + 1, 3 << 20] {
        pieces.extend((0..size / piece).map(|n| (n * piece, piece)));
    }
    pieces.extend([(5 << 20, 10), (10, 10), (0, size), (3, 4 << 20), (0, 0)]);
    let parts = [0..1 << 20, 1 << 20..(2 << 20) + 5, 4 << 20..5 << 20];
    let ahead = whole.read_ahead(parts);
    for (start, length) in pieces {
        let found = ahead.read_range(start as u64, (start + length) as u64);
        let expected = &content[start..start + length];
        assert!(found.expect("sound") == expected, "{length} from {start}");
    }
    ahead
        .read_range(0, size as u64 + 1)
        .expect_err("behind the end");
}

#[test]
fn an_error_of_a_part_reaches_its_reader() {
    let fs = MemoryFileSystem::new();
    fs.write_atomic(&at("file"), &pattern(4 << 20))
        .expect("room");
    fs.set_faults(Faults {
        failing_reads: (1..=4).collect(),
        ..Faults::default()
    });
    let whole = source(&fs, "file", &Arc::default());
    let ahead = whole.read_ahead(std::iter::once(0..4 << 20));
    let error = ahead.read_range(0, 10).expect_err("a read fails");
    assert!(matches!(error.kind(), crate::ErrorKind::Io(_)), "{error}");
}

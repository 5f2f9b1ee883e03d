//! Keyed state of the heap in several files: a base, and changes on top of it.
//!
//! An input is a byte of flags, the number of files of changes, and for each file, the base first,
//! the number of its key groups, an offset for each, and a length with so many bytes; what is left is
//! read as the list of files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{Input, golden, keyed_states, seeds, within};
use millpond_snapshot::{
    CanonicalReader, ChangesBlock, ChangesWriter, HeapIncrement, HeapIncrements, IncrementalHandle,
    KeyGroupOffsets, KeyGroupsKind, KeyedHandle, KeyedHeader, MergedReader, StateSource,
    StreamHandle,
};
use millpond_types::{KeyGroup, KeyGroupRange};

/// There are more than 128 key groups in all.
const WIDE: u8 = 1;

/// So many key groups of a snapshot tell as much as all.
const GROUPS: usize = 5;

fuzz_target!(
    init: seeds(|put| {
        for golden in golden() {
            keyed_states(&golden, &mut |handle, data, max_parallelism| {
                let KeyedHandle::KeyGroups { kind, groups, .. } = handle else { return };
                if !matches!(kind, KeyGroupsKind::Savepoint) {
                    return;
                }
                let count = groups.offsets.len().min(GROUPS);
                let end = groups.offsets.get(count).filter(|end| **end > 0);
                let data = &data[..end.map_or(data.len(), |end| *end as usize)];
                let first = groups.first;
                let offsets = groups.offsets[..count].to_vec();
                let groups = KeyGroupOffsets { first, offsets };
                let Some((changes, offsets)) = changes_of(data, &groups, max_parallelism) else {
                    return;
                };
                let mut input = vec![u8::from(max_parallelism > 128) * WIDE, 1];
                put_file(&groups.offsets, data, &mut input);
                put_file(&offsets, &changes, &mut input);
                let increments = increments(vec![groups.clone(), groups]);
                increments.write_list(&mut input);
                put(input);
            });
        }
    }),
    |bytes: &[u8]| within(bytes.len(), || read(Input::new(bytes)))
);

fn put_file(offsets: &[i64], data: &[u8], input: &mut Vec<u8>) {
    input.push(offsets.len() as u8);
    for offset in offsets {
        input.extend((*offset as u32).to_be_bytes());
    }
    input.extend((data.len() as u32).to_be_bytes());
    input.extend(data);
}

/// Changes on a file: every second entry is removed, each other one is put again.
fn changes_of(
    data: &[u8],
    groups: &KeyGroupOffsets,
    max_parallelism: u32,
) -> Option<(Vec<u8>, Vec<i64>)> {
    let range = groups.range()?;
    let source = StateSource::of_bytes("base", data);
    let mut reader = CanonicalReader::open(source, groups, range, max_parallelism).ok()?;
    let header = KeyedHeader {
        compressed: false,
        ..reader.header().clone()
    };
    let mut writer = ChangesWriter::new(Vec::new(), &header, range).ok()?;
    let (mut current, mut is_removed) = (None, false);
    while let Ok(Some(entry)) = reader.next_entry() {
        let place: (KeyGroup, usize) = (entry.key_group, entry.state);
        if current.replace(place) != Some(place) {
            let block = ChangesBlock::Some;
            writer
                .begin_state(entry.key_group, entry.state, block)
                .ok()?;
        }
        let key = |out: &mut Vec<u8>| out.extend(entry.key);
        is_removed = !is_removed;
        match is_removed {
            true => writer.remove(key).ok()?,
            false => writer.put(key, |out| out.extend(entry.value)).ok()?,
        }
    }
    let written = writer.finish().ok()?;
    Some((written.out, written.groups.offsets))
}

fn increments(groups: Vec<KeyGroupOffsets>) -> HeapIncrements {
    let mut files = groups.into_iter().map(|groups| HeapIncrement {
        checkpoint: 1,
        groups,
        stream: StreamHandle::EmptySegment,
    });
    let base = files.next().expect("there is a base");
    files.fold(HeapIncrements::of_base(base), |all, file| all.with(file))
}

fn read(mut input: Input<'_>) {
    let (flags, changes) = (input.u8(), input.u8() % 4);
    let (mut groups, mut sources) = (Vec::new(), Vec::new());
    for _ in 0..=changes {
        let count = input.u8() % 8;
        let offsets = (0..count).map(|_| i64::from(input.u32() as i32)).collect();
        groups.push(KeyGroupOffsets { first: 0, offsets });
        let length = input.u32() as usize;
        sources.push(StateSource::of_bytes("file", input.part(length)));
    }
    let increments = increments(groups);
    let handle = IncrementalHandle {
        checkpoint_id: 1,
        backend_id: String::new(),
        range: (0, 1),
        meta: StreamHandle::EmptySegment,
        shared: increments.shared(),
        private: Vec::new(),
        v2: None,
    };
    if let Ok(again) = HeapIncrements::read(&handle, input.rest()) {
        let mut list = Vec::new();
        again.write_list(&mut list);
        assert_eq!(HeapIncrements::read(&handle, &list).ok(), Some(again));
    }
    let max_parallelism = if flags & WIDE == 0 { 128 } else { 300 };
    let wanted = KeyGroupRange::of_subtask(0, 1, max_parallelism);
    let Ok(mut reader) = MergedReader::open(&increments, sources, wanted, max_parallelism) else {
        return;
    };
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(wanted.contains(entry.key_group));
    }
}

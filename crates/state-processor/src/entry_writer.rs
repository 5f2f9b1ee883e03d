//! The keyed state of one subtask on its way into a new snapshot.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use millpond_snapshot::{
    Error, IncrementalHandle, KeyGroupRecord, KeyedFormat, KeyedHandle, KeyedHeader, KeyedWriter,
    NamedStream, RocksDbWriter, StateRecord, StateStream, WrittenState, key_group_prefix_bytes,
};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::snapshot_writer::{SnapshotWriter, random_uuid};

/// Takes entries in ascending order of key groups; each state of a group in one run.
pub(crate) struct EntryWriter<'a> {
    snapshot: &'a SnapshotWriter,
    header: Arc<KeyedHeader>,
    out: Out<'a>,
    place: Option<(KeyGroup, usize)>,
}

enum Out<'a> {
    Stream(KeyedFormat, Box<KeyedWriter<StateStream<'a>>>),
    RocksDb(RocksDbOut),
}

/// The files of a RocksDB on their way.
struct RocksDbOut {
    files: Box<dyn RocksDbWriter>,
    range: KeyGroupRange,
    /// What an entry takes beside its key and its value: two lengths and the key group.
    head_bytes: u64,
    /// Entries and bytes by state and key group.
    counts: BTreeMap<(usize, KeyGroup), (u64, u64)>,
}

/// The keyed state of one subtask in the new snapshot.
pub(crate) struct WrittenSubtask {
    pub(crate) handle: KeyedHandle,
    pub(crate) states: Vec<StateRecord>,
}

impl<'a> EntryWriter<'a> {
    pub(crate) fn new(
        snapshot: &'a SnapshotWriter,
        header: Arc<KeyedHeader>,
        format: KeyedFormat,
        range: KeyGroupRange,
        max_parallelism: u32,
    ) -> Result<Self, Error> {
        let out = match format {
            KeyedFormat::Canonical | KeyedFormat::NativeHeap => {
                let stream = snapshot.stream();
                let out = KeyedWriter::new(format, stream, &header, range, max_parallelism)?;
                Out::Stream(format, Box::new(out))
            }
            KeyedFormat::NativeRocksDb => {
                let rocksdb = snapshot.rocksdb().ok_or_else(|| {
                    let what = "files of a RocksDB, which this program was built without; build \
                                it with \"cargo build --release --features rocksdb\"";
                    Error::unsupported(what).in_file(snapshot.directory())
                })?;
                Out::RocksDb(RocksDbOut {
                    files: rocksdb.create(&header, max_parallelism)?,
                    range,
                    head_bytes: 8 + key_group_prefix_bytes(max_parallelism) as u64,
                    counts: BTreeMap::new(),
                })
            }
        };
        Ok(EntryWriter {
            snapshot,
            header,
            out,
            place: None,
        })
    }

    /// Adds an entry; `key` is without the key group.
    #[inline]
    pub(crate) fn put(
        &mut self,
        group: KeyGroup,
        state: usize,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        match &mut self.out {
            Out::Stream(_, out) => {
                if self.place != Some((group, state)) {
                    out.begin_state(group, state)?;
                    self.place = Some((group, state));
                }
                out.raw_entry(key, value)
            }
            Out::RocksDb(out) => out.put(group, state, key, value),
        }
    }

    pub(crate) fn finish(self) -> Result<WrittenSubtask, Error> {
        match self.out {
            Out::Stream(format, out) => {
                let written = out.finish()?;
                let stream = self.snapshot.finish_stream(written.out)?;
                let handle = KeyedHandle::KeyGroups {
                    kind: format.handle_kind(random_uuid),
                    groups: written.groups,
                    stream,
                };
                let states = self.header.states.iter().zip(&written.states);
                let states = states.map(|(meta, state)| record(&meta.name, state));
                Ok(WrittenSubtask {
                    handle,
                    states: states.collect(),
                })
            }
            Out::RocksDb(out) => out.finish(self.snapshot, &self.header),
        }
    }
}

impl RocksDbOut {
    fn put(
        &mut self,
        group: KeyGroup,
        state: usize,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        let (entries, bytes) = self.counts.entry((state, group)).or_default();
        *entries += 1;
        *bytes += self.head_bytes + (key.len() + value.len()) as u64;
        self.files.put(group, state, key, value)
    }

    /// Copies the files into the snapshot, all of them as private ones: it is self-contained, as a
    /// native savepoint of Flink is.
    fn finish(
        self,
        snapshot: &SnapshotWriter,
        header: &KeyedHeader,
    ) -> Result<WrittenSubtask, Error> {
        let copy = |from: &mut dyn io::Read| {
            let mut stream = snapshot.stream();
            io::copy(from, &mut stream).map_err(|error| {
                millpond_fs::Error::io("write", snapshot.directory().join("..."), error)
            })?;
            snapshot.finish_stream(stream)
        };
        let mut bytes = Vec::new();
        // Files of a RocksDB are compressed by themselves.
        let header = KeyedHeader {
            compressed: false,
            ..header.clone()
        };
        header.write(&mut bytes)?;
        let meta = copy(&mut bytes.as_slice())?;
        let mut private = Vec::new();
        self.files.finish(&mut |name, file| {
            let stream = copy(file)?;
            let name = name.to_owned();
            private.push(NamedStream { name, stream });
            Ok(())
        })?;
        let files = private.iter().map(|file| file.stream.size());
        let size = files.sum::<u64>() + meta.size();
        let handle = KeyedHandle::Incremental(IncrementalHandle {
            checkpoint_id: 0,
            backend_id: random_uuid(),
            range: (self.range.first().0, self.range.len() as u32),
            meta,
            shared: Vec::new(),
            private,
            v2: Some((i64::try_from(size).unwrap_or(i64::MAX), random_uuid())),
        });
        let of_state = |(index, name): (usize, &str)| StateRecord {
            name: name.to_owned(),
            key_groups: self
                .counts
                .range((index, KeyGroup(0))..=(index, KeyGroup(u16::MAX)))
                .map(|((_, group), (entries, bytes))| KeyGroupRecord {
                    key_group: group.0,
                    entries: *entries,
                    bytes: *bytes,
                })
                .collect(),
        };
        let names = header.states.iter().map(|meta| meta.name.as_str());
        let states = names.enumerate().map(of_state).collect();
        Ok(WrittenSubtask { handle, states })
    }
}

fn record(name: &str, state: &WrittenState) -> StateRecord {
    let groups = state.key_groups.iter();
    StateRecord {
        name: name.to_owned(),
        key_groups: groups
            .map(|&(group, entries, bytes)| KeyGroupRecord {
                key_group: group.0,
                entries,
                bytes,
            })
            .collect(),
    }
}

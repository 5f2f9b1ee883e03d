//! Handles: where the bytes of a state lie.
//!
//! Every handle starts with a type byte (0 is "none").
//!
//! | StreamHandle | body |
//! | --- | --- |
//! | 1 bytes | UTF name, BYTES data |
//! | 2 file | i64 size, UTF absolute path |
//! | 3 key groups | i32 first, i32 n, n i64 offsets, StreamHandle |
//! | 6 relative file | UTF file name, i64 size |
//! | 15 segment | i64 start, i64 size, i32 scope, UTF path, UTF logical id |
//! | 16 empty segment | |
//!
//! | KeyedHandle | body |
//! | --- | --- |
//! | 3 key groups | i32 first, i32 n, n i64 offsets, StreamHandle |
//! | 7 savepoint key groups | as 3: the canonical format |
//! | 12 key groups v2 | as 3, then UTF handle id |
//! | 5 incremental | i64 checkpoint, UTF backend, i32 first, i32 n, StreamHandle meta, list shared, list private |
//! | 11 incremental v2 | as 5, with i64 checkpointed size before meta and UTF handle id at the end |
//! | 8, 14 changelog | i32 first, i32 n, i64 checkpointed size, i32 + KeyedHandles (materialized), i32 + KeyedHandles (changes), i64 materialization id, \[14: i64 checkpoint\], UTF handle id |
//! | 9 changes in memory | i32 first, i32 n, i64 from, i64 to, i32 + (i32 key group, BYTES), UTF handle id |
//! | 10, 13 change files | i32 first, i32 n, i32 + (i64 offset, StreamHandle), i64 size, i64 checkpointed size, UTF handle id, \[13: UTF storage\] |
//!
//! A list is i32 n, then (UTF local name, StreamHandle). OperatorStateHandle (type 4, or 17 in a
//! merged file): i32 n states, each UTF name, u8 mode, i32 k, k i64 offsets; \[17: UTF task-owned
//! directory, UTF shared directory, bool empty\]; StreamHandle.
//!
//! Source: Flink 2.3.0, class `MetadataV2V3SerializerBase`.

use millpond_serializer::{ByteReader, ByteWriter};
use millpond_types::{KeyGroup, KeyGroupRange};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Handles may hold handles; deeper than this is damage.
const MAX_DEPTH: usize = 8;

/// A place that holds bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamHandle {
    /// The bytes themselves.
    Bytes {
        /// A name without meaning: Flink puts the path here that the file would have had.
        name: String,
        /// The bytes.
        data: Vec<u8>,
    },
    /// A file at an absolute path.
    File {
        /// The path, as Flink spells it: "file:/a/b".
        path: String,
        /// Bytes in the file.
        size: i64,
    },
    /// A file beside `_metadata`.
    Relative {
        /// The name in that directory.
        name: String,
        /// Bytes in the file.
        size: i64,
    },
    /// Key groups of another stream; only older snapshots have it.
    KeyGroups {
        /// The key groups.
        groups: KeyGroupOffsets,
        /// The stream that holds them.
        stream: Box<StreamHandle>,
    },
    /// A part of a file that several handles share.
    Segment {
        /// Offset of the first byte.
        start: i64,
        /// Bytes from there.
        size: i64,
        /// [`EXCLUSIVE`](Self::EXCLUSIVE) or [`SHARED`](Self::SHARED).
        scope: i32,
        /// The absolute path of the file.
        path: String,
        /// The name of the logical file.
        logical_id: String,
    },
    /// An empty part of such a file.
    EmptySegment,
}

/// Key groups in ascending order without gaps, and where each begins in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGroupOffsets {
    /// The first key group.
    pub first: u16,
    /// One offset per key group. In the canonical format 0 says that the group is empty; in raw
    /// keyed state -1 does.
    pub offsets: Vec<i64>,
}

/// A name in a working directory, and where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedStream {
    /// The local name.
    pub name: String,
    /// The bytes.
    pub stream: StreamHandle,
}

/// What the key groups of a [`KeyedHandle::KeyGroups`] are written in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyGroupsKind {
    /// Type 7: a canonical savepoint.
    Savepoint,
    /// Type 12: the native format of the heap backend, raw keyed state, or a full checkpoint.
    V2 {
        /// A random id.
        id: String,
    },
    /// Type 3: as type 12, from releases before 1.15.
    V1,
}

/// Where keyed state lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyedHandle {
    /// Key groups in one stream.
    KeyGroups {
        /// The format.
        kind: KeyGroupsKind,
        /// The key groups.
        groups: KeyGroupOffsets,
        /// The stream that holds them.
        stream: StreamHandle,
    },
    /// Files of a RocksDB, or of an incremental checkpoint of the heap backend.
    Incremental(IncrementalHandle),
    /// State with a log of changes.
    Changelog(ChangelogHandle),
    /// Changes, in the metadata.
    InMemoryChanges {
        /// First key group, and how many.
        range: (u16, u32),
        /// First and last sequence number.
        sequence: (i64, i64),
        /// Key group (or -1) and bytes of each change.
        changes: Vec<(i32, Vec<u8>)>,
        /// A random id.
        id: String,
    },
    /// Changes, in files.
    ChangeFiles {
        /// First key group, and how many.
        range: (u16, u32),
        /// Start offset and file.
        files: Vec<(i64, StreamHandle)>,
        /// Bytes in all.
        size: i64,
        /// Bytes that this checkpoint added.
        checkpointed_size: i64,
        /// A random id.
        id: String,
        /// The storage; only type 13 has it.
        storage: Option<String>,
    },
}

/// Files of a RocksDB, which together are a checkpoint of it; or those of
/// [`HeapIncrements`](crate::HeapIncrements).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncrementalHandle {
    /// The checkpoint that wrote it.
    pub checkpoint_id: i64,
    /// The id of the backend instance.
    pub backend_id: String,
    /// First key group, and how many.
    pub range: (u16, u32),
    /// The header of keyed state; of heap state the list of its files.
    pub meta: StreamHandle,
    /// Files that later checkpoints may share.
    pub shared: Vec<NamedStream>,
    /// Files of this checkpoint alone.
    pub private: Vec<NamedStream>,
    /// Bytes that this checkpoint added, and a random id; type 5 has neither.
    pub v2: Option<(i64, String)>,
}

/// State with a log of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangelogHandle {
    /// First key group, and how many.
    pub range: (u16, u32),
    /// Bytes that this checkpoint added.
    pub checkpointed_size: i64,
    /// The state at some time.
    pub materialized: Vec<KeyedHandle>,
    /// The changes since.
    pub changes: Vec<KeyedHandle>,
    /// Counts materializations.
    pub materialization_id: i64,
    /// The checkpoint; only type 14 has it.
    pub checkpoint_id: Option<i64>,
    /// A random id.
    pub id: String,
}

/// How operator state is dealt out when the parallelism changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DistributionMode {
    /// Each element goes to one subtask.
    SplitDistribute,
    /// All elements go to every subtask.
    Union,
    /// Every subtask has the same map.
    Broadcast,
}

/// One state in an operator state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorStateOffsets {
    /// The name of the state.
    pub name: String,
    /// How it is dealt out.
    pub mode: DistributionMode,
    /// Where each element begins.
    pub offsets: Vec<i64>,
}

/// Where operator state lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorStateHandle {
    /// The states, in the order of the file.
    pub states: Vec<OperatorStateOffsets>,
    /// The stream that holds them.
    pub stream: StreamHandle,
    /// Only in merged files.
    pub merged: Option<MergedOperatorState>,
}

/// What an operator state handle in a merged file has in addition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedOperatorState {
    /// The directory of files that tasks own.
    pub task_owned_directory: String,
    /// The directory of files that checkpoints share.
    pub shared_directory: String,
    /// Whether there is nothing in it.
    pub empty: bool,
}

/// In-flight data of one or more channels, in or out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelHandle {
    /// One channel.
    Single {
        /// The subtask that wrote it.
        subtask: i32,
        /// Gate and channel, or partition and subpartition.
        channel: (i32, i32),
        /// Where each buffer begins.
        offsets: Vec<i64>,
        /// Bytes of all buffers with their lengths.
        size: i64,
        /// The stream that holds them.
        stream: StreamHandle,
    },
    /// Several channels (metadata version 6).
    Merged {
        /// The subtask that wrote it.
        subtask: i32,
        /// Bytes of all buffers with their lengths.
        size: i64,
        /// The stream that holds them.
        stream: StreamHandle,
        /// The channels and their offsets, as they lie in the file.
        channels: Vec<u8>,
    },
}

/// Which way the data of a [`ChannelHandle`] was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Input,
    Output,
}

impl KeyGroupOffsets {
    /// The key groups; `None` if there are none.
    pub fn range(&self) -> Option<KeyGroupRange> {
        range_of((self.first, self.offsets.len() as u32))
    }

    /// Returns each key group with its offset.
    pub fn iter(&self) -> impl Iterator<Item = (KeyGroup, i64)> + '_ {
        (self.first..)
            .map(KeyGroup)
            .zip(self.offsets.iter().copied())
    }
}

impl KeyedHandle {
    /// The key groups that the handle covers; `None` if there are none.
    pub fn key_groups(&self) -> Option<KeyGroupRange> {
        match self {
            KeyedHandle::KeyGroups { groups, .. } => groups.range(),
            KeyedHandle::Incremental(handle) => range_of(handle.range),
            KeyedHandle::Changelog(handle) => range_of(handle.range),
            KeyedHandle::InMemoryChanges { range, .. } | KeyedHandle::ChangeFiles { range, .. } => {
                range_of(*range)
            }
        }
    }

    /// Calls `visit` for every stream below.
    pub fn streams<'a>(&'a self, visit: &mut dyn FnMut(&'a StreamHandle)) {
        match self {
            KeyedHandle::KeyGroups { stream, .. } => visit(stream),
            KeyedHandle::Incremental(handle) => {
                visit(&handle.meta);
                handle
                    .shared
                    .iter()
                    .chain(&handle.private)
                    .for_each(|named| visit(&named.stream));
            }
            KeyedHandle::Changelog(handle) => {
                handle
                    .materialized
                    .iter()
                    .chain(&handle.changes)
                    .for_each(|h| h.streams(visit));
            }
            KeyedHandle::InMemoryChanges { .. } => {}
            KeyedHandle::ChangeFiles { files, .. } => {
                files.iter().for_each(|(_, file)| visit(file))
            }
        }
    }
}

impl StreamHandle {
    /// The scope of a segment that one snapshot has.
    pub const EXCLUSIVE: i32 = 0;
    /// The scope of a segment that several checkpoints may have.
    pub const SHARED: i32 = 1;

    /// Bytes of the stream.
    pub fn size(&self) -> u64 {
        match self {
            StreamHandle::Bytes { data, .. } => data.len() as u64,
            StreamHandle::File { size, .. }
            | StreamHandle::Relative { size, .. }
            | StreamHandle::Segment { size, .. } => u64::try_from(*size).unwrap_or(0),
            StreamHandle::KeyGroups { stream, .. } => stream.size(),
            StreamHandle::EmptySegment => 0,
        }
    }
}

impl ChannelHandle {
    /// The stream that holds the data.
    pub fn stream(&self) -> &StreamHandle {
        match self {
            ChannelHandle::Single { stream, .. } | ChannelHandle::Merged { stream, .. } => stream,
        }
    }
}

fn range_of((first, count): (u16, u32)) -> Option<KeyGroupRange> {
    let last = u16::try_from(u32::from(first) + count.checked_sub(1)?).ok()?;
    Some(KeyGroupRange::new(KeyGroup(first), KeyGroup(last)))
}

fn wrong_type(at: u64, what: &str, found: u8) -> Error {
    Error::corrupt(at, what, format!("type {found}"))
}

// Reading.

/// Reads a stream handle; `None` for type 0.
pub(crate) fn read_stream(input: &mut ByteReader<'_>) -> Result<Option<StreamHandle>, Error> {
    read_stream_at_depth(input, 0)
}

fn read_stream_at_depth(
    input: &mut ByteReader<'_>,
    depth: usize,
) -> Result<Option<StreamHandle>, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::corrupt(
            input.offset(),
            "a handle of bytes",
            "handles without end",
        ));
    }
    let at = input.offset();
    Ok(Some(match input.u8()? {
        0 => return Ok(None),
        1 => StreamHandle::Bytes {
            name: input.utf()?,
            data: input.bytes()?.to_vec(),
        },
        2 => {
            let size = read_size(input)?;
            StreamHandle::File {
                path: input.utf()?,
                size,
            }
        }
        3 => {
            let groups = read_groups(input)?;
            let at = input.offset();
            let stream = read_stream_at_depth(input, depth + 1)?
                .ok_or_else(|| wrong_type(at, "a stream handle", 0))?;
            StreamHandle::KeyGroups {
                groups,
                stream: Box::new(stream),
            }
        }
        6 => StreamHandle::Relative {
            name: read_relative_name(input)?,
            size: read_size(input)?,
        },
        15 => StreamHandle::Segment {
            start: read_size(input)?,
            size: read_size(input)?,
            scope: input.i32()?,
            path: input.utf()?,
            logical_id: input.utf()?,
        },
        16 => StreamHandle::EmptySegment,
        other => {
            return Err(wrong_type(
                at,
                "a stream handle of type 0, 1, 2, 3, 6, 15 or 16",
                other,
            ));
        }
    }))
}

/// Reads a stream handle that must be there.
pub(crate) fn read_some_stream(input: &mut ByteReader<'_>) -> Result<StreamHandle, Error> {
    let at = input.offset();
    read_stream(input)?.ok_or_else(|| wrong_type(at, "a stream handle", 0))
}

/// Reads a number of bytes: not negative.
fn read_size(input: &mut ByteReader<'_>) -> Result<i64, Error> {
    let at = input.offset();
    let size = input.i64()?;
    if size < 0 {
        return Err(Error::corrupt(at, "a number of bytes", size.to_string()));
    }
    Ok(size)
}

/// Reads the name of a file beside `_metadata`: one that leads out of the directory is damage.
fn read_relative_name(input: &mut ByteReader<'_>) -> Result<String, Error> {
    let at = input.offset();
    let name = input.utf()?;
    let leads_out = name.starts_with('/') || name.split('/').any(|part| part == "..");
    if name.is_empty() || leads_out {
        return Err(Error::corrupt(
            at,
            "a file name beside _metadata",
            format!("{name:?}"),
        ));
    }
    Ok(name)
}

fn read_range(input: &mut ByteReader<'_>) -> Result<(u16, u32), Error> {
    let at = input.offset();
    let (first, count) = (input.i32()?, input.i32()?);
    match (u16::try_from(first), u32::try_from(count)) {
        (Ok(start), Ok(groups)) if u32::from(start) + groups.min(1 << 16) <= 1 << 15 => {
            Ok((start, groups))
        }
        _ => {
            let found = format!("{count} from {first} on");
            Err(Error::corrupt(at, "key groups of 0 to 32767", found))
        }
    }
}

pub(crate) fn read_groups(input: &mut ByteReader<'_>) -> Result<KeyGroupOffsets, Error> {
    let (first, count) = read_range(input)?;
    // The count is at most 32768, so that the memory is bounded even before this check.
    if input.remaining() < count as usize * 8 {
        let found = format!("the end after {} bytes", input.remaining());
        return Err(Error::corrupt(
            input.offset(),
            format!("{count} offsets"),
            found,
        ));
    }
    let offsets = (0..count).map(|_| input.i64()).collect::<Result<_, _>>()?;
    Ok(KeyGroupOffsets { first, offsets })
}

fn read_offsets(input: &mut ByteReader<'_>) -> Result<Vec<i64>, Error> {
    let count = input.count(8)?;
    Ok((0..count).map(|_| input.i64()).collect::<Result<_, _>>()?)
}

/// Reads i32 n and n items of at least `item_bytes` bytes.
pub(crate) fn read_list<'a, T>(
    input: &mut ByteReader<'a>,
    item_bytes: usize,
    mut item: impl FnMut(&mut ByteReader<'a>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let count = input.count(item_bytes)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(input)?);
    }
    Ok(items)
}

fn read_named(input: &mut ByteReader<'_>) -> Result<Vec<NamedStream>, Error> {
    read_list(input, 3, |input| {
        Ok(NamedStream {
            name: input.utf()?,
            stream: read_some_stream(input)?,
        })
    })
}

/// Reads a keyed handle; `None` for type 0.
pub(crate) fn read_keyed(input: &mut ByteReader<'_>) -> Result<Option<KeyedHandle>, Error> {
    read_keyed_at_depth(input, 0)
}

fn read_keyed_at_depth(
    input: &mut ByteReader<'_>,
    depth: usize,
) -> Result<Option<KeyedHandle>, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::corrupt(
            input.offset(),
            "a handle of key groups",
            "handles without end",
        ));
    }
    let at = input.offset();
    Ok(Some(match input.u8()? {
        0 => return Ok(None),
        found @ (3 | 7 | 12) => {
            let (groups, stream) = (read_groups(input)?, read_some_stream(input)?);
            let kind = match found {
                12 => KeyGroupsKind::V2 { id: input.utf()? },
                7 => KeyGroupsKind::Savepoint,
                _ => KeyGroupsKind::V1,
            };
            KeyedHandle::KeyGroups {
                kind,
                groups,
                stream,
            }
        }
        found @ (5 | 11) => KeyedHandle::Incremental(read_incremental(input, found == 11)?),
        found @ (8 | 14) => KeyedHandle::Changelog(read_changelog(input, found == 14, depth)?),
        9 => KeyedHandle::InMemoryChanges {
            range: read_range(input)?,
            sequence: (input.i64()?, input.i64()?),
            changes: read_list(input, 8, |input| {
                Ok((input.i32()?, input.bytes()?.to_vec()))
            })?,
            id: input.utf()?,
        },
        found @ (10 | 13) => KeyedHandle::ChangeFiles {
            range: read_range(input)?,
            files: read_list(input, 9, |input| {
                Ok((input.i64()?, read_some_stream(input)?))
            })?,
            size: input.i64()?,
            checkpointed_size: input.i64()?,
            id: input.utf()?,
            storage: if found == 13 {
                Some(input.utf()?)
            } else {
                None
            },
        },
        other => {
            return Err(wrong_type(
                at,
                "a keyed handle of type 0, 3, 5 or 7 to 14",
                other,
            ));
        }
    }))
}

fn read_incremental(input: &mut ByteReader<'_>, v2: bool) -> Result<IncrementalHandle, Error> {
    let (checkpoint_id, backend_id) = (input.i64()?, input.utf()?);
    let range = read_range(input)?;
    let checkpointed_size = if v2 { Some(input.i64()?) } else { None };
    let meta = read_some_stream(input)?;
    let (shared, private) = (read_named(input)?, read_named(input)?);
    let v2 = match checkpointed_size {
        Some(size) => Some((size, input.utf()?)),
        None => None,
    };
    Ok(IncrementalHandle {
        checkpoint_id,
        backend_id,
        range,
        meta,
        shared,
        private,
        v2,
    })
}

fn read_changelog(
    input: &mut ByteReader<'_>,
    v2: bool,
    depth: usize,
) -> Result<ChangelogHandle, Error> {
    let part = |input: &mut ByteReader<'_>| {
        let at = input.offset();
        read_keyed_at_depth(input, depth + 1)?.ok_or_else(|| wrong_type(at, "a keyed handle", 0))
    };
    Ok(ChangelogHandle {
        range: read_range(input)?,
        checkpointed_size: input.i64()?,
        materialized: read_list(input, 1, part)?,
        changes: read_list(input, 1, part)?,
        materialization_id: input.i64()?,
        checkpoint_id: if v2 { Some(input.i64()?) } else { None },
        id: input.utf()?,
    })
}

/// Reads an operator state handle, which must be there.
pub(crate) fn read_operator(input: &mut ByteReader<'_>) -> Result<OperatorStateHandle, Error> {
    let at = input.offset();
    let merged = match input.u8()? {
        4 => false,
        17 => true,
        other => {
            return Err(wrong_type(
                at,
                "an operator state handle of type 4 or 17",
                other,
            ));
        }
    };
    let states = read_list(input, 7, |input| {
        let name = input.utf()?;
        let at = input.offset();
        let mode = match input.u8()? {
            0 => DistributionMode::SplitDistribute,
            1 => DistributionMode::Union,
            2 => DistributionMode::Broadcast,
            other => return Err(Error::corrupt(at, "a mode of 0, 1 or 2", other.to_string())),
        };
        Ok(OperatorStateOffsets {
            name,
            mode,
            offsets: read_offsets(input)?,
        })
    })?;
    let merged = if merged {
        Some(MergedOperatorState {
            task_owned_directory: input.utf()?,
            shared_directory: input.utf()?,
            empty: input.bool()?,
        })
    } else {
        None
    };
    Ok(OperatorStateHandle {
        states,
        stream: read_some_stream(input)?,
        merged,
    })
}

/// Reads a channel handle; version 6 says of which kind it is.
pub(crate) fn read_channel(
    input: &mut ByteReader<'_>,
    version: i32,
    direction: Direction,
) -> Result<ChannelHandle, Error> {
    let at = input.offset();
    let merged = match (version >= 6, direction) {
        (false, _) => false,
        (true, Direction::Input) => match input.u8()? {
            1 => false,
            3 => true,
            other => {
                return Err(wrong_type(
                    at,
                    "an input channel handle of type 1 or 3",
                    other,
                ));
            }
        },
        (true, Direction::Output) => match input.u8()? {
            2 => false,
            4 => true,
            other => {
                return Err(wrong_type(
                    at,
                    "an output channel handle of type 2 or 4",
                    other,
                ));
            }
        },
    };
    if merged {
        return Ok(ChannelHandle::Merged {
            subtask: input.i32()?,
            size: input.i64()?,
            stream: read_some_stream(input)?,
            channels: input.bytes()?.to_vec(),
        });
    }
    Ok(ChannelHandle::Single {
        subtask: input.i32()?,
        channel: (input.i32()?, input.i32()?),
        offsets: read_offsets(input)?,
        size: input.i64()?,
        stream: read_some_stream(input)?,
    })
}

// Writing.

/// Appends a stream handle, type 0 for `None`.
pub(crate) fn write_stream(stream: Option<&StreamHandle>, out: &mut Vec<u8>) -> Result<(), Error> {
    match stream {
        None => out.put_u8(0),
        Some(StreamHandle::Bytes { name, data }) => {
            out.put_u8(1);
            out.put_utf(name)?;
            out.put_bytes(data);
        }
        Some(StreamHandle::File { path, size }) => {
            out.put_u8(2);
            out.put_i64(*size);
            out.put_utf(path)?;
        }
        Some(StreamHandle::KeyGroups { groups, stream }) => {
            out.put_u8(3);
            write_groups(groups, out);
            write_stream(Some(stream), out)?;
        }
        Some(StreamHandle::Relative { name, size }) => {
            out.put_u8(6);
            out.put_utf(name)?;
            out.put_i64(*size);
        }
        Some(StreamHandle::Segment {
            start,
            size,
            scope,
            path,
            logical_id,
        }) => {
            out.put_u8(15);
            out.put_i64(*start);
            out.put_i64(*size);
            out.put_i32(*scope);
            out.put_utf(path)?;
            out.put_utf(logical_id)?;
        }
        Some(StreamHandle::EmptySegment) => out.put_u8(16),
    }
    Ok(())
}

fn write_range((first, count): (u16, u32), out: &mut Vec<u8>) {
    out.put_i32(i32::from(first));
    out.put_count(count as usize);
}

pub(crate) fn write_groups(groups: &KeyGroupOffsets, out: &mut Vec<u8>) {
    out.put_i32(i32::from(groups.first));
    write_offsets(&groups.offsets, out);
}

fn write_offsets(offsets: &[i64], out: &mut Vec<u8>) {
    out.put_count(offsets.len());
    offsets.iter().for_each(|offset| out.put_i64(*offset));
}

fn write_named(streams: &[NamedStream], out: &mut Vec<u8>) -> Result<(), Error> {
    out.put_count(streams.len());
    for named in streams {
        out.put_utf(&named.name)?;
        write_stream(Some(&named.stream), out)?;
    }
    Ok(())
}

/// Appends a keyed handle, type 0 for `None`.
pub(crate) fn write_keyed(keyed: Option<&KeyedHandle>, out: &mut Vec<u8>) -> Result<(), Error> {
    match keyed {
        None => out.put_u8(0),
        Some(KeyedHandle::KeyGroups {
            kind,
            groups,
            stream,
        }) => {
            out.put_u8(match kind {
                KeyGroupsKind::V1 => 3,
                KeyGroupsKind::Savepoint => 7,
                KeyGroupsKind::V2 { .. } => 12,
            });
            write_groups(groups, out);
            write_stream(Some(stream), out)?;
            if let KeyGroupsKind::V2 { id } = kind {
                out.put_utf(id)?;
            }
        }
        Some(KeyedHandle::Incremental(handle)) => {
            out.put_u8(if handle.v2.is_some() { 11 } else { 5 });
            out.put_i64(handle.checkpoint_id);
            out.put_utf(&handle.backend_id)?;
            write_range(handle.range, out);
            if let Some((checkpointed_size, _)) = &handle.v2 {
                out.put_i64(*checkpointed_size);
            }
            write_stream(Some(&handle.meta), out)?;
            write_named(&handle.shared, out)?;
            write_named(&handle.private, out)?;
            if let Some((_, id)) = &handle.v2 {
                out.put_utf(id)?;
            }
        }
        Some(KeyedHandle::Changelog(handle)) => {
            out.put_u8(if handle.checkpoint_id.is_some() {
                14
            } else {
                8
            });
            write_range(handle.range, out);
            out.put_i64(handle.checkpointed_size);
            for part in [&handle.materialized, &handle.changes] {
                out.put_count(part.len());
                part.iter()
                    .try_for_each(|keyed| write_keyed(Some(keyed), out))?;
            }
            out.put_i64(handle.materialization_id);
            if let Some(checkpoint_id) = handle.checkpoint_id {
                out.put_i64(checkpoint_id);
            }
            out.put_utf(&handle.id)?;
        }
        Some(KeyedHandle::InMemoryChanges {
            range,
            sequence,
            changes,
            id,
        }) => {
            out.put_u8(9);
            write_range(*range, out);
            out.put_i64(sequence.0);
            out.put_i64(sequence.1);
            out.put_count(changes.len());
            for (key_group, bytes) in changes {
                out.put_i32(*key_group);
                out.put_bytes(bytes);
            }
            out.put_utf(id)?;
        }
        Some(KeyedHandle::ChangeFiles {
            range,
            files,
            size,
            checkpointed_size,
            id,
            storage,
        }) => {
            out.put_u8(if storage.is_some() { 13 } else { 10 });
            write_range(*range, out);
            out.put_count(files.len());
            for (offset, stream) in files {
                out.put_i64(*offset);
                write_stream(Some(stream), out)?;
            }
            out.put_i64(*size);
            out.put_i64(*checkpointed_size);
            out.put_utf(id)?;
            if let Some(storage) = storage {
                out.put_utf(storage)?;
            }
        }
    }
    Ok(())
}

/// Appends an operator state handle.
pub(crate) fn write_operator(handle: &OperatorStateHandle, out: &mut Vec<u8>) -> Result<(), Error> {
    out.put_u8(if handle.merged.is_some() { 17 } else { 4 });
    out.put_count(handle.states.len());
    for state in &handle.states {
        out.put_utf(&state.name)?;
        out.put_u8(match state.mode {
            DistributionMode::SplitDistribute => 0,
            DistributionMode::Union => 1,
            DistributionMode::Broadcast => 2,
        });
        write_offsets(&state.offsets, out);
    }
    if let Some(merged) = &handle.merged {
        out.put_utf(&merged.task_owned_directory)?;
        out.put_utf(&merged.shared_directory)?;
        out.put_bool(merged.empty);
    }
    write_stream(Some(&handle.stream), out)
}

/// Appends a channel handle in the layout of a metadata version.
pub(crate) fn write_channel(
    handle: &ChannelHandle,
    version: i32,
    direction: Direction,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let output = u8::from(direction == Direction::Output);
    match handle {
        ChannelHandle::Single {
            subtask,
            channel,
            offsets,
            size,
            stream,
        } => {
            if version >= 6 {
                out.put_u8(1 + output);
            }
            out.put_i32(*subtask);
            out.put_i32(channel.0);
            out.put_i32(channel.1);
            write_offsets(offsets, out);
            out.put_i64(*size);
            write_stream(Some(stream), out)
        }
        ChannelHandle::Merged { .. } if version < 6 => Err(Error::unsupported(format!(
            "merged channel state in metadata version {version}"
        ))),
        ChannelHandle::Merged {
            subtask,
            size,
            stream,
            channels,
        } => {
            out.put_u8(3 + output);
            out.put_i32(*subtask);
            out.put_i64(*size);
            write_stream(Some(stream), out)?;
            out.put_bytes(channels);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written down by hand from the layout that Flink 2.3.0's class
    /// `MetadataV2V3SerializerBase.serializeStreamStateHandle` has for a `SegmentFileStateHandle`.
    #[test]
    fn a_segment_of_a_merged_file_has_the_bytes_of_flink() {
        let segment = StreamHandle::Segment {
            start: 300,
            size: 20,
            scope: StreamHandle::SHARED,
            path: "file:/c/shared/m".to_owned(),
            logical_id: "id".to_owned(),
        };
        let golden = [
            &[15][..],
            &[0, 0, 0, 0, 0, 0, 1, 44],
            &[0, 0, 0, 0, 0, 0, 0, 20],
            &[0, 0, 0, 1],
            &[0, 16],
            b"file:/c/shared/m",
            &[0, 2],
            b"id",
        ]
        .concat();
        for (handle, bytes) in [(segment, golden), (StreamHandle::EmptySegment, vec![16])] {
            let mut written = Vec::new();
            write_stream(Some(&handle), &mut written).expect("memory");
            assert_eq!(written, bytes);
            let mut input = ByteReader::new(&bytes);
            let read = read_some_stream(&mut input).expect("a handle");
            assert_eq!((read, input.is_empty()), (handle, true));
        }
    }
}

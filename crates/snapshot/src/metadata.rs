//! `_metadata`: the root of a snapshot.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | i32 | magic `4960672D` |
//! | 2 | i32 | version |
//! | 3 | i64 | checkpoint id, not negative |
//! | 4 | i32 n, n MasterState | i32 `C96B1696`, BYTES (i32 version, UTF name, BYTES payload) |
//! | 5 | i32 n, n OperatorState | below |
//! | 6 | rest | since version 4: a Java object stream of checkpoint properties |
//!
//! | OperatorState | meaning |
//! | --- | --- |
//! | UTF, UTF | since version 5: name and uid, "" for none |
//! | 16 bytes | operator id |
//! | i32, i32 | parallelism, maximum parallelism |
//! | StreamHandle | coordinator state (version 2: i32 1) |
//! | i32 n | subtasks; -1: the operator has finished, nothing follows |
//! | n: i32 s | index; negative: subtask -(s + 1) has finished, nothing follows (version 2: i32 index, i64 -1, i32 0) |
//! | SubtaskState | i32 0 or 1 and managed operator state, the same for raw, managed keyed state, raw keyed state; since version 3: i32 n and n input channels, i32 n and n result subpartitions |
//!
//! Versions: 2 is from Flink 1.3 to 1.10, 3 to 1.15, 4 to 1.20, 5 from 2.0, 6 from 2.1 to 2.3.
//! Every release from 1.11 on reads version 3, so that is what Millpond writes. Flink ignores
//! what follows the last field; Millpond keeps its [`Trailer`] there.
//!
//! Source: Flink 2.3.0, classes `MetadataV2V3SerializerBase` and `MetadataV3Serializer` to
//! `MetadataV6Serializer`.

use millpond_serializer::{ByteReader, ByteWriter};
use millpond_types::{CheckpointId, OperatorId};
use serde::{Deserialize, Serialize};

use crate::handle::{self, Direction, read_list};
use crate::trailer;
use crate::{ChannelHandle, Error, KeyedHandle, OperatorStateHandle, StreamHandle, Trailer};

const MAGIC: i32 = 0x4960_672d;
const MASTER_STATE_MAGIC: i32 = 0xc96b_1696_u32 as i32;
/// The version that Millpond writes.
const WRITTEN_VERSION: i32 = 3;
/// A Java object stream that holds null: enough for Flink, which does not use the properties of a
/// snapshot that it restores.
const NULL_PROPERTIES: [u8; 5] = [0xac, 0xed, 0x00, 0x05, 0x70];
/// How every Java object stream begins.
const OBJECT_STREAM: [u8; 4] = [0xac, 0xed, 0x00, 0x05];

/// What `_metadata` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The version of the layout: 2 to 6.
    pub version: i32,
    /// The number of the checkpoint.
    pub checkpoint_id: CheckpointId,
    /// States of hooks in the job master; almost always none.
    pub master_states: Vec<MasterState>,
    /// The operators, in the order of the file.
    pub operators: Vec<OperatorSnapshot>,
    /// Since version 4: the properties of the checkpoint as a Java object stream.
    pub properties: Option<Vec<u8>>,
    /// What Millpond added; `None` if Flink wrote the file.
    pub trailer: Option<Trailer>,
}

/// The state of a hook in the job master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterState {
    /// The version of the payload.
    pub version: i32,
    /// The name of the hook.
    pub name: String,
    /// Its state.
    pub payload: Vec<u8>,
}

/// The state of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// The name; only since version 5, else see the trailer.
    pub name: Option<String>,
    /// The uid; only since version 5, else see the trailer.
    pub uid: Option<String>,
    /// The id: the hash of the uid, or a generated one.
    pub id: OperatorId,
    /// The number of subtasks.
    pub parallelism: u32,
    /// The number of key groups.
    pub max_parallelism: u32,
    /// The state of the operator's coordinator, such as the splits not yet assigned.
    pub coordinator: Option<StreamHandle>,
    /// Whether all subtasks had finished; then there is nothing else.
    pub finished: bool,
    /// Index and state of each subtask that has any, in the order of the file.
    pub subtasks: Vec<(u32, SubtaskSnapshot)>,
}

/// The state of one subtask of an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskSnapshot {
    /// Whether the subtask had finished; then there is nothing else.
    pub finished: bool,
    /// Operator state.
    pub managed_operator: Option<OperatorStateHandle>,
    /// Operator state in an own format; Flink no longer writes it.
    pub raw_operator: Option<OperatorStateHandle>,
    /// Keyed state.
    pub managed_keyed: Option<KeyedHandle>,
    /// Timers of the heap beside a RocksDB.
    pub raw_keyed: Option<KeyedHandle>,
    /// In-flight data of inputs, in unaligned checkpoints.
    pub input_channels: Vec<ChannelHandle>,
    /// In-flight data of outputs, in unaligned checkpoints.
    pub result_subpartitions: Vec<ChannelHandle>,
}

impl SubtaskSnapshot {
    /// Whether there is no state.
    pub fn is_empty(&self) -> bool {
        *self
            == SubtaskSnapshot {
                finished: self.finished,
                ..SubtaskSnapshot::default()
            }
    }

    /// Bytes of all streams.
    pub fn state_size(&self) -> u64 {
        let mut size = 0;
        self.streams(&mut |stream| size += stream.size());
        size
    }

    /// Calls `visit` for every stream.
    pub fn streams<'a>(&'a self, visit: &mut dyn FnMut(&'a StreamHandle)) {
        for operator in self.managed_operator.iter().chain(&self.raw_operator) {
            visit(&operator.stream);
        }
        for keyed in self.managed_keyed.iter().chain(&self.raw_keyed) {
            keyed.streams(visit);
        }
        for channel in self.input_channels.iter().chain(&self.result_subpartitions) {
            visit(channel.stream());
        }
    }
}

impl OperatorSnapshot {
    /// Returns an operator without state.
    pub fn new(id: OperatorId, parallelism: u32, max_parallelism: u32) -> Self {
        OperatorSnapshot {
            name: None,
            uid: None,
            id,
            parallelism,
            max_parallelism,
            coordinator: None,
            finished: false,
            subtasks: Vec::new(),
        }
    }

    /// Whether there is no state: such an operator may be missing from a job.
    pub fn is_empty(&self) -> bool {
        self.coordinator.is_none() && self.subtasks.iter().all(|(_, subtask)| subtask.is_empty())
    }

    /// Calls `visit` for every stream.
    pub fn streams<'a>(&'a self, visit: &mut dyn FnMut(&'a StreamHandle)) {
        self.coordinator.iter().for_each(&mut *visit);
        self.subtasks
            .iter()
            .for_each(|(_, subtask)| subtask.streams(visit));
    }
}

impl Metadata {
    /// Returns metadata of the version that Millpond writes, without operators.
    pub fn new(checkpoint_id: CheckpointId) -> Self {
        Metadata {
            version: WRITTEN_VERSION,
            checkpoint_id,
            master_states: Vec::new(),
            operators: Vec::new(),
            properties: None,
            trailer: None,
        }
    }

    /// Returns the operator of an id.
    pub fn operator(&self, id: OperatorId) -> Option<&OperatorSnapshot> {
        self.operators.iter().find(|operator| operator.id == id)
    }

    /// Calls `visit` for every stream of every operator.
    pub fn streams<'a>(&'a self, visit: &mut dyn FnMut(&'a StreamHandle)) {
        self.operators
            .iter()
            .for_each(|operator| operator.streams(visit));
    }

    /// Reads the whole of a `_metadata` file.
    ///
    /// If the file has a trailer, its checksums are checked before anything else is looked at.
    ///
    /// # Errors
    ///
    /// Corrupt, if the file is damaged, or if a trailer of Millpond is missing or damaged;
    /// unsupported, if the version is not 2 to 6.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let (body, trailer) = trailer::split(bytes)?;
        let mut input = ByteReader::new(body);
        let mut metadata = read_body(&mut input)?;
        metadata.trailer = trailer;
        metadata.properties = match metadata.version {
            ..4 => None,
            _ => Some(read_properties(&mut input)?),
        };
        trailer::check_rest(&metadata, &input)?;
        Ok(metadata)
    }

    /// Returns the bytes of a `_metadata` file of version [`Metadata::version`].
    ///
    /// What was read by [`Metadata::read`] is written again byte by byte; without properties, the
    /// versions that want some get null.
    ///
    /// # Errors
    ///
    /// Unsupported, if the version is not 3 to 6, or cannot say what is to be written.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        if !(3..=6).contains(&self.version) {
            return Err(Error::unsupported(format!(
                "writing metadata version {}",
                self.version
            )));
        }
        let mut out = Vec::new();
        out.put_i32(MAGIC);
        out.put_i32(self.version);
        out.put_i64(self.checkpoint_id);
        out.put_count(self.master_states.len());
        for state in &self.master_states {
            let mut body = Vec::new();
            body.put_i32(state.version);
            body.put_utf(&state.name)?;
            body.put_bytes(&state.payload);
            out.put_i32(MASTER_STATE_MAGIC);
            out.put_bytes(&body);
        }
        out.put_count(self.operators.len());
        for operator in &self.operators {
            write_operator(operator, self.version, &mut out)?;
        }
        if self.version >= 4 {
            out.put(self.properties.as_deref().unwrap_or(&NULL_PROPERTIES));
        }
        if let Some(trailer) = &self.trailer {
            trailer.append_to(&mut out);
        }
        Ok(out)
    }
}

fn read_body(input: &mut ByteReader<'_>) -> Result<Metadata, Error> {
    input.expect_i32(MAGIC, "magic number of metadata")?;
    let at = input.offset();
    let version = input.i32()?;
    match version {
        2..=6 => {}
        1 | 7..=99 => {
            let what = format!("metadata version {version} (versions 2 to 6 are known)");
            return Err(Error::unsupported(what));
        }
        _ => {
            return Err(Error::corrupt(
                at,
                "a metadata version of 2 to 6",
                version.to_string(),
            ));
        }
    }
    let at = input.offset();
    let checkpoint_id = input.i64()?;
    if checkpoint_id < 0 {
        return Err(Error::corrupt(
            at,
            "a checkpoint id",
            checkpoint_id.to_string(),
        ));
    }
    let master_states = read_list(input, 8, read_master_state)?;
    let operators = read_list(input, 28, |input| read_operator(input, version))?;
    Ok(Metadata {
        version,
        checkpoint_id,
        master_states,
        operators,
        properties: None,
        trailer: None,
    })
}

fn read_properties(input: &mut ByteReader<'_>) -> Result<Vec<u8>, Error> {
    let at = input.offset();
    let bytes = input.take(input.remaining())?;
    if !bytes.starts_with(&OBJECT_STREAM) || bytes.len() == OBJECT_STREAM.len() {
        let head = &bytes[..bytes.len().min(4)];
        let found = format!("{} bytes beginning with {head:02x?}", bytes.len());
        return Err(Error::corrupt(
            at,
            "checkpoint properties as a Java object stream",
            found,
        ));
    }
    Ok(bytes.to_vec())
}

fn read_master_state(input: &mut ByteReader<'_>) -> Result<MasterState, Error> {
    input.expect_i32(MASTER_STATE_MAGIC, "magic number of a master state")?;
    let length = input.length()?;
    let offset = input.offset();
    let mut body = ByteReader::at_offset(input.take(length)?, offset);
    let state = MasterState {
        version: body.i32()?,
        name: body.utf()?,
        payload: body.bytes()?.to_vec(),
    };
    if !body.is_empty() {
        let found = format!("{} more bytes", body.remaining());
        return Err(Error::corrupt(
            body.offset(),
            "the end of a master state",
            found,
        ));
    }
    Ok(state)
}

fn read_operator(input: &mut ByteReader<'_>, version: i32) -> Result<OperatorSnapshot, Error> {
    let (name, uid) = match version {
        ..5 => (None, None),
        _ => (read_optional_utf(input)?, read_optional_utf(input)?),
    };
    let id = OperatorId(*input.take(16)?.first_chunk().expect("16 bytes were taken"));
    let at = input.offset();
    let (parallelism, max_parallelism) = (input.i32()?, input.i32()?);
    let (Ok(parallelism), Ok(max_parallelism @ 1..=32768)) =
        (u32::try_from(parallelism), u32::try_from(max_parallelism))
    else {
        let expected = "a parallelism and a maximum parallelism of 1 to 32768";
        return Err(Error::corrupt(
            at,
            expected,
            format!("{parallelism} and {max_parallelism}"),
        ));
    };
    let mut operator = OperatorSnapshot::new(id, parallelism, max_parallelism);
    (operator.name, operator.uid) = (name, uid);
    let at = input.offset();
    if version == 2 {
        input.expect_i32(1, "number of chained operators")?;
    } else {
        operator.coordinator = handle::read_stream(input)?;
    }
    if !matches!(
        operator.coordinator,
        None | Some(StreamHandle::Bytes { .. })
    ) {
        return Err(Error::corrupt(
            at,
            "coordinator state as bytes",
            "another handle",
        ));
    }
    if input.rest().starts_with(&(-1i32).to_be_bytes()) && version >= 3 {
        input.i32()?;
        operator.finished = true;
        return Ok(operator);
    }
    operator.subtasks = read_list(input, 4, |input| read_indexed_subtask(input, version))?;
    Ok(operator)
}

fn read_optional_utf(input: &mut ByteReader<'_>) -> Result<Option<String>, Error> {
    Ok(Some(input.utf()?).filter(|text| !text.is_empty()))
}

fn read_indexed_subtask(
    input: &mut ByteReader<'_>,
    version: i32,
) -> Result<(u32, SubtaskSnapshot), Error> {
    let at = input.offset();
    let index = input.i32()?;
    let wrong = || Error::corrupt(at, "the index of a subtask", index.to_string());
    if version == 2 {
        let at = input.offset();
        if (input.i64()?, input.i32()?) != (-1, 0) {
            return Err(Error::corrupt(
                at,
                "the placeholders -1 and 0",
                "other numbers",
            ));
        }
        let index = u32::try_from(index).map_err(|_| wrong())?;
        return Ok((index, read_subtask(input, version)?));
    }
    match u32::try_from(index) {
        Ok(index) => Ok((index, read_subtask(input, version)?)),
        Err(_) => {
            // Never overflows: the index is negative.
            let index = u32::try_from(-(index + 1)).map_err(|_| wrong())?;
            Ok((
                index,
                SubtaskSnapshot {
                    finished: true,
                    ..SubtaskSnapshot::default()
                },
            ))
        }
    }
}

fn read_subtask(input: &mut ByteReader<'_>, version: i32) -> Result<SubtaskSnapshot, Error> {
    let mut subtask = SubtaskSnapshot {
        finished: false,
        managed_operator: read_optional_operator(input)?,
        raw_operator: read_optional_operator(input)?,
        managed_keyed: handle::read_keyed(input)?,
        raw_keyed: handle::read_keyed(input)?,
        ..SubtaskSnapshot::default()
    };
    if version >= 3 {
        let channels = |input: &mut ByteReader<'_>, direction| {
            read_list(input, 17, |input| {
                handle::read_channel(input, version, direction)
            })
        };
        subtask.input_channels = channels(input, Direction::Input)?;
        subtask.result_subpartitions = channels(input, Direction::Output)?;
    }
    Ok(subtask)
}

fn read_optional_operator(
    input: &mut ByteReader<'_>,
) -> Result<Option<OperatorStateHandle>, Error> {
    let at = input.offset();
    match input.i32()? {
        0 => Ok(None),
        1 => handle::read_operator(input).map(Some),
        other => Err(Error::corrupt(
            at,
            "0 or 1 operator state handles",
            other.to_string(),
        )),
    }
}

fn write_operator(
    operator: &OperatorSnapshot,
    version: i32,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    if version >= 5 {
        out.put_utf(operator.name.as_deref().unwrap_or(""))?;
        out.put_utf(operator.uid.as_deref().unwrap_or(""))?;
    }
    out.put(&operator.id.0);
    out.put_count(operator.parallelism as usize);
    out.put_count(operator.max_parallelism as usize);
    handle::write_stream(operator.coordinator.as_ref(), out)?;
    if operator.finished {
        out.put_i32(-1);
        return Ok(());
    }
    out.put_count(operator.subtasks.len());
    for (index, subtask) in &operator.subtasks {
        let index = i32::try_from(*index).expect("a parallelism is at most 32768");
        if subtask.finished {
            out.put_i32(-index - 1);
        } else {
            out.put_i32(index);
            write_subtask(subtask, version, out)?;
        }
    }
    Ok(())
}

fn write_subtask(subtask: &SubtaskSnapshot, version: i32, out: &mut Vec<u8>) -> Result<(), Error> {
    for operator in [&subtask.managed_operator, &subtask.raw_operator] {
        out.put_i32(i32::from(operator.is_some()));
        operator
            .iter()
            .try_for_each(|operator| handle::write_operator(operator, out))?;
    }
    handle::write_keyed(subtask.managed_keyed.as_ref(), out)?;
    handle::write_keyed(subtask.raw_keyed.as_ref(), out)?;
    out.put_count(subtask.input_channels.len());
    for channel in &subtask.input_channels {
        handle::write_channel(channel, version, Direction::Input, out)?;
    }
    out.put_count(subtask.result_subpartitions.len());
    for channel in &subtask.result_subpartitions {
        handle::write_channel(channel, version, Direction::Output, out)?;
    }
    Ok(())
}

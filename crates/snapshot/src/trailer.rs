//! Millpond's trailer at the end of `_metadata`: checksums, and what the format cannot say.
//!
//! Real Flink ignores bytes behind the last field of its metadata. The trailer is found from the
//! end of the file, so that the metadata need not be parsed to check it:
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | 8 bytes | head magic `89 4D 50 54 52 4C 0D 0A` ("\x89MPTRL\r\n") |
//! | 2 | i32 | version; later ones only append to the content |
//! | 3 | i64 | bytes of metadata before the trailer |
//! | 4 | i64 | XXH3-64 of them |
//! | 5 | BYTES | content, below |
//! | 6 | i64 | XXH3-64 of fields 1 to 5 |
//! | 7 | i64 | bytes of the whole trailer |
//! | 8 | 8 bytes | tail magic `89 4D 50 45 4E 44 0D 0A` ("\x89MPEND\r\n") |
//!
//! | content | type |
//! | --- | --- |
//! | Millpond version | TEXT: i32 length, UTF-8 |
//! | job id, job name | 16 bytes, TEXT |
//! | savepoint (1) or checkpoint (0) | bool |
//! | parent: what the job was restored from | bool, TEXT if 1 |
//! | files | i32 n: TEXT name, i64 size, i64 XXH3-64 |
//! | operators | i32 n: 16 bytes id, TEXT name, bool and TEXT uid, i32 n subtasks |
//! | subtask | i32 index, bool pending transactions, i32 n TEXT positions, i32 n states |
//! | state | TEXT name, i32 n: i32 key group, i64 entries, i64 bytes |
//! | since version 2: subtasks that have processed the end of their input | i32 n: i32 position of the operator in the list above, i32 position of the subtask in the operator's list |
//!
//! How a lost trailer is found: bytes behind the metadata that begin like a trailer but do not
//! end like one are damage. A file cut exactly between metadata and trailer looks like one that
//! Flink wrote, but for the names of its handles: Millpond names the streams that belong to one
//! snapshot `millpond-...` ([`STATE_FILE_PREFIX`]; inside a handle with its bytes inline, Flink
//! does not use the name at all; of a segment it is the logical id), and metadata with such names must have a trailer. Only a
//! snapshot without any state could lose its trailer unseen, and loses nothing with it.
//!
//! Rejected: a file of its own (an extra file in a savepoint directory breaks Flink's dispose), a
//! master state (Flink refuses those that no hook claims).

use millpond_serializer::{ByteReader, ByteWriter};
use millpond_types::{JobId, OperatorId};
use serde::{Deserialize, Serialize};

use crate::checksum::checksum;
use crate::handle::read_list;
use crate::{Error, Metadata, StreamHandle};

const HEAD: [u8; 8] = *b"\x89MPTRL\r\n";
const TAIL: [u8; 8] = *b"\x89MPEND\r\n";
const VERSION: i32 = 2;
/// The first version.
const FIRST_VERSION: i32 = 1;
/// Fields 1 to 4 and the length of field 5.
const BEFORE_CONTENT: usize = 8 + 4 + 8 + 8 + 4;
/// Fields 6 to 8.
const AFTER_CONTENT: usize = 8 + 8 + 8;

/// How the names of state files begin that Millpond writes for one snapshot.
pub const STATE_FILE_PREFIX: &str = "millpond-";

/// What Millpond adds to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// The version of Millpond that wrote it.
    pub millpond_version: String,
    /// The job.
    pub job_id: JobId,
    /// Its name.
    pub job_name: String,
    /// Whether a user asked for it: a savepoint.
    pub savepoint: bool,
    /// The snapshot that the job had been restored from.
    pub parent: Option<String>,
    /// The files of this snapshot, those beside `_metadata` and others.
    pub files: Vec<FileRecord>,
    /// What is known of the operators beyond their state.
    pub operators: Vec<OperatorRecord>,
}

/// One file that belongs to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name relative to the directory of `_metadata`; its URI if it lies elsewhere, where other
    /// checkpoints share it.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// The XXH3-64 of them.
    pub checksum: u64,
}

/// What is known of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// The operator.
    pub id: OperatorId,
    /// Its name.
    pub name: String,
    /// Its uid, if the user gave it one.
    pub uid: Option<String>,
    /// Its subtasks.
    pub subtasks: Vec<SubtaskRecord>,
}

/// What is known of a subtask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskRecord {
    /// Counts from 0.
    pub index: u32,
    /// Whether an exactly-once sink has transactions in here that are still to be committed.
    pub pending_transactions: bool,
    /// Whether it has processed the end of its input, and so called the user's `finish`. Never set
    /// in trailers of version 1.
    pub ended: bool,
    /// The positions of a source in words, one per split.
    pub positions: Vec<String>,
    /// How much each state holds.
    pub states: Vec<StateRecord>,
}

/// How much one state of one subtask holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    /// The name of the state.
    pub name: String,
    /// Each key group that is not empty; operator state stands at key group 0.
    pub key_groups: Vec<KeyGroupRecord>,
}

/// How much of a state is in one key group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGroupRecord {
    /// The key group.
    pub key_group: u16,
    /// Entries: keys, or for maps user keys.
    pub entries: u64,
    /// Bytes of keys and values with their lengths.
    pub bytes: u64,
}

impl FileRecord {
    /// Returns the handle of the file.
    pub fn stream(&self) -> StreamHandle {
        let size = self.size as i64;
        match self.name.contains(":/") {
            true => StreamHandle::File {
                path: self.name.clone(),
                size,
            },
            false => StreamHandle::Relative {
                name: self.name.clone(),
                size,
            },
        }
    }
}

impl Trailer {
    /// Returns the record of a file.
    pub fn file(&self, name: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Returns the record of an operator.
    pub fn operator(&self, id: OperatorId) -> Option<&OperatorRecord> {
        self.operators.iter().find(|operator| operator.id == id)
    }

    /// Whether an exactly-once sink has transactions in this snapshot that are to be committed.
    pub fn has_pending_transactions(&self) -> bool {
        self.operators
            .iter()
            .flat_map(|operator| &operator.subtasks)
            .any(|subtask| subtask.pending_transactions)
    }

    /// Appends the trailer to the metadata that `out` holds.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        let (body_bytes, body_checksum) = (out.len(), checksum(out));
        out.put(&HEAD);
        out.put_i32(VERSION);
        out.put_i64(body_bytes as i64);
        out.put_i64(body_checksum as i64);
        let mut content = Vec::new();
        self.write_content(&mut content);
        out.put_bytes(&content);
        let sum = checksum(&out[body_bytes..]);
        out.put_i64(sum as i64);
        out.put_i64((BEFORE_CONTENT + content.len() + AFTER_CONTENT) as i64);
        out.put(&TAIL);
    }

    fn write_content(&self, out: &mut Vec<u8>) {
        put_text(&self.millpond_version, out);
        out.put(&self.job_id.0);
        put_text(&self.job_name, out);
        out.put_bool(self.savepoint);
        put_optional_text(self.parent.as_deref(), out);
        out.put_count(self.files.len());
        for file in &self.files {
            put_text(&file.name, out);
            out.put_i64(file.size as i64);
            out.put_i64(file.checksum as i64);
        }
        out.put_count(self.operators.len());
        for operator in &self.operators {
            out.put(&operator.id.0);
            put_text(&operator.name, out);
            put_optional_text(operator.uid.as_deref(), out);
            out.put_count(operator.subtasks.len());
            operator
                .subtasks
                .iter()
                .for_each(|subtask| subtask.write(out));
        }
        self.write_ended(out);
    }

    /// What version 2 appends.
    fn write_ended(&self, out: &mut Vec<u8>) {
        let ended = self.operators.iter().zip(0..).flat_map(|(operator, at)| {
            let subtasks = operator.subtasks.iter().zip(0..);
            let ended = subtasks.filter(|(subtask, _)| subtask.ended);
            ended.map(move |(_, subtask)| (at, subtask))
        });
        let ended: Vec<(i32, i32)> = ended.collect();
        out.put_count(ended.len());
        for (operator, subtask) in ended {
            out.put_i32(operator);
            out.put_i32(subtask);
        }
    }

    fn read_ended(&mut self, input: &mut ByteReader<'_>) -> Result<(), Error> {
        let at = input.offset();
        let ended = read_list(input, 8, |input| Ok((input.i32()?, input.i32()?)))?;
        for (operator, subtask) in ended {
            let found = usize::try_from(operator)
                .ok()
                .and_then(|operator| self.operators.get_mut(operator))
                .zip(usize::try_from(subtask).ok())
                .and_then(|(operator, subtask)| operator.subtasks.get_mut(subtask));
            let Some(found) = found else {
                let none = format!("subtask {subtask} of operator {operator}");
                return Err(Error::corrupt(at, "a subtask in the trailer", none));
            };
            found.ended = true;
        }
        Ok(())
    }

    fn read_content(input: &mut ByteReader<'_>, version: i32) -> Result<Self, Error> {
        let mut trailer = Self::read_first_content(input)?;
        if version > FIRST_VERSION {
            trailer.read_ended(input)?;
        }
        Ok(trailer)
    }

    fn read_first_content(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Ok(Trailer {
            millpond_version: text(input)?,
            job_id: JobId(id(input)?),
            job_name: text(input)?,
            savepoint: input.bool()?,
            parent: optional_text(input)?,
            files: read_list(input, 20, |input| {
                Ok(FileRecord {
                    name: text(input)?,
                    size: input.i64()? as u64,
                    checksum: input.i64()? as u64,
                })
            })?,
            operators: read_list(input, 25, |input| {
                Ok(OperatorRecord {
                    id: OperatorId(id(input)?),
                    name: text(input)?,
                    uid: optional_text(input)?,
                    subtasks: read_list(input, 13, SubtaskRecord::read)?,
                })
            })?,
        })
    }
}

impl SubtaskRecord {
    fn write(&self, out: &mut Vec<u8>) {
        out.put_count(self.index as usize);
        out.put_bool(self.pending_transactions);
        out.put_count(self.positions.len());
        self.positions
            .iter()
            .for_each(|position| put_text(position, out));
        out.put_count(self.states.len());
        for state in &self.states {
            put_text(&state.name, out);
            out.put_count(state.key_groups.len());
            for group in &state.key_groups {
                out.put_i32(i32::from(group.key_group));
                out.put_i64(group.entries as i64);
                out.put_i64(group.bytes as i64);
            }
        }
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Ok(SubtaskRecord {
            index: input.count(0)? as u32,
            pending_transactions: input.bool()?,
            ended: false,
            positions: read_list(input, 4, text)?,
            states: read_list(input, 8, |input| {
                Ok(StateRecord {
                    name: text(input)?,
                    key_groups: read_list(input, 20, |input| {
                        Ok(KeyGroupRecord {
                            key_group: input.i32()? as u16,
                            entries: input.i64()? as u64,
                            bytes: input.i64()? as u64,
                        })
                    })?,
                })
            })?,
        })
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.put_bytes(text.as_bytes());
}

fn put_optional_text(text: Option<&str>, out: &mut Vec<u8>) {
    out.put_bool(text.is_some());
    text.iter().for_each(|text| put_text(text, out));
}

fn text(input: &mut ByteReader<'_>) -> Result<String, Error> {
    let at = input.offset();
    let bytes = input.bytes()?.to_vec();
    String::from_utf8(bytes).map_err(|_| Error::corrupt(at, "a text in UTF-8", "other bytes"))
}

fn optional_text(input: &mut ByteReader<'_>) -> Result<Option<String>, Error> {
    if input.bool()? {
        text(input).map(Some)
    } else {
        Ok(None)
    }
}

fn id(input: &mut ByteReader<'_>) -> Result<[u8; 16], Error> {
    Ok(*input.take(16)?.first_chunk().expect("16 bytes were taken"))
}

/// Splits a `_metadata` file into the metadata and the trailer, if its end is that of one.
///
/// # Errors
///
/// Corrupt, if the end is that of a trailer but the checksums do not match.
pub(crate) fn split(bytes: &[u8]) -> Result<(&[u8], Option<Trailer>), Error> {
    let Some(before_tail) = bytes.strip_suffix(&TAIL) else {
        return Ok((bytes, None));
    };
    let at = before_tail.len().saturating_sub(8);
    let length = ByteReader::at_offset(&before_tail[at..], at as u64).i64()?;
    let start = usize::try_from(length)
        .ok()
        .filter(|length| *length >= BEFORE_CONTENT + AFTER_CONTENT)
        .and_then(|length| bytes.len().checked_sub(length))
        .ok_or_else(|| Error::corrupt(at as u64, "the length of a trailer", length.to_string()))?;
    let (body, whole) = bytes.split_at(start);
    let mut input = ByteReader::at_offset(whole, start as u64);
    if input.take(8)? != HEAD {
        return Err(Error::corrupt(
            start as u64,
            "the head of a trailer",
            "other bytes",
        ));
    }
    let summed = whole.len() - AFTER_CONTENT;
    let at = (start + summed) as u64;
    let stated = ByteReader::at_offset(&whole[summed..], at).i64()? as u64;
    check_sum("trailer", start as u64, stated, checksum(&whole[..summed]))?;
    let version = input.i32()?;
    if version < FIRST_VERSION {
        let found = version.to_string();
        return Err(Error::corrupt(
            start as u64 + 8,
            "a trailer version of 1 or more",
            found,
        ));
    }
    let at = input.offset();
    let body_bytes = input.i64()?;
    if usize::try_from(body_bytes).ok() != Some(start) {
        let found = format!("{start} bytes");
        return Err(Error::corrupt(
            at,
            format!("{body_bytes} bytes of metadata"),
            found,
        ));
    }
    check_sum("metadata", 0, input.i64()? as u64, checksum(body))?;
    let length = input.length()?;
    let offset = input.offset();
    // What later versions append to the content is left unread.
    let mut content = ByteReader::at_offset(input.take(length)?, offset);
    let trailer = Trailer::read_content(&mut content, version)?;
    Ok((body, Some(trailer)))
}

fn check_sum(what: &str, offset: u64, stated: u64, found: u64) -> Result<(), Error> {
    // No checksum that a fuzzer makes up would match, and nothing behind it would be reached.
    if stated == found || cfg!(fuzzing) {
        return Ok(());
    }
    let expected = format!("{what} with the checksum {stated:016x}");
    Err(Error::corrupt(offset, expected, format!("{found:016x}")))
}

/// Checks what follows the last field of the metadata that was read.
///
/// # Errors
///
/// Corrupt, if there are signs of a trailer that could not be found from the end of the file.
pub(crate) fn check_rest(metadata: &Metadata, rest: &ByteReader<'_>) -> Result<(), Error> {
    if metadata.trailer.is_some() {
        if rest.is_empty() {
            return Ok(());
        }
        let found = format!("{} more bytes", rest.remaining());
        return Err(Error::corrupt(
            rest.offset(),
            "the trailer behind the metadata",
            found,
        ));
    }
    // Properties reach up to the end of the file, and so over what is left of a trailer.
    let properties = metadata.properties.as_deref().unwrap_or(&[]);
    let begins = |bytes: &[u8]| !bytes.is_empty() && HEAD.starts_with(&bytes[..bytes.len().min(8)]);
    if begins(rest.rest()) || properties.windows(8).any(|window| window == HEAD) {
        let expected = "a whole trailer behind the metadata";
        return Err(Error::corrupt(
            rest.offset(),
            expected,
            "one that is cut or damaged",
        ));
    }
    let mut marked = None;
    metadata.streams(&mut |stream| match stream {
        StreamHandle::Bytes { name, .. } | StreamHandle::Relative { name, .. }
            if name.starts_with(STATE_FILE_PREFIX) =>
        {
            marked = Some(name);
        }
        StreamHandle::Segment {
            logical_id, scope, ..
        } if *scope == StreamHandle::EXCLUSIVE && logical_id.starts_with(STATE_FILE_PREFIX) => {
            marked = Some(logical_id);
        }
        StreamHandle::Bytes { .. }
        | StreamHandle::Relative { .. }
        | StreamHandle::File { .. }
        | StreamHandle::KeyGroups { .. }
        | StreamHandle::Segment { .. }
        | StreamHandle::EmptySegment => {}
    });
    match marked {
        None => Ok(()),
        Some(name) => {
            let expected = format!("a trailer, because \"{name}\" was written by Millpond");
            Err(Error::corrupt(
                rest.offset(),
                expected,
                "the end of the file",
            ))
        }
    }
}

#[cfg(test)]
mod tests;

//! A snapshot with another maximum parallelism: every key in the key group that it then has.
//!
//! The key group of a key follows from its Java hash code and the maximum parallelism, so that
//! all keyed state is dealt out anew, by way of a sort. Timers move with their keys. Flink cannot
//! do this: there the maximum parallelism is for life.

use std::sync::Arc;

use millpond_fs::{FileSystem, Location};
use millpond_serializer::{Value, ValueCodec};
use millpond_snapshot::{
    Error as SnapshotError, FlinkRelease, KeyedFormat, KeyedHeader, LoadedSnapshot,
    OperatorSnapshot, split_key,
};
use millpond_types::key_group::UPPER_BOUND_MAX_PARALLELISM;
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::Error;
use crate::entry_writer::{EntryWriter, WrittenSubtask};
use crate::keyed_input::KeyedInput;
use crate::rewrite::{NewOperator, check_movable, copy_subtask, new_metadata, states_above};
use crate::snapshot_writer::SnapshotWriter;
use crate::sorter::{SortedEntry, Sorter};

/// How a snapshot is rehashed.
#[derive(Clone, Copy, Debug)]
pub struct RehashOptions {
    /// The maximum parallelism of every operator: 1 to 32768.
    pub max_parallelism: u32,
    /// The release that the metadata is written for; that of the snapshot, if none is named.
    pub for_flink: Option<FlinkRelease>,
}

/// Writes `from` with another maximum parallelism into the directory `to`; returns where its
/// metadata lies.
///
/// Keyed state keeps its format and its number of subtasks, all other state passes byte by byte.
/// Memory: what a sort of 32 MiB at a time takes; temporary files in `to` for larger state.
///
/// # Errors
///
/// A request that makes no sense, if the maximum parallelism is out of range or lower than the parallelism of an
/// operator, or `to` is not missing or empty; unsupported, if keys are of a type whose hash code
/// only Java knows, or state cannot be read; corrupt or Io, as reading and writing may fail.
pub fn rehash(
    from: &LoadedSnapshot,
    fs: Arc<dyn FileSystem>,
    to: &Location,
    options: &RehashOptions,
) -> Result<Location, Error> {
    let max_parallelism = options.max_parallelism;
    if !(1..=UPPER_BOUND_MAX_PARALLELISM).contains(&max_parallelism) {
        return Err(Error::request(format!(
            "a maximum parallelism of {max_parallelism}; 1 to {UPPER_BOUND_MAX_PARALLELISM} are \
             possible"
        )));
    }
    let operators = &from.metadata.operators;
    if let Some(operator) = operators
        .iter()
        .find(|operator| operator.parallelism > max_parallelism)
    {
        let reason = format!(
            "operator {} has the parallelism {}, which is more than the maximum parallelism \
             {max_parallelism}; convert it to a lower parallelism first",
            operator.id, operator.parallelism
        );
        return Err(Error::request(reason));
    }
    let mut writer = SnapshotWriter::create(fs, to)?.with_rocksdb(from.rocksdb().cloned());
    let mut new = Vec::new();
    for operator in operators {
        new.push(rehash_operator(&mut writer, from, operator, options)?);
    }
    let version = match options.for_flink {
        Some(release) => release.metadata_version(),
        None => from.metadata.version.max(3),
    };
    let metadata = new_metadata(from, version, new)?;
    Ok(writer.finish(metadata)?)
}

fn rehash_operator(
    writer: &mut SnapshotWriter,
    from: &LoadedSnapshot,
    operator: &OperatorSnapshot,
    options: &RehashOptions,
) -> Result<NewOperator, SnapshotError> {
    let max_parallelism = options.max_parallelism;
    let input =
        KeyedInput::open(from, operator)?.filter(|_| operator.max_parallelism != max_parallelism);
    if input.is_some() {
        check_movable(from, operator)?;
    }
    let newest = options.for_flink.map(FlinkRelease::operator_state_version);
    let states = states_above(from, operator, newest)?;
    let mut new = NewOperator::like(from, operator);
    new.snapshot.max_parallelism = max_parallelism;
    for (index, subtask) in &operator.subtasks {
        let mut rest = subtask.clone();
        if input.is_some() {
            rest.managed_keyed = None;
        }
        if states.is_some() {
            rest.managed_operator = None;
        }
        let copy = copy_subtask(writer, from, &rest)?;
        new.snapshot.subtasks.push((*index, copy));
    }
    if let Some(input) = input {
        let parallelism = operator.parallelism;
        let written = rehash_keyed(writer, &input, parallelism, max_parallelism)
            .map_err(|error| error.in_file(&from.metadata_file))?;
        for (index, written) in (0..).zip(written) {
            new.set_keyed(index, written);
        }
    }
    if let (Some(states), Some(newest)) = (states, newest) {
        new.write_operator_states(writer, &states, newest)?;
    }
    Ok(new)
}

fn rehash_keyed(
    writer: &SnapshotWriter,
    input: &KeyedInput<'_>,
    parallelism: u32,
    max_parallelism: u32,
) -> Result<Vec<WrittenSubtask>, SnapshotError> {
    let header = input.header();
    let mut hasher = KeyHasher::new(header, max_parallelism);
    let mut sorter = Sorter::new(writer.file_system().clone(), writer.directory());
    input.read(input.all_groups()).try_for_each(|entry| {
        let key = split_key(header, entry.state, entry.key)?.key;
        let group = hasher.group(key)?;
        // A header has at most 32767 states.
        sorter.push(group, entry.state as u16, entry.key, entry.value)
    })?;
    write_sorted(
        writer,
        Arc::new(header.clone()),
        input.format(),
        |emit| sorter.try_for_each(emit),
        parallelism,
        max_parallelism,
    )
}

/// Takes an entry on.
type Emit<'a> = &'a mut dyn FnMut(SortedEntry<'_>) -> Result<(), SnapshotError>;

/// Writes the entries that `entries` emits, in ascending order of key groups, as the keyed state
/// of each subtask, in order.
pub(crate) fn write_sorted(
    writer: &SnapshotWriter,
    header: Arc<KeyedHeader>,
    format: KeyedFormat,
    entries: impl FnOnce(Emit<'_>) -> Result<(), SnapshotError>,
    parallelism: u32,
    max_parallelism: u32,
) -> Result<Vec<WrittenSubtask>, SnapshotError> {
    let begin = |index: u32| {
        let range = KeyGroupRange::of_subtask(index, parallelism, max_parallelism);
        let out = EntryWriter::new(writer, header.clone(), format, range, max_parallelism)?;
        Ok::<_, SnapshotError>((range, out))
    };
    let mut done = Vec::new();
    let mut current = Some(begin(0)?);
    entries(&mut |entry| {
        loop {
            let (range, out) = current.as_mut().expect("there is always one");
            if range.contains(entry.group) {
                return out.put(entry.group, entry.state.into(), entry.key, entry.value);
            }
            let (_, out) = current.take().expect("there is always one");
            done.push(out.finish()?);
            current = Some(begin(done.len() as u32)?);
        }
    })?;
    while let Some((_, out)) = current.take() {
        done.push(out.finish()?);
        if done.len() < parallelism as usize {
            current = Some(begin(done.len() as u32)?);
        }
    }
    Ok(done)
}

/// Finds the key groups of keys that are known as bytes.
pub(crate) struct KeyHasher {
    codec: ValueCodec,
    described: String,
    max_parallelism: u32,
    /// The last key and its group: all states of a key, and all user keys of a map, ask.
    last: Option<(Vec<u8>, KeyGroup)>,
}

impl KeyHasher {
    pub(crate) fn new(header: &KeyedHeader, max_parallelism: u32) -> Self {
        KeyHasher {
            codec: ValueCodec::new(&header.key_serializer),
            described: header.key_serializer.describe(),
            max_parallelism,
            last: None,
        }
    }

    /// How keys are read and written.
    pub(crate) fn codec(&self) -> &ValueCodec {
        &self.codec
    }

    /// Returns the key group of a key.
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are no key; unsupported, if its hash code is not known.
    pub(crate) fn group(&mut self, key: &[u8]) -> Result<KeyGroup, SnapshotError> {
        if let Some((last, group)) = &self.last
            && last == key
        {
            return Ok(*group);
        }
        let value = self.codec.decode_all(key)?;
        let group = self.group_of(&value)?;
        self.last = Some((key.to_vec(), group));
        Ok(group)
    }

    /// As [`group`](Self::group), for a key at hand.
    pub(crate) fn group_of(&self, key: &Value) -> Result<KeyGroup, SnapshotError> {
        match self.codec.hash_code(key) {
            Some(hash) => Ok(KeyGroup::of_hash(hash, self.max_parallelism)),
            None => Err(SnapshotError::unsupported(format!(
                "the hash code of keys of {}: it is made by their Java class, so that their key \
                 groups are known to Flink alone",
                self.described
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_serializer::{SerializerSnapshot, SnapshotBody};

    #[test]
    fn keys_whose_hash_code_only_java_knows_are_refused_by_name() {
        let pojo = SerializerSnapshot {
            class: "org.apache.flink.api.java.typeutils.runtime.PojoSerializerSnapshot".to_owned(),
            version: 2,
            body: SnapshotBody::Pojo {
                class: "com.acme.Cart".to_owned(),
                fields: Vec::new(),
                registered: Vec::new(),
                other: Vec::new(),
            },
        };
        let header = KeyedHeader {
            compressed: false,
            key_serializer: pojo,
            states: Vec::new(),
        };
        // A POJO of exactly this class, without fields.
        let error = KeyHasher::new(&header, 128)
            .group(&[2])
            .expect_err("a POJO");
        assert!(error.to_string().contains("com.acme.Cart"), "{error}");
        assert!(error.to_string().contains("hash code"), "{error}");
    }
}

//! What a snapshot holds, in numbers: operators, states, timers, sources.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use millpond_serializer::ByteReader;
use millpond_snapshot::{KeyedReader, StreamHandle};
use serde::Serialize;

use crate::source_state::READER_STATE;
use crate::{
    EntryCodec, Error, KeyedState, OpenSnapshot, Operator, Piece, Progress, SimpleVersioned,
    StateType, Threads, Unreadable, Writer, coordinator_state, scan,
};

/// About how many bytes of a file one thread counts at a time.
const PIECE_BYTES: u64 = 16 << 20;

/// Where numbers of keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// From the trailer, or else by reading all keyed state.
    Full,
    /// From the trailer alone; without one they are not told.
    Known,
}

/// What a snapshot holds.
#[derive(Clone, Debug, Serialize)]
pub struct Listing {
    /// The directory.
    pub location: String,
    /// Who wrote it.
    pub written_by: Writer,
    /// The number of the checkpoint.
    pub checkpoint_id: i64,
    /// The job's id, if the snapshot holds it.
    pub job_id: Option<String>,
    /// The job's name, if the snapshot holds it.
    pub job_name: Option<String>,
    /// The snapshot that the job had been started from, if the snapshot holds it.
    pub parent: Option<String>,
    /// Whether the files carry checksums.
    pub checksums: bool,
    /// Files beside `_metadata` that are referenced; inline state lies in `_metadata` itself.
    pub files: u64,
    /// Bytes of `_metadata`.
    pub metadata_bytes: u64,
    /// Bytes of all state, inline or in files.
    pub state_bytes: u64,
    /// The operators with state.
    pub operators: Vec<OperatorListing>,
    /// How many operators have no state.
    pub stateless_operators: u64,
    /// States of hooks in the job manager.
    pub master_states: Vec<String>,
}

/// What an operator holds.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorListing {
    /// The id.
    pub operator_id: String,
    /// The uid, if the snapshot holds it.
    pub uid: Option<String>,
    /// The name, if the snapshot holds it.
    pub name: Option<String>,
    /// The number of subtasks.
    pub parallelism: u32,
    /// The number of key groups.
    pub max_parallelism: u32,
    /// Whether all subtasks had finished.
    pub finished: bool,
    /// Bytes on the disk, or inline.
    pub bytes: u64,
    /// The type of keys.
    pub key_type: Option<String>,
    /// The format of keyed state: canonical, native heap, RocksDB.
    pub formats: Vec<&'static str>,
    /// Keyed states.
    pub keyed_states: Vec<StateListing>,
    /// Timers.
    pub timers: Vec<TimerListing>,
    /// Operator states.
    pub operator_states: Vec<OperatorStateListing>,
    /// What the coordinator of a source keeps.
    pub source: Option<SourceListing>,
    /// Channels with data in flight.
    pub channels: u64,
    /// Bytes of that data.
    pub channel_bytes: u64,
    /// Bytes of raw keyed and operator state, in formats of their own.
    pub raw_bytes: u64,
    /// What cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// One keyed state.
#[derive(Clone, Debug, Serialize)]
pub struct StateListing {
    /// The name.
    pub name: String,
    /// value, list, map, reducing, aggregating.
    pub kind: &'static str,
    /// void, window, or another type.
    pub namespace: String,
    /// The types of the values; of a map both.
    pub types: Vec<String>,
    /// Whether values carry the time of their last use.
    pub ttl: bool,
    /// Keys: pairs of a key and a namespace, if there are namespaces.
    pub keys: Option<u64>,
    /// Entries: for a map its user keys, else as `keys`.
    pub entries: Option<u64>,
    /// Bytes of keys and values, not compressed.
    pub live_bytes: Option<u64>,
}

/// The timers of one service.
#[derive(Clone, Debug, Serialize)]
pub struct TimerListing {
    /// The service: "user-timers".
    pub service: String,
    /// The type of namespaces.
    pub namespace: String,
    /// Timers of event time.
    pub event: Option<u64>,
    /// Timers of machine time.
    pub processing: Option<u64>,
    /// Bytes of both.
    pub live_bytes: Option<u64>,
}

/// One operator state.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorStateListing {
    /// The name.
    pub name: String,
    /// split, union or broadcast.
    pub mode: &'static str,
    /// The type of elements; of a broadcast map both.
    pub types: Vec<String>,
    /// Elements of all subtasks; of a broadcast map its entries, once.
    pub elements: u64,
    /// Bytes of all subtasks.
    pub bytes: u64,
}

/// What the coordinator of an operator keeps.
#[derive(Clone, Debug, Serialize)]
pub struct SourceListing {
    /// Bytes of the coordinator's state.
    pub coordinator_bytes: u64,
    /// Version of the enumerator's serializer, if it is the coordinator of a source.
    pub enumerator_version: Option<i32>,
    /// Splits that readers hold.
    pub splits: Option<u64>,
    /// Positions in words, if Millpond wrote the snapshot.
    pub positions: Vec<String>,
}

/// What there is of one state.
#[derive(Clone, Debug, Default)]
struct Count {
    name: String,
    keys: u64,
    entries: u64,
    bytes: u64,
}

/// Returns what a snapshot holds; `progress` tells how far counting is.
///
/// # Errors
///
/// Snapshot: state is damaged or cannot be read. State in a format that is not covered is no
/// error: it is listed as such.
pub fn list(
    snapshot: &OpenSnapshot,
    counting: Counting,
    threads: Threads,
    progress: &Progress,
) -> Result<Listing, Error> {
    let metadata = snapshot.metadata();
    let trailer = snapshot.trailer();
    let (mut files, mut state_bytes) = (Vec::new(), 0);
    let loaded = snapshot.loaded();
    let mut streams = Vec::new();
    metadata.streams(&mut |stream: &StreamHandle| streams.push(stream));
    for stream in streams {
        state_bytes += stream.size();
        files.extend(loaded.file_of(stream)?);
    }
    files.sort_unstable();
    files.dedup();
    let counted: Vec<Operator<'_>> = snapshot
        .operators()
        .filter(|operator| !operator.has_counts())
        .collect();
    let pieces: Vec<Piece<'_>> = match counting {
        Counting::Known => Vec::new(),
        Counting::Full => counted
            .iter()
            .flat_map(Operator::keyed_parts)
            .filter(|part| part.unreadable_because().is_none())
            .flat_map(|part| part.pieces(PIECE_BYTES))
            .collect(),
    };
    let counts = count(&pieces, threads, progress)?;
    let mut operators = Vec::new();
    for operator in snapshot.operators().filter(|operator| !operator.is_empty()) {
        let of_operator = |(id, count): &(_, Count)| (*id == operator.id()).then(|| count.clone());
        let counts: Option<Vec<Count>> = match (operator.has_counts(), counting) {
            (true, _) => Some(recorded(&operator)),
            (false, Counting::Full) => Some(counts.iter().filter_map(of_operator).collect()),
            (false, Counting::Known) => None,
        };
        operators.push(operator_listing(&operator, counts.as_deref())?);
    }
    Ok(Listing {
        location: loaded.directory.to_string(),
        written_by: snapshot.writer(),
        checkpoint_id: metadata.checkpoint_id,
        job_id: trailer.map(|trailer| trailer.job_id.to_string()),
        job_name: trailer.map(|trailer| trailer.job_name.clone()),
        parent: trailer.and_then(|trailer| trailer.parent.clone()),
        checksums: trailer.is_some(),
        files: files.len() as u64,
        metadata_bytes: loaded.file_system().len(&loaded.metadata_file)?,
        state_bytes,
        stateless_operators: (metadata.operators.len() - operators.len()) as u64,
        operators,
        master_states: metadata
            .master_states
            .iter()
            .map(|state| state.name.clone())
            .collect(),
    })
}

/// What the trailer knows of an operator.
fn recorded(operator: &Operator<'_>) -> Vec<Count> {
    let mut counts: Vec<Count> = Vec::new();
    let subtasks = operator.record().map_or(&[][..], |record| &record.subtasks);
    for state in subtasks.iter().flat_map(|subtask| &subtask.states) {
        let (entries, bytes) = state.key_groups.iter().fold((0, 0), |sum, group| {
            (sum.0 + group.entries, sum.1 + group.bytes)
        });
        let count = Count {
            name: state.name.clone(),
            keys: entries,
            entries,
            bytes,
        };
        add(&mut counts, count);
    }
    counts
}

fn add(counts: &mut Vec<Count>, more: Count) {
    match counts.iter_mut().find(|count| count.name == more.name) {
        Some(count) => {
            count.keys += more.keys;
            count.entries += more.entries;
            count.bytes += more.bytes;
        }
        None => counts.push(more),
    }
}

fn count(
    pieces: &[Piece<'_>],
    threads: Threads,
    progress: &Progress,
) -> Result<Vec<(millpond_types::OperatorId, Count)>, Error> {
    let total = pieces.iter().map(Piece::bytes).sum();
    progress.total_bytes.fetch_add(total, Ordering::Relaxed);
    let mut counts: Vec<(_, Vec<Count>)> = Vec::new();
    scan(
        pieces,
        threads,
        |piece, put| {
            if let Some(mut reader) = piece.open()?
                && put(count_entries(&mut reader, progress)?).is_break()
            {
                return Ok(());
            }
            progress.bytes.fetch_add(piece.bytes(), Ordering::Relaxed);
            Ok(())
        },
        |piece, found| {
            let id = piece.part().operator().id();
            let known = counts.iter_mut().find(|(known, _)| *known == id);
            match known {
                Some((_, counts)) => found.into_iter().for_each(|count| add(counts, count)),
                None => counts.push((id, found)),
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(counts
        .into_iter()
        .flat_map(|(id, counts)| counts.into_iter().map(move |count| (id, count)))
        .collect())
}

/// Counts by lengths alone; only entries of maps are looked into, for where their key ends.
fn count_entries(reader: &mut KeyedReader, progress: &Progress) -> Result<Vec<Count>, Error> {
    let codecs = EntryCodec::all_of(reader.header())?;
    let mut counts: Vec<Count> = codecs
        .iter()
        .map(|codec| Count {
            name: codec.state().name.clone(),
            ..Count::default()
        })
        .collect();
    let mut map_key: (usize, Vec<u8>) = (usize::MAX, Vec::new());
    let mut entries = 0;
    while let Some(entry) = reader.next_entry()? {
        let (codec, count) = (&codecs[entry.state], &mut counts[entry.state]);
        count.entries += 1;
        count.bytes += (entry.key.len() + entry.value.len() + 9) as u64;
        if codec.state().kind != StateType::Map {
            count.keys += 1;
        } else if map_key.0 != entry.state || !entry.key.starts_with(&map_key.1) {
            count.keys += 1;
            let mut input = ByteReader::new(entry.key);
            // A key that cannot be read counts once for each of its entries.
            let end = codec
                .decode_key(&mut input)
                .map_or(entry.key.len(), |_| input.position());
            map_key = (entry.state, entry.key[..end].to_vec());
        }
        entries += 1;
    }
    progress.entries.fetch_add(entries, Ordering::Relaxed);
    Ok(counts)
}

fn operator_listing(
    operator: &Operator<'_>,
    counts: Option<&[Count]>,
) -> Result<OperatorListing, Error> {
    let metadata = operator.metadata();
    let states = operator.keyed_states()?;
    let count_of = |name: &str| {
        let none = || Count::default();
        let counts = counts?;
        let found = counts.iter().find(|count| count.name == name);
        Some(found.cloned().unwrap_or_else(none))
    };
    let unreadable = operator.unreadable();
    let count_of = |name: &str| count_of(name).filter(|_| unreadable.is_empty());
    let (mut keyed_states, mut timers) = (Vec::new(), Vec::new());
    for state in &states {
        let count = count_of(&state.name);
        match state.timer_service() {
            Some((service, event)) if state.kind == StateType::Timers => {
                add_timers(&mut timers, state, service, event, count);
            }
            Some(_) | None => keyed_states.push(StateListing {
                name: state.name.clone(),
                kind: state.kind.name(),
                namespace: state.namespace_words(),
                types: state.type_words(),
                ttl: state.has_ttl(),
                // The trailer counts user keys.
                keys: count
                    .as_ref()
                    .filter(|_| state.kind != StateType::Map || !operator.has_counts())
                    .map(|count| count.keys),
                entries: count.as_ref().map(|count| count.entries),
                live_bytes: count.as_ref().map(|count| count.bytes),
            }),
        }
    }
    let operator_states = operator.operator_states()?;
    let mut formats: Vec<&'static str> = operator.keyed_parts().map(|part| part.format()).collect();
    formats.sort_unstable();
    formats.dedup();
    let channels = operator.channels()?;
    let (mut bytes, mut raw_bytes) = (0, 0);
    operator
        .metadata()
        .streams(&mut |stream| bytes += stream.size());
    for (_, subtask) in &metadata.subtasks {
        let raw_operator = subtask.raw_operator.iter();
        raw_bytes += raw_operator.map(|raw| raw.stream.size()).sum::<u64>();
        let raw_keyed = subtask.raw_keyed.iter();
        raw_keyed.for_each(|raw| raw.streams(&mut |stream| raw_bytes += stream.size()));
    }
    Ok(OperatorListing {
        operator_id: operator.id().to_string(),
        uid: operator.uid().map(str::to_owned),
        name: operator.name().map(str::to_owned),
        parallelism: metadata.parallelism,
        max_parallelism: metadata.max_parallelism,
        finished: metadata.finished,
        bytes,
        key_type: states.first().map(|state| state.key.type_words()),
        formats,
        keyed_states,
        timers,
        source: source_listing(operator, &operator_states),
        operator_states: operator_states
            .iter()
            .map(|state| OperatorStateListing {
                name: state.name.clone(),
                mode: state.mode.name(),
                types: state.type_words(),
                elements: state.content().count() as u64,
                bytes: state.bytes,
            })
            .collect(),
        channels: channels.len() as u64,
        channel_bytes: channels.iter().map(|channel| channel.bytes).sum(),
        raw_bytes,
        unreadable,
    })
}

fn add_timers(
    timers: &mut Vec<TimerListing>,
    state: &KeyedState,
    service: &str,
    event: bool,
    count: Option<Count>,
) {
    let known = timers.iter().position(|known| known.service == service);
    let index = known.unwrap_or_else(|| {
        timers.push(TimerListing {
            service: service.to_owned(),
            namespace: state.namespace_words(),
            event: None,
            processing: None,
            live_bytes: None,
        });
        timers.len() - 1
    });
    let timers = &mut timers[index];
    if let Some(count) = count {
        let of_kind = if event {
            &mut timers.event
        } else {
            &mut timers.processing
        };
        *of_kind = Some(count.entries);
        *timers.live_bytes.get_or_insert(0) += count.bytes;
    }
}

fn source_listing(
    operator: &Operator<'_>,
    operator_states: &[crate::OperatorStateContent],
) -> Option<SourceListing> {
    let record = operator.record();
    let positions: Vec<String> = record
        .iter()
        .flat_map(|record| &record.subtasks)
        .flat_map(|subtask| subtask.positions.clone())
        .collect();
    let readers = operator_states
        .iter()
        .find(|state| state.name == READER_STATE);
    let coordinator = operator.metadata().coordinator.as_ref();
    if coordinator.is_none() && readers.is_none() && positions.is_empty() {
        return None;
    }
    let bytes = match coordinator {
        Some(StreamHandle::Bytes { data, .. }) => data.as_slice(),
        Some(_) | None => &[],
    };
    let enumerator: Option<SimpleVersioned> = coordinator_state(bytes).ok();
    Some(SourceListing {
        coordinator_bytes: coordinator.map_or(0, StreamHandle::size),
        enumerator_version: enumerator.map(|state| state.version),
        splits: readers.map(|state| state.content().count() as u64),
        positions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_one_state_add_up() {
        let count = |entries| Count {
            name: "a".to_owned(),
            keys: 1,
            entries,
            bytes: 10,
        };
        let mut counts = Vec::new();
        add(&mut counts, count(2));
        add(&mut counts, count(5));
        assert_eq!(
            (
                counts.len(),
                counts[0].keys,
                counts[0].entries,
                counts[0].bytes
            ),
            (1, 2, 7, 20)
        );
    }
}

//! Whether a snapshot is sound: every byte that can be checked is.
//!
//! | checked | how |
//! | --- | --- |
//! | files | there, of the size that the metadata says, of the checksum that a trailer says |
//! | key groups | each subtask has those of its index; none twice; all there |
//! | keyed state | every entry is read by its serializers to its last byte, each key hashes to its key group, nothing lies between groups |
//! | numbers | entries of each state and key group are as many as a trailer says |
//! | operator state | every element is read by its serializer to its last byte |
//! | in-flight data | every buffer lies in its stream |
//!
//! What only Java understands, and what has no checksum, cannot be known: the report says so.
//! Damage in one key group does not hide that of others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use millpond_serializer::{ByteReader, ValueCodec};
use millpond_snapshot::{ChannelHandle, KeyedReader, StreamHandle};
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};
use serde::Serialize;

use crate::row_reader::located;
use crate::{EntryCodec, Error, KeyedPart, OpenSnapshot, Operator, Piece, Progress, Threads, scan};

/// About how many bytes of a file are one piece of work.
const PIECE_BYTES: u64 = 4 << 20;
/// How many problems are told of one piece; all are counted.
const TOLD_PROBLEMS: usize = 20;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Whether nothing is wrong.
    pub sound: bool,
    /// What is wrong, the first of each kind and place.
    pub problems: Vec<Problem>,
    /// How many problems there are, told or not.
    pub problem_count: u64,
    /// What cannot be known of this snapshot.
    pub unknown: Vec<String>,
    /// How much was checked.
    pub checked: Checked,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where: a file, an operator.
    pub place: String,
    /// What.
    pub what: String,
}

/// How much was checked.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// Operators with state.
    pub operators: u64,
    /// Files with a checksum.
    pub files_by_checksum: u64,
    /// Files by their size alone.
    pub files_by_size: u64,
    /// Entries of keyed state that were decoded.
    pub entries: u64,
    /// Keys whose key group was computed again.
    pub hashed_keys: u64,
    /// Elements of operator state that were decoded.
    pub elements: u64,
    /// Buffers of in-flight data.
    pub buffers: u64,
    /// Bytes of state.
    pub bytes: u64,
}

/// Collects while parts are checked.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    count: u64,
    unknown: BTreeSet<String>,
    checked: Checked,
}

impl Findings {
    fn problem(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.count += 1;
        if self.problems.len() < TOLD_PROBLEMS {
            self.problems.push(Problem {
                place: place.into(),
                what: what.into(),
            });
        }
    }

    /// An error of reading: damage, or something that is not covered.
    fn error(&mut self, place: &str, error: &Error) {
        match error.is_damage() {
            true => self.problem(place, error.to_string()),
            false => {
                self.unknown.insert(format!("{place}: {error}"));
            }
        }
    }

    fn add(&mut self, other: Findings) {
        self.count += other.count;
        self.problems.extend(other.problems);
        self.unknown.extend(other.unknown);
        let (mine, more) = (&mut self.checked, other.checked);
        mine.entries += more.entries;
        mine.hashed_keys += more.hashed_keys;
        mine.elements += more.elements;
        mine.buffers += more.buffers;
    }
}

/// Entries by state and key group.
type Counts = BTreeMap<(String, u16), u64>;

/// Checks a snapshot whose metadata has been read.
///
/// # Errors
///
/// Snapshot: it cannot be read for now, such as when a disk does not answer. Damage is no error
/// but the answer.
pub fn verify(
    snapshot: &OpenSnapshot,
    threads: Threads,
    progress: &Progress,
) -> Result<Verification, Error> {
    let mut findings = Findings::default();
    verify_files(snapshot, &mut findings)?;
    let mut pieces = Vec::new();
    for operator in snapshot.operators().filter(|operator| !operator.is_empty()) {
        findings.checked.operators += 1;
        verify_subtasks(operator, &mut findings);
        for part in operator.keyed_parts() {
            match part.unreadable_because() {
                None => pieces.extend(part.pieces(PIECE_BYTES)),
                Some(what) => {
                    let what = format!("{}: {what}", operator.label());
                    findings.unknown.insert(what);
                }
            }
        }
    }
    let total: u64 = pieces.iter().map(Piece::bytes).sum();
    progress.total_bytes.fetch_add(total, Ordering::Relaxed);
    let mut counts: BTreeMap<(OperatorId, u32), Counts> = BTreeMap::new();
    scan(
        &pieces,
        threads,
        |piece, put| {
            let found = verify_piece(piece, progress)?;
            progress.bytes.fetch_add(piece.bytes(), Ordering::Relaxed);
            // Nobody stops before the end.
            let _: ControlFlow<()> = put(found);
            Ok(())
        },
        |piece, (found, of_piece)| {
            findings.add(found);
            let part = piece.part();
            let known = counts
                .entry((part.operator().id(), part.subtask()))
                .or_default();
            for (place, entries) in of_piece {
                *known.entry(place).or_default() += entries;
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    for operator in snapshot.operators().filter(|operator| !operator.is_empty()) {
        verify_operator_state(operator, &mut findings);
        verify_channels(operator, &mut findings);
        verify_counts(operator, &counts, &mut findings);
    }
    if snapshot.trailer().is_none() {
        findings.unknown.insert(
            "Flink's snapshots have no checksums: a changed byte that is still a value of its \
             type is not found"
                .to_owned(),
        );
    }
    Ok(Verification {
        sound: findings.count == 0,
        problem_count: findings.count,
        problems: findings.problems,
        unknown: findings.unknown.into_iter().collect(),
        checked: findings.checked,
    })
}

fn verify_files(snapshot: &OpenSnapshot, findings: &mut Findings) -> Result<(), Error> {
    let loaded = snapshot.loaded();
    for damage in loaded.verify() {
        let what = format!("expected {}, found {}", damage.expected, damage.found);
        if !damage.permanent {
            let reason = format!("\"{}\" cannot be read now: {}", damage.file, damage.found);
            return Err(Error::request(reason));
        }
        findings.problem(damage.file, what);
    }
    let recorded = snapshot.trailer().map_or(0, |trailer| trailer.files.len());
    findings.checked.files_by_checksum = recorded as u64;
    let mut files = BTreeSet::new();
    let (mut streams, mut bytes) = (Vec::new(), 0);
    snapshot
        .metadata()
        .streams(&mut |stream| streams.push(stream));
    for stream in streams {
        bytes += stream.size();
        match loaded.file_of(stream) {
            Ok(file) => files.extend(file),
            Err(error) => findings.error("_metadata", &error.into()),
        }
    }
    findings.checked.bytes = bytes;
    findings.checked.files_by_size = (files.len() as u64).saturating_sub(recorded as u64);
    Ok(())
}

/// Subtasks and key groups as the metadata has them.
fn verify_subtasks(operator: Operator<'_>, findings: &mut Findings) {
    let metadata = operator.metadata();
    let (parallelism, max_parallelism) = (metadata.parallelism, metadata.max_parallelism);
    let place = format!("operator {}", operator.label());
    if parallelism == 0 || parallelism > max_parallelism {
        let what = format!("parallelism {parallelism} of at most {max_parallelism}");
        findings.problem(place, what);
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, _) in &metadata.subtasks {
        if *index >= parallelism {
            findings.problem(&place, format!("subtask {index} of {parallelism}"));
        } else if !seen.insert(index) {
            findings.problem(&place, format!("subtask {index} twice"));
        }
    }
    let mut covered = vec![0u8; max_parallelism as usize];
    for part in operator.keyed_parts() {
        let Some(range) = part.key_groups() else {
            let what = format!(
                "keyed state of subtask {} without key groups",
                part.subtask()
            );
            findings.problem(&place, what);
            continue;
        };
        if u32::from(range.last().0) >= max_parallelism {
            let what = format!("key groups {range} of {max_parallelism}");
            findings.problem(&place, what);
            continue;
        }
        for group in range.iter() {
            let count = &mut covered[usize::from(group.0)];
            *count = count.saturating_add(1);
        }
        if part.subtask() < parallelism {
            let own = KeyGroupRange::of_subtask(part.subtask(), parallelism, max_parallelism);
            if range != own && part.unreadable_because().is_none() {
                let what = format!(
                    "subtask {} has the key groups {range}, where {own} are its own",
                    part.subtask()
                );
                findings.problem(&place, what);
            }
        }
    }
    let first_twice = covered.iter().position(|count| *count > 1);
    if let Some(group) = first_twice {
        findings.problem(&place, format!("key group {group} more than once"));
    }
    let missing = covered.iter().filter(|count| **count == 0).count();
    if missing > 0 && missing < covered.len() {
        findings.unknown.insert(format!(
            "{place}: {missing} of {max_parallelism} key groups have no keyed state at all; \
             Flink leaves out subtasks that have registered none"
        ));
    }
}

/// Reads a piece entry by entry; behind damage, the other key groups one by one.
fn verify_piece(piece: &Piece<'_>, progress: &Progress) -> Result<(Findings, Counts), Error> {
    let (mut findings, mut counts) = (Findings::default(), Counts::new());
    let part = piece.part();
    if let Err(error) = verify_range(part, piece.range(), &mut findings, &mut counts, progress) {
        if !error.is_damage() {
            return not_covered(part, &error, findings, counts);
        }
        // Where damage is, is not known to the reader: each group is tried alone.
        (findings, counts) = (Findings::default(), Counts::new());
        for group in piece.range().iter() {
            let alone = KeyGroupRange::new(group, group);
            if let Err(error) = verify_range(part, alone, &mut findings, &mut counts, progress) {
                findings.error(&format!("operator {}", part.operator().label()), &error);
                if is_everywhere(&error, part) {
                    break;
                }
            }
        }
    }
    Ok((findings, counts))
}

/// Whether an error is not of one key group but of the header or of the file.
fn is_everywhere(error: &Error, part: KeyedPart<'_>) -> bool {
    let first = part
        .key_groups()
        .map(|range| KeyGroupRange::new(range.first(), range.first()));
    let again = first.map(|first| part.open(Some(first)));
    matches!(again, Some(Err(again)) if again.to_string() == error.to_string())
}

fn not_covered(
    part: KeyedPart<'_>,
    error: &Error,
    mut findings: Findings,
    counts: Counts,
) -> Result<(Findings, Counts), Error> {
    let unsupported = matches!(error.kind(), crate::ErrorKind::Snapshot(below)
        if matches!(below.kind(), millpond_snapshot::ErrorKind::Unsupported { .. }
            | millpond_snapshot::ErrorKind::Incompatible { .. }));
    if !unsupported {
        return Err(Error::request(error.to_string()));
    }
    findings.error(&format!("operator {}", part.operator().label()), error);
    Ok((findings, counts))
}

fn verify_range(
    part: KeyedPart<'_>,
    range: KeyGroupRange,
    findings: &mut Findings,
    counts: &mut Counts,
    progress: &Progress,
) -> Result<(), Error> {
    let Some(mut reader) = part.open(Some(range))? else {
        return Ok(());
    };
    let codecs = EntryCodec::all_of(reader.header())?;
    for codec in &codecs {
        note_opaque(codec, findings);
    }
    let with_counts = part.operator().record().is_some();
    let max_parallelism = part.operator().metadata().max_parallelism;
    let mut here = Here::default();
    let result = loop {
        let at = reader.offset();
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.into()),
        };
        let (group, codec) = (entry.key_group, &codecs[entry.state]);
        if with_counts && here.place != Some((entry.state, group)) {
            here.leave(&codecs, counts);
            here.place = Some((entry.state, group));
        }
        here.entries += 1;
        findings.checked.entries += 1;
        match codec.decode(&entry) {
            Ok(row) => match codec.key().hash_code(&row.key) {
                None => {}
                Some(hash) => {
                    findings.checked.hashed_keys += 1;
                    let own = KeyGroup::of_hash(hash, max_parallelism);
                    if own != group {
                        let key = serde_json::to_string(&row.key).unwrap_or_default();
                        let what = format!(
                            "the key {key} of state \"{}\" belongs to key group {}, and lies in \
                             {} at offset {at}",
                            codec.state().name,
                            own.0,
                            group.0
                        );
                        findings.problem(reader.source_name(), what);
                    }
                }
            },
            Err(error) => {
                let error = located(error, reader.source_name(), at, group, codec);
                findings.error(&format!("operator {}", part.operator().label()), &error);
            }
        }
    };
    here.leave(&codecs, counts);
    progress.entries.fetch_add(here.total, Ordering::Relaxed);
    if result.is_ok() {
        verify_beginning(part, &reader, range, findings);
    }
    result
}

/// What was counted since the last change of state or key group.
#[derive(Default)]
struct Here {
    place: Option<(usize, KeyGroup)>,
    entries: u64,
    total: u64,
}

impl Here {
    fn leave(&mut self, codecs: &[EntryCodec], counts: &mut Counts) {
        if let Some((state, group)) = self.place.take() {
            let name = codecs[state].state().name.clone();
            *counts.entry((name, group.0)).or_default() += self.entries;
        }
        self.total += self.entries;
        self.entries = 0;
    }
}

/// Nothing lies between the header and the first key group.
fn verify_beginning(
    part: KeyedPart<'_>,
    reader: &KeyedReader,
    range: KeyGroupRange,
    findings: &mut Findings,
) {
    let millpond_snapshot::KeyedHandle::KeyGroups { groups, .. } = part.handle() else {
        return;
    };
    let first = groups.offsets.iter().filter(|offset| **offset > 0).min();
    let (Some(first), Some(whole)) = (first, part.key_groups()) else {
        return;
    };
    let mut header = Vec::new();
    // Told once, by the piece that the part begins with.
    if range.first() != whole.first() || reader.header().write(&mut header).is_err() {
        return;
    }
    if *first != header.len() as i64 {
        let what = format!(
            "the header ends at {}, and the first key group begins at {first}",
            header.len()
        );
        findings.problem(reader.source_name(), what);
    }
}

fn note_opaque(codec: &EntryCodec, findings: &mut Findings) {
    let state = codec.state();
    let parts = [
        ("keys", Some(codec.key())),
        ("user keys", codec.user_key()),
        ("values", Some(codec.value())),
    ];
    for (what, part) in parts {
        if let Some(serializer) = part.and_then(ValueCodec::opaque) {
            findings.unknown.insert(format!(
                "{what} of state \"{}\" are of {serializer}: only Java reads them",
                state.name
            ));
        }
    }
    if !has_known_hash(codec) {
        findings.unknown.insert(format!(
            "keys are of {}, whose hash is the user's own: that they lie in their key groups is \
             not checked",
            state.key.type_words()
        ));
    }
}

/// Whether the class of the keys fixes their hash.
fn has_known_hash(codec: &EntryCodec) -> bool {
    codec.key().has_known_hash()
}

fn verify_operator_state(operator: Operator<'_>, findings: &mut Findings) {
    let place = format!("operator {}", operator.label());
    let states = match operator.operator_states() {
        Ok(states) => states,
        Err(error) => {
            findings.error(&place, &error);
            return;
        }
    };
    for state in &states {
        findings.checked.elements += state
            .elements
            .iter()
            .map(|(_, all)| all.len() as u64)
            .sum::<u64>();
        if let Some(serializer) = ValueCodec::new(&state.value).opaque() {
            findings.unknown.insert(format!(
                "elements of operator state \"{}\" are of {serializer}: only Java reads them",
                state.name
            ));
        }
        if state.name == "SourceReaderState" || state.name.ends_with("_raw_states") {
            findings.unknown.insert(format!(
                "operator state \"{}\" holds bytes that only the connector understands",
                state.name
            ));
        }
        let unequal = state.unequal_broadcasts();
        if !unequal.is_empty() {
            findings.unknown.insert(format!(
                "broadcast state \"{}\" is not the same in all subtasks: others than the first \
                 have {unequal:?}",
                state.name
            ));
        }
        for (subtask, left) in &state.left_over {
            findings.problem(
                &place,
                format!(
                    "operator state \"{}\" of subtask {subtask}: {left} bytes behind an element",
                    state.name
                ),
            );
        }
    }
    if operator.metadata().coordinator.is_some() {
        findings
            .unknown
            .insert("the state of a coordinator is known to its connector alone".to_owned());
    }
    if operator
        .metadata()
        .subtasks
        .iter()
        .any(|(_, subtask)| subtask.raw_keyed.is_some() || subtask.raw_operator.is_some())
    {
        findings
            .unknown
            .insert(format!("{place}: raw state, in a format of its own"));
    }
}

fn verify_channels(operator: Operator<'_>, findings: &mut Findings) {
    let place = format!("operator {}", operator.label());
    for (index, subtask) in &operator.metadata().subtasks {
        let handles = subtask
            .input_channels
            .iter()
            .chain(&subtask.result_subpartitions);
        for handle in handles {
            match verify_channel(operator, handle) {
                Ok(buffers) => findings.checked.buffers += buffers,
                Err(error) => findings.error(&format!("{place}, subtask {index}"), &error),
            }
        }
    }
    if findings.checked.buffers > 0 {
        findings.unknown.insert(
            "in-flight records are checked by the lengths of their buffers alone".to_owned(),
        );
    }
}

/// Checks that every buffer lies in its stream, and that their sizes add up.
fn verify_channel(operator: Operator<'_>, handle: &ChannelHandle) -> Result<u64, Error> {
    let stream: &StreamHandle = handle.stream();
    let source = operator.snapshot().loaded().open(stream)?;
    let mut channels: Vec<(Vec<i64>, i64)> = Vec::new();
    match handle {
        ChannelHandle::Single { offsets, size, .. } => channels.push((offsets.clone(), *size)),
        ChannelHandle::Merged {
            channels: merged, ..
        } => {
            let mut input = ByteReader::new(merged);
            for _ in 0..input.count(20)? {
                input.take(8)?;
                let size = input.i64()?;
                let count = input.count(8)?;
                let offsets = (0..count).map(|_| input.i64()).collect::<Result<_, _>>()?;
                channels.push((offsets, size));
            }
        }
    }
    let mut buffers = 0;
    for (offsets, size) in channels {
        let mut sum = 0i64;
        for offset in offsets {
            let start = u64::try_from(offset).map_err(|_| {
                millpond_snapshot::Error::corrupt(0, "an offset", offset.to_string())
            })?;
            let mut length = [0; 4];
            source.read_at(start, &mut length)?;
            let length = i64::from(i32::from_be_bytes(length));
            let end = start.checked_add(4).zip(u64::try_from(length).ok());
            let end = end.and_then(|(start, length)| start.checked_add(length));
            if end.is_none_or(|end| end > source.len()) {
                let expected = format!("a buffer that ends before {}", source.len());
                let error = millpond_snapshot::Error::corrupt(start, expected, length.to_string());
                return Err(error.in_file(source.name()).into());
            }
            sum += 4 + length;
            buffers += 1;
        }
        // The handle of an inline stream counts the version in front too.
        if sum != size && sum + 4 != size {
            let expected = format!("buffers of {size} bytes in all");
            let error = millpond_snapshot::Error::corrupt(0, expected, sum.to_string());
            return Err(error.in_file(source.name()).into());
        }
    }
    Ok(buffers)
}

/// Compares what was counted with what the trailer says.
fn verify_counts(
    operator: Operator<'_>,
    counts: &BTreeMap<(OperatorId, u32), Counts>,
    findings: &mut Findings,
) {
    let Some(record) = operator.record() else {
        return;
    };
    let place = format!("operator {}", operator.label());
    for part in operator.keyed_parts().filter(|part| part.is_counted()) {
        let subtask = record
            .subtasks
            .iter()
            .find(|subtask| subtask.index == part.subtask());
        let Some(subtask) = subtask else {
            continue;
        };
        let found = counts.get(&(operator.id(), part.subtask()));
        let range = part.key_groups();
        let names: BTreeSet<&str> = found
            .iter()
            .flat_map(|counts| counts.keys())
            .map(|(name, _)| name.as_str())
            .collect();
        let recorded: Vec<_> = subtask
            .states
            .iter()
            .filter(|state| names.contains(state.name.as_str()))
            .collect();
        if recorded.is_empty() {
            // What fits into the metadata of an incremental checkpoint is whole, and not counted
            // either: a sum over some of the subtasks would be none.
            continue;
        }
        let mut expected = Counts::new();
        for state in recorded {
            for group in &state.key_groups {
                let at = (state.name.clone(), group.key_group);
                expected.insert(at, group.entries);
            }
        }
        let entries = |counts: Option<&Counts>| -> Counts {
            let counts = counts.into_iter().flatten();
            counts
                .filter(|((_, group), _)| {
                    range.is_some_and(|range| range.contains(KeyGroup(*group)))
                })
                .map(|(place, entries)| (place.clone(), *entries))
                .collect()
        };
        let (found, expected) = (entries(found), entries(Some(&expected)));
        let differs = expected
            .iter()
            .find(|(place, count)| found.get(*place) != Some(count))
            .or_else(|| {
                found
                    .iter()
                    .find(|(place, _)| !expected.contains_key(*place))
            });
        if let Some(((state, group), _)) = differs {
            let key = (state.clone(), *group);
            let what = format!(
                "state \"{state}\", key group {group}: the trailer says {} entries, found {}",
                expected.get(&key).copied().unwrap_or(0),
                found.get(&key).copied().unwrap_or(0),
            );
            findings.problem(&place, what);
        }
    }
}

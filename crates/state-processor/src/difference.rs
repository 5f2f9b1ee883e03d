//! What two snapshots do not have in common: operators, states, keys and values.
//!
//! The order of entries in a file means nothing, so that both sides of a few key groups are
//! sorted together: in memory, or by way of temporary files if a key group is large. If the
//! numbers of key groups differ, all of an operator is sorted at once.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millpond_fs::{LocalFileSystem, Location};
use millpond_serializer::Value;
use millpond_snapshot::{Entry, Error as SnapshotError};
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};
use serde::Serialize;
use serde_json::Value as Json;

use crate::sorter::Sorter;
use crate::{
    Content, EntryCodec, Error, KeyedPart, OpenSnapshot, Operator, Piece, Progress, Row, RowReader,
    Threads, scan,
};

/// About how many bytes of a file are one piece of work.
const PIECE_BYTES: u64 = 4 << 20;
/// How many changes of each kind are told per state; all are counted.
pub const SAMPLES: usize = 5;

/// What differs between two snapshots.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Difference {
    /// Whether nothing does.
    pub equal: bool,
    /// Operators with state that only the first has.
    pub removed_operators: Vec<String>,
    /// Operators with state that only the second has.
    pub added_operators: Vec<String>,
    /// Operators that both have and whose state differs.
    pub operators: Vec<OperatorDifference>,
}

/// What differs in an operator.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OperatorDifference {
    /// The id.
    pub operator_id: String,
    /// The uid, if a snapshot holds it.
    pub uid: Option<String>,
    /// What differs beyond states: "parallelism 2, then 3". Alone it does not make unequal.
    pub notes: Vec<String>,
    /// States that only the first has.
    pub removed_states: Vec<String>,
    /// States that only the second has.
    pub added_states: Vec<String>,
    /// States that both have and whose content differs.
    pub states: Vec<StateDifference>,
}

/// What differs in a state.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StateDifference {
    /// The name.
    pub name: String,
    /// How its description changed, if it did.
    pub description: Option<String>,
    /// Entries that only the first has: keys, for maps user keys, for lists of operator state
    /// elements.
    pub removed: u64,
    /// Entries that only the second has.
    pub added: u64,
    /// Entries whose values differ.
    pub changed: u64,
    /// Some of the removed: key, namespace if any, user key if any, value.
    pub removed_samples: Vec<Json>,
    /// Some of the added.
    pub added_samples: Vec<Json>,
    /// Some of the changed: key and so on, then both values.
    pub changed_samples: Vec<Json>,
}

impl StateDifference {
    fn of(name: &str) -> Self {
        StateDifference {
            name: name.to_owned(),
            ..StateDifference::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.description.is_none() && self.removed + self.added + self.changed == 0
    }

    fn add(&mut self, other: StateDifference) {
        self.removed += other.removed;
        self.added += other.added;
        self.changed += other.changed;
        for (mine, more) in [
            (&mut self.removed_samples, other.removed_samples),
            (&mut self.added_samples, other.added_samples),
            (&mut self.changed_samples, other.changed_samples),
        ] {
            mine.extend(more);
            mine.truncate(SAMPLES);
        }
    }
}

impl OperatorDifference {
    fn is_empty(&self) -> bool {
        self.removed_states.is_empty() && self.added_states.is_empty() && self.states.is_empty()
    }
}

/// Compares two snapshots, or one operator of both.
///
/// # Errors
///
/// Request: there is no such operator. Snapshot: state is damaged or cannot be read.
pub fn diff(
    first: &OpenSnapshot,
    second: &OpenSnapshot,
    operator: Option<&str>,
    threads: Threads,
    progress: &Progress,
) -> Result<Difference, Error> {
    let mut difference = Difference::default();
    let ids: Vec<OperatorId> = match operator {
        Some(meant) => {
            let found = first
                .find_operator(meant)
                .or_else(|_| second.find_operator(meant))?;
            vec![found.id()]
        }
        None => {
            let mut ids: Vec<OperatorId> = Vec::new();
            for operator in first.operators().chain(second.operators()) {
                if !operator.is_empty() && !ids.contains(&operator.id()) {
                    ids.push(operator.id());
                }
            }
            ids
        }
    };
    for id in ids {
        match (with_state(first, id), with_state(second, id)) {
            (Some(one), Some(other)) => {
                let found = diff_operator(one, other, threads, progress)?;
                if !found.is_empty() || !found.notes.is_empty() {
                    difference.operators.push(found);
                }
            }
            (Some(one), None) => difference.removed_operators.push(one.label()),
            (None, Some(other)) => difference.added_operators.push(other.label()),
            (None, None) => {}
        }
    }
    difference.equal = difference.removed_operators.is_empty()
        && difference.added_operators.is_empty()
        && difference
            .operators
            .iter()
            .all(OperatorDifference::is_empty);
    Ok(difference)
}

fn with_state(snapshot: &OpenSnapshot, id: OperatorId) -> Option<Operator<'_>> {
    let mut operators = snapshot.operators();
    operators.find(|operator| operator.id() == id && !operator.is_empty())
}

fn diff_operator(
    first: Operator<'_>,
    second: Operator<'_>,
    threads: Threads,
    progress: &Progress,
) -> Result<OperatorDifference, Error> {
    let mut difference = OperatorDifference {
        operator_id: first.id().to_string(),
        uid: first.uid().or(second.uid()).map(str::to_owned),
        ..OperatorDifference::default()
    };
    let (one, other) = (first.metadata(), second.metadata());
    for (what, one, other) in [
        ("parallelism", one.parallelism, other.parallelism),
        (
            "maximum parallelism",
            one.max_parallelism,
            other.max_parallelism,
        ),
    ] {
        if one != other {
            difference.notes.push(format!("{what} {one}, then {other}"));
        }
    }
    diff_operator_states(first, second, &mut difference)?;
    let states = (first.keyed_states()?, second.keyed_states()?);
    let mut shared = Vec::new();
    for state in &states.0 {
        match states.1.iter().find(|other| other.name == state.name) {
            None => difference.removed_states.push(state.name.clone()),
            Some(other) => {
                let mut found = StateDifference::of(&state.name);
                let words = |state: &crate::KeyedState| {
                    let (kind, key) = (state.kind.name(), state.key.type_words());
                    let types = state.type_words().join(",");
                    format!("{kind} ({key}, {}) -> {types}", state.namespace_words())
                };
                if words(state) != words(other) {
                    let (one, other) = (words(state), words(other));
                    found.description = Some(format!("{one}, then {other}"));
                }
                shared.push(found);
            }
        }
    }
    let names = |states: &[crate::KeyedState]| -> Vec<String> {
        states.iter().map(|state| state.name.clone()).collect()
    };
    let known = names(&states.0);
    let added = names(&states.1)
        .into_iter()
        .filter(|name| !known.contains(name));
    difference.added_states.extend(added);
    let keys = |states: &[crate::KeyedState]| states.first().map(|state| state.key.type_words());
    if keys(&states.0).is_some() && keys(&states.1).is_some() && keys(&states.0) != keys(&states.1)
    {
        difference
            .notes
            .push("keys are of another type: their state is not compared".to_owned());
    } else if !shared.is_empty() {
        diff_keyed(first, second, &mut shared, threads, progress)?;
    }
    difference
        .states
        .extend(shared.into_iter().filter(|state| !state.is_empty()));
    Ok(difference)
}

fn diff_operator_states(
    first: Operator<'_>,
    second: Operator<'_>,
    difference: &mut OperatorDifference,
) -> Result<(), Error> {
    let (one, other) = (first.operator_states()?, second.operator_states()?);
    for state in &one {
        let Some(same) = other.iter().find(|other| other.name == state.name) else {
            difference.removed_states.push(state.name.clone());
            continue;
        };
        let mut found = StateDifference::of(&state.name);
        let words = |state: &crate::OperatorStateContent| {
            format!("{} {}", state.mode.name(), state.type_words().join(","))
        };
        if words(state) != words(same) {
            found.description = Some(format!("{}, then {}", words(state), words(same)));
        }
        // Which subtask holds an element means nothing, nor does the order of a map.
        let texts = |state: &crate::OperatorStateContent| {
            let mut texts: Vec<(String, Json)> = state
                .content()
                .map(|element| {
                    let json = serde_json::to_value(element).unwrap_or_default();
                    (json.to_string(), json)
                })
                .collect();
            texts.sort_by(|a, b| a.0.cmp(&b.0));
            texts
        };
        let (mut mine, mut theirs) = (
            texts(state).into_iter().peekable(),
            texts(same).into_iter().peekable(),
        );
        loop {
            let order = match (mine.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(mine), Some(theirs)) => mine.0.cmp(&theirs.0),
            };
            match order {
                std::cmp::Ordering::Equal => {
                    mine.next();
                    theirs.next();
                }
                std::cmp::Ordering::Less => {
                    found.removed += 1;
                    found
                        .removed_samples
                        .extend(mine.next().map(|(_, json)| json));
                }
                std::cmp::Ordering::Greater => {
                    found.added += 1;
                    found
                        .added_samples
                        .extend(theirs.next().map(|(_, json)| json));
                }
            }
        }
        found.removed_samples.truncate(SAMPLES);
        found.added_samples.truncate(SAMPLES);
        if !found.is_empty() {
            difference.states.push(found);
        }
    }
    let added = other
        .iter()
        .filter(|state| !one.iter().any(|known| known.name == state.name));
    difference
        .added_states
        .extend(added.map(|state| state.name.clone()));
    Ok(())
}

/// The same key groups of both sides, as far as each has them.
struct Pair<'a> {
    first: Vec<Piece<'a>>,
    second: Vec<Piece<'a>>,
    bytes: u64,
}

fn diff_keyed(
    first: Operator<'_>,
    second: Operator<'_>,
    states: &mut [StateDifference],
    threads: Threads,
    progress: &Progress,
) -> Result<(), Error> {
    let same_groups = first.metadata().max_parallelism == second.metadata().max_parallelism;
    let pairs = match same_groups {
        true => pairs(first, second),
        false => {
            vec![Pair {
                bytes: first
                    .keyed_parts()
                    .chain(second.keyed_parts())
                    .map(|part| part.bytes())
                    .sum(),
                first: pieces(first, u64::MAX),
                second: pieces(second, u64::MAX),
            }]
        }
    };
    let total = pairs.iter().map(|pair| pair.bytes).sum();
    progress.total_bytes.fetch_add(total, Ordering::Relaxed);
    let names: Vec<String> = states.iter().map(|state| state.name.clone()).collect();
    scan(
        &pairs,
        threads,
        |pair, put| {
            let found = diff_pair(pair, &names, same_groups, progress)?;
            progress.bytes.fetch_add(pair.bytes, Ordering::Relaxed);
            // Nobody stops before the end.
            let _: ControlFlow<()> = put(found);
            Ok(())
        },
        |_, found| {
            states
                .iter_mut()
                .zip(found)
                .for_each(|(state, found)| state.add(found));
            Ok(ControlFlow::Continue(()))
        },
    )
}

fn pieces(operator: Operator<'_>, piece_bytes: u64) -> Vec<Piece<'_>> {
    let parts = operator.keyed_parts();
    parts.flat_map(|part| part.pieces(piece_bytes)).collect()
}

fn pairs<'a>(first: Operator<'a>, second: Operator<'a>) -> Vec<Pair<'a>> {
    let (one, other) = (pieces(first, PIECE_BYTES), pieces(second, PIECE_BYTES));
    // Every border of one side cuts the other too.
    let max_parallelism = first.metadata().max_parallelism;
    let mut borders: Vec<u32> = vec![0, max_parallelism];
    for piece in one.iter().chain(&other) {
        borders.push(u32::from(piece.range().first().0));
        borders.push(u32::from(piece.range().last().0) + 1);
    }
    borders.sort_unstable();
    borders.dedup();
    borders.retain(|border| *border <= max_parallelism);
    let cut = |parts: &mut dyn Iterator<Item = KeyedPart<'a>>, range: KeyGroupRange| {
        let mine = parts.filter_map(|part| {
            let range = part.key_groups()?.intersection(range)?;
            Some(Piece::new(part, range, 0))
        });
        mine.collect::<Vec<_>>()
    };
    let share = |pieces: &[Piece<'_>], range: KeyGroupRange| -> u64 {
        let inside = pieces
            .iter()
            .filter(|piece| piece.range().first() == range.first());
        inside.map(Piece::bytes).sum()
    };
    borders
        .windows(2)
        .filter_map(|border| {
            let (start, end) = (border[0], border[1]);
            let last = u16::try_from(end - 1).ok()?;
            let range = KeyGroupRange::new(KeyGroup(u16::try_from(start).ok()?), KeyGroup(last));
            Some(Pair {
                first: cut(&mut first.keyed_parts(), range),
                second: cut(&mut second.keyed_parts(), range),
                bytes: share(&one, range) + share(&other, range),
            })
        })
        .collect()
}

/// An entry of one side.
struct Side<'a> {
    second: bool,
    value: &'a [u8],
}

impl<'a> Side<'a> {
    fn of(value: &'a [u8]) -> Result<Self, SnapshotError> {
        match value {
            [side, value @ ..] => Ok(Side {
                second: *side == 1,
                value,
            }),
            [] => Err(SnapshotError::corrupt(0, "the side of an entry", "nothing")),
        }
    }
}

fn diff_pair(
    pair: &Pair<'_>,
    names: &[String],
    same_groups: bool,
    progress: &Progress,
) -> Result<Vec<StateDifference>, Error> {
    let directory = Location::of_path(&std::env::temp_dir())?;
    let mut sorter = Sorter::new(Arc::new(LocalFileSystem), &directory);
    let mut codecs: [Vec<Option<EntryCodec>>; 2] =
        [vec![None; names.len()], vec![None; names.len()]];
    let mut value = Vec::new();
    for (side, pieces) in [&pair.first, &pair.second].into_iter().enumerate() {
        for piece in pieces {
            let Some(reader) = piece.open()? else {
                continue;
            };
            let known = RowReader::new(reader)?;
            let places: Vec<Option<u16>> = known
                .codecs()
                .iter()
                .map(|codec| {
                    let at = names.iter().position(|name| *name == codec.state().name)?;
                    codecs[side][at].get_or_insert_with(|| codec.clone());
                    u16::try_from(at).ok()
                })
                .collect();
            let mut entries = 0;
            known.for_each_entry(|entry| {
                entries += 1;
                let Some(state) = places[entry.state] else {
                    return Ok(());
                };
                value.clear();
                value.push(side as u8);
                value.extend_from_slice(entry.value);
                let group = if same_groups {
                    entry.key_group
                } else {
                    KeyGroup(0)
                };
                sorter.push(group, state, entry.key, &value)
            })?;
            progress.entries.fetch_add(entries, Ordering::Relaxed);
        }
    }
    let mut found: Vec<StateDifference> =
        names.iter().map(|name| StateDifference::of(name)).collect();
    // The entry before, of the first side, that waits for its counterpart.
    let mut waiting: Option<(u16, Vec<u8>, Vec<u8>)> = None;
    let mut result = Ok(());
    sorter.try_for_each(|entry| {
        let side = Side::of(entry.value)?;
        let state = usize::from(entry.state);
        let mut step = || -> Result<(), Error> {
            match waiting.take() {
                Some((known, key, value))
                    if side.second && known == entry.state && key == entry.key =>
                {
                    if value != side.value {
                        compare(&codecs, state, &key, &value, side.value, &mut found[state])?;
                    }
                }
                before => {
                    if let Some((state, key, value)) = before {
                        let state = usize::from(state);
                        let known = &mut found[state];
                        known.removed += 1;
                        sample(&codecs[0][state], &key, &value, &mut known.removed_samples);
                    }
                    if side.second {
                        found[state].added += 1;
                        let samples = &mut found[state].added_samples;
                        sample(&codecs[1][state], entry.key, side.value, samples);
                    } else {
                        waiting = Some((entry.state, entry.key.to_vec(), side.value.to_vec()));
                    }
                }
            }
            Ok(())
        };
        if result.is_ok() {
            result = step();
        }
        Ok(())
    })?;
    result?;
    if let Some((state, key, value)) = waiting {
        let state = usize::from(state);
        found[state].removed += 1;
        let samples = &mut found[state].removed_samples;
        sample(&codecs[0][state], &key, &value, samples);
    }
    Ok(found)
}

fn decode(codec: &Option<EntryCodec>, state: usize, key: &[u8], value: &[u8]) -> Option<Row> {
    let entry = Entry {
        key_group: KeyGroup(0),
        state,
        key,
        value,
    };
    codec.as_ref()?.decode(&entry).ok()
}

/// Bytes that differ may still be the same value: maps and sets have no order, and a serializer
/// may have changed.
fn compare(
    codecs: &[Vec<Option<EntryCodec>>; 2],
    state: usize,
    key: &[u8],
    first: &[u8],
    second: &[u8],
    found: &mut StateDifference,
) -> Result<(), Error> {
    let rows = (
        decode(&codecs[0][state], state, key, first),
        decode(&codecs[1][state], state, key, second),
    );
    if let (Some(one), Some(other)) = &rows
        && same_content(&one.content, &other.content)
    {
        return Ok(());
    }
    found.changed += 1;
    if found.changed_samples.len() < SAMPLES {
        let mut sample = Vec::new();
        match &rows {
            (Some(one), Some(other)) => {
                sample.extend(key_json(one));
                sample.push(content_json(&one.content));
                sample.push(content_json(&other.content));
            }
            _ => sample.push(Json::String(millpond_serializer::hex(key))),
        }
        found.changed_samples.push(Json::Array(sample));
    }
    Ok(())
}

fn sample(codec: &Option<EntryCodec>, key: &[u8], value: &[u8], samples: &mut Vec<Json>) {
    if samples.len() >= SAMPLES {
        return;
    }
    samples.push(match decode(codec, 0, key, value) {
        Some(row) => {
            let mut sample = key_json(&row);
            sample.push(content_json(&row.content));
            Json::Array(sample)
        }
        None => Json::String(millpond_serializer::hex(key)),
    });
}

fn json(value: &Value) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}

/// Key, namespace if any, user key if any.
fn key_json(row: &Row) -> Vec<Json> {
    let mut parts = vec![json(&row.key)];
    if !row.namespace.is_null() {
        parts.push(json(&row.namespace));
    }
    if let Content::MapEntry(user_key, _) = &row.content {
        parts.push(json(user_key));
    }
    parts
}

fn content_json(content: &Content) -> Json {
    match content {
        Content::Value(value) | Content::MapEntry(_, value) => json(value),
        Content::List(values) => serde_json::to_value(values).unwrap_or_default(),
        Content::Timer(timestamp) => Json::from(*timestamp),
    }
}

fn same_content(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (Content::List(one), Content::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
        }
        (Content::Value(one), Content::Value(other))
        | (Content::MapEntry(_, one), Content::MapEntry(_, other)) => one.is_same(other),
        (one, other) => one == other,
    }
}

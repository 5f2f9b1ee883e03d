//! Where the bytes of a snapshot are: by operator, state and key group, and the largest keys.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use millpond_types::OperatorId;
use serde::Serialize;
use serde_json::Value as Json;

use crate::{EntryCodec, Error, OpenSnapshot, Operator, Piece, Progress, StateType, Threads, scan};

/// About how many bytes of a file are one piece of work.
const PIECE_BYTES: u64 = 8 << 20;

/// Where the bytes are.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    /// Bytes of all state, inline or in files.
    pub bytes: u64,
    /// The operators with state, the largest first.
    pub operators: Vec<OperatorUsage>,
}

/// The bytes of an operator.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorUsage {
    /// The id.
    pub operator_id: String,
    /// The uid, if the snapshot holds it.
    pub uid: Option<String>,
    /// The name, if the snapshot holds it.
    pub name: Option<String>,
    /// Bytes on the disk, or inline.
    pub bytes: u64,
    /// The keyed states, the largest first.
    pub states: Vec<StateUsage>,
    /// Bytes of operator state.
    pub operator_state_bytes: u64,
    /// The largest key groups, by the bytes of their entries.
    pub largest_key_groups: Vec<KeyGroupUsage>,
    /// Bytes of entries in a key group that half of the non-empty ones do not exceed.
    pub median_key_group_bytes: u64,
    /// The largest keys, the largest first.
    pub largest_keys: Vec<KeyUsage>,
    /// Why keyed state is left out, if it cannot be read.
    pub unreadable: Option<String>,
}

/// The bytes of a state.
#[derive(Clone, Debug, Serialize)]
pub struct StateUsage {
    /// The name.
    pub name: String,
    /// Its entries: for maps user keys.
    pub entries: u64,
    /// Bytes of keys and values, not compressed.
    pub live_bytes: u64,
}

/// The bytes of a key group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyGroupUsage {
    /// The key group.
    pub key_group: u16,
    /// Its entries.
    pub entries: u64,
    /// Their bytes.
    pub live_bytes: u64,
}

/// The bytes of a key in one state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyUsage {
    /// The state.
    pub state: String,
    /// The key.
    pub key: Json,
    /// Its namespace, if any.
    pub namespace: Option<Json>,
    /// Its entries: for maps user keys.
    pub entries: u64,
    /// Their bytes.
    pub live_bytes: u64,
}

/// What one piece holds.
#[derive(Default)]
struct Found {
    states: BTreeMap<String, (u64, u64)>,
    groups: BTreeMap<u16, (u64, u64)>,
    largest: Largest,
}

/// The largest keys so far, by bytes; the smallest of them on top.
#[derive(Default)]
struct Largest {
    most: usize,
    heap: BinaryHeap<Reverse<LargeKey>>,
}

/// One of them; they order by their bytes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct LargeKey {
    bytes: u64,
    entries: u64,
    state: String,
    /// Key and namespace as JSON.
    shown: String,
}

impl Largest {
    fn would_take(&self, bytes: u64) -> bool {
        self.heap.len() < self.most || self.heap.peek().is_some_and(|least| least.0.bytes < bytes)
    }

    fn add(&mut self, key: LargeKey) {
        self.heap.push(Reverse(key));
        if self.heap.len() > self.most {
            self.heap.pop();
        }
    }
}

/// Returns where the bytes are, with the `most` largest keys of each operator.
///
/// # Errors
///
/// Snapshot: state is damaged or cannot be read; formats that are not covered are no error.
pub fn usage(
    snapshot: &OpenSnapshot,
    most: usize,
    threads: Threads,
    progress: &Progress,
) -> Result<Usage, Error> {
    let operators: Vec<Operator<'_>> = snapshot
        .operators()
        .filter(|operator| !operator.is_empty())
        .collect();
    let pieces: Vec<Piece<'_>> = operators
        .iter()
        .flat_map(Operator::keyed_parts)
        .filter(|part| part.unreadable_because().is_none())
        .flat_map(|part| part.pieces(PIECE_BYTES))
        .collect();
    let total = pieces.iter().map(Piece::bytes).sum();
    progress.total_bytes.fetch_add(total, Ordering::Relaxed);
    let mut found: BTreeMap<OperatorId, Found> = BTreeMap::new();
    scan(
        &pieces,
        threads,
        |piece, put| {
            let of_piece = measure(piece, most, progress)?;
            progress.bytes.fetch_add(piece.bytes(), Ordering::Relaxed);
            // Nobody stops before the end.
            let _: ControlFlow<()> = put(of_piece);
            Ok(())
        },
        |piece, more| {
            let known = found.entry(piece.part().operator().id()).or_default();
            known.largest.most = most;
            for (name, (entries, bytes)) in more.states {
                let sum = known.states.entry(name).or_default();
                *sum = (sum.0 + entries, sum.1 + bytes);
            }
            for (group, (entries, bytes)) in more.groups {
                let sum = known.groups.entry(group).or_default();
                *sum = (sum.0 + entries, sum.1 + bytes);
            }
            for key in more.largest.heap {
                known.largest.add(key.0);
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let mut usages = Vec::new();
    for operator in operators {
        let found = found.remove(&operator.id()).unwrap_or_default();
        usages.push(operator_usage(operator, found)?);
    }
    usages.sort_by_key(|usage| Reverse(usage.bytes));
    Ok(Usage {
        bytes: usages.iter().map(|usage| usage.bytes).sum(),
        operators: usages,
    })
}

fn measure(piece: &Piece<'_>, most: usize, progress: &Progress) -> Result<Found, Error> {
    let mut found = Found::default();
    found.largest.most = most;
    let Some(mut reader) = piece.open()? else {
        return Ok(found);
    };
    let codecs = EntryCodec::all_of(reader.header())?;
    let mut states = vec![(0u64, 0u64); codecs.len()];
    // The map that entries belong to: state, its key's bytes, entries and bytes so far.
    let mut map: Option<(usize, Vec<u8>, u64, u64)> = None;
    let mut total = 0;
    let close = |map: &mut Option<(usize, Vec<u8>, u64, u64)>, found: &mut Found| {
        if let Some((state, key, entries, bytes)) = map.take()
            && found.largest.would_take(bytes)
        {
            found.largest.add(LargeKey {
                bytes,
                entries,
                state: codecs[state].state().name.clone(),
                shown: shown_key(&codecs[state], &key),
            });
        }
    };
    while let Some(entry) = reader.next_entry()? {
        let codec = &codecs[entry.state];
        let bytes = (entry.key.len() + entry.value.len() + 9) as u64;
        let state = &mut states[entry.state];
        *state = (state.0 + 1, state.1 + bytes);
        let group = found.groups.entry(entry.key_group.0).or_default();
        *group = (group.0 + 1, group.1 + bytes);
        total += 1;
        if codec.state().kind == StateType::Map {
            if let Some((state, key, entries, sum)) = &mut map
                && *state == entry.state
                && entry.key.starts_with(key)
            {
                (*entries, *sum) = (*entries + 1, *sum + bytes);
                continue;
            }
            close(&mut map, &mut found);
            let mut input = millpond_serializer::ByteReader::new(entry.key);
            let end = codec
                .decode_key(&mut input)
                .map_or(entry.key.len(), |_| input.position());
            map = Some((entry.state, entry.key[..end].to_vec(), 1, bytes));
        } else {
            close(&mut map, &mut found);
            if codec.state().kind != StateType::Timers && found.largest.would_take(bytes) {
                found.largest.add(LargeKey {
                    bytes,
                    entries: 1,
                    state: codec.state().name.clone(),
                    shown: shown_key(codec, entry.key),
                });
            }
        }
    }
    close(&mut map, &mut found);
    progress.entries.fetch_add(total, Ordering::Relaxed);
    for (codec, (entries, bytes)) in codecs.iter().zip(states) {
        found
            .states
            .insert(codec.state().name.clone(), (entries, bytes));
    }
    Ok(found)
}

/// Key and namespace as JSON: `["key",null]`.
fn shown_key(codec: &EntryCodec, bytes: &[u8]) -> String {
    let mut input = millpond_serializer::ByteReader::new(bytes);
    let shown = match codec.decode_key(&mut input) {
        Ok((key, namespace)) => serde_json::to_string(&(key, namespace)).ok(),
        Err(_) => None,
    };
    shown.unwrap_or_else(|| format!("[\"{}\",null]", millpond_serializer::hex(bytes)))
}

fn operator_usage(operator: Operator<'_>, found: Found) -> Result<OperatorUsage, Error> {
    let mut bytes = 0;
    operator
        .metadata()
        .streams(&mut |stream| bytes += stream.size());
    let mut states: Vec<StateUsage> = found
        .states
        .into_iter()
        .map(|(name, (entries, live_bytes))| StateUsage {
            name,
            entries,
            live_bytes,
        })
        .collect();
    states.sort_by_key(|state| Reverse(state.live_bytes));
    let mut groups: Vec<KeyGroupUsage> = found
        .groups
        .into_iter()
        .map(|(key_group, (entries, live_bytes))| KeyGroupUsage {
            key_group,
            entries,
            live_bytes,
        })
        .collect();
    groups.sort_by_key(|group| Reverse(group.live_bytes));
    let median = groups
        .get(groups.len() / 2)
        .map_or(0, |group| group.live_bytes);
    groups.truncate(found.largest.most.max(1));
    let mut largest = found.largest.heap.into_vec();
    largest.sort();
    let largest_keys = largest.into_iter().map(|key| {
        let LargeKey { shown, .. } = &key.0;
        let (shown, namespace) = serde_json::from_str::<(Json, Json)>(shown).unwrap_or_default();
        KeyUsage {
            state: key.0.state,
            key: shown,
            namespace: Some(namespace).filter(|namespace| !namespace.is_null()),
            entries: key.0.entries,
            live_bytes: key.0.bytes,
        }
    });
    let operator_states = operator.operator_states()?;
    Ok(OperatorUsage {
        operator_id: operator.id().to_string(),
        uid: operator.uid().map(str::to_owned),
        name: operator.name().map(str::to_owned),
        bytes,
        states,
        operator_state_bytes: operator_states.iter().map(|state| state.bytes).sum(),
        largest_key_groups: groups,
        median_key_group_bytes: median,
        largest_keys: largest_keys.collect(),
        unreadable: operator
            .unreadable()
            .first()
            .map(|state| state.what.clone()),
    })
}

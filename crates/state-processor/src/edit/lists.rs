//! Edits of operator state: lists, broadcast maps, and the positions of sources.
//!
//! The layout of splits stands in `source_state`.

use millpond_serializer::{ByteReader, ByteWriter, Value, ValueCodec};
use millpond_snapshot::{DistributionMode, Error};
use serde_json::Value as Json;

use super::condition::{Condition, Field};
use super::keyed::json;
use crate::operator_input::{ListOrMap, OperatorStates};
use crate::source_state::{READER_STATE, Split, read_split};

/// The names of all states.
pub(super) fn names(states: &OperatorStates) -> impl Iterator<Item = &str> {
    states.states.iter().map(|state| state.meta.name.as_str())
}

pub(super) fn find<'a>(states: &'a mut OperatorStates, name: &str) -> Option<&'a mut ListOrMap> {
    states
        .states
        .iter_mut()
        .find(|state| state.meta.name == name)
}

/// The key and value codecs of a broadcast map.
struct MapCodecs {
    key: ValueCodec,
    value: ValueCodec,
}

impl MapCodecs {
    fn of(state: &ListOrMap) -> Result<Self, Error> {
        Ok(MapCodecs {
            key: ValueCodec::new(state.meta.key_serializer()?),
            value: ValueCodec::new(state.meta.value_serializer()?),
        })
    }

    fn read(&self, bytes: &[u8]) -> Result<Vec<(Value, Value)>, Error> {
        let mut input = ByteReader::new(bytes);
        let mut entries = Vec::new();
        for _ in 0..input.count(1)? {
            entries.push((self.key.decode(&mut input)?, self.value.decode(&mut input)?));
        }
        Ok(entries)
    }

    fn write(&self, entries: &[(Value, Value)]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        out.put_count(entries.len());
        for (key, value) in entries {
            self.key.encode(key, &mut out)?;
            self.value.encode(value, &mut out)?;
        }
        Ok(out)
    }
}

/// Sets a list, or an entry of a broadcast map; returns how many elements it set.
pub(super) fn set(
    state: &mut ListOrMap,
    fields: &[(Field, Json)],
    parallelism: u32,
) -> Result<u64, String> {
    let field = |wanted: Field| {
        let found = fields.iter().find(|(field, _)| *field == wanted);
        found.map(|(_, json)| json)
    };
    let told = |error: Error| error.to_string();
    let value = field(Field::Value).ok_or("value=JSON is missing")?;
    let (allowed, key): (usize, _) = match state.mode {
        DistributionMode::Broadcast => {
            let key = field(Field::Key).ok_or("it is broadcast state: key=JSON is missing")?;
            (2, Some(key))
        }
        DistributionMode::SplitDistribute | DistributionMode::Union => (1, None),
    };
    if fields.len() > allowed {
        return Err("only value=JSON, and for broadcast state key=JSON, make sense".to_owned());
    }
    if let Some(key) = key {
        let codecs = MapCodecs::of(state).map_err(told)?;
        let key = codecs
            .key
            .parse_json(key)
            .map_err(|error| format!("key: {error}"))?;
        let value = codecs
            .value
            .parse_json(value)
            .map_err(|error| format!("value: {error}"))?;
        for (_, map) in &mut state.elements {
            let mut entries = codecs.read(map).map_err(told)?;
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some(entry) => entry.1 = value.clone(),
                None => entries.push((key.clone(), value.clone())),
            }
            *map = codecs.write(&entries).map_err(told)?;
        }
        if state.elements.is_empty() {
            let map = codecs.write(&[(key, value)]).map_err(told)?;
            state.elements = (0..parallelism).map(|to| (to, map.clone())).collect();
        }
        return Ok(1);
    }
    let Json::Array(items) = value else {
        return Err("value: expected a list in brackets".to_owned());
    };
    let codec = ValueCodec::new(state.meta.value_serializer().map_err(told)?);
    let elements = items.iter().map(|item| {
        let value = codec
            .parse_json(item)
            .map_err(|error| format!("value: {error}"))?;
        let mut out = Vec::new();
        codec
            .encode(&value, &mut out)
            .map_err(|error| error.to_string())?;
        Ok(out)
    });
    let elements = elements.collect::<Result<Vec<_>, String>>()?;
    let keeps_places = elements.len() == state.elements.len();
    let places: Vec<u32> = state.elements.iter().map(|(to, _)| *to).collect();
    let new = elements.into_iter().enumerate().map(|(index, element)| {
        // As many as before stay where they were: the k-th of a list is often that of the k-th
        // subtask.
        let to = match keeps_places {
            true => places[index],
            false => (index % parallelism as usize) as u32,
        };
        (to, element)
    });
    state.elements = new.collect();
    Ok(items.len() as u64)
}

/// Deletes the elements, or the entries of a broadcast map, that pass; returns how many.
pub(super) fn delete(state: &mut ListOrMap, condition: &Condition) -> Result<u64, String> {
    let told = |error: Error| error.to_string();
    let is_map = state.mode == DistributionMode::Broadcast;
    let unknown = condition
        .fields()
        .find(|field| !matches!((field, is_map), (Field::Value, _) | (Field::Key, true)));
    if let Some(field) = unknown {
        return Err(format!("its elements have no {}", field.word()));
    }
    if is_map {
        let codecs = MapCodecs::of(state).map_err(told)?;
        let mut deleted = 0;
        for (subtask, (_, map)) in state.elements.iter_mut().enumerate() {
            let mut left = Vec::new();
            for (key, value) in codecs.read(map).map_err(told)? {
                let holds = condition.holds(|field| match field {
                    Field::Key => json(&key),
                    Field::Value | Field::Namespace | Field::UserKey | Field::Timestamp => {
                        json(&value)
                    }
                });
                match holds.map_err(told)? {
                    // Each subtask has the same map: its entries count once.
                    true => deleted += u64::from(subtask == 0),
                    false => left.push((key, value)),
                }
            }
            *map = codecs.write(&left).map_err(told)?;
        }
        return Ok(deleted);
    }
    let codec = ValueCodec::new(state.meta.value_serializer().map_err(told)?);
    let before = state.elements.len();
    let mut left = Vec::new();
    for element in std::mem::take(&mut state.elements) {
        let holds = condition.holds(|_| json(&codec.decode_all(&element.1)?));
        if !holds.map_err(told)? {
            left.push(element);
        }
    }
    state.elements = left;
    Ok((before - state.elements.len()) as u64)
}

/// Sets the position of the split `id` of a source.
pub(super) fn set_position(
    states: &mut OperatorStates,
    id: &str,
    position: i64,
) -> Result<(), String> {
    let Some(state) = find(states, READER_STATE) else {
        return Err(format!(
            "it has no \"{READER_STATE}\"; the positions of a source function are set as the \
             list that it keeps them in"
        ));
    };
    let mut known = Vec::new();
    for (_, element) in &mut state.elements {
        let split = read_element(element).ok_or_else(|| {
            "its splits are of a connector whose positions Millpond does not understand".to_owned()
        })?;
        if split.id == id {
            element[split.at..split.at + 8].copy_from_slice(&position.to_be_bytes());
            return Ok(());
        }
        known.push(format!("\"{}\"", split.id));
    }
    Err(format!(
        "it has no split \"{id}\", but {}",
        known.join(", ")
    ))
}

/// Reads an element of the list as it stands in the file: a `byte[]` with its length in front.
fn read_element(element: &[u8]) -> Option<Split> {
    let mut input = ByteReader::new(element);
    let length = input.length().ok()?;
    let behind = input.position();
    let split = read_split(input.rest()).filter(|_| element.len() - behind == length)?;
    Some(Split {
        at: split.at + behind,
        ..split
    })
}

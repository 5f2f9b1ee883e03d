//! Serializers of classes that nobody here knows: their state is carried on as it is.
//!
//! If this fails, one own serializer in one state of a Flink job keeps the whole job from being
//! restored.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod standing;

use millpond_serializer::{ByteReader, FlinkType, SerializerSnapshot, SnapshotBody};
use millpond_snapshot::{CanonicalReader, KeyGroupOffsets, KeyedHeader, KeyedReader, StateSource};
use millpond_types::KeyGroupRange;

const MAX_PARALLELISM: u32 = 128;

fn range() -> KeyGroupRange {
    KeyGroupRange::of_subtask(0, 1, MAX_PARALLELISM)
}

fn unknown(body: Vec<u8>) -> SerializerSnapshot {
    SerializerSnapshot {
        class: "com.acme.OwnSerializer$OwnSnapshot".to_owned(),
        version: 7,
        body: SnapshotBody::Opaque { body },
    }
}

/// What own serializers write: nothing, text, and snapshots of others.
fn bodies() -> Vec<Vec<u8>> {
    let mut nested = vec![0, 0, 0, 2];
    i64::serializer_snapshot()
        .write_enclosed(&mut nested)
        .unwrap();
    let mut named = vec![0, 14];
    named.extend(b"VALUE_SERIALIZ");
    named.extend([0; 40]);
    vec![vec![], vec![0; 4], nested, named]
}

/// Three states, and a header that `change` has made another one.
fn file(change: impl Fn(&mut KeyedHeader)) -> (Vec<u8>, KeyGroupOffsets) {
    let backend = standing::backend::<String>(MAX_PARALLELISM, range());
    let mut a = backend.value_state::<i64>("a").unwrap();
    let mut b = backend.value_state::<String>("b").unwrap();
    let mut c = backend.list_state::<i64>("c").unwrap();
    for number in 0..40 {
        let key = format!("key {number}");
        backend.set_current_key(&key, backend.key_group(&key));
        a.update(number);
        b.update(format!("value {number}"));
        c.add(number);
    }
    let mut bytes = Vec::new();
    let written = backend.freeze().write(&mut bytes).unwrap();
    let mut input = ByteReader::new(&bytes);
    let mut header = KeyedHeader::read(&mut input).unwrap();
    let data = input.rest();
    change(&mut header);
    let mut changed = Vec::new();
    header.write(&mut changed).unwrap();
    let longer = changed.len() as i64 - input.position() as i64;
    changed.extend_from_slice(data);
    let mut groups = written.groups;
    for offset in groups.offsets.iter_mut().filter(|offset| **offset > 0) {
        *offset += longer;
    }
    (changed, groups)
}

fn open(bytes: &[u8], groups: &KeyGroupOffsets) -> Result<KeyedReader, millpond_snapshot::Error> {
    let source = StateSource::of_bytes("state", bytes.to_vec());
    CanonicalReader::open(source, groups, range(), MAX_PARALLELISM).map(KeyedReader::Canonical)
}

/// Restores `a`, carries the rest on, and returns what is written then.
fn carried_on(bytes: &[u8], groups: &KeyGroupOffsets) -> (KeyedHeader, usize) {
    let backend = standing::backend::<String>(MAX_PARALLELISM, range());
    let a = backend.value_state::<i64>("a").unwrap();
    backend
        .restore_entries(&mut open(bytes, groups).unwrap())
        .unwrap();
    let key = "key 7".to_owned();
    backend.set_current_key(&key, backend.key_group(&key));
    assert_eq!(a.value(), Some(7));
    let mut again = Vec::new();
    let written = backend.freeze().write(&mut again).unwrap();
    let mut reader = open(&again, &written.groups).unwrap();
    let header = reader.header().clone();
    let mut entries = 0;
    while reader.next_entry().unwrap().is_some() {
        entries += 1;
    }
    (header, entries)
}

#[test]
fn a_state_with_an_unknown_serializer_is_carried_on_wherever_the_class_stands() {
    standing::on_each(|| {
        type Place = fn(SerializerSnapshot) -> SerializerSnapshot;
        let places: [Place; 5] = [
            |unknown| unknown,
            SerializerSnapshot::list,
            |unknown| SerializerSnapshot::map(String::serializer_snapshot(), unknown),
            |unknown| SerializerSnapshot::map(unknown, i64::serializer_snapshot()),
            |unknown| {
                let text = String::serializer_snapshot;
                SerializerSnapshot::tuple(vec![text(), unknown, text()])
            },
        ];
        for body in bodies() {
            for place in places {
                for which in ["b", "c"] {
                    let serializer = place(unknown(body.clone()));
                    let (bytes, groups) = file(|header| {
                        let state = header.states.iter_mut().find(|state| state.name == which);
                        let serializers = &mut state.unwrap().serializers;
                        let value = serializers
                            .iter_mut()
                            .find(|(name, _)| name == "VALUE_SERIALIZER");
                        value.unwrap().1 = serializer.clone();
                    });
                    let read = open(&bytes, &groups).unwrap();
                    let (written, entries) = carried_on(&bytes, &groups);
                    assert_eq!(entries, 120);
                    for state in &read.header().states {
                        let same = written.states.iter().find(|found| found.name == state.name);
                        let same = same.unwrap().value_serializer().unwrap();
                        assert_eq!(same, state.value_serializer().unwrap());
                    }
                    let found = written.states.iter().find(|state| state.name == which);
                    assert_eq!(found.unwrap().value_serializer().unwrap(), &serializer);
                }
            }
        }
    });
}

#[test]
fn several_states_with_unknown_serializers_are_carried_on() {
    standing::on_each(|| {
        let (bytes, groups) = file(|header| {
            for (state, body) in header
                .states
                .iter_mut()
                .filter(|state| state.name != "a")
                .zip(bodies())
            {
                for (_, serializer) in state
                    .serializers
                    .iter_mut()
                    .filter(|(name, _)| name.starts_with('V'))
                {
                    *serializer = unknown(body.clone());
                }
            }
        });
        let (written, entries) = carried_on(&bytes, &groups);
        assert_eq!(entries, 120);
        for (name, body) in ["b", "c"].into_iter().zip(bodies()) {
            let state = written
                .states
                .iter()
                .find(|state| state.name == name)
                .unwrap();
            assert_eq!(state.value_serializer().unwrap(), &unknown(body));
        }
    });
}

#[test]
fn a_state_of_an_unknown_serializer_is_not_read_as_something_else() {
    standing::on_each(|| {
        let (bytes, groups) = file(|header| {
            let state = header
                .states
                .iter_mut()
                .find(|state| state.name == "b")
                .unwrap();
            for (_, serializer) in state
                .serializers
                .iter_mut()
                .filter(|(name, _)| name.starts_with('V'))
            {
                *serializer = unknown(vec![1]);
            }
        });
        let backend = standing::backend::<String>(MAX_PARALLELISM, range());
        backend
            .restore_entries(&mut open(&bytes, &groups).unwrap())
            .unwrap();
        let error = backend.value_state::<String>("b").unwrap_err().to_string();
        assert!(error.contains("state \"b\""), "{error}");
        assert!(error.contains("OwnSerializer"), "{error}");
    });
}

#[test]
fn an_unknown_serializer_of_keys_is_refused_by_name() {
    let (bytes, groups) = file(|header| header.key_serializer = unknown(vec![1, 2, 3]));
    let backend = standing::backend::<String>(MAX_PARALLELISM, range());
    let error = backend
        .restore_entries(&mut open(&bytes, &groups).unwrap())
        .unwrap_err();
    assert!(error.to_string().contains("OwnSerializer"), "{error}");
}

#[test]
fn a_header_that_can_be_read_in_two_ways_is_refused() {
    // Behind one body of unknown length another one follows: each byte between may be of either.
    let (bytes, groups) = file(|header| {
        let state = header
            .states
            .iter_mut()
            .find(|state| state.name == "b")
            .unwrap();
        for (_, serializer) in state
            .serializers
            .iter_mut()
            .filter(|(name, _)| name.starts_with('V'))
        {
            let mut first = unknown(vec![]);
            let mut second = Vec::new();
            unknown(vec![]).write(&mut second).unwrap();
            second.extend(unknown_bytes());
            if let SnapshotBody::Opaque { body } = &mut first.body {
                *body = second;
            }
            *serializer = SerializerSnapshot::tuple(vec![first, unknown(vec![])]);
        }
    });
    let error = open(&bytes, &groups).map(drop).unwrap_err();
    let expected = "serializer snapshot class \"com.acme.OwnSerializer$OwnSnapshot\"";
    assert!(error.to_string().contains(expected), "{error}");
}

fn unknown_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    unknown(vec![]).write(&mut bytes).unwrap();
    bytes
}

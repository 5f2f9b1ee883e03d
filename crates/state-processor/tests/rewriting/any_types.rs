//! State of any types, of any kind, is equal in every format and through every rescale and rehash.
//!
//! Types are drawn too: base types, and tuples, POJOs, rows, lists, sets, maps, enums, nullable
//! values and `Either` of others; keys of every type whose hash code is known. States have a kind,
//! a namespace and perhaps a time-to-live; there are timers. What is expected is said by bytes that
//! this test puts together itself. `MILLPOND_FUZZ_SECONDS` (default 2) bounds it, and
//! `MILLPOND_FUZZ_SEED` repeats what failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{FileSystem, Location};
use millpond_serializer::value::{
    BigDecimal, BigInteger, EnumShape, LocalDate, LocalTime, PrimitiveArray, Record, RecordShape,
};
use millpond_serializer::{
    Character, Date, Double, FlinkType, Float, Instant, LocalDate as Day, LocalTime as Time,
    OptionalEntry, PrimitiveArray as Array, SerializerSnapshot, Value, ValueCodec, encode_value,
};
use millpond_snapshot::{
    KeyedFormat, KeyedHandle, KeyedHeader, KeyedStateType, KeyedWriter, LoadedSnapshot, Metadata,
    OperatorSnapshot, StateMeta, StreamHandle, SubtaskSnapshot, is_ambiguous, load, put_length,
};
use millpond_state_processor::{
    ConvertOptions, OpenSnapshot, Progress, RehashOptions, Threads, convert, rehash, verify,
};
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{Content, content};
use crate::search::search;

/// A type: its serializer, and its values.
#[derive(Clone, Debug)]
struct Type {
    serializer: SerializerSnapshot,
    values: BoxedStrategy<Value>,
}

fn of<T: FlinkType>(values: impl Strategy<Value = Value> + 'static) -> Type {
    Type {
        serializer: T::serializer_snapshot(),
        values: values.boxed(),
    }
}

fn text() -> impl Strategy<Value = String> {
    // Delimiters of lists, texts that begin alike, and characters of every width.
    prop_oneof!["[a-c,]{0,3}", "k[0-9]{1,3}", "[é\u{1f600}\u{0}x]{0,3}"]
}

fn big() -> impl Strategy<Value = BigInteger> {
    ("-?[1-9][0-9]{0,30}", any::<i64>()).prop_map(|(digits, short)| match short % 3 {
        0 => BigInteger::from(short),
        _ => BigInteger::parse(&digits).expect("digits"),
    })
}

fn date() -> impl Strategy<Value = LocalDate> {
    (-9999..=9999i32, 1..=12u8, 1..=28u8).prop_map(|(year, month, day)| LocalDate {
        year,
        month,
        day,
    })
}

fn time() -> impl Strategy<Value = LocalTime> {
    let parts = (0..24u8, 0..60u8, 0..60u8, 0..1_000_000_000i32);
    parts.prop_map(|(hour, minute, second, nano)| LocalTime {
        hour,
        minute,
        second,
        nano,
    })
}

/// Types whose Java hash code is known, so that a key can be of them.
fn hashable() -> Vec<Type> {
    vec![
        of::<i64>(any::<i64>().prop_map(Value::Long)),
        of::<i32>(any::<i32>().prop_map(Value::Int)),
        of::<i16>(any::<i16>().prop_map(Value::Short)),
        of::<i8>(any::<i8>().prop_map(Value::Byte)),
        of::<bool>(any::<bool>().prop_map(Value::Boolean)),
        of::<Double>(any::<f64>().prop_map(Value::Double)),
        of::<Float>(any::<f32>().prop_map(Value::Float)),
        of::<Character>(any::<u16>().prop_map(Value::Char)),
        of::<String>(text().prop_map(Value::String)),
        of::<millpond_serializer::BigInteger>(big().prop_map(Value::BigInteger)),
        of::<millpond_serializer::BigDecimal>((big(), -9..9i32).prop_map(|(unscaled, scale)| {
            Value::BigDecimal(Box::new(BigDecimal { unscaled, scale }))
        })),
        of::<Instant>(
            (-99_999_999_999i64..99_999_999_999, 0..1_000_000_000i32)
                .prop_map(|(seconds, nanos)| Value::Instant { seconds, nanos }),
        ),
        of::<Day>(date().prop_map(Value::LocalDate)),
        of::<Time>(time().prop_map(Value::LocalTime)),
        of::<Date>(any::<i64>().prop_map(Value::Date)),
    ]
}

fn leaves() -> Vec<Type> {
    let mut leaves = hashable();
    let constants = ["LOW", "HIGH", "NONE"];
    let declared = Arc::new(EnumShape {
        class: "com.example.Level".to_owned(),
        constants: constants.map(str::to_owned).to_vec(),
    });
    leaves.push(of::<Vec<u8>>(vec(any::<u8>(), 0..5).prop_map(Value::Bytes)));
    leaves.push(of::<Array<i32>>(
        vec(any::<i32>(), 0..4).prop_map(|items| Value::Array(PrimitiveArray::Int(items))),
    ));
    leaves.push(Type {
        serializer: SerializerSnapshot::java_enum("com.example.Level", &constants),
        values: (0..3u32)
            .prop_map(move |index| Value::Enum {
                declared: declared.clone(),
                index,
            })
            .boxed(),
    });
    leaves
}

fn all(types: &[Type]) -> impl Strategy<Value = Vec<Value>> + use<> {
    types
        .iter()
        .map(|one| one.values.clone())
        .collect::<Vec<_>>()
}

fn tuple(types: Vec<Type>) -> Type {
    Type {
        values: all(&types).prop_map(Value::Tuple).boxed(),
        serializer: SerializerSnapshot::tuple(serializers(types)),
    }
}

fn row(types: Vec<Type>) -> Type {
    Type {
        values: (0..4u8, all(&types))
            .prop_map(|(kind, fields)| Value::Row { kind, fields })
            .boxed(),
        serializer: SerializerSnapshot::row(serializers(types)),
    }
}

fn pojo(types: Vec<Type>) -> Type {
    let class = format!("com.example.Of{}", types.len());
    let names: Vec<String> = (0..types.len())
        .map(|index| format!("field{index}"))
        .collect();
    let shape = Arc::new(RecordShape {
        class: class.clone(),
        names: names.clone(),
    });
    let values = all(&types).prop_map(move |fields| {
        Value::Record(Record {
            shape: shape.clone(),
            fields,
        })
    });
    let fields = names.into_iter().zip(serializers(types));
    let fields = fields.map(|(name, serializer)| OptionalEntry {
        name,
        key: None,
        value: Some(serializer),
    });
    Type {
        values: values.boxed(),
        serializer: SerializerSnapshot::pojo(&class, fields.collect()),
    }
}

fn serializers(types: Vec<Type>) -> Vec<SerializerSnapshot> {
    types.into_iter().map(|one| one.serializer).collect()
}

/// Only one of each value, as far as its bytes tell.
fn distinct(of: &SerializerSnapshot, values: Vec<Value>) -> Vec<Value> {
    let by_bytes = values.into_iter().map(|value| (bytes(of, &value), value));
    by_bytes.collect::<BTreeMap<_, _>>().into_values().collect()
}

fn collection(one: Type, other: Type, which: u8) -> Type {
    let many = vec(one.values.clone(), 0..4);
    let inner = one.serializer.clone();
    match which {
        0 => Type {
            values: many.prop_map(Value::List).boxed(),
            serializer: SerializerSnapshot::list(one.serializer),
        },
        1 => Type {
            values: many
                .prop_map(move |items| Value::Set(distinct(&inner, items)))
                .boxed(),
            serializer: SerializerSnapshot::set(one.serializer),
        },
        2 => Type {
            values: (many, vec(other.values, 3))
                .prop_map(move |(keys, values)| {
                    Value::Map(distinct(&inner, keys).into_iter().zip(values).collect())
                })
                .boxed(),
            serializer: SerializerSnapshot::map(one.serializer, other.serializer),
        },
        3 => Type {
            values: prop_oneof![
                one.values.prop_map(|value| Value::Left(Box::new(value))),
                other.values.prop_map(|value| Value::Right(Box::new(value))),
            ]
            .boxed(),
            serializer: SerializerSnapshot::either(one.serializer, other.serializer),
        },
        _ => Type {
            values: prop_oneof![Just(Value::Null), one.values].boxed(),
            serializer: SerializerSnapshot::nullable(one.serializer),
        },
    }
}

fn types() -> impl Strategy<Value = Type> {
    let leaf = prop::sample::select(leaves());
    leaf.prop_recursive(3, 12, 3, |inner| {
        let fields = vec(inner.clone(), 1..4);
        prop_oneof![
            fields.clone().prop_map(tuple),
            fields.clone().prop_map(row),
            fields.prop_map(pojo),
            (inner.clone(), inner, 0..5u8)
                .prop_map(|(one, other, which)| { collection(one, other, which) }),
        ]
    })
}

fn key_types() -> impl Strategy<Value = Type> {
    let leaf = prop::sample::select(hashable());
    prop_oneof![
        leaf.clone(),
        vec(leaf.clone(), 1..4).prop_map(tuple),
        leaf.prop_map(|one| collection(one.clone(), one, 0)),
    ]
}

/// The namespaces of a state.
#[derive(Clone, Copy, Debug)]
enum Namespaces {
    /// There is one.
    Void,
    Windows,
    /// Of any length, so that keys carry lengths.
    Texts,
}

impl Namespaces {
    fn serializer(self) -> SerializerSnapshot {
        match self {
            Namespaces::Void => SerializerSnapshot::void_namespace(),
            Namespaces::Windows => SerializerSnapshot::time_window(),
            Namespaces::Texts => String::serializer_snapshot(),
        }
    }

    fn value(self, number: i64) -> Value {
        match self {
            Namespaces::Void => Value::Null,
            Namespaces::Windows => Value::TimeWindow {
                start: number * 10,
                end: number * 10 + 10,
            },
            Namespaces::Texts => Value::String("n".repeat(number as usize)),
        }
    }
}

/// A state, and what it holds.
#[derive(Clone, Debug)]
struct State {
    kind: KeyedStateType,
    namespaces: Namespaces,
    ttl: bool,
    value: SerializerSnapshot,
    user_key: SerializerSnapshot,
    /// The number of a key, that of a namespace, and what is there: parts of a list, entries of a
    /// map, of which a value may be null, or a value.
    content: Vec<(usize, i64, Vec<Part>)>,
}

#[derive(Clone, Debug)]
struct Part {
    user_key: Value,
    value: Value,
    is_null: bool,
    last_access: i64,
}

fn states() -> impl Strategy<Value = State> {
    let kinds = prop::sample::select(vec![
        KeyedStateType::Value,
        KeyedStateType::List,
        KeyedStateType::Map,
        KeyedStateType::Reducing,
        KeyedStateType::Aggregating,
    ]);
    let namespaces = prop::sample::select(vec![
        Namespaces::Void,
        Namespaces::Windows,
        Namespaces::Texts,
    ]);
    (kinds, namespaces, any::<bool>(), types(), types()).prop_flat_map(
        |(kind, namespaces, ttl, value, user_key)| {
            let part = (user_key.values, value.values, any::<bool>(), any::<i64>());
            let part = part.prop_map(|(user_key, value, is_null, last_access)| Part {
                user_key,
                value,
                is_null,
                last_access,
            });
            let content = vec((0..KEYS, 0..3i64, vec(part, 1..4)), 0..12);
            content.prop_map(move |content| State {
                kind,
                namespaces,
                ttl,
                value: value.serializer.clone(),
                user_key: user_key.serializer.clone(),
                content,
            })
        },
    )
}

const KEYS: usize = 8;

/// An operator: its keys, its states, and its timers by key and time.
#[derive(Clone, Debug)]
struct Operator {
    key: SerializerSnapshot,
    keys: Vec<Value>,
    states: Vec<State>,
    timers: Vec<(usize, i64)>,
}

fn operators() -> impl Strategy<Value = Operator> {
    let keys = key_types().prop_flat_map(|key| (Just(key.serializer), vec(key.values, KEYS)));
    let timers = vec((0..KEYS, any::<i64>()), 0..6);
    (keys, vec(states(), 1..4), timers).prop_map(|((key, keys), states, timers)| Operator {
        key,
        keys,
        states,
        timers,
    })
}

fn bytes(of: &SerializerSnapshot, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode_value(of, value, &mut out)
        .unwrap_or_else(|error| panic!("{value:?} is no {}: {error}", of.describe()));
    out
}

impl State {
    fn part(&self) -> SerializerSnapshot {
        match self.ttl {
            true => SerializerSnapshot::ttl(self.value.clone()),
            false => self.value.clone(),
        }
    }

    fn meta(&self, index: usize) -> StateMeta {
        let whole = match self.kind {
            KeyedStateType::List => SerializerSnapshot::list(self.part()),
            KeyedStateType::Map => SerializerSnapshot::map(self.user_key.clone(), self.part()),
            KeyedStateType::Value
            | KeyedStateType::Reducing
            | KeyedStateType::Folding
            | KeyedStateType::Aggregating => self.part(),
        };
        let namespace = self.namespaces.serializer();
        StateMeta::key_value(&format!("state-{index}"), self.kind, namespace, whole)
    }

    fn part_bytes(&self, part: &Part) -> Vec<u8> {
        let value = match self.ttl {
            true => Value::Ttl {
                last_access: part.last_access,
                value: Box::new(part.value.clone()),
            },
            false => part.value.clone(),
        };
        bytes(&self.part(), &value)
    }

    /// The entries of one key and namespace: what follows the namespace, and the value.
    fn entries(&self, parts: &[Part]) -> Vec<(Vec<u8>, Vec<u8>)> {
        match self.kind {
            KeyedStateType::List => {
                let all: Vec<_> = parts.iter().map(|part| self.part_bytes(part)).collect();
                vec![(Vec::new(), all.join(&b','))]
            }
            KeyedStateType::Map => parts
                .iter()
                .map(|part| {
                    let value = match part.is_null {
                        true => vec![1],
                        false => [vec![0], self.part_bytes(part)].concat(),
                    };
                    (bytes(&self.user_key, &part.user_key), value)
                })
                .collect(),
            KeyedStateType::Value
            | KeyedStateType::Reducing
            | KeyedStateType::Folding
            | KeyedStateType::Aggregating => vec![(Vec::new(), self.part_bytes(&parts[0]))],
        }
    }
}

/// The entries of each key group and state, keys and values.
type ByPlace<'a> = BTreeMap<(u16, usize), Vec<(&'a [u8], &'a [u8])>>;

/// State, key and value of each entry, by the number of its key.
type Entries = BTreeMap<(usize, Vec<u8>), (usize, Vec<u8>)>;

impl Operator {
    fn header(&self) -> KeyedHeader {
        let states = self.states.iter().enumerate();
        let mut states: Vec<_> = states.map(|(index, state)| state.meta(index)).collect();
        states.push(StateMeta::priority_queue(
            "_timer_state/event_user-timers",
            self.timer(),
        ));
        KeyedHeader {
            compressed: false,
            key_serializer: self.key.clone(),
            states,
        }
    }

    fn timer(&self) -> SerializerSnapshot {
        SerializerSnapshot::timer(self.key.clone(), SerializerSnapshot::void_namespace())
    }

    fn entries(&self) -> Entries {
        let mut entries = Entries::new();
        for (index, state) in self.states.iter().enumerate() {
            let namespace = state.namespaces.serializer();
            let ambiguous = is_ambiguous(&self.key, &namespace);
            for (key, number, parts) in &state.content {
                let mut head = Vec::new();
                for part in [
                    bytes(&self.key, &self.keys[*key]),
                    bytes(&namespace, &state.namespaces.value(*number)),
                ] {
                    head.extend_from_slice(&part);
                    if ambiguous {
                        put_length(part.len(), &mut head);
                    }
                }
                for (user_key, value) in state.entries(parts) {
                    let entry = (index, [&head[..], &user_key].concat());
                    entries.insert(entry, (*key, value));
                }
            }
        }
        for (key, timestamp) in &self.timers {
            let timer = Value::Timer {
                timestamp: *timestamp,
                key: Box::new(self.keys[*key].clone()),
                namespace: Box::new(Value::Null),
            };
            let entry = (self.states.len(), bytes(&self.timer(), &timer));
            entries.insert(entry, (*key, Vec::new()));
        }
        entries
    }

    fn group(&self, key: usize, max: u32) -> KeyGroup {
        let codec = ValueCodec::new(&self.key);
        let hash = codec.hash_code(&self.keys[key]);
        KeyGroup::of_hash(hash.expect("keys have one"), max)
    }

    fn expected(&self, max: u32) -> Content {
        let (id, header) = (OperatorId::of_uid("op").to_string(), self.header());
        let rows = self
            .entries()
            .into_iter()
            .map(|((state, key), (number, value))| {
                let name = header.states[state].name.clone();
                (id.clone(), name, self.group(number, max).0, key, value)
            });
        let mut content = Content {
            keyed: rows.collect(),
            ..Content::default()
        };
        content.keyed.sort();
        content
    }

    fn write(&self, (parallelism, max): (u32, u32), format: KeyedFormat) -> Vec<u8> {
        let (header, entries) = (self.header(), self.entries());
        let mut operator = OperatorSnapshot::new(OperatorId::of_uid("op"), parallelism, max);
        for subtask in 0..parallelism {
            let range = KeyGroupRange::of_subtask(subtask, parallelism, max);
            let mut writer =
                KeyedWriter::new(format, Vec::new(), &header, range, max).expect("short names");
            let mut by_place = ByPlace::new();
            for ((state, key), (number, value)) in &entries {
                let group = self.group(*number, max);
                if range.contains(group) {
                    let place = by_place.entry((group.0, *state)).or_default();
                    place.push((key, value));
                }
            }
            for ((group, state), entries) in by_place {
                writer.begin_state(KeyGroup(group), state).expect("memory");
                for (key, value) in entries {
                    writer
                        .raw_entry(key, value)
                        .expect("an entry of this state");
                }
            }
            let written = writer.finish().expect("memory");
            let handle = KeyedHandle::KeyGroups {
                kind: format.handle_kind(|| "00000000-0000-0000-0000-000000000000".to_owned()),
                groups: written.groups,
                stream: StreamHandle::Bytes {
                    name: "state".to_owned(),
                    data: written.out,
                },
            };
            let subtask_state = SubtaskSnapshot {
                managed_keyed: Some(handle),
                ..SubtaskSnapshot::default()
            };
            operator.subtasks.push((subtask, subtask_state));
        }
        let mut metadata = Metadata::new(1);
        metadata.operators.push(operator);
        metadata.write().expect("version 3")
    }
}

fn parallelisms() -> impl Strategy<Value = (u32, u32)> {
    let max = prop_oneof![Just(1u32), Just(127), Just(128), Just(129), 1..600u32];
    max.prop_flat_map(|max| (1..=max.min(4), Just(max)))
}

fn formats() -> impl Strategy<Value = KeyedFormat> {
    prop_oneof![Just(KeyedFormat::Canonical), Just(KeyedFormat::NativeHeap)]
}

fn sound(snapshot: &LoadedSnapshot, fs: &Arc<dyn FileSystem>, at: &Location) {
    let loaded = load(fs.clone(), at).expect("whole");
    assert!(snapshot.verify().is_empty(), "{:?}", snapshot.verify());
    let one = Threads(std::num::NonZero::new(1).expect("not zero"));
    let found = verify(&OpenSnapshot::of_loaded(loaded), one, &Progress::default());
    let found = found.expect("it can be read");
    assert!(found.sound, "{:?}", found.problems);
}

/// One operator, and all that is done with it.
#[derive(Clone, Debug)]
struct Case {
    operator: Operator,
    /// Parallelism and maximum parallelism.
    written: (u32, u32),
    format: KeyedFormat,
    other_format: KeyedFormat,
    parallelism: u32,
    max: u32,
}

fn cases() -> impl Strategy<Value = Case> {
    let written = (operators(), parallelisms(), formats());
    (written, formats(), 1..5u32, 5..600u32).prop_map(
        |((operator, written, format), other_format, parallelism, max)| Case {
            operator,
            written,
            format,
            other_format,
            parallelism,
            max,
        },
    )
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let (operator, written) = (&case.operator, case.written);
    let fs: Arc<dyn FileSystem> = Arc::new(MemoryFileSystem::new());
    let directory = |name: &str| Location::parse("/snapshots").expect("a path").join(name);
    let at = directory("first");
    fs.write_atomic(&at.join("_metadata"), &operator.write(written, case.format))
        .expect("memory");
    let first = load(fs.clone(), &at).expect("whole");
    sound(&first, &fs, &at);
    prop_assert_eq!(content(&first), operator.expected(written.1));

    let options = ConvertOptions {
        format: Some(case.other_format),
        parallelism: Some(case.parallelism.min(written.1)),
        ..ConvertOptions::default()
    };
    let at = directory("converted");
    convert(&first, fs.clone(), &at, &options).expect("fits");
    let converted = load(fs.clone(), &at).expect("whole");
    sound(&converted, &fs, &at);
    prop_assert_eq!(content(&converted), operator.expected(written.1));

    let options = RehashOptions {
        max_parallelism: case.max,
        for_flink: None,
    };
    let at = directory("rehashed");
    rehash(&converted, fs.clone(), &at, &options).expect("fits");
    let rehashed = load(fs.clone(), &at).expect("whole");
    sound(&rehashed, &fs, &at);
    prop_assert_eq!(content(&rehashed), operator.expected(case.max));
    Ok(())
}

#[test]
fn any_types_of_any_kind_are_equal_in_every_format_and_through_every_rescale() {
    let checked = search(&cases(), |case| check(&case));
    println!("{checked} cases");
}

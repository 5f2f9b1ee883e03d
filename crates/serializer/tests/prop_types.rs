//! Any value of a tree of types is read as it was written, and damaged bytes never cost more than an
//! error.
//!
//! The tree has every kind of type below every other one that matters: a struct of structs, enums,
//! collections in collections, rows, arrays, and what may be null in its three ways.

use millpond_serializer::{
    BigDecimal, BigInteger, ByteReader, Character, Double, Either, FlinkEnum, FlinkPojo, FlinkType,
    Instant, LocalDate, LocalDateTime, LocalTime, ObjectArray, PrimitiveArray, Row, RowKind,
    SerializerSnapshot, SqlTimestamp, StringArray, Tuple13, ValueCodec, skip_value,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(FlinkEnum, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[flink(crate = "millpond_serializer")]
enum Color {
    Red,
    DarkRed,
}

#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(crate = "millpond_serializer")]
struct Leaf {
    text: Option<String>,
    number: i32,
    color: Option<Color>,
    list: Vec<Option<i64>>,
    map: BTreeMap<String, Option<Double>>,
    set: Option<BTreeSet<i16>>,
}

type Wide = Tuple13<i64, i64, bool, i8, i16, i32, Double, Character, String, i64, i64, i64, i64>;

#[derive(FlinkPojo, Clone, Debug, PartialEq)]
#[flink(crate = "millpond_serializer")]
struct Tree {
    leaves: Vec<Leaf>,
    array: ObjectArray<Leaf>,
    by_color: BTreeMap<Color, Vec<Leaf>>,
    either: Either<BigDecimal, LocalDateTime>,
    row: Row<(Option<String>, Option<Leaf>, Option<bool>)>,
    tuple: (i8, Option<Leaf>, BTreeSet<Option<String>>),
    wide: Wide,
    texts: StringArray,
    shorts: PrimitiveArray<i16>,
    bytes: Option<Vec<u8>>,
    instant: Instant,
    stamp: Option<SqlTimestamp>,
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..6).prop_map(|characters| characters.into_iter().collect())
}

fn color() -> impl Strategy<Value = Color> {
    prop_oneof![Just(Color::Red), Just(Color::DarkRed)]
}

fn maybe<T: std::fmt::Debug + Clone>(
    some: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    proptest::option::of(some)
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let parts = (
        maybe(text()),
        any::<i32>(),
        maybe(color()),
        vec(any::<Option<i64>>(), 0..4),
        btree_map(text(), maybe(any::<f64>().prop_map(Double)), 0..4),
        maybe(btree_set(any::<i16>(), 0..4)),
    );
    parts.prop_map(|(text, number, color, list, map, set)| Leaf {
        text,
        number,
        color,
        list,
        map,
        set,
    })
}

fn decimal() -> impl Strategy<Value = BigDecimal> {
    (vec(any::<u8>(), 0..20), any::<i32>())
        .prop_map(|(bytes, scale)| BigDecimal::new(BigInteger::from_signed_bytes_be(&bytes), scale))
}

fn date_time() -> impl Strategy<Value = LocalDateTime> {
    let date = (-999_999_999..=999_999_999i32, 1..=12u8, 1..=28u8);
    let time = (0..24u8, 0..60u8, 0..60u8, 0..1_000_000_000u32);
    (date, time).prop_map(
        |((year, month, day), (hour, minute, second, nano))| LocalDateTime {
            date: LocalDate::new(year, month, day).expect("a day"),
            time: LocalTime::new(hour, minute, second, nano).expect("a time"),
        },
    )
}

fn row() -> impl Strategy<Value = Row<(Option<String>, Option<Leaf>, Option<bool>)>> {
    let kind = prop_oneof![
        Just(RowKind::Insert),
        Just(RowKind::UpdateBefore),
        Just(RowKind::UpdateAfter),
        Just(RowKind::Delete)
    ];
    let fields = (maybe(text()), maybe(leaf()), any::<Option<bool>>());
    (kind, fields).prop_map(|(kind, fields)| Row { kind, fields })
}

fn tree() -> impl Strategy<Value = Tree> {
    let either = prop_oneof![
        decimal().prop_map(Either::Left),
        date_time().prop_map(Either::Right)
    ];
    let tuple = (any::<i8>(), maybe(leaf()), btree_set(maybe(text()), 0..4));
    let wide = (any::<[i64; 6]>(), any::<bool>(), any::<u16>(), text()).prop_map(
        |([a, b, c, d, e, f], flag, unit, text)| {
            let float = Double(f64::from_bits(a as u64));
            let unit = Character(unit);
            Tuple13(
                a, b, flag, a as i8, b as i16, c as i32, float, unit, text, c, d, e, f,
            )
        },
    );
    let first = (
        vec(leaf(), 0..3),
        vec(maybe(leaf()), 0..3),
        btree_map(color(), vec(leaf(), 0..2), 0..3),
        either,
        row(),
        tuple,
        wide,
    );
    let second = (
        vec(maybe(text()), 0..4),
        vec(any::<i16>(), 0..4),
        any::<Option<Vec<u8>>>(),
        (-1_000_000i64..1_000_000, 0..1_000_000_000u32),
        maybe((any::<i32>(), 0..1_000_000_000u32)),
    );
    (first, second).prop_map(|(first, second)| {
        let (leaves, array, by_color, either, row, tuple, wide) = first;
        let (texts, shorts, bytes, (seconds, nanos), stamp) = second;
        Tree {
            leaves,
            array: array.into(),
            by_color,
            either,
            row,
            tuple,
            wide,
            texts: StringArray(texts),
            shorts: shorts.into(),
            bytes,
            instant: Instant::new(seconds, nanos).expect("an instant"),
            stamp: stamp.map(|(millis, nanos)| {
                SqlTimestamp::new(i64::from(millis), nanos).expect("a timestamp")
            }),
        }
    })
}

fn written(tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    tree.write(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn any_value_is_read_as_it_was_written(tree in tree()) {
        let bytes = written(&tree);
        let mut input = ByteReader::new(&bytes);
        prop_assert_eq!(&Tree::read(&mut input).expect("a tree"), &tree);
        prop_assert!(input.is_empty());
        // By a plan, as for a changed type.
        let snapshot = Tree::serializer_snapshot();
        let reader = Tree::converter(&snapshot).expect("the same type");
        let mut input = ByteReader::new(&bytes);
        prop_assert_eq!(&reader.read(&mut input).expect("a tree"), &tree);
        prop_assert!(input.is_empty());
        // Without the type.
        let mut input = ByteReader::new(&bytes);
        skip_value(&snapshot, &mut input).expect("a tree");
        prop_assert!(input.is_empty());
        let codec = ValueCodec::new(&snapshot);
        let value = codec.decode(&mut ByteReader::new(&bytes)).expect("a tree");
        let mut again = Vec::new();
        codec.encode(&value, &mut again).expect("a tree");
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn damaged_values_are_errors_or_values_and_no_panic(
        tree in tree(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = written(&tree);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let snapshot = Tree::serializer_snapshot();
        let reader = Tree::converter(&snapshot).expect("the same type");
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            let direct = Tree::read(&mut ByteReader::new(bytes));
            let planned = reader.read(&mut ByteReader::new(bytes));
            prop_assert_eq!(direct.is_ok(), planned.is_ok());
        }
    }

    #[test]
    fn damaged_descriptions_are_errors_or_plans_and_no_panic(
        tree in tree(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let mut description = Vec::new();
        Tree::serializer_snapshot().write(&mut description).expect("short names");
        for (at, byte) in damage {
            let at = at.index(description.len());
            description[at] = byte;
        }
        let bytes = written(&tree);
        if let Ok(previous) = SerializerSnapshot::read(&mut ByteReader::new(&description)) {
            for reader in [Tree::reader(&previous), Tree::converter(&previous)].into_iter().flatten() {
                // It may be another value, or none: the description is another one.
                let _either = reader.read(&mut ByteReader::new(&bytes));
            }
        }
    }
}

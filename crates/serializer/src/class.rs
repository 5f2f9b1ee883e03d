//! The snapshot classes of Flink's serializers that Millpond knows, and how their values lie.
//!
//! Source: Flink 2.3.0, the classes themselves; the names are equal from 1.15 on.

/// Prefix of the serializers of base types.
pub(crate) const BASE: &str = "org.apache.flink.api.common.typeutils.base.";
/// Prefix of the serializers of primitive arrays.
pub(crate) const ARRAY: &str = "org.apache.flink.api.common.typeutils.base.array.";
/// Prefix of the serializers of composed types.
pub(crate) const RUNTIME: &str = "org.apache.flink.api.java.typeutils.runtime.";
/// Prefix of the serializers of the state backends.
pub(crate) const STATE: &str = "org.apache.flink.runtime.state.";
/// Prefix of the serializers of windows.
pub(crate) const WINDOWS: &str = "org.apache.flink.streaming.api.windowing.windows.";
/// The snapshot class of timers.
pub(crate) const TIMER: &str = "org.apache.flink.streaming.api.operators.TimerSerializerSnapshot";
/// The snapshot class of records with their timestamps.
pub(crate) const STREAM_ELEMENT: &str = "org.apache.flink.streaming.runtime.streamrecord.StreamElementSerializer$StreamElementSerializerSnapshot";
/// The snapshot class of Avro.
pub(crate) const AVRO: &str = "org.apache.flink.formats.avro.typeutils.AvroSerializerSnapshot";

/// How the body of a snapshot, and a value, of a class is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// No body; the values are of this layout.
    Simple(Layout),
    /// Nested snapshots.
    Composite(Composite),
    /// Class name and constants.
    Enum,
    /// Class name, fields, subclasses.
    Pojo,
    /// Class name and three opaque maps.
    Kryo,
    /// Class name and schema.
    Avro,
}

/// The values of a serializer without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Always as many bytes; `getLength()` says so too.
    Fixed(usize),
    /// One byte, though `getLength()` says 0.
    VoidNamespace,
    /// A truth value: one byte, 0 or 1.
    Bool,
    /// A text as varints; null is 0.
    Text,
    /// `BigInteger`: i32 L: 0 null, 1 zero, 2 one, 3 ten, else L - 4 bytes.
    BigInt,
    /// `BigDecimal`: `BigInt`, then an i32 scale unless null.
    BigDec,
    /// i32 count, then elements of this many bytes.
    Array(usize),
    /// i32 count, then texts.
    TextArray,
}

/// The serializers with nested ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Composite {
    /// i32 count, elements. Also the `ArrayList` of operator state.
    List,
    /// i32 count, each: key, is-null, value.
    Map,
    /// i32 count, each: is-null, value.
    Set,
    /// i32 count, each: is-present, value. Outer body: component class.
    GenericArray,
    /// Fields in order. Outer body: tuple class.
    Tuple,
    /// Bit mask, then the fields that are not null. Outer body (since version 4): has row kind.
    Row,
    /// is-left, value.
    Either,
    /// is-null, value or padding. Outer body (since version 2): i32 padding.
    Nullable,
    /// i64 last access, value.
    Ttl,
    /// i64 timestamp with the sign bit flipped, key, namespace.
    Timer,
    /// u8 tag: 0 i64 timestamp and value, 1 value alone; others are no record.
    StreamElement,
}

/// What lies between the outer version and the nested snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outer {
    /// Nothing.
    Empty,
    /// A class name as UTF.
    ClassName,
    /// An i32.
    Int,
    /// A truth value.
    Bool,
}

const SIMPLE: &[(&str, &str, Layout)] = &[
    (BASE, "String", Layout::Text),
    (BASE, "Long", Layout::Fixed(8)),
    (BASE, "Int", Layout::Fixed(4)),
    (BASE, "Short", Layout::Fixed(2)),
    (BASE, "Byte", Layout::Fixed(1)),
    (BASE, "Boolean", Layout::Bool),
    (BASE, "Char", Layout::Fixed(2)),
    (BASE, "Double", Layout::Fixed(8)),
    (BASE, "Float", Layout::Fixed(4)),
    (BASE, "BigInt", Layout::BigInt),
    (BASE, "BigDec", Layout::BigDec),
    (BASE, "Instant", Layout::Fixed(12)),
    (BASE, "LocalDate", Layout::Fixed(6)),
    (BASE, "LocalTime", Layout::Fixed(7)),
    (BASE, "LocalDateTime", Layout::Fixed(13)),
    (BASE, "Date", Layout::Fixed(8)),
    (BASE, "SqlDate", Layout::Fixed(8)),
    (BASE, "SqlTime", Layout::Fixed(8)),
    (BASE, "SqlTimestamp", Layout::Fixed(12)),
    (BASE, "Void", Layout::Fixed(1)),
    (BASE, "StringValue", Layout::Text),
    (BASE, "LongValue", Layout::Fixed(8)),
    (BASE, "IntValue", Layout::Fixed(4)),
    (BASE, "ShortValue", Layout::Fixed(2)),
    (BASE, "ByteValue", Layout::Fixed(1)),
    (BASE, "BooleanValue", Layout::Bool),
    (BASE, "CharValue", Layout::Fixed(2)),
    (BASE, "DoubleValue", Layout::Fixed(8)),
    (BASE, "FloatValue", Layout::Fixed(4)),
    (ARRAY, "BytePrimitiveArray", Layout::Array(1)),
    (ARRAY, "BooleanPrimitiveArray", Layout::Array(1)),
    (ARRAY, "ShortPrimitiveArray", Layout::Array(2)),
    (ARRAY, "CharPrimitiveArray", Layout::Array(2)),
    (ARRAY, "IntPrimitiveArray", Layout::Array(4)),
    (ARRAY, "FloatPrimitiveArray", Layout::Array(4)),
    (ARRAY, "LongPrimitiveArray", Layout::Array(8)),
    (ARRAY, "DoublePrimitiveArray", Layout::Array(8)),
    (ARRAY, "StringArray", Layout::TextArray),
    (STATE, "VoidNamespace", Layout::VoidNamespace),
];

/// Returns the snapshot class of a serializer without parameters, such as "Long".
pub(crate) fn simple_class(prefix: &str, name: &str) -> String {
    format!("{prefix}{name}Serializer${name}SerializerSnapshot")
}

/// Returns what is known of a snapshot class.
pub(crate) fn lookup(class: &str) -> Option<Class> {
    simple(class).map(Class::Simple).or_else(|| {
        let base = class.strip_prefix(BASE).and_then(|name| match name {
            "ListSerializerSnapshot" => Some(Class::Composite(Composite::List)),
            "MapSerializerSnapshot" => Some(Class::Composite(Composite::Map)),
            "SetSerializerSnapshot" => Some(Class::Composite(Composite::Set)),
            "GenericArraySerializerSnapshot" => Some(Class::Composite(Composite::GenericArray)),
            "EnumSerializer$EnumSerializerSnapshot" => Some(Class::Enum),
            _ => None,
        });
        let runtime = || {
            class.strip_prefix(RUNTIME).and_then(|name| match name {
                "TupleSerializerSnapshot" => Some(Class::Composite(Composite::Tuple)),
                "RowSerializer$RowSerializerSnapshot" => Some(Class::Composite(Composite::Row)),
                "JavaEitherSerializerSnapshot" => Some(Class::Composite(Composite::Either)),
                "NullableSerializer$NullableSerializerSnapshot" => {
                    Some(Class::Composite(Composite::Nullable))
                }
                "PojoSerializerSnapshot" => Some(Class::Pojo),
                "kryo.KryoSerializerSnapshot" => Some(Class::Kryo),
                _ => None,
            })
        };
        let state = || {
            class.strip_prefix(STATE).and_then(|name| match name {
                "ArrayListSerializerSnapshot" => Some(Class::Composite(Composite::List)),
                "ttl.TtlStateFactory$TtlSerializerSnapshot" => {
                    Some(Class::Composite(Composite::Ttl))
                }
                _ => None,
            })
        };
        let other = || match class {
            TIMER => Some(Class::Composite(Composite::Timer)),
            STREAM_ELEMENT => Some(Class::Composite(Composite::StreamElement)),
            AVRO => Some(Class::Avro),
            _ => None,
        };
        base.or_else(runtime).or_else(state).or_else(other)
    })
}

fn simple(class: &str) -> Option<Layout> {
    simple_entry(class).map(|(_, layout)| layout)
}

/// Returns the name of a serializer without parameters: "Long", "TimeWindow", "Tuple0".
pub(crate) fn simple_name(class: &str) -> Option<&'static str> {
    simple_entry(class).map(|(name, _)| name)
}

fn simple_entry(class: &str) -> Option<(&'static str, Layout)> {
    if let Some(name) = class.strip_prefix(WINDOWS) {
        return match name {
            "TimeWindow$Serializer$TimeWindowSerializerSnapshot" => {
                Some(("TimeWindow", Layout::Fixed(16)))
            }
            "GlobalWindow$Serializer$GlobalWindowSerializerSnapshot" => {
                Some(("GlobalWindow", Layout::Fixed(1)))
            }
            _ => None,
        };
    }
    if class.strip_prefix(RUNTIME) == Some("Tuple0SerializerSnapshot") {
        return Some(("Tuple0", Layout::Fixed(1)));
    }
    let (outside, inside) = class.split_once('$')?;
    let (serializer, name) = (
        outside.rsplit_once('.')?.1,
        inside.strip_suffix("SerializerSnapshot")?,
    );
    if serializer.strip_suffix("Serializer") != Some(name) {
        return None;
    }
    let prefix = &outside[..outside.len() - serializer.len()];
    SIMPLE
        .iter()
        .find(|known| known.0 == prefix && known.1 == name)
        .map(|known| (known.1, known.2))
}

impl Composite {
    /// What the outer body of `version` holds.
    pub(crate) fn outer(self, version: i32) -> Outer {
        match self {
            Composite::GenericArray | Composite::Tuple => Outer::ClassName,
            Composite::Nullable if version >= 2 => Outer::Int,
            Composite::Row if version >= 4 => Outer::Bool,
            Composite::Nullable
            | Composite::Row
            | Composite::List
            | Composite::Map
            | Composite::Set
            | Composite::Either
            | Composite::Ttl
            | Composite::Timer
            | Composite::StreamElement => Outer::Empty,
        }
    }

    /// What the nested serializer at `index` is called in messages; `None` if it is the value itself.
    pub(crate) fn part_name(self, index: usize) -> Option<String> {
        let name = match (self, index) {
            (Composite::Tuple | Composite::Row, _) => return Some(format!("f{index}")),
            (Composite::List | Composite::Set | Composite::GenericArray, _) => "element",
            (Composite::Map | Composite::Timer, 0) => "key",
            (Composite::Map, _) => "value",
            (Composite::Timer, _) => "namespace",
            (Composite::Either, 0) => "left",
            (Composite::Either, _) => "right",
            (Composite::Nullable | Composite::Ttl | Composite::StreamElement, _) => return None,
        };
        Some(name.to_owned())
    }

    /// How many nested serializers there are; `None` if any number.
    pub(crate) fn arity(self) -> Option<usize> {
        match self {
            Composite::List
            | Composite::Set
            | Composite::GenericArray
            | Composite::Nullable
            | Composite::StreamElement => Some(1),
            Composite::Map | Composite::Either | Composite::Ttl | Composite::Timer => Some(2),
            Composite::Tuple | Composite::Row => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_their_full_names_only() {
        for (prefix, name, layout) in SIMPLE {
            assert_eq!(
                lookup(&simple_class(prefix, name)),
                Some(Class::Simple(*layout)),
                "{name}"
            );
        }
        assert_eq!(lookup(TIMER), Some(Class::Composite(Composite::Timer)));
        assert_eq!(lookup("LongSerializer$LongSerializerSnapshot"), None);
        assert_eq!(
            lookup(&format!("{BASE}LongSerializer$IntSerializerSnapshot")),
            None
        );
        assert_eq!(
            lookup(&format!("{STATE}LongSerializer$LongSerializerSnapshot")),
            None
        );
        assert_eq!(lookup(""), None);
    }
}

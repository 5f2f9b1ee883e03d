//! Serializer snapshots: how a serializer describes itself in a header.
//!
//! | name | bytes |
//! | --- | --- |
//! | SNAPSHOT | UTF class, i32 version, body |
//! | ENCLOSED | i32 2, SNAPSHOT |
//! | simple body | version 3: none; version 2: UTF serializer class |
//! | composite body | since version 3: i32 `000DE704`, i32 outer version; then outer body, i32 `001457FD`, i32 1, i32 n, n SNAPSHOTs |
//! | enum body | UTF class, i32 n, n UTF constants |
//! | POJO body | UTF class, three optional maps (fields, registered and other subclasses) whose values are SNAPSHOTs |
//! | Kryo body | UTF class, three optional maps of opaque frames |
//! | Avro body | version 1: UTF schema; 2: UTF class, UTF schema; 3: UTF class, STR schema |
//!
//! A body has no length, so that a class that is not known has to be guessed around: see `opaque`.
//!
//! Source: Flink 2.3.0, classes `TypeSerializerSnapshot`, `CompositeTypeSerializerSnapshot`,
//! `NestedSerializersSnapshotDelegate`, and the snapshot classes themselves.

use crate::class::{
    BASE, Class, Composite, Layout, Outer, RUNTIME, STATE, STREAM_ELEMENT, TIMER, lookup,
    simple_class,
};
use crate::{
    ByteReader, ByteWriter, Error, ErrorKind, Incompatibility, OpaqueBodies, OptionalEntry,
    optional_map,
};

const ENCLOSED_VERSION: i32 = 2;
const COMPOSITE_MAGIC: i32 = 911_108;
const NESTED_MAGIC: i32 = 1_333_245;
const NESTED_VERSION: i32 = 1;
/// Nesting beyond this is damage: no type that a person writes is so deep.
const MAX_DEPTH: usize = 64;

/// What a serializer writes about itself, so that its bytes can be read later.
///
/// Reading and writing again gives the same bytes, whatever Flink version wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerializerSnapshot {
    /// The Java class of the snapshot.
    pub class: String,
    /// The version of the snapshot's own layout.
    pub version: i32,
    /// The rest.
    pub body: SnapshotBody,
}

/// What follows the class and version of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotBody {
    /// Nothing: a serializer without parameters.
    Simple,
    /// Version 2 of a serializer without parameters.
    Legacy {
        /// The Java class of the serializer.
        serializer_class: String,
    },
    /// A serializer made of others.
    Composite {
        /// The version of the outer body.
        outer_version: i32,
        /// The outer body as it lies in the file; which fields it has follows from the class.
        outer: Vec<u8>,
        /// The parts in order: elements, key and value, fields.
        nested: Vec<SerializerSnapshot>,
    },
    /// A Java enum.
    Enum {
        /// The Java class.
        class: String,
        /// The constants in the order of their numbers in values.
        constants: Vec<String>,
    },
    /// A Java object with fields, or a record.
    Pojo {
        /// The Java class.
        class: String,
        /// The fields in the order in which values have them.
        fields: Vec<OptionalEntry<SerializerSnapshot>>,
        /// The subclasses that values name by their index.
        registered: Vec<OptionalEntry<SerializerSnapshot>>,
        /// The subclasses that values name by their class.
        other: Vec<OptionalEntry<SerializerSnapshot>>,
    },
    /// A type without a serializer of its own in Flink; its values cannot be read.
    Kryo {
        /// The Java class.
        class: String,
        /// Registrations, default serializers, and classes of default serializers.
        maps: [Vec<OptionalEntry<Vec<u8>>>; 3],
    },
    /// An Avro type; its values cannot be read yet.
    Avro {
        /// The Java class; version 1 has none.
        class: Option<String>,
        /// The schema as JSON.
        schema: String,
    },
    /// A class that is not known; its values cannot be read.
    Opaque {
        /// All behind the version.
        body: Vec<u8>,
    },
}

impl SerializerSnapshot {
    fn simple(prefix: &str, name: &str) -> Self {
        let class = simple_class(prefix, name);
        SerializerSnapshot {
            class,
            version: 3,
            body: SnapshotBody::Simple,
        }
    }

    /// The snapshot of a base type: "Long", "Int", "String", "Boolean", and so on.
    pub(crate) fn base(name: &str) -> Self {
        Self::simple(BASE, name)
    }

    /// The snapshot of `byte[]`.
    pub fn byte_array() -> Self {
        Self::array("BytePrimitiveArray")
    }

    /// The snapshot of an array without nested serializer: "IntPrimitiveArray", "StringArray".
    pub(crate) fn array(name: &str) -> Self {
        Self::simple(crate::class::ARRAY, name)
    }

    /// The snapshot of the namespace of state without windows.
    pub fn void_namespace() -> Self {
        Self::simple(STATE, "VoidNamespace")
    }

    /// The snapshot of a time window.
    pub fn time_window() -> Self {
        Self::window("TimeWindow")
    }

    /// The snapshot of the one global window.
    pub fn global_window() -> Self {
        Self::window("GlobalWindow")
    }

    fn window(name: &str) -> Self {
        let class = format!(
            "{}{name}$Serializer${name}SerializerSnapshot",
            crate::class::WINDOWS
        );
        SerializerSnapshot {
            class,
            version: 3,
            body: SnapshotBody::Simple,
        }
    }

    fn composite(class: String, outer_version: i32, outer: Vec<u8>, nested: Vec<Self>) -> Self {
        let body = SnapshotBody::Composite {
            outer_version,
            outer,
            nested,
        };
        SerializerSnapshot {
            class,
            version: 3,
            body,
        }
    }

    /// The snapshot of `List`, also of a list state.
    pub fn list(element: Self) -> Self {
        Self::composite(
            format!("{BASE}ListSerializerSnapshot"),
            1,
            Vec::new(),
            vec![element],
        )
    }

    /// The snapshot of `Map`, also of a map state.
    pub fn map(key: Self, value: Self) -> Self {
        Self::composite(
            format!("{BASE}MapSerializerSnapshot"),
            1,
            Vec::new(),
            vec![key, value],
        )
    }

    /// The snapshot of `Set` (since Flink 2.0).
    pub fn set(element: Self) -> Self {
        Self::composite(
            format!("{BASE}SetSerializerSnapshot"),
            1,
            Vec::new(),
            vec![element],
        )
    }

    /// The snapshot of an array of objects of a Java class.
    ///
    /// # Panics
    ///
    /// If the name of the class takes more than 65535 bytes, which Java does not allow either.
    pub fn object_array(component_class: &str, element: Self) -> Self {
        let mut outer = Vec::new();
        outer
            .put_utf(component_class)
            .expect("the name of a class has at most 65535 bytes");
        Self::composite(
            format!("{BASE}GenericArraySerializerSnapshot"),
            1,
            outer,
            vec![element],
        )
    }

    /// The snapshot of `Either`.
    pub fn either(left: Self, right: Self) -> Self {
        Self::composite(
            format!("{RUNTIME}JavaEitherSerializerSnapshot"),
            1,
            Vec::new(),
            vec![left, right],
        )
    }

    /// The snapshot of `Row`, with a kind in front of each row.
    pub fn row(fields: Vec<Self>) -> Self {
        Self::composite(
            format!("{RUNTIME}RowSerializer$RowSerializerSnapshot"),
            4,
            vec![1],
            fields,
        )
    }

    /// The snapshot of an enum; `constants` in the order of their numbers in values.
    pub fn java_enum(class: &str, constants: &[&str]) -> Self {
        SerializerSnapshot {
            class: format!("{BASE}EnumSerializer$EnumSerializerSnapshot"),
            version: 3,
            body: SnapshotBody::Enum {
                class: class.to_owned(),
                constants: constants.iter().map(|name| (*name).to_owned()).collect(),
            },
        }
    }

    /// The snapshot of a POJO or record; `fields` in the order of their names.
    pub fn pojo(class: &str, fields: Vec<OptionalEntry<Self>>) -> Self {
        SerializerSnapshot {
            class: format!("{RUNTIME}PojoSerializerSnapshot"),
            version: 2,
            body: SnapshotBody::Pojo {
                class: class.to_owned(),
                fields,
                registered: Vec::new(),
                other: Vec::new(),
            },
        }
    }

    /// The snapshot of an Avro record of a Java class, whose schema is `schema` in JSON.
    #[cfg(feature = "avro")]
    pub fn avro(class: &str, schema: &str) -> Self {
        SerializerSnapshot {
            class: crate::class::AVRO.to_owned(),
            version: 3,
            body: SnapshotBody::Avro {
                class: Some(class.to_owned()),
                schema: schema.to_owned(),
            },
        }
    }

    /// The snapshot of `TupleN`.
    ///
    /// # Panics
    ///
    /// If there are no fields or more than 25: Flink has no such tuple.
    pub fn tuple(fields: Vec<Self>) -> Self {
        assert!(
            (1..=25).contains(&fields.len()),
            "a tuple of {} fields",
            fields.len()
        );
        let mut outer = Vec::new();
        outer
            .put_utf(&format!(
                "org.apache.flink.api.java.tuple.Tuple{}",
                fields.len()
            ))
            .expect("a short name");
        Self::composite(
            format!("{RUNTIME}TupleSerializerSnapshot"),
            2,
            outer,
            fields,
        )
    }

    /// The snapshot of a value that may be null, without padding.
    pub fn nullable(value: Self) -> Self {
        let class = format!("{RUNTIME}NullableSerializer$NullableSerializerSnapshot");
        Self::composite(class, 2, vec![0; 4], vec![value])
    }

    /// The snapshot of timers, the elements of a priority queue state.
    pub fn timer(key: Self, namespace: Self) -> Self {
        Self::composite(TIMER.to_owned(), 2, Vec::new(), vec![key, namespace])
    }

    /// The snapshot of values of state with time-to-live.
    pub fn ttl(value: Self) -> Self {
        let class = format!("{STATE}ttl.TtlStateFactory$TtlSerializerSnapshot");
        Self::composite(class, 2, Vec::new(), vec![Self::base("Long"), value])
    }

    /// The snapshot of records with their timestamps.
    pub fn stream_record(value: Self) -> Self {
        Self::composite(STREAM_ELEMENT.to_owned(), 2, Vec::new(), vec![value])
    }

    /// Whether this is [`ttl`](Self::ttl) of something.
    pub fn is_ttl(&self) -> bool {
        self.known_class() == Some(Class::Composite(crate::class::Composite::Ttl))
    }

    /// The nested snapshots; none unless composite.
    pub fn nested(&self) -> &[SerializerSnapshot] {
        match &self.body {
            SnapshotBody::Composite { nested, .. } => nested,
            SnapshotBody::Simple
            | SnapshotBody::Legacy { .. }
            | SnapshotBody::Enum { .. }
            | SnapshotBody::Pojo { .. }
            | SnapshotBody::Kryo { .. }
            | SnapshotBody::Avro { .. }
            | SnapshotBody::Opaque { .. } => &[],
        }
    }

    /// Returns the nested snapshot at `index`.
    ///
    /// # Errors
    ///
    /// There are not as many: another type is described.
    pub fn part(&self, index: usize) -> Result<&SerializerSnapshot, Incompatibility> {
        self.nested()
            .get(index)
            .ok_or_else(|| Incompatibility::new(format!("was {}", self.describe())))
    }

    pub(crate) fn known_class(&self) -> Option<Class> {
        lookup(&self.class)
    }

    /// What Flink's `getLength()` says: the bytes of a value if all values have equally many.
    ///
    /// Two oddities are Flink's: a void namespace says 0 and takes one byte, and a tuple with such
    /// a field counts as of variable length.
    pub fn fixed_length(&self) -> Option<usize> {
        match self.known_class()? {
            Class::Simple(Layout::Fixed(length)) => Some(length),
            Class::Simple(Layout::Bool) => Some(1),
            Class::Simple(Layout::VoidNamespace) => Some(0),
            Class::Simple(_) | Class::Pojo | Class::Kryo | Class::Avro => None,
            Class::Enum => Some(4),
            Class::Composite(composite) => self.composite_length(composite),
        }
    }

    fn composite_length(&self, composite: Composite) -> Option<usize> {
        let mut lengths = self.nested().iter().map(SerializerSnapshot::fixed_length);
        match composite {
            Composite::Tuple => lengths
                .map(|length| length.filter(|length| *length > 0))
                .sum(),
            Composite::Timer => lengths.sum::<Option<usize>>().map(|sum| sum + 8),
            Composite::Ttl => lengths.sum(),
            Composite::Nullable => match self.padding() {
                0 => None,
                padding => lengths.next().flatten().map(|_| padding + 1),
            },
            Composite::List
            | Composite::Map
            | Composite::Set
            | Composite::GenericArray
            | Composite::Row
            | Composite::Either
            | Composite::StreamElement => None,
        }
    }

    /// The bytes that stand for null in a nullable serializer.
    pub(crate) fn padding(&self) -> usize {
        match &self.body {
            SnapshotBody::Composite { outer, .. } => {
                let padding = ByteReader::new(outer).i32().unwrap_or(0);
                usize::try_from(padding).unwrap_or(0)
            }
            SnapshotBody::Simple
            | SnapshotBody::Legacy { .. }
            | SnapshotBody::Enum { .. }
            | SnapshotBody::Pojo { .. }
            | SnapshotBody::Kryo { .. }
            | SnapshotBody::Avro { .. }
            | SnapshotBody::Opaque { .. } => 0,
        }
    }

    /// Whether the rows of a row serializer begin with their kind.
    pub(crate) fn has_row_kind(&self) -> bool {
        matches!(&self.body,
            SnapshotBody::Composite { outer_version, outer, .. }
                if *outer_version == 3 || outer.as_slice() == [1])
    }

    /// Appends the snapshot (not enclosed).
    ///
    /// # Errors
    ///
    /// Unsupported, if a name takes more than 65535 bytes.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_utf(&self.class)?;
        out.put_i32(self.version);
        let snapshot = |value: &SerializerSnapshot, out: &mut Vec<u8>| value.write(out);
        match &self.body {
            SnapshotBody::Simple => {}
            SnapshotBody::Legacy { serializer_class } => out.put_utf(serializer_class)?,
            SnapshotBody::Composite {
                outer_version,
                outer,
                nested,
            } => {
                if self.version > 2 {
                    out.put_i32(COMPOSITE_MAGIC);
                    out.put_i32(*outer_version);
                }
                out.put(outer);
                out.put_i32(NESTED_MAGIC);
                out.put_i32(NESTED_VERSION);
                out.put_count(nested.len());
                nested.iter().try_for_each(|nested| nested.write(out))?;
            }
            SnapshotBody::Enum { class, constants } => {
                out.put_utf(class)?;
                out.put_count(constants.len());
                constants.iter().try_for_each(|name| out.put_utf(name))?;
            }
            SnapshotBody::Pojo {
                class,
                fields,
                registered,
                other,
            } => {
                out.put_utf(class)?;
                for map in [fields, registered, other] {
                    optional_map::write(map, out, snapshot)?;
                }
            }
            SnapshotBody::Kryo { class, maps } => {
                out.put_utf(class)?;
                for map in maps {
                    optional_map::write(map, out, |frame, out| {
                        out.put(frame);
                        Ok(())
                    })?;
                }
            }
            SnapshotBody::Opaque { body } => out.put(body),
            SnapshotBody::Avro { class, schema } => {
                if let Some(class) = class {
                    out.put_utf(class)?;
                }
                if self.version >= 3 {
                    out.put_string_value(schema);
                } else {
                    out.put_utf(schema)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the snapshot as it stands in a header.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn write_enclosed(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.put_i32(ENCLOSED_VERSION);
        self.write(out)
    }

    /// Reads a snapshot (not enclosed).
    ///
    /// # Errors
    ///
    /// Corrupt, if the bytes are no snapshot; unsupported, if the class or its version is unknown.
    pub fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Self::read_nested(input, &mut OpaqueBodies::none(), 0)
    }

    /// Reads a snapshot as it stands in a header.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_enclosed(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Self::read_enclosed_with(input, &mut OpaqueBodies::none())
    }

    /// As [`read_enclosed`](Self::read_enclosed), with lengths for the bodies of unknown classes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_enclosed_with(
        input: &mut ByteReader<'_>,
        opaque: &mut OpaqueBodies,
    ) -> Result<Self, Error> {
        input.expect_i32(ENCLOSED_VERSION, "serializer snapshot proxy version")?;
        Self::read_nested(input, opaque, 0)
    }

    fn read_nested(
        input: &mut ByteReader<'_>,
        opaque: &mut OpaqueBodies,
        depth: usize,
    ) -> Result<Self, Error> {
        if depth > MAX_DEPTH {
            return Err(input.corrupt(format!("at most {MAX_DEPTH} nested serializers"), "more"));
        }
        let at = input.offset();
        let class = input.utf()?;
        let version = input.i32()?;
        let Some(known) = lookup(&class) else {
            let unknown = unknown_class(&class, at);
            let may_be =
                class.contains('.') && matches!(unknown.kind(), ErrorKind::Unsupported { .. });
            return match opaque.take(input)? {
                Some(body) if may_be => Ok(SerializerSnapshot {
                    class,
                    version,
                    body: SnapshotBody::Opaque { body },
                }),
                Some(_) | None => Err(unknown),
            };
        };
        let readable = match known {
            Class::Simple(_) => 2..=3,
            Class::Composite(_) | Class::Avro => 1..=3,
            Class::Enum => 1..=3,
            Class::Pojo | Class::Kryo => 2..=2,
        };
        if !readable.contains(&version) {
            let what = format!(
                "version {version} of serializer snapshot \"{class}\" at offset {at} (versions {} to {} are known)",
                readable.start(),
                readable.end()
            );
            return Err(Error::unsupported(what));
        }
        let body = match known {
            Class::Simple(_) if version == 2 => SnapshotBody::Legacy {
                serializer_class: input.utf()?,
            },
            Class::Simple(_) => SnapshotBody::Simple,
            Class::Composite(composite) => {
                read_composite(input, opaque, composite, version, depth)?
            }
            Class::Enum => read_enum(input)?,
            Class::Pojo => read_pojo(input, opaque, depth)?,
            Class::Kryo => read_kryo(input)?,
            Class::Avro => read_avro(input, version)?,
        };
        Ok(SerializerSnapshot {
            class,
            version,
            body,
        })
    }
}

#[cold]
fn unknown_class(class: &str, offset: u64) -> Error {
    let java = |c: char| c.is_alphanumeric() || matches!(c, '.' | '$' | '_');
    if class.is_empty() || !class.chars().all(java) {
        return Error::corrupt(
            offset,
            "the class of a serializer snapshot",
            format!("{class:?}"),
        );
    }
    Error::unsupported(format!(
        "serializer snapshot class \"{class}\" at offset {offset}"
    ))
}

fn read_composite(
    input: &mut ByteReader<'_>,
    opaque: &mut OpaqueBodies,
    composite: Composite,
    version: i32,
    depth: usize,
) -> Result<SnapshotBody, Error> {
    let outer_version = if version > 2 {
        input.expect_i32(COMPOSITE_MAGIC, "magic number of a composite serializer")?;
        input.i32()?
    } else {
        version
    };
    let start = input.position();
    match composite.outer(outer_version) {
        Outer::Empty => {}
        Outer::ClassName => drop(input.utf()?),
        Outer::Int => drop(input.i32()?),
        Outer::Bool => drop(input.bool()?),
    }
    let outer = input.since(start).to_vec();
    input.expect_i32(NESTED_MAGIC, "magic number of nested serializers")?;
    input.expect_i32(NESTED_VERSION, "version of nested serializers")?;
    let at = input.offset();
    let count = input.count(6)?;
    if let Some(arity) = composite.arity().filter(|arity| *arity != count) {
        return Err(Error::corrupt(
            at,
            format!("{arity} nested serializers"),
            count.to_string(),
        ));
    }
    let mut nested = Vec::new();
    for _ in 0..count {
        nested.push(SerializerSnapshot::read_nested(input, opaque, depth + 1)?);
    }
    Ok(SnapshotBody::Composite {
        outer_version,
        outer,
        nested,
    })
}

fn read_enum(input: &mut ByteReader<'_>) -> Result<SnapshotBody, Error> {
    let class = input.utf()?;
    let count = input.count(2)?;
    let mut constants = Vec::new();
    for _ in 0..count {
        constants.push(input.utf()?);
    }
    Ok(SnapshotBody::Enum { class, constants })
}

fn read_pojo(
    input: &mut ByteReader<'_>,
    opaque: &mut OpaqueBodies,
    depth: usize,
) -> Result<SnapshotBody, Error> {
    let class = input.utf()?;
    let mut map = || {
        optional_map::read(input, |frame| {
            SerializerSnapshot::read_nested(frame, opaque, depth + 1)
        })
    };
    let (fields, registered, other) = (map()?, map()?, map()?);
    Ok(SnapshotBody::Pojo {
        class,
        fields,
        registered,
        other,
    })
}

fn read_kryo(input: &mut ByteReader<'_>) -> Result<SnapshotBody, Error> {
    let class = input.utf()?;
    let mut map = || {
        optional_map::read(input, |frame| {
            let length = frame.remaining();
            frame.take(length).map(<[u8]>::to_vec)
        })
    };
    let maps = [map()?, map()?, map()?];
    Ok(SnapshotBody::Kryo { class, maps })
}

fn read_avro(input: &mut ByteReader<'_>, version: i32) -> Result<SnapshotBody, Error> {
    let class = if version >= 2 {
        Some(input.utf()?)
    } else {
        None
    };
    let schema = if version >= 3 {
        let at = input.offset();
        input
            .string_value()?
            .ok_or_else(|| Error::corrupt(at, "an Avro schema", "null"))?
    } else {
        input.utf()?
    };
    Ok(SnapshotBody::Avro { class, schema })
}

#[cfg(test)]
mod tests;

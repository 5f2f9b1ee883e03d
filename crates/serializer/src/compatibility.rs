//! Whether state that one serializer wrote can be read with another.
//!
//! | serializer | as is | reconfigured | after migration | incompatible |
//! | --- | --- | --- | --- | --- |
//! | without parameters | same class | | | another class |
//! | list, map, set, either, tuple, time-to-live, timer | all parts | a part | a part | a part, or another number of parts |
//! | array of objects, nullable | the same | | | another component class or padding |
//! | row | the same | | whether rows have a kind | as above |
//! | enum | same constants in the same order | constants added or reordered | | a constant removed |
//! | POJO | the same | subclasses added or reordered | fields added, removed or reordered | another class, a registered subclass removed |
//! | Kryo | the same | registrations added or reordered | | another class, or a registration removed |
//! | Avro | the same schema | | readable by Avro's rules | not readable |
//!
//! The worst part decides. Versions of the snapshots themselves do not matter.
//!
//! Source: Flink 2.3.0, classes `CompositeTypeSerializerSnapshot`, `PojoSerializerSnapshot`,
//! `EnumSerializer`, `KryoSerializerSnapshot`, `AvroSerializerSnapshot`.

use std::fmt;

use crate::class::{Class, Composite};
use crate::{ByteReader, OptionalEntry, SerializerSnapshot, SnapshotBody};

/// What a serializer says about state that an earlier one wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// The bytes are the same.
    AsIs,
    /// Values must be read with the old serializer and written with the new one.
    AfterMigration,
    /// The bytes are the same once the new serializer has taken over parts of the old one.
    Reconfigured,
    /// The state cannot be read.
    Incompatible(Incompatibility),
}

/// Why state cannot be read with another serializer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatibility {
    /// The part that differs, as names joined by dots: "address.zip"; empty if it is the whole.
    ///
    /// Fields of POJOs have their names, those of tuples and rows "f0" and so on; parts of
    /// collections are "element", "key" and "value".
    pub path: String,
    /// What differs: "was Integer, now Long".
    pub reason: String,
}

impl Incompatibility {
    /// Returns the reason for the whole.
    pub fn new(reason: impl Into<String>) -> Self {
        Incompatibility {
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// Returns the same of a whole of which this is `part`.
    #[must_use]
    pub fn within(mut self, part: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => part.to_owned(),
            path => format!("{part}.{path}"),
        };
        self
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.reason),
            path => write!(f, "field \"{path}\": {}", self.reason),
        }
    }
}

impl Compatibility {
    /// Combines the answers of two parts: the worse one wins.
    #[must_use]
    pub fn and(self, other: Compatibility) -> Compatibility {
        let rank = |answer: &Compatibility| match answer {
            Compatibility::AsIs => 0,
            Compatibility::Reconfigured => 1,
            Compatibility::AfterMigration => 2,
            Compatibility::Incompatible { .. } => 3,
        };
        if rank(&other) > rank(&self) {
            other
        } else {
            self
        }
    }

    /// Returns the same answer of a whole of which this is `part`.
    #[must_use]
    pub fn within(self, part: &str) -> Compatibility {
        match self {
            Compatibility::Incompatible(why) => Compatibility::Incompatible(why.within(part)),
            Compatibility::AsIs | Compatibility::AfterMigration | Compatibility::Reconfigured => {
                self
            }
        }
    }

    fn incompatible(reason: impl Into<String>) -> Compatibility {
        Compatibility::Incompatible(Incompatibility::new(reason))
    }
}

impl SerializerSnapshot {
    /// Returns whether values that `previous` describes can be read as this snapshot describes.
    ///
    /// These are Flink's rules; what a Rust type needs beyond them, such as a value for a field
    /// that is new, [`FlinkType::reader`](crate::FlinkType::reader) says.
    pub fn resolve(&self, previous: &SerializerSnapshot) -> Compatibility {
        if self.class != previous.class {
            return self.differs_from(previous);
        }
        match (&self.body, &previous.body) {
            (SnapshotBody::Composite { .. }, SnapshotBody::Composite { .. }) => {
                self.resolve_composite(previous)
            }
            (SnapshotBody::Simple | SnapshotBody::Legacy { .. }, _) => Compatibility::AsIs,
            (
                SnapshotBody::Enum { class, constants },
                SnapshotBody::Enum {
                    class: old_class,
                    constants: old,
                },
            ) if class == old_class => resolve_enum(constants, old),
            (SnapshotBody::Pojo { class, .. }, SnapshotBody::Pojo { class: old, .. })
                if class == old =>
            {
                resolve_pojo(self, previous)
            }
            (
                SnapshotBody::Kryo { class, maps },
                SnapshotBody::Kryo {
                    class: old,
                    maps: old_maps,
                },
            ) if class == old => resolve_kryo(maps, old_maps),
            (
                SnapshotBody::Avro { schema, .. },
                SnapshotBody::Avro {
                    schema: old_schema, ..
                },
            ) => resolve_avro(schema, old_schema),
            (new, old) if new == old => Compatibility::AsIs,
            _ => self.differs_from(previous),
        }
    }

    pub(crate) fn differs_from(&self, previous: &SerializerSnapshot) -> Compatibility {
        let (old, new) = (previous.describe(), self.describe());
        Compatibility::incompatible(match old == new {
            true => format!("was {old}, which was declared otherwise"),
            false => format!("was {old}, now {new}"),
        })
    }

    fn resolve_composite(&self, previous: &SerializerSnapshot) -> Compatibility {
        let (new, old) = (self.nested(), previous.nested());
        let Some(Class::Composite(composite)) = self.known_class() else {
            return self.differs_from(previous);
        };
        let outer = match composite {
            Composite::GenericArray | Composite::Tuple => self.outer() == previous.outer(),
            Composite::Nullable => self.padding() == previous.padding(),
            Composite::Row
            | Composite::List
            | Composite::Map
            | Composite::Set
            | Composite::Either
            | Composite::Ttl
            | Composite::Timer
            | Composite::StreamElement => true,
        };
        if !outer || new.len() != old.len() {
            return self.differs_from(previous);
        }
        let kinds_differ = self.has_row_kind() != previous.has_row_kind();
        let whole = match composite == Composite::Row && kinds_differ {
            true => Compatibility::AfterMigration,
            false => Compatibility::AsIs,
        };
        let parts = new.iter().zip(old).enumerate();
        parts.fold(whole, |whole, (index, (new, old))| {
            let part = new.resolve(old);
            whole.and(match composite.part_name(index) {
                Some(name) => part.within(&name),
                None => part,
            })
        })
    }

    /// The outer body of a composite serializer.
    fn outer(&self) -> &[u8] {
        match &self.body {
            SnapshotBody::Composite { outer, .. } => outer,
            SnapshotBody::Simple
            | SnapshotBody::Legacy { .. }
            | SnapshotBody::Enum { .. }
            | SnapshotBody::Pojo { .. }
            | SnapshotBody::Kryo { .. }
            | SnapshotBody::Avro { .. }
            | SnapshotBody::Opaque { .. } => &[],
        }
    }

    /// Returns the type for people: `Tuple<String, Long>`.
    pub fn describe(&self) -> String {
        let name = self.class.rsplit('.').next().unwrap_or(&self.class);
        let name = name.split('$').next().unwrap_or(name);
        let name = name.strip_suffix("Snapshot").unwrap_or(name);
        let name = name.strip_suffix("Serializer").unwrap_or(name);
        match (&self.body, self.known_class()) {
            (SnapshotBody::Composite { nested, .. }, _) => {
                let parts: Vec<_> = nested.iter().map(SerializerSnapshot::describe).collect();
                format!("{name}<{}>", parts.join(", "))
            }
            (SnapshotBody::Enum { class, .. }, _)
            | (SnapshotBody::Pojo { class, .. }, _)
            | (SnapshotBody::Kryo { class, .. }, _)
            | (
                SnapshotBody::Avro {
                    class: Some(class), ..
                },
                _,
            ) => format!("{name} {class}"),
            (SnapshotBody::Simple | SnapshotBody::Legacy { .. }, Some(Class::Simple(_))) => {
                java_name(name).to_owned()
            }
            (SnapshotBody::Simple | SnapshotBody::Legacy { .. }, _)
            | (SnapshotBody::Avro { class: None, .. }, _) => name.to_owned(),
            (SnapshotBody::Opaque { .. }, _) => self.class.clone(),
        }
    }

    /// Returns the Java class of the values, where the serializer tells it: "java.lang.Long".
    pub fn java_class(&self) -> Option<String> {
        match (&self.body, self.known_class()?) {
            (SnapshotBody::Pojo { class, .. }, _)
            | (SnapshotBody::Enum { class, .. }, _)
            | (SnapshotBody::Kryo { class, .. }, _) => Some(class.clone()),
            (SnapshotBody::Avro { class, .. }, _) => class.clone(),
            (SnapshotBody::Composite { nested, .. }, Class::Composite(composite)) => {
                let class = match composite {
                    Composite::List => "java.util.List",
                    Composite::Map => "java.util.Map",
                    Composite::Set => "java.util.Set",
                    Composite::Row => "org.apache.flink.types.Row",
                    Composite::Either => "org.apache.flink.types.Either",
                    Composite::Tuple => return ByteReader::new(self.outer()).utf().ok(),
                    Composite::Nullable => return nested.first()?.java_class(),
                    Composite::GenericArray => {
                        let component = ByteReader::new(self.outer()).utf().ok()?;
                        return Some(format!("[L{component};"));
                    }
                    Composite::Ttl | Composite::Timer | Composite::StreamElement => return None,
                };
                Some(class.to_owned())
            }
            (SnapshotBody::Simple | SnapshotBody::Legacy { .. }, Class::Simple(_)) => {
                let name = self.describe();
                Some(match name.as_str() {
                    "BigInteger" | "BigDecimal" => format!("java.math.{name}"),
                    "Instant" | "LocalDate" | "LocalTime" | "LocalDateTime" => {
                        format!("java.time.{name}")
                    }
                    "Date" => "java.util.Date".to_owned(),
                    "SqlDate" | "SqlTime" | "SqlTimestamp" => format!("java.sql.{}", &name[3..]),
                    "BytePrimitiveArray" => "[B".to_owned(),
                    "ShortPrimitiveArray" => "[S".to_owned(),
                    "IntPrimitiveArray" => "[I".to_owned(),
                    "LongPrimitiveArray" => "[J".to_owned(),
                    "CharPrimitiveArray" => "[C".to_owned(),
                    "FloatPrimitiveArray" => "[F".to_owned(),
                    "DoublePrimitiveArray" => "[D".to_owned(),
                    "BooleanPrimitiveArray" => "[Z".to_owned(),
                    "StringArray" => "[Ljava.lang.String;".to_owned(),
                    value if value.ends_with("Value") => format!("org.apache.flink.types.{value}"),
                    other => format!("java.lang.{other}"),
                })
            }
            _ => None,
        }
    }
}

/// The Java class of what Flink shortens: its serializer of `Integer` is `IntSerializer`.
fn java_name(name: &str) -> &str {
    match name {
        "Int" => "Integer",
        "Char" => "Character",
        "BigInt" => "BigInteger",
        "BigDec" => "BigDecimal",
        other => other,
    }
}

fn resolve_enum(new: &[String], old: &[String]) -> Compatibility {
    let removed: Vec<_> = old
        .iter()
        .filter(|constant| !new.contains(constant))
        .map(|constant| format!("\"{constant}\""))
        .collect();
    if !removed.is_empty() {
        return Compatibility::incompatible(format!(
            "enum constant {} was removed",
            removed.join(", ")
        ));
    }
    match new == old {
        true => Compatibility::AsIs,
        false => Compatibility::Reconfigured,
    }
}

/// Both are POJOs of the same class.
fn resolve_pojo(new: &SerializerSnapshot, previous: &SerializerSnapshot) -> Compatibility {
    let (
        SnapshotBody::Pojo {
            fields,
            registered,
            other,
            ..
        },
        SnapshotBody::Pojo {
            fields: old_fields,
            registered: old_registered,
            other: old_other,
            ..
        },
    ) = (&new.body, &previous.body)
    else {
        return new.differs_from(previous);
    };
    if let Some(lost) = old_registered
        .iter()
        .find(|old| named(registered, &old.name).is_none())
    {
        return Compatibility::incompatible(format!(
            "registered subclass \"{}\" was removed",
            lost.name
        ));
    }
    let names = |entries: &[OptionalEntry<SerializerSnapshot>]| -> Vec<String> {
        entries.iter().map(|entry| entry.name.clone()).collect()
    };
    let mut whole = match names(fields) == names(old_fields) {
        true => Compatibility::AsIs,
        false => Compatibility::AfterMigration,
    };
    if names(registered) != names(old_registered) || names(other) != names(old_other) {
        whole = whole.and(Compatibility::Reconfigured);
    }
    for (entries, olds) in [
        (fields, old_fields),
        (registered, old_registered),
        (other, old_other),
    ] {
        for old in olds {
            let new = named(entries, &old.name).and_then(|new| new.value.as_ref());
            if let (Some(new), Some(previous)) = (new, &old.value) {
                whole = whole.and(new.resolve(previous).within(&old.name));
            }
        }
    }
    whole
}

fn named<'a, V>(entries: &'a [OptionalEntry<V>], name: &str) -> Option<&'a OptionalEntry<V>> {
    entries.iter().find(|entry| entry.name == name)
}

fn resolve_kryo(
    new: &[Vec<OptionalEntry<Vec<u8>>>; 3],
    old: &[Vec<OptionalEntry<Vec<u8>>>; 3],
) -> Compatibility {
    let mut whole = Compatibility::AsIs;
    for (new, old) in new.iter().zip(old) {
        if let Some(lost) = old.iter().find(|old| named(new, &old.name).is_none()) {
            return Compatibility::incompatible(format!(
                "Kryo registration \"{}\" was removed",
                lost.name
            ));
        }
        let is_prefix = new.iter().zip(old).all(|(new, old)| new.name == old.name);
        if !is_prefix {
            whole = Compatibility::Reconfigured;
        }
    }
    whole
}

fn resolve_avro(new: &str, old: &str) -> Compatibility {
    if new == old {
        return Compatibility::AsIs;
    }
    #[cfg(feature = "avro")]
    return crate::avro_type::resolve(new, old);
    #[cfg(not(feature = "avro"))]
    Compatibility::incompatible(
        "the Avro schema differs; build with the feature \"avro\" to compare schemas by Avro's rules",
    )
}

#[cfg(test)]
mod tests;

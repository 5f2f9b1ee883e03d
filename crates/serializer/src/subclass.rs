//! A base class and its subclasses as an enum of structs: what `#[derive(FlinkPojo)]` on it calls.
//!
//! The bytes are told in [`pojo`](crate::pojo). Subclasses that Flink has registered are numbered,
//! others are named; both are listed in the serializer's snapshot, with their own serializers.
//!
//! Source: Flink 2.3.0, class `PojoSerializer`.

use std::fmt;

use crate::pojo_flags::{EXACT, NULL, OTHER, REGISTERED, bad_flags};
use crate::{
    ByteReader, ByteWriter, Error, FlinkType, Incompatibility, JavaClass, OptionalEntry, Reader,
    SerializerSnapshot, SnapshotBody, nullable,
};

/// An enum of structs: what `#[derive(FlinkPojo)]` makes of one.
pub trait Subclasses: FlinkType + JavaClass {
    /// What its variants are.
    const VARIANTS: &'static [Variant<Self>];
}

/// What a variant is to the base class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The base class itself.
    Exact,
    /// A subclass that Flink has registered: values name it by its index.
    Registered,
    /// Another subclass: values name it by its class.
    Other,
}

/// A variant that holds a struct.
pub struct Variant<E> {
    /// What it is to the base class.
    pub role: Role,
    /// The Java class of the struct.
    pub class: &'static str,
    /// The snapshot of the struct's serializer.
    pub snapshot: fn() -> SerializerSnapshot,
    /// Reads a struct into the variant.
    pub read: fn(&mut ByteReader<'_>) -> Result<E, Error>,
    /// Returns what reads structs of an earlier serializer into the variant.
    pub converter: fn(&SerializerSnapshot) -> Result<Reader<E>, Incompatibility>,
}

impl<E> fmt::Debug for Variant<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.role, self.class)
    }
}

/// The snapshot of the enum's serializer: the fields of its exact variant, and its subclasses.
pub fn snapshot<E: Subclasses>() -> SerializerSnapshot {
    let exact = E::VARIANTS
        .iter()
        .find(|variant| variant.role == Role::Exact);
    let mut snapshot = match exact {
        Some(exact) => (exact.snapshot)(),
        None => SerializerSnapshot::pojo(E::CLASS, Vec::new()),
    };
    if let SnapshotBody::Pojo {
        class,
        registered,
        other,
        ..
    } = &mut snapshot.body
    {
        *class = E::CLASS.to_owned();
        for variant in E::VARIANTS {
            let entries = match variant.role {
                Role::Exact => continue,
                Role::Registered => &mut *registered,
                Role::Other => &mut *other,
            };
            entries.push(OptionalEntry {
                name: variant.class.to_owned(),
                key: Some(Vec::new()),
                value: Some((variant.snapshot)()),
            });
        }
    }
    snapshot
}

/// Appends what stands in front of an object of a registered subclass.
pub fn write_registered(index: u8, out: &mut Vec<u8>) {
    out.put(&[REGISTERED, index]);
}

/// Appends what stands in front of an object of another subclass.
///
/// # Panics
///
/// If the name of the class takes more than 65535 bytes, which Java does not allow either.
pub fn write_other(class: &str, out: &mut Vec<u8>) {
    out.put_u8(OTHER);
    out.put_utf(class)
        .expect("the name of a class has at most 65535 bytes");
}

/// What stands in front of an object.
enum Head {
    /// It is of the base class, whose reader reads the flags again.
    Exact,
    Registered(usize),
    Other(String),
}

fn read_head<E: Subclasses>(input: &mut ByteReader<'_>) -> Result<Head, Error> {
    let at = input.offset();
    let mut ahead = input.clone();
    let head = match ahead.u8()? {
        EXACT => return Ok(Head::Exact),
        NULL => return Err(nullable::null(at, &format!("a {}", E::CLASS))),
        OTHER => Head::Other(ahead.utf()?),
        REGISTERED => Head::Registered(usize::from(ahead.u8()?)),
        flags => return Err(bad_flags(at, flags)),
    };
    *input = ahead;
    Ok(head)
}

#[cold]
fn unknown<E: Subclasses>(offset: u64, what: &str) -> Error {
    let class = E::CLASS;
    Error::unsupported(format!(
        "an object of {what} of {class} at offset {offset}; add it to the enum that stands for {class}"
    ))
}

/// Reads an object of the base class or a subclass.
///
/// # Errors
///
/// Unsupported, if it is null or of a class that the enum lacks; otherwise as
/// [`FlinkType::read`].
pub fn read<E: Subclasses>(input: &mut ByteReader<'_>) -> Result<E, Error> {
    let at = input.offset();
    let head = read_head::<E>(input)?;
    let mut variants = E::VARIANTS.iter();
    let found = match &head {
        Head::Exact => variants.find(|variant| variant.role == Role::Exact),
        Head::Registered(index) => variants
            .filter(|variant| variant.role == Role::Registered)
            .nth(*index),
        Head::Other(class) => variants.find(|variant| variant.class == class),
    };
    match found {
        Some(variant) => (variant.read)(input),
        None => Err(unknown::<E>(at, &head.describe())),
    }
}

impl Head {
    fn describe(&self) -> String {
        match self {
            Head::Exact => "the class itself".to_owned(),
            Head::Registered(index) => format!("the registered subclass {index}"),
            Head::Other(class) => format!("the subclass {class}"),
        }
    }
}

/// What reads the objects of one earlier subclass; `None` if the enum lacks it.
type Entry<E> = (String, Option<Reader<E>>);

/// Returns what reads objects that `previous` describes.
///
/// # Errors
///
/// A subclass, or the base class, cannot be read with what it is now.
pub fn converter<E: Subclasses>(
    previous: &SerializerSnapshot,
) -> Result<Reader<E>, Incompatibility> {
    let SnapshotBody::Pojo {
        registered, other, ..
    } = &previous.body
    else {
        return Err(Incompatibility::new(format!("was {}", previous.describe())));
    };
    let exact = E::VARIANTS
        .iter()
        .find(|variant| variant.role == Role::Exact);
    let exact = exact
        .map(|variant| (variant.converter)(previous))
        .transpose()?;
    let entries = |entries: &[OptionalEntry<SerializerSnapshot>]| {
        let entry = |old: &OptionalEntry<SerializerSnapshot>| {
            let variant = E::VARIANTS.iter().find(|variant| variant.class == old.name);
            let reader = match (variant, &old.value) {
                (Some(variant), Some(serializer)) => {
                    let reader = (variant.converter)(serializer);
                    Some(reader.map_err(|why| why.within(&old.name))?)
                }
                (Some(_), None) | (None, _) => None,
            };
            Ok((old.name.clone(), reader))
        };
        entries
            .iter()
            .map(entry)
            .collect::<Result<Vec<Entry<E>>, Incompatibility>>()
    };
    let (registered, other) = (entries(registered)?, entries(other)?);
    Ok(Reader::converting(move |input| {
        let at = input.offset();
        let head = read_head::<E>(input)?;
        let reader = match &head {
            Head::Exact => exact.as_ref(),
            Head::Registered(index) => registered
                .get(*index)
                .and_then(|(_, reader)| reader.as_ref()),
            Head::Other(class) => match other.iter().find(|(known, _)| known == class) {
                Some((_, reader)) => reader.as_ref(),
                // Flink notes subclasses as it meets them; one that it met while it wrote the
                // snapshot is not listed.
                None => {
                    let variant = E::VARIANTS.iter().find(|variant| variant.class == class);
                    return match variant {
                        Some(variant) => (variant.read)(input),
                        None => Err(unknown::<E>(at, &head.describe())),
                    };
                }
            },
        };
        match reader {
            Some(reader) => reader.read(input),
            None => Err(unknown::<E>(at, &head.describe())),
        }
    }))
}

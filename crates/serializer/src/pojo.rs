//! Structs as Flink's POJOs and Java's records: what `#[derive(FlinkPojo)]` calls.
//!
//! | order | type | meaning |
//! | --- | --- | --- |
//! | 1 | u8 | 1 null, 2 an object of the class itself, 4 of an unregistered subclass, 8 of a registered one |
//! | 2 | | 2: per field, in the order of names: bool is-null, value |
//! | | | 4: UTF class, then the subclass's own bytes; 8: u8 index, then the same |
//!
//! Records have the same bytes. Fields are matched by their names when a struct has changed since a
//! snapshot: what is gone is read over, what is new has a default.
//!
//! Source: Flink 2.3.0, classes `PojoSerializer` and `PojoSerializerSnapshot`.

use crate::pojo_flags::{EXACT, NULL, OTHER, REGISTERED, bad_flags};
use crate::skip::can_skip;
use crate::{
    ByteReader, ByteWriter, Compatibility, Error, FlinkType, Incompatibility, OptionalEntry,
    Reader, SerializerSnapshot, SnapshotBody, nullable, skip_value,
};

/// A Rust type that stands for a class of Java: what the derives make.
pub trait JavaClass {
    /// The name of the class, or the path of the Rust type, if it does not say which one.
    const CLASS: &'static str;
}

/// Returns how the snapshot of a POJO lists a field of type `T`, declared by the Java class `class`.
///
/// # Panics
///
/// If a name takes more than 65535 bytes, which Java does not allow either.
pub fn field<T: FlinkType>(name: &str, class: &str) -> OptionalEntry<SerializerSnapshot> {
    let mut key = Vec::new();
    for part in [class, name] {
        key.put_utf(part)
            .expect("names of classes and fields have at most 65535 bytes");
    }
    OptionalEntry {
        name: name.to_owned(),
        key: Some(key),
        value: Some(T::field_snapshot()),
    }
}

/// Appends the flags of an object of the class itself.
#[inline]
pub fn write_exact(out: &mut Vec<u8>) {
    out.put_u8(EXACT);
}

/// Appends a field.
#[inline]
pub fn write_field<T: FlinkType>(value: &T, out: &mut Vec<u8>) {
    if !T::NULLABLE {
        out.put_bool(false);
    }
    value.write_field(out);
}

/// Reads the flags, which must be those of an object of the class itself.
///
/// # Errors
///
/// Unsupported, if it is null or of a subclass; corrupt, if there are no such flags.
#[inline]
pub fn read_exact(input: &mut ByteReader<'_>, class: &str) -> Result<(), Error> {
    let at = input.offset();
    match input.u8()? {
        EXACT => Ok(()),
        flags => Err(not_exact(at, flags, input, class)),
    }
}

#[cold]
fn not_exact(at: u64, flags: u8, input: &mut ByteReader<'_>, class: &str) -> Error {
    match flags {
        NULL => nullable::null(at, &format!("a {class}")),
        OTHER => match input.utf() {
            Ok(subclass) => Error::unsupported(format!(
                "an object of the subclass {subclass} of {class} at offset {at}; declare an enum of \
                 both to read it"
            )),
            Err(error) => error,
        },
        REGISTERED => Error::unsupported(format!(
            "an object of a registered subclass of {class} at offset {at}; declare an enum of both \
             to read it"
        )),
        flags => bad_flags(at, flags),
    }
}

/// Reads a field.
///
/// # Errors
///
/// Unsupported, if it is null and `T` no `Option`; otherwise as [`FlinkType::read`].
#[inline]
pub fn read_field<T: FlinkType>(input: &mut ByteReader<'_>, name: &str) -> Result<T, Error> {
    if !T::NULLABLE {
        let at = input.offset();
        if input.bool()? {
            return Err(null_field(at, name));
        }
    }
    T::read_field(input)
}

#[cold]
fn null_field(offset: u64, name: &str) -> Error {
    nullable::null(offset, &format!("field \"{name}\""))
}

/// Returns what reads fields, behind their bool, that `previous` describes.
pub(crate) fn field_reader<T: FlinkType>(
    previous: &SerializerSnapshot,
) -> Result<Reader<T>, Incompatibility> {
    match T::field_snapshot().resolve(previous) {
        Compatibility::AsIs => Ok(Reader::converting(T::read_field)),
        Compatibility::AfterMigration | Compatibility::Reconfigured => T::field_converter(previous),
        Compatibility::Incompatible(why) => Err(why),
    }
}

/// What to do with the next field of an earlier serializer.
#[derive(Clone, Debug)]
pub enum Step {
    /// It is the field at this index of the struct.
    Field(usize),
    /// The struct has no such field.
    Skip(SerializerSnapshot),
}

impl Step {
    /// Reads over a field that the struct does not have.
    ///
    /// # Errors
    ///
    /// As [`skip_value`].
    pub fn skip(&self, input: &mut ByteReader<'_>) -> Result<(), Error> {
        match self {
            Step::Skip(serializer) if !input.bool()? => skip_value(serializer, input),
            Step::Field(_) | Step::Skip(_) => Ok(()),
        }
    }
}

/// The fields of an earlier serializer, and where they go.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order in which values have them.
    steps: Vec<Step>,
    /// The serializer that each field of the struct had, if it was there.
    previous: Vec<Option<SerializerSnapshot>>,
}

impl Plan {
    /// Returns the plan for a struct with the fields `names`.
    ///
    /// # Errors
    ///
    /// `previous` is no POJO, or has fields that can be neither read nor passed over.
    pub fn new(previous: &SerializerSnapshot, names: &[&str]) -> Result<Self, Incompatibility> {
        let SnapshotBody::Pojo { fields, .. } = &previous.body else {
            return Err(Incompatibility::new(format!("was {}", previous.describe())));
        };
        let mut plan = Plan {
            steps: Vec::new(),
            previous: vec![None; names.len()],
        };
        for field in fields {
            let Some(serializer) = &field.value else {
                let why = Incompatibility::new("the snapshot does not say of which type it was");
                return Err(why.within(&field.name));
            };
            match names.iter().position(|name| *name == field.name) {
                Some(index) => {
                    plan.previous[index] = Some(serializer.clone());
                    plan.steps.push(Step::Field(index));
                }
                None if can_skip(serializer) => plan.steps.push(Step::Skip(serializer.clone())),
                None => {
                    let was = serializer.describe();
                    let reason =
                        format!("was {was}, which cannot be read over; it cannot be removed");
                    return Err(Incompatibility::new(reason).within(&field.name));
                }
            }
        }
        Ok(plan)
    }

    /// What to do with the fields of each value, in their order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns what reads the field `name` at `index` of the struct, or has its `default`.
    ///
    /// # Errors
    ///
    /// The field was of another type, or it is new and `default` is `None`.
    pub fn field<T: FlinkType>(
        &self,
        index: usize,
        name: &'static str,
        default: Option<T>,
    ) -> Result<FieldReader<T>, Incompatibility> {
        let reader = match &self.previous[index] {
            None => None,
            Some(previous) if T::NULLABLE => {
                // The bool is the `Option`'s own.
                Some(match T::field_snapshot().resolve(previous) {
                    Compatibility::AsIs => Reader::converting(T::read_field),
                    Compatibility::AfterMigration | Compatibility::Reconfigured => {
                        T::field_converter(previous).map_err(|why| why.within(name))?
                    }
                    Compatibility::Incompatible(why) => return Err(why.within(name)),
                })
            }
            Some(previous) => {
                let value = field_reader::<T>(previous).map_err(|why| why.within(name))?;
                Some(Reader::converting(move |input| {
                    let at = input.offset();
                    match input.bool()? {
                        true => Err(null_field(at, name)),
                        false => value.read(input),
                    }
                }))
            }
        };
        if reader.is_none() && default.is_none() {
            let reason = "is new and would be null in what the snapshot holds; declare it as \
                          Option, or give it a default by #[flink(default)]";
            return Err(Incompatibility::new(reason).within(name));
        }
        Ok(FieldReader {
            reader,
            default,
            name,
        })
    }
}

/// Reads one field of a struct from the values of an earlier serializer.
#[derive(Debug)]
pub struct FieldReader<T> {
    reader: Option<Reader<T>>,
    default: Option<T>,
    name: &'static str,
}

impl<T: FlinkType> FieldReader<T> {
    /// Reads the field, whose turn it is.
    ///
    /// # Errors
    ///
    /// As [`read_field`].
    pub fn read(&self, input: &mut ByteReader<'_>) -> Result<Option<T>, Error> {
        match &self.reader {
            Some(reader) => reader.read(input).map(Some),
            None => Ok(None),
        }
    }

    /// Returns what was read, or the default of a field that is new.
    ///
    /// # Errors
    ///
    /// Incompatible, if there is neither: the plan was for another struct.
    pub fn or_default(&self, read: Option<T>) -> Result<T, Error> {
        read.or_else(|| self.default.clone())
            .ok_or_else(|| Error::incompatible(format!("field \"{}\" is missing", self.name)))
    }
}

/// Returns what Java's `Objects.hash` returns for the hash codes of fields.
pub fn hash_of_fields(fields: &[i32]) -> i32 {
    hash_from(1, fields)
}

/// Returns what the `hashCode` of a record returns for the hash codes of its components.
pub fn hash_of_components(components: &[i32]) -> i32 {
    hash_from(0, components)
}

fn hash_from(start: i32, parts: &[i32]) -> i32 {
    parts.iter().fold(start, |hash, part| {
        hash.wrapping_mul(31).wrapping_add(*part)
    })
}

//! Enums: an i32 that counts the constants in the order of the serializer's snapshot.
//!
//! A program may add constants and order them anew: values are read by the order of the snapshot
//! and written by that of the program. (Flink keeps the old order and appends what is new, since
//! one of its backends does not write values again.)
//!
//! Source: Flink 2.3.0, class `EnumSerializer`.

use crate::{
    ByteReader, ByteWriter, Error, Incompatibility, JavaClass, Reader, SerializerSnapshot,
    SnapshotBody,
};

/// A Rust enum without fields that stands for a Java enum: what `#[derive(FlinkEnum)]` makes.
pub trait JavaEnum: JavaClass + Clone + Send + Sync + Sized + 'static {
    /// All constants, by the names that they have in Java.
    const CONSTANTS: &'static [(&'static str, Self)];

    /// Where the constant stands in [`CONSTANTS`](Self::CONSTANTS).
    fn ordinal(&self) -> usize;
}

/// The snapshot of the enum's serializer.
pub fn snapshot<E: JavaEnum>() -> SerializerSnapshot {
    let names: Vec<_> = E::CONSTANTS.iter().map(|(name, _)| *name).collect();
    SerializerSnapshot::java_enum(E::CLASS, &names)
}

/// Appends the constant.
#[inline]
pub fn write<E: JavaEnum>(constant: &E, out: &mut Vec<u8>) {
    out.put_i32(constant.ordinal() as i32);
}

/// Reads a constant.
///
/// # Errors
///
/// Corrupt, if the number is none of a constant.
#[inline]
pub fn read<E: JavaEnum>(input: &mut ByteReader<'_>) -> Result<E, Error> {
    number(input, E::CONSTANTS.len()).map(|at| E::CONSTANTS[at].1.clone())
}

fn number(input: &mut ByteReader<'_>, constants: usize) -> Result<usize, Error> {
    let at = input.offset();
    let number = input.i32()?;
    match usize::try_from(number) {
        Ok(found) if found < constants => Ok(found),
        Ok(_) | Err(_) => {
            let expected = format!("one of {constants} enum constants");
            Err(Error::corrupt(at, expected, number.to_string()))
        }
    }
}

/// Returns what reads constants by the order that `previous` says.
///
/// # Errors
///
/// A constant of `previous` is gone.
pub fn converter<E: JavaEnum>(previous: &SerializerSnapshot) -> Result<Reader<E>, Incompatibility> {
    let SnapshotBody::Enum { constants, .. } = &previous.body else {
        return Err(Incompatibility::new(format!("was {}", previous.describe())));
    };
    let constant = |name: &String| {
        let found = E::CONSTANTS.iter().find(|(known, _)| known == name);
        found
            .map(|(_, constant)| constant.clone())
            .ok_or_else(|| Incompatibility::new(format!("enum constant \"{name}\" was removed")))
    };
    let constants: Vec<E> = constants.iter().map(constant).collect::<Result<_, _>>()?;
    Ok(Reader::converting(move |input| {
        number(input, constants.len()).map(|at| constants[at].clone())
    }))
}

/// Returns the hash code of a text, such as the name of a constant.
pub fn hash_of_name(name: &str) -> i32 {
    crate::key::hash_of_text(name)
}

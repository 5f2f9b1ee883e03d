//! A value behind a bool that says whether it is null, as maps, sets and fields of POJOs have it.
//!
//! An `Option` writes such a bool itself, so that the `Option` *is* the value there:
//! `BTreeMap<K, Option<V>>` is Flink's `Map<K, V>` with values that may be null.

use crate::{
    ByteReader, ByteWriter, Error, FlinkType, Incompatibility, Reader, SerializerSnapshot,
};

/// The serializer of what follows the bool.
pub fn snapshot<T: FlinkType>() -> SerializerSnapshot {
    let whole = T::serializer_snapshot();
    match (T::NULLABLE, whole.nested()) {
        (true, [value]) => value.clone(),
        (true | false, _) => whole,
    }
}

/// Appends the bool and the value.
#[inline]
pub fn write<T: FlinkType>(value: &T, out: &mut Vec<u8>) {
    if !T::NULLABLE {
        out.put_bool(false);
    }
    value.write(out);
}

/// Reads the bool and the value; `what` names it if it is null and `T` cannot hold that.
///
/// # Errors
///
/// Unsupported, if it is null and `T` no `Option`; otherwise as [`FlinkType::read`].
#[inline]
pub fn read<T: FlinkType>(input: &mut ByteReader<'_>, what: &str) -> Result<T, Error> {
    if !T::NULLABLE {
        refuse_null(input, what)?;
    }
    T::read(input)
}

/// Reads the bool, which must be false.
///
/// # Errors
///
/// Unsupported, if it is true; corrupt, if there is none.
#[inline]
pub fn refuse_null(input: &mut ByteReader<'_>, what: &str) -> Result<(), Error> {
    let at = input.offset();
    match input.bool()? {
        false => Ok(()),
        true => Err(null(at, what)),
    }
}

/// The error that a null cannot be held; `what` names it.
#[cold]
pub fn null(offset: u64, what: &str) -> Error {
    Error::unsupported(format!(
        "null for {what} at offset {offset}; declare it as Option to read it"
    ))
}

/// Returns what reads the bool and a value that `previous`, the serializer behind the bool,
/// describes.
///
/// # Errors
///
/// As [`FlinkType::reader`].
pub fn reader<T: FlinkType>(
    previous: &SerializerSnapshot,
    what: &'static str,
) -> Result<Reader<T>, Incompatibility> {
    if T::NULLABLE {
        return T::reader(&SerializerSnapshot::nullable(previous.clone()));
    }
    let value = T::reader(previous)?;
    Ok(Reader::converting(move |input| {
        refuse_null(input, what)?;
        value.read(input)
    }))
}

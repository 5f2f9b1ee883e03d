//! Passing over a value whose type is known only by its serializer's snapshot.
//!
//! Needed wherever values lie without lengths: native heap state, composite keys, lists.

use crate::class::{Class, Composite, Layout};
use crate::pojo_flags::{EXACT, NULL, OTHER, REGISTERED, bad_flags};
use crate::{ByteReader, Error, SerializerSnapshot, SnapshotBody, stream_record};

/// Reads over one value of the serializer that `snapshot` describes.
///
/// # Errors
///
/// Corrupt, if the bytes are no such value; unsupported, if values of this serializer have no
/// layout that Millpond knows (Kryo, Avro).
pub fn skip_value(snapshot: &SerializerSnapshot, input: &mut ByteReader<'_>) -> Result<(), Error> {
    match (snapshot.known_class(), &snapshot.body) {
        (Some(Class::Simple(layout)), _) => skip_simple(layout, input),
        (Some(Class::Composite(composite)), SnapshotBody::Composite { nested, .. }) => {
            skip_composite(snapshot, composite, nested, input)
        }
        (Some(Class::Enum), SnapshotBody::Enum { constants, .. }) => {
            let at = input.offset();
            let index = input.i32()?;
            match usize::try_from(index) {
                Ok(found) if found < constants.len() => Ok(()),
                Ok(_) | Err(_) => {
                    let expected = format!("one of {} enum constants", constants.len());
                    Err(Error::corrupt(at, expected, index.to_string()))
                }
            }
        }
        (Some(Class::Pojo), SnapshotBody::Pojo { .. }) => skip_pojo(snapshot, input),
        _ => Err(Error::unsupported(format!(
            "reading values of {}",
            snapshot.describe()
        ))),
    }
}

/// Whether values of this serializer can be read over, whatever they are.
pub(crate) fn can_skip(snapshot: &SerializerSnapshot) -> bool {
    match (snapshot.known_class(), &snapshot.body) {
        (Some(Class::Simple(_) | Class::Enum), _) => true,
        (Some(Class::Composite(_)), _) => snapshot.nested().iter().all(can_skip),
        (
            Some(Class::Pojo),
            SnapshotBody::Pojo {
                fields,
                registered,
                other,
                ..
            },
        ) => [fields, registered, other]
            .into_iter()
            .flatten()
            .all(|entry| entry.value.as_ref().is_some_and(can_skip)),
        _ => false,
    }
}

fn skip_simple(layout: Layout, input: &mut ByteReader<'_>) -> Result<(), Error> {
    match layout {
        Layout::Fixed(length) => input.take(length).map(drop),
        Layout::Bool => input.bool().map(drop),
        Layout::VoidNamespace => <crate::VoidNamespace as crate::FlinkType>::read(input).map(drop),
        Layout::Text => input.skip_string_value(),
        Layout::BigInt => skip_big_integer(input).map(drop),
        Layout::BigDec => match skip_big_integer(input)? {
            true => input.i32().map(drop),
            false => Ok(()),
        },
        Layout::Array(width) => {
            let count = input.count(width)?;
            input.take(count * width).map(drop)
        }
        Layout::TextArray => {
            for _ in 0..input.count(1)? {
                input.skip_string_value()?;
            }
            Ok(())
        }
    }
}

/// Returns whether it was a number and not null.
fn skip_big_integer(input: &mut ByteReader<'_>) -> Result<bool, Error> {
    let at = input.offset();
    let code = input.i32()?;
    match usize::try_from(code) {
        Ok(0) => Ok(false),
        Ok(1..4) => Ok(true),
        Ok(length) => input.take(length - 4).map(|_| true),
        Err(_) => Err(Error::corrupt(
            at,
            "the length of a number",
            code.to_string(),
        )),
    }
}

fn skip_composite(
    snapshot: &SerializerSnapshot,
    composite: Composite,
    nested: &[SerializerSnapshot],
    input: &mut ByteReader<'_>,
) -> Result<(), Error> {
    match (composite, nested) {
        (Composite::List, [element]) => {
            (0..input.count(1)?).try_for_each(|_| skip_value(element, input))
        }
        (Composite::Map, [key, value]) => (0..input.count(2)?).try_for_each(|_| {
            skip_value(key, input)?;
            if input.bool()? {
                Ok(())
            } else {
                skip_value(value, input)
            }
        }),
        (Composite::Set, [element]) => (0..input.count(1)?).try_for_each(|_| {
            if input.bool()? {
                Ok(())
            } else {
                skip_value(element, input)
            }
        }),
        (Composite::GenericArray, [element]) => (0..input.count(1)?).try_for_each(|_| {
            if input.bool()? {
                skip_value(element, input)
            } else {
                Ok(())
            }
        }),
        (Composite::Tuple, fields) => fields.iter().try_for_each(|field| skip_value(field, input)),
        (Composite::Row, fields) => skip_row(snapshot, fields, input),
        (Composite::Either, [left, right]) => {
            let value = if input.bool()? { left } else { right };
            skip_value(value, input)
        }
        (Composite::Nullable, [value]) => {
            if input.bool()? {
                input.take(snapshot.padding()).map(drop)
            } else {
                skip_value(value, input)
            }
        }
        (Composite::Ttl, [time, value]) => {
            skip_value(time, input)?;
            skip_value(value, input)
        }
        (Composite::StreamElement, [value]) => {
            stream_record::read_timestamp(input)?;
            skip_value(value, input)
        }
        (Composite::Timer, [key, namespace]) => {
            input.i64()?;
            skip_value(key, input)?;
            skip_value(namespace, input)
        }
        _ => Err(Error::unsupported(format!(
            "reading values of {}",
            snapshot.describe()
        ))),
    }
}

fn skip_row(
    snapshot: &SerializerSnapshot,
    fields: &[SerializerSnapshot],
    input: &mut ByteReader<'_>,
) -> Result<(), Error> {
    let has_kind = snapshot.has_row_kind();
    let kind_bits = if has_kind { 2 } else { 0 };
    let mask = input.take((kind_bits + fields.len()).div_ceil(8))?;
    for (index, field) in fields.iter().enumerate() {
        let bit = kind_bits + index;
        if mask[bit / 8] & (0x80 >> (bit % 8)) == 0 {
            skip_value(field, input)?;
        }
    }
    Ok(())
}

fn skip_pojo(snapshot: &SerializerSnapshot, input: &mut ByteReader<'_>) -> Result<(), Error> {
    let SnapshotBody::Pojo {
        class,
        fields,
        registered,
        other,
    } = &snapshot.body
    else {
        return Err(Error::unsupported(format!(
            "reading values of {}",
            snapshot.describe()
        )));
    };
    let at = input.offset();
    let missing = |what: String| Error::unsupported(format!("{what} of {class} at offset {at}"));
    match input.u8()? {
        NULL => Ok(()),
        EXACT => fields.iter().try_for_each(|field| {
            let Some(value) = &field.value else {
                return Err(missing(format!(
                    "field \"{}\" without serializer",
                    field.name
                )));
            };
            if input.bool()? {
                Ok(())
            } else {
                skip_value(value, input)
            }
        }),
        OTHER => {
            let name = input.utf()?;
            let found = other.iter().find(|entry| entry.name == name);
            match found.and_then(|entry| entry.value.as_ref()) {
                Some(subclass) => skip_value(subclass, input),
                None => Err(missing(format!("subclass \"{name}\""))),
            }
        }
        REGISTERED => {
            let index = usize::from(input.u8()?);
            match registered.get(index).and_then(|entry| entry.value.as_ref()) {
                Some(subclass) => skip_value(subclass, input),
                None => Err(missing(format!("registered subclass {index}"))),
            }
        }
        flags => Err(bad_flags(at, flags)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FlinkType, TimeWindow, TimerElement};
    use std::collections::BTreeMap;

    fn skips<T: FlinkType>(value: T) {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        bytes.push(0x2c);
        let mut input = ByteReader::new(&bytes);
        skip_value(&T::serializer_snapshot(), &mut input).expect("a value");
        assert_eq!(input.remaining(), 1);
        for cut in 0..bytes.len() - 1 {
            assert!(
                skip_value(
                    &T::serializer_snapshot(),
                    &mut ByteReader::new(&bytes[..cut])
                )
                .is_err()
            );
        }
    }

    #[test]
    fn a_value_is_passed_over_whole_and_a_cut_one_is_refused() {
        skips(7i64);
        skips(("né😀".to_owned(), 1i16, true));
        skips(vec!["a".to_owned(), String::new()]);
        skips(BTreeMap::from([(1i32, Some(2.5f64)), (2, None)]));
        skips(vec![1u8, 2, 3]);
        skips(TimerElement {
            timestamp: -5,
            key: 1i8,
            namespace: TimeWindow { start: 0, end: 9 },
        });
    }

    #[test]
    fn a_row_skips_its_null_fields() {
        let mut snapshot = <(String, i32)>::serializer_snapshot();
        snapshot.class = format!(
            "{}RowSerializer$RowSerializerSnapshot",
            crate::class::RUNTIME
        );
        let SnapshotBody::Composite {
            outer_version,
            outer,
            ..
        } = &mut snapshot.body
        else {
            panic!("composite");
        };
        (*outer_version, *outer) = (4, vec![1]);
        let mut input = ByteReader::new(&[0x10, 0x02, 0x61]);
        skip_value(&snapshot, &mut input).expect("(\"a\", null)");
        assert!(input.is_empty());
    }
}

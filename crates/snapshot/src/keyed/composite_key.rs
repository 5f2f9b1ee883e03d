//! Composite keys: key, namespace and user key in one.
//!
//! | order | bytes | meaning |
//! | --- | --- | --- |
//! | 1 | 1 or 2 | key group (2 if the maximum parallelism is above 128) |
//! | 2 | key serializer | key |
//! | 3 | only if ambiguous | bytes of the key: little-endian, as few bytes as needed, at least 1 |
//! | 4 | namespace serializer | namespace |
//! | 5 | only if ambiguous | bytes of the namespace |
//! | 6 | only MAP | user key |
//!
//! Ambiguous is a key whose serializer and whose namespace's serializer both have values of
//! different lengths. Void namespaces and time windows never make it so.
//!
//! Source: Flink 2.3.0, class `CompositeKeySerializationUtils`.

use millpond_serializer::{ByteReader, SerializerSnapshot, skip_value};

use crate::{Error, KeyedHeader, StateKind};

/// The byte between the elements of a list: it is not escaped, and there is no count.
pub const LIST_DELIMITER: u8 = b',';

/// The parts of the key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// The bytes of the key.
    pub key: &'a [u8],
    /// The bytes of the namespace.
    pub namespace: &'a [u8],
    /// The bytes of the user key; empty unless the state is a map.
    pub user_key: &'a [u8],
}

/// Whether composite keys of these serializers carry lengths.
pub fn is_ambiguous(key: &SerializerSnapshot, namespace: &SerializerSnapshot) -> bool {
    key.fixed_length().is_none() && namespace.fixed_length().is_none()
}

/// Appends a length as ambiguous keys have it.
pub fn put_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        out.push(length as u8);
        length >>= 8;
        if length == 0 {
            return;
        }
    }
}

/// Reads the length that follows `length` bytes in an ambiguous key.
///
/// # Errors
///
/// Corrupt, if it is another one.
pub fn read_length(length: usize, input: &mut ByteReader<'_>) -> Result<(), Error> {
    let at = input.offset();
    let mut rest = length;
    loop {
        let found = input.u8()?;
        if found != rest as u8 {
            let expected = format!("the length {length} of a part of a key");
            return Err(Error::corrupt(at, expected, format!("byte {found:#04x}")));
        }
        rest >>= 8;
        if rest == 0 {
            return Ok(());
        }
    }
}

/// Cuts the key of an entry, known only by the header, into its parts.
///
/// For timers `key` and `namespace` are those of the timer.
///
/// # Errors
///
/// Corrupt, if the key does not consist of such parts; unsupported, if its serializers are.
pub fn split_key<'a>(
    header: &KeyedHeader,
    state: usize,
    bytes: &'a [u8],
) -> Result<KeyParts<'a>, Error> {
    let meta = header
        .states
        .get(state)
        .ok_or_else(|| Error::incompatible(format!("state {state} of {}", header.states.len())))?;
    let mut input = ByteReader::new(bytes);
    if meta.kind == StateKind::PriorityQueue {
        let [key, namespace] = meta.value_serializer()?.nested() else {
            let what = format!("elements of \"{}\" that are no timers", meta.name);
            return Err(Error::unsupported(what));
        };
        input.i64()?;
        let key = part(key, false, &mut input)?;
        let namespace = part(namespace, false, &mut input)?;
        return match input.remaining() {
            0 => Ok(KeyParts {
                key,
                namespace,
                user_key: &[],
            }),
            left => Err(Error::corrupt(
                input.offset(),
                "the end of a timer",
                format!("{left} bytes"),
            )),
        };
    }
    let namespace = meta.namespace_serializer()?;
    let ambiguous = is_ambiguous(&header.key_serializer, namespace);
    Ok(KeyParts {
        key: part(&header.key_serializer, ambiguous, &mut input)?,
        namespace: part(namespace, ambiguous, &mut input)?,
        user_key: input.rest(),
    })
}

fn part<'a>(
    serializer: &SerializerSnapshot,
    ambiguous: bool,
    input: &mut ByteReader<'a>,
) -> Result<&'a [u8], Error> {
    let start = input.position();
    skip_value(serializer, input)?;
    let part = input.since(start);
    if ambiguous {
        read_length(part.len(), input)?;
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyedStateType, StateMeta};
    use millpond_serializer::FlinkType;

    #[test]
    fn an_ambiguous_key_has_the_bytes_that_flinks_builder_makes() {
        // Flink's key builder: "k2", namespace "ns", user key "u", without the key group 82.
        let string = String::serializer_snapshot();
        let map = SerializerSnapshot::map(string.clone(), string.clone());
        let meta = StateMeta::key_value("m", KeyedStateType::Map, string.clone(), map);
        let header = KeyedHeader {
            compressed: false,
            key_serializer: string,
            states: vec![meta],
        };
        let bytes = [0x03, 0x6b, 0x32, 0x03, 0x03, 0x6e, 0x73, 0x03, 0x02, 0x75];
        let parts = split_key(&header, 0, &bytes).expect("a key");
        assert_eq!(parts.key, [0x03, 0x6b, 0x32]);
        assert_eq!(parts.namespace, [0x03, 0x6e, 0x73]);
        assert_eq!(parts.user_key, [0x02, 0x75]);
        let mut wrong = bytes;
        wrong[3] = 4;
        assert!(split_key(&header, 0, &wrong).is_err());
    }

    #[test]
    fn lengths_take_as_few_bytes_as_needed() {
        for (length, bytes) in [(0, vec![0]), (255, vec![255]), (301, vec![0x2d, 0x01])] {
            let mut out = Vec::new();
            put_length(length, &mut out);
            assert_eq!(out, bytes);
            read_length(length, &mut ByteReader::new(&out)).expect("the same");
        }
    }
}

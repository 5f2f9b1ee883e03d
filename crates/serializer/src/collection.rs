//! Lists and maps.
//!
//! | type | bytes |
//! | --- | --- |
//! | `Vec<T>` | Flink's `List`: i32 count, elements |
//! | `HashMap`, `BTreeMap` | Flink's `Map`: i32 count, each: key, bool is-null, value |
//!
//! Source: Flink 2.3.0, classes `ListSerializer` and `MapSerializer`.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use crate::{ByteReader, ByteWriter, Error, FlinkType, SerializerSnapshot};

impl<T: FlinkType> FlinkType for Vec<T> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::list(T::serializer_snapshot())
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_count(self.len());
        self.iter().for_each(|element| element.write(out));
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        // Every element takes at least one byte.
        let count = input.count(1)?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(T::read(input)?);
        }
        Ok(list)
    }
}

fn write_map<'a, K: FlinkType, V: FlinkType>(
    entries: impl ExactSizeIterator<Item = (&'a K, &'a V)>,
    out: &mut Vec<u8>,
) {
    out.put_count(entries.len());
    for (key, value) in entries {
        key.write(out);
        out.put_bool(false);
        value.write(out);
    }
}

fn read_map<K: FlinkType, V: FlinkType>(
    input: &mut ByteReader<'_>,
    mut insert: impl FnMut(K, V),
) -> Result<(), Error> {
    for _ in 0..input.count(2)? {
        let key = K::read(input)?;
        let at = input.offset();
        if input.bool()? {
            return Err(Error::unsupported(format!(
                "null for a value of a map at offset {at}"
            )));
        }
        insert(key, V::read(input)?);
    }
    Ok(())
}

impl<K, V, S> FlinkType for HashMap<K, V, S>
where
    K: FlinkType + Eq + Hash,
    V: FlinkType,
    S: BuildHasher + Default + Clone + Send + Sync + 'static,
{
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::map(K::serializer_snapshot(), V::serializer_snapshot())
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_map(self.iter(), out);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let mut map = HashMap::default();
        read_map(input, |key, value| drop(map.insert(key, value)))?;
        Ok(map)
    }
}

impl<K: FlinkType + Ord, V: FlinkType> FlinkType for BTreeMap<K, V> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::map(K::serializer_snapshot(), V::serializer_snapshot())
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_map(self.iter(), out);
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let mut map = BTreeMap::new();
        read_map(input, |key, value| drop(map.insert(key, value)))?;
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_maps_round_trip_and_refuse_counts_beyond_the_end() {
        let map: BTreeMap<String, Vec<i64>> =
            [("a".to_owned(), vec![1, 2]), ("b".to_owned(), vec![])].into();
        let mut out = Vec::new();
        map.write(&mut out);
        assert_eq!(out[..8], [0, 0, 0, 2, 2, b'a', 0, 0]);
        let mut input = ByteReader::new(&out);
        assert_eq!(BTreeMap::read(&mut input), Ok(map.clone()));
        assert!(input.is_empty());
        let hashed = HashMap::<String, Vec<i64>>::read(&mut ByteReader::new(&out)).expect("same");
        assert_eq!(hashed.into_iter().collect::<BTreeMap<_, _>>(), map);
        let huge = [0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert!(Vec::<i64>::read(&mut ByteReader::new(&huge)).is_err());
        assert!(BTreeMap::<i8, i8>::read(&mut ByteReader::new(&huge)).is_err());
    }

    #[test]
    fn a_null_in_a_map_is_told_and_not_invented() {
        let bytes = [0, 0, 0, 1, 2, b'a', 1];
        let error = BTreeMap::<String, i64>::read(&mut ByteReader::new(&bytes)).expect_err("null");
        assert!(
            error.to_string().contains("null for a value of a map"),
            "{error}"
        );
    }
}

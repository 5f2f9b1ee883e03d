//! Lists, maps and sets.
//!
//! | type | bytes |
//! | --- | --- |
//! | `Vec<T>` | Flink's `List`: i32 count, elements |
//! | `HashMap`, `BTreeMap` | Flink's `Map`: i32 count, each: key, bool is-null, value |
//! | `HashSet`, `BTreeSet` | Flink's `Set` (since 2.0): i32 count, each: bool is-null, value |
//!
//! As a field of a POJO a collection may be null, and so may the elements of a list and the keys of
//! a map, each behind a bool of its own: what Flink 2 makes of a field that is declared as `List`,
//! `Map` or `Set`. Flink 1 makes Kryo of it, which cannot be read.
//!
//! Source: Flink 2.3.0, classes `ListSerializer`, `MapSerializer`, `SetSerializer`,
//! `NullableSerializer`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use crate::{
    ByteReader, ByteWriter, Error, FlinkType, Incompatibility, Reader, SerializerSnapshot, nullable,
};

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
        read_list(input, T::read)
    }

    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let element = T::reader(previous.part(0)?).map_err(|why| why.within("element"))?;
        Ok(Reader::converting(move |input| {
            read_list(input, |input| element.read(input))
        }))
    }

    fn field_snapshot() -> SerializerSnapshot {
        let element = SerializerSnapshot::nullable(nullable::snapshot::<T>());
        SerializerSnapshot::nullable(SerializerSnapshot::list(element))
    }

    fn write_field(&self, out: &mut Vec<u8>) {
        out.put_bool(false);
        out.put_count(self.len());
        self.iter()
            .for_each(|element| nullable::write(element, out));
    }

    fn read_field(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        nullable::refuse_null(input, "a list")?;
        read_list(input, |input| nullable::read(input, "an element of a list"))
    }

    fn field_converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let element = previous.part(0)?.part(0)?.part(0)?;
        let element = nullable::reader::<T>(element, "an element of a list");
        let element = element.map_err(|why| why.within("element"))?;
        Ok(Reader::converting(move |input| {
            nullable::refuse_null(input, "a list")?;
            read_list(input, |input| element.read(input))
        }))
    }
}

fn read_list<T>(
    input: &mut ByteReader<'_>,
    mut element: impl FnMut(&mut ByteReader<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    // Every element takes at least one byte. Memory comes with the elements, not with the count.
    let count = input.count(1)?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(element(input)?);
    }
    Ok(list)
}

const MAP_VALUE: &str = "a value of a map";

fn write_map<'a, K: FlinkType, V: FlinkType>(
    entries: impl ExactSizeIterator<Item = (&'a K, &'a V)>,
    write_key: impl Fn(&K, &mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    out.put_count(entries.len());
    for (key, value) in entries {
        write_key(key, out);
        nullable::write(value, out);
    }
}

fn read_map<K, V>(
    input: &mut ByteReader<'_>,
    key: impl Fn(&mut ByteReader<'_>) -> Result<K, Error>,
    value: impl Fn(&mut ByteReader<'_>) -> Result<V, Error>,
    mut insert: impl FnMut(K, V),
) -> Result<(), Error> {
    for _ in 0..input.count(2)? {
        let key = key(input)?;
        insert(key, value(input)?);
    }
    Ok(())
}

fn map_snapshot<K: FlinkType, V: FlinkType>() -> SerializerSnapshot {
    SerializerSnapshot::map(K::serializer_snapshot(), nullable::snapshot::<V>())
}

fn map_field_snapshot<K: FlinkType, V: FlinkType>() -> SerializerSnapshot {
    let key = SerializerSnapshot::nullable(nullable::snapshot::<K>());
    SerializerSnapshot::nullable(SerializerSnapshot::map(key, nullable::snapshot::<V>()))
}

/// The readers of keys and values.
type MapReaders<K, V> = (Reader<K>, Reader<V>);

fn map_readers<K: FlinkType, V: FlinkType>(
    previous: &SerializerSnapshot,
) -> Result<MapReaders<K, V>, Incompatibility> {
    let key = K::reader(previous.part(0)?).map_err(|why| why.within("key"))?;
    let value = nullable::reader::<V>(previous.part(1)?, MAP_VALUE);
    Ok((key, value.map_err(|why| why.within("value"))?))
}

fn map_field_readers<K: FlinkType, V: FlinkType>(
    previous: &SerializerSnapshot,
) -> Result<MapReaders<K, V>, Incompatibility> {
    let map = previous.part(0)?;
    let key = nullable::reader::<K>(map.part(0)?.part(0)?, "a key of a map");
    let value = nullable::reader::<V>(map.part(1)?, MAP_VALUE);
    Ok((
        key.map_err(|why| why.within("key"))?,
        value.map_err(|why| why.within("value"))?,
    ))
}

/// What `HashMap` and `BTreeMap` have in common.
macro_rules! map_methods {
    () => {
        fn serializer_snapshot() -> SerializerSnapshot {
            map_snapshot::<K, V>()
        }

        fn fixed_length() -> Option<usize> {
            None
        }

        fn write(&self, out: &mut Vec<u8>) {
            write_map(self.iter(), K::write, out);
        }

        fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
            let mut map = Self::default();
            let value = |input: &mut ByteReader<'_>| nullable::read(input, MAP_VALUE);
            read_map(input, K::read, value, |key, value| {
                map.insert(key, value);
            })?;
            Ok(map)
        }

        fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
            let (key, value) = map_readers::<K, V>(previous)?;
            Ok(Reader::converting(move |input| {
                let mut map = Self::default();
                read_map(
                    input,
                    |input| key.read(input),
                    |input| value.read(input),
                    |key, value| {
                        map.insert(key, value);
                    },
                )?;
                Ok(map)
            }))
        }

        fn field_snapshot() -> SerializerSnapshot {
            map_field_snapshot::<K, V>()
        }

        fn write_field(&self, out: &mut Vec<u8>) {
            out.put_bool(false);
            write_map(self.iter(), nullable::write, out);
        }

        fn read_field(input: &mut ByteReader<'_>) -> Result<Self, Error> {
            nullable::refuse_null(input, "a map")?;
            let mut map = Self::default();
            let key = |input: &mut ByteReader<'_>| nullable::read(input, "a key of a map");
            let value = |input: &mut ByteReader<'_>| nullable::read(input, MAP_VALUE);
            read_map(input, key, value, |key, value| {
                map.insert(key, value);
            })?;
            Ok(map)
        }

        fn field_converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
            let (key, value) = map_field_readers::<K, V>(previous)?;
            Ok(Reader::converting(move |input| {
                nullable::refuse_null(input, "a map")?;
                let mut map = Self::default();
                read_map(
                    input,
                    |input| key.read(input),
                    |input| value.read(input),
                    |key, value| {
                        map.insert(key, value);
                    },
                )?;
                Ok(map)
            }))
        }
    };
}

impl<K, V, S> FlinkType for HashMap<K, V, S>
where
    K: FlinkType + Eq + Hash,
    V: FlinkType,
    S: BuildHasher + Default + Clone + Send + Sync + 'static,
{
    map_methods!();
}

impl<K: FlinkType + Ord, V: FlinkType> FlinkType for BTreeMap<K, V> {
    map_methods!();
}

const SET_ELEMENT: &str = "an element of a set";

fn read_set<T>(
    input: &mut ByteReader<'_>,
    element: impl Fn(&mut ByteReader<'_>) -> Result<T, Error>,
    mut insert: impl FnMut(T),
) -> Result<(), Error> {
    for _ in 0..input.count(1)? {
        insert(element(input)?);
    }
    Ok(())
}

/// What `HashSet` and `BTreeSet` have in common.
macro_rules! set_methods {
    () => {
        fn serializer_snapshot() -> SerializerSnapshot {
            SerializerSnapshot::set(nullable::snapshot::<T>())
        }

        fn fixed_length() -> Option<usize> {
            None
        }

        fn write(&self, out: &mut Vec<u8>) {
            out.put_count(self.len());
            self.iter()
                .for_each(|element| nullable::write(element, out));
        }

        fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
            let mut set = Self::default();
            let element = |input: &mut ByteReader<'_>| nullable::read(input, SET_ELEMENT);
            read_set(input, element, |element| {
                set.insert(element);
            })?;
            Ok(set)
        }

        fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
            let element = nullable::reader::<T>(previous.part(0)?, SET_ELEMENT);
            let element = element.map_err(|why| why.within("element"))?;
            Ok(Reader::converting(move |input| {
                let mut set = Self::default();
                read_set(
                    input,
                    |input| element.read(input),
                    |element| {
                        set.insert(element);
                    },
                )?;
                Ok(set)
            }))
        }

        fn field_snapshot() -> SerializerSnapshot {
            SerializerSnapshot::nullable(Self::serializer_snapshot())
        }

        fn write_field(&self, out: &mut Vec<u8>) {
            out.put_bool(false);
            self.write(out);
        }

        fn read_field(input: &mut ByteReader<'_>) -> Result<Self, Error> {
            nullable::refuse_null(input, "a set")?;
            Self::read(input)
        }

        fn field_converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
            nullable::reader::<Self>(previous.part(0)?, "a set")
        }
    };
}

impl<T, S> FlinkType for HashSet<T, S>
where
    T: FlinkType + Eq + Hash,
    S: BuildHasher + Default + Clone + Send + Sync + 'static,
{
    set_methods!();
}

impl<T: FlinkType + Ord> FlinkType for BTreeSet<T> {
    set_methods!();
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
        assert!(BTreeSet::<i8>::read(&mut ByteReader::new(&huge)).is_err());
    }

    #[test]
    fn a_null_in_a_map_is_told_and_not_invented() {
        let bytes = [0, 0, 0, 1, 2, b'a', 1];
        let error = BTreeMap::<String, i64>::read(&mut ByteReader::new(&bytes)).expect_err("null");
        assert!(
            error.to_string().contains("null for a value of a map"),
            "{error}"
        );
        let map = BTreeMap::<String, Option<i64>>::read(&mut ByteReader::new(&bytes));
        assert_eq!(map, Ok([("a".to_owned(), None)].into()));
    }
}

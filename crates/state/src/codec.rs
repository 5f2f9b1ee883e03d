//! How the value of each kind of keyed state lies in the entries of a snapshot.
//!
//! | kind | entries | value bytes |
//! | --- | --- | --- |
//! | value, reducing, aggregating | one | serializer bytes |
//! | list | one | elements joined by `2C`, neither counted nor escaped |
//! | map | one per user key, whose bytes end the entry's key | bool isNull, value |
//!
//! What a snapshot holds may be of an earlier type; then a reader converts it, entry by entry.
//!
//! `MapState<UK, Option<UV>>` is Flink's `MapState<UK, UV>` with values that may be null.
//!
//! Source: Flink 2.3.0, classes `RocksDBListState`, `RocksDBMapState`, `HeapKeyValueStateIterator`.

use crate::frozen::StateWriter;
use crate::list_value::ListValue;
use crate::map_value::MapValue;
use crate::migration::StateMigrations;
use crate::ttl::{Expiry, Swept};
use millpond_serializer::{
    ByteReader, ByteWriter, Compatibility, Error, FlinkType, Incompatibility, Reader,
    SerializerSnapshot, nullable,
};
use millpond_snapshot::LIST_DELIMITER;
use std::marker::PhantomData;

/// What distinguishes the kinds of keyed state in a snapshot.
pub(crate) trait Codec: 'static {
    /// What a table holds for one key.
    type Value: Clone + Send + Sync + 'static;

    /// Whether a key has one entry, so that entries tell how many keys there are.
    const ONE_ENTRY_PER_KEY: bool;

    /// The serializer of the whole value.
    fn serializer() -> SerializerSnapshot;

    /// What a migration makes: the value, the element of a list, the user value of a map.
    type Part: FlinkType;

    /// Reads the entries of one serializer.
    type Reader: 'static;

    /// Returns the reader of what [`write`](Self::write) writes.
    fn as_is() -> Self::Reader;

    /// Returns the reader of what `previous`, the serializer of the whole value, describes. Where
    /// times of last use are missing, it is `now_ms`.
    ///
    /// # Errors
    ///
    /// There is none.
    fn reader(
        previous: &SerializerSnapshot,
        migrations: &StateMigrations,
        now_ms: i64,
    ) -> Result<Self::Reader, Incompatibility>;

    /// What is left of a value when its expired parts are gone; without time-to-live all of it.
    fn sweep(_value: &Self::Value, _expiry: Expiry) -> Swept<Self::Value> {
        Swept::All
    }

    /// Writes the entries of one key; `head` appends key and namespace.
    fn write(
        value: &Self::Value,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error>;

    /// Reads an entry into the value of its key; `user_key` is what follows the namespace.
    fn read(
        reader: &Self::Reader,
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<Self::Value>,
    ) -> Result<(), Error>;
}

/// The kinds of state that have one entry per key and namespace.
pub(crate) trait OneEntry: Codec {
    /// Appends the bytes of a value.
    fn put(value: &Self::Value, out: &mut Vec<u8>);

    /// Whether it is a list.
    const HAS_ELEMENTS: bool = false;

    /// How many elements a list has; 0 for all else.
    fn length(_value: &Self::Value) -> usize {
        0
    }

    /// Puts the elements of a list behind those of another one.
    fn join(_list: &mut Self::Value, _tail: &Self::Value) {}

    /// Appends the elements of a list behind the first `start`, with delimiters between.
    fn put_behind(value: &Self::Value, _start: usize, out: &mut Vec<u8>) {
        Self::put(value, out);
    }

    /// Whether a reader reads what [`put`](Self::put) appends.
    fn is_as_is(reader: &Self::Reader) -> bool;
}

/// The kind of state that has one entry per user key.
pub(crate) trait EntryPerUserKey<UK, UV>: Codec<Value = MapValue<UK, UV>>
where
    UK: FlinkType + Ord,
    UV: FlinkType,
{
    /// Reads an entry; `user_key` is what follows the namespace.
    fn read_part(
        reader: &Self::Reader,
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> Result<(UK, UV), Error>;

    /// Whether a reader reads what is written.
    fn is_as_is(reader: &Self::Reader) -> bool;

    /// Whether a user value has expired.
    fn is_over(_value: &UV, _expiry: Expiry) -> bool {
        false
    }
}

/// One value.
#[derive(Debug)]
pub(crate) struct ValueCodec<V>(PhantomData<fn(V)>);

impl<V: FlinkType> Codec for ValueCodec<V> {
    type Value = V;

    const ONE_ENTRY_PER_KEY: bool = true;

    fn serializer() -> SerializerSnapshot {
        V::serializer_snapshot()
    }

    type Part = V;
    type Reader = Reader<V>;

    fn as_is() -> Reader<V> {
        Reader::as_is()
    }

    fn reader(
        previous: &SerializerSnapshot,
        migrations: &StateMigrations,
        _now_ms: i64,
    ) -> Result<Reader<V>, Incompatibility> {
        migrations.reader(previous)
    }

    #[inline]
    fn write(
        value: &V,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error> {
        writer.entry(head, |out| value.write(out))
    }

    #[inline]
    fn read(
        reader: &Reader<V>,
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<V>,
    ) -> Result<(), Error> {
        *into = Some(reader.read(value)?);
        at_end(user_key)?;
        at_end(value)
    }
}

impl<V: FlinkType> OneEntry for ValueCodec<V> {
    #[inline]
    fn put(value: &V, out: &mut Vec<u8>) {
        value.write(out);
    }

    fn is_as_is(reader: &Reader<V>) -> bool {
        reader.is_as_is()
    }
}

/// A list of elements.
#[derive(Debug)]
pub(crate) struct ListCodec<T>(PhantomData<fn(T)>);

impl<T: FlinkType> Codec for ListCodec<T> {
    type Value = ListValue<T>;

    const ONE_ENTRY_PER_KEY: bool = true;

    fn serializer() -> SerializerSnapshot {
        SerializerSnapshot::list(T::serializer_snapshot())
    }

    type Part = T;
    type Reader = Reader<T>;

    fn as_is() -> Reader<T> {
        Reader::as_is()
    }

    fn reader(
        previous: &SerializerSnapshot,
        migrations: &StateMigrations,
        _now_ms: i64,
    ) -> Result<Reader<T>, Incompatibility> {
        let [element] = parts(&Self::serializer(), previous)?;
        migrations
            .reader(element)
            .map_err(|why| why.within("element"))
    }

    fn write(
        value: &ListValue<T>,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error> {
        writer.entry(head, |out| Self::put(value, out))
    }

    fn read(
        reader: &Reader<T>,
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<ListValue<T>>,
    ) -> Result<(), Error> {
        at_end(user_key)?;
        let list = into.get_or_insert_with(ListValue::new);
        loop {
            list.push(reader.read(value)?);
            if value.is_empty() {
                return Ok(());
            }
            let at = value.offset();
            match value.u8()? {
                LIST_DELIMITER => {}
                other => {
                    let found = format!("{other:#04x}");
                    return Err(Error::corrupt(at, "',' between list elements", found));
                }
            }
        }
    }
}

impl<T: FlinkType> OneEntry for ListCodec<T> {
    fn put(value: &ListValue<T>, out: &mut Vec<u8>) {
        Self::put_behind(value, 0, out);
    }

    const HAS_ELEMENTS: bool = true;

    fn length(value: &ListValue<T>) -> usize {
        value.len()
    }

    fn join(list: &mut ListValue<T>, tail: &ListValue<T>) {
        tail.for_each(|element| list.push(element.clone()));
    }

    fn put_behind(value: &ListValue<T>, start: usize, out: &mut Vec<u8>) {
        let mut first = true;
        value.for_each_behind(start, |element| {
            if !std::mem::replace(&mut first, false) {
                out.put_u8(LIST_DELIMITER);
            }
            element.write(out);
        });
    }

    fn is_as_is(reader: &Reader<T>) -> bool {
        reader.is_as_is()
    }
}

/// A map from user keys to user values.
#[derive(Debug)]
pub(crate) struct MapCodec<UK, UV>(PhantomData<fn(UK, UV)>);

impl<UK: FlinkType + Ord, UV: FlinkType> Codec for MapCodec<UK, UV> {
    type Value = MapValue<UK, UV>;

    const ONE_ENTRY_PER_KEY: bool = false;

    fn serializer() -> SerializerSnapshot {
        SerializerSnapshot::map(UK::serializer_snapshot(), nullable::snapshot::<UV>())
    }

    type Part = UV;
    type Reader = MapReader<UK, UV>;

    fn as_is() -> Self::Reader {
        MapReader {
            key: Reader::as_is(),
            value: None,
        }
    }

    fn reader(
        previous: &SerializerSnapshot,
        migrations: &StateMigrations,
        _now_ms: i64,
    ) -> Result<Self::Reader, Incompatibility> {
        let [key, value] = parts(&Self::serializer(), previous)?;
        if UK::resolve(key) == Compatibility::AfterMigration {
            let was = key.describe();
            let reason = format!("was {was} with other parts; only the values of a map migrate");
            return Err(Incompatibility::new(reason).within("key"));
        }
        let key = UK::reader(key).map_err(|why| why.within("key"))?;
        let value = migrations.nullable_reader::<UV>(value);
        let value = value.map_err(|why| why.within("value"))?;
        Ok(MapReader { key, value })
    }

    fn write(
        value: &MapValue<UK, UV>,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error> {
        value.try_for_each(|user_key, user_value| {
            let key = |out: &mut Vec<u8>| {
                head(out);
                user_key.write(out);
            };
            writer.entry(key, |out| {
                nullable::write(user_value, out);
            })
        })
    }

    fn read(
        reader: &MapReader<UK, UV>,
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<MapValue<UK, UV>>,
    ) -> Result<(), Error> {
        let (key, user_value) = Self::read_part(reader, user_key, value)?;
        into.get_or_insert_with(MapValue::new).put(key, user_value);
        Ok(())
    }
}

impl<UK: FlinkType + Ord, UV: FlinkType> EntryPerUserKey<UK, UV> for MapCodec<UK, UV> {
    fn read_part(
        reader: &MapReader<UK, UV>,
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> Result<(UK, UV), Error> {
        let key = reader.key.read(user_key)?;
        at_end(user_key)?;
        let user_value = match &reader.value {
            None => read_map_value(value)?,
            Some(reader) => {
                // What a null is followed by differs between Flink's backends, and means nothing.
                let null = value.clone().bool()?;
                let user_value = reader.read(value)?;
                if !null {
                    at_end(value)?;
                }
                user_value
            }
        };
        Ok((key, user_value))
    }

    fn is_as_is(reader: &MapReader<UK, UV>) -> bool {
        reader.key.is_as_is() && reader.value.is_none()
    }
}

/// Reads the entries of a map state.
#[derive(Debug)]
pub(crate) struct MapReader<UK, UV> {
    key: Reader<UK>,
    /// Reads bool isNull and the value; `None` if they are as they are written.
    value: Option<Reader<UV>>,
}

/// Reads bool isNull and the value; for an `Option` the bool is that of the `Option` itself.
fn read_map_value<UV: FlinkType>(value: &mut ByteReader<'_>) -> Result<UV, Error> {
    let at = value.offset();
    let mut ahead = value.clone();
    match (ahead.bool()?, UV::NULLABLE) {
        // What a null is followed by differs between Flink's backends, and means nothing.
        (true, true) => UV::read(value),
        (true, false) => Err(Error::unsupported(format!(
            "a map value that is null at offset {at}; declare the values as Option to read it"
        ))),
        (false, nullable) => {
            if !nullable {
                *value = ahead;
            }
            let user_value = UV::read(value)?;
            at_end(value)?;
            Ok(user_value)
        }
    }
}

/// The serializers of the parts of a list or map.
fn parts<'a, const N: usize>(
    whole: &SerializerSnapshot,
    previous: &'a SerializerSnapshot,
) -> Result<&'a [SerializerSnapshot; N], Incompatibility> {
    let parts = previous.nested().first_chunk::<N>();
    match parts.filter(|_| whole.class == previous.class && previous.nested().len() == N) {
        Some(parts) => Ok(parts),
        None => {
            let (old, new) = (previous.describe(), whole.describe());
            Err(Incompatibility::new(format!("was {old}, now {new}")))
        }
    }
}

/// Checks that nothing follows a value.
#[inline]
fn at_end(reader: &ByteReader<'_>) -> Result<(), Error> {
    if reader.is_empty() {
        Ok(())
    } else {
        let found = format!("{} bytes more", reader.remaining());
        Err(reader.corrupt("the end of the entry", found))
    }
}

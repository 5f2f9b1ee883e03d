//! How the value of each kind of keyed state lies in the entries of a snapshot.
//!
//! | kind | entries | value bytes |
//! | --- | --- | --- |
//! | value, reducing, aggregating | one | serializer bytes |
//! | list | one | elements joined by `2C`, neither counted nor escaped |
//! | map | one per user key, whose bytes end the entry's key | bool isNull, value |
//!
//! `MapState<UK, Option<UV>>` is Flink's `MapState<UK, UV>` with values that may be null.
//!
//! Source: Flink 2.3.0, classes `RocksDBListState`, `RocksDBMapState`, `HeapKeyValueStateIterator`.

use crate::frozen::StateWriter;
use crate::list_value::ListValue;
use crate::map_value::MapValue;
use crate::ttl::{Expiry, Swept};
use millpond_serializer::{
    ByteReader, ByteWriter, Compatibility, Error, FlinkType, SerializerSnapshot,
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

    /// Whether values that `previous` describes can be read.
    fn resolve(previous: &SerializerSnapshot) -> Compatibility;

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
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<Self::Value>,
    ) -> Result<(), Error>;
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

    fn resolve(previous: &SerializerSnapshot) -> Compatibility {
        V::resolve(previous)
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
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<V>,
    ) -> Result<(), Error> {
        *into = Some(V::read(value)?);
        at_end(user_key)?;
        at_end(value)
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

    fn resolve(previous: &SerializerSnapshot) -> Compatibility {
        resolve_parts(&Self::serializer(), previous, &[T::resolve])
    }

    fn write(
        value: &ListValue<T>,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error> {
        writer.entry(head, |out| {
            let mut first = true;
            value.for_each(|element| {
                if !std::mem::replace(&mut first, false) {
                    out.put_u8(LIST_DELIMITER);
                }
                element.write(out);
            });
        })
    }

    fn read(
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<ListValue<T>>,
    ) -> Result<(), Error> {
        at_end(user_key)?;
        let list = into.get_or_insert_with(ListValue::new);
        loop {
            list.push(T::read(value)?);
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

/// A map from user keys to user values.
#[derive(Debug)]
pub(crate) struct MapCodec<UK, UV>(PhantomData<fn(UK, UV)>);

impl<UK: FlinkType + Ord, UV: FlinkType> Codec for MapCodec<UK, UV> {
    type Value = MapValue<UK, UV>;

    const ONE_ENTRY_PER_KEY: bool = false;

    fn serializer() -> SerializerSnapshot {
        let value = UV::serializer_snapshot();
        let value = match (UV::NULLABLE, value.nested()) {
            (true, [value]) => value.clone(),
            (true | false, _) => value,
        };
        SerializerSnapshot::map(UK::serializer_snapshot(), value)
    }

    fn resolve(previous: &SerializerSnapshot) -> Compatibility {
        let value: Resolve = match UV::NULLABLE {
            true => |value| UV::resolve(&SerializerSnapshot::nullable(value.clone())),
            false => UV::resolve,
        };
        resolve_parts(&Self::serializer(), previous, &[UK::resolve, value])
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
                if !UV::NULLABLE {
                    out.put_bool(false);
                }
                user_value.write(out);
            })
        })
    }

    fn read(
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<MapValue<UK, UV>>,
    ) -> Result<(), Error> {
        let key = UK::read(user_key)?;
        at_end(user_key)?;
        let user_value = read_map_value(value)?;
        into.get_or_insert_with(MapValue::new).put(key, user_value);
        Ok(())
    }
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

type Resolve = fn(&SerializerSnapshot) -> Compatibility;

/// Asks each part, so that parts with rules of their own can apply them.
fn resolve_parts(
    whole: &SerializerSnapshot,
    previous: &SerializerSnapshot,
    parts: &[Resolve],
) -> Compatibility {
    let nested = previous.nested();
    if whole.class != previous.class || nested.len() != parts.len() {
        return whole.resolve(previous);
    }
    parts
        .iter()
        .zip(nested)
        .fold(Compatibility::AsIs, |all, (resolve, part)| {
            all.and(resolve(part))
        })
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

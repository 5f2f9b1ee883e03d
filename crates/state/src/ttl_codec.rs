//! A codec of values that can expire: the same bytes, a way to clean them up, and a way to read
//! what was written before the state had a time-to-live.
//!
//! Values without a time count as used when they are restored. The other way, a state that has its
//! time-to-live no longer, needs no codec of its own: see [`StateMigrations`].
//!
//! Source: Flink 2.3.0, class `TtlAwareSerializer`.

use crate::codec::{Codec, EntryPerUserKey, ListCodec, MapCodec, OneEntry, ValueCodec};
use crate::frozen::StateWriter;
use crate::list_value::ListValue;
use crate::map_value::MapValue;
use crate::migration::StateMigrations;
use crate::ttl::{Expires, Expiry, Swept};
use millpond_serializer::{
    ByteReader, Error, FlinkType, Incompatibility, SerializerSnapshot, TtlValue,
};
use std::marker::PhantomData;

/// A codec of values with the time of their last use.
pub(crate) trait Timed: Codec<Value: Expires> {
    /// The codec of the same values without.
    type Plain: Codec;

    /// Adds what an entry without times holds to the value of its key.
    fn add(plain: <Self::Plain as Codec>::Value, used_at_ms: i64, into: &mut Option<Self::Value>);
}

fn used_at<T>(last_access: i64, value: T) -> TtlValue<T> {
    TtlValue { last_access, value }
}

impl<V: FlinkType> Timed for ValueCodec<TtlValue<V>> {
    type Plain = ValueCodec<V>;

    fn add(plain: V, used_at_ms: i64, into: &mut Option<TtlValue<V>>) {
        *into = Some(used_at(used_at_ms, plain));
    }
}

impl<T: FlinkType> Timed for ListCodec<TtlValue<T>> {
    type Plain = ListCodec<T>;

    fn add(plain: ListValue<T>, used_at_ms: i64, into: &mut Option<ListValue<TtlValue<T>>>) {
        let list = into.get_or_insert_with(ListValue::new);
        plain.for_each(|element| list.push(used_at(used_at_ms, element.clone())));
    }
}

impl<UK: FlinkType + Ord, UV: FlinkType> Timed for MapCodec<UK, TtlValue<UV>> {
    type Plain = MapCodec<UK, UV>;

    fn add(
        plain: MapValue<UK, UV>,
        used_at_ms: i64,
        into: &mut Option<MapValue<UK, TtlValue<UV>>>,
    ) {
        let map = into.get_or_insert_with(MapValue::new);
        plain.for_each(|key, value| map.put(key.clone(), used_at(used_at_ms, value.clone())));
    }
}

/// The codec `C` for a state with time-to-live.
#[derive(Debug)]
pub(crate) struct WithTtl<C>(PhantomData<C>);

/// Reads entries with times, or without.
pub(crate) enum TtlReader<C: Timed> {
    Timed(C::Reader),
    Plain {
        reader: <C::Plain as Codec>::Reader,
        used_at_ms: i64,
    },
}

impl<C: Timed> Codec for WithTtl<C> {
    type Value = C::Value;

    const ONE_ENTRY_PER_KEY: bool = C::ONE_ENTRY_PER_KEY;

    fn serializer() -> SerializerSnapshot {
        C::serializer()
    }

    type Part = C::Part;
    type Reader = TtlReader<C>;

    fn as_is() -> Self::Reader {
        TtlReader::Timed(C::as_is())
    }

    fn reader(
        previous: &SerializerSnapshot,
        migrations: &StateMigrations,
        now_ms: i64,
    ) -> Result<Self::Reader, Incompatibility> {
        let has_times = previous.is_ttl() || previous.nested().iter().any(|part| part.is_ttl());
        if has_times {
            return C::reader(previous, migrations, now_ms).map(TtlReader::Timed);
        }
        // The types are compared without times, so that what is told is what differs.
        let reader = C::Plain::reader(previous, migrations, now_ms)?;
        Ok(TtlReader::Plain {
            reader,
            used_at_ms: now_ms,
        })
    }

    fn write(
        value: &Self::Value,
        head: impl Fn(&mut Vec<u8>),
        writer: &mut StateWriter<'_>,
    ) -> Result<(), millpond_snapshot::Error> {
        C::write(value, head, writer)
    }

    fn read(
        reader: &Self::Reader,
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
        into: &mut Option<Self::Value>,
    ) -> Result<(), Error> {
        match reader {
            TtlReader::Timed(reader) => C::read(reader, user_key, value, into),
            TtlReader::Plain { reader, used_at_ms } => {
                let mut plain = None;
                C::Plain::read(reader, user_key, value, &mut plain)?;
                if let Some(plain) = plain {
                    C::add(plain, *used_at_ms, into);
                }
                Ok(())
            }
        }
    }

    fn sweep(value: &Self::Value, expiry: Expiry) -> Swept<Self::Value> {
        value.sweep(expiry)
    }
}

impl<C: Timed + OneEntry> OneEntry for WithTtl<C> {
    fn put(value: &Self::Value, out: &mut Vec<u8>) {
        C::put(value, out);
    }

    const HAS_ELEMENTS: bool = C::HAS_ELEMENTS;

    fn length(value: &Self::Value) -> usize {
        C::length(value)
    }

    fn put_behind(value: &Self::Value, start: usize, out: &mut Vec<u8>) {
        C::put_behind(value, start, out);
    }

    fn is_as_is(reader: &Self::Reader) -> bool {
        match reader {
            TtlReader::Timed(reader) => C::is_as_is(reader),
            TtlReader::Plain { .. } => false,
        }
    }
}

impl<UK, UV, C> EntryPerUserKey<UK, TtlValue<UV>> for WithTtl<C>
where
    UK: FlinkType + Ord,
    UV: FlinkType,
    C: Timed + EntryPerUserKey<UK, TtlValue<UV>>,
{
    fn read_part(
        reader: &Self::Reader,
        user_key: &mut ByteReader<'_>,
        value: &mut ByteReader<'_>,
    ) -> Result<(UK, TtlValue<UV>), Error> {
        match reader {
            TtlReader::Timed(reader) => C::read_part(reader, user_key, value),
            TtlReader::Plain { .. } => {
                let mut map = None;
                Self::read(reader, user_key, value, &mut map)?;
                Ok(map
                    .and_then(MapValue::into_only)
                    .expect("an entry is a user key"))
            }
        }
    }

    fn is_as_is(reader: &Self::Reader) -> bool {
        match reader {
            TtlReader::Timed(reader) => C::is_as_is(reader),
            TtlReader::Plain { .. } => false,
        }
    }

    fn is_over(value: &TtlValue<UV>, expiry: Expiry) -> bool {
        expiry.is_over(value.last_access)
    }
}

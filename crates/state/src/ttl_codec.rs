//! A codec of values that can expire: the same bytes, and a way to clean them up.

use crate::codec::Codec;
use crate::frozen::StateWriter;
use crate::migration::StateMigrations;
use crate::ttl::{Expires, Expiry, Swept};
use millpond_serializer::{ByteReader, Error, Incompatibility, SerializerSnapshot};
use std::marker::PhantomData;

/// The codec `C` for values with time-to-live.
#[derive(Debug)]
pub(crate) struct WithTtl<C>(PhantomData<C>);

impl<C: Codec> Codec for WithTtl<C>
where
    C::Value: Expires,
{
    type Value = C::Value;

    const ONE_ENTRY_PER_KEY: bool = C::ONE_ENTRY_PER_KEY;

    fn serializer() -> SerializerSnapshot {
        C::serializer()
    }

    type Part = C::Part;
    type Reader = C::Reader;

    fn as_is() -> Self::Reader {
        C::as_is()
    }

    fn reader(
        previous: &SerializerSnapshot,
        migrations: &StateMigrations,
    ) -> Result<Self::Reader, Incompatibility> {
        C::reader(previous, migrations)
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
        C::read(reader, user_key, value, into)
    }

    fn sweep(value: &Self::Value, expiry: Expiry) -> Swept<Self::Value> {
        value.sweep(expiry)
    }
}

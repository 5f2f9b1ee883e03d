//! One of two types: a bool is-left, then the value.
//!
//! Source: Flink 2.3.0, class `EitherSerializer`.

use crate::{
    ByteReader, ByteWriter, Error, FlinkType, Incompatibility, Reader, SerializerSnapshot,
};

/// Flink's `Either`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Either<L, R> {
    /// A value of the first type.
    Left(L),
    /// A value of the second type.
    Right(R),
}

impl<L: FlinkType, R: FlinkType> FlinkType for Either<L, R> {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::either(L::serializer_snapshot(), R::serializer_snapshot())
    }

    fn fixed_length() -> Option<usize> {
        None
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Either::Left(value) => {
                out.put_bool(true);
                value.write(out);
            }
            Either::Right(value) => {
                out.put_bool(false);
                value.write(out);
            }
        }
    }

    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        match input.bool()? {
            true => L::read(input).map(Either::Left),
            false => R::read(input).map(Either::Right),
        }
    }

    fn converter(previous: &SerializerSnapshot) -> Result<Reader<Self>, Incompatibility> {
        let left = L::reader(previous.part(0)?).map_err(|why| why.within("left"))?;
        let right = R::reader(previous.part(1)?).map_err(|why| why.within("right"))?;
        Ok(Reader::converting(move |input| match input.bool()? {
            true => left.read(input).map(Either::Left),
            false => right.read(input).map(Either::Right),
        }))
    }
}

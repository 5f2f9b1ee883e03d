//! Readers: how values that an earlier serializer wrote become values of a type.
//!
//! A state outlives the program that wrote it. When the program declares a type whose bytes are no
//! longer those of the snapshot, [`FlinkType::reader`] makes a plan once, from the snapshot's
//! description, and every value is read by it. The frequent case, bytes that are the same, costs
//! one branch and no call through a pointer.
//!
//! Rejected: asking the description anew for every value; names of fields would be looked up ten
//! million times.

use std::fmt;

use crate::{ByteReader, Error, FlinkType};

type Convert<T> = Box<dyn Fn(&mut ByteReader<'_>) -> Result<T, Error> + Send + Sync>;

/// Reads values of `T` from the bytes of an earlier serializer.
pub struct Reader<T>(Option<Convert<T>>);

impl<T> Reader<T> {
    /// Returns a reader of bytes that are not those of `T`.
    pub fn converting(
        read: impl Fn(&mut ByteReader<'_>) -> Result<T, Error> + Send + Sync + 'static,
    ) -> Self {
        Reader(Some(Box::new(read)))
    }

    /// Whether the bytes are those that `T` writes.
    pub fn is_as_is(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: FlinkType> Reader<T> {
    /// Returns a reader of the bytes that `T` writes.
    pub fn as_is() -> Self {
        Reader(None)
    }

    /// Reads a value; what follows it is left.
    ///
    /// # Errors
    ///
    /// As [`FlinkType::read`].
    #[inline]
    pub fn read(&self, input: &mut ByteReader<'_>) -> Result<T, Error> {
        match &self.0 {
            None => T::read(input),
            Some(read) => read(input),
        }
    }

    /// Returns a reader of values behind the time of their last use, which is dropped.
    pub fn behind_time(self) -> Reader<T> {
        Reader::converting(move |input| {
            input.i64()?;
            self.read(input)
        })
    }

    /// Returns a reader that passes every value through `convert`.
    pub fn map<U>(self, convert: impl Fn(T) -> U + Send + Sync + 'static) -> Reader<U> {
        Reader::converting(move |input| self.read(input).map(&convert))
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("as_is", &self.is_as_is())
            .finish()
    }
}

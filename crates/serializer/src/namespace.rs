//! Namespaces: what state of one key is told apart by, apart from its name.

use std::hash::Hash;

use crate::{ByteReader, ByteWriter, Error, FlinkType, SerializerSnapshot};

/// A type that can be the namespace of keyed state and timers.
pub trait Namespace: FlinkType + Eq + Ord + Hash {}

/// The namespace of state without windows; one byte 00, though its length says 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoidNamespace;

impl FlinkType for VoidNamespace {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::void_namespace()
    }

    fn fixed_length() -> Option<usize> {
        Some(0)
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(0);
    }

    #[inline]
    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        let at = input.offset();
        match input.u8()? {
            0 => Ok(VoidNamespace),
            other => Err(Error::corrupt(at, "a void namespace, 0", other.to_string())),
        }
    }
}

impl Namespace for VoidNamespace {}

/// A window from `start` (included) to `end` (not included), both in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeWindow {
    /// The first millisecond of the window.
    pub start: i64,
    /// The first millisecond behind the window.
    pub end: i64,
}

impl TimeWindow {
    /// Returns the last millisecond of the window: a watermark of this time closes it.
    pub fn max_timestamp(self) -> i64 {
        self.end.wrapping_sub(1)
    }
}

impl FlinkType for TimeWindow {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::time_window()
    }

    fn fixed_length() -> Option<usize> {
        Some(16)
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.start);
        out.put_i64(self.end);
    }

    #[inline]
    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        Ok(TimeWindow {
            start: input.i64()?,
            end: input.i64()?,
        })
    }
}

impl Namespace for TimeWindow {}

/// The one window that holds all records of a key; one byte 00.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlobalWindow;

impl GlobalWindow {
    /// Returns the end of time: no watermark but the last closes the window.
    pub fn max_timestamp(self) -> i64 {
        i64::MAX
    }
}

impl FlinkType for GlobalWindow {
    fn serializer_snapshot() -> SerializerSnapshot {
        SerializerSnapshot::global_window()
    }

    fn fixed_length() -> Option<usize> {
        Some(1)
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.put_u8(0);
    }

    #[inline]
    fn read(input: &mut ByteReader<'_>) -> Result<Self, Error> {
        // Flink reads over the byte, whatever it is.
        input.u8().map(|_| GlobalWindow)
    }
}

impl Namespace for GlobalWindow {}

//! A value as the bytes of Flink's serializers, and serializer snapshots.
//!
//! Three things live here and nowhere else: how primitives lie in a stream ([`ByteReader`],
//! [`ByteWriter`]), how a serializer describes itself ([`SerializerSnapshot`]), and which bytes a
//! Rust value has ([`FlinkType`], [`FlinkKey`], [`Namespace`]). What a value of a known serializer
//! looks like without its Rust type is in [`skip_value`], and as a [`Value`] behind [`ValueCodec`].
//!
//! # Examples
//!
//! ```
//! use millpond_serializer::{ByteReader, FlinkType};
//!
//! let mut bytes = Vec::new();
//! ("a".to_owned(), 7i64).write(&mut bytes);
//! assert_eq!(bytes, [2, b'a', 0, 0, 0, 0, 0, 0, 0, 7]);
//! let (name, count) = <(String, i64)>::read(&mut ByteReader::new(&bytes))?;
//! assert_eq!((name.as_str(), count), ("a", 7));
//! # Ok::<(), millpond_serializer::Error>(())
//! ```

mod byte_reader;
mod byte_writer;
mod class;
mod collection;
mod compatibility;
mod error;
mod flink_type;
mod key;
mod namespace;
mod optional_map;
mod skip;
mod snapshot;
mod stream_record;
mod timer;
mod ttl;
mod tuple;
mod value;

pub use byte_reader::ByteReader;
pub use byte_writer::ByteWriter;
pub use compatibility::Compatibility;
pub use error::{Error, ErrorKind};
pub use flink_type::FlinkType;
pub use key::FlinkKey;
pub use namespace::{GlobalWindow, Namespace, TimeWindow, VoidNamespace};
pub use optional_map::OptionalEntry;
pub use skip::skip_value;
pub use snapshot::{SerializerSnapshot, SnapshotBody};
pub use stream_record::StreamRecord;
pub use timer::TimerElement;
pub use ttl::TtlValue;
pub use value::{
    BigDecimal, BigInteger, EnumShape, LocalDate, LocalTime, PrimitiveArray, Record, RecordShape,
    Subclass, Value, ValueCodec, WithTtl, decode_value, encode_value, hex, map_key,
};

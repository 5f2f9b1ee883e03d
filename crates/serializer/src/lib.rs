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

mod array;
mod avro_block;
#[cfg(feature = "avro")]
mod avro_type;
mod byte_reader;
mod byte_writer;
mod class;
mod collection;
mod compatibility;
mod either;
mod error;
mod flink_type;
pub mod java_enum;
mod key;
mod namespace;
pub mod nullable;
mod number;
mod opaque;
mod optional_map;
pub mod pojo;
mod pojo_flags;
mod reader;
mod row;
mod skip;
mod snapshot;
mod stream_record;
pub mod subclass;
mod time;
mod timer;
mod ttl;
mod tuple;
pub mod value;

pub use millpond_derive::{FlinkEnum, FlinkPojo};

pub use array::{ObjectArray, PrimitiveArray, PrimitiveElement, StringArray};
#[cfg(feature = "avro")]
pub use avro_type::{Avro, AvroRecord, AvroSchema};
pub use byte_reader::ByteReader;
pub use byte_writer::ByteWriter;
pub use compatibility::{Compatibility, Incompatibility};
pub use either::Either;
pub use error::{Error, ErrorKind};
pub use flink_type::FlinkType;
pub use java_enum::JavaEnum;
pub use key::FlinkKey;
pub use namespace::{GlobalWindow, Namespace, TimeWindow, VoidNamespace};
pub use number::{BigDecimal, BigInteger, Character, Double, Float};
pub use opaque::{OpaqueBodies, read_whole};
pub use optional_map::OptionalEntry;
pub use pojo::JavaClass;
pub use reader::Reader;
pub use row::{FieldsReader, Row, RowFields, RowKind};
pub use skip::skip_value;
pub use snapshot::{SerializerSnapshot, SnapshotBody};
pub use stream_record::StreamRecord;
pub use time::{
    Date, Instant, LocalDate, LocalDateTime, LocalTime, SqlDate, SqlTime, SqlTimestamp,
};
pub use timer::TimerElement;
pub use ttl::TtlValue;
pub use tuple::{
    Tuple13, Tuple14, Tuple15, Tuple16, Tuple17, Tuple18, Tuple19, Tuple20, Tuple21, Tuple22,
    Tuple23, Tuple24, Tuple25,
};
pub use value::{
    EnumShape, Record, RecordShape, Shape, Subclass, Value, ValueCodec, WithTtl, decode_value,
    encode_value, hex, map_key,
};

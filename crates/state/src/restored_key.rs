//! Keys of a snapshot, as the job declares them now.
//!
//! Keys do not migrate, in Flink neither: another type would be hashed into other key groups. But an
//! enum in a key may have got constants, and then its numbers differ. Such keys are converted as
//! they come out of the snapshot, so that all behind it knows one form of them, also states that
//! are kept as bytes.

use crate::{Error, ErrorKind, Result};
use millpond_serializer::{
    ByteReader, ByteWriter, Compatibility, FlinkKey, Reader, SerializerSnapshot, SnapshotBody,
};
use millpond_snapshot::{KeyedHeader, StateKind, StateMeta, put_length, read_length};

/// Converts the keys of one handle.
pub(crate) struct KeyConverter<K> {
    reader: Reader<K>,
    /// How the keys of each state of the header lie.
    places: Vec<Place>,
    converted: Vec<u8>,
}

/// Where the key lies among the bytes in front of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    /// With its length behind it.
    FirstWithLength,
    /// Behind the timestamp of a timer.
    BehindTimestamp,
}

/// Returns the reader of keys that `previous` describes.
fn key_reader<K: FlinkKey>(previous: &SerializerSnapshot) -> Result<Reader<K>> {
    let incompatible = |why: String| {
        Err(Error::new(ErrorKind::Incompatible {
            state: "the key".to_owned(),
            expected: K::serializer_snapshot().describe(),
            found: format!("{}{why}", previous.describe()),
        }))
    };
    if K::resolve(previous) == Compatibility::AfterMigration {
        return incompatible(" with other fields; keys do not migrate".to_owned());
    }
    K::reader(previous).or_else(|why| incompatible(format!(" ({why})")))
}

/// Checks that keys which `previous` describes can be restored as `K`.
///
/// # Errors
///
/// Incompatible, if they would have to migrate.
pub(crate) fn accept_key<K: FlinkKey>(previous: &SerializerSnapshot) -> Result<()> {
    key_reader::<K>(previous).map(drop)
}

impl<K: FlinkKey> KeyConverter<K> {
    /// Returns a converter of the keys that `header` describes.
    ///
    /// # Errors
    ///
    /// Incompatible, if keys would have to migrate.
    pub(crate) fn new(header: &KeyedHeader) -> Result<Self> {
        let reader = key_reader(&header.key_serializer)?;
        let place = |meta: &StateMeta| {
            if meta.kind == StateKind::PriorityQueue {
                return Place::BehindTimestamp;
            }
            let namespace = meta.namespace_serializer();
            match namespace.map(SerializerSnapshot::fixed_length) {
                Ok(None) if K::fixed_length().is_none() => Place::FirstWithLength,
                Ok(_) | Err(_) => Place::First,
            }
        };
        Ok(KeyConverter {
            reader,
            places: header.states.iter().map(place).collect(),
            converted: Vec::new(),
        })
    }

    /// Whether keys lie in the snapshot as the job writes them.
    pub(crate) fn is_as_is(&self) -> bool {
        self.reader.is_as_is()
    }

    /// The descriptions of the states once their keys have been converted.
    pub(crate) fn metas(&self, states: &[StateMeta]) -> Vec<StateMeta> {
        let mut states = states.to_vec();
        if self.reader.is_as_is() {
            return states;
        }
        for meta in &mut states {
            if meta.kind != StateKind::PriorityQueue {
                continue;
            }
            for (_, element) in &mut meta.serializers {
                if let SnapshotBody::Composite { nested, .. } = &mut element.body
                    && let Some(key) = nested.first_mut()
                {
                    *key = K::serializer_snapshot();
                }
            }
        }
        states
    }

    /// Returns the bytes in front of a value of the header's `state`, with the key as it is now.
    ///
    /// `check` sees each key that had to be converted.
    #[inline]
    pub(crate) fn convert<'a>(
        &'a mut self,
        state: usize,
        bytes: &'a [u8],
        check: impl FnOnce(&K) -> std::result::Result<(), millpond_snapshot::Error>,
    ) -> std::result::Result<&'a [u8], millpond_snapshot::Error> {
        if self.reader.is_as_is() {
            return Ok(bytes);
        }
        let place = self.places[state];
        let mut input = ByteReader::new(bytes);
        let out = &mut self.converted;
        out.clear();
        if place == Place::BehindTimestamp {
            out.put_i64(input.i64()?);
        }
        let (start, from) = (out.len(), input.position());
        let key = self.reader.read(&mut input)?;
        check(&key)?;
        key.write(out);
        if place == Place::FirstWithLength {
            read_length(input.position() - from, &mut input)?;
            put_length(out.len() - start, out);
        }
        out.put(input.rest());
        Ok(out)
    }
}

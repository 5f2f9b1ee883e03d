//! Which rows are wanted, and which key groups need not be read for them.

use millpond_serializer::{Value, ValueCodec};
use millpond_snapshot::{Entry, put_length};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::{Content, EntryCodec, Error, Operator, Piece, Row, StateType};

/// Which rows are wanted; `None` takes all. Texts are as JSON shows the values, strings bare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// An operator, by uid, id or name.
    pub operator: Option<String>,
    /// A state, by its name.
    pub state: Option<String>,
    /// A key.
    pub key: Option<String>,
    /// A namespace.
    pub namespace: Option<String>,
    /// A user key of map state.
    pub user_key: Option<String>,
}

/// What a selection takes of one state.
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// The bytes that the key of a wanted entry begins with, behind so many others.
    key: Option<(usize, Vec<u8>)>,
    /// The key group that it lies in, as far as it is known.
    hash: Option<i32>,
    namespace: Option<Value>,
    user_key: Option<Value>,
}

impl Selection {
    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        *self == Selection::default()
    }

    /// Whether operator state, which has no keys, is wanted.
    pub(super) fn takes_operator_state(&self) -> bool {
        self.key.is_none() && self.namespace.is_none() && self.user_key.is_none()
    }

    pub(super) fn takes_state(&self, name: &str) -> bool {
        self.state.as_deref().is_none_or(|state| state == name)
    }

    /// Returns what is wanted of a state; `None` if nothing can be.
    ///
    /// # Errors
    ///
    /// Request: a text is no value of the state's type.
    fn filter(&self, codec: &EntryCodec) -> Result<Option<RowFilter>, Error> {
        let state = codec.state();
        if !self.takes_state(&state.name) {
            return Ok(None);
        }
        let mut filter = RowFilter::default();
        if let Some(text) = &self.key {
            let key = parse("key", text, codec.key(), &state.name)?;
            filter.hash = codec.key().hash_code(&key);
            filter.key = Some(key_bytes(codec, &key)?);
        }
        if let Some(text) = &self.namespace {
            filter.namespace = Some(parse("namespace", text, codec.namespace(), &state.name)?);
        }
        if let Some(text) = &self.user_key {
            let Some(codec) = codec.user_key() else {
                return Ok(None);
            };
            filter.user_key = Some(parse("user key", text, codec, &state.name)?);
        }
        Ok(Some(filter))
    }

    /// Returns a filter for each codec.
    ///
    /// # Errors
    ///
    /// Request: a text is a value of none of the states.
    pub fn filters(&self, codecs: &[EntryCodec]) -> Result<Vec<Option<RowFilter>>, Error> {
        let filters: Vec<Result<_, Error>> =
            codecs.iter().map(|codec| self.filter(codec)).collect();
        let (mut good, mut first) = (false, None);
        let filters = filters
            .into_iter()
            .map(|filter| match filter {
                Ok(filter) => {
                    good |= filter.is_some();
                    filter
                }
                Err(error) => {
                    first.get_or_insert(error);
                    None
                }
            })
            .collect();
        match first {
            Some(error) if !good => Err(error),
            Some(_) | None => Ok(filters),
        }
    }

    /// Cuts the keyed state of an operator into pieces of about `piece_bytes`: of one key group,
    /// if only a key of known hash is wanted.
    ///
    /// # Errors
    ///
    /// As [`filters`](Self::filters); snapshot: a header cannot be read.
    pub fn pieces<'a>(
        &self,
        operator: Operator<'a>,
        piece_bytes: u64,
    ) -> Result<Vec<Piece<'a>>, Error> {
        let mut pieces = Vec::new();
        for part in operator.keyed_parts() {
            let group = match self.key.is_some() {
                false => None,
                true => match part.header()? {
                    None => None,
                    Some(header) => one_group(operator, self, &EntryCodec::all_of(&header)?)?,
                },
            };
            match (group, part.key_groups()) {
                (None, _) => pieces.extend(part.pieces(piece_bytes)),
                (Some(group), Some(range)) if range.contains(group) => {
                    pieces.push(Piece::new(part, KeyGroupRange::new(group, group), 0));
                }
                (Some(_), _) => {}
            }
        }
        Ok(pieces)
    }
}

fn parse(what: &str, text: &str, codec: &ValueCodec, state: &str) -> Result<Value, Error> {
    codec.parse_map_key(text).map_err(|error| {
        let error = error.to_string();
        let error = error.strip_prefix("incompatible: ").unwrap_or(&error);
        Error::request(format!("the {what} of state \"{state}\": {error}"))
    })
}

/// The bytes of a key at the front of an entry's key, and how many bytes stand before.
fn key_bytes(codec: &EntryCodec, key: &Value) -> Result<(usize, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    codec.key().encode(key, &mut bytes)?;
    if codec.is_ambiguous() {
        put_length(bytes.len(), &mut bytes);
    }
    // The timestamp of a timer.
    let before = match codec.state().kind {
        StateType::Timers => 8,
        StateType::Value
        | StateType::List
        | StateType::Map
        | StateType::Reducing
        | StateType::Aggregating
        | StateType::Folding => 0,
    };
    Ok((before, bytes))
}

impl RowFilter {
    /// Whether an entry may be wanted, by its bytes.
    #[inline]
    pub fn takes_entry(&self, entry: &Entry<'_>) -> bool {
        match &self.key {
            None => true,
            Some((before, key)) => entry
                .key
                .get(*before..)
                .is_some_and(|rest| rest.starts_with(key)),
        }
    }

    /// Whether a row of such an entry is wanted.
    #[inline]
    pub fn takes_row(&self, row: &Row) -> bool {
        let namespace = self.namespace.as_ref();
        namespace.is_none_or(|wanted| row.namespace == *wanted)
            && match (&self.user_key, &row.content) {
                (None, _) => true,
                (Some(wanted), Content::MapEntry(user_key, _)) => user_key == wanted,
                (Some(_), _) => false,
            }
    }
}

/// The one key group that all that is wanted lies in.
fn one_group(
    operator: Operator<'_>,
    selection: &Selection,
    codecs: &[EntryCodec],
) -> Result<Option<KeyGroup>, Error> {
    let filters = selection.filters(codecs)?;
    let mut hashes = filters.iter().flatten().map(|filter| filter.hash);
    let Some(Some(first)) = hashes.next() else {
        return Ok(None);
    };
    let max_parallelism = operator.metadata().max_parallelism;
    let same = hashes.all(|hash| hash == Some(first));
    Ok(same.then(|| KeyGroup::of_hash(first, max_parallelism)))
}

//! Operator state: lists of all subtasks, and broadcast maps.

use millpond_serializer::{ByteReader, SerializerSnapshot, Value, ValueCodec};
use millpond_snapshot::{DistributionMode, StateKind};

use crate::{Error, Operator};

/// How operator state is dealt out when the parallelism changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperatorStateMode {
    /// Each element goes to one subtask.
    Split,
    /// All elements go to every subtask.
    Union,
    /// Every subtask has the same map.
    Broadcast,
}

impl OperatorStateMode {
    /// The word for it: "split", "union", "broadcast".
    pub fn name(self) -> &'static str {
        match self {
            OperatorStateMode::Split => "split",
            OperatorStateMode::Union => "union",
            OperatorStateMode::Broadcast => "broadcast",
        }
    }
}

impl From<DistributionMode> for OperatorStateMode {
    fn from(mode: DistributionMode) -> Self {
        match mode {
            DistributionMode::SplitDistribute => OperatorStateMode::Split,
            DistributionMode::Union => OperatorStateMode::Union,
            DistributionMode::Broadcast => OperatorStateMode::Broadcast,
        }
    }
}

/// One operator state of an operator, with what all its subtasks hold of it.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorStateContent {
    /// The name.
    pub name: String,
    /// How it is dealt out.
    pub mode: OperatorStateMode,
    /// The serializer of keys of a broadcast map.
    pub key: Option<SerializerSnapshot>,
    /// The serializer of elements, or of values of a broadcast map.
    pub value: SerializerSnapshot,
    /// The elements by subtask; of a broadcast map its (key, value) pairs as tuples, once for
    /// each subtask that has it.
    pub elements: Vec<(u32, Vec<Value>)>,
    /// Bytes of the elements.
    pub bytes: u64,
    /// Subtask and number of bytes behind elements that belong to nothing.
    pub left_over: Vec<(u32, usize)>,
}

impl OperatorStateContent {
    /// The types in words: of a broadcast map both.
    pub fn type_words(&self) -> Vec<String> {
        let types = self.key.iter().chain([&self.value]);
        types.map(SerializerSnapshot::type_words).collect()
    }

    /// What the operator has: the elements of all subtasks, or the broadcast map once.
    pub fn content(&self) -> impl Iterator<Item = &Value> {
        let subtasks = match self.mode {
            OperatorStateMode::Broadcast => 1,
            OperatorStateMode::Split | OperatorStateMode::Union => usize::MAX,
        };
        let elements = self.elements.iter().take(subtasks);
        elements.flat_map(|(_, elements)| elements)
    }

    /// The subtasks whose broadcast map is not that of the first.
    pub fn unequal_broadcasts(&self) -> Vec<u32> {
        let (Some((_, first)), OperatorStateMode::Broadcast) = (self.elements.first(), self.mode)
        else {
            return Vec::new();
        };
        // Java's maps have no order: each must hold what the other does.
        let differs = |other: &[Value]| {
            other.len() != first.len() || !other.iter().all(|pair| first.contains(pair))
        };
        let others = self.elements.iter().skip(1);
        others
            .filter(|(_, other)| differs(other))
            .map(|(subtask, _)| *subtask)
            .collect()
    }
}

impl Operator<'_> {
    /// Reads the operator state of all subtasks; it is small, and wholly in memory.
    ///
    /// # Errors
    ///
    /// Snapshot: it is damaged, or cannot be read.
    pub fn operator_states(&self) -> Result<Vec<OperatorStateContent>, Error> {
        let loaded = self.snapshot().loaded();
        let mut states: Vec<OperatorStateContent> = Vec::new();
        for (index, subtask) in &self.metadata().subtasks {
            let Some(handle) = &subtask.managed_operator else {
                continue;
            };
            let reader = loaded.open_operator(handle)?;
            for offsets in &handle.states {
                let meta = reader.meta(&offsets.name).ok_or_else(|| {
                    let reason = format!("state \"{}\" without description", offsets.name);
                    Error::from(millpond_snapshot::Error::incompatible(reason))
                })?;
                let value = meta.value_serializer()?;
                let key = match meta.kind {
                    StateKind::Broadcast => Some(meta.key_serializer()?),
                    StateKind::Operator
                    | StateKind::KeyValue
                    | StateKind::KeyValueV2
                    | StateKind::PriorityQueue => None,
                };
                let codecs = (key.map(ValueCodec::new), ValueCodec::new(value));
                let (mut elements, mut bytes) = (Vec::new(), 0);
                let mut left_over = Vec::new();
                for offset in &offsets.offsets {
                    let element = reader.element(*offset)?;
                    let start = u64::try_from(*offset).unwrap_or(0);
                    let mut input = ByteReader::at_offset(&element, start);
                    let read = read_element(&codecs, &mut input, &element, &mut elements);
                    read.map_err(|error| {
                        millpond_snapshot::Error::from(error).in_file(format!(
                            "operator state \"{}\" of subtask {index}",
                            offsets.name
                        ))
                    })?;
                    let left = match elements.last() {
                        Some(Value::Opaque { .. }) => 0,
                        Some(_) | None => input.remaining(),
                    };
                    bytes += (element.len() - left) as u64;
                    if left > 0 {
                        left_over.push((*index, left));
                    }
                }
                let known = states.iter_mut().find(|state| state.name == offsets.name);
                match known {
                    Some(state) => {
                        state.elements.push((*index, elements));
                        state.bytes += bytes;
                        state.left_over.extend(left_over);
                    }
                    None => states.push(OperatorStateContent {
                        name: offsets.name.clone(),
                        mode: offsets.mode.into(),
                        key: key.cloned(),
                        value: value.clone(),
                        elements: vec![(*index, elements)],
                        bytes,
                        left_over,
                    }),
                }
            }
        }
        Ok(states)
    }
}

/// Reads one element, or a whole broadcast map.
fn read_element(
    (key, value): &(Option<ValueCodec>, ValueCodec),
    input: &mut ByteReader<'_>,
    bytes: &[u8],
    elements: &mut Vec<Value>,
) -> Result<(), millpond_serializer::Error> {
    let Some(key) = key else {
        let element = match value.decode(input) {
            // All that is there up to the next element: where it ends is not known.
            Err(error)
                if matches!(
                    error.kind(),
                    millpond_serializer::ErrorKind::Unsupported { .. }
                ) =>
            {
                value.decode_or_opaque(bytes)?
            }
            other => other?,
        };
        elements.push(element);
        return Ok(());
    };
    for _ in 0..input.count(1)? {
        let pair = vec![key.decode(input)?, value.decode(input)?];
        elements.push(Value::Tuple(pair));
    }
    Ok(())
}

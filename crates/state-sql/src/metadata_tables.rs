//! Tables of what a snapshot says about itself.
//!
//! | table | a row is |
//! | --- | --- |
//! | `snapshots` | a kept checkpoint of the same job; or only the snapshot that is asked |
//! | `operators` | an operator with state |
//! | `states` | a state of an operator, or the timers of one of its services |
//! | `files` | a stream of bytes: a file, a part of one, or inline in `_metadata` |
//! | `source_offsets` | where a source stands in one split |

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use millpond_serializer::{Shape, Value};
use millpond_snapshot::{OperatorSnapshot, StreamHandle};
use millpond_state_processor::{
    Counting, KeptCheckpoint, Listing, OpenSnapshot, PathMap, Progress, Threads, list,
};

use crate::Error;
use crate::rows::{self, number, text};

/// The names, in alphabetic order.
pub(crate) const NAMES: [&str; 5] = [
    "files",
    "operators",
    "snapshots",
    "source_offsets",
    "states",
];

/// What the tables are made of.
#[derive(Debug)]
pub(crate) struct MetadataTables {
    pub(crate) snapshot: Arc<OpenSnapshot>,
    pub(crate) kept: Vec<KeptCheckpoint>,
    pub(crate) paths: PathMap,
}

impl MetadataTables {
    /// Makes the table of a name of [`NAMES`].
    pub(crate) fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(Some(match name {
            "files" => self.files()?,
            "operators" => self.operators()?,
            "snapshots" => self.snapshots()?,
            "source_offsets" => self.source_offsets()?,
            "states" => self.states()?,
            _ => return Ok(None),
        }))
    }

    fn listing(&self) -> Result<Listing, Error> {
        let (threads, progress) = (Threads::default(), Progress::default());
        Ok(list(&self.snapshot, Counting::Known, threads, &progress)?)
    }

    fn snapshots(&self) -> Result<Arc<dyn TableProvider>> {
        let columns = [
            ("checkpoint_id", Shape::Long),
            ("location", Shape::Text),
            ("queried", Shape::Boolean),
            ("kind", Shape::Text),
            ("engine", Shape::Text),
            ("version", Shape::Text),
            ("metadata_version", Shape::Int),
            ("job_id", Shape::Text),
            ("job_name", Shape::Text),
            ("parent", Shape::Text),
            ("operators", Shape::Long),
            ("state_bytes", Shape::Long),
            ("problem", Shape::Text),
        ];
        let here = &self.snapshot.loaded().directory;
        let mut rows = Vec::new();
        for checkpoint in &self.kept {
            if checkpoint.directory == *here {
                continue;
            }
            let directory = checkpoint.directory.to_string();
            rows.push(match OpenSnapshot::open(&directory, &self.paths) {
                Ok(snapshot) => snapshot_row(&snapshot, false),
                // The others are of use all the same.
                Err(error) => {
                    let mut row = vec![Value::Null; columns.len()];
                    row[0] = number(checkpoint.id);
                    row[1] = Value::String(directory);
                    row[2] = Value::Boolean(false);
                    row[12] = Value::String(error.to_string());
                    row
                }
            });
        }
        rows.push(snapshot_row(&self.snapshot, true));
        rows.sort_by_key(|row| {
            let Value::Long(id) = row[0] else {
                return i64::MAX;
            };
            id
        });
        rows::table(&columns, rows)
    }

    fn operators(&self) -> Result<Arc<dyn TableProvider>> {
        let columns = [
            ("operator_id", Shape::Text),
            ("uid", Shape::Text),
            ("name", Shape::Text),
            ("parallelism", Shape::Int),
            ("max_parallelism", Shape::Int),
            ("finished", Shape::Boolean),
            ("key_type", Shape::Text),
            ("formats", Shape::Text),
            ("keyed_states", Shape::Long),
            ("operator_states", Shape::Long),
            ("bytes", Shape::Long),
        ];
        let listing = self.listing()?;
        let rows = listing.operators.iter().map(|operator| {
            vec![
                text(Some(&operator.operator_id)),
                text(operator.uid.as_deref()),
                text(operator.name.as_deref()),
                count(operator.parallelism),
                count(operator.max_parallelism),
                Value::Boolean(operator.finished),
                text(operator.key_type.as_deref()),
                Value::String(operator.formats.join(", ")),
                number(operator.keyed_states.len() as u64),
                number(operator.operator_states.len() as u64),
                number(operator.bytes),
            ]
        });
        rows::table(&columns, rows)
    }

    fn states(&self) -> Result<Arc<dyn TableProvider>> {
        let columns = [
            ("operator_id", Shape::Text),
            ("uid", Shape::Text),
            ("state", Shape::Text),
            ("kind", Shape::Text),
            ("key_type", Shape::Text),
            ("namespace", Shape::Text),
            ("value_type", Shape::Text),
            ("ttl", Shape::Boolean),
            ("entries", Shape::Long),
            ("bytes", Shape::Long),
        ];
        let listing = self.listing()?;
        let known = |count: Option<u64>| count.map_or(Value::Null, number);
        let mut rows = Vec::new();
        for operator in &listing.operators {
            let id = || text(Some(&operator.operator_id));
            let uid = || text(operator.uid.as_deref());
            let key = || text(operator.key_type.as_deref());
            for state in &operator.keyed_states {
                rows.push(vec![
                    id(),
                    uid(),
                    text(Some(&state.name)),
                    text(Some(state.kind)),
                    key(),
                    namespace(&state.namespace),
                    Value::String(state.types.join(" -> ")),
                    Value::Boolean(state.ttl),
                    known(state.entries),
                    known(state.live_bytes),
                ]);
            }
            for timers in &operator.timers {
                let count = match (timers.event, timers.processing) {
                    (None, None) => None,
                    (event, processing) => Some(event.unwrap_or(0) + processing.unwrap_or(0)),
                };
                rows.push(vec![
                    id(),
                    uid(),
                    text(Some(&timers.service)),
                    text(Some("timers")),
                    key(),
                    namespace(&timers.namespace),
                    Value::Null,
                    Value::Boolean(false),
                    known(count),
                    known(timers.live_bytes),
                ]);
            }
            for state in &operator.operator_states {
                rows.push(vec![
                    id(),
                    uid(),
                    text(Some(&state.name)),
                    text(Some(state.mode)),
                    Value::Null,
                    Value::Null,
                    Value::String(state.types.join(" -> ")),
                    Value::Boolean(false),
                    number(state.elements),
                    number(state.bytes),
                ]);
            }
        }
        rows::table(&columns, rows)
    }

    fn files(&self) -> Result<Arc<dyn TableProvider>> {
        let columns = [
            ("operator_id", Shape::Text),
            ("uid", Shape::Text),
            ("subtask", Shape::Int),
            ("holds", Shape::Text),
            ("location", Shape::Text),
            ("bytes", Shape::Long),
        ];
        let mut rows = Vec::new();
        for operator in self.snapshot.operators() {
            let (id, uid) = (operator.id().to_string(), operator.uid());
            for (subtask, holds, stream) in streams(operator.metadata()) {
                let loaded = self.snapshot.loaded();
                let file = loaded
                    .file_of(stream)
                    .map_err(|error| Error::from(millpond_state_processor::Error::from(error)))?;
                rows.push(vec![
                    text(Some(&id)),
                    text(uid),
                    subtask.map_or(Value::Null, count),
                    text(Some(holds)),
                    // Null: inline.
                    file.map_or(Value::Null, |file| Value::String(file.to_string())),
                    number(stream.size()),
                ]);
            }
        }
        rows::table(&columns, rows)
    }

    fn source_offsets(&self) -> Result<Arc<dyn TableProvider>> {
        let columns = [
            ("operator_id", Shape::Text),
            ("uid", Shape::Text),
            ("subtask", Shape::Int),
            ("split", Shape::Text),
            ("position", Shape::Long),
            ("stop", Shape::Long),
            ("words", Shape::Text),
        ];
        let mut rows = Vec::new();
        for operator in self.snapshot.operators() {
            let positions = operator.source_positions().map_err(Error::from)?;
            for position in positions {
                let long = |number: Option<i64>| number.map_or(Value::Null, Value::Long);
                rows.push(vec![
                    Value::String(operator.id().to_string()),
                    text(operator.uid()),
                    count(position.subtask),
                    text(position.split.as_deref()),
                    long(position.position),
                    long(position.stop),
                    Value::String(position.words),
                ]);
            }
        }
        rows::table(&columns, rows)
    }
}

fn snapshot_row(snapshot: &OpenSnapshot, queried: bool) -> Vec<Value> {
    let writer = snapshot.writer();
    let trailer = snapshot.trailer();
    let mut bytes = 0;
    let metadata = snapshot.metadata();
    metadata.streams(&mut |stream: &StreamHandle| bytes += stream.size());
    let operators = snapshot.operators().filter(|operator| !operator.is_empty());
    vec![
        Value::Long(metadata.checkpoint_id),
        Value::String(snapshot.loaded().directory.to_string()),
        Value::Boolean(queried),
        text(writer.kind),
        text(Some(writer.engine)),
        text(Some(&writer.version)),
        Value::Int(writer.metadata_version),
        trailer.map_or(Value::Null, |trailer| {
            Value::String(trailer.job_id.to_string())
        }),
        text(trailer.map(|trailer| trailer.job_name.as_str())),
        text(trailer.and_then(|trailer| trailer.parent.as_deref())),
        number(operators.count() as u64),
        number(bytes),
        Value::Null,
    ]
}

/// The streams of an operator, with the subtask and what they hold.
fn streams(operator: &OperatorSnapshot) -> Vec<(Option<u32>, &'static str, &StreamHandle)> {
    let mut streams = Vec::new();
    let coordinator = operator.coordinator.iter();
    streams.extend(coordinator.map(|stream| (None, "coordinator", stream)));
    for (index, subtask) in &operator.subtasks {
        let mut add = |holds, stream| streams.push((Some(*index), holds, stream));
        let keyed = [
            ("keyed state", &subtask.managed_keyed),
            ("raw keyed state", &subtask.raw_keyed),
        ];
        for (holds, handle) in keyed {
            let handle = handle.iter();
            handle.for_each(|handle| handle.streams(&mut |stream| add(holds, stream)));
        }
        let lists = [
            ("operator state", &subtask.managed_operator),
            ("raw operator state", &subtask.raw_operator),
        ];
        for (holds, handle) in lists {
            let handle = handle.iter();
            handle.for_each(|handle| add(holds, &handle.stream));
        }
        let channels = subtask.input_channels.iter();
        for channel in channels.chain(&subtask.result_subpartitions) {
            add("data in flight", channel.stream());
        }
    }
    streams
}

fn count(number: u32) -> Value {
    Value::Int(i32::try_from(number).unwrap_or(i32::MAX))
}

/// The type of a namespace; null for none.
fn namespace(words: &str) -> Value {
    text(Some(words).filter(|words| *words != "void"))
}

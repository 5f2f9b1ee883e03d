//! State of the model job as handles, and back.

use std::collections::BTreeMap;

use millpond_checkpoint::OperatorRestore;
use millpond_job::{OperatorAcknowledgement, SubtaskAcknowledgement};
use millpond_snapshot::{
    DistributionMode, IncrementalHandle, KeyedHandle, NamedStream, OperatorStateHandle,
    OperatorStateOffsets, StreamHandle, SubtaskSnapshot,
};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::disk::StateFile;
use crate::job::{Key, Row};
use crate::output::TransactionId;
use crate::worker::{Frozen, Part};
use crate::world::World;

/// Name of the only operator state.
const STATE: &str = "state";
/// Bytes of an element of operator state.
const ELEMENT: usize = 8;

impl World {
    /// Writes a part's files and returns what is said of it; `None` if one cannot be written.
    pub(crate) fn write_state(
        &mut self,
        pid: usize,
        part: &Part,
    ) -> Option<SubtaskAcknowledgement> {
        let mut state = SubtaskSnapshot::default();
        let mut pending_transactions = false;
        match &part.frozen {
            Frozen::Source(positions) => {
                let element = |(split, at): (&u32, &u32)| u64::from(*split) << 32 | u64::from(*at);
                state.managed_operator = operator_state(positions.iter().map(element).collect());
            }
            Frozen::Sink(transactions) => {
                pending_transactions = !transactions.is_empty();
                state.managed_operator = operator_state(transactions.clone());
            }
            Frozen::Count(counts) if counts.is_empty() => {}
            Frozen::Count(counts) => {
                state.managed_keyed = Some(self.write_counts(pid, part, counts)?);
            }
        }
        let master = self.workers[pid].master;
        let graph = &self.masters[master].graph;
        let operator = graph.vertices[part.vertex.0 as usize].operators[0].id;
        Some(SubtaskAcknowledgement {
            vertex: part.vertex,
            subtask: part.subtask,
            operators: vec![OperatorAcknowledgement {
                operator,
                state,
                files: Vec::new(),
                states: Vec::new(),
                positions: Vec::new(),
                pending_transactions,
                ended: false,
            }],
            metrics: Default::default(),
        })
    }

    fn write_counts(
        &mut self,
        pid: usize,
        part: &Part,
        counts: &BTreeMap<Key, u32>,
    ) -> Option<KeyedHandle> {
        let mut groups: BTreeMap<u16, Vec<Row>> = BTreeMap::new();
        for (key, count) in counts {
            let group = self.job.key_group(*key);
            groups.entry(group.0).or_default().push((*key, *count));
        }
        let base = self.base_files(pid, part).cloned().unwrap_or_default();
        let mut own = BTreeMap::new();
        for (group, counts) in groups {
            let content = StateFile { group, counts };
            let reused = base
                .get(&group)
                .and_then(|file| self.reused(pid, part, file, &content));
            own.insert(
                group,
                reused.or_else(|| self.write_file(pid, part, content))?,
            );
        }
        let (first, last) = (*own.keys().next()?, *own.keys().next_back()?);
        let named = |(group, path): (&u16, &String)| NamedStream {
            name: group.to_string(),
            stream: StreamHandle::File {
                path: path.clone(),
                size: 1,
            },
        };
        let handle = KeyedHandle::Incremental(IncrementalHandle {
            checkpoint_id: part.options.id,
            backend_id: String::new(),
            range: (first, u32::from(last - first) + 1),
            meta: StreamHandle::Bytes {
                name: String::new(),
                data: Vec::new(),
            },
            shared: own.iter().map(named).collect(),
            private: Vec::new(),
            v2: None,
        });
        self.remember_files(pid, part, own);
        Some(handle)
    }

    /// The file of the base, if it is to be used again for the same content.
    fn reused(
        &mut self,
        pid: usize,
        part: &Part,
        file: &str,
        content: &StateFile,
    ) -> Option<String> {
        let Some(before) = self.disk.read(file) else {
            // A task that has not heard that its checkpoint was given up may refer to what is gone.
            let master = self.workers[pid].master;
            let is_given_up = self.masters[master].has_given_up(part.attempt, part.options.id);
            self.law(is_given_up, || {
                format!(
                    "\"{file}\" is gone, and checkpoint {} may refer to it",
                    part.options.id
                )
            });
            return None;
        };
        let may_be = self.setting.shares_exclusive || file.contains("/shared/");
        if before == content && may_be && self.random.percent(85) {
            self.see("a file that checkpoints share");
            return Some(file.to_owned());
        }
        None
    }

    /// Writes a file; `None` if there is one of its name.
    ///
    /// The names are those of `runtime::state_writer`: what lies in a checkpoint's own directory is named
    /// after attempt and subtask, and what checkpoints share after number and time of its checkpoint too.
    fn write_file(&mut self, pid: usize, part: &Part, content: StateFile) -> Option<String> {
        let options = &part.options;
        let name = format!("{}-{}-{}", part.attempt, part.subtask, content.group);
        let file = match self.random.percent(70) {
            true => {
                let (directory, at_ms) = (&options.shared_directory, options.triggered_at_ms);
                format!("{directory}/{name}-{}-{at_ms}", options.id)
            }
            false => format!("{}/{name}", options.directory),
        };
        if self.disk.read(&file).is_some() {
            self.see("a file that is there already");
            return None;
        }
        let master = &self.masters[self.workers[pid].master];
        if master.has_given_up(part.attempt, options.id) {
            // What a zombie writes may have the name of what its master's successor has deleted.
            self.garbage.insert(file.clone());
        }
        self.disk.write(file.clone(), content);
        Some(file)
    }

    /// A file of a part that nobody will hear of.
    pub(crate) fn leave_file(&mut self, directory: &str) {
        self.files_written += 1;
        let file = format!("{directory}/{}", self.files_written);
        let content = StateFile {
            group: 0,
            counts: Vec::new(),
        };
        self.disk.write(file.clone(), content);
        self.garbage.insert(file);
    }
}

fn operator_state(elements: Vec<u64>) -> Option<OperatorStateHandle> {
    if elements.is_empty() {
        return None;
    }
    let offsets = (0..elements.len()).map(|i| (i * ELEMENT) as i64).collect();
    Some(OperatorStateHandle {
        states: vec![OperatorStateOffsets {
            name: STATE.to_owned(),
            mode: DistributionMode::SplitDistribute,
            offsets,
        }],
        stream: StreamHandle::Bytes {
            name: String::new(),
            data: elements.iter().flat_map(|e| e.to_be_bytes()).collect(),
        },
        merged: None,
    })
}

/// The elements of a subtask's operator state.
fn elements(handle: &OperatorStateHandle) -> Vec<u64> {
    let StreamHandle::Bytes { data, .. } = &handle.stream else {
        return Vec::new();
    };
    let offsets = handle.states.iter().flat_map(|state| &state.offsets);
    offsets
        .filter_map(|offset| data.get(*offset as usize..)?.first_chunk::<ELEMENT>())
        .map(|bytes| u64::from_be_bytes(*bytes))
        .collect()
}

fn position(element: u64) -> (u32, u32) {
    ((element >> 32) as u32, element as u32)
}

/// Positions by split, of a source subtask that is restored.
pub(crate) fn positions(restored: &OperatorRestore) -> BTreeMap<u32, u32> {
    let all = restored.operator.iter().flat_map(elements);
    all.map(position).collect()
}

/// The transactions of a sink subtask that is restored.
pub(crate) fn transactions(restored: &OperatorRestore) -> Vec<TransactionId> {
    restored.operator.iter().flat_map(elements).collect()
}

/// The files of the key groups in `range`, of a counting subtask that is restored.
pub(crate) fn key_group_files(
    restored: &OperatorRestore,
    range: KeyGroupRange,
) -> BTreeMap<u16, String> {
    let mut files = BTreeMap::new();
    for handle in &restored.keyed {
        files.extend(group_files(handle).filter(|(group, _)| range.contains(KeyGroup(*group))));
    }
    files
}

fn group_files(handle: &KeyedHandle) -> impl Iterator<Item = (u16, String)> + '_ {
    let named: &[NamedStream] = match handle {
        KeyedHandle::Incremental(handle) => &handle.shared,
        KeyedHandle::KeyGroups { .. }
        | KeyedHandle::Changelog(_)
        | KeyedHandle::InMemoryChanges { .. }
        | KeyedHandle::ChangeFiles { .. } => &[],
    };
    named.iter().filter_map(|named| match &named.stream {
        StreamHandle::File { path, .. } => Some((named.name.parse().ok()?, path.clone())),
        StreamHandle::Bytes { .. }
        | StreamHandle::Relative { .. }
        | StreamHandle::KeyGroups { .. }
        | StreamHandle::Segment { .. }
        | StreamHandle::EmptySegment => None,
    })
}

/// What a snapshot of the whole job holds.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) positions: BTreeMap<u32, u32>,
    pub(crate) files: Vec<String>,
    pub(crate) transactions: Vec<TransactionId>,
}

/// Reads the handles of a snapshot: of source, count and sink, in this order.
pub(crate) fn content<'a>(parts: impl Iterator<Item = (usize, &'a SubtaskSnapshot)>) -> Content {
    let mut content = Content::default();
    for (vertex, part) in parts {
        let elements = part.managed_operator.iter().flat_map(elements);
        match vertex {
            0 => content.positions.extend(elements.map(position)),
            1 => {
                let files = part.managed_keyed.iter().flat_map(group_files);
                content.files.extend(files.map(|(_, file)| file));
            }
            _ => content.transactions.extend(elements),
        }
    }
    content
}

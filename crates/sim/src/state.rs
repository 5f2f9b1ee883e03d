//! State of the model job as handles, and back.

use std::collections::BTreeMap;

use millpond_checkpoint::OperatorRestore;
use millpond_job::{JobGraph, OperatorAcknowledgement, SubtaskAcknowledgement};
use millpond_snapshot::{
    DistributionMode, IncrementalHandle, KeyedHandle, Metadata, NamedStream, OperatorStateHandle,
    OperatorStateOffsets, StreamHandle, SubtaskSnapshot,
};
use millpond_types::{KeyGroup, KeyGroupRange};

use crate::disk::StateFile;
use crate::in_flight;
use crate::job::{COUNT, Job, Key, Row, SOURCE};
use crate::output::TransactionId;
use crate::worker::{Frozen, Part};
use crate::world::World;

/// Name of the operator state whose elements are dealt out.
const STATE: &str = "state";
/// Name of the operator state whose elements every subtask gets.
const UNION: &str = "union";
/// Bytes of an element of operator state.
const ELEMENT: usize = 8;

impl World {
    /// Writes a part's files and returns what is said of it; `None` if one cannot be written.
    pub(crate) fn write_state(
        &mut self,
        pid: usize,
        part: &Part,
    ) -> Option<SubtaskAcknowledgement> {
        let mut state = SubtaskSnapshot {
            input_channels: in_flight::channel_state(part.subtask, &part.in_flight),
            ..SubtaskSnapshot::default()
        };
        let mut pending_transactions = false;
        match &part.frozen {
            Frozen::Source(positions) => {
                let element = |(split, at): (&u32, &u32)| u64::from(*split) << 32 | u64::from(*at);
                let elements: Vec<u64> = positions.iter().map(element).collect();
                let union = Some((UNION, DistributionMode::Union));
                state.managed_operator = operator_state(&elements, union);
            }
            Frozen::Sink(transactions) => {
                pending_transactions = !transactions.is_empty();
                state.managed_operator = operator_state(transactions, None);
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
            let is_given_up = self.is_in_vain(master, part.attempt, part.options.id);
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
        if self.is_in_vain(self.workers[pid].master, part.attempt, options.id) {
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

/// Operator state of these elements; the same ones are another state too, if that is named.
fn operator_state(
    elements: &[u64],
    also: Option<(&str, DistributionMode)>,
) -> Option<OperatorStateHandle> {
    if elements.is_empty() {
        return None;
    }
    let offsets: Vec<i64> = (0..elements.len()).map(|i| (i * ELEMENT) as i64).collect();
    let states = [(STATE, DistributionMode::SplitDistribute)]
        .into_iter()
        .chain(also);
    let states = states.map(|(name, mode)| OperatorStateOffsets {
        name: name.to_owned(),
        mode,
        offsets: offsets.clone(),
    });
    Some(OperatorStateHandle {
        states: states.collect(),
        stream: StreamHandle::Bytes {
            name: String::new(),
            data: elements.iter().flat_map(|e| e.to_be_bytes()).collect(),
        },
        merged: None,
    })
}

/// The elements of a subtask's operator state of this name.
fn elements<'a>(handle: &'a OperatorStateHandle, name: &'a str) -> impl Iterator<Item = u64> + 'a {
    let data: &[u8] = match &handle.stream {
        StreamHandle::Bytes { data, .. } => data,
        StreamHandle::File { .. }
        | StreamHandle::Relative { .. }
        | StreamHandle::KeyGroups { .. }
        | StreamHandle::Segment { .. }
        | StreamHandle::EmptySegment => &[],
    };
    let states = handle.states.iter().filter(move |state| state.name == name);
    let offsets = states.flat_map(|state| &state.offsets);
    let bytes =
        offsets.filter_map(move |offset| data.get(*offset as usize..)?.first_chunk::<ELEMENT>());
    bytes.map(|bytes| u64::from_be_bytes(*bytes))
}

fn position(element: u64) -> (u32, u32) {
    ((element >> 32) as u32, element as u32)
}

/// Splits and positions of a source subtask that is restored.
pub(crate) fn positions(restored: &OperatorRestore) -> Vec<(u32, u32)> {
    let all = restored
        .operator
        .iter()
        .flat_map(|handle| elements(handle, STATE));
    all.map(position).collect()
}

/// The union state of a source subtask that is restored.
pub(crate) fn union_positions(restored: &OperatorRestore) -> Vec<(u32, u32)> {
    let all = restored
        .operator
        .iter()
        .flat_map(|handle| elements(handle, UNION));
    all.map(position).collect()
}

/// The transactions of a sink subtask that is restored.
pub(crate) fn transactions(restored: &OperatorRestore) -> Vec<TransactionId> {
    let all = restored
        .operator
        .iter()
        .flat_map(|handle| elements(handle, STATE));
    all.collect()
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
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) positions: Vec<(u32, u32)>,
    pub(crate) union_positions: Vec<(u32, u32)>,
    pub(crate) files: Vec<String>,
    pub(crate) transactions: Vec<TransactionId>,
    /// Records that are read and not counted.
    pub(crate) to_count: Vec<Row>,
    /// Records that are counted, and in no transaction.
    pub(crate) to_sink: Vec<Row>,
}

impl Content {
    /// Whose it is matters no more.
    pub(crate) fn sort(&mut self) {
        self.positions.sort_unstable();
        self.union_positions.sort_unstable();
        self.files.sort_unstable();
        self.transactions.sort_unstable();
        self.to_count.sort_unstable();
        self.to_sink.sort_unstable();
    }

    /// How many records of each key are counted.
    pub(crate) fn counted(&self, job: &Job) -> BTreeMap<Key, u32> {
        let mut counts = job.counts_before(self.positions.iter().copied());
        for (key, _) in &self.to_count {
            if let Some(count) = counts.get_mut(key) {
                *count = count.saturating_sub(1);
            }
        }
        counts.retain(|_, count| *count > 0);
        counts
    }
}

/// Reads the handles of a snapshot.
pub(crate) fn content_of(metadata: &Metadata, graph: &JobGraph) -> Content {
    let mut content = Content::default();
    for vertex in &graph.vertices {
        let Some(operator) = metadata.operator(vertex.operators[0].id) else {
            continue;
        };
        for (_, part) in &operator.subtasks {
            let of = |name| {
                part.managed_operator
                    .iter()
                    .flat_map(move |all| elements(all, name))
            };
            if vertex.index == SOURCE {
                content.positions.extend(of(STATE).map(position));
                content.union_positions.extend(of(UNION).map(position));
            } else if vertex.index == COUNT {
                let files = part.managed_keyed.iter().flat_map(group_files);
                content.files.extend(files.map(|(_, file)| file));
                content
                    .to_count
                    .extend(in_flight::rows(&part.input_channels));
            } else {
                content.transactions.extend(of(STATE));
                content
                    .to_sink
                    .extend(in_flight::rows(&part.input_channels));
            }
        }
    }
    content.union_positions.sort_unstable();
    content
}

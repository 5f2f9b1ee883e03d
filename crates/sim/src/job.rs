//! The job that every history runs, and what it must put out.
//!
//! ```text
//! source (splits, positions) ──hash──▶ count (a number per key) ──rebalance──▶ sink (two-phase commit)
//! ```
//!
//! A split is a list of keys. For each key the count puts out 1, 2, 3 and so on, one for each record, so
//! that a record that is lost or counted twice shows in what the sinks have committed: of each key every
//! number has to be there once.

use std::collections::BTreeMap;

use millpond_job::graph::{
    ChainingStrategy, NodeId, NodeKind, Partitioner, StreamEdge, StreamGraph, StreamNode,
};
use millpond_job::{JobGraph, VertexIndex};
use millpond_types::KeyGroup;

use crate::random::Random;

/// A key of the stream.
pub(crate) type Key = u8;
/// A key, and how many records of it were counted with this one.
pub(crate) type Row = (Key, u32);

pub(crate) const SOURCE: VertexIndex = VertexIndex(0);
pub(crate) const COUNT: VertexIndex = VertexIndex(1);
pub(crate) const SINK: VertexIndex = VertexIndex(2);

/// The input of a job, and what does not change over its lives.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) splits: Vec<Vec<Key>>,
    pub(crate) max_parallelism: u32,
}

impl Job {
    pub(crate) fn random(random: &mut Random, is_long: bool) -> Job {
        let keys = 1 + random.below(6);
        let splits = 1 + random.below(4);
        let length = match is_long {
            true => 60,
            false => 1 + random.below(12),
        };
        let split = |random: &mut Random| {
            let records = random.below(length + 1);
            (0..records).map(|_| random.below(keys) as Key).collect()
        };
        Job {
            splits: (0..splits).map(|_| split(random)).collect(),
            max_parallelism: random.pick(&[3, 4, 7, 16, 128]),
        }
    }

    /// The number of subtasks of each vertex of a new life of the job.
    pub(crate) fn some_parallelism(&self, random: &mut Random) -> [u32; 3] {
        [0; 3].map(|_| 1 + random.below(3) as u32)
    }

    pub(crate) fn key_group(&self, key: Key) -> KeyGroup {
        KeyGroup::of_hash(i32::from(key) * 31 + 7, self.max_parallelism)
    }

    pub(crate) fn graph(&self, parallelism: [u32; 3]) -> JobGraph {
        let node = |id: usize, kind: NodeKind, name: &str| StreamNode {
            id: NodeId(id as u32),
            name: name.to_owned(),
            uid: Some(name.to_owned()),
            uid_hash: None,
            kind,
            parallelism: parallelism[id],
            max_parallelism: Some(self.max_parallelism),
            chaining: ChainingStrategy::Never,
        };
        let edge = |from: u32, to: u32, partitioner: Partitioner| StreamEdge {
            from: NodeId(from),
            to: NodeId(to),
            input: 0,
            partitioner,
            side_output: None,
        };
        let graph = StreamGraph {
            nodes: vec![
                node(0, NodeKind::Source, "source"),
                node(1, NodeKind::Operator, "count"),
                node(2, NodeKind::Sink, "sink"),
            ],
            edges: vec![
                edge(0, 1, Partitioner::Hash),
                edge(1, 2, Partitioner::Rebalance),
            ],
        };
        JobGraph::build(&graph, false, true).expect("a job")
    }

    /// How many records of each key there are before these positions.
    pub(crate) fn counts_before(
        &self,
        positions: impl IntoIterator<Item = (u32, u32)>,
    ) -> BTreeMap<Key, u32> {
        let mut counts = BTreeMap::new();
        for (split, position) in positions {
            for key in &self.splits[split as usize][..position as usize] {
                *counts.entry(*key).or_default() += 1;
            }
        }
        counts
    }

    /// How many records of each key there are.
    pub(crate) fn totals(&self) -> BTreeMap<Key, u32> {
        let mut counts = BTreeMap::new();
        for key in self.splits.iter().flatten() {
            *counts.entry(*key).or_default() += 1;
        }
        counts
    }
}

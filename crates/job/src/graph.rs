//! The stream graph: every operator that the user wrote, before chaining.

use std::collections::BTreeMap;
use std::fmt;

use millpond_types::OperatorId;
use millpond_types::key_group::UPPER_BOUND_MAX_PARALLELISM;

/// A node of the stream graph; counts from 0 in the order in which the program made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Has no inputs; makes records.
    Source,
    /// Has inputs and outputs.
    Operator,
    /// Has inputs only.
    Sink,
}

/// How records are distributed over the subtasks of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// Subtask i to subtask i.
    Forward,
    /// By the key group of the record's key.
    Hash,
    /// Round robin.
    Rebalance,
    /// Every record to every subtask.
    Broadcast,
    /// Every record to subtask 0.
    Global,
}

impl Partitioner {
    /// Whether it keeps subtask i with subtask i, as opposed to one that redistributes.
    pub fn is_pointwise(self) -> bool {
        self == Partitioner::Forward
    }

    /// Whether an unaligned barrier may overtake its records: those that any subtask may get, so that they
    /// have a place at another parallelism.
    pub fn may_be_overtaken(self) -> bool {
        match self {
            Partitioner::Hash | Partitioner::Rebalance | Partitioner::Global => true,
            Partitioner::Forward | Partitioner::Broadcast => false,
        }
    }

    /// Flink's name, as in `ship_strategy` of the REST API.
    pub fn as_str(self) -> &'static str {
        match self {
            Partitioner::Forward => "FORWARD",
            Partitioner::Hash => "HASH",
            Partitioner::Rebalance => "REBALANCE",
            Partitioner::Broadcast => "BROADCAST",
            Partitioner::Global => "GLOBAL",
        }
    }
}

/// Whether an operator may share a task with its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainingStrategy {
    /// With the operator before it and with those behind it.
    Always,
    /// Only with those behind it.
    Head,
    /// With none.
    Never,
}

/// One operator as the user wrote it.
#[derive(Clone, Debug)]
pub struct StreamNode {
    /// Its place in the program.
    pub id: NodeId,
    /// Shown to people.
    pub name: String,
    /// What identifies its state across versions of the program.
    pub uid: Option<String>,
    /// An operator id given literally, instead of the hash of a uid.
    pub uid_hash: Option<OperatorId>,
    /// What it is.
    pub kind: NodeKind,
    /// Number of subtasks, at least 1.
    pub parallelism: u32,
    /// Number of key groups if the user set one.
    pub max_parallelism: Option<u32>,
    /// Whether it may be chained.
    pub chaining: ChainingStrategy,
}

/// A connection between two nodes.
#[derive(Clone, Debug)]
pub struct StreamEdge {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// Which logical input of the receiver it feeds: 0, or 1 for the second input of a
    /// two-input operator. After a union several edges feed the same input.
    pub input: usize,
    /// How records are distributed.
    pub partitioner: Partitioner,
    /// The side output it carries, by its tag's name; `None` is the main output.
    pub side_output: Option<String>,
}

/// Every operator of a job and how they are connected.
#[derive(Clone, Debug, Default)]
pub struct StreamGraph {
    /// In order of [`NodeId`].
    pub nodes: Vec<StreamNode>,
    /// In the order in which the program made them.
    pub edges: Vec<StreamEdge>,
}

impl StreamGraph {
    /// The node with this id.
    pub fn node(&self, id: NodeId) -> &StreamNode {
        &self.nodes[id.0 as usize]
    }

    /// The edges into a node, in program order.
    pub fn inputs(&self, id: NodeId) -> impl Iterator<Item = &StreamEdge> {
        self.edges.iter().filter(move |edge| edge.to == id)
    }

    /// The edges out of a node, in program order.
    pub fn outputs(&self, id: NodeId) -> impl Iterator<Item = &StreamEdge> {
        self.edges.iter().filter(move |edge| edge.from == id)
    }

    /// Whether sender and receiver of `edge` share a task.
    pub fn is_chainable(&self, edge: &StreamEdge, chaining_enabled: bool) -> bool {
        let (from, to) = (self.node(edge.from), self.node(edge.to));
        chaining_enabled
            && edge.partitioner == Partitioner::Forward
            && from.parallelism == to.parallelism
            && self.inputs(edge.to).count() == 1
            && to.chaining == ChainingStrategy::Always
            && from.chaining != ChainingStrategy::Never
    }

    /// Checks what can be wrong with a graph that a program built.
    ///
    /// # Errors
    ///
    /// A duplicate uid or uid hash; a parallelism of 0 or above the maximum parallelism.
    pub fn check(&self) -> Result<(), GraphError> {
        let mut seen: BTreeMap<OperatorId, &StreamNode> = BTreeMap::new();
        for node in &self.nodes {
            let id = node
                .uid_hash
                .or_else(|| node.uid.as_deref().map(OperatorId::of_uid));
            if let Some(id) = id
                && let Some(other) = seen.insert(id, node)
            {
                return Err(GraphError::DuplicateUid {
                    uid: node.uid.clone().unwrap_or_else(|| id.to_string()),
                    first: other.name.clone(),
                    second: node.name.clone(),
                });
            }
            let max = node.max_parallelism.unwrap_or(UPPER_BOUND_MAX_PARALLELISM);
            if node.parallelism == 0 || node.parallelism > max || max > UPPER_BOUND_MAX_PARALLELISM
            {
                return Err(GraphError::Parallelism {
                    name: node.name.clone(),
                    parallelism: node.parallelism,
                    max_parallelism: max,
                });
            }
        }
        Ok(())
    }
}

/// Why a program's graph cannot become a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphError {
    /// Two operators with the same uid or uid hash.
    DuplicateUid {
        /// The uid.
        uid: String,
        /// The operator that had it first.
        first: String,
        /// The operator that has it too.
        second: String,
    },
    /// A parallelism out of its range.
    Parallelism {
        /// The operator.
        name: String,
        /// What was asked for.
        parallelism: u32,
        /// The most that is possible.
        max_parallelism: u32,
    },
    /// `pipeline.auto-generate-uids` is false and an operator has no uid.
    MissingUid {
        /// The operator.
        name: String,
    },
    /// A job without any source.
    Empty,
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::DuplicateUid { uid, first, second } => write!(
                f,
                "Hash collision on user-specified ID \"{uid}\": operator \"{second}\" has the uid \
                 of operator \"{first}\"; give each operator a uid of its own"
            ),
            GraphError::Parallelism {
                name,
                parallelism,
                max_parallelism,
            } => write!(
                f,
                "operator \"{name}\" has parallelism {parallelism}; expected 1 to its maximum \
                 parallelism {max_parallelism} (at most {UPPER_BOUND_MAX_PARALLELISM})"
            ),
            GraphError::MissingUid { name } => write!(
                f,
                "operator \"{name}\" has no uid and pipeline.auto-generate-uids is false; \
                 call uid(...) on it"
            ),
            GraphError::Empty => f.write_str("the job has no source; nothing would run"),
        }
    }
}

impl std::error::Error for GraphError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record that was on its way to one subtask, or to each, would have no place at another parallelism.
    #[test]
    fn what_any_subtask_may_get_may_be_overtaken_and_nothing_else() {
        use Partitioner::{Broadcast, Forward, Global, Hash, Rebalance};
        let all = [Forward, Hash, Rebalance, Broadcast, Global];
        let overtaken = all.into_iter().filter(|one| one.may_be_overtaken());
        assert_eq!(overtaken.collect::<Vec<_>>(), [Hash, Rebalance, Global]);
    }
}

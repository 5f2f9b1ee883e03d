//! A job as the data plane runs it: the graph as data, with code for every node and edge.

use millpond_job::JobGraph;
use millpond_operator::partition::PartitionFactory;
use millpond_operator::source::SourceCoordinatorFactory;
use millpond_operator::{BatchCodec, OperatorFactory};
use millpond_state::BackendChoice;

/// A whole job.
#[derive(Clone)]
pub struct Program {
    /// Vertices and edges.
    pub graph: JobGraph,
    /// Code of every node of the stream graph, by node id.
    pub nodes: Vec<NodeProgram>,
    /// Code of every edge between vertices, in the order of `graph.edges`.
    pub edges: Vec<EdgeProgram>,
    /// What keyed state stands on.
    pub backend: BackendChoice,
}

/// Code of one operator.
#[derive(Clone)]
pub struct NodeProgram {
    /// Makes a subtask of it.
    pub operator: OperatorFactory,
    /// Source only: what runs on the job master.
    pub coordinator: Option<SourceCoordinatorFactory>,
}

/// Code of one edge.
#[derive(Clone)]
pub struct EdgeProgram {
    /// Distributes its records.
    pub partition: PartitionFactory,
    /// Reads its records from other processes.
    pub codec: BatchCodec,
}

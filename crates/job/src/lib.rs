//! A job as data: graph, ids, chains, execution states and the messages between job master and
//! workers.
//!
//! Nothing here runs. `runtime` and `checkpoint` never import each other: they meet in
//! [`gateway`], whose messages serialize, so that the coordinator runs unchanged in a unit test,
//! in one process and across processes.

pub mod acknowledgement;
pub mod dispatcher;
pub mod gateway;
pub mod graph;
pub mod job_graph;
pub mod metrics;
mod operator_ids;
pub mod programs;
pub mod report;
pub mod requirements;
pub mod resources;
pub mod status;

pub use acknowledgement::{OperatorAcknowledgement, SubtaskAcknowledgement};
pub use gateway::{EpochEnd, FromWorker, SnapshotOptions, StopMode, ToWorker};
pub use graph::{
    ChainingStrategy, GraphError, NodeId, NodeKind, Partitioner, StreamEdge, StreamGraph,
    StreamNode,
};
pub use job_graph::{ChainedOperator, JobEdge, JobGraph, JobVertex, VertexIndex};
pub use metrics::SubtaskMetrics;
pub use report::JobReport;
pub use requirements::JobRequirements;
pub use status::{ExecutionState, JobStatus};

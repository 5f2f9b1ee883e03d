//! A program under construction: the stream graph as data, with the code of every node and edge.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use millpond_job::{
    ChainingStrategy, JobGraph, NodeId, NodeKind, Partitioner, StreamEdge, StreamGraph, StreamNode,
};
use millpond_operator::partition::PartitionFactory;
use millpond_operator::source::SourceCoordinatorFactory;
use millpond_operator::{BatchCodec, OperatorFactory};
use millpond_runtime::{EdgeProgram, NodeProgram, Program};
use millpond_state::BackendChoice;

use crate::error::{Error, Result};

/// What a new node is.
pub(crate) struct NewNode {
    pub(crate) name: String,
    pub(crate) kind: NodeKind,
    pub(crate) parallelism: u32,
    pub(crate) operator: OperatorFactory,
    pub(crate) coordinator: Option<SourceCoordinatorFactory>,
}

/// Where the records of a stream come from and how they travel on: an edge without its end.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) node: NodeId,
    pub(crate) side_output: Option<String>,
    pub(crate) partitioner: Partitioner,
    pub(crate) partition: PartitionFactory,
    pub(crate) codec: BatchCodec,
    /// The partition of a forward edge whose ends have different parallelism.
    pub(crate) rebalance: PartitionFactory,
    /// Whether the user asked for this partitioner, rather than getting it.
    pub(crate) explicit: bool,
}

#[derive(Default)]
pub(crate) struct PlanBuilder {
    graph: StreamGraph,
    nodes: Vec<NodeProgram>,
    /// By position in `graph.edges`.
    edges: Vec<Upstream>,
}

/// Shared by the environment and all its streams.
pub(crate) type Plan = Rc<RefCell<PlanBuilder>>;

impl PlanBuilder {
    /// Adds an operator fed by `inputs`, each with the number of the logical input.
    pub(crate) fn add(
        &mut self,
        new: NewNode,
        max_parallelism: Option<u32>,
        inputs: Vec<(usize, Upstream)>,
    ) -> NodeId {
        let id = NodeId(self.graph.nodes.len() as u32);
        self.graph.nodes.push(StreamNode {
            id,
            name: new.name,
            uid: None,
            uid_hash: None,
            kind: new.kind,
            parallelism: new.parallelism,
            max_parallelism,
            chaining: ChainingStrategy::Always,
        });
        self.nodes.push(NodeProgram {
            operator: new.operator,
            coordinator: new.coordinator,
        });
        for (input, upstream) in inputs {
            self.graph.edges.push(StreamEdge {
                from: upstream.node,
                to: id,
                input,
                partitioner: upstream.partitioner,
                side_output: upstream.side_output.clone(),
            });
            self.edges.push(upstream);
        }
        id
    }

    /// The operator, to be changed.
    pub(crate) fn node(&mut self, id: NodeId) -> &mut StreamNode {
        &mut self.graph.nodes[id.0 as usize]
    }

    /// The job.
    ///
    /// # Errors
    ///
    /// The graph is not one, see [`JobGraph::build`]; a forward edge between different
    /// parallelisms that the user asked for.
    pub(crate) fn build(&self, chaining: bool, auto_generate_uids: bool) -> Result<Program> {
        let mut graph = self.graph.clone();
        let mut upstreams: HashMap<usize, PartitionFactory> = HashMap::new();
        for (index, upstream) in self.edges.iter().enumerate() {
            let edge = &graph.edges[index];
            let (from, to) = (graph.node(edge.from), graph.node(edge.to));
            let unequal = from.parallelism != to.parallelism;
            if upstream.partitioner == Partitioner::Forward && unequal {
                if upstream.explicit {
                    return Err(Error::new(format!(
                        "forward partitioning does not allow a change of parallelism: \"{}\" has \
                         {}, \"{}\" has {}; use rebalance()",
                        from.name, from.parallelism, to.name, to.parallelism
                    )));
                }
                graph.edges[index].partitioner = Partitioner::Rebalance;
                upstreams.insert(index, upstream.rebalance.clone());
            } else {
                upstreams.insert(index, upstream.partition.clone());
            }
        }
        let job = JobGraph::build(&graph, chaining, auto_generate_uids)
            .map_err(|error| Error::caused_by("the job cannot be built", error))?;
        let edges = (0..graph.edges.len())
            .filter(|index| !graph.is_chainable(&graph.edges[*index], chaining))
            .map(|index| EdgeProgram {
                partition: upstreams[&index].clone(),
                codec: self.edges[index].codec,
            })
            .collect();
        Ok(Program {
            graph: job,
            nodes: self.nodes.clone(),
            edges,
            backend: BackendChoice::Heap,
        })
    }
}

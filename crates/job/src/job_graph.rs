//! The job graph: operators chained into vertices, each run as one task per subtask.

use millpond_types::OperatorId;
use millpond_types::key_group::default_max_parallelism;
use serde::{Deserialize, Serialize};

use crate::graph::{GraphError, NodeId, NodeKind, StreamEdge, StreamGraph};
use crate::operator_ids::operator_ids;

/// A vertex of the job graph; counts from 0 in topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VertexIndex(pub u32);

/// One operator inside a chain.
#[derive(Clone, Debug)]
pub struct ChainedOperator {
    /// Its node in the stream graph.
    pub node: NodeId,
    /// Its id in snapshots.
    pub id: OperatorId,
    /// The uid, if the user wrote one.
    pub uid: Option<String>,
    /// Shown to people.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
}

/// A chain of operators that run as one task.
#[derive(Clone, Debug)]
pub struct JobVertex {
    /// Its place among the vertices.
    pub index: VertexIndex,
    /// The id of the chain's head.
    pub id: OperatorId,
    /// The operators' names, joined by ` -> `.
    pub name: String,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// Whether the user set the maximum parallelism, so that a snapshot's cannot be adopted.
    pub max_parallelism_is_explicit: bool,
    /// The operators, every one behind those that feed it; the first is the head.
    pub operators: Vec<ChainedOperator>,
    /// Connections inside the chain.
    pub chained_edges: Vec<StreamEdge>,
}

impl JobVertex {
    /// Whether its head is a source.
    pub fn is_source(&self) -> bool {
        self.operators[0].kind == NodeKind::Source
    }

    /// The position in the chain of the operator made from `node`.
    pub fn position(&self, node: NodeId) -> Option<usize> {
        self.operators
            .iter()
            .position(|operator| operator.node == node)
    }
}

/// A connection between two vertices.
#[derive(Clone, Debug)]
pub struct JobEdge {
    /// The sender.
    pub from: VertexIndex,
    /// The receiver.
    pub to: VertexIndex,
    /// The connection of the stream graph: which operators, which input, how distributed.
    pub edge: StreamEdge,
}

/// A job, ready to be run.
#[derive(Clone, Debug)]
pub struct JobGraph {
    /// In topological order.
    pub vertices: Vec<JobVertex>,
    /// In the order of the program.
    pub edges: Vec<JobEdge>,
}

impl JobGraph {
    /// Chains the operators of `graph` and gives each its id.
    ///
    /// # Errors
    ///
    /// See [`StreamGraph::check`]; a graph without a source; a missing uid when
    /// `auto_generate_uids` is false.
    pub fn build(
        graph: &StreamGraph,
        chaining_enabled: bool,
        auto_generate_uids: bool,
    ) -> Result<JobGraph, GraphError> {
        graph.check()?;
        if !graph.nodes.iter().any(|node| node.kind == NodeKind::Source) {
            return Err(GraphError::Empty);
        }
        if !auto_generate_uids
            && let Some(node) = graph
                .nodes
                .iter()
                .find(|node| node.uid.is_none() && node.uid_hash.is_none())
        {
            return Err(GraphError::MissingUid {
                name: node.name.clone(),
            });
        }
        let ids = operator_ids(graph, chaining_enabled);
        let mut vertices: Vec<JobVertex> = Vec::new();
        let mut vertex_of = vec![VertexIndex(0); graph.nodes.len()];
        // A program can only connect what it has made, so ids are in topological order.
        for node in &graph.nodes {
            let chained = graph
                .inputs(node.id)
                .find(|edge| graph.is_chainable(edge, chaining_enabled))
                .cloned();
            let operator = ChainedOperator {
                node: node.id,
                id: ids[node.id.0 as usize],
                uid: node.uid.clone(),
                name: node.name.clone(),
                kind: node.kind,
            };
            let index = match chained {
                Some(edge) => {
                    let index = vertex_of[edge.from.0 as usize];
                    let vertex = &mut vertices[index.0 as usize];
                    vertex.name = format!("{} -> {}", vertex.name, node.name);
                    vertex.operators.push(operator);
                    vertex.chained_edges.push(edge);
                    if let Some(max) = node.max_parallelism {
                        vertex.max_parallelism = vertex.max_parallelism.max(max);
                        vertex.max_parallelism_is_explicit = true;
                    }
                    index
                }
                None => {
                    let index = VertexIndex(vertices.len() as u32);
                    vertices.push(JobVertex {
                        index,
                        id: operator.id,
                        name: node.name.clone(),
                        parallelism: node.parallelism,
                        max_parallelism: node
                            .max_parallelism
                            .unwrap_or_else(|| default_max_parallelism(node.parallelism)),
                        max_parallelism_is_explicit: node.max_parallelism.is_some(),
                        operators: vec![operator],
                        chained_edges: Vec::new(),
                    });
                    index
                }
            };
            vertex_of[node.id.0 as usize] = index;
        }
        let edges = graph
            .edges
            .iter()
            .filter(|edge| !graph.is_chainable(edge, chaining_enabled))
            .map(|edge| JobEdge {
                from: vertex_of[edge.from.0 as usize],
                to: vertex_of[edge.to.0 as usize],
                edge: edge.clone(),
            })
            .collect();
        Ok(JobGraph { vertices, edges })
    }

    /// The vertex at `index`.
    pub fn vertex(&self, index: VertexIndex) -> &JobVertex {
        &self.vertices[index.0 as usize]
    }

    /// The edges into a vertex, in program order, with their positions in `edges`.
    pub fn inputs(&self, index: VertexIndex) -> impl Iterator<Item = (usize, &JobEdge)> {
        self.edges
            .iter()
            .enumerate()
            .filter(move |(_, edge)| edge.to == index)
    }

    /// The edges out of a vertex, in program order, with their positions in `edges`.
    pub fn outputs(&self, index: VertexIndex) -> impl Iterator<Item = (usize, &JobEdge)> {
        self.edges
            .iter()
            .enumerate()
            .filter(move |(_, edge)| edge.from == index)
    }

    /// The largest parallelism of any vertex: the number of workers that the job needs.
    pub fn max_vertex_parallelism(&self) -> u32 {
        self.vertices
            .iter()
            .map(|vertex| vertex.parallelism)
            .max()
            .unwrap_or(1)
    }

    /// Number of subtasks of all vertices.
    pub fn subtasks(&self) -> u32 {
        self.vertices.iter().map(|vertex| vertex.parallelism).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{ChainingStrategy, Partitioner, StreamNode};

    fn node(id: u32, kind: NodeKind, uid: Option<&str>) -> StreamNode {
        StreamNode {
            id: NodeId(id),
            name: format!("n{id}"),
            uid: uid.map(str::to_owned),
            uid_hash: None,
            kind,
            parallelism: 2,
            max_parallelism: None,
            chaining: ChainingStrategy::Always,
        }
    }

    fn edge(from: u32, to: u32, partitioner: Partitioner) -> StreamEdge {
        StreamEdge {
            from: NodeId(from),
            to: NodeId(to),
            input: 0,
            partitioner,
            side_output: None,
        }
    }

    #[test]
    fn forward_edges_chain_and_hash_edges_do_not() {
        let graph = StreamGraph {
            nodes: vec![
                node(0, NodeKind::Source, Some("source")),
                node(1, NodeKind::Operator, None),
                node(2, NodeKind::Operator, Some("counter")),
                node(3, NodeKind::Sink, None),
            ],
            edges: vec![
                edge(0, 1, Partitioner::Forward),
                edge(1, 2, Partitioner::Hash),
                edge(2, 3, Partitioner::Forward),
            ],
        };
        let job = JobGraph::build(&graph, true, true).expect("builds");
        let names: Vec<&str> = job
            .vertices
            .iter()
            .map(|vertex| vertex.name.as_str())
            .collect();
        assert_eq!(names, ["n0 -> n1", "n2 -> n3"]);
        assert_eq!(job.edges.len(), 1);
        assert_eq!(
            job.vertices[1].id.to_string(),
            "0da08f51eaa85fc298e176a139b3649a"
        );
        let unchained = JobGraph::build(&graph, false, true).expect("builds");
        assert_eq!(unchained.vertices.len(), 4);
        assert_eq!(unchained.edges.len(), 3);
    }

    #[test]
    fn a_duplicate_uid_is_refused_with_both_operators_named() {
        let graph = StreamGraph {
            nodes: vec![
                node(0, NodeKind::Source, Some("same")),
                node(1, NodeKind::Sink, Some("same")),
            ],
            edges: vec![edge(0, 1, Partitioner::Forward)],
        };
        let error = JobGraph::build(&graph, true, true)
            .expect_err("refused")
            .to_string();
        assert!(
            error.starts_with("Hash collision on user-specified ID"),
            "{error}"
        );
        assert!(error.contains("n0") && error.contains("n1"), "{error}");
    }

    #[test]
    fn a_generated_id_is_the_one_that_flink_generates() {
        // Flink's id for: six nodes hashed before it, one chainable out-edge, one input "bcast".
        let mut nodes: Vec<StreamNode> = (0..6)
            .map(|id| {
                node(
                    id,
                    NodeKind::Source,
                    Some(["a", "b", "c", "d", "e", "bcast"][id as usize]),
                )
            })
            .collect();
        nodes.push(node(6, NodeKind::Operator, None));
        nodes.push(node(7, NodeKind::Sink, None));
        let graph = StreamGraph {
            nodes,
            edges: vec![
                edge(5, 6, Partitioner::Hash),
                edge(6, 7, Partitioner::Forward),
            ],
        };
        let ids = operator_ids(&graph, true);
        assert_eq!(ids[6].to_string(), "c666060877f056861ff9de6ed0f39e10");
    }
}

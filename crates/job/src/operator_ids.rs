//! Operator ids: from the uid, or generated from the structure of the graph.
//!
//! Source: Flink 2.3.0, class `StreamGraphHasherV2`. Only the order of the nodes, their inputs and
//! which of their outputs chain enter a generated id: no name, type or parallelism as such.

use std::collections::{HashMap, HashSet, VecDeque};

use millpond_types::{OperatorId, murmur3_128};

use crate::graph::{NodeId, NodeKind, StreamGraph};

/// Returns the id of every node, in order of [`NodeId`].
pub(crate) fn operator_ids(graph: &StreamGraph, chaining_enabled: bool) -> Vec<OperatorId> {
    let mut ids: HashMap<NodeId, OperatorId> = HashMap::new();
    let sources = graph
        .nodes
        .iter()
        .filter(|node| node.kind == NodeKind::Source);
    let mut remaining: VecDeque<NodeId> = sources.map(|node| node.id).collect();
    let mut visited: HashSet<NodeId> = remaining.iter().copied().collect();
    while let Some(id) = remaining.pop_front() {
        match id_of(graph, id, &ids, chaining_enabled) {
            Some(hash) => {
                ids.insert(id, hash);
                for edge in graph.outputs(id) {
                    if visited.insert(edge.to) {
                        remaining.push_back(edge.to);
                    }
                }
            }
            // An input is still without id: the last of its inputs will queue it again.
            None => {
                visited.remove(&id);
            }
        }
    }
    graph
        .nodes
        .iter()
        .map(|node| ids.get(&node.id).copied().unwrap_or(OperatorId([0; 16])))
        .collect()
}

fn id_of(
    graph: &StreamGraph,
    id: NodeId,
    ids: &HashMap<NodeId, OperatorId>,
    chaining_enabled: bool,
) -> Option<OperatorId> {
    let node = graph.node(id);
    if let Some(uid) = &node.uid {
        return Some(node.uid_hash.unwrap_or_else(|| OperatorId::of_uid(uid)));
    }
    let inputs: Option<Vec<OperatorId>> = graph
        .inputs(id)
        .map(|edge| ids.get(&edge.from).copied())
        .collect();
    let inputs = inputs?;
    if let Some(hash) = node.uid_hash {
        return Some(hash);
    }
    let position = (ids.len() as u32).to_le_bytes();
    let chained = graph
        .outputs(id)
        .filter(|edge| graph.is_chainable(edge, chaining_enabled));
    let mut hash = murmur3_128(&position.repeat(1 + chained.count()));
    for input in inputs {
        for (byte, other) in hash.iter_mut().zip(input.0) {
            *byte = byte.wrapping_mul(37) ^ other;
        }
    }
    Some(OperatorId(hash))
}

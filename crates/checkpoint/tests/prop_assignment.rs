//! Rescaling loses and doubles nothing, for random parallelisms and states.

use std::collections::{BTreeMap, BTreeSet};

use millpond_checkpoint::{RestorePlan, RestoreRequest};
use millpond_job::JobGraph;
use millpond_job::graph::{ChainingStrategy, NodeId, NodeKind, StreamGraph, StreamNode};
use millpond_snapshot::{
    DistributionMode, KeyGroupOffsets, KeyGroupsKind, KeyedHandle, Metadata, OperatorSnapshot,
    OperatorStateHandle, OperatorStateOffsets, StreamHandle, SubtaskSnapshot,
};
use millpond_types::{KeyGroupRange, OperatorId};
use proptest::prelude::*;

fn graph(parallelism: u32) -> JobGraph {
    let node = StreamNode {
        id: NodeId(0),
        name: "counter".to_owned(),
        uid: Some("counter".to_owned()),
        uid_hash: None,
        kind: NodeKind::Source,
        parallelism,
        max_parallelism: None,
        chaining: ChainingStrategy::Always,
    };
    let graph = StreamGraph {
        nodes: vec![node],
        edges: Vec::new(),
    };
    JobGraph::build(&graph, true, true).expect("is a job")
}

/// A snapshot of an operator with keyed state and, per subtask, this many elements of each of two
/// split states, one union state and one broadcast state.
fn snapshot(max_parallelism: u32, elements: &[(u8, u8, u8)]) -> Metadata {
    let parallelism = elements.len() as u32;
    let id = OperatorId::of_uid("counter");
    let mut operator = OperatorSnapshot::new(id, parallelism, max_parallelism);
    for (index, (first, second, union)) in (0..parallelism).zip(elements) {
        let range = KeyGroupRange::of_subtask(index, parallelism, max_parallelism);
        let offsets = |count: u8| (0..i64::from(count)).collect();
        let state = |name: &str, mode, count| OperatorStateOffsets {
            name: name.to_owned(),
            mode,
            offsets: offsets(count),
        };
        let stream = |kind: &str| StreamHandle::Relative {
            name: format!("{kind}-{index}"),
            size: 9,
        };
        let subtask = SubtaskSnapshot {
            managed_keyed: Some(KeyedHandle::KeyGroups {
                kind: KeyGroupsKind::Savepoint,
                groups: KeyGroupOffsets {
                    first: range.first().0,
                    offsets: vec![1; range.len()],
                },
                stream: stream("keyed"),
            }),
            managed_operator: Some(OperatorStateHandle {
                states: vec![
                    state("a", DistributionMode::SplitDistribute, *first),
                    state("b", DistributionMode::SplitDistribute, *second),
                    state("u", DistributionMode::Union, *union),
                    state("w", DistributionMode::Broadcast, 1),
                ],
                stream: stream("operator"),
                merged: None,
            }),
            ..SubtaskSnapshot::default()
        };
        operator.subtasks.push((index, subtask));
    }
    let mut metadata = Metadata::new(1);
    metadata.operators.push(operator);
    metadata
}

fn plan(metadata: &Metadata, parallelism: u32) -> RestorePlan {
    let request = RestoreRequest {
        pointer: "file:/s",
        directory: "file:/s",
        allow_non_restored_state: false,
    };
    RestorePlan::new(metadata, &graph(parallelism), request).expect("fits")
}

/// The elements of a state that one subtask gets: stream and offset.
fn elements(handles: &[OperatorStateHandle], name: &str) -> Vec<(String, i64)> {
    let mut all = Vec::new();
    for handle in handles {
        let StreamHandle::Relative { name: stream, .. } = &handle.stream else {
            panic!("a file");
        };
        for state in handle.states.iter().filter(|state| state.name == name) {
            all.extend(state.offsets.iter().map(|offset| (stream.clone(), *offset)));
        }
    }
    all
}

proptest! {
    #[test]
    fn every_key_group_goes_to_exactly_one_subtask_with_the_handle_that_holds_it(
        max_parallelism in 1u32..300,
        old in 1u32..20,
        new in 1u32..20,
    ) {
        let (old, new) = (old.min(max_parallelism), new.min(max_parallelism));
        let metadata = snapshot(max_parallelism, &vec![(0, 0, 0); old as usize]);
        let plan = plan(&metadata, new);
        prop_assert_eq!(&plan.max_parallelism, &[max_parallelism]);
        let mut owners: BTreeMap<u16, u32> = BTreeMap::new();
        for subtask in 0..new {
            let own = KeyGroupRange::of_subtask(subtask, new, max_parallelism);
            let restore = plan.operator(OperatorId::of_uid("counter"), subtask).expect("is known");
            for handle in &restore.keyed {
                let shared = handle.key_groups().and_then(|groups| groups.intersection(own));
                let shared = shared.expect("a handle without own key groups is not handed out");
                for group in shared.iter() {
                    prop_assert_eq!(owners.insert(group.0, subtask), None);
                }
            }
        }
        prop_assert_eq!(owners.len() as u32, max_parallelism);
    }

    #[test]
    fn elements_of_split_state_go_to_exactly_one_subtask_and_are_spread_evenly(
        old in prop::collection::vec((0u8..9, 0u8..9, 0u8..3), 1..6),
        new in 1u32..9,
    ) {
        let metadata = snapshot(128, &old);
        let plan = plan(&metadata, new);
        let restored: Vec<_> = (0..new)
            .map(|subtask| plan.operator(OperatorId::of_uid("counter"), subtask).expect("is known"))
            .collect();
        for name in ["a", "b"] {
            let by_subtask: Vec<_> =
                restored.iter().map(|restore| elements(&restore.operator, name)).collect();
            let all: Vec<_> = by_subtask.concat();
            let distinct: BTreeSet<_> = all.iter().collect();
            prop_assert_eq!(distinct.len(), all.len(), "none comes twice");
            let expected: usize = old
                .iter()
                .map(|(a, b, _)| usize::from(if name == "a" { *a } else { *b }))
                .sum();
            prop_assert_eq!(all.len(), expected, "none is lost");
            if old.len() as u32 != new {
                let sizes = by_subtask.iter().map(Vec::len);
                let spread = sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0);
                prop_assert!(spread <= 1, "{by_subtask:?}");
            }
        }
        let union: usize = old.iter().map(|(_, _, union)| usize::from(*union)).sum();
        for (subtask, restore) in restored.iter().enumerate() {
            prop_assert_eq!(elements(&restore.operator, "u").len(), union);
            let copy = (format!("operator-{}", subtask % old.len()), 0);
            prop_assert_eq!(elements(&restore.operator, "w"), vec![copy]);
        }
    }
}

#[test]
fn a_plan_survives_the_way_to_a_worker_process() {
    let plan = plan(&snapshot(128, &[(1, 2, 3), (4, 5, 6)]), 3);
    let bytes = postcard::to_allocvec(&plan).expect("serializes");
    assert_eq!(
        postcard::from_bytes::<RestorePlan>(&bytes).expect("is read"),
        plan
    );
}

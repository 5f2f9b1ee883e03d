//! Refusals with their texts, and adopted numbers; how state is dealt out is in
//! `tests/prop_assignment.rs` and `redistribution.rs`.

use std::path::Path;
use std::sync::Arc;

use millpond_fs::{LocalFileSystem, Location};
use millpond_job::graph::{
    ChainingStrategy, NodeId, NodeKind, Partitioner, StreamEdge, StreamGraph, StreamNode,
};
use millpond_snapshot::{
    ChannelHandle, KeyGroupOffsets, KeyGroupsKind, OperatorRecord, SubtaskRecord, Trailer,
};
use millpond_types::JobId;

use super::*;

/// "source" and, behind a hash edge, "counter" with parallelism 2.
fn graph(max_parallelism: Option<u32>) -> JobGraph {
    graph_of(Partitioner::Hash, max_parallelism)
}

fn graph_of(partitioner: Partitioner, max_parallelism: Option<u32>) -> JobGraph {
    let node = |id: u32, name: &str, kind: NodeKind| StreamNode {
        id: NodeId(id),
        name: name.to_owned(),
        uid: Some(name.to_owned()),
        uid_hash: None,
        kind,
        parallelism: 2,
        max_parallelism,
        chaining: ChainingStrategy::Always,
    };
    let graph = StreamGraph {
        nodes: vec![
            node(0, "source", NodeKind::Source),
            node(1, "counter", NodeKind::Sink),
        ],
        edges: vec![StreamEdge {
            from: NodeId(0),
            to: NodeId(1),
            input: 0,
            partitioner,
            side_output: None,
        }],
    };
    JobGraph::build(&graph, true, true).expect("is a job")
}

fn keyed(first: u16, count: usize) -> KeyedHandle {
    KeyedHandle::KeyGroups {
        kind: KeyGroupsKind::Savepoint,
        groups: KeyGroupOffsets {
            first,
            offsets: vec![1; count],
        },
        stream: StreamHandle::Relative {
            name: format!("from-{first}"),
            size: 9,
        },
    }
}

/// An operator of one subtask with keyed state in all key groups.
fn counter(uid: &str, max_parallelism: u32) -> OperatorSnapshot {
    let mut operator = OperatorSnapshot::new(OperatorId::of_uid(uid), 1, max_parallelism);
    let managed_keyed = Some(keyed(0, max_parallelism as usize));
    operator.subtasks.push((
        0,
        SubtaskSnapshot {
            managed_keyed,
            ..SubtaskSnapshot::default()
        },
    ));
    operator
}

fn snapshot(operators: Vec<OperatorSnapshot>) -> Metadata {
    let mut metadata = Metadata::new(7);
    metadata.operators = operators;
    metadata
}

fn plan(
    metadata: &Metadata,
    graph: &JobGraph,
    allow_non_restored_state: bool,
) -> Result<RestorePlan, Error> {
    let request = RestoreRequest {
        pointer: "file:/s",
        directory: "file:/s",
        allow_non_restored_state,
    };
    RestorePlan::new(metadata, graph, request)
}

fn refusal(metadata: &Metadata, graph: &JobGraph) -> (ErrorKind, String) {
    let error = plan(metadata, graph, false).expect_err("is refused");
    (error.kind(), error.to_string())
}

#[test]
fn state_of_an_operator_that_is_gone_is_refused_with_flinks_text_or_dropped_on_request() {
    let metadata = snapshot(vec![counter("gone", 128)]);
    let (kind, message) = refusal(&metadata, &graph(None));
    assert_eq!(kind, ErrorKind::NonRestoredState);
    let expected = format!(
        "Failed to rollback to checkpoint/savepoint file:/s. Cannot map checkpoint/savepoint state \
         for operator {} to the new program, because the operator is not available in the new \
         program. If you want to allow to skip this, you can set the --allowNonRestoredState option \
         on the CLI.",
        OperatorId::of_uid("gone")
    );
    assert_eq!(message, expected);
    let plan = plan(&metadata, &graph(None), true).expect("is allowed");
    assert_eq!(plan.warnings.len(), 1);
    assert_eq!(plan.operator(OperatorId::of_uid("gone"), 0), None);
}

#[test]
fn an_operator_without_state_may_be_gone() {
    let mut empty = OperatorSnapshot::new(OperatorId::of_uid("gone"), 2, 128);
    empty.subtasks = vec![
        (0, SubtaskSnapshot::default()),
        (1, SubtaskSnapshot::default()),
    ];
    let plan = plan(&snapshot(vec![empty]), &graph(None), false).expect("is no loss");
    assert!(plan.warnings.is_empty());
}

#[test]
fn an_operator_that_is_new_has_nothing_to_restore() {
    let plan = plan(
        &snapshot(vec![counter("counter", 128)]),
        &graph(None),
        false,
    )
    .expect("fits");
    assert_eq!(plan.operator(OperatorId::of_uid("source"), 0), None);
    assert!(
        plan.operator(OperatorId::of_uid("counter"), 1)
            .is_some_and(|o| !o.is_empty())
    );
}

#[test]
fn a_maximum_parallelism_that_was_set_must_be_that_of_the_snapshot() {
    let metadata = snapshot(vec![counter("counter", 128)]);
    let (kind, message) = refusal(&metadata, &graph(Some(64)));
    assert_eq!(kind, ErrorKind::MaxParallelism);
    let id = OperatorId::of_uid("counter");
    let part = format!(
        "Max parallelism mismatch between checkpoint/savepoint state and new program. Cannot map \
         operator {id} with max parallelism 128 to new program with max parallelism 64."
    );
    assert!(message.contains(&part), "{message}");
    assert!(plan(&metadata, &graph(Some(128)), false).is_ok());
}

#[test]
fn a_maximum_parallelism_that_was_not_set_is_taken_from_the_snapshot() {
    let mut graph = graph(None);
    let metadata = snapshot(vec![counter("counter", 300)]);
    let plan = plan(&metadata, &graph, false).expect("fits");
    assert_eq!(plan.max_parallelism, [128, 300]);
    plan.adopt_max_parallelism(&mut graph);
    assert_eq!(graph.vertices[1].max_parallelism, 300);
}

#[test]
fn a_parallelism_above_the_snapshots_maximum_is_refused_when_keys_depend_on_it() {
    let (kind, message) = refusal(&snapshot(vec![counter("counter", 1)]), &graph(None));
    assert_eq!(kind, ErrorKind::Parallelism);
    assert!(
        message.contains("Please reduce the parallelism of the task"),
        "{message}"
    );
    let stateless = OperatorSnapshot::new(OperatorId::of_uid("counter"), 1, 1);
    let plan = plan(&snapshot(vec![stateless]), &graph(None), false).expect("no keys depend on it");
    assert_eq!(plan.max_parallelism, [128, 128]);
}

#[test]
fn finished_operators_behind_unfinished_ones_are_refused() {
    let finished = |uid| {
        let mut operator = OperatorSnapshot::new(OperatorId::of_uid(uid), 2, 128);
        operator.finished = true;
        operator
    };
    let (kind, message) = refusal(&snapshot(vec![finished("counter")]), &graph(None));
    assert_eq!(kind, ErrorKind::FinishedOperators);
    assert!(
        message.starts_with("Illegal JobGraph modification."),
        "{message}"
    );
    let both = snapshot(vec![finished("source"), finished("counter")]);
    let plan = plan(&both, &graph(None), false).expect("fits");
    assert!(
        plan.operator(OperatorId::of_uid("source"), 1)
            .is_some_and(|o| o.finished)
    );
}

#[test]
fn in_flight_data_and_raw_state_are_named_and_refused() {
    let mut operator = counter("counter", 128);
    operator.subtasks[0].1.raw_keyed = Some(keyed(0, 128));
    let raw = snapshot(vec![operator]);
    let (kind, message) = refusal(&raw, &graph(None));
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(
        message.contains("raw keyed state of operator \"counter\""),
        "{message}"
    );
    let plan = plan(&raw, &graph(None), true).expect("is dropped");
    assert_eq!(plan.warnings.len(), 1);
}

fn trailer() -> Trailer {
    Trailer {
        millpond_version: "0.1.0".to_owned(),
        job_id: JobId([0; 16]),
        job_name: "job".to_owned(),
        savepoint: false,
        parent: None,
        files: Vec::new(),
        operators: Vec::new(),
    }
}

fn in_flight(subtask: i32) -> ChannelHandle {
    ChannelHandle::Single {
        subtask,
        channel: (0, 0),
        offsets: vec![4],
        size: 5,
        stream: StreamHandle::Bytes {
            name: String::new(),
            data: vec![0, 0, 0, 0, 0, 0, 0, 1, 7],
        },
    }
}

#[test]
fn every_subtask_gets_all_records_that_were_in_flight_and_those_of_flink_are_refused() {
    let mut operator = counter("counter", 128);
    operator.subtasks[0].1.input_channels.push(in_flight(0));
    let mut metadata = snapshot(vec![operator]);
    let (kind, message) = refusal(&metadata, &graph(None));
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(message.contains("in Flink's form"), "{message}");

    metadata.trailer = Some(trailer());
    let plan = plan(&metadata, &graph(None), false).expect("ours");
    for subtask in 0..2 {
        let restore = plan.operator(OperatorId::of_uid("counter"), subtask);
        let restore = restore.expect("is known");
        assert_eq!(restore.in_flight, [in_flight(0)]);
    }

    metadata.operators[0].subtasks[0].1.result_subpartitions = vec![in_flight(0)];
    let (_, message) = refusal(&metadata, &graph(None));
    assert!(message.contains("in Flink's form"), "{message}");
}

/// To leave them out would lose records without a word.
#[test]
fn unaligned_checkpoints_that_flink_wrote_are_refused_with_the_operator_and_the_way_out() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/golden");
    for version in ["1.15.4", "1.20.5", "2.3.0"] {
        for backend in ["hashmap", "rocksdb"] {
            let name = format!("{version}/metadata-only/checkpoint-unaligned-{backend}");
            let location = Location::of_path(&golden.join(&name)).expect("a location");
            let loaded = millpond_snapshot::load(Arc::new(LocalFileSystem), &location);
            let metadata = loaded.expect("Flink wrote it").metadata;
            for allow_non_restored_state in [false, true] {
                let refused = plan(&metadata, &graph(None), allow_non_restored_state);
                let error = refused.expect_err("records of Flink are not read");
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}");
                let id = OperatorId::of_uid("source");
                let expected = format!(
                    "snapshot \"file:/s\" holds in-flight data of operator \"source\" ({id}) in \
                     Flink's form, which cannot be restored; use an aligned checkpoint or a \
                     savepoint"
                );
                assert_eq!(error.to_string(), expected, "{name}");
            }
        }
    }
}

#[test]
fn records_in_flight_to_an_operator_that_is_chained_now_are_refused_with_flinks_words() {
    let mut operator = counter("counter", 128);
    operator.subtasks[0].1.input_channels.push(in_flight(0));
    let mut metadata = snapshot(vec![operator]);
    metadata.trailer = Some(trailer());
    let (kind, message) = refusal(&metadata, &graph_of(Partitioner::Forward, None));
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(message.contains("are now chained"), "{message}");
}

#[test]
fn every_subtask_gets_the_state_of_the_coordinator() {
    let mut operator = counter("source", 128);
    let data = vec![1, 2, 3];
    operator.coordinator = Some(StreamHandle::Bytes {
        name: String::new(),
        data: data.clone(),
    });
    let plan = plan(&snapshot(vec![operator]), &graph(None), false).expect("fits");
    for subtask in 0..2 {
        let restore = plan
            .operator(OperatorId::of_uid("source"), subtask)
            .expect("is known");
        assert_eq!(restore.coordinator.as_ref(), Some(&data));
    }
}

/// A snapshot by Millpond of "counter" whose subtasks had processed the end of their input, or not.
fn with_ends(ended: &[bool]) -> Metadata {
    let id = OperatorId::of_uid("counter");
    let mut metadata = snapshot(vec![OperatorSnapshot::new(id, ended.len() as u32, 128)]);
    let subtasks = ended.iter().zip(0..).map(|(ended, index)| SubtaskRecord {
        index,
        pending_transactions: false,
        ended: *ended,
        positions: Vec::new(),
        states: Vec::new(),
    });
    metadata.trailer = Some(Trailer {
        operators: vec![OperatorRecord {
            id,
            name: "counter".to_owned(),
            uid: None,
            subtasks: subtasks.collect(),
        }],
        ..trailer()
    });
    metadata
}

#[test]
fn the_mark_of_an_ended_subtask_counts_for_its_own_state_and_after_rescaling_if_all_had_it() {
    let restored = |ended: &[bool]| -> Vec<bool> {
        let plan = plan(&with_ends(ended), &graph(None), false).expect("fits");
        (0..2)
            .map(|subtask| plan.operator(OperatorId::of_uid("counter"), subtask))
            .map(|restore| restore.is_some_and(|restore| restore.ended))
            .collect()
    };
    assert_eq!(restored(&[true, false]), [true, false]);
    assert_eq!(restored(&[true, true]), [true, true]);
    assert_eq!(restored(&[true, true, false]), [false, false]);
    assert_eq!(restored(&[true, true, true]), [true, true]);
    assert_eq!(restored(&[true]), [true, true]);
    // A snapshot by Flink.
    let mut metadata = with_ends(&[true, true]);
    metadata.trailer = None;
    let plan = plan(&metadata, &graph(None), false).expect("fits");
    let of_flink = plan.operator(OperatorId::of_uid("counter"), 0);
    assert!(of_flink.is_some_and(|restore| !restore.ended));
}

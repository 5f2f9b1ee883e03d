use millpond_job::VertexIndex;
use millpond_job::gateway::SnapshotOptions;
use millpond_job::graph::{
    ChainingStrategy, NodeId, NodeKind, Partitioner, StreamEdge, StreamGraph, StreamNode,
};
use millpond_snapshot::{
    FileRecord, KeyGroupOffsets, KeyGroupRecord, KeyGroupsKind, KeyedHandle, StateRecord,
    StreamHandle,
};

use super::*;

/// A chain "source -> map" of two subtasks.
fn graph() -> JobGraph {
    let node = |id: u32, name: &str, kind: NodeKind, uid: Option<&str>| StreamNode {
        id: NodeId(id),
        name: name.to_owned(),
        uid: uid.map(str::to_owned),
        uid_hash: None,
        kind,
        parallelism: 2,
        max_parallelism: Some(4),
        chaining: ChainingStrategy::Always,
    };
    let graph = StreamGraph {
        nodes: vec![
            node(0, "source", NodeKind::Source, Some("source")),
            node(1, "map", NodeKind::Sink, None),
        ],
        edges: vec![StreamEdge {
            from: NodeId(0),
            to: NodeId(1),
            input: 0,
            partitioner: Partitioner::Forward,
            side_output: None,
        }],
    };
    JobGraph::build(&graph, true, true).expect("is a job")
}

fn part(subtask: u32, finished: bool) -> SubtaskAcknowledgement {
    let state = SubtaskSnapshot {
        finished,
        managed_keyed: (!finished).then(|| KeyedHandle::KeyGroups {
            kind: KeyGroupsKind::Savepoint,
            groups: KeyGroupOffsets {
                first: 2 * subtask as u16,
                offsets: vec![5, 6],
            },
            stream: StreamHandle::Relative {
                name: format!("millpond-{subtask}"),
                size: 77,
            },
        }),
        ..SubtaskSnapshot::default()
    };
    SubtaskAcknowledgement {
        vertex: VertexIndex(0),
        subtask,
        operators: vec![OperatorAcknowledgement {
            operator: OperatorId::of_uid("source"),
            state,
            files: vec![FileRecord {
                name: format!("millpond-{subtask}"),
                size: 77,
                checksum: 1000 + u64::from(subtask),
            }],
            states: vec![StateRecord {
                name: "count".to_owned(),
                key_groups: vec![KeyGroupRecord {
                    key_group: 2,
                    entries: 3,
                    bytes: 40,
                }],
            }],
            positions: vec!["flights.csv at line 12".to_owned()],
            pending_transactions: subtask == 1,
            ended: subtask == 0,
        }],
        metrics: Default::default(),
    }
}

fn completion(acknowledgements: Vec<SubtaskAcknowledgement>) -> Completion {
    Completion {
        attempt: 1,
        options: SnapshotOptions {
            id: 9,
            is_savepoint: true,
            directory: "file:/s".to_owned(),
            shared_directory: "file:/checkpoints/shared".to_owned(),
            base: None,
            metadata_only_bytes: None,
            inline_threshold_bytes: 0,
            file_merging: None,
            changes_limit_bytes: u64::MAX,
            format: millpond_job::dispatcher::SavepointFormat::Canonical,
            incremental: false,
            triggered_at_ms: 0,
            aligned_timeout_ms: None,
            stop: None,
        },
        acknowledgements,
        started_from: Some("file:/old".to_owned()),
    }
}

fn facts() -> JobFacts<'static> {
    JobFacts {
        job: JobId([3; 16]),
        name: "flights",
        millpond_version: "0.1.0",
    }
}

#[test]
fn metadata_lists_every_operator_with_all_its_subtasks_also_those_without_state() {
    let completion = completion(vec![part(0, false), part(1, false)]);
    let metadata = assemble(&completion, &graph(), facts()).expect("is complete");
    assert_eq!((metadata.checkpoint_id, metadata.operators.len()), (9, 2));
    let source = &metadata.operators[0];
    assert_eq!((source.parallelism, source.max_parallelism), (2, 4));
    assert_eq!(
        source.subtasks[1].1,
        completion.acknowledgements[1].operators[0].state
    );
    let map = &metadata.operators[1];
    assert!(map.is_empty() && map.subtasks.len() == 2);
    let bytes = metadata.write().expect("can be written");
    assert_eq!(Metadata::read(&bytes).expect("can be read"), metadata);
}

#[test]
fn the_trailer_holds_what_the_format_cannot_say() {
    let completion = completion(vec![part(0, false), part(1, false)]);
    let metadata = assemble(&completion, &graph(), facts()).expect("is complete");
    let trailer = metadata.trailer.expect("is written by Millpond");
    assert_eq!(
        (trailer.job_name.as_str(), trailer.savepoint),
        ("flights", true)
    );
    assert_eq!(trailer.parent.as_deref(), Some("file:/old"));
    assert_eq!(
        trailer.file("millpond-1").map(|file| file.checksum),
        Some(1001)
    );
    assert!(trailer.has_pending_transactions());
    let names: Vec<_> = trailer
        .operators
        .iter()
        .map(|o| (o.name.as_str(), o.uid.as_deref()))
        .collect();
    assert_eq!(names, [("source", Some("source")), ("map", None)]);
    let subtask = &trailer.operators[0].subtasks[0];
    assert_eq!(subtask.positions, ["flights.csv at line 12"]);
    assert!(subtask.ended && !trailer.operators[0].subtasks[1].ended);
    let group = KeyGroupRecord {
        key_group: 2,
        entries: 3,
        bytes: 40,
    };
    assert_eq!(subtask.states[0].key_groups, [group]);
}

#[test]
fn an_operator_whose_subtasks_have_all_finished_is_marked_as_a_whole() {
    let completion = completion(vec![part(0, true), part(1, true)]);
    let metadata = assemble(&completion, &graph(), facts()).expect("is complete");
    assert!(metadata.operators[0].finished && metadata.operators[0].subtasks.is_empty());
    assert!(!metadata.operators[1].finished);
}

#[test]
fn a_missing_or_unknown_part_is_an_error_and_no_snapshot() {
    let missing = assemble(&completion(vec![part(0, false)]), &graph(), facts());
    assert_eq!(
        missing.expect_err("is missing").kind(),
        ErrorKind::Inconsistent
    );
    let unknown = assemble(
        &completion(vec![part(0, false), part(2, false)]),
        &graph(),
        facts(),
    );
    let message = unknown.expect_err("is unknown").to_string();
    assert_eq!(
        message,
        "checkpoint 9 has a part of subtask 2 of vertex 0, which is none"
    );
}

//! What a snapshot of each kind is good for beyond being resumed as it is: the cells of the table of
//! capabilities (`millpond capabilities`) that no other suite shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_exactness::job_process::Bench;
use millpond_exactness::lines::{add, difference};
use millpond_exactness::oracle::{Workload, expected};
use millpond_exactness::snapshot_kind::SnapshotKind::{
    self, AlignedCheckpoint, CanonicalSavepoint, NativeSavepoint, UnalignedCheckpoint,
};
use millpond_exactness::snapshot_kind::at_full_speed;
use millpond_exactness::workload::{Input, event, expand};
use millpond_fs::{LocalFileSystem, Location};
use millpond_snapshot::KeyedFormat;
use millpond_state_processor::{
    ConvertOptions, OpenSnapshot, PathMap, Progress, Threads, convert, verify,
};

const WORKLOAD: Workload = Workload {
    records_a: 8_000,
    records_b: 8_000,
    keys: 100,
};

/// What is changed between the snapshot and the start from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Records are spread over the subtasks of what follows, and were not before.
    Partitioning,
    /// There is an operator more.
    Operators,
    /// Keyed state is held by another backend.
    Backend,
    /// A class in the state of an operator has one field more.
    Types,
    /// The directory lies elsewhere.
    Place,
}

fn bench(kind: SnapshotKind) -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .option("parallelism.default", 2)
        // So that state lies in files beside the metadata.
        .option("execution.checkpointing.data-inline-threshold", "0 b");
    kind.prepare(bench, 2_000)
}

fn assert_exact(bench: &Bench) {
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None);
}

/// As [`assert_exact`], with what the operator publishes that there is more: each number of each key once.
fn assert_exact_with_extra(bench: &Bench) {
    let mut lines = expected(&WORKLOAD);
    let mut of_keys: BTreeMap<String, u64> = BTreeMap::new();
    let inputs = [
        (Input::A, WORKLOAD.records_a),
        (Input::B, WORKLOAD.records_b),
    ];
    let events = inputs.into_iter().flat_map(|(input, records)| {
        (0..records).flat_map(move |n| expand(event(input, n, WORKLOAD.keys)))
    });
    for event in events {
        let number = of_keys.entry(event.key.clone()).or_default();
        *number += 1;
        add(&mut lines, format!("extra,{},{number}", event.key));
    }
    assert_eq!(difference(&lines, &bench.published()), None);
}

fn open(path: &str) -> OpenSnapshot {
    let path = path.strip_prefix("file:").unwrap_or(path);
    OpenSnapshot::open(path, &PathMap::default()).expect("a snapshot")
}

/// The tools read every entry of a snapshot of this kind.
fn is_read(kind: SnapshotKind) {
    let bench = bench(kind);
    let snapshot = kind.take(&bench, &mut bench.start(&[]));
    let snapshot = open(&snapshot);
    let found = verify(&snapshot, Threads::default(), &Progress::default()).expect("readable");
    assert!(found.sound, "{:?}", found.problems);
    let operators = snapshot.metadata().operators.iter();
    let mut subtasks = operators.flat_map(|operator| &operator.subtasks);
    let in_flight = subtasks.any(|(_, subtask)| !subtask.input_channels.is_empty());
    assert_eq!(in_flight, kind == UnalignedCheckpoint);
}

/// The tools write a snapshot of this kind as a canonical savepoint of another parallelism, and the job goes
/// on from that; returns why not, if they refuse it.
fn written(kind: SnapshotKind) -> Option<String> {
    let bench = bench(kind);
    let snapshot = kind.take(&bench, &mut bench.start(&[]));
    let to = bench.directory().join("written");
    let location = Location::of_path(&to).expect("a text");
    let options = ConvertOptions {
        format: Some(KeyedFormat::Canonical),
        parallelism: Some(3),
        ..ConvertOptions::default()
    };
    let snapshot = open(&snapshot);
    let converted = convert(
        snapshot.loaded(),
        Arc::new(LocalFileSystem),
        &location,
        &options,
    );
    if let Err(error) = converted {
        assert!(!to.join("_metadata").exists(), "nothing is left of it");
        return Some(error.to_string());
    }
    let bench = at_full_speed(bench);
    let path = to.display().to_string();
    bench
        .start(&[("execution.state-recovery.path", &path)])
        .finish();
    assert_exact(&bench);
    None
}

/// Takes a snapshot and starts the changed job from it; `None` if it counts exactly, else why it has
/// failed.
fn refusal(kind: SnapshotKind, change: Change) -> Option<String> {
    let mut bench = bench(kind);
    if change == Change::Types {
        bench = bench
            .argument("--extra-uid", "extra")
            .argument("--extra-type", "class");
    }
    let mut job = bench.start(&[]);
    let mut snapshot = kind.take(&bench, &mut job);
    let mut bench = at_full_speed(bench);
    match change {
        Change::Partitioning => bench = bench.argument("--rebalance", true),
        Change::Operators => bench = bench.argument("--plain-uid", "plain"),
        Change::Types => bench = bench.argument("--extra-type", "newer-class"),
        Change::Backend => bench = bench.option("state.backend.type", "memory"),
        Change::Place => {
            let from = snapshot
                .strip_prefix("file:")
                .unwrap_or(&snapshot)
                .to_owned();
            let to = bench.directory().join("moved");
            std::fs::rename(from, &to).expect("a directory can be moved");
            snapshot = to.display().to_string();
        }
    }
    bench.let_go();
    let mut job = bench.start(&[("execution.state-recovery.path", &snapshot)]);
    let has_finished = job.wait().success();
    if !has_finished {
        let handshake = job.handshake().expect("the job was accepted");
        return Some(handshake.failure.expect("a reason"));
    }
    match change {
        Change::Types => assert_exact_with_extra(&bench),
        Change::Partitioning | Change::Operators | Change::Backend | Change::Place => {
            assert_exact(&bench);
        }
    }
    None
}

fn is_exact(kind: SnapshotKind, change: Change) {
    assert_eq!(refusal(kind, change), None, "{kind:?}, {change:?}");
}

#[test]
fn a_canonical_savepoint_is_resumed_with_another_partitioning() {
    is_exact(CanonicalSavepoint, Change::Partitioning);
}

#[test]
fn a_native_savepoint_is_resumed_with_another_partitioning() {
    is_exact(NativeSavepoint, Change::Partitioning);
}

#[test]
fn an_aligned_checkpoint_is_resumed_with_another_partitioning() {
    is_exact(AlignedCheckpoint, Change::Partitioning);
}

#[test]
fn an_unaligned_checkpoint_is_resumed_with_another_partitioning() {
    is_exact(UnalignedCheckpoint, Change::Partitioning);
}

#[test]
fn a_canonical_savepoint_is_resumed_with_another_operator() {
    is_exact(CanonicalSavepoint, Change::Operators);
}

#[test]
fn a_native_savepoint_is_resumed_with_another_operator() {
    is_exact(NativeSavepoint, Change::Operators);
}

#[test]
fn an_aligned_checkpoint_is_resumed_with_another_operator() {
    is_exact(AlignedCheckpoint, Change::Operators);
}

#[test]
fn an_unaligned_checkpoint_is_resumed_with_another_operator() {
    is_exact(UnalignedCheckpoint, Change::Operators);
}

#[test]
fn a_canonical_savepoint_is_resumed_with_a_changed_type() {
    is_exact(CanonicalSavepoint, Change::Types);
}

#[test]
fn a_native_savepoint_is_resumed_with_a_changed_type() {
    is_exact(NativeSavepoint, Change::Types);
}

#[test]
fn an_aligned_checkpoint_is_resumed_with_a_changed_type() {
    is_exact(AlignedCheckpoint, Change::Types);
}

#[test]
fn an_unaligned_checkpoint_is_resumed_with_a_changed_type() {
    is_exact(UnalignedCheckpoint, Change::Types);
}

#[test]
fn a_canonical_savepoint_is_resumed_on_another_backend() {
    is_exact(CanonicalSavepoint, Change::Backend);
}

#[test]
fn a_native_savepoint_is_resumed_on_another_backend() {
    is_exact(NativeSavepoint, Change::Backend);
}

#[test]
fn an_aligned_checkpoint_is_resumed_on_another_backend() {
    is_exact(AlignedCheckpoint, Change::Backend);
}

#[test]
fn an_unaligned_checkpoint_is_resumed_on_another_backend() {
    is_exact(UnalignedCheckpoint, Change::Backend);
}

#[test]
fn a_canonical_savepoint_is_resumed_elsewhere() {
    is_exact(CanonicalSavepoint, Change::Place);
}

#[test]
fn a_native_savepoint_is_resumed_elsewhere() {
    is_exact(NativeSavepoint, Change::Place);
}

#[test]
fn an_aligned_checkpoint_is_resumed_elsewhere() {
    is_exact(AlignedCheckpoint, Change::Place);
}

#[test]
fn an_unaligned_checkpoint_is_resumed_elsewhere() {
    is_exact(UnalignedCheckpoint, Change::Place);
}

#[test]
fn a_canonical_savepoint_is_read_by_the_tools() {
    is_read(CanonicalSavepoint);
}

#[test]
fn a_native_savepoint_is_read_by_the_tools() {
    is_read(NativeSavepoint);
}

#[test]
fn an_aligned_checkpoint_is_read_by_the_tools() {
    is_read(AlignedCheckpoint);
}

#[test]
fn an_unaligned_checkpoint_is_read_by_the_tools() {
    is_read(UnalignedCheckpoint);
}

#[test]
fn a_canonical_savepoint_is_rewritten_by_the_tools() {
    assert_eq!(written(CanonicalSavepoint), None);
}

#[test]
fn a_native_savepoint_is_rewritten_by_the_tools() {
    assert_eq!(written(NativeSavepoint), None);
}

#[test]
fn an_aligned_checkpoint_is_rewritten_by_the_tools() {
    assert_eq!(written(AlignedCheckpoint), None);
}

#[test]
fn an_unaligned_checkpoint_is_not_rewritten_by_the_tools() {
    let why = written(UnalignedCheckpoint).expect("records in flight cannot be dealt out");
    assert!(why.contains("has records in flight"), "{why}");
}

//! A source that had ended in a snapshot of Flink stays ended, in the job and in all its snapshots.
//!
//! If this fails, a job that moves from Flink behind the end of one of its inputs reads that input
//! once more.

use std::path::Path;

use millpond_exactness::job_process::{Bench, JobProcess, wait_for};
use millpond_fs::{Location, file_system_for};
use millpond_snapshot::{
    KeyedHandle, LoadedSnapshot, OperatorStateHandle, StreamHandle, write_metadata,
};
use millpond_types::OperatorId;

fn load(path: &str) -> LoadedSnapshot {
    let location = Location::parse(path).expect("a location");
    let fs = file_system_for(&location).expect("a file system");
    millpond_snapshot::load(fs, &location).expect("a snapshot")
}

/// Names state as Flink would: what has a name of Millpond's must have its trailer.
fn rename(stream: &mut StreamHandle) {
    let StreamHandle::Bytes { name, .. } = stream else {
        panic!("all state is inline: {stream:?}");
    };
    *name = name.replace("millpond-", "");
}

/// Writes the snapshot anew as Flink would have behind the end of input B: that source is fully
/// finished and has neither subtasks nor an enumerator, and there is no trailer.
fn with_an_ended_source(savepoint: &str, directory: &Path) -> String {
    let snapshot = load(savepoint);
    let mut metadata = snapshot.metadata.clone();
    metadata.trailer = None;
    let id = OperatorId::of_uid("source-b");
    let source = metadata.operators.iter_mut().find(|all| all.id == id);
    let source = source.expect("the source has state");
    assert!(!source.finished && !source.subtasks.is_empty());
    source.finished = true;
    source.subtasks.clear();
    source.coordinator = None;
    let subtasks = metadata
        .operators
        .iter_mut()
        .flat_map(|all| &mut all.subtasks);
    for (_, state) in subtasks {
        if let Some(OperatorStateHandle { stream, .. }) = &mut state.managed_operator {
            rename(stream);
        }
        if let Some(KeyedHandle::KeyGroups { stream, .. }) = &mut state.managed_keyed {
            rename(stream);
        }
    }
    let location = Location::of_path(directory).expect("a location");
    let fs = snapshot.file_system();
    fs.create_dir_all(&location)
        .expect("a directory can be made");
    write_metadata(&**fs, &location, &metadata).expect("metadata can be written");
    location.to_string()
}

/// Records that the source of input B has made in this attempt.
fn read_by_b(job: &JobProcess) -> u64 {
    let job = job.job("");
    let vertices = job["vertices"].as_array().expect("a list");
    let of_b = vertices.iter().find(|vertex| {
        let name = vertex["name"].as_str().expect("a name");
        name.contains("generator")
    });
    let of_b = of_b.expect("input B is a vertex");
    of_b["metrics"]["read-records"].as_u64().expect("a number")
}

#[test]
fn a_source_that_had_ended_reads_nothing_and_says_so_in_later_snapshots() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", 12_000)
        .held()
        .argument("--records-b", 12_000)
        .argument("--keys", 20)
        .argument("--rate", 5_000)
        .option("execution.checkpointing.interval", "50 ms")
        // The source ends alone: of a chain, all or none have ended.
        .option("pipeline.operator-chaining.enabled", "false")
        // Everything is in the metadata, as files of Millpond need its trailer.
        .option("execution.checkpointing.data-inline-threshold", "1 mb");
    let mut job = bench.start(&[("parallelism.default", "2")]);
    job.wait_for_checkpoints(2);
    wait_for("records of input B", || (read_by_b(&job) > 0).then_some(()));
    let savepoint = job.stop(false);
    let mut path = with_an_ended_source(&savepoint, &bench.directory().join("of-flink"));
    for (parallelism, processes) in [("3", "1"), ("2", "2"), ("1", "1")] {
        let mut job = bench.start(&[
            ("parallelism.default", parallelism),
            ("cluster.processes", processes),
            ("execution.state-recovery.path", &path),
        ]);
        job.wait_for_checkpoints(2);
        assert_eq!(read_by_b(&job), 0, "{}", job.log());
        path = job.savepoint();
        let metadata = load(&path).metadata;
        let source = metadata.operator(OperatorId::of_uid("source-b"));
        let source = source.expect("it is still an operator of the job");
        assert!(source.finished, "{source:?}");
        assert_eq!(source.coordinator, None);
        assert!(
            source
                .subtasks
                .iter()
                .all(|(_, state)| state.state_size() == 0),
            "{source:?}"
        );
        if parallelism == "1" {
            job.finish();
        } else {
            job.kill_master();
        }
    }
}

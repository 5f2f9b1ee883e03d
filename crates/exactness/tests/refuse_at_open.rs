//! State that does not fit the program ends the job at once, however often it may be started again.

use std::path::Path;

use millpond_exactness::job_process::{Bench, JobProcess};
use millpond_fs::{Location, file_system_for};
use millpond_snapshot::{KeyedHandle, StreamHandle, write_metadata};

/// The job fails at its first attempt; returns why.
fn refused(job: &mut JobProcess) -> String {
    assert_eq!(job.wait().code(), Some(1), "{}", job.log());
    let handshake = job.handshake().expect("the job was accepted");
    assert_eq!(handshake.status.as_deref(), Some("FAILED"));
    assert!(
        !job.log().contains("restarting in"),
        "it was tried again:\n{}",
        job.log()
    );
    handshake.failure.expect("a reason")
}

#[test]
fn state_of_another_type_is_refused_at_once_whatever_the_restart_strategy() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/golden");
    let fixture = golden.join("2.3.0/count-stringkey-hashmap-canonical");
    assert!(fixture.is_dir(), "{}", fixture.display());
    for processes in ["1", "2"] {
        let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
            .argument("--job", "fixture")
            .argument("--key-type", "long")
            .option("parallelism.default", 2);
        let mut job = bench.start(&[
            ("cluster.processes", processes),
            (
                "execution.state-recovery.path",
                &fixture.display().to_string(),
            ),
        ]);
        let why = refused(&mut job);
        assert!(
            why.contains("operator \"")
                && why.contains("(uid \"")
                && why.contains("state \"the key\"")
                && why.contains("expected Long, found String"),
            "{why}"
        );
    }
}

#[test]
fn state_without_a_place_is_refused_at_once_and_dropped_on_request() {
    let bench = |option: &str| {
        Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
            .argument("--records-a", 6_000)
            .held()
            .argument("--records-b", 6_000)
            .argument("--rate", 6_000)
            .argument(option, "moved")
            .option("parallelism.default", 2)
            .option("execution.checkpointing.interval", "50 ms")
    };
    let keyed = bench("--extra-uid");
    let mut job = keyed.start(&[]);
    job.wait_for_checkpoints(2);
    let savepoint = job.stop(false);
    let plain = bench("--plain-uid");
    for processes in ["1", "2"] {
        let mut job = plain.start(&[
            ("cluster.processes", processes),
            ("execution.state-recovery.path", &savepoint),
        ]);
        let why = refused(&mut job);
        assert!(
            why.contains("the program has no place for it")
                && why.contains("--allowNonRestoredState"),
            "{why}"
        );
        assert!(plain.published().is_empty(), "nothing has been published");
    }
    let mut job = plain.start(&[
        ("execution.state-recovery.path", &savepoint),
        ("execution.state-recovery.ignore-unclaimed-state", "true"),
    ]);
    job.finish();
}

/// The plan of a restore sees to that before; it believes what a function says when it is asked.
#[test]
fn state_that_a_function_does_not_register_after_all_is_refused_when_it_is_opened() {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--endless", true)
        .argument("--extra-uid", "extra")
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "50 ms");
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    let savepoint = job.stop(false);
    let bench = bench.argument("--extra-hides", true);
    for processes in ["1", "2"] {
        let from = ("execution.state-recovery.path", savepoint.as_str());
        let mut job = bench.start(&[("cluster.processes", processes), from]);
        let why = refused(&mut job);
        assert!(
            why.contains("The failure is not recoverable")
                && why.contains("state \"seen\"")
                && why.contains("has registered no state of this name"),
            "{why}"
        );
    }
}

/// Copies a snapshot of Flink, which has no checksums, and makes nonsense of the end of its keyed
/// state.
fn with_damaged_state(fixture: &Path, directory: &Path) -> String {
    let location = Location::of_path(fixture).expect("a location");
    let fs = file_system_for(&location).expect("a file system");
    let mut metadata = millpond_snapshot::load(fs.clone(), &location)
        .expect("a snapshot")
        .metadata;
    let mut damaged = 0;
    let subtasks = metadata
        .operators
        .iter_mut()
        .flat_map(|all| &mut all.subtasks);
    for (_, state) in subtasks {
        if let Some(KeyedHandle::KeyGroups { stream, .. }) = &mut state.managed_keyed
            && let StreamHandle::Bytes { data, .. } = stream
        {
            let end = data.len();
            data[end - 40..].fill(0xff);
            damaged += 1;
        }
    }
    assert!(damaged > 0, "the state is inline");
    let location = Location::of_path(directory).expect("a location");
    fs.create_dir_all(&location)
        .expect("a directory can be made");
    write_metadata(&*fs, &location, &metadata).expect("metadata can be written");
    directory.display().to_string()
}

#[test]
fn damaged_state_that_no_checksum_tells_of_is_tried_once_more_and_then_refused() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/golden");
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--job", "fixture")
        .option("parallelism.default", 2)
        .option("cluster.processes", 2);
    let fixture = golden.join("2.3.0/count-stringkey-hashmap-canonical");
    let damaged = with_damaged_state(&fixture, &bench.directory().join("damaged"));
    let mut job = bench.start(&[("execution.state-recovery.path", &damaged)]);
    assert_eq!(job.wait().code(), Some(1), "{}", job.log());
    let why = job.handshake().and_then(|handshake| handshake.failure);
    let why = why.expect("a reason");
    assert!(
        why.contains("The failure is not recoverable") && why.contains("damaged"),
        "{why}"
    );
    assert_eq!(
        job.log().matches("restarting in").count(),
        1,
        "{}",
        job.log()
    );
}

//! A savepoint may be moved, and is named by its directory or by its metadata file.

use millpond_exactness::job_process::Bench;
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};

const WORKLOAD: Workload = Workload {
    records_a: 8_000,
    records_b: 8_000,
    keys: 2_000,
};

fn stopped() -> (Bench, String) {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 8_000)
        .option("parallelism.default", 2)
        // So that all state lies in files beside the metadata.
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option("execution.checkpointing.interval", "50 ms");
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    let savepoint = job.stop(false);
    (bench, savepoint)
}

fn resumes(bench: &Bench, path: &str) {
    let mut job = bench.start(&[("execution.state-recovery.path", path)]);
    job.finish();
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

#[test]
fn a_moved_savepoint_restores() {
    let (bench, savepoint) = stopped();
    let from = savepoint.strip_prefix("file:").expect("a local path");
    assert!(
        std::fs::read_dir(from).expect("a directory").count() > 1,
        "data lies in files"
    );
    let to = bench.directory().join("elsewhere").join("moved");
    std::fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
    std::fs::rename(from, &to).expect("a directory can be moved");
    resumes(&bench, &to.display().to_string());
}

#[test]
fn a_savepoint_is_named_by_its_metadata_file_too() {
    let (bench, savepoint) = stopped();
    resumes(&bench, &format!("{savepoint}/_metadata"));
}

#[test]
fn two_jobs_start_from_one_savepoint_and_leave_it_as_it_is() {
    let (bench, savepoint) = stopped();
    let directory = std::path::Path::new(savepoint.strip_prefix("file:").expect("a local path"));
    let content = || {
        let mut files: Vec<_> = std::fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), std::fs::read(path).expect("a file")))
            .collect();
        files.sort();
        files
    };
    let before = content();
    // Both begin; the first is cancelled before it publishes anything behind the savepoint.
    let quiet = [
        ("execution.state-recovery.path", savepoint.as_str()),
        ("execution.checkpointing.interval", "1 h"),
    ];
    let mut first = bench.start(&quiet);
    first.running();
    first.cancel();
    first.wait();
    resumes(&bench, &savepoint);
    assert!(content() == before, "a savepoint is not touched");
}

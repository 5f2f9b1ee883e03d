//! Savepoints by the clock, and what of them is kept.

use std::path::PathBuf;

use millpond_exactness::job_process::{Bench, wait_for};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", 40_000)
        .argument("--records-b", 40_000)
        .argument("--rate", 400)
        .option("execution.savepoint.periodic.interval", "100 ms")
}

fn savepoints(bench: &Bench) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.savepoints()).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.join("_metadata").exists())
        .collect()
}

#[test]
fn only_the_newest_scheduled_savepoints_are_kept_and_all_that_somebody_asked_for() {
    let bench = bench().option("execution.savepoint.history.max-count", 2);
    let mut job = bench.start(&[]);
    job.running();
    let wanted = job.savepoint();
    let taken = |job: &millpond_exactness::job_process::JobProcess| {
        job.job("/checkpoints")["counts"]["completed"].as_u64()
    };
    wait_for("scheduled savepoints", || (taken(&job)? >= 8).then_some(()));
    let last = job.stop(false);
    let kept = savepoints(&bench);
    assert!(
        (3..=4).contains(&kept.len()),
        "two, and those of the user: {kept:?}"
    );
    for path in [wanted, last] {
        let path = PathBuf::from(path.strip_prefix("file:").expect("a local path"));
        assert!(kept.contains(&path), "{} is gone", path.display());
    }
}

#[test]
fn an_old_scheduled_savepoint_goes_but_the_newest_stays() {
    let bench = bench().option("execution.savepoint.history.max-age", "0 ms");
    let mut job = bench.start(&[]);
    job.running();
    let taken = |job: &millpond_exactness::job_process::JobProcess| {
        job.job("/checkpoints")["counts"]["completed"].as_u64()
    };
    wait_for("scheduled savepoints", || (taken(&job)? >= 4).then_some(()));
    wait_for("one to be left", || {
        (savepoints(&bench).len() == 1).then_some(())
    });
    job.cancel();
    job.wait();
    assert_eq!(savepoints(&bench).len(), 1);
}

/// The history was in the memory of the job master: what it had taken before a kill stayed for ever.
#[test]
fn what_the_job_has_taken_before_it_was_killed_goes_in_its_time() {
    let bench = bench().option("execution.savepoint.history.max-count", 2);
    let id = "5c".repeat(16);
    let mut job = bench.start(&[("$internal.pipeline.job-id", &id)]);
    job.running();
    let wanted = job.savepoint();
    let taken = |job: &millpond_exactness::job_process::JobProcess| {
        job.job("/checkpoints")["counts"]["completed"].as_u64()
    };
    wait_for("scheduled savepoints", || (taken(&job)? >= 4).then_some(()));
    job.kill_master();
    let before = savepoints(&bench);
    let newest = bench.newest_snapshot().expect("a savepoint").path();
    let start = [
        ("$internal.pipeline.job-id", id.as_str()),
        ("execution.state-recovery.path", newest.as_str()),
    ];
    let mut job = bench.start(&start);
    job.running();
    let wanted = PathBuf::from(wanted.strip_prefix("file:").expect("a local path"));
    wait_for("those of before to be gone", || {
        let now = savepoints(&bench);
        let left = before.iter().filter(|path| now.contains(path));
        (left.collect::<Vec<_>>() == [&wanted]).then_some(())
    });
    job.cancel();
    job.wait();
    let kept = savepoints(&bench);
    assert!(kept.len() <= 4 && kept.contains(&wanted), "{kept:?}");
}

/// It was noted when it was complete: one that was just complete at a kill stayed for ever.
#[test]
fn what_was_just_complete_when_the_job_was_killed_goes_in_its_time() {
    let bench = bench()
        .option("execution.savepoint.history.max-count", 2)
        .with_storage_control();
    let id = "5d".repeat(16);
    bench
        .storage_control()
        .set("complete write_atomic /savepoint- 2 1 pause-after 60000");
    let mut job = bench.start(&[("$internal.pipeline.job-id", &id)]);
    job.running();
    wait_for("the third to be complete", || {
        bench.storage_control().met("complete")
    });
    job.kill_master();
    bench.storage_control().clear();
    let before = savepoints(&bench);
    let newest = bench.newest_snapshot().expect("a savepoint").path();
    let start = [
        ("$internal.pipeline.job-id", id.as_str()),
        ("execution.state-recovery.path", newest.as_str()),
    ];
    let mut job = bench.start(&start);
    job.running();
    wait_for("those of before to be gone", || {
        let now = savepoints(&bench);
        before.iter().all(|path| !now.contains(path)).then_some(())
    });
    job.cancel();
    job.wait();
}

#[test]
fn a_schedule_without_a_directory_is_refused() {
    let bench = bench().without_savepoint_directory();
    let mut job = bench.start(&[]);
    assert!(!job.wait().success());
    let log = job.log();
    assert!(
        log.contains("execution.checkpointing.savepoint-dir has to be set"),
        "{log}"
    );
}

//! A worker process that stands still is replaced, and does no harm when it wakes up.

use millpond_exactness::job_process::{
    Bench, JobProcess, continue_process, stop_process, wait_for,
};
use millpond_exactness::oracle::Workload;

const WORKLOAD: Workload = Workload {
    records_a: 15_000,
    records_b: 10_000,
    keys: 40,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 3_000)
        .option("parallelism.default", 2)
        .option("cluster.processes", 2)
        .option("execution.checkpointing.interval", "50 ms")
        .option("heartbeat.interval", "200 ms")
}

fn first_worker(job: &JobProcess) -> u32 {
    *job.workers().first().expect("a worker")
}

#[test]
fn a_worker_that_is_silent_for_longer_than_the_timeout_is_replaced() {
    let bench = bench();
    let mut job = bench.start(&[("heartbeat.timeout", "3 s")]);
    job.wait_for_checkpoints(3);
    let silent = first_worker(&job);
    stop_process(silent);
    wait_for("the worker to be replaced", || {
        let workers = job.workers();
        (workers.len() == 2 && !workers.contains(&silent)).then_some(())
    });
    // It is gone for good: there is nobody to wake up.
    continue_process(silent);
    job.finish();
    assert!(
        job.log()
            .contains("said nothing for 3000 ms (heartbeat.timeout)"),
        "{}",
        job.log()
    );
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_worker_that_wakes_up_after_its_job_has_gone_on_elsewhere_publishes_nothing() {
    let bench = bench();
    // The master is killed long before it notices.
    let mut job = bench.start(&[("heartbeat.timeout", "100 s")]);
    job.wait_for_checkpoints(3);
    let zombie = first_worker(&job);
    stop_process(zombie);
    job.kill_master_leaving(zombie);
    let newest = bench.newest_snapshot().expect("a checkpoint").path();
    let mut resumed = bench.start(&[("execution.state-recovery.path", &newest)]);
    resumed.wait_for_checkpoints(3);
    continue_process(zombie);
    wait_for("the end of the zombie", || {
        (!job.workers().contains(&zombie)).then_some(())
    });
    resumed.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_timeout_below_the_interval_is_refused() {
    let bench = bench();
    let mut job = bench.start(&[("heartbeat.timeout", "100 ms")]);
    assert!(!job.wait().success());
    assert_eq!(job.handshake(), None, "the job was not even started");
    assert!(job.log().contains("heartbeat.timeout"), "{}", job.log());
}

//! The interval of checkpoints is changed while a job runs, and stays so.

use millpond_exactness::cluster::{Cluster, PATIENT};
use millpond_exactness::job_process::{Bench, kill_process};
use millpond_exactness::oracle::Workload;
use millpond_exactness::takeover;
use serde_json::json;

const PATH: &str = "/checkpoints/config";

/// An hour at first, which no test waits for.
const INTERVAL: &str = "execution.checkpointing.interval";

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
}

#[test]
fn a_job_takes_checkpoints_at_another_interval_without_a_restart_and_behind_one() {
    let bench = bench()
        .option("parallelism.default", 2)
        .option("cluster.processes", 2)
        .option(INTERVAL, "1 h");
    let mut job = bench.start(&[]);
    job.running();
    assert_eq!(job.job(PATH)["interval"], 3_600_000);
    assert_eq!(job.put(PATH, &json!({ "interval": 50 })), (200, json!({})));
    assert_eq!(job.job(PATH)["interval"], 50);
    job.wait_for_checkpoints(3);
    assert_eq!(job.failed_attempts(), 0);
    kill_process(*job.workers().first().expect("a worker"));
    let before = job.completed_checkpoints().expect("counts");
    job.wait_for_checkpoints(before + 3);
    assert_eq!(job.failed_attempts(), 1);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_job_without_periodic_checkpoints_refuses_an_interval() {
    let bench = bench();
    let mut cluster = Cluster::start(&bench, &PATIENT);
    cluster.add_task_manager(2);
    let job = cluster.run(&[("parallelism.default", "2")]);
    job.wait_for("RUNNING");
    let (code, answer) = job.put(PATH, &json!({ "interval": 50 }));
    assert_eq!(code, 400, "{answer}");
    let text = answer.to_string();
    assert!(
        text.contains("execution.checkpointing.interval is not set"),
        "{text}"
    );
    job.cancel();
    job.wait_for("CANCELED");
    let (code, answer) = job.put(PATH, &json!({ "interval": 50 }));
    assert_eq!(code, 404, "{answer}");
    cluster.end();
}

#[test]
fn the_next_leader_goes_on_at_the_changed_interval() {
    let bench = takeover::bench(env!("CARGO_BIN_EXE_exactness-job"));
    let election = ["high-availability.type=filesystem".to_owned()];
    let mut cluster = takeover::start(&bench, &election);
    cluster.add_standby();
    cluster.add_task_manager(2);
    let job = cluster.run(&[("parallelism.default", "2"), (INTERVAL, "1 h")]);
    job.wait_for("RUNNING");
    assert_eq!(job.put(PATH, &json!({ "interval": 50 })), (200, json!({})));
    job.wait_for_checkpoints(3);
    assert_eq!(job.failed_attempts(), 0);
    // Checkpoints come under the next one as well.
    takeover::by_a_kill(&bench, &mut cluster, job);
    cluster.end();
}

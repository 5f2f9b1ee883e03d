//! A cluster for one job: whoever leads goes on with it, and when it has ended nobody runs it again.

use millpond_exactness::cluster::{Cluster, PATIENT};
use millpond_exactness::job_process::{Bench, wait_for};
use millpond_exactness::lines::published;
use millpond_exactness::oracle::Workload;
use millpond_exactness::remains::{collect_garbage, files_below, hidden};

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 10_000,
    keys: 40,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 2_000)
        .option("execution.checkpointing.interval", "50 ms")
        .option("parallelism.default", "2")
}

fn start<'a>(bench: &'a Bench, more: &[&str]) -> Cluster<'a> {
    let storage = bench.directory().join("ha");
    let storage = format!("high-availability.storageDir={}", storage.display());
    let own = ["high-availability.type=filesystem", &storage];
    Cluster::start_application(bench, &[&PATIENT, &own[..], more].concat())
}

#[test]
fn the_job_of_an_application_goes_on_under_the_next_leader_and_is_not_run_again() {
    let bench = bench();
    let mut cluster = start(&bench, &[]);
    cluster.add_task_manager(2);
    let mut job = cluster.application();
    job.wait_for_checkpoints(3);
    // One that stands by, and one that is started again.
    cluster.add_standby();
    cluster.kill_leader();
    for _ in 0..2 {
        cluster.follow(&mut job);
        job.wait_for("RUNNING");
        job.wait_for_checkpoints(2);
        cluster.restart_job_manager();
    }
    cluster.follow(&mut job);
    job.wait_for("RUNNING");
    job.wait_for_checkpoints(2);
    cluster.add_standby();
    bench.let_go();
    let (code, said) = cluster.wait_for_job_manager();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("GoesOn"), "{said}");
    bench.assert_exact(&WORKLOAD);
    assert_eq!(hidden(&bench.out()), Vec::<String>::new());
    // It has led the cluster, and has nothing to do.
    let _ = cluster.replace_leader();
    for again in ["who stood by", "who was started again"] {
        let (code, said) = cluster.wait_for_job_manager();
        assert_eq!(code, Some(0), "{again}: {said}");
        assert!(said.contains("HasEnded"), "{again}: {said}");
        cluster.restart_job_manager();
    }
    cluster.wait_for_job_manager();
    bench.assert_exact(&WORKLOAD);
    let (wrong, _) = collect_garbage(&bench.checkpoints());
    assert!(wrong.is_empty(), "{wrong:?}");
    // A program takes much room, and nobody will run it again.
    let storage = bench.directory().join("ha/default");
    assert_eq!(
        files_below(&storage.join("programs")),
        Vec::<std::path::PathBuf>::new()
    );
    let kept = files_below(&storage.join("jobs"));
    assert_eq!(kept, [storage.join(format!("jobs/{}.result", job.id))]);
    cluster.end();
}

#[test]
fn a_cluster_that_forgets_its_result_runs_the_job_anew() {
    let bench = bench();
    bench.let_go();
    let mut cluster = start(&bench, &["job-result-store.delete-on-commit=true"]);
    cluster.add_task_manager(2);
    let lines = |bench: &Bench| published(&bench.out()).into_values().sum::<u64>();
    let mut first = 0;
    for run in 1..=2 {
        let (code, said) = cluster.wait_for_job_manager();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("Submitted"), "{said}");
        if run == 1 {
            bench.assert_exact(&WORKLOAD);
            first = lines(&bench);
        }
        assert_eq!(lines(&bench), run * first, "run {run}");
        cluster.restart_job_manager();
    }
    wait_for("the third run", || cluster.rest().len().checked_sub(1));
    cluster.end();
}

/// Whatever parallelism is configured. What the program gives a parallelism of its own keeps that.
#[test]
fn a_reactive_job_uses_all_slots_that_there_are() {
    let bench = bench()
        .ledger()
        .option(
            "jobmanager.adaptive-scheduler.executing.cooldown-after-rescaling",
            "0 ms",
        )
        .option(
            "jobmanager.adaptive-scheduler.executing.resource-stabilization-timeout",
            "100 ms",
        );
    let mut cluster = start(&bench, &["scheduler-mode=reactive"]);
    let mut job = cluster.application();
    assert_ne!(job.status(), "RUNNING", "there is no slot");
    let first = cluster.add_task_manager(1);
    job.wait_for_parallelism(1);
    cluster.add_task_manager(3);
    job.wait_for_parallelism(4);
    let details = job.try_get("").expect("an answer");
    let vertices = details["vertices"].as_array().expect("a list").iter();
    let of_one = vertices.filter(|vertex| vertex["parallelism"] == 1).count();
    assert_eq!(of_one, 2, "those of the program: {details}");
    let (status, answer) = job.try_require(1, 2);
    let answer = answer.to_string();
    assert!(
        status == 400 && answer.contains("reactive mode"),
        "{answer}"
    );
    cluster.kill_task_manager(first);
    job.wait_for_parallelism(3);
    cluster.restart_job_manager();
    cluster.follow(&mut job);
    job.wait_for_parallelism(3);
    bench.let_go();
    let (code, said) = cluster.wait_for_job_manager();
    assert_eq!(code, Some(0), "{said}");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

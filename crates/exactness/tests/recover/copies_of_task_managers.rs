//! Local recovery in a cluster: the workers of each task manager have their copies on its disk, which the
//! job master knows nothing of.

use std::path::PathBuf;

use millpond_exactness::cluster::{Cluster, ClusterJob, PATIENT};
use millpond_exactness::job_process::{Bench, kill_process, wait_for};
use millpond_exactness::lines::shortfall;
use millpond_exactness::oracle::expected;
use serde_json::Value;

use super::local_recovery::{BACKENDS, DIRECTORIES, assert_local, children};
use super::{WORKLOAD, bench, state_file};

/// On this machine.
const HOST: u8 = 1;

fn disk(bench: &Bench, number: u32) -> PathBuf {
    bench.directory().join(format!("disk-{number}"))
}

/// The directories of jobs on a disk.
fn jobs(bench: &Bench, number: u32) -> Vec<PathBuf> {
    children(&disk(bench, number).join("localState"))
}

fn copies(bench: &Bench, number: u32) -> Vec<PathBuf> {
    let processes = jobs(bench, number).into_iter();
    let processes = processes.flat_map(|job| children(&job));
    processes.flat_map(|process| children(&process)).collect()
}

/// A task manager with one slot and a disk.
fn add_task_manager(cluster: &mut Cluster, bench: &Bench, number: u32) -> u32 {
    let own = format!("{DIRECTORIES}={}", disk(bench, number).display());
    cluster.add_task_manager_with(HOST, 1, &[own])
}

/// A job in one slot of each of two task managers.
fn run(cluster: &mut Cluster, backend: &[(&str, &str)]) -> ClusterJob {
    let own = [
        ("parallelism.default", "2"),
        ("execution.state-recovery.from-local", "true"),
        ("execution.checkpointing.data-inline-threshold", "0 b"),
        ("execution.checkpointing.interval", "1 h"),
        ("execution.checkpointing.num-retained", "2"),
    ];
    let options: Vec<_> = own.iter().chain(backend).copied().collect();
    let job = cluster.run(&options);
    job.wait_for("RUNNING");
    job
}

fn kill_worker(cluster: &Cluster, task_manager: u32) {
    let worker = wait_for("a worker", || {
        cluster.children_of(task_manager).first().copied()
    });
    kill_process(worker);
}

/// Waits until the job is restored for the `times`th time; returns what was restored.
fn restored(job: &ClusterJob, times: u64) -> Value {
    wait_for("a restore", || {
        let statistics = job.try_get("/checkpoints")?;
        let is_restored = statistics["counts"]["restored"].as_u64()? >= times;
        let restored = statistics["latest"]["restored"].clone();
        let read = &restored["state_read"];
        let has_read = read["local_bytes"].as_u64()? + read["remote_bytes"].as_u64()? > 0;
        (is_restored && has_read && job.status() == "RUNNING").then_some(restored)
    })
}

/// Lets the job end, and checks what it has left.
fn finish(cluster: Cluster, bench: &Bench, job: &ClusterJob) {
    job.wait_for("FINISHED");
    wait_for("all copies to go", || {
        let left = [1, 2].map(|number| jobs(bench, number).len());
        (left == [0, 0]).then_some(())
    });
    cluster.end();
}

#[test]
fn workers_come_back_with_what_lies_on_the_disks_of_their_task_managers() {
    // The heap, and what is furthest from it in this build.
    for backend in [BACKENDS[0], BACKENDS[BACKENDS.len() - 1]] {
        let bench = bench();
        let mut cluster = Cluster::start(&bench, &PATIENT);
        let first = add_task_manager(&mut cluster, &bench, 1);
        let second = add_task_manager(&mut cluster, &bench, 2);
        let job = run(&mut cluster, backend);
        job.checkpoint();
        job.checkpoint();
        for number in [1, 2] {
            assert!(!copies(&bench, number).is_empty(), "disk {number}");
        }
        kill_worker(&cluster, first);
        assert_local(&restored(&job, 1)["state_read"]);
        job.checkpoint();
        kill_worker(&cluster, second);
        assert_local(&restored(&job, 2)["state_read"]);
        // The next task manager of the machine finds what the one before it has left.
        cluster.kill_task_manager(first);
        let first = add_task_manager(&mut cluster, &bench, 1);
        assert_local(&restored(&job, 3)["state_read"]);
        job.checkpoint();
        wait_for("what the dead have left to go", || {
            (jobs(&bench, 1).len() == 1).then_some(())
        });
        kill_worker(&cluster, first);
        assert_local(&restored(&job, 4)["state_read"]);
        finish(cluster, &bench, &job);
        bench.assert_exact(&WORKLOAD);
    }
}

#[test]
fn damage_that_only_a_worker_sees_costs_an_attempt_and_the_checkpoint() {
    let bench = bench();
    let mut cluster = Cluster::start(&bench, &PATIENT);
    let first = add_task_manager(&mut cluster, &bench, 1);
    add_task_manager(&mut cluster, &bench, 2);
    let allow = "execution.state-recovery.allow-fallback-past-committed-transactions";
    let job = run(&mut cluster, &[(allow, "true")]);
    job.checkpoint();
    job.checkpoint();
    let newest = bench.newest_snapshot().expect("a checkpoint");
    let file = state_file(&newest.directory);
    let mut bytes = std::fs::read(&file).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("room");
    let all = [1, 2].map(|number| copies(&bench, number));
    for copy in all.iter().flatten() {
        std::fs::remove_file(copy).expect("it is there");
    }
    kill_worker(&cluster, first);
    let restored = restored(&job, 2);
    let id = restored["id"].as_i64().expect("a number");
    assert!(id < newest.checkpoint, "{restored}");
    let exceptions = job.try_get("/exceptions").expect("the cluster answers");
    assert!(exceptions.to_string().contains("checksum"), "{exceptions}");
    finish(cluster, &bench, &job);
    // What was published behind the older one is so twice.
    assert_eq!(shortfall(&expected(&WORKLOAD), &bench.published()), None);
}

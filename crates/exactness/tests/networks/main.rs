//! A cluster over several hosts, and a network between them that fails.
//!
//! The hosts are network namespaces. Where they cannot be had each test says that it is skipped.

mod disks;
mod scenario;

use std::time::Duration;

use millpond_exactness::cluster::{Cluster, ClusterJob, HEARTBEAT, PATIENT};
use millpond_exactness::job_process::{Bench, wait_for};
use millpond_exactness::network::{Link, Network, isolated};
use millpond_exactness::oracle::Workload;

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 10_000,
    keys: 40,
};

/// The host of the job manager.
const MANAGER: u8 = 1;

/// The host where a next leader stands by.
const STANDBY: u8 = 4;

const CUT: Link = Link {
    cut: true,
    lost: 0,
    delay: Duration::ZERO,
};

const WHOLE: Link = Link { cut: false, ..CUT };

fn bench(rate: u32) -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", rate)
        .option("execution.checkpointing.interval", "50 ms")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
}

/// A job in all slots of task managers on hosts 2 to `last`, behind three checkpoints.
fn running(cluster: &mut Cluster, last: u8) -> ClusterJob {
    for host in 2..=last {
        cluster.add_task_manager_on(host, 2);
    }
    let parallelism = (2 * (last - 1)).to_string();
    let job = cluster.run(&[("parallelism.default", &parallelism)]);
    job.wait_for("RUNNING");
    job.wait_for_checkpoints(3);
    job
}

fn recovered(job: &ClusterJob, failed_before: usize) {
    wait_for("the job to recover", || {
        (job.failed_attempts() > failed_before && job.status() == "RUNNING").then_some(())
    });
}

fn free_slots(cluster: &mut Cluster, expected: u64) {
    wait_for(&format!("{expected} free slots"), || {
        let overview = cluster.get("/overview");
        (overview["slots-available"].as_u64()? == expected).then_some(())
    });
}

#[test]
fn records_go_from_host_to_host() {
    if !isolated("records_go_from_host_to_host") {
        return;
    }
    let network = Network::new(3);
    let bench = bench(3_000);
    let mut cluster = Cluster::start_on(&bench, &network, &PATIENT);
    let job = running(&mut cluster, 3);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
        let (carried, _) = network.packets(from, to);
        assert!(carried > 100, "{from} to {to}: {carried}");
    }
    free_slots(&mut cluster, 4);
    cluster.end();
}

#[test]
fn packets_that_are_lost_and_late_cost_nothing_but_time() {
    if !isolated("packets_that_are_lost_and_late_cost_nothing_but_time") {
        return;
    }
    let network = Network::new(3);
    let bench = bench(3_000);
    let mut cluster = Cluster::start_on(&bench, &network, &PATIENT);
    network.set_all(Link {
        lost: 20,
        delay: Duration::from_millis(3),
        cut: false,
    });
    let job = running(&mut cluster, 3);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    assert_eq!(job.failed_attempts(), 0);
    let (_, lost) = network.packets(2, 3);
    assert!(lost > 0);
    cluster.end();
}

#[test]
fn task_managers_that_cannot_reach_each_other_cost_their_job_an_attempt() {
    if !isolated("task_managers_that_cannot_reach_each_other_cost_their_job_an_attempt") {
        return;
    }
    let network = Network::new(3);
    let bench = bench(2_000);
    let mut cluster = Cluster::start_on(&bench, &network, &HEARTBEAT);
    let job = running(&mut cluster, 3);
    let failed = job.failed_attempts();
    network.set(2, 3, CUT);
    wait_for("the job to notice", || {
        (job.failed_attempts() > failed).then_some(())
    });
    network.set(2, 3, WHOLE);
    recovered(&job, failed);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_task_manager_that_cannot_reach_its_job_manager_is_replaced_and_comes_back() {
    if !isolated("a_task_manager_that_cannot_reach_its_job_manager_is_replaced_and_comes_back") {
        return;
    }
    let network = Network::new(4);
    let bench = bench(2_000);
    let mut cluster = Cluster::start_on(&bench, &network, &HEARTBEAT);
    let job = running(&mut cluster, 3);
    let spare = cluster.add_task_manager_on(4, 2);
    let failed = job.failed_attempts();
    network.set(MANAGER, 2, CUT);
    recovered(&job, failed);
    wait_for("a worker on the third host", || {
        (!cluster.children_of(spare).is_empty()).then_some(())
    });
    network.set(MANAGER, 2, WHOLE);
    // It has come back.
    free_slots(&mut cluster, 2);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    free_slots(&mut cluster, 6);
    cluster.end();
}

#[test]
fn a_leader_on_another_host_goes_on_with_the_jobs() {
    if !isolated("a_leader_on_another_host_goes_on_with_the_jobs") {
        return;
    }
    let network = Network::new(STANDBY);
    let bench = bench(2_000);
    let mut cluster = highly_available(&bench, &network);
    cluster.add_standby_on(STANDBY);
    let mut job = running(&mut cluster, 3);
    cluster.kill_leader();
    cluster.follow(&mut job);
    cluster.wait_for_end(&job, "the leader was killed");
    bench.assert_exact(&WORKLOAD);
    let (from_next_leader, _) = network.packets(STANDBY, 2);
    assert!(from_next_leader > 0);
    cluster.end();
}

fn highly_available<'a>(bench: &'a Bench, network: &'a Network) -> Cluster<'a> {
    let storage = bench.directory().join("ha").display().to_string();
    let storage = format!("high-availability.storageDir={storage}");
    let own = ["high-availability.type=filesystem", &storage];
    Cluster::start_on(bench, network, &[&HEARTBEAT[..], &own[..]].concat())
}

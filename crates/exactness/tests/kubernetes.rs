//! Clusters whose leader is in a Lease of Kubernetes, as processes; the API server is that of
//! `millpond-api-server`, which answers as is documented. There is no real one.

use millpond_api_server::ApiServer;
use millpond_exactness::cluster::Cluster;
use millpond_exactness::job_process::Bench;
use millpond_exactness::takeover;

/// Long enough for a stall of a busy machine: each test waits for it twice.
const LEASE: &str = "15 s";

fn bench(server: &ApiServer) -> Bench {
    takeover::bench(env!("CARGO_BIN_EXE_exactness-job")).variables(server.variables())
}

fn start(bench: &Bench) -> Cluster<'_> {
    let mut cluster = start_alone(bench);
    cluster.add_standby();
    cluster
}

/// Without a job manager that stands by.
fn start_alone(bench: &Bench) -> Cluster<'_> {
    let election = "high-availability.kubernetes.leader-election";
    let options = [
        "high-availability.type=kubernetes".to_owned(),
        "high-availability.cluster-id=default".to_owned(),
        "kubernetes.cluster-id=blue".to_owned(),
        "kubernetes.namespace=prod".to_owned(),
        format!("{election}.lease-duration={LEASE}"),
        format!("{election}.renew-deadline={LEASE}"),
        format!("{election}.retry-period=1 s"),
    ];
    takeover::start(bench, &options)
}

/// Where a task manager and a client look.
fn told(server: &ApiServer) -> String {
    let lease = server.lease("prod", "blue-leader").expect("a Lease");
    let told = lease["metadata"]["annotations"]["millpond/leader"].as_str();
    told.unwrap_or_default().to_owned()
}

#[test]
fn a_standby_goes_on_with_the_jobs_of_a_leader_that_is_killed() {
    let server = ApiServer::start();
    let bench = bench(&server);
    let mut cluster = start(&bench);
    let job = takeover::running(&mut cluster);
    assert!(told(&server).contains(&cluster.address()));
    takeover::by_a_kill(&bench, &mut cluster, job);
    assert!(told(&server).contains(&cluster.address()));
    let lease = server.lease("prod", "blue-leader").expect("a Lease");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    cluster.end();
}

#[test]
fn leaders_that_are_killed_in_the_phases_of_checkpoints_lose_nothing() {
    let server = ApiServer::start();
    let bench = bench(&server).with_storage_control();
    let mut cluster = start_alone(&bench);
    let job = takeover::running(&mut cluster);
    takeover::by_kills_in_phases(&bench, &mut cluster, job);
    cluster.end();
}

#[test]
fn a_leader_and_a_master_that_stood_still_end_when_they_wake_up() {
    let server = ApiServer::start();
    let bench = bench(&server);
    let mut cluster = start(&bench);
    let job = takeover::running(&mut cluster);
    takeover::by_a_machine_that_stands_still(&bench, &mut cluster, job);
    cluster.end();
}

#[test]
fn the_masters_of_a_leader_that_stands_still_end_with_its_term() {
    let server = ApiServer::start();
    let bench = bench(&server);
    let mut cluster = start(&bench);
    let job = takeover::running(&mut cluster);
    takeover::by_a_leader_that_stands_still(&bench, &mut cluster, job);
    cluster.end();
}

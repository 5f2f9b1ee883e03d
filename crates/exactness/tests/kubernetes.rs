//! Clusters whose leader is in a Lease of Kubernetes, as processes; the API server is that of
//! `millpond-api-server`, which answers as is documented. There is no real one.

use millpond_api_server::ApiServer;
use millpond_exactness::cluster::{Cluster, ClusterJob};
use millpond_exactness::job_process::{Bench, continue_process, stop_process, wait_for};
use millpond_exactness::oracle::Workload;
use millpond_exactness::remains::collect_garbage;

/// Long enough for a stall of a busy machine: each test waits for it twice.
const LEASE: &str = "15 s";

/// A patience that no test could wait for: what must be found out otherwise is.
const PATIENT: [&str; 2] = ["heartbeat.interval=200 ms", "heartbeat.timeout=10 min"];

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 10_000,
    keys: 40,
};

fn bench(server: &ApiServer) -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .variables(server.variables())
        .argument("--rate", 400)
        .option("execution.checkpointing.interval", "50 ms")
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
        .held()
}

fn start(bench: &Bench) -> Cluster<'_> {
    let election = "high-availability.kubernetes.leader-election";
    let own = [
        "high-availability.type=kubernetes".to_owned(),
        "high-availability.cluster-id=default".to_owned(),
        format!(
            "high-availability.storageDir={}",
            bench.directory().join("ha").display()
        ),
        "kubernetes.cluster-id=blue".to_owned(),
        "kubernetes.namespace=prod".to_owned(),
        format!("{election}.lease-duration={LEASE}"),
        format!("{election}.renew-deadline={LEASE}"),
        format!("{election}.retry-period=1 s"),
    ];
    let own = own.iter().map(String::as_str);
    let all: Vec<&str> = PATIENT.iter().copied().chain(own).collect();
    Cluster::start(bench, &all)
}

/// A job in all slots of one task manager, behind three checkpoints.
fn running(cluster: &mut Cluster) -> ClusterJob {
    cluster.add_task_manager(2);
    let job = cluster.run(&[("parallelism.default", "2")]);
    job.wait_for_checkpoints(3);
    job
}

fn goes_on_to_its_end(bench: &Bench, cluster: &mut Cluster, job: &mut ClusterJob, context: &str) {
    cluster.follow(job);
    wait_for("the job to run again", || {
        (job.status() == "RUNNING").then_some(())
    });
    job.wait_for_checkpoints(2);
    cluster.wait_for_end(job, context);
    bench.assert_exact(&WORKLOAD);
    let (wrong, _) = collect_garbage(&bench.checkpoints());
    assert!(wrong.is_empty(), "{wrong:?}");
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
    cluster.add_standby();
    let mut job = running(&mut cluster);
    assert!(told(&server).contains(&cluster.address()));
    cluster.kill_leader();
    goes_on_to_its_end(&bench, &mut cluster, &mut job, "the leader was killed");
    assert!(told(&server).contains(&cluster.address()));
    let lease = server.lease("prod", "blue-leader").expect("a Lease");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    cluster.end();
}

/// As when a whole machine stands still: nobody there has noticed anything when it goes on, and another one
/// leads by then.
#[test]
fn a_leader_and_a_master_that_stood_still_end_when_they_wake_up() {
    let server = ApiServer::start();
    let bench = bench(&server);
    let mut cluster = start(&bench);
    cluster.add_standby();
    let mut job = running(&mut cluster);
    let stopped = cluster.job_manager();
    let masters = cluster.children_of(stopped);
    assert_eq!(masters.len(), 1);
    masters.iter().copied().for_each(stop_process);
    stop_process(stopped);
    let former = cluster.replace_leader();
    // The next master would wait for longer than this test until it killed one that stands still.
    masters.iter().copied().for_each(continue_process);
    wait_for("the former master to end", || {
        let alive = cluster.processes();
        let is_alive = masters.iter().any(|master| alive.contains(master));
        (!is_alive).then_some(())
    });
    let log = bench
        .directory()
        .join(format!("ha/default/logs/{}.log", job.id));
    let log = std::fs::read_to_string(log).expect("masters log");
    assert!(log.contains("is not known to lead any more"), "{log}");
    continue_process(stopped);
    let (code, said) = former.wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("this job manager leads no more: "), "{said}");
    goes_on_to_its_end(&bench, &mut cluster, &mut job, "a machine stood still");
    cluster.end();
}

/// Its masters and its workers are not stopped: they must not go on with a job that is another one's.
#[test]
fn the_masters_of_a_leader_that_stands_still_end_with_its_term() {
    let server = ApiServer::start();
    let bench = bench(&server);
    let mut cluster = start(&bench);
    cluster.add_standby();
    let mut job = running(&mut cluster);
    let stopped = cluster.job_manager();
    let masters = cluster.children_of(stopped);
    stop_process(stopped);
    let former = cluster.replace_leader();
    goes_on_to_its_end(&bench, &mut cluster, &mut job, "the leader stood still");
    let alive = cluster.processes();
    assert!(masters.iter().all(|master| !alive.contains(master)));
    continue_process(stopped);
    let (code, said) = former.wait();
    assert_eq!(code, Some(1), "{said}");
    cluster.end();
}

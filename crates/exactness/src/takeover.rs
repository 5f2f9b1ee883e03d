//! What is promised of a highly available cluster whose leader is lost, whatever service elects the next one.

use crate::cluster::{Cluster, ClusterJob};
use crate::job_process::{Bench, continue_process, stop_process, wait_for};
use crate::oracle::Workload;
use crate::phase::Phase;
use crate::random::{Random, fresh_seed};
use crate::remains::{collect_garbage, hidden};

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 10_000,
    keys: 40,
};

/// A patience that no test could wait for: what must be found out otherwise is.
const PATIENT: [&str; 2] = ["heartbeat.interval=200 ms", "heartbeat.timeout=10 min"];

/// A bench whose job takes checkpoints, and is held until [`ends_well`].
pub fn bench(program: &str) -> Bench {
    Bench::new(program)
        .workload(&WORKLOAD)
        .argument("--rate", 400)
        .option("execution.checkpointing.interval", "50 ms")
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
        .held()
}

/// A cluster with these options of its election.
pub fn start<'a>(bench: &'a Bench, election: &[String]) -> Cluster<'a> {
    let storage = bench.directory().join("ha");
    let storage = format!("high-availability.storageDir={}", storage.display());
    let own = election.iter().chain([&storage]).map(String::as_str);
    let all: Vec<&str> = PATIENT.iter().copied().chain(own).collect();
    Cluster::start(bench, &all)
}

/// A job in all slots of one task manager, behind three checkpoints.
pub fn running(cluster: &mut Cluster) -> ClusterJob {
    cluster.add_task_manager(2);
    let job = cluster.run(&[("parallelism.default", "2")]);
    job.wait_for_checkpoints(3);
    job
}

/// The job comes to its end with an exact result, and nothing is left behind.
///
/// # Panics
///
/// If not.
pub fn ends_well(bench: &Bench, cluster: &mut Cluster, job: &ClusterJob, context: &str) {
    cluster.wait_for_end(job, context);
    bench.assert_exact(&WORKLOAD);
    let (wrong, _) = collect_garbage(&bench.checkpoints());
    assert!(wrong.is_empty(), "{wrong:?}");
    // Of attempts under the former leader too.
    assert_eq!(hidden(&bench.out()), Vec::<String>::new(), "{context}");
}

fn runs_again(cluster: &mut Cluster, job: &mut ClusterJob) {
    cluster.follow(job);
    wait_for("the job to run again", || {
        (job.status() == "RUNNING").then_some(())
    });
    job.wait_for_checkpoints(2);
}

/// The leader is killed; the standby goes on with the job.
///
/// # Panics
///
/// If the job does not go on to an exact end.
pub fn by_a_kill(bench: &Bench, cluster: &mut Cluster, mut job: ClusterJob) {
    cluster.kill_leader();
    runs_again(cluster, &mut job);
    ends_well(bench, cluster, &job, "the leader was killed");
}

/// One leader after another is killed while the storage stands still in a phase of a checkpoint, until all
/// phases were met. The storage of the bench must be under control.
///
/// # Panics
///
/// If the job does not go on behind one to an exact end.
pub fn by_kills_in_phases(bench: &Bench, cluster: &mut Cluster, mut job: ClusterJob) {
    let phases = [
        Phase::Begin,
        Phase::Upload,
        Phase::Completing,
        Phase::Completed,
        Phase::Subsumption,
        Phase::CleanUp,
    ];
    let control = bench.storage_control();
    let seed = fresh_seed();
    eprintln!("seed: {seed}");
    let mut random = Random::new(seed);
    for phase in phases {
        cluster.add_standby();
        control.set(&phase.rules(&mut random));
        wait_for(&format!("the storage to stand still in {phase:?}"), || {
            control.met(&format!("{phase:?}"))
        });
        cluster.kill_leader();
        control.clear();
        cluster.follow(&mut job);
        wait_for(&format!("a checkpoint behind {phase:?}"), || {
            let counts = job.try_get("/checkpoints")?["counts"]["completed"].as_u64()?;
            (job.status() == "RUNNING" && counts > 1).then_some(())
        });
    }
    ends_well(bench, cluster, &job, "leaders were killed in phases");
}

/// The leader stands still for longer than it leads. Its masters and its workers are not stopped: they must
/// not go on with a job that is another one's. Nor must it when it wakes up.
///
/// # Panics
///
/// If one of them goes on, or the job does not.
pub fn by_a_leader_that_stands_still(bench: &Bench, cluster: &mut Cluster, mut job: ClusterJob) {
    let stopped = cluster.job_manager();
    let masters = cluster.children_of(stopped);
    assert_eq!(masters.len(), 1);
    stop_process(stopped);
    let former = cluster.replace_leader();
    runs_again(cluster, &mut job);
    let alive = cluster.processes();
    assert!(masters.iter().all(|master| !alive.contains(master)));
    continue_process(stopped);
    let (code, said) = former.wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("this job manager leads no more: "), "{said}");
    ends_well(bench, cluster, &job, "the leader stood still");
}

/// A whole machine stands still: nobody there has noticed anything when it goes on, and another one leads by
/// then.
///
/// # Panics
///
/// If somebody there goes on, or the job does not.
pub fn by_a_machine_that_stands_still(bench: &Bench, cluster: &mut Cluster, mut job: ClusterJob) {
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
    let log = format!("ha/default/logs/{}.log", job.id);
    let log = std::fs::read_to_string(bench.directory().join(log)).expect("masters log");
    assert!(log.contains("is not known to lead any more"), "{log}");
    continue_process(stopped);
    let (code, said) = former.wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("this job manager leads no more: "), "{said}");
    runs_again(cluster, &mut job);
    ends_well(bench, cluster, &job, "a machine stood still");
}

/// The service that elects is gone for longer than the leader leads, until it `comes_back`. The leader and its
/// masters end meanwhile.
///
/// # Panics
///
/// If one of them goes on, or the job does not when another one leads.
pub fn by_a_service_that_is_gone(
    bench: &Bench,
    cluster: &mut Cluster,
    mut job: ClusterJob,
    comes_back: impl FnOnce(),
) {
    let leader = cluster.job_manager();
    let masters = cluster.children_of(leader);
    assert_eq!(masters.len(), 1);
    wait_for("the leader and its masters to end", || {
        let alive = cluster.processes();
        let mut ended = masters.iter().chain([&leader]);
        ended.all(|pid| !alive.contains(pid)).then_some(())
    });
    comes_back();
    let (code, said) = cluster.replace_leader().wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("this job manager leads no more: "), "{said}");
    runs_again(cluster, &mut job);
    ends_well(bench, cluster, &job, "there was nobody who elects");
}

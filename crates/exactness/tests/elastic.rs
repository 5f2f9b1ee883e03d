//! Elastic mode: a job uses the slots that there are, and goes on from a checkpoint when they come or go or
//! when its bounds are changed. Nothing is lost, and nothing counts twice.

use std::time::Duration;

use millpond_exactness::cluster::{Cluster, ClusterJob, PATIENT};
use millpond_exactness::job_process::{Bench, kill_process, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::Workload;
use millpond_exactness::random::Random;
use millpond_exactness::seeds::for_each_seed;
use serde_json::json;

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 10_000,
    keys: 40,
};

/// Waits for slots are short, those for all or nothing longer than any test.
const ELASTIC: [(&str, &str); 6] = [
    ("jobmanager.scheduler", "adaptive"),
    ("slot.request.timeout", "1 h"),
    (
        "jobmanager.adaptive-scheduler.submission.resource-wait-timeout",
        "1 h",
    ),
    (
        "jobmanager.adaptive-scheduler.submission.resource-stabilization-timeout",
        "300 ms",
    ),
    (
        "jobmanager.adaptive-scheduler.executing.cooldown-after-rescaling",
        "0 ms",
    ),
    (
        "jobmanager.adaptive-scheduler.executing.resource-stabilization-timeout",
        "100 ms",
    ),
];

fn bench(rate: u32) -> Bench {
    bench_without_checkpoints(rate).option("execution.checkpointing.interval", "50 ms")
}

fn bench_without_checkpoints(rate: u32) -> Bench {
    let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .ledger()
        .held()
        .argument("--rate", rate);
    let elastic = ELASTIC.iter();
    elastic.fold(bench, |bench, (key, value)| bench.option(key, value))
}

fn run(cluster: &mut Cluster, parallelism: &str) -> ClusterJob {
    cluster.run(&[("parallelism.default", parallelism)])
}

fn free_slots(cluster: &mut Cluster, expected: u64) {
    wait_for(&format!("{expected} slots to be free"), || {
        let overview = cluster.get("/overview");
        (overview["slots-available"] == expected).then_some(())
    });
}

#[test]
fn a_job_begins_in_the_slots_there_are_and_uses_those_that_come() {
    let bench = bench(1_000);
    let mut cluster = Cluster::start(&bench, &PATIENT);
    cluster.add_task_manager(1);
    let job = run(&mut cluster, "4");
    job.wait_for_parallelism(1);
    cluster.add_task_manager(1);
    job.wait_for_parallelism(2);
    // More than it uses: the rest stays free.
    cluster.add_task_manager(3);
    job.wait_for_parallelism(4);
    free_slots(&mut cluster, 1);
    let jobs = cluster.get("/jobs/overview");
    assert_eq!(jobs["jobs"][0]["schedulerType"], "Adaptive", "{jobs}");
    job.wait_for("FINISHED");
    assert_eq!(job.failed_attempts(), 0, "a change of slots is no failure");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_job_goes_on_with_fewer_slots_when_a_task_manager_is_killed() {
    let bench = bench(1_500);
    let mut cluster = Cluster::start(&bench, &PATIENT);
    let first = cluster.add_task_manager(2);
    cluster.add_task_manager(1);
    let job = run(&mut cluster, "3");
    job.wait_for_parallelism(3);
    cluster.kill_task_manager(first);
    job.wait_for_parallelism(1);
    cluster.add_task_manager(2);
    job.wait_for_parallelism(3);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

/// It has waited for its slots once: one process that dies is no reason to wait again.
#[test]
fn a_killed_worker_costs_an_attempt_and_no_slot() {
    let bench = bench(2_000).option(
        "jobmanager.adaptive-scheduler.submission.resource-stabilization-timeout",
        "1 h",
    );
    let mut cluster = Cluster::start(&bench, &PATIENT);
    let task_manager = cluster.add_task_manager(2);
    let job = run(&mut cluster, "2");
    job.wait_for_parallelism(2);
    let workers = cluster.children_of(task_manager);
    kill_process(workers[0]);
    wait_for("a failure", || (job.failed_attempts() > 0).then_some(()));
    job.wait_for_parallelism(2);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn bounds_are_changed_up_and_down_while_the_job_runs() {
    let bench = bench(1_000).option("pipeline.max-parallelism", 16);
    let mut cluster = Cluster::start(&bench, &PATIENT);
    cluster.add_task_manager(3);
    let job = run(&mut cluster, "2");
    job.wait_for_parallelism(2);
    for (upper, parallelism) in [(3, 3), (1, 1), (16, 3), (2, 2)] {
        job.require(1, upper);
        job.wait_for_parallelism(parallelism);
        free_slots(&mut cluster, 3 - parallelism);
    }
    let told = job.try_get("/resource-requirements").expect("an answer");
    let bounds = told.as_object().expect("an object").values();
    let uppers: Vec<&serde_json::Value> = bounds
        .map(|bounds| &bounds["parallelism"]["upperBound"])
        .collect();
    assert!(uppers.iter().any(|upper| **upper == 2), "{told}");
    let (code, answer) = job.try_require(1, 17);
    let text = answer["errors"][0].as_str().expect("an error");
    assert!(
        text.contains("exceeds its maximum parallelism 16"),
        "{text}"
    );
    assert_eq!(code, 400);
    let (code, answer) = job.put_requirements(&json!({}));
    let text = answer["errors"][0].as_str().expect("an error");
    assert!(
        text.contains("The request is incomplete, missing job vertex"),
        "{text}"
    );
    assert_eq!(code, 400);
    job.wait_for("FINISHED");
    assert_eq!(job.failed_attempts(), 0);
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_job_does_not_run_below_its_lower_bound_and_is_not_stopped_for_it() {
    let bench = bench(1_000);
    let mut cluster = Cluster::start(&bench, &PATIENT);
    let task_manager = cluster.add_task_manager(1);
    let job = run(&mut cluster, "2");
    job.wait_for_parallelism(1);
    job.require(2, 2);
    job.wait_for_checkpoints(2);
    assert_eq!(job.parallelism(), Some(1), "it goes on with what it has");
    cluster.kill_task_manager(task_manager);
    wait_for("a failure", || (job.failed_attempts() > 0).then_some(()));
    cluster.add_task_manager(1);
    free_slots(&mut cluster, 1);
    job.wait_for("RESTARTING");
    cluster.add_task_manager(1);
    job.wait_for_parallelism(2);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn bounds_outlive_the_job_manager_and_the_job_master() {
    let bench = bench(1_000);
    let storage = format!(
        "high-availability.storageDir={}",
        bench.directory().join("ha").display()
    );
    let own = ["high-availability.type=filesystem", storage.as_str()];
    let mut cluster = Cluster::start(&bench, &[&PATIENT[..], &own].concat());
    cluster.add_standby();
    cluster.add_task_manager(3);
    let mut job = run(&mut cluster, "2");
    job.wait_for_parallelism(2);
    job.require(1, 1);
    job.wait_for_parallelism(1);
    cluster.kill_leader();
    cluster.follow(&mut job);
    job.wait_for_parallelism(1);
    job.require(1, 3);
    job.wait_for_parallelism(3);
    let masters = cluster.children_of(cluster.job_manager());
    masters.iter().copied().for_each(kill_process);
    wait_for("another master", || {
        let now = cluster.children_of(cluster.job_manager());
        let is_new = now.iter().all(|master| !masters.contains(master));
        (is_new && !now.is_empty()).then_some(())
    });
    job.wait_for_parallelism(3);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn what_is_not_elastic_or_takes_no_checkpoints_has_no_bounds_to_change() {
    let bench = bench(2_000);
    let mut cluster = Cluster::start(&bench, &PATIENT);
    cluster.add_task_manager(1);
    let job = cluster.run(&[("jobmanager.scheduler", "default")]);
    job.wait_for("RUNNING");
    let (code, answer) = job.try_require(1, 1);
    let text = answer["errors"][0].as_str().expect("an error");
    assert!(text.contains("without a job restart"), "{text}");
    assert_eq!(code, 500);
    job.cancel();
    job.wait_for("CANCELED");
    cluster.end();
    let bench = bench_without_checkpoints(2_000);
    let mut cluster = Cluster::start(&bench, &PATIENT);
    cluster.add_task_manager(1);
    let job = cluster.run(&[]);
    job.wait_for("RUNNING");
    let (code, answer) = job.try_require(1, 1);
    let text = answer["errors"][0].as_str().expect("an error");
    assert!(text.contains("takes no checkpoints"), "{text}");
    assert_eq!(code, 400);
    job.cancel();
    job.wait_for("CANCELED");
    cluster.end();
}

#[test]
fn a_job_takes_over_what_another_one_leaves() {
    let (bench, other_bench) = (bench(1_500), bench(1_500));
    let mut cluster = Cluster::start(&bench, &PATIENT);
    cluster.add_task_manager(2);
    let job = run(&mut cluster, "2");
    job.wait_for_parallelism(2);
    let out = other_bench.out().display().to_string();
    let other = cluster.run_with_output(&out, &[("parallelism.default", "2")]);
    job.require(1, 1);
    other.wait_for_parallelism(1);
    job.cancel();
    other.wait_for_parallelism(2);
    other.wait_for("FINISHED");
    other_bench.assert_exact(&WORKLOAD);
    cluster.end();
}

/// How often a job has changed over or failed and begun again.
fn restarts(job: &ClusterJob) -> u64 {
    let details = job.try_get("").expect("an answer");
    let restarting = details["timestamps"]["RESTARTING"].as_u64();
    restarting.expect("each state has a time, 0 if it was never there")
}

/// Both saw each free slot before, and both changed over, one of them for nothing.
#[test]
fn a_free_slot_is_for_one_of_two_jobs() {
    let (bench, other_bench) = (bench(1_000), bench(1_000));
    let mut cluster = Cluster::start(&bench, &PATIENT);
    cluster.add_task_manager(1);
    let job = run(&mut cluster, "8");
    job.wait_for_parallelism(1);
    let out = other_bench.out().display().to_string();
    let other = cluster.run_with_output(&out, &[("parallelism.default", "3")]);
    wait_for("the other job to wait", || {
        ["CREATED", "INITIALIZING"]
            .contains(&other.status().as_str())
            .then_some(())
    });
    cluster.add_task_manager(2);
    other.wait_for_parallelism(2);
    // One is for the job that has fewer, and no other.
    cluster.add_task_manager(1);
    job.wait_for_parallelism(2);
    other.wait_for_checkpoints(3);
    assert_eq!((restarts(&other), other.parallelism()), (0, Some(2)));
    // One for each; the other one wants no more then.
    cluster.add_task_manager(2);
    job.wait_for_parallelism(3);
    other.wait_for_parallelism(3);
    let changed = (restarts(&job), restarts(&other));
    cluster.add_task_manager(1);
    job.wait_for_parallelism(4);
    assert!(restarts(&job) > changed.0);
    assert_eq!(restarts(&other), changed.1);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    other.wait_for("FINISHED");
    other_bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_job_that_runs_by_itself_changes_when_its_bounds_do() {
    for processes in ["1", "2"] {
        let bench = bench(2_000);
        let options = [
            ("parallelism.default", "2"),
            ("cluster.processes", processes),
        ];
        let mut process = bench.start(&options);
        let job = ClusterJob::by_itself(&process.ready());
        job.wait_for_parallelism(2);
        for upper in [4, 1, 3] {
            job.require(1, upper);
            job.wait_for_parallelism(upper);
        }
        assert_eq!(job.failed_attempts(), 0);
        process.finish();
        bench.assert_exact(&WORKLOAD);
    }
}

#[test]
fn whatever_comes_and_goes_the_result_is_exact() {
    for_each_seed(Duration::from_secs(20), |seed| {
        let mut random = Random::new(seed);
        let unaligned = random.chance(50);
        let bench = bench(2_000)
            .option("execution.checkpointing.unaligned.enabled", unaligned)
            .option("execution.checkpointing.incremental", random.chance(50));
        let mut cluster = Cluster::start(&bench, &PATIENT);
        let mut task_managers = vec![cluster.add_task_manager(random.between(1, 3) as u32)];
        let job = run(&mut cluster, "4");
        let mut done = vec![format!("unaligned {unaligned}")];
        for _ in 0..6 {
            std::thread::sleep(random.duration(Duration::from_millis(700)));
            if job.status() == "FINISHED" {
                break;
            }
            match random.below(4) {
                0 => {
                    let slots = random.between(1, 2) as u32;
                    done.push(format!("{slots} slots come"));
                    task_managers.push(cluster.add_task_manager(slots));
                }
                1 if task_managers.len() > 1 => {
                    done.push("a task manager is killed".to_owned());
                    let index = random.below(task_managers.len() as u64) as usize;
                    cluster.kill_task_manager(task_managers.swap_remove(index));
                }
                _ => {
                    let upper = random.between(1, 6);
                    done.push(format!("at most {upper}"));
                    let (code, answer) = job.try_require(1, upper);
                    // It may just have ended.
                    assert!(code == 200 || code == 404, "{seed} {done:?}: {answer}");
                }
            }
        }
        bench.let_go();
        wait_for(
            &format!("the end of the job, seed {seed}, {done:?}"),
            || {
                let status = job.status();
                assert!(
                    status != "FAILED",
                    "{seed} {done:?}: {:?}",
                    job.try_get("/exceptions")
                );
                (status == "FINISHED").then_some(())
            },
        );
        let wrong = difference(&bench.expected(&WORKLOAD), &bench.published());
        assert_eq!(wrong, None, "seed {seed}, {done:?}");
        cluster.end();
    });
}

//! A job that is stopped with a savepoint goes on from it as if nothing had happened.

use millpond_exactness::job_process::{Bench, wait_for};
use millpond_exactness::oracle::Workload;

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 8_000,
    keys: 40,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 10_000)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "50 ms")
}

#[test]
fn a_stopped_job_goes_on_where_it_was() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    let savepoint = job.stop(false);
    let at_stop = bench.published();
    assert!(
        at_stop.values().sum::<u64>() > 0,
        "a stop commits what was written before it"
    );
    assert!(
        !at_stop.keys().any(|line| line.starts_with("final,")),
        "timers have not fired"
    );
    assert!(
        bench.checkpoints().read_dir().is_ok_and(|jobs| {
            jobs.flatten().all(|job| {
                job.path().read_dir().is_ok_and(|entries| {
                    let mut names = entries.flatten().map(|entry| entry.file_name());
                    // As in Flink, these stay, and are empty.
                    names.all(|name| name == "shared" || name == "taskowned")
                })
            })
        }),
        "a finished job deletes its checkpoints"
    );
    let mut job = bench.start(&[("execution.state-recovery.path", &savepoint)]);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn drain_fires_all_timers_and_windows() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    job.stop(true);
    let found = bench.published();
    // Counts go from 1 to the total of the key; so do the totals of all keys and of all windows.
    let counts = found.iter().filter(|(line, _)| line.starts_with("count,"));
    let counts: u64 = counts.map(|(_, times)| times).sum();
    let sum_of = |kind: &str, field: usize| -> u64 {
        let lines = found.iter().filter(|(line, _)| line.starts_with(kind));
        lines
            .map(|(line, times)| {
                let count = line.split(',').nth(field).expect("a count");
                count.parse::<u64>().expect("a number") * times
            })
            .sum()
    };
    assert!(counts > 0);
    assert_eq!(
        sum_of("final,", 2),
        counts,
        "the last timer of every key has fired"
    );
    assert_eq!(sum_of("window,", 3), counts, "every window has fired");
}

#[test]
fn a_savepoint_alone_commits_nothing_and_the_job_goes_on() {
    let bench = bench();
    let mut job = bench.start(&[("execution.checkpointing.interval", "1 h")]);
    job.running();
    wait_for("records", || {
        (job.job("")["vertices"][0]["metrics"]["write-records"].as_u64()? > 100).then_some(())
    });
    job.savepoint();
    assert_eq!(
        bench.published().len(),
        0,
        "a plain savepoint does not commit"
    );
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_savepoint_without_any_directory_is_refused() {
    let bench = bench().without_savepoint_directory();
    let mut job = bench.start(&[]);
    job.running();
    let answer = job.try_post("/savepoints", &serde_json::json!({ "cancel-job": false }));
    let text = answer.expect("an answer").to_string();
    assert!(
        text.contains("execution.checkpointing.savepoint-dir"),
        "{text}"
    );
    job.cancel();
    job.wait();
}

#[test]
fn timers_of_machine_time_go_through_a_savepoint() {
    // On a busy machine some may be due before the savepoint: then it is tried with later ones.
    let times = [2_000, 10_000, 60_000];
    let has_gone_through = times.into_iter().any(timers_go_through_a_savepoint);
    assert!(has_gone_through, "timers have been due before");
}

/// Is false if a timer has been due before the savepoint.
fn timers_go_through_a_savepoint(ping_after_ms: u64) -> bool {
    let bench = bench()
        .argument("--rate", 1_000)
        .argument("--ping-after-ms", ping_after_ms);
    let of_kind = |kind: &str| -> Vec<String> {
        let lines = bench.published().into_iter();
        lines
            .inspect(|(line, times)| assert!(!line.starts_with("ping,") || *times == 1, "{line}"))
            .filter_map(|(line, _)| Some(line.strip_prefix(kind)?.to_owned()))
            .collect()
    };
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    let savepoint = job.stop(false);
    if !of_kind("ping,").is_empty() {
        return false;
    }
    let firsts = of_kind("count,").into_iter();
    let keys: Vec<String> = firsts
        .filter_map(|line| Some(line.strip_suffix(",1")?.to_owned()))
        .collect();
    assert!(!keys.is_empty());
    let mut job = bench.start(&[
        ("execution.state-recovery.path", &savepoint),
        ("parallelism.default", "3"),
    ]);
    wait_for("the timers of all keys", || {
        let fired = of_kind("ping,");
        keys.iter().all(|key| fired.contains(key)).then_some(())
    });
    job.cancel();
    job.wait();
    true
}

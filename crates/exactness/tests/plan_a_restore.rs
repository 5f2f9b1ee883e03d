//! A restore is planned state by state: nothing that a snapshot holds is lost without a word.

use millpond_exactness::job_process::{Bench, JobProcess};
use serde_json::Value;

const KEYS: u64 = 20;

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--endless", true)
        .argument("--keys", KEYS)
        .argument("--rate", 6_000)
        .argument("--extra-uid", "extra")
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "50 ms")
}

fn stop(bench: &Bench) -> String {
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    job.stop(false)
}

/// Starts the job from the savepoint; it has to be refused before a task is deployed.
fn refused(bench: &Bench, savepoint: &str) -> String {
    let mut job = bench.start(&[("execution.state-recovery.path", savepoint)]);
    assert!(!job.wait().success(), "{}", job.log());
    let handshake = job.handshake().expect("the job was accepted");
    assert_eq!(handshake.status.as_deref(), Some("FAILED"));
    assert!(!restarted(&job), "it is not tried again:\n{}", job.log());
    handshake.failure.expect("a reason")
}

fn restarted(job: &JobProcess) -> bool {
    job.log().contains("restarting in")
}

fn outcomes(plan: &Value, uid: &str) -> Vec<(String, String, Option<u64>)> {
    let operators = plan["operators"].as_array().expect("operators");
    let operator = operators.iter().find(|operator| operator["uid"] == uid);
    let states = operator.and_then(|operator| operator["states"].as_array());
    let text = |state: &Value, key: &str| state[key].as_str().expect("a text").to_owned();
    let states = states.into_iter().flatten();
    states
        .filter(|state| state["kind"] != "timers")
        .map(|state| {
            let entries = state["entries"].as_u64();
            (text(state, "name"), text(state, "outcome"), entries)
        })
        .collect()
}

#[test]
fn a_renamed_state_is_refused_and_carried_on_request() {
    let bench = bench();
    let savepoint = stop(&bench);
    let from = ("execution.state-recovery.path", savepoint.as_str());
    let unchanged = bench.plan(&[from]);
    assert_eq!(unchanged["verdict"], "clean", "{unchanged:#}");
    let seen = ("seen".to_owned(), "restored".to_owned(), Some(KEYS));
    assert_eq!(outcomes(&unchanged, "extra"), [seen]);

    let renamed = bench.argument("--extra-state", "counted");
    let plan = renamed.plan(&[from]);
    assert_eq!(
        plan["verdict"], "needs-allow-non-restored-state",
        "{plan:#}"
    );
    let expected = [
        ("counted".to_owned(), "new".to_owned(), None),
        ("seen".to_owned(), "dropped".to_owned(), Some(KEYS)),
    ];
    assert_eq!(outcomes(&plan, "extra"), expected);
    let why = refused(&renamed, &savepoint);
    for part in [
        "state \"seen\" (value of Long, 20 entries)",
        "(uid \"extra\")",
        "--allowNonRestoredState",
        "millpond state edit",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }

    // Flink's way, and the way that drops everything without a place.
    for option in ["ignore-unregistered-state", "ignore-unclaimed-state"] {
        let allowed = [
            from,
            (&format!("execution.state-recovery.{option}"), "true"),
        ];
        assert_eq!(renamed.plan(&allowed)["verdict"], "allowed", "{option}");
        let mut job = renamed.start(&allowed);
        job.wait_for_checkpoints(1);
        let next = job.stop(false);
        assert!(
            job.log().contains("state \"seen\""),
            "it is told: {}",
            job.log()
        );
        // It was carried: under its old name it is there again, as it was.
        let plan = renamed.plan(&[("execution.state-recovery.path", &next)]);
        let carried = ("seen".to_owned(), "dropped".to_owned(), Some(KEYS));
        assert!(outcomes(&plan, "extra").contains(&carried), "{plan:#}");
    }
}

#[test]
fn a_state_of_another_type_is_refused_whatever_is_allowed() {
    let bench = bench();
    let savepoint = stop(&bench);
    let changed = bench.argument("--extra-type", "text");
    let from = ("execution.state-recovery.path", savepoint.as_str());
    let allow = ("execution.state-recovery.ignore-unclaimed-state", "true");
    let plan = changed.plan(&[from, allow]);
    assert_eq!(plan["verdict"], "impossible", "{plan:#}");
    let seen = ("seen".to_owned(), "incompatible".to_owned(), Some(KEYS));
    assert_eq!(outcomes(&plan, "extra"), [seen]);
    let why = refused(&changed, &savepoint);
    assert!(
        why.contains("uid \"extra\"") && why.contains("\"seen\"") && why.contains("Long"),
        "{why}"
    );
    assert_eq!(
        bench_checkpoints_of_refused(&changed),
        0,
        "no task was deployed, so nothing was written"
    );
}

/// How many snapshots there are beside the savepoint that the test began with.
fn bench_checkpoints_of_refused(bench: &Bench) -> usize {
    bench.snapshots().len().saturating_sub(1)
}

#[test]
fn an_operator_that_is_gone_or_new_is_in_the_plan() {
    let bench = bench();
    let savepoint = stop(&bench);
    let bench = bench.argument("--extra-uid", "renamed");
    let plan = bench.plan(&[("execution.state-recovery.path", &savepoint)]);
    assert_eq!(
        plan["verdict"], "needs-allow-non-restored-state",
        "{plan:#}"
    );
    let dropped = ("seen".to_owned(), "dropped".to_owned(), Some(KEYS));
    assert_eq!(outcomes(&plan, "extra"), [dropped]);
    let new = ("seen".to_owned(), "new".to_owned(), None);
    assert_eq!(outcomes(&plan, "renamed"), [new]);
    let positions = plan["operators"].as_array().expect("operators").iter();
    let positions = positions.filter(|operator| operator.get("positions").is_some());
    assert!(
        positions.count() > 0,
        "sources tell their positions: {plan:#}"
    );
}

#[test]
fn a_job_without_a_snapshot_plans_to_start_empty() {
    let plan = bench().plan(&[]);
    assert_eq!(plan["verdict"], "clean");
    assert_eq!(plan.get("snapshot"), None);
    let new = ("seen".to_owned(), "new".to_owned(), None);
    assert_eq!(outcomes(&plan, "extra"), [new]);
}

//! Plans of restores. The programs are shell commands that say a plan as a job does.

use super::{Ended, accepted, millpond};

/// A program that says a plan of this verdict when it is asked, and runs a job otherwise.
fn program(verdict: &str) -> String {
    let plan = format!(
        r#"{{"verdict":"{verdict}","snapshot":{{"path":"/sp","checkpoint-id":7,"metadata-version":3}},"problems":[],"operators":[]}}"#
    );
    format!(
        r#"if [ -n "$MILLPOND_PLAN" ]; then
             echo "asked for $MILLPOND_PLAN"
             printf '%s\n' '{plan}'
             exit 0
           fi
           {}
           echo "$MILLPOND_CONFIGURATION"; echo "started $*""#,
        accepted("")
    )
}

fn plan(options: &[&str], verdict: &str) -> Ended {
    let script = program(verdict);
    millpond(&[&["plan"], options, &["/sp", "/bin/sh", "-c", &script]].concat())
}

#[test]
fn the_exit_code_says_what_the_plan_comes_to() {
    for (verdict, code, told) in [
        (
            "clean",
            0,
            "clean: everything in the snapshot is taken over",
        ),
        ("allowed", 0, "allowed: "),
        (
            "needs-allow-non-restored-state",
            2,
            "needs --allowNonRestoredState (-n): ",
        ),
        ("impossible", 3, "impossible: nothing would be restored"),
    ] {
        let ended = plan(&[], verdict);
        assert_eq!((ended.code, ended.stderr.as_str()), (code, ""), "{verdict}");
        let last = ended.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with(told), "{verdict}: {}", ended.stdout);
        assert!(
            ended.stdout.starts_with("/sp: checkpoint 7"),
            "{}",
            ended.stdout
        );
        let json = plan(&["--json"], verdict);
        assert_eq!(json.code, code);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        assert_eq!(json["verdict"], verdict);
    }
}

#[test]
fn the_savepoint_in_front_of_the_program_is_what_it_plans_to_restore() {
    let script = r#"echo "$MILLPOND_PLAN: $MILLPOND_CONFIGURATION" >&2; exit 1"#;
    let ended = millpond(&[
        "plan", "--count", "-n", "-p", "3", "/sp", "/bin/sh", "-c", script,
    ]);
    assert_eq!(ended.code, 1);
    for told in [
        "The program did not give its plan.",
        "count: execution.state-recovery.ignore-unclaimed-state=true",
        "execution.state-recovery.path=/sp",
        "parallelism.default=3",
    ] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    millpond(&["plan"])
        .refused("Missing savepoint. Specify the savepoint or checkpoint, then the program.");
    millpond(&["plan", "-s", "/sp", "/bin/true"])
        .refused("Name the savepoint in front of the program, not by -s.");
    millpond(&["plan", "/sp"]).refused("No program given. Specify the executable of the job.");
    millpond(&["plan", "/sp", "/bin/true"]).failed(&["it ended without calling execute"]);
}

fn run(mode: &str, verdict: &str) -> Ended {
    let script = program(verdict);
    let mode = format!("--plan={mode}");
    millpond(&[
        "run", &mode, "-s", "/sp", "/bin/sh", "-c", &script, "name", "a",
    ])
}

#[test]
fn a_plan_that_leaves_state_behind_is_not_started_without_approval() {
    for (verdict, code) in [
        ("allowed", 2),
        ("needs-allow-non-restored-state", 2),
        ("impossible", 3),
    ] {
        let ended = run("require-approval", verdict);
        assert_eq!(ended.code, code, "{verdict}");
        assert!(!ended.stdout.contains("started"), "{}", ended.stdout);
    }
    let ended = run("require-approval", "needs-allow-non-restored-state");
    assert!(
        ended.stderr.contains("pass --plan=approve"),
        "{}",
        ended.stderr
    );
    let ended = run("require-approval", "clean");
    assert_eq!(ended.code, 0);
    assert!(ended.stdout.contains("started a"), "{}", ended.stdout);
}

#[test]
fn an_approved_plan_is_started_with_leave_to_leave_state_behind() {
    let allowed = "execution.state-recovery.ignore-unclaimed-state=true";
    let ended = run("approve", "needs-allow-non-restored-state");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains(allowed), "{}", ended.stdout);
    let ended = run("approve", "clean");
    assert!(!ended.stdout.contains(allowed), "{}", ended.stdout);
    assert_eq!(run("approve", "impossible").code, 3);
    // Shown only: whether it is refused is left to the job.
    let ended = run("show", "needs-allow-non-restored-state");
    assert_eq!(ended.code, 0);
    assert!(
        ended.stdout.contains("started a") && !ended.stdout.contains(allowed),
        "{}",
        ended.stdout
    );
    let ended = millpond(&["run", "--plan=maybe", "/bin/true"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stdout.contains("maybe"), "{}", ended.stdout);
}

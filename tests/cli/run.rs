//! Starting programs. The programs are shell commands that do what a job does.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::{JOB, accepted, command, millpond};

#[test]
fn an_attached_run_ends_with_the_job() {
    let script = accepted(r#","status":"FINISHED","runtime_ms":558"#);
    millpond(&["run", "/bin/sh", "-c", &script]).told(&[
        &format!("Job has been submitted with JobID {JOB}"),
        "Web interface listening at http://127.0.0.1:9.",
        "Program execution finished",
        &format!("Job with JobID {JOB} has finished."),
        "Job Runtime: 558 ms",
    ]);
}

#[test]
fn the_options_reach_the_program_as_configuration() {
    let ended = millpond(&[
        "run",
        "-s",
        "file:/sp/savepoint 1",
        "-n",
        "-p",
        "4",
        "-rm",
        "claim",
        "-Dstate.savepoints.dir=/sp",
        "/bin/sh",
        "-c",
        "printf '%s' \"$MILLPOND_CONFIGURATION\"; echo \"arguments: $*\"",
        "name",
        "-p",
        "9",
        "--help",
    ]);
    ended.told(&[
        "The option 'restoreMode' is deprecated. Please use 'claimMode' instead.",
        "execution.state-recovery.claim-mode=claim",
        "execution.state-recovery.ignore-unclaimed-state=true",
        "execution.state-recovery.path=file:/sp/savepoint 1",
        "parallelism.default=4",
        "state.savepoints.dir=/sp",
        "arguments: -p 9 --help",
        "Program execution finished",
    ]);
}

#[test]
fn a_job_can_be_started_without_state_whatever_is_configured() {
    let print = "printf '%s' \"$MILLPOND_CONFIGURATION\"";
    millpond(&["run", "--withoutState", "/bin/sh", "-c", print]).told(&[
        "execution.state-recovery.start-without-state=true",
        "Program execution finished",
    ]);
    let ended = millpond(&["run", "-s", "/sp", "--withoutState", "/bin/true"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stdout.contains("cannot be used with"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_fall_back_is_told_at_the_end() {
    let script = accepted(r#","status":"FINISHED","fallbacks":2"#);
    let ended = millpond(&["run", "/bin/sh", "-c", &script]);
    assert_eq!(ended.code, 0);
    assert!(
        ended.stderr.contains("older snapshot 2 times"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_exit_code_and_the_cause_of_a_failed_job_are_handed_on() {
    let more = r#","status":"FAILED","failure":"counter (1/2): disk is full""#;
    let script = accepted(more) + "exit 7";
    let ended = millpond(&["run", "/bin/sh", "-c", &script]);
    assert_eq!(ended.code, 7);
    assert!(
        ended
            .stderr
            .contains(" The program finished with the following exception:")
    );
    assert!(
        ended
            .stderr
            .contains("Caused by: counter (1/2): disk is full"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stdout.contains("has finished"), "{}", ended.stdout);
}

#[test]
fn a_detached_run_returns_when_the_job_has_been_accepted() {
    // The program goes on until the test makes a file, after the command has returned.
    let directory = tempfile::tempdir().expect("a directory");
    let done = directory.path().join("done");
    let script = accepted("")
        + &format!(
            "i=0; while [ ! -e '{}' ] && [ $i -lt 6000 ]; do i=$((i+1)); sleep 0.01; done",
            done.display()
        );
    let ended = millpond(&["run", "-d", "/bin/sh", "-c", &script]);
    std::fs::write(&done, "").expect("written");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], format!("Job has been submitted with JobID {JOB}"));
    let log = lines[2].strip_prefix("Output goes to ").expect("a path");
    std::fs::remove_file(log).expect("the output is there");
}

#[test]
fn a_detached_program_that_ends_early_is_told_with_its_output() {
    let ended = millpond(&[
        "run",
        "-d",
        "/bin/sh",
        "-c",
        "echo no such savepoint >&2; exit 3",
    ]);
    ended.failed(&[
        "The program ended before its job was accepted",
        "no such savepoint",
    ]);
    let path = ended
        .stderr
        .split("its output in ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    std::fs::remove_file(path.expect("a path")).expect("the output is there");
}

#[test]
fn a_signal_is_passed_on_to_the_program() {
    let script = accepted("")
        + "trap 'echo got the signal; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut run = command(&["run", "/bin/sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(run.stdout.take().expect("piped")).lines();
    let mut wait_for = |line: &str| {
        assert!(
            lines.any(|found| found.expect("text") == line),
            "no line {line}"
        );
    };
    wait_for("ready");
    let kill = std::process::Command::new("kill")
        .arg(run.id().to_string())
        .status();
    assert!(kill.expect("kill is there").success());
    wait_for("got the signal");
    assert_eq!(run.wait().expect("ends").code(), Some(5));
}

#[test]
fn what_cannot_be_started_is_refused() {
    millpond(&["run"]).refused("No program given. Specify the executable of the job.");
    millpond(&["run", "./no/such/program"]).refused("Program does not exist: ./no/such/program");
    millpond(&["run", "-p", "0", "x"]).refused("The parallelism must be a positive number: 0");
    millpond(&["run", "-c", "Main", "x.jar"])
        .refused("The option -c is for programs of the JVM. A job of Millpond is an executable.");
    millpond(&["run", "-cm", "borrow", "x"]).refused(
        "Could not parse value 'borrow' for key 'execution.state-recovery.claim-mode': \
         Could not parse value for enum RecoveryClaimMode. \
         Expected one of: [[CLAIM, NO_CLAIM, LEGACY]]",
    );
}

#[test]
fn a_misspelt_option_of_the_configuration_is_told() {
    let ended = millpond(&["run", "-Dexecution.checkpointing.intervall=1s", "/bin/true"]);
    assert_eq!(ended.code, 0);
    assert!(
        ended
            .stderr
            .contains("did you mean \"execution.checkpointing.interval\"?"),
        "{}",
        ended.stderr
    );
}

#[test]
fn info_prints_the_plan_that_the_program_gives() {
    let script = r#"test -n "$MILLPOND_INFO" && echo hello && echo '{"nodes":[]}'"#;
    millpond(&["info", "-p", "2", "/bin/sh", "-c", script]).told(&[
        "----------------------- Execution Plan -----------------------",
        "{\"nodes\":[]}",
        "--------------------------------------------------------------",
        "",
        "No description provided.",
    ]);
    millpond(&["info", "/bin/true"]).failed(&[
        "The program did not give its plan.",
        "Caused by: it ended without calling execute",
    ]);
}

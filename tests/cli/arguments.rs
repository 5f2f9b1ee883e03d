//! What is no action, no option or no id.

use super::{Cluster, JOB, millpond};

#[test]
fn no_action_is_a_failure_with_help() {
    let ended = millpond(&[]);
    assert_eq!(ended.code, 1);
    assert!(ended.stdout.contains("The following actions are available"));
    assert!(
        ended.stdout.ends_with("Please specify an action.\n"),
        "{}",
        ended.stdout
    );
    // Each name is a word by itself, and what it does is in one column.
    for action in ["run", "capabilities", "standalone-job"] {
        assert!(
            ended.stdout.contains(&format!("\n  {action} ")),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for arguments in [
        &["-h"][..],
        &["--help"],
        &["savepoint", "-h"],
        &["run", "--help"],
    ] {
        let ended = millpond(arguments);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (0, ""),
            "{arguments:?}"
        );
        assert!(
            ended.stdout.contains("millpond"),
            "{arguments:?}: {}",
            ended.stdout
        );
    }
    for option in ["-v", "--version"] {
        let ended = millpond(&[option]);
        assert_eq!(ended.code, 0);
        assert!(ended.stdout.starts_with("Version: "), "{}", ended.stdout);
        assert!(ended.stdout.contains(", Commit ID: "), "{}", ended.stdout);
    }
}

#[test]
fn an_unknown_action_is_told_with_the_known_ones() {
    let ended = millpond(&["foo"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""));
    assert!(
        ended
            .stdout
            .starts_with("\"foo\" is not a valid action.\n\nValid actions are \"run\"")
    );
    assert!(
        ended
            .stdout
            .contains(
                "\"latest\", \"state\", \"capabilities\", \"cluster\", \"jobmanager\", \"standalone-job\", \"taskmanager\" and \"demo\"."
            ),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_job_id_that_is_none_or_missing_is_refused_before_anything_is_asked() {
    for action in ["savepoint", "stop", "cancel", "checkpoint"] {
        millpond(&[action, "zzz"])
            .refused("Cannot parse JobID from \"zzz\". The expected format is [0-9a-fA-F]{32}");
    }
    for (action, line) in [
        (
            "savepoint",
            "Missing JobID. Specify a Job ID to trigger a savepoint.",
        ),
        (
            "checkpoint",
            "Missing JobID. Specify a Job ID to manipulate a checkpoint.",
        ),
        ("stop", "Missing JobId"),
        ("cancel", "Missing JobID. Specify a JobID to cancel a job."),
    ] {
        millpond(&[action]).refused(line);
    }
}

#[test]
fn options_that_do_not_exist_or_lack_their_value_are_refused() {
    millpond(&["list", "-foo"]).refused("Unrecognized option: -foo");
    millpond(&["list", "--runing"])
        .refused("Unrecognized option: --runing (did you mean --running?)");
    millpond(&["run", "-s"]).refused("Missing argument for option: s");
    millpond(&["list", "-m", "nowhere"])
        .refused("The given host:port ('nowhere') doesn't contain a valid port");
    let job = JOB.to_string();
    millpond(&["savepoint", &job, "-type", "fast"]).refused(
        "Could not parse value for enum class \
         org.apache.flink.core.execution.SavepointFormatType. \
         Expected one of: [[CANONICAL, NATIVE]]",
    );
    millpond(&["cancel", &job, "another"]).refused("Unexpected argument: another");
}

#[test]
fn a_wrong_port_is_told_after_a_few_tries() {
    let address = Cluster::empty().server.local_addr().to_string();
    let options = [
        "-m",
        &address,
        "-Drest.retry.delay=1 ms",
        "-D",
        "rest.retry.max-attempts=3",
    ];
    millpond(&[&["list"][..], &options].concat()).failed(&[
        "Failed to retrieve job list.",
        &format!("Caused by: no answer from http://{address} (tried 3 times)"),
        "Connection refused",
    ]);
}

//! `--at`: a checkpoint that a job has kept, named by its number.

use std::path::Path;

use super::millpond;
use super::state::copy;

/// The directory of a job with two checkpoints, below that of all jobs.
fn job(below: &Path) -> String {
    let job = below.join("job");
    for (name, checkpoint) in [
        ("2.3.0/count-stringkey-hashmap-canonical", "chk-3"),
        ("2.3.0/kinds-hashmap-canonical", "chk-12"),
    ] {
        let directory = job.join(checkpoint);
        std::fs::create_dir_all(&directory).expect("room");
        copy(name, &directory);
    }
    job.to_str().expect("a text").to_owned()
}

#[test]
fn a_checkpoint_is_named_by_its_number_in_the_directory_of_its_job() {
    let home = tempfile::tempdir().expect("room");
    let job = job(home.path());
    let above = home.path().to_str().expect("a text");
    let operators = |pointer: &str, at: &str| {
        let ended = millpond(&["state", "ls", pointer, "--at", at, "--json"]);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (0, ""),
            "{pointer} {at}"
        );
        let listing: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let operators = listing["operators"].as_array().expect("a list").clone();
        operators
            .iter()
            .any(|operator| operator["uid"] == "counter")
    };
    for pointer in [&job, above, &format!("{job}/chk-12")] {
        assert!(operators(pointer, "chk-3"), "{pointer}");
        assert!(operators(pointer, "3"), "{pointer}");
        assert!(!operators(pointer, "latest"), "{pointer}");
    }
    for command in ["verify", "du"] {
        let ended = millpond(&["state", command, &job, "--at", "chk-12"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{command}");
    }
    let ended = millpond(&["state", "read", &job, "--at", "3", "--where", "key=key-1"]);
    assert!(
        ended.stdout.contains("counter   count  key-1"),
        "{}",
        ended.stdout
    );
}

#[test]
fn two_kept_checkpoints_are_compared() {
    let home = tempfile::tempdir().expect("room");
    let job = job(home.path());
    let diff = |at: &[&str]| {
        let given: Vec<&str> = at.iter().flat_map(|at| ["--at", at]).collect();
        millpond(&[&["state", "diff", &job, &job], &given[..]].concat()).code
    };
    assert_eq!(diff(&["chk-3"]), 0);
    assert_eq!(diff(&["chk-3", "chk-12"]), 1);
    assert_eq!(diff(&["chk-3", "chk-12", "chk-12"]), 2);
}

#[test]
fn a_checkpoint_that_is_not_there_is_told_with_those_that_are() {
    let home = tempfile::tempdir().expect("room");
    let job = job(home.path());
    let ended = millpond(&["state", "read", &job, "--at", "chk-4"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(
        ended.stderr.contains("there are: chk-3, chk-12"),
        "{}",
        ended.stderr
    );
    // The directory of a job is none of a snapshot.
    let ended = millpond(&["state", "read", &job]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("--at chk-12"), "{}", ended.stderr);
}

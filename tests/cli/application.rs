//! A cluster for one program, as a user starts it.

use std::path::Path;
use std::process::Command;

use millpond_exactness::job_process::wait_for;
use millpond_exactness::processes::children_of;

use super::cluster::{Service, example};
use super::{Ended, command, millpond};

/// The action with options that let it run beside others.
fn application(more: &[&str]) -> Command {
    let usual = [
        "standalone-job",
        "-Drest.port=0",
        "-Djobmanager.rpc.port=0",
        "-Djobmanager.rpc.address=127.0.0.1",
        "-Drest.linger=0 s",
    ];
    let mut command = command(&[&usual[..], more].concat());
    command.env("RUST_LOG", "error");
    command
}

fn run(more: &[&str]) -> Ended {
    application(more).output().expect("starts").into()
}

/// Options of a cluster that keeps what it knows there.
fn kept(place: &Path) -> [String; 2] {
    [
        "-Dhigh-availability.type=filesystem".to_owned(),
        format!("-Dhigh-availability.storageDir={}", place.display()),
    ]
}

/// Starts it and a task manager; returns both, and where REST is.
fn with_slots(more: &[&str]) -> (Service, Service, String) {
    let mut manager = Service::start_as(application(more));
    let rpc = manager.says("Job manager listening at ");
    let rest = manager.says("Web interface listening at http://");
    let port = rpc.rsplit(':').next().expect("a port");
    let port = format!("-Djobmanager.rpc.port={port}");
    let mut worker = Service::start(&["taskmanager", &port, "-Dtaskmanager.numberOfTaskSlots=2"]);
    worker.says("Task manager ");
    (manager, worker, rest)
}

#[test]
fn a_cluster_for_one_job_ends_with_it() {
    let program = example("keyed_count").display().to_string();
    let job = "0123456789abcdef0123456789abcdef";
    let (mut manager, _worker, _) = with_slots(&[
        "--job-id",
        job,
        "-p",
        "2",
        &program,
        "--keys",
        "10",
        "--records",
        "5000",
    ]);
    assert_eq!(manager.says("Job has been submitted with JobID "), job);
    manager.says("All jobs have ended");
    assert_eq!(manager.ended(), Some(0));
}

#[test]
fn nobody_submits_another_job_and_a_job_that_is_cancelled_has_not_failed() {
    let program = example("keyed_count").display().to_string();
    let (mut manager, _worker, rest) = with_slots(&[&program, "--keys", "10", "--rate", "1000"]);
    let job = manager.says("Job has been submitted with JobID ");
    let another = millpond(&["run", "-m", &rest, &program, "--keys", "10"]);
    another.failed(&["Could not submit the program."]);
    let listed = millpond(&["list", "-a", "-m", &rest]).stdout;
    assert_eq!(listed.matches(" : ").count(), 2, "{listed}");
    wait_for("the job to be cancelled", || {
        let canceled = millpond(&["cancel", "-m", &rest, &job]);
        (canceled.code == 0).then_some(())
    });
    manager.says("All jobs have ended");
    assert_eq!(manager.ended(), Some(0));
}

/// Whoever starts it again, such as Kubernetes, must not take that for the end of the job.
#[test]
fn a_cluster_that_is_asked_to_end_says_that_its_job_has_not_ended() {
    let program = example("keyed_count").display().to_string();
    let place = tempfile::tempdir().expect("room");
    let [by, at] = kept(place.path());
    let given = [by.as_str(), &at, &program, "--keys", "10"];
    let mut leader = Service::start_as(application(&given));
    leader.says("Job manager listening at ");
    leader.says("Web interface listening at ");
    let job = leader.says("Job has been submitted with JobID ");
    let mut standby = Service::start_as(application(&given));
    standby.says("Another job manager leads: standing by");
    assert_eq!((standby.end(), leader.end()), (Some(143), Some(143)));
    let mut next = Service::start_as(application(&given));
    next.says("Job manager listening at ");
    next.says("Web interface listening at ");
    next.says(&format!("Job {job} goes on"));
    // A session would end it and not note how.
    next.kill();
    let session = millpond(&[
        "jobmanager",
        "-Drest.port=0",
        "-Djobmanager.rpc.port=0",
        &by,
        &at,
    ]);
    session.failed(&[
        "The job manager cannot be started.",
        "is of a cluster for one job",
    ]);
}

/// A cluster whose job has ended tells of it for a while. Who ends it then has not ended the job.
#[test]
fn a_cluster_that_is_asked_to_end_behind_its_job_says_how_that_has_ended() {
    let program = example("keyed_count").display().to_string();
    let place = tempfile::tempdir().expect("room");
    let [by, at] = kept(place.path());
    let (mut manager, _worker, rest) = with_slots(&[
        "-Drest.linger=1 h",
        &by,
        &at,
        &program,
        "--keys",
        "10",
        "--records",
        "50",
    ]);
    manager.says("Job has been submitted with JobID ");
    wait_for("the job to end", || {
        let listed = millpond(&["list", "-a", "-m", &rest]).stdout;
        listed.contains("(FINISHED)").then_some(())
    });
    wait_for("its program to end", || {
        children_of(manager.pid()).is_empty().then_some(())
    });
    // That is seen a moment later.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(manager.end(), Some(0));
}

/// What a program was started with that has not got as far as its job is no reason to start it so again.
#[test]
fn an_application_that_was_not_begun_is_begun_as_it_is_given_now() {
    let program = example("keyed_count").display().to_string();
    let place = tempfile::tempdir().expect("room");
    let [by, at] = kept(place.path());
    let mut hanging = Service::start_as(application(&[&by, &at, "/bin/sleep", "1000"]));
    hanging.says("Job manager listening at ");
    wait_for("the program to run", || {
        let masters = children_of(hanging.pid());
        (!masters.is_empty()).then_some(())
    });
    hanging.kill();
    let (mut next, _worker, _) =
        with_slots(&[&by, &at, &program, "--keys", "10", "--records", "50"]);
    next.says("Job has been submitted with JobID ");
    next.says("All jobs have ended");
    assert_eq!(next.ended(), Some(0));
}

/// There are no slots, so the job fails; nobody tries again what has failed.
#[test]
fn a_job_that_failed_has_an_exit_code_of_its_own_that_is_kept() {
    let program = example("keyed_count").display().to_string();
    let place = tempfile::tempdir().expect("room");
    let [by, at] = kept(place.path());
    let given = [
        &by,
        &at,
        "-Dslot.request.timeout=200 ms",
        &program,
        "--keys",
        "10",
    ];
    let said = |ended: &Ended, line: &str| {
        assert_eq!(ended.code, 163, "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains(line), "{}", ended.stdout);
    };
    said(&run(&given), "Job has been submitted with JobID ");
    said(
        &run(&given),
        "has ended before (FAILED) and is not run again.",
    );
    let forgets = [&["-Djob-result-store.delete-on-commit=true"], &given[..]].concat();
    said(
        &run(&forgets),
        "has ended before (FAILED) and is not run again.",
    );
    said(&run(&forgets), "Job has been submitted with JobID ");
    // Another cluster has another job.
    let other = [&["-Dhigh-availability.cluster-id=other"], &given[..]].concat();
    said(&run(&other), "Job has been submitted with JobID ");
}

#[test]
fn what_is_no_application_is_told_and_leaves_no_cluster() {
    run(&[]).refused("No program given. Specify the executable of the job.");
    run(&["/none/such"]).refused("Program does not exist: /none/such");
    run(&["no-such-program-anywhere"]).refused("Program does not exist: no-such-program-anywhere");
    let program = example("keyed_count").display().to_string();
    run(&["--job-id", "7", &program])
        .refused("Cannot parse JobID from \"7\". The expected format is [0-9a-fA-F]{32}");
    run(&["-m", "127.0.0.1:1", &program]).refused("Unrecognized option: -m");
    let wrong = run(&[&program, "--keys", "none"]);
    wrong_program(&wrong);
    // Nor is it noted as a job that has ended: the next one tries again.
    let place = tempfile::tempdir().expect("room");
    let [by, at] = kept(place.path());
    for _ in 0..2 {
        wrong_program(&run(&[&by, &at, &program, "--keys", "none"]));
    }
    // What an earlier leader has left is no reason to begin anew if it cannot be understood.
    let jobs = place.path().join("default/jobs");
    let left = "0123456789abcdef0123456789abcdef";
    for (ending, phrase) in [
        ("result", "expected FINISHED"),
        ("json", "cannot be understood"),
    ] {
        let file = jobs.join(format!("{left}.{ending}"));
        std::fs::write(&file, "{").expect("room");
        let refused = run(&[&by, &at, &program, "--keys", "10"]);
        assert_eq!(refused.code, 1, "{}", refused.stdout);
        assert!(refused.stderr.contains(phrase), "{}", refused.stderr);
        std::fs::remove_file(file).expect("it is left where it was");
    }
}

#[test]
fn only_a_cluster_for_one_job_is_reactive() {
    let program = example("keyed_count").display().to_string();
    let reactive = "-Dscheduler-mode=reactive";
    let alone = millpond(&["run", reactive, "-Drest.port=0", &program, "--keys", "10"]);
    let session = millpond(&[
        "jobmanager",
        reactive,
        "-Drest.port=0",
        "-Djobmanager.rpc.port=0",
    ]);
    for ended in [alone, session] {
        assert_eq!(ended.code, 1, "{}", ended.stdout);
        let hint = "start it by millpond standalone-job";
        assert!(ended.stderr.contains(hint), "{}", ended.stderr);
    }
    run(&["-Dscheduler-mode=lazy", &program]).refused(
        "Could not parse value 'lazy' for key 'scheduler-mode': Could not parse value for enum \
         SchedulerExecutionMode. Expected one of: [[REACTIVE]]",
    );
}

fn wrong_program(ended: &Ended) {
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    for phrase in [
        "The application cannot be run.",
        "--keys is \"none\", expected a number from 1",
    ] {
        assert!(ended.stderr.contains(phrase), "{phrase}: {}", ended.stderr);
    }
}

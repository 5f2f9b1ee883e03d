//! Programs that run in a cluster of their own on YARN.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::services::Yarn;
use super::{ID, millpond};
use crate::Ended;
use crate::cluster::example;

const PATIENCE: Duration = Duration::from_secs(180);

/// Held by a test while it has a cluster: two that draw the same port would meet.
static ONE_CLUSTER: Mutex<()> = Mutex::new(());

fn one_cluster() -> MutexGuard<'static, ()> {
    ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the command until it has ended as wanted.
fn repeat(arguments: &[&str], is_wanted: impl Fn(&Ended) -> bool) -> Ended {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ended = millpond(arguments);
        if is_wanted(&ended) {
            return ended;
        }
        let told = &ended.stderr;
        assert!(Instant::now() < deadline, "waited {PATIENCE:?}:\n{told}");
    }
}

#[test]
fn a_program_runs_in_a_cluster_of_its_own_which_ends_with_it() {
    let _alone = one_cluster();
    let yarn = Yarn::start();
    let program = example("keyed_count").display().to_string();
    let options = [
        "-m",
        "yarn-cluster",
        "-Drest.linger=1s",
        "-ynm",
        "Key Counts",
        "-yqu",
        "prod",
        "-yjm",
        "1024",
        "-ytm",
        "2g",
        "-ys",
        "2",
        "-p",
        "3",
    ];
    let arguments = [&program, "--keys", "100", "--records", "5000"];
    let address = yarn.option();
    let ended = millpond(&[&["run"], &options[..], &[&address], &arguments].concat());
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (0, ""),
        "{}{}",
        ended.stdout,
        yarn.logs()
    );
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let job = lines[2]
        .strip_prefix("Job has been submitted with JobID ")
        .expect("an id");
    let port = yarn.spec()["components"][0]["readiness_check"]["properties"]["port"].clone();
    let port = port.as_str().expect("a port");
    ended.told(&[
        &format!("Submitted application {ID}"),
        &format!("Found Web Interface 127.0.0.1:{port} of application '{ID}'."),
        &format!("Job has been submitted with JobID {job}"),
        "Program execution finished",
        &format!("Job with JobID {job} has finished."),
    ]);
    assert_eq!(yarn.final_status(), "SUCCEEDED", "{}", yarn.logs());
    assert!(yarn.is_destroyed(), "nothing of it is kept");
    let spec = yarn.spec();
    assert_eq!(spec["queue"], "prod");
    assert!(
        spec["name"]
            .as_str()
            .expect("a name")
            .starts_with("key-counts-")
    );
    let [manager, worker] = [&spec["components"][0], &spec["components"][1]];
    assert_eq!(manager["resource"]["memory"], "1024");
    assert_eq!(worker["resource"]["memory"], "2048");
    assert_eq!(worker["number_of_containers"], 2);
}

#[test]
fn a_detached_job_is_stopped_by_its_application_and_its_cluster_ends() {
    let _alone = one_cluster();
    let yarn = Yarn::start();
    let place = tempfile::tempdir().expect("room");
    let program = example("keyed_count").display().to_string();
    let token = place.path().join("token");
    std::fs::write(&token, "s3cret").expect("room");
    let token = format!("-Dsecurity.rest.token-file={}", token.display());
    let checkpoints = format!("-Dexecution.checkpointing.dir={}", place.path().display());
    let address = yarn.option();
    let started = millpond(&[
        "run",
        "-d",
        "-t",
        "yarn-application",
        &address,
        &token,
        &checkpoints,
        "-Drest.linger=1ms",
        &program,
        "--keys",
        "100",
        "--rate",
        "1000",
    ]);
    assert_eq!(
        started.code,
        0,
        "{}{}{}",
        started.stdout,
        started.stderr,
        yarn.logs()
    );
    let line = started.stdout.lines().last().expect("a line");
    let job = line
        .strip_prefix("Job has been submitted with JobID ")
        .expect("an id");
    let of_it = ["-yid", ID, &address, &token];
    let listed = millpond(&[&["list"], &of_it[..]].concat());
    assert!(
        listed.stdout.contains(job),
        "{}{}",
        listed.stdout,
        listed.stderr
    );
    let refused = millpond(&["list", "-yid", ID, &address]);
    refused.failed(&["Failed to retrieve job list.", "Unauthorized"]);
    let savepoints = place.path().join("savepoints").display().to_string();
    let stop = [&["stop", "-p", &savepoints, job], &of_it[..]].concat();
    let stopped = repeat(&stop, |ended| {
        let starting = "is not being executed at the moment";
        !ended.stderr.contains(starting)
    });
    assert_eq!(stopped.code, 0, "{}{}", stopped.stdout, stopped.stderr);
    // It ends with its job; then there is nobody to be asked.
    let list = [&["list", "-Drest.retry.max-attempts=1"], &of_it[..]].concat();
    let ended = repeat(&list, |ended| ended.stderr.contains("has ended"));
    ended.failed(&["it is FINISHED, with the final status SUCCEEDED"]);
}

#[test]
fn a_job_that_fails_fails_its_application() {
    let _alone = one_cluster();
    let yarn = Yarn::start();
    let program = example("keyed_count").display().to_string();
    let ended = millpond(&[
        "run",
        "-m",
        "yarn-cluster",
        &yarn.option(),
        "-Drest.linger=1s",
        "-s",
        "/nowhere/savepoint",
        &program,
        "--keys",
        "100",
        "--records",
        "5000",
    ]);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, yarn.logs());
    // Its client hears of it from the job manager, or, too late for that, from YARN.
    let told = ["/nowhere/savepoint", "with the final status FAILED"];
    assert!(
        told.iter().any(|told| ended.stderr.contains(told)),
        "{}{}",
        ended.stderr,
        yarn.logs()
    );
    assert_eq!(yarn.final_status(), "FAILED", "{}", yarn.logs());
}

#[test]
fn a_cluster_that_does_not_come_up_is_given_up() {
    let _alone = one_cluster();
    let program = example("keyed_count").display().to_string();
    let run = |yarn: &Yarn, more: &str| {
        millpond(&["run", "-m", "yarn-cluster", &yarn.option(), more, &program])
    };
    let yarn = Yarn::start();
    run(&yarn, "-Dyarn.provided.lib.dirs=hdfs:///empty").failed(&[
        "Could not run the program on YARN; its cluster has been given up.",
        "has ended: it is FINISHED, with the final status FAILED",
        "jobmanager-0 has ended",
    ]);
    assert!(yarn.is_destroyed());
    run(&yarn, "-Dx=y").failed(&["Could not deploy Yarn job cluster.", "is already taken"]);
    run(&Yarn::without_services(), "-Dx=y").failed(&[
        "Could not deploy Yarn job cluster.",
        "this cluster does not run services: expected Hadoop 3.3 or later, with \
         yarn.webapp.api-service.enable = true",
    ]);
}

#[test]
fn the_session_of_the_descriptor_runs_programs() {
    let _alone = one_cluster();
    let yarn = Yarn::start();
    let place = tempfile::tempdir().expect("room");
    let descriptor = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/yarn/session.json");
    let descriptor = std::fs::read_to_string(descriptor).expect("a descriptor");
    let port = 20_000 + 2 * (millpond_cluster::random::bits() % 6000);
    let descriptor = descriptor
        .replace("/shared/millpond", &place.path().display().to_string())
        .replace("20081", &port.to_string())
        .replace("20123", &(port + 1).to_string())
        .replace(
            "\"web.submit.enable\"",
            "\"rest.server.max-content-length\": \"2000000000\", \"web.submit.enable\"",
        );
    yarn.launch(&descriptor);
    let address = yarn.option();
    let list = ["list", "-yid", ID, &address, "-Drest.retry.max-attempts=1"];
    repeat(&list, |ended| ended.stdout.contains("No running jobs."));
    let program = example("keyed_count").display().to_string();
    let session = ["-t", "yarn-session", "-yid", ID, &address, "-p", "4"];
    let program = [&program, "--keys", "100", "--records", "5000"];
    let ended = millpond(&[&["run"], &session[..], &program].concat());
    assert!(
        ended.stdout.ends_with("has finished.\n"),
        "{}{}{}",
        ended.stdout,
        ended.stderr,
        yarn.logs()
    );
    assert_eq!(yarn.final_status(), "UNDEFINED", "it goes on");
}

//! A cluster as a user starts it, and jobs in it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use millpond_exactness::job_process::{ask_to_end, wait_for};

use super::{Ended, command, millpond};

/// A service; it ends with the test.
pub(super) struct Service {
    child: Child,
    /// What it has said so far is told by its lines.
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Service {
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::start_as(command(arguments))
    }

    pub(super) fn start_as(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Service { child, lines }
    }

    /// Waits for its next line, which begins so, and returns the rest without the stop.
    pub(super) fn says(&mut self, begin: &str) -> String {
        let line = self.lines.next().expect("a line").expect("text");
        let rest = line.strip_prefix(begin);
        let rest = rest.unwrap_or_else(|| panic!("{begin}: {line}"));
        rest.trim_end_matches('.').to_owned()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end by SIGTERM, and waits until it has; returns its exit code.
    pub(super) fn end(&mut self) -> Option<i32> {
        ask_to_end(self.child.id());
        self.ended()
    }

    /// Waits until it has ended; returns its exit code.
    pub(super) fn ended(&mut self) -> Option<i32> {
        let ended = wait_for("a service to end", || {
            self.child.try_wait().expect("a child")
        });
        ended.code()
    }

    /// Kills it with SIGKILL.
    pub(super) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn example(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_BIN_EXE_millpond")).parent();
    let path = directory.expect("a directory").join("examples").join(name);
    assert!(
        path.exists(),
        "cargo build --examples makes {}",
        path.display()
    );
    path
}

#[test]
fn a_program_is_uploaded_to_a_cluster_and_runs_there() {
    let place = tempfile::tempdir().expect("room");
    let upload = format!("-Dweb.upload.dir={}", place.path().display());
    let mut manager = Service::start(&[
        "jobmanager",
        "-Drest.port=0",
        "-Djobmanager.rpc.port=0",
        "-Djobmanager.rpc.address=127.0.0.1",
        "-Drest.server.max-content-length=2000000000",
        &upload,
    ]);
    let rpc = manager.says("Job manager listening at ");
    let rest = manager.says("Web interface listening at http://");
    let port = rpc.rsplit(':').next().expect("a port");
    let port = format!("-Djobmanager.rpc.port={port}");
    let name = "-Dtaskmanager.resource-id=here";
    let slots = "-Dtaskmanager.numberOfTaskSlots=2";
    let mut worker = Service::start(&["taskmanager", &port, name, slots]);
    worker.says("Task manager here registered at localhost:");
    let program = example("keyed_count").display().to_string();
    let ended = millpond(&[
        "run",
        "-m",
        &rest,
        "-p",
        "2",
        &program,
        "--keys",
        "100",
        "--records",
        "5000",
    ]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (0, ""),
        "{}",
        ended.stdout
    );
    let first = ended.stdout.lines().next().expect("a line");
    let job = first
        .strip_prefix("Job has been submitted with JobID ")
        .expect("an id");
    ended.told(&[
        first,
        "Program execution finished",
        &format!("Job with JobID {job} has finished."),
    ]);
    // Another one, which goes on.
    let checkpoints = format!("-Dexecution.checkpointing.dir={}", place.path().display());
    let ended = millpond(&[
        "run",
        "-d",
        "-m",
        &rest,
        &checkpoints,
        &program,
        "--keys",
        "100",
        "--rate",
        "1000",
    ]);
    let line = ended.stdout.lines().next().expect("a line");
    let job = line
        .strip_prefix("Job has been submitted with JobID ")
        .expect("an id");
    let listed = millpond(&["list", "-a", "-m", &rest]).stdout;
    assert!(listed.contains(job), "{listed}");
    let savepoints = place.path().join("savepoints").display().to_string();
    let stopped = loop {
        let stopped = millpond(&["stop", "-m", &rest, "-p", &savepoints, job]);
        if !stopped
            .stderr
            .contains("is not being executed at the moment")
        {
            break stopped;
        }
    };
    let told = stopped.stdout.lines().last().expect("a line");
    let savepoint = told
        .strip_prefix("Savepoint completed. Path: ")
        .expect("a path");
    let ended = millpond(&[
        "run",
        "-m",
        &rest,
        "-s",
        savepoint,
        &program,
        "--keys",
        "100",
        "--records",
        "20000",
    ]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn config_yaml_says_where_the_cluster_is() {
    let place = tempfile::tempdir().expect("room");
    let mut manager = Service::start(&["jobmanager", "-Drest.port=0", "-Djobmanager.rpc.port=0"]);
    manager.says("Job manager listening at ");
    let rest = manager.says("Web interface listening at http://");
    let (host, port) = rest.rsplit_once(':').expect("host:port");
    let configure = |target: &str| {
        let text =
            format!("rest:\n  address: {host}\n  port: {port}\nexecution.target: {target}\n");
        std::fs::write(place.path().join("config.yaml"), text).expect("room");
    };
    let with_file = |arguments: &[&str]| -> Ended {
        let mut command = command(arguments);
        command.env("MILLPOND_CONF_DIR", place.path());
        command.output().expect("starts").into()
    };
    configure("remote");
    let program = example("keyed_count").display().to_string();
    let ended = with_file(&["run", "-d", &program, "--keys", "9"]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let job = ended.stdout.trim_end();
    let job = job.strip_prefix("Job has been submitted with JobID ");
    let job = job.unwrap_or_else(|| panic!("{}", ended.stdout));
    let listed = with_file(&["list", "-a"]).stdout;
    assert!(listed.contains(job), "{listed}");
    // What is given now goes before the file.
    let elsewhere = ["-m", "127.0.0.1:1", "-Drest.retry.max-attempts=1"];
    with_file(&[&["list"], &elsewhere[..]].concat()).failed(&["no answer from http://127.0.0.1:1"]);
    let here = ["run", "-t", "local", "-Drest.port=0", &program];
    let ended = with_file(&[&here[..], &["--records", "9", "-Drest.linger=0 s"]].concat());
    assert!(
        ended.code == 0 && ended.stdout.contains("Web interface"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    // The name of the job manager is no address of REST, which by default listens on this machine alone.
    let text = "jobmanager.rpc.address: nowhere.invalid\n";
    std::fs::write(place.path().join("config.yaml"), text).expect("room");
    let by_port = format!("-Drest.port={port}");
    let listed = with_file(&["list", "-a", &by_port]).stdout;
    assert!(listed.contains(job), "{listed}");
    configure("remtoe");
    let listed = with_file(&["list", "-a"]).stdout;
    assert!(
        listed.contains(job),
        "where programs run is not asked: {listed}"
    );
    with_file(&["run", &program]).refused(
        "Millpond has no target \"remtoe\" (execution.target). Expected one of: [remote, local, yarn-application, yarn-per-job, yarn-session]",
    );
}

#[test]
fn an_address_is_host_and_port_without_scheme() {
    millpond(&["list", "-m", "https://localhost:8081"]).refused(
        "The given host:port ('https://localhost:8081') has a scheme, expected host:port alone. TLS is what \
         security.ssl.rest.enabled says",
    );
}

#[test]
fn a_cluster_that_is_not_there_and_a_program_that_is_none_are_told() {
    let port = "-Djobmanager.rpc.port=1";
    let timeout = "-Dtaskmanager.registration.timeout=0 ms";
    let ended = millpond(&["taskmanager", port, timeout]);
    assert_eq!(ended.code, 1);
    assert!(
        ended
            .stderr
            .contains("cannot reach the job manager at localhost:1"),
        "{}",
        ended.stderr
    );
    millpond(&["run", "-m", "127.0.0.1:1", "/nowhere"]).refused("Program does not exist: /nowhere");
    let bad = millpond(&["taskmanager", "-Dtaskmanager.numberOfTaskSlots=0"]);
    assert!(
        bad.stderr
            .contains("taskmanager.numberOfTaskSlots is 0, expected at least 1"),
        "{}",
        bad.stderr
    );
}

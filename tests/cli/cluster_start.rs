//! `cluster start` and `cluster stop`: processes on this machine, and on others by a program `ssh` that runs
//! the command here, with a directory for temporary files for each machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Ended, command};

/// Does what `ssh` would, and notes how it was called. Machines whose name begins with `gone` do not answer.
const SSH: &str = r#"#!/bin/sh
echo "$*" >> "$SSH_CALLS"
while [ "$2" != "--" ]; do shift; done
host=$1
case $host in gone*) echo "ssh: connect to host $host port 22: No route to host" >&2; exit 255;; esac
mkdir -p "$SSH_MACHINES/$host"
TMPDIR="$SSH_MACHINES/$host" exec sh -c "$3"
"#;

/// A directory of a configuration, and the machines; it stops what a failed test leaves.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(workers: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().expect("room");
        let path = directory.path();
        let config = format!(
            "rest.port: 0\njobmanager.rpc.port: 0\njobmanager.rpc.address: 127.0.0.1\n{more}"
        );
        std::fs::write(path.join("config.yaml"), config).expect("room");
        std::fs::write(path.join("workers"), workers).expect("room");
        std::fs::create_dir(path.join("bin")).expect("room");
        std::fs::create_dir(path.join("tmp")).expect("room");
        // Copied by another process: a child that another test starts just now would have a file of this
        // one open for writing, which nobody may execute for as long.
        let text = path.join("ssh.txt");
        std::fs::write(&text, SSH).expect("room");
        let mut install = Command::new("install");
        install
            .args(["-m", "755"])
            .arg(&text)
            .arg(path.join("bin/ssh"));
        assert!(install.status().expect("coreutils").success());
        Place { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn millpond(&self, arguments: &[&str]) -> Ended {
        self.command(arguments).output().expect("starts").into()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = std::env::var("PATH").expect("a path");
        let mut command = command(arguments);
        command
            .current_dir(self.path())
            .env("MILLPOND_CONF_DIR", self.path())
            .env("TMPDIR", self.path().join("tmp"))
            .env("SSH_CALLS", self.path().join("calls"))
            .env("SSH_MACHINES", self.path().join("machines"))
            .env(
                "PATH",
                format!("{}:{path}", self.path().join("bin").display()),
            );
        command
    }

    fn ssh_calls(&self) -> String {
        std::fs::read_to_string(self.path().join("calls")).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // All may have been stopped.
        let _ = self.command(&["cluster", "stop"]).output();
    }
}

/// The processes that a command has told of.
fn processes(ended: &Ended) -> BTreeSet<u32> {
    let parts = ended.stdout.split("(process ").skip(1);
    let number = |part: &str| {
        part.split([',', ')'])
            .next()
            .and_then(|text| text.parse().ok())
    };
    parts.map(|part| number(part).expect("a number")).collect()
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .trim_start()
        .to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

/// Where REST is, from what `start` has told.
fn rest(ended: &Ended) -> String {
    let begin = "Web interface listening at ";
    let (_, rest) = ended.stdout.split_once(begin).expect("REST");
    rest.lines()
        .next()
        .expect("a line")
        .trim_end_matches('.')
        .to_owned()
}

fn task_managers(rest: &str) -> usize {
    let mut answer = ureq::get(format!("{rest}/taskmanagers"))
        .call()
        .expect("an answer");
    let text = answer.body_mut().read_to_string().expect("text");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    answer["taskmanagers"].as_array().expect("rows").len()
}

fn wait_for_task_managers(rest: &str, expected: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while task_managers(rest) != expected {
        assert!(Instant::now() < deadline, "{} come", task_managers(rest));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a process and waits until it has ended.
fn kill(pid: u32) {
    let process = rustix::process::Pid::from_raw(pid as i32).expect("a process id");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("it lives");
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_running(pid) {
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cluster_of_three_machines_starts_is_made_whole_and_stops() {
    let workers = "localhost\nlocalhost # twice\none\ntwo\none\n";
    let place = Place::new(workers, "env.ssh.opts: -o BatchMode=yes\n");
    let started = place.millpond(&["cluster", "start", "-D", "taskmanager.numberOfTaskSlots=2"]);
    assert_eq!(started.code, 0, "{}{}", started.stdout, started.stderr);
    let all = processes(&started);
    assert_eq!(all.len(), 6, "{}", started.stdout);
    assert!(all.iter().all(|pid| is_running(*pid)));
    let rest = rest(&started);
    wait_for_task_managers(&rest, 5);
    let calls = place.ssh_calls();
    assert!(calls.contains("-n -o BatchMode=yes one -- cd "), "{calls}");
    assert!(calls.contains("'--total' '2'"), "{calls}");
    assert!(
        started.stdout.contains("two: Started a task manager"),
        "{}",
        started.stdout
    );
    assert!(
        started.stdout.contains("with 2 slots"),
        "{}",
        started.stdout
    );

    // A second start starts nothing, one behind a death only what is missing.
    let again = place.millpond(&["cluster", "start"]);
    assert_eq!(
        (again.code, &processes(&again)),
        (0, &all),
        "{}",
        again.stdout
    );
    assert!(!again.stdout.contains("Started"), "{}", again.stdout);
    let of_one = started
        .stdout
        .lines()
        .find(|line| line.starts_with("one: "));
    let dead: Vec<&str> = of_one.expect("told").split("(process ").collect();
    let dead: u32 = dead[1]
        .split(',')
        .next()
        .expect("text")
        .parse()
        .expect("a number");
    kill(dead);
    let mended = place.millpond(&["cluster", "start"]);
    assert_eq!(mended.code, 0, "{}{}", mended.stdout, mended.stderr);
    assert_eq!(
        mended.stdout.matches("Started").count(),
        1,
        "{}",
        mended.stdout
    );
    wait_for_task_managers(&rest, 5);

    let stopped = place.millpond(&["cluster", "stop"]);
    assert_eq!(
        (stopped.code, stopped.stderr.as_str()),
        (0, ""),
        "{}",
        stopped.stdout
    );
    assert_eq!(processes(&stopped).len(), 6, "{}", stopped.stdout);
    let left: Vec<u32> = all.union(&processes(&mended)).copied().collect();
    assert!(left.iter().all(|pid| !is_running(*pid)), "{left:?}");
    let nothing = place.millpond(&["cluster", "stop"]);
    assert_eq!(nothing.code, 0);
    assert!(
        nothing.stdout.contains("one: No task manager is running"),
        "{}",
        nothing.stdout
    );
    assert!(
        nothing.stdout.contains("No job manager is running"),
        "{}",
        nothing.stdout
    );
}

#[test]
fn a_machine_that_is_not_reached_is_told_and_the_others_start() {
    let place = Place::new("gone-1\nlocalhost\n", "");
    let started = place.millpond(&["cluster", "start"]);
    started.failed(&[
        "The cluster is not whole",
        "Machine gone-1:",
        "No route to host",
    ]);
    let all = processes(&started);
    assert_eq!(all.len(), 2, "{}", started.stdout);
    place
        .millpond(&["cluster", "stop"])
        .failed(&["Machine gone-1:"]);
    assert!(all.iter().all(|pid| !is_running(*pid)));
}

#[test]
fn what_cannot_start_says_why() {
    let place = Place::new("localhost\n", "");
    place
        .millpond(&["cluster", "start", "-D", "taskmanager.numberOfTaskSlots=0"])
        .failed(&[
            "The task manager cannot be started",
            "taskmanager.numberOfTaskSlots is 0, expected at least 1",
            "taskmanager-1.log",
        ]);
    place.millpond(&["cluster", "stop"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!(
        "jobmanager.rpc.port={}",
        taken.local_addr().expect("bound").port()
    );
    let ended = place.millpond(&["cluster", "start", "-D", &port]);
    ended.failed(&[
        "The job manager cannot be started",
        "cannot listen for task managers at",
    ]);
    let nowhere = place.millpond(&["cluster", "start", "--workers", "/nowhere"]);
    nowhere.failed(&["\"/nowhere\"", "No such file"]);
    let bad = place.path().join("bad");
    std::fs::write(&bad, "localhost\n-oProxyCommand=touch\n").expect("room");
    let bad = bad.display().to_string();
    place
        .millpond(&["cluster", "start", "--workers", &bad])
        .failed(&["line 2"]);
    assert_eq!(place.ssh_calls(), "");
}

#[test]
fn single_services_start_and_stop_in_the_background() {
    let place = Place::new("", "");
    let manager = place.millpond(&["jobmanager", "start"]);
    assert_eq!(manager.code, 0, "{}", manager.stderr);
    // The job manager's own directory is there too.
    let below = place.path().join("tmp").read_dir().expect("there");
    let out = below
        .map(|entry| entry.expect("read").path().join("jobmanager-1.out"))
        .find(|path| path.is_file())
        .expect("one");
    let out = std::fs::read_to_string(out).expect("there");
    let port = out.lines().next().expect("a line").trim_end_matches('.');
    let port = port.rsplit(':').next().expect("a port");
    let port = format!("jobmanager.rpc.port={port}");
    let mut all = processes(&manager);
    let mut last = 0;
    for _ in 0..2 {
        let started = place.millpond(&["taskmanager", "start", "-D", &port]);
        assert_eq!(started.code, 0, "{}", started.stderr);
        last = *processes(&started).first().expect("one");
        all.insert(last);
    }
    assert_eq!(all.len(), 3);
    let stopped = place.millpond(&["taskmanager", "stop"]);
    assert_eq!(processes(&stopped), [last].into());
    wait_for_task_managers(&rest(&manager), 1);
    place.millpond(&["taskmanager", "stop-all"]);
    place.millpond(&["jobmanager", "stop"]);
    assert!(all.iter().all(|pid| !is_running(*pid)));
    place
        .millpond(&["taskmanager", "stop", "--total", "2"])
        .refused("The option total belongs to start.");
}

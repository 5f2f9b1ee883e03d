//! `millpond demo`: a job that is killed, recovered, stopped and resumed publishes what an
//! undisturbed one does, and no job outlives the demo.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use millpond_types::config::Handshake;

fn demo(directory: &Path, rate: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command
        .arg("demo")
        .arg("--dir")
        .arg(directory)
        .args(["--rate", rate]);
    command
}

#[test]
fn a_disturbed_job_publishes_what_an_undisturbed_one_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = demo(directory.path(), "25000").output().expect("starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.ends_with("identical: yes\n"), "{stdout}");
    let (_, table) = stdout.split_once("\nstep ").expect("a table");
    for (step, snapshot) in [
        ("savepoint taken, job goes on", "savepoints/savepoint-"),
        ("job killed", "checkpoints/"),
        ("recovered from the checkpoint, parallelism 2", ""),
        ("stopped with a savepoint", "savepoints/savepoint-"),
        ("resumed from the savepoint, parallelism 3", ""),
        ("finished", "336,776"),
    ] {
        let told = table
            .lines()
            .any(|line| line.starts_with(step) && line.contains(snapshot));
        assert!(told, "{step} is not told:\n{table}");
    }
}

#[test]
fn no_job_is_left_when_the_demo_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut demo = demo(directory.path(), "1000")
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let ready = directory.path().join("job-1.json");
    let handshake: Handshake = wait_for("a job", || {
        serde_json::from_slice(&std::fs::read(&ready).ok()?).ok()
    });
    TcpStream::connect(&handshake.rest).expect("the job answers");
    demo.kill().expect("it runs");
    demo.wait().expect("it was killed");
    wait_for("the end of the job", || {
        TcpStream::connect(&handshake.rest).err()
    });
}

#[test]
fn a_directory_with_files_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("mine"), "").expect("written");
    let output = demo(directory.path(), "1000").output().expect("starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout.starts_with("The directory must be empty"),
        "{stdout}"
    );
}

/// Looks until there is something, for a minute at most.
fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no sign of {what} after 60 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

//! A test in namespaces of its own, whose processes end with it.

use std::process::Command;

use crate::skip::skip;

const INSIDE: &str = "MILLPOND_ISOLATED";

/// What a test needs beside the rights to make namespaces.
const COMMANDS: [&str; 3] = ["unshare", "nsenter", "ip"];

/// Runs the test `name` of this executable in a process with a network and a list of processes of its
/// own; is true in that process. Where that is not permitted the test is skipped, which is said.
///
/// # Panics
///
/// If the test fails there.
pub fn isolated(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if let Some(why) = obstacle() {
        skip(name, &why);
        return false;
    }
    let executable = std::env::current_exe().expect("a path");
    let status = unshare()
        .arg(executable)
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare");
    assert!(status.success(), "{name} has failed: {status}");
    false
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    let namespaces = ["--net", "--pid", "--mount-proc", "--fork", "--kill-child"];
    command.args(["--map-root-user"]).args(namespaces);
    command
}

fn obstacle() -> Option<String> {
    for command in COMMANDS {
        if Command::new(command).arg("--version").output().is_err() {
            return Some(format!("there is no command \"{command}\""));
        }
    }
    let tried = unshare()
        .args(["ip", "tuntap", "add", "dev", "try", "mode", "tun"])
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("namespaces cannot be had: {}", said.trim()))
        }
        Err(error) => Some(format!("namespaces cannot be had: {error}")),
    }
}

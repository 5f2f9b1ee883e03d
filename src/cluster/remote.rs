//! A command on another machine, by `ssh`.

use std::process::{Command, Stdio};

use millpond_types::config::{Configuration, options};

use crate::failure::Failure;
use crate::printer;

/// Variables that the command there has as well.
const HANDED_ON: [&str; 4] = [
    "MILLPOND_CONF_DIR",
    "FLINK_CONF_DIR",
    "MILLPOND_CONFIGURATION",
    "RUST_LOG",
];

/// How others are reached.
pub(crate) struct Remote {
    options: Vec<String>,
}

impl Remote {
    pub(crate) fn new(configuration: &Configuration) -> Result<Self, Failure> {
        let options = configuration
            .get(&options::SSH_OPTIONS)?
            .unwrap_or_default();
        let options = options.split_whitespace().map(str::to_owned).collect();
        Ok(Remote { options })
    }

    /// Runs `millpond` there, in the same directory, and prints what it says.
    pub(crate) fn run(
        &self,
        host: &str,
        arguments: &[&str],
        pairs: &[String],
    ) -> Result<(), Failure> {
        let on_host = |why: String| Failure::action(why).during(format!("Machine {host}:"));
        let executable = std::env::current_exe().map_err(|error| on_host(error.to_string()))?;
        let directory = std::env::current_dir().map_err(|error| on_host(error.to_string()))?;
        let variable = |name: &str| {
            let value = std::env::var(name).ok()?;
            Some(format!("{name}={} ", quoted(&value)))
        };
        let mut command = format!("cd {} && ", quoted(&directory.display().to_string()));
        command.extend(HANDED_ON.into_iter().filter_map(variable));
        command.push_str(&quoted(&executable.display().to_string()));
        for argument in arguments {
            command.push(' ');
            command.push_str(&quoted(argument));
        }
        for pair in pairs {
            command.push_str(" -D ");
            command.push_str(&quoted(pair));
        }
        let output = Command::new("ssh")
            .arg("-n")
            .args(&self.options)
            .args([host, "--"])
            .arg(command)
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| on_host(format!("ssh cannot be run: {error}")))?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            printer::line(format!("{host}: {line}"));
        }
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(on_host(format!(
                    "ssh or the command there ended with {}: {}",
                    output.status,
                    said.trim()
                )))
            }
        }
    }
}

/// A word of a shell's command line.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

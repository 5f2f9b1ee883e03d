//! The job of the demo, as a child process that is asked over REST.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use millpond_fs::Location;
use millpond_types::JobId;
use millpond_types::config::{
    CONFIGURATION_VARIABLE, Configuration, Handshake, READY_FILE_VARIABLE,
};

use super::flights_job::{CHECKPOINTS, COUNTED_OPERATOR, INPUT, NAME, SAVEPOINTS, SOURCE_UID};
use super::progress::pause;
use crate::failure::Failure;
use crate::rest_client::{Drain, RestClient, ThenCancel};

/// How long the job may take to start, and to end once it has said good-bye.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of the job's output is told when it fails, in lines.
const LINES_TOLD: usize = 20;

/// How a job is to be run.
pub(super) struct Plan {
    pub(super) output: PathBuf,
    pub(super) parallelism: u32,
    /// Flights per second.
    pub(super) rate: Option<u64>,
    /// The snapshot that it is restored from.
    pub(super) from: Option<String>,
    pub(super) checkpoint_interval: Duration,
}

impl Plan {
    fn configuration(&self, directory: &Path) -> Configuration {
        let inside = |name| directory.join(name).display().to_string();
        let interval = format!("{} ms", self.checkpoint_interval.as_millis());
        let mut configuration = Configuration::from_pairs([
            ("parallelism.default", self.parallelism.to_string()),
            ("execution.checkpointing.interval", interval),
            ("execution.checkpointing.dir", inside(CHECKPOINTS)),
            ("execution.checkpointing.savepoint-dir", inside(SAVEPOINTS)),
            ("execution.checkpointing.num-retained", "2".to_owned()),
            (
                "execution.checkpointing.externalized-checkpoint-retention",
                "RETAIN_ON_CANCELLATION".to_owned(),
            ),
            ("rest.bind-port", "0".to_owned()),
        ]);
        if let Some(from) = &self.from {
            configuration.set("execution.state-recovery.path", from);
        }
        configuration
    }

    fn arguments(&self, directory: &Path) -> Vec<String> {
        let mut arguments = vec![
            NAME.to_owned(),
            "--input".to_owned(),
            directory.join(INPUT).display().to_string(),
            "--output".to_owned(),
            self.output.display().to_string(),
        ];
        if let Some(rate) = self.rate {
            arguments.extend(["--rate".to_owned(), rate.to_string()]);
        }
        arguments
    }
}

/// A running job; it is killed when it is dropped.
pub(super) struct JobProcess {
    process: Process,
    client: RestClient,
    job: JobId,
    directory: PathBuf,
    log: PathBuf,
    /// Flights that were read before the snapshot that the job was restored from.
    before: u64,
    /// Flights that it has read since.
    since: u64,
    last_checkpoint: Option<i64>,
}

/// What is left of a job that was killed.
pub(super) struct Killed {
    pub(super) process: u32,
    pub(super) flights: u64,
    pub(super) newest_checkpoint: String,
}

/// A savepoint, and how many flights the job had read.
pub(super) struct Savepoint {
    pub(super) path: String,
    pub(super) flights: u64,
}

/// A process that is never left behind.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process is gone, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl JobProcess {
    /// Starts a job and waits until it has been accepted; `number` tells its files from others.
    pub(super) fn start(directory: &Path, number: u32, plan: &Plan) -> Result<Self, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::action(error.to_string()).during(format!("The job cannot be started: {what}."))
        };
        let before = match &plan.from {
            Some(snapshot) => flights_in(snapshot)?,
            None => 0,
        };
        let executable =
            std::env::current_exe().map_err(|error| failed("no executable", &error))?;
        let log = directory.join(format!("job-{number}.log"));
        let output =
            File::create(&log).map_err(|error| failed("no file for its output", &error))?;
        let errors = output
            .try_clone()
            .map_err(|error| failed("no file for its output", &error))?;
        let ready_file = directory.join(format!("job-{number}.json"));
        let child = Command::new(executable)
            .args(plan.arguments(directory))
            // Not the user's configuration files, but just this.
            .current_dir(directory)
            .env_remove("MILLPOND_CONF_DIR")
            .env_remove("FLINK_CONF_DIR")
            .env(
                CONFIGURATION_VARIABLE,
                plan.configuration(directory).to_environment(),
            )
            .env(READY_FILE_VARIABLE, &ready_file)
            // The job ends when this pipe does.
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| failed("no process", &error))?;
        let mut process = Process(child);
        let deadline = Instant::now() + PATIENCE;
        let handshake = loop {
            let text = std::fs::read(&ready_file).unwrap_or_default();
            if let Ok(handshake) = serde_json::from_slice::<Handshake>(&text) {
                break handshake;
            }
            if !matches!(process.0.try_wait(), Ok(None)) || Instant::now() > deadline {
                return Err(failed("it did not say that it runs", &last_lines(&log)));
            }
            pause();
        };
        let (host, port) = handshake.rest.rsplit_once(':').unwrap_or_default();
        let client = RestClient::new(&Configuration::from_pairs([
            ("rest.address", host),
            ("rest.port", port),
            // A job that does not answer has ended.
            ("rest.retry.max-attempts", "1"),
        ]))?;
        let job = handshake
            .job_id
            .parse()
            .map_err(|error| failed("a job id", &error))?;
        Ok(JobProcess {
            process,
            client,
            job,
            directory: directory.to_owned(),
            log,
            before,
            since: 0,
            last_checkpoint: None,
        })
    }

    /// Flights read so far, with those before the snapshot that the job was restored from.
    pub(super) fn flights(&self) -> u64 {
        self.before + self.since
    }

    /// The number of the last checkpoint that this process has completed.
    pub(super) fn last_checkpoint(&self) -> Option<i64> {
        self.last_checkpoint
    }

    /// Asks the job how far it is; returns whether it still runs.
    pub(super) fn look(&mut self) -> Result<bool, Failure> {
        if self.status()?.is_some() {
            return Ok(false);
        }
        match self.ask() {
            Ok(running) => Ok(running),
            Err(failure) => {
                // REST goes a moment before its process.
                let deadline = Instant::now() + PATIENCE;
                while self.status()?.is_none() {
                    if Instant::now() > deadline {
                        return Err(failure);
                    }
                    pause();
                }
                Ok(false)
            }
        }
    }

    fn ask(&mut self) -> Result<bool, Failure> {
        let details = self.client.job(self.job)?;
        let counted = details
            .vertices
            .iter()
            .find(|vertex| vertex.name.contains(COUNTED_OPERATOR));
        self.since = self
            .since
            .max(counted.map_or(0, |vertex| vertex.metrics.read_records));
        if let Some(completed) = self.client.checkpoints(self.job)?.latest.completed {
            self.last_checkpoint = Some(completed.id);
        }
        Ok(true)
    }

    fn status(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.process.0.try_wait().map_err(|error| {
            Failure::action(error.to_string()).during("The job cannot be waited for.")
        })
    }

    /// Takes a savepoint; the job goes on.
    pub(super) fn savepoint(&mut self) -> Result<String, Failure> {
        let trigger = self
            .client
            .trigger_savepoint(self.job, None, ThenCancel::No, "CANONICAL")?;
        self.client.wait_for_savepoint(self.job, &trigger)
    }

    /// Stops the job with a savepoint, and waits for its end.
    pub(super) fn stop_with_savepoint(mut self) -> Result<Savepoint, Failure> {
        let trigger = self
            .client
            .trigger_stop(self.job, None, Drain::No, "CANONICAL")?;
        let path = self.client.wait_for_savepoint(self.job, &trigger)?;
        self.finished()?;
        Ok(Savepoint {
            flights: flights_in(&path)?,
            path,
        })
    }

    /// Kills the process with SIGKILL and finds its newest checkpoint.
    pub(super) fn kill(mut self) -> Result<Killed, Failure> {
        let failed = |what: String| Failure::action(what).during("The job was not killed.");
        self.process
            .0
            .kill()
            .map_err(|error| failed(error.to_string()))?;
        let status = self
            .process
            .0
            .wait()
            .map_err(|error| failed(error.to_string()))?;
        if status.code().is_some() {
            return Err(failed(format!("it had ended before, with {status}")));
        }
        Ok(Killed {
            process: self.process.0.id(),
            flights: self.flights(),
            newest_checkpoint: self.newest_checkpoint()?,
        })
    }

    /// The directory `chk-N` with the greatest N that is complete.
    fn newest_checkpoint(&self) -> Result<String, Failure> {
        let directory = self.directory.join(CHECKPOINTS).join(self.job.to_string());
        let failed = |what: String| {
            Failure::action(what).during(format!(
                "No checkpoint to recover from in {}.",
                directory.display()
            ))
        };
        let mut newest: Option<(u64, PathBuf)> = None;
        for entry in std::fs::read_dir(&directory).map_err(|error| failed(error.to_string()))? {
            let path = entry.map_err(|error| failed(error.to_string()))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let number = name
                .strip_prefix("chk-")
                .and_then(|number| number.parse().ok());
            if let Some(number) = number
                && path.join("_metadata").is_file()
                && newest.as_ref().is_none_or(|(latest, _)| number > *latest)
            {
                newest = Some((number, path));
            }
        }
        let (_, path) = newest.ok_or_else(|| failed("none is complete".to_owned()))?;
        Ok(path.display().to_string())
    }

    /// Waits for the end of a job that is about to end, and checks that it went well.
    pub(super) fn finished(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.status()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(Failure::action(last_lines(&self.log))
                        .during(format!("The job ended with {status}.")));
                }
                None if Instant::now() > deadline => {
                    return Err(Failure::action("The job does not end."));
                }
                None => pause(),
            }
        }
    }

    /// Why a job that should still run does not.
    pub(super) fn ended_early(&mut self, when: &str) -> Failure {
        match self.finished() {
            Ok(()) => Failure::action(format!(
                "the job ended {when} or before it had a checkpoint; a lower --rate helps"
            )),
            Err(failure) => failure,
        }
        .during("There was nothing left to show.")
    }
}

/// How many flights had been read when a snapshot was taken: the source's position in lines,
/// without the line with the names of the columns.
fn flights_in(snapshot: &str) -> Result<u64, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::action(error.to_string()).during(format!("Cannot read the snapshot {snapshot}."))
    };
    let location = Location::parse(snapshot).map_err(|error| failed(&error))?;
    let files = millpond_fs::file_system_for(&location).map_err(|error| failed(&error))?;
    let loaded = millpond_snapshot::load(files, &location).map_err(|error| failed(&error))?;
    let trailer = loaded
        .metadata
        .trailer
        .ok_or_else(|| failed(&"it tells no positions"))?;
    let source = trailer
        .operators
        .iter()
        .filter(|operator| operator.uid.as_deref() == Some(SOURCE_UID))
        .flat_map(|operator| &operator.subtasks)
        .flat_map(|subtask| &subtask.positions);
    Ok(source
        .filter_map(|position| lines_of(position))
        .sum::<u64>()
        .saturating_sub(1))
}

/// The number in `FILE@line N`, which may be followed by a remark.
fn lines_of(position: &str) -> Option<u64> {
    let (_, lines) = position.rsplit_once("@line ")?;
    lines.split(' ').next()?.parse().ok()
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES_TOLD)..].join("\n");
    format!("its output in {} ends with:\n{last}", log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_a_gzip_file_are_lines() {
        assert_eq!(lines_of("/a b@c/f.csv.gz@line 17"), Some(17));
        assert_eq!(lines_of("/f.csv.gz@line 17 (end)"), Some(17));
        assert_eq!(lines_of("/f.csv.gz@0"), None);
    }
}

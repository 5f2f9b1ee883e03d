//! `millpond demo`: the flights of 2013 through savepoint, SIGKILL, recovery, stop and resume.
//!
//! The job is this executable again, as a child process ([`job_process`]); all that the demo knows
//! of it comes from its REST API and its files, as for any user. Its results are then compared with
//! those of a run that nobody disturbed.

mod flights_job;
mod job_process;
mod progress;
mod results;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::arguments::{self, Parsed};
use crate::failure::Failure;
use crate::printer;

use job_process::{JobProcess, Plan};
use progress::Progress;
use table::Table;

pub(crate) use flights_job::{NAME as JOB_ACTION, run as run_job};

/// The flights of 2013, so that the demo needs nothing but this executable.
const DATA: &[u8] = include_bytes!("../examples/data/flights-2013.csv.gz");

/// Rows of the data, without the line with the names of its columns.
const FLIGHTS: u64 = 336_776;

/// Flights per second, if the user does not say.
const DEFAULT_RATE: u64 = 12_000;

/// When something happens, in percent of all flights.
const SAVEPOINT_AT: u64 = 20;
const KILL_AT: u64 = 45;
const STOP_AT: u64 = 70;

/// Subtasks of each operator, before and after the stop.
const PARALLELISM: u32 = 2;
const LATER_PARALLELISM: u32 = 3;

fn command() -> clap::Command {
    clap::Command::new("demo")
        .about("Shows a job that is killed, recovered, stopped and resumed, and loses nothing")
        .override_usage("millpond demo [OPTIONS]")
        .arg(
            arguments::value("dir", "directory")
                .help("Where the demo works; empty or not there yet [default: a new one]"),
        )
        .arg(
            arguments::value("rate", "flights per second")
                .help("Limit of the source [default: 12000, about 32 s in all]"),
        )
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let rate = match matches.get_one::<String>("rate") {
        None => DEFAULT_RATE,
        Some(text) => text.parse().ok().filter(|rate| *rate > 0).ok_or_else(|| {
            Failure::arguments(format!("The rate must be a positive number: {text}"))
        })?,
    };
    let directory = fresh_directory(matches.get_one::<String>("dir").map(String::as_str))?;
    let mut demo = Demo::prepare(directory, rate)?;
    demo.play()?;
    demo.conclude()
}

/// Makes the directory that everything happens in.
fn fresh_directory(given: Option<&str>) -> Result<PathBuf, Failure> {
    let Some(given) = given else {
        return tempfile::Builder::new()
            .prefix("millpond-demo-")
            .tempdir()
            .map(tempfile::TempDir::keep)
            .map_err(|error| {
                Failure::action(error.to_string()).during("No directory to work in.")
            });
    };
    let failed = |error: std::io::Error| {
        Failure::action(error.to_string()).during(format!("Cannot work in {given}."))
    };
    std::fs::create_dir_all(given).map_err(failed)?;
    if std::fs::read_dir(given).map_err(failed)?.next().is_some() {
        return Err(Failure::arguments(format!(
            "The directory must be empty: {given}"
        )));
    }
    std::path::absolute(given).map_err(failed)
}

/// A demo under way.
struct Demo {
    directory: PathBuf,
    rate: u64,
    checkpoint_interval: Duration,
    table: Table,
    progress: Progress,
    /// Jobs started so far.
    jobs: u32,
}

impl Demo {
    fn prepare(directory: PathBuf, rate: u64) -> Result<Self, Failure> {
        let input = directory.join(flights_job::INPUT);
        std::fs::write(&input, DATA).map_err(|error| {
            Failure::action(error.to_string()).during(format!("Cannot write {}.", input.display()))
        })?;
        let seconds = FLIGHTS / rate;
        printer::line(format!(
            "All {} flights that left New York City in 2013: statistics of every airline, \
             aircraft and airport.",
            table::grouped(FLIGHTS)
        ));
        printer::line(format!(
            "The source is limited to {} flights per second, so this takes about {} s \
             (--rate changes it).",
            table::grouped(rate),
            seconds + 4
        ));
        printer::line(format!("Working files: {}", directory.display()));
        printer::line("");
        Ok(Demo {
            table: Table::new(&directory, Instant::now()),
            progress: Progress::new(FLIGHTS),
            jobs: 0,
            // Enough checkpoints at every rate, and not more than a disk likes.
            checkpoint_interval: Duration::from_millis((seconds * 1000 / 28).clamp(100, 1000)),
            directory,
            rate,
        })
    }

    fn plan(&self, parallelism: u32, from: Option<String>) -> Plan {
        Plan {
            output: self.directory.join("results"),
            parallelism,
            rate: Some(self.rate),
            from,
            checkpoint_interval: self.checkpoint_interval,
        }
    }

    /// The disturbed job and the undisturbed one.
    fn play(&mut self) -> Result<(), Failure> {
        let mut job = self.start("job started", self.plan(PARALLELISM, None))?;
        self.watch(&mut job, SAVEPOINT_AT)?;
        let savepoint = job.savepoint()?;
        self.note(
            "savepoint taken, job goes on",
            Some(job.flights()),
            Some(&savepoint),
        );

        self.watch(&mut job, KILL_AT)?;
        let killed = job.kill()?;
        let what = format!("job killed: process {}, SIGKILL", killed.process);
        self.note(&what, Some(killed.flights), Some(&killed.newest_checkpoint));

        let plan = self.plan(PARALLELISM, Some(killed.newest_checkpoint));
        let mut job = self.start("recovered from the checkpoint", plan)?;
        self.watch(&mut job, STOP_AT)?;
        let savepoint = job.stop_with_savepoint()?;
        self.note(
            "stopped with a savepoint",
            Some(savepoint.flights),
            Some(&savepoint.path),
        );

        let plan = self.plan(LATER_PARALLELISM, Some(savepoint.path));
        let mut job = self.start("resumed from the savepoint", plan)?;
        self.finish(&mut job, "finished")?;

        let plan = Plan {
            output: self.directory.join("reference"),
            rate: None,
            ..self.plan(1, None)
        };
        let mut reference = self.start("reference run, no rate limit", plan)?;
        self.finish(&mut reference, "reference run finished")
    }

    fn start(&mut self, what: &str, plan: Plan) -> Result<JobProcess, Failure> {
        let what = format!("{what}, parallelism {}", plan.parallelism);
        self.jobs += 1;
        let job = JobProcess::start(&self.directory, self.jobs, &plan)?;
        self.progress.restart(job.flights());
        self.note(&what, Some(job.flights()), None);
        Ok(job)
    }

    /// Shows the job until it has read so many percent of the flights and has a checkpoint.
    fn watch(&mut self, job: &mut JobProcess, percent: u64) -> Result<(), Failure> {
        let end = FLIGHTS * percent / 100;
        loop {
            if !job.look()? {
                return Err(job.ended_early(&format!("before {percent} % of the flights")));
            }
            self.progress.show(job.flights(), job.last_checkpoint());
            if job.flights() >= end && job.last_checkpoint().is_some() {
                return Ok(());
            }
            progress::pause();
        }
    }

    /// Shows the job until it has finished.
    fn finish(&mut self, job: &mut JobProcess, what: &str) -> Result<(), Failure> {
        while job.look()? {
            self.progress.show(job.flights(), job.last_checkpoint());
            progress::pause();
        }
        job.finished()?;
        // Finished is to have read all; the last look was a moment before.
        self.note(what, Some(FLIGHTS), None);
        Ok(())
    }

    fn note(&mut self, what: &str, flights: Option<u64>, snapshot: Option<&str>) {
        let told = self.table.add(what, flights, snapshot);
        self.progress.aside(|| printer::line(told));
    }

    /// Compares the results and tells what happened.
    fn conclude(&mut self) -> Result<ExitCode, Failure> {
        self.progress.end();
        let (results, reference) = (
            self.directory.join("results"),
            self.directory.join("reference"),
        );
        let disturbed = results::read(&results)?;
        let undisturbed = results::read(&reference)?;
        let what = format!(
            "compared: {} and {} results",
            table::grouped(disturbed.len() as u64),
            table::grouped(undisturbed.len() as u64)
        );
        self.note(&what, None, None);
        printer::line("");
        printer::text(self.table.text());
        printer::line("");
        for (what, path) in [
            ("results of the disturbed job", &results),
            ("results of the reference run", &reference),
            (
                "checkpoints",
                &self.directory.join(flights_job::CHECKPOINTS),
            ),
            ("savepoints", &self.directory.join(flights_job::SAVEPOINTS)),
            ("all working files (kept)", &self.directory),
        ] {
            printer::line(format!("{what:<30}{}", shown(path)));
        }
        printer::line("");
        let difference = results::difference(&disturbed, &undisturbed);
        for line in &difference {
            printer::line(line);
        }
        let identical = difference.is_empty() && !undisturbed.is_empty();
        printer::line(format!(
            "identical: {}",
            if identical { "yes" } else { "no" }
        ));
        Ok(if identical {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

//! Random runs: what happens to a job, when, and how it goes on.

use std::time::Duration;

use crate::job_process::{Bench, JobProcess, kill_process, tail};
use crate::lines::{difference, shortfall};
use crate::oracle::{Workload, expected};
use crate::random::Random;

/// What is fixed for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    exactly_once: bool,
    interval_ms: u64,
    num_retained: u64,
    max_concurrent: u64,
    workload: Workload,
    rate: u64,
    disturbances: u64,
}

impl Scenario {
    /// A random scenario of a few seconds of input.
    pub fn random(random: &mut Random) -> Self {
        let rate = random.between(5_000, 30_000);
        let length = |random: &mut Random| random.between(rate / 2, 4 * rate);
        Scenario {
            exactly_once: random.chance(75),
            interval_ms: random.between(20, 200),
            num_retained: random.between(1, 3),
            max_concurrent: random.between(1, 2),
            workload: Workload {
                records_a: length(random),
                records_b: length(random),
                keys: random.between(1, 500),
            },
            rate,
            disturbances: random.between(1, 8),
        }
    }
}

/// What happens to a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    KillMaster,
    KillWorker,
    Savepoint,
    Stop,
    /// The job master is killed while it takes a savepoint.
    KillWhileSaving,
    /// The job master is killed while it stops with a savepoint.
    KillWhileStopping,
}

/// How a run goes on behind a disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Start,
    Over,
}

/// How often each thing has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Job masters killed.
    pub masters: u64,
    /// Workers killed.
    pub workers: u64,
    /// Savepoints taken.
    pub savepoints: u64,
    /// Stops with savepoint.
    pub stops: u64,
    /// Starts with another parallelism than before.
    pub rescalings: u64,
}

/// One run of a job under test.
struct Run<'a> {
    bench: &'a Bench,
    random: Random,
    scenario: Scenario,
    tally: &'a mut Tally,
    parallelism: u64,
    processes: u64,
}

/// Runs a random scenario to its end.
///
/// # Errors
///
/// What the job has published is not what it should have, for people.
///
/// # Panics
///
/// If the job does not end well.
pub fn run(bench: Bench, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed);
    let scenario = Scenario::random(&mut random);
    eprintln!("seed {seed}: {scenario:?}");
    let mut bench = bench
        .argument("--records-a", scenario.workload.records_a)
        .argument("--records-b", scenario.workload.records_b)
        .argument("--keys", scenario.workload.keys)
        .argument("--rate", scenario.rate)
        .option(
            "execution.checkpointing.interval",
            format!("{} ms", scenario.interval_ms),
        )
        .option(
            "execution.checkpointing.num-retained",
            scenario.num_retained,
        )
        .option(
            "execution.checkpointing.max-concurrent-checkpoints",
            scenario.max_concurrent,
        )
        .option("execution.checkpointing.tolerable-failed-checkpoints", 1000)
        .option("pipeline.max-parallelism", 128)
        .option(
            "execution.checkpointing.mode",
            if scenario.exactly_once {
                "EXACTLY_ONCE"
            } else {
                "AT_LEAST_ONCE"
            },
        )
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        );
    // Kept until it is known that all is well, so that a panic leaves the evidence.
    let directory = bench.keep();
    eprintln!("seed {seed}: in {}", directory.display());
    let mut run = Run {
        bench: &bench,
        random,
        scenario,
        tally,
        parallelism: 0,
        processes: 0,
    };
    run.go();
    run.tally.runs += 1;
    let expected = expected(&scenario.workload);
    let found = bench.published();
    let wrong = match scenario.exactly_once {
        true => difference(&expected, &found),
        false => shortfall(&expected, &found),
    };
    match wrong {
        None => std::fs::remove_dir_all(directory).map_err(|error| error.to_string()),
        Some(wrong) => Err(format!("seed {seed}, {}: {wrong}", directory.display())),
    }
}

impl Run<'_> {
    fn go(&mut self) {
        let mut job = self.start();
        for _ in 0..self.scenario.disturbances {
            let longest_ms = if self.random.chance(30) { 80 } else { 900 };
            let pause = self.random.duration(Duration::from_millis(longest_ms));
            if job.ends_within(pause) {
                break;
            }
            let disturbance = self.choose();
            eprintln!("  after {pause:?}: {disturbance:?}");
            match self.disturb(&mut job, disturbance) {
                Next::GoOn => {}
                Next::Start => {
                    drop(job);
                    job = self.start();
                }
                Next::Over => return,
            }
        }
        job.finish();
        let orphans = job.workers();
        assert!(
            orphans.is_empty(),
            "{orphans:?} are left:\n{}",
            tail(&job.log())
        );
    }

    fn start(&mut self) -> JobProcess {
        let parallelism = self.random.between(1, 4);
        if self.parallelism != 0 && self.parallelism != parallelism {
            self.tally.rescalings += 1;
        }
        self.parallelism = parallelism;
        self.processes = self.random.between(1, 2);
        let (parallelism, processes) = (parallelism.to_string(), self.processes.to_string());
        let newest = self.bench.newest_snapshot().map(|snapshot| snapshot.path());
        eprintln!(
            "  start with parallelism {parallelism} in {processes} processes from {newest:?}"
        );
        let mut options = vec![
            ("parallelism.default", parallelism.as_str()),
            ("cluster.processes", processes.as_str()),
        ];
        if let Some(newest) = &newest {
            options.push(("execution.state-recovery.path", newest));
        }
        self.bench.start(&options)
    }

    fn choose(&mut self) -> Disturbance {
        match self.random.below(10) {
            0..=3 if self.processes > 1 => Disturbance::KillWorker,
            0..=4 => Disturbance::KillMaster,
            5 | 6 => Disturbance::Savepoint,
            7 => Disturbance::Stop,
            8 => Disturbance::KillWhileSaving,
            _ => Disturbance::KillWhileStopping,
        }
    }

    fn disturb(&mut self, job: &mut JobProcess, disturbance: Disturbance) -> Next {
        match disturbance {
            Disturbance::KillMaster => self.kill_master(job),
            Disturbance::KillWorker => {
                let workers = job.workers();
                if !workers.is_empty() {
                    self.tally.workers += 1;
                    kill_process(workers[self.random.below(workers.len() as u64) as usize]);
                }
                Next::GoOn
            }
            Disturbance::Savepoint => {
                let result = job
                    .trigger_savepoint()
                    .and_then(|id| job.savepoint_result(&id));
                self.tally.savepoints += u64::from(matches!(result, Some(Ok(_))));
                Next::GoOn
            }
            Disturbance::Stop => {
                let result = job
                    .trigger_stop(false)
                    .and_then(|id| job.savepoint_result(&id));
                match result {
                    Some(Ok(_)) => {
                        self.tally.stops += 1;
                        job.finish();
                        Next::Start
                    }
                    // It is not up yet, or all input has ended.
                    Some(Err(_)) | None => Next::GoOn,
                }
            }
            Disturbance::KillWhileSaving => {
                job.trigger_savepoint();
                self.kill_soon(job)
            }
            Disturbance::KillWhileStopping => {
                job.trigger_stop(false);
                self.kill_soon(job)
            }
        }
    }

    fn kill_soon(&mut self, job: &mut JobProcess) -> Next {
        let pause = self.random.duration(Duration::from_millis(60));
        job.ends_within(pause);
        self.kill_master(job)
    }

    fn kill_master(&mut self, job: &mut JobProcess) -> Next {
        let had_ended = job.has_ended().is_some();
        job.kill_master();
        self.tally.masters += u64::from(!had_ended);
        // A job that has finished deletes its checkpoints: it may not begin anew.
        let found = self.bench.published();
        match difference(&expected(&self.scenario.workload), &found) {
            None => Next::Over,
            Some(_) => Next::Start,
        }
    }
}

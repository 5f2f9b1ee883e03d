//! Random runs: what happens to a job, when, and how it goes on.

use std::time::{Duration, Instant};

use crate::job_process::{Bench, JobProcess, Orphans, kill_process, pause_process, tail};
use crate::lines::{difference, shortfall};
use crate::oracle::Workload;
use crate::random::Random;

/// State backends that a run may take.
const BACKENDS: &[&str] = if cfg!(feature = "rocksdb") {
    &["hashmap", "rocksdb"]
} else {
    &["hashmap"]
};

/// How long a job may take to its end if its checkpoints have little time.
const PATIENCE_IN_TIME: Duration = Duration::from_secs(30);

/// What is fixed for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    exactly_once: bool,
    interval_ms: u64,
    /// Short ones make many checkpoints fail.
    timeout_ms: Option<u64>,
    num_retained: u64,
    max_concurrent: u64,
    /// Checkpoints overtake what is in flight, after this many milliseconds.
    unaligned_after_ms: Option<u64>,
    /// State goes into files of its own.
    state_in_files: bool,
    /// Checkpoints hold what has changed.
    incremental: bool,
    workload: Workload,
    /// Records per second; `None` is full speed.
    rate: Option<u64>,
    rebalance: bool,
    files_for_b: bool,
    slow_sink_us: u64,
    /// A function panics at this record, so often.
    panics: Option<(u64, u64)>,
    disturbances: u64,
    /// Small files of a checkpoint are merged, of so many subtasks each.
    merging: Option<u64>,
    backend: &'static str,
    /// State is written to a disk of the machine as well, and read from there.
    local_recovery: bool,
}

impl Scenario {
    /// A random scenario of a few seconds of input.
    pub fn random(random: &mut Random) -> Self {
        let rate = random.between(5_000, 30_000);
        let length = |random: &mut Random| random.between(rate / 2, 4 * rate);
        let slow_sink_us = if random.chance(15) { 20 } else { 0 };
        // If none can be in time, the last checkpoint never ends the job.
        let backend = random.one_of::<&'static str>(BACKENDS);
        // A store on a busy machine is slower.
        let longer = if *backend == "hashmap" { 1 } else { 20 };
        let timeout_ms =
            (slow_sink_us == 0 && random.chance(25)).then(|| longer * random.between(40, 150));
        let most_keys: &[u64] = match timeout_ms {
            Some(_) => &[1, 10, 300],
            None => &[1, 10, 300, 20_000],
        };
        let workload = Workload {
            records_a: length(random),
            records_b: length(random),
            keys: *random.one_of(most_keys),
        };
        let unaligned = random.chance(40);
        Scenario {
            exactly_once: random.chance(75),
            interval_ms: random.between(20, 200),
            timeout_ms,
            num_retained: random.between(1, 3),
            max_concurrent: if unaligned { 1 } else { random.between(1, 2) },
            unaligned_after_ms: unaligned.then(|| *random.one_of(&[0, 0, 5, 50])),
            state_in_files: random.chance(40),
            incremental: random.chance(50),
            workload,
            rate: (timeout_ms.is_some() || random.chance(80)).then_some(rate),
            rebalance: random.chance(50),
            files_for_b: random.chance(40),
            slow_sink_us,
            panics: random
                .chance(30)
                .then(|| (random.below(workload.records_a), random.between(1, 3))),
            disturbances: random.between(1, 8),
            merging: random.chance(50).then(|| random.between(1, 8)),
            backend,
            local_recovery: random.chance(50),
        }
    }

    /// The bench of this scenario.
    fn prepare(&self, mut bench: Bench) -> Bench {
        let log = bench.directory().join("failures").display().to_string();
        let scratch = bench.scratch().display().to_string();
        bench = bench
            .workload(&self.workload)
            .ledger()
            .argument("--rebalance", self.rebalance)
            .argument("--slow-sink-us", self.slow_sink_us)
            .argument("--failure-log", log)
            .option(
                "execution.checkpointing.interval",
                format!("{} ms", self.interval_ms),
            )
            .option("execution.checkpointing.num-retained", self.num_retained)
            .option(
                "execution.checkpointing.max-concurrent-checkpoints",
                self.max_concurrent,
            )
            .option("execution.checkpointing.tolerable-failed-checkpoints", 1000)
            .option("pipeline.max-parallelism", 128)
            .option("state.backend.type", self.backend)
            .option("io.tmp.dirs", scratch)
            // Results that nobody asks for are not kept for long.
            .option("rest.linger", "1 s")
            .option(
                "execution.checkpointing.mode",
                match self.exactly_once {
                    true => "EXACTLY_ONCE",
                    false => "AT_LEAST_ONCE",
                },
            )
            .option(
                "execution.checkpointing.externalized-checkpoint-retention",
                "RETAIN_ON_CANCELLATION",
            );
        bench = bench.unaligned_after(self.unaligned_after_ms);
        if self.local_recovery {
            bench = bench.local_recovery();
        }
        if let Some(rate) = self.rate {
            bench = bench.argument("--rate", rate);
        }
        if let Some(timeout_ms) = self.timeout_ms {
            bench = bench.option(
                "execution.checkpointing.timeout",
                format!("{timeout_ms} ms"),
            );
        }
        if self.incremental {
            bench = bench.option("execution.checkpointing.incremental", true);
        }
        if self.state_in_files {
            bench = bench.option("execution.checkpointing.data-inline-threshold", "0 b");
        }
        if let Some(subtasks) = self.merging {
            bench = bench
                .option("execution.checkpointing.file-merging.enabled", true)
                .option(
                    "execution.checkpointing.file-merging.max-subtasks-per-file",
                    subtasks,
                );
        }
        if self.files_for_b {
            bench = bench.files_for_b(self.workload.records_b);
        }
        if let Some((at, times)) = self.panics {
            bench = bench
                .argument("--failure", "panic")
                .argument("--failure-at", at)
                .argument("--failures", times);
        }
        bench
    }
}

/// What happens to a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    KillMaster,
    /// The job begins anew while workers of the old one may still be there.
    KillMasterAndHurry,
    KillWorker,
    /// A process stands still for a while.
    Pause,
    /// A worker stands still while another is killed, and finds itself in the past.
    PauseAndKillWorker,
    Savepoint,
    /// Nobody waits for it.
    SavepointMeanwhile,
    Stop,
    Cancel,
    CancelWithSavepoint,
    /// The job master is killed while it takes a savepoint.
    KillWhileSaving,
    /// The job master is killed while it stops with a savepoint.
    KillWhileStopping,
}

/// How a run goes on behind a disturbance.
enum Next {
    GoOn,
    Start,
    StartBeside(Orphans),
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
    /// Processes that stood still.
    pub pauses: u64,
    /// Savepoints taken.
    pub savepoints: u64,
    /// Stops with savepoint.
    pub stops: u64,
    /// Cancellations, with and without savepoint.
    pub cancellations: u64,
    /// At-least-once runs that did count a record twice: the proof that it would be seen.
    pub doubled: u64,
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
    /// It was told to stop and has ended before it said whether it did.
    may_have_stopped: bool,
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
    let mut bench = scenario.prepare(bench);
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
        may_have_stopped: false,
    };
    let begin = Instant::now();
    run.go();
    run.tally.runs += 1;
    eprintln!("  took {:.1?}", begin.elapsed());
    let expected = bench.expected(&scenario.workload);
    let found = bench.published();
    let wrong = match scenario.exactly_once {
        true => difference(&expected, &found),
        false => {
            let doubled = difference(&expected, &found).is_some();
            tally.doubled += u64::from(doubled);
            shortfall(&expected, &found)
        }
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
                Next::StartBeside(orphans) => {
                    drop(job);
                    job = self.start();
                    orphans.expect_end();
                }
                Next::Over => return,
            }
        }
        // Where the machine is too busy for any checkpoint to be in time, the last one is not either.
        if self.scenario.timeout_ms.is_some() && !job.ends_within(PATIENCE_IN_TIME) {
            eprintln!("  no checkpoint is in time: killed, and given more of it");
            job.kill_master();
            if self.is_complete() {
                return;
            }
            drop(job);
            job = self.start_with(&[("execution.checkpointing.timeout", "10 min")]);
        }
        job.finish();
        if self.may_have_stopped && !self.is_complete() {
            job = self.start();
            job.finish();
        }
        let orphans = job.workers();
        assert!(
            orphans.is_empty(),
            "{orphans:?} are left:\n{}",
            tail(&job.log())
        );
    }

    fn start(&mut self) -> JobProcess {
        self.start_with(&[])
    }

    fn start_with(&mut self, more: &[(&str, &str)]) -> JobProcess {
        let parallelism = self.random.between(1, 4);
        if self.parallelism != 0 && self.parallelism != parallelism {
            self.tally.rescalings += 1;
        }
        self.parallelism = parallelism;
        self.processes = *self.random.one_of(&[1, 1, 1, 2, 2, 2, 3]);
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
        options.extend_from_slice(more);
        self.bench.start(&options)
    }

    fn choose(&mut self) -> Disturbance {
        match self.random.below(20) {
            0..=3 if self.processes > 1 => Disturbance::KillWorker,
            4 if self.processes > 1 => Disturbance::PauseAndKillWorker,
            0..=5 => Disturbance::KillMaster,
            6 | 7 => Disturbance::KillMasterAndHurry,
            8 => Disturbance::Pause,
            9 | 10 => Disturbance::Savepoint,
            11 | 12 => Disturbance::SavepointMeanwhile,
            13 | 14 => Disturbance::Stop,
            15 => Disturbance::Cancel,
            16 => Disturbance::CancelWithSavepoint,
            17 => Disturbance::KillWhileSaving,
            _ => Disturbance::KillWhileStopping,
        }
    }

    /// Waits for the end of a job that was told to end; it may have finished just before.
    fn ended(&mut self, job: &mut JobProcess) -> Next {
        let status = job.wait();
        assert!(status.success(), "{status}:\n{}", tail(&job.log()));
        let ended = job.handshake().and_then(|handshake| handshake.status);
        match ended.as_deref() {
            Some("CANCELED") => Next::Start,
            Some("FINISHED") if self.is_complete() => Next::Over,
            Some("FINISHED") => Next::Start,
            other => panic!("the job ended {other:?}:\n{}", tail(&job.log())),
        }
    }

    /// Whether everything has been published; a job that has finished deletes its checkpoints and
    /// may not begin anew.
    fn is_complete(&self) -> bool {
        let expected = self.bench.expected(&self.scenario.workload);
        difference(&expected, &self.bench.published()).is_none()
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
            Disturbance::KillMasterAndHurry => {
                let had_ended = job.has_ended().is_some();
                let orphans = job.kill_only_master();
                self.tally.masters += u64::from(!had_ended);
                match self.is_complete() {
                    true => Next::Over,
                    false => Next::StartBeside(orphans),
                }
            }
            Disturbance::Pause => {
                let mut processes = job.workers();
                processes.push(job.pid());
                let time = self.random.duration(Duration::from_millis(700));
                pause_process(*self.random.one_of(&processes), time);
                self.tally.pauses += 1;
                Next::GoOn
            }
            Disturbance::PauseAndKillWorker => {
                if let [paused, killed, ..] = job.workers()[..] {
                    let time = self.random.duration(Duration::from_millis(300));
                    std::thread::scope(|scope| {
                        scope.spawn(|| pause_process(paused, time));
                        kill_process(killed);
                    });
                    self.tally.workers += 1;
                    self.tally.pauses += 1;
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
            Disturbance::SavepointMeanwhile => {
                job.trigger_savepoint();
                Next::GoOn
            }
            Disturbance::Cancel => {
                if job.handshake().is_none() {
                    return Next::GoOn;
                }
                job.cancel();
                self.tally.cancellations += 1;
                self.ended(job)
            }
            Disturbance::CancelWithSavepoint => {
                let trigger = job.trigger_cancel_with_savepoint();
                match trigger.and_then(|id| job.savepoint_result(&id)) {
                    Some(Ok(_)) => {
                        self.tally.cancellations += 1;
                        self.ended(job)
                    }
                    Some(Err(_)) | None => Next::GoOn,
                }
            }
            Disturbance::Stop => {
                let result = job
                    .trigger_stop(false)
                    .and_then(|id| job.savepoint_result(&id));
                match result {
                    Some(Ok(_)) => {
                        self.tally.stops += 1;
                        self.ended(job)
                    }
                    // It is not up yet, or all input has ended.
                    Some(Err(_)) => Next::GoOn,
                    None => {
                        self.may_have_stopped = job.has_ended().is_some();
                        Next::GoOn
                    }
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
        match self.is_complete() {
            true => Next::Over,
            false => Next::Start,
        }
    }
}

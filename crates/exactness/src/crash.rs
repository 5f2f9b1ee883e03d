//! Random runs in which processes are killed in chosen phases of the life of snapshots.
//!
//! What a run shows in the end: the job has published what an undisturbed one publishes, every
//! snapshot that was kept is sound, and once garbage has been collected nothing is left that no
//! snapshot needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::job_process::{Bench, JobProcess, kill_process, tail};
use crate::lines::{difference, surplus};
use crate::oracle::{Workload, expected};
use crate::phase::{PHASES, Phase, StorageControl};
use crate::random::Random;
use crate::remains::{collect_garbage, latest, unsound};

/// How long a phase is waited for; a job that comes to none of it is disturbed otherwise.
const PHASE_PATIENCE: Duration = Duration::from_secs(4);

/// State backends that a run may take, each with whether its checkpoints may be incremental.
#[cfg(not(feature = "rocksdb"))]
const BACKENDS: &[(&str, bool)] = &[("hashmap", true)];
/// State backends that a run may take, each with whether its checkpoints may be incremental.
#[cfg(feature = "rocksdb")]
const BACKENDS: &[(&str, bool)] = &[("hashmap", true), ("rocksdb", true)];

/// What is fixed for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    backend: &'static str,
    incremental: bool,
    interval_ms: u64,
    num_retained: u64,
    max_concurrent: u64,
    /// State goes into files of its own.
    state_in_files: bool,
    /// Small files of a checkpoint are merged: at most so many bytes, of so many subtasks, become one.
    merging: Option<(u64, u64)>,
    workload: Workload,
    rate: u64,
    /// Percent of the starts that claim what they start from.
    claims: u64,
    /// The last process keeps its checkpoints.
    retains: bool,
    kills: u64,
    /// State is written to a disk of the machine as well, and read from there.
    local_recovery: bool,
    /// Barriers overtake records, if these hold them up for so long.
    unaligned_after_ms: Option<u64>,
}

impl Scenario {
    /// A random scenario of a few seconds of input.
    pub fn random(random: &mut Random) -> Self {
        let rate = random.between(2_000, 6_000);
        let length = |random: &mut Random| random.between(2 * rate, 5 * rate);
        let workload = Workload {
            records_a: length(random),
            records_b: length(random),
            keys: *random.one_of(&[10, 300, 3000]),
        };
        let (backend, may_be_incremental) = *random.one_of(BACKENDS);
        let unaligned = random.chance(40);
        Scenario {
            backend,
            incremental: may_be_incremental && random.chance(75),
            interval_ms: random.between(20, 150),
            num_retained: random.between(1, 3),
            max_concurrent: if unaligned { 1 } else { random.between(1, 2) },
            state_in_files: random.chance(80),
            workload,
            rate,
            claims: *random.one_of(&[0, 50, 100]),
            retains: random.chance(30),
            kills: random.between(2, 6),
            merging: match random.chance(50) {
                true => Some((
                    *random.one_of(&[4 << 10, 64 << 10, 32 << 20]),
                    random.between(1, 4),
                )),
                false => None,
            },
            local_recovery: random.chance(50),
            unaligned_after_ms: unaligned.then(|| *random.one_of(&[0, 0, 5, 50])),
        }
    }

    fn prepare(&self, bench: Bench) -> Bench {
        let mut bench = bench
            .with_storage_control()
            .argument("--records-a", self.workload.records_a)
            .argument("--records-b", self.workload.records_b)
            .argument("--keys", self.workload.keys)
            .argument("--rate", self.rate)
            .option("state.backend.type", self.backend)
            .option("execution.checkpointing.incremental", self.incremental)
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
            .option("rest.linger", "0 s")
            .option(
                "execution.checkpointing.externalized-checkpoint-retention",
                match self.retains {
                    true => "RETAIN_ON_CANCELLATION",
                    false => "DELETE_ON_CANCELLATION",
                },
            );
        if let Some((bytes, subtasks)) = self.merging {
            let option = |name: &str| format!("execution.checkpointing.file-merging.{name}");
            bench = bench
                .option(&option("enabled"), true)
                .option(&option("max-file-size"), format!("{bytes} b"))
                .option(&option("max-subtasks-per-file"), subtasks);
        }
        if self.state_in_files {
            bench = bench.option("execution.checkpointing.data-inline-threshold", "0 b");
        }
        bench = bench.unaligned_after(self.unaligned_after_ms);
        if self.local_recovery {
            bench = bench.local_recovery();
        }
        let scratch = bench.scratch().display().to_string();
        bench.option("io.tmp.dirs", scratch)
    }
}

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// A worker process.
    Worker,
    /// The process of the job master; its workers end by themselves.
    Master,
    /// The job master and its workers, all at once.
    Both,
}

/// How often what has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Kills in each phase; a phase that was not met in time is not counted.
    pub kills: BTreeMap<(Phase, Victim), u64>,
    /// Phases that a job did not come to before it was killed all the same, or had ended.
    pub missed: BTreeMap<Phase, u64>,
    /// Starts from a snapshot, by claim mode.
    pub starts: BTreeMap<&'static str, u64>,
    /// Files that nobody needed, left by kills and found in the end.
    pub garbage: usize,
    /// Working directories of killed processes that the last start has not removed yet.
    pub abandoned: usize,
    /// Starts by state backend.
    pub backends: BTreeMap<(&'static str, bool), u64>,
}

impl Tally {
    /// How often somebody was killed in a phase.
    pub fn kills_in(&self, phase: Phase) -> u64 {
        let of_phase = self.kills.iter().filter(|((met, _), _)| *met == phase);
        of_phase.map(|(_, count)| count).sum()
    }
}

/// What becomes of the job behind a kill.
enum Next {
    GoOn,
    Start,
    Over,
}

struct Run<'a> {
    bench: &'a Bench,
    storage: StorageControl,
    random: Random,
    scenario: Scenario,
    tally: &'a mut Tally,
    /// It was cancelled, and what it has published is all that there will be.
    is_given_up: bool,
}

/// Runs a random scenario to its end.
///
/// # Errors
///
/// What was published, or what lies on the disk, is not what it should be: for people.
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
    let begin = Instant::now();
    let mut run = Run {
        storage: bench.storage_control(),
        bench: &bench,
        random,
        scenario,
        tally,
        is_given_up: false,
    };
    run.go()
        .and_then(|()| run.check_end())
        .map_err(|wrong| format!("seed {seed}, {}: {wrong}", directory.display()))?;
    tally.runs += 1;
    eprintln!("  took {:.1?}", begin.elapsed());
    std::fs::remove_dir_all(directory).map_err(|error| error.to_string())
}

impl Run<'_> {
    fn directories(&self) -> Vec<PathBuf> {
        vec![self.bench.checkpoints(), self.bench.savepoints()]
    }

    fn go(&mut self) -> Result<(), String> {
        let Some(mut job) = self.start()? else {
            return Ok(());
        };
        for _ in 0..self.scenario.kills {
            let phase = *self.random.one_of(&PHASES);
            let victim = *self
                .random
                .one_of(&[Victim::Worker, Victim::Master, Victim::Both]);
            match self.kill_in(&mut job, phase, victim)? {
                Next::GoOn => {}
                Next::Start => {
                    drop(job);
                    self.check_snapshots()?;
                    job = match self.start()? {
                        Some(job) => job,
                        None => return Ok(()),
                    };
                }
                Next::Over => return Ok(()),
            }
        }
        // It may have been cancelled.
        while matches!(self.ended(&mut job)?, Next::Start) {
            drop(job);
            self.check_snapshots()?;
            job = match self.start()? {
                Some(job) => job,
                None => return Ok(()),
            };
        }
        let orphans = job.workers();
        match orphans.is_empty() {
            true => Ok(()),
            false => Err(format!("{orphans:?} are left:\n{}", tail(&job.log()))),
        }
    }

    /// Starts the job from the newest snapshot; now and then it is killed while it restores, and started
    /// again. `None`: it had come to its end.
    fn start(&mut self) -> Result<Option<JobProcess>, String> {
        loop {
            let newest = latest(&self.directories())?.map(|path| path.display().to_string());
            let is_killed = newest.is_some() && self.random.chance(25);
            match is_killed {
                true => self.storage.set(&Phase::Restore.rules(&mut self.random)),
                false => self.storage.clear(),
            }
            let mut job = self.launch(newest);
            if !is_killed {
                return Ok(Some(job));
            }
            let victim = *self.random.one_of(&[Victim::Master, Victim::Both]);
            match self.kill_when_met(&mut job, Phase::Restore, victim)? {
                Next::GoOn => return Ok(Some(job)),
                Next::Over => return Ok(None),
                Next::Start => {
                    drop(job);
                    self.check_snapshots()?;
                }
            }
        }
    }

    fn launch(&mut self, from: Option<String>) -> JobProcess {
        let parallelism = self.random.between(1, 3).to_string();
        let processes = self.random.one_of(&[1, 2, 2, 3]).to_string();
        let mode = match self.random.chance(self.scenario.claims) {
            true => "CLAIM",
            false => "NO_CLAIM",
        };
        eprintln!(
            "  start with parallelism {parallelism} in {processes} processes from {from:?}, {mode}"
        );
        let mut options = vec![
            ("parallelism.default", parallelism.as_str()),
            ("cluster.processes", processes.as_str()),
            ("execution.state-recovery.claim-mode", mode),
        ];
        if let Some(from) = &from {
            options.push(("execution.state-recovery.path", from));
            *self.tally.starts.entry(mode).or_default() += 1;
        }
        let backend = (self.scenario.backend, self.scenario.incremental);
        *self.tally.backends.entry(backend).or_default() += 1;
        self.bench.start(&options)
    }

    /// Brings the job to a phase, and kills somebody there.
    fn kill_in(
        &mut self,
        job: &mut JobProcess,
        phase: Phase,
        victim: Victim,
    ) -> Result<Next, String> {
        // It is up, and has something to lose.
        let wanted = self.random.between(1, 4);
        while job.completed_checkpoints().unwrap_or(0) < wanted {
            if job.ends_within(Duration::from_millis(5)) {
                return self.ended(job);
            }
        }
        let workers = job.workers();
        if phase == Phase::Restore && workers.is_empty() {
            // A job of one process restores when it is started again.
            job.kill_master();
            return Ok(self.next());
        }
        self.storage.set(&phase.rules(&mut self.random));
        match phase {
            Phase::Restore => kill_process(*self.random.one_of(&workers)),
            Phase::Savepoint => drop(job.trigger_savepoint()),
            Phase::End if self.random.chance(70) => {
                job.cancel();
                // Whoever cancels and keeps nothing does not start it again.
                self.is_given_up = !self.scenario.retains;
            }
            Phase::End
            | Phase::Begin
            | Phase::Upload
            | Phase::Completing
            | Phase::Completed
            | Phase::Subsumption
            | Phase::CleanUp => {}
        }
        self.kill_when_met(job, phase, victim)
    }

    fn kill_when_met(
        &mut self,
        job: &mut JobProcess,
        phase: Phase,
        victim: Victim,
    ) -> Result<Next, String> {
        let name = format!("{phase:?}");
        let deadline = Instant::now() + PHASE_PATIENCE;
        let met = loop {
            if let Some(met) = self.storage.met(&name) {
                break Some(met);
            }
            if job.has_ended().is_some() || Instant::now() >= deadline {
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        if met.is_none() {
            *self.tally.missed.entry(phase).or_default() += 1;
        }
        if job.has_ended().is_some() {
            return self.ended(job);
        }
        let longest = StorageControl::stands_still() * 4 / 5;
        std::thread::sleep(self.random.duration(longest));
        let victim = match victim {
            Victim::Worker if job.workers().is_empty() => Victim::Both,
            Victim::Worker | Victim::Master | Victim::Both => victim,
        };
        eprintln!("  {victim:?} dies in {phase:?} at {met:?}");
        if met.is_some() {
            *self.tally.kills.entry((phase, victim)).or_default() += 1;
        }
        match victim {
            Victim::Worker => {
                let workers = job.workers();
                let stands_still = met.map(|(pid, _)| pid).filter(|pid| workers.contains(pid));
                // Half of the time the one that stands still, if it is a worker.
                let chosen = match stands_still.filter(|_| self.random.chance(50)) {
                    Some(pid) => Some(pid),
                    None if workers.is_empty() => None,
                    None => Some(*self.random.one_of(&workers)),
                };
                chosen.into_iter().for_each(kill_process);
                self.storage.clear();
                Ok(Next::GoOn)
            }
            Victim::Master => {
                job.kill_master();
                Ok(self.next())
            }
            Victim::Both => {
                job.workers().into_iter().for_each(kill_process);
                job.kill_master();
                Ok(self.next())
            }
        }
    }

    /// The job has ended by itself; it must have finished, or was told to end.
    fn ended(&mut self, job: &mut JobProcess) -> Result<Next, String> {
        let status = job.wait();
        let ended = job.handshake().and_then(|handshake| handshake.status);
        match ended.as_deref() {
            Some("FINISHED" | "CANCELED") if status.success() => Ok(self.next()),
            other => Err(format!(
                "it ended {other:?}, {status}:\n{}",
                tail(&job.log())
            )),
        }
    }

    fn next(&self) -> Next {
        let expected = expected(&self.scenario.workload);
        match difference(&expected, &self.bench.published()) {
            None => Next::Over,
            Some(_) if self.is_given_up => Next::Over,
            Some(_) => Next::Start,
        }
    }

    fn check_snapshots(&self) -> Result<(), String> {
        let wrong = unsound(&self.directories());
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!("snapshots are damaged: {}", wrong.join("\n"))),
        }
    }

    /// What is published, and what lies on the disk, when all is over.
    /// What killed processes have left beside their snapshots, and the next one would not remove.
    fn remains_of_processes(&mut self) -> Vec<String> {
        let scratch = self.bench.scratch();
        self.tally.abandoned += millpond_fs::remove_abandoned(&scratch).len();
        let left = std::fs::read_dir(scratch).into_iter().flatten().flatten();
        left.map(|entry| format!("kept for ever: {}", entry.path().display()))
            .collect()
    }

    fn check_end(&mut self) -> Result<(), String> {
        self.storage.clear();
        let expected = expected(&self.scenario.workload);
        let published = self.bench.published();
        let wrong = match self.is_given_up {
            true => surplus(&expected, &published),
            false => difference(&expected, &published),
        };
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        self.check_snapshots()?;
        let mut problems = Vec::new();
        for directory in self.directories() {
            let (wrong, deleted) = collect_garbage(&directory);
            problems.extend(wrong);
            self.tally.garbage += deleted;
        }
        problems.extend(self.remains_of_processes());
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("\n")),
        }
    }
}

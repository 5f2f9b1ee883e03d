//! One seed, one history: the coordinator among slow, failing and dying workers.
//!
//! A small world (workers, disk, users) runs in simulated time. After every event the laws are
//! checked that must hold whatever happens; at the end of each history the faults cease, and the
//! job must come to its end by itself.
//!
//! `MILLPOND_FUZZ_SECONDS` (default 2) is the time to spend; `MILLPOND_FUZZ_SEED` replays one history.

mod shared_files;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millpond_checkpoint::{
    Action, CompletedSnapshot, Completion, Coordinator, CoordinatorConfig, DiscardReason, Event,
    Outcome, RecoveryChoice, Released, Retention, Scope, StartedFrom, Verification,
    choose_recovery,
};
use millpond_job::dispatcher::{AfterSavepoint, CheckpointKind, CheckpointStatus};
use millpond_job::gateway::{
    Attempt, Epoch, EpochEnd, FromWorker, SnapshotOptions, StopMode, ToWorker,
};
use millpond_job::graph::{
    ChainingStrategy, NodeId, NodeKind, Partitioner, StreamEdge, StreamGraph, StreamNode,
};
use millpond_job::{
    JobGraph, JobStatus, OperatorAcknowledgement, SubtaskAcknowledgement, VertexIndex,
};
use millpond_snapshot::SubtaskSnapshot;
use millpond_types::config::ClaimMode;
use millpond_types::{CheckpointId, JobId, TriggerId};

use shared_files::SharedFiles;

/// Simulated time after which faults cease and sources end.
const CALM_MS: u64 = 60_000;
/// What must happen in some history, or the laws are checked against nothing.
const WORTH_SEEING: [&str; 19] = [
    "a stop",
    "a cancellation with savepoint",
    "the end of the input",
    "another last checkpoint",
    "a failed stop that the job has survived",
    "a task that comes late to a failed stop",
    "an end without a last checkpoint",
    "a failed job",
    "a fall back",
    "a refusal to go back",
    "an abandoned write",
    "a late part",
    "a subsumed checkpoint",
    "a damaged checkpoint",
    "an epoch without snapshot",
    "a checkpoint on top of another",
    "a checkpoint on top of a claimed snapshot",
    "a directory that outlives its checkpoint",
    "a file that a checkpoint in progress held",
];
/// Simulated time within which the job must then have ended.
const PATIENCE_MS: u64 = 600_000;

#[test]
fn whatever_happens_the_laws_of_checkpoints_hold_and_the_job_comes_to_its_end() {
    if let Ok(seed) = std::env::var("MILLPOND_FUZZ_SEED") {
        World::new(seed.parse().expect("a number")).run();
        return;
    }
    let seconds = std::env::var("MILLPOND_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let mut histories = 0u64;
    let mut seen = BTreeSet::new();
    for seed in 0..1000 {
        seen.extend(World::new(seed).run());
        histories += 1;
    }
    for event in WORTH_SEEING {
        assert!(seen.contains(event), "no history has {event}: {seen:?}");
    }
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let mut seed = since_1970.as_nanos() as u64;
    while Instant::now() < until {
        World::new(seed).run();
        seed = seed.wrapping_add(1);
        histories += 1;
    }
    println!("{histories} histories");
}

/// Random numbers: xorshift64*.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// A number from 0 to `end`, not included.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Prints the seed if the history ends in a panic.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with MILLPOND_FUZZ_SEED={}", self.0);
        }
    }
}

/// Something that will happen.
enum Future {
    /// A message reaches the job master.
    FromProcess(FromWorker),
    /// A message reaches a process.
    ToProcess { process: u32, message: ToWorker },
    /// A subtask has written its part, or cannot.
    Part {
        attempt: Attempt,
        options: SnapshotOptions,
        vertex: u32,
        subtask: u32,
    },
    /// The metadata is written, or cannot be.
    Metadata { id: CheckpointId, directory: String },
    /// A process dies.
    Kill { attempt: Attempt },
    /// The job master learns that the attempt has failed.
    AttemptFailed { attempt: Attempt },
    /// The job is deployed again.
    Recover,
    /// A source subtask has made its last record.
    SourceEnds { attempt: Attempt, subtask: u32 },
    /// Somebody wants something.
    User,
    /// The job has ended.
    Ended(JobStatus),
    /// Only time passes.
    Nothing,
}

/// A directory of a snapshot.
#[derive(Default)]
struct Directory {
    has_metadata: bool,
    damaged: bool,
}

struct World {
    random: Random,
    _seed: Seed,
    config: CoordinatorConfig,
    /// Whether the sink has transactions.
    commits: bool,
    graph: JobGraph,
    coordinator: Coordinator,
    now_ms: u64,
    sequence: u64,
    future: BTreeMap<(u64, u64), Future>,
    /// Messages of one process come in order.
    last_arrival_ms: BTreeMap<(Attempt, u32, bool), u64>,

    attempt: Attempt,
    processes: u32,
    is_failing: bool,
    has_ended: Option<JobStatus>,
    is_calm: bool,
    ended_processes: u32,
    /// The snapshot behind which each process has stopped, and waits for its fate.
    stopped: BTreeMap<u32, CheckpointId>,
    /// What each process has heard to be given up.
    heard_aborted: BTreeMap<u32, BTreeSet<CheckpointId>>,
    /// What each process knows of the end of each epoch.
    known_ends: BTreeMap<(u32, Epoch), EpochEnd>,
    disk: BTreeMap<String, Directory>,
    shared: SharedFiles,
    /// Directories whose writers died: what lies there is removed at the next start of the job.
    orphans: BTreeSet<String>,
    triggers: BTreeMap<TriggerId, bool>,
    manual_in_progress: BTreeSet<TriggerId>,
    /// Stops and cancellations.
    ends_in_progress: BTreeSet<TriggerId>,
    next_trigger: u64,

    laws: Laws,
}

/// What the laws need to remember.
#[derive(Default)]
struct Laws {
    newest_id: CheckpointId,
    next_epoch: Epoch,
    unconfirmed: Option<(Epoch, BTreeSet<u32>)>,
    /// A synchronous snapshot in progress, behind which nothing may begin.
    synchronous: Option<CheckpointId>,
    options: BTreeMap<CheckpointId, SnapshotOptions>,
    attempt_of: BTreeMap<CheckpointId, Attempt>,
    parts: BTreeMap<CheckpointId, BTreeSet<(u32, u32)>>,
    finalized: BTreeSet<CheckpointId>,
    durable: BTreeSet<CheckpointId>,
    notified: BTreeSet<CheckpointId>,
    aborted: BTreeSet<CheckpointId>,
    committed: Option<CheckpointId>,
    last_end_ms: Option<u64>,
    /// When the last checkpoint behind the end of the input was last tried in this attempt.
    last_checkpoint_ms: Option<u64>,
    /// Stops that failed without failing the attempt.
    failed_stops: BTreeSet<CheckpointId>,
    attempt_is_over: bool,
    has_fallen_back: bool,
    started_from: Option<StartedFrom>,
    /// See [`WORTH_SEEING`].
    seen: BTreeSet<&'static str>,
}

fn graph() -> JobGraph {
    let node = |id: u32, kind: NodeKind| StreamNode {
        id: NodeId(id),
        name: format!("n{id}"),
        uid: Some(format!("uid-{id}")),
        uid_hash: None,
        kind,
        parallelism: 2,
        max_parallelism: None,
        chaining: ChainingStrategy::Always,
    };
    let edge = StreamEdge {
        from: NodeId(0),
        to: NodeId(1),
        input: 0,
        partitioner: Partitioner::Hash,
        side_output: None,
    };
    let nodes = vec![node(0, NodeKind::Source), node(1, NodeKind::Sink)];
    JobGraph::build(
        &StreamGraph {
            nodes,
            edges: vec![edge],
        },
        true,
        true,
    )
    .expect("is a job")
}

fn some_config(random: &mut Random) -> CoordinatorConfig {
    let mut config = CoordinatorConfig::new(JobId([7; 16]), "file:/c");
    config.interval_ms = random.pick(&[None, Some(50), Some(500), Some(500), Some(5000)]);
    config.timeout_ms = random.pick(&[300, 2000, 20_000]);
    config.min_pause_ms = random.pick(&[0, 0, 0, 100, 3000]);
    config.max_concurrent = random.pick(&[1, 1, 2, 4]);
    config.tolerable_failed = random.pick(&[0, 1, 5, 1000]);
    config.num_retained = random.pick(&[1, 1, 2, 3]);
    config.retention = random.pick(&[
        Retention::Unset,
        Retention::NoExternalized,
        Retention::DeleteOnCancellation,
        Retention::RetainOnCancellation,
    ]);
    config.checkpoints_after_tasks_finish = !random.percent(10);
    config.tick_reset_interval_ms = random.pick(&[700, 1_000_000]);
    config.history = random.pick(&[1, 10, 100_000]);
    config.allow_fallback_past_committed_transactions = random.percent(30);
    config
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let config = some_config(&mut random);
        let graph = graph();
        let mut coordinator = Coordinator::new(config.clone(), &graph, 1);
        let mut laws = Laws {
            attempt_is_over: true,
            ..Laws::default()
        };
        let mut disk = BTreeMap::new();
        let mut shared = SharedFiles::default();
        if random.percent(30) {
            let mut from = StartedFrom {
                checkpoint: 40,
                directory: "file:/old/chk-40".to_owned(),
                is_savepoint: random.percent(50),
                mode: random.pick(&[
                    ClaimMode::Claim,
                    ClaimMode::Claim,
                    ClaimMode::NoClaim,
                    ClaimMode::Legacy,
                ]),
                files: Vec::new(),
                files_of_others: Vec::new(),
                state_bytes: 1,
                pending_transactions: false,
            };
            shared.start_from(&mut from, &mut random);
            let directory = Directory {
                has_metadata: true,
                damaged: false,
            };
            disk.insert(from.directory.clone(), directory);
            laws.newest_id = 40;
            laws.started_from = Some(from.clone());
            coordinator.start_from(from);
        }
        let mut world = World {
            processes: 1 + random.below(3) as u32,
            commits: random.percent(60),
            random,
            _seed: Seed(seed),
            config,
            graph,
            coordinator,
            now_ms: 0,
            sequence: 0,
            future: BTreeMap::new(),
            last_arrival_ms: BTreeMap::new(),
            attempt: 0,
            is_failing: true,
            has_ended: None,
            is_calm: false,
            ended_processes: 0,
            stopped: BTreeMap::new(),
            heard_aborted: BTreeMap::new(),
            known_ends: BTreeMap::new(),
            disk,
            shared,
            orphans: BTreeSet::new(),
            triggers: BTreeMap::new(),
            manual_in_progress: BTreeSet::new(),
            ends_in_progress: BTreeSet::new(),
            next_trigger: 1,
            laws,
        };
        world.later(0, Future::Recover);
        world.later(1, Future::User);
        world.later(CALM_MS, Future::Nothing);
        world
    }

    fn run(mut self) -> BTreeSet<&'static str> {
        while self.has_ended.is_none() || !self.future.is_empty() {
            self.step();
        }
        self.check_the_end();
        self.laws.seen
    }

    /// Lets the next thing happen: what is planned, or the coordinator's deadline.
    fn step(&mut self) {
        let deadline = self.coordinator.next_deadline();
        let planned = self.future.keys().next().map(|(at_ms, _)| *at_ms);
        match (planned, deadline) {
            (Some(at_ms), deadline) if deadline.is_none_or(|deadline| at_ms <= deadline) => {
                let (_, next) = self.future.pop_first().expect("is planned");
                self.now_ms = self.now_ms.max(at_ms);
                self.happen(next);
            }
            (_, Some(deadline)) => {
                // Timers may fire late.
                self.now_ms = deadline
                    + if self.random.percent(20) {
                        self.random.below(30)
                    } else {
                        0
                    };
                self.tell(Event::Timer);
            }
            (None, None) => panic!("at {} ms nothing will ever happen again", self.now_ms),
            (Some(_), None) => unreachable!("the first case"),
        }
        if self.now_ms >= CALM_MS && !self.is_calm {
            self.become_calm();
        }
        assert!(
            self.now_ms < CALM_MS + PATIENCE_MS,
            "the job does not come to its end"
        );
    }

    fn later(&mut self, in_ms: u64, what: Future) {
        self.sequence += 1;
        self.future
            .insert((self.now_ms + in_ms, self.sequence), what);
    }

    /// Sends along one of the two ways between the job master and a process.
    fn send(&mut self, process: u32, to_master: bool, what: Future) {
        let delay = self.random.pick(&[0, 1, 5, 40, 200]);
        let way = (self.attempt, process, to_master);
        let last = self.last_arrival_ms.get(&way).copied().unwrap_or(0);
        let arrival = (self.now_ms + delay).max(last);
        self.last_arrival_ms.insert(way, arrival);
        self.later(arrival - self.now_ms, what);
    }

    fn become_calm(&mut self) {
        self.is_calm = true;
        for directory in self.disk.values_mut() {
            directory.damaged = false;
        }
        for subtask in 0..2 {
            self.later(
                1,
                Future::SourceEnds {
                    attempt: self.attempt,
                    subtask,
                },
            );
        }
    }

    /// A fault, unless they have ceased.
    fn fault(&mut self, share: u64) -> bool {
        !self.is_calm && self.random.percent(share)
    }

    fn process_of(&self, subtask: u32) -> u32 {
        subtask % self.processes
    }

    // What happens.

    fn happen(&mut self, what: Future) {
        match what {
            Future::Nothing => {}
            Future::FromProcess(message) => self.arrives(message),
            Future::ToProcess { process, message } => self.process_hears(process, message),
            Future::Part {
                attempt,
                options,
                vertex,
                subtask,
            } => {
                self.write_part(attempt, options, vertex, subtask);
            }
            Future::Metadata { id, directory } => self.write_metadata(id, directory),
            Future::Kill { attempt } => {
                if attempt == self.attempt && !self.is_calm {
                    self.fail_attempt(30);
                }
            }
            Future::AttemptFailed { attempt } => {
                if attempt == self.attempt && self.has_ended.is_none() {
                    self.laws.attempt_is_over = true;
                    self.tell(Event::AttemptFailed {
                        reason: "killed".to_owned(),
                    });
                    self.later(5, Future::Recover);
                }
            }
            Future::Recover => self.recover(),
            Future::SourceEnds { attempt, subtask } => {
                let message = FromWorker::SourceEnded {
                    attempt,
                    vertex: VertexIndex(0),
                    subtask,
                };
                self.send(self.process_of(subtask), true, Future::FromProcess(message));
            }
            Future::User => self.user_wants(),
            Future::Ended(status) => {
                if self.has_ended.is_none() {
                    self.end_job(status);
                }
            }
        }
    }

    fn arrives(&mut self, message: FromWorker) {
        match &message {
            FromWorker::Announced {
                attempt,
                process,
                epoch,
            } if *attempt == self.attempt => {
                if let Some((unconfirmed, missing)) = &mut self.laws.unconfirmed
                    && unconfirmed == epoch
                {
                    missing.remove(process);
                }
            }
            FromWorker::Acknowledge {
                checkpoint,
                acknowledgement,
                ..
            } => {
                let part = (acknowledgement.vertex.0, acknowledgement.subtask);
                self.laws.parts.entry(*checkpoint).or_default().insert(part);
            }
            FromWorker::Ended { attempt, .. } if *attempt == self.attempt && !self.is_failing => {
                self.ended_processes += 1;
                if self.ended_processes == self.processes {
                    self.later(0, Future::Ended(JobStatus::Finished));
                }
            }
            FromWorker::Running { .. }
            | FromWorker::Announced { .. }
            | FromWorker::Decline { .. }
            | FromWorker::SourceEnded { .. }
            | FromWorker::Failed { .. }
            | FromWorker::Ended { .. }
            | FromWorker::Metrics { .. } => {}
        }
        self.tell(Event::Worker(message));
    }

    fn process_hears(&mut self, process: u32, message: ToWorker) {
        match message {
            ToWorker::Announce {
                attempt,
                epoch,
                end,
            } => {
                if attempt != self.attempt || self.is_failing || self.fault(1) {
                    return;
                }
                self.known_ends.insert((process, epoch), end);
                let answer = FromWorker::Announced {
                    attempt,
                    process,
                    epoch,
                };
                self.send(process, true, Future::FromProcess(answer));
            }
            ToWorker::Advance { attempt, epoch } => {
                if attempt != self.attempt || self.is_failing {
                    return;
                }
                let end = self.known_ends.get(&(process, epoch));
                let end = end
                    .expect("an advance comes behind its announcement")
                    .clone();
                assert!(
                    !self.stopped.contains_key(&process),
                    "who has stopped hears that it is in vain before it is to go on"
                );
                if let EpochEnd::Snapshot(options) = end {
                    self.snapshot(process, &options);
                }
            }
            ToWorker::NotifyAborted {
                attempt,
                checkpoint,
            } => {
                if attempt == self.attempt && !self.is_failing {
                    self.stopped
                        .retain(|of, behind| *of != process || *behind != checkpoint);
                    let heard = self.heard_aborted.entry(process).or_default();
                    heard.insert(checkpoint);
                }
            }
            ToWorker::NotifyComplete {
                attempt,
                checkpoint,
            } => {
                let stops = self.laws.options[&checkpoint].stop.is_some();
                if attempt == self.attempt && !self.is_failing && stops {
                    assert_eq!(self.stopped.get(&process), Some(&checkpoint));
                    let message = FromWorker::Ended { attempt, process };
                    self.send(process, true, Future::FromProcess(message));
                }
            }
            ToWorker::EndOfInput { .. } | ToWorker::Cancel { .. } => {}
        }
    }

    fn snapshot(&mut self, process: u32, options: &SnapshotOptions) {
        let attempt = self.attempt;
        if options.stop.is_some() {
            let heard = self.heard_aborted.get(&process);
            if heard.is_some_and(|aborted| aborted.contains(&options.id)) {
                self.laws
                    .seen
                    .insert("a task that comes late to a failed stop");
            } else {
                self.stopped.insert(process, options.id);
            }
        }
        for (vertex, subtask) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            // One of a hundred never answers.
            if self.process_of(subtask) == process && !self.fault(1) {
                let duration = if self.is_calm {
                    10
                } else {
                    self.random.pick(&[0, 3, 100, 900, 2500])
                };
                let options = options.clone();
                self.later(
                    duration,
                    Future::Part {
                        attempt,
                        options,
                        vertex,
                        subtask,
                    },
                );
            }
        }
    }

    fn write_part(
        &mut self,
        attempt: Attempt,
        options: SnapshotOptions,
        vertex: u32,
        subtask: u32,
    ) {
        if attempt != self.attempt || self.is_failing {
            // The writer died; what it had written stays.
            if self.random.percent(50) {
                self.orphans.insert(options.directory.clone());
                self.disk.entry(options.directory).or_default();
            }
            return;
        }
        let checkpoint = options.id;
        // Also one that fails may have written some of its files.
        self.disk.entry(options.directory.clone()).or_default();
        let message = if self.fault(3) {
            FromWorker::Decline {
                attempt,
                checkpoint,
                vertex: VertexIndex(vertex),
                subtask,
                reason: "disk full".to_owned(),
            }
        } else {
            FromWorker::Acknowledge {
                attempt,
                checkpoint,
                acknowledgement: self.part(&options, vertex, subtask),
            }
        };
        let process = self.process_of(subtask);
        self.send(process, true, Future::FromProcess(message));
    }

    fn part(
        &mut self,
        options: &SnapshotOptions,
        vertex: u32,
        subtask: u32,
    ) -> SubtaskAcknowledgement {
        // A task that has not heard that its checkpoint was given up may refer to what is gone.
        let is_given_up = self.laws.aborted.contains(&options.id);
        let options = SnapshotOptions {
            base: options.base.filter(|_| !is_given_up),
            ..options.clone()
        };
        let part = (options.id, vertex, subtask);
        let state = SubtaskSnapshot {
            managed_keyed: Some(self.shared.write(&options, part, &mut self.random)),
            ..SubtaskSnapshot::default()
        };
        SubtaskAcknowledgement {
            vertex: VertexIndex(vertex),
            subtask,
            operators: vec![OperatorAcknowledgement {
                operator: self.graph.vertices[vertex as usize].operators[0].id,
                state,
                files: Vec::new(),
                states: Vec::new(),
                positions: Vec::new(),
                pending_transactions: vertex == 1 && self.commits,
                ended: false,
            }],
            metrics: Default::default(),
        }
    }

    fn write_metadata(&mut self, id: CheckpointId, directory: String) {
        let fails = self.fault(3);
        let result = if fails {
            Err("no space left".to_owned())
        } else {
            Ok(())
        };
        if !fails {
            self.laws.durable.insert(id);
            let damaged = self.fault(5);
            self.disk.insert(
                directory,
                Directory {
                    has_metadata: true,
                    damaged,
                },
            );
        }
        self.tell(Event::MetadataWritten {
            checkpoint: id,
            result,
        });
        if self.laws.attempt_of[&id] < self.attempt {
            self.laws.seen.insert("an abandoned write");
            let candidates = self.coordinator.recovery_candidates();
            let is_candidate = candidates
                .iter()
                .any(|candidate| candidate.checkpoint == id);
            assert!(
                !is_candidate,
                "an attempt runs that was restored from an older snapshot"
            );
        }
    }

    /// The attempt dies; a share of its messages under way is lost.
    fn fail_attempt(&mut self, lost_share: u64) {
        if self.is_failing {
            return;
        }
        self.is_failing = true;
        let keys: Vec<_> = self.future.keys().copied().collect();
        for key in keys {
            let Some(Future::FromProcess(message)) = self.future.get(&key) else {
                continue;
            };
            if self.random.percent(lost_share) {
                if let FromWorker::Acknowledge { checkpoint, .. }
                | FromWorker::Decline { checkpoint, .. } = message
                {
                    self.orphans
                        .insert(self.laws.options[checkpoint].directory.clone());
                    if let FromWorker::Acknowledge {
                        acknowledgement, ..
                    } = message
                    {
                        let (vertex, subtask) = (acknowledgement.vertex.0, acknowledgement.subtask);
                        let base = self.laws.options[checkpoint].base;
                        self.shared.lose((*checkpoint, vertex, subtask), base);
                    }
                }
                self.future.remove(&key);
            }
        }
        let attempt = self.attempt;
        let noticed_in = self.random.pick(&[0, 50, 2000]);
        self.later(noticed_in, Future::AttemptFailed { attempt });
    }

    fn recover(&mut self) {
        if self.has_ended.is_some() {
            return;
        }
        // A patient master waits for the outcome of a write under way, as it should.
        if self.coordinator.is_finalizing() && !self.random.percent(10) {
            self.later(7, Future::Recover);
            return;
        }
        let candidates = self.coordinator.recovery_candidates();
        let mut results = Vec::new();
        loop {
            let policy = self.coordinator.recovery_policy();
            match choose_recovery(&candidates, &results, policy) {
                RecoveryChoice::Empty => {
                    assert!(candidates.is_empty());
                    return self.start_attempt(None, Vec::new());
                }
                RecoveryChoice::Verify(index) => results.push(self.verify(&candidates[index])),
                RecoveryChoice::Restore { index, skipped } => {
                    let skipped = skipped.into_iter().map(|(id, _)| id).collect();
                    return self.start_attempt(Some(candidates[index].clone()), skipped);
                }
                RecoveryChoice::RetryLater { .. } => {
                    return self.later(500, Future::Recover);
                }
                RecoveryChoice::Refuse { .. } => {
                    self.laws.seen.insert("a refusal to go back");
                    return self.later(0, Future::Ended(JobStatus::Failed));
                }
            }
        }
    }

    fn verify(&mut self, candidate: &CompletedSnapshot) -> Verification {
        if self.fault(5) {
            return Verification::Unreachable("timed out".to_owned());
        }
        let directory = self
            .disk
            .get(&candidate.directory)
            .expect("a recovery point is on disk");
        assert!(directory.has_metadata, "a recovery point has metadata");
        if directory.damaged {
            Verification::Damaged(vec!["bits have flipped".to_owned()])
        } else {
            Verification::Intact
        }
    }

    fn start_attempt(&mut self, from: Option<CompletedSnapshot>, skipped: Vec<CheckpointId>) {
        self.check_recovery_point(from.as_ref(), &skipped);
        self.attempt += 1;
        self.is_failing = false;
        self.ended_processes = 0;
        self.known_ends.clear();
        self.stopped.clear();
        self.heard_aborted.clear();
        self.laws.last_checkpoint_ms = None;
        self.laws.next_epoch = 0;
        self.laws.unconfirmed = None;
        self.laws.synchronous = None;
        self.laws.attempt_is_over = false;
        let (attempt, processes) = (self.attempt, self.processes);
        self.tell(Event::AttemptStarted { attempt, processes });
        if let Some(from) = from {
            // Restoring commits what a snapshot holds.
            if from.pending_transactions {
                self.laws.committed = self.laws.committed.max(Some(from.checkpoint));
            }
            self.tell(Event::Restored {
                checkpoint: from.checkpoint,
                directory: from.directory,
                is_savepoint: from.is_savepoint,
                skipped: skipped
                    .into_iter()
                    .map(|id| (id, format!("{id} is damaged")))
                    .collect(),
            });
        }
        for process in 0..processes {
            let message = FromWorker::Running {
                attempt,
                process,
                read: Default::default(),
            };
            self.send(process, true, Future::FromProcess(message));
        }
        let life = self.random.pick(&[100, 1500, 9000, 40_000]);
        self.later(life, Future::Kill { attempt });
        let ends = if self.is_calm {
            1
        } else {
            self.random.pick(&[500, 30_000, 50_000, 100_000])
        };
        for subtask in 0..2 {
            self.later(
                ends + u64::from(subtask),
                Future::SourceEnds { attempt, subtask },
            );
        }
    }

    fn user_wants(&mut self) {
        if self.is_calm || self.has_ended.is_some() {
            return;
        }
        let in_ms = 1 + self.random.below(4000);
        self.later(in_ms, Future::User);
        let number = if self.random.percent(10) && self.next_trigger > 1 {
            self.next_trigger - 1
        } else {
            self.next_trigger += 1;
            self.next_trigger - 1
        };
        let mut trigger = [0; 16];
        trigger[..8].copy_from_slice(&number.to_le_bytes());
        let trigger = TriggerId(trigger);
        let is_new = !self.triggers.contains_key(&trigger);
        self.triggers.entry(trigger).or_insert(false);
        let then = match self.random.below(30) {
            0 => AfterSavepoint::Cancel,
            1 => AfterSavepoint::Stop,
            2 => AfterSavepoint::Drain,
            3 => return self.later(0, Future::Ended(JobStatus::Canceled)),
            _ => AfterSavepoint::Continue,
        };
        if then == AfterSavepoint::Continue && self.random.percent(40) {
            if is_new {
                self.manual_in_progress.insert(trigger);
            }
            let kind = self.random.pick(&[
                CheckpointKind::Configured,
                CheckpointKind::Full,
                CheckpointKind::Incremental,
            ]);
            self.tell(Event::TriggerCheckpoint { trigger, kind });
        } else {
            if is_new && then != AfterSavepoint::Continue {
                self.ends_in_progress.insert(trigger);
            }
            let directory = format!("file:/s/savepoint-{number}");
            self.tell(Event::TriggerSavepoint {
                trigger,
                directory,
                then,
                format: millpond_job::dispatcher::SavepointFormat::Canonical,
            });
        }
    }

    fn end_job(&mut self, status: JobStatus) {
        self.has_ended = Some(status);
        if status == JobStatus::Failed {
            self.laws.seen.insert("a failed job");
        }
        self.is_failing = true;
        self.laws.attempt_is_over = true;
        self.tell(Event::JobEnded { status });
    }

    // What the coordinator wants, and the laws.

    fn tell(&mut self, event: Event) {
        let actions = self.coordinator.handle(self.now_ms, event);
        let deadline = self.coordinator.next_deadline();
        assert!(
            deadline.is_none_or(|at_ms| at_ms > self.now_ms),
            "a deadline that has passed"
        );
        for action in actions {
            match action {
                Action::Send(message) => self.check_and_send(message),
                Action::Complete(completion) => self.check_and_complete(&completion),
                Action::Discard {
                    checkpoint,
                    directory,
                    reason,
                    scope,
                    released,
                } => {
                    self.check_and_discard(checkpoint, &directory, reason);
                    if reason == DiscardReason::Subsumed && scope == Scope::Named {
                        let seen = &mut self.laws.seen;
                        seen.insert("a directory that outlives its checkpoint");
                    }
                    self.shared.discard(&directory, scope, &released);
                }
                Action::Release(released) => {
                    // Of a claim, the last file may be one that others need.
                    assert_ne!(released, Released::default());
                    if !released.files.is_empty() {
                        let seen = &mut self.laws.seen;
                        seen.insert("a file that a checkpoint in progress held");
                    }
                    self.shared.release(&released);
                }
                Action::EndClaim { directory } => self.shared.end_claim(&directory),
                Action::Finish { trigger, outcome } => self.check_outcome(trigger, &outcome),
                Action::FailAttempt { reason } => {
                    assert!(!self.laws.attempt_is_over, "an attempt fails once");
                    assert!(
                        reason.starts_with("Exceeded checkpoint tolerable failure threshold")
                            || reason.starts_with("Could not stop with a savepoint")
                            || reason.contains("did not confirm"),
                        "{reason}"
                    );
                    self.laws.attempt_is_over = true;
                    self.fail_attempt(10);
                }
                Action::CancelJob => {
                    self.laws.seen.insert("a cancellation with savepoint");
                    self.later(3, Future::Ended(JobStatus::Canceled));
                }
                Action::EndOfInput => {
                    self.laws.seen.insert("an end without a last checkpoint");
                    let periodic = self.config.interval_ms.is_some();
                    assert!(!periodic || !self.config.checkpoints_after_tasks_finish);
                    for process in 0..self.processes {
                        let message = FromWorker::Ended {
                            attempt: self.attempt,
                            process,
                        };
                        self.send(process, true, Future::FromProcess(message));
                    }
                }
            }
        }
        self.check_store();
        self.check_statistics();
    }

    fn check_and_send(&mut self, message: ToWorker) {
        let laws = &mut self.laws;
        assert!(
            !laws.attempt_is_over,
            "nothing is sent to an attempt that is over: {message:?}"
        );
        match &message {
            ToWorker::Announce {
                attempt,
                epoch,
                end,
            } => {
                assert_eq!(*attempt, self.attempt);
                assert_eq!(*epoch, laws.next_epoch, "epochs are announced one by one");
                assert!(laws.unconfirmed.is_none(), "one announcement at a time");
                assert_eq!(
                    laws.synchronous, None,
                    "nothing begins behind a synchronous snapshot"
                );
                laws.unconfirmed = Some((*epoch, (0..self.processes).collect()));
                match end {
                    EpochEnd::Snapshot(options) => self.check_trigger(options),
                    EpochEnd::Nothing => {
                        laws.seen.insert("an epoch without snapshot");
                    }
                }
            }
            ToWorker::Advance { attempt, epoch } => {
                assert_eq!(*attempt, self.attempt);
                let (announced, missing) = laws.unconfirmed.take().expect("announced before");
                assert_eq!(announced, *epoch);
                assert!(
                    missing.is_empty(),
                    "processes {missing:?} have not confirmed"
                );
                laws.next_epoch += 1;
            }
            ToWorker::NotifyComplete {
                attempt,
                checkpoint,
            } => {
                assert_eq!(*attempt, self.attempt);
                assert!(laws.durable.contains(checkpoint), "complete means durable");
                assert!(laws.notified.insert(*checkpoint), "notified once");
                assert!(!laws.aborted.contains(checkpoint));
                let options = &laws.options[checkpoint];
                assert!(
                    !options.is_savepoint || options.stop.is_some(),
                    "no plain savepoint"
                );
                match options.stop {
                    Some(StopMode::Suspend | StopMode::Drain) => laws.seen.insert("a stop"),
                    Some(StopMode::EndOfInput) => laws.seen.insert("the end of the input"),
                    None => false,
                };
                if self.commits {
                    laws.committed = laws.committed.max(Some(*checkpoint));
                }
            }
            ToWorker::NotifyAborted {
                attempt,
                checkpoint,
            } => {
                assert_eq!(*attempt, self.attempt);
                assert!(!laws.notified.contains(checkpoint));
            }
            ToWorker::Cancel { .. } | ToWorker::EndOfInput { .. } => {
                panic!("the job master says so, not the coordinator")
            }
        }
        for process in 0..self.processes {
            self.send(
                process,
                false,
                Future::ToProcess {
                    process,
                    message: message.clone(),
                },
            );
        }
    }

    fn check_trigger(&mut self, options: &SnapshotOptions) {
        let laws = &mut self.laws;
        assert!(options.id > laws.newest_id, "numbers only grow");
        laws.newest_id = options.id;
        laws.options.insert(options.id, options.clone());
        laws.attempt_of.insert(options.id, self.attempt);
        laws.synchronous = options.stop.map(|_| options.id);
        if let Some(base) = options.base {
            assert!(!options.is_savepoint, "a savepoint stands alone");
            laws.seen.insert("a checkpoint on top of another");
            match laws.started_from.as_ref().filter(|_| base == 40) {
                Some(from) => {
                    assert_ne!(from.mode, ClaimMode::NoClaim, "the first must be full");
                    laws.seen
                        .insert("a checkpoint on top of a claimed snapshot");
                }
                None => {
                    assert!(laws.durable.contains(&base) && !laws.aborted.contains(&base));
                    assert!(
                        !laws.options[&base].is_savepoint,
                        "savepoints are the user's"
                    );
                }
            }
        }
        if laws
            .failed_stops
            .iter()
            .any(|stop| laws.attempt_of[stop] == self.attempt)
        {
            laws.seen.insert("a failed stop that the job has survived");
        }
        assert!(
            !self.disk.contains_key(&options.directory),
            "each has a directory of its own"
        );
        let is_periodic = !options.is_savepoint && options.stop.is_none();
        if is_periodic && self.manual_in_progress.is_empty() {
            assert!(self.config.interval_ms.is_some(), "checkpoints are off");
            assert!(
                self.ends_in_progress.is_empty(),
                "checkpoints pause while a job is ended"
            );
            let pause_over = laws
                .last_end_ms
                .map_or(0, |end| end + self.config.min_pause_ms);
            assert!(
                self.now_ms >= pause_over,
                "{} is before {pause_over}",
                self.now_ms
            );
        }
        if options.stop == Some(StopMode::EndOfInput) {
            assert!(self.config.checkpoints_after_tasks_finish);
            let interval_ms = self.config.interval_ms.expect("checkpoints are on");
            if let Some(before_ms) = laws.last_checkpoint_ms.replace(self.now_ms) {
                laws.seen.insert("another last checkpoint");
                assert!(
                    self.now_ms >= before_ms + interval_ms,
                    "a last checkpoint is tried again as late as any other"
                );
            }
        }
    }

    fn check_and_complete(&mut self, completion: &Completion) {
        let id = completion.options.id;
        assert!(self.laws.finalized.insert(id), "finalized once");
        assert_eq!(completion.acknowledgements.len(), 4);
        assert_eq!(self.laws.parts[&id].len(), 4, "all parts have come");
        assert!(!self.laws.aborted.contains(&id));
        let duration = self.random.pick(&[0, 2, 30, 800]);
        let directory = completion.options.directory.clone();
        self.later(duration, Future::Metadata { id, directory });
    }

    fn check_and_discard(&mut self, id: CheckpointId, directory: &str, reason: DiscardReason) {
        let candidates = self.coordinator.recovery_candidates();
        let is_candidate = candidates
            .iter()
            .any(|candidate| candidate.directory == directory);
        assert!(
            !is_candidate,
            "checkpoint {id} is discarded ({reason:?}) but may be needed"
        );
        if let Some(from) = &self.laws.started_from {
            assert!(
                from.mode == ClaimMode::Claim || from.directory != directory,
                "not ours to discard"
            );
        }
        let is_savepoint = self
            .laws
            .options
            .get(&id)
            .is_some_and(|options| options.is_savepoint);
        match reason {
            DiscardReason::Aborted => {
                assert!(self.laws.aborted.insert(id), "given up once");
                assert!(!self.laws.notified.contains(&id));
                self.ended(id);
            }
            DiscardReason::Late => {
                self.laws.seen.insert("a late part");
                assert!(self.laws.aborted.contains(&id));
            }
            DiscardReason::Subsumed | DiscardReason::Damaged | DiscardReason::JobEnded => {
                match reason {
                    DiscardReason::Subsumed => self.laws.seen.insert("a subsumed checkpoint"),
                    DiscardReason::Damaged => self.laws.seen.insert("a damaged checkpoint"),
                    DiscardReason::JobEnded | DiscardReason::Aborted | DiscardReason::Late => false,
                };
                let has_newer = candidates.iter().any(|other| other.checkpoint > id);
                assert!(
                    has_newer || reason == DiscardReason::JobEnded,
                    "checkpoint {id} goes ({reason:?}) before a newer one is complete"
                );
                assert!(!is_savepoint, "savepoints belong to the user");
                assert!(self.laws.durable.contains(&id) || id == 40);
            }
        }
        self.disk.remove(directory);
    }

    /// A snapshot has ended, well or not.
    fn ended(&mut self, id: CheckpointId) {
        // One that was abandoned had ended, as a failure, when its attempt did.
        if self.laws.attempt_of[&id] == self.attempt {
            self.laws.last_end_ms = Some(self.now_ms);
        }
        // Behind one that has completed the job ends; behind a failed one it may go on.
        if self.laws.synchronous == Some(id) && self.laws.aborted.contains(&id) {
            self.laws.synchronous = None;
            let suspends = self.laws.options[&id].stop == Some(StopMode::Suspend);
            if suspends && !self.laws.attempt_is_over {
                self.laws.failed_stops.insert(id);
            }
        }
    }

    fn check_outcome(&mut self, trigger: TriggerId, outcome: &Outcome) {
        let done = self
            .triggers
            .get_mut(&trigger)
            .expect("a trigger that was wanted");
        assert!(!std::mem::replace(done, true), "an operation ends once");
        self.manual_in_progress.remove(&trigger);
        self.ends_in_progress.remove(&trigger);
        match outcome {
            Outcome::Savepoint(Ok(path)) => {
                assert!(
                    self.disk.get(path).is_some_and(|d| d.has_metadata),
                    "{path} is there"
                );
            }
            Outcome::Checkpoint(Ok(id)) => assert!(self.laws.durable.contains(id)),
            Outcome::Savepoint(Err(failure)) | Outcome::Checkpoint(Err(failure)) => {
                assert!(!failure.message.is_empty());
            }
        }
    }

    fn check_store(&mut self) {
        let candidates = self.coordinator.recovery_candidates();
        let claimed = |id| {
            self.laws
                .started_from
                .as_ref()
                .is_some_and(|f| f.mode == ClaimMode::Claim && f.checkpoint == id)
        };
        let kept = candidates.iter().filter(|candidate| {
            let options = self.laws.options.get(&candidate.checkpoint);
            options.is_some_and(|options| !options.is_savepoint) || claimed(candidate.checkpoint)
        });
        let kept = kept.map(|candidate| candidate.checkpoint);
        assert!(kept.clone().count() <= self.config.num_retained as usize);
        let own = candidates
            .iter()
            .filter(|candidate| candidate.checkpoint != 40);
        for candidate in own.clone() {
            assert!(self.laws.durable.contains(&candidate.checkpoint));
            assert!(!self.laws.aborted.contains(&candidate.checkpoint));
        }
        assert!(own.is_sorted_by(|newer, older| newer.checkpoint > older.checkpoint));
        self.shared.check(kept);
        let newest = self.coordinator.recovery_policy().newest_committed;
        assert_eq!(newest, self.laws.committed, "every commit is remembered");
    }

    fn check_statistics(&mut self) {
        let statistics = self.coordinator.statistics();
        let sum = statistics.in_progress + statistics.completed + statistics.failed;
        assert_eq!(statistics.total, sum, "each has one outcome");
        let in_progress = statistics
            .history
            .iter()
            .filter(|record| record.status == CheckpointStatus::InProgress);
        assert_eq!(in_progress.clone().count() as u64, statistics.in_progress);
        let newest = self.laws.notified.last().copied().unwrap_or(0);
        let in_progress = in_progress.filter(|record| !record.is_savepoint);
        for record in in_progress.clone() {
            let is_old = record.id < newest && !self.laws.finalized.contains(&record.id);
            assert!(
                !is_old,
                "{} goes on although {newest} is complete",
                record.id
            );
        }
        let checkpoints = in_progress.count();
        let most = if self.config.min_pause_ms > 0 {
            1
        } else {
            self.config.max_concurrent
        };
        assert!(
            checkpoints <= most as usize,
            "{checkpoints} checkpoints at once"
        );
        // The end of a complete one is seen here: it is the only outcome without a discard.
        let completed = statistics.history.iter().filter(|record| {
            record.status == CheckpointStatus::Completed
                && record.trigger_timestamp_ms + record.end_to_end_duration_ms == self.now_ms
        });
        if completed.count() > 0 {
            self.laws.last_end_ms = Some(self.now_ms);
        }
    }

    fn check_recovery_point(&mut self, from: Option<&CompletedSnapshot>, skipped: &[CheckpointId]) {
        let allowed = self.config.allow_fallback_past_committed_transactions;
        let restored = from.map(|from| from.checkpoint);
        assert!(
            allowed || restored >= self.laws.committed,
            "{restored:?} is behind a commit"
        );
        // The oracle: the newest snapshot that was told to be complete and is intact.
        let complete = self.laws.durable.iter().filter(|id| {
            let directory = self.disk.get(&self.laws.options[id].directory);
            directory.is_some_and(|d| d.has_metadata && !d.damaged)
                && !self.laws.aborted.contains(id)
        });
        let newest = complete.max().copied();
        // Savepoints older than the checkpoints that were kept are no recovery points, even if those
        // turn out to be damaged.
        self.laws.has_fallen_back |= !skipped.is_empty();
        if self.laws.has_fallen_back {
            self.laws.seen.insert("a fall back");
        }
        if let Some(newest) = newest
            && !self.laws.has_fallen_back
        {
            let expected = self.coordinator.is_finalizing() || restored >= Some(newest);
            assert!(
                expected,
                "{restored:?} is restored, but {newest} is newer and intact"
            );
        }
    }

    fn check_the_end(&self) {
        let unfinished: Vec<_> = self.triggers.iter().filter(|(_, done)| !**done).collect();
        let unused = |trigger: &TriggerId| {
            self.coordinator.savepoint_status(*trigger).is_none()
                && self.coordinator.checkpoint_status(*trigger).is_none()
        };
        assert!(
            unfinished.iter().all(|(trigger, _)| unused(trigger)),
            "{unfinished:?}"
        );
        assert_eq!(self.coordinator.statistics().in_progress, 0);
        assert_eq!(self.coordinator.next_deadline(), None);
        let status = self.has_ended.expect("has ended");
        let keeps = self.config.retention.keeps(status);
        let of = |directory: &String| {
            let known = self.laws.options.values();
            known
                .filter(|options| options.directory == *directory)
                .map(|options| options.id)
                .next()
                .unwrap_or(40)
        };
        let complete = self.disk.iter().filter(|(_, content)| content.has_metadata);
        let kept = complete.map(|(directory, _)| of(directory)).collect();
        self.shared.check_the_end(&kept, &self.orphans);
        for (directory, content) in &self.disk {
            let id = self
                .laws
                .options
                .values()
                .find(|o| o.directory == *directory);
            let is_ours = id.is_some_and(|options| !options.is_savepoint);
            let is_kept = !is_ours || keeps;
            let is_orphan = self.orphans.contains(directory);
            assert!(
                content.has_metadata && is_kept || is_orphan,
                "{directory} is left behind"
            );
        }
    }
}

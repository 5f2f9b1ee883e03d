//! One history: what will happen, in order of simulated time, and whether the laws hold.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use millpond_checkpoint::{
    CoordinatorConfig, ElasticOptions, RestartConfig, Retention, SavepointScheduleConfig,
};
use millpond_job::gateway::{Attempt, FromWorker, ToWorker};
use millpond_types::JobId;

use crate::bug::Bug;
use crate::disk::Disk;
use crate::job::Job;
use crate::lineage::Lineage;
use crate::master::Master;
use crate::random::Random;
use crate::takeover::Takeover;
use crate::worker::{Deployment, Element, Part, Worker};

/// Simulated time within which the job must have come to its end when faults have ceased.
const PATIENCE_MS: u64 = 900_000;

/// The most events of one history: more is a job that goes round in circles.
const MAX_EVENTS: u64 = 200_000;

/// How one history went.
#[derive(Clone, Debug)]
pub struct History {
    /// The seed that plays it again.
    pub seed: u64,
    /// How many events it had.
    pub events: u64,
    /// What happened in it that is worth seeing in some history.
    pub seen: BTreeSet<&'static str>,
    /// The law that was broken, for people; `None` if all held.
    pub violation: Option<String>,
    /// What happened, a line each; empty unless it was asked for.
    pub trace: Vec<String>,
}

/// Plays the history of a seed, with or without a planted bug.
///
/// The same seed and bug give the same history, traced or not.
pub fn play(seed: u64, bug: Option<Bug>, traced: bool) -> History {
    World::new(seed, bug, traced).run()
}

/// Something that will happen.
pub(crate) enum What {
    /// A message reaches a job master.
    ToMaster {
        master: usize,
        pid: usize,
        message: FromWorker,
    },
    /// A job master learns that a worker process has died or was silent for too long.
    Lost { master: usize, pid: usize },
    /// A deadline of a job master.
    Timer { master: usize },
    /// The thread that writes metadata is done with the next one.
    MetadataWritten { master: usize },
    /// The thread that deletes is done with the next deletion.
    Cleaned { master: usize },
    /// The cluster answers a request for slots.
    Allocated { master: usize, number: u64 },
    /// A job master learns how many slots it could have.
    Offered { master: usize, slots: u32 },
    /// Slots come or go.
    Slots,
    /// Somebody wants something.
    UserWants,
    /// A deployment reaches a process.
    Deployed {
        pid: usize,
        deployment: Rc<Deployment>,
    },
    /// A message reaches a process.
    ToWorker { pid: usize, message: ToWorker },
    /// A process has restored its state.
    Opened { pid: usize, attempt: Attempt },
    /// A source makes some records.
    Step {
        pid: usize,
        attempt: Attempt,
        task: usize,
    },
    /// Something arrives at a task.
    Data {
        pid: usize,
        attempt: Attempt,
        task: (u32, u32),
        channel: usize,
        element: Element,
    },
    /// A subtask's part of a snapshot is written, or cannot be.
    Part { pid: usize, part: Box<Part> },
    /// Barriers that wait for records in flight may overtake them now.
    Overtake { pid: usize, attempt: Attempt },
    /// A sink has committed what it was to.
    Committed {
        pid: usize,
        attempt: Attempt,
        task: usize,
    },
    /// A process notices that its master is gone.
    Orphaned { pid: usize },
    /// Something breaks.
    Fault,
    /// The user starts a job.
    Start { lineage: usize },
    /// Somebody starts another job from a snapshot of one.
    Fork,
    /// A master that should have been dead long ago is ended.
    Retired { master: usize },
    /// Nothing breaks any more.
    Calm,
}

struct Planned {
    at_ms: u64,
    /// What was put off comes before what was planned for that time.
    is_first: bool,
    sequence: u64,
    what: What,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        // The earliest is the greatest, for the heap.
        let key = |of: &Planned| (of.at_ms, !of.is_first, of.sequence);
        key(other).cmp(&key(self))
    }
}

/// What does not change over a history.
pub(crate) struct Setting {
    pub(crate) config: CoordinatorConfig,
    pub(crate) restart: RestartConfig,
    pub(crate) schedule: Option<SavepointScheduleConfig>,
    /// Processes of each life of the job, unless its parallelism follows slots.
    pub(crate) processes: u32,
    pub(crate) elastic: Option<ElasticOptions>,
    /// Whether other jobs begin with snapshots of the first.
    pub(crate) has_forks: bool,
    /// What becomes of a master that is taken for dead.
    pub(crate) takeover: Takeover,
    /// After which silence a process is lost.
    pub(crate) heartbeat_timeout_ms: u64,
    /// How long a message may take at most.
    pub(crate) slowest_message_ms: u64,
    /// Whether a killed process may go on for a while, as one on another machine could.
    pub(crate) has_zombies: bool,
    /// Whether checkpoints share files in the directory of one of them too. The registry allows it; of
    /// the tasks none does so, and a job that starts again where it was does not expect it.
    pub(crate) shares_exclusive: bool,
    /// Whether much happens: a longer input, and more faults, for several lives of the job.
    pub(crate) is_long: bool,
}

impl Setting {
    fn random(random: &mut Random) -> Setting {
        let mut config = CoordinatorConfig::new(JobId([7; 16]), "");
        config.interval_ms = random.pick(&[Some(20), Some(60), Some(60), Some(200), Some(1000)]);
        config.timeout_ms = random.pick(&[150, 1000, 20_000]);
        config.min_pause_ms = random.pick(&[0, 0, 0, 40, 300]);
        config.max_concurrent = random.pick(&[1, 1, 2, 4]);
        config.tolerable_failed = random.pick(&[0, 1, 5, 1000]);
        config.num_retained = random.pick(&[1, 1, 2, 3]);
        config.retention = random.pick(&[
            Retention::Unset,
            Retention::NoExternalized,
            Retention::DeleteOnCancellation,
            Retention::RetainOnCancellation,
            Retention::RetainOnCancellation,
        ]);
        config.incremental = true;
        if random.percent(30) {
            config.aligned_timeout_ms = random.pick(&[Some(0), Some(5), Some(50)]);
            config.max_concurrent = 1;
        }
        config.tick_reset_interval_ms = random.pick(&[90, 1_000_000, 1_000_000]);
        config.history = random.pick(&[1, 10]);
        let restart = match random.below(8) {
            0 => RestartConfig::None,
            1 => RestartConfig::FixedDelay {
                attempts: random.below(4) as u32,
                delay_ms: random.pick(&[0, 10, 500]),
            },
            2 => RestartConfig::FailureRate {
                max_failures_per_interval: 1 + random.below(3) as u32,
                interval_ms: random.pick(&[100, 3000]),
                delay_ms: random.pick(&[0, 10, 500]),
            },
            3 | 4 => RestartConfig::FixedDelay {
                attempts: 1000,
                delay_ms: random.pick(&[0, 10, 500]),
            },
            _ => RestartConfig::ExponentialDelay {
                initial_backoff_ms: random.pick(&[1, 50, 400]),
                max_backoff_ms: 2000,
                backoff_multiplier: random.pick(&[1.5, 3.0]),
                reset_backoff_threshold_ms: random.pick(&[500, 60_000]),
                jitter_factor: random.pick(&[0.0, 0.1, 0.5]),
                attempts_before_reset_backoff: random.pick(&[None, None, Some(2)]),
            },
        };
        let schedule = random.percent(15).then(|| SavepointScheduleConfig {
            interval_ms: random.pick(&[100, 400]),
            max_count: 1 + random.below(3) as u32,
            max_age_ms: random.pick(&[300, 100_000]),
        });
        let elastic = random.percent(25).then(|| ElasticOptions {
            resource_wait: Duration::ZERO,
            stabilization: Duration::ZERO,
            cooldown: Duration::from_millis(random.pick(&[0, 100, 500])),
            executing_stabilization: Duration::from_millis(random.pick(&[0, 200])),
            max_checkpoint_failures: random.pick(&[0, 2]),
            requirements: None,
        });
        Setting {
            config,
            restart,
            schedule,
            processes: 1 + random.below(3) as u32,
            elastic,
            has_forks: random.percent(15),
            takeover: random.pick(&[Takeover::Refused, Takeover::Kills, Takeover::Replaced]),
            heartbeat_timeout_ms: random.pick(&[100, 400]),
            slowest_message_ms: random.pick(&[1, 4, 30]),
            has_zombies: random.percent(50),
            shares_exclusive: random.percent(30),
            is_long: random.percent(5),
        }
    }
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) bug: Option<Bug>,
    pub(crate) random: Random,
    pub(crate) setting: Setting,
    pub(crate) job: Job,
    pub(crate) now_ms: u64,
    sequence: u64,
    future: BinaryHeap<Planned>,
    pub(crate) is_calm: bool,

    /// Every job master there was.
    pub(crate) masters: Vec<Master>,
    /// Every worker process there was, by its process id.
    pub(crate) workers: Vec<Worker>,
    pub(crate) disk: Disk,
    /// Directories of checkpoints, and the master that has locked each.
    pub(crate) locks: BTreeMap<String, usize>,
    /// Directories of checkpoints, and the newest master that has begun in each.
    pub(crate) entered: BTreeMap<String, usize>,
    /// Claimed directories, and the master that has claimed each.
    pub(crate) claims: BTreeMap<String, usize>,
    pub(crate) lineages: Vec<Lineage>,
    /// Slots of the cluster that the job could have, if its parallelism follows them.
    pub(crate) slots: u32,
    pub(crate) files_written: u64,
    pub(crate) next_trigger: u64,
    /// Files of parts that no master has heard of, or of failed deletions: they may stay for ever.
    pub(crate) garbage: BTreeSet<String>,

    events: u64,
    pub(crate) seen: BTreeSet<&'static str>,
    violation: Option<String>,
    traced: bool,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64, bug: Option<Bug>, traced: bool) -> World {
        let mut random = Random::new(seed);
        let setting = Setting::random(&mut random);
        let job = Job::random(&mut random, setting.is_long);
        let mut world = World {
            seed,
            bug,
            random,
            setting,
            job,
            now_ms: 1000,
            sequence: 0,
            future: BinaryHeap::new(),
            is_calm: false,
            masters: Vec::new(),
            workers: Vec::new(),
            disk: Disk::default(),
            locks: BTreeMap::new(),
            entered: BTreeMap::new(),
            claims: BTreeMap::new(),
            lineages: vec![Lineage::default()],
            slots: 2,
            files_written: 0,
            next_trigger: 1,
            garbage: BTreeSet::new(),
            events: 0,
            seen: BTreeSet::new(),
            violation: None,
            traced,
            trace: Vec::new(),
        };
        world.plan();
        world
    }

    /// Faults, users and the end of both.
    fn plan(&mut self) {
        self.later(0, What::Start { lineage: 0 });
        let (calm, faults) = match self.setting.is_long {
            true => (4000, 8 + self.random.below(10)),
            false => (self.random.pick(&[300, 1500, 4000]), self.random.below(7)),
        };
        self.later(calm, What::Calm);
        self.plan_forks(calm);
        for _ in 0..faults {
            let at = self.random.below(calm);
            self.later(at, What::Fault);
        }
        if self.setting.elastic.is_some() {
            for _ in 0..self.random.below(6) {
                let at = self.random.below(calm);
                self.later(at, What::Slots);
            }
        }
        for _ in 0..self.random.below(5) {
            let at = self.random.below(calm);
            self.later(at, What::UserWants);
        }
        let (splits, config) = (self.job.splits.len(), &self.setting.config);
        let line = format!(
            "{splits} splits, {} key groups, {} processes; {config:?}; {:?}; {:?}",
            self.job.max_parallelism,
            self.setting.processes,
            self.setting.restart,
            self.setting.schedule
        );
        self.note(|| line);
    }

    fn run(mut self) -> History {
        while self.violation.is_none() {
            let Some(next) = self.future.pop() else {
                break;
            };
            self.now_ms = self.now_ms.max(next.at_ms);
            self.events += 1;
            self.happen(next.what);
            let is_late = self.is_calm && !self.is_over() && self.now_ms > PATIENCE_MS;
            self.law(!is_late, || "the job does not come to its end".to_owned());
            let too_many = self.events > MAX_EVENTS;
            self.law(!too_many, || "the job goes round in circles".to_owned());
        }
        if self.violation.is_none() {
            let is_over = self.is_over();
            self.law(is_over, || {
                "nothing will ever happen again, and the job has not ended".to_owned()
            });
            self.check_the_end();
        }
        History {
            seed: self.seed,
            events: self.events,
            seen: self.seen,
            violation: self.violation,
            trace: self.trace,
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::ToMaster {
                master,
                pid,
                message,
            } => self.master_hears(master, pid, message),
            What::Lost { master, pid } => self.master_loses(master, pid),
            What::Timer { master } => self.master_timer(master),
            What::MetadataWritten { master } => self.metadata_written(master),
            What::Cleaned { master } => self.cleaned(master),
            What::Allocated { master, number } => self.allocated(master, number),
            What::Offered { master, slots } => self.offered(master, slots),
            What::Slots => self.slots_change(),
            What::UserWants => self.user_wants(),
            What::Deployed { pid, deployment } => self.deployed(pid, deployment),
            What::ToWorker { pid, message } => self.worker_hears(pid, message),
            What::Opened { pid, attempt } => self.opened(pid, attempt),
            What::Step { pid, attempt, task } => self.source_steps(pid, attempt, task),
            What::Data {
                pid,
                attempt,
                task,
                channel,
                element,
            } => self.data_arrives(pid, attempt, task, channel, element),
            What::Part { pid, part } => self.write_part(pid, part),
            What::Overtake { pid, attempt } => self.tasks_overtake(pid, attempt),
            What::Committed { pid, attempt, task } => self.committed(pid, attempt, task),
            What::Orphaned { pid } => self.orphaned(pid),
            What::Fault => self.something_breaks(),
            What::Start { lineage } => self.start_job(lineage),
            What::Fork => self.fork(),
            What::Retired { master } => self.retired(master),
            What::Calm => self.become_calm(),
        }
    }

    pub(crate) fn later(&mut self, in_ms: u64, what: What) {
        self.sequence += 1;
        self.future.push(Planned {
            at_ms: self.now_ms + in_ms,
            is_first: false,
            sequence: self.sequence,
            what,
        });
    }

    /// Puts off what happens to somebody who stands still until then. The order stays.
    pub(crate) fn put_off(&mut self, until_ms: u64, what: What) {
        self.sequence += 1;
        self.future.push(Planned {
            at_ms: until_ms,
            is_first: true,
            sequence: self.sequence,
            what,
        });
    }

    /// When a message that is sent now arrives, on a way whose last one arrives at `last_ms`.
    pub(crate) fn arrival(&mut self, last_ms: &mut u64) -> u64 {
        let slowest = self.setting.slowest_message_ms;
        let delay = match self.random.below(20) {
            0 if !self.is_calm => self.random.pick(&[slowest, 40, 200]),
            _ => self.random.below(slowest + 1),
        };
        *last_ms = (self.now_ms + delay).max(*last_ms);
        *last_ms - self.now_ms
    }

    /// A fault in `share` of a thousand cases, unless they have ceased.
    pub(crate) fn fault(&mut self, share: u64) -> bool {
        !self.is_calm && self.random.below(1000) < share
    }

    /// A law: a history in which it does not hold ends here.
    pub(crate) fn law(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            let words = format!("at {} ms: {}", self.now_ms, otherwise());
            if self.traced {
                self.trace.push(format!("VIOLATION {words}"));
            }
            self.violation = Some(words);
        }
    }

    /// As [`law`](Self::law), for what says itself why it does not hold.
    pub(crate) fn law_of(&mut self, outcome: Result<(), String>) {
        if let Err(why) = outcome {
            self.law(false, || why);
        }
    }

    /// A line of the trace.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.traced {
            self.trace.push(format!("{:>7} {}", self.now_ms, line()));
        }
    }

    pub(crate) fn see(&mut self, what: &'static str) {
        self.seen.insert(what);
    }
}

//! Every change of the parallelism, by every way that there is: the result is that of a run that was never
//! touched.
//!
//! The job has keyed state of all kinds, timers of both kinds of time, windows that end and sessions that
//! merge, two inputs in a union, a side output that splits a stream, broadcast state, split offsets, union list
//! state that every subtask looks through for what is missing, a two-phase sink, and, where checkpoints
//! overtake, records in flight.
//!
//! A walk goes on from parallelism to parallelism, one snapshot behind the other. `MILLPOND_RESCALING=all`
//! walks over all pairs of 1, 2, 3, 5 and 8, in both directions, by every way, with keyed state on the heap
//! and, if it is built with that, in RocksDB; without it random walks are taken within a time.

use std::time::Duration;

use millpond_exactness::cluster::{Cluster, PATIENT};
use millpond_exactness::job_process::{Bench, JobProcess};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::Workload;
use millpond_exactness::random::Random;
use millpond_exactness::seeds::for_each_seed;
use millpond_exactness::snapshot_kind::{SnapshotKind, at_full_speed};

const PARALLELISMS: [u64; 5] = [1, 2, 3, 5, 8];

/// How a job comes from one parallelism to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is ended with a snapshot, and started from that.
    By(SnapshotKind),
    /// Its bounds are changed while it runs.
    Live,
    /// As well, and checkpoints overtake.
    LiveUnaligned,
}

const WAYS: [Way; 7] = [
    Way::By(SnapshotKind::CanonicalSavepoint),
    Way::By(SnapshotKind::NativeSavepoint),
    Way::By(SnapshotKind::AlignedCheckpoint),
    Way::By(SnapshotKind::UnalignedCheckpoint),
    Way::By(SnapshotKind::IncrementalCheckpoint),
    Way::Live,
    Way::LiveUnaligned,
];

/// One run over several parallelisms.
#[derive(Clone, Debug)]
struct Walk {
    way: Way,
    backend: &'static str,
    /// The last one reads on to the end.
    parallelisms: Vec<u64>,
    processes: u64,
}

impl Walk {
    fn random(random: &mut Random) -> Self {
        let mut parallelisms = vec![*random.one_of(&PARALLELISMS)];
        while parallelisms.len() < 3 {
            let next = *random.one_of(&PARALLELISMS);
            if parallelisms.last() != Some(&next) {
                parallelisms.push(next);
            }
        }
        Walk {
            way: *random.one_of(&WAYS),
            backend: backends()[random.below(backends().len() as u64) as usize],
            parallelisms,
            processes: random.between(1, 2),
        }
    }

    /// Enough that there are records at each parallelism, at the rate of the bench.
    fn workload(&self) -> Workload {
        let records = 6_000 * self.parallelisms.len() as u64;
        Workload {
            records_a: records,
            records_b: records,
            keys: 100,
        }
    }

    fn bench(&self) -> Bench {
        let workload = self.workload();
        let kind = match self.way {
            Way::By(kind) => kind,
            Way::Live => SnapshotKind::AlignedCheckpoint,
            Way::LiveUnaligned => SnapshotKind::UnalignedCheckpoint,
        };
        let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
            .workload(&workload)
            .ledger()
            // On a busy machine all records may have been read before the last parallelism.
            .held()
            .argument("--rebalance", kind == SnapshotKind::UnalignedCheckpoint)
            .option("pipeline.max-parallelism", 128)
            .option("state.backend.type", self.backend);
        kind.prepare(bench, 1_000)
    }

    fn run(&self) {
        let mut bench = self.bench();
        // Kept until it is known that all is well, so that a panic leaves the evidence.
        let directory = bench.keep();
        eprintln!("{self:?} in {}", directory.display());
        let bench = match self.way {
            Way::By(kind) => self.run_by_snapshots(bench, kind),
            Way::Live | Way::LiveUnaligned => self.run_live(bench),
        };
        let wrong = difference(&bench.expected(&self.workload()), &bench.published());
        assert_eq!(wrong, None, "{self:?}");
        std::fs::remove_dir_all(directory).expect("a directory can be removed");
    }

    /// The last parallelism, and those before it.
    fn last(&self) -> (u64, &[u64]) {
        let (last, before) = self.parallelisms.split_last().expect("several");
        (*last, before)
    }

    fn run_by_snapshots(&self, bench: Bench, kind: SnapshotKind) -> Bench {
        let mut newest: Option<String> = None;
        let (last, before) = self.last();
        for parallelism in before {
            let mut job = self.start(&bench, *parallelism, newest.as_deref());
            newest = Some(kind.take(&bench, &mut job));
        }
        self.finish(bench, last, newest.as_deref())
    }

    fn start(&self, bench: &Bench, parallelism: u64, from: Option<&str>) -> JobProcess {
        let (parallelism, processes) = (parallelism.to_string(), self.processes.to_string());
        let mut options = vec![
            ("parallelism.default", parallelism.as_str()),
            ("cluster.processes", processes.as_str()),
        ];
        options.extend(from.map(|path| ("execution.state-recovery.path", path)));
        bench.start(&options)
    }

    /// What is left to read is most, behind a long walk.
    fn finish(&self, bench: Bench, parallelism: u64, from: Option<&str>) -> Bench {
        let bench = at_full_speed(bench).option("execution.checkpointing.interval", "1 s");
        self.start(&bench, parallelism, from).finish();
        bench
    }

    /// In a cluster whose slots are enough for all; at last it is stopped, to read on at full speed.
    fn run_live(&self, bench: Bench) -> Bench {
        let bench = bench.option("jobmanager.scheduler", "adaptive").option(
            "jobmanager.adaptive-scheduler.executing.cooldown-after-rescaling",
            "0 ms",
        );
        let (last, before) = self.last();
        let savepoint = {
            let mut cluster = Cluster::start(&bench, &PATIENT);
            (0..self.processes).for_each(|_| {
                cluster.add_task_manager((8u64.div_ceil(self.processes)) as u32);
            });
            let first = before[0].to_string();
            let job = cluster.run(&[("parallelism.default", &first)]);
            job.wait_for_parallelism(before[0]);
            for parallelism in before[1..].iter().chain([&last]) {
                job.require(1, *parallelism);
                job.wait_for_parallelism(*parallelism);
            }
            assert_eq!(job.failed_attempts(), 0, "{self:?}");
            let savepoint = job.savepoint(true);
            job.wait_for("FINISHED");
            cluster.end();
            savepoint
        };
        self.finish(bench, last, Some(&savepoint))
    }
}

/// Of keyed state.
fn backends() -> &'static [&'static str] {
    match cfg!(feature = "rocksdb") {
        true => &["hashmap", "rocksdb"],
        false => &["hashmap"],
    }
}

/// A walk that takes every step from one parallelism to another one once. There is one, as there are as many
/// steps to each as from it.
fn all_steps() -> Vec<u64> {
    let mut left: Vec<(u64, u64)> = PARALLELISMS
        .iter()
        .flat_map(|from| PARALLELISMS.iter().map(|to| (*from, *to)))
        .filter(|(from, to)| from != to)
        .collect();
    // Hierholzer: cycles are put in where they touch the walk.
    let mut walk = vec![PARALLELISMS[0]];
    let mut behind = Vec::new();
    while let Some(at) = walk.last().copied() {
        match left.iter().position(|(from, _)| *from == at) {
            Some(step) => walk.push(left.swap_remove(step).1),
            None => behind.extend(walk.pop()),
        }
    }
    behind.reverse();
    behind
}

#[test]
fn the_walk_over_all_steps_takes_each_once() {
    let walk = all_steps();
    let mut steps: Vec<(u64, u64)> = walk.windows(2).map(|step| (step[0], step[1])).collect();
    steps.sort_unstable();
    steps.dedup();
    assert_eq!((walk.len(), steps.len()), (21, 20), "{walk:?}");
}

#[test]
fn at_any_other_parallelism_a_job_goes_on_as_if_nothing_had_happened() {
    if std::env::var("MILLPOND_RESCALING").as_deref() == Ok("all") {
        for backend in backends() {
            for way in WAYS {
                let walk = Walk {
                    way,
                    backend,
                    parallelisms: all_steps(),
                    processes: 2,
                };
                walk.run();
            }
        }
        return;
    }
    for_each_seed(Duration::from_secs(30), |seed| {
        let walk = Walk::random(&mut Random::new(seed));
        eprint!("seed {seed}: ");
        walk.run();
    });
}

/// One step by each way that the table of capabilities names, in every run of the tests.
fn one_step(way: Way) {
    for backend in backends() {
        let walk = Walk {
            way,
            backend,
            parallelisms: vec![2, 3, 1],
            processes: 1,
        };
        walk.run();
    }
}

#[test]
fn a_canonical_savepoint_is_resumed_at_another_parallelism() {
    one_step(Way::By(SnapshotKind::CanonicalSavepoint));
}

#[test]
fn a_native_savepoint_is_resumed_at_another_parallelism() {
    one_step(Way::By(SnapshotKind::NativeSavepoint));
}

#[test]
fn an_aligned_checkpoint_is_resumed_at_another_parallelism() {
    one_step(Way::By(SnapshotKind::AlignedCheckpoint));
}

#[test]
fn an_unaligned_checkpoint_is_resumed_at_another_parallelism() {
    one_step(Way::By(SnapshotKind::UnalignedCheckpoint));
}

#[test]
fn an_incremental_checkpoint_is_resumed_at_another_parallelism() {
    one_step(Way::By(SnapshotKind::IncrementalCheckpoint));
}

#[test]
fn a_running_job_changes_its_parallelism() {
    one_step(Way::Live);
    one_step(Way::LiveUnaligned);
}

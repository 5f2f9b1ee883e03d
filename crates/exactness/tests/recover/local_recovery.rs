//! Local recovery: on the same machine a job is restored from second copies of its state, without a byte
//! from the storage of checkpoints; what is wrong with them is read from there, and counts exactly.

use std::fs;
use std::path::{Path, PathBuf};

use millpond_exactness::job_process::{Bench, JobProcess, kill_process, wait_for};
use serde_json::{Value, json};

use super::{WORKLOAD, checkpoint};

pub(crate) const DIRECTORIES: &str = "execution.checkpointing.local-backup.dirs";
const PATH: &str = "execution.state-recovery.path";

/// Options of the state backends that write for checkpoints in ways of their own.
pub(crate) const BACKENDS: &[&[(&str, &str)]] = &[
    &[],
    &[("execution.checkpointing.incremental", "true")],
    &[
        ("execution.checkpointing.incremental", "true"),
        ("execution.checkpointing.file-merging.enabled", "true"),
    ],
    #[cfg(feature = "rocksdb")]
    &[
        ("state.backend.type", "rocksdb"),
        ("execution.checkpointing.incremental", "true"),
        ("state.backend.write-back-cache.size", "16 kb"),
    ],
];

/// A job that is slow enough for what happens here to take its time before it ends.
fn bench() -> Bench {
    super::bench().argument("--rate", 400)
}

/// Stops the job, brings another one to its end, and checks what both have published and left.
fn finish(bench: Bench, mut job: JobProcess, backend: &[(&str, &str)]) {
    let savepoint = job.stop(false);
    let bench = bench.argument("--rate", 20_000);
    let options: Vec<_> = [(PATH, savepoint.as_str())]
        .iter()
        .chain(backend)
        .copied()
        .collect();
    launch(&bench, &options).finish();
    bench.assert_exact(&WORKLOAD);
    assert_eq!(jobs(&bench), Vec::<PathBuf>::new());
}

/// Two disks of a bench.
fn disks(bench: &Bench) -> [PathBuf; 2] {
    ["disk-1", "disk-2"].map(|disk| bench.directory().join(disk))
}

fn start(bench: &Bench, options: &[(&str, &str)]) -> JobProcess {
    let mut job = launch(bench, options);
    job.running();
    job
}

fn launch(bench: &Bench, options: &[(&str, &str)]) -> JobProcess {
    let disks = disks(bench)
        .map(|disk| disk.display().to_string())
        .join(",");
    let own = [
        // Also what turns on that they are written, unless told otherwise.
        ("execution.state-recovery.from-local", "true"),
        (DIRECTORIES, &disks),
    ];
    let options: Vec<_> = own.iter().chain(options).copied().collect();
    bench.start(&options)
}

pub(crate) fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// The directories of jobs on both disks.
fn jobs(bench: &Bench) -> Vec<PathBuf> {
    let states = disks(bench).map(|disk| disk.join("localState"));
    states.iter().flat_map(|state| children(state)).collect()
}

/// The copies on both disks.
fn copies(bench: &Bench) -> Vec<PathBuf> {
    let processes = jobs(bench).into_iter().flat_map(|job| children(&job));
    processes.flat_map(|process| children(&process)).collect()
}

/// Waits until the job is restored for the `count`th time; returns what was read for it.
fn restored(job: &mut JobProcess, count: usize) -> Value {
    let text = wait_for("a restore", || {
        assert!(job.has_ended().is_none(), "it has ended:\n{}", job.log());
        let log = job.log();
        let mut lines = log
            .lines()
            .filter(|line| line.contains(" is restored from "));
        lines.nth(count - 1).map(str::to_owned)
    });
    wait_for("the counters", || {
        let read = job.job("/checkpoints")["latest"]["restored"]["state_read"].clone();
        let text_of = format!(
            "{} bytes of state read locally, {} from the storage",
            read["local_bytes"], read["remote_bytes"]
        );
        text.contains(&text_of).then_some(read)
    })
}

fn kill_worker(job: &JobProcess) {
    kill_process(*job.workers().first().expect("a worker"));
}

fn count(read: &Value, field: &str) -> u64 {
    read[field].as_u64().unwrap_or_else(|| panic!("{read}"))
}

pub(crate) fn assert_local(read: &Value) {
    assert!(count(read, "local_bytes") > 0, "{read}");
    assert_eq!(count(read, "remote_bytes"), 0, "{read}");
    assert_eq!(count(read, "unusable_copies"), 0, "{read}");
}

#[test]
fn a_job_whose_worker_is_killed_reads_nothing_from_the_storage_and_leaves_nothing_behind() {
    for backend in BACKENDS {
        let bench = bench();
        let mut job = start(&bench, backend);
        checkpoint(&job);
        checkpoint(&job);
        kill_worker(&job);
        assert_local(&restored(&mut job, 1));
        let before = copies(&bench);
        checkpoint(&job);
        checkpoint(&job);
        job.savepoint();
        kill_worker(&job);
        assert_local(&restored(&mut job, 2));
        checkpoint(&job);
        // Those of an incremental checkpoint may be needed for long.
        if backend.is_empty() {
            wait_for("old copies to go", || {
                before.iter().all(|copy| !copy.exists()).then_some(())
            });
        }
        kill_worker(&job);
        assert_local(&restored(&mut job, 3));
        finish(bench, job, backend);
    }
}

/// Does something to a file.
type Harm = fn(&Path) -> std::io::Result<()>;

#[test]
fn copies_that_are_gone_or_damaged_are_passed_over_and_told() {
    let harms: [(&str, Harm); 3] = [
        ("gone", |copy| fs::remove_file(copy)),
        ("flipped", |copy| {
            let mut bytes = fs::read(copy)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(copy, bytes)
        }),
        ("cut", |copy| {
            let bytes = fs::read(copy)?;
            fs::write(copy, &bytes[..bytes.len() - 1])
        }),
    ];
    for (index, backend) in BACKENDS.iter().enumerate() {
        let (name, damage) = &harms[(index + 1) % harms.len()];
        let bench = bench();
        let mut job = start(&bench, backend);
        checkpoint(&job);
        let copies = copies(&bench);
        assert!(!copies.is_empty());
        for copy in &copies {
            damage(copy).expect("it is there");
        }
        kill_worker(&job);
        let read = restored(&mut job, 1);
        assert_eq!(count(&read, "local_bytes"), 0, "{name}: {read}");
        assert!(count(&read, "remote_bytes") > 0, "{name}: {read}");
        let is_told = job.log().contains("is of no use");
        assert_eq!(is_told, *name != "gone", "{name}: {}", job.log());
        assert_eq!(count(&read, "unusable_copies") > 0, is_told, "{name}");
        // Written anew.
        checkpoint(&job);
        kill_worker(&job);
        assert!(count(&restored(&mut job, 2), "local_bytes") > 0);
        finish(bench, job, backend);
    }
}

#[test]
fn a_disk_that_takes_no_copies_fails_no_checkpoint() {
    let bench = bench();
    for disk in disks(&bench) {
        fs::create_dir(&disk).expect("a directory");
        fs::write(disk.join("localState"), "in the way").expect("a file");
    }
    let mut job = start(&bench, &[]);
    assert!(job.log().contains("no local copies"), "{}", job.log());
    checkpoint(&job);
    assert!(job.log().contains("no local copy of"), "{}", job.log());
    kill_worker(&job);
    let read = restored(&mut job, 1);
    assert_eq!(count(&read, "local_bytes"), 0, "{read}");
    let savepoint = job.stop(false);
    let bench = bench.argument("--rate", 20_000);
    launch(&bench, &[(PATH, &savepoint)]).finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_job_that_was_killed_is_started_again_from_what_it_has_left_which_then_goes() {
    for backend in BACKENDS {
        let bench = bench().option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        );
        let mut job = start(&bench, backend);
        checkpoint(&job);
        checkpoint(&job);
        job.kill_master();
        let left = jobs(&bench);
        assert_eq!(left.len(), 2, "on each disk");
        let path = bench.newest_snapshot().expect("retained").path();
        // Ranges are not those of one copy.
        let options = [
            (PATH, path.as_str()),
            ("execution.state-recovery.claim-mode", "CLAIM"),
            ("parallelism.default", "3"),
        ];
        let options: Vec<_> = options.iter().chain(*backend).copied().collect();
        let mut job = start(&bench, &options);
        assert_local(&restored(&mut job, 1));
        kill_worker(&job);
        assert_local(&restored(&mut job, 2));
        // On top of the files of the job before, some of them.
        checkpoint(&job);
        wait_for("what was left to go", || {
            left.iter().all(|job| !job.exists()).then_some(())
        });
        kill_worker(&job);
        assert_local(&restored(&mut job, 3));
        finish(bench, job, backend);
    }
}

#[test]
fn without_its_options_a_job_has_no_copies_and_says_what_it_reads() {
    let bench = bench();
    let disks = disks(&bench)
        .map(|disk| disk.display().to_string())
        .join(":");
    let mut job = bench.start(&[(DIRECTORIES, &disks)]);
    job.running();
    checkpoint(&job);
    assert_eq!(jobs(&bench), Vec::<PathBuf>::new());
    kill_worker(&job);
    let read = restored(&mut job, 1);
    assert_eq!(read["local_bytes"], json!(0));
    assert!(count(&read, "remote_bytes") > 0, "{read}");
    job.cancel();
    job.wait();
}

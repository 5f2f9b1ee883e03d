//! Who owns the snapshot that a job is started from: `NO_CLAIM`, `CLAIM` and `LEGACY`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millpond_exactness::job_process::{Bench, JobProcess, kill_process, wait_for};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};
use serde_json::json;

const PATH: &str = "execution.state-recovery.path";
const MODE: &str = "execution.state-recovery.claim-mode";
const RETENTION: &str = "execution.checkpointing.externalized-checkpoint-retention";
const NUM_RETAINED: &str = "execution.checkpointing.num-retained";

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 12_000,
    keys: 100,
};

/// A job that takes checkpoints only when asked.
fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 3_000)
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option("execution.checkpointing.interval", "1 h")
}

/// A savepoint of a job that was stopped.
fn stopped(bench: &Bench) -> PathBuf {
    let mut job = bench.start(&[]);
    job.running();
    local(&job.stop(false))
}

fn local(uri: &str) -> PathBuf {
    PathBuf::from(uri.strip_prefix("file:").unwrap_or(uri))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn checkpoint(job: &JobProcess) -> i64 {
    let answer = job
        .try_post("/checkpoints", &json!({}))
        .expect("the job answers");
    let trigger = answer["request-id"].as_str().expect("an id").to_owned();
    wait_for("a checkpoint", || {
        let status = job.job(&format!("/checkpoints/{trigger}"));
        (status["status"]["id"] == "COMPLETED").then(|| {
            let id = status["operation"]["checkpointId"].as_i64();
            id.unwrap_or_else(|| panic!("{status}"))
        })
    })
}

/// Every file below a directory with its bytes.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(content(&path)),
            false => drop(files.insert(path.clone(), std::fs::read(&path).expect("a file"))),
        }
    }
    files
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|n| n.into_string().expect("text")).collect();
    names.sort();
    names
}

fn wait_until_gone(path: &Path) {
    wait_for(&format!("{} to be gone", path.display()), || {
        (!path.exists()).then_some(())
    });
}

fn why_failed(job: &mut JobProcess) -> String {
    assert!(!job.wait().success(), "{}", job.log());
    let handshake = job.handshake().expect("it has run");
    assert_eq!(handshake.status.as_deref(), Some("FAILED"));
    handshake.failure.expect("a reason")
}

fn marker_of(snapshot: &Path) -> PathBuf {
    let name = snapshot
        .file_name()
        .expect("a name")
        .to_str()
        .expect("text");
    snapshot.with_file_name(format!(".{name}.claim"))
}

#[test]
fn several_jobs_start_from_one_snapshot_and_change_nothing_of_it() {
    let first = bench();
    let savepoint = stopped(&first);
    let before = content(&savepoint);
    let (second, third) = (bench(), bench());
    // NO_CLAIM is the default.
    let starts: [&[(&str, &str)]; 2] = [&[], &[(MODE, "no_claim")]];
    let pointer = text(&savepoint);
    let mut jobs: Vec<JobProcess> = [&second, &third]
        .into_iter()
        .zip(starts)
        .map(|(bench, options)| bench.start(&[options, &[(PATH, &pointer)]].concat()))
        .collect();
    for job in &mut jobs {
        job.running();
        let restored = &job.job("/checkpoints")["latest"]["restored"];
        assert_eq!(restored["is_savepoint"], true);
        checkpoint(job);
        checkpoint(job);
    }
    for job in &mut jobs {
        job.finish();
    }
    assert_eq!(content(&savepoint), before);
    assert_eq!(names(&first.savepoints()).len(), 1, "no marker");
}

#[test]
fn without_a_claim_the_snapshot_is_the_recovery_point_until_the_first_checkpoint_and_may_go_then() {
    let first = bench();
    let savepoint = stopped(&first);
    let bench = first
        .option("parallelism.default", 2)
        .option("cluster.processes", 2);
    let mut job = bench.start(&[(PATH, &text(&savepoint))]);
    job.running();
    let restored = |job: &JobProcess, count: u64| {
        wait_for("a recovery", || {
            let statistics = job.job("/checkpoints");
            (statistics["counts"]["restored"].as_u64()? >= count)
                .then(|| statistics["latest"]["restored"]["external_path"].clone())
        })
    };
    kill_process(*job.workers().first().expect("a worker"));
    assert_eq!(restored(&job, 2), format!("file:{}", text(&savepoint)));
    job.running();
    wait_for("all to run again", || {
        (job.workers().len() == 2).then_some(())
    });
    let number = checkpoint(&job);
    std::fs::remove_dir_all(&savepoint).expect("its owner may delete it");
    kill_process(*job.workers().first().expect("a worker"));
    let path = restored(&job, 3);
    let path = path.as_str().expect("a path");
    assert!(path.ends_with(&format!("/chk-{number}")), "{path}");
    job.finish();
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

#[test]
fn a_claimed_savepoint_is_deleted_when_it_is_subsumed_and_not_before() {
    for retained in [1, 2] {
        let bench = bench();
        let savepoint = stopped(&bench);
        let retained_text = retained.to_string();
        let mut job = bench.start(&[
            (PATH, &text(&savepoint)),
            // As before Flink 2.
            ("execution.savepoint-restore-mode", "CLAIM"),
            (NUM_RETAINED, &retained_text),
        ]);
        job.running();
        let restored = &job.job("/checkpoints")["latest"]["restored"];
        assert_eq!(
            restored["is_savepoint"], false,
            "it is treated as a checkpoint"
        );
        assert!(marker_of(&savepoint).exists());
        for _ in 1..retained {
            checkpoint(&job);
            assert!(
                savepoint.join("_metadata").exists(),
                "it counts as one of {retained}"
            );
        }
        checkpoint(&job);
        wait_until_gone(&savepoint);
        wait_until_gone(&marker_of(&savepoint));
        assert!(names(&bench.savepoints()).is_empty());
        job.finish();
        let wrong = difference(&expected(&WORKLOAD), &bench.published());
        assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
    }
}

#[test]
fn what_else_lies_in_a_claimed_directory_is_not_touched() {
    let bench = bench().option("execution.checkpointing.data-inline-threshold", "1 mb");
    let savepoint = stopped(&bench);
    // All state is in the metadata: it may be moved alone, here beside something precious.
    let place = bench.directory().join("home");
    std::fs::create_dir(&place).expect("room");
    std::fs::write(place.join("precious"), "x").expect("room");
    std::fs::rename(savepoint.join("_metadata"), place.join("_metadata")).expect("it can be moved");
    let pointer = text(&place.join("_metadata"));
    let mut job = bench.start(&[(PATH, &pointer), (MODE, "CLAIM")]);
    job.running();
    checkpoint(&job);
    wait_until_gone(&place.join("_metadata"));
    job.cancel();
    assert!(job.wait().success(), "{}", job.log());
    assert_eq!(names(&place), ["precious"]);
    assert!(!marker_of(&place).exists());
}

#[test]
fn of_a_claimed_checkpoint_only_its_own_directory_goes() {
    let bench = bench();
    let mut job = bench.start(&[(RETENTION, "RETAIN_ON_CANCELLATION"), (NUM_RETAINED, "2")]);
    job.running();
    let numbers = [checkpoint(&job), checkpoint(&job)];
    job.cancel();
    assert!(job.wait().success(), "{}", job.log());
    let newest = bench.newest_snapshot().expect("retained").directory;
    let directory = newest.parent().expect("the job's").to_owned();
    let old = format!("chk-{}", numbers[0]);
    let mut job = bench.start(&[(PATH, &text(&newest)), (MODE, "CLAIM")]);
    job.running();
    checkpoint(&job);
    wait_until_gone(&newest);
    wait_until_gone(&marker_of(&newest));
    assert_eq!(names(&directory), [old.as_str(), "shared", "taskowned"]);
    job.finish();
}

#[test]
fn a_second_claim_is_refused_with_the_id_of_the_first_job() {
    let first = bench();
    let savepoint = stopped(&first);
    let before = content(&savepoint);
    let id = "0123456789abcdef0123456789abcdef";
    let claim = [(PATH, text(&savepoint)), (MODE, "CLAIM".to_owned())];
    let claim = claim.each_ref().map(|(key, value)| (*key, value.as_str()));
    let with_id = [&claim[..], &[("$internal.pipeline.job-id", id)]].concat();
    let mut job = first.start(&with_id);
    job.running();
    let second = bench();
    let why = why_failed(&mut second.start(&claim));
    assert!(why.contains(id), "{why}");
    // Nor may it be disposed of, though NO_CLAIM may read it at its own risk.
    let url = format!("http://{}/savepoint-disposal", job.ready().rest);
    let mut answer = ureq::post(&url)
        .send(json!({ "savepoint-path": text(&savepoint) }).to_string())
        .expect("an answer");
    let answer: serde_json::Value =
        serde_json::from_reader(answer.body_mut().as_reader()).expect("JSON");
    let trigger = answer["request-id"].as_str().expect("an id").to_owned();
    let refused = wait_for("the disposal", || {
        let status = job.try_get(&format!("/savepoint-disposal/{trigger}"))?;
        (status["status"]["id"] == "COMPLETED").then_some(status)
    });
    assert!(
        refused["operation"]["failure-cause"].is_object(),
        "{refused}"
    );
    assert_eq!(content(&savepoint), before);
    // The claim outlives a kill: the same job may go on.
    job.kill_master();
    let mut job = first.start(&with_id);
    job.running();
    checkpoint(&job);
    wait_until_gone(&savepoint);
    job.finish();
}

/// A job that was killed between its claim and its first checkpoint kept every other one from the
/// snapshot until somebody deleted the marker by hand, a restart script with `CLAIM` too.
#[test]
fn a_claim_of_a_job_that_was_killed_and_left_no_checkpoint_passes_to_the_next() {
    let first = bench();
    let savepoint = stopped(&first);
    let claim = [(PATH, text(&savepoint)), (MODE, "CLAIM".to_owned())];
    let claim = claim.each_ref().map(|(key, value)| (*key, value.as_str()));
    let mut job = first.start(&claim);
    job.running();
    let killed = job.ready().job_id;
    job.kill_master();
    assert!(marker_of(&savepoint).exists(), "it had no time to end it");
    let mut job = first.start(&claim);
    job.running();
    let log = job.log();
    assert!(
        log.contains(&killed) && log.contains("the claim passes to this job"),
        "{log}"
    );
    checkpoint(&job);
    wait_until_gone(&savepoint);
    wait_until_gone(&marker_of(&savepoint));
    job.finish();
    let wrong = difference(&expected(&WORKLOAD), &first.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

#[test]
fn a_job_that_keeps_its_claimed_snapshot_leaves_it_for_others_to_claim() {
    let first = bench();
    let savepoint = stopped(&first);
    let claim = [(PATH, text(&savepoint)), (MODE, "CLAIM".to_owned())];
    let claim = claim.each_ref().map(|(key, value)| (*key, value.as_str()));
    let mut job = first.start(&[&claim[..], &[(RETENTION, "RETAIN_ON_CANCELLATION")]].concat());
    job.running();
    job.cancel();
    assert!(job.wait().success(), "{}", job.log());
    assert!(!marker_of(&savepoint).exists());
    let second = bench();
    let mut job = second.start(&claim);
    job.running();
    job.cancel();
    assert!(job.wait().success(), "{}", job.log());
    // Without retention it goes as every checkpoint of a cancelled job does.
    assert!(!savepoint.exists() && !marker_of(&savepoint).exists());
}

#[test]
fn legacy_is_taken_with_a_warning_and_deletes_nothing() {
    let bench = bench();
    let savepoint = stopped(&bench);
    let before = content(&savepoint);
    let mut job = bench.start(&[(PATH, &text(&savepoint)), (MODE, "legacy")]);
    job.running();
    checkpoint(&job);
    checkpoint(&job);
    job.finish();
    assert_eq!(content(&savepoint), before);
    let log = job.log();
    assert!(
        log.contains("This mode is deprecated, please use CLAIM or NO_CLAIM mode"),
        "{log}"
    );
}

//! What users ask of savepoints: cancel behind one, a failed one harms nothing, one per trigger id,
//! and disposal.

use millpond_exactness::job_process::{Bench, JobProcess, wait_for};
use millpond_exactness::oracle::Workload;
use serde_json::{Value, json};

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 8_000,
    keys: 40,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", 6_000)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "50 ms")
}

fn id(answer: &Value) -> String {
    let id = answer["request-id"].as_str();
    id.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn result(job: &mut JobProcess, answer: &Value) -> Result<String, String> {
    let result = job.savepoint_result(&id(answer));
    result.unwrap_or_else(|| panic!("the job ended:\n{}", job.log()))
}

#[test]
fn a_job_is_cancelled_behind_a_savepoint_and_resumes_from_it() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    let trigger = job.trigger_cancel_with_savepoint().expect("an answer");
    let savepoint = job
        .savepoint_result(&trigger)
        .expect("an answer")
        .expect("a savepoint");
    assert!(job.wait().success());
    let ended = job.handshake().and_then(|handshake| handshake.status);
    assert_eq!(ended.as_deref(), Some("CANCELED"));
    let mut job = bench.start(&[("execution.state-recovery.path", &savepoint)]);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_job_goes_on_if_the_savepoint_before_its_cancellation_or_stop_fails() {
    let bench = bench();
    let file = bench.directory().join("file");
    std::fs::write(&file, "in the way").expect("a file");
    let mut job = bench.start(&[]);
    job.running();
    let target = file.display().to_string();
    let request = json!({ "target-directory": target, "cancel-job": true });
    let answer = job.try_post("/savepoints", &request).expect("an answer");
    let why = result(&mut job, &answer).expect_err("there is a file in the way");
    assert!(why.contains("file"), "{why}");
    assert_eq!(job.status().as_deref(), Some("RUNNING"));
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_trigger_id_stands_for_one_savepoint() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.running();
    let request = json!({ "triggerId": "0123456789abcdef0123456789abcdef", "cancel-job": false });
    let paths: Vec<String> = (0..3)
        .map(|_| {
            let answer = job.try_post("/savepoints", &request).expect("an answer");
            assert_eq!(id(&answer), "0123456789abcdef0123456789abcdef");
            result(&mut job, &answer).expect("a savepoint")
        })
        .collect();
    assert!(paths.iter().all(|path| *path == paths[0]), "{paths:?}");
    assert_eq!(
        std::fs::read_dir(bench.savepoints())
            .expect("a directory")
            .count(),
        1
    );
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_disposed_savepoint_is_gone_and_its_neighbour_restores() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.running();
    let first = job.savepoint();
    let handshake = job.handshake().expect("the job is up");
    let url = format!("http://{}/savepoint-disposal", handshake.rest);
    let body = json!({ "savepoint-path": first }).to_string();
    let mut answer = ureq::post(&url).send(body).expect("an answer");
    let answer: Value = serde_json::from_reader(answer.body_mut().as_reader()).expect("JSON");
    let path = format!("/savepoint-disposal/{}", id(&answer));
    wait_for("the disposal", || {
        let status = job.try_get(&path)?;
        (status["status"]["id"] == "COMPLETED").then_some(())
    });
    let directory = first.strip_prefix("file:").expect("a local path");
    assert!(!std::path::Path::new(directory).exists());
    let second = job.stop(false);
    let mut job = bench.start(&[("execution.state-recovery.path", &second)]);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn rest_tells_how_fast_the_job_read_before_and_during_a_savepoint() {
    // Records come for long enough.
    let bench = bench().argument("--rate", 1_000);
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(5);
    job.savepoint();
    let savepoint = wait_for("the rates of the savepoint", || {
        let savepoint = job.job("/checkpoints")["latest"]["savepoint"].clone();
        savepoint["records_per_second_during"]
            .is_number()
            .then_some(savepoint)
    });
    let rate = |field: &str| savepoint[field].as_f64().expect("a number");
    let before = rate("records_per_second_before");
    // The job may read 2,000 records a second.
    assert!(before > 100.0 && before < 50_000.0, "{savepoint}");
    let expected = rate("records_per_second_during") / before;
    let ratio = rate("records_per_second_ratio");
    assert!((ratio - expected).abs() < 0.01, "{savepoint}");
    let details = job.job(&format!("/checkpoints/details/{}", savepoint["id"]));
    for field in [
        "records_per_second_before",
        "records_per_second_during",
        "records_per_second_ratio",
    ] {
        assert_eq!(details[field], savepoint[field], "{field}");
    }
    assert!(
        job.log().contains("records/s during it"),
        "the log tells it:\n{}",
        job.log()
    );
    let checkpoints = wait_for("the rates of checkpoints", || {
        let history = job.job("/checkpoints")["history"].clone();
        let known = |entry: &&Value| entry["records_per_second_during"].is_number();
        let known = history.as_array()?.iter().filter(known).count();
        (known > 1).then_some(known)
    });
    assert!(checkpoints > 1);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

#[test]
fn a_savepoint_in_the_native_format_resumes_at_another_parallelism() {
    let bench = bench();
    let mut job = bench.start(&[]);
    job.wait_for_checkpoints(2);
    let answer = job.try_post("/stop", &json!({ "drain": false, "formatType": "NATIVE" }));
    let savepoint = result(&mut job, &answer.expect("an answer")).expect("a savepoint");
    job.finish();
    let mut job = bench.start(&[
        ("execution.state-recovery.path", &savepoint),
        ("parallelism.default", "3"),
    ]);
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

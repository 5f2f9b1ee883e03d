//! Every answer has the shape that Flink 2.3.0's has: fields, types, codes, headers.
//!
//! The expected answers follow recordings of a real Flink 2.3.0 session cluster.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use millpond_job::JobStatus;
use millpond_job::acknowledgement::AcknowledgeMetrics;
use millpond_job::dispatcher::{
    AfterSavepoint, CheckpointKind, CheckpointRecord, CheckpointStatistics, CheckpointStatus,
    ExceptionEntry, RestoredCheckpoint, SavepointFormat, StateRead, SubtaskCheckpoint,
    VertexCheckpoint,
};
use millpond_rest::fake::FakeDispatcher;
use millpond_rest::{RestOptions, RestServer, serve};
use millpond_types::{Clock, JobId, ManualClock, OperatorId};
use serde_json::{Value, json};

const JOB: JobId = JobId([0x85; 16]);
const START: u64 = 1_795_246_810_436;
const NOW: u64 = START + 7_636;

struct Cluster {
    dispatcher: Arc<FakeDispatcher>,
    server: RestServer,
}

struct Reply {
    code: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Cluster {
    fn with_job(status: JobStatus) -> Self {
        let dispatcher = Arc::new(FakeDispatcher::new());
        dispatcher.put_job(JOB, "KeyedCount-1000", status);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
        let options = RestOptions {
            clock,
            ..RestOptions::default()
        };
        let server = serve(listener, dispatcher.clone(), options).expect("serves");
        Cluster { dispatcher, server }
    }

    fn running() -> Self {
        Cluster::with_job(JobStatus::Running)
    }

    /// Sends the bytes that Flink's client would: a body with every method, then no more.
    fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json; charset=UTF-8\r\ncontent-length: {}\r\n\r\n",
            self.server.local_addr(),
            body.len()
        );
        let mut stream = TcpStream::connect(self.server.local_addr()).expect("listens");
        stream.write_all((head + body).as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let code = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .expect("a code");
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let body = if body.is_empty() {
            Value::Null
        } else {
            body.parse().expect("JSON")
        };
        Reply {
            code: code.parse().expect("a number"),
            headers,
            body,
        }
    }

    fn get(&self, path: &str) -> Value {
        let reply = self.ask("GET", path, "{}");
        assert_eq!(reply.code, 200, "{path}: {}", reply.body);
        reply.body
    }

    fn refused(&self, method: &str, path: &str, body: &str, code: u16) -> String {
        let reply = self.ask(method, path, body);
        assert_eq!(reply.code, code, "{method} {path}: {}", reply.body);
        reply.body["errors"][0]
            .as_str()
            .expect("an error text")
            .to_owned()
    }

    fn trigger(&self, path: &str, body: &str, code: u16) -> String {
        let reply = self.ask("POST", path, body);
        assert_eq!(reply.code, code, "{path}: {}", reply.body);
        let fields: Vec<&String> = reply.body.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["request-id"]);
        reply.body["request-id"].as_str().expect("an id").to_owned()
    }
}

/// The sorted keys of an object.
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn every_path_answers_with_and_without_version_and_with_flinks_headers() {
    let cluster = Cluster::running();
    for prefix in ["", "/v1"] {
        let reply = cluster.ask("GET", &format!("{prefix}/jobs"), "{}");
        assert_eq!(reply.code, 200);
        assert_eq!(
            reply.headers["content-type"],
            "application/json; charset=UTF-8"
        );
        assert_eq!(reply.headers["access-control-allow-origin"], "*");
        assert!(reply.headers.contains_key("content-length"));
        assert_eq!(
            reply.body,
            json!({"jobs": [{"id": JOB.to_string(), "status": "RUNNING"}]})
        );
    }
}

#[test]
fn the_overview_of_jobs_is_flinks() {
    let cluster = Cluster::running();
    assert_eq!(
        cluster.get("/v1/jobs/overview"),
        json!({"jobs": [{
            "jid": JOB.to_string(), "name": "KeyedCount-1000", "jobType": "STREAMING",
            "schedulerType": "Default", "start-time": START, "end-time": -1, "duration": 7636,
            "state": "RUNNING", "last-modification": START + 2000,
            "tasks": {"running": 4, "canceling": 0, "canceled": 0, "total": 4, "created": 0,
                "scheduled": 0, "deploying": 0, "reconciling": 0, "finished": 0,
                "initializing": 0, "failed": 0},
            "pending-operators": 0}]})
    );
    let ended = Cluster::with_job(JobStatus::Finished).get("/jobs/overview");
    assert_eq!(ended["jobs"][0]["end-time"], START + 2000);
    assert_eq!(ended["jobs"][0]["duration"], 2000);
}

#[test]
fn config_and_overview_of_the_cluster_are_flinks() {
    let cluster = Cluster::running();
    let config = cluster.get("/config");
    assert_eq!(
        keys(&config),
        [
            "features",
            "flink-revision",
            "flink-version",
            "refresh-interval",
            "timezone-name",
            "timezone-offset"
        ]
    );
    assert_eq!(config["refresh-interval"], 3000);
    assert_eq!(
        config["features"],
        json!({"web-submit": false, "web-cancel": true, "web-rescale": false,
            "web-history": false})
    );
    let overview = cluster.get("/overview");
    let numbers = [
        ("taskmanagers", 1),
        ("slots-total", 2),
        ("slots-available", 0),
        ("jobs-running", 1),
        ("jobs-finished", 0),
        ("jobs-cancelled", 0),
        ("jobs-failed", 0),
    ];
    for (field, number) in numbers {
        assert_eq!(overview[field], number, "{field}");
    }
    assert!(overview["flink-version"].is_string() && overview["flink-commit"].is_string());
    assert_eq!(
        cluster.get("/taskmanagers")["taskmanagers"][0]["slotsNumber"],
        2
    );
    cluster
        .dispatcher
        .set_configuration(vec![("rest.port".into(), "8081".into())]);
    assert_eq!(
        cluster.get("/jobmanager/config"),
        json!([{"key": "rest.port", "value": "8081"}])
    );
}

#[test]
fn the_details_of_a_job_are_flinks() {
    let cluster = Cluster::running();
    let job = cluster.get(&format!("/jobs/{JOB}"));
    assert_eq!(
        keys(&job),
        [
            "application-id",
            "duration",
            "end-time",
            "isStoppable",
            "jid",
            "job-type",
            "maxParallelism",
            "name",
            "now",
            "pending-operators",
            "plan",
            "schedulerType",
            "start-time",
            "state",
            "status-counts",
            "timestamps",
            "vertices"
        ]
    );
    assert_eq!(
        (&job["now"], &job["maxParallelism"]),
        (&json!(NOW), &json!(-1))
    );
    assert_eq!(job["timestamps"].as_object().expect("an object").len(), 11);
    assert_eq!(job["timestamps"]["RUNNING"], START + 2000);
    assert_eq!(job["timestamps"]["FAILED"], 0);
    assert_eq!(
        job["status-counts"].as_object().expect("an object").len(),
        10
    );
    assert_eq!(job["status-counts"]["RUNNING"], 2);
    let vertex = &job["vertices"][1];
    assert_eq!(
        keys(vertex),
        [
            "duration",
            "end-time",
            "id",
            "maxParallelism",
            "metrics",
            "name",
            "parallelism",
            "slotSharingGroupId",
            "start-time",
            "status",
            "tasks"
        ]
    );
    assert_eq!(vertex["id"], "0da08f51eaa85fc298e176a139b3649a");
    assert_eq!(vertex["tasks"]["RUNNING"], 2);
    assert_eq!(
        keys(&vertex["metrics"]),
        [
            "accumulated-backpressured-time",
            "accumulated-busy-time",
            "accumulated-idle-time",
            "read-bytes",
            "read-bytes-complete",
            "read-records",
            "read-records-complete",
            "write-bytes",
            "write-bytes-complete",
            "write-records",
            "write-records-complete"
        ]
    );
    assert_eq!(vertex["metrics"]["read-records"], 1000);
    assert_eq!(vertex["metrics"]["accumulated-busy-time"], 3000.0);
    assert_eq!(vertex["metrics"]["accumulated-idle-time"], 1000);
    let of_source = &job["vertices"][0]["metrics"];
    assert_eq!(of_source["accumulated-backpressured-time"], 2000);
    let plan = cluster.get(&format!("/jobs/{JOB}/plan"));
    assert_eq!(plan["plan"], job["plan"]);
    assert_eq!(
        plan["plan"]["nodes"][1],
        json!({"id": "0da08f51eaa85fc298e176a139b3649a", "parallelism": 2, "operator": "",
            "operator_strategy": "", "description": "counter<br/>+- out<br/>",
            "optimizer_properties": {},
            "inputs": [{"num": 0, "id": "e5a72f353fc1e6bbf3bd96a41384998c",
                "ship_strategy": "HASH", "exchange": "pipelined_bounded"}]})
    );
    assert!(plan["plan"]["nodes"][0].get("inputs").is_none());
}

#[test]
fn status_config_and_accumulators_of_a_job_are_flinks() {
    let cluster = Cluster::running();
    assert_eq!(
        cluster.get(&format!("/jobs/{JOB}/status")),
        json!({"status": "RUNNING"})
    );
    assert_eq!(
        cluster.get(&format!("/jobs/{JOB}/config")),
        json!({"jid": JOB.to_string(), "name": "KeyedCount-1000", "execution-config": {
            "restart-strategy": "Cluster level default restart strategy", "job-parallelism": 2,
            "object-reuse-mode": true, "user-config": {}}})
    );
    assert_eq!(
        cluster.get(&format!("/jobs/{JOB}/accumulators")),
        json!({"job-accumulators": [], "user-task-accumulators": [],
            "serialized-user-task-accumulators": {}})
    );
}

#[test]
fn exceptions_are_told_newest_first_up_to_the_number_asked_for() {
    let cluster = Cluster::running();
    let path = format!("/jobs/{JOB}/exceptions");
    assert_eq!(
        cluster.get(&path),
        json!({"exceptionHistory": {"entries": [], "truncated": false}})
    );
    let entry = |timestamp_ms, task: Option<&str>| ExceptionEntry {
        timestamp_ms,
        task: task.map(str::to_owned),
        message: "user function failed\nCaused by: no".to_owned(),
    };
    cluster
        .dispatcher
        .set_exceptions(JOB, vec![entry(2, Some("counter (1/2)")), entry(1, None)]);
    assert_eq!(
        cluster.get(&format!("{path}?maxExceptions=1")),
        json!({"exceptionHistory": {"entries": [{"exceptionName": "user function failed",
            "stacktrace": "user function failed\nCaused by: no", "timestamp": 2,
            "taskName": "counter (1/2)", "failureLabels": {}, "concurrentExceptions": []}],
            "truncated": true}})
    );
    assert!(
        cluster.get(&path)["exceptionHistory"]["entries"][1]
            .get("taskName")
            .is_none()
    );
}

#[test]
fn the_result_of_a_job_is_in_progress_until_it_has_ended() {
    let path = format!("/v1/jobs/{JOB}/execution-result");
    assert_eq!(
        Cluster::running().get(&path),
        json!({"status": {"id": "IN_PROGRESS"}})
    );
    let canceled = Cluster::with_job(JobStatus::Canceled).get(&path);
    assert_eq!(
        canceled,
        json!({"status": {"id": "COMPLETED"}, "job-execution-result": {
            "id": JOB.to_string(), "name": "KeyedCount-1000", "application-status": "CANCELED",
            "accumulator-results": {}, "net-runtime": 2000, "application-id": JOB.to_string(),
            "start-time": START, "end-time": START + 2000}})
    );
    let failed = Cluster::with_job(JobStatus::Failed);
    let entry = ExceptionEntry {
        timestamp_ms: 1,
        task: None,
        message: "disk is full".to_owned(),
    };
    failed.dispatcher.set_exceptions(JOB, vec![entry]);
    let result = &failed.get(&path)["job-execution-result"];
    assert_eq!(result["application-status"], "FAILED");
    let cause = &result["failure-cause"];
    assert_eq!(
        keys(cause),
        ["class", "serialized-throwable", "stack-trace"]
    );
    assert!(
        cause["stack-trace"]
            .as_str()
            .expect("text")
            .ends_with("disk is full")
    );
}

#[test]
fn a_savepoint_is_triggered_and_asked_for_until_it_is_done() {
    let cluster = Cluster::running();
    cluster.dispatcher.set_polls(1);
    let path = format!("/v1/jobs/{JOB}/savepoints");
    let body = r#"{"target-directory":"file:///dir","cancel-job":false,"formatType":"CANONICAL",
        "triggerId":null,"a-field-of-the-future":1}"#;
    let trigger = cluster.trigger(&path, body, 202);
    let status = format!("{path}/{trigger}");
    assert_eq!(
        cluster.get(&status),
        json!({"status": {"id": "IN_PROGRESS"}, "operation": null})
    );
    assert_eq!(cluster.server.pending_results(), 1);
    assert_eq!(
        cluster.get(&status),
        json!({"status": {"id": "COMPLETED"},
            "operation": {"location": "file:/dir/savepoint-858585-000000000000"}})
    );
    assert_eq!(cluster.server.pending_results(), 0);
    assert!(cluster.server.wait_for_results(Duration::ZERO));
    let requests = cluster.dispatcher.savepoint_requests();
    assert_eq!(requests[0].target_directory.as_deref(), Some("file:///dir"));
    assert_eq!(requests[0].then, AfterSavepoint::Continue);
    assert_eq!(requests[0].format, SavepointFormat::Canonical);
}

#[test]
fn the_same_trigger_id_twice_takes_one_savepoint() {
    let cluster = Cluster::running();
    let id = "00112233445566778899aabbccddeeff";
    let body = format!(r#"{{"target-directory":"/dir","triggerId":"{id}"}}"#);
    for _ in 0..2 {
        assert_eq!(
            cluster.trigger(&format!("/jobs/{JOB}/savepoints"), &body, 202),
            id
        );
    }
    assert_eq!(cluster.dispatcher.savepoint_requests().len(), 1);
    assert_eq!(cluster.server.pending_results(), 1);
}

#[test]
fn stop_drain_and_cancel_are_told_apart() {
    let requests = [
        (
            "stop",
            r#"{"targetDirectory":"/d","drain":false}"#,
            AfterSavepoint::Stop,
        ),
        (
            "stop",
            r#"{"targetDirectory":"/d","drain":true,"formatType":"NATIVE"}"#,
            AfterSavepoint::Drain,
        ),
        (
            "savepoints",
            r#"{"target-directory":"/d","cancel-job":true}"#,
            AfterSavepoint::Cancel,
        ),
    ];
    for (endpoint, body, then) in requests {
        let cluster = Cluster::running();
        let trigger = cluster.trigger(&format!("/v1/jobs/{JOB}/{endpoint}"), body, 202);
        let status = cluster.get(&format!("/v1/jobs/{JOB}/savepoints/{trigger}"));
        assert!(status["operation"]["location"].is_string(), "{status}");
        let request = &cluster.dispatcher.savepoint_requests()[0];
        assert_eq!(request.then, then);
        let native = request.format == SavepointFormat::Native;
        assert_eq!(native, then == AfterSavepoint::Drain);
        let ended = if then == AfterSavepoint::Cancel {
            "CANCELED"
        } else {
            "FINISHED"
        };
        assert_eq!(cluster.get(&format!("/jobs/{JOB}/status"))["status"], ended);
    }
}

#[test]
fn without_any_directory_a_savepoint_is_refused_in_the_spelling_of_its_request() {
    let cluster = Cluster::running();
    for (endpoint, field) in [
        ("savepoints", "target-directory"),
        ("stop", "targetDirectory"),
    ] {
        let error = cluster.refused("POST", &format!("/v1/jobs/{JOB}/{endpoint}"), "{}", 400);
        assert!(
            error.contains("Config key [execution.checkpointing.savepoint-dir] is not set."),
            "{error}"
        );
        assert!(
            error.contains(&format!("Property [{field}] must be provided.")),
            "{error}"
        );
    }
    cluster.dispatcher.set_default_directory("/default");
    // An empty body is the empty object.
    let trigger = cluster.trigger(&format!("/jobs/{JOB}/savepoints"), "", 202);
    let status = cluster.get(&format!("/jobs/{JOB}/savepoints/{trigger}"));
    let location = status["operation"]["location"].as_str().expect("a path");
    assert!(
        location.starts_with("file:/default/savepoint-858585-"),
        "{location}"
    );
}

#[test]
fn a_failure_of_an_operation_is_its_result() {
    let cluster = Cluster::running();
    let unknown = JobId([0; 16]);
    let trigger = cluster.trigger(
        &format!("/v1/jobs/{unknown}/savepoints"),
        r#"{"target-directory":"/dir"}"#,
        202,
    );
    let status = cluster.get(&format!("/v1/jobs/{unknown}/savepoints/{trigger}"));
    assert_eq!(status["status"]["id"], "COMPLETED");
    let cause = &status["operation"]["failure-cause"];
    assert_eq!(
        keys(cause),
        ["class", "serialized-throwable", "stack-trace"]
    );
    let trace = cause["stack-trace"].as_str().expect("text");
    assert!(
        trace.ends_with(&format!("Could not find Flink job ({unknown})")),
        "{trace}"
    );
    let blob = cause["serialized-throwable"].as_str().expect("text");
    assert!(
        blob.starts_with("rO0ABXNyACl"),
        "Java's magic in base64: {blob}"
    );
}

#[test]
fn a_checkpoint_is_triggered_by_hand() {
    let cluster = Cluster::running();
    let path = format!("/v1/jobs/{JOB}/checkpoints");
    for (body, kind) in [
        (
            r#"{"checkpointType":"CONFIGURED","triggerId":null}"#,
            CheckpointKind::Configured,
        ),
        (r#"{"checkpointType":"FULL"}"#, CheckpointKind::Full),
        (
            r#"{"checkpointType":"INCREMENTAL"}"#,
            CheckpointKind::Incremental,
        ),
        ("{}", CheckpointKind::Configured),
    ] {
        let trigger = cluster.trigger(&path, body, 202);
        let count = cluster.dispatcher.checkpoint_requests().len();
        assert_eq!(cluster.dispatcher.checkpoint_requests().last(), Some(&kind));
        assert_eq!(
            cluster.get(&format!("{path}/{trigger}")),
            json!({"status": {"id": "COMPLETED"}, "operation": {"checkpointId": count}})
        );
    }
    cluster
        .dispatcher
        .fail_operations("millpond.Refused", "not all tasks run");
    let trigger = cluster.trigger(&path, "{}", 202);
    let failed = cluster.get(&format!("{path}/{trigger}"));
    assert_eq!(keys(&failed["operation"]), ["failureCause"]);
    cluster.refused("POST", &path, r#"{"checkpointType":"HALF"}"#, 400);
}

#[test]
fn a_disposal_answers_200_and_a_missing_savepoint_is_its_result() {
    let cluster = Cluster::running();
    let taken = cluster.trigger(
        &format!("/jobs/{JOB}/savepoints"),
        r#"{"target-directory":"/dir"}"#,
        202,
    );
    let status = cluster.get(&format!("/jobs/{JOB}/savepoints/{taken}"));
    let body = json!({"savepoint-path": status["operation"]["location"]}).to_string();
    let first = cluster.trigger("/v1/savepoint-disposal", &body, 200);
    assert_eq!(
        cluster.get(&format!("/v1/savepoint-disposal/{first}")),
        json!({"status": {"id": "COMPLETED"}, "operation": {}})
    );
    assert!(cluster.dispatcher.savepoints().is_empty());
    let second = cluster.trigger("/v1/savepoint-disposal", &body, 200);
    let status = cluster.get(&format!("/v1/savepoint-disposal/{second}"));
    assert_eq!(keys(&status["operation"]), ["failure-cause"]);
    cluster.refused("POST", "/v1/savepoint-disposal", "{}", 400);
}

#[test]
fn cancelling_answers_202_also_twice_and_409_after_another_end() {
    let path = format!("/v1/jobs/{JOB}?mode=cancel");
    let cluster = Cluster::running();
    for _ in 0..2 {
        let reply = cluster.ask("PATCH", &path, "{}");
        assert_eq!((reply.code, reply.body), (202, json!({})));
    }
    let reply = Cluster::running().ask("GET", &format!("/jobs/{JOB}/yarn-cancel"), "");
    assert_eq!((reply.code, reply.body), (202, json!({})));
    let finished = Cluster::with_job(JobStatus::Finished);
    let error = finished.refused("PATCH", &path, "{}", 409);
    assert!(
        error.contains("already reached another terminal state (FINISHED)"),
        "{error}"
    );
    finished.refused("PATCH", &format!("/v1/jobs/{JOB}?mode=stop"), "{}", 308);
    finished.refused("PATCH", &format!("/v1/jobs/{JOB}?mode=pause"), "{}", 400);
    finished.refused(
        "PATCH",
        "/v1/jobs/00000000000000000000000000000000?mode=cancel",
        "{}",
        404,
    );
}

#[test]
fn what_is_not_there_is_404_and_what_is_malformed_is_400() {
    let cluster = Cluster::running();
    let unknown = "00000000000000000000000000000000";
    for below in [
        "",
        "/status",
        "/plan",
        "/config",
        "/exceptions",
        "/checkpoints",
        "/checkpoints/config",
        "/checkpoints/details/1",
        "/execution-result",
    ] {
        let error = cluster.refused("GET", &format!("/jobs/{unknown}{below}"), "{}", 404);
        assert!(
            error.contains(&format!("NotFoundException: Job {unknown} not found")),
            "{below}: {error}"
        );
        let error = cluster.refused("GET", &format!("/jobs/zzz{below}"), "{}", 400);
        assert!(error.contains("Cannot resolve path parameter (jobid) from value \"zzz\""));
    }
    let jobs = format!("/jobs/{JOB}");
    let error = cluster.refused("GET", &format!("{jobs}/savepoints/{unknown}"), "{}", 404);
    assert!(error.contains(&format!(
        "There is no savepoint operation with triggerId={unknown} for job {JOB}."
    )));
    cluster.refused("GET", &format!("{jobs}/checkpoints/{unknown}"), "{}", 404);
    cluster.refused("GET", &format!("/savepoint-disposal/{unknown}"), "{}", 404);
    cluster.refused("GET", &format!("{jobs}/savepoints/1"), "{}", 400);
    cluster.refused("GET", &format!("{jobs}/checkpoints/details/x"), "{}", 400);
    cluster.refused("POST", &format!("{jobs}/savepoints"), "{", 400);
    cluster.refused(
        "POST",
        &format!("{jobs}/savepoints"),
        r#"{"cancel-job":"maybe"}"#,
        400,
    );
    cluster.refused(
        "POST",
        &format!("{jobs}/stop"),
        r#"{"triggerId":"mine"}"#,
        400,
    );
    let error = cluster.refused("GET", "/nosuch", "", 404);
    assert_eq!(error, "Unable to load requested file /nosuch.");
    for (method, path) in [
        ("POST", "/nosuch"),
        ("PUT", "/jobs/overview"),
        ("OPTIONS", "/jobs"),
        ("DELETE", "/v1/jobs"),
    ] {
        cluster.refused(method, path, "", 404);
    }
    cluster.refused("GET", "/v2/jobs", "", 404);
    assert_eq!(cluster.ask("HEAD", "/jobs", "").code, 404);
}

#[test]
fn a_body_beyond_the_bound_is_refused_and_programs_of_the_jvm_are_too() {
    let cluster = Cluster::running();
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20));
    let error = cluster.refused("POST", &format!("/jobs/{JOB}/stop"), &large, 413);
    assert!(error.contains("Request Entity Too Large"), "{error}");
    for path in ["/v1/jobs", "/jars/upload", "/jars/x.jar/run"] {
        let error = cluster.refused("POST", path, &large, 400);
        assert!(error.contains("millpond run PROGRAM"), "{error}");
    }
    assert_eq!(cluster.get("/jars")["files"], json!([]));
}

fn record(id: i64) -> CheckpointRecord {
    CheckpointRecord {
        id,
        status: CheckpointStatus::Completed,
        is_savepoint: false,
        format: SavepointFormat::Canonical,
        is_synchronous: false,
        trigger_timestamp_ms: 1_795_246_820_752,
        latest_ack_timestamp_ms: Some(1_795_246_820_788),
        end_to_end_duration_ms: 36,
        state_bytes: 22_426,
        checkpointed_bytes: 22_426,
        processed_bytes: 233_881,
        num_subtasks: 4,
        num_acknowledged: 4,
        external_path: Some(format!("file:/checkpoints/chk-{id}")),
        discarded: false,
        failure_timestamp_ms: None,
        failure_message: None,
        created_files: 0,
        records_per_second_before: None,
        records_per_second_during: None,
        vertices: vec![VertexCheckpoint {
            id: OperatorId::of_uid("counter"),
            num_subtasks: 2,
            subtasks: vec![SubtaskCheckpoint {
                index: 0,
                ack_timestamp_ms: 1_795_246_820_777,
                end_to_end_duration_ms: 25,
                state_bytes: 11_067,
                checkpointed_bytes: 1_067,
                metrics: AcknowledgeMetrics {
                    start_delay_ms: 17,
                    async_duration_ms: 3,
                    alignment_duration_ns: 2_500_000,
                    buffered_bytes: 1,
                    buffered_records: 2,
                    processed_bytes: 3,
                    processed_records: 4,
                    persisted_bytes: 5,
                    persisted_records: 6,
                    ..AcknowledgeMetrics::default()
                },
            }],
        }],
    }
}

#[test]
fn the_statistics_of_checkpoints_are_flinks() {
    let cluster = Cluster::running();
    let path = format!("/v1/jobs/{JOB}/checkpoints");
    let empty = cluster.get(&path);
    assert_eq!(
        empty["latest"],
        json!({"completed": null, "savepoint": null, "failed": null, "restored": null})
    );
    assert_eq!(
        empty["summary"]["state_size"],
        json!({"min": 0, "max": 0, "avg": 0, "p50": "NaN", "p90": "NaN", "p95": "NaN",
            "p99": "NaN", "p999": "NaN"})
    );
    let savepoint = CheckpointRecord {
        created_files: 3,
        records_per_second_before: Some(12_000.04),
        records_per_second_during: Some(9_000.0),
        is_savepoint: true,
        is_synchronous: true,
        external_path: Some("file:/savepoints/savepoint-1".to_owned()),
        ..record(6)
    };
    let failed = CheckpointRecord {
        status: CheckpointStatus::Failed,
        latest_ack_timestamp_ms: None,
        failure_timestamp_ms: Some(7),
        failure_message: Some("Checkpoint expired before completing.".to_owned()),
        external_path: None,
        is_savepoint: true,
        format: SavepointFormat::Native,
        ..record(5)
    };
    cluster.dispatcher.set_checkpoints(
        JOB,
        CheckpointStatistics {
            restored: 1,
            fallbacks: 0,
            total: 8,
            in_progress: 0,
            completed: 7,
            failed: 1,
            history: vec![record(7), savepoint.clone(), failed.clone()],
            latest_completed: Some(record(7)),
            latest_savepoint: Some(savepoint),
            latest_failed: Some(failed),
            latest_restored: Some(RestoredCheckpoint {
                damaged: Vec::new(),
                read: Default::default(),
                id: 3,
                restore_timestamp_ms: 1,
                is_savepoint: true,
                external_path: "file:/savepoints/savepoint-0".to_owned(),
            }),
        },
    );
    let statistics = cluster.get(&path);
    assert_eq!(
        keys(&statistics),
        ["counts", "history", "latest", "summary"]
    );
    assert_eq!(
        statistics["counts"],
        json!({"restored": 1, "total": 8, "in_progress": 0, "completed": 7, "failed": 1})
    );
    assert_eq!(
        statistics["summary"]["checkpointed_size"],
        json!({"min": 22426, "max": 22426, "avg": 22426, "p50": 22426.0, "p90": 22426.0,
            "p95": 22426.0, "p99": 22426.0, "p999": 22426.0})
    );
    assert_eq!(
        keys(&statistics["summary"]),
        [
            "alignment_buffered",
            "checkpointed_size",
            "end_to_end_duration",
            "persisted_data",
            "processed_data",
            "state_size"
        ]
    );
    let completed = json!({"className": "completed", "id": 7, "status": "COMPLETED",
        "is_savepoint": false, "savepointFormat": null, "trigger_timestamp": 1795246820752u64,
        "latest_ack_timestamp": 1795246820788u64, "checkpointed_size": 22426,
        "state_size": 22426, "end_to_end_duration": 36, "alignment_buffered": 1,
        "processed_data": 233881, "persisted_data": 5, "num_subtasks": 4,
        "num_acknowledged_subtasks": 4, "checkpoint_type": "CHECKPOINT", "tasks": {},
        "external_path": "file:/checkpoints/chk-7", "discarded": false});
    assert_eq!(statistics["latest"]["completed"], completed);
    assert_eq!(statistics["history"][0], completed);
    let savepoint = &statistics["latest"]["savepoint"];
    assert_eq!(savepoint["records_per_second_before"], 12_000.0);
    assert_eq!(savepoint["records_per_second_during"], 9_000.0);
    assert_eq!(savepoint["records_per_second_ratio"], 0.75);
    assert_eq!(savepoint["created_files"], 3);
    assert_eq!(savepoint["savepointFormat"], "CANONICAL");
    let failed = &statistics["latest"]["failed"];
    assert_eq!(failed["savepointFormat"], "NATIVE");
    assert_eq!(
        statistics["latest"]["savepoint"]["checkpoint_type"],
        "SYNC_SAVEPOINT"
    );
    let failed = &statistics["latest"]["failed"];
    assert_eq!(failed["className"], "failed");
    assert_eq!(failed["latest_ack_timestamp"], -1);
    assert_eq!(failed["failure_timestamp"], 7);
    assert!(failed.get("external_path").is_none() && failed.get("discarded").is_none());
    assert_eq!(
        statistics["latest"]["restored"],
        json!({"id": 3, "restore_timestamp": 1, "is_savepoint": true,
            "external_path": "file:/savepoints/savepoint-0"})
    );
}

#[test]
fn a_fall_back_is_told_in_fields_that_flink_does_not_have() {
    let cluster = Cluster::running();
    cluster.dispatcher.set_checkpoints(
        JOB,
        CheckpointStatistics {
            restored: 2,
            fallbacks: 1,
            latest_restored: Some(RestoredCheckpoint {
                id: 3,
                restore_timestamp_ms: 1,
                is_savepoint: false,
                external_path: "file:/checkpoints/chk-3".to_owned(),
                damaged: vec!["checkpoint 4 is cut".to_owned()],
                read: StateRead {
                    local_bytes: 7,
                    remote_bytes: 8,
                    unusable_copies: 1,
                },
            }),
            ..CheckpointStatistics::default()
        },
    );
    let statistics = cluster.get(&format!("/jobs/{JOB}/checkpoints"));
    assert_eq!(statistics["counts"]["fallbacks"], 1);
    let restored = &statistics["latest"]["restored"];
    assert_eq!(restored["damaged"], json!(["checkpoint 4 is cut"]));
    let read = json!({"local_bytes": 7, "remote_bytes": 8, "unusable_copies": 1});
    assert_eq!(restored["state_read"], read);
}

#[test]
fn the_parts_of_a_checkpoint_are_flinks() {
    let cluster = Cluster::running();
    cluster.dispatcher.set_checkpoints(
        JOB,
        CheckpointStatistics {
            history: vec![record(7)],
            ..CheckpointStatistics::default()
        },
    );
    let details = cluster.get(&format!("/jobs/{JOB}/checkpoints/details/7"));
    let vertex = OperatorId::of_uid("counter").to_string();
    let task = json!({"id": 7, "status": "COMPLETED", "latest_ack_timestamp": 1795246820777u64,
        "checkpointed_size": 1067, "state_size": 11067, "end_to_end_duration": 25,
        "alignment_buffered": 1, "processed_data": 3, "persisted_data": 5, "num_subtasks": 2,
        "num_acknowledged_subtasks": 1});
    assert_eq!(details["tasks"][&vertex], task);
    let path = format!("/jobs/{JOB}/checkpoints/details/7/subtasks");
    let mut parts = cluster.get(&format!("{path}/{vertex}"));
    assert_eq!(
        parts["subtasks"],
        json!([{"className": "completed", "index": 0, "ack_timestamp": 1795246820777u64,
            "end_to_end_duration": 25, "checkpointed_size": 1067, "state_size": 11067,
            "checkpoint": {"sync": 0, "async": 3},
            "alignment": {"buffered": 1, "processed": 3, "persisted": 5, "duration": 2,
                "buffered_records": 2, "processed_records": 4, "persisted_records": 6},
            "start_delay": 17, "unaligned_checkpoint": false, "aborted": false,
            "status": "completed"},
            {"className": "pending", "index": 1, "status": "pending_or_failed"}])
    );
    let summary = &parts["summary"];
    assert_eq!(
        keys(summary),
        [
            "alignment",
            "checkpoint_duration",
            "checkpointed_size",
            "end_to_end_duration",
            "start_delay",
            "state_size"
        ]
    );
    assert_eq!(
        summary["checkpoint_duration"]["async"],
        json!({"min": 3, "max": 3, "avg": 3, "p50": "NaN", "p90": "NaN", "p95": "NaN",
            "p99": "NaN", "p999": "NaN"})
    );
    assert_eq!(
        keys(&summary["alignment"]),
        [
            "buffered",
            "buffered_records",
            "duration",
            "persisted",
            "persisted_records",
            "processed",
            "processed_records"
        ]
    );
    let fields = parts.as_object_mut().expect("an object");
    fields.remove("summary");
    fields.remove("subtasks");
    assert_eq!(parts, task);
    cluster.refused("GET", &format!("{path}/{}", OperatorId([0; 16])), "", 404);
    let error = cluster.refused(
        "GET",
        &format!("/jobs/{JOB}/checkpoints/details/9"),
        "",
        404,
    );
    assert!(error.contains("Could not find checkpointing statistics for checkpoint 9."));
}

#[test]
fn the_details_of_a_vertex_are_flinks() {
    let cluster = Cluster::running();
    let path = format!("/jobs/{JOB}/vertices/{}", OperatorId::of_uid("counter"));
    let vertex = cluster.get(&path);
    assert_eq!(
        keys(&vertex),
        [
            "aggregated",
            "id",
            "maxParallelism",
            "name",
            "now",
            "parallelism",
            "subtasks"
        ]
    );
    let first = &vertex["subtasks"][0];
    assert_eq!(
        keys(first),
        [
            "attempt",
            "duration",
            "end-time",
            "endpoint",
            "metrics",
            "start-time",
            "start_time",
            "status",
            "status-duration",
            "subtask",
            "taskmanager-id"
        ]
    );
    assert_eq!(
        (&first["subtask"], &first["status"]),
        (&json!(0), &json!("RUNNING"))
    );
    assert_eq!(first["metrics"]["read-records"], 900);
    assert_eq!(first["metrics"]["accumulated-busy-time"], 1500.0);
    let records = &vertex["aggregated"]["metrics"]["read-records"];
    assert_eq!(
        *records,
        json!({"min": 100, "max": 900, "avg": 500, "sum": 1000, "median": 500.0, "p25": 100.0,
            "p75": 900.0, "p95": 900.0})
    );
    assert_eq!(
        vertex["aggregated"]["metrics"].as_object().map(|m| m.len()),
        Some(7)
    );
    let unknown = format!("/jobs/{JOB}/vertices/{}", OperatorId([0; 16]));
    for end in [
        "",
        "/backpressure",
        "/metrics",
        "/subtasks/metrics",
        "/watermarks",
    ] {
        let error = cluster.refused("GET", &format!("{unknown}{end}"), "", 404);
        assert!(error.contains("JobVertex 0000"), "{error}");
    }
}

#[test]
fn back_pressure_is_told_as_flink_tells_it() {
    let cluster = Cluster::running();
    let of = |uid: &str| {
        format!(
            "/jobs/{JOB}/vertices/{}/backpressure",
            OperatorId::of_uid(uid)
        )
    };
    let subtask = |index: u32| {
        json!({"subtask": index, "attempt-number": 0, "backpressureLevel": "low",
            "backpressure-level": "low", "ratio": 0.5, "idleRatio": 0.25, "busyRatio": 0.25})
    };
    assert_eq!(
        cluster.get(&of("source")),
        json!({"status": "ok", "backpressureLevel": "low", "backpressure-level": "low",
            "end-timestamp": START + 2000, "subtasks": [subtask(0), subtask(1)]})
    );
    let counter = cluster.get(&of("counter"));
    assert_eq!(counter["backpressureLevel"], "ok");
    assert_eq!(counter["subtasks"][1]["busyRatio"], 0.75);
    let ended = Cluster::with_job(JobStatus::Finished);
    assert_eq!(ended.get(&of("source")), json!({"status": "deprecated"}));
}

#[test]
fn metrics_are_listed_told_and_aggregated_as_in_flink() {
    let cluster = Cluster::running();
    let of = |uid: &str| format!("/jobs/{JOB}/vertices/{}", OperatorId::of_uid(uid));
    let names = cluster.get(&format!("{}/subtasks/metrics", of("source")));
    let names: Vec<&str> = names
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["id"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "accumulateBackPressuredTimeMs",
            "accumulateBusyTimeMs",
            "accumulateIdleTimeMs",
            "accumulateWaitingTimeMs",
            "backPressuredTimeMsPerSecond",
            "busyTimeMsPerSecond",
            "currentInputWatermark",
            "hardBackPressuredTimeMsPerSecond",
            "idleTimeMsPerSecond",
            "numRecordsIn",
            "numRecordsInPerSecond",
            "numRecordsOut",
            "numRecordsOutPerSecond",
            "softBackPressuredTimeMsPerSecond",
            "source.accumulateBusyTimeMs",
            "source.busyTimeMsPerSecond",
            "source.numRecordsIn",
            "source.numRecordsInPerSecond",
            "source.numRecordsOut",
            "source.numRecordsOutPerSecond",
            "source.pendingRecords",
            "waitingTimeMsPerSecond"
        ]
    );
    let of_subtask = cluster.get(&format!("{}/subtasks/1/metrics", of("source")));
    assert_eq!(of_subtask.as_array().map(Vec::len), Some(names.len()));
    let of_vertex = cluster.get(&format!("{}/metrics", of("source")));
    assert_eq!(of_vertex.as_array().map(Vec::len), Some(2 * names.len()));
    // A comma may come encoded; what is not there is left out.
    assert_eq!(
        cluster.get(&format!(
            "{}/metrics?get=1.out.numRecordsOut%2C0.busyTimeMsPerSecond,0.nosuch",
            of("counter")
        )),
        json!([{"id": "1.out.numRecordsOut", "value": "100"},
            {"id": "0.busyTimeMsPerSecond", "value": "750.0"}])
    );
    let path = format!("{}/subtasks/1/metrics", of("counter"));
    assert_eq!(
        cluster.get(&format!(
            "{path}?get=idleTimeMsPerSecond&get=waitingTimeMsPerSecond"
        )),
        json!([{"id": "idleTimeMsPerSecond", "value": "250"},
            {"id": "waitingTimeMsPerSecond", "value": "50"}])
    );
    // What the dashboard asks of each vertex.
    let path = format!("{}/subtasks/metrics", of("source"));
    let asked = "backPressuredTimeMsPerSecond,busyTimeMsPerSecond,numRecordsOutPerSecond";
    let rows = cluster.get(&format!("{path}?get={asked}"));
    assert_eq!(
        rows[0],
        json!({"id": "backPressuredTimeMsPerSecond", "min": 500.0, "max": 500.0, "avg": 500.0,
            "sum": 1000.0, "skew": 0.0})
    );
    assert_eq!(
        rows[2],
        json!({"id": "numRecordsOutPerSecond", "min": 50.0, "max": 450.0, "avg": 250.0,
            "sum": 500.0, "skew": 80.0})
    );
    assert_eq!(
        cluster.get(&format!(
            "{path}?get=numRecordsOut&agg=max,sum&subtasks=1-7"
        )),
        json!([{"id": "numRecordsOut", "max": 100.0, "sum": 100.0}])
    );
    assert_eq!(
        cluster.get(&format!("{path}?get=numRecordsOut,nosuch")),
        json!([])
    );
    let error = cluster.refused("GET", &format!("{path}?get=x&agg=mean"), "", 400);
    assert!(error.contains("(agg) from value \"mean\""), "{error}");
    cluster.refused("GET", &format!("{path}?get=x&subtasks=one"), "", 400);
    assert_eq!(
        cluster.get(&format!("{}/watermarks", of("source"))),
        json!([{"id": "0.currentInputWatermark", "value": "7"},
            {"id": "1.currentInputWatermark", "value": "7"}])
    );
    // Of a job that has ended the sums are left.
    let ended = Cluster::with_job(JobStatus::Finished);
    let asked = "?get=0.busyTimeMsPerSecond,0.accumulateBusyTimeMs";
    assert_eq!(
        ended.get(&format!("{}/metrics{asked}", of("counter"))),
        json!([{"id": "0.accumulateBusyTimeMs", "value": "1500.0"}])
    );
}

#[test]
fn the_configuration_of_checkpoints_is_flinks() {
    let cluster = Cluster::running();
    assert_eq!(
        cluster.get(&format!("/jobs/{JOB}/checkpoints/config")),
        json!({"mode": "exactly_once", "interval": 2000, "timeout": 600000, "min_pause": 0,
            "max_concurrent": 1,
            "externalization": {"enabled": false, "delete_on_cancellation": true},
            "state_backend": "HashMapStateBackend",
            "checkpoint_storage": "FileSystemCheckpointStorage", "unaligned_checkpoints": false,
            "tolerable_failed_checkpoints": 0, "aligned_checkpoint_timeout": 0,
            "checkpoints_after_tasks_finish": true, "state_changelog_enabled": false,
            "changelog_periodic_materialization_interval": 600000, "changelog_storage": "memory"})
    );
}

#[test]
fn shutting_down_ends_the_thread_though_a_connection_is_open() {
    let cluster = Cluster::running();
    let address = cluster.server.local_addr();
    let idle = TcpStream::connect(address).expect("listens");
    cluster.server.shutdown();
    assert!(TcpStream::connect(address).is_err());
    drop(idle);
}

#[test]
fn requirements_are_told_and_changed_in_elastic_mode_alone() {
    let cluster = Cluster::running();
    let path = format!("/jobs/{JOB}/resource-requirements");
    let (source, counter) = (
        "e5a72f353fc1e6bbf3bd96a41384998c",
        "0da08f51eaa85fc298e176a139b3649a",
    );
    let bounds =
        |lower: u32, upper: u32| json!({"parallelism": {"lowerBound": lower, "upperBound": upper}});
    let body = |of_source: Value, of_counter: Value| {
        json!({ source: of_source, counter: of_counter }).to_string()
    };
    let good = body(bounds(1, 4), bounds(2, 8));
    for (method, sent) in [("GET", ""), ("PUT", &good)] {
        let reply = cluster.ask(method, &path, sent);
        let text = reply.body["errors"][0].as_str().expect("an error");
        assert_eq!(reply.code, 500);
        assert!(
            text.contains("does not support changing the parallelism without a job restart"),
            "{text}"
        );
    }
    let wanted = serde_json::from_str(&body(bounds(1, 2), bounds(1, 2))).expect("a body");
    let wanted = millpond_job::JobRequirements::try_from(&wanted).expect("ids of vertices");
    cluster.dispatcher.make_elastic(JOB, wanted);
    assert_eq!(
        cluster.get("/jobs/overview")["jobs"][0]["schedulerType"],
        "Adaptive"
    );
    assert_eq!(cluster.get(&path)[source], bounds(1, 2));
    let refused = [
        (
            json!({ source: bounds(1, 2) }).to_string(),
            "The request is incomplete, missing job vertex [0da08f51eaa85fc298e176a139b3649a]",
        ),
        (
            body(bounds(1, 2), bounds(3, 2)),
            "is higher than the upper bound [2]",
        ),
        (
            body(bounds(1, 2), bounds(1, 129)),
            "exceeds its maximum parallelism 128",
        ),
        (
            json!({ "counter": bounds(1, 2) }).to_string(),
            "is no id of a job vertex",
        ),
        (
            body(bounds(1, 2), json!({})),
            "did not match expected format",
        ),
        ("[]".to_owned(), "did not match expected format"),
        (
            body(
                bounds(1, 2),
                json!({"parallelism": {"lowerBound": -1, "upperBound": 2}}),
            ),
            "format",
        ),
    ];
    for (sent, part) in refused {
        let reply = cluster.ask("PUT", &path, &sent);
        assert_eq!(reply.code, 400, "{sent}");
        let text = reply.body["errors"][0].as_str().expect("an error");
        assert!(text.contains(part), "{part}: {text}");
        assert_eq!(cluster.get(&path)[source], bounds(1, 2), "{sent}");
    }
    let reply = cluster.ask("PUT", &path, &good);
    assert_eq!((reply.code, reply.body), (200, json!({})));
    assert_eq!(cluster.get(&path)[counter], bounds(2, 8));
    let unknown = "/jobs/00000000000000000000000000000000/resource-requirements";
    assert_eq!(cluster.ask("GET", unknown, "").code, 404);
    assert_eq!(cluster.ask("PUT", unknown, &good).code, 404);
}

/// Flink does not have it.
#[test]
fn the_interval_of_checkpoints_is_changed_while_a_job_runs() {
    let cluster = Cluster::running();
    let path = format!("/jobs/{JOB}/checkpoints/config");
    let answer = cluster.ask("PUT", &path, r#"{"interval": 30000}"#);
    assert_eq!((answer.code, answer.body), (200, json!({})));
    assert_eq!(cluster.ask("GET", &path, "").body["interval"], 30_000);
    for (wrong, part) in [
        (r#"{"interval": 0}"#, "expected at least 1"),
        (r#"{"interval": -1}"#, "-1"),
        (r#"{"interval": "30 s"}"#, "30 s"),
        (r#"{"interval": 1000, "timeout": 5}"#, "timeout"),
        ("{}", "interval"),
        ("", ""),
    ] {
        let answer = cluster.ask("PUT", &path, wrong);
        assert_eq!(answer.code, 400, "{wrong}");
        assert!(
            answer.body.to_string().contains(part),
            "{wrong}: {}",
            answer.body
        );
    }
    assert_eq!(cluster.ask("GET", &path, "").body["interval"], 30_000);
    let unknown = "/jobs/00000000000000000000000000000000/checkpoints/config";
    let answer = cluster.ask("PUT", unknown, r#"{"interval": 30000}"#);
    assert_eq!(answer.code, 404, "{}", answer.body);
}

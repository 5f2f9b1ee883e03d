//! Savepoints, stops, checkpoints and disposals.

use millpond_job::JobStatus;
use millpond_job::dispatcher::{AfterSavepoint, CheckpointKind, SavepointFormat};
use millpond_types::JobId;

use super::{Cluster, JOB};

const PATH: &str = "file:/dir/savepoint-858585-000000000000";

#[test]
fn a_savepoint_is_taken_and_waited_for() {
    let cluster = Cluster::running();
    cluster.dispatcher.set_polls(3);
    cluster
        .millpond("savepoint", &[&JOB.to_string(), "/dir"])
        .told(&[
            &format!("Triggering savepoint for job {JOB}."),
            "Waiting for response...",
            &format!("Savepoint completed. Path: {PATH}"),
            "You can resume your program from this savepoint with the run command.",
        ]);
    assert_eq!(cluster.server.pending_results(), 0);
    assert_eq!(cluster.status(), JobStatus::Running);
}

#[test]
fn a_detached_savepoint_is_not_waited_for() {
    let cluster = Cluster::running();
    let ended = cluster.millpond(
        "savepoint",
        &["-detached", "-type", "native", &JOB.to_string(), "/dir"],
    );
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(
        lines[0],
        format!("Triggering savepoint in detached mode for job {JOB}.")
    );
    let id = lines[1]
        .strip_prefix("Successfully trigger manual savepoint, triggerId: ")
        .expect("the id");
    assert_eq!(id.len(), 32);
    assert_eq!(
        cluster.dispatcher.savepoint_requests()[0].format,
        SavepointFormat::Native
    );
    assert_eq!(cluster.server.pending_results(), 1);
}

#[test]
fn a_savepoint_without_any_directory_fails_with_the_name_of_the_option() {
    Cluster::running()
        .millpond("savepoint", &[&JOB.to_string()])
        .failed(&[
            &format!("Failed to trigger a savepoint for the job {JOB}.\nCaused by: "),
            "Config key [execution.checkpointing.savepoint-dir] is not set. \
         Property [target-directory] must be provided.",
        ]);
}

#[test]
fn a_savepoint_of_a_job_that_does_not_exist_fails() {
    let unknown = JobId([0; 16]).to_string();
    Cluster::running()
        .millpond("savepoint", &[&unknown, "/dir"])
        .failed(&[&format!("Could not find Flink job ({unknown})")]);
}

#[test]
fn waiting_for_a_savepoint_ends_after_the_clients_timeout() {
    let cluster = Cluster::running();
    cluster.dispatcher.set_polls(u32::MAX);
    cluster
        .millpond(
            "savepoint",
            &["-Dclient.timeout=50 ms", &JOB.to_string(), "/dir"],
        )
        .failed(&["no result after 50 ms (client.timeout)", "triggerId: "]);
}

#[test]
fn a_savepoint_is_disposed_of_once() {
    let cluster = Cluster::running();
    assert_eq!(
        cluster
            .millpond("savepoint", &[&JOB.to_string(), "/dir"])
            .code,
        0
    );
    cluster.millpond("savepoint", &["-d", PATH]).told(&[
        &format!("Disposing savepoint '{PATH}'."),
        "Waiting for response...",
        &format!("Savepoint '{PATH}' disposed."),
    ]);
    assert!(cluster.dispatcher.savepoints().is_empty());
    cluster
        .millpond("savepoint", &["--dispose", PATH])
        .failed(&[
            &format!("Failed to dispose the savepoint '{PATH}'."),
            &format!("Cannot find checkpoint or savepoint file/directory '{PATH}'"),
        ]);
}

#[test]
fn a_job_is_stopped_with_a_savepoint() {
    let cluster = Cluster::running();
    cluster
        .millpond("stop", &["-p", "/dir", &JOB.to_string()])
        .told(&[
            &format!("Suspending job \"{JOB}\" with a CANONICAL savepoint."),
            &format!("Triggering stop-with-savepoint for job {JOB}."),
            "Waiting for response...",
            &format!("Savepoint completed. Path: {PATH}"),
        ]);
    assert_eq!(cluster.status(), JobStatus::Finished);
    assert_eq!(
        cluster.dispatcher.savepoint_requests()[0].then,
        AfterSavepoint::Stop
    );
}

#[test]
fn a_job_is_drained_and_its_savepoint_may_be_native_or_detached() {
    let cluster = Cluster::running();
    let ended = cluster.millpond(
        "stop",
        &[
            "--drain",
            "--type",
            "native",
            "-detached",
            &JOB.to_string(),
            "/dir",
        ],
    );
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(
        lines[0],
        format!("Draining job \"{JOB}\" with a NATIVE savepoint.")
    );
    assert_eq!(
        lines[1],
        format!("Triggering stop-with-savepoint in detached mode for job {JOB}.")
    );
    assert!(
        lines[2]
            .starts_with("Successfully trigger stop-with-savepoint in detached mode, triggerId: ")
    );
    let request = &cluster.dispatcher.savepoint_requests()[0];
    assert_eq!(request.then, AfterSavepoint::Drain);
    assert_eq!(request.target_directory.as_deref(), Some("/dir"));
}

#[test]
fn a_stop_that_fails_says_which_job_goes_on() {
    let cluster = Cluster::running();
    cluster
        .dispatcher
        .fail_operations("java.io.IOException", "No space left on device");
    cluster
        .millpond("stop", &["-p", "/dir", &JOB.to_string()])
        .failed(&[
            &format!("Could not stop with a savepoint job \"{JOB}\"."),
            "Caused by: java.io.IOException: No space left on device",
        ]);
    assert_eq!(cluster.status(), JobStatus::Running);
}

#[test]
fn a_checkpoint_is_taken_by_hand() {
    let cluster = Cluster::running();
    let job = JOB.to_string();
    cluster.millpond("checkpoint", &[&job]).told(&[
        &format!("Triggering checkpoint for job {JOB}."),
        "Waiting for response...",
        &format!("Checkpoint 1 for job {JOB} completed."),
        "You can resume your program from this checkpoint with the run command.",
    ]);
    let full = cluster.millpond("checkpoint", &["-full", &job]);
    assert!(
        full.stdout
            .contains(&format!("Checkpoint(FULL) 2 for job {JOB} completed."))
    );
    assert_eq!(
        cluster.dispatcher.checkpoint_requests(),
        [CheckpointKind::Configured, CheckpointKind::Full]
    );
}

#[test]
fn the_interval_of_checkpoints_is_changed_and_what_is_none_refused() {
    use millpond_job::dispatcher::Dispatcher;
    let cluster = Cluster::running();
    let job = JOB.to_string();
    cluster
        .millpond("checkpoint", &["--interval", "90 s", &job])
        .told(&[&format!(
            "Checkpoints of job {JOB} are taken every 90 s from now on."
        )]);
    let config = cluster.dispatcher.checkpoint_config(JOB).expect("known");
    assert_eq!(config.interval_ms, Some(90_000));
    assert!(cluster.dispatcher.checkpoint_requests().is_empty());
    let often = cluster.millpond("checkpoint", &["--interval", "often", &job]);
    assert_eq!(often.code, 1, "{}", often.stderr);
    let line = often.stdout.lines().next().unwrap_or_default();
    assert!(
        line.starts_with("The interval \"often\" is none: "),
        "{line}"
    );
    cluster
        .millpond("checkpoint", &["--interval", "0 s", &job])
        .refused("The interval \"0 s\" is less than 1 ms.");
    let both = cluster.millpond("checkpoint", &["--interval", "1 s", "--full", &job]);
    assert_eq!(both.code, 1, "{}", both.stdout);
    let nobody = "00000000000000000000000000000000";
    cluster
        .millpond("checkpoint", &["--interval", "1 s", nobody])
        .failed(&[
            &format!("Failed to change the interval of the checkpoints of job {nobody}."),
            "not found",
        ]);
    let config = cluster.dispatcher.checkpoint_config(JOB).expect("known");
    assert_eq!(config.interval_ms, Some(90_000));
}

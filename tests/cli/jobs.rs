//! Lists of jobs, and cancelling.

use millpond_job::JobStatus;
use millpond_job::dispatcher::AfterSavepoint;
use millpond_types::JobId;

use super::{Cluster, JOB};

#[test]
fn jobs_are_listed_by_what_they_are_doing() {
    let cluster = Cluster::running();
    cluster.millpond("list", &[]).told(&[
        "Waiting for response...",
        "------------------ Running/Restarting Jobs -------------------",
        &format!("21.11.2026 07:40:10 : {JOB} : KeyedCount-1000 (RUNNING)"),
        "--------------------------------------------------------------",
        "No scheduled jobs.",
    ]);
    cluster
        .dispatcher
        .put_job(JobId([1; 16]), "waits", JobStatus::Created);
    cluster
        .dispatcher
        .put_job(JobId([2; 16]), "done", JobStatus::Finished);
    cluster
        .dispatcher
        .put_job(JobId([3; 16]), "again", JobStatus::Restarting);
    let all = cluster.millpond("list", &["-a"]).stdout;
    let headings: Vec<&str> = all
        .lines()
        .filter(|line| line.starts_with("--") && line.contains("Jobs"))
        .collect();
    assert_eq!(
        headings,
        [
            "------------------ Running/Restarting Jobs -------------------",
            "----------------------- Scheduled Jobs -----------------------",
            "---------------------- Terminated Jobs -----------------------",
        ]
    );
    assert!(
        all.contains("(RESTARTING)") && all.contains("(CREATED)") && all.contains("(FINISHED)")
    );
    let running = cluster.millpond("list", &["-r"]).stdout;
    assert!(
        running.contains("(RUNNING)") && !running.contains("Scheduled"),
        "{running}"
    );
    let scheduled = cluster.millpond("list", &["--scheduled"]).stdout;
    assert!(
        scheduled.contains("(CREATED)") && !scheduled.contains("RUNNING"),
        "{scheduled}"
    );
}

#[test]
fn a_cluster_without_jobs_says_so() {
    Cluster::empty().millpond("list", &[]).told(&[
        "Waiting for response...",
        "No running jobs.",
        "No scheduled jobs.",
    ]);
}

#[test]
fn a_job_is_cancelled() {
    let cluster = Cluster::running();
    cluster.millpond("cancel", &[&JOB.to_string()]).told(&[
        &format!("Cancelling job {JOB}."),
        &format!("Cancelled job {JOB}."),
    ]);
    assert_eq!(cluster.status(), JobStatus::Canceled);
}

#[test]
fn a_job_that_does_not_exist_cannot_be_cancelled() {
    let unknown = JobId([0; 16]).to_string();
    Cluster::running().millpond("cancel", &[&unknown]).failed(&[
        &format!("Could not cancel job {unknown}."),
        &format!(
            "Caused by: org.apache.flink.runtime.rest.NotFoundException: Job {unknown} not found"
        ),
    ]);
}

#[test]
fn cancelling_with_a_savepoint_warns_and_tells_where_it_is() {
    let job = JOB.to_string();
    let cluster = Cluster::running();
    cluster.millpond("cancel", &["-s", "/dir", &job]).told(&[
        "DEPRECATION WARNING: Cancelling a job with savepoint is deprecated. \
         Use \"stop\" instead.",
        &format!("Cancelling job {JOB} with CANONICAL savepoint to /dir."),
        &format!(
            "Cancelled job {JOB}. Savepoint stored in \
             file:/dir/savepoint-858585-000000000000."
        ),
    ]);
    assert_eq!(cluster.status(), JobStatus::Canceled);
    assert_eq!(
        cluster.dispatcher.savepoint_requests()[0].then,
        AfterSavepoint::Cancel
    );
    // The job may stand where the directory does.
    for arguments in [&["-s", &job][..], &[&job, "-s"]] {
        let cluster = Cluster::running();
        cluster.dispatcher.set_default_directory("/default");
        let ended = cluster.millpond("cancel", arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(
            ended
                .stdout
                .contains("savepoint to default savepoint directory."),
            "{}",
            ended.stdout
        );
    }
}

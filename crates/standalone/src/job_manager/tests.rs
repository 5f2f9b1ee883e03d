//! Against a job master by hand.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Instant;

use millpond_cluster::{receive, send};
use millpond_job::dispatcher::DispatchError;
use millpond_job::programs::RunRequest;
use millpond_job::resources::{Hello, PROTOCOL, Peer};
use millpond_leadership::Term;
use millpond_types::config::JOB_MANAGER_VARIABLE;

use super::*;
use crate::registry::tests::report;

/// A program that tells what it was started with and its process, and ends when it is told.
fn program(place: &Path) -> String {
    let told = place.join("told");
    let end = place.join("end");
    format!(
        "#!/bin/sh\necho \"$$|${JOB_MANAGER_VARIABLE}\" > {0}.new\nmv {0}.new {0}\n\
         while [ ! -e {1} ]; do sleep 0.02; done\n",
        told.display(),
        end.display()
    )
}

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn manager(place: &Path) -> JobManager {
    let heartbeat = Heartbeat {
        interval: Duration::from_millis(200),
        // Longer than anything takes on a busy machine, as no master here says that it lives.
        timeout: Duration::from_secs(300),
    };
    JobManager::start(JobManagerOptions {
        bind_host: "127.0.0.1".to_owned(),
        port: 0,
        address: "127.0.0.1".to_owned(),
        rest: String::new(),
        heartbeat,
        slot_timeout: Duration::from_secs(300),
        directory: place.to_owned(),
        keeps_jobs: false,
        term: Term::unlimited(),
        mode: Mode::Session,
        max_program_bytes: 1 << 20,
        security: Internal::in_clear(),
        configuration: Configuration::default(),
    })
    .expect("a socket")
}

/// Runs the program as a job, as soon as its master has told something; returns what the program has told.
fn run(
    manager: &JobManager,
    place: &Path,
    job: JobId,
) -> (JoinHandle<Result<JobId, DispatchError>>, String) {
    let programs = manager.programs();
    let mut upload = programs.upload("by-hand").expect("room");
    let written = upload.write_all(program(place).as_bytes());
    written.expect("room");
    let id = upload.finish().expect("kept");
    let id = id.rsplit('/').next().expect("a name").to_owned();
    let request = RunRequest {
        arguments: Vec::new(),
        job: Some(job),
        configuration: BTreeMap::new(),
    };
    let run = std::thread::spawn(move || programs.run(&id, request));
    let told = wait_for("program", || {
        std::fs::read_to_string(place.join("told")).ok()
    });
    (run, told)
}

/// Another job manager may lead then.
#[test]
fn masters_have_ended_when_a_job_manager_has() {
    let place = tempfile::tempdir().expect("room");
    let manager = manager(place.path());
    let (run, told) = run(&manager, place.path(), report(1, None).0);
    let process = Path::new("/proc").join(told.split('|').next().expect("a process"));
    assert!(process.exists());
    assert!(manager.end());
    assert!(!process.exists());
    run.join().expect("no panic").expect_err("it has ended");
    assert!(!manager.end(), "there is nobody who could");
}

#[test]
fn a_master_is_judged_when_its_process_has_ended_and_its_last_message_is_heard() {
    for (tells_the_end, expected) in [(true, JobStatus::Finished), (false, JobStatus::Failed)] {
        let place = tempfile::tempdir().expect("room");
        let manager = manager(place.path());
        let (job, running) = report(1, None);
        let (run, told) = run(&manager, place.path(), job);
        let told: Vec<&str> = told.split('|').collect();
        let process = Path::new("/proc").join(told[0]);
        let mut stream = TcpStream::connect(told[1]).expect("it listens");
        let who = Peer::JobMaster {
            job,
            token: told[2].to_owned(),
        };
        let hello = Hello {
            protocol: PROTOCOL,
            who,
        };
        send(&mut stream, &hello).expect("it listens");
        let welcome = receive::<Welcome>(&mut stream).expect("an answer");
        assert_eq!(welcome, Some(Welcome::Accepted));
        let tell = |stream: &mut TcpStream, report| {
            send(stream, &FromJobMaster::Report(Box::new(report))).expect("it listens");
        };
        tell(&mut stream, running);
        assert_eq!(run.join().expect("no panic"), Ok(job));

        let dispatcher = manager.dispatcher();
        let status = || dispatcher.job(job).expect("known").overview.status;
        std::fs::write(place.path().join("end"), "").expect("room");
        // The job manager has collected it, and a moment later has heard of that.
        wait_for("end of the process", || (!process.exists()).then_some(()));
        std::thread::sleep(LOOK);
        assert_eq!(status(), JobStatus::Running);
        if tells_the_end {
            tell(&mut stream, report(1, Some(9)).1);
        }
        drop(stream);
        wait_for("end of the job", || (status() == expected).then_some(()));
    }
}

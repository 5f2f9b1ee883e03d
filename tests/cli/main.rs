//! The command `millpond` as a user meets it: lines, where they are printed, exit codes.
//!
//! It talks over loopback to the real REST server, behind which a fake cluster stands.

mod application;
mod arguments;
mod cluster;
mod cluster_start;
mod jobs;
mod kept;
mod latest;
mod leader;
mod new_snapshots;
mod plan;
mod rocksdb;
mod run;
mod savepoints;
mod security;
#[cfg(feature = "sql")]
mod sql;
mod state;
mod yarn;

use std::process::{Command, Output};
use std::sync::Arc;

use millpond_job::JobStatus;
use millpond_rest::fake::FakeDispatcher;
use millpond_rest::{RestOptions, RestServer, serve};
use millpond_types::JobId;

/// The job that most tests are about.
const JOB: JobId = JobId([0x85; 16]);

/// A server with a fake cluster.
struct Cluster {
    dispatcher: Arc<FakeDispatcher>,
    server: RestServer,
}

impl Cluster {
    fn empty() -> Self {
        let dispatcher = Arc::new(FakeDispatcher::new());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = serve(listener, dispatcher.clone(), RestOptions::default()).expect("serves");
        Cluster { dispatcher, server }
    }

    fn running() -> Self {
        let cluster = Cluster::empty();
        cluster
            .dispatcher
            .put_job(JOB, "KeyedCount-1000", JobStatus::Running);
        cluster
    }

    /// Runs `millpond ACTION -m <this server> ...`.
    fn millpond(&self, action: &str, arguments: &[&str]) -> Ended {
        let address = self.server.local_addr().to_string();
        millpond(&[&[action, "-m", &address], arguments].concat())
    }

    fn status(&self) -> JobStatus {
        use millpond_job::dispatcher::Dispatcher;
        self.dispatcher.job(JOB).expect("put in").overview.status
    }
}

/// A shell command that tells the job's id and address as a job does.
fn accepted(more: &str) -> String {
    format!(
        r#"printf '{{"job_id":"{JOB}","rest":"127.0.0.1:9"{more}}}' > "$MILLPOND_READY_FILE.new"
           mv "$MILLPOND_READY_FILE.new" "$MILLPOND_READY_FILE"
        "#
    )
}

/// What a run of the command left.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Ended {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Ended {
    /// Checks that it went well, told nothing on standard error, and these lines.
    #[track_caller]
    fn told(&self, lines: &[&str]) {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (0, ""),
            "{}",
            self.stdout
        );
        assert_eq!(self.stdout.lines().collect::<Vec<_>>(), lines);
    }

    /// Checks that the arguments were refused with this line, on standard output.
    #[track_caller]
    fn refused(&self, line: &str) {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (1, ""),
            "{}",
            self.stdout
        );
        let help = "Use the help option (-h or --help) to get help on the command.";
        assert_eq!(self.stdout.lines().collect::<Vec<_>>(), [line, "", help]);
    }

    /// Checks that the action failed, with Flink's heading and these phrases on standard error.
    #[track_caller]
    fn failed(&self, phrases: &[&str]) {
        assert_eq!(self.code, 1, "{}", self.stdout);
        let heading = "\n------------------------------------------------------------\n \
                       The program finished with the following exception:\n\n";
        let causes = self.stderr.strip_prefix(heading).expect("Flink's heading");
        for phrase in phrases {
            assert!(causes.contains(phrase), "{phrase} in:\n{causes}");
        }
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command
        .args(arguments)
        .env("TZ", "UTC")
        .env_remove("MILLPOND_CONFIGURATION");
    command
}

fn millpond(arguments: &[&str]) -> Ended {
    command(arguments).output().expect("starts").into()
}

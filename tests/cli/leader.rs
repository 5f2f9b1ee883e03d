//! Actions that find the leader of a highly available cluster by themselves, and another one when it is killed.

use millpond_exactness::job_process::wait_for;

use super::cluster::{Service, example};
use super::{Ended, millpond};

/// A cluster with a leader and a job manager that stands by.
struct Cluster {
    place: tempfile::TempDir,
    /// Of its election.
    options: Vec<String>,
    leader: Service,
    standby: Service,
}

impl Cluster {
    fn start(election: &[&str]) -> Self {
        let place = tempfile::tempdir().expect("room");
        let storage = place.path().join("ha");
        let mut options = vec![format!(
            "-Dhigh-availability.storageDir={}",
            storage.display()
        )];
        options.extend(election.iter().map(|&option| option.to_owned()));
        let mut leader = job_manager(&options);
        leader.says("Job manager listening at ");
        leader.says("Web interface listening at ");
        let mut standby = job_manager(&options);
        standby.says("Another job manager leads: standing by");
        Cluster {
            place,
            options,
            leader,
            standby,
        }
    }

    /// Runs an action that is told how the leader is elected, and not where it is.
    fn millpond(&self, action: &str, arguments: &[&str]) -> Ended {
        let options = self.options.iter().map(String::as_str);
        let all = [action].into_iter().chain(options);
        millpond(&all.chain(arguments.iter().copied()).collect::<Vec<_>>())
    }

    fn path(&self, name: &str) -> String {
        self.place.path().join(name).display().to_string()
    }

    /// Waits until the job is listed as one that runs.
    fn wait_until_it_runs(&self, job: &str) {
        let runs = |listed: &str| {
            let mut lines = listed.lines();
            lines.any(|line| line.contains(job) && line.ends_with("(RUNNING)"))
        };
        wait_for("the job to run", || {
            let listed = self.millpond("list", &[]);
            assert_eq!(listed.code, 0, "{}", listed.stderr);
            runs(&listed.stdout).then_some(())
        });
    }
}

fn job_manager(options: &[String]) -> Service {
    let own = [
        "jobmanager",
        "-Drest.port=0",
        "-Djobmanager.rpc.port=0",
        "-Djobmanager.rpc.address=127.0.0.1",
        "-Drest.server.max-content-length=2000000000",
    ];
    let options = options.iter().map(String::as_str);
    Service::start(&own.into_iter().chain(options).collect::<Vec<_>>())
}

/// The rest of the last line, which begins so.
fn last_line(ended: &Ended, begin: &str) -> String {
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let line = ended.stdout.lines().last().expect("a line");
    let rest = line.strip_prefix(begin);
    rest.unwrap_or_else(|| panic!("{begin}: {line}")).to_owned()
}

/// A job is submitted, listed and saved by the leader, then by the next one; nobody is told where they are.
fn actions_find_the_leader(election: &[&str]) {
    let mut cluster = Cluster::start(election);
    let options = cluster.options.iter().map(String::as_str);
    let of_worker = ["taskmanager", "-Dtaskmanager.resource-id=here"];
    let mut worker = Service::start(&of_worker.into_iter().chain(options).collect::<Vec<_>>());
    worker.says("Task manager here registered at ");
    let program = example("keyed_count").display().to_string();
    let checkpoints = format!(
        "-Dexecution.checkpointing.dir={}",
        cluster.path("checkpoints")
    );
    let run = [
        "-d",
        "-t",
        "remote",
        &checkpoints,
        "-Dexecution.checkpointing.interval=100 ms",
        &program,
        "--keys",
        "100",
        "--rate",
        "1000",
    ];
    let ran = cluster.millpond("run", &run);
    let job = last_line(&ran, "Job has been submitted with JobID ");
    cluster.wait_until_it_runs(&job);
    let savepoints = cluster.path("savepoints");
    let saved = cluster.millpond("savepoint", &[&job, &savepoints]);
    assert_eq!(saved.code, 0, "{}{}", saved.stdout, saved.stderr);
    cluster.leader.kill();
    cluster.standby.says("Job manager listening at ");
    cluster.standby.says("Web interface listening at ");
    cluster.wait_until_it_runs(&job);
    let stopped = cluster.millpond("stop", &["-p", &savepoints, &job]);
    last_line(&stopped, "Savepoint completed. Path: ");
}

#[test]
fn actions_find_a_leader_that_a_lock_elects() {
    actions_find_the_leader(&["-Dhigh-availability.type=filesystem"]);
}

/// Nobody has ever led.
#[test]
fn a_leader_that_is_not_there_is_told_with_where_it_was_looked_for() {
    let place = tempfile::tempdir().expect("room");
    let storage = format!("-Dhigh-availability.storageDir={}", place.path().display());
    let ended = millpond(&["list", "-Dhigh-availability.type=filesystem", &storage]);
    ended.failed(&[
        "Could not find the leader of the cluster; -m says where it is.",
        &format!("the leader of \"{}/default\"", place.path().display()),
        "no job manager has led a cluster of this high-availability.storageDir",
    ]);
}

#[cfg(feature = "zookeeper")]
mod zookeeper {
    use millpond_exactness::zookeeper::ZooKeeper;

    use super::{actions_find_the_leader, millpond};

    const TYPE: &str = "-Dhigh-availability.type=zookeeper";

    fn at(quorum: &str) -> String {
        format!("-Dhigh-availability.zookeeper.quorum={quorum}")
    }

    #[test]
    fn actions_find_a_leader_that_zookeeper_elects() {
        let Some(mut zookeeper) = ZooKeeper::start_ensemble("cli: a leader in ZooKeeper") else {
            return;
        };
        zookeeper.kill(zookeeper.leader());
        actions_find_the_leader(&[
            TYPE,
            &at(&zookeeper.quorum()),
            "-Dhigh-availability.zookeeper.client.session-timeout=8 s",
            "-Dhigh-availability.zookeeper.client.retry-wait=200 ms",
        ]);
    }

    /// There is a leader, of another cluster.
    #[test]
    fn a_leader_that_zookeeper_does_not_know_is_told() {
        let Some(zookeeper) = ZooKeeper::start("cli: no leader in ZooKeeper") else {
            return;
        };
        let quorum = zookeeper.quorum();
        let green = "-Dhigh-availability.cluster-id=green";
        millpond(&["list", TYPE, &at(&quorum), green]).failed(&[
            "Could not find the leader of the cluster; -m says where it is.",
            &format!("the leader at \"/flink/green/leader/millpond\" of ZooKeeper at {quorum}"),
            "no job manager leads a cluster of this high-availability.cluster-id",
        ]);
    }

    #[test]
    fn servers_that_do_not_answer_are_told_with_how_long_they_were_tried() {
        let patience = "-Dhigh-availability.zookeeper.client.connection-timeout=300 ms";
        let quorum = "127.0.0.1:1,127.0.0.1:2";
        millpond(&["list", TYPE, &at(quorum), patience]).failed(&[
            "Could not find the leader of the cluster; -m says where it is.",
            &format!(
                "no server of ZooKeeper at {quorum} has begun a session within 300 ms \
                 (high-availability.zookeeper.client.connection-timeout)"
            ),
            "(high-availability.zookeeper.quorum), and most of them have to run",
        ]);
    }

    #[test]
    fn what_is_no_list_of_servers_is_refused() {
        millpond(&["list", TYPE, &at("127.0.0.1:port")])
            .failed(&["high-availability.zookeeper.quorum is \"127.0.0.1:port\""]);
    }
}

//! Actions that find the leader of a highly available cluster by themselves, and another one when it is killed.

use std::process::Command;

use millpond_api_server::ApiServer;
use millpond_exactness::job_process::{stop_process, wait_for};
use millpond_exactness::processes::{children_of, lives};

use super::cluster::{Service, example};
use super::{Ended, command, millpond};

/// A cluster with a leader and a job manager that stands by.
struct Cluster {
    place: tempfile::TempDir,
    /// Of its election.
    options: Vec<String>,
    /// What its processes are told by their environment.
    variables: Vec<(&'static str, String)>,
    leader: Service,
    standby: Service,
}

impl Cluster {
    fn start(election: &[&str]) -> Self {
        Self::start_in(election, [None; 2], Vec::new())
    }

    /// One whose leader and standby have an option each of their own.
    fn start_in(
        election: &[&str],
        own: [Option<&str>; 2],
        variables: Vec<(&'static str, String)>,
    ) -> Self {
        let place = tempfile::tempdir().expect("room");
        let storage = place.path().join("ha");
        let mut options = vec![format!(
            "-Dhigh-availability.storageDir={}",
            storage.display()
        )];
        options.extend(election.iter().map(|&option| option.to_owned()));
        let mut leader = job_manager(&options, own[0], &variables);
        leader.says("Job manager listening at ");
        leader.says("Web interface listening at ");
        let mut standby = job_manager(&options, own[1], &variables);
        standby.says("Another job manager leads: standing by");
        Cluster {
            place,
            options,
            variables,
            leader,
            standby,
        }
    }

    /// Brings slots to it.
    fn task_manager(&self) -> Service {
        let mut worker = Service::start_as(self.command("taskmanager", &[]));
        worker.says("Task manager ");
        worker
    }

    /// A command that is told how the leader is elected, and not where it is.
    fn command(&self, action: &str, arguments: &[&str]) -> Command {
        let options = self.options.iter().map(String::as_str);
        let all = [action].into_iter().chain(options);
        let all: Vec<&str> = all.chain(arguments.iter().copied()).collect();
        let mut command = command(&all);
        command.envs(self.variables.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Runs an action by such a command.
    fn millpond(&self, action: &str, arguments: &[&str]) -> Ended {
        let mut command = self.command(action, arguments);
        command.output().expect("starts").into()
    }

    /// Runs a job that takes checkpoints.
    fn run(&self) -> String {
        let ran = self.run_command(&["-d"]).output().expect("starts").into();
        let job = last_line(&ran, "Job has been submitted with JobID ");
        self.wait_until_it_runs(&job);
        job
    }

    /// Runs such a job, and waits for its end.
    fn run_attached(&self) -> (String, Service) {
        let mut run = Service::start_as(self.run_command(&[]));
        let job = run.says("Job has been submitted with JobID ");
        self.wait_until_it_runs(&job);
        (job, run)
    }

    fn run_command(&self, more: &[&str]) -> Command {
        let program = example("keyed_count").display().to_string();
        let directory = self.path("checkpoints");
        let checkpoints = format!("-Dexecution.checkpointing.dir={directory}");
        let run = [
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
        self.command("run", &[more, &run].concat())
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

fn job_manager(
    options: &[String],
    own: Option<&str>,
    variables: &[(&'static str, String)],
) -> Service {
    let usual = [
        "jobmanager",
        "-Drest.port=0",
        "-Djobmanager.rpc.port=0",
        "-Djobmanager.rpc.address=127.0.0.1",
        "-Drest.server.max-content-length=2000000000",
    ];
    let options = options.iter().map(String::as_str);
    let mut command = command(
        &usual
            .into_iter()
            .chain(options)
            .chain(own)
            .collect::<Vec<_>>(),
    );
    command.envs(variables.iter().map(|(key, value)| (key, value)));
    Service::start_as(command)
}

/// The rest of the last line, which begins so.
fn last_line(ended: &Ended, begin: &str) -> String {
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let line = ended.stdout.lines().last().expect("a line");
    let rest = line.strip_prefix(begin);
    rest.unwrap_or_else(|| panic!("{begin}: {line}")).to_owned()
}

/// A job is submitted, watched, listed and saved by the leader, then by the next one; nobody is told where they are.
fn actions_find_the_leader(election: &[&str]) {
    let mut cluster = Cluster::start(election);
    let _worker = cluster.task_manager();
    let (job, mut run) = cluster.run_attached();
    let savepoints = cluster.path("savepoints");
    let saved = cluster.millpond("savepoint", &[&job, &savepoints]);
    assert_eq!(saved.code, 0, "{}{}", saved.stdout, saved.stderr);
    cluster.leader.kill();
    cluster.standby.says("Job manager listening at ");
    cluster.standby.says("Web interface listening at ");
    cluster.wait_until_it_runs(&job);
    let stopped = cluster.millpond("stop", &["-p", &savepoints, &job]);
    last_line(&stopped, "Savepoint completed. Path: ");
    run.says("Program execution finished");
    run.says(&format!("Job with JobID {job} has finished"));
    assert_eq!(run.ended(), Some(0));
}

/// The leader is asked to end. It ends the master of the job, which does not do so by itself as it stands still,
/// and the next one leads at once, where with a service it would wait for much longer than this test if the former
/// had been killed, and goes on with the job.
fn a_leader_that_ends_in_good_order_is_not_missed(mut cluster: Cluster) {
    let _worker = cluster.task_manager();
    let job = cluster.run();
    let masters = children_of(cluster.leader.pid());
    assert_eq!(masters.len(), 1);
    stop_process(masters[0]);
    assert_eq!(cluster.leader.end(), Some(0));
    assert!(!lives(masters[0]));
    wait_for("the next leader", || {
        (cluster.millpond("list", &[]).code == 0).then_some(())
    });
    cluster.standby.says("Job manager listening at ");
    cluster.wait_until_it_runs(&job);
    let saved = cluster.millpond("savepoint", &[&job, &cluster.path("savepoints")]);
    assert_eq!(saved.code, 0, "{}{}", saved.stdout, saved.stderr);
    assert_eq!(cluster.standby.end(), Some(0));
}

#[test]
fn a_leader_by_a_lock_that_ends_in_good_order_is_not_missed() {
    let lock = ["-Dhigh-availability.type=filesystem"];
    a_leader_that_ends_in_good_order_is_not_missed(Cluster::start(&lock));
}

#[test]
fn a_leader_in_a_lease_of_kubernetes_that_ends_in_good_order_is_not_missed() {
    let server = ApiServer::start();
    let election = [
        "-Dhigh-availability.type=kubernetes",
        "-Dkubernetes.cluster-id=blue",
        "-Dhigh-availability.kubernetes.leader-election.retry-period=200 ms",
    ];
    // The first one waits for as long as that, where there is no Lease yet.
    let short = "-Dhigh-availability.kubernetes.leader-election.lease-duration=15 s";
    let long = "-Dhigh-availability.kubernetes.leader-election.lease-duration=1 h";
    let cluster = Cluster::start_in(&election, [Some(short), Some(long)], server.variables());
    a_leader_that_ends_in_good_order_is_not_missed(cluster);
}

#[test]
fn a_job_manager_that_stands_by_ends_when_it_is_asked_to() {
    let mut cluster = Cluster::start(&["-Dhigh-availability.type=filesystem"]);
    assert_eq!(cluster.standby.end(), Some(0));
    assert_eq!(cluster.millpond("list", &[]).code, 0, "the other one leads");
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

    use super::{
        Cluster, a_leader_that_ends_in_good_order_is_not_missed, actions_find_the_leader, millpond,
    };

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

    #[test]
    fn a_leader_by_zookeeper_that_ends_in_good_order_is_not_missed() {
        let Some(zookeeper) = ZooKeeper::start_ensemble("cli: a leader in ZooKeeper ends") else {
            return;
        };
        let session = "-Dhigh-availability.zookeeper.client.session-timeout=10 min";
        let cluster = Cluster::start(&[TYPE, &at(&zookeeper.quorum()), session]);
        a_leader_that_ends_in_good_order_is_not_missed(cluster);
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

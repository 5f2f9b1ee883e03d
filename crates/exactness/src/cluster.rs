//! A cluster in child processes: a job manager, task managers, and jobs in their slots.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use millpond_types::config::Handshake;
use serde_json::{Value, json};

use crate::job_process::{Bench, agent, kill_process, let_go, put, tail, wait_for};
use crate::network::Network;
use crate::processes::{parent, processes_of};
use crate::remains::files_below;

/// The first argument that makes the job under test a job manager.
pub const JOB_MANAGER: &str = "--jobmanager";

/// The first argument that makes the job under test the job manager of a cluster for itself.
pub const APPLICATION: &str = "--standalone-job";

/// The first argument that makes the job under test a task manager.
pub const TASK_MANAGER: &str = "--taskmanager";

/// Short, so that a test need not wait for long until who is silent is given up; one that only lives on a
/// busy machine may be given up too.
pub const HEARTBEAT: [&str; 2] = ["heartbeat.interval=200 ms", "heartbeat.timeout=5 s"];

/// Nobody is given up who lives.
pub const PATIENT: [&str; 2] = ["heartbeat.interval=200 ms", "heartbeat.timeout=120 s"];

/// How the names of vertices begin that are of parallelism 1 by themselves.
const OF_ONE: [&str; 2] = ["one by one", "total"];

/// Where programs go that are uploaded.
const UPLOADS: &str = "uploads";

/// Debug builds are large.
const MAX_CONTENT_LENGTH: &str = "rest.server.max-content-length=2000000000";

/// A job manager, and the task managers that belong to it.
pub struct Cluster<'a> {
    bench: &'a Bench,
    network: Option<&'a Network>,
    options: Vec<String>,
    role: Role,
    job_manager: Service,
    standby: Option<Service>,
    task_managers: Vec<Service>,
    program: String,
}

/// A process with its log.
struct Service {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// What a service is: the argument that makes it so, and the arguments of the program that it runs by itself.
#[derive(Clone)]
struct Role {
    argument: &'static str,
    program: Vec<String>,
}

impl Role {
    fn of(argument: &'static str) -> Self {
        Role {
            argument,
            program: Vec::new(),
        }
    }
}

/// The host of a network where a service runs; the machine itself if there is none.
type Place<'a> = Option<(&'a Network, u8)>;

/// The host of the job manager.
const FIRST_HOST: u8 = 1;

impl Service {
    fn start(bench: &Bench, place: Place<'_>, role: &Role, options: &[String]) -> Self {
        let number = (1..)
            .find(|number| {
                !bench
                    .directory()
                    .join(format!("service-{number}.out"))
                    .exists()
            })
            .expect("numbers do not end");
        let out = bench.directory().join(format!("service-{number}.out"));
        let err = out.with_extension("err");
        let file = |path: &Path| File::create(path).expect("a log can be made");
        let mut command = match place {
            Some((network, host)) => network.command(host, bench.program()),
            None => Command::new(bench.program()),
        };
        command.arg(role.argument);
        let address = place.map_or("127.0.0.1".to_owned(), |(_, host)| Network::address(host));
        let keys = [
            "rest.bind-address",
            "jobmanager.bind-host",
            "taskmanager.bind-host",
            "taskmanager.host",
        ];
        for key in keys {
            command.arg("-D").arg(format!("{key}={address}"));
        }
        for option in options {
            command.arg("-D").arg(option);
        }
        if !role.program.is_empty() {
            command.arg("--").args(&role.program);
        }
        bench.hand_environment(&mut command);
        let child = command
            .env("RUST_LOG", "info")
            .current_dir(bench.directory())
            .stdin(Stdio::null())
            .stdout(file(&out))
            .stderr(file(&err))
            .spawn();
        Service {
            child: child.expect("a service can be started"),
            out,
            err,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// Waits for the last line that begins with `begin` and returns its rest, without the stop.
    fn said(&mut self, begin: &str) -> String {
        wait_for(begin, || {
            let text = std::fs::read_to_string(&self.out).unwrap_or_default();
            let line = text.lines().rev().find_map(|line| line.strip_prefix(begin));
            if line.is_none() && self.child.try_wait().expect("a child").is_some() {
                panic!("a service has ended:\n{}", tail(&self.log()));
            }
            Some(line?.trim_end_matches('.').to_owned())
        })
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> Cluster<'a> {
    /// Starts a job manager, which knows the program of `bench`.
    ///
    /// # Panics
    ///
    /// If it does not start, or does not take the program.
    pub fn start(bench: &'a Bench, options: &[&str]) -> Self {
        Self::start_in(bench, None, options)
    }

    /// As [`start`](Self::start), on the hosts of a network, the job manager on the first.
    ///
    /// # Panics
    ///
    /// If it does not start, or does not take the program.
    pub fn start_on(bench: &'a Bench, network: &'a Network, options: &[&str]) -> Self {
        Self::start_in(bench, Some(network), options)
    }

    /// Starts a job manager that runs the program of `bench` by itself.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_application(bench: &'a Bench, options: &[&str]) -> Self {
        let role = Role {
            argument: APPLICATION,
            program: bench.program_arguments(&[]),
        };
        Self::start_empty(bench, None, options, role)
    }

    /// Starts a job manager that knows no program; `options` win over what tests have otherwise.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_without_program(bench: &'a Bench, options: &[&str]) -> Self {
        Self::start_empty(bench, None, options, Role::of(JOB_MANAGER))
    }

    fn start_in(bench: &'a Bench, network: Option<&'a Network>, options: &[&str]) -> Self {
        let mut cluster = Self::start_empty(bench, network, options, Role::of(JOB_MANAGER));
        cluster.program = cluster.upload(bench.program());
        cluster
    }

    fn start_empty(
        bench: &'a Bench,
        network: Option<&'a Network>,
        more: &[&str],
        role: Role,
    ) -> Self {
        let upload = bench.directory().join(UPLOADS);
        let mut options = vec![
            format!("web.upload.dir={}", upload.display()),
            MAX_CONTENT_LENGTH.to_owned(),
            "rest.port=0".to_owned(),
        ];
        if network.is_some() {
            // Programs from other hosts are refused otherwise.
            options.push("web.submit.enable=true".to_owned());
        }
        options.extend(more.iter().map(|&option| option.to_owned()));
        let place = network.map(|network| (network, FIRST_HOST));
        Cluster {
            bench,
            network,
            job_manager: start_job_manager(bench, place, &role, &options, 0),
            role,
            options,
            standby: None,
            task_managers: Vec::new(),
            program: String::new(),
        }
    }

    /// Where programs are kept that were uploaded, if the cluster is not highly available.
    pub fn uploads(&self) -> PathBuf {
        self.bench.directory().join(UPLOADS)
    }

    /// Where task managers and their workers keep what goes with them.
    fn local_directory(&self) -> PathBuf {
        self.bench.directory().join("tmp")
    }

    /// The copies that task managers have of the program of the bench, and all other files that they and
    /// their workers have.
    pub fn local_files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let all = files_below(&self.local_directory()).into_iter();
        all.partition(|path| path.ends_with(&self.program))
    }

    /// Kills the job manager with SIGKILL and starts another one at the same place.
    pub fn restart_job_manager(&mut self) {
        let port = self.port();
        self.job_manager.kill();
        let place = self.place(FIRST_HOST);
        self.job_manager = start_job_manager(self.bench, place, &self.role, &self.options, port);
    }

    fn place(&self, host: u8) -> Place<'a> {
        self.network.map(|network| (network, host))
    }

    /// Starts another job manager, which stands by.
    ///
    /// # Panics
    ///
    /// If it does not, or the cluster is not highly available.
    pub fn add_standby(&mut self) {
        self.add_standby_on(FIRST_HOST);
    }

    /// As [`add_standby`](Self::add_standby), on a host of the network.
    ///
    /// # Panics
    ///
    /// If it does not, or the cluster is not highly available.
    pub fn add_standby_on(&mut self, host: u8) {
        let place = self.place(host);
        let mut standby = Service::start(
            self.bench,
            place,
            &self.role,
            &manager_options(place, &self.options, 0),
        );
        standby.said("Another job manager leads: standing by");
        self.standby = Some(standby);
    }

    /// Kills the leader with SIGKILL and waits until the standby leads.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn kill_leader(&mut self) {
        self.job_manager.kill();
        self.job_manager = self.standby.take().expect("a standby");
        self.rest();
    }

    /// Waits until the standby leads, whatever the leader does; returns that.
    ///
    /// # Panics
    ///
    /// If there is no standby, or it does not.
    pub fn replace_leader(&mut self) -> FormerLeader {
        let standby = self.standby.take().expect("a standby");
        let former = std::mem::replace(&mut self.job_manager, standby);
        self.rest();
        FormerLeader(former)
    }

    /// The job of an application, of which the job manager tells.
    pub fn application(&mut self) -> ClusterJob {
        let id = wait_for("the job of the application", || {
            let jobs = self.get("/jobs");
            Some(jobs["jobs"][0]["id"].as_str()?.to_owned())
        });
        self.job(&id)
    }

    /// Waits until the job manager has ended by itself; returns its exit code, and what it has said.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn wait_for_job_manager(&mut self) -> (Option<i32>, String) {
        let status = wait_for("the job manager to end", || {
            self.job_manager.child.try_wait().expect("a child")
        });
        let said = std::fs::read_to_string(&self.job_manager.out).unwrap_or_default();
        (status.code(), said)
    }

    /// How many jobs a next leader would go on with.
    pub fn kept_jobs(&self) -> usize {
        let directory = self.bench.directory().join("ha/default/jobs");
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.path());
        names
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .count()
    }

    /// Lets go and waits for the end of a job of a highly available cluster, of which a leader that has come
    /// later knows nothing.
    ///
    /// # Panics
    ///
    /// If it fails; with `context`.
    pub fn wait_for_end(&mut self, job: &ClusterJob, context: &str) {
        self.bench.let_go();
        wait_for(&format!("the end of the job, {context}"), || {
            let status = job.status();
            if status == "FAILED" {
                panic!("{context}: {:?}", job.try_get("/exceptions"));
            }
            let is_forgotten = || {
                let known = get(&format!("{}/jobs/{}", job.rest, job.id));
                let known = known.is_some_and(|known| known["state"].is_string());
                !known && get(&format!("{}/jobs", job.rest)).is_some() && self.kept_jobs() == 0
            };
            (status == "FINISHED" || is_forgotten()).then_some(())
        });
    }

    /// Where a job is asked for now.
    pub fn follow(&mut self, job: &mut ClusterJob) {
        job.rest = self.rest();
    }

    fn port(&mut self) -> u16 {
        let address = self.address();
        let port = address.rsplit(':').next().expect("an address has a port");
        port.parse().expect("a port is a number")
    }

    /// Starts a task manager and waits until it has registered; returns its process id.
    pub fn add_task_manager(&mut self, slots: u32) -> u32 {
        self.add_task_manager_on(FIRST_HOST, slots)
    }

    /// As [`add_task_manager`](Self::add_task_manager), on a host of the network.
    pub fn add_task_manager_on(&mut self, host: u8, slots: u32) -> u32 {
        self.add_task_manager_with(host, slots, &[])
    }

    /// As [`add_task_manager_on`](Self::add_task_manager_on), with options of its own.
    pub fn add_task_manager_with(&mut self, host: u8, slots: u32, own: &[String]) -> u32 {
        let address = self.address();
        let (manager, port) = address.rsplit_once(':').expect("an address has a port");
        let mut options = self.options.clone();
        options.extend([
            format!("jobmanager.rpc.address={manager}"),
            format!("jobmanager.rpc.port={port}"),
            format!("taskmanager.numberOfTaskSlots={slots}"),
            format!("io.tmp.dirs={}", self.local_directory().display()),
        ]);
        options.extend_from_slice(own);
        let mut service = Service::start(
            self.bench,
            self.place(host),
            &Role::of(TASK_MANAGER),
            &options,
        );
        service.said("Task manager ");
        let pid = service.child.id();
        self.task_managers.push(service);
        pid
    }

    /// What a task manager has logged.
    ///
    /// # Panics
    ///
    /// If it is none of this cluster.
    pub fn log_of_task_manager(&self, pid: u32) -> String {
        let mut all = self.task_managers.iter();
        let service = all.find(|service| service.child.id() == pid);
        service.expect("a task manager of this cluster").log()
    }

    /// Runs a task manager with other options until it gives up; returns what it has said and logged.
    ///
    /// # Panics
    ///
    /// If it does not give up.
    pub fn run_task_manager_to_its_end(&mut self, other: &[String]) -> String {
        let address = self.address();
        let (manager, port) = address.rsplit_once(':').expect("an address has a port");
        let mut options = self.options.clone();
        options.push(format!("jobmanager.rpc.address={manager}"));
        options.push(format!("jobmanager.rpc.port={port}"));
        options.extend_from_slice(other);
        let place = self.place(FIRST_HOST);
        let mut service = Service::start(self.bench, place, &Role::of(TASK_MANAGER), &options);
        wait_for("a task manager to give up", || {
            service.child.try_wait().expect("a child").map(drop)
        });
        let said = std::fs::read_to_string(&service.out).unwrap_or_default();
        said + &service.log()
    }

    /// Kills a task manager with SIGKILL.
    ///
    /// # Panics
    ///
    /// If it is none of this cluster.
    pub fn kill_task_manager(&mut self, pid: u32) {
        let all = &mut self.task_managers;
        let service = all.iter_mut().find(|service| service.child.id() == pid);
        service.expect("a task manager of this cluster").kill();
    }

    /// Uploads a file; returns the id of the program.
    ///
    /// # Panics
    ///
    /// If it is not taken.
    pub fn upload(&mut self, program: &Path) -> String {
        let answer = self.try_upload(program);
        let path = answer["filename"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        path.rsplit('/')
            .next()
            .expect("a path has an end")
            .to_owned()
    }

    /// Uploads a file; returns the answer.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn try_upload(&mut self, program: &Path) -> Value {
        let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"jarfile\"; \
              filename=\"job\"\r\n\r\n"
            .to_vec();
        body.extend(std::fs::read(program).expect("a program"));
        body.extend(b"\r\n--edge--\r\n");
        let url = format!("{}/jars/upload", self.rest());
        let answer = agent()
            .post(&url)
            .header("content-type", "multipart/form-data; boundary=edge")
            .send(&body[..]);
        let mut answer = answer.expect("the job manager answers");
        serde_json::from_reader(answer.body_mut().as_reader()).expect("JSON")
    }

    /// Where REST is.
    pub fn rest(&mut self) -> String {
        self.job_manager.said("Web interface listening at ")
    }

    /// Runs the program of the bench with its arguments and options, and with `more` options.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub fn run(&mut self, more: &[(&str, &str)]) -> ClusterJob {
        let answer = self.try_run(more);
        match answer["jobid"].as_str() {
            Some(id) => self.job(id),
            None => panic!("{answer}\n{}", tail(&self.log())),
        }
    }

    /// As [`run`](Self::run), for a job that publishes elsewhere.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub fn run_with_output(&mut self, out: &str, more: &[(&str, &str)]) -> ClusterJob {
        let mut arguments = self.bench.program_arguments(more);
        let place = arguments.iter().position(|argument| argument == "--out");
        arguments[place.expect("every job has one") + 1] = out.to_owned();
        let program = self.program.clone();
        let body = json!({ "programArgsList": arguments });
        let answer = self.post(&format!("/jars/{program}/run"), &body);
        let id = answer["jobid"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        self.job(id)
    }

    fn job(&mut self, id: &str) -> ClusterJob {
        ClusterJob {
            id: id.to_owned(),
            rest: self.rest(),
            directory: Some(self.bench.directory().to_owned()),
        }
    }

    /// The plan of the program of the bench.
    pub fn plan(&mut self) -> Value {
        let body = json!({ "programArgsList": self.bench.program_arguments(&[]) });
        let program = self.program.clone();
        self.post(&format!("/jars/{program}/plan"), &body)
    }

    /// Where the job manager listens for task managers.
    pub fn address(&mut self) -> String {
        self.job_manager.said("Job manager listening at ")
    }

    /// As [`run`](Self::run); returns the answer.
    pub fn try_run(&mut self, more: &[(&str, &str)]) -> Value {
        let body = json!({ "programArgsList": self.bench.program_arguments(more) });
        let program = self.program.clone();
        self.post(&format!("/jars/{program}/run"), &body)
    }

    /// An answer of REST.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn get(&mut self, path: &str) -> Value {
        get(&format!("{}{path}", self.rest())).expect("the job manager answers")
    }

    /// Posts.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn post(&mut self, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.rest());
        let answer = agent().post(&url).send(body.to_string());
        let mut answer = answer.expect("the job manager answers");
        serde_json::from_reader(answer.body_mut().as_reader()).expect("JSON")
    }

    /// Deletes; the status and the answer.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn delete(&mut self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.rest());
        let answer = agent().delete(&url).call();
        let mut answer = answer.expect("the job manager answers");
        let body = serde_json::from_reader(answer.body_mut().as_reader()).expect("JSON");
        (answer.status().as_u16(), body)
    }

    /// What the job manager has logged.
    pub fn log(&self) -> String {
        self.job_manager.log()
    }

    /// The processes of the cluster and of its jobs.
    pub fn processes(&self) -> Vec<u32> {
        processes_of(self.bench.directory())
    }

    /// The children of a process: the workers of a task manager, the job masters of the job manager.
    pub fn children_of(&self, pid: u32) -> Vec<u32> {
        let all = self.processes().into_iter();
        all.filter(|child| parent(*child) == Some(pid)).collect()
    }

    /// The process id of the job manager.
    pub fn job_manager(&self) -> u32 {
        self.job_manager.child.id()
    }

    fn kill(&mut self) {
        let managers = std::iter::once(&mut self.job_manager).chain(&mut self.standby);
        managers
            .chain(&mut self.task_managers)
            .for_each(Service::kill);
    }

    /// Ends all services with SIGKILL and waits until nothing is left.
    ///
    /// # Panics
    ///
    /// If something is.
    pub fn end(mut self) {
        self.kill();
        wait_for("all processes to be gone", || {
            self.processes().is_empty().then_some(())
        });
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        self.kill();
        self.processes().into_iter().for_each(kill_process);
    }
}

/// A job manager that led until another one did.
pub struct FormerLeader(Service);

impl FormerLeader {
    /// Waits until it has ended by itself; returns its exit code, and what it has logged.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = wait_for("a former leader to end", || {
            self.0.child.try_wait().expect("a child")
        });
        (status.code(), self.0.log())
    }
}

fn manager_options(place: Place<'_>, options: &[String], port: u16) -> Vec<String> {
    let address = place.map_or("127.0.0.1".to_owned(), |(_, host)| Network::address(host));
    let mut options = options.to_vec();
    options.push(format!("jobmanager.rpc.address={address}"));
    options.push(format!("jobmanager.rpc.port={port}"));
    options
}

fn start_job_manager(
    bench: &Bench,
    place: Place<'_>,
    role: &Role,
    options: &[String],
    port: u16,
) -> Service {
    let options = manager_options(place, options, port);
    let mut service = Service::start(bench, place, role, &options);
    service.said("Web interface listening at ");
    service
}

fn get(url: &str) -> Option<Value> {
    let mut answer = agent().get(url).call().ok()?;
    serde_json::from_reader(answer.body_mut().as_reader()).ok()
}

/// A job in the slots of a cluster.
pub struct ClusterJob {
    /// Its id.
    pub id: String,
    rest: String,
    /// Where those are let go that are held.
    directory: Option<PathBuf>,
}

impl ClusterJob {
    /// A job that runs by itself, as its own REST tells of it.
    pub fn by_itself(handshake: &Handshake) -> Self {
        ClusterJob {
            id: handshake.job_id.clone(),
            rest: format!("http://{}", handshake.rest),
            directory: None,
        }
    }

    /// Asks `/jobs/J` + `path`.
    pub fn try_get(&self, path: &str) -> Option<Value> {
        get(&format!("{}/jobs/{}{path}", self.rest, self.id))
    }

    /// The state of the job.
    pub fn status(&self) -> String {
        let answer = self.try_get("").unwrap_or_default();
        answer["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the job is in a state. For its end, which is FINISHED, it is let go if it is held.
    ///
    /// # Panics
    ///
    /// If it ends otherwise.
    pub fn wait_for(&self, status: &str) {
        if let Some(directory) = self.directory.as_ref().filter(|_| status == "FINISHED") {
            let_go(directory);
        }
        wait_for(&format!("the job to be {status}"), || {
            let found = self.status();
            let has_ended = ["FAILED", "FINISHED", "CANCELED"].contains(&found.as_str());
            if has_ended && found != status {
                panic!("the job is {found}: {:?}", self.try_get("/exceptions"));
            }
            (found == status).then_some(())
        });
    }

    /// Waits for so many more checkpoints than are complete now.
    pub fn wait_for_checkpoints(&self, more: u64) {
        let before = self.completed_checkpoints().unwrap_or(0);
        wait_for("checkpoints", || {
            (self.completed_checkpoints()? >= before + more).then_some(())
        });
    }

    /// Takes a checkpoint, and waits for it.
    ///
    /// # Panics
    ///
    /// If the job does not take it.
    pub fn checkpoint(&self) {
        let before = self.completed_checkpoints();
        let url = format!("{}/jobs/{}/checkpoints", self.rest, self.id);
        let answer = agent().post(&url).send("{}");
        let status = answer.expect("the cluster answers").status();
        assert!(status.is_success(), "{status}");
        wait_for("a checkpoint", || {
            (self.completed_checkpoints()? > before?).then_some(())
        });
    }

    fn completed_checkpoints(&self) -> Option<u64> {
        self.try_get("/checkpoints")?["counts"]["completed"].as_u64()
    }

    /// How often it was restarted.
    pub fn failed_attempts(&self) -> usize {
        let exceptions = self.try_get("/exceptions").unwrap_or_default();
        let entries = exceptions["exceptionHistory"]["entries"].as_array();
        entries.map_or(0, Vec::len)
    }

    /// The highest parallelism of its vertices, if it runs.
    pub fn parallelism(&self) -> Option<u64> {
        let answer = self.try_get("")?;
        let vertices = answer["vertices"].as_array()?.iter();
        let highest = vertices.filter_map(|vertex| vertex["parallelism"].as_u64());
        highest.max().filter(|_| answer["state"] == "RUNNING")
    }

    /// Waits until it runs at a parallelism, and has completed a checkpoint there.
    ///
    /// # Panics
    ///
    /// If it ends before.
    pub fn wait_for_parallelism(&self, parallelism: u64) {
        wait_for(&format!("the job to run at {parallelism}"), || {
            let status = self.status();
            assert!(
                !["FAILED", "FINISHED", "CANCELED"].contains(&status.as_str()),
                "the job is {status}: {:?}",
                self.try_get("/exceptions")
            );
            (self.parallelism() == Some(parallelism)).then_some(())
        });
        self.wait_for_checkpoints(1);
    }

    /// Bounds the parallelism of all vertices that are not of parallelism 1 by themselves; returns code and
    /// answer.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn try_require(&self, lower: u64, upper: u64) -> (u16, Value) {
        let details = self.try_get("").expect("an answer");
        let vertices = details["vertices"].as_array().expect("a list").iter();
        let bounds = vertices.map(|vertex| {
            let name = vertex["name"].as_str().expect("a name");
            let of_one = OF_ONE.iter().any(|of_one| name.starts_with(of_one));
            let (lower, upper) = if of_one { (1, 1) } else { (lower, upper) };
            let bounds = json!({ "lowerBound": lower, "upperBound": upper });
            let bounds = json!({ "parallelism": bounds });
            (vertex["id"].as_str().expect("an id").to_owned(), bounds)
        });
        self.put_requirements(&Value::Object(bounds.collect()))
    }

    /// Puts requirements; returns code and answer.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn put_requirements(&self, body: &Value) -> (u16, Value) {
        self.put("/resource-requirements", body)
    }

    /// Puts something below the job; returns code and answer.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        put(&format!("{}/jobs/{}{path}", self.rest, self.id), body)
    }

    /// As [`try_require`](Self::try_require).
    ///
    /// # Panics
    ///
    /// If that is refused.
    pub fn require(&self, lower: u64, upper: u64) {
        let (code, answer) = self.try_require(lower, upper);
        assert_eq!(code, 200, "{answer}");
    }

    /// Takes a savepoint, and stops if that is wanted; returns its path.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn savepoint(&self, and_stop: bool) -> String {
        let (path, body) = match and_stop {
            true => ("stop", json!({ "drain": false })),
            false => ("savepoints", json!({ "cancel-job": false })),
        };
        let url = format!("{}/jobs/{}/{path}", self.rest, self.id);
        let mut answer = agent()
            .post(&url)
            .send(body.to_string())
            .expect("an answer");
        let answer: Value = serde_json::from_reader(answer.body_mut().as_reader()).expect("JSON");
        let trigger = answer["request-id"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        wait_for("a savepoint", || {
            let answer = self.try_get(&format!("/savepoints/{trigger}"))?;
            if answer["status"]["id"] != "COMPLETED" {
                return None;
            }
            let location = answer["operation"]["location"].as_str();
            Some(location.unwrap_or_else(|| panic!("{answer}")).to_owned())
        })
    }

    /// Cancels it.
    pub fn cancel(&self) {
        // The job may just have ended.
        let _ = agent()
            .patch(format!("{}/jobs/{}", self.rest, self.id))
            .send("");
    }
}

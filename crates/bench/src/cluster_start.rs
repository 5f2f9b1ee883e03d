//! How long is it from the request to run a program in a cluster to the first record?
//!
//! A job manager and a task manager run on this machine. For each job the program is uploaded, as `millpond run
//! -m` does, which is told by itself; measured is the time from `POST /jars/:id/run` until the first
//! subtask, and until the last one, has counted a record. The first job is told apart: for it the task
//! manager fetches the program, which is the same one from then on. A surprise would be more than 200 ms.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use millpond_standalone::{JobManagerService, Mode, TaskManagerService};
use millpond_types::config::Configuration;
use serde_json::{Value, json};
use ureq::Agent;

use crate::measure::quantile;
use crate::noted::{self, OwnProcess, notes_behind, now_ns, wait_for};
use crate::{Failure, failure};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of subtasks, and of slots of the task manager
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// How many jobs are started, one after the other
    #[arg(long, default_value_t = 10)]
    jobs: u32,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct ServiceArguments {
    /// `jobmanager` or `taskmanager`
    role: String,
    #[arg(short = 'D')]
    options: Vec<String>,
}

/// Runs a service of the cluster until it is killed.
pub(crate) fn run_service(arguments: &ServiceArguments) -> Result<Value, Failure> {
    let mut configuration = Configuration::new();
    for option in &arguments.options {
        configuration.parse_dynamic(option).map_err(failure)?;
    }
    if arguments.role == "taskmanager" {
        let service = TaskManagerService::new(&configuration)?;
        service.run(|line: String| crate::print_line(&line))?;
        return Ok(json!({}));
    }
    let service = JobManagerService::start(&configuration, Mode::Session, || (), || ())?;
    crate::print_line(service.address());
    crate::print_line(&service.rest().to_string());
    loop {
        std::thread::park();
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let directory = tempfile::tempdir().map_err(failure)?;
    let notes = directory.path().join("notes");
    std::fs::create_dir(&notes).map_err(failure)?;
    let said = directory.path().join("jobmanager");
    let service = |role: &str, options: &[String], out: Stdio| {
        let mut all = vec!["service".to_owned(), role.to_owned()];
        for option in options {
            all.extend(["-D".to_owned(), option.clone()]);
        }
        OwnProcess::start(&all, out)
    };
    let upload = directory.path().join("uploads").display().to_string();
    let own = [
        "rest.port=0".to_owned(),
        "jobmanager.rpc.port=0".to_owned(),
        "jobmanager.rpc.address=127.0.0.1".to_owned(),
        "rest.server.max-content-length=2000000000".to_owned(),
        format!("web.upload.dir={upload}"),
    ];
    let out = File::create(&said).map_err(failure)?;
    let _job_manager = service("jobmanager", &own, out.into())?;
    let (rpc, rest) = wait_for("the job manager", || {
        let text = std::fs::read_to_string(&said).ok()?;
        let mut lines = text.split_inclusive('\n');
        let (rpc, rest) = (lines.next()?, lines.next()?);
        let rest = rest.strip_suffix('\n')?;
        Some((rpc.trim().to_owned(), rest.to_owned()))
    })?;
    let (host, port) = rpc.rsplit_once(':').ok_or("an address has a port")?;
    let own = [
        format!("jobmanager.rpc.address={host}"),
        format!("jobmanager.rpc.port={port}"),
        format!("taskmanager.numberOfTaskSlots={}", arguments.parallelism),
    ];
    let _task_manager = service("taskmanager", &own, Stdio::null())?;

    let cluster = Cluster::new(&rest);
    cluster.wait_for_slots(arguments.parallelism)?;
    let options = [
        ("parallelism.default", arguments.parallelism.to_string()),
        ("rest.port", "0".to_owned()),
    ];
    let program_arguments = noted::arguments(&notes, 1000, &options);
    let (mut uploads, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=arguments.jobs {
        let begin = now_ns();
        let program = cluster.upload()?;
        uploads.push((now_ns() - begin) / 1_000_000);
        let begin = now_ns();
        let job = cluster.run(&program, &program_arguments)?;
        let times = notes_behind(&notes, begin, arguments.parallelism as usize)?;
        let ms = |time: Option<&u64>| time.map_or(0, |time| (time - begin) / 1_000_000);
        first.push(ms(times.first()));
        last.push(ms(times.last()));
        cluster.cancel(&job)?;
        cluster.wait_for_slots(arguments.parallelism)?;
    }
    let (fetched, fetched_last) = (first.remove(0), last.remove(0));
    uploads.sort_unstable();
    first.sort_unstable();
    last.sort_unstable();
    Ok(json!({
        "parallelism": arguments.parallelism,
        "jobs": arguments.jobs,
        "upload_ms_median": quantile(&uploads, 0.5),
        "first_job_first_record_ms": fetched,
        "first_job_all_subtasks_ms": fetched_last,
        "first_record_ms_median": quantile(&first, 0.5),
        "first_record_ms_max": first.last(),
        "all_subtasks_ms_median": quantile(&last, 0.5),
        "all_subtasks_ms_max": last.last(),
    }))
}

/// The REST API of a job manager.
struct Cluster {
    rest: String,
    agent: Agent,
}

impl Cluster {
    fn new(address: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .http_status_as_error(false);
        Cluster {
            rest: format!("http://{address}"),
            agent: config.build().into(),
        }
    }

    fn read(
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, Failure> {
        let mut answer = answer.map_err(failure)?;
        serde_json::from_reader(answer.body_mut().as_reader()).map_err(failure)
    }

    fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, Failure> {
        answer[field].as_str().ok_or_else(|| answer.to_string())
    }

    fn wait_for_slots(&self, slots: u32) -> Result<(), Failure> {
        wait_for("free slots", || {
            let url = format!("{}/overview", self.rest);
            let overview = Self::read(self.agent.get(&url).call()).ok()?;
            (overview["slots-available"] == slots).then_some(())
        })
    }

    fn upload(&self) -> Result<String, Failure> {
        let program = std::env::current_exe().map_err(failure)?;
        // Nothing that is in the program itself.
        let edge = format!("edge-{:x}", now_ns());
        let head = "Content-Disposition: form-data; name=\"jarfile\"; filename=\"job\"";
        let mut body = format!("--{edge}\r\n{head}\r\n\r\n").into_bytes();
        body.extend(std::fs::read(program).map_err(failure)?);
        body.extend(format!("\r\n--{edge}--\r\n").into_bytes());
        let request = self
            .agent
            .post(format!("{}/jars/upload", self.rest))
            .header(
                "content-type",
                format!("multipart/form-data; boundary={edge}"),
            );
        let answer = Self::read(request.send(&body[..]))?;
        let path = Path::new(Self::text(&answer, "filename")?);
        let name = path.file_name().and_then(|name| name.to_str());
        Ok(name.unwrap_or_default().to_owned())
    }

    fn run(&self, program: &str, arguments: &[String]) -> Result<String, Failure> {
        let body = json!({ "programArgsList": arguments }).to_string();
        let url = format!("{}/jars/{program}/run", self.rest);
        let answer = Self::read(self.agent.post(&url).send(body))?;
        Self::text(&answer, "jobid").map(str::to_owned)
    }

    fn cancel(&self, job: &str) -> Result<(), Failure> {
        let url = format!("{}/jobs/{job}", self.rest);
        self.agent.patch(&url).send("").map_err(failure)?;
        Ok(())
    }
}

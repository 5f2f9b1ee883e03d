//! Runs a job: as its master, as one of its workers, or only shows its plan.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use millpond_cluster::{
    ClusterOptions, Count, Host, JobHandle, JobManagerAddress, is_worker_process, plan_restore,
    run_worker_process, start_job,
};
use millpond_job::{JobGraph, JobStatus, NodeKind};
use millpond_rest::{RestOptions, RestServer};
use millpond_runtime::Program;
use millpond_security::Internal;
use millpond_types::JobId;
use millpond_types::config::{
    Configuration, Handshake, INFO_VARIABLE, PLAN_COUNTED, PLAN_VARIABLE, READY_FILE_VARIABLE,
    options,
};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::job_client::JobClient;
use crate::job_options::job_options;
use crate::service::log_to_stderr;

pub use millpond_cluster::JobResult;

/// Starts the environment's job.
pub(crate) fn execute_async(env: &Environment, name: &str) -> Result<JobClient> {
    let configuration = env.configuration();
    log_to_stderr("warn");
    let bad = |error| Error::caused_by("the configuration is not usable", error);
    let chaining = configuration
        .get(&options::OPERATOR_CHAINING)
        .map_err(bad)?;
    let auto_uids = configuration
        .get(&options::AUTO_GENERATE_UIDS)
        .map_err(bad)?;
    let mut program = env.plan().borrow().build(chaining, auto_uids)?;
    program.backend = env.state_backends().choose(&configuration).map_err(bad)?;
    if std::env::var_os(INFO_VARIABLE).is_some() {
        show_plan(&program.graph)?;
        std::process::exit(0);
    }
    if let Some(asked) = std::env::var_os(PLAN_VARIABLE) {
        show_state_plan(&configuration, &program, name, asked == PLAN_COUNTED)?;
        std::process::exit(0);
    }
    if is_worker_process() {
        let security = Internal::from_configuration(&configuration).map_err(bad)?;
        run_worker_process(program, security).map_err(Error::new)?;
        std::process::exit(0);
    }
    start_as_master(&configuration, program, name)
}

fn start_as_master(
    configuration: &Configuration,
    program: Program,
    name: &str,
) -> Result<JobClient> {
    for unknown in configuration.unknown_keys() {
        tracing::warn!("{unknown}");
    }
    let mut options = job_options(configuration, name)?;
    let job = options.job;
    let bad = |error| Error::caused_by("the configuration is not usable", error);
    let manager = JobManagerAddress::from_environment().map_err(Error::new)?;
    if manager.is_none() {
        configuration.check_not_reactive().map_err(bad)?;
    }
    if let Some(job_manager) = manager {
        options.cluster = Some(ClusterOptions {
            job_manager,
            host: Host {
                bind: configuration
                    .get(&options::JOB_MANAGER_BIND_HOST)
                    .map_err(bad)?,
                advertised: configuration
                    .get(&options::JOB_MANAGER_RPC_ADDRESS)
                    .map_err(bad)?,
                ports: configuration
                    .get(&options::JOB_MANAGER_MASTER_PORT)
                    .map_err(bad)?,
            },
        });
    }
    // In a cluster the job manager's REST API speaks for all jobs.
    let listener = match &options.cluster {
        Some(_) => None,
        None => Some(
            millpond_rest::bind(configuration)
                .map_err(|error| Error::caused_by("the REST API cannot be started", error))?,
        ),
    };
    let rest_options = RestOptions::from_configuration(configuration).map_err(bad)?;
    let https = configuration.get(&options::SSL_REST_ENABLED).map_err(bad)?;
    let linger = configuration.get(&options::REST_LINGER).map_err(bad)?;
    let name = options.name.clone();
    let cluster = options.cluster.as_ref();
    let rest_of_cluster = cluster.and_then(|cluster| cluster.job_manager.rest.parse().ok());
    let handle = start_job(program, options)
        .map_err(|error| Error::caused_by(format!("job \"{name}\" cannot be started"), error))?;
    let server = listener
        .map(|listener| millpond_rest::serve(listener, handle.dispatcher(), rest_options))
        .transpose()
        .map_err(|error| Error::caused_by("the REST API cannot be started", error))?;
    let rest = server
        .as_ref()
        .map(RestServer::local_addr)
        .or(rest_of_cluster)
        .ok_or_else(|| Error::new("the address of the job manager's REST API is none"))?;
    let handshake = Handshake {
        job_id: job.to_string(),
        rest: rest.to_string(),
        https,
        ..Handshake::default()
    };
    // `millpond run` asks for a handshake and says so itself.
    if std::env::var_os(READY_FILE_VARIABLE).is_none() {
        eprintln!("Job has been submitted with JobID {job}");
        eprintln!("Web interface listening at {}.", handshake.rest_url());
    }
    tell(&handshake)?;
    Ok(JobClient::new(RunningJob {
        job,
        name,
        handle,
        rest,
        server,
        linger,
        handshake,
    }))
}

/// Everything that belongs to a job that runs in this process.
pub(crate) struct RunningJob {
    pub(crate) job: JobId,
    name: String,
    pub(crate) handle: JobHandle,
    /// Where REST speaks of the job.
    pub(crate) rest: SocketAddr,
    /// None in a cluster, whose job manager has it.
    server: Option<RestServer>,
    linger: Duration,
    handshake: Handshake,
}

impl RunningJob {
    /// Waits for the end of the job, and keeps REST up until every result has been fetched or the
    /// time is up.
    pub(crate) fn wait(mut self) -> Result<JobResult> {
        let result = self.handle.join().map_err(Error::new)?;
        self.handshake.status = Some(result.status.to_string());
        self.handshake.runtime_ms = Some(result.runtime_ms);
        self.handshake.failure.clone_from(&result.failure);
        self.handshake.fallbacks = (result.fallbacks > 0).then_some(result.fallbacks);
        if result.fallbacks > 0 {
            tracing::warn!(
                "job \"{}\" has gone back to an older snapshot {} times, as newer ones were damaged",
                self.name,
                result.fallbacks
            );
        }
        // Whoever waited for the job to be accepted may be gone, and the file's directory with it.
        if let Err(error) = tell(&self.handshake) {
            tracing::debug!(%error, "nobody is told of the job's end");
        }
        if let Some(server) = self.server.take() {
            server.wait_for_results(self.linger);
            server.shutdown();
        }
        match (result.status, &result.failure) {
            (JobStatus::Failed, Some(why)) => {
                let what = format!("job \"{}\" ({}) failed", self.name, self.job);
                Err(Error::caused_by(what, why.clone()))
            }
            _ => Ok(result),
        }
    }
}

/// Writes the handshake file that `millpond run` waits for, if it asked for one.
fn tell(handshake: &Handshake) -> Result<()> {
    let Some(path) = std::env::var_os(READY_FILE_VARIABLE) else {
        return Ok(());
    };
    let path = Path::new(&path);
    let write = || -> std::io::Result<()> {
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(handshake)?)?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        Error::caused_by(
            format!("cannot write the handshake file \"{}\"", path.display()),
            error,
        )
    })
}

/// Prints what a restore would make of every named state.
fn show_state_plan(
    configuration: &Configuration,
    program: &Program,
    name: &str,
    count: bool,
) -> Result<()> {
    let options = job_options(configuration, name)?;
    let count = match count {
        true => Count::Everywhere,
        false => Count::WhereItMatters,
    };
    let plan = plan_restore(program, options.restore.as_ref(), count)
        .map_err(|why| Error::caused_by("the restore cannot be planned", why))?;
    let text = serde_json::to_string(&plan);
    let text = text.map_err(|error| Error::caused_by("the plan cannot be written", error))?;
    print(&text)
}

fn print(line: &str) -> Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{line}")
        .map_err(|error| Error::caused_by("cannot print the plan", error))
}

/// Prints the plan in Flink's shape of `info`.
fn show_plan(graph: &JobGraph) -> Result<()> {
    let mut nodes = Vec::new();
    for vertex in &graph.vertices {
        for operator in &vertex.operators {
            let kind = match operator.kind {
                NodeKind::Source => "Data Source",
                NodeKind::Operator => "Operator",
                NodeKind::Sink => "Data Sink",
            };
            let chained = vertex
                .chained_edges
                .iter()
                .filter(|edge| edge.to == operator.node);
            let incoming = graph.edges.iter().map(|edge| &edge.edge);
            let incoming = incoming.filter(|edge| edge.to == operator.node);
            let predecessors: Vec<_> = chained
                .chain(incoming)
                .map(|edge| {
                    serde_json::json!({
                        "id": edge.from.0 + 1,
                        "ship_strategy": edge.partitioner.as_str(),
                        "side": "second",
                    })
                })
                .collect();
            let mut node = serde_json::json!({
                "id": operator.node.0 + 1,
                "type": operator.name,
                "pact": kind,
                "contents": operator.name,
                "parallelism": vertex.parallelism,
            });
            if !predecessors.is_empty() {
                node["predecessors"] = predecessors.into();
            }
            nodes.push((operator.node, node));
        }
    }
    nodes.sort_by_key(|(id, _)| *id);
    let nodes: Vec<_> = nodes.into_iter().map(|(_, node)| node).collect();
    let plan = serde_json::json!({ "nodes": nodes });
    print(&plan.to_string())
}

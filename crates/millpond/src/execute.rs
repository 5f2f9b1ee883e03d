//! Runs a job: as its master, as one of its workers, or only shows its plan.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use millpond_cluster::{
    Count, JobHandle, is_worker_process, plan_restore, run_worker_process, start_job,
};
use millpond_job::{JobGraph, JobStatus, NodeKind};
use millpond_rest::{RestOptions, RestServer};
use millpond_runtime::Program;
use millpond_types::JobId;
use millpond_types::config::{
    Configuration, Handshake, INFO_VARIABLE, PLAN_COUNTED, PLAN_VARIABLE, READY_FILE_VARIABLE,
    options,
};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::job_client::JobClient;
use crate::job_options::job_options;

pub use millpond_cluster::JobResult;

/// Starts the environment's job.
pub(crate) fn execute_async(env: &Environment, name: &str) -> Result<JobClient> {
    let configuration = env.configuration();
    log_to_stderr();
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
        run_worker_process(program).map_err(Error::new)?;
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
    let options = job_options(configuration, name)?;
    let job = options.job;
    let listener = millpond_rest::bind(configuration)
        .map_err(|error| Error::caused_by("the REST API cannot be started", error))?;
    let bad = |error| Error::caused_by("the configuration is not usable", error);
    let rest_options = RestOptions::from_configuration(configuration).map_err(bad)?;
    let linger = configuration.get(&options::REST_LINGER).map_err(bad)?;
    let name = options.name.clone();
    let handle = start_job(program, options)
        .map_err(|error| Error::caused_by(format!("job \"{name}\" cannot be started"), error))?;
    let rest = millpond_rest::serve(listener, handle.dispatcher(), rest_options)
        .map_err(|error| Error::caused_by("the REST API cannot be started", error))?;
    // `millpond run` asks for a handshake and says so itself.
    if std::env::var_os(READY_FILE_VARIABLE).is_none() {
        eprintln!("Job has been submitted with JobID {job}");
        eprintln!("Web interface listening at http://{}.", rest.local_addr());
    }
    let handshake = Handshake {
        job_id: job.to_string(),
        rest: rest.local_addr().to_string(),
        ..Handshake::default()
    };
    tell(&handshake)?;
    Ok(JobClient::new(RunningJob {
        job,
        name,
        handle,
        rest,
        linger,
        handshake,
    }))
}

/// Everything that belongs to a job that runs in this process.
pub(crate) struct RunningJob {
    pub(crate) job: JobId,
    name: String,
    pub(crate) handle: JobHandle,
    pub(crate) rest: RestServer,
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
        self.rest.wait_for_results(self.linger);
        self.rest.shutdown();
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

/// Logs warnings and worse, or what `RUST_LOG` says, to standard error.
fn log_to_stderr() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
        let subscriber = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(filter)
            .with_ansi(false)
            .with_target(false);
        // The program has set up logging of its own.
        let _ = subscriber.try_init();
    });
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

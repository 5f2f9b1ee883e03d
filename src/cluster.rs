//! `millpond cluster start|stop`: a job manager and its task managers, here and on other machines.
//!
//! As Flink's scripts do: the machines of task managers are the lines of the file `workers`, and each is
//! reached by `ssh`. There, `millpond taskmanager start` or `stop-all` does the work, with the same
//! executable, working directory and options at the same paths.

mod machines;
mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches};
use millpond_types::config::{Configuration, HighAvailability, options};

use crate::arguments::{self, Parsed};
use crate::daemon::{Daemons, Role};
use crate::failure::Failure;
use crate::{printer, service};
use machines::Machine;
use remote::Remote;

fn command() -> clap::Command {
    let file = |name: &'static str, help: &'static str| arguments::value(name, "file").help(help);
    clap::Command::new("cluster")
        .bin_name("millpond cluster")
        .about("Starts or stops a job manager and task managers, on one machine or several")
        .arg(service::dynamic_option())
        .arg(file(
            "workers",
            "A host per line, for each a task manager [default: workers beside config.yaml, else localhost]",
        ))
        .arg(file(
            "masters",
            "host or host:port of REST per line, if the cluster is highly available [default: masters beside config.yaml, else localhost]",
        ))
        .arg(
            Arg::new("verb")
                .required(true)
                .value_parser(["start", "stop"])
                .help("start: what does not run yet; stop: all"),
        )
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let pairs = service::dynamic(&matches);
    let configuration = service::quiet_configuration(&pairs)?;
    for unknown in configuration.unknown_keys() {
        printer::error_line(format!("warning: {unknown}"));
    }
    let cluster = Cluster {
        workers: machines(&matches, "workers")?,
        masters: match configuration.get(&options::HIGH_AVAILABILITY)? {
            // As in Flink: there is one, and it is here.
            HighAvailability::None => vec![Machine::here()],
            HighAvailability::FileSystem
            | HighAvailability::ZooKeeper
            | HighAvailability::Kubernetes => machines(&matches, "masters")?,
        },
        configuration,
        pairs,
    };
    match matches.get_one::<String>("verb").map(String::as_str) {
        Some("start") => cluster.start(),
        _ => cluster.stop(),
    }
}

/// The file that was named, else that in the directory of the configuration, else this machine.
fn machines(matches: &ArgMatches, name: &str) -> Result<Vec<Machine>, Failure> {
    let named = matches.get_one::<String>(name).map(PathBuf::from);
    let path = match named {
        Some(path) => path,
        None => match millpond::service::configuration_directory().join(name) {
            path if path.is_file() => path,
            _ => return Ok(vec![Machine::here()]),
        },
    };
    let in_file = |why: String| Failure::action(why).during(format!("\"{}\"", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| in_file(error.to_string()))?;
    machines::parse(&text).map_err(in_file)
}

struct Cluster {
    masters: Vec<Machine>,
    workers: Vec<Machine>,
    configuration: Configuration,
    pairs: Vec<String>,
}

impl Cluster {
    fn start(mut self) -> Result<ExitCode, Failure> {
        let mut failed = Vec::new();
        let masters = std::mem::take(&mut self.masters);
        let mut local = 0;
        for master in &masters {
            let mut pairs = self.pairs.clone();
            if let Some(port) = master.port {
                pairs.push(format!("rest.port={port}"));
            }
            local += u32::from(master.is_here());
            let total = match master.is_here() {
                true => local,
                false => master.count,
            };
            if total > 1 {
                // The port for task managers is taken; they find the leader in its directory.
                pairs.push("jobmanager.rpc.port=0".to_owned());
            }
            failed.extend(self.start_at(master, Role::JobManager, total, &pairs).err());
        }
        if !failed.is_empty() {
            return Err(told(failed));
        }
        self.find_job_manager()?;
        // All at once: each takes its time to reach the job manager.
        let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .workers
                .iter()
                .map(|worker| {
                    let this = &self;
                    scope.spawn(move || {
                        this.start_at(worker, Role::TaskManager, worker.count, &this.pairs)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("it does not panic"))
                .collect()
        });
        failed.extend(results.into_iter().filter_map(Result::err));
        match failed.is_empty() {
            true => Ok(ExitCode::SUCCESS),
            false => Err(told(failed)),
        }
    }

    /// If the system has chosen the port of the job manager, task managers have to be told.
    fn find_job_manager(&mut self) -> Result<(), Failure> {
        if self.configuration.get(&options::JOB_MANAGER_RPC_PORT)? != 0 {
            return Ok(());
        }
        let address = Daemons::open(&self.configuration, Vec::new())?.job_manager_address()?;
        if let Some((_, port)) = address.as_deref().and_then(|text| text.rsplit_once(':')) {
            let key = options::JOB_MANAGER_RPC_PORT.key();
            self.pairs.push(format!("{key}={port}"));
        }
        Ok(())
    }

    fn start_at(
        &self,
        machine: &Machine,
        role: Role,
        total: u32,
        pairs: &[String],
    ) -> Result<(), Failure> {
        if machine.is_here() {
            let daemons = Daemons::open(&self.configuration, pairs.to_vec())?;
            return daemons.start_missing(role, total).map(drop);
        }
        let arguments = [role.action(), "start", "--total", &total.to_string()];
        Remote::new(&self.configuration)?.run(&machine.host, &arguments, pairs)
    }

    /// Task managers first, so that none of them misses its job manager.
    fn stop(self) -> Result<ExitCode, Failure> {
        let mut failed = Vec::new();
        let all = [
            (Role::TaskManager, &self.workers),
            (Role::JobManager, &self.masters),
        ];
        for (role, machines) in all {
            let mut here_is_done = false;
            for machine in machines {
                let result = match machine.is_here() {
                    true if here_is_done => continue,
                    true => {
                        here_is_done = true;
                        let daemons = Daemons::open(&self.configuration, Vec::new())?;
                        daemons.stop_all(role).map(drop)
                    }
                    false => {
                        let arguments = [role.action(), "stop-all"];
                        let remote = Remote::new(&self.configuration)?;
                        remote.run(&machine.host, &arguments, &self.pairs)
                    }
                };
                failed.extend(result.err());
            }
        }
        match failed.is_empty() {
            true => Ok(ExitCode::SUCCESS),
            false => Err(told(failed)),
        }
    }
}

/// All failures as one.
fn told(failed: Vec<Failure>) -> Failure {
    let mut causes = vec!["The cluster is not whole.".to_owned()];
    for failure in failed {
        match failure {
            Failure::Arguments(text) => causes.push(text),
            Failure::Action(more) => causes.extend(more),
        }
    }
    Failure::Action(causes)
}

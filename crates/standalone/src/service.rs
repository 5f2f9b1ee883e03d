//! From the configuration to a running job manager or task manager.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millpond_cluster::{Heartbeat, Host, random};
use millpond_fs::ScratchDirectory;
use millpond_job::JobStatus;
use millpond_leadership::{Leader, Leadership, Term, election, storage_directory};
use millpond_rest::{RestOptions, RestServer};
use millpond_security::Internal;
use millpond_types::config::{ConfigError, Configuration, options};

use crate::application::{self, Application, Preparation};
use crate::job_manager::{JobManager, JobManagerOptions, Mode};
use crate::task_manager::{self, JobManagerPlace, TaskManagerOptions};

/// A job manager and its REST API, until they are dropped with the process.
pub struct JobManagerService {
    manager: JobManager,
    server: RestServer,
    _directory: Option<ScratchDirectory>,
    leadership: Option<Arc<dyn Leadership>>,
    mode: Mode,
    forgets_results: bool,
}

impl JobManagerService {
    /// Starts both; if the cluster is highly available and another job manager leads, waits until that
    /// one is gone, and says so by `standing_by`. `leads` is called when this one does, before it does anything by
    /// that.
    ///
    /// # Errors
    ///
    /// A bad option; no socket, thread or directory can be had; for people.
    pub fn start(
        configuration: &Configuration,
        mode: Mode,
        standing_by: impl FnOnce(),
        leads: impl FnOnce(),
    ) -> Result<Self, String> {
        let election = election(configuration)?;
        let forgets_results = get(configuration.get(&options::JOB_RESULT_DELETE_ON_COMMIT))?;
        if mode == Mode::Session {
            get(configuration.check_not_reactive())?;
        }
        let shared = match &election {
            Some(_) => Some(storage_directory(configuration)?),
            None => None,
        };
        let mut standing_by = Some(standing_by);
        let leadership = election.map(|election| {
            let leads = election.campaign(&mut || {
                if let Some(standing_by) = standing_by.take() {
                    standing_by();
                }
            });
            leads.map(Arc::from).map_err(|error| error.to_string())
        });
        let leadership: Option<Arc<dyn Leadership>> = leadership.transpose()?;
        leads();
        let by = leadership.as_deref();
        let started = Self::start_leading(configuration, mode, shared.as_deref(), by);
        if let (Err(_), Some(leadership)) = (&started, &leadership) {
            leadership.give_up();
        }
        let (manager, server, directory) = started?;
        Ok(JobManagerService {
            manager,
            server,
            _directory: directory,
            leadership,
            mode,
            forgets_results,
        })
    }

    /// If this fails no job runs.
    fn start_leading(
        configuration: &Configuration,
        mode: Mode,
        shared: Option<&Path>,
        leadership: Option<&dyn Leadership>,
    ) -> Result<(JobManager, RestServer, Option<ScratchDirectory>), String> {
        let listener = millpond_rest::bind(configuration).map_err(|error| told(&error))?;
        let rest = listener.local_addr().map_err(|error| error.to_string())?;
        let configured = get(configuration.get(&options::UPLOAD_DIRECTORY))?;
        let (directory, temporary) = match shared {
            Some(shared) => (shared.to_path_buf(), None),
            None => directory(configuration, configured)?,
        };
        let bind_host = get(configuration.get(&options::JOB_MANAGER_BIND_HOST))?;
        let security = get(Internal::from_configuration(configuration))?;
        let has_token = get(configuration.get(&options::REST_TOKEN_FILE))?.is_some();
        let key = options::JOB_MANAGER_BIND_HOST.key();
        warn_if_open("the job manager", key, &bind_host, &security);
        let manager = JobManager::start(JobManagerOptions {
            bind_host,
            port: get(configuration.get(&options::JOB_MANAGER_RPC_PORT))?,
            address: get(configuration.get(&options::JOB_MANAGER_RPC_ADDRESS))?,
            rest: rest.to_string(),
            heartbeat: get(Heartbeat::from_configuration(configuration))?,
            slot_timeout: get(configuration.get(&options::SLOT_REQUEST_TIMEOUT))?,
            directory,
            keeps_jobs: shared.is_some(),
            term: leadership.map_or_else(Term::unlimited, Leadership::term),
            mode,
            max_program_bytes: get(configuration.get(&options::MAX_CONTENT_LENGTH))?.into(),
            security,
            configuration: configuration.clone(),
        })?;
        let server = Self::serve(configuration, listener, &manager, has_token);
        let shown = server.and_then(|server| {
            if let Some(leadership) = leadership {
                let rest = rest_for_users(configuration, rest)?;
                let rpc = manager.address().to_owned();
                let published = leadership.publish(&Leader { rpc, rest });
                published.map_err(|error| {
                    format!("where this job manager is cannot be told: {error}")
                })?;
            }
            Ok(server)
        });
        match shown {
            Ok(server) => Ok((manager, server, temporary)),
            Err(why) => {
                // It may have gone on with jobs. Nothing is known of them if that fails, and nothing to be done.
                let _ = manager.end();
                Err(why)
            }
        }
    }

    /// Serves REST.
    fn serve(
        configuration: &Configuration,
        listener: TcpListener,
        manager: &JobManager,
        has_token: bool,
    ) -> Result<RestServer, String> {
        let rest_options = get(RestOptions::from_configuration(configuration))?;
        let rest_address = get(configuration.get(&options::REST_BIND_ADDRESS))?;
        let dispatcher = manager.dispatcher();
        let server = match may_submit(configuration, &rest_address, has_token)? {
            true => {
                let programs = manager.programs();
                millpond_rest::serve_cluster(listener, dispatcher, programs, rest_options)
            }
            false => {
                // Else somebody has said so.
                if get(configuration.get(&options::WEB_SUBMIT_ENABLE))? {
                    tracing::warn!(
                        "programs cannot be uploaded: {} or {} = true allows it",
                        options::REST_TOKEN_FILE.key(),
                        options::WEB_SUBMIT_ENABLE.key()
                    );
                }
                millpond_rest::serve(listener, dispatcher, rest_options)
            }
        };
        server.map_err(|error| told(&error))
    }

    /// Where task managers find it.
    pub fn address(&self) -> &str {
        self.manager.address()
    }

    /// Whether all of its jobs went well, once at least one has come and all have ended; that of an application
    /// when its program has ended too.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.mode == Mode::Application && self.manager.masters() > 0 {
            return None;
        }
        let jobs = self.manager.statuses();
        match jobs.iter().all(|status| status.is_globally_terminal()) {
            true if jobs.is_empty() => None,
            true => Some(match jobs.contains(&JobStatus::Failed) {
                true => Outcome::Failed,
                false => Outcome::Succeeded,
            }),
            false => None,
        }
    }

    /// The application, ready to be begun.
    pub fn prepare(&self, application: Application) -> Preparation {
        self.manager.prepare(application)
    }

    /// How many operations have a result that nobody has fetched.
    pub fn pending_results(&self) -> usize {
        self.server.pending_results()
    }

    /// Where REST listens.
    pub fn rest(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// `lost` hears why this job manager leads no more, for people, if another one may. Then the process has to
    /// end at once, and the masters of its jobs end with it.
    ///
    /// # Errors
    ///
    /// No thread can be had.
    pub fn watch(&self, lost: impl FnOnce(String) + Send + 'static) -> std::io::Result<()> {
        if let Some(leadership) = self.leadership.clone() {
            std::thread::Builder::new()
                .name("leadership".to_owned())
                .spawn(move || lost(leadership.wait_until_lost()))?;
        }
        Ok(())
    }

    /// Takes no more requests, and ends the masters of all jobs; then another job manager may lead at once. What an
    /// application has left is removed if it has ended so. The process has to end.
    pub fn end(self, outcome: Option<Outcome>) {
        self.server.shutdown();
        let have_ended = self.manager.end();
        if self.mode == Mode::Application && outcome.is_some() {
            let programs = self.manager.program_store();
            application::tidy(programs, self.manager.store(), self.forgets_results);
        }
        if let (true, Some(leadership)) = (have_ended, self.leadership) {
            leadership.give_up();
        }
    }

    /// The same with `http://` or `https://`.
    pub fn rest_url(&self) -> String {
        self.server.url()
    }
}

/// How the jobs of a cluster have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Each is FINISHED or CANCELED.
    Succeeded,
    /// At least one is FAILED.
    Failed,
}

/// A task manager that is about to work.
pub struct TaskManagerService {
    options: TaskManagerOptions,
    _directory: Option<ScratchDirectory>,
}

impl TaskManagerService {
    /// One as the configuration says.
    ///
    /// # Errors
    ///
    /// A bad option; no directory; for people.
    pub fn new(configuration: &Configuration) -> Result<Self, String> {
        let slots = get(configuration.get(&options::TASK_SLOTS))?;
        if slots == 0 {
            let key = options::TASK_SLOTS.key();
            return Err(format!("{key} is 0, expected at least 1"));
        }
        let host = Host {
            bind: get(configuration.get(&options::TASK_MANAGER_BIND_HOST))?,
            advertised: get(configuration.get(&options::TASK_MANAGER_HOST))?,
            ports: get(configuration.get(&options::TASK_MANAGER_DATA_PORT))?,
        };
        let security = get(Internal::from_configuration(configuration))?;
        let key = options::TASK_MANAGER_BIND_HOST.key();
        warn_if_open("the task manager", key, &host.bind, &security);
        let id = get(configuration.get(&options::TASK_MANAGER_RESOURCE_ID))?;
        let kept = get(configuration.get(&options::BLOB_CLEANUP_INTERVAL))?;
        let (directory, temporary) = directory(configuration, None)?;
        let options = TaskManagerOptions {
            id: id.unwrap_or_else(|| format!("{}-{}", host.advertised, random::hex(3))),
            job_manager: match election(configuration)? {
                Some(election) => JobManagerPlace::Leader(election),
                None => JobManagerPlace::Address(format!(
                    "{}:{}",
                    get(configuration.get(&options::JOB_MANAGER_RPC_ADDRESS))?,
                    get(configuration.get(&options::JOB_MANAGER_RPC_PORT))?
                )),
            },
            host,
            slots,
            heartbeat: get(Heartbeat::from_configuration(configuration))?,
            registration_timeout: get(
                configuration.get(&options::TASK_MANAGER_REGISTRATION_TIMEOUT)
            )?,
            directory,
            programs_kept: Duration::from_secs(u64::from(kept)),
            security,
            configuration: configuration.clone(),
        };
        Ok(TaskManagerService {
            options,
            _directory: temporary,
        })
    }

    /// Works; `registered` hears in words where it has been accepted, each time.
    ///
    /// # Errors
    ///
    /// The job manager does not want it, or cannot be reached for too long; for people.
    pub fn run(&self, registered: impl Fn(String)) -> Result<(), String> {
        let options = &self.options;
        task_manager::run(options, |address| {
            registered(format!(
                "Task manager {} registered at {address} with {} slots.",
                options.id, options.slots
            ));
        })
    }
}

fn get<T>(value: Result<T, ConfigError>) -> Result<T, String> {
    value.map_err(|error| error.to_string())
}

fn told(error: &millpond_rest::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Where this job manager is for users: what they are told to use, or where it listens.
fn rest_for_users(configuration: &Configuration, listens: SocketAddr) -> Result<String, String> {
    let key = options::REST_ADDRESS.key();
    let host = match configuration.raw(key) {
        Some(host) => host.to_owned(),
        None if listens.ip().is_unspecified() => {
            get(configuration.get(&options::JOB_MANAGER_RPC_ADDRESS))?
        }
        None => return Ok(listens.to_string()),
    };
    Ok(format!("{host}:{}", listens.port()))
}

/// The directory that is configured, or one that goes with the process.
fn directory(
    configuration: &Configuration,
    configured: Option<String>,
) -> Result<(PathBuf, Option<ScratchDirectory>), String> {
    if let Some(directory) = configured {
        return Ok((PathBuf::from(directory), None));
    }
    let temporary = get(configuration.get(&options::TMP_DIRS))?;
    let first = temporary
        .as_deref()
        .and_then(|all| all.split([',', ':']).next());
    let root = first.map_or_else(std::env::temp_dir, PathBuf::from);
    for abandoned in millpond_fs::remove_abandoned(&root) {
        let abandoned = abandoned.display();
        tracing::info!("removed \"{abandoned}\", which a process that was killed has left");
    }
    let made = ScratchDirectory::new_in(&root, "service");
    let made = made.map_err(|error| format!("no directory in \"{}\": {error}", root.display()))?;
    Ok((made.path().to_path_buf(), Some(made)))
}

/// Whether programs may be uploaded: outside of this machine only if somebody has said so, or those who
/// do have a token.
fn may_submit(
    configuration: &Configuration,
    rest_address: &str,
    has_token: bool,
) -> Result<bool, String> {
    let allowed = get(configuration.get(&options::WEB_SUBMIT_ENABLE))?;
    let said = configuration.contains(&options::WEB_SUBMIT_ENABLE);
    Ok(allowed && (said || has_token || is_loopback(rest_address)))
}

/// Whether an address to bind to is reached from this machine alone.
pub fn is_loopback(address: &str) -> bool {
    let parsed = address.parse::<IpAddr>();
    address == "localhost" || parsed.is_ok_and(|address| address.is_loopback())
}

fn warn_if_open(what: &str, key: &str, address: &str, security: &Internal) {
    if !is_loopback(address) && !security.is_secure() {
        tracing::warn!(
            "{what} listens on {address} ({key}) and not on this machine alone: whoever reaches it can \
             run programs here, as nothing asks who that is; {} = true does",
            options::SSL_INTERNAL_ENABLED.key()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_come_from_this_machine_only_unless_somebody_said_otherwise() {
        let none = Configuration::new();
        let yes = Configuration::from_pairs([("web.submit.enable", "true")]);
        let no = Configuration::from_pairs([("web.submit.enable", "false")]);
        let cases = [
            (&none, "127.0.0.1", true),
            (&none, "localhost", true),
            (&none, "0.0.0.0", false),
            (&yes, "0.0.0.0", true),
            (&no, "127.0.0.1", false),
        ];
        for (configuration, address, expected) in cases {
            let found = may_submit(configuration, address, false);
            assert_eq!(found, Ok(expected), "{configuration:?} {address}");
            let with_token = may_submit(configuration, address, true);
            assert_eq!(
                with_token,
                Ok(configuration != &no),
                "{configuration:?} {address}"
            );
        }
    }

    /// One that sends without a pause would do nothing else.
    #[test]
    fn heartbeats_without_an_interval_are_refused() {
        let none = Configuration::from_pairs([("heartbeat.interval", "0 ms")]);
        let why = TaskManagerService::new(&none).err().expect("refused");
        assert!(why.contains("heartbeat.interval"), "{why}");
    }

    #[test]
    fn a_task_manager_without_slots_is_refused() {
        let none = Configuration::from_pairs([("taskmanager.numberOfTaskSlots", "0")]);
        let why = TaskManagerService::new(&none).err().expect("refused");
        assert!(why.contains("taskmanager.numberOfTaskSlots is 0"), "{why}");
    }
}

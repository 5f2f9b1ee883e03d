//! `millpond run -m yarn-cluster`: a cluster on YARN for one job, which ends with it.
//!
//! The program is uploaded to the job manager as soon as that answers; slots come when the containers of
//! task managers do. What fails before the job is accepted takes the cluster with it.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use millpond_types::config::{Configuration, format_duration, options};

use crate::failure::Failure;
use crate::remote_run::{self, Ended};
use crate::rest_client::RestClient;
use crate::{arguments, printer, program};

use super::application_id::ApplicationId;
use super::descriptor;
use super::job_manager::{self, RestAddress};
use super::resource_manager::{Application, ApplicationState, ResourceManager};

/// How often it is asked how far the cluster is.
const LOOK: Duration = Duration::from_millis(500);

/// A service that has been asked for.
struct Deployment<'a> {
    configuration: &'a Configuration,
    name: String,
    id: ApplicationId,
}

/// Starts a cluster and runs the program in it; waits for the end of its job, unless it is to run
/// detached.
pub(crate) fn run(
    matches: &ArgMatches,
    given: &[String],
    configuration: &Configuration,
) -> Result<ExitCode, Failure> {
    let (path, arguments) = program::to_upload(given)?;
    let all = arguments::over_the_file(configuration)?;
    all.check()?;
    let deployed = deploy(&all, path)
        .map_err(|failure| failure.during("Could not deploy Yarn job cluster."))?;
    let submitted = deployed.wait_for_job_manager().and_then(|address| {
        let RestAddress { host, port } = &address;
        printer::line(format!(
            "Found Web Interface {host}:{port} of application '{}'.",
            deployed.id
        ));
        let client = client(&all, &address)?;
        let job = remote_run::submit(&client, path, arguments, configuration)?;
        Ok((client, job))
    });
    let (client, job) = match submitted {
        Ok(submitted) => submitted,
        Err(failure) => return Err(deployed.given_up(failure)),
    };
    if matches.get_flag("detached") {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = match remote_run::wait(&client, job) {
        Ok(ended) => ended,
        // The job manager ends with its job, and this client may have looked too late.
        Err(failure) => match deployed.ended() {
            Ok(Some(application)) if application.final_status == "SUCCEEDED" => Ended::Finished,
            Ok(Some(application)) => {
                let mut causes = job_manager::ended(&application).causes();
                causes.extend(failure.causes());
                Ended::Failed(causes.join(": "))
            }
            Ok(None) | Err(_) => return Err(failure),
        },
    };
    deployed.forget();
    remote_run::tell(job, ended)
}

fn deploy<'a>(configuration: &'a Configuration, program: &Path) -> Result<Deployment<'a>, Failure> {
    let service = descriptor::service(configuration, program)?;
    let id = ResourceManager::active(configuration)?.create(&service)?;
    printer::line(format!("Submitted application {id}"));
    Ok(Deployment {
        configuration,
        name: service.name,
        id,
    })
}

fn client(configuration: &Configuration, address: &RestAddress) -> Result<RestClient, Failure> {
    let mut own = configuration.clone();
    own.set_option(&options::REST_ADDRESS, &Some(address.host.clone()));
    own.set_option(&options::REST_PORT, &address.port);
    Ok(RestClient::new(&own)?)
}

impl Deployment<'_> {
    /// Waits until REST answers. A ResourceManager that is out of reach for a while is none that has
    /// refused.
    fn wait_for_job_manager(&self) -> Result<RestAddress, Failure> {
        let timeout = self.configuration.get(&options::YARN_DEPLOYMENT_TIMEOUT)?;
        let deadline = Instant::now() + timeout;
        loop {
            let why = match self.look() {
                Ok(Look::Answers(address)) => return Ok(address),
                Ok(Look::Ended(application)) => return Err(job_manager::ended(&application)),
                Ok(Look::NotYet(why)) => vec![why],
                Err(failure) => failure.causes(),
            };
            if Instant::now() + LOOK > deadline {
                let mut causes = vec![format!(
                    "the application {} (\"{}\") has no job manager after {} ({}); are there resources for \
                     it in its queue, and the executable `millpond` where it is looked for?",
                    self.id,
                    self.name,
                    format_duration(timeout),
                    options::YARN_DEPLOYMENT_TIMEOUT.key()
                )];
                causes.extend(why);
                return Err(Failure::Action(causes));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn look(&self) -> Result<Look, Failure> {
        let resource_manager = ResourceManager::active(self.configuration)?;
        let application = resource_manager.application(&self.id)?;
        let state = application.state;
        if state.has_ended() {
            return Ok(Look::Ended(application));
        }
        if state != ApplicationState::Running {
            return Ok(Look::NotYet(format!("the application is {state}")));
        }
        let service = resource_manager.service(&self.name)?;
        let address = service.as_ref().map(job_manager::of_service).transpose()?;
        let Some(address) = address.flatten() else {
            let why = "the container of its job manager is not ready";
            return Ok(Look::NotYet(why.to_owned()));
        };
        client(self.configuration, &address)?.jobs()?;
        Ok(Look::Answers(address))
    }

    /// The application, if it ends within `client.timeout`.
    fn ended(&self) -> Result<Option<Application>, Failure> {
        let deadline = Instant::now() + self.configuration.get(&options::CLIENT_TIMEOUT)?;
        loop {
            let resource_manager = ResourceManager::active(self.configuration)?;
            let application = resource_manager.application(&self.id)?;
            if application.state.has_ended() {
                return Ok(Some(application));
            }
            if Instant::now() + LOOK > deadline {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Removes what YARN keeps of a service that has ended. A failure here changes nothing for the job.
    fn forget(&self) {
        let ended = self.ended().and_then(|ended| match ended {
            Some(_) => ResourceManager::active(self.configuration)?.destroy(&self.name),
            None => Err(Failure::action("it still runs")),
        });
        if let Err(failure) = ended {
            self.tell_left_behind(failure);
        }
    }

    /// Ends the cluster, as its job has not begun.
    fn given_up(&self, failure: Failure) -> Failure {
        let destroyed = ResourceManager::active(self.configuration)
            .and_then(|resource_manager| resource_manager.destroy(&self.name));
        if let Err(failure) = destroyed {
            self.tell_left_behind(failure);
        }
        failure.during("Could not run the program on YARN; its cluster has been given up.")
    }

    fn tell_left_behind(&self, failure: Failure) {
        printer::error_line(format!(
            "warning: the service {} is left behind ({}); `yarn app -destroy {}` removes it",
            self.name,
            failure.causes().join(": "),
            self.name
        ));
    }
}

/// How far a cluster is.
enum Look {
    Answers(RestAddress),
    NotYet(String),
    Ended(Application),
}

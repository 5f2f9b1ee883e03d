//! The ResourceManager: which one is active, and what it knows of applications.
//!
//! Source: Apache Hadoop 3.4.1, "ResourceManager REST APIs". One that stands by answers
//! `/ws/v1/cluster/info` itself and sends all other questions elsewhere.

use std::fmt;

use millpond_types::config::{Configuration, options};
use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;

use super::application_id::ApplicationId;
use super::http::{Answer, Http, encoded, user};
use super::site;

/// The most applications that are listed.
const MAX_LISTED: usize = 20;

/// The active ResourceManager of a cluster.
pub(crate) struct ResourceManager {
    http: Http,
    address: String,
}

#[derive(Deserialize)]
struct ClusterInfoAnswer {
    #[serde(rename = "clusterInfo")]
    cluster_info: ClusterInfo,
}

#[derive(Deserialize)]
struct ClusterInfo {
    /// Absent before Hadoop 2.4, where there is one ResourceManager.
    #[serde(rename = "haState")]
    ha_state: Option<String>,
}

#[derive(Deserialize)]
struct ApplicationAnswer {
    app: Application,
}

#[derive(Deserialize)]
struct ApplicationsAnswer {
    /// Null if there are none.
    apps: Option<Applications>,
}

#[derive(Deserialize)]
struct Applications {
    #[serde(default)]
    app: Vec<Application>,
}

/// What YARN knows of an application.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Application {
    pub(crate) id: ApplicationId,
    pub(crate) user: String,
    pub(crate) name: String,
    pub(crate) state: ApplicationState,
    pub(crate) final_status: String,
    #[serde(default)]
    pub(crate) application_type: String,
    #[serde(default)]
    pub(crate) diagnostics: String,
    /// What its application master has told when it registered, as host:port.
    #[serde(rename = "amRPCAddress")]
    pub(crate) master_address: Option<String>,
}

/// How far an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ApplicationState {
    New,
    NewSaving,
    Submitted,
    Accepted,
    Running,
    Finished,
    Failed,
    Killed,
}

impl ApplicationState {
    pub(crate) fn has_ended(self) -> bool {
        use ApplicationState::*;
        match self {
            New | NewSaving | Submitted | Accepted | Running => false,
            Finished | Failed | Killed => true,
        }
    }
}

impl fmt::Display for ApplicationState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ApplicationState::*;
        formatter.write_str(match self {
            New => "NEW",
            NewSaving => "NEW_SAVING",
            Submitted => "SUBMITTED",
            Accepted => "ACCEPTED",
            Running => "RUNNING",
            Finished => "FINISHED",
            Failed => "FAILED",
            Killed => "KILLED",
        })
    }
}

impl ResourceManager {
    /// Finds the active one.
    ///
    /// While none is active, as during a change of leaders, all are asked again, as often as
    /// `rest.retry.max-attempts` says.
    pub(crate) fn active(configuration: &Configuration) -> Result<Self, Failure> {
        let http = Http::new(configuration)?;
        let found = site::addresses(configuration)?;
        let attempts = configuration.get(&options::REST_RETRY_MAX_ATTEMPTS)?.max(1);
        let pause = configuration.get(&options::REST_RETRY_DELAY)?;
        let mut attempt = 1;
        loop {
            let mut why = Vec::new();
            for address in &found.addresses {
                match ha_state(&http, address) {
                    Ok(state) if state == "ACTIVE" => {
                        let address = address.clone();
                        return Ok(ResourceManager { http, address });
                    }
                    Ok(state) => why.push(format!("the ResourceManager at {address} is {state}")),
                    Err(failure) => why.extend(failure.causes()),
                }
            }
            if attempt >= attempts {
                why.insert(
                    0,
                    format!(
                        "no active ResourceManager of YARN was found (tried {attempts} times) among {}, which \
                         {} names",
                        found.addresses.join(", "),
                        found.source
                    ),
                );
                return Err(Failure::Action(why));
            }
            attempt += 1;
            std::thread::sleep(pause);
        }
    }

    /// One application.
    pub(crate) fn application(&self, id: &ApplicationId) -> Result<Application, Failure> {
        let answer = self.ask("GET", &format!("/ws/v1/cluster/apps/{id}"), None)?;
        match answer.status {
            404 => Err(Failure::Action(vec![
                format!(
                    "the ResourceManager at {} knows no application {id}; `yarn app -list -appStates ALL` \
                     shows those that it still knows",
                    self.address
                ),
                answer.reason(),
            ])),
            400 => Err(answer.refused()),
            _ => answer.json::<ApplicationAnswer>().map(|answer| answer.app),
        }
    }

    /// Running applications of this user that may be clusters of Millpond or Flink.
    pub(crate) fn running(&self) -> Result<Vec<Application>, Failure> {
        let mut path = format!("/ws/v1/cluster/apps?states=RUNNING&limit={MAX_LISTED}");
        if let Some(user) = user() {
            path.push_str(&format!("&user={}", encoded(&user)));
        }
        let answer = self.ask("GET", &path, None)?;
        match answer.status {
            400 | 404 => Err(answer.refused()),
            _ => {
                let apps = answer.json::<ApplicationsAnswer>()?.apps;
                Ok(apps.map_or_else(Vec::new, |apps| apps.app))
            }
        }
    }

    /// Asks it something.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        self.http.ask(method, &self.address, path, body)
    }
}

/// The state of the ResourceManager at an address.
fn ha_state(http: &Http, address: &str) -> Result<String, Failure> {
    let answer = http.ask("GET", address, "/ws/v1/cluster/info", None)?;
    if answer.status != 200 {
        return Err(answer.refused());
    }
    let info = answer.json::<ClusterInfoAnswer>()?.cluster_info;
    Ok(info.ha_state.unwrap_or_else(|| "ACTIVE".to_owned()))
}

//! A service of YARN, as its REST API describes it ("Yarnfile").
//!
//! Source of names and meaning: Apache Hadoop 3.4.1, "YARN Service API". The framework's own
//! application master starts the containers, replaces those that fail, and registers with the
//! ResourceManager. What is not of use here is left out, and is ignored when it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;

use super::application_id::ApplicationId;
use super::http::encoded;
use super::resource_manager::ResourceManager;

/// The type of applications that are services.
pub(crate) const APPLICATION_TYPE: &str = "yarn-service";

/// A service, as it is wanted or as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<String>,
    /// Only in answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    pub(crate) components: Vec<Component>,
    /// For all components.
    pub(crate) configuration: ComponentConfiguration,
}

/// Containers that do the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) number_of_containers: u64,
    /// One line for a shell.
    pub(crate) launch_command: String,
    /// Components whose containers are ready before those of this one start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) dependencies: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact: Option<Artifact>,
    pub(crate) resource: Resource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) readiness_check: Option<ReadinessCheck>,
    /// ALWAYS, ON_FAILURE or NEVER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart_policy: Option<String>,
    pub(crate) configuration: ComponentConfiguration,
    /// Only in answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) containers: Vec<Container>,
}

/// What containers are made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Artifact {
    pub(crate) id: String,
    /// DOCKER, TARBALL or SERVICE.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// What a container may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resource {
    pub(crate) cpus: u32,
    /// In MiB.
    pub(crate) memory: String,
}

/// When a container is ready.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ReadinessCheck {
    /// DEFAULT, HTTP or PORT.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) properties: BTreeMap<String, Value>,
}

/// What containers find when they start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ComponentConfiguration {
    /// For the application master.
    pub(crate) properties: BTreeMap<String, Value>,
    /// Environment of the containers.
    pub(crate) env: BTreeMap<String, Value>,
    pub(crate) files: Vec<ConfigFile>,
}

/// A file of a container: below `conf` in its working directory, or below `resources` if it is a copy of
/// a file of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigFile {
    /// YAML, TEMPLATE, STATIC and others.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) dest_file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) src_file: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) properties: BTreeMap<String, Value>,
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    pub(crate) state: String,
    pub(crate) ip: Option<String>,
    /// The machine.
    pub(crate) bare_host: Option<String>,
}

#[derive(Deserialize)]
struct ServiceStatus {
    #[serde(default)]
    diagnostics: String,
}

impl Component {
    /// Whether its containers have addresses of their own.
    pub(crate) fn is_docker(&self) -> bool {
        let artifact = self.artifact.as_ref();
        artifact.is_some_and(|artifact| artifact.kind == "DOCKER")
    }
}

fn path(name: &str) -> String {
    format!("/app/v1/services/{}", encoded(name))
}

impl ResourceManager {
    /// A service of this user; `None` if there is none of this name.
    pub(crate) fn service(&self, name: &str) -> Result<Option<Service>, Failure> {
        let answer = self.ask("GET", &path(name), None)?;
        match answer.status {
            404 => Ok(None),
            400 => Err(answer.refused()),
            _ => answer.json().map(Some),
        }
    }

    /// Starts a service; returns the application that it is.
    pub(crate) fn create(&self, service: &Service) -> Result<ApplicationId, Failure> {
        let answer = self.ask("POST", "/app/v1/services", Some(&json!(service)))?;
        match answer.status {
            404 => {
                return Err(Failure::Action(vec![
                    "this cluster does not run services: expected Hadoop 3.3 or later, with \
                     yarn.webapp.api-service.enable = true for its ResourceManager"
                        .to_owned(),
                    answer.reason(),
                ]));
            }
            400 => return Err(answer.refused()),
            _ => {}
        }
        let diagnostics = answer.json::<ServiceStatus>()?.diagnostics;
        let id = diagnostics
            .strip_prefix("Application ID: ")
            .unwrap_or_default();
        id.trim().parse().map_err(|_| {
            Failure::action(format!(
                "YARN has accepted the service {}, and said \"{diagnostics}\", expected \"Application ID: \
                 application_...\"",
                service.name
            ))
        })
    }

    /// Ends a service and forgets it. That there is none is no failure.
    pub(crate) fn destroy(&self, name: &str) -> Result<(), Failure> {
        let answer = self.ask("DELETE", &path(name), None)?;
        match answer.status {
            400 => Err(answer.refused()),
            _ => Ok(()),
        }
    }
}

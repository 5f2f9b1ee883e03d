//! From an application of YARN to the REST API of its job manager.
//!
//! A service is asked for the container of its component `jobmanager`, and for the port that its
//! configuration gives to REST. Any other application is taken for one of Apache Flink, whose
//! application master registers with the address of its REST API (Flink 2.3.0, class
//! `YarnResourceManagerDriver`), so that `millpond list -yid` and the like work on it, too.

use millpond_types::config::{Configuration, options};

use crate::failure::Failure;

use super::application_id::ApplicationId;
use super::resource_manager::{Application, ApplicationState, ResourceManager};
use super::service::{APPLICATION_TYPE, Component, Service};

/// The component whose container is the job manager.
pub(crate) const COMPONENT: &str = "jobmanager";

/// The file with the options of a container, below `conf`.
pub(crate) const OPTIONS_FILE: &str = "config.yaml";

/// Where REST of a job manager answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RestAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Finds the job manager of an application that runs.
pub(crate) fn find(
    resource_manager: &ResourceManager,
    id: &ApplicationId,
) -> Result<RestAddress, Failure> {
    let application = resource_manager.application(id)?;
    let Application { name, state, .. } = &application;
    if state.has_ended() {
        return Err(ended(&application));
    }
    if *state != ApplicationState::Running {
        return Err(Failure::action(format!(
            "the application {id} (\"{name}\") does not run yet, it is {state}: it waits for resources \
             of its queue; try again later"
        )));
    }
    if application.application_type != APPLICATION_TYPE {
        return of_master(&application);
    }
    let service = resource_manager.service(name)?.ok_or_else(|| {
        Failure::action(format!(
            "the application {id} is the service \"{name}\" of the user \"{user}\", and that user has to \
             ask for it: set HADOOP_USER_NAME={user}",
            user = application.user
        ))
    })?;
    of_service(&service)?.ok_or_else(|| {
        Failure::action(format!(
            "the application {id} (\"{name}\") runs, but no container of its component \"{COMPONENT}\" is \
             ready; `yarn app -status {name}` shows what there is"
        ))
    })
}

/// Why an application that has ended has no job manager.
pub(crate) fn ended(application: &Application) -> Failure {
    let Application {
        id,
        name,
        state,
        final_status,
        diagnostics,
        ..
    } = application;
    let mut causes = vec![format!(
        "the application {id} (\"{name}\") has ended: it is {state}, with the final status {final_status}"
    )];
    let diagnostics = diagnostics.trim();
    if !diagnostics.is_empty() {
        causes.push(diagnostics.to_owned());
    }
    Failure::Action(causes)
}

/// What an application master has told.
fn of_master(application: &Application) -> Result<RestAddress, Failure> {
    let told = application.master_address.as_deref().unwrap_or_default();
    let parsed = told.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = host.to_owned();
        (!host.is_empty()).then_some(RestAddress { host, port })
    });
    parsed.ok_or_else(|| {
        Failure::action(format!(
            "the application {} (\"{}\") is of the type \"{}\", and its application master has told the \
             address \"{told}\" (amRPCAddress), expected host:port of a REST API: is it a cluster of \
             Millpond or Flink?",
            application.id, application.name, application.application_type
        ))
    })
}

/// The job manager of a service; `None` while it has no container that is ready.
pub(crate) fn of_service(service: &Service) -> Result<Option<RestAddress>, Failure> {
    let named = |component: &&Component| component.name == COMPONENT;
    let component = service.components.iter().find(named).ok_or_else(|| {
        let names: Vec<_> = service.components.iter().map(|found| &found.name).collect();
        Failure::action(format!(
            "the service \"{}\" is no cluster of Millpond: expected a component \"{COMPONENT}\", found \
             {names:?}",
            service.name
        ))
    })?;
    let mut ready = component.containers.iter();
    let Some(container) = ready.find(|container| container.state == "READY") else {
        return Ok(None);
    };
    // The address of a container of Docker is known to nobody by name without the registry's DNS.
    let host = match component.is_docker() {
        true => container.ip.as_ref(),
        false => container.bare_host.as_ref().or(container.ip.as_ref()),
    };
    let Some(host) = host.cloned() else {
        return Ok(None);
    };
    let port = rest_port(component)?;
    Ok(Some(RestAddress { host, port }))
}

/// The port of REST that the options of the component give.
fn rest_port(component: &Component) -> Result<u16, Failure> {
    let mut options = Configuration::new();
    let files = component.configuration.files.iter();
    for file in files.filter(|file| file.dest_file == OPTIONS_FILE) {
        for (key, value) in &file.properties {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            options.set(key, text);
        }
    }
    Ok(options.get(&options::REST_PORT)?)
}

#[cfg(test)]
mod tests {
    use millpond_damage::Damage;

    use super::*;

    /// In the shape of the example in "YARN Service API" of Hadoop 3.4.1.
    const ANSWER: &str = r#"{
      "name": "words", "version": "0.1.0", "id": "application_1503963985568_0002", "lifetime": -1,
      "state": "STABLE",
      "components": [
        {"name": "taskmanager", "state": "STABLE", "containers": [], "number_of_containers": 0,
         "resource": {"cpus": 1, "memory": "256"}, "launch_command": "x"},
        {"name": "jobmanager", "state": "STABLE", "resource": {"cpus": 1, "memory": "256"},
         "configuration": {"properties": {}, "env": {}, "files": [
            {"type": "YAML", "dest_file": "config.yaml", "properties": {"rest.port": "20001"}}]},
         "quicklinks": [],
         "containers": [
            {"id": "container_e03_1503963985568_0002_01_000002", "ip": "10.22.8.143",
             "hostname": "ctr-e03-1503963985568-0002-01-000002.example.site", "state": "READY",
             "launch_time": 1504051512412, "bare_host": "host100.cloud.com",
             "component_instance_name": "jobmanager-0"}],
         "launch_command": "millpond jobmanager", "number_of_containers": 1,
         "run_privileged_container": false}],
      "configuration": {"properties": {}, "env": {}, "files": []}, "quicklinks": {}}"#;

    fn service() -> Service {
        serde_json::from_str(ANSWER).expect("an answer")
    }

    fn found(service: &Service) -> Option<RestAddress> {
        of_service(service).expect("a cluster")
    }

    fn at(host: &str, port: u16) -> Option<RestAddress> {
        let host = host.to_owned();
        Some(RestAddress { host, port })
    }

    #[test]
    fn the_job_manager_of_a_service_is_found() {
        let mut service = service();
        assert_eq!(found(&service), at("host100.cloud.com", 20001));
        let docker = serde_json::json!({"id": "millpond:0.1", "type": "DOCKER"});
        service.components[1].artifact = serde_json::from_value(docker).expect("an artifact");
        assert_eq!(found(&service), at("10.22.8.143", 20001));
        service.components[1].configuration.files.clear();
        assert_eq!(found(&service), at("10.22.8.143", 8081));
        service.components[1].containers[0].state = "STARTED".to_owned();
        assert_eq!(found(&service), None);
    }

    #[test]
    fn another_service_is_none_of_ours() {
        let mut service = service();
        service.components.remove(1);
        let why = of_service(&service).expect_err("no job manager").causes();
        assert!(why[0].contains("[\"taskmanager\"]"), "{why:?}");
    }

    #[test]
    fn damaged_answers_are_read_or_refused() {
        Damage::seeded().search(&[ANSWER.as_bytes().to_vec()], |_, bytes| {
            // Either outcome is right; it must come.
            if let Ok(service) = serde_json::from_slice(bytes) {
                drop(of_service(&service));
            }
        });
    }
}

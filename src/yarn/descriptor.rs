//! The service of YARN that is a cluster for one job: a component with the job manager, and one with the
//! task managers.
//!
//! The options travel as `conf/config.yaml` of each container, not in its command line: there, no shell
//! reads them. The command line has what only the container knows: its machine and its directories.
//! The ports of the job manager are drawn, as nothing tells the client of a service which ones a
//! container has chosen; two that meet on one machine end the service before its job has begun.

use std::path::Path;

use millpond_cluster::random;
use millpond_security::Token;
use millpond_types::config::{Configuration, MemorySize, options};
use serde_json::{Value, json};

use crate::failure::Failure;

use super::job_manager::{COMPONENT, OPTIONS_FILE};
use super::service::{
    Artifact, Component, ComponentConfiguration, ConfigFile, ReadinessCheck, Resource, Service,
};

/// Ports are drawn from here on, below those that Linux gives to connections.
const FIRST_PORT: u16 = 20_000;

/// How many pairs of ports there are.
const PORT_PAIRS: u64 = 6_000;

/// The longest name of a service with the registry's DNS, without what is drawn.
const MAX_NAME: usize = 50;

/// The file with the token of REST, below `conf`.
const TOKEN_FILE: &str = "rest-token";

/// What an upload has beside the program, in bytes.
const UPLOAD_MARGIN: u64 = 1 << 20;

/// Options of the client, which mean nothing to a container or other things.
const OF_THE_CLIENT: [&str; 7] = [
    "yarn.",
    "env.",
    "rest.address",
    "rest.bind-port",
    "web.port",
    "jobmanager.rpc.address",
    "taskmanager.host",
];

/// Describes the cluster that runs `program`.
pub(crate) fn service(configuration: &Configuration, program: &Path) -> Result<Service, Failure> {
    let drawn = FIRST_PORT + 2 * (random::bits() % PORT_PAIRS) as u16;
    let port =
        |given: bool, value: u16, drawn: u16| if given && value != 0 { value } else { drawn };
    let ports = Ports {
        rest: port(
            configuration.contains(&options::REST_PORT),
            configuration.get(&options::REST_PORT)?,
            drawn,
        ),
        rpc: port(
            configuration.contains(&options::JOB_MANAGER_RPC_PORT),
            configuration.get(&options::JOB_MANAGER_RPC_PORT)?,
            drawn + 1,
        ),
    };
    let mut service = Service {
        name: name(configuration, program)?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: Some(format!("Millpond: {}", program.display())),
        queue: configuration.get(&options::YARN_APPLICATION_QUEUE)?,
        components: vec![
            job_manager(configuration, program, ports)?,
            task_manager(configuration, ports)?,
        ],
        ..Service::default()
    };
    let properties = &mut service.configuration.properties;
    properties.insert(
        "yarn.service.readiness-check-interval.seconds".to_owned(),
        json!("1"),
    );
    Ok(service)
}

#[derive(Clone, Copy)]
struct Ports {
    rest: u16,
    rpc: u16,
}

/// A name that is free: services that have ended keep theirs until they are destroyed.
fn name(configuration: &Configuration, program: &Path) -> Result<String, Failure> {
    let given = configuration.get(&options::YARN_APPLICATION_NAME)?;
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    let text = given.unwrap_or_else(|| stem.into_owned()).to_lowercase();
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let words: Vec<&str> = text
        .split(|letter| !allowed(letter))
        .filter(|word| !word.is_empty())
        .collect();
    let mut name = words.join("-");
    if !name.starts_with(|letter: char| letter.is_ascii_lowercase()) {
        name.insert_str(0, "millpond-");
    }
    name.truncate(MAX_NAME);
    Ok(format!("{}-{}", name.trim_end_matches('-'), random::hex(3)))
}

fn job_manager(
    configuration: &Configuration,
    program: &Path,
    ports: Ports,
) -> Result<Component, Failure> {
    let mut own = of_containers(configuration);
    own.set_option(&options::REST_PORT, &ports.rest);
    own.set_option(&options::JOB_MANAGER_RPC_PORT, &ports.rpc);
    own.set_option(&options::REST_BIND_ADDRESS, &"0.0.0.0".to_owned());
    own.set_option(&options::JOB_MANAGER_BIND_HOST, &"0.0.0.0".to_owned());
    own.set_option(&options::CLUSTER_ENDS_WITH_JOB, &true);
    // Who may speak to YARN as this user can run programs anyway.
    if !own.contains(&options::WEB_SUBMIT_ENABLE) {
        own.set_option(&options::WEB_SUBMIT_ENABLE, &true);
    }
    let length = std::fs::metadata(program).map_or(0, |metadata| metadata.len()) + UPLOAD_MARGIN;
    let most = own.get(&options::MAX_CONTENT_LENGTH)?;
    let most = most.max(u32::try_from(length).unwrap_or(u32::MAX));
    own.set_option(&options::MAX_CONTENT_LENGTH, &most);
    let mut files = Vec::new();
    if let Some(token) = Token::from_configuration(configuration)? {
        own.set_option(
            &options::REST_TOKEN_FILE,
            &Some(format!("conf/{TOKEN_FILE}")),
        );
        files.push(ConfigFile {
            kind: "TEMPLATE".to_owned(),
            dest_file: TOKEN_FILE.to_owned(),
            properties: [("content".to_owned(), json!(token.secret()))].into(),
            ..ConfigFile::default()
        });
    }
    files.insert(0, options_file(&own));
    let mut component = component(configuration, COMPONENT, "jobmanager.rpc.address", files)?;
    component.number_of_containers = 1;
    component.resource = Resource {
        cpus: configuration.get(&options::YARN_JOB_MANAGER_VCORES)?,
        memory: mebibytes(configuration.get(&options::JOB_MANAGER_MEMORY)?),
    };
    component.readiness_check = Some(ReadinessCheck {
        kind: "PORT".to_owned(),
        properties: [("port".to_owned(), json!(ports.rest.to_string()))].into(),
    });
    // It ends with its job, and the service with it; Hadoop 3.3, class `YarnServiceConstants`.
    component.restart_policy = Some("NEVER".to_owned());
    let properties = &mut component.configuration.properties;
    let key = "yarn.service.container-state-report-as-service-state";
    properties.insert(key.to_owned(), json!("true"));
    Ok(component)
}

fn task_manager(configuration: &Configuration, ports: Ports) -> Result<Component, Failure> {
    let slots = configuration.get(&options::TASK_SLOTS)?;
    if slots == 0 {
        let key = options::TASK_SLOTS.key();
        return Err(Failure::arguments(format!(
            "{key} is 0, expected at least 1"
        )));
    }
    let mut own = of_containers(configuration);
    // The framework puts the address in its place.
    let job_manager = format!("${{{}-0_IP}}", COMPONENT.to_uppercase());
    own.set_option(&options::JOB_MANAGER_RPC_ADDRESS, &job_manager);
    own.set_option(&options::JOB_MANAGER_RPC_PORT, &ports.rpc);
    own.set_option(&options::TASK_MANAGER_BIND_HOST, &"0.0.0.0".to_owned());
    // It serves no REST.
    own.remove(options::REST_TOKEN_FILE.key());
    let files = vec![options_file(&own)];
    let mut component = component(configuration, "taskmanager", "taskmanager.host", files)?;
    let parallelism = configuration.get(&options::PARALLELISM)?;
    component.number_of_containers = parallelism.div_ceil(slots).max(1).into();
    component.dependencies = vec![COMPONENT.to_owned()];
    let vcores = configuration.get(&options::YARN_TASK_MANAGER_VCORES)?;
    component.resource = Resource {
        cpus: u32::try_from(vcores)
            .ok()
            .filter(|cores| *cores > 0)
            .unwrap_or(slots),
        memory: mebibytes(configuration.get(&options::TASK_MANAGER_MEMORY)?),
    };
    Ok(component)
}

/// What both have in common; `host` is the option that tells a container's own address.
fn component(
    configuration: &Configuration,
    name: &str,
    host: &str,
    mut files: Vec<ConfigFile>,
) -> Result<Component, Failure> {
    let artifact = configuration
        .get(&options::YARN_CONTAINER_IMAGE)?
        .map(|id| Artifact {
            id,
            kind: "DOCKER".to_owned(),
        });
    let executable = match configuration.get(&options::YARN_PROVIDED_LIB_DIRS)? {
        Some(several) if several.contains([';', ',']) => {
            let key = options::YARN_PROVIDED_LIB_DIRS.key();
            return Err(Failure::arguments(format!(
                "{key} is \"{several}\", expected one directory, that of the executable millpond"
            )));
        }
        Some(directory) => {
            files.push(ConfigFile {
                kind: "STATIC".to_owned(),
                dest_file: "millpond".to_owned(),
                src_file: Some(format!("{}/millpond", directory.trim_end_matches('/'))),
                ..ConfigFile::default()
            });
            "resources/millpond"
        }
        None => "millpond",
    };
    // NM_HOST and LOCAL_DIRS are set by the NodeManager.
    let address = match artifact {
        Some(_) => "$(hostname -i)",
        None => "$NM_HOST",
    };
    let mut launch_command = format!("{executable} {name} -D {host}={address}");
    if !configuration.contains(&options::TMP_DIRS) {
        launch_command.push_str(&format!(" -D {}=$LOCAL_DIRS", options::TMP_DIRS.key()));
    }
    Ok(Component {
        name: name.to_owned(),
        launch_command,
        artifact,
        configuration: ComponentConfiguration {
            env: [("MILLPOND_CONF_DIR".to_owned(), json!("conf"))].into(),
            files,
            ..ComponentConfiguration::default()
        },
        ..Component::default()
    })
}

/// The options that containers get, without those of the client.
fn of_containers(configuration: &Configuration) -> Configuration {
    let kept = configuration.iter().filter(|(key, _)| {
        !OF_THE_CLIENT
            .iter()
            .any(|other| match other.ends_with('.') {
                true => key.starts_with(other),
                false => key == other,
            })
    });
    Configuration::from_pairs(kept)
}

fn options_file(configuration: &Configuration) -> ConfigFile {
    let pairs = configuration.iter();
    ConfigFile {
        kind: "YAML".to_owned(),
        dest_file: OPTIONS_FILE.to_owned(),
        properties: pairs
            .map(|(key, value)| (key.to_owned(), Value::from(value)))
            .collect(),
        ..ConfigFile::default()
    }
}

fn mebibytes(size: MemorySize) -> String {
    size.bytes().div_ceil(1 << 20).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(pairs: &[(&str, &str)]) -> Service {
        let configuration = Configuration::from_pairs(pairs.iter().copied());
        service(&configuration, Path::new("/jobs/Keyed_Count.v2")).expect("a service")
    }

    fn option<'a>(component: &'a Component, key: &str) -> Option<&'a str> {
        let files = component.configuration.files.iter();
        let mut options = files.filter(|file| file.dest_file == OPTIONS_FILE);
        options.next()?.properties.get(key)?.as_str()
    }

    #[test]
    fn parallelism_and_slots_say_how_many_containers_there_are() {
        for (parallelism, slots, containers) in
            [("1", "1", 1), ("5", "2", 3), ("4", "4", 1), ("2", "8", 1)]
        {
            let service = described(&[
                ("parallelism.default", parallelism),
                ("taskmanager.numberOfTaskSlots", slots),
            ]);
            assert_eq!(service.components[1].number_of_containers, containers);
            let cores: u32 = slots.parse().expect("a number");
            assert_eq!(service.components[1].resource.cpus, cores);
        }
    }

    #[test]
    fn both_components_know_the_same_ports_and_those_are_drawn_unless_given() {
        let service = described(&[]);
        let [manager, worker] = &service.components[..] else {
            panic!("two components");
        };
        let port = option(manager, "jobmanager.rpc.port").expect("a port");
        assert_eq!(option(worker, "jobmanager.rpc.port"), Some(port));
        assert_ne!(option(manager, "rest.port"), Some(port));
        assert_eq!(
            option(worker, "jobmanager.rpc.address"),
            Some("${JOBMANAGER-0_IP}")
        );
        let given = described(&[("rest.port", "9000"), ("jobmanager.rpc.port", "0")]);
        assert_eq!(option(&given.components[0], "rest.port"), Some("9000"));
        assert_ne!(
            option(&given.components[0], "jobmanager.rpc.port"),
            Some("0")
        );
    }

    #[test]
    fn what_is_the_clients_stays_with_it_and_the_rest_is_handed_on() {
        let service = described(&[
            ("yarn.application.queue", "prod"),
            ("yarn.resourcemanager.webapp.address", "rm:1"),
            ("rest.address", "here"),
            ("my.own", "a \"quoted\" $value"),
            ("jobmanager.memory.process.size", "1 gb"),
        ]);
        assert_eq!(service.queue.as_deref(), Some("prod"));
        assert_eq!(service.components[0].resource.memory, "1024");
        for component in &service.components {
            assert_eq!(option(component, "my.own"), Some("a \"quoted\" $value"));
            assert!(!component.launch_command.contains("quoted"));
            for absent in [
                "yarn.application.queue",
                "yarn.resourcemanager.webapp.address",
                "rest.address",
            ] {
                assert_eq!(option(component, absent), None);
            }
        }
    }

    #[test]
    fn a_name_is_one_of_the_registry_and_new_each_time() {
        let named = |name: &str| described(&[("yarn.application.name", name)]).name;
        assert!(
            described(&[]).name.starts_with("keyed-count-"),
            "the program's"
        );
        assert_ne!(described(&[]).name, described(&[]).name);
        assert!(named("Fraud Detection (prod)").starts_with("fraud-detection-prod-"));
        assert!(named("2026").starts_with("millpond-2026-"));
        assert!(named("").starts_with("millpond-"));
        let long = named(&"long name ".repeat(20));
        assert!(long.len() <= 63 && !long.contains("--"), "{long}");
    }

    #[test]
    fn the_executable_is_installed_or_in_an_image_or_on_the_clusters_file_system() {
        let plain = described(&[]);
        let command =
            "millpond jobmanager -D jobmanager.rpc.address=$NM_HOST -D io.tmp.dirs=$LOCAL_DIRS";
        assert_eq!(plain.components[0].launch_command, command);
        let image = described(&[
            ("yarn.container.image", "millpond:0.1"),
            ("io.tmp.dirs", "/tmp"),
        ]);
        let command = "millpond taskmanager -D taskmanager.host=$(hostname -i)";
        assert_eq!(image.components[1].launch_command, command);
        assert!(image.components[1].is_docker());
        let copied = described(&[("yarn.provided.lib.dirs", "hdfs:///apps/millpond/")]);
        let command = &copied.components[0].launch_command;
        assert!(
            command.starts_with("resources/millpond jobmanager "),
            "{command}"
        );
        let files = &copied.components[0].configuration.files;
        let source = files.iter().find_map(|file| file.src_file.as_deref());
        assert_eq!(source, Some("hdfs:///apps/millpond/millpond"));
    }
}

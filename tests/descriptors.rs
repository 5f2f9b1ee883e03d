//! What lies in `deploy/` says nothing that the command does not know: actions, options and their values,
//! ports; and Kubernetes' own schema accepts its part.

use std::path::{Path, PathBuf};
use std::process::Command;

use millpond_types::config::Configuration;
use serde::Deserialize;
use serde_yaml_ng::Value;

/// The oldest and the newest version of Kubernetes whose schema is asked.
const KUBERNETES: [&str; 2] = ["1.29.0", "1.37.0"];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// The files of a directory with this ending; there is at least one.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(deploy().join(directory)).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    assert!(!files.is_empty(), "{directory}");
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

/// Checks that these are options of Millpond, with values that they can have.
fn check_options(place: &str, options: &Configuration) {
    assert_eq!(
        options.unknown_keys().len(),
        0,
        "{place}: {:?}",
        options.unknown_keys()
    );
    options
        .check()
        .unwrap_or_else(|error| panic!("{place}: {error}"));
}

/// Checks a command line: that the command has the action, and what stands behind `-D`.
fn check_command(place: &str, words: &[String]) {
    let (program, rest) = words.split_first().expect("a command");
    let program = program.rsplit('/').next().unwrap_or_default();
    let action = match program {
        "millpond" => rest.first().expect("an action").as_str(),
        // deploy/job.sh
        "millpond-job" => "run",
        other => panic!("{place}: {other} is no command of Millpond"),
    };
    let help = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args([action, "--help"])
        .output()
        .expect("starts");
    assert!(help.status.success(), "{place}: {action}");
    let mut options = Configuration::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        if let Some(pair) = word.strip_prefix("-D") {
            let pair = if pair.is_empty() {
                words.next().expect("a pair")
            } else {
                pair
            };
            options.parse_dynamic(pair).expect("key=value");
        }
    }
    check_options(place, &options);
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Every document of the descriptors for Kubernetes, and the file that it is in.
fn documents() -> Vec<(String, Value)> {
    let mut documents = Vec::new();
    for path in files("kubernetes", "yaml") {
        for document in serde_yaml_ng::Deserializer::from_str(&read(&path)) {
            let value = Value::deserialize(document).expect("YAML");
            documents.push((path.display().to_string(), value));
        }
    }
    documents
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {value:?}"))
}

#[test]
fn descriptors_for_kubernetes_have_options_and_actions_that_there_are() {
    let (mut commands, mut configurations) = (0, 0);
    for (place, document) in documents() {
        if let Some(file) = document["data"]["config.yaml"].as_str() {
            let pairs: std::collections::BTreeMap<String, Value> =
                serde_yaml_ng::from_str(file).expect("flat keys");
            let pairs = pairs.into_iter().map(|(key, value)| {
                let text = serde_yaml_ng::to_string(&value).expect("a scalar");
                (key, text.trim().to_owned())
            });
            check_options(&place, &Configuration::from_pairs(pairs));
            configurations += 1;
        }
        let containers = document["spec"]["template"]["spec"]["containers"].as_sequence();
        for container in containers.into_iter().flatten() {
            let arguments = container["args"].as_sequence().expect("arguments").iter();
            let arguments = arguments.map(|word| word.as_str().expect("text").to_owned());
            check_command(&place, &arguments.collect::<Vec<_>>());
            commands += 1;
        }
    }
    assert_eq!((commands, configurations), (5, 2));
}

#[test]
fn descriptors_for_kubernetes_name_volumes_claims_and_labels_that_there_are() {
    let documents = documents();
    let named = |kind: &str, name: &str| {
        let mut all = documents.iter();
        all.any(|(_, other)| {
            text(other, "kind") == kind && text(&other["metadata"], "name") == name
        })
    };
    for (place, document) in &documents {
        let spec = &document["spec"];
        let pod = &spec["template"]["spec"];
        let of = |list: &Value| list.as_sequence().cloned().unwrap_or_default();
        let mut volumes: Vec<String> = Vec::new();
        for volume in of(&pod["volumes"]) {
            volumes.push(text(&volume, "name").to_owned());
            if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                assert!(named("PersistentVolumeClaim", claim), "{place}: {claim}");
            }
            if let Some(map) = volume["configMap"]["name"].as_str() {
                assert!(named("ConfigMap", map), "{place}: {map}");
            }
        }
        for template in of(&spec["volumeClaimTemplates"]) {
            volumes.push(text(&template["metadata"], "name").to_owned());
        }
        for container in of(&pod["containers"]) {
            for mount in of(&container["volumeMounts"]) {
                let name = text(&mount, "name").to_owned();
                assert!(volumes.contains(&name), "{place}: {name}");
            }
        }
        if let Some(service) = spec["serviceName"].as_str() {
            assert!(named("Service", service), "{place}: {service}");
            let labels = &spec["template"]["metadata"]["labels"];
            assert_eq!(&spec["selector"]["matchLabels"], labels, "{place}");
            let mut all = documents.iter().map(|(_, other)| other);
            let selected = all.any(|other| &other["spec"]["selector"] == labels);
            assert!(selected, "{place}: a service selects {labels:?}");
        }
    }
}

/// The verbs that a service account has on a Lease of this name, and on those of any name.
fn verbs(documents: &[(String, Value)], account: &str, lease: &str) -> Vec<String> {
    let of = |list: &Value| list.as_sequence().cloned().unwrap_or_default();
    let kinds = |kind: &'static str| {
        let all = documents.iter().map(|(_, document)| document);
        all.filter(move |document| text(document, "kind") == kind)
    };
    let mut verbs = Vec::new();
    for binding in kinds("RoleBinding") {
        let is_bound = of(&binding["subjects"]).iter().any(|subject| {
            text(subject, "kind") == "ServiceAccount" && text(subject, "name") == account
        });
        let role = text(&binding["roleRef"], "name");
        let mut roles = kinds("Role").filter(|found| text(&found["metadata"], "name") == role);
        let role = roles.next().expect("a role that there is");
        for rule in of(&role["rules"]).iter().filter(|_| is_bound) {
            let names = of(&rule["resourceNames"]);
            let is_for = names.is_empty() || names.iter().any(|name| name == lease);
            assert_eq!(of(&rule["apiGroups"]), ["coordination.k8s.io"]);
            assert_eq!(of(&rule["resources"]), ["leases"]);
            let named = of(&rule["verbs"]);
            let named = named.iter().map(|verb| verb.as_str().expect("text"));
            verbs.extend(named.filter(|_| is_for).map(str::to_owned));
        }
    }
    verbs.sort();
    verbs
}

/// The options of the config map that is mounted in a pod, if one is.
fn options_of(documents: &[(String, Value)], pod: &Value) -> Option<Value> {
    let volumes = pod["volumes"].as_sequence().cloned().unwrap_or_default();
    let map = volumes
        .iter()
        .find_map(|volume| volume["configMap"]["name"].as_str())?;
    let mut all = documents.iter().map(|(_, document)| document);
    let map = all.find(|document| {
        text(document, "kind") == "ConfigMap" && text(&document["metadata"], "name") == map
    });
    let options = text(&map.expect("a config map")["data"], "config.yaml");
    Some(serde_yaml_ng::from_str(options).expect("YAML"))
}

/// What the leader and those who follow ask of the API server.
#[test]
fn pods_of_kubernetes_may_do_with_the_lease_what_they_do_and_nothing_else() {
    let documents = documents();
    let mut actions = Vec::new();
    for (place, document) in &documents {
        let pod = &document["spec"]["template"]["spec"];
        let Some(options) = options_of(&documents, pod) else {
            continue;
        };
        assert_eq!(options["high-availability.type"], "kubernetes", "{place}");
        let lease = format!("{}-leader", text(&options, "kubernetes.cluster-id"));
        let arguments = pod["containers"][0]["args"].as_sequence();
        let arguments = arguments.expect("arguments");
        let action = arguments[1].as_str().expect("an action");
        let expected: &[&str] = match action {
            "taskmanager" => &["get"],
            _ => &["create", "get", "update"],
        };
        let place = format!("{place}, {action}");
        assert!(pod["automountServiceAccountToken"].is_null(), "{place}");
        let account = text(pod, "serviceAccountName");
        let mut accounts = documents.iter().map(|(_, document)| document);
        assert!(accounts.any(|document| {
            text(document, "kind") == "ServiceAccount"
                && text(&document["metadata"], "name") == account
        }));
        assert_eq!(verbs(&documents, account, &lease), expected, "{place}");
        let namespace = "-Dkubernetes.namespace=$(POD_NAMESPACE)";
        assert!(arguments.iter().any(|word| word == namespace), "{place}");
        actions.push(action.to_owned());
    }
    actions.sort();
    let expected = ["jobmanager", "standalone-job", "taskmanager", "taskmanager"];
    assert_eq!(actions, expected);
}

/// What a job manager for one job says of a job that has failed is what ends its Kubernetes `Job`.
#[test]
fn a_kubernetes_job_ends_by_the_exit_code_of_a_job_that_failed() {
    let documents = documents();
    let mut all = documents.iter().map(|(_, document)| document);
    let found = all.find(|document| {
        let arguments = &document["spec"]["template"]["spec"]["containers"][0]["args"];
        arguments[1] == "standalone-job"
    });
    let rule = &found.expect("one")["spec"]["podFailurePolicy"]["rules"][0];
    assert_eq!(rule["action"], "FailJob");
    // `tests/cli/application.rs` has it of a real one.
    assert_eq!(rule["onExitCodes"]["values"][0], 163);
}

/// Skipped without Python's `kubernetes-validate`, which `./test` installs.
#[test]
fn kubernetes_accepts_its_descriptors() {
    let python = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command
            .args(["-m", "kubernetes_validate", "--strict"])
            .args(arguments);
        command.output()
    };
    if !python(&["--version"]).is_ok_and(|output| output.status.success()) {
        millpond_exactness::skip::skip(
            "descriptors of Kubernetes by its schema",
            "no kubernetes-validate",
        );
        return;
    }
    let accepts = |version: &str, path: &Path| {
        let path = path.display().to_string();
        let output = python(&["-k", version, &path]).expect("it has started before");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    for path in files("kubernetes", "yaml") {
        for version in KUBERNETES {
            let (accepted, told) = accepts(version, &path);
            assert!(accepted, "{version}: {told}");
        }
    }
    // It does look.
    let directory = tempfile::tempdir().expect("room");
    let wrong = directory.path().join("wrong.yaml");
    let text = read(&deploy().join("kubernetes/taskmanager.yaml"));
    std::fs::write(&wrong, text.replace("serviceName:", "servicename:")).expect("room");
    assert!(
        !accepts(KUBERNETES[1], &wrong).0,
        "a field that there is not"
    );
}

#[test]
fn the_service_of_yarn_has_options_and_actions_that_there_are() {
    for path in files("yarn", "json") {
        let place = path.display().to_string();
        let service: serde_json::Value = serde_json::from_str(&read(&path)).expect("JSON");
        let components = service["components"].as_array().expect("components");
        assert_eq!(components.len(), 2);
        for component in components {
            check_command(
                &place,
                &words(component["launch_command"].as_str().expect("text")),
            );
            let files = component["configuration"]["files"]
                .as_array()
                .expect("files");
            let mut files = files.iter();
            let file = files
                .find(|file| file["dest_file"] == "config.yaml")
                .expect("options");
            let pairs = file["properties"].as_object().expect("a map").iter();
            let pairs = pairs.map(|(key, value)| (key.as_str(), value.as_str().expect("text")));
            let options = Configuration::from_pairs(pairs);
            check_options(&place, &options);
            let checked = component["readiness_check"]["properties"]["port"].as_str();
            assert_eq!(checked, options.raw("rest.port"), "{place}");
        }
    }
}

#[test]
fn units_of_systemd_start_actions_that_there_are() {
    for path in files("systemd", "service") {
        let place = path.display().to_string();
        let unit = read(&path);
        let mut lines = unit.lines();
        let line = lines
            .find_map(|line| line.strip_prefix("ExecStart="))
            .expect("a command");
        check_command(&place, &words(line));
    }
}

#[test]
fn the_image_has_what_descriptors_start() {
    let recipe = read(&deploy().join("Dockerfile"));
    let build = "cargo build --release --locked -p millpond-cli";
    assert!(recipe.contains(build));
    for made in [
        "/millpond/target/release/millpond /usr/local/bin/",
        "deploy/job.sh /usr/local/bin/millpond-job",
    ] {
        assert!(recipe.contains(made), "{made}");
    }
    let toml = read(&deploy().join("../Cargo.toml"));
    let version = toml
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .expect("one");
    let base = format!("FROM rust:{}-", version.trim_matches('"'));
    assert!(recipe.contains(&base), "{base}");
}

//! The command against a cluster that asks who comes: token and certificates, by options, `config.yaml` and
//! environment.

use std::path::Path;
use std::sync::Arc;

use millpond_certificates::Authority;
use millpond_job::JobStatus;
use millpond_rest::fake::FakeDispatcher;
use millpond_rest::{RestOptions, RestServer, serve};
use millpond_types::config::Configuration;

use super::{Ended, JOB, command};

const TOKEN: &str = "security.rest.token-file";

struct Place {
    directory: tempfile::TempDir,
    ours: Authority,
    options: Vec<(String, String)>,
}

/// What a server by TLS with a token is told, and what a client may be told.
fn place() -> Place {
    let directory = tempfile::tempdir().expect("room");
    let ours = Authority::new(&directory.path().join("ours"));
    ours.sign("all");
    let token = directory.path().join("token");
    std::fs::write(&token, "s3cret").expect("room");
    let mut options = ours.options("security.ssl", "all");
    options.push(("security.ssl.rest.enabled".to_owned(), "true".to_owned()));
    options.push((
        "security.ssl.rest.authentication-enabled".to_owned(),
        "true".to_owned(),
    ));
    options.push((TOKEN.to_owned(), token.display().to_string()));
    Place {
        directory,
        ours,
        options,
    }
}

fn serving(options: &[(String, String)]) -> RestServer {
    let dispatcher = FakeDispatcher::new();
    dispatcher.put_job(JOB, "KeyedCount-1000", JobStatus::Running);
    let configuration = Configuration::from_pairs(options.to_vec());
    let options = RestOptions::from_configuration(&configuration).expect("options");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    serve(listener, Arc::new(dispatcher), options).expect("serves")
}

fn list(
    server: &RestServer,
    directory: &Path,
    options: &[(String, String)],
    headers: &str,
) -> Ended {
    let address = server.local_addr().to_string();
    let mut arguments = vec!["list".to_owned(), "-m".to_owned(), address];
    arguments.extend(
        options
            .iter()
            .map(|(key, value)| format!("-D{key}={value}")),
    );
    arguments.push("-Drest.retry.max-attempts=1".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = command(&arguments);
    command
        .env("MILLPOND_CONF_DIR", directory)
        .env("FLINK_REST_CLIENT_HEADERS", headers);
    command.output().expect("starts").into()
}

#[track_caller]
fn lists(ended: &Ended) {
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (0, ""),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("KeyedCount-1000"), "{}", ended.stdout);
}

#[test]
fn the_command_shows_its_certificate_and_its_token() {
    let place = place();
    let directory = place.directory.path();
    let server = serving(&place.options);
    lists(&list(&server, directory, &place.options, ""));
    let without = |key: &str| -> Vec<(String, String)> {
        let all = place.options.iter().filter(|(name, _)| name != key);
        all.cloned().collect()
    };
    // Each thing that is missing is told.
    list(&server, directory, &without(TOKEN), "").failed(&["asks for a token"]);
    lists(&list(
        &server,
        directory,
        &without(TOKEN),
        "Authorization:Bearer s3cret\nX-Other: 1",
    ));
    list(
        &server,
        directory,
        &without(TOKEN),
        "Authorization:Bearer x",
    )
    .failed(&["is not that of"]);
    list(
        &server,
        directory,
        &without("security.ssl.rest.authentication-enabled"),
        "",
    )
    .failed(&["no answer from https://127.0.0.1"]);
    list(
        &server,
        directory,
        &without("security.ssl.rest.enabled"),
        "",
    )
    .failed(&["no answer from http://127.0.0.1"]);
    // A server that nobody believes.
    let others = Authority::new(&directory.join("others"));
    let mut strange = place.options.clone();
    let ca = others.directory().join("ca.pem").display().to_string();
    strange.push(("security.ssl.trusted-certificates".to_owned(), ca));
    list(&server, directory, &strange, "").failed(&["UnknownIssuer"]);
    let missing = [(TOKEN.to_owned(), "/nowhere/token".to_owned())];
    let ended = list(&server, directory, &missing, "");
    assert_eq!(ended.code, 1);
    assert!(
        ended.stdout.contains("/nowhere/token") || ended.stdout.contains(TOKEN),
        "{}",
        ended.stdout
    );
    // All of it in the file of the configuration.
    let line = |(key, value): &(String, String)| format!("{key}: {value}\n");
    let file: String = place.options.iter().map(line).collect();
    std::fs::write(directory.join("config.yaml"), file).expect("room");
    lists(&list(&server, directory, &[], ""));
    assert!(place.ours.directory().exists());
}

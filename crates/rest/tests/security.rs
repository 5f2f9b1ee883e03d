//! REST with a token, and by TLS: who gets an answer, and what the others get.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use millpond_certificates::Authority;
use millpond_rest::fake::FakeDispatcher;
use millpond_rest::{RestOptions, RestServer, serve};
use millpond_security::crypto_provider;
use millpond_types::config::Configuration;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

fn server(pairs: Vec<(String, String)>) -> RestServer {
    let configuration = Configuration::from_pairs(pairs);
    let options = RestOptions::from_configuration(&configuration).expect("options");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    serve(listener, Arc::new(FakeDispatcher::new()), options).expect("serves")
}

fn pair(key: &str, value: impl ToString) -> (String, String) {
    (key.to_owned(), value.to_string())
}

/// A client that believes `trusts`, and shows what `shows` has signed under that name.
fn client(trusts: &Authority, shows: Option<(&Authority, &str)>) -> ureq::Agent {
    let read = |authority: &Authority, name: String| {
        std::fs::read(authority.directory().join(name)).expect("it was made")
    };
    let certificate = |authority: &Authority, name: String| {
        Certificate::from_pem(&read(authority, name)).expect("a certificate")
    };
    let identity = shows.map(|(authority, name)| {
        let key = read(authority, format!("{name}.key"));
        ClientCert::new_with_certs(
            &[certificate(authority, format!("{name}.pem"))],
            PrivateKey::from_pem(&key).expect("a key"),
        )
    });
    let roots = RootCerts::new_with_certs(&[certificate(trusts, "ca.pem".to_owned())]);
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(crypto_provider())
        .root_certs(roots)
        .client_cert(identity)
        .build();
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.tls_config(tls).build().into()
}

#[test]
fn without_the_token_nothing_is_answered_and_with_it_everything() {
    let place = tempfile::tempdir().expect("room");
    let file = place.path().join("token");
    std::fs::write(&file, "s3cret\n").expect("room");
    let server = server(vec![pair("security.rest.token-file", file.display())]);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let ask = |path: &str, header: Option<&str>| {
        let request = agent.get(format!("{}{path}", server.url()));
        match header {
            Some(header) => request.header("authorization", header).call(),
            None => request.call(),
        }
        .expect("an answer")
    };
    assert_eq!(ask("/overview", Some("Bearer s3cret")).status(), 200);
    assert_eq!(ask("/v1/nowhere", Some("Bearer s3cret")).status(), 404);
    for path in [
        "/overview",
        "/v1/jobs/overview",
        "/jobmanager/config",
        "/nowhere",
        "/jars/upload",
    ] {
        for header in [
            None,
            Some("Bearer s3cre"),
            Some("Bearer s3cretx"),
            Some("Basic s3cret"),
            Some(""),
        ] {
            let mut answer = ask(path, header);
            assert_eq!(answer.status(), 401, "{path} {header:?}");
            let challenge = answer.headers()["www-authenticate"]
                .to_str()
                .expect("text")
                .to_owned();
            assert!(
                challenge.starts_with("Bearer realm=\"millpond\""),
                "{challenge}"
            );
            assert_eq!(
                challenge.contains("invalid_token"),
                header.is_some(),
                "{challenge}"
            );
            let body = answer.body_mut().read_to_string().expect("text");
            let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let why = body["errors"][0].as_str().expect("Flink's shape");
            assert!(
                why.contains("security.rest.token-file") && !why.contains("s3cret"),
                "{why}"
            );
        }
    }
    let both = agent.get(format!("{}/overview", server.url()));
    let both = both
        .header("authorization", "Bearer x")
        .header("authorization", "Bearer s3cret");
    assert_eq!(both.call().expect("an answer").status(), 401);
    let refused = agent
        .patch(format!("{}/jobs/{}", server.url(), "0".repeat(32)))
        .send("");
    assert_eq!(refused.expect("an answer").status(), 401);
}

#[test]
fn by_tls_a_client_verifies_the_name_of_the_server() {
    let place = tempfile::tempdir().expect("room");
    let ours = Authority::new(&place.path().join("ours"));
    let others = Authority::new(&place.path().join("others"));
    ours.sign("server");
    ours.sign_for("elsewhere", &["elsewhere.example"]);
    let with = |name: &str| {
        let mut pairs = ours.options("security.ssl.rest", name);
        pairs.push(pair("security.ssl.rest.enabled", true));
        server(pairs)
    };
    let right = with("server");
    assert!(
        right.url().starts_with("https://127.0.0.1:"),
        "{}",
        right.url()
    );
    let url = format!("{}/overview", right.url());
    let believer = client(&ours, None);
    assert_eq!(believer.get(&url).call().expect("an answer").status(), 200);
    let why = client(&others, None)
        .get(&url)
        .call()
        .expect_err("a stranger")
        .to_string();
    assert!(why.contains("UnknownIssuer"), "{why}");
    let elsewhere = with("elsewhere");
    let wrong = format!("{}/overview", elsewhere.url());
    let why = believer
        .get(wrong)
        .call()
        .expect_err("another name")
        .to_string();
    assert!(why.contains("not valid for name"), "{why}");
    // What is no TLS costs one connection; an idle one holds up nobody.
    let idle = TcpStream::connect(right.local_addr()).expect("it listens");
    for bytes in [&b"GET /overview HTTP/1.1\r\n\r\n"[..], &[0xff; 5000], &[]] {
        let mut stream = TcpStream::connect(right.local_addr()).expect("it listens");
        // It may have had enough.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert_eq!(believer.get(&url).call().expect("an answer").status(), 200);
    drop(idle);
    right.shutdown();
}

#[test]
fn clients_have_to_show_a_certificate_where_that_is_wanted() {
    let place = tempfile::tempdir().expect("room");
    let ours = Authority::new(&place.path().join("ours"));
    let others = Authority::new(&place.path().join("others"));
    ours.sign("server");
    ours.sign("client");
    others.sign("client");
    let mut pairs = ours.options("security.ssl", "server");
    pairs.push(pair("security.ssl.rest.enabled", true));
    pairs.push(pair("security.ssl.rest.authentication-enabled", true));
    let server = server(pairs);
    let url = format!("{}/overview", server.url());
    let known = client(&ours, Some((&ours, "client")));
    assert_eq!(known.get(&url).call().expect("an answer").status(), 200);
    for (shows, alert) in [
        (None, "CertificateRequired"),
        (Some((&others, "client")), "UnknownCA"),
    ] {
        let why = client(&ours, shows)
            .get(&url)
            .call()
            .expect_err("refused")
            .to_string();
        // The connection may be gone before the reason has come.
        assert!(
            why.contains(alert) || why.contains("reset") || why.contains("Broken pipe"),
            "{why}"
        );
    }
    assert_eq!(known.get(&url).call().expect("an answer").status(), 200);
}

//! A request that is damaged is answered or its connection closed; the server goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use millpond_damage::{Damage, peak_memory_mib};
use millpond_job::JobStatus;
use millpond_rest::fake::FakeDispatcher;
use millpond_rest::{RestOptions, RestServer, serve};
use millpond_types::JobId;

const JOB: JobId = JobId([0x85; 16]);

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    (head + body).into_bytes()
}

fn connect(server: &RestServer) -> TcpStream {
    let stream = TcpStream::connect(server.local_addr()).expect("listens");
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).expect("a time");
    stream
}

/// Sends the bytes and no more; returns the answer, which may be empty: the server may close the connection as soon
/// as it hears that nothing more comes.
fn ask(server: &RestServer, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    // The server may have refused the rest already.
    stream.write_all(bytes).ok();
    stream.shutdown(Shutdown::Write).ok();
    answer(stream)
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no end of the answer: {error}"),
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn damaged_requests_are_answered_and_the_server_goes_on() {
    let dispatcher = Arc::new(FakeDispatcher::new());
    dispatcher.put_job(JOB, "job", JobStatus::Running);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = serve(listener, dispatcher.clone(), RestOptions::default()).expect("serves");
    let savepoint = r#"{"target-directory":"/sp","cancel-job":false,"formatType":"NATIVE"}"#;
    let stop = r#"{"targetDirectory":"/sp","drain":false,"formatType":"CANONICAL"}"#;
    let bounds =
        r#"{"0da08f51eaa85fc298e176a139b3649a":{"parallelism":{"lowerBound":1,"upperBound":2}}}"#;
    let body = serde_json::from_str(bounds).expect("a body");
    let wanted = millpond_job::JobRequirements::try_from(&body).expect("an id");
    dispatcher.make_elastic(JOB, wanted);
    let corpus = [
        request("GET", &format!("/v1/jobs/{JOB}"), ""),
        request("GET", &format!("/jobs/{JOB}/checkpoints/details/3"), ""),
        request("POST", &format!("/jobs/{JOB}/savepoints"), savepoint),
        request("POST", &format!("/jobs/{JOB}/stop"), stop),
        request("PUT", &format!("/jobs/{JOB}/resource-requirements"), bounds),
        request(
            "PUT",
            &format!("/jobs/{JOB}/checkpoints/config"),
            r#"{"interval":5000}"#,
        ),
        request("POST", "/savepoint-disposal", r#"{"savepoint-path":"/sp"}"#),
        request("PATCH", &format!("/jobs/{JOB}?mode=cancel"), ""),
    ];
    let (mut answered, mut refused) = (0u64, 0u64);
    let total = Damage::seeded().search(&corpus, |_, bytes| {
        let answer = ask(&server, bytes);
        assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
        answered += u64::from(answer.starts_with("HTTP/1.1 "));
        refused += u64::from(answer.starts_with("HTTP/1.1 4"));
    });
    assert!(
        // A few say nothing about all.
        total < 100 || (answered * 4 > total && refused > 0),
        "{answered} of {total} answered, {refused} refused"
    );
    let mut stream = connect(&server);
    let whole = b"GET /overview HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(whole).expect("it listens");
    let answer = answer(stream);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(peak_memory_mib().is_none_or(|peak| peak < 512));
}

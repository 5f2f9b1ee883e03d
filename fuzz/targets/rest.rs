//! REST: what a client sends over a connection, as it came; paths, queries, heads and bodies.
//!
//! A server with one running job answers; every connection must be answered and end.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use millpond_fuzz::{seeds, within};
use millpond_job::JobStatus;
use millpond_rest::fake::FakeDispatcher;
use millpond_rest::{RestOptions, RestServer, serve};
use millpond_types::JobId;

const JOB: JobId = JobId([0x85; 16]);
/// The cluster remembers what it is asked for: after so many connections there is a new one.
const CONNECTIONS: u32 = 500;

fuzz_target!(
    init: seeds(|put| requests().into_iter().for_each(|request| put(request.into_bytes()))),
    |bytes: &[u8]| ask(bytes)
);

static SERVER: Mutex<Option<(RestServer, u32)>> = Mutex::new(None);

fn ask(request: &[u8]) {
    let mut server = SERVER.lock().expect("no panic before");
    if server.as_ref().is_none_or(|(_, left)| *left == 0) {
        *server = Some((start(), CONNECTIONS));
    }
    let (server, left) = server.as_mut().expect("started");
    *left -= 1;
    let address = server.local_addr();
    within(request.len(), || {
        let mut stream = TcpStream::connect(address).expect("listens");
        let wait = Some(Duration::from_secs(5));
        stream.set_read_timeout(wait).expect("a time");
        // The server may have refused the rest already.
        stream.write_all(request).ok();
        stream.shutdown(Shutdown::Write).ok();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            // It closed the connection with some of the request unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no answer: {error}"),
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 500"), "{text}");
    });
}

fn start() -> RestServer {
    let dispatcher = Arc::new(FakeDispatcher::new());
    dispatcher.put_job(JOB, "job", JobStatus::Running);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    serve(listener, dispatcher, RestOptions::default()).expect("serves")
}

fn requests() -> Vec<String> {
    let trigger = "00112233445566778899aabbccddeeff";
    let gets = [
        "/config".to_owned(),
        "/v1/overview".to_owned(),
        "/jobs/overview".to_owned(),
        format!("/jobs/{JOB}"),
        format!("/jobs/{JOB}/checkpoints"),
        format!("/jobs/{JOB}/checkpoints/details/3"),
        format!("/jobs/{JOB}/checkpoints/details/3/subtasks/{JOB}"),
        format!("/jobs/{JOB}/savepoints/{trigger}"),
        format!("/jobs/{JOB}/yarn-cancel"),
        "/jars/x/run?entry-class=a".to_owned(),
    ];
    let posts = [
        (
            format!("/jobs/{JOB}/savepoints"),
            format!(
                r#"{{"target-directory":"/sp","cancel-job":true,"formatType":"NATIVE","triggerId":"{trigger}"}}"#
            ),
        ),
        (
            format!("/v1/jobs/{JOB}/stop"),
            r#"{"targetDirectory":"/sp","drain":false,"formatType":"CANONICAL"}"#.to_owned(),
        ),
        (
            format!("/jobs/{JOB}/checkpoints"),
            r#"{"checkpointType":"FULL"}"#.to_owned(),
        ),
        (
            "/savepoint-disposal".to_owned(),
            r#"{"savepoint-path":"file:/sp/savepoint-1"}"#.to_owned(),
        ),
    ];
    let request = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let gets = gets.iter().map(|path| request("GET", path, ""));
    let posts = posts.iter().map(|(path, body)| request("POST", path, body));
    let others = [
        request("PATCH", &format!("/jobs/{JOB}?mode=cancel"), ""),
        format!(
            "POST /jobs/{JOB}/stop HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        ),
    ];
    gets.chain(posts).chain(others).collect()
}

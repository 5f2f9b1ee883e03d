//! A server of HTTP/1.1 that answers as a test says, one request per connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// What was asked.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: String,
}

/// What is answered.
pub(super) struct Response {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// The body breaks off before its end.
    truncated: bool,
}

impl Response {
    pub(super) fn json(status: u16, body: &serde_json::Value) -> Self {
        Response::new(
            status,
            "content-type: application/json;charset=utf-8\r\n",
            body.to_string(),
        )
    }

    pub(super) fn new(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        Response {
            status,
            headers: headers.to_owned(),
            body: body.into(),
            truncated: false,
        }
    }

    pub(super) fn truncated(mut self) -> Self {
        self.truncated = true;
        self
    }
}

/// A server; it is left to the end of the process.
pub(super) struct Stub {
    address: SocketAddr,
}

impl Stub {
    /// Answers by `answer`; `None`: never, until the client has gone.
    pub(super) fn serve(
        answer: impl Fn(&Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                // A client that has gone away is the test's affair.
                std::thread::spawn(move || converse(stream, &*answer).ok());
            }
        });
        Stub { address }
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }
}

fn converse(
    stream: TcpStream,
    answer: &dyn Fn(&Request) -> Option<Response>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        body: String::new(),
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    let mut stream = stream;
    let Some(response) = answer(&request) else {
        reader.read_to_end(&mut body)?;
        return Ok(());
    };
    let length = response.body.len() + usize::from(response.truncated);
    write!(
        stream,
        "HTTP/1.1 {} X\r\n{}content-length: {length}\r\nconnection: close\r\n\r\n",
        response.status, response.headers
    )?;
    stream.write_all(&response.body)
}

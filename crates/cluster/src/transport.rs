//! Messages between job master and worker processes over a socket.
//!
//! A message is a u32 length (little-endian) and that many bytes in postcard's form. Both ends are
//! the same executable, so the form may change with any version.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// More than any message of ours needs; what claims to be longer is no message.
const MAX_MESSAGE_BYTES: u32 = 1 << 30;

/// Sends a message.
///
/// # Errors
///
/// The connection broke.
pub(crate) fn send<M: Serialize>(stream: &mut TcpStream, message: &M) -> std::io::Result<()> {
    let mut bytes = postcard::to_extend(message, vec![0u8; 4]).map_err(std::io::Error::other)?;
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&bytes)
}

/// Waits for a message; `None` when the other end has closed the connection.
///
/// # Errors
///
/// The connection broke, or something else than a message came.
pub(crate) fn receive<M: DeserializeOwned>(stream: &mut TcpStream) -> std::io::Result<Option<M>> {
    let mut length = [0u8; 4];
    if let Err(error) = stream.read_exact(&mut length) {
        let ended = error.kind() == std::io::ErrorKind::UnexpectedEof;
        return if ended { Ok(None) } else { Err(error) };
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_MESSAGE_BYTES {
        return Err(std::io::Error::other(format!(
            "a message of {length} bytes announced, at most {MAX_MESSAGE_BYTES} expected"
        )));
    }
    let mut bytes = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Ok(None);
    }
    postcard::from_bytes(&bytes)
        .map(Some)
        .map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn messages_arrive_in_order_and_the_end_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (mut far, _) = listener.accept().expect("accepts");
        for text in ["one", "two"] {
            send(&mut near, &text.to_owned()).expect("sends");
        }
        drop(near);
        assert_eq!(
            receive::<String>(&mut far).expect("receives"),
            Some("one".to_owned())
        );
        assert_eq!(
            receive::<String>(&mut far).expect("receives"),
            Some("two".to_owned())
        );
        assert_eq!(receive::<String>(&mut far).expect("ends"), None);
    }
}

//! Two ends of a connection: who is let in, and what both sides hear.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use millpond_certificates::Authority;
use millpond_damage::{Damage, peak_memory_mib};
use millpond_security::{Connection, Internal};
use millpond_types::config::Configuration;

/// For as long as a busy machine may need.
const WAIT: Duration = Duration::from_secs(60);

fn options(authority: &Authority, name: &str) -> Configuration {
    let mut pairs = authority.options("security.ssl.internal", name);
    pairs.push((
        "security.ssl.internal.enabled".to_owned(),
        "true".to_owned(),
    ));
    Configuration::from_pairs(pairs)
}

fn internal(authority: &Authority, name: &str) -> Internal {
    Internal::from_configuration(&options(authority, name)).expect("files that were just made")
}

/// A place with two authorities that know nothing of each other.
struct Place {
    ours: Authority,
    strangers: Authority,
    _directory: tempfile::TempDir,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("room");
    let ours = Authority::new(&directory.path().join("ours"));
    let strangers = Authority::new(&directory.path().join("strangers"));
    // The names of hosts do not matter.
    ours.sign_for("one", &["elsewhere.example"]);
    ours.sign("two");
    strangers.sign("one");
    Place {
        ours,
        strangers,
        _directory: directory,
    }
}

/// What the two ends make of a connection; the one that connects sends a word and reads one.
fn meet(connects: &Internal, accepts: &Internal) -> (io::Result<String>, io::Result<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let accepts = accepts.clone();
    let far = thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        talk(accepts.accept(stream)?)
    });
    let near = connects.connect(&address, WAIT).and_then(talk);
    (near, far.join().expect("no panic"))
}

fn talk(mut connection: Connection) -> io::Result<String> {
    connection.set_read_timeout(Some(WAIT))?;
    connection.write_all(b"hello")?;
    let mut word = [0; 5];
    connection.read_exact(&mut word)?;
    Ok(String::from_utf8_lossy(&word).into_owned())
}

#[test]
fn two_that_the_same_authority_has_signed_speak_with_each_other() {
    let place = place();
    let (one, two) = (internal(&place.ours, "one"), internal(&place.ours, "two"));
    assert!(one.is_secure());
    let (near, far) = meet(&one, &two);
    assert_eq!(
        (near.expect("a word"), far.expect("a word")),
        ("hello".into(), "hello".into())
    );
}

#[test]
fn a_stranger_is_refused_by_either_end_and_both_say_why() {
    let place = place();
    let one = internal(&place.ours, "one");
    let stranger = internal(&place.strangers, "one");
    for (connects, accepts) in [(&one, &stranger), (&stranger, &one)] {
        let (near, far) = meet(connects, accepts);
        let (near, far) = (near.expect_err("refused"), far.expect_err("refused"));
        assert!(near.to_string().contains("UnknownIssuer"), "{near}");
        assert!(far.to_string().contains("UnknownCA"), "{far}");
        assert!(far.to_string().contains("127.0.0.1:"), "{far}");
    }
    // One that trusts us, and whose certificate nobody of ours has signed.
    let mut pairs = options(&place.strangers, "one");
    let ca = place.ours.directory().join("ca.pem").display().to_string();
    pairs.set("security.ssl.internal.trusted-certificates", ca);
    let believer = Internal::from_configuration(&pairs).expect("files that were just made");
    let (near, far) = meet(&believer, &one);
    let (near, far) = (near.expect_err("refused"), far.expect_err("refused"));
    assert!(near.to_string().contains("UnknownCA"), "{near}");
    assert!(far.to_string().contains("UnknownIssuer"), "{far}");
}

#[test]
fn one_in_clear_and_one_by_tls_do_not_meet() {
    let place = place();
    let (one, clear) = (internal(&place.ours, "one"), Internal::in_clear());
    let (near, far) = meet(&clear, &one);
    let far = far.expect_err("refused").to_string();
    assert!(far.contains("is refused: no TLS"), "{far}");
    // What comes is the reason, in TLS's words, or nothing.
    assert_ne!(near.unwrap_or_default(), "hello");
    let (near, far) = meet(&one, &clear);
    let near = near.expect_err("refused").to_string();
    assert!(near.contains("no TLS"), "{near}");
    assert_ne!(far.unwrap_or_default(), "hello");
}

/// As the data plane uses it: both directions at once, far more than any buffer holds, in any pieces.
#[test]
fn a_stream_arrives_whole_in_both_directions_at_once() {
    const BYTES: usize = 20 << 20;
    let place = place();
    let (one, two) = (internal(&place.ours, "one"), internal(&place.ours, "two"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let accepted = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("comes");
        two.accept(stream).expect("one of ours")
    });
    let near = one.connect(&address, WAIT).expect("one of ours");
    let far = accepted.join().expect("no panic");
    let byte = |place: usize| (place % 251) as u8;
    let mut threads = Vec::new();
    for (end, piece) in [(near, 100_003), (far, 7_001)] {
        let mut writer = end.try_clone().expect("a clone");
        let mut reader = end;
        threads.push(thread::spawn(move || {
            let all: Vec<u8> = (0..BYTES).map(byte).collect();
            for part in all.chunks(piece) {
                writer.write_all(part).expect("sends");
            }
            writer.shutdown(Shutdown::Write).expect("open until now");
        }));
        threads.push(thread::spawn(move || {
            let mut buffer = vec![0; piece];
            let mut come = 0;
            loop {
                let count = reader.read(&mut buffer).expect("receives");
                if count == 0 {
                    break;
                }
                let right = (0..count).all(|index| buffer[index] == byte(come + index));
                assert!(right, "other bytes behind {come}");
                come += count;
            }
            assert_eq!(come, BYTES);
        }));
    }
    for thread in threads {
        thread.join().expect("all arrives");
    }
}

/// A peer that dies says no goodbye; a reader that waits hears of it.
#[test]
fn who_is_gone_is_noticed_and_who_is_silent_times_out() {
    let place = place();
    let (one, two) = (internal(&place.ours, "one"), internal(&place.ours, "two"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let accepted = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("comes");
        two.accept(stream).expect("one of ours")
    });
    let mut near = one.connect(&address, WAIT).expect("one of ours");
    let far = accepted.join().expect("no panic");
    near.set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a socket");
    let error = near.read(&mut [0; 9]).expect_err("nothing comes");
    let waited = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
    assert!(waited.contains(&error.kind()), "{error}");
    near.set_read_timeout(None).expect("a socket");
    drop(far);
    assert_eq!(near.read(&mut [0; 9]).expect("the end"), 0);
}

/// Bytes of strangers, and those of a real beginning that were damaged.
#[test]
fn damaged_beginnings_are_refused_and_cost_no_memory() {
    let place = place();
    let one = Arc::new(internal(&place.ours, "one"));
    // What a client says first.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let two = internal(&place.ours, "two");
    let connecting = thread::spawn(move || two.connect(&address.to_string(), WAIT).map(drop));
    let (mut stream, _) = listener.accept().expect("comes");
    let mut first = vec![0; 4096];
    let count = stream.read(&mut first).expect("the first bytes");
    first.truncate(count);
    drop(stream);
    assert!(connecting.join().expect("no panic").is_err());

    let corpus = [
        first,
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 20_000],
    ];
    let attempt = |bytes: &[u8]| {
        let mut client = TcpStream::connect(address).expect("listens");
        let (server, _) = listener.accept().expect("comes");
        let one = Arc::clone(&one);
        let accepting = thread::spawn(move || one.accept(server).map(drop));
        // The other end may have had enough before all is said.
        let _ = client.write_all(bytes);
        let _ = client.shutdown(Shutdown::Write);
        assert!(accepting.join().expect("no panic").is_err());
    };
    corpus.iter().for_each(|bytes| attempt(bytes));
    let mut left = 300;
    Damage::seeded().search(&corpus, |_, bytes| {
        if left > 0 {
            left -= 1;
            attempt(bytes);
        }
    });
    assert!(peak_memory_mib().is_none_or(|peak| peak < 512));
}

#[test]
fn options_that_cannot_be_are_refused_with_their_key() {
    let place = place();
    let good = options(&place.ours, "one");
    let with = |key: &str, value: &str| {
        let mut configuration = good.clone();
        configuration.set(key, value);
        Internal::from_configuration(&configuration)
            .expect_err(key)
            .to_string()
    };
    let other_key = place.ours.directory().join("two.key").display().to_string();
    let own_key = place.ours.directory().join("one.key").display().to_string();
    let cases = [
        (
            "security.ssl.internal.certificate",
            "/nowhere",
            "No such file",
        ),
        (
            "security.ssl.internal.certificate",
            own_key.as_str(),
            "BEGIN CERTIFICATE",
        ),
        (
            "security.ssl.internal.private-key",
            other_key.as_str(),
            "KeyMismatch",
        ),
        (
            "security.ssl.internal.trusted-certificates",
            own_key.as_str(),
            "found none",
        ),
        (
            "security.ssl.internal.keystore",
            "/some.jks",
            "no Java key stores",
        ),
        (
            "security.ssl.internal.cert.fingerprint",
            "00:11",
            "no such option",
        ),
    ];
    for (key, value, part) in cases {
        let why = with(key, value);
        assert!(
            why.contains(part) && why.contains("security.ssl.internal"),
            "{key}: {why}"
        );
    }
    let mut none = good.clone();
    none.remove("security.ssl.internal.private-key");
    let why = Internal::from_configuration(&none)
        .expect_err("no key")
        .to_string();
    assert!(why.contains("security.ssl.internal.private-key"), "{why}");
    assert!(
        !Internal::from_configuration(&Configuration::new())
            .expect("off")
            .is_secure()
    );
}

/// One set of options is enough for all.
#[test]
fn files_without_internal_in_their_key_are_for_all() {
    let place = place();
    let mut pairs = place.ours.options("security.ssl", "one");
    pairs.push(("security.ssl.enabled".to_owned(), "true".to_owned()));
    let configuration = Configuration::from_pairs(pairs);
    let one = Internal::from_configuration(&configuration).expect("files that were just made");
    assert!(one.is_secure());
    let rest = millpond_security::Rest::from_configuration(&configuration).expect("the same");
    assert_eq!(rest.scheme(), "https");
    let (near, far) = meet(&one, &internal(&place.ours, "two"));
    assert!(near.is_ok() && far.is_ok(), "{near:?} {far:?}");
}

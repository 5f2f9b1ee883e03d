//! A failure as Flink's client reads it: a Java object in base64.
//!
//! The client of Flink looks at nothing else in an answer that tells of a failure, and waits until
//! its timeout if it is missing. The object is an `org.apache.flink.util.SerializedThrowable`
//! (Flink 2.3.0), written in Java's object stream (Java Object Serialization Specification, 6.4;
//! big endian):
//!
//! | bytes | meaning |
//! | --- | --- |
//! | `AC ED 00 05` | magic, version |
//! | `73` | an object |
//! | `72` name, uid, `02`, 3 fields, `78` | class `SerializedThrowable` |
//! | `72` name, uid, `02`, 0 fields, `78` | its parent `java.lang.Exception` |
//! | `72` name, uid, `03`, 4 fields, `78`, `70` | its parent `java.lang.Throwable`; no further one |
//! | `70`, string, `70`, `70`, `78` | of Throwable: no cause, the message, no trace, none suppressed |
//! | string, string, `70` | of SerializedThrowable: stack trace, class of the original, no bytes |
//!
//! A string is `74`, u16 length, modified UTF-8; above 65535 bytes `7C`, u64 length.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millpond_job::dispatcher::OperationFailure;
use serde::Serialize;

/// A failure, in the three forms that Flink sends.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct FailureCause {
    class: String,
    stack_trace: String,
    serialized_throwable: String,
}

impl From<&OperationFailure> for FailureCause {
    fn from(failure: &OperationFailure) -> Self {
        let OperationFailure { class, message } = failure;
        let stack_trace = format!("{class}: {message}");
        FailureCause {
            class: class.clone(),
            serialized_throwable: STANDARD.encode(serialize(class, message, &stack_trace)),
            stack_trace,
        }
    }
}

const NULL: u8 = 0x70;
const CLASS: u8 = 0x72;
const OBJECT: u8 = 0x73;
const STRING: u8 = 0x74;
const END: u8 = 0x78;
const LONG_STRING: u8 = 0x7c;
/// The second thing in the stream that can be referred to: the type string of the first field.
const STRING_TYPE: [u8; 5] = [0x71, 0x00, 0x7e, 0x00, 0x01];
const SERIALIZABLE: u8 = 0x02;
const SERIALIZABLE_WITH_OWN_METHOD: u8 = 0x03;

fn serialize(class: &str, message: &str, stack_trace: &str) -> Vec<u8> {
    let mut out = vec![0xac, 0xed, 0x00, 0x05, OBJECT];
    put_class(
        &mut out,
        "org.apache.flink.util.SerializedThrowable",
        0x6516_9df5_1fa7_13f3,
        SERIALIZABLE,
        3,
    );
    put_field(
        &mut out,
        b'L',
        "fullStringifiedStackTrace",
        Some("Ljava/lang/String;"),
    );
    put_field(&mut out, b'L', "originalErrorClassName", None);
    put_field(&mut out, b'[', "serializedException", Some("[B"));
    out.push(END);
    put_class(
        &mut out,
        "java.lang.Exception",
        0xd0fd_1f3e_1a3b_1cc4,
        SERIALIZABLE,
        0,
    );
    out.push(END);
    put_class(
        &mut out,
        "java.lang.Throwable",
        0xd5c6_3527_3977_b8cb,
        SERIALIZABLE_WITH_OWN_METHOD,
        4,
    );
    put_field(&mut out, b'L', "cause", Some("Ljava/lang/Throwable;"));
    put_field(&mut out, b'L', "detailMessage", None);
    put_field(
        &mut out,
        b'[',
        "stackTrace",
        Some("[Ljava/lang/StackTraceElement;"),
    );
    put_field(
        &mut out,
        b'L',
        "suppressedExceptions",
        Some("Ljava/util/List;"),
    );
    out.extend([END, NULL]);
    out.push(NULL);
    put_string(&mut out, message);
    out.extend([NULL, NULL, END]);
    put_string(&mut out, stack_trace);
    put_string(&mut out, class);
    out.push(NULL);
    out
}

fn put_class(out: &mut Vec<u8>, name: &str, uid: u64, flags: u8, fields: u16) {
    out.push(CLASS);
    put_name(out, name);
    out.extend(uid.to_be_bytes());
    out.push(flags);
    out.extend(fields.to_be_bytes());
}

/// A field; without a type of its own it is a `java.lang.String`.
fn put_field(out: &mut Vec<u8>, code: u8, name: &str, class: Option<&str>) {
    out.push(code);
    put_name(out, name);
    match class {
        Some(class) => put_string(out, class),
        None => out.extend(STRING_TYPE),
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.extend((name.len() as u16).to_be_bytes());
    out.extend(name.as_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    let bytes = modified_utf8(text);
    match u16::try_from(bytes.len()) {
        Ok(length) => {
            out.push(STRING);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(LONG_STRING);
            out.extend((bytes.len() as u64).to_be_bytes());
        }
    }
    out.extend(bytes);
}

/// UTF-8 of each UTF-16 unit by itself; NUL takes two bytes.
fn modified_utf8(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match unit {
            1..=0x7f => out.push(unit as u8),
            0 | 0x80..=0x7ff => out.extend([0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]),
            0x800.. => out.extend([
                0xe0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 0x3f) as u8,
                0x80 | (unit & 0x3f) as u8,
            ]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blob_begins_and_ends_as_java_writes_it() {
        let blob = serialize("java.lang.Exception", "why", "java.lang.Exception: why");
        assert_eq!(&blob[..8], [0xac, 0xed, 0, 5, 0x73, 0x72, 0, 41]);
        assert!(blob.ends_with(b"\x74\x00\x13java.lang.Exception\x70"));
        let message = b"\x70\x74\x00\x03why\x70\x70\x78";
        assert!(blob.windows(message.len()).any(|window| window == message));
    }

    #[test]
    fn text_beyond_the_plane_and_beyond_64_kb_keeps_javas_form() {
        assert_eq!(
            modified_utf8("a\0é€😀"),
            b"a\xc0\x80\xc3\xa9\xe2\x82\xac\xed\xa0\xbd\xed\xb8\x80"
        );
        let mut out = Vec::new();
        put_string(&mut out, &"x".repeat(70_000));
        assert_eq!(&out[..9], [0x7c, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }
}

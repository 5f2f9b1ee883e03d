//! Ids: jobs, operators, checkpoints and triggers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::murmur3_128;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseIdError {
    what: &'static str,
    text: String,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseIdError { what, text } = self;
        write!(
            f,
            "Cannot parse {what} from \"{text}\". The expected format is [0-9a-fA-F]{{32}}"
        )
    }
}

impl std::error::Error for ParseIdError {}

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text)
                    .map($name)
                    .ok_or_else(|| ParseIdError { what: $what, text: text.to_owned() })
            }
        }
    };
}

id16! {
    /// A job: 16 bytes, written as 32 lower-case hex digits. New for each start of a program.
    JobId, "JobID"
}

id16! {
    /// An operator in a snapshot: the hash of its uid, or a generated one.
    OperatorId, "OperatorID"
}

id16! {
    /// An asynchronous operation of the REST API, chosen by the caller or drawn at random.
    TriggerId, "TriggerId"
}

impl OperatorId {
    /// Returns the id that Flink derives from the uid that a user wrote.
    ///
    /// # Examples
    ///
    /// ```
    /// use millpond_types::OperatorId;
    /// let id = OperatorId::of_uid("throttle");
    /// assert_eq!(id.to_string(), "8ad0a339064fd18ef5b9c94282a00e10");
    /// ```
    pub fn of_uid(uid: &str) -> Self {
        OperatorId(murmur3_128(uid.as_bytes()))
    }
}

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut out = [0u8; 16];
    for (byte, digits) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let high = (digits[0] as char).to_digit(16)?;
        let low = (digits[1] as char).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(out)
}

/// How many numbers a job master has for its attempts: they tell whether a file was written in an earlier one, so
/// the next master of the job goes on with other ones.
pub const ATTEMPTS_PER_MASTER: u32 = 100_000;

/// The number of a checkpoint or savepoint: counts from 1 within a job and continues from the
/// snapshot that the job was restored from. Never negative.
pub type CheckpointId = i64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_hash_to_the_ids_that_flink_prints() {
        for (uid, id) in [
            ("throttle", "8ad0a339064fd18ef5b9c94282a00e10"),
            ("src", "f362c87ffabe89c8a91fa7d0a523ba6c"),
            ("kp-id", "56fe9df41f4b8ae27e1f9b99a6c682ea"),
            ("src-id", "c25a9ccec656b06feb234a144fb5d5ea"),
            ("counter", "0da08f51eaa85fc298e176a139b3649a"),
            ("source", "e5a72f353fc1e6bbf3bd96a41384998c"),
        ] {
            assert_eq!(OperatorId::of_uid(uid).to_string(), id, "uid {uid}");
        }
    }

    #[test]
    fn an_id_is_read_back_from_its_text_and_nothing_else_is() {
        let id = OperatorId::of_uid("counter");
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        for bad in [
            "",
            "zzz",
            "0da08f51eaa85fc298e176a139b3649",
            "0da08f51eaa85fc298e176a139b3649g",
        ] {
            let error = bad.parse::<JobId>().expect_err("not an id");
            assert!(error.to_string().contains("[0-9a-fA-F]{32}"), "{error}");
        }
    }
}

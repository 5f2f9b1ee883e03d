//! The id of an application of YARN.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `application_` with the time at which the ResourceManager began, in ms, and a number that counts
/// its applications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ApplicationId(String);

impl FromStr for ApplicationId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = |part: &str| {
            !part.is_empty() && part.len() < 20 && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let parts = text
            .strip_prefix("application_")
            .and_then(|rest| rest.split_once('_'));
        match parts {
            Some((began, number)) if is_number(began) && is_number(number) => {
                Ok(ApplicationId(text.to_owned()))
            }
            _ => Err(format!(
                "\"{text}\" is no id of an application of YARN, expected one like \
                 application_1503963985568_0002; `yarn app -list` shows them"
            )),
        }
    }
}

impl TryFrom<String> for ApplicationId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ApplicationId> for String {
    fn from(id: ApplicationId) -> String {
        id.0
    }
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_two_numbers() {
        for good in ["application_1503963985568_0002", "application_1_12345"] {
            assert_eq!(
                good.parse::<ApplicationId>().expect("an id").to_string(),
                good
            );
        }
        for bad in [
            "",
            "application_",
            "application_1",
            "application_1_",
            "application_1_2_3",
            "application_1_x",
            "job_1_2",
            "application_1_2/../x",
            "application_-1_2",
            "application_123456789012345678901234567890_1",
        ] {
            assert!(bad.parse::<ApplicationId>().is_err(), "{bad}");
        }
    }
}

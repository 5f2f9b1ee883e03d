//! The names of the files of a sink.
//!
//! | state | name |
//! | --- | --- |
//! | being written, or waiting for its checkpoint | `.part-<subtask>-<job>-<operator>-<attempt>-<n>.inprogress` |
//! | published | `part-<subtask>-<job>-<operator>-<attempt>-<n><suffix>` |
//!
//! The job is its id in 32 hex digits, the operator the first 8 of its id, n counts from 0. No two
//! transactions of any run share a name, so publishing never overwrites: not those of another
//! subtask or operator, of another attempt of the job, or of a job resumed from its savepoint.
//! Directory readers commonly skip names that start with a dot, as [`FileSource`](super::FileSource)
//! does.

use std::fmt;
use std::str::FromStr;

use millpond_operator::SubtaskInfo;
use millpond_types::{ATTEMPTS_PER_MASTER, JobId};

const HIDDEN_PREFIX: &str = ".part-";
const HIDDEN_SUFFIX: &str = ".inprogress";
const VISIBLE_PREFIX: &str = "part-";

/// Who writes: one subtask of one operator in one attempt of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartOwner {
    pub(crate) job: JobId,
    pub(crate) operator: String,
    pub(crate) attempt: u32,
    pub(crate) subtask: u32,
}

impl PartOwner {
    pub(crate) fn of(info: &SubtaskInfo) -> Self {
        let mut operator = info.operator.to_string();
        operator.truncate(8);
        PartOwner {
            job: info.job,
            operator,
            attempt: info.attempt,
            subtask: info.subtask,
        }
    }
}

impl PartOwner {
    /// Whether the other one wrote in an earlier attempt of the same job and operator.
    pub(crate) fn succeeds(&self, other: &PartOwner) -> bool {
        other.job == self.job && other.operator == self.operator && other.attempt < self.attempt
    }

    /// As [`succeeds`](Self::succeeds), under the same job master.
    pub(crate) fn succeeds_under_one_master(&self, other: &PartOwner) -> bool {
        let master = |attempt: u32| attempt / ATTEMPTS_PER_MASTER;
        self.succeeds(other) && master(self.attempt) == master(other.attempt)
    }
}

/// File number `n` of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) owner: PartOwner,
    pub(crate) n: u64,
}

impl Part {
    /// Its name until it is published.
    pub(crate) fn hidden_name(&self) -> String {
        format!("{HIDDEN_PREFIX}{self}{HIDDEN_SUFFIX}")
    }

    /// Its name once it is published.
    pub(crate) fn visible_name(&self, suffix: &str) -> String {
        format!("{VISIBLE_PREFIX}{self}{suffix}")
    }

    /// Reads a hidden name; `None` if it is none.
    pub(crate) fn of_hidden_name(name: &str) -> Option<Self> {
        Part::parse(
            name.strip_prefix(HIDDEN_PREFIX)?
                .strip_suffix(HIDDEN_SUFFIX)?,
        )
    }

    /// Reads a published name, whatever its suffix; `None` if it is none.
    pub(crate) fn of_visible_name(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(VISIBLE_PREFIX)?;
        let number = rest.match_indices('-').nth(3)?.0 + 1;
        let digits = rest[number..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        Part::parse(&rest[..number + digits])
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let subtask = fields.next()?.parse().ok()?;
        let job = JobId::from_str(fields.next()?).ok()?;
        let operator = fields.next()?.to_owned();
        let attempt = fields.next()?.parse().ok()?;
        let n = fields.next()?.parse().ok()?;
        let owner = PartOwner {
            job,
            operator,
            attempt,
            subtask,
        };
        fields.next().is_none().then_some(Part { owner, n })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartOwner {
            job,
            operator,
            attempt,
            subtask,
        } = &self.owner;
        write!(f, "{subtask}-{job}-{operator}-{attempt}-{}", self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_strange_ones_are_none() {
        let owner = PartOwner {
            job: JobId([0xab; 16]),
            operator: "0123abcd".to_owned(),
            attempt: 3,
            subtask: 12,
        };
        let part = Part { owner, n: 40 };
        assert_eq!(
            part.hidden_name(),
            ".part-12-abababababababababababababababab-0123abcd-3-40.inprogress"
        );
        assert_eq!(
            part.visible_name(".csv"),
            "part-12-abababababababababababababababab-0123abcd-3-40.csv"
        );
        assert_eq!(
            Part::of_hidden_name(&part.hidden_name()).as_ref(),
            Some(&part)
        );
        for suffix in ["", ".csv", "-1.csv"] {
            assert_eq!(
                Part::of_visible_name(&part.visible_name(suffix)).as_ref(),
                Some(&part)
            );
        }
        for name in [
            "",
            ".part-",
            "part-0-1-2-3-4",
            "part-0",
            "other",
            ".part-1.inprogress",
        ] {
            assert_eq!(Part::of_hidden_name(name), None, "{name}");
            assert_eq!(Part::of_visible_name(name), None, "{name}");
        }
    }
}

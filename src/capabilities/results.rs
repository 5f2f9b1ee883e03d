//! What `cargo test` has printed: which tests ran, and how they ended.

use std::collections::BTreeMap;

use super::table::Test;

/// How a test has ended; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It ran, and never failed.
    Passed,
    /// There is nothing about it.
    NotRun,
    /// It failed, once at least.
    Failed,
}

/// The outcomes of tests, by suite and name.
#[derive(Debug, Default)]
pub(super) struct Results(BTreeMap<(String, String), Outcome>);

impl Results {
    /// Reads lines `Running tests/x.rs (target/debug/deps/SUITE-hash)` and `test NAME ... ok`.
    pub(super) fn parse(text: &str) -> Self {
        let mut all = BTreeMap::new();
        let mut suite = String::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with("Running ") {
                suite = running(line).unwrap_or_default();
            } else if line.starts_with("Doc-tests ") {
                suite.clear();
            }
            let test = line.strip_prefix("test ");
            let Some((name, ended)) = test.and_then(|test| test.rsplit_once(" ... ")) else {
                continue;
            };
            let outcome = match ended {
                "ok" => Outcome::Passed,
                "FAILED" => Outcome::Failed,
                _ => continue,
            };
            let known = all.entry((suite.clone(), name.to_owned()));
            known
                .and_modify(|before: &mut Outcome| *before = outcome.max(*before))
                .or_insert(outcome);
        }
        Results(all)
    }

    /// How a test has ended.
    pub(super) fn of(&self, test: &Test) -> Outcome {
        let key = (test.suite.to_owned(), test.name.to_owned());
        self.0.get(&key).copied().unwrap_or(Outcome::NotRun)
    }
}

/// The suite that a line says is running.
fn running(line: &str) -> Option<String> {
    let (_, binary) = line.strip_suffix(')')?.rsplit_once('(')?;
    let name = binary.rsplit(['/', '\\']).next()?;
    let (suite, _hash) = name.rsplit_once('-')?;
    Some(suite.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
     Running unittests src/lib.rs (target/debug/deps/millpond_checkpoint-0123456789abcdef)
running 2 tests
test assignment::tests::a ... ok
test assignment::tests::b ... FAILED
     Running tests/rescaling.rs (/elsewhere/debug/deps/rescaling-0123456789abcdef)
test a ... ok
test later ... ignored
   Doc-tests millpond
test crates/x.rs - y (line 3) ... ok
     Running tests/rescaling.rs (/elsewhere/debug/deps/rescaling-fedcba9876543210)
test b ... FAILED
test b ... ok
";

    #[test]
    fn a_test_has_passed_if_it_ran_in_its_suite_and_never_failed() {
        let results = Results::parse(PRINTED);
        let of = |suite: &'static str, name: &'static str| {
            let file = "";
            results.of(&Test { suite, file, name })
        };
        assert_eq!(
            of("millpond_checkpoint", "assignment::tests::a"),
            Outcome::Passed
        );
        assert_eq!(
            of("millpond_checkpoint", "assignment::tests::b"),
            Outcome::Failed
        );
        assert_eq!(of("rescaling", "a"), Outcome::Passed);
        assert_eq!(of("rescaling", "b"), Outcome::Failed, "once is enough");
        assert_eq!(of("rescaling", "later"), Outcome::NotRun);
        assert_eq!(of("millpond_checkpoint", "a"), Outcome::NotRun);
    }
}

//! What a job has published, and whether two jobs have published the same.

use std::path::Path;

use crate::failure::Failure;

/// How many differences are told.
const DIFFERENCES_TOLD: usize = 5;

/// The lines of all published files, sorted. Hidden files are not published.
pub(super) fn read(directory: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::action(error.to_string()).during(format!(
            "Cannot read the results in {}.",
            directory.display()
        ))
    };
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            let text = std::fs::read_to_string(entry.path()).map_err(failed)?;
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines.sort_unstable();
    Ok(lines)
}

/// What one of two sorted lists has and the other has not, counting how often; the first few.
pub(super) fn difference(disturbed: &[String], undisturbed: &[String]) -> Vec<String> {
    let (mut left, mut right) = (disturbed.iter().peekable(), undisturbed.iter().peekable());
    let mut told = Vec::new();
    while told.len() < DIFFERENCES_TOLD {
        let (only, whose) = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => {
                left.next();
                right.next();
                continue;
            }
            (Some(a), Some(b)) if a > b => (right.next(), "reference run"),
            (None, Some(_)) => (right.next(), "reference run"),
            (Some(_), _) => (left.next(), "disturbed job"),
        };
        told.extend(only.map(|line| format!("only in the {whose}: {line}")));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_added_and_doubled_lines_are_differences() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let told = |a: &str, b: &str| difference(&lines(a), &lines(b));
        assert!(told("a b b", "a b b").is_empty());
        assert_eq!(told("a b b", "a b"), ["only in the disturbed job: b"]);
        assert_eq!(told("a c", "a b c"), ["only in the reference run: b"]);
        let both = [
            "only in the disturbed job: b",
            "only in the reference run: c",
        ];
        assert_eq!(told("a b", "a c"), both);
        assert_eq!(told("a", "b c d e f g").len(), DIFFERENCES_TOLD);
    }
}

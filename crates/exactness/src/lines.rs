//! Multisets of lines, and how two of them differ.

use std::collections::BTreeMap;
use std::path::Path;

/// How often each line occurs.
pub type Lines = BTreeMap<String, u64>;

/// Counts a line.
pub fn add(lines: &mut Lines, line: String) {
    *lines.entry(line).or_default() += 1;
}

/// The lines of all published files below `directory`; hidden files are not published.
///
/// # Panics
///
/// If a file cannot be read.
pub fn published(directory: &Path) -> Lines {
    let mut lines = Lines::new();
    if !directory.exists() {
        return lines;
    }
    for entry in std::fs::read_dir(directory).expect("the output directory can be listed") {
        let entry = entry.expect("the output directory can be listed");
        if entry.file_name().as_encoded_bytes().first() == Some(&b'.') {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).expect("a published file is text");
        assert!(text.ends_with('\n'), "{} is cut", entry.path().display());
        text.lines()
            .for_each(|line| add(&mut lines, line.to_owned()));
    }
    lines
}

/// What differs, for people; `None` if nothing does.
pub fn difference(expected: &Lines, found: &Lines) -> Option<String> {
    let mut words = Vec::new();
    let (mut lost, mut extra) = (0, 0);
    for (line, count) in expected {
        let have = found.get(line).copied().unwrap_or(0);
        if have < *count {
            lost += count - have;
            words.push(format!("expected {count} times, found {have}: {line}"));
        }
    }
    for (line, count) in found {
        // Whether a key has had its ping when the job ends depends on the machine's time.
        let want = match line.starts_with("ping,") {
            true => 1,
            false => expected.get(line).copied().unwrap_or(0),
        };
        if want < *count {
            extra += count - want;
            words.push(format!("expected {want} times, found {count}: {line}"));
        }
    }
    if words.is_empty() {
        return None;
    }
    words.truncate(30);
    Some(format!(
        "{lost} lines lost, {extra} too many\n{}",
        words.join("\n")
    ))
}

/// What is published and should not be, for people; `None` if nothing: a run that was given up on the way
/// may owe anything.
pub fn surplus(expected: &Lines, found: &Lines) -> Option<String> {
    let mut both = expected.clone();
    for (line, count) in found {
        let there = both.entry(line.clone()).or_default();
        *there = (*there).min(*count);
    }
    both.retain(|line, _| found.contains_key(line));
    difference(&both, found)
}

/// What an at-least-once run owes and has not published, for people; `None` if nothing.
///
/// Lines that do not change when a record counts twice must all be there. Totals (`final`, `window`,
/// `session`, `rules`, `ledger`) must be as high as expected.
pub fn shortfall(expected: &Lines, found: &Lines) -> Option<String> {
    let mut words = Vec::new();
    for (line, count) in expected {
        let kind = line.split(',').next();
        let is_total = matches!(
            kind,
            Some("final" | "window" | "session" | "rules" | "ledger")
        );
        let have = found.get(line).copied().unwrap_or(0);
        if !is_total && have < *count {
            words.push(format!("expected {count} times, found {have}: {line}"));
        }
    }
    let (expected, found) = (totals(expected), totals(found));
    for (name, count) in expected {
        let have = found.get(&name).copied().unwrap_or(0);
        if have < count {
            words.push(format!("expected {count} records, found {have}: {name}"));
        }
    }
    words.truncate(30);
    (!words.is_empty()).then(|| words.join("\n"))
}

/// Records per key in `final`, `rules` and `session` lines (of which a record that comes again may
/// make others), per group and window in `window` lines, and of all in those of a ledger.
fn totals(lines: &Lines) -> BTreeMap<String, i64> {
    let mut totals = BTreeMap::new();
    for (line, times) in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let (name, count) = match fields.as_slice() {
            ["final", key, count, ..] => (format!("final,{key}"), *count),
            ["window", group, start, count, _] => (format!("window,{group},{start}"), *count),
            ["session", key, _, _, count, _] => (format!("session,{key}"), *count),
            ["ledger", count] => ("ledger".to_owned(), *count),
            ["rules", key, count, _] => (format!("rules,{key}"), *count),
            _ => continue,
        };
        let count: i64 = count.parse().expect("a number of records");
        *totals.entry(name).or_default() += count * *times as i64;
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: &[(&str, u64)]) -> Lines {
        all.iter()
            .map(|(line, times)| ((*line).to_owned(), *times))
            .collect()
    }

    #[test]
    fn a_lost_or_doubled_line_is_a_difference_and_a_second_ping_too() {
        let expected = lines(&[("count,a,1", 1), ("count,a,2", 1)]);
        assert_eq!(difference(&expected, &expected), None);
        assert!(difference(&expected, &lines(&[("count,a,1", 1)])).is_some());
        let doubled = lines(&[("count,a,1", 1), ("count,a,2", 2)]);
        assert!(difference(&expected, &doubled).is_some());
        let pinged = |times| lines(&[("count,a,1", 1), ("count,a,2", 1), ("ping,a", times)]);
        assert_eq!(difference(&expected, &pinged(1)), None);
        assert!(difference(&expected, &pinged(2)).is_some());
    }

    #[test]
    fn at_least_once_owes_every_line_and_every_record_of_the_totals() {
        let owed = [
            ("count,a,1", 1),
            ("window,1,0,5,9", 1),
            ("final,a,7,x", 1),
            ("ledger,7", 1),
        ];
        let more = [
            ("count,a,1", 2),
            ("window,1,0,3,4", 2),
            ("final,a,8,y", 1),
            ("ledger,8", 1),
        ];
        let owed_lines = lines(&owed);
        assert_eq!(shortfall(&owed_lines, &lines(&more)), None);
        let less = ["count,a,2", "window,1,0,4,9", "final,a,6,x", "ledger,6"];
        for (index, line) in less.into_iter().enumerate() {
            let mut found = owed;
            found[index] = (line, 1);
            assert!(shortfall(&owed_lines, &lines(&found)).is_some(), "{line}");
        }
    }
}

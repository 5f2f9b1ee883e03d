//! Queries over more state than they may hold in memory: sorting and grouping go on in temporary
//! files, and the answer is the same.
//!
//! A test program of its own, so that the peak of its memory is that of these queries.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use millpond_damage::peak_memory_mib;
use millpond_fs::{LocalFileSystem, Location};
use millpond_state_processor::{
    Format, NewSavepoint, OpenSnapshot, OperatorRows, PathMap, Progress, SavepointOptions, Threads,
};
use millpond_state_sql::{Database, DatabaseOptions, Error, ErrorKind};
use serde_json::Value as Json;

const KEYS: u64 = 1_000_000;
/// Less than a million keys take, with what belongs to them.
const MEMORY_BYTES: usize = 24 << 20;

/// The value of a key: all are different, and in no order.
fn value_of(key: u64) -> i64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) as i64
}

fn write(directory: &Path) {
    let location = Location::of_path(directory).expect("a text").join("large");
    let fs = Arc::new(LocalFileSystem);
    let options = SavepointOptions::default();
    let mut savepoint = NewSavepoint::create(fs, &location, options).expect("room");
    let mut rows = savepoint.keyed_rows::<String>(128);
    let count = rows.value::<i64>("count").expect("new");
    for key in 0..KEYS {
        let text = format!("a key of some length, {key}");
        rows.put(&count, &text, &value_of(key)).expect("room");
    }
    let operator = OperatorRows::new("counter", 2, 128).expect("a parallelism");
    let operator = operator.keyed(rows).expect("room");
    savepoint.add(operator).expect("room");
    savepoint.finish().expect("room");
}

fn database(directory: &Path, memory_bytes: usize) -> Database {
    let pointer = directory.join("large").display().to_string();
    let paths = PathMap::default();
    let snapshot = OpenSnapshot::open(&pointer, &paths).expect("a snapshot");
    let options = DatabaseOptions {
        memory_bytes,
        threads: Threads(NonZero::new(2).expect("not zero")),
    };
    let progress = Arc::new(Progress::default());
    Database::open(snapshot, &paths, &options, &progress).expect("threads")
}

fn rows(database: &Database, sql: &str) -> Result<Vec<Json>, Error> {
    let mut out = Vec::new();
    database.query(sql, Format::JsonLines, &mut out)?;
    let lines = out
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    Ok(lines
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect())
}

/// How often the operators of a query have gone on in a file, as DataFusion tells it.
fn spills(database: &Database, sql: &str) -> u64 {
    let plan = rows(database, &format!("explain analyze {sql}")).expect("a query");
    let plan = plan.iter().map(Json::to_string).collect::<String>();
    let counts = plan.split("spill_count=").skip(1);
    let numbers = counts.map(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).expect("a plan");
        rest[..digits].parse::<u64>().expect("a number")
    });
    numbers.sum()
}

#[test]
fn what_does_not_fit_in_memory_is_sorted_and_grouped_in_files_with_the_same_answer() {
    let home = tempfile::tempdir().expect("room");
    write(home.path());
    let small = database(home.path(), MEMORY_BYTES);

    // Every key is a group; the largest values come first, whatever went through files.
    let grouped = "select key, count(*) as n, sum(value) as total from count group by key";
    let answer =
        format!("select count(*) as groups, sum(n) as n, max(total) as top from ({grouped})");
    let expected_top = (0..KEYS).map(value_of).max();
    let found = rows(&small, &answer).expect("it fits in files");
    assert_eq!(found[0]["groups"], KEYS);
    assert_eq!(found[0]["n"], KEYS);
    assert_eq!(found[0]["top"].as_i64(), expected_top);
    assert!(spills(&small, grouped) > 0, "grouped in memory");

    let sorted = "select value, key from count order by value";
    let mut out = Sorted::default();
    small
        .query(sorted, Format::Csv, &mut out)
        .expect("it fits in files");
    assert_eq!(out.rows, KEYS);
    assert!(spills(&small, sorted) > 0, "sorted in memory");
    let peak = peak_memory_mib();
    println!(
        "peak {peak:?} MiB of which queries may hold {}",
        MEMORY_BYTES >> 20
    );
    assert!(peak.is_none_or(|peak| peak < 250), "{peak:?} MiB");

    // What cannot go on in files says so, and what to do.
    let joined = "select count(*) from count a join count b on a.value = b.value";
    let error = rows(&small, joined).expect_err("more than it may hold");
    assert!(
        matches!(error.kind(), ErrorKind::Failed { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("--memory"), "{error}");

    // With more memory nothing goes through files.
    let large = database(home.path(), 1 << 30);
    assert_eq!(spills(&large, sorted), 0);
    assert_eq!(rows(&large, joined).expect("it fits")[0]["count(*)"], KEYS);
}

/// Takes lines of CSV whose first cell is a number, and sees that it rises.
#[derive(Default)]
struct Sorted {
    rest: Vec<u8>,
    header: bool,
    last: Option<i64>,
    rows: u64,
}

impl std::io::Write for Sorted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8(line).expect("UTF-8");
            if !std::mem::replace(&mut self.header, true) {
                continue;
            }
            let number: i64 = line
                .split(',')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number");
            assert!(self.last.is_none_or(|last| last < number), "{line}");
            self.last = Some(number);
            self.rows += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

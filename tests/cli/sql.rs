//! `millpond state sql` and Parquet: what is printed, and how it exits. With the feature `sql`.

use std::path::Path;

use super::millpond;
use super::state::{copy, count, golden};

fn sql(query: &str, more: &[&str]) -> super::Ended {
    millpond(&[&["state", "sql", &count(), query], more].concat())
}

#[test]
fn a_query_is_answered_in_each_format() {
    let query = "select key, value from counter.count where key in ('key-1', 'key-2') order by key";
    let answer = |format: &str| {
        let ended = sql(query, &["--format", format]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{format}");
        ended.stdout
    };
    let csv = answer("csv");
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("key,value"));
    let first = lines.next().expect("a row");
    let value = first.strip_prefix("key-1,").expect("its key");
    assert_eq!(
        answer("table").lines().nth(1),
        Some(&*format!("key-1  {value}"))
    );
    let jsonl = answer("jsonl");
    let expected = format!("{{\"key\":\"key-1\",\"value\":{value}}}");
    assert_eq!(jsonl.lines().next(), Some(&*expected));
    let json: serde_json::Value = serde_json::from_str(&answer("json")).expect("JSON");
    assert_eq!(json[0].to_string(), expected);
    let ended = sql("select count(*) as n from count", &["--format", "csv"]);
    assert_eq!(ended.stdout, "n\n40\n");
}

#[test]
fn mistakes_failures_and_damage_have_their_exit_codes() {
    let ended = sql("select nothing from counter.count", &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("nothing"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("value"),
        "what there is: {}",
        ended.stderr
    );
    let ended = sql("select 1 / (value - value) from counter.count", &[]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let ended = sql("select 1", &["--memory", "much"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    let ended = sql("select 1", &["--format", "parquet"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("-o FILE"), "{}", ended.stderr);
    let directory = tempfile::tempdir().expect("room");
    let file = copy("2.3.0/files-kinds-hashmap-canonical", directory.path());
    let others = std::fs::read_dir(directory.path()).expect("there");
    for other in others.map(|entry| entry.expect("an entry").path()) {
        if other != file {
            std::fs::remove_file(other).expect("there");
        }
    }
    let copied = directory.path().to_str().expect("a text");
    let query = "select * from \"all-kinds\".\"value-long\"";
    let ended = millpond(&["state", "sql", copied, query]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (3, ""),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_kept_checkpoint_is_asked_by_its_number() {
    let job = tempfile::tempdir().expect("room");
    for (name, checkpoint) in [
        ("2.3.0/count-stringkey-hashmap-canonical", "chk-1"),
        ("2.3.0/count-longkey-hashmap-canonical", "chk-2"),
    ] {
        let directory = job.path().join(checkpoint);
        std::fs::create_dir(&directory).expect("room");
        copy(name, &directory);
    }
    let job = job.path().to_str().expect("a text");
    let query = "select arrow_typeof(key) as t from counter.count limit 1";
    for (at, expected) in [
        ("chk-1", "t\nUtf8\n"),
        ("2", "t\nInt64\n"),
        ("latest", "t\nInt64\n"),
    ] {
        let ended = millpond(&["state", "sql", job, query, "--at", at, "--format", "csv"]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (0, expected),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn answers_and_states_go_to_files() {
    let directory = tempfile::tempdir().expect("room");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let ended = sql(
        "select 1 as one",
        &["--format", "csv", "-o", &path("a.csv")],
    );
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, ""),
        "{}",
        ended.stderr
    );
    assert_eq!(
        std::fs::read_to_string(path("a.csv")).expect("there"),
        "one\n1\n"
    );
    let magic = |file: &str| std::fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"PAR1"));
    let ended = sql(
        "select * from count",
        &["--format", "parquet", "-o", &path("a.parquet")],
    );
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (0, ""),
        "{}",
        ended.stderr
    );
    assert!(magic(&path("a.parquet")));
    let read = |more: &[&str], file: &str| {
        let kinds = golden("2.3.0/kinds-hashmap-canonical");
        let to = ["--format", "parquet", "-o", file];
        millpond(&[&["state", "read", &kinds], more, &to].concat())
    };
    let state = ["--uid", "all-kinds", "--state", "list-long"];
    let ended = read(&state, &path("b.parquet"));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(magic(&path("b.parquet")));
    let ended = read(&[], &path("c.parquet"));
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("--state \"list-long\""),
        "{}",
        ended.stderr
    );
    assert!(!Path::new(&path("c.parquet")).exists());
}

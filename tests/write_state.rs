//! The example `write_state` makes a savepoint from which the example `keyed_count` goes on.

use std::path::PathBuf;
use std::process::Command;

use millpond_serializer::Value;
use millpond_state_processor::{Content, OpenSnapshot};

/// Cargo builds the examples with the tests, beside the command.
fn example(name: &str) -> Command {
    let command = PathBuf::from(env!("CARGO_BIN_EXE_millpond"));
    let program = command.with_file_name("examples").join(name);
    assert!(
        program.is_file(),
        "{program:?} is missing: cargo build --examples"
    );
    Command::new(program)
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("starts");
    let (out, err) = (
        output.stdout,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{command:?}: {err}");
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn a_job_goes_on_from_a_savepoint_that_was_made_from_rows() {
    let home = tempfile::tempdir().expect("room");
    let made = home.path().join("made");
    let (keys, records) = (40i64, 1040i64);
    run(example("write_state").arg(&made).arg(keys.to_string()));
    let counts = [
        "--key-type",
        "string",
        "--keys",
        "40",
        "--records",
        "1040",
        "--savepoint-at-end",
    ];
    let recovery = format!("execution.state-recovery.path={}", made.display());
    run(example("keyed_count")
        .args(counts)
        .arg(home.path().join("ends"))
        .args(["-D", &recovery, "-D", "parallelism.default=3"]));
    let ends = std::fs::read_dir(home.path().join("ends")).expect("made");
    let end = ends.last().expect("a savepoint").expect("an entry").path();
    let loaded = millpond_snapshot::load(
        std::sync::Arc::new(millpond_fs::LocalFileSystem),
        &millpond_fs::Location::of_path(&end).expect("a path"),
    );
    let snapshot = OpenSnapshot::of_loaded(loaded.expect("whole"));
    let mut counted = Vec::new();
    let counter = snapshot.find_operator("counter").expect("there");
    counter
        .for_each_row(Some("count"), |_, row| {
            let Content::Value(Value::Long(count)) = row.content else {
                panic!("a count, not {:?}", row.content);
            };
            counted.push(count);
            Ok(())
        })
        .expect("whole");
    assert_eq!(counted.len() as i64, keys);
    let sum: i64 = counted.iter().sum();
    // A hundred times each, and then the records that were left.
    assert_eq!(sum, 100 * keys + (records - keys));
    assert!(counted.iter().all(|count| *count >= 100));
}

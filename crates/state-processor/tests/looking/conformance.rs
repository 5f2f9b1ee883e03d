//! What is read of a snapshot of Flink is what its sidecar says, to the last row.
//!
//! The sidecars were made beside the snapshots by the jobs that wrote them, and restored by real
//! Flink. `MILLPOND_GOLDEN` may name a directory with more of both than the tree holds.

use std::collections::BTreeMap;

use millpond_golden::{Golden, check_content};
use millpond_state_processor::{
    Format, OpenSnapshot, Progress, ReadOptions, Selection, Threads, read,
};
use serde_json::Value;

use crate::fixture::{Open, item_named, items, text};

fn document(item: &Golden, snapshot: &OpenSnapshot) -> Result<Value, String> {
    let text = text(snapshot, Format::Json, Selection::default())?;
    Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", item.name)))
}

#[test]
fn every_readable_snapshot_of_flink_holds_exactly_what_its_sidecar_says() {
    let (mut equal, mut rows, mut refused) = (BTreeMap::<String, u32>::new(), 0, Vec::new());
    for item in items() {
        let snapshot = item.open();
        let found = match document(&item, &snapshot) {
            Ok(found) => found,
            Err(error) => {
                // Nothing but the files of a RocksDB, and said so.
                let native = item.name.contains("rocksdb") && !item.name.contains("canonical");
                assert!(native, "{}: {error}", item.name);
                assert!(error.contains("RocksDB"), "{}: {error}", item.name);
                refused.push(item.name);
                continue;
            }
        };
        rows += check_content(&item, &found);
        let release = item.name.split('/').next().expect("a release").to_owned();
        *equal.entry(release).or_default() += 1;
    }
    println!(
        "equal: {equal:?}, {rows} rows; refused as RocksDB: {}",
        refused.len()
    );
    assert!(equal.values().sum::<u32>() >= 40, "{equal:?}");
    assert!(rows > 5000, "{rows} rows");
}

#[test]
fn any_number_of_threads_writes_the_same_document() {
    let snapshot = item_named("2.3.0/kinds-rocksdb-canonical").open();
    let options = ReadOptions {
        selection: Selection::default(),
        format: Format::Json,
        ttl: false,
        limit: None,
    };
    let text = |threads: usize| {
        let mut text = Vec::new();
        let threads = Threads(threads.try_into().expect("not zero"));
        read(
            &snapshot,
            &options,
            threads,
            &Progress::default(),
            &mut text,
        )
        .expect("whole");
        text
    };
    assert_eq!(text(1), text(7));
}

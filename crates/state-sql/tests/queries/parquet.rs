//! Parquet files hold what the sidecar says, read back by the Parquet crate.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use millpond_state_processor::{Format, OpenSnapshot, Progress, ReadOptions, Selection, Threads};
use millpond_state_sql::{Error, ErrorKind, export};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value as Json, json};

use crate::fixture::{Open, item_named};

fn read_back(file: &Path) -> Vec<RecordBatch> {
    let file = File::open(file).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet");
    let batches = reader.build().expect("columns");
    batches.map(|batch| batch.expect("rows")).collect()
}

fn export_to(
    snapshot: OpenSnapshot,
    selection: Selection,
    limit: Option<u64>,
    file: &Path,
) -> Result<u64, Error> {
    let options = ReadOptions {
        selection,
        format: Format::Table,
        ttl: false,
        limit,
    };
    let progress = Arc::new(Progress::default());
    export(snapshot, &options, Threads::default(), &progress, file)
}

fn of(operator: &str, state: &str) -> Selection {
    Selection {
        operator: Some(operator.to_owned()),
        state: Some(state.to_owned()),
        ..Selection::default()
    }
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

#[test]
fn a_state_of_pojos_is_read_back_field_by_field() {
    let item = item_named("2.3.0/kinds-hashmap-canonical");
    let directory = tempfile::tempdir().expect("room");
    let file = directory.path().join("pojo.parquet");
    let rows = export_to(item.open(), of("all-kinds", "value-pojo"), None, &file).expect("done");
    let expected = item.keyed_state("all-kinds", "value-pojo");
    assert_eq!(rows as usize, expected.len());
    let mut found = Vec::new();
    for batch in read_back(&file) {
        let keys = batch
            .column_by_name("key")
            .expect("keys")
            .as_string::<i32>();
        let values = batch.column_by_name("value").expect("values").as_struct();
        let field = |name: &str| values.column_by_name(name).expect("a field");
        let (name, note) = (
            field("name").as_string::<i32>(),
            field("note").as_string::<i32>(),
        );
        let score = field("score").as_primitive::<Int64Type>();
        let ratio = field("ratio").as_primitive::<Float64Type>();
        let active = field("active").as_boolean();
        for row in 0..batch.num_rows() {
            let note = (!note.is_null(row)).then(|| note.value(row));
            let row = json!([
                keys.value(row),
                name.value(row),
                score.value(row),
                ratio.value(row),
                active.value(row),
                note
            ]);
            found.push(row.to_string());
        }
    }
    let expected = expected.iter().map(|row| {
        let pojo = &row[1];
        let fields = ["name", "score", "ratio", "active", "note"].map(|name| pojo[name].clone());
        let row: Vec<Json> = [row[0].clone()].into_iter().chain(fields).collect();
        Json::Array(row).to_string()
    });
    assert_eq!(sorted(found), sorted(expected.collect()));
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("there")
        .collect();
    assert_eq!(left.len(), 1, "no other file is left");
}

#[test]
fn answers_are_parquet_too_and_failures_leave_no_file() {
    let item = item_named("2.3.0/count-stringkey-hashmap-canonical");
    let directory = tempfile::tempdir().expect("room");
    let file = directory.path().join("answer.parquet");
    let database = item.database();
    let sql = "select key, value * 2 as twice from counter.count order by key";
    assert_eq!(database.query_to_parquet(sql, &file).expect("done"), 40);
    let mut found = Vec::new();
    for batch in read_back(&file) {
        let keys = batch.column(0).as_string::<i32>();
        let twice = batch.column(1).as_primitive::<Int64Type>();
        found.extend(
            (0..batch.num_rows())
                .map(|row| json!([keys.value(row), twice.value(row) / 2]).to_string()),
        );
    }
    let expected = item.keyed_state("counter", "count");
    assert_eq!(
        found,
        sorted(expected.iter().map(Json::to_string).collect())
    );
    std::fs::remove_file(&file).expect("there");
    let sql = "select 1 / (value - value) from counter.count";
    database
        .query_to_parquet(sql, &file)
        .expect_err("a division by zero");
    assert_eq!(
        std::fs::read_dir(directory.path()).expect("there").count(),
        0
    );
}

#[test]
fn lists_operator_state_filters_and_limits_are_written() {
    let directory = tempfile::tempdir().expect("room");
    let file = directory.path().join("f.parquet");
    let export = |name: &str, selection: Selection, limit: Option<u64>| {
        let rows = export_to(item_named(name).open(), selection, limit, &file)?;
        let found: usize = read_back(&file).iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows as usize, found);
        Ok::<_, Error>(rows)
    };
    let kinds = "2.3.0/kinds-hashmap-native";
    let elements: usize = item_named(kinds)
        .keyed_state("all-kinds", "list-long")
        .iter()
        .map(|row| row[1].as_array().map_or(0, Vec::len))
        .sum();
    let list = of("all-kinds", "list-long");
    assert_eq!(
        export(kinds, list.clone(), None).expect("done") as usize,
        elements
    );
    assert_eq!(export(kinds, list.clone(), Some(7)).expect("done"), 7);
    let key = Selection {
        key: Some("key-0".to_owned()),
        ..list
    };
    assert_eq!(export(kinds, key, None).expect("done"), 5);
    let operator = "2.3.0/opstate-hashmap-canonical";
    assert_eq!(
        export(operator, of("rules-join", "rules"), None).expect("done"),
        9
    );
    assert_eq!(
        export(operator, of("op-state", "split-list"), Some(3)).expect("done"),
        3
    );
    let timers = "2.3.0/timers-hashmap-canonical";
    assert_eq!(
        export(timers, of("timers", "timers"), None).expect("done"),
        76
    );
    let all = export(kinds, Selection::default(), None).expect_err("several states");
    assert!(matches!(all.kind(), ErrorKind::Query { .. }), "{all:?}");
    assert!(
        all.to_string()
            .contains("--uid \"all-kinds\" --state \"list-long\""),
        "{all}"
    );
}

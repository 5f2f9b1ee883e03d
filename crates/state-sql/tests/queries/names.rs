//! What a table is called, and what is said of names that mean none or several.

use millpond_state_sql::ErrorKind;
use serde_json::Value as Json;

use crate::fixture::{Open, cell, item_named, rows};

fn refused(database: &millpond_state_sql::Database, sql: &str) -> String {
    let error = rows(database, sql).expect_err("makes no sense");
    let is_query = matches!(error.kind(), ErrorKind::Query { .. });
    assert!(is_query, "{sql}: {error:?}");
    error.to_string()
}

#[test]
fn a_state_is_found_by_uid_by_id_by_its_bare_name_and_in_any_case() {
    // Flink 1.15 writes no uids: they are found by their hashes.
    for release in ["1.15.4", "2.3.0"] {
        let name = format!("{release}/count-stringkey-hashmap-canonical");
        let database = item_named(&name).database();
        for table in [
            "counter.count",
            "\"counter\".\"count\"",
            "\"0da08f51eaa85fc298e176a139b3649a\".count",
            "count",
            "counter.COUNT",
            "snapshot.counter.count",
        ] {
            let sql = format!("select count(*) from {table}");
            assert_eq!(cell(&database, &sql), 40, "{release} {table}");
        }
    }
    let database = item_named("2.3.0/count-stringkey-hashmap-canonical").database();
    assert_eq!(cell(&database, "select count(*) from Counter.Count"), 40);
}

#[test]
fn a_bare_name_that_several_operators_have_is_refused_with_their_names() {
    let database = item_named("2.3.0/opstate-hashmap-canonical").database();
    let error = refused(&database, "select * from offsets");
    for part in [
        "several operators",
        "\"source\".\"offsets\"",
        "\"rule-source\".\"offsets\"",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_is_not_there_is_told_in_the_words_of_the_planner() {
    let database = item_named("2.3.0/count-stringkey-hashmap-canonical").database();
    for (sql, told) in [
        ("select * from nothing", "nothing"),
        ("select * from counter.nothing", "nothing"),
        ("select * from nobody.count", "nobody"),
        ("select nothing from counter.count", "nothing"),
        ("selec 1", "selec"),
        ("select 1; select 2", "statement"),
        ("create table t as select 1", "DDL"),
        ("copy (select 1) to '/tmp/x.csv'", "DML"),
        ("set datafusion.execution.batch_size = 1", "tatement"),
    ] {
        let error = refused(&database, sql);
        assert!(error.contains(told), "{sql}: {error}");
        assert!(
            !error.contains("backtrace") && !error.contains("External"),
            "{error}"
        );
    }
    let error = rows(&database, "select 1 / (value - value) from counter.count").expect_err("0");
    assert!(
        matches!(error.kind(), ErrorKind::Failed { .. }),
        "{error:?}"
    );
}

#[test]
fn tables_are_listed_and_described() {
    let database = item_named("2.3.0/kinds-hashmap-canonical").database();
    let tables = rows(&database, "show tables").expect("an answer");
    let has = |schema: &str, table: &str| {
        tables
            .iter()
            .any(|row| row["table_schema"] == schema && row["table_name"] == table)
    };
    assert!(
        has("all-kinds", "value-long") && has("source", "offsets"),
        "{tables:?}"
    );
    for name in [
        "files",
        "operators",
        "snapshots",
        "source_offsets",
        "states",
    ] {
        assert!(has("metadata", name), "{name}");
    }
    let columns = rows(&database, "describe \"all-kinds\".\"map-long-long\"").expect("an answer");
    let names: Vec<&Json> = columns.iter().map(|row| &row["column_name"]).collect();
    assert_eq!(names, ["key", "key_group", "map_key", "value"]);
    assert_eq!(columns[2]["data_type"], "Int64");
}

#[test]
fn metadata_tables_tell_what_a_snapshot_holds() {
    let database = item_named("2.3.0/files-kinds-hashmap-canonical").database();
    let sql = "select state, kind, value_type from states where uid = 'all-kinds' and kind <> 'timers' \
               order by state";
    let states = rows(&database, sql).expect("an answer");
    assert_eq!(states.len(), 9);
    assert_eq!(states[0]["kind"], "aggregating");
    assert_eq!(states[0]["value_type"], "tuple(long,long)");
    let sql =
        "select parallelism, max_parallelism, key_type from operators where uid = 'all-kinds'";
    let operator = rows(&database, sql).expect("an answer").remove(0);
    let numbers = (&operator["parallelism"], &operator["max_parallelism"]);
    assert_eq!(numbers, (&Json::from(2), &Json::from(128)));
    let sql = "select count(*) from files where location like 'file:%' and holds = 'keyed state'";
    assert_eq!(cell(&database, sql), 2);
    let sql = "select s.state_bytes - f.bytes from snapshots s, (select sum(bytes) as bytes from \
               files) f where s.queried";
    assert_eq!(cell(&database, sql), 0);
    // A Flink source of numbers: its splits are understood.
    let database = item_named("2.3.0/newsource-count-hashmap-canonical").database();
    let offsets = rows(&database, "select * from source_offsets").expect("an answer");
    assert!(!offsets.is_empty());
    for row in &offsets {
        assert_eq!(row["uid"], "sequence");
        assert!(
            row["position"].is_i64() && row["split"].is_string(),
            "{row}"
        );
    }
}

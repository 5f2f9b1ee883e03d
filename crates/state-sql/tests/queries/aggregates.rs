//! Sums, joins and filters give the numbers that are computed from the sidecar by other means.

use std::path::Path;

use millpond_state_processor::Format;
use serde_json::{Value as Json, json};

use crate::fixture::{Open, cell, item_named, rows, text};

#[test]
fn sums_and_counts_are_those_of_the_sidecar() {
    let item = item_named("2.3.0/kinds-hashmap-canonical");
    let database = item.database();
    let values = item.keyed_state("all-kinds", "value-long");
    let numbers: Vec<i64> = values.iter().filter_map(|row| row[1].as_i64()).collect();
    let sql = "select count(*) as n, sum(value) as s, min(value) as least, max(value) as most \
               from \"all-kinds\".\"value-long\"";
    let expected = json!({
        "n": numbers.len(),
        "s": numbers.iter().sum::<i64>(),
        "least": numbers.iter().min(),
        "most": numbers.iter().max(),
    });
    assert_eq!(rows(&database, sql).expect("an answer"), [expected]);
    // Without any column: entries are counted undecoded.
    for (state, kind) in [
        ("value-pojo", "value"),
        ("map-long-long", "map"),
        ("list-long", "list"),
    ] {
        let content = item.keyed_state("all-kinds", state);
        let expected: usize = content
            .iter()
            .map(|row| match (&row[1], kind) {
                (Json::Object(entries), "map") => entries.len(),
                (Json::Array(elements), "list") => elements.len(),
                _ => 1,
            })
            .sum();
        let sql = format!("select count(*) from \"all-kinds\".\"{state}\"");
        assert_eq!(cell(&database, &sql), expected, "{state}");
    }
    let distinct = "select count(distinct key_group) from \"value-long\"";
    assert!(
        cell(&database, distinct)
            .as_u64()
            .is_some_and(|groups| groups > 1)
    );
}

#[test]
fn fields_of_pojos_are_columns_and_states_join_by_key() {
    let item = item_named("1.20.5/kinds-rocksdb-canonical");
    let database = item.database();
    let sql = "select p.value.name as name, p.value.score - l.value as rest \
               from \"value-pojo\" p join \"value-long\" l on p.key = l.key \
               where p.value.ratio > 10 order by name";
    let found = rows(&database, sql).expect("an answer");
    let longs = item.keyed_state("all-kinds", "value-long");
    let mut expected: Vec<Json> = item
        .keyed_state("all-kinds", "value-pojo")
        .iter()
        .filter(|row| row[1]["ratio"].as_f64().is_some_and(|ratio| ratio > 10.0))
        .filter_map(|row| {
            let long = longs.iter().find(|long| long[0] == row[0])?;
            let rest = row[1]["score"].as_i64()? - long[1].as_i64()?;
            Some(json!({"name": row[1]["name"], "rest": rest}))
        })
        .collect();
    expected.sort_by_key(|row| row["name"].to_string());
    assert!(expected.len() > 3);
    assert_eq!(found, expected);
}

#[test]
fn a_key_that_is_asked_for_is_found_whatever_its_type() {
    let count = |name: &str, filter: &str| {
        let database = item_named(name).database();
        cell(
            &database,
            &format!("select count(*) from counter.count where {filter}"),
        )
    };
    let text = "2.3.0/count-stringkey-hashmap-canonical";
    assert_eq!(count(text, "key = 'key-1'"), 1);
    assert_eq!(count(text, "'key-1' = key"), 1);
    assert_eq!(count(text, "key = 'key-1' and key = 'key-2'"), 0);
    assert_eq!(count(text, "key in ('key-1', 'key-2')"), 2);
    assert_eq!(count(text, "key = 'no such key'"), 0);
    assert_eq!(count(text, "key <> 'key-1'"), 39);
    for name in [
        "1.15.4/count-longkey-hashmap-native",
        "1.15.4/count-intkey-hashmap-canonical",
    ] {
        let item = item_named(name);
        let content = item.keyed_state("counter", "count");
        for row in &content {
            assert_eq!(
                count(name, &format!("key = {}", row[0])),
                1,
                "{name} {}",
                row[0]
            );
        }
        assert_eq!(count(name, "key = 123456789"), 0, "{name}");
        assert_eq!(count(name, "key = 1.5"), 0, "{name}");
    }
    let pair = "2.3.0/count-tuplekey-hashmap-canonical";
    assert_eq!(count(pair, "key.f0 = 'key-0' and key.f1 = -7"), 1);
}

#[test]
fn one_key_reads_one_key_group() {
    let database = item_named("2.3.0/count-stringkey-hashmap-canonical").database();
    let plan = |sql: &str| {
        let plan = rows(&database, &format!("explain {sql}")).expect("a plan");
        plan.last().expect("a physical plan")["plan"].to_string()
    };
    let all = plan("select value from counter.count");
    let one = plan("select value from counter.count where key = 'key-1'");
    assert!(all.contains("partition_sizes=2"), "{all}");
    assert!(one.contains("partition_sizes=1"), "{one}");
}

#[test]
fn time_to_live_windows_and_timers_have_columns_of_their_own() {
    let database = item_named("2.3.0/ttl-hashmap-canonical").database();
    let sql = "select count(*) from \"with-ttl\".\"ttl-list\" where last_access > 0";
    assert_eq!(cell(&database, sql), 60);
    let item = item_named("2.3.0/window-hashmap-canonical");
    let database = item.database();
    let sql = "select w.namespace.start as start, count(*) as n from \"window-contents\" w \
               group by w.namespace.start order by start";
    let found = rows(&database, sql).expect("an answer");
    let windows: usize = found
        .iter()
        .filter_map(|row| row["n"].as_u64())
        .sum::<u64>() as usize;
    assert_eq!(
        windows,
        item.keyed_state("window-sum", "window-contents").len()
    );
    // A window fires at its last millisecond.
    let sql = "select count(*) from \"window-sum\".timers where timestamp = namespace.end - 1";
    assert_eq!(cell(&database, sql), 60);
}

#[test]
fn every_format_shows_the_same_rows() {
    let database = item_named("2.3.0/kinds-hashmap-canonical").database();
    let sql = "select key, value from \"value-pojo\" where key in ('key-0', 'key-4') order by key";
    let csv = text(&database, sql, Format::Csv).expect("an answer");
    assert!(
        csv.starts_with("key,value\nkey-0,\"{\"\"active\"\":false,"),
        "{csv}"
    );
    let table = text(&database, sql, Format::Table).expect("an answer");
    assert!(
        table.starts_with("key    value\nkey-0  {\"active\":false,"),
        "{table}"
    );
    let json: Json = serde_json::from_str(&text(&database, sql, Format::Json).expect("an answer"))
        .expect("an array");
    assert_eq!(json, Json::Array(rows(&database, sql).expect("an answer")));
    let nothing = "select key from \"value-pojo\" where false";
    assert_eq!(
        text(&database, nothing, Format::Csv).expect("an answer"),
        "key\n"
    );
    assert_eq!(
        text(&database, nothing, Format::Table).expect("an answer"),
        "key\n"
    );
    let json = text(&database, nothing, Format::Json).expect("an answer");
    assert_eq!(
        serde_json::from_str::<Json>(&json).expect("JSON"),
        json!([])
    );
}

#[test]
fn the_example_of_the_documentation_is_true() {
    let database = item_named("2.3.0/kinds-hashmap-canonical").database();
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/toolbox.md");
    let book = std::fs::read_to_string(book).expect("the book");
    let (_, example) = book
        .split_once("$ millpond state sql savepoint-5a1c '\n")
        .expect("an example");
    let (sql, rest) = example.split_once("'\n").expect("a query");
    let (expected, _) = rest.split_once("```").expect("an end");
    assert_eq!(
        text(&database, sql, Format::Table).expect("an answer"),
        expected
    );
}

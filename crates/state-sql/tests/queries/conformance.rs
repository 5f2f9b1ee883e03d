//! Every table of every readable snapshot of Flink has exactly the rows that the sidecar tells.

use std::collections::BTreeMap;

use millpond_state_sql::Database;
use serde_json::{Map, Value as Json, json};

use crate::fixture::{Open, items, rows};

/// A cell as a sidecar writes it: structs of tuples, rows and windows are arrays there.
fn plain(cell: &Json) -> Json {
    match cell {
        Json::Object(fields) => {
            let is_numbered = |(index, name): (usize, &String)| {
                *name == format!("f{index}") || (name == "kind" && index + 1 == fields.len())
            };
            let is_tuple = fields.contains_key("f0") && fields.keys().enumerate().all(is_numbered);
            let is_window = fields.len() == 2 && fields.contains_key("start");
            let values = fields.iter().filter(|(name, _)| *name != "kind");
            match is_tuple || is_window {
                true => match is_window {
                    true => json!([fields["start"], fields["end"]]),
                    false => Json::Array(values.map(|(_, value)| plain(value)).collect()),
                },
                false => {
                    let fields = fields.iter();
                    Json::Object(fields.map(|(k, v)| (k.clone(), plain(v))).collect())
                }
            }
        }
        Json::Array(items) => Json::Array(items.iter().map(plain).collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => cell.clone(),
    }
}

fn bare(json: &Json) -> String {
    json.as_str()
        .map_or_else(|| json.to_string(), str::to_owned)
}

fn sorted(rows: impl IntoIterator<Item = Json>) -> Vec<String> {
    let mut rows: Vec<String> = rows.into_iter().map(|row| row.to_string()).collect();
    rows.sort();
    rows
}

/// The front of a row in a sidecar: key, and namespace if there is one.
fn front(row: &Json) -> Vec<Json> {
    let columns = ["key", "namespace"].map(|name| row.get(name));
    columns.into_iter().flatten().map(plain).collect()
}

fn with_value(row: &Json, column: &str) -> Json {
    let mut out = front(row);
    out.push(plain(&row[column]));
    Json::Array(out)
}

/// The key of a list, and its elements by position.
type ListOfKey = (Vec<Json>, Vec<(i64, Json)>);

/// The rows of a table as the content of a keyed state.
fn content(kind: &str, rows: &[Json]) -> Vec<String> {
    let mut lists: BTreeMap<String, ListOfKey> = BTreeMap::new();
    let mut maps: BTreeMap<String, (Vec<Json>, Map<String, Json>)> = BTreeMap::new();
    for row in rows {
        let key = front(row);
        let group = Json::Array(key.clone()).to_string();
        match kind {
            "list" => {
                let position = row["position"].as_i64().expect("a position");
                let (_, elements) = lists.entry(group).or_insert((key, Vec::new()));
                elements.push((position, plain(&row["value"])));
            }
            "map" => {
                let (_, entries) = maps.entry(group).or_insert((key, Map::new()));
                entries.insert(bare(&plain(&row["map_key"])), plain(&row["value"]));
            }
            _ => {}
        }
    }
    match kind {
        "list" => sorted(lists.into_values().map(|(mut key, mut elements)| {
            elements.sort_by_key(|(position, _)| *position);
            let positions = elements.iter().map(|(position, _)| *position);
            assert!(positions.eq(0..elements.len() as i64));
            key.push(elements.into_iter().map(|(_, element)| element).collect());
            Json::Array(key)
        })),
        "map" => sorted(maps.into_values().map(|(mut key, entries)| {
            key.push(Json::Object(entries));
            Json::Array(key)
        })),
        _ => sorted(rows.iter().map(|row| with_value(row, "value"))),
    }
}

/// Compares the tables of an operator; returns how many rows they have.
fn compare(database: &Database, name: &str, operator: &Json) -> usize {
    let schema = operator["operator_id"].as_str().expect("an id");
    let table = |state: &Json| {
        let sql = format!(
            "select * from \"{schema}\".\"{}\"",
            state["name"].as_str().expect("a name")
        );
        let found = rows(database, &sql);
        found.unwrap_or_else(|error| panic!("{name}: {sql}: {error}"))
    };
    let of = |name: &str| operator[name].as_array().cloned().unwrap_or_default();
    let expected = |content: &Json| sorted(content.as_array().expect("content").clone());
    let mut count = 0;
    for state in of("keyed_states") {
        let found = table(&state);
        let kind = state["kind"].as_str().expect("a kind");
        assert_eq!(
            content(kind, &found),
            expected(&state["content"]),
            "{name} {}",
            state["name"]
        );
        assert!(found.iter().all(|row| row["key_group"].is_u64()));
        count += found.len();
    }
    for state in of("operator_states") {
        let found = table(&state);
        let as_written = found.iter().map(|row| match row.get("map_key") {
            Some(key) => json!([plain(key), plain(&row["value"])]),
            None => plain(&row["value"]),
        });
        assert_eq!(
            sorted(as_written),
            expected(&state["content"]),
            "{name} {}",
            state["name"]
        );
        count += found.len();
    }
    if operator["timers"].is_object() {
        let sql = format!("select * from \"{schema}\".timers");
        let found = rows(database, &sql).unwrap_or_else(|error| panic!("{name}: {sql}: {error}"));
        for domain in ["event", "processing"] {
            let of_domain = found.iter().filter(|row| row["domain"] == domain);
            let timers = sorted(of_domain.map(|row| with_value(row, "timestamp")));
            assert_eq!(
                timers,
                expected(&operator["timers"][domain]),
                "{name} {domain}"
            );
        }
        let service = &operator["timers"]["service"];
        assert!(found.iter().all(|row| row["service"] == *service), "{name}");
        count += found.len();
    }
    count
}

#[test]
fn every_table_has_exactly_the_rows_of_the_sidecar() {
    let (mut snapshots, mut count) = (0, 0);
    for item in items() {
        if item.name.contains("rocksdb") && !item.name.contains("canonical") {
            continue;
        }
        let database = item.database();
        for operator in item.sidecar["operators"].as_array().expect("operators") {
            // Of sources of the new kind the sidecar leaves out what only they understand.
            if operator.get("note").is_none() {
                count += compare(&database, &item.name, operator);
            }
        }
        snapshots += 1;
    }
    println!("{snapshots} snapshots, {count} rows");
    assert!(
        snapshots >= 40 && count > 5000,
        "{snapshots} snapshots, {count} rows"
    );
}

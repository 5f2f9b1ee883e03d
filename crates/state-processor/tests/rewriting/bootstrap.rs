//! Savepoints made from rows: what is refused, and what passes from an existing savepoint.

use std::sync::Arc;

use millpond_fs::LocalFileSystem;
use millpond_state_processor::{NewSavepoint, OperatorRows, SavepointOptions};
use millpond_types::OperatorId;

use crate::fixture::{content, golden_named, load_from, location};

#[test]
fn one_operator_is_given_anew_and_all_others_pass_as_they_are() {
    let golden = golden_named("2.3.0/opstate-hashmap-canonical");
    let from = golden.load();
    let home = tempfile::tempdir().expect("room");
    let to = home.path().join("out");
    let options = SavepointOptions::default();
    let fs = Arc::new(LocalFileSystem);
    let mut savepoint =
        NewSavepoint::from_existing(&from, fs, &location(&to), options).expect("room");
    let offsets = |uid: &str| {
        OperatorRows::new(uid, 2, 128).and_then(|rows| rows.split("offsets", [1000i64, 2000]))
    };
    let error = savepoint.add(offsets("source").expect("fits"));
    assert!(error.expect_err("there").to_string().contains("already"));
    savepoint.remove("source").expect("there");
    assert!(savepoint.remove("source").is_err());
    assert!(savepoint.remove("nobody").is_err());
    savepoint
        .add(offsets("source").expect("fits"))
        .expect("room");
    savepoint.finish().expect("room");
    let new = load_from(&to);
    assert!(new.verify().is_empty());
    assert_eq!(new.metadata.checkpoint_id, from.metadata.checkpoint_id);
    let source = OperatorId::of_uid("source");
    for old in &from.metadata.operators {
        let new = new.metadata.operator(old.id).expect("there");
        assert_eq!(new.subtasks == old.subtasks, old.id != source);
    }
    let lists = content(&new).lists;
    let of_source = lists.iter().filter(|row| row.0 == source.to_string());
    let elements: Vec<_> = of_source.map(|row| row.2.clone()).collect();
    assert_eq!(elements, [1000i64.to_be_bytes(), 2000i64.to_be_bytes()]);
}

#[test]
fn rows_that_contradict_each_other_are_refused_and_leave_nothing() {
    let home = tempfile::tempdir().expect("room");
    let to = home.path().join("out");
    let fs = Arc::new(LocalFileSystem);
    let options = SavepointOptions::default();
    let mut savepoint = NewSavepoint::create(fs, &location(&to), options).expect("room");
    let mut rows = savepoint.keyed_rows::<i64>(128);
    let value = rows.value::<i64>("value").expect("new");
    assert!(rows.map::<i64, i64>("value").is_err());
    for number in [1, 2] {
        rows.put(&value, &7, &number).expect("room");
    }
    let operator = OperatorRows::new("op", 2, 128).and_then(|operator| operator.keyed(rows));
    let error = savepoint
        .add(operator.expect("fits"))
        .expect_err("two values");
    assert!(
        error.to_string().contains("\"value\" has two values"),
        "{error}"
    );
    let other = savepoint.keyed_rows::<i64>(64);
    let operator = OperatorRows::new("op", 2, 128).expect("possible");
    assert!(operator.keyed(other).is_err());
    assert!(OperatorRows::new("op", 3, 2).is_err());
    let twice = OperatorRows::new("op", 1, 1).and_then(|rows| rows.split("a", [1i64]));
    assert!(twice.expect("new").union("a", [1i64]).is_err());
    drop(savepoint);
    assert!(!to.exists());
}

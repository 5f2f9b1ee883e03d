//! Edits change what they say, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond_fs::{FileSystem, LocalFileSystem};
use millpond_serializer::{ByteReader, FlinkKey, FlinkType, TimeWindow, VoidNamespace};
use millpond_snapshot::{KeyedFormat, LoadedSnapshot};
use millpond_state_processor::{ConvertOptions, Edit, EditOptions, EditReport, convert, edit};
use millpond_types::{KeyGroup, OperatorId};

use crate::fixture::{Content, Row, content, golden, golden_named, load_from, location};

fn parse(edits: &[&str]) -> Vec<Edit> {
    let edits = edits.iter();
    edits
        .map(|text| text.parse().unwrap_or_else(|e| panic!("{e}")))
        .collect()
}

struct Edited {
    _home: tempfile::TempDir,
    snapshot: LoadedSnapshot,
    report: EditReport,
}

impl Edited {
    fn counts(&self) -> Vec<u64> {
        self.report.edits.iter().map(|(_, count)| *count).collect()
    }
}

fn edited(from: &LoadedSnapshot, edits: &[&str]) -> Edited {
    let home = tempfile::tempdir().expect("room");
    let to = home.path().join("out");
    let options = EditOptions::default();
    let fs = Arc::new(LocalFileSystem);
    let report = edit(from, fs, &location(&to), &parse(edits), &options)
        .unwrap_or_else(|e| panic!("{edits:?}: {e}"));
    let snapshot = load_from(&to);
    assert!(snapshot.verify().is_empty(), "{:?}", snapshot.verify());
    let trailer = snapshot.metadata.trailer.as_ref().expect("one");
    assert_eq!(trailer.parent, Some(from.directory.to_string()));
    let log = std::fs::read_to_string(home.path().join("out.edits.json")).expect("beside");
    for edit in edits {
        let quoted = serde_json::to_string(edit.trim()).expect("a text");
        assert!(log.contains(&quoted), "{log}");
    }
    Edited {
        _home: home,
        snapshot,
        report,
    }
}

fn refusal(from: &LoadedSnapshot, edits: &[&str]) -> String {
    let home = tempfile::tempdir().expect("room");
    let to = home.path().join("out");
    let options = EditOptions::default();
    let fs = Arc::new(LocalFileSystem);
    let error = edit(from, fs, &location(&to), &parse(edits), &options).expect_err("refused");
    assert!(!to.exists() && !home.path().join("out.edits.json").exists());
    error.to_string()
}

/// The same snapshot in both formats.
fn in_both_formats(name: &str) -> Vec<(tempfile::TempDir, LoadedSnapshot)> {
    let formats = [KeyedFormat::Canonical, KeyedFormat::NativeHeap];
    let snapshots = formats.into_iter().map(|format| {
        let home = tempfile::tempdir().expect("room");
        let to = home.path().join("in");
        let options = ConvertOptions {
            format: Some(format),
            ..ConvertOptions::default()
        };
        let from = golden_named(name).load();
        let fs: Arc<dyn FileSystem> = Arc::new(LocalFileSystem);
        convert(&from, fs, &location(&to), &options).expect("converted");
        (home, load_from(&to))
    });
    snapshots.collect()
}

fn id(uid: &str) -> String {
    OperatorId::of_uid(uid).to_string()
}

fn bytes<T: FlinkType>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.write(&mut out);
    out
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// An entry of a text key and the void namespace.
fn row(uid: &str, state: &str, key: &str, user_key: &[u8], value: Vec<u8>) -> Row {
    let group = KeyGroup::of_hash(text(key).hash_code(), 128).0;
    let head = bytes(&(text(key), VoidNamespace));
    (
        id(uid),
        text(state),
        group,
        [&head, user_key].concat(),
        value,
    )
}

/// The rows of one state.
fn of_state<'a>(content: &'a Content, state: &'a str) -> impl Iterator<Item = &'a Row> {
    content.keyed.iter().filter(move |row| row.1 == state)
}

/// Checks that all but one state is as it was, and that state is what is expected.
fn check(old: &Content, new: &Content, state: &str, mut expected: Vec<Row>) {
    let others = old.keyed.iter().filter(|row| row.1 != state);
    expected.extend(others.cloned());
    expected.sort();
    assert!(new.keyed == expected, "{state}");
    assert_eq!((&new.lists, &new.maps), (&old.lists, &old.maps));
    assert_eq!(new.coordinators, old.coordinators);
}

#[test]
fn a_value_is_set_inserted_and_deleted_and_all_else_stays() {
    for (_home, from) in in_both_formats("2.3.0/count-stringkey-hashmap-canonical") {
        let old = content(&from);
        let edited = edited(
            &from,
            &[
                "set counter/count key=key-0 value=-5",
                r#"set counter/count key="a new key" value=7"#,
                r#"delete counter/count where value > 0 and key != "a new key""#,
            ],
        );
        let expected = vec![
            row("counter", "count", "key-0", &[], bytes(&-5i64)),
            row("counter", "count", "a new key", &[], bytes(&7i64)),
        ];
        check(&old, &content(&edited.snapshot), "count", expected);
        assert_eq!(edited.counts(), [1, 1, old.keyed.len() as u64 - 1]);
    }
}

#[test]
fn many_new_keys_land_in_their_key_groups() {
    for (_home, from) in in_both_formats("2.3.0/timers-hashmap-canonical") {
        let old = content(&from);
        let keys: Vec<String> = (0..300).map(|key| format!("new-{key}")).collect();
        let sets = keys
            .iter()
            .map(|key| format!("set timers/last key={key} value=3"));
        let sets: Vec<String> = sets.collect();
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let edited = edited(&from, &sets);
        let rows = keys
            .iter()
            .map(|key| row("timers", "last", key, &[], bytes(&3i64)));
        let expected = rows.chain(of_state(&old, "last").cloned()).collect();
        check(&old, &content(&edited.snapshot), "last", expected);
    }
}

#[test]
fn the_order_of_edits_counts() {
    let from = golden_named("2.3.0/count-stringkey-hashmap-canonical").load();
    for key in ["key-3", "a new key"] {
        let value_of = |edits: &[&str]| {
            let edits: Vec<String> = edits
                .iter()
                .map(|e| e.replace("KEY", &format!("{key:?}")))
                .collect();
            let edits: Vec<&str> = edits.iter().map(String::as_str).collect();
            let new = content(&edited(&from, &edits).snapshot);
            let wanted = bytes(&(text(key), VoidNamespace));
            let mut found = of_state(&new, "count").filter(|row| row.3 == wanted);
            let value = found.next().map(|row| row.4.clone());
            assert!(found.next().is_none());
            value
        };
        let (one, two) = (
            "set counter/count key=KEY value=1",
            "set counter/count key=KEY value=2",
        );
        let delete = "delete counter/count where key=KEY";
        assert_eq!(value_of(&[one, two]), Some(bytes(&2i64)));
        assert_eq!(value_of(&[one, delete]), None);
        assert_eq!(value_of(&[delete, one]), Some(bytes(&1i64)));
        assert_eq!(
            value_of(&[one, "delete counter/count where value = 1"]),
            None
        );
    }
}

#[test]
fn lists_are_set_as_a_whole() {
    for (_home, from) in in_both_formats("2.3.0/kinds-hashmap-canonical") {
        let old = content(&from);
        let edited = edited(
            &from,
            &[
                r#"set all-kinds/list-string key=key-0 value=["a,b", "", "é"]"#,
                "set all-kinds/list-string key=key-1 value=[]",
                r#"delete all-kinds/list-string where value.0 = "no such item""#,
            ],
        );
        let gone = bytes(&(text("key-1"), VoidNamespace));
        let set = bytes(&(text("key-0"), VoidNamespace));
        let list = [bytes(&text("a,b")), bytes(&text("")), bytes(&text("é"))].join(&b',');
        let mut expected = vec![row("all-kinds", "list-string", "key-0", &[], list)];
        let others = of_state(&old, "list-string").filter(|row| row.3 != gone && row.3 != set);
        expected.extend(others.cloned());
        check(&old, &content(&edited.snapshot), "list-string", expected);
        assert_eq!(edited.counts(), [1, 1, 0]);
    }
}

#[test]
fn maps_are_set_as_a_whole_and_by_entry() {
    for (_home, from) in in_both_formats("2.3.0/kinds-hashmap-canonical") {
        let old = content(&from);
        let edited = edited(
            &from,
            &[
                r#"set all-kinds/map-string-long key=key-0 value={"x": 1, "y": 2}"#,
                "set all-kinds/map-string-long key=key-1 user_key=new value=5",
                "set all-kinds/map-string-long key=a-new-key user_key=u value=6",
                "set all-kinds/map-string-long key=a-new-key user_key=v value=7",
                "delete all-kinds/map-string-long where key=key-2 and value >= 0",
            ],
        );
        let state = "map-string-long";
        let value = |value: i64| [vec![0], bytes(&value)].concat();
        let entry = |key: &str, user: &str, number: i64| {
            row("all-kinds", state, key, &bytes(&text(user)), value(number))
        };
        let head = |key: &str| bytes(&(text(key), VoidNamespace));
        let mut expected: Vec<Row> = of_state(&old, state)
            .filter(|row| !row.3.starts_with(&head("key-0")) && !row.3.starts_with(&head("key-2")))
            .cloned()
            .collect();
        expected.extend([
            entry("key-0", "x", 1),
            entry("key-0", "y", 2),
            entry("key-1", "new", 5),
            entry("a-new-key", "u", 6),
            entry("a-new-key", "v", 7),
        ]);
        check(&old, &content(&edited.snapshot), state, expected);
    }
}

#[test]
fn a_field_of_an_object_selects_entries() {
    for (_home, from) in in_both_formats("2.3.0/kinds-hashmap-canonical") {
        let old = content(&from);
        let edit = r#"delete all-kinds/value-pojo where value.name != "key-0""#;
        let edited = edited(&from, &[edit]);
        let head = bytes(&(text("key-0"), VoidNamespace));
        let kept = of_state(&old, "value-pojo").filter(|row| row.3 == head);
        check(
            &old,
            &content(&edited.snapshot),
            "value-pojo",
            kept.cloned().collect(),
        );
    }
}

#[test]
fn values_with_time_to_live_get_the_time_of_the_edit() {
    let from = golden_named("2.3.0/ttl-hashmap-canonical").load();
    let home = tempfile::tempdir().expect("room");
    let to = home.path().join("out");
    let options = EditOptions {
        now_ms: 77,
        ..EditOptions::default()
    };
    let edits = parse(&[
        "set with-ttl/ttl-value key=key-0 value=5",
        r#"set with-ttl/ttl-map key=key-0 value={"a": 1}"#,
    ]);
    let fs = Arc::new(LocalFileSystem);
    edit(&from, fs, &location(&to), &edits, &options).expect("fits");
    let new = content(&load_from(&to));
    let value = [bytes(&77i64), bytes(&5i64)].concat();
    let expected = row("with-ttl", "ttl-value", "key-0", &[], value);
    assert!(new.keyed.contains(&expected));
    let value = [vec![0], bytes(&77i64), bytes(&1i64)].concat();
    let expected = row("with-ttl", "ttl-map", "key-0", &bytes(&text("a")), value);
    assert!(new.keyed.contains(&expected));
}

#[test]
fn timers_are_shifted_and_deleted() {
    for (_home, from) in in_both_formats("2.3.0/timers-hashmap-canonical") {
        let old = content(&from);
        let state = "_timer_state/event_user-timers";
        let new = content(&edited(&from, &["shift-timers timers event by -1 h"]).snapshot);
        let shifted = of_state(&old, state).cloned().map(|mut row| {
            let time = i64::from_be_bytes(*row.3.first_chunk().expect("8 bytes")) ^ i64::MIN;
            let moved = (time - 3_600_000) ^ i64::MIN;
            row.3[..8].copy_from_slice(&moved.to_be_bytes());
            row
        });
        check(&old, &new, state, shifted.collect());
        let delete = format!("delete timers/{state} where key = key-0 and timestamp > 0");
        let edited = edited(&from, &[&delete]);
        let kept =
            of_state(&old, state).filter(|row| !row.3[8..].starts_with(&bytes(&text("key-0"))));
        check(
            &old,
            &content(&edited.snapshot),
            state,
            kept.cloned().collect(),
        );
        assert!(edited.counts()[0] > 0);
    }
}

#[test]
fn states_are_renamed_and_dropped() {
    for (_home, from) in in_both_formats("2.3.0/kinds-hashmap-canonical") {
        let old = content(&from);
        let edited = edited(
            &from,
            &[
                "rename all-kinds/value-long to total",
                "drop all-kinds/value-string",
                "set all-kinds/total key=key-0 value=1",
                "rename source/offsets to positions",
            ],
        );
        let new = content(&edited.snapshot);
        let mut expected: Vec<Row> = old
            .keyed
            .iter()
            .filter(|row| row.1 != "value-string")
            .cloned()
            .map(|mut row| {
                if row.1 == "value-long" {
                    row.1 = text("total");
                    if row.3 == bytes(&(text("key-0"), VoidNamespace)) {
                        row.4 = bytes(&1i64);
                    }
                }
                row
            })
            .collect();
        expected.sort();
        assert!(new.keyed == expected);
        let names = |content: &Content| -> Vec<String> {
            content.lists.iter().map(|row| row.1.clone()).collect()
        };
        assert!(names(&new).iter().all(|name| name == "positions"));
        assert_eq!(names(&new).len(), names(&old).len());
        let dropped = of_state(&old, "value-string").count() as u64;
        assert_eq!(edited.counts(), [1, dropped, 1, 1]);
    }
}

#[test]
fn another_uid_leaves_every_file_byte_for_byte_the_same() {
    for golden in golden() {
        let from = golden.load();
        let operator = from.metadata.operators.first().expect("one").id;
        let uid = format!("uid {operator} to \"a new uid\"");
        let home = tempfile::tempdir().expect("room");
        let to = home.path().join("out");
        let (fs, options) = (Arc::new(LocalFileSystem), EditOptions::default());
        edit(&from, fs, &location(&to), &parse(&[&uid]), &options).expect("fits");
        for entry in std::fs::read_dir(&golden.directory).expect("there") {
            let entry = entry.expect("an entry");
            if entry.file_name() != "_metadata" {
                let new = std::fs::read(to.join(entry.file_name())).expect("the same name");
                assert!(
                    new == std::fs::read(entry.path()).expect("there"),
                    "{}",
                    golden.name
                );
            }
        }
        let files = |directory| std::fs::read_dir(directory).expect("there").count();
        assert_eq!(files(&to), files(&golden.directory), "{}", golden.name);
        let snapshot = load_from(&to);
        assert_eq!(snapshot.metadata.version, from.metadata.version);
        let new_id = OperatorId::of_uid("a new uid");
        for (new, old) in snapshot
            .metadata
            .operators
            .iter()
            .zip(&from.metadata.operators)
        {
            let expected = if old.id == operator { new_id } else { old.id };
            assert_eq!(new.id, expected);
            // Handles with their inline bytes are the same, too.
            assert_eq!(new.subtasks, old.subtasks, "{}", golden.name);
            assert_eq!(new.coordinator, old.coordinator);
        }
    }
}

#[test]
fn operators_are_dropped_and_given_other_ids() {
    let from = golden_named("2.3.0/opstate-hashmap-canonical").load();
    let hash = "00112233445566778899aabbccddeeff";
    let edited = edited(
        &from,
        &[
            "drop rule-source",
            "uid op-state to renamed",
            &format!("uid-hash source to {hash}"),
            r#"set renamed/split-list value=["x"]"#,
        ],
    );
    let ids: Vec<String> = edited
        .snapshot
        .metadata
        .operators
        .iter()
        .map(|operator| operator.id.to_string())
        .collect();
    let old: Vec<String> = from
        .metadata
        .operators
        .iter()
        .map(|o| o.id.to_string())
        .collect();
    assert_eq!(ids.len(), old.len() - 1);
    assert!(ids.contains(&id("renamed")) && ids.contains(&hash.to_owned()));
    for gone in ["op-state", "source", "rule-source"] {
        assert!(!ids.contains(&id(gone)));
    }
    let renamed = edited
        .snapshot
        .metadata
        .operator(OperatorId::of_uid("renamed"));
    assert_eq!(renamed.expect("there").uid.as_deref(), Some("renamed"));
}

#[test]
fn lists_and_broadcast_maps_of_operators_are_edited() {
    let from = golden_named("2.3.0/opstate-hashmap-canonical").load();
    let old = content(&from);
    let edited = edited(
        &from,
        &[
            "set source/offsets value=[30, 40]",
            r#"delete op-state/union-list where value.1 >= 2"#,
            "set rules-join/rules key=key-1-rule value=-1",
            "set rules-join/rules key=brand-new value=5",
            "delete rules-join/rules where value = 0",
        ],
    );
    let new = content(&edited.snapshot);
    assert_eq!(new.keyed, old.keyed);
    let of = |content: &Content, uid: &str, state: &str| -> Vec<Vec<u8>> {
        let rows = content.lists.iter();
        rows.filter(|row| row.0 == id(uid) && row.1 == state)
            .map(|row| row.2.clone())
            .collect()
    };
    assert_eq!(
        of(&new, "source", "offsets"),
        [bytes(&30i64), bytes(&40i64)]
    );
    assert_eq!(
        of(&new, "op-state", "split-list"),
        of(&old, "op-state", "split-list")
    );
    let number = |element: &Vec<u8>| {
        <(String, i64)>::read(&mut ByteReader::new(element))
            .expect("a pair")
            .1
    };
    let kept = of(&old, "op-state", "union-list");
    let kept: Vec<_> = kept
        .into_iter()
        .filter(|element| number(element) < 2)
        .collect();
    assert!(!kept.is_empty());
    assert_eq!(of(&new, "op-state", "union-list"), kept);
    let rules = |content: &Content| -> BTreeMap<String, i64> {
        let map = &content.maps[&(id("rules-join"), text("rules"))];
        let mut input = ByteReader::new(map);
        let count = input.i32().expect("a count");
        let entry = |_| {
            (
                String::read(&mut input).expect("key"),
                i64::read(&mut input).expect("value"),
            )
        };
        (0..count).map(entry).collect()
    };
    let mut expected = rules(&old);
    expected.insert(text("key-1-rule"), -1);
    expected.insert(text("brand-new"), 5);
    let deleted = expected.len();
    expected.retain(|_, value| *value != 0);
    assert_eq!(rules(&new), expected);
    assert_eq!(edited.counts()[4], (deleted - expected.len()) as u64);
}

#[test]
fn the_position_of_a_split_is_set() {
    let from = golden_named("2.3.0/newsource-count-hashmap-canonical").load();
    let list = content(&from).lists;
    assert!(!list.is_empty());
    // i32 length, i32 version, i32 length, UTF id.
    let split_of = |element: &[u8]| ByteReader::new(&element[12..]).utf().expect("an id");
    let split = split_of(&list[0].2);
    let edited = edited(&from, &[&format!("offset sequence/{split} to 123456")]);
    let new = content(&edited.snapshot).lists;
    assert_eq!(new.len(), list.len());
    let changed = new
        .iter()
        .find(|row| split_of(&row.2) == split)
        .expect("there");
    let at = 14 + split.len();
    assert_eq!(changed.2[at..at + 8], 123_456i64.to_be_bytes());
    assert_eq!(new.iter().filter(|row| !list.contains(row)).count(), 1);
    let told = refusal(&from, &["offset sequence/no-such-split to 1"]);
    assert!(told.contains("no split \"no-such-split\""), "{told}");
}

#[test]
fn edits_that_do_not_fit_are_refused_before_anything_is_written() {
    let load = |name: &str| golden_named(&format!("2.3.0/{name}")).load();
    let (counts, timers) = (
        load("count-stringkey-hashmap-canonical"),
        load("timers-hashmap-canonical"),
    );
    for (edit, told) in [
        (
            "set nobody/count key=a value=1",
            "no operator \"nobody\"; there are",
        ),
        (
            "set counter/sum key=a value=1",
            "no state \"sum\"; there are count",
        ),
        ("set counter/count value=1", "key=JSON is missing"),
        ("set counter/count key=1 value=1", "key:"),
        ("set counter/count key=a value=x", "value:"),
        ("set counter/count key=a user_key=b value=1", "no map"),
        ("set counter/count key=a namespace=5 value=1", "namespace:"),
        (
            "delete counter/count where timestamp > 1",
            "have no timestamp",
        ),
        ("delete source/offsets where key = 1", "have no key"),
        ("set source/offsets value=5", "a list in brackets"),
        ("set source/offsets key=a value=[5]", "only value=JSON"),
        ("rename counter/count to count", "a state \"count\" already"),
        ("uid counter to source", "two operators have the id"),
        ("shift-timers source by 1s", "no such timers"),
        ("offset source/0 to 5", "the positions of a source function"),
    ] {
        let found = refusal(&counts, &[edit]);
        assert!(found.contains(told), "{edit}: {found}");
    }
    for (edit, told) in [
        (
            "rename timers/_timer_state/event_user-timers to x",
            "by their names",
        ),
        (
            "set timers/_timer_state/event_user-timers key=a value=1",
            "shifted or deleted",
        ),
        ("shift-timers timers by 106751991167 d", "cannot be moved"),
    ] {
        let found = refusal(&timers, &[edit]);
        assert!(found.contains(told), "{edit}: {found}");
    }
    let windows = load("window-hashmap-canonical");
    let found = refusal(&windows, &["shift-timers window-sum by 1s"]);
    assert!(found.contains("when their window ends"), "{found}");
    assert!(refusal(&counts, &["drop counter", "drop counter"]).contains("no operator"));
}

#[test]
fn a_window_is_named_by_its_namespace() {
    for (_home, from) in in_both_formats("2.3.0/window-hashmap-canonical") {
        let old = content(&from);
        let edits = [
            r#"set window-sum/window-contents key=key-0 namespace=[12000,16000] value=["key-0", 1, 2]"#,
            "delete window-sum/window-contents where namespace.0 >= 16000",
        ];
        let edited = edited(&from, &edits);
        let new = content(&edited.snapshot);
        let window = TimeWindow {
            start: 12_000,
            end: 16_000,
        };
        let key = bytes(&(text("key-0"), window));
        let value = bytes(&(text("key-0"), 1i64, 2i64));
        let start = |row: &Row| {
            let mut input = ByteReader::new(&row.3);
            String::read(&mut input).expect("a key");
            TimeWindow::read(&mut input).expect("a window").start
        };
        let mut expected: Vec<Row> = of_state(&old, "window-contents")
            .filter(|row| start(row) < 16_000)
            .cloned()
            .collect();
        let set = expected.iter_mut().find(|row| row.3 == key).expect("there");
        set.4 = value;
        check(&old, &new, "window-contents", expected);
    }
}

//! Conversions keep all that is in a snapshot.

use std::sync::Arc;

use millpond_fs::LocalFileSystem;
use millpond_snapshot::{
    FlinkRelease, KeyGroupsKind, KeyedFormat, KeyedHandle, LoadedSnapshot, Metadata,
};
use millpond_state_processor::{ConvertOptions, Target, convert};

use crate::fixture::{content, golden, golden_named, load_from, location};

fn converted(
    from: &LoadedSnapshot,
    options: &ConvertOptions,
) -> (tempfile::TempDir, LoadedSnapshot) {
    let home = tempfile::tempdir().expect("room");
    let to = home.path().join("out");
    convert(from, Arc::new(LocalFileSystem), &location(&to), options)
        .unwrap_or_else(|e| panic!("{options:?}: {e}"));
    let snapshot = load_from(&to);
    assert!(snapshot.verify().is_empty(), "{:?}", snapshot.verify());
    (home, snapshot)
}

#[test]
fn a_snapshot_holds_the_same_in_every_format_and_at_every_parallelism() {
    let mut entries = 0;
    for golden in golden() {
        let from = golden.load();
        let expected = content(&from);
        let (canonical, native) = (Some(KeyedFormat::Canonical), Some(KeyedFormat::NativeHeap));
        for (formats, parallelism) in [
            (vec![None, canonical, native], None),
            (vec![None, native], Some(1)),
            (vec![None, canonical], Some(3)),
        ] {
            for format in formats {
                let options = ConvertOptions {
                    format,
                    parallelism,
                    ..ConvertOptions::default()
                };
                let (_home, to) = converted(&from, &options);
                assert_eq!(to.metadata.version, 3);
                let found = content(&to);
                assert!(found == expected, "{}: {options:?}", golden.name);
                entries += found.keyed.len() + found.lists.len();
                for operator in &to.metadata.operators {
                    assert!(parallelism.is_none_or(|wanted| operator.parallelism == wanted));
                    for (_, subtask) in &operator.subtasks {
                        check_kind(subtask.managed_keyed.as_ref(), format);
                    }
                }
            }
        }
    }
    assert!(entries > 50_000, "{entries} entries");
}

fn check_kind(handle: Option<&KeyedHandle>, format: Option<KeyedFormat>) {
    let Some(KeyedHandle::KeyGroups { kind, .. }) = handle else {
        assert!(handle.is_none());
        return;
    };
    match (format, kind) {
        (Some(KeyedFormat::Canonical), KeyGroupsKind::Savepoint)
        | (Some(KeyedFormat::NativeHeap), KeyGroupsKind::V2 { .. })
        | (None, _) => {}
        (Some(_), _) => panic!("{format:?} became {kind:?}"),
    }
}

#[test]
fn a_snapshot_for_a_release_is_in_the_versions_of_that_release() {
    for golden in golden() {
        let from = golden.load();
        let expected = content(&from);
        for (release, metadata, operator_state) in [("1.15", 3, 5), ("1.20", 4, 6), ("2.3", 6, 6)] {
            let release: FlinkRelease = release.parse().expect("known");
            let options = ConvertOptions {
                target: Target::from(release),
                ..ConvertOptions::default()
            };
            let (_home, to) = converted(&from, &options);
            assert_eq!(to.metadata.version, metadata);
            assert_eq!(to.metadata.properties.is_some(), metadata >= 4);
            for operator in &to.metadata.operators {
                for (_, subtask) in &operator.subtasks {
                    if let Some(handle) = &subtask.managed_operator {
                        let reader = to.open_operator(handle).expect("a header");
                        assert!(reader.header().version <= operator_state);
                    }
                }
            }
            assert!(content(&to) == expected, "{} for {release}", golden.name);
        }
    }
}

#[test]
fn names_and_uids_survive_the_way_over_a_version_that_has_none() {
    let golden = golden_named("2.3.0/opstate-hashmap-canonical");
    let from = golden.load();
    let known = |metadata: &Metadata| -> Vec<_> {
        let operators = metadata.operators.iter();
        operators
            .map(|operator| (operator.id, operator.name.clone(), operator.uid.clone()))
            .collect()
    };
    let expected = known(&from.metadata);
    assert!(expected.iter().any(|(_, _, uid)| uid.is_some()));
    let (_old_home, old) = converted(&from, &ConvertOptions::default());
    let options = ConvertOptions {
        target: Target::from("2.3".parse::<FlinkRelease>().expect("known")),
        ..ConvertOptions::default()
    };
    let (_new_home, new) = converted(&old, &options);
    assert_eq!(known(&new.metadata), expected);
}

#[test]
fn what_passes_unchanged_has_the_same_files() {
    for name in [
        "2.3.0/files-kinds-hashmap-canonical",
        "2.3.0/files-timers-hashmap-native",
    ] {
        let golden = golden_named(name);
        let options = ConvertOptions {
            target: Target::from("2.3".parse::<FlinkRelease>().expect("known")),
            ..ConvertOptions::default()
        };
        let (home, _to) = converted(&golden.load(), &options);
        let mut files = 0;
        for entry in std::fs::read_dir(&golden.directory).expect("there") {
            let entry = entry.expect("an entry");
            if entry.file_name() != "_metadata" {
                let copy = home.path().join("out").join(entry.file_name());
                let (old, new) = (std::fs::read(entry.path()), std::fs::read(copy));
                assert!(old.expect("there") == new.expect("copied"));
                files += 1;
            }
        }
        assert!(files > 0);
    }
}

#[test]
fn a_directory_that_is_in_use_is_refused_and_left_alone() {
    let from = golden_named("2.3.0/timers-hashmap-canonical").load();
    let home = tempfile::tempdir().expect("room");
    std::fs::write(home.path().join("mine"), "kept").expect("room");
    let options = ConvertOptions::default();
    let to = location(home.path());
    let error = convert(&from, Arc::new(LocalFileSystem), &to, &options).expect_err("in use");
    assert!(error.to_string().contains("missing or empty"), "{error}");
    let left: Vec<_> = std::fs::read_dir(home.path()).expect("there").collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn a_conversion_that_fails_leaves_nothing() {
    let home = tempfile::tempdir().expect("room");
    let copy = home.path().join("sp");
    std::fs::create_dir(&copy).expect("room");
    let golden = golden_named("2.3.0/files-kinds-hashmap-canonical");
    for entry in std::fs::read_dir(&golden.directory).expect("there") {
        let entry = entry.expect("an entry");
        let mut bytes = std::fs::read(entry.path()).expect("there");
        if entry.file_name() != "_metadata" {
            // The last marker of the last key group.
            let end = bytes.len() - 1;
            bytes[end] ^= 0x40;
        }
        std::fs::write(copy.join(entry.file_name()), bytes).expect("room");
    }
    let options = ConvertOptions {
        parallelism: Some(3),
        ..ConvertOptions::default()
    };
    let to = home.path().join("out");
    let from = load_from(&copy);
    let error = convert(&from, Arc::new(LocalFileSystem), &location(&to), &options);
    assert!(error.expect_err("damaged").to_string().contains("damaged"));
    assert!(!to.exists());
}

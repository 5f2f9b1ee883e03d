//! What every file system promises, checked on the local one and on the one in memory.

use std::io::Write;

use millpond_fs::memory::{Faults, MemoryFileSystem};
use millpond_fs::{Durability, ErrorKind, FileSystem, LocalFileSystem, Location};

/// Runs a check on both file systems, each in an empty directory.
fn on_both(check: impl Fn(&dyn FileSystem, &Location)) {
    let directory = tempfile::tempdir().expect("a directory");
    check(
        &LocalFileSystem,
        &Location::of_path(directory.path()).expect("text"),
    );
    let memory = MemoryFileSystem::new();
    let root = Location::parse("/root").expect("a path");
    memory.create_dir_all(&root).expect("room");
    check(&memory, &root);
}

fn write(fs: &dyn FileSystem, file: &Location, bytes: &[u8]) {
    let mut writer = fs.create(file).expect("a new file");
    writer.write_all(bytes).expect("room");
    writer.close(Durability::Synced).expect("synced");
}

#[test]
fn what_was_written_is_read_at_any_place() {
    on_both(|fs, root| {
        let file = root.join("a/b/data");
        write(fs, &file, b"0123456789");
        fs.sync_dir(&root.join("a/b")).expect("a directory");
        assert_eq!(fs.read(&file).expect("there"), b"0123456789");
        assert_eq!(fs.len(&file).expect("there"), 10);
        let reader = fs.open(&file).expect("there");
        let mut part = [0; 3];
        reader.read_at(7, &mut part).expect("within");
        assert_eq!(&part, b"789");
        let error = reader.read_at(8, &mut part).expect_err("beyond the end");
        assert_eq!(error.kind(), ErrorKind::Other);
    });
}

#[test]
fn nothing_exists_below_a_file() {
    on_both(|fs, root| {
        let file = root.join("chk-1/_metadata");
        fs.write_atomic(&file, b"text").expect("room");
        assert!(!fs.exists(&file.join("_metadata")).expect("known"));
    });
}

#[test]
fn a_file_is_created_once_and_replaced_only_atomically() {
    on_both(|fs, root| {
        let file = root.join("chk-1/_metadata");
        fs.write_atomic(&file, b"old").expect("room");
        fs.write_atomic(&file, b"new").expect("room");
        assert_eq!(fs.read(&file).expect("there"), b"new");
        let error = fs.create(&file).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let names: Vec<_> = fs.list(&root.join("chk-1")).expect("there");
        assert_eq!(names.len(), 1, "no temporary file is left: {names:?}");
    });
}

#[test]
fn directories_list_by_name_and_are_deleted_with_all_in_them() {
    on_both(|fs, root| {
        write(fs, &root.join("d/b"), b"12");
        write(fs, &root.join("d/sub/c"), b"");
        fs.create_dir_all(&root.join("d/a")).expect("room");
        let listed = fs.list(&root.join("d")).expect("there");
        let listed: Vec<_> = listed
            .iter()
            .map(|entry| (entry.name.as_str(), entry.is_dir, entry.len))
            .collect();
        assert_eq!(listed, [("a", true, 0), ("b", false, 2), ("sub", true, 0)]);
        fs.delete_file(&root.join("d/b")).expect("there");
        fs.delete_dir(&root.join("d")).expect("there");
        assert!(!fs.exists(&root.join("d/sub/c")).expect("known"));
        assert!(!fs.exists(&root.join("d")).expect("known"));
        assert!(fs.exists(root).expect("known"));
    });
}

#[test]
fn what_is_missing_is_not_found() {
    on_both(|fs, root| {
        let missing = root.join("missing");
        assert_eq!(
            fs.open(&missing).err().expect("none").kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            fs.read(&missing).expect_err("none").kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            fs.list(&missing).expect_err("none").kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            fs.delete_file(&missing).expect_err("none").kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            fs.delete_dir(&missing).expect_err("none").kind(),
            ErrorKind::NotFound
        );
        let error = fs.read(&missing).expect_err("none").to_string();
        assert!(error.contains(&missing.to_string()), "{error}");
    });
}

#[test]
fn injected_faults_strike_the_calls_that_were_named() {
    let fs = MemoryFileSystem::new();
    let file = Location::parse("/a").expect("a path");
    fs.set_faults(Faults {
        failing_writes: [1].into(),
        torn_writes: [(2, 3)].into(),
        failing_reads: [1].into(),
        capacity_bytes: Some(10),
        ..Faults::default()
    });
    let mut writer = fs.create(&file).expect("a new file");
    assert!(writer.write_all(b"lost").is_err());
    assert!(writer.write_all(b"torn").is_err());
    writer.write_all(b"1234567").expect("room for seven");
    let full = writer.write_all(b"8").expect_err("full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(
        fs.read(&file).expect_err("transient").kind(),
        ErrorKind::Transient
    );
    assert_eq!(fs.read(&file).expect("again"), b"tor1234567");
    drop(writer);
    fs.crash();
    assert_eq!(fs.read(&file).expect("there"), b"", "nothing was synced");
}

#[test]
fn a_directory_goes_only_if_nothing_is_in_it() {
    on_both(|fs, root| {
        let directory = root.join("d");
        write(fs, &directory.join("a"), b"1");
        assert!(!fs.delete_empty_dir(&directory).expect("there"));
        assert_eq!(fs.read(&directory.join("a")).expect("still there"), b"1");
        fs.delete_file(&directory.join("a")).expect("there");
        assert!(fs.delete_empty_dir(&directory).expect("there"));
        assert!(!fs.exists(&directory).expect("known"));
        let missing = fs.delete_empty_dir(&directory).expect_err("gone");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    });
}

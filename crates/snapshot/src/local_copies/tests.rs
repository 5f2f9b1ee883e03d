//! Copies on a disk, in front of storage in memory.

use std::collections::HashMap;

use millpond_fs::memory::MemoryFileSystem;
use millpond_fs::{Durability, Location};
use millpond_types::JobId;

use super::*;
use crate::{FileRecord, OwnerProcess, checksum};

const JOB: JobId = JobId([7; 16]);

struct Machine {
    disk: tempfile::TempDir,
    storage: MemoryFileSystem,
}

impl Machine {
    fn new() -> Self {
        let machine = Machine {
            disk: tempfile::tempdir().expect("room"),
            storage: MemoryFileSystem::new(),
        };
        machine.directories(JOB).make();
        machine
    }

    fn directories(&self, job: JobId) -> JobDirectories {
        let roots = ["a", "b"].map(|root| self.disk.path().join(root));
        JobDirectories::new(&roots, job)
    }

    fn process(&self, process: u32) -> Arc<LocalCopies> {
        Arc::new(LocalCopies::of_process(self.directories(JOB), process))
    }

    /// Writes a file for a snapshot, with its name as its content.
    fn write(&self, copies: &Arc<LocalCopies>, checkpoint: CheckpointId, name: &str) -> String {
        let fs = copies.of_snapshot(Arc::new(self.storage.clone()), checkpoint, false);
        let mut file = fs.create(&at(name)).expect("room");
        file.write_all(name.as_bytes()).expect("room");
        file.close(Durability::Synced).expect("room");
        at(name).to_string()
    }

    fn reader(
        &self,
        copies: Option<&Arc<LocalCopies>>,
        name: &str,
    ) -> (CopiesFirst, Arc<ReadBytes>) {
        let read = Arc::new(ReadBytes::default());
        let record = FileRecord {
            name: name.to_owned(),
            size: name.len() as u64,
            checksum: checksum(name.as_bytes()),
        };
        let files = HashMap::from([(at(name).to_string(), Some(record))]);
        let storage = Arc::new(self.storage.clone());
        let fs = CopiesFirst::new(storage, copies.cloned(), files, Arc::clone(&read));
        (fs, read)
    }

    /// Reads a file in a new process.
    fn read(&self, name: &str) -> StateRead {
        let copies = LocalCopies::to_read(self.directories(JobId([8; 16])));
        let (fs, read) = self.reader(Some(&Arc::new(copies)), name);
        assert_eq!(fs.read(&at(name)).expect("there"), name.as_bytes());
        let read = read.so_far();
        let sum = read.local_bytes + read.remote_bytes;
        assert_eq!(sum, name.len() as u64);
        read
    }

    fn reads_copy(&self, name: &str) -> bool {
        self.read(name).remote_bytes == 0
    }

    /// The copies that are there, whole or not.
    fn copies(&self) -> Vec<PathBuf> {
        let jobs = self.directories(JOB).of_all_jobs().into_iter();
        let processes = jobs.flat_map(|(_, job)| entries(&job));
        let files = processes.flat_map(|(_, process)| entries(&process));
        files.map(|(_, path)| path).collect()
    }
}

fn at(name: &str) -> Location {
    Location::parse("memory:/c").expect("a location").join(name)
}

#[test]
fn a_process_that_is_started_again_reads_copies_and_nothing_of_the_storage() {
    let machine = Machine::new();
    let copies = machine.process(0);
    for name in ["chk-1/a", "chk-1/c", "shared/c"] {
        machine.write(&copies, 1, name);
        assert!(machine.reads_copy(name), "{name}");
    }
    let (fs, read) = machine.reader(None, "chk-1/a");
    fs.read(&at("chk-1/a")).expect("there");
    assert_eq!(read.so_far().remote_bytes, 7, "without copies");
    machine.write(&copies, 1, "chk-1/b");
    fs.read(&at("chk-1/b")).expect("there");
    assert_eq!(read.take().remote_bytes, 7, "that is none of its files");
    assert_eq!(read.so_far(), StateRead::default());
}

#[test]
fn a_copy_that_is_gone_cut_or_damaged_is_passed_over() {
    for harm in ["gone", "cut", "damaged", "unfinished"] {
        let machine = Machine::new();
        machine.write(&machine.process(0), 1, "chk-1/a");
        let [path] = &machine.copies()[..] else {
            panic!("one copy");
        };
        match harm {
            "gone" => fs::remove_file(path),
            "cut" => fs::write(path, "chk"),
            "damaged" => fs::write(path, "chk-1/b"),
            _ => fs::rename(path, path.with_file_name(".x.inprogress")),
        }
        .expect("there");
        let read = machine.read("chk-1/a");
        let expected = StateRead {
            local_bytes: 0,
            remote_bytes: 7,
            unusable_copies: ["cut", "damaged"].contains(&harm).into(),
        };
        assert_eq!(read, expected, "{harm}");
    }
}

#[test]
fn a_file_that_was_whole_by_its_copy_is_checked_when_it_is_read_after_all() {
    let machine = Machine::new();
    machine.write(&machine.process(0), 1, "chk-1/a");
    let copies = Arc::new(LocalCopies::to_read(machine.directories(JOB)));
    let (fs, _) = machine.reader(Some(&copies), "chk-1/a");
    let file = at("chk-1/a");
    assert!(fs.has_copy(&file).expect("there"));
    let unread = fs.with_copy();
    assert_eq!(unread, [file.to_string()]);
    let to_check = |unread: &[String]| {
        let (fs, _) = machine.reader(Some(&copies), "chk-1/a");
        fs.take_as_unread(unread.iter().cloned());
        let first = fs.to_check(&file).expect("there").is_some();
        assert!(fs.to_check(&file).expect("there").is_none(), "once");
        first
    };
    assert!(!to_check(&unread), "it has its copy");
    fs::remove_file(&machine.copies()[0]).expect("there");
    assert!(to_check(&unread));
    assert!(!to_check(&[]), "it was read");
}

#[test]
fn a_copy_can_be_linked_and_stays_when_it_goes() {
    let machine = Machine::new();
    let copies = machine.process(0);
    machine.write(&copies, 1, "shared/a");
    let (fs, read) = machine.reader(Some(&copies), "shared/a");
    assert_eq!(fs.local_path(&at("shared/a")), None);
    let linked = machine.disk.path().join("linked");
    assert!(fs.link(&at("shared/a"), &linked));
    copies.complete(2);
    assert_eq!(machine.copies(), Vec::<PathBuf>::new());
    assert_eq!(std::fs::read(&linked).expect("there"), b"shared/a");
    assert_eq!(read.so_far().local_bytes, 8);
    let (fs, _) = machine.reader(None, "shared/a");
    assert!(!fs.link(&at("shared/a"), &machine.disk.path().join("other")));
}

#[test]
fn a_full_disk_ends_the_copy_and_not_the_file() {
    let machine = Machine::new();
    let copies = machine.process(0);
    let hash = hash_of(&at("chk-1/a").to_string());
    for own in copies.own() {
        fs::create_dir(&own).expect("room");
        let unfinished = own.join(format!(".{hash}.inprogress"));
        std::os::unix::fs::symlink("/dev/full", unfinished).expect("room");
    }
    machine.write(&copies, 1, "chk-1/a");
    assert!(!machine.reads_copy("chk-1/a"));
    machine.write(&copies, 1, "chk-1/b");
    assert!(machine.reads_copy("chk-1/b"), "there is room again");
}

#[test]
fn a_sound_copy_of_what_had_the_name_before_is_passed_over() {
    let machine = Machine::new();
    machine.write(&machine.process(0), 1, "chk-1/a");
    let [path] = &machine.copies()[..] else {
        panic!("one copy");
    };
    let (other, sum) = ("chk-1/b", checksum(b"chk-1/b"));
    let hash = hash_of(&at("chk-1/a").to_string());
    fs::write(path, other).expect("there");
    fs::rename(path, path.with_file_name(format!("{hash}.7.{sum:016x}"))).expect("there");
    assert!(!machine.reads_copy("chk-1/a"));
}

#[test]
fn what_the_storage_has_lost_is_lost() {
    let machine = Machine::new();
    let copies = machine.process(0);
    machine.write(&copies, 1, "chk-1/a");
    machine.storage.delete_file(&at("chk-1/a")).expect("there");
    let (fs, _) = machine.reader(Some(&machine.process(1)), "chk-1/a");
    let error = fs.open(&at("chk-1/a")).err().expect("gone");
    assert_eq!(error.kind(), millpond_fs::ErrorKind::NotFound);
}

#[test]
fn what_the_newest_complete_checkpoint_and_those_in_progress_need_is_kept_and_no_more() {
    let machine = Machine::new();
    let copies = machine.process(0);
    machine.write(&copies, 1, "chk-1/a");
    let shared = machine.write(&copies, 1, "shared/b");
    copies.complete(1);
    assert_eq!(machine.copies().len(), 2);
    machine.write(&copies, 2, "chk-2/a");
    copies.part(2, false, [shared]);
    machine.write(&copies, 3, "chk-3/a");
    machine.write(&copies, 4, "chk-4/a");
    copies.complete(2);
    assert_eq!(machine.copies().len(), 4, "but for chk-1/a");
    copies.aborted(3);
    assert_eq!(machine.copies().len(), 3, "of 2, shared, and 4");
    for name in ["chk-2/a", "shared/b", "chk-4/a"] {
        assert!(machine.reads_copy(name), "{name}");
    }
}

#[test]
fn a_complete_savepoint_leaves_the_checkpoint_before_it_alone_until_the_next_one() {
    let machine = Machine::new();
    let copies = machine.process(0);
    machine.write(&copies, 1, "shared/a");
    copies.complete(1);
    for savepoint in [2, 3] {
        copies.part(savepoint, true, []);
        let fs = copies.of_snapshot(Arc::new(machine.storage.clone()), savepoint, true);
        let mut file = fs.create(&at(&format!("s-{savepoint}"))).expect("room");
        file.write_all(b"s").expect("room");
        file.close(Durability::Synced).expect("room");
        copies.complete(savepoint);
        assert_eq!(machine.copies().len(), 2, "of it and of checkpoint 1");
    }
    assert!(machine.reads_copy("shared/a"));
    machine.write(&copies, 4, "chk-4/a");
    copies.complete(4);
    assert_eq!(machine.copies().len(), 1);
}

#[test]
fn a_restored_process_keeps_what_it_was_restored_from_and_leaves_others_alone() {
    let machine = Machine::new();
    let (first, other) = (machine.process(0), machine.process(1));
    let kept = machine.write(&first, 1, "chk-1/a");
    machine.write(&first, 2, "chk-2/unfinished");
    machine.write(&other, 1, "chk-1/b");
    machine.process(0).restored(1, BTreeSet::from([kept]));
    assert_eq!(machine.copies().len(), 2);
    assert!(machine.reads_copy("chk-1/a") && machine.reads_copy("chk-1/b"));
}

#[test]
fn a_process_adopts_a_copy_of_another_one_that_it_is_restored_from() {
    let machine = Machine::new();
    let (writes, restored) = (machine.process(0), machine.process(1));
    machine.write(&writes, 1, "shared/a");
    let (fs, read) = machine.reader(Some(&restored), "shared/a");
    fs.read(&at("shared/a")).expect("there");
    assert_eq!(read.so_far().remote_bytes, 0);
    writes.complete(2);
    assert_eq!(machine.copies().len(), 1);
    assert!(machine.reads_copy("shared/a"));
}

#[test]
fn a_file_that_is_deleted_or_not_closed_leaves_no_whole_copy() {
    let machine = Machine::new();
    let copies = machine.process(0);
    let file = machine.write(&copies, 1, "chk-1/a");
    let fs = copies.of_snapshot(Arc::new(machine.storage.clone()), 1, false);
    fs.delete_file(&Location::parse(&file).expect("a location"))
        .expect("there");
    assert_eq!(machine.copies(), Vec::<PathBuf>::new());
    drop(fs.create(&at("chk-1/b")).expect("room"));
    assert_eq!(machine.copies().len(), 1);
    copies.aborted(1);
    assert_eq!(machine.copies(), Vec::<PathBuf>::new());
}

#[test]
fn a_disk_that_takes_no_copies_fails_nothing_and_is_not_made_again_behind_the_end_of_the_job() {
    let machine = Machine::new();
    machine.directories(JOB).remove();
    machine.write(&machine.process(0), 1, "chk-1/a");
    assert!(!machine.reads_copy("chk-1/a"));
    for root in ["a", "b"] {
        fs::remove_dir_all(machine.disk.path().join(root)).expect("there");
        fs::write(machine.disk.path().join(root), "in the way").expect("room");
    }
    machine.directories(JOB).make();
    machine.write(&machine.process(0), 1, "chk-1/b");
    assert!(!machine.reads_copy("chk-1/b"));
}

#[test]
fn what_a_job_has_left_goes_if_its_master_is_certainly_gone() {
    let machine = Machine::new();
    let left = |job: u8, owner: Option<OwnerProcess>| {
        let directories = machine.directories(JobId([job; 16]));
        directories.make();
        let there = directories.of_job();
        for directory in &there {
            let file = directory.join("owner");
            let bytes = serde_json::to_vec(&owner).expect("JSON");
            fs::write(file, bytes).expect("room");
        }
        there
    };
    let this = OwnerProcess::this().expect("a Linux system");
    let killed = OwnerProcess {
        started: this.started + 1,
        ..this.clone()
    };
    let elsewhere = OwnerProcess {
        host: "another".to_owned(),
        system: "another".to_owned(),
        ..this.clone()
    };
    let (killed, lives) = (left(1, Some(killed)), left(2, Some(this)));
    let (elsewhere, unknown) = (left(3, Some(elsewhere)), left(4, None));
    machine.directories(JOB).remove_dead();
    assert!(killed.iter().all(|path| !path.exists()));
    for path in [lives, elsewhere, unknown].iter().flatten() {
        assert!(path.exists(), "{}", path.display());
    }
    assert!(
        machine
            .directories(JOB)
            .of_job()
            .iter()
            .all(|path| path.exists())
    );
}

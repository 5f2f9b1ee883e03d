//! A subtask works as soon as its own state is there, while another is still being restored.

use std::sync::Arc;

use millpond_fs::{Entry, Error, FileReader, FileSystem, FileWriter, LocalFileSystem, Location};
use millpond_job::FromWorker;
use millpond_snapshot::StreamHandle;

use crate::cluster::{Cluster, Start, restore_by};
use crate::stages::{Door, Stage, TestSink, farewell, numbers, program, wait_until};

/// Local files, one of which nobody can read while a door is closed.
struct SlowFile {
    name: String,
    door: Arc<Door>,
}

struct SlowReader {
    behind: Box<dyn FileReader>,
    door: Arc<Door>,
}

impl FileReader for SlowReader {
    fn len(&self) -> u64 {
        self.behind.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.door.pass();
        self.behind.read_at(offset, buffer)
    }
}

impl FileSystem for SlowFile {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        LocalFileSystem.create(file)
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        let behind = LocalFileSystem.open(file)?;
        if file.file_name() != self.name {
            return Ok(behind);
        }
        let door = Arc::clone(&self.door);
        Ok(Box::new(SlowReader { behind, door }))
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        LocalFileSystem.write_atomic(file, bytes)
    }

    fn exists(&self, location: &Location) -> Result<bool, Error> {
        LocalFileSystem.exists(location)
    }

    fn len(&self, file: &Location) -> Result<u64, Error> {
        LocalFileSystem.len(file)
    }

    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error> {
        LocalFileSystem.list(directory)
    }

    fn delete_file(&self, file: &Location) -> Result<(), Error> {
        LocalFileSystem.delete_file(file)
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        LocalFileSystem.delete_dir(directory)
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        LocalFileSystem.create_dir_all(directory)
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        LocalFileSystem.sync_dir(directory)
    }
}

fn is_running(message: &FromWorker) -> bool {
    matches!(message, FromWorker::Running { .. })
}

/// If it breaks, a job stands still until the slowest of its files is read.
#[test]
fn records_come_out_of_one_subtask_before_another_is_restored() {
    for (processes, workers) in [(2, 1), (1, 2)] {
        let temporary = tempfile::tempdir().expect("a directory");
        let directory = temporary.path();
        let sink = TestSink::default();
        // The sink's only subtask has the same worker as the source's first one.
        let job = |sink: &TestSink| {
            program(&[
                Stage {
                    name: "numbers",
                    parallelism: 2,
                    operator: numbers(i64::MAX),
                },
                Stage {
                    name: "farewell",
                    parallelism: 2,
                    operator: farewell(),
                },
                Stage {
                    name: "sink",
                    parallelism: 1,
                    operator: sink.operator(),
                },
            ])
        };
        let program = job(&sink);
        let start = |attempt| Start {
            processes,
            workers,
            attempt,
            checkpointing: true,
            ..Start::default()
        };
        let mut cluster = Cluster::start(&program, start(1));
        wait_until("records", || sink.seen.written() > 1000);
        cluster.announce_in_files(directory, 1, 0);
        let parts = cluster.acknowledged(&program, 1);
        cluster.cancel();

        let slow = parts.iter().filter(|part| part.subtask == 1);
        let slow: Vec<&StreamHandle> = slow
            .flat_map(|part| &part.operators)
            .flat_map(|operator| &operator.state.managed_operator)
            .map(|handle| &handle.stream)
            .collect();
        let [StreamHandle::Relative { name, .. }] = slow[..] else {
            panic!("one file of the second subtask: {slow:?}");
        };
        let door = Arc::new(Door::default());
        door.close();
        let fs = Arc::new(SlowFile {
            name: name.clone(),
            door: Arc::clone(&door),
        });
        let sink = TestSink::default();
        let program = job(&sink);
        let restored = Start {
            restore: restore_by(fs, directory, &program, 1, &parts, true),
            ..start(2)
        };
        let mut cluster = Cluster::start(&program, restored);
        wait_until("records of the first", || sink.seen.written() > 0);
        if processes == 2 {
            cluster.wait_for("the first process", |message| {
                is_running(message).then_some(())
            });
        }
        assert!(
            !cluster.hears_soon(is_running),
            "the other is not restored yet"
        );
        door.open();
        cluster.wait_for("the last process", |message| {
            is_running(message).then_some(())
        });
        cluster.announce_in_files(directory, 2, 0);
        assert_eq!(cluster.acknowledged(&program, 2).len(), 3);
        cluster.cancel();
    }
}

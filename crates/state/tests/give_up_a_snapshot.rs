//! A snapshot that is given up lets go of the state that it held, so that memory stays bounded.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use millpond_state::{ErrorKind, KeyedBackend, ValueState};
use millpond_types::KeyGroupRange;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};

const KEYS: i64 = 50_000;

struct Job {
    backend: KeyedBackend<i64>,
    sum: ValueState<i64>,
}

impl Job {
    fn new() -> Self {
        let backend = KeyedBackend::new(128, KeyGroupRange::of_subtask(0, 1, 128));
        let sum = backend.value_state("sum").unwrap();
        let mut job = Job { backend, sum };
        job.add_to_all(1);
        job
    }

    fn add_to_all(&mut self, number: i64) {
        for key in 0..KEYS {
            self.backend
                .set_current_key(&key, self.backend.key_group(&key));
            self.sum
                .update_with(|sum| *sum = Some(sum.unwrap_or(0) + number));
        }
    }

    fn total(&self) -> i64 {
        let mut total = 0;
        self.backend.for_each_value(
            "sum",
            |_: &i64, _: &millpond_serializer::VoidNamespace, sum: &i64| total += sum,
        );
        total
    }
}

/// Says when it is written to, and waits to be let on.
struct Stuck {
    reached: Sender<()>,
    go_on: Receiver<()>,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.reached.send(());
        let _ = self.go_on.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_snapshot_that_waits_for_its_writer_lets_go_at_once_and_cannot_be_written_any_more() {
    let mut job = Job::new();
    let before = job.backend.allocated_bytes();
    let frozen = job.backend.freeze();
    let handle = frozen.handle();
    job.add_to_all(1);
    assert!(handle.is_live());
    assert!(handle.changed_bytes() >= KEYS as usize * 24);
    assert_eq!(handle.changed_bytes(), job.backend.changed_bytes());
    assert!(
        !job.backend.maintain(),
        "the snapshot still holds all groups"
    );

    handle.give_up("it took too long");
    assert!(!handle.is_live());
    while job.backend.maintain() {}
    assert_eq!(job.backend.changed_bytes(), 0);
    assert_eq!(job.backend.allocated_bytes(), before);
    assert_eq!(job.total(), 2 * KEYS);

    let error = frozen.write(&mut std::io::sink()).unwrap_err();
    let reason = "it took too long".to_owned();
    assert_eq!(error.kind(), &ErrorKind::GivenUp { reason });
}

#[test]
fn a_writer_that_hangs_in_its_storage_holds_one_key_group_only() {
    let mut job = Job::new();
    let frozen = job.backend.freeze();
    let handle = frozen.handle();
    job.add_to_all(1);
    let changed = job.backend.changed_bytes();
    let (reached, is_reached) = channel();
    let (let_on, go_on) = channel();
    let writer = std::thread::spawn(move || frozen.write(&mut Stuck { reached, go_on }));
    is_reached.recv().unwrap();

    handle.give_up("the checkpoint was aborted");
    while job.backend.maintain() {}
    assert!(
        job.backend.changed_bytes() <= 2 * changed / 128,
        "one group of 128 is left"
    );
    drop(let_on);
    let error = writer.join().unwrap().unwrap_err();
    let reason = "the checkpoint was aborted".to_owned();
    assert_eq!(error.kind(), &ErrorKind::GivenUp { reason });
    // The owner hears of the last group by and by.
    while job.backend.changed_bytes() > 0 {
        job.backend.maintain();
    }
    assert_eq!(job.total(), 2 * KEYS);
}

#[test]
fn memory_stays_bounded_over_snapshots_that_are_all_given_up() {
    let mut job = Job::new();
    let before = job.backend.allocated_bytes();
    let mut waiting = Vec::new();
    for round in 0..20 {
        let frozen = job.backend.freeze();
        job.add_to_all(1);
        assert!(job.backend.allocated_bytes() < 4 * before, "round {round}");
        frozen.handle().give_up("storage is gone");
        // A queue of snapshots that nobody comes to write.
        waiting.push(frozen);
        while job.backend.maintain() {}
        assert_eq!(job.backend.changed_bytes(), 0);
    }
    assert_eq!(job.backend.allocated_bytes(), before);
    assert_eq!(job.total(), 21 * KEYS);
}

#[test]
fn to_give_up_what_is_written_already_changes_nothing() {
    let job = Job::new();
    let frozen = job.backend.freeze();
    let handle = frozen.handle();
    let written = frozen.write(&mut std::io::sink()).unwrap();
    assert!(written.bytes > KEYS as u64);
    assert!(!handle.is_live());
    handle.give_up("too late");
    assert_eq!(handle.changed_bytes(), 0);
}

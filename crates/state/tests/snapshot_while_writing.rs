//! Snapshots that other threads write while records go on hold what was there at their freeze.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use millpond_serializer::VoidNamespace;
use millpond_snapshot::{CanonicalReader, KeyedReader, StateSource};
use millpond_state::{FrozenKeyedState, KeyedBackend, ListState, TimerService, ValueState};
use millpond_types::KeyGroupRange;
use std::collections::BTreeMap;
use std::thread::JoinHandle;

const KEYS: i64 = 20_000;

struct Job {
    backend: KeyedBackend<i64>,
    sum: ValueState<i64>,
    list: ListState<i64>,
    timers: TimerService<i64, VoidNamespace>,
}

type Content = (BTreeMap<i64, i64>, BTreeMap<i64, Vec<i64>>, Vec<(i64, i64)>);

impl Job {
    fn new() -> Self {
        let backend = KeyedBackend::new(128, KeyGroupRange::of_subtask(0, 1, 128));
        Job {
            sum: backend.value_state("sum").unwrap(),
            list: backend.list_state("list").unwrap(),
            timers: backend.timers("user-timers").unwrap(),
            backend,
        }
    }

    fn step(&mut self, number: i64) {
        let key = number * 7919 % KEYS;
        self.backend
            .set_current_key(&key, self.backend.key_group(&key));
        match number % 11 {
            0 => self.sum.clear(),
            1 => self.list.add(number),
            2 => self
                .timers
                .handle()
                .register_event_time(&VoidNamespace, number),
            3 => drop(self.timers.pop_event_timer(number / 2)),
            _ => self
                .sum
                .update_with(|sum| *sum = Some(sum.unwrap_or(0) + number)),
        }
        if number % 100 == 0 {
            self.backend.maintain();
        }
    }

    fn content(&self) -> Content {
        let (mut sums, mut lists) = (BTreeMap::new(), BTreeMap::new());
        self.backend
            .for_each_value("sum", |key: &i64, _: &VoidNamespace, sum: &i64| {
                sums.insert(*key, *sum);
            });
        for key in self.backend.keys("list") {
            self.backend
                .set_current_key(&key, self.backend.key_group(&key));
            lists.insert(key, self.list.get());
        }
        let timers = self.timers.event_timers().into_iter();
        let mut timers: Vec<_> = timers.map(|timer| (timer.timestamp, timer.key)).collect();
        timers.sort();
        (sums, lists, timers)
    }
}

/// Writes an image in another thread and restores it there.
fn written(image: FrozenKeyedState) -> JoinHandle<Content> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let written = image.write(&mut bytes).unwrap();
        let job = Job::new();
        let source = StateSource::of_bytes("state", bytes);
        let range = job.backend.range();
        let reader = CanonicalReader::open(source, &written.groups, range, 128).unwrap();
        job.backend
            .restore_entries(&mut KeyedReader::Canonical(reader))
            .unwrap();
        job.content()
    })
}

#[test]
fn overlapping_snapshots_hold_what_was_there_at_their_freeze() {
    let mut job = Job::new();
    let mut number = 0;
    let mut run = |job: &mut Job, steps: i64| {
        for _ in 0..steps {
            number += 1;
            job.step(number);
        }
    };
    run(&mut job, 50_000);
    let mut snapshots = Vec::new();
    for _ in 0..6 {
        snapshots.push((job.content(), written(job.backend.freeze())));
        run(&mut job, 5_000);
    }
    for (expected, snapshot) in snapshots {
        // The job goes on until the snapshot is written.
        while !snapshot.is_finished() {
            run(&mut job, 1_000);
        }
        assert!(
            snapshot.join().unwrap() == expected,
            "the image is not the state at its freeze"
        );
    }
    let before = job.content();
    while job.backend.maintain() {}
    assert!(job.content() == before, "merging changed the state");
}

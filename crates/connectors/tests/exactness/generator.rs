//! The generator source.

use std::time::Duration;

use millpond_connectors::GeneratorSource;
use millpond_operator::source::{InputStatus, SourceReader};
use proptest::prelude::*;

use crate::driver::SourceJob;

#[test]
fn one_subtask_emits_all_records_in_order() {
    let source = GeneratorSource::new(Some(10_000), |n| n * 2);
    let mut job = SourceJob::start(&source, 1, None).expect("starts");
    let expected: Vec<u64> = (0..10_000).map(|n| n * 2).collect();
    assert_eq!(job.run_to_end().expect("runs"), expected);
}

#[test]
fn a_seed_decides_all_records() {
    let records = |seed| {
        let source = GeneratorSource::seeded(seed, Some(100), |n, random| (n, random.next_u64()));
        let mut records = SourceJob::start(&source, 3, None)
            .expect("starts")
            .run_to_end()
            .expect("runs");
        records.sort();
        records
    };
    assert_eq!(records(7), records(7));
    assert_ne!(records(7), records(8));
}

#[test]
fn a_source_without_count_goes_on() {
    let source = GeneratorSource::new(None, |n| n);
    let mut job = SourceJob::start(&source, 2, None).expect("starts");
    let mut records = Vec::new();
    assert!(!job.run(5000, 100, &mut records).expect("runs"));
    assert_eq!(records.len(), 5000);
    job.readers[0].notify_no_more_splits();
    assert_eq!(job.poll(0, 1).expect("runs").0, InputStatus::MoreAvailable);
}

#[test]
fn a_rate_limit_holds_for_all_subtasks_together() {
    let source = GeneratorSource::new(None, |n| n).rate_limit(1000);
    for parallelism in [1, 2, 3, 20] {
        let mut job = SourceJob::start(&source, parallelism, None).expect("starts");
        let mut in_a_second = 0;
        for _ in 0..1000 {
            for subtask in 0..parallelism as usize {
                let (status, records) = job.poll(subtask, 500).expect("runs");
                in_a_second += records.len();
                assert!(records.len() <= 2, "a burst of {}", records.len());
                let own_splits = subtask < 16;
                match status {
                    InputStatus::NothingAvailable(Some(next_ms)) => {
                        assert!(own_splits && next_ms > 1_000_000);
                    }
                    InputStatus::EndOfInput => assert!(!own_splits),
                    InputStatus::NothingAvailable(None) | InputStatus::MoreAvailable => {
                        panic!("{status:?}");
                    }
                }
            }
            job.clock.advance(Duration::from_millis(1));
        }
        let expected = 1000..=1000 + parallelism as usize;
        assert!(
            expected.contains(&in_a_second),
            "{in_a_second} records at {parallelism}"
        );
    }
}

#[test]
fn the_number_of_splits_is_that_of_the_first_run() {
    let mut job = SourceJob::start(&GeneratorSource::new(Some(100), |n| n).splits(4), 2, None)
        .expect("starts");
    let mut records = Vec::new();
    job.run(30, 10, &mut records).expect("runs");
    let snapshot = job.snapshot();
    assert_eq!(snapshot.positions.len(), 4);
    let more_splits = GeneratorSource::new(Some(100), |n| n).splits(9);
    let mut job = SourceJob::start(&more_splits, 3, Some(&snapshot)).expect("starts");
    records.extend(job.run_to_end().expect("runs"));
    records.sort();
    assert_eq!(records, (0..100).collect::<Vec<u64>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn restored_anywhere_at_any_parallelism_each_record_comes_once(
        count in 0u64..500,
        splits in 1u32..20,
        runs in prop::collection::vec((0usize..200, 1u32..6, 1usize..40), 0..6),
    ) {
        let source = GeneratorSource::new(Some(count), |n| n).splits(splits);
        let (mut records, mut snapshot) = (Vec::new(), None);
        for (enough, parallelism, limit) in runs {
            let mut job = SourceJob::start(&source, parallelism, snapshot.as_ref()).expect("starts");
            let before = records.len();
            job.run(before + enough, limit, &mut records).expect("runs");
            snapshot = Some(job.snapshot());
        }
        let mut job = SourceJob::start(&source, 2, snapshot.as_ref()).expect("starts");
        records.extend(job.run_to_end().expect("runs"));
        records.sort();
        prop_assert_eq!(records, (0..count).collect::<Vec<u64>>());
    }
}

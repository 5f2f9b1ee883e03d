//! Records and times of subtasks, as the details of jobs and vertices tell them.

use std::collections::BTreeMap;

use millpond_job::metrics::SubtaskMetrics;
use serde::Serialize;

use crate::summary::Percentile;

const NS_PER_MS: u64 = 1_000_000;

/// Sums over some subtasks. Bytes are not counted, and are told as not complete.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct IoMetrics {
    read_bytes: u64,
    read_bytes_complete: bool,
    write_bytes: u64,
    write_bytes_complete: bool,
    read_records: u64,
    read_records_complete: bool,
    write_records: u64,
    write_records_complete: bool,
    accumulated_backpressured_time: u64,
    accumulated_idle_time: u64,
    accumulated_busy_time: f64,
}

impl IoMetrics {
    /// Those of `subtasks` together.
    pub(crate) fn of<'a>(subtasks: impl IntoIterator<Item = &'a SubtaskMetrics> + Clone) -> Self {
        let sum = |count: fn(&SubtaskMetrics) -> u64| -> u64 {
            subtasks.clone().into_iter().map(count).sum()
        };
        IoMetrics {
            read_bytes: 0,
            read_bytes_complete: false,
            write_bytes: 0,
            write_bytes_complete: false,
            read_records: sum(|subtask| subtask.records_in),
            read_records_complete: true,
            write_records: sum(|subtask| subtask.records_out),
            write_records_complete: true,
            accumulated_backpressured_time: sum(|subtask| subtask.time.back_pressured_ns())
                / NS_PER_MS,
            accumulated_idle_time: sum(|subtask| subtask.time.idle_ns) / NS_PER_MS,
            accumulated_busy_time: (sum(|subtask| subtask.time.busy_ns) / NS_PER_MS) as f64,
        }
    }

    /// The numbers by name.
    fn numbers(&self) -> [(&'static str, u64); 7] {
        [
            ("read-bytes", self.read_bytes),
            ("write-bytes", self.write_bytes),
            ("read-records", self.read_records),
            ("write-records", self.write_records),
            (
                "accumulated-backpressured-time",
                self.accumulated_backpressured_time,
            ),
            ("accumulated-idle-time", self.accumulated_idle_time),
            ("accumulated-busy-time", self.accumulated_busy_time as u64),
        ]
    }
}

/// What is told about one number of several subtasks.
#[derive(Serialize)]
pub(crate) struct Spread {
    min: u64,
    max: u64,
    avg: u64,
    sum: u64,
    median: Percentile,
    p25: Percentile,
    p75: Percentile,
    p95: Percentile,
}

impl Spread {
    pub(crate) fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = numbers.into_iter().collect();
        sorted.sort_unstable();
        let sum: u64 = sorted.iter().sum();
        Spread {
            min: sorted.first().copied().unwrap_or(0),
            max: sorted.last().copied().unwrap_or(0),
            avg: sum.checked_div(sorted.len() as u64).unwrap_or(0),
            sum,
            median: Percentile::of(&sorted, 50.0),
            p25: Percentile::of(&sorted, 25.0),
            p75: Percentile::of(&sorted, 75.0),
            p95: Percentile::of(&sorted, 95.0),
        }
    }
}

/// Each number of [`IoMetrics`], over several subtasks.
pub(crate) fn spreads(subtasks: &[IoMetrics]) -> BTreeMap<&'static str, Spread> {
    let mut by_name: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for (name, number) in subtasks.iter().flat_map(IoMetrics::numbers) {
        by_name.entry(name).or_default().push(number);
    }
    let spread = |(name, numbers)| (name, Spread::of(numbers));
    by_name.into_iter().map(spread).collect()
}

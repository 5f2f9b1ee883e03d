//! Counters of a subtask: its records, and where its time goes.
//!
//! All subtasks of a worker share one thread, and none of them blocks it. So the time of a subtask is
//! told from outside, each time it gets the thread and gives it up again:
//!
//! | | the subtask |
//! |---|---|
//! | busy | has the thread, and runs the calls of its operators and the engine's own work for them |
//! | back-pressured, soft | could take or make a record, and may not, as too many are on their way to receivers; it still passes barriers that overtake |
//! | back-pressured, hard | has stopped in the middle of an element, as receivers, or the outside world of a sink, take no more; no barrier can be passed meanwhile |
//! | idle | everything else: it has nothing to do, or waits for its turn |
//!
//! The four together are the time since the subtask was made. What it had begun and another subtask of
//! its worker kept it from is a part of idle, and told apart as *waiting*.
//!
//! The names are those of Flink 2.3.0, class `TaskIOMetricGroup`. There every subtask has a thread of
//! its own, and busy is what is neither idle nor back-pressured, with the time that the machine gives to
//! others.

use serde::{Deserialize, Serialize};

use crate::job_graph::VertexIndex;

const NS_PER_MS: f64 = 1e6;
const NS_PER_S: f64 = 1e9;

/// Where the time of a subtask has gone since it was made, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSpent {
    /// It has worked.
    pub busy_ns: u64,
    /// It had room for nothing more, between two elements.
    pub soft_back_pressured_ns: u64,
    /// It had room for nothing more, in the middle of an element.
    pub hard_back_pressured_ns: u64,
    /// The rest.
    pub idle_ns: u64,
    /// The part of the rest in which it had work left and another subtask had the thread.
    pub waiting_ns: u64,
}

impl TimeSpent {
    /// Soft and hard.
    pub fn back_pressured_ns(&self) -> u64 {
        self.soft_back_pressured_ns + self.hard_back_pressured_ns
    }

    /// All of it: the age of the subtask.
    pub fn total_ns(&self) -> u64 {
        self.busy_ns + self.back_pressured_ns() + self.idle_ns
    }
}

/// Counters of one operator of a chain since the attempt began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorMetrics {
    /// Records that it was given; of a source, that it has made.
    pub records_in: u64,
    /// Records that it has made, of all outputs.
    pub records_out: u64,
    /// Time in its own calls, in nanoseconds.
    pub busy_ns: u64,
}

/// Counters of one subtask since the attempt began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskMetrics {
    /// The vertex.
    pub vertex: VertexIndex,
    /// The subtask.
    pub subtask: u32,
    /// The worker process that it runs in, counted from 0.
    pub process: u32,
    /// Records taken from all inputs.
    pub records_in: u64,
    /// Records given to all outputs.
    pub records_out: u64,
    /// The lowest watermark of all inputs, or of the source; `i64::MIN` before the first.
    pub watermark: i64,
    /// Records that a source could emit and has not, if it knows (Flink's `pendingRecords`).
    pub pending_records: Option<u64>,
    /// Where its time has gone.
    pub time: TimeSpent,
    /// By operator, in the order of the chain.
    pub operators: Vec<OperatorMetrics>,
}

/// What an operator has done in each second of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorRates {
    /// Records given to it.
    pub records_in: f64,
    /// Records made.
    pub records_out: f64,
    /// Milliseconds in its calls.
    pub busy_ms: f64,
}

/// What a subtask has done in each second of some time; milliseconds of a second are 0 to 1000.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubtaskRates {
    /// Records taken from all inputs.
    pub records_in: f64,
    /// Records given to all outputs.
    pub records_out: f64,
    /// Milliseconds busy.
    pub busy_ms: f64,
    /// Milliseconds back-pressured between two elements.
    pub soft_back_pressured_ms: f64,
    /// Milliseconds back-pressured in the middle of an element.
    pub hard_back_pressured_ms: f64,
    /// Milliseconds idle.
    pub idle_ms: f64,
    /// Milliseconds of those in which it waited for the thread.
    pub waiting_ms: f64,
    /// By operator, in the order of the chain.
    pub operators: Vec<OperatorRates>,
}

impl SubtaskRates {
    /// Milliseconds back-pressured.
    pub fn back_pressured_ms(&self) -> f64 {
        self.soft_back_pressured_ms + self.hard_back_pressured_ms
    }
}

impl SubtaskMetrics {
    /// The same subtask when the attempt began.
    pub fn at_the_begin(&self) -> SubtaskMetrics {
        SubtaskMetrics {
            records_in: 0,
            records_out: 0,
            watermark: i64::MIN,
            pending_records: None,
            time: TimeSpent::default(),
            operators: vec![OperatorMetrics::default(); self.operators.len()],
            ..*self
        }
    }

    /// What it has done per second since `earlier`, by its own clock; `None` if no time has passed.
    pub fn rates_since(&self, earlier: &SubtaskMetrics) -> Option<SubtaskRates> {
        let elapsed_ns = self
            .time
            .total_ns()
            .checked_sub(earlier.time.total_ns())
            .filter(|elapsed| *elapsed > 0)?;
        let per_second = |now: u64, before: u64| {
            now.saturating_sub(before) as f64 * NS_PER_S / elapsed_ns as f64
        };
        let ms = |now: u64, before: u64| per_second(now, before) / NS_PER_MS;
        let operators = self.operators.iter().zip(&earlier.operators);
        let (now, before) = (&self.time, &earlier.time);
        Some(SubtaskRates {
            records_in: per_second(self.records_in, earlier.records_in),
            records_out: per_second(self.records_out, earlier.records_out),
            busy_ms: ms(now.busy_ns, before.busy_ns),
            soft_back_pressured_ms: ms(now.soft_back_pressured_ns, before.soft_back_pressured_ns),
            hard_back_pressured_ms: ms(now.hard_back_pressured_ns, before.hard_back_pressured_ns),
            idle_ms: ms(now.idle_ns, before.idle_ns),
            waiting_ms: ms(now.waiting_ns, before.waiting_ns),
            operators: operators
                .map(|(now, before)| OperatorRates {
                    records_in: per_second(now.records_in, before.records_in),
                    records_out: per_second(now.records_out, before.records_out),
                    busy_ms: ms(now.busy_ns, before.busy_ns),
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(time: TimeSpent, records: u64) -> SubtaskMetrics {
        SubtaskMetrics {
            vertex: VertexIndex(0),
            subtask: 1,
            process: 0,
            records_in: records,
            records_out: 2 * records,
            watermark: 7,
            pending_records: None,
            time,
            operators: vec![OperatorMetrics {
                records_in: records,
                records_out: records,
                busy_ns: time.busy_ns,
            }],
        }
    }

    #[test]
    fn the_milliseconds_of_a_second_are_a_thousand_and_records_are_per_second() {
        let before = metrics(TimeSpent::default(), 0);
        let time = TimeSpent {
            busy_ns: 1_000_000_000,
            soft_back_pressured_ns: 200_000_000,
            hard_back_pressured_ns: 300_000_000,
            idle_ns: 500_000_000,
            waiting_ns: 100_000_000,
        };
        let rates = metrics(time, 10).rates_since(&before).expect("2 s");
        let all = rates.busy_ms + rates.back_pressured_ms() + rates.idle_ms;
        assert!((all - 1000.0).abs() < 1e-6, "{rates:?}");
        assert!((rates.busy_ms - 500.0).abs() < 1e-6, "{rates:?}");
        assert!((rates.waiting_ms - 50.0).abs() < 1e-6, "{rates:?}");
        assert!((rates.records_in - 5.0).abs() < 1e-6, "{rates:?}");
        assert!((rates.records_out - 10.0).abs() < 1e-6, "{rates:?}");
        assert!((rates.operators[0].busy_ms - 500.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_is_told_of_no_time() {
        let now = metrics(TimeSpent::default(), 10);
        assert_eq!(now.rates_since(&now), None);
        assert_eq!(
            now.at_the_begin(),
            SubtaskMetrics {
                watermark: i64::MIN,
                ..metrics(TimeSpent::default(), 0)
            }
        );
    }
}

//! Counters of the subtasks of an attempt, as they come from the workers, and what they say per second.
//!
//! A rate is over the last 5 seconds, as Flink's are, or since the subtask was made: by the clock of
//! the subtask, so that it does not matter how long its counters were on their way.

use std::collections::{BTreeMap, VecDeque};

use millpond_job::SubtaskMetrics;
use millpond_job::dispatcher::SubtaskDetails;

/// Over what time rates are taken. Source: Flink 2.3.0, class `TimerGauge`.
const PERIOD_NS: u64 = 5_000_000_000;

/// How far two samples that are kept are apart: how much longer that time may be.
const RESOLUTION_NS: u64 = 250_000_000;

/// What has been heard of all subtasks.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// By vertex and subtask.
    subtasks: BTreeMap<(u32, u32), Samples>,
    heard_ms: Option<u64>,
}

impl Counters {
    /// A new attempt counts anew.
    pub(crate) fn clear(&mut self) {
        *self = Counters::default();
    }

    /// A worker has told its counters.
    pub(crate) fn hear(&mut self, subtasks: Vec<SubtaskMetrics>, now_ms: u64) {
        for metrics in subtasks {
            let id = (metrics.vertex.0, metrics.subtask);
            match self.subtasks.get_mut(&id) {
                Some(samples) => samples.add(metrics),
                None => {
                    self.subtasks.insert(id, Samples::new(metrics));
                }
            }
        }
        self.heard_ms = Some(now_ms);
    }

    /// When counters last came, in milliseconds since 1970.
    pub(crate) fn heard_ms(&self) -> Option<u64> {
        self.heard_ms
    }

    /// Those of one subtask.
    pub(crate) fn of_subtask(&self, vertex: u32, subtask: u32) -> Option<&SubtaskMetrics> {
        self.subtasks
            .get(&(vertex, subtask))
            .map(|samples| &samples.newest)
    }

    /// Those of the subtasks of a vertex, ascending.
    pub(crate) fn of_vertex(&self, vertex: u32) -> impl Iterator<Item = &SubtaskMetrics> {
        self.samples(vertex).map(|samples| &samples.newest)
    }

    /// Those of the subtasks of a vertex, and, `with_rates`, what they say per second.
    pub(crate) fn details(&self, vertex: u32, with_rates: bool) -> Vec<SubtaskDetails> {
        let details = |samples: &Samples| SubtaskDetails {
            metrics: samples.newest.clone(),
            rates: match with_rates {
                true => samples.newest.rates_since(samples.base()),
                false => None,
            },
        };
        self.samples(vertex).map(details).collect()
    }

    fn samples(&self, vertex: u32) -> impl Iterator<Item = &Samples> {
        let range = (vertex, 0)..=(vertex, u32::MAX);
        self.subtasks.range(range).map(|(_, samples)| samples)
    }
}

/// What one subtask has told over the last seconds.
#[derive(Debug)]
struct Samples {
    newest: SubtaskMetrics,
    /// Older ones, oldest first, never empty: the first is what rates are taken from.
    older: VecDeque<SubtaskMetrics>,
}

impl Samples {
    fn new(first: SubtaskMetrics) -> Self {
        Samples {
            older: VecDeque::from([first.at_the_begin()]),
            newest: first,
        }
    }

    fn add(&mut self, metrics: SubtaskMetrics) {
        let age_ns = metrics.time.total_ns();
        let before = std::mem::replace(&mut self.newest, metrics);
        let last_ns = self.older.back().map_or(0, |last| last.time.total_ns());
        if before.time.total_ns() >= last_ns.saturating_add(RESOLUTION_NS) {
            self.older.push_back(before);
        }
        let from_ns = age_ns.saturating_sub(PERIOD_NS);
        while self
            .older
            .get(1)
            .is_some_and(|second| second.time.total_ns() <= from_ns)
        {
            self.older.pop_front();
        }
    }

    fn base(&self) -> &SubtaskMetrics {
        self.older.front().unwrap_or(&self.newest)
    }
}

#[cfg(test)]
mod tests {
    use millpond_job::VertexIndex;
    use millpond_job::metrics::{OperatorMetrics, TimeSpent};

    use super::*;

    const MS: u64 = 1_000_000;

    fn metrics(subtask: u32, busy_ms: u64, idle_ms: u64, records: u64) -> SubtaskMetrics {
        SubtaskMetrics {
            vertex: VertexIndex(3),
            subtask,
            process: 0,
            records_in: records,
            records_out: 0,
            watermark: i64::MIN,
            pending_records: None,
            time: TimeSpent {
                busy_ns: busy_ms * MS,
                idle_ns: idle_ms * MS,
                ..TimeSpent::default()
            },
            operators: vec![OperatorMetrics::default()],
        }
    }

    fn rates(counters: &Counters) -> (u64, u64, u64) {
        let details = counters.details(3, true);
        let rates = details[0].rates.clone().expect("time has passed");
        let rounded = |number: f64| number.round() as u64;
        let (busy, idle) = (rounded(rates.busy_ms), rounded(rates.idle_ms));
        (busy, idle, rounded(rates.records_in))
    }

    #[test]
    fn rates_are_since_the_begin_first_and_over_five_seconds_then() {
        let mut counters = Counters::default();
        counters.hear(vec![metrics(0, 50, 50, 100)], 7);
        assert_eq!(rates(&counters), (500, 500, 1000));
        // Busy for 20 s, 1000 records a second, told ten times a second.
        for tenth in 0..200 {
            counters.hear(vec![metrics(0, 50 + tenth * 100, 50, 100 + tenth * 100)], 8);
        }
        assert_eq!(rates(&counters), (1000, 0, 1000));
        // Then idle: it shows little by little, and wholly after 5 s and a bit.
        let told = |tenth: u64| metrics(0, 19_950, 50 + tenth * 100, 20_000);
        (0..26).for_each(|tenth| counters.hear(vec![told(tenth)], 9));
        let (busy, idle, _) = rates(&counters);
        assert!((400..600).contains(&busy) && busy + idle == 1000, "{busy}");
        (26..54).for_each(|tenth| counters.hear(vec![told(tenth)], 10));
        assert_eq!(rates(&counters), (0, 1000, 0));
        let kept = counters.samples(3).next().expect("one").older.len();
        assert!(kept <= 22, "{kept} samples");
        assert_eq!(counters.heard_ms(), Some(10));
        assert_eq!(counters.details(3, false)[0].rates, None);
    }

    #[test]
    fn subtasks_of_other_vertices_are_not_among_those_of_one() {
        let mut counters = Counters::default();
        let other = SubtaskMetrics {
            vertex: VertexIndex(4),
            ..metrics(0, 1, 1, 5)
        };
        counters.hear(vec![metrics(1, 1, 1, 7), other, metrics(0, 1, 1, 6)], 7);
        let records: Vec<u64> = counters.of_vertex(3).map(|m| m.records_in).collect();
        assert_eq!(records, [6, 7]);
        assert_eq!(counters.of_subtask(4, 0).map(|m| m.records_in), Some(5));
        assert_eq!(counters.of_subtask(4, 1), None);
        counters.clear();
        assert_eq!(counters.of_vertex(3).count(), 0);
    }
}

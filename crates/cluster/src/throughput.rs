//! How fast a job reads before and during a snapshot.
//!
//! Workers count the records that their sources have made, and tell the master every 100 ms. The
//! sum over all sources, seen over time, is a line that never falls; between two samples it is taken
//! for straight. The rate before a snapshot is the slope of this line over the 10 s before its
//! trigger (or what there is of them), the rate during it the slope from its trigger to its end. So
//! the rate during a snapshot that takes much less than 100 ms is that of the time around it.

use std::collections::{BTreeMap, VecDeque};

use millpond_types::CheckpointId;

/// For how long before a snapshot the rate is taken.
const BEFORE_MS: u64 = 10_000;

/// Two samples within this time are one.
const RESOLUTION_MS: u64 = 20;

/// For how long behind the end of a snapshot a sample that covers it is waited for.
const PATIENCE_MS: u64 = 1_000;

/// A snapshot that is under way, or whose end is not yet covered by a sample.
#[derive(Debug)]
struct Measuring {
    began_ms: u64,
    ended_ms: Option<u64>,
    /// Known when a sample covers the begin.
    at_begin: Option<AtBegin>,
}

#[derive(Clone, Copy, Debug)]
struct AtBegin {
    records: f64,
    rate_before: Option<f64>,
}

/// How fast a job read before and during a snapshot, in records per second of all its sources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Impact {
    pub(crate) checkpoint: CheckpointId,
    /// `None` if the job had not run for long enough to tell.
    pub(crate) before: Option<f64>,
    pub(crate) during: f64,
}

/// The records that the sources of one attempt have made, over time.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    /// Milliseconds and records so far, both never falling.
    samples: VecDeque<(u64, u64)>,
    measuring: BTreeMap<CheckpointId, Measuring>,
    newest: CheckpointId,
}

impl Throughput {
    /// A new attempt counts anew.
    pub(crate) fn reset(&mut self) {
        self.samples.clear();
        self.measuring.clear();
    }

    /// Takes the number of records that have been made so far.
    pub(crate) fn sample(&mut self, now_ms: u64, records: u64) {
        match self.samples.back_mut() {
            Some((last_ms, last)) if now_ms < last_ms.saturating_add(RESOLUTION_MS) => {
                *last = records.max(*last);
            }
            last => {
                let records = last.map_or(records, |(_, last)| records.max(*last));
                self.samples.push_back((now_ms, records));
            }
        }
        let covered: Vec<CheckpointId> = self
            .measuring
            .iter()
            .filter(|(_, measuring)| measuring.at_begin.is_none() && measuring.began_ms <= now_ms)
            .map(|(checkpoint, _)| *checkpoint)
            .collect();
        for checkpoint in covered {
            self.settle_begin(checkpoint);
        }
        // What is older is asked for by nobody, but for one sample as the end of a line.
        let horizon_ms = now_ms.saturating_sub(BEFORE_MS + PATIENCE_MS);
        while self
            .samples
            .get(1)
            .is_some_and(|(at_ms, _)| *at_ms < horizon_ms)
        {
            self.samples.pop_front();
        }
    }

    /// A snapshot has begun. To be told in the order of their numbers; again makes no difference.
    pub(crate) fn began(&mut self, checkpoint: CheckpointId, at_ms: u64) {
        if checkpoint <= self.newest {
            return;
        }
        self.newest = checkpoint;
        let measuring = Measuring {
            began_ms: at_ms,
            ended_ms: None,
            at_begin: None,
        };
        self.measuring.insert(checkpoint, measuring);
    }

    /// A snapshot is complete.
    pub(crate) fn ended(&mut self, checkpoint: CheckpointId, at_ms: u64) {
        if let Some(measuring) = self.measuring.get_mut(&checkpoint) {
            measuring.ended_ms.get_or_insert(at_ms);
        }
    }

    /// A snapshot has failed: nothing is told of it.
    pub(crate) fn failed(&mut self, checkpoint: CheckpointId) {
        self.measuring.remove(&checkpoint);
    }

    /// Gives out, once, what can be told of snapshots that are complete; `finally` waits for no more
    /// samples.
    pub(crate) fn measured(&mut self, now_ms: u64, finally: bool) -> Vec<Impact> {
        let last_ms = self.samples.back().map_or(0, |(at_ms, _)| *at_ms);
        let ready = |ended_ms: u64| {
            finally || last_ms >= ended_ms || now_ms >= ended_ms.saturating_add(PATIENCE_MS)
        };
        let ready: Vec<(CheckpointId, u64)> = self
            .measuring
            .iter()
            .filter_map(|(checkpoint, measuring)| Some((*checkpoint, measuring.ended_ms?)))
            .filter(|(_, ended_ms)| ready(*ended_ms))
            .collect();
        let mut impacts = Vec::new();
        for (checkpoint, ended_ms) in ready {
            self.settle_begin(checkpoint);
            let Some(measuring) = self.measuring.remove(&checkpoint) else {
                continue;
            };
            let Some(begin) = measuring.at_begin else {
                continue;
            };
            let took_ms = ended_ms.saturating_sub(measuring.began_ms).max(1);
            let records = self.records_at(measuring.began_ms + took_ms) - begin.records;
            impacts.push(Impact {
                checkpoint,
                before: begin.rate_before,
                during: per_second(records, took_ms),
            });
        }
        impacts
    }

    fn settle_begin(&mut self, checkpoint: CheckpointId) {
        let Some(measuring) = self.measuring.get(&checkpoint) else {
            return;
        };
        if measuring.at_begin.is_some() || self.samples.is_empty() {
            return;
        }
        let began_ms = measuring.began_ms;
        let at_begin = AtBegin {
            records: self.records_at(began_ms),
            rate_before: self.rate_before(began_ms),
        };
        if let Some(measuring) = self.measuring.get_mut(&checkpoint) {
            measuring.at_begin = Some(at_begin);
        }
    }

    fn rate_before(&self, at_ms: u64) -> Option<f64> {
        let (first_ms, _) = *self.samples.front()?;
        let from_ms = first_ms.max(at_ms.saturating_sub(BEFORE_MS));
        (from_ms < at_ms).then(|| {
            let records = self.records_at(at_ms) - self.records_at(from_ms);
            per_second(records, at_ms - from_ms)
        })
    }

    /// Records at a time: on the line between the samples around it; outside of all samples, those of
    /// the nearest.
    fn records_at(&self, at_ms: u64) -> f64 {
        let behind = self
            .samples
            .partition_point(|(sample_ms, _)| *sample_ms < at_ms);
        let left = behind
            .checked_sub(1)
            .and_then(|left| self.samples.get(left));
        match (left, self.samples.get(behind)) {
            (Some((left_ms, left)), Some((right_ms, right))) => {
                let share = (at_ms - left_ms) as f64 / (right_ms - left_ms) as f64;
                *left as f64 + share * (right - left) as f64
            }
            (Some((_, nearest)), None) | (None, Some((_, nearest))) => *nearest as f64,
            (None, None) => 0.0,
        }
    }
}

fn per_second(records: f64, in_ms: u64) -> f64 {
    records.max(0.0) * 1000.0 / in_ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples every 100 ms from `from_ms` to `to_ms`, both included.
    fn samples(throughput: &mut Throughput, from_ms: u64, to_ms: u64, per_100_ms: u64) {
        let mut records = throughput.samples.back().map_or(0, |(_, last)| *last);
        for at_ms in (from_ms..=to_ms).step_by(100) {
            records += per_100_ms;
            throughput.sample(at_ms, records);
        }
    }

    #[test]
    fn the_rate_before_is_of_the_ten_seconds_before_and_the_rate_during_of_the_snapshot() {
        let mut throughput = Throughput::default();
        samples(&mut throughput, 0, 20_000, 1);
        samples(&mut throughput, 20_100, 40_000, 100);
        throughput.began(7, 40_050);
        samples(&mut throughput, 40_100, 40_200, 100);
        samples(&mut throughput, 40_300, 50_200, 25);
        throughput.ended(7, 50_250);
        assert_eq!(throughput.measured(50_250, false), [], "not covered yet");
        samples(&mut throughput, 50_300, 50_300, 25);
        let impacts = throughput.measured(50_300, false);
        let [impact] = impacts[..] else {
            panic!("{impacts:?}");
        };
        assert_eq!(impact.checkpoint, 7);
        let before = impact.before.expect("it had run");
        assert!((before - 1000.0).abs() < 1.0, "{before}");
        // 150 ms at 1000 records a second, the rest of 10.2 s at 250.
        assert!((impact.during - 261.0).abs() < 1.0, "{}", impact.during);
        assert_eq!(throughput.measured(60_000, true), [], "told once");
        assert!(throughput.samples.len() < 150, "old samples are forgotten");
    }

    #[test]
    fn a_snapshot_shorter_than_the_samples_has_the_rate_around_it() {
        let mut throughput = Throughput::default();
        samples(&mut throughput, 0, 1000, 50);
        throughput.began(1, 1010);
        throughput.ended(1, 1013);
        samples(&mut throughput, 1100, 1100, 50);
        let impacts = throughput.measured(1100, false);
        assert_eq!(impacts.len(), 1);
        assert!((impacts[0].during - 500.0).abs() < 1e-6, "{impacts:?}");
    }

    #[test]
    fn what_cannot_be_told_is_left_out() {
        let mut throughput = Throughput::default();
        throughput.began(1, 10);
        throughput.ended(1, 20);
        assert_eq!(throughput.measured(5_000, true), [], "no sample at all");
        samples(&mut throughput, 6_000, 6_000, 50);
        throughput.began(2, 6_000);
        throughput.began(3, 6_010);
        throughput.failed(3);
        throughput.ended(2, 6_400);
        throughput.ended(3, 6_400);
        let impacts = throughput.measured(8_000, false);
        assert_eq!(impacts.len(), 1, "patience is over: {impacts:?}");
        assert_eq!(impacts[0].before, None, "it had just begun");
        throughput.began(4, 8_100);
        throughput.reset();
        throughput.ended(4, 8_200);
        assert_eq!(throughput.measured(9_500, true), [], "of another attempt");
    }
}

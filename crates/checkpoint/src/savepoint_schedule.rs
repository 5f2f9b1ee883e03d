//! Savepoints by the clock, and which of them are superfluous.
//!
//! Only what the schedule itself has taken is ever deleted by it: savepoints of users, and those of a
//! stop or an upgrade, are not in its history. Its newest one stays, however old it is. The history of
//! an earlier process of the job can be [taken over](SavepointSchedule::remember).
//!
//! Model of the rules: Flink Kubernetes operator, options `kubernetes.operator.periodic.savepoint.interval`
//! and `kubernetes.operator.savepoint.history.max.{age,count}`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How savepoints are taken by the clock and how long they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavepointScheduleConfig {
    /// Milliseconds from the begin of one to the begin of the next, at least 1.
    pub interval_ms: u64,
    /// How many are kept, at least 1.
    pub max_count: u32,
    /// Milliseconds after which one is deleted, if it is not the newest.
    pub max_age_ms: u64,
}

/// A savepoint that the schedule has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenSavepoint {
    /// Where it lies, as a URI.
    pub directory: String,
    /// When it was complete, in milliseconds since 1970; when it began, if an earlier process took it.
    pub at_ms: u64,
}

/// When the next savepoint is due, and the history of those before it.
#[derive(Clone, Debug)]
pub struct SavepointSchedule {
    config: SavepointScheduleConfig,
    next_ms: u64,
    /// The oldest first.
    history: VecDeque<TakenSavepoint>,
}

impl SavepointSchedule {
    /// Returns a schedule whose first savepoint is due one interval from now.
    pub fn new(config: SavepointScheduleConfig, now_ms: u64) -> Self {
        SavepointSchedule {
            next_ms: now_ms.saturating_add(config.interval_ms.max(1)),
            config,
            history: VecDeque::new(),
        }
    }

    /// Takes over what an earlier process of the job has taken.
    pub fn remember(&mut self, taken: Vec<TakenSavepoint>) {
        let mut all: Vec<_> = self.history.drain(..).chain(taken).collect();
        all.sort_by_key(|taken| taken.at_ms);
        self.history = all.into();
    }

    /// When the next one is due.
    pub fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// One begins now, late or not: the next is due one interval later.
    pub fn began(&mut self, now_ms: u64) {
        self.next_ms = now_ms.saturating_add(self.config.interval_ms.max(1));
    }

    /// One is complete.
    pub fn taken(&mut self, directory: String, now_ms: u64) {
        self.history.push_back(TakenSavepoint {
            directory,
            at_ms: now_ms,
        });
    }

    /// Takes out what is superfluous now, oldest first; all of it was given to [`taken`](Self::taken).
    pub fn superfluous(&mut self, now_ms: u64) -> Vec<String> {
        let mut gone = Vec::new();
        while self.history.len() > 1 {
            let oldest = &self.history[0];
            let is_old = now_ms.saturating_sub(oldest.at_ms) > self.config.max_age_ms;
            let are_many = self.history.len() > self.config.max_count.max(1) as usize;
            if !is_old && !are_many {
                break;
            }
            gone.extend(self.history.pop_front().map(|taken| taken.directory));
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(interval_ms: u64, max_count: u32, max_age_ms: u64) -> SavepointSchedule {
        let config = SavepointScheduleConfig {
            interval_ms,
            max_count,
            max_age_ms,
        };
        SavepointSchedule::new(config, 0)
    }

    #[test]
    fn the_next_is_due_one_interval_behind_the_last_however_late_that_was() {
        let mut schedule = schedule(100, 10, 1000);
        assert_eq!(schedule.next_ms(), 100);
        schedule.began(170);
        assert_eq!(schedule.next_ms(), 270);
    }

    #[test]
    fn more_than_the_count_and_older_than_the_age_go_but_never_the_newest() {
        let mut schedule = schedule(100, 2, 1000);
        for at_ms in [0, 100, 200] {
            schedule.taken(format!("sp-{at_ms}"), at_ms);
        }
        assert_eq!(
            schedule.superfluous(200),
            ["sp-0"],
            "there are more than two"
        );
        assert!(schedule.superfluous(1100).is_empty(), "just old enough");
        assert_eq!(schedule.superfluous(1101), ["sp-100"]);
        assert!(
            schedule.superfluous(u64::MAX).is_empty(),
            "the newest stays"
        );
    }

    #[test]
    fn what_an_earlier_process_has_taken_counts() {
        let mut schedule = schedule(100, 2, 1000);
        let taken = |at_ms: u64| TakenSavepoint {
            directory: format!("sp-{at_ms}"),
            at_ms,
        };
        schedule.remember(vec![taken(70), taken(10)]);
        assert!(schedule.superfluous(80).is_empty());
        schedule.taken("sp-200".to_owned(), 200);
        assert_eq!(schedule.superfluous(200), ["sp-10"]);
        assert_eq!(schedule.superfluous(1100), ["sp-70"]);
    }

    proptest! {
        /// Only the schedule's own go, each once, oldest first; what stays is within the limits.
        #[test]
        fn only_what_the_schedule_has_taken_is_deleted(
            max_count in 0u32..5,
            max_age_ms in 0u64..500,
            steps in prop::collection::vec((1u64..200, any::<bool>()), 1..50),
        ) {
            let mut schedule = schedule(100, max_count, max_age_ms);
            let (mut now_ms, mut taken, mut gone) = (0, Vec::new(), Vec::new());
            for (pause_ms, by_schedule) in steps {
                now_ms += pause_ms;
                // Savepoints of users are not told.
                if by_schedule {
                    taken.push((format!("sp-{now_ms}"), now_ms));
                    schedule.taken(format!("sp-{now_ms}"), now_ms);
                }
                gone.extend(schedule.superfluous(now_ms));
                let names: Vec<_> = taken.iter().map(|(name, _)| name.clone()).collect();
                prop_assert_eq!(&gone[..], &names[..gone.len()]);
                let kept = &taken[gone.len()..];
                prop_assert!(kept.len() <= max_count.max(1) as usize);
                prop_assert!(taken.is_empty() || !kept.is_empty());
                let (_, older) = kept.split_last().unwrap_or((&(String::new(), 0), &[]));
                for (_, at_ms) in older {
                    prop_assert!(now_ms - at_ms <= max_age_ms);
                }
            }
        }
    }
}

//! Where the time of a task goes.
//!
//! One stamp of the clock when the task gets the thread and one when it gives it up again, as the data
//! plane takes them anyway; never one per record. What a pause is for is said when it begins: so a
//! source is back-pressured from when it found its window full until it is run again, whatever
//! has made it run.

use std::time::{Duration, Instant};

use millpond_job::metrics::TimeSpent;

/// What a task does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It has the thread.
    Work,
    /// It may neither take nor make a record: its receivers, or the sinks, are behind.
    SoftBackPressured,
    /// It may not go on in the middle of an element.
    HardBackPressured,
    /// It has given up the thread with work left.
    Wait,
    /// It has nothing to do.
    Idle,
}

/// The account of one task.
#[derive(Debug)]
pub(crate) struct TaskTime {
    doing: Doing,
    since: Instant,
    spent: TimeSpent,
}

impl TaskTime {
    /// A task that has nothing to do from `now` on.
    pub(crate) fn new(now: Instant) -> Self {
        TaskTime {
            doing: Doing::Idle,
            since: now,
            spent: TimeSpent::default(),
        }
    }

    /// From `now` on it does something else; returns what it did before.
    pub(crate) fn begin(&mut self, doing: Doing, now: Instant) -> Doing {
        self.spent = self.spent(now);
        self.since = self.since.max(now);
        std::mem::replace(&mut self.doing, doing)
    }

    /// What it has spent until `now`.
    pub(crate) fn spent(&self, now: Instant) -> TimeSpent {
        let ns = nanoseconds(now.saturating_duration_since(self.since));
        let mut spent = self.spent;
        match self.doing {
            Doing::Work => spent.busy_ns += ns,
            Doing::SoftBackPressured => spent.soft_back_pressured_ns += ns,
            Doing::HardBackPressured => spent.hard_back_pressured_ns += ns,
            Doing::Wait => {
                spent.idle_ns += ns;
                spent.waiting_ns += ns;
            }
            Doing::Idle => spent.idle_ns += ns,
        }
        spent
    }
}

/// A duration in nanoseconds: enough for 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_belongs_to_what_the_task_did_then_also_the_last_ones() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut time = TaskTime::new(begin);
        assert_eq!(time.begin(Doing::Work, at(1)), Doing::Idle);
        time.begin(Doing::SoftBackPressured, at(3));
        time.begin(Doing::Work, at(7));
        time.begin(Doing::HardBackPressured, at(8));
        time.begin(Doing::Wait, at(24));
        let spent = time.spent(at(56));
        let expected = TimeSpent {
            busy_ns: 3_000_000,
            soft_back_pressured_ns: 4_000_000,
            hard_back_pressured_ns: 16_000_000,
            idle_ns: 33_000_000,
            waiting_ns: 32_000_000,
        };
        assert_eq!(spent, expected);
        assert_eq!(spent.total_ns(), 56_000_000);
        // A stamp that was taken before the last one takes nothing back.
        time.begin(Doing::Idle, at(20));
        assert_eq!(time.spent(at(24)).total_ns(), 24_000_000);
    }
}

//! When the next periodic checkpoint is due.

/// The times of periodic checkpoints: every interval, but never sooner than the minimum pause
/// after the end of the one before.
///
/// A trigger that cannot happen on time (too many in progress) stays due, so that a checkpoint which
/// takes longer than the interval is followed by the next at once.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval_ms: Option<u64>,
    min_pause_ms: u64,
    due_ms: Option<u64>,
    last_end_ms: Option<u64>,
}

impl Schedule {
    pub(crate) fn new(interval_ms: Option<u64>, min_pause_ms: u64) -> Self {
        // An interval of 0 would never let time pass.
        let interval_ms = interval_ms.map(|interval| interval.max(1));
        Schedule {
            interval_ms,
            min_pause_ms,
            due_ms: None,
            last_end_ms: None,
        }
    }

    /// Whether there are periodic checkpoints at all.
    pub(crate) fn is_periodic(&self) -> bool {
        self.interval_ms.is_some()
    }

    /// All tasks run: the first checkpoint is due one interval from now.
    pub(crate) fn start(&mut self, now_ms: u64) {
        self.due_ms = self
            .interval_ms
            .map(|interval| now_ms.saturating_add(interval));
    }

    /// From now on there is another interval, if there was one; the next checkpoint is due so long from now, if
    /// all tasks run.
    pub(crate) fn change_interval(&mut self, interval_ms: u64, now_ms: u64) {
        if self.interval_ms.is_none() {
            return;
        }
        self.interval_ms = Some(interval_ms.max(1));
        if self.due_ms.is_some() {
            self.start(now_ms);
        }
    }

    /// Not all tasks run any more.
    pub(crate) fn stop(&mut self) {
        self.due_ms = None;
    }

    /// The earliest time of the next periodic checkpoint.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let pause_over = self
            .last_end_ms
            .map_or(0, |end| end.saturating_add(self.min_pause_ms));
        self.due_ms.map(|due| due.max(pause_over))
    }

    /// The due checkpoint has begun.
    pub(crate) fn triggered(&mut self, now_ms: u64) {
        if let (Some(due), Some(interval)) = (self.due_ms, self.interval_ms) {
            let on_time = due.saturating_add(interval);
            let late = now_ms.saturating_add(interval);
            // A timer that fires a little late does not shift those behind it.
            self.due_ms = Some(if on_time > now_ms { on_time } else { late });
        }
    }

    /// A checkpoint or savepoint has ended, well or not.
    pub(crate) fn ended(&mut self, now_ms: u64) {
        self.last_end_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_checkpoint_is_due_one_interval_after_all_tasks_run() {
        let mut schedule = Schedule::new(Some(100), 0);
        assert_eq!(schedule.next_ms(), None);
        schedule.start(1000);
        assert_eq!(schedule.next_ms(), Some(1100));
        schedule.stop();
        assert_eq!(schedule.next_ms(), None);
    }

    #[test]
    fn a_late_timer_does_not_shift_the_ones_behind_it_but_missed_ones_are_not_made_up() {
        let mut schedule = Schedule::new(Some(100), 0);
        schedule.start(0);
        schedule.triggered(103);
        assert_eq!(schedule.next_ms(), Some(200));
        schedule.triggered(777);
        assert_eq!(schedule.next_ms(), Some(877));
    }

    #[test]
    fn the_minimum_pause_counts_from_the_end_of_the_last_checkpoint() {
        let mut schedule = Schedule::new(Some(100), 500);
        schedule.start(0);
        schedule.triggered(100);
        schedule.ended(350);
        assert_eq!(schedule.next_ms(), Some(850));
    }

    #[test]
    fn another_interval_counts_from_its_change_and_for_later_attempts() {
        let mut schedule = Schedule::new(Some(3_600_000), 500);
        schedule.start(0);
        schedule.ended(900);
        schedule.change_interval(100, 1000);
        assert_eq!(schedule.next_ms(), Some(1400), "the pause is over");
        schedule.triggered(1400);
        assert_eq!(schedule.next_ms(), Some(1500));
        schedule.stop();
        schedule.change_interval(5000, 2000);
        assert_eq!(schedule.next_ms(), None, "not all tasks run");
        schedule.start(3000);
        assert_eq!(schedule.next_ms(), Some(8000));
        schedule.change_interval(0, 4000);
        assert_eq!(schedule.next_ms(), Some(4001), "time must pass");
    }

    #[test]
    fn without_an_interval_nothing_is_ever_due() {
        let mut schedule = Schedule::new(None, 0);
        schedule.start(0);
        schedule.change_interval(100, 0);
        assert_eq!(schedule.next_ms(), None);
    }
}

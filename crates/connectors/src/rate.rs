//! Rate limit: spreads the records of a source evenly over time.
//!
//! Record n of a reader is due n / rate seconds after its first one, so the rate is exact in the
//! long run and no burst is longer than the clock's millisecond. A reader that was held up catches
//! up, but with [`CATCH_UP_MS`] worth of records at most.

/// How much of a delay a reader makes up for, in milliseconds.
const CATCH_UP_MS: u64 = 1000;

/// Says how many records one reader may emit by now.
#[derive(Clone, Debug)]
pub(crate) struct RateLimit {
    records_per_s: u64,
    /// The reader's share of the rate: `parts` of `of`.
    parts: u64,
    of: u64,
    start_ms: u64,
    latest_ms: u64,
    /// Records since `start_ms`.
    emitted: u64,
}

impl RateLimit {
    /// A limit of `records_per_s` for the whole source; the reader gets nothing until
    /// [`RateLimit::share`] is called.
    pub(crate) fn new(records_per_s: u64, now_ms: u64) -> Self {
        RateLimit {
            records_per_s,
            parts: 0,
            of: 1,
            start_ms: now_ms,
            latest_ms: now_ms,
            emitted: 0,
        }
    }

    /// Gives the reader `parts` of `of` of the source's rate, from now on.
    pub(crate) fn share(&mut self, parts: u64, of: u64) {
        self.parts = parts;
        self.of = of.max(1);
        self.start_at(self.latest_ms);
    }

    fn start_at(&mut self, now_ms: u64) {
        self.start_ms = now_ms;
        self.latest_ms = now_ms;
        self.emitted = 0;
    }

    /// Records that are due now and have not been emitted.
    pub(crate) fn due(&mut self, now_ms: u64) -> u64 {
        if now_ms < self.latest_ms {
            // The clock was set back.
            self.start_at(now_ms);
        }
        self.latest_ms = now_ms;
        if self.parts == 0 {
            return 0;
        }
        let due = self.records_in(now_ms - self.start_ms) + 1;
        let most = self.records_in(CATCH_UP_MS) + 1;
        self.emitted = self.emitted.max(due.saturating_sub(most));
        due.saturating_sub(self.emitted)
    }

    /// Counts records that were emitted.
    pub(crate) fn emitted(&mut self, records: u64) {
        self.emitted += records;
    }

    /// When the next record is due, in milliseconds since 1970; `None` if the share is nothing.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        let per_s = u128::from(self.records_per_s) * u128::from(self.parts);
        if per_s == 0 {
            return None;
        }
        let wait_ms = (u128::from(self.emitted) * 1000 * u128::from(self.of)).div_ceil(per_s);
        Some(self.start_ms.saturating_add(wait_ms as u64))
    }

    fn records_in(&self, ms: u64) -> u64 {
        let records = u128::from(ms) * u128::from(self.records_per_s) * u128::from(self.parts);
        (records / (u128::from(self.of) * 1000)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a limit as a reader would that is woken exactly on time; returns when records came.
    fn emission_times(records_per_s: u64, parts: u64, of: u64, records: usize) -> Vec<u64> {
        let mut limit = RateLimit::new(records_per_s, 5000);
        limit.share(parts, of);
        let (mut now, mut times) = (5000, Vec::new());
        while times.len() < records {
            let due = limit.due(now);
            limit.emitted(due);
            times.extend((0..due).map(|_| now - 5000));
            now = limit.next_ms().expect("the share is not nothing");
        }
        times.truncate(records);
        times
    }

    #[test]
    fn records_come_evenly_and_at_the_given_rate() {
        assert_eq!(emission_times(4, 1, 1, 4), [0, 250, 500, 750]);
        assert_eq!(emission_times(3, 1, 1, 4), [0, 334, 667, 1000]);
        let fast = emission_times(10_000, 1, 1, 10_001);
        assert_eq!(fast.last(), Some(&1000));
        for ms in 1..1000 {
            assert_eq!(fast.iter().filter(|at| **at == ms).count(), 10, "at {ms}");
        }
    }

    #[test]
    fn the_shares_of_all_readers_add_up_to_the_rate() {
        let in_a_second = |parts| {
            emission_times(1000, parts, 7, 2000)
                .iter()
                .filter(|at| **at < 1000)
                .count()
        };
        let total = in_a_second(3) + in_a_second(4);
        assert!((1000..=1002).contains(&total), "{total}");
    }

    #[test]
    fn a_delay_is_made_up_for_with_a_second_of_records_at_most() {
        let mut limit = RateLimit::new(100, 0);
        limit.share(1, 1);
        assert_eq!(limit.due(0), 1);
        limit.emitted(1);
        assert_eq!(limit.due(500), 50);
        assert_eq!(limit.due(60_000), 101);
        limit.emitted(101);
        assert_eq!(limit.due(60_000), 0);
        assert_eq!(limit.next_ms(), Some(60_010));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_source() {
        let mut limit = RateLimit::new(10, 100_000);
        limit.share(1, 1);
        limit.emitted(1);
        assert_eq!(limit.due(4000), 1);
        limit.emitted(1);
        assert_eq!(limit.next_ms(), Some(4100));
    }
}

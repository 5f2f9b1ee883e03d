//! The pace of a task: how many records it takes at once, so that it can soon do something else.
//!
//! A batch goes through the whole chain before a barrier can be passed. A slow function would hold
//! the barrier back for a thousand calls; so records are taken in pieces that last about a slice.

use std::time::Duration;

/// For how long a piece may last.
const PIECE: Duration = Duration::from_millis(1);

/// The weight of what was measured last is one in this many.
const MEMORY: u64 = 4;

/// What a record costs, measured.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Picoseconds per record; 0 before the first was measured.
    ps_per_record: u64,
    /// Records of the piece that is being processed.
    records: u64,
    spent: Duration,
}

impl Pace {
    /// A piece begins.
    pub(crate) fn begin(&mut self, records: usize) {
        self.end();
        self.records = records as u64;
    }

    /// The chain has worked on it.
    pub(crate) fn spent(&mut self, time: Duration) {
        self.spent += time;
    }

    fn end(&mut self) {
        let spent = std::mem::take(&mut self.spent);
        if self.records == 0 {
            return;
        }
        let ps = (spent.as_nanos() as u64).saturating_mul(1000) / self.records;
        self.ps_per_record = match self.ps_per_record {
            0 => ps,
            // Slower at once, faster little by little: one piece too long is what shows.
            known if ps > known => ps,
            known => (known * (MEMORY - 1) + ps) / MEMORY,
        };
    }

    /// How many records to take at once, at least 1.
    pub(crate) fn limit(&self) -> usize {
        let piece = PIECE.as_nanos() as u64 * 1000;
        match self.ps_per_record {
            0 => usize::MAX,
            ps => (piece / ps).max(1) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_records_are_taken_in_pieces_of_a_slice_and_fast_ones_whole() {
        let mut pace = Pace::default();
        assert_eq!(pace.limit(), usize::MAX, "nothing is known");
        pace.begin(1000);
        pace.spent(Duration::from_millis(12));
        pace.spent(Duration::from_millis(8));
        pace.begin(50);
        assert_eq!(pace.limit(), 50, "20 microseconds each");
        for _ in 0..40 {
            pace.spent(Duration::from_micros(5));
            pace.begin(50);
        }
        assert!(pace.limit() > 1024, "it has become fast: {}", pace.limit());
        pace.begin(1);
        pace.spent(Duration::from_secs(1));
        pace.begin(1);
        assert_eq!(pace.limit(), 1, "at least one");
    }
}

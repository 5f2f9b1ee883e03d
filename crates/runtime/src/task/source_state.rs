//! Where a source stands, and at which tick it goes on.

use std::time::Duration;

use super::IDLE_PERIOD;
use crate::time::{Time, ticks};
use crate::window::Window;

/// How many records of one source subtask may be in flight.
const RECORDS_IN_FLIGHT: u64 = 16 * 1024;

/// How far ahead a source with little to read lets its tick run, so that it holds no other source back:
/// with one worker, and at most.
const LEAP: Duration = Duration::from_millis(20);
const LONGEST_LEAP: Duration = Duration::from_millis(100);

/// How long a source waits between two steps for each pair of workers: one of them tells the other.
const STEP: Duration = Duration::from_micros(4);

/// Among how many workers a leap is as long as with one. All of them hear of it, from each of them.
const WORKERS_PER_LEAP: u32 = 8;

/// Where a source stands.
pub(super) struct SourceState {
    pub(super) window: Window,
    pub(super) waits_for_room: bool,
    pub(super) ended: bool,
    /// It had nothing to read when it was last asked.
    pub(super) quiet: bool,
    /// It had ended in the snapshot, and still has to say so.
    pub(super) had_ended: bool,
    /// How far ahead it lets its tick run when it has little to read.
    leap: u32,
    /// For how long it holds back what others have made since.
    patience: u32,
}

impl SourceState {
    /// A source among so many workers of all processes, which may have ended in the snapshot.
    pub(super) fn new(had_ended: bool, workers: u32) -> Self {
        SourceState {
            window: Window::new(RECORDS_IN_FLIGHT),
            waits_for_room: false,
            ended: false,
            quiet: false,
            had_ended,
            leap: ticks(leap(workers)),
            patience: ticks(patience(workers)),
        }
    }

    /// The tick at which it is to go on, at the tick `present` of its epoch if it has begun that.
    ///
    /// All workers hear of every change, so there is one when enough was made to tell by it how far the
    /// sinks have come. A source with little to read goes far ahead: then it need not move for others.
    pub(super) fn tick(&self, present: Option<Time>, clock: u32) -> u32 {
        let ahead = clock.saturating_add(self.leap);
        let Some(time) = present else {
            return if self.quiet { ahead } else { clock };
        };
        let present = time as u32;
        if self.window.is_tick_due(time) {
            let next = if self.quiet { ahead } else { clock };
            return next.max(present.saturating_add(1));
        }
        let is_behind = present.saturating_add(self.patience) <= clock;
        match self.quiet {
            true if present >= clock.saturating_add(self.leap / 2) => present,
            true => ahead,
            false if is_behind => clock,
            false => present,
        }
    }
}

/// How far ahead a source goes that has little to read, among so many workers.
fn leap(workers: u32) -> Duration {
    (LEAP * (workers / WORKERS_PER_LEAP).max(1)).min(LONGEST_LEAP)
}

/// For how long a source holds others back that has made little since its last step.
fn patience(workers: u32) -> Duration {
    (STEP * workers * workers).min(IDLE_PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::pack;

    const EPOCH: u32 = 3;

    /// The tick of a source that was at `present`.
    fn tick(source: &SourceState, present: u32, clock: u32) -> u32 {
        source.tick(Some(pack(EPOCH, present)), clock)
    }

    #[test]
    fn a_source_that_makes_much_moves_with_the_clock_and_only_when_it_has_made_much() {
        let mut source = SourceState::new(false, 2);
        assert_eq!(source.tick(None, 70), 70);
        source.window.emitted(pack(EPOCH, 70), 500);
        assert_eq!(tick(&source, 70, 80), 80);
        // The clock can be behind: that of another epoch, or one before a leap.
        source.window.emitted(pack(EPOCH, 80), 500);
        assert_eq!(tick(&source, 80, 20), 81);
    }

    #[test]
    fn a_source_with_little_to_read_leaps_and_then_stays() {
        let mut source = SourceState::new(false, 2);
        let leap = ticks(LEAP);
        source.quiet = true;
        assert_eq!(source.tick(None, 70), 70 + leap);
        assert_eq!(tick(&source, 70, 71), 71 + leap);
        assert_eq!(tick(&source, 70 + leap, 71), 70 + leap);
        assert_eq!(tick(&source, 70 + leap, 70 + leap / 2), 70 + leap);
        assert_eq!(
            tick(&source, 70 + leap, 71 + leap / 2),
            71 + leap / 2 + leap
        );
    }

    #[test]
    fn a_source_that_makes_little_follows_the_clock_at_a_distance() {
        let mut source = SourceState::new(false, 16);
        source.window.emitted(pack(EPOCH, 70), 1);
        let late = 70 + ticks(patience(16));
        assert_eq!(tick(&source, 70, late - 1), 70);
        assert_eq!(tick(&source, 70, late), late);
    }

    #[test]
    fn a_source_that_waits_for_the_sinks_is_behind_what_it_has_made() {
        let mut source = SourceState::new(false, 16);
        while source.window.room() > 0 {
            source.window.emitted(pack(EPOCH, 70), 1);
        }
        source.waits_for_room = true;
        assert_eq!(tick(&source, 70, 70), 71);
        assert_eq!(tick(&source, 71, 72), 71);
    }

    #[test]
    fn leaps_are_longer_and_steps_rarer_among_many_workers() {
        assert!(ticks(patience(2)) == 1 && patience(1000) == IDLE_PERIOD);
        assert_eq!(leap(1), LEAP);
        assert_eq!(leap(15), LEAP);
        assert_eq!(leap(32), LEAP * 4);
        assert_eq!(leap(1000), LONGEST_LEAP);
    }
}

//! The barrier of a task as a state machine without I/O.
//!
//! A task snapshots epoch e when timely has proved that nothing of epoch e or earlier can still
//! arrive **and** the task itself holds nothing of them. In exactly-once mode what arrives of later
//! epochs waits in a stash; in at-least-once mode it is processed at once, so that it may be in the
//! snapshot and be replayed as well.
//!
//! An unaligned barrier does not wait for that: the snapshot *overtakes* what the task holds of epoch
//! e and earlier and what still arrives of it. That is logged, and processed as part of e+1. It still
//! waits for inputs that are never overtaken: broadcast ones, or their state would differ between
//! subtasks, and pointwise ones, whose records could go nowhere at another parallelism.

use crate::time::{Time, epoch_of};
use crate::volume::Volume;

/// What a checkpoint guarantees about state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every record is counted once.
    ExactlyOnce,
    /// After a recovery a record may be counted twice.
    AtLeastOnce,
}

/// Where an arriving element goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// To be processed now.
    Queue,
    /// To be kept until its epoch begins.
    Stash,
    /// To be logged, and processed now as part of the present epoch.
    Overtaken,
}

/// What happened from the first sign of a barrier until it was passed; nothing in at-least-once mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// For how long it was, in ns.
    pub duration_ns: u64,
    /// What was taken to be processed meanwhile.
    pub processed: Volume,
    /// What arrived from behind the barrier, and waited.
    pub buffered: Volume,
}

/// Where a task is between two barriers.
#[derive(Debug)]
pub struct Alignment {
    mode: Mode,
    /// For each input edge whether it may be overtaken.
    may_overtake: Vec<bool>,
    epoch: u32,
    early_since_ns: Option<u64>,
    /// Since then.
    processed: Volume,
    buffered: Volume,
}

impl Alignment {
    /// Begins at epoch 0; `may_overtake` says of each input edge whether a barrier may overtake what
    /// is in flight there.
    pub fn new(mode: Mode, may_overtake: Vec<bool>) -> Self {
        Alignment {
            mode,
            may_overtake,
            epoch: 0,
            early_since_ns: None,
            processed: Volume::default(),
            buffered: Volume::default(),
        }
    }

    /// The epoch that the task is in.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Decides where an element of `time` goes, at `now_ns` of any steady clock.
    pub fn arrive(&mut self, time: Time, now_ns: impl FnOnce() -> u64) -> Arrival {
        if epoch_of(time) == self.epoch {
            return Arrival::Queue;
        }
        if epoch_of(time) < self.epoch {
            // An aligned barrier is passed only once none of these can arrive.
            return Arrival::Overtaken;
        }
        if self.early_since_ns.is_none() {
            self.early_since_ns = Some(now_ns());
        }
        match self.mode {
            Mode::ExactlyOnce => Arrival::Stash,
            Mode::AtLeastOnce => Arrival::Queue,
        }
    }

    /// Takes note of how far the inputs have come: that of one of them whose barrier is here is the
    /// first sign of it, also when no record is behind it. An input that has ended says nothing.
    pub fn look(&mut self, frontiers: &[Option<Time>], now_ns: impl FnOnce() -> u64) {
        let passed = |time: &Time| epoch_of(*time) > self.epoch;
        if self.early_since_ns.is_none() && frontiers.iter().flatten().any(passed) {
            self.early_since_ns = Some(now_ns());
        }
    }

    /// Whether a barrier is here and waits for others, or for what the task holds.
    pub fn is_aligning(&self) -> bool {
        self.mode == Mode::ExactlyOnce && self.early_since_ns.is_some()
    }

    /// Something was taken to be processed, while [`Alignment::is_aligning`].
    pub fn processed(&mut self, volume: Volume) {
        self.processed += volume;
    }

    /// Something has been kept until its epoch begins.
    pub fn buffered(&mut self, volume: Volume) {
        self.buffered += volume;
    }

    /// Whether the barrier has been reached.
    ///
    /// `frontier` is the lowest time that can still arrive, `None` if nothing can; `held` are the
    /// times of what the task itself still holds.
    pub fn is_reached(&self, frontier: Option<Time>, held: impl IntoIterator<Item = Time>) -> bool {
        let passed = |time: Time| epoch_of(time) > self.epoch;
        // In exactly-once mode the first that is held decides: the others wait in the stash.
        frontier.is_none_or(passed) && held.into_iter().all(passed)
    }

    /// Whether an unaligned barrier can be passed.
    ///
    /// `frontiers` are the lowest times that can still arrive at each input edge; `held` are input
    /// edge and time of what the task itself still holds.
    pub fn can_overtake(
        &self,
        frontiers: &[Option<Time>],
        held: impl IntoIterator<Item = (usize, Time)>,
    ) -> bool {
        let passed = |time: Time| epoch_of(time) > self.epoch;
        let mut inputs = self.may_overtake.iter().zip(frontiers);
        self.mode == Mode::ExactlyOnce
            && inputs.all(|(may, frontier)| *may || frontier.is_none_or(passed))
            && held
                .into_iter()
                .all(|(gate, time)| self.may_overtake[gate] || passed(time))
    }

    /// Enters the next epoch; returns what the barrier has cost.
    pub fn pass(&mut self, now_ns: u64) -> Passed {
        self.epoch += 1;
        let since = self.early_since_ns.take();
        let processed = std::mem::take(&mut self.processed);
        let buffered = std::mem::take(&mut self.buffered);
        match self.mode {
            Mode::ExactlyOnce => Passed {
                duration_ns: since.map_or(0, |since| now_ns.saturating_sub(since)),
                processed,
                buffered,
            },
            Mode::AtLeastOnce => Passed::default(),
        }
    }

    /// When the first sign of the barrier came, in ns of the clock of `arrive`.
    pub fn early_since_ns(&self) -> Option<u64> {
        self.early_since_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::pack;

    #[test]
    fn a_record_behind_the_barrier_waits_in_exactly_once_mode_only() {
        let mut exact = Alignment::new(Mode::ExactlyOnce, vec![true]);
        assert_eq!(exact.arrive(pack(0, 9), || 5), Arrival::Queue);
        assert_eq!(exact.arrive(pack(1, 0), || 7), Arrival::Stash);
        assert!(exact.is_aligning());
        assert_eq!(exact.pass(107).duration_ns, 100);
        assert!(!exact.is_aligning());
        assert_eq!(exact.arrive(pack(1, 0), || 8), Arrival::Queue);
        let mut relaxed = Alignment::new(Mode::AtLeastOnce, vec![true]);
        assert_eq!(relaxed.arrive(pack(1, 0), || 7), Arrival::Queue);
        assert!(!relaxed.is_aligning());
        assert_eq!(relaxed.pass(107), Passed::default());
    }

    #[test]
    fn the_barrier_of_one_input_is_its_first_sign_and_an_input_that_has_ended_is_none() {
        let mut alignment = Alignment::new(Mode::ExactlyOnce, vec![true; 3]);
        alignment.look(&[None, Some(pack(0, 5)), Some(pack(0, 9))], || 3);
        assert!(!alignment.is_aligning());
        alignment.look(&[None, Some(pack(0, 5)), Some(pack(1, 0))], || 7);
        alignment.look(&[None, Some(pack(1, 0)), Some(pack(1, 0))], || 9);
        let volume = |records| Volume {
            bytes: 10 * records,
            records,
        };
        alignment.processed(volume(3));
        alignment.processed(volume(1));
        alignment.buffered(volume(2));
        let expected = Passed {
            duration_ns: 4,
            processed: volume(4),
            buffered: volume(2),
        };
        assert_eq!(alignment.pass(11), expected);
        let next = alignment.pass(12);
        assert_eq!(next, Passed::default(), "each barrier counts for itself");
    }

    #[test]
    fn the_barrier_waits_for_what_may_arrive_and_for_what_is_held() {
        let alignment = Alignment::new(Mode::ExactlyOnce, vec![true]);
        assert!(!alignment.is_reached(Some(pack(0, 5)), []));
        assert!(!alignment.is_reached(Some(pack(1, 0)), [pack(1, 9), pack(0, 5)]));
        assert!(alignment.is_reached(Some(pack(1, 0)), []));
        assert!(alignment.is_reached(None, []));
    }

    #[test]
    fn an_unaligned_barrier_waits_only_for_inputs_that_are_never_overtaken() {
        let mut alignment = Alignment::new(Mode::ExactlyOnce, vec![true, false]);
        let (old, new) = (pack(0, 5), pack(1, 0));
        assert!(alignment.can_overtake(&[Some(old), Some(new)], [(0, old), (1, new)]));
        assert!(!alignment.can_overtake(&[Some(old), Some(old)], []));
        assert!(!alignment.can_overtake(&[Some(old), Some(new)], [(1, old)]));
        assert!(alignment.can_overtake(&[Some(old), None], []));
        alignment.pass(0);
        assert_eq!(alignment.arrive(old, || 9), Arrival::Overtaken);
        assert_eq!(alignment.arrive(new, || 9), Arrival::Queue);
        assert!(
            !alignment.is_reached(Some(old), []),
            "the next barrier waits for it"
        );
        let relaxed = Alignment::new(Mode::AtLeastOnce, vec![true]);
        assert!(!relaxed.can_overtake(&[Some(old)], []));
    }
}

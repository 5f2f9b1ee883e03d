//! What unaligned barriers have overtaken, until the last of it has arrived.
//!
//! A snapshot of epoch e that was taken without alignment lacks what was in flight. What of it was in
//! the task's queue is logged with the snapshot, what still arrives is logged then. When nothing of
//! e or earlier can arrive any more the log is whole. A snapshot that was given up leaves a log that
//! nobody wants; meanwhile the next one may begin, and both get what is older than both.

use millpond_types::CheckpointId;

use crate::time::{Time, epoch_of};

/// Snapshots that still wait for records, oldest first. `S` is the snapshot, and its log.
#[derive(Debug)]
pub struct Overtaken<S> {
    open: Vec<Open<S>>,
}

#[derive(Debug)]
struct Open<S> {
    checkpoint: CheckpointId,
    epoch: u32,
    snapshot: S,
}

impl<S> Default for Overtaken<S> {
    fn default() -> Self {
        Overtaken { open: Vec::new() }
    }
}

impl<S> Overtaken<S> {
    /// Takes a snapshot of `epoch` that waits for what can still arrive of it.
    pub fn wait(&mut self, checkpoint: CheckpointId, epoch: u32, snapshot: S) {
        self.open.push(Open {
            checkpoint,
            epoch,
            snapshot,
        });
    }

    /// The snapshots into which something of `time` belongs that arrives now.
    pub fn of(&mut self, time: Time) -> impl Iterator<Item = &mut S> {
        self.open
            .iter_mut()
            .filter(move |open| epoch_of(time) <= open.epoch)
            .map(|open| &mut open.snapshot)
    }

    /// All of them.
    pub fn all(&mut self) -> impl Iterator<Item = &mut S> {
        self.open.iter_mut().map(|open| &mut open.snapshot)
    }

    /// Returns the snapshots that have everything, when `frontier` is the lowest time that can
    /// still arrive.
    pub fn whole(&mut self, frontier: Option<Time>) -> Vec<S> {
        let first = self
            .open
            .iter()
            .position(|open| frontier.is_some_and(|frontier| epoch_of(frontier) <= open.epoch));
        let whole = self.open.drain(..first.unwrap_or(self.open.len()));
        whole.map(|open| open.snapshot).collect()
    }

    /// Drops a snapshot that will never complete.
    pub fn aborted(&mut self, checkpoint: CheckpointId) {
        self.open.retain(|open| open.checkpoint != checkpoint);
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::pack;

    #[test]
    fn a_snapshot_waits_until_nothing_of_its_epoch_can_arrive() {
        let mut overtaken = Overtaken::default();
        overtaken.wait(7, 3, "a");
        assert!(overtaken.whole(Some(pack(3, 9))).is_empty());
        assert_eq!(overtaken.of(pack(3, 9)).count(), 1);
        assert_eq!(overtaken.of(pack(4, 0)).count(), 0, "behind the barrier");
        overtaken.wait(8, 4, "b");
        assert_eq!(overtaken.of(pack(2, 0)).count(), 2, "older than both");
        assert_eq!(overtaken.of(pack(4, 0)).collect::<Vec<_>>(), [&"b"]);
        assert_eq!(overtaken.whole(Some(pack(4, 0))), ["a"]);
        assert_eq!(overtaken.whole(None), ["b"]);
        assert!(overtaken.is_empty());
    }

    #[test]
    fn one_that_was_given_up_is_forgotten() {
        let mut overtaken = Overtaken::default();
        overtaken.wait(7, 3, "a");
        overtaken.aborted(7);
        assert!(overtaken.whole(None).is_empty());
    }
}

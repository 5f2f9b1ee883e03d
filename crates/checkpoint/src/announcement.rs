//! The end of an epoch, told to every process before any source acts on it.

use std::collections::BTreeSet;

use millpond_job::gateway::Epoch;

/// An announcement that not all processes have confirmed.
#[derive(Debug)]
pub(crate) struct Announcement {
    /// The epoch that will end.
    pub(crate) epoch: Epoch,
    /// Until when all processes must have confirmed.
    pub(crate) deadline_ms: u64,
    missing: BTreeSet<u32>,
}

impl Announcement {
    /// Returns an announcement to the processes `0..processes`.
    pub(crate) fn new(epoch: Epoch, processes: u32, deadline_ms: u64) -> Self {
        Announcement {
            epoch,
            deadline_ms,
            missing: (0..processes).collect(),
        }
    }

    /// Takes the confirmation of `process`; whether it was the last one.
    pub(crate) fn confirm(&mut self, process: u32, epoch: Epoch) -> bool {
        epoch == self.epoch && self.missing.remove(&process) && self.missing.is_empty()
    }

    /// The processes that have not confirmed, ascending.
    pub(crate) fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        self.missing.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_process_completes_an_announcement_and_only_for_its_epoch() {
        let mut announcement = Announcement::new(4, 2, 100);
        assert!(!announcement.confirm(1, 4));
        assert!(!announcement.confirm(1, 4), "twice");
        assert!(!announcement.confirm(0, 3), "an older epoch");
        assert_eq!(announcement.missing().collect::<Vec<_>>(), [0]);
        assert!(announcement.confirm(0, 4));
        assert!(!announcement.confirm(0, 4), "complete only once");
    }
}

//! The lock of a master's directory of checkpoints, as `cluster::fence` looks at it. What follows from that
//! the product's `Fencing` decides.
//!
//! A master that stands still, and somebody begins in its place, is refused, killed first, or finds that its
//! directory was replaced by a copy when it wakes up.

use millpond_checkpoint::{Barred, Look};
use millpond_types::CheckpointId;

use crate::bug::Bug;
use crate::world::World;

impl World {
    /// What a look at the lock shows; one that nobody has is taken.
    pub(super) fn look(&mut self, m: usize) -> Look {
        let directory = self.masters[m].directory.clone();
        match self.locks.get(&directory) {
            _ if self.bug == Some(Bug::StaleMaster) => Look::Own,
            Some(holder) if *holder == m => Look::Own,
            Some(holder) if self.masters[*holder].is_running() => Look::Taken,
            Some(_) | None => {
                let newest = self.numbers_of_complete(&directory).last().copied();
                self.locks.insert(directory, m);
                Look::Locked { newest }
            }
        }
    }

    /// The numbers of the complete checkpoints in a directory, ascending.
    pub(super) fn numbers_of_complete(&self, directory: &str) -> Vec<CheckpointId> {
        let prefix = format!("{directory}/chk-");
        let directories = self.disk.snapshots().map(|(directory, _)| directory);
        let numbers = directories.filter_map(|path| path.strip_prefix(&prefix)?.parse().ok());
        let mut numbers: Vec<CheckpointId> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    /// Whether a snapshot may be made visible; if not, why.
    pub(super) fn may_complete(&mut self, m: usize, id: CheckpointId) -> Result<(), String> {
        let look = match self.bug {
            Some(Bug::StaleCompletion) => Look::Own,
            Some(_) | None => self.look(m),
        };
        let look = self.forgetful(look);
        let (triggered_at_ms, now_ms) = (self.masters[m].laws.triggered_at_ms(id), self.now_ms);
        let fencing = &mut self.masters[m].fencing;
        let may = fencing.complete(id, triggered_at_ms, look, now_ms);
        self.barred(m, may)?;
        let is_succeeded = self.is_succeeded(m);
        self.law(!is_succeeded, || {
            format!("master {m} completes snapshot {id}, and a successor has begun")
        });
        Ok(())
    }

    /// Whether something may be deleted; if not, why.
    pub(super) fn may_delete(&mut self, m: usize) -> Result<(), String> {
        let look = match self.bug {
            Some(Bug::StaleDeletion) => Look::Own,
            Some(_) | None => self.look(m),
        };
        let look = self.forgetful(look);
        let may = self.masters[m].fencing.delete(look, self.now_ms);
        self.barred(m, may)?;
        let is_succeeded = self.is_succeeded(m);
        self.law(!is_succeeded, || {
            format!("master {m} deletes something, and a successor has begun")
        });
        Ok(())
    }

    /// A planted bug: nobody looks at what another has left.
    fn forgetful(&self, look: Look) -> Look {
        match look {
            Look::Locked { .. } if self.bug == Some(Bug::ForgottenSuccessor) => {
                Look::Locked { newest: None }
            }
            look => look,
        }
    }

    fn barred(&mut self, m: usize, may: Result<(), Barred>) -> Result<(), String> {
        let Err(why) = may else {
            let present = &mut self.lineages[self.masters[m].lineage].present;
            if present.is_some_and(|of| of != m && !self.masters[of].is_running()) {
                // Its successor is gone, so it is the job's master again.
                *present = Some(m);
            }
            return Ok(());
        };
        match why {
            Barred::Taken => self.see("a master whose directory is another's"),
            Barred::Replaced => self.see("a checkpoint that was begun in another directory"),
            Barred::Succeeded(_) => {
                self.see("a master that finds what its successor has left");
                let directory = &self.masters[m].directory;
                self.locks.remove(directory);
            }
        }
        Err(format!("{why:?}"))
    }

    /// Whether another master has begun in the directory of this one.
    pub(crate) fn is_replaced(&self, m: usize) -> bool {
        let newest = self.entered.get(&self.masters[m].directory);
        newest.is_some_and(|other| *other > m)
    }

    /// Whether another master has begun in the directory of this one, and is at work or has completed
    /// a checkpoint: what this one finds there is not its own any more.
    pub(crate) fn is_succeeded(&self, m: usize) -> bool {
        let newest = self.entered.get(&self.masters[m].directory);
        newest.is_some_and(|other| {
            let successor = &self.masters[*other];
            let is_there = successor.is_running() || successor.laws.has_completed_checkpoints();
            *other > m && is_there
        })
    }
}

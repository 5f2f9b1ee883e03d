//! What a job master may still do in its directory of checkpoints, when there may be another one.
//!
//! Two masters that take checkpoints in one directory take the same numbers, and each would replace and
//! delete what the other has written. A master locks its directory for as long as it lives, and looks at
//! the lock again before it completes or deletes anything: it may have stood still while the directory
//! was moved away or replaced, and a successor has begun in the one that is there now. It may also have
//! ended again. So whoever locks a directory anew goes on only if no checkpoint is there that is newer
//! than its own: one that another master has completed meanwhile, and whose transactions are committed. A
//! checkpoint that it had triggered before is lost: its files are where the directory was, or a successor
//! has cleared them away.
//!
//! That holds for all that a master does, not only inside of the directory: a savepoint commits
//! transactions as well, and the successor may be restored from what its predecessor deletes.

use millpond_types::CheckpointId;

/// What a look at the lock of the directory has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It has been this master's all the while, or nobody can be kept out of it.
    Own,
    /// This master has just locked it.
    Locked {
        /// The newest complete checkpoint that lies in it.
        newest: Option<CheckpointId>,
    },
    /// Another master has it.
    Taken,
    /// There is none, and none is wanted yet.
    Absent,
    /// It cannot be had now. What is to be written there cannot be written either, and says so.
    OutOfReach,
}

/// Whether a master begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It does.
    Enter,
    /// Not yet: the one before may be about to end.
    Wait,
    /// It does not, and touches nothing.
    Refuse,
}

/// Why a master may complete and delete nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// Another one has the directory.
    Taken,
    /// Another one has completed this checkpoint, and may be gone again.
    Succeeded(CheckpointId),
    /// The directory is not the one in which the checkpoint was begun; the next one may be completed.
    Replaced,
}

/// One master in front of its directory.
#[derive(Clone, Debug, Default)]
pub struct Fencing {
    /// The newest checkpoint that it has found or may have completed; `None` until it could look.
    newest: Option<CheckpointId>,
    /// There was no directory when it began: the first one is its own.
    first_is_own: bool,
    /// When it last locked the directory after it had begun, in milliseconds since 1970.
    locked_anew_ms: Option<u64>,
}

impl Fencing {
    /// The master is about to begin; it waits until `deadline_ms` for another one to end.
    pub fn enter(&mut self, look: Look, now_ms: u64, deadline_ms: u64) -> Entry {
        match look {
            Look::Own | Look::OutOfReach => Entry::Enter,
            Look::Absent => {
                self.first_is_own = true;
                Entry::Enter
            }
            Look::Locked { newest } => {
                self.newest = Some(newest.unwrap_or(0));
                Entry::Enter
            }
            Look::Taken if now_ms < deadline_ms => Entry::Wait,
            Look::Taken => Entry::Refuse,
        }
    }

    /// The metadata of a snapshot with this number is about to be written, which was triggered at
    /// `triggered_at_ms`.
    ///
    /// # Errors
    ///
    /// It may not be, as another master is or was there.
    pub fn complete(
        &mut self,
        checkpoint: CheckpointId,
        triggered_at_ms: u64,
        look: Look,
        now_ms: u64,
    ) -> Result<(), Barred> {
        // One that could not look when it began goes on behind what it was started from.
        let own = self.newest.unwrap_or(checkpoint.saturating_sub(1));
        self.pass(look, own, now_ms)?;
        self.newest = Some(own);
        if self.locked_anew_ms.is_some_and(|at| triggered_at_ms <= at) {
            return Err(Barred::Replaced);
        }
        self.newest = Some(own.max(checkpoint));
        Ok(())
    }

    /// Something is about to be deleted.
    ///
    /// # Errors
    ///
    /// It may not be, as another master is or was there.
    pub fn delete(&mut self, look: Look, now_ms: u64) -> Result<(), Barred> {
        self.pass(look, self.newest.unwrap_or(0), now_ms)
    }

    fn pass(&mut self, look: Look, own: CheckpointId, now_ms: u64) -> Result<(), Barred> {
        match look {
            Look::Own | Look::Absent | Look::OutOfReach => Ok(()),
            Look::Taken => Err(Barred::Taken),
            Look::Locked { newest } => {
                if !std::mem::take(&mut self.first_is_own) {
                    self.locked_anew_ms = Some(now_ms);
                }
                match newest.filter(|newest| *newest > own) {
                    Some(newest) => Err(Barred::Succeeded(newest)),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(newest: CheckpointId) -> Look {
        Look::Locked {
            newest: Some(newest),
        }
    }

    #[test]
    fn who_begins_waits_for_a_while_and_is_refused_then() {
        let mut fencing = Fencing::default();
        assert_eq!(fencing.enter(Look::Taken, 10, 20), Entry::Wait);
        assert_eq!(fencing.enter(Look::Taken, 20, 20), Entry::Refuse);
        assert_eq!(fencing.enter(locked(4), 20, 20), Entry::Enter);
        assert_eq!(fencing.complete(5, 20, Look::Own, 20), Ok(()));
    }

    #[test]
    fn who_finds_another_in_its_place_completes_and_deletes_nothing() {
        let mut fencing = Fencing::default();
        fencing.enter(locked(4), 0, 0);
        assert_eq!(fencing.complete(5, 9, Look::Taken, 10), Err(Barred::Taken));
        assert_eq!(fencing.delete(Look::Taken, 10), Err(Barred::Taken));
    }

    /// The other one had ended again: the first locked the directory, replaced its checkpoints, and
    /// committed once more what was behind them.
    #[test]
    fn who_locks_its_directory_anew_goes_on_only_if_nobody_has_been_there() {
        let mut fencing = Fencing::default();
        fencing.enter(locked(4), 0, 0);
        assert_eq!(fencing.complete(5, 9, Look::Own, 10), Ok(()));
        assert_eq!(
            fencing.delete(locked(5), 20),
            Ok(()),
            "moved away, and back"
        );
        assert_eq!(fencing.complete(6, 21, Look::Own, 25), Ok(()));
        // Whatever number its own next one has.
        assert_eq!(
            fencing.complete(9, 31, locked(7), 40),
            Err(Barred::Succeeded(7))
        );
        let (of_others, barred) = (locked(8), Err(Barred::Succeeded(8)));
        assert_eq!(fencing.complete(8, 31, of_others, 40), barred);
        assert_eq!(fencing.delete(of_others, 50), barred);
        // Of two that are written at once the older may be the later one.
        assert_eq!(fencing.complete(9, 60, Look::Own, 61), Ok(()));
        assert_eq!(fencing.complete(8, 60, Look::Own, 62), Ok(()));
    }

    /// A successor had cleared away what was written of a checkpoint before it, and had died: the first
    /// completed it, without its files.
    #[test]
    fn a_checkpoint_that_was_triggered_before_the_directory_is_locked_anew_is_lost() {
        let mut fencing = Fencing::default();
        fencing.enter(locked(4), 0, 0);
        let made_anew = Look::Locked { newest: None };
        assert_eq!(fencing.complete(5, 9, made_anew, 10), Err(Barred::Replaced));
        assert_eq!(
            fencing.complete(6, 10, Look::Own, 12),
            Err(Barred::Replaced)
        );
        assert_eq!(fencing.complete(7, 11, Look::Own, 13), Ok(()));
    }

    /// A job without periodic checkpoints makes its directory with the first one that is asked for.
    #[test]
    fn the_first_directory_of_who_began_without_any_is_its_own() {
        let mut fencing = Fencing::default();
        assert_eq!(fencing.enter(Look::Absent, 0, 0), Entry::Enter);
        assert_eq!(fencing.complete(1, 5, Look::Absent, 6), Ok(()), "elsewhere");
        let made = Look::Locked { newest: None };
        assert_eq!(fencing.complete(2, 9, made, 10), Ok(()));
        assert_eq!(fencing.complete(3, 9, Look::Own, 11), Ok(()));
        // That it was another's meanwhile shows as for every other directory.
        assert_eq!(fencing.complete(4, 12, made, 13), Err(Barred::Replaced));
        let mut fencing = Fencing::default();
        fencing.enter(Look::Absent, 0, 0);
        assert_eq!(
            fencing.complete(2, 9, locked(2), 10),
            Err(Barred::Succeeded(2))
        );
    }

    #[test]
    fn who_could_not_look_when_it_began_goes_on_behind_what_it_was_started_from() {
        let mut fencing = Fencing::default();
        assert_eq!(fencing.enter(Look::OutOfReach, 0, 0), Entry::Enter);
        assert_eq!(
            fencing.complete(1, 9, locked(5), 8),
            Err(Barred::Succeeded(5))
        );
        assert_eq!(fencing.complete(6, 9, locked(5), 8), Ok(()));
        assert_eq!(
            fencing.complete(9, 19, locked(7), 18),
            Err(Barred::Succeeded(7))
        );
        assert_eq!(fencing.delete(Look::Own, 20), Ok(()));
    }
}

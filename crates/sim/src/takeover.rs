//! A master that stands still is thought to be dead, and somebody begins in its place.

use millpond_checkpoint::{Entry, Fencing, Look};

use crate::bug::Bug;
use crate::worker::Life;
use crate::world::{What, World};

/// For how long a job that is started waits for the one before it to end.
const PATIENCE_MS: u64 = 5_000;

/// What becomes of a master that stands still when another one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takeover {
    /// It has the directory, so the other is refused.
    Refused,
    /// It is killed first, as in a cluster with high availability.
    Kills,
    /// Its directory was replaced by a copy of it: both go on.
    Replaced,
}

/// What a start finds.
pub(crate) enum Start {
    /// It may go on, in this directory if one is named.
    Begin(Option<String>),
    /// Not now: somebody is there.
    NotNow,
}

impl World {
    /// A master stands still, and is taken for dead.
    pub(crate) fn takes_for_dead(&mut self, m: usize) {
        let until = self.now_ms + self.random.pick(&[100, 400, 1500, 8000]);
        self.note(|| format!("master {m} stands still until {until}, and is taken for dead"));
        self.masters[m].life = Life::Paused(until);
        let pause = self.random.pick(&[0, 20, 300]);
        let lineage = self.masters[m].lineage;
        self.later(pause, What::Start { lineage });
    }

    /// Sees to the masters that may still live before another one begins.
    pub(crate) fn clear_the_way(&mut self, lineage: usize) -> Start {
        let Some(m) = self.lineages[lineage].present else {
            return Start::Begin(None);
        };
        if !self.masters[m].is_running() {
            // Nobody begins beside two others.
            self.retire_predecessors_of(m);
            return Start::Begin(None);
        }
        if self.bug == Some(Bug::StaleMaster) {
            return Start::Begin(None);
        }
        if self.masters[m].life.at(self.now_ms) == Life::Runs {
            // It was started already, or has woken up.
            self.lineages[lineage].entering_until_ms = None;
            return Start::NotNow;
        }
        self.retire_predecessors_of(m);
        match self.setting.takeover {
            Takeover::Refused => self.is_refused(lineage),
            Takeover::Kills => {
                self.see("a master that stands still and is killed");
                self.end_master(m);
                Start::Begin(Some(self.masters[m].directory.clone()))
            }
            Takeover::Replaced => {
                self.see("a directory that was replaced");
                let directory = self.masters[m].directory.clone();
                self.locks.remove(&directory);
                if let Life::Paused(until) = self.masters[m].life {
                    let noticed = until - self.now_ms + self.random.pick(&[100, 1000, 4000]);
                    self.later(noticed, What::Retired { master: m });
                }
                Start::Begin(Some(directory))
            }
        }
    }

    fn is_refused(&mut self, lineage: usize) -> Start {
        let now_ms = self.now_ms;
        let waits = &mut self.lineages[lineage].entering_until_ms;
        let until_ms = *waits.get_or_insert(now_ms + PATIENCE_MS);
        let entry = Fencing::default().enter(Look::Taken, now_ms, until_ms);
        let pause = match entry {
            Entry::Wait => 20,
            Entry::Refuse => {
                self.see("a second master that is refused");
                self.lineages[lineage].entering_until_ms = None;
                1000
            }
            Entry::Enter => {
                self.law(false, || "a master enters a taken directory".to_owned());
                return Start::NotNow;
            }
        };
        self.later(pause, What::Start { lineage });
        Start::NotNow
    }

    /// Somebody ends a master that should have been dead long ago.
    pub(crate) fn retired(&mut self, m: usize) {
        let is_last = self.lineages[self.masters[m].lineage].present == Some(m);
        if self.masters[m].is_running() && !is_last {
            self.note(|| format!("master {m} is ended at last"));
            self.master_is_gone(m);
        }
    }

    /// Whether a master of its job before this one is alive.
    pub(crate) fn has_predecessor(&self, m: usize) -> bool {
        let lineage = self.masters[m].lineage;
        let mut before = self.masters[..m].iter();
        before.any(|other| other.lineage == lineage && other.is_running())
    }

    /// Ends all masters of its job before this one.
    pub(crate) fn retire_predecessors_of(&mut self, m: usize) {
        for other in 0..m {
            if self.masters[other].lineage == self.masters[m].lineage {
                self.retired(other);
            }
        }
    }
}

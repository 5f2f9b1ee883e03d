//! Jobs over all their lives: the first one, and others that begin with a snapshot of it and run beside it.

use std::collections::BTreeSet;

use millpond_types::config::ClaimMode;

use crate::master::parent;
use crate::output::Output;
use crate::world::{What, World};

/// A job over all its lives.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    /// Its newest master.
    pub(crate) present: Option<usize>,
    pub(crate) output: Output,
    /// The snapshot of another job that it begins with, and how.
    pub(crate) origin: Option<(String, ClaimMode)>,
    /// Nothing more is wanted of it.
    pub(crate) is_over: bool,
    /// Nothing was retained that it could go on from.
    pub(crate) is_given_up: bool,
    /// Until when a master that is started waits for the one before it.
    pub(crate) entering_until_ms: Option<u64>,
}

impl World {
    /// Whether nothing more is wanted of any job.
    pub(crate) fn is_over(&self) -> bool {
        self.lineages.iter().all(|lineage| lineage.is_over)
    }

    /// One of the jobs.
    pub(crate) fn some_lineage(&mut self) -> usize {
        match self.lineages.len() {
            1 => 0,
            all => self.random.below(all as u64) as usize,
        }
    }

    /// What the job of a process puts out.
    pub(crate) fn output_of(&mut self, pid: usize) -> &mut Output {
        let lineage = self.masters[self.workers[pid].master].lineage;
        &mut self.lineages[lineage].output
    }

    /// Somebody starts another job from a snapshot of one that there is.
    pub(crate) fn fork(&mut self) {
        let mode = self.random.pick(&[ClaimMode::Claim, ClaimMode::NoClaim]);
        let candidates: Vec<String> = self
            .disk
            .snapshots()
            .filter(|(directory, snapshot)| {
                !snapshot.damaged
                    && (mode == ClaimMode::NoClaim || self.may_be_taken(directory, None))
            })
            .map(|(directory, _)| directory.clone())
            .collect();
        if candidates.is_empty() {
            return;
        }
        let directory = self.random.pick_clone(&candidates);
        let Some(snapshot) = self.disk.snapshot(&directory) else {
            return;
        };
        let of = snapshot.lineage;
        let Some(content) = self.content_of(&directory) else {
            return;
        };
        let counted = content.counted(&self.job);
        let output = self.lineages[of].output.as_of(&counted, &content.to_sink);
        self.note(|| format!("another job begins with \"{directory}\", {mode:?}"));
        match mode {
            ClaimMode::Claim => self.see("a second job that claims a snapshot"),
            ClaimMode::NoClaim | ClaimMode::Legacy => {
                self.see("a second job that does not claim its snapshot");
            }
        }
        self.lineages.push(Lineage {
            output,
            origin: Some((directory, mode)),
            ..Lineage::default()
        });
        let lineage = self.lineages.len() - 1;
        self.start_job(lineage);
    }

    /// Whether another job, with this master, may claim a snapshot: the one that has taken it does not need it,
    /// and will not go on from it.
    pub(crate) fn may_be_taken(&self, directory: &str, by: Option<usize>) -> bool {
        let lineage_of = |m: usize| self.masters[m].lineage;
        let owner = self.claims.get(directory).map(|owner| lineage_of(*owner));
        if owner.is_some() && owner != by.map(lineage_of) || self.is_claimed(directory) {
            return false;
        }
        let others = (0..).zip(&self.masters).filter(|(m, _)| Some(*m) != by);
        let needed = others.filter(|(_, master)| master.is_running());
        if needed
            .clone()
            .any(|(_, master)| master.directory == parent(directory))
        {
            // It may be about to delete it.
            return false;
        }
        let needed = needed.flat_map(|(_, master)| {
            let own = master.coordinator.recovery_candidates();
            let own = own.into_iter().map(|candidate| candidate.directory);
            own.chain(master.starts_from().map(str::to_owned))
        });
        let needed: BTreeSet<String> = needed.collect();
        let newest = (0..self.lineages.len()).filter_map(|lineage| self.newest_snapshot(lineage));
        let newest: BTreeSet<&String> = newest.map(|(directory, _)| directory).collect();
        !needed.contains(directory) && !newest.contains(&directory.to_owned())
    }

    /// Whether a snapshot was another job's from the beginning, so that it may go at any time.
    pub(crate) fn is_of_others(&self, m: usize, directory: &str) -> bool {
        let lineage = self.masters[m].lineage;
        let owner = self
            .claims
            .get(directory)
            .map(|owner| self.masters[*owner].lineage);
        let origin = self.lineages[lineage].origin.as_ref();
        origin.is_some_and(|(of, _)| of == directory) && owner != Some(lineage)
    }

    /// Plans when other jobs begin, in a history that has some.
    pub(crate) fn plan_forks(&mut self, calm: u64) {
        // Nobody who claims a checkpoint expects that one beside it refers to files in its directory.
        if !self.setting.has_forks || self.setting.shares_exclusive {
            return;
        }
        for _ in 0..=self.random.below(2) {
            let at = self.random.below(calm);
            self.later(at, What::Fork);
        }
    }
}

//! Laws of claims: a claimed snapshot counts as one of the retained checkpoints, and goes when it is subsumed.

use millpond_job::JobStatus;
use millpond_types::config::ClaimMode;

use crate::world::World;

impl World {
    /// Whether enough newer checkpoints are complete to make the claimed snapshot superfluous; `None` if
    /// none was claimed, or it has turned out to be damaged.
    fn is_claim_subsumed(&self, m: usize) -> Option<bool> {
        let laws = &self.masters[m].laws;
        let claimed = laws.started_from.as_ref()?;
        if claimed.mode != ClaimMode::Claim || laws.has_fallen_back {
            return None;
        }
        let newer = laws
            .complete
            .iter()
            .filter(|id| !laws.options[id].is_savepoint);
        Some(newer.count() >= self.setting.config.num_retained as usize)
    }

    /// The claimed snapshot is a recovery point until it is subsumed.
    pub(crate) fn check_claim(&mut self, m: usize) {
        let Some(is_subsumed) = self.is_claim_subsumed(m) else {
            return;
        };
        let master = &self.masters[m];
        let claimed = master
            .laws
            .started_from
            .as_ref()
            .map(|from| from.checkpoint);
        let candidates = master.coordinator.recovery_candidates();
        let is_kept = candidates
            .iter()
            .any(|candidate| Some(candidate.checkpoint) == claimed);
        self.law(is_kept != is_subsumed, || {
            format!("the claimed snapshot {claimed:?} is kept: {is_kept}, subsumed: {is_subsumed}")
        });
    }

    /// What is there of the claimed snapshot when its owner has ended.
    pub(crate) fn check_end_of_claim(&mut self, m: usize, status: JobStatus) {
        let Some(is_subsumed) = self.is_claim_subsumed(m).filter(|_| !self.is_replaced(m)) else {
            return;
        };
        let keeps = self.setting.config.retention.keeps(status);
        let claimed = self.masters[m].laws.started_from.as_ref();
        let directory = claimed
            .map(|from| from.directory.clone())
            .unwrap_or_default();
        let is_there = self.disk.snapshot(&directory).is_some();
        self.law(is_there == (keeps && !is_subsumed), || {
            format!(
                "the claimed snapshot \"{directory}\" is there: {is_there}, subsumed: {is_subsumed}, job {status}"
            )
        });
    }
}

//! What an attempt is restored from: the choice, verification and plan of the product.

use std::sync::Arc;

use millpond_checkpoint::{
    Event, RecoveryChoice, RestorePlan, RestoreRequest, StartedFrom, Verification, choose_recovery,
};
use millpond_types::config::ClaimMode;

use crate::bug::Bug;
use crate::world::World;

impl World {
    /// Chooses, verifies and plans; an error with a reason may pass.
    pub(super) fn recover(
        &mut self,
        m: usize,
    ) -> Result<(Option<RestorePlan>, Option<Event>), Option<String>> {
        if let Some((directory, mode)) = self.masters[m].start.clone() {
            return self.start_from(m, &directory, mode);
        }
        let candidates = self.masters[m].coordinator.recovery_candidates();
        let policy = self.masters[m].coordinator.recovery_policy();
        let mut results = Vec::new();
        loop {
            match choose_recovery(&candidates, &results, policy) {
                RecoveryChoice::Empty => {
                    self.check_recovery(m, None, &[]);
                    return Ok((None, None));
                }
                RecoveryChoice::Verify(index) => {
                    let result = self.verify(m, &candidates[index].directory);
                    results.push(result);
                }
                RecoveryChoice::Restore { mut index, skipped } => {
                    if self.bug == Some(Bug::OldSnapshot) && index + 1 < candidates.len() {
                        index += 1;
                    }
                    if !skipped.is_empty() {
                        self.see("a fall back");
                    }
                    let candidate = &candidates[index];
                    self.check_recovery(m, Some(candidate.checkpoint), &skipped);
                    let event = Event::Restored {
                        checkpoint: candidate.checkpoint,
                        directory: candidate.directory.clone(),
                        is_savepoint: candidate.is_savepoint,
                        skipped,
                    };
                    let plan = self.plan_restore(m, &candidate.directory)?;
                    return Ok((Some(plan), Some(event)));
                }
                RecoveryChoice::RetryLater { reason } => return Err(Some(reason)),
                RecoveryChoice::Refuse { .. } => return Err(None),
            }
        }
    }

    fn verify(&mut self, m: usize, directory: &str) -> Verification {
        if self.fault(40) {
            self.see("storage that is out of reach");
            return Verification::Unreachable("timed out".to_owned());
        }
        let Some(snapshot) = self.disk.snapshot(directory) else {
            let may_be = self.is_replaced(m) || self.is_of_others(m, directory);
            self.law(may_be, || {
                format!("\"{directory}\" is a recovery point, and is no snapshot")
            });
            return Verification::Damaged(vec!["gone".to_owned()]);
        };
        match snapshot.damaged {
            true => Verification::Damaged(vec!["bits have flipped".to_owned()]),
            false => Verification::Intact,
        }
    }

    fn plan_restore(&mut self, m: usize, directory: &str) -> Result<RestorePlan, Option<String>> {
        let Some(snapshot) = self.disk.snapshot(directory) else {
            return Err(None);
        };
        let metadata = Arc::clone(&snapshot.metadata);
        let request = RestoreRequest {
            pointer: directory,
            directory,
            allow_non_restored_state: false,
        };
        let plan = RestorePlan::new(&metadata, &self.masters[m].graph, request);
        self.law_of(plan.as_ref().map(|_| ()).map_err(ToString::to_string));
        if let Ok(plan) = &plan {
            self.check_plan(m, plan, directory);
        }
        plan.map_err(|_| None)
    }

    /// Whether a master may claim a snapshot that a job of this lineage has taken.
    fn may_claim(&self, m: usize, directory: &str, of: usize) -> bool {
        let owner = self.claims.get(directory);
        if owner.is_some_and(|owner| *owner != m) && self.is_claimed(directory) {
            return false;
        }
        of == self.masters[m].lineage || self.may_be_taken(directory, Some(m))
    }

    fn start_from(
        &mut self,
        m: usize,
        directory: &str,
        mode: ClaimMode,
    ) -> Result<(Option<RestorePlan>, Option<Event>), Option<String>> {
        if let Verification::Unreachable(why) = self.verify(m, directory) {
            return Err(Some(why));
        }
        let Some(snapshot) = self.disk.snapshot(directory).cloned() else {
            return Err(None);
        };
        if mode == ClaimMode::Claim && !self.may_claim(m, directory, snapshot.lineage) {
            self.see("a claim that is refused");
            return Err(None);
        }
        let plan = self.plan_restore(m, directory)?;
        let files_of_others = match mode {
            ClaimMode::Claim => self.files_of_others(m, directory, &snapshot.files),
            ClaimMode::NoClaim | ClaimMode::Legacy => Vec::new(),
        };
        if mode == ClaimMode::Claim {
            self.claims.insert(directory.to_owned(), m);
        }
        let from = StartedFrom {
            checkpoint: snapshot.checkpoint,
            directory: directory.to_owned(),
            is_savepoint: snapshot.is_savepoint,
            mode,
            files: snapshot.files.clone(),
            files_of_others,
            state_bytes: 1,
            pending_transactions: snapshot
                .metadata
                .trailer
                .as_ref()
                .is_some_and(|trailer| trailer.has_pending_transactions()),
        };
        let event = Event::Restored {
            checkpoint: snapshot.checkpoint,
            directory: directory.to_owned(),
            is_savepoint: snapshot.is_savepoint && mode != ClaimMode::Claim,
            skipped: Vec::new(),
        };
        let master = &mut self.masters[m];
        master.start = None;
        master.laws.start_from(&from);
        master.coordinator.start_from(from);
        Ok((Some(plan), Some(event)))
    }
}

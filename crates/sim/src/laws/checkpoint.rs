//! Laws of what a coordinator sends, completes, discards and answers.

use std::collections::BTreeSet;

use millpond_checkpoint::{Completion, DiscardReason, Outcome};
use millpond_job::gateway::{EpochEnd, SnapshotOptions, StopMode, ToWorker};
use millpond_types::config::ClaimMode;
use millpond_types::{CheckpointId, TriggerId};

use crate::world::World;

impl World {
    pub(super) fn check_send(&mut self, m: usize, message: &ToWorker) {
        let current = self.masters[m].lifecycle.attempt();
        let processes = self.masters[m].processes();
        let laws = &mut self.masters[m].laws;
        match message {
            ToWorker::Announce {
                attempt,
                epoch,
                end,
            } => {
                let next = laws.next_epoch;
                let is_alone = laws.unconfirmed.is_none() && laws.synchronous.is_none();
                laws.unconfirmed = Some((*epoch, (0..processes).collect()));
                self.law(*attempt == current && *epoch == next && is_alone, || {
                    format!("{message:?} is announced in attempt {current}, epoch {next}")
                });
                match end {
                    EpochEnd::Snapshot(options) => self.check_trigger(m, options),
                    EpochEnd::Nothing => self.see("an epoch without snapshot"),
                }
            }
            ToWorker::Advance { epoch, .. } => {
                let confirmed = laws.unconfirmed.take();
                laws.next_epoch += 1;
                let holds =
                    matches!(&confirmed, Some((of, missing)) if of == epoch && missing.is_empty());
                self.law(holds, || {
                    format!("epoch {epoch} ends, and is announced as {confirmed:?}")
                });
            }
            ToWorker::NotifyComplete { checkpoint, .. } => {
                let id = *checkpoint;
                let is_new = laws.notified.insert(id);
                let is_durable = laws.durable.contains(&id) && !laws.aborted.contains(&id);
                if laws.with_transactions.contains(&id) {
                    laws.committed = laws.committed.max(Some(id));
                }
                let stop = laws.options.get(&id).and_then(|options| options.stop);
                self.law(is_new && is_durable, || {
                    format!("checkpoint {id} is told to be complete, twice or before it is")
                });
                match stop {
                    Some(StopMode::Suspend | StopMode::Drain) => {
                        self.masters[m].has_stopped = true;
                        self.see("a stop");
                    }
                    Some(StopMode::EndOfInput) => self.see("the end of the input"),
                    None => self.see("a complete checkpoint"),
                }
            }
            ToWorker::NotifyAborted { checkpoint, .. } => {
                let was_complete = laws.notified.contains(checkpoint);
                self.law(!was_complete, || {
                    format!("checkpoint {checkpoint} is aborted, and was complete")
                });
            }
            ToWorker::EndOfInput { .. } | ToWorker::Cancel { .. } => {}
        }
    }

    fn check_trigger(&mut self, m: usize, options: &SnapshotOptions) {
        let (now_ms, config) = (self.now_ms, &self.setting.config);
        let (min_pause_ms, periodic) = (config.min_pause_ms, config.interval_ms.is_some());
        let most = match min_pause_ms {
            0 => config.max_concurrent as usize,
            _ => 1,
        };
        let attempt = self.masters[m].lifecycle.attempt();
        let laws = &mut self.masters[m].laws;
        let id = options.id;
        let newest = std::mem::replace(&mut laws.newest_id, id);
        laws.options.insert(id, options.clone());
        laws.attempt_of.insert(id, attempt);
        laws.synchronous = options.stop.map(|_| id);
        laws.in_progress.insert(id);
        let checkpoints = laws.in_progress.iter();
        let checkpoints = checkpoints.filter(|id| !laws.options[id].is_savepoint);
        let checkpoints = checkpoints.count();
        let base_is_complete = options.base.is_none_or(|base| {
            let from = laws.started_from.as_ref();
            let is_start =
                from.is_some_and(|from| from.checkpoint == base && from.mode != ClaimMode::NoClaim);
            is_start || laws.complete.contains(&base) && !laws.options[&base].is_savepoint
        });
        let pause_over = laws.last_end_ms.map_or(0, |end| end + min_pause_ms);
        let is_periodic = !options.is_savepoint && options.stop.is_none() && laws.manual.is_empty();
        let is_ending = !laws.endings.is_empty();
        self.law(id > newest, || {
            format!("checkpoint {id} begins behind {newest}")
        });
        self.law(checkpoints <= most, || {
            format!("{checkpoints} checkpoints are in progress, and {most} may be")
        });
        self.law(base_is_complete, || {
            format!("checkpoint {id} may refer to files of {:?}", options.base)
        });
        if is_periodic {
            self.law(periodic && !is_ending && now_ms >= pause_over, || {
                format!("checkpoint {id} begins, and may not before {pause_over}")
            });
        }
        if options.base.is_some() {
            self.see("a checkpoint on top of another");
        }
    }

    pub(super) fn check_complete(&mut self, m: usize, completion: &Completion) {
        let id = completion.options.id;
        let subtasks = self.masters[m].graph.subtasks() as usize;
        let laws = &mut self.masters[m].laws;
        let is_new = laws.finalized.insert(id) && !laws.aborted.contains(&id);
        let real = laws.parts.get(&id).map_or(0, BTreeSet::len);
        let counted = completion.acknowledgements.len();
        self.law(is_new, || {
            format!("checkpoint {id} is complete twice, or given up")
        });
        self.law(real == subtasks && counted == subtasks, || {
            format!("checkpoint {id} is complete with {real} of {subtasks} acknowledgements")
        });
    }

    pub(super) fn check_discard(
        &mut self,
        m: usize,
        id: CheckpointId,
        directory: &str,
        reason: DiscardReason,
    ) {
        let (now_ms, attempt) = (self.now_ms, self.masters[m].lifecycle.attempt());
        let candidates = self.masters[m].coordinator.recovery_candidates();
        let is_needed = candidates.iter().any(|c| c.directory == directory);
        let has_newer = candidates.iter().any(|other| other.checkpoint > id);
        self.law(!is_needed, || {
            format!("checkpoint {id} is discarded ({reason:?}), and may be needed")
        });
        let laws = &mut self.masters[m].laws;
        let is_ours = laws
            .started_from
            .as_ref()
            .is_none_or(|from| from.mode == ClaimMode::Claim || from.directory != directory);
        let is_savepoint = laws
            .options
            .get(&id)
            .is_some_and(|options| options.is_savepoint);
        match reason {
            DiscardReason::Aborted => {
                let is_new = laws.aborted.insert(id) && !laws.complete.contains(&id);
                laws.ended(id, attempt, now_ms);
                self.law(is_new, || {
                    format!("checkpoint {id} is given up twice, or complete")
                });
            }
            DiscardReason::Late => {
                let was = laws.aborted.contains(&id);
                self.law(was, || format!("checkpoint {id} was never given up"));
                self.see("a late part");
            }
            DiscardReason::Subsumed | DiscardReason::Damaged | DiscardReason::JobEnded => {
                let may = has_newer || reason == DiscardReason::JobEnded;
                self.law(may && is_ours && !is_savepoint, || {
                    format!("checkpoint {id} is discarded ({reason:?}), and may not be")
                });
                self.see("a checkpoint that is superfluous");
            }
        }
    }

    pub(super) fn check_outcome(&mut self, m: usize, trigger: TriggerId, outcome: &Outcome) {
        let laws = &mut self.masters[m].laws;
        let before = laws.triggers.insert(trigger, true);
        laws.manual.remove(&trigger);
        laws.endings.remove(&trigger);
        self.law(before == Some(false), || {
            format!("an operation ends that was {before:?}: {outcome:?}")
        });
        match outcome {
            Outcome::Savepoint(Ok(path)) => {
                let is_there = self.disk.snapshot(path).is_some();
                self.law(is_there, || {
                    format!("savepoint \"{path}\" is told, and not there")
                });
                self.see("a savepoint");
            }
            Outcome::Checkpoint(Ok(id)) => {
                let is_durable = self.masters[m].laws.durable.contains(id);
                self.law(is_durable, || {
                    format!("checkpoint {id} is told, and not there")
                });
                self.see("a checkpoint by hand");
            }
            Outcome::Savepoint(Err(_)) | Outcome::Checkpoint(Err(_)) => {}
        }
    }
}

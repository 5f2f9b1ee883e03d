//! Users, who start the job and want things of it, and faults.

use std::collections::BTreeSet;

use millpond_checkpoint::Event;
use millpond_job::JobStatus;
use millpond_job::dispatcher::{AfterSavepoint, CheckpointKind};
use millpond_job::gateway::{FailureKind, FromWorker};
use millpond_types::config::ClaimMode;

use crate::bug::Bug;
use crate::job::Row;
use crate::master::{Master, parent};
use crate::state;
use crate::worker::Life;
use crate::world::{What, World};

impl World {
    /// The user starts the job: anew, or from the newest snapshot there is.
    pub(crate) fn start_job(&mut self) {
        if self.is_over {
            return;
        }
        let newest = self.disk.snapshots().max_by_key(|(_, s)| s.checkpoint);
        let Some((directory, snapshot)) = newest else {
            if !self.has_told_to_commit() {
                return self.start_master(None);
            }
            return self.cannot_go_on("no snapshot is left");
        };
        if snapshot.damaged {
            // Somebody repairs it.
            return self.later(100, What::Start);
        }
        let directory = directory.clone();
        if let Some(row) = self.committed_behind(&directory) {
            return self.cannot_go_on(&format!("{row:?} is committed, and behind \"{directory}\""));
        }
        let mut mode = self.random.pick(&[
            ClaimMode::Claim,
            ClaimMode::Claim,
            ClaimMode::NoClaim,
            ClaimMode::Legacy,
        ]);
        if mode == ClaimMode::Claim && self.is_claimed(&directory) {
            self.see("a claim that is refused");
            mode = ClaimMode::NoClaim;
        }
        if self.masters.len() > 1 {
            self.see("a third life of the job");
        }
        self.start_master(Some((directory, mode)));
    }

    /// A row that is committed, or may be at any time, and that a job started from this snapshot would
    /// write again.
    fn committed_behind(&self, directory: &str) -> Option<Row> {
        let snapshot = self.disk.snapshot(directory)?;
        let master_graph = &self.masters.last()?.graph;
        let mut parts = Vec::new();
        for (vertex, number) in master_graph.vertices.iter().zip(0usize..) {
            let operator = snapshot.metadata.operator(vertex.operators[0].id)?;
            parts.extend(operator.subtasks.iter().map(|(_, part)| (number, part)));
        }
        let content = state::content(parts.into_iter());
        let before = self.job.counts_before(&content.positions);
        let totals = self.job.totals();
        let in_doubt = self.rows_in_doubt();
        let may_be_committed = |row: Row| self.output.is_committed(row) || in_doubt.contains(&row);
        totals.into_iter().find_map(|(key, total)| {
            let from = before.get(&key).copied().unwrap_or(0) + 1;
            let behind = (from..=total).find(|number| may_be_committed((key, *number)));
            behind.map(|number| (key, number))
        })
    }

    /// Only the end of a job that does not retain its checkpoints takes away what it could go on from.
    fn cannot_go_on(&mut self, why: &str) {
        let status = self.masters.last().and_then(|master| master.status);
        let retention = self.setting.config.retention;
        let was_deleted = status.is_some_and(|status| !retention.keeps(status));
        self.law(was_deleted, || format!("the job cannot be resumed: {why}"));
        self.see("a job that nothing was retained of");
        self.is_over = true;
        self.is_given_up = true;
    }

    /// Whether another job has claimed a snapshot, and its claim counts.
    fn is_claimed(&self, directory: &str) -> bool {
        let Some(owner) = self.claims.get(directory) else {
            return false;
        };
        let owner = &self.masters[*owner];
        let Some(claimed) = self.disk.snapshot(directory) else {
            return false;
        };
        // The owner, and whoever has claimed a checkpoint of it, and so on.
        let mut places = self.owners_of_claims_in(&BTreeSet::from([owner.directory.as_str()]));
        places.insert(&owner.directory);
        let refers = self.disk.snapshots().any(|(of, snapshot)| {
            of != directory
                && places.contains(parent(of))
                && snapshot
                    .files
                    .iter()
                    .any(|file| claimed.files.contains(file))
        });
        let runs = |master: &Master| master.is_running() && places.contains(&*master.directory);
        refers || self.masters.iter().any(runs)
    }

    /// A master has ended by itself.
    pub(crate) fn job_has_ended(&mut self, m: usize, status: JobStatus) {
        if m + 1 != self.masters.len() {
            return;
        }
        if status == JobStatus::Finished && !self.masters[m].has_stopped {
            self.is_over = true;
            let totals = self.job.totals();
            match self.output.counts() {
                Ok(counts) => self.law(counts == totals, || {
                    format!(
                        "the job has ended with {counts:?} committed, and its input has {totals:?}"
                    )
                }),
                Err(why) => self.law_of(Err(why)),
            }
            return;
        }
        let pause = self.random.pick(&[1, 100]);
        self.later(pause, What::Start);
    }

    pub(crate) fn user_wants(&mut self) {
        let Some(m) = self.masters.len().checked_sub(1) else {
            return;
        };
        if self.is_calm || !self.masters[m].is_running() {
            return;
        }
        let then = match self.random.below(20) {
            0..=6 => AfterSavepoint::Continue,
            7..=10 => AfterSavepoint::Stop,
            11 => AfterSavepoint::Drain,
            12 => AfterSavepoint::Cancel,
            13 => {
                self.note(|| "the user cancels the job".to_owned());
                self.cancel(m);
                return self.master_goes_on(m);
            }
            _ => {
                let trigger = self.new_trigger();
                let kind = self.random.pick(&[
                    CheckpointKind::Configured,
                    CheckpointKind::Full,
                    CheckpointKind::Incremental,
                ]);
                self.note(|| format!("the user wants a checkpoint: {kind:?}"));
                self.masters[m].laws.wanted_checkpoint(trigger);
                self.tell(m, Event::TriggerCheckpoint { trigger, kind });
                return self.master_goes_on(m);
            }
        };
        self.note(|| format!("the user wants a savepoint, then {then:?}"));
        let trigger = self.new_trigger();
        self.trigger_savepoint(m, trigger, then);
        self.master_goes_on(m);
    }

    pub(crate) fn something_breaks(&mut self) {
        let Some(m) = self.masters.len().checked_sub(1) else {
            return;
        };
        if self.is_calm || !self.masters[m].is_running() {
            return;
        }
        match self.random.below(10) {
            0 | 1 => return self.kill_master(m),
            2 => {
                let until = self.now_ms + self.random.pick(&[20, 300, 2000]);
                self.note(|| format!("master {m} stands still until {until}"));
                self.masters[m].life = Life::Paused(until);
                return;
            }
            _ => {}
        }
        let pids: Vec<usize> = self.masters[m].pids().collect();
        if pids.is_empty() {
            return;
        }
        let pid = self.random.pick(&pids);
        match self.random.below(7) {
            0..=2 => {
                self.kill_worker(pid);
                let noticed = self.random.pick(&[0, 5, 60]);
                self.later(noticed, What::Lost { master: m, pid });
            }
            3..=5 => {
                let duration = self.random.pick(&[30, 250, 1000, 12_000]);
                let until = self.now_ms + duration;
                if self.workers[pid].life.at(self.now_ms) != Life::Runs {
                    return;
                }
                self.note(|| format!("process {pid} stands still until {until}"));
                self.workers[pid].life = Life::Paused(until);
                let timeout = self.setting.heartbeat_timeout_ms;
                if duration > timeout {
                    self.later(timeout, What::Lost { master: m, pid });
                }
            }
            _ => {
                let attempt = self.workers[pid].attempt;
                let process = self.workers[pid].index;
                if self.workers[pid].life == Life::Dead || attempt == 0 {
                    return;
                }
                self.see("a failed task");
                let message = FromWorker::Failed {
                    attempt,
                    process,
                    task: None,
                    message: "a user function has failed".to_owned(),
                    kind: self.random.pick(&[
                        FailureKind::Retryable,
                        FailureKind::Retryable,
                        FailureKind::DamagedState,
                        FailureKind::RefusedState,
                    ]),
                };
                self.tell_master(pid, message);
            }
        }
    }

    /// A master dies, and its workers when they notice; somebody starts the job again.
    fn kill_master(&mut self, m: usize) {
        self.note(|| format!("master {m} dies"));
        self.see("a killed master");
        let pids: Vec<usize> = self.masters[m].pids().collect();
        if self.bug == Some(Bug::StaleMaster) {
            let until = self.now_ms + self.random.pick(&[100, 400, 1500]);
            self.masters[m].life = Life::Paused(until);
        } else {
            self.half_done(m);
            self.masters[m].life = Life::Dead;
            for pid in pids {
                let noticed = self.random.pick(&[0, 1, 30]);
                let noticed = match self.setting.has_zombies {
                    true => noticed + self.random.pick(&[0, 500]),
                    false => noticed,
                };
                self.later(noticed, What::Orphaned { pid });
            }
        }
        let pause = self.random.pick(&[0, 20, 300]);
        self.later(pause, What::Start);
    }

    pub(crate) fn become_calm(&mut self) {
        self.note(|| "nothing breaks any more".to_owned());
        self.is_calm = true;
        self.disk.heal();
    }
}

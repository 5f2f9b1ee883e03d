//! Users, who start the job and want things of it, and faults.

use std::collections::BTreeSet;

use millpond_checkpoint::Event;
use millpond_job::JobStatus;
use millpond_job::dispatcher::{AfterSavepoint, CheckpointKind};
use millpond_job::gateway::{FailureKind, FromWorker};
use millpond_types::config::ClaimMode;

use crate::bug::Bug;
use crate::disk::StoredSnapshot;
use crate::job::Row;
use crate::master::{Master, parent};
use crate::state::{self, Content};
use crate::takeover::Start;
use crate::worker::Life;
use crate::world::{What, World};

impl World {
    /// The user starts the job: anew, or from the newest snapshot there is.
    pub(crate) fn start_job(&mut self, lineage: usize) {
        if self.lineages[lineage].is_over {
            return;
        }
        let in_directory = match self.clear_the_way(lineage) {
            Start::Begin(directory) => directory,
            Start::NotNow => return,
        };
        let newest = self.newest_snapshot(lineage);
        let Some((directory, snapshot)) = newest else {
            if self.lineages[lineage].origin.is_some() {
                return self.begin_with_origin(lineage, in_directory);
            }
            if !self.has_told_to_commit(lineage) {
                return self.start_master(lineage, None, in_directory);
            }
            return self.cannot_go_on(lineage, "no snapshot is left");
        };
        if snapshot.damaged {
            // Somebody repairs it.
            return self.later(100, What::Start { lineage });
        }
        let directory = directory.clone();
        if let Some(row) = self.committed_behind(lineage, &directory) {
            let why = format!("{row:?} is committed, and behind \"{directory}\"");
            return self.cannot_go_on(lineage, &why);
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
        if mode == ClaimMode::Legacy && self.setting.has_forks {
            // Another job that claims the snapshot knows nothing of who refers to it so.
            mode = ClaimMode::NoClaim;
        }
        if self.masters.len() > 1 {
            self.see("a third life of the job");
        }
        self.start_master(lineage, Some((directory, mode)), in_directory);
    }

    /// The newest snapshot that a job can be started from: its own, and not another's by now.
    pub(crate) fn newest_snapshot(&self, lineage: usize) -> Option<(&String, &StoredSnapshot)> {
        let is_own = |(directory, snapshot): &(&String, &StoredSnapshot)| {
            let owner = self
                .claims
                .get(*directory)
                .map(|m| self.masters[*m].lineage);
            snapshot.lineage == lineage && owner.is_none_or(|owner| owner == lineage)
        };
        let own = self.disk.snapshots().filter(is_own);
        own.max_by_key(|(_, snapshot)| snapshot.checkpoint)
    }

    /// A job starts that has nothing but the snapshot of another one, which may be gone.
    fn begin_with_origin(&mut self, lineage: usize, in_directory: Option<String>) {
        let Some((directory, mode)) = self.lineages[lineage].origin.clone() else {
            return;
        };
        if let Some(row) = self.committed_behind(lineage, &directory) {
            let why = format!("{row:?} is committed, and behind \"{directory}\"");
            return self.cannot_go_on(lineage, &why);
        }
        let own_claim = self.claims.get(&directory);
        let is_own = own_claim.is_some_and(|m| self.masters[*m].lineage == lineage);
        let is_taken = mode == ClaimMode::Claim && !is_own && !self.may_be_taken(&directory, None);
        let mode = match is_own && self.is_claimed(&directory) {
            true => ClaimMode::NoClaim,
            false => mode,
        };
        match self.disk.snapshot(&directory) {
            Some(snapshot) if snapshot.damaged => self.later(100, What::Start { lineage }),
            Some(_) if !is_taken => {
                self.start_master(lineage, Some((directory, mode)), in_directory);
            }
            Some(_) | None => {
                let job = &mut self.lineages[lineage];
                job.is_over = true;
                job.is_given_up = true;
            }
        }
    }

    /// What the snapshot in a directory holds.
    pub(crate) fn content_of(&self, directory: &str) -> Option<Content> {
        let snapshot = self.disk.snapshot(directory)?;
        let graph = &self.masters.last()?.graph;
        Some(state::content_of(&snapshot.metadata, graph))
    }

    /// A row that is committed, or may be at any time, and that a job started from this snapshot would
    /// write again.
    fn committed_behind(&self, lineage: usize, directory: &str) -> Option<Row> {
        let content = self.content_of(directory)?;
        let output = &self.lineages[lineage].output;
        let counted = content.counted(&self.job);
        let in_doubt = self.rows_in_doubt(lineage);
        let may_be_committed = |row: &Row| output.is_committed(*row) || in_doubt.contains(row);
        if let Some(row) = content.to_sink.iter().find(|row| may_be_committed(row)) {
            return Some(*row);
        }
        self.job.totals().into_iter().find_map(|(key, total)| {
            let from = counted.get(&key).copied().unwrap_or(0) + 1;
            let mut behind = (from..=total).map(|number| (key, number));
            behind.find(|row| may_be_committed(row))
        })
    }

    /// Only the end of a job that does not retain its checkpoints takes away what it could go on from.
    fn cannot_go_on(&mut self, lineage: usize, why: &str) {
        let last = self.lineages[lineage].present;
        let status = last.and_then(|last| self.masters[last].status);
        let retention = self.setting.config.retention;
        let was_deleted = status.is_some_and(|status| !retention.keeps(status));
        self.law(was_deleted, || format!("the job cannot be resumed: {why}"));
        self.see("a job that nothing was retained of");
        self.lineages[lineage].is_over = true;
        self.lineages[lineage].is_given_up = true;
    }

    /// Whether another job has claimed a snapshot, and its claim counts.
    pub(crate) fn is_claimed(&self, directory: &str) -> bool {
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
        let lineage = self.masters[m].lineage;
        if self.lineages[lineage].present != Some(m) {
            return;
        }
        // A directory whose checkpoints are deleted does not tell a predecessor that wakes up.
        self.retire_predecessors_of(m);
        if status == JobStatus::Finished && !self.masters[m].has_stopped {
            self.lineages[lineage].is_over = true;
            let totals = self.job.totals();
            match self.lineages[lineage].output.counts() {
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
        self.later(pause, What::Start { lineage });
    }

    pub(crate) fn user_wants(&mut self) {
        let lineage = self.some_lineage();
        let Some(m) = self.lineages[lineage].present else {
            return;
        };
        if self.is_calm || !self.masters[m].is_running() {
            return;
        }
        if self.random.percent(30) && self.masters[m].elastic.is_some() {
            return self.require_other_bounds(m);
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
        let lineage = self.some_lineage();
        let Some(m) = self.lineages[lineage].present else {
            return;
        };
        if self.is_calm || !self.masters[m].is_running() {
            return;
        }
        match self.random.below(10) {
            0 | 1 => return self.kill_master(m),
            2 if !self.setting.shares_exclusive => return self.takes_for_dead(m),
            3 => {
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

    /// A master dies; somebody starts the job again.
    fn kill_master(&mut self, m: usize) {
        if self.bug == Some(Bug::StaleMaster) {
            self.note(|| format!("master {m} is taken for dead"));
            let until = self.now_ms + self.random.pick(&[100, 400, 1500]);
            self.masters[m].life = Life::Paused(until);
        } else {
            self.see("a killed master");
            self.end_master(m);
        }
        let lineage = self.masters[m].lineage;
        let pause = match self.has_predecessor(m) {
            // Which may wake up, and look around.
            true => self.random.pick(&[20, 1000, 4000]),
            false => self.random.pick(&[0, 20, 300]),
        };
        self.later(pause, What::Start { lineage });
    }

    /// A master dies, and its workers when they notice.
    pub(crate) fn end_master(&mut self, m: usize) {
        self.half_done(m);
        self.master_is_gone(m);
    }

    /// A master is gone, whatever its threads were at.
    pub(crate) fn master_is_gone(&mut self, m: usize) {
        self.note(|| format!("master {m} dies"));
        self.masters[m].life = Life::Dead;
        if self.masters[m].laws.has_completed_savepoints() {
            // Its directory does not tell a predecessor that wakes up.
            self.retire_predecessors_of(m);
        }
        let pids: Vec<usize> = self.masters[m].pids().collect();
        for pid in pids {
            let noticed = self.random.pick(&[0, 1, 30]);
            let noticed = match self.setting.has_zombies {
                true => noticed + self.random.pick(&[0, 500]),
                false => noticed,
            };
            self.later(noticed, What::Orphaned { pid });
        }
    }

    pub(crate) fn become_calm(&mut self) {
        self.note(|| "nothing breaks any more".to_owned());
        self.is_calm = true;
        self.slots_stay();
        self.disk.heal();
    }
}

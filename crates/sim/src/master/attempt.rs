//! Attempts: begun, deployed, failed and ended as the product's `Lifecycle` decides.

use std::rc::Rc;

use millpond_checkpoint::{Cancellation, Due, Event, Restart, RestorePlan};
use millpond_job::JobStatus;
use millpond_job::gateway::ToWorker;

use crate::bug::Bug;
use crate::worker::{Deployment, Life, Worker};
use crate::world::{What, World};

impl World {
    /// Kills a child, which may go on for a while if the history has zombies.
    pub(super) fn forget(&mut self, m: usize, process: usize) {
        let Some(pid) = self.masters[m].children[process].take() else {
            return;
        };
        if self.setting.has_zombies && !self.is_calm && self.random.percent(60) {
            if self.workers[pid].life != Life::Dead {
                self.see("a zombie");
            }
            let last = self.random.pick(&[20, 300, 3000]);
            self.later(last, What::Orphaned { pid });
        } else {
            self.kill_worker(pid);
        }
    }

    pub(super) fn proceed(&mut self, m: usize) {
        let master = &mut self.masters[m];
        let lost = (0..).zip(&master.children);
        let lost = lost.filter(|(_, child)| child.is_none());
        let lost: Vec<u32> = lost.map(|(process, _)| process).collect();
        let is_finalizing = match self.bug {
            Some(Bug::HastyEnd) => false,
            Some(_) | None => master.coordinator.is_finalizing(),
        };
        let due = match master.restarts_at_ms {
            Some(at_ms) if at_ms <= self.now_ms => Due::Allocate,
            Some(_) => Due::Nothing,
            None => master.lifecycle.due(self.now_ms, &lost, is_finalizing),
        };
        match due {
            Due::Nothing => self.rescale(m),
            Due::Allocate => self.allocate(m),
            Due::Kill(late) => {
                self.see("a process that did not end in time");
                for process in &late {
                    self.forget(m, *process as usize);
                }
                self.masters[m].lifecycle.killed(&late);
                self.proceed(m);
            }
            Due::End { status, .. } => self.end(m, status),
        }
    }

    fn end(&mut self, m: usize, status: JobStatus) {
        self.note(|| format!("master {m} ends: {status}"));
        self.tell(m, Event::JobEnded { status });
        self.masters[m].lifecycle.end();
        self.masters[m].status = Some(status);
        // It waits for its threads.
        while !self.masters[m].writing.is_empty() {
            self.write_next(m);
        }
        while !self.masters[m].cleaning.is_empty() {
            self.clean_next(m);
        }
        for process in 0..self.masters[m].children.len() {
            self.forget(m, process);
        }
        self.check_end_of_master(m, status);
        self.job_has_ended(m, status);
    }

    pub(super) fn begin_attempt(&mut self, m: usize) {
        let master = &mut self.masters[m];
        master.restarts_at_ms = None;
        master.lifecycle.begin(master.children.len() as u32);
        self.scale(m);
        let now_ms = self.now_ms;
        let (plan, event) = match self.recover(m) {
            Ok(recovered) => recovered,
            Err(reason) => {
                self.note(|| format!("master {m} cannot recover: {reason:?}"));
                if reason.is_some() && self.masters[m].lifecycle.unreachable(now_ms).is_some() {
                    return;
                }
                self.see("a refusal to go back");
                return self.end(m, JobStatus::Failed);
            }
        };
        self.check_begin(m);
        self.deploy(m, plan, event);
    }

    fn deploy(&mut self, m: usize, plan: Option<RestorePlan>, event: Option<Event>) {
        let processes = self.masters[m].processes();
        let attempt = self.masters[m].lifecycle.attempt();
        self.masters[m].lifecycle.recovered(match &event {
            Some(Event::Restored { directory, .. }) => Some(directory.clone()),
            _ => None,
        });
        self.laws_begin_attempt(m);
        self.check_key_groups(m);
        self.tell(m, Event::AttemptStarted { attempt, processes });
        if let Some(event) = event {
            self.tell(m, event);
        }
        for process in 0..processes {
            if self.masters[m].children[process as usize].is_none() {
                self.workers.push(Worker::new(m, process));
                self.masters[m].children[process as usize] = Some(self.workers.len() - 1);
            }
        }
        if self.fault(20) {
            // Some process cannot be reached.
            self.see("a failed deployment");
            self.masters[m].lifecycle.not_deployed();
            return self.fail_attempt(m, "a process does not start");
        }
        let pids: Vec<usize> = self.masters[m].pids().collect();
        self.note(|| {
            let from = plan.as_ref().map(|plan| plan.checkpoint);
            format!("master {m} deploys attempt {attempt} to {pids:?} from {from:?}")
        });
        let deployment = Rc::new(Deployment {
            master: m,
            attempt,
            graph: self.masters[m].graph.clone(),
            plan,
            pids: pids.clone(),
        });
        for pid in pids {
            let deployment = Rc::clone(&deployment);
            self.tell_worker(pid, What::Deployed { pid, deployment });
        }
        self.masters[m].lifecycle.deployed();
    }

    fn tell_worker(&mut self, pid: usize, what: What) {
        let mut last = self.workers[pid].last_from_master_ms;
        let in_ms = self.arrival(&mut last);
        self.workers[pid].last_from_master_ms = last;
        self.later(in_ms, what);
    }

    pub(super) fn send(&mut self, m: usize, message: &ToWorker) {
        let pids: Vec<usize> = self.masters[m].pids().collect();
        for pid in pids {
            let message = message.clone();
            self.tell_worker(pid, What::ToWorker { pid, message });
        }
    }

    pub(super) fn fail_attempt(&mut self, m: usize, why: &str) {
        let now_ms = self.now_ms;
        let Some(restart) = self.masters[m].lifecycle.failed(now_ms, why) else {
            return;
        };
        self.note(|| format!("master {m}: attempt fails: {why}"));
        self.laws_fail_attempt(m);
        let reason = why.to_owned();
        self.tell(m, Event::AttemptFailed { reason });
        if let Some(elastic) = &mut self.masters[m].elastic {
            elastic.ended(false);
        }
        match restart {
            Restart::Fail { .. } if self.bug == Some(Bug::EndlessRestarts) => {
                self.masters[m].restarts_at_ms = Some(now_ms + 10);
            }
            Restart::After { .. } if self.bug == Some(Bug::ImpatientRestart) => {
                self.masters[m].restarts_at_ms = Some(now_ms);
            }
            Restart::Fail { .. } => {
                self.see("a failed job");
                self.check_final_failure(m);
            }
            Restart::After { .. } => {}
        }
        self.end_attempt(m);
    }

    pub(super) fn fail_for_good(&mut self, m: usize) {
        let (is_new, ends_attempt) = self.masters[m]
            .lifecycle
            .failed_for_good(self.now_ms, "refused");
        if is_new {
            self.note(|| format!("master {m}: the job fails for good"));
            self.see("a failure for good");
        }
        if ends_attempt {
            self.masters[m].laws.attempt_is_over();
            let reason = "refused".to_owned();
            self.tell(m, Event::AttemptFailed { reason });
            self.end_attempt(m);
        }
    }

    pub(super) fn end_attempt(&mut self, m: usize) {
        let attempt = self.masters[m].lifecycle.attempt();
        self.send(m, &ToWorker::Cancel { attempt });
    }

    pub(crate) fn cancel(&mut self, m: usize) {
        let cancellation = self.masters[m].lifecycle.cancel(self.now_ms);
        if cancellation == Cancellation::Ignored {
            return;
        }
        let reason = "the job was cancelled".to_owned();
        self.masters[m].laws.attempt_is_over();
        self.tell(m, Event::AttemptFailed { reason });
        match cancellation {
            Cancellation::Ignored => {}
            Cancellation::EndJob => self.end(m, JobStatus::Canceled),
            Cancellation::EndAttempt => self.end_attempt(m),
        }
    }
}

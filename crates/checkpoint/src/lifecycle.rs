//! The life of a job: attempts that begin, run, end and are followed by others.
//!
//! ```text
//!          no room yet             room                  all run          fails, cancelled, all ended,
//!  Waiting ──────────▶ Allocating ──────▶ Deploying ───────────▶ Running       changes over
//!   ▲  └──────────── room ────────────────▶ │  └──────────────────────┴────────────────────────▶ Ending
//!   │                     │                 └─ the snapshot cannot be reached ──▶ Waiting           │
//!   └── restart ◀── all processes have ended, or were killed ───────────────────────────────────────┤
//!                                                                                                   ▼
//!                                                                                                 Ended
//! ```
//!
//! An attempt is over only when all of its processes have ended it, so that two attempts never write at
//! the same time; one that does not end in time is killed. Neither the next attempt nor the end of the
//! job comes while metadata is being written: a snapshot could be on disk that the job does not know of.
//!
//! Nothing here acts. The job master tells what happens, and asks [`due`](Lifecycle::due) what to do.

use std::collections::BTreeSet;

use millpond_job::JobStatus;
use millpond_job::gateway::{Attempt, FailureKind};

use crate::restart::{Restart, RestartStrategy};

/// Milliseconds that a process may take to end an attempt before it is killed.
const END_TIMEOUT_MS: u64 = 10_000;

/// Milliseconds to wait before a snapshot that cannot be reached is tried again.
const RECOVERY_RETRY_MS: u64 = 1_000;

/// How many times in a row that is done.
const RECOVERY_RETRIES: u32 = 30;

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// An attempt is to begin at this time.
    Waiting(u64),
    /// Room for processes is being looked for.
    Allocating,
    /// Processes are restoring state.
    Deploying,
    /// Records flow.
    Running,
    /// Processes are ending the attempt.
    Ending { next: AfterEnd, deadline_ms: u64 },
    /// Over.
    Ended,
}

/// What follows when all processes have ended an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AfterEnd {
    /// Another attempt, not before this time.
    Restart(u64),
    /// The end of the job, and why it has failed.
    End(JobStatus, Option<String>),
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// See to room for processes. With room the next attempt [begins](Lifecycle::begin), is recovered and
    /// deployed; until there is, the job is [allocating](Lifecycle::allocating).
    Allocate,
    /// Kill these processes, which have not ended in time: [`killed`](Lifecycle::killed), then ask again.
    Kill(Vec<u32>),
    /// End the job.
    End {
        /// How.
        status: JobStatus,
        /// Why, if it failed.
        failure: Option<String>,
    },
}

/// What becomes of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The job is over, or ends anyway.
    Ignored,
    /// No attempt is under way: the job ends now.
    EndJob,
    /// The attempt is to be ended.
    EndAttempt,
}

/// The life of one job.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    phase: Phase,
    attempt: Attempt,
    /// Processes of the newest attempt, which count from 0; none while room is being looked for.
    processes: u32,
    restart: RestartStrategy,
    /// Processes whose subtasks all run.
    running: BTreeSet<u32>,
    /// Processes that have ended the attempt.
    ended: BTreeSet<u32>,
    /// How many times in a row no snapshot could be reached.
    unreachable: u32,
    /// Directory of the snapshot that the attempt was restored from.
    restored: Option<String>,
    /// The attempt that could not be opened as state was damaged though its files had been found
    /// intact, and its snapshot.
    unreadable: Option<(Attempt, String)>,
}

impl Lifecycle {
    /// Returns the life of a job whose first attempt is to begin, behind so many of earlier masters.
    pub fn new(restart: RestartStrategy, now_ms: u64, earlier_attempts: Attempt) -> Self {
        Lifecycle {
            phase: Phase::Waiting(now_ms),
            attempt: earlier_attempts,
            processes: 0,
            restart,
            running: BTreeSet::new(),
            ended: BTreeSet::new(),
            unreachable: 0,
            restored: None,
            unreadable: None,
        }
    }

    /// The number of the newest attempt; before the first, how many earlier ones there were.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Directory of the snapshot that the attempt was restored from.
    pub fn restored(&self) -> Option<&str> {
        self.restored.as_deref()
    }

    /// Whether room for processes is being looked for.
    pub fn is_allocating(&self) -> bool {
        self.phase == Phase::Allocating
    }

    /// Whether all processes run, and none has failed or ended.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether an attempt is deployed that has neither failed nor come to its end. A process that is lost
    /// fails it; at any other time the next deployment starts that process again.
    pub fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Deploying | Phase::Running)
    }

    /// Whether the job is over.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// When [`due`](Self::due) is to be asked even if nothing happens, in milliseconds since 1970.
    pub fn next_ms(&self, now_ms: u64) -> Option<u64> {
        match self.phase {
            Phase::Waiting(until_ms) => Some(until_ms),
            // Behind its deadline it waits for metadata, whose outcome is an event.
            Phase::Ending { deadline_ms, .. } => Some(deadline_ms).filter(|at| *at > now_ms),
            Phase::Allocating | Phase::Deploying | Phase::Running | Phase::Ended => None,
        }
    }

    /// What is to be done now. `lost` are the processes that cannot report anything any more;
    /// `is_finalizing` is whether metadata is being written.
    pub fn due(&mut self, now_ms: u64, lost: &[u32], is_finalizing: bool) -> Due {
        if let Phase::Ending { next, deadline_ms } = &self.phase {
            let missing = (0..self.processes).filter(|process| !self.ended.contains(process));
            let missing: Vec<u32> = missing.filter(|process| !lost.contains(process)).collect();
            if !missing.is_empty() {
                return match *deadline_ms > now_ms {
                    true => Due::Nothing,
                    false => Due::Kill(missing),
                };
            }
            if is_finalizing {
                return Due::Nothing;
            }
            match next.clone() {
                AfterEnd::Restart(at_ms) => self.phase = Phase::Waiting(at_ms.max(now_ms)),
                AfterEnd::End(status, failure) => return Due::End { status, failure },
            }
        }
        match self.phase {
            Phase::Waiting(until_ms) if until_ms <= now_ms && !is_finalizing => Due::Allocate,
            Phase::Waiting(_)
            | Phase::Allocating
            | Phase::Deploying
            | Phase::Running
            | Phase::Ending { .. }
            | Phase::Ended => Due::Nothing,
        }
    }

    /// There is no room yet. What there was is given back, and nothing of it is waited for.
    pub fn allocating(&mut self) {
        self.phase = Phase::Allocating;
        self.processes = 0;
    }

    /// There is room for so many processes, at least 1: the next attempt begins. Returns its number.
    pub fn begin(&mut self, processes: u32) -> Attempt {
        self.attempt += 1;
        self.processes = processes;
        self.running.clear();
        self.ended.clear();
        self.attempt
    }

    /// The snapshot that the attempt is to be restored from cannot be reached. Returns the milliseconds
    /// after which it is tried again; `None` if that was done often enough.
    pub fn unreachable(&mut self, now_ms: u64) -> Option<u64> {
        if self.unreachable >= RECOVERY_RETRIES {
            return None;
        }
        self.unreachable += 1;
        self.phase = Phase::Waiting(now_ms + RECOVERY_RETRY_MS);
        Some(RECOVERY_RETRY_MS)
    }

    /// The attempt is about to be deployed, restored from the snapshot in this directory.
    pub fn recovered(&mut self, directory: Option<String>) {
        self.unreachable = 0;
        self.restored = directory;
    }

    /// The attempt is deployed.
    pub fn deployed(&mut self) {
        self.phase = Phase::Deploying;
    }

    /// The attempt could not be deployed everywhere. Processes that were not reached have nothing to end;
    /// the others are told to. The attempt has [failed](Self::failed) then.
    pub fn not_deployed(&mut self) {
        self.ended.extend(0..self.processes);
    }

    /// A process runs; whether from now on all do.
    pub fn process_runs(&mut self, process: u32) -> bool {
        self.running.insert(process);
        let all = self.running.len() as u32 == self.processes;
        let begins = all && self.phase == Phase::Deploying;
        if begins {
            self.phase = Phase::Running;
        }
        begins
    }

    /// A process has ended the attempt. If all have by themselves, the job has reached its end.
    pub fn process_ended(&mut self, process: u32, now_ms: u64) {
        self.ended.insert(process);
        let all = self.ended.len() as u32 == self.processes;
        if all && self.is_under_way() {
            // Metadata of a slower snapshot may be being written.
            let next = AfterEnd::End(JobStatus::Finished, None);
            self.end_attempt(next, now_ms);
        }
    }

    /// Processes that had not ended the attempt in time are killed.
    pub fn killed(&mut self, processes: &[u32]) {
        self.ended.extend(processes);
    }

    /// The attempt has failed. Returns what follows; `None` if that was decided before. Unless it is
    /// `None`, processes are to be told to end the attempt.
    pub fn failed(&mut self, now_ms: u64, why: &str) -> Option<Restart> {
        match self.phase {
            Phase::Waiting(_) | Phase::Allocating | Phase::Deploying | Phase::Running => {}
            Phase::Ending { .. } | Phase::Ended => return None,
        }
        let restart = self.restart.failed(now_ms);
        let next = match &restart {
            Restart::After { delay_ms } => AfterEnd::Restart(now_ms + delay_ms),
            Restart::Fail { reason } => {
                AfterEnd::End(JobStatus::Failed, Some(format!("{reason}: {why}")))
            }
        };
        self.end_attempt(next, now_ms);
        Some(restart)
    }

    /// The running attempt is to be followed by one of another parallelism, at once. That is no failure;
    /// processes are to be told to end the attempt.
    pub fn change_over(&mut self, now_ms: u64) {
        if self.phase == Phase::Running {
            self.end_attempt(AfterEnd::Restart(now_ms), now_ms);
        }
    }

    /// Whether a failure ends the job whatever the restart strategy says.
    pub fn is_final(&mut self, kind: FailureKind) -> bool {
        match kind {
            FailureKind::Retryable => false,
            FailureKind::RefusedState => true,
            FailureKind::DamagedState => {
                let Some(restored) = self.restored.clone() else {
                    return false;
                };
                // Several processes may tell of the same attempt.
                let before = self.unreadable.as_ref();
                let again = before.is_some_and(|(attempt, snapshot)| {
                    *attempt < self.attempt && *snapshot == restored
                });
                self.unreadable = Some((self.attempt, restored));
                again
            }
        }
    }

    /// The attempt has failed for a reason that no other attempt can mend. Returns whether that is new,
    /// and whether processes are to be told to end the attempt.
    pub fn failed_for_good(&mut self, now_ms: u64, why: &str) -> (bool, bool) {
        let failure = format!("The failure is not recoverable: {why}");
        let end = AfterEnd::End(JobStatus::Failed, Some(failure));
        match &mut self.phase {
            // Another process was faster, with what it saw of the same failure.
            Phase::Ending { next, .. } if matches!(next, AfterEnd::Restart(_)) => {
                *next = end;
                (true, false)
            }
            Phase::Deploying | Phase::Running => {
                self.end_attempt(end, now_ms);
                (true, true)
            }
            Phase::Waiting(_) | Phase::Allocating | Phase::Ending { .. } | Phase::Ended => {
                (false, false)
            }
        }
    }

    /// The job is to be cancelled. A job that has failed, or has reached its end, ends so.
    pub fn cancel(&mut self, now_ms: u64) -> Cancellation {
        match &self.phase {
            Phase::Ended => Cancellation::Ignored,
            Phase::Waiting(_) | Phase::Allocating => Cancellation::EndJob,
            Phase::Ending {
                next: AfterEnd::End(JobStatus::Failed | JobStatus::Finished, _),
                ..
            } => Cancellation::Ignored,
            Phase::Ending { .. } | Phase::Deploying | Phase::Running => {
                self.end_attempt(AfterEnd::End(JobStatus::Canceled, None), now_ms);
                Cancellation::EndAttempt
            }
        }
    }

    /// The job is over.
    pub fn end(&mut self) {
        self.phase = Phase::Ended;
    }

    fn end_attempt(&mut self, next: AfterEnd, now_ms: u64) {
        let deadline_ms = now_ms + END_TIMEOUT_MS;
        self.phase = Phase::Ending { next, deadline_ms };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::RestartConfig;

    /// A job on two processes, restarted after 100 ms as often as it likes, whose first attempt runs.
    fn running() -> Lifecycle {
        let config = RestartConfig::FixedDelay {
            attempts: 3,
            delay_ms: 100,
        };
        let mut life = Lifecycle::new(RestartStrategy::new(config, 1), 1000, 0);
        assert_eq!(life.due(1000, &[], false), Due::Allocate);
        assert_eq!(life.begin(2), 1);
        life.recovered(None);
        life.deployed();
        assert!(!life.process_runs(0));
        assert!(life.process_runs(1), "all run");
        life
    }

    #[test]
    fn an_attempt_follows_when_all_processes_have_ended_the_one_before_and_the_delay_is_over() {
        let mut life = running();
        let restart = life.failed(2000, "boom");
        assert_eq!(restart, Some(Restart::After { delay_ms: 100 }));
        assert_eq!(life.failed(2001, "again"), None, "decided before");
        life.process_ended(0, 2010);
        assert_eq!(life.due(2500, &[], false), Due::Nothing, "1 has not ended");
        life.process_ended(1, 2600);
        assert_eq!(life.due(2600, &[], false), Due::Allocate);
        assert_eq!(life.begin(2), 2);
    }

    #[test]
    fn who_does_not_end_in_time_is_killed_and_who_is_lost_is_not_waited_for() {
        let mut life = running();
        life.failed(2000, "boom");
        assert_eq!(life.next_ms(2000), Some(12_000));
        assert_eq!(life.due(12_000, &[1], false), Due::Kill(vec![0]));
        assert_eq!(life.next_ms(12_000), None);
        life.killed(&[0]);
        assert_eq!(life.due(12_000, &[1], false), Due::Allocate);
    }

    /// A stop overtook a slower snapshot: the job ended, and the metadata that was written afterwards
    /// was known to nobody.
    #[test]
    fn neither_an_attempt_nor_the_end_of_the_job_comes_while_metadata_is_written() {
        let mut life = running();
        life.process_ended(0, 2000);
        life.process_ended(1, 2000);
        assert_eq!(life.due(2000, &[], true), Due::Nothing);
        assert_eq!(life.cancel(2001), Cancellation::Ignored, "it has finished");
        assert!(!life.is_under_way(), "who is lost now is not missed");
        let end = Due::End {
            status: JobStatus::Finished,
            failure: None,
        };
        assert_eq!(life.due(2002, &[], false), end);
        let mut life = running();
        life.failed(2000, "boom");
        assert_eq!(life.due(2200, &[0, 1], true), Due::Nothing);
        assert_eq!(life.due(2200, &[0, 1], false), Due::Allocate);
    }

    #[test]
    fn a_job_that_fails_for_good_says_which_failure_it_was_and_cannot_be_cancelled() {
        let mut life = running();
        life.failed(2000, "connection lost");
        assert_eq!(life.failed_for_good(2001, "no place"), (true, false));
        assert_eq!(life.failed_for_good(2002, "no place"), (false, false));
        assert_eq!(life.cancel(2003), Cancellation::Ignored);
        let failure = Some("The failure is not recoverable: no place".to_owned());
        let status = JobStatus::Failed;
        assert_eq!(life.due(2004, &[0, 1], false), Due::End { status, failure });
    }

    #[test]
    fn state_that_two_attempts_could_not_read_is_damaged_for_good() {
        let mut life = running();
        life.recovered(Some("file:/chk-1".to_owned()));
        assert!(!life.is_final(FailureKind::DamagedState));
        assert!(
            !life.is_final(FailureKind::DamagedState),
            "the same attempt"
        );
        life.begin(2);
        life.recovered(Some("file:/chk-0".to_owned()));
        assert!(
            !life.is_final(FailureKind::DamagedState),
            "another snapshot"
        );
        life.begin(2);
        assert!(life.is_final(FailureKind::DamagedState));
        assert!(!life.is_final(FailureKind::Retryable));
    }

    #[test]
    fn a_snapshot_out_of_reach_is_tried_again_for_a_while() {
        let mut life = running();
        for now_ms in 0..u64::from(RECOVERY_RETRIES) {
            assert_eq!(life.unreachable(now_ms), Some(RECOVERY_RETRY_MS));
            assert_eq!(life.due(now_ms + 999, &[], false), Due::Nothing);
        }
        assert_eq!(life.unreachable(0), None);
        life.recovered(None);
        assert!(life.unreachable(0).is_some(), "only those in a row count");
    }

    /// Room was given back, and with it a process that had been lost and had never ended its attempt: the
    /// job waited for that one.
    #[test]
    fn who_looks_for_room_waits_for_nobody() {
        let mut life = running();
        life.failed(2000, "a process is lost");
        life.process_ended(0, 2010);
        assert_eq!(life.due(2100, &[1], false), Due::Allocate);
        life.allocating();
        assert!(life.is_allocating());
        assert_eq!(
            life.due(9000, &[], false),
            Due::Nothing,
            "until there is room"
        );
        let restart = life.failed(9000, "there is no room");
        assert_eq!(restart, Some(Restart::After { delay_ms: 100 }));
        assert_eq!(life.due(9100, &[], false), Due::Allocate);
        life.allocating();
        assert_eq!(life.begin(1), 2);
        life.recovered(None);
        life.deployed();
        assert!(life.process_runs(0), "all that there are");
    }

    #[test]
    fn a_job_that_looks_for_room_is_cancelled_at_once() {
        let mut life = running();
        life.failed(2000, "boom");
        assert_eq!(life.due(2100, &[0, 1], false), Due::Allocate);
        life.allocating();
        assert_eq!(life.failed_for_good(2200, "late"), (false, false));
        assert_eq!(life.cancel(2200), Cancellation::EndJob);
    }

    #[test]
    fn a_change_of_the_parallelism_is_no_failure() {
        let mut life = running();
        for now_ms in 0..100 {
            life.change_over(2000 + now_ms);
            assert!(!life.is_under_way());
            life.process_ended(0, 2000 + now_ms);
            life.process_ended(1, 2000 + now_ms);
            assert_eq!(life.due(2000 + now_ms, &[], false), Due::Allocate);
            life.begin(2);
            life.recovered(None);
            life.deployed();
            life.change_over(2000 + now_ms);
            assert!(life.is_under_way(), "only what runs changes over");
            life.process_runs(0);
            life.process_runs(1);
        }
        assert!(matches!(
            life.failed(3000, "boom"),
            Some(Restart::After { .. })
        ));
    }
}

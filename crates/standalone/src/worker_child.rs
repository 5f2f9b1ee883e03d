//! The worker processes of a task manager.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millpond_cluster::{Host, TaskManagerCopies};
use millpond_job::resources::{StartWorker, WorkerId};
use millpond_types::JobId;
use millpond_types::config::{
    CONFIGURATION_VARIABLE, WORKER_COPIES_VARIABLE, WORKER_HOST_VARIABLE, WORKER_VARIABLE,
};

/// For how long an executable may be busy: another process that was just forked may still have it
/// open for writing, until it gets a turn.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// For how long copies of state of a job are kept that has no worker here.
const KEPT: Duration = Duration::from_secs(3600);

/// Starts a program's process as soon as its file is not busy any more.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct WorkerChildren {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    children: BTreeMap<WorkerId, WorkerChild>,
    kept: BTreeMap<JobId, Kept>,
    /// Killed before they had begun.
    unwanted: BTreeSet<WorkerId>,
    /// How often all were killed: what was being started then is unwanted.
    generation: u64,
}

impl WorkerChildren {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to hand to [`WorkerChildren::start`].
    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Starts one, unless it was killed since; its copies of state are to lie in `copies`.
    pub(crate) fn start(
        &self,
        start: &StartWorker,
        executable: &Path,
        host: &Host,
        copies: &TaskManagerCopies,
        generation: u64,
    ) -> io::Result<()> {
        let place = copies.to_environment()?;
        let mut state = self.lock();
        if state.unwanted.remove(&start.worker) || state.generation != generation {
            return Ok(());
        }
        let mut command = Command::new(executable);
        command
            .args(&start.arguments)
            .env(CONFIGURATION_VARIABLE, &start.configuration)
            .env(WORKER_VARIABLE, &start.orders)
            .env(WORKER_COPIES_VARIABLE, place)
            .env(WORKER_HOST_VARIABLE, host.to_environment())
            // It ends when this end is closed: with this process, however that ends.
            .stdin(Stdio::piped());
        let child = spawn(&mut command)?;
        let program = start.program.clone();
        state
            .children
            .insert(start.worker, WorkerChild { child, program });
        let kept = Kept {
            copies: copies.clone(),
            unused_since: None,
        };
        state.kept.insert(start.worker.job, kept);
        Ok(())
    }

    /// A job has ended: kills what it still has, and deletes its copies of state.
    pub(crate) fn end_job(&self, job: JobId) {
        let kept = {
            let mut state = self.lock();
            let (of_job, others) = std::mem::take(&mut state.children)
                .into_iter()
                .partition(|(worker, _)| worker.job == job);
            state.children = others;
            let of_job: BTreeMap<WorkerId, WorkerChild> = of_job;
            of_job.into_values().for_each(end);
            state.kept.remove(&job)
        };
        if let Some(kept) = kept {
            delete(job, kept.copies);
        }
    }

    /// Deletes copies of state of jobs that have had no worker here for long: they run elsewhere, or have
    /// ended while the job manager was not reached.
    pub(crate) fn forget_unused(&self, now: Instant) {
        let mut state = self.lock();
        let State { children, kept, .. } = &mut *state;
        let mut unused = Vec::new();
        kept.retain(|job, kept| {
            if children.keys().any(|worker| worker.job == *job) {
                kept.unused_since = None;
                return true;
            }
            let since = *kept.unused_since.get_or_insert(now);
            let stays = now.duration_since(since) < KEPT;
            if !stays {
                unused.push((*job, kept.copies.clone()));
            }
            stays
        });
        drop(state);
        for (job, copies) in unused {
            delete(job, copies);
        }
    }

    /// Kills one, also if it is only about to begin.
    pub(crate) fn kill(&self, worker: WorkerId) {
        let mut state = self.lock();
        match state.children.remove(&worker) {
            Some(child) => end(child),
            None => {
                state.unwanted.insert(worker);
            }
        }
    }

    /// Kills all.
    pub(crate) fn kill_all(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.unwanted.clear();
        for (_, child) in std::mem::take(&mut state.children) {
            end(child);
        }
    }

    /// The programs that they run.
    pub(crate) fn programs(&self) -> BTreeSet<String> {
        let state = self.lock();
        let children = state.children.values();
        children.map(|one| one.program.clone()).collect()
    }

    /// Those that have ended by themselves since the last call, and how.
    pub(crate) fn ended(&self) -> Vec<(WorkerId, String)> {
        let mut state = self.lock();
        let mut ended = Vec::new();
        state
            .children
            .retain(|worker, one| match one.child.try_wait() {
                Ok(None) => true,
                Ok(Some(status)) => {
                    ended.push((*worker, status.to_string()));
                    false
                }
                Err(error) => {
                    ended.push((*worker, error.to_string()));
                    false
                }
            });
        ended
    }
}

/// A worker process.
struct WorkerChild {
    child: Child,
    program: String,
}

/// Copies of state that the workers of a job have left.
struct Kept {
    copies: TaskManagerCopies,
    /// Since when the job has had no worker here.
    unused_since: Option<Instant>,
}

/// On a thread of its own, as it takes time.
fn delete(job: JobId, copies: TaskManagerCopies) {
    // Without a thread they stay until another job finds them, as those of the dead.
    let _ = std::thread::Builder::new()
        .name("delete-copies".to_owned())
        .spawn(move || copies.delete(job));
}

fn end(mut one: WorkerChild) {
    // It may have ended already; either way it is to be reaped.
    let _ = one.child.kill();
    let _ = one.child.wait();
}

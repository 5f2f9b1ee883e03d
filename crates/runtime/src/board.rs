//! What the tasks of one worker thread share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use millpond_job::gateway::FailureKind;
use millpond_job::{FromWorker, SubtaskMetrics};
use millpond_types::{CheckpointId, Clock};
use timely::scheduling::Activator;

use crate::control::{Control, Notice};
use crate::credits::Credits;
use crate::snapshot_pool::SnapshotPool;
use crate::task::Task;
use crate::time::Time;

/// A task and how to have it run.
pub(crate) struct Scheduled {
    pub(crate) task: Rc<RefCell<Task>>,
    pub(crate) activator: Activator,
}

/// What the tasks of one worker share.
pub(crate) struct Board {
    pub(crate) control: Arc<Control>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pool: SnapshotPool,
    pub(crate) credits: Credits,
    pub(crate) to_master: Sender<FromWorker>,
    /// The process, counted from 0.
    pub(crate) process: u32,
    /// Number of this worker within its process.
    pub(crate) local: usize,
    /// The lowest time that the sinks have not taken; `None` when they have taken everything.
    pub(crate) sinks: Cell<Option<Time>>,
    /// The snapshot behind which the job ends, once taken; its fate is still to be heard.
    pub(crate) last_snapshot: Cell<Option<CheckpointId>>,
    /// The newest snapshot that is known to have been given up. Nothing begins behind a snapshot
    /// that ends the job before that one has failed, so none of those is older and still awaited.
    pub(crate) newest_aborted: Cell<CheckpointId>,
    /// The task that runs at this moment, for the report of a panic.
    pub(crate) current: RefCell<Option<String>>,
    tasks: RefCell<Vec<Scheduled>>,
    seen_version: Cell<u64>,
}

impl Board {
    /// A board without tasks.
    pub(crate) fn new(
        control: Arc<Control>,
        clock: Arc<dyn Clock>,
        pool: SnapshotPool,
        to_master: Sender<FromWorker>,
        process: u32,
        local: usize,
    ) -> Self {
        Board {
            control,
            clock,
            pool,
            credits: Credits::default(),
            to_master,
            process,
            local,
            sinks: Cell::new(Some(0)),
            last_snapshot: Cell::new(None),
            newest_aborted: Cell::new(0),
            current: RefCell::new(None),
            tasks: RefCell::default(),
            seen_version: Cell::new(0),
        }
    }

    /// Adds a task to those that hear notifications.
    pub(crate) fn add(&self, scheduled: Scheduled) {
        self.pool.add_task();
        self.tasks.borrow_mut().push(scheduled);
    }

    /// Sends a message to the master.
    pub(crate) fn send(&self, message: FromWorker) {
        // The master is gone: the process is about to end, and nobody is left to be told.
        let _ = self.to_master.send(message);
    }

    /// Fails the attempt in this process.
    pub(crate) fn fail(&self, task: Option<String>, message: String) {
        self.fail_as(FailureKind::Retryable, task, message);
    }

    /// Fails the attempt in this process; `kind` says whether another one may help.
    pub(crate) fn fail_as(&self, kind: FailureKind, task: Option<String>, message: String) {
        if !self.control.is_cancelled() {
            let (attempt, process) = (self.control.attempt, self.process);
            self.send(FromWorker::Failed {
                attempt,
                process,
                task,
                message,
                kind,
            });
        }
        self.control.cancel();
    }

    /// Passes on what the master has said since the last call.
    pub(crate) fn hear(&self) {
        let version = self.control.version();
        if self.seen_version.replace(version) == version {
            return;
        }
        while let Some(notice) = self.control.next_notice(self.local) {
            if let Notice::Aborted(id) = notice {
                self.newest_aborted.set(self.newest_aborted.get().max(id));
                self.pool.give_up(id);
            }
            for scheduled in self.tasks.borrow().iter() {
                let mut task = scheduled.task.borrow_mut();
                self.current.replace(Some(task.name().to_owned()));
                if let Err(error) = task.hear(notice) {
                    self.fail(Some(task.name().to_owned()), error.chain());
                }
            }
            let (Notice::Complete(id) | Notice::Aborted(id)) = notice;
            if self.last_snapshot.get().is_some_and(|last| last <= id) {
                self.last_snapshot.set(None);
            }
        }
        self.activate_all();
    }

    /// Looks after ended tasks, which the data plane runs no more: hears what they still do on other
    /// threads, and tells the other processes when no task is left that takes records.
    ///
    /// Returns whether a task does something that the end of the attempt has to wait for.
    pub(crate) fn tend(&self) -> bool {
        let (mut waits, mut all_ended) = (false, true);
        for scheduled in self.tasks.borrow().iter() {
            let mut task = scheduled.task.borrow_mut();
            all_ended &= task.has_ended();
            if task.has_ended()
                && task.has_background_work()
                && let Err(error) = task.poll_background()
            {
                self.fail(Some(task.name().to_owned()), error.chain());
            }
            waits |= task.has_background_work();
        }
        if all_ended {
            self.credits.close();
        }
        waits
    }

    /// Drops all tasks, which hold the board in turn: operators end their threads.
    pub(crate) fn clear(&self) {
        self.tasks.take().clear();
    }

    /// Has every task run.
    pub(crate) fn activate_all(&self) {
        for scheduled in self.tasks.borrow().iter() {
            scheduled.activator.activate();
        }
    }

    /// Has the sources run that wait for room in their window.
    pub(crate) fn activate_waiting_sources(&self) {
        for scheduled in self.tasks.borrow().iter() {
            // A task that is running at this moment will look at the window itself.
            if scheduled
                .task
                .try_borrow()
                .is_ok_and(|task| task.waits_for_room())
            {
                scheduled.activator.activate();
            }
        }
    }

    /// Counters of every task of this worker.
    pub(crate) fn metrics(&self) -> Vec<SubtaskMetrics> {
        self.tasks
            .borrow()
            .iter()
            .map(|scheduled| scheduled.task.borrow().metrics())
            .collect()
    }
}

//! Who starts and ends the worker processes of a job.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use millpond_job::JobStatus;
use millpond_job::dispatcher::WorkerPlace;
use millpond_job::resources::SlotRequest;
use millpond_types::config::WORKER_VARIABLE;

/// Room for worker processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Subtasks of each vertex that it is for, at most as many as there are workers.
    pub(crate) parallelism: u32,
    /// How many processes.
    pub(crate) processes: u32,
    /// Worker threads in each of them.
    pub(crate) workers: u32,
}

impl Room {
    /// How a parallelism spreads over a fixed number of processes.
    pub(crate) fn spread(parallelism: u32, processes: u32) -> Self {
        let processes = processes.max(1);
        Room {
            parallelism,
            processes,
            workers: parallelism.div_ceil(processes),
        }
    }
}

/// Starts and ends worker processes.
pub(crate) trait Launcher: Send {
    /// Sees to room, in place of what there was; `None` if that takes time, and the answer comes as an
    /// [event](crate::event::MasterEvent).
    fn allocate(&mut self, request: SlotRequest) -> Option<Room>;

    /// Starts a process that obeys `orders`.
    ///
    /// # Errors
    ///
    /// It cannot be started, for people.
    fn start(&mut self, process: u32, orders: &str) -> Result<(), String>;

    /// Where each process is, if they are not children.
    fn places(&self) -> Vec<WorkerPlace> {
        Vec::new()
    }

    /// A process that has ended, and how, if one has since the last call.
    fn ended(&mut self) -> Option<(u32, String)>;

    /// Ends a process, if it lives.
    fn kill(&mut self, process: u32);

    /// The job has ended, and nothing of it is deleted yet.
    fn job_ends(&mut self, status: JobStatus);
}

/// Children of the master: the same executable with the same arguments, on this machine.
pub(crate) struct Forks {
    processes: u32,
    children: BTreeMap<u32, Child>,
}

impl Forks {
    /// So many, none of which runs yet.
    pub(crate) fn new(processes: u32) -> Self {
        Forks {
            processes,
            children: BTreeMap::new(),
        }
    }
}

impl Launcher for Forks {
    fn allocate(&mut self, request: SlotRequest) -> Option<Room> {
        Some(Room::spread(request.most, self.processes))
    }

    fn start(&mut self, process: u32, orders: &str) -> Result<(), String> {
        let executable = std::env::current_exe().map_err(|error| error.to_string())?;
        let child = Command::new(&executable)
            .args(std::env::args_os().skip(1))
            .env(WORKER_VARIABLE, orders)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!(
                    "cannot start worker process {process} ({}): {error}",
                    executable.display()
                )
            })?;
        self.children.insert(process, child);
        Ok(())
    }

    fn ended(&mut self) -> Option<(u32, String)> {
        let mut children = self.children.iter_mut();
        children.find_map(|(process, child)| match child.try_wait() {
            Ok(Some(status)) => Some((*process, status.to_string())),
            _ => None,
        })
    }

    fn kill(&mut self, process: u32) {
        if let Some(mut child) = self.children.remove(&process) {
            // It may have ended already; either way it is to be reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn job_ends(&mut self, _status: JobStatus) {
        // Whoever has started this process sees how it ends.
    }
}

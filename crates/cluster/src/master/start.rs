//! How the job master comes to be: its processes, its fence, what earlier masters have left, its thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use millpond_checkpoint::{
    Coordinator, Elastic, Lifecycle, RestartConfig, RestartStrategy, SavepointSchedule,
    is_in_memory,
};
use millpond_runtime::Program;
use millpond_snapshot::{Claim, JobDirectories, OwnerProcess};
use millpond_types::Clock;

use super::{JobResult, Master};
use crate::event::MasterEvent;
use crate::fence::Fence;
use crate::launcher::{Forks, Launcher};
use crate::options::JobOptions;
use crate::processes::{Host, Processes};
use crate::recovery::Recovery;
use crate::savepoint_history::SavepointHistory;
use crate::snapshot_io::{SnapshotIo, make_shared_directories, prepare_job_directory};
use crate::storage::Storage;
use crate::throughput::Throughput;
use crate::view::View;

/// How long the master before this one may take to end, when its process was killed.
const FENCE_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a job on a thread of its own.
pub(crate) fn start(
    program: Program,
    options: JobOptions,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    storage: Storage,
    cluster: Option<(Box<dyn Launcher>, Host)>,
) -> std::io::Result<(Sender<MasterEvent>, JoinHandle<JobResult>)> {
    let (sender, events) = channel();
    let own = (options.processes > 1).then(|| -> (Box<dyn Launcher>, Host) {
        (Box::new(Forks::new(options.processes)), Host::loopback())
    });
    let processes = match cluster.or(own) {
        Some((launcher, host)) => {
            let (events, security) = (sender.clone(), options.security.clone());
            Processes::launched(launcher, &host, security, events, options.heartbeat)?
        }
        None => Processes::local(program.clone(), sender.clone()),
    };
    let fence = Fence::of(
        storage.clone(),
        &options.coordinator.checkpoint_directory,
        Arc::clone(&clock),
    );
    let io = SnapshotIo::start(
        sender.clone(),
        options.name.clone(),
        options.job,
        storage.clone(),
        fence.clone(),
    )?;
    let elastic = options.elastic.clone().map(|elastic| {
        // By itself a job makes the workers that it wants; a cluster will say.
        let available = if options.cluster.is_some() {
            0
        } else {
            u32::MAX
        };
        Elastic::new(elastic, &program.graph, available)
    });
    // Before anybody can ask for it.
    view.lock().requirements = elastic.as_ref().map(|all| all.requirements().clone());
    let thread = std::thread::Builder::new()
        .name("job-master".to_owned())
        .spawn(move || {
            let directory = &options.coordinator.checkpoint_directory;
            let now_ms = clock.now_ms();
            let checkpointing = options.coordinator.interval_ms.is_some();
            // First of all: what is there may be another master's.
            let entered = fence.enter(checkpointing, FENCE_PATIENCE);
            let taken = match &entered {
                Ok(()) => prepare_job_directory(&storage, directory, options.job),
                Err(_) => 0,
            };
            let mark = match checkpointing && entered.is_ok() {
                true => make_shared_directories(&storage, directory),
                false => None,
            };
            let mut schedule = options
                .savepoint_schedule
                .map(|config| SavepointSchedule::new(config, now_ms));
            let history = options
                .savepoint_directory
                .as_ref()
                .filter(|_| schedule.is_some())
                .and_then(|target| SavepointHistory::read(&storage, target, options.job));
            if let (Some(schedule), Some(history)) = (&mut schedule, &history) {
                schedule.remember(history.taken());
            }
            let restart = options.restart.clone();
            let restart = restart.unwrap_or_else(|| RestartConfig::default_for(checkpointing));
            let strategy = RestartStrategy::new(restart, crate::random::bits());
            let copies = match &entered {
                // Where its workers run, task managers see to it.
                Ok(()) if options.cluster.is_none() => options.local_recovery.of_job(options.job),
                Ok(()) | Err(_) => JobDirectories::new(&[], options.job),
            };
            if options.local_recovery.backup {
                copies.make();
            }
            view.lock().restart_strategy = strategy.describe();
            let cluster = options.cluster.as_ref();
            let earlier_attempts =
                cluster.map_or(0, |cluster| cluster.job_manager.earlier_attempts);
            let mut master = Master {
                coordinator: Coordinator::new(
                    options.coordinator.clone(),
                    &program.graph,
                    taken + 1,
                ),
                recovery: Recovery::new(
                    options.restore.clone(),
                    storage,
                    own_claim(&options),
                    mark,
                    options.cluster.is_some() && options.local_recovery.recover,
                ),
                lifecycle: Lifecycle::new(strategy, now_ms, earlier_attempts),
                result: None,
                program,
                options,
                view,
                clock,
                processes,
                copies,
                has_removed_dead_copies: false,
                io,
                started_ms: now_ms,
                coordinator_bytes: HashMap::new(),
                throughput: Throughput::default(),
                savepoint_schedule: schedule,
                savepoint_history: history,
                scheduled: None,
                elastic,
            };
            if let Err(why) = entered {
                master.fail(why);
            }
            master.run(&events)
        })?;
    Ok((sender, thread))
}

/// How this job notes what it claims.
fn own_claim(options: &JobOptions) -> Claim {
    let checkpoints = &options.coordinator.checkpoint_directory;
    Claim {
        job: options.job.to_string(),
        name: options.name.clone(),
        checkpoints: (!is_in_memory(checkpoints)).then(|| checkpoints.clone()),
        process: OwnerProcess::this(),
    }
}

//! What the REST API sees of a job: kept up to date by the job master, read by everybody.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use millpond_job::dispatcher::{
    CheckpointStatistics, ExceptionEntry, JobDetails, JobOverview, Operation, OperationFailure,
    VertexDetails, VertexInput, WorkerPlace,
};
use millpond_job::{
    ExecutionState, JobGraph, JobRequirements, JobStatus, JobVertex, SubtaskMetrics,
};
use millpond_types::{CheckpointId, JobId, TriggerId};

use crate::counters::Counters;

/// The newest failures that are remembered.
const MAX_EXCEPTIONS: usize = 16;

/// What is known of a job.
pub(crate) struct View {
    state: Mutex<State>,
}

/// The part of a view that changes.
pub(crate) struct State {
    pub(crate) id: JobId,
    pub(crate) name: String,
    pub(crate) graph: JobGraph,
    pub(crate) status: JobStatus,
    pub(crate) timestamps: BTreeMap<JobStatus, u64>,
    pub(crate) start_time_ms: u64,
    pub(crate) end_time_ms: Option<u64>,
    pub(crate) last_modification_ms: u64,
    pub(crate) tasks: ExecutionState,
    pub(crate) running_since_ms: Option<u64>,
    pub(crate) counters: Counters,
    pub(crate) restarts: u32,
    pub(crate) restored_from: Option<String>,
    pub(crate) restart_strategy: String,
    /// Where worker processes are, if these are not children.
    pub(crate) places: Vec<WorkerPlace>,
    /// In elastic mode.
    pub(crate) requirements: Option<JobRequirements>,
    pub(crate) statistics: CheckpointStatistics,
    pub(crate) exceptions: Vec<ExceptionEntry>,
    pub(crate) savepoints: HashMap<TriggerId, Operation<String>>,
    pub(crate) checkpoints: HashMap<TriggerId, Operation<CheckpointId>>,
}

impl View {
    /// A job that is being set up since `now_ms`.
    pub(crate) fn new(id: JobId, name: String, graph: JobGraph, now_ms: u64) -> Self {
        let state = State {
            id,
            name,
            graph,
            status: JobStatus::Initializing,
            timestamps: BTreeMap::from([(JobStatus::Initializing, now_ms)]),
            start_time_ms: now_ms,
            end_time_ms: None,
            last_modification_ms: now_ms,
            tasks: ExecutionState::Created,
            running_since_ms: None,
            counters: Counters::default(),
            restarts: 0,
            restored_from: None,
            restart_strategy: String::new(),
            places: Vec::new(),
            requirements: None,
            statistics: CheckpointStatistics::default(),
            exceptions: Vec::new(),
            savepoints: HashMap::new(),
            checkpoints: HashMap::new(),
        };
        View {
            state: Mutex::new(state),
        }
    }

    /// Looks at it or changes it; never held over anything slow.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Enters a state.
    pub(crate) fn enter(&mut self, status: JobStatus, now_ms: u64) {
        if self.status == status {
            return;
        }
        tracing::info!(
            "Job {} ({}) switched from state {} to {status}.",
            self.name,
            self.id,
            self.status
        );
        self.status = status;
        self.timestamps.insert(status, now_ms);
        self.last_modification_ms = now_ms;
        self.tasks = match status {
            JobStatus::Initializing | JobStatus::Created => ExecutionState::Created,
            JobStatus::Running => ExecutionState::Running,
            JobStatus::Failing | JobStatus::Cancelling => ExecutionState::Canceling,
            JobStatus::Failed => ExecutionState::Failed,
            JobStatus::Canceled | JobStatus::Suspended => ExecutionState::Canceled,
            JobStatus::Finished => ExecutionState::Finished,
            JobStatus::Restarting => ExecutionState::Canceled,
            JobStatus::Reconciling => ExecutionState::Reconciling,
        };
        if status == JobStatus::Running {
            self.running_since_ms = Some(now_ms);
        }
        if status.is_globally_terminal() {
            self.end_time_ms = Some(now_ms);
        }
    }

    /// Enters the last state: operations that are still open will never be done.
    pub(crate) fn end(&mut self, status: JobStatus, now_ms: u64) {
        self.enter(status, now_ms);
        let failure = || OperationFailure {
            class: "org.apache.flink.runtime.messages.FlinkJobNotFoundException".to_owned(),
            message: format!(
                "Could not find Flink job ({}): it has ended as {status}",
                self.id
            ),
        };
        for operation in self.savepoints.values_mut() {
            if *operation == Operation::InProgress {
                *operation = Operation::Completed(Err(failure()));
            }
        }
        for operation in self.checkpoints.values_mut() {
            if *operation == Operation::InProgress {
                *operation = Operation::Completed(Err(failure()));
            }
        }
    }

    /// Remembers a failure.
    pub(crate) fn exception(&mut self, entry: ExceptionEntry) {
        self.exceptions.insert(0, entry);
        self.exceptions.truncate(MAX_EXCEPTIONS);
    }

    /// The job in a line.
    pub(crate) fn overview(&self) -> JobOverview {
        JobOverview {
            id: self.id,
            name: self.name.clone(),
            status: self.status,
            is_elastic: self.requirements.is_some(),
            start_time_ms: self.start_time_ms,
            end_time_ms: self.end_time_ms,
            last_modification_ms: self.last_modification_ms,
            tasks: BTreeMap::from([(self.tasks, self.graph.subtasks())]),
        }
    }

    /// Records that all sources together have made in this attempt.
    pub(crate) fn source_records(&self) -> u64 {
        let sources = self
            .graph
            .vertices
            .iter()
            .filter(|vertex| vertex.is_source());
        sources
            .flat_map(|source| self.counters.of_vertex(source.index.0))
            .map(|metrics| metrics.records_in)
            .sum()
    }

    fn pending_records(&self, vertex: &JobVertex) -> Option<u64> {
        let subtasks = (0..vertex.parallelism).map(|subtask| {
            self.counters
                .of_subtask(vertex.index.0, subtask)
                .and_then(|metrics| metrics.pending_records)
        });
        subtasks.sum()
    }

    /// The job with its vertices.
    pub(crate) fn details(&self) -> JobDetails {
        let is_running = self.status == JobStatus::Running;
        let vertices = self.graph.vertices.iter().map(|vertex| {
            let sum = |count: fn(&SubtaskMetrics) -> u64| {
                self.counters.of_vertex(vertex.index.0).map(count).sum()
            };
            let inputs = self
                .graph
                .inputs(vertex.index)
                .map(|(_, edge)| VertexInput {
                    from: self.graph.vertex(edge.from).id,
                    ship_strategy: edge.edge.partitioner.as_str().to_owned(),
                });
            VertexDetails {
                id: vertex.id,
                name: vertex.name.clone(),
                operators: vertex
                    .operators
                    .iter()
                    .map(|operator| operator.name.clone())
                    .collect(),
                parallelism: vertex.parallelism,
                max_parallelism: vertex.max_parallelism,
                status: self.tasks,
                tasks: BTreeMap::from([(self.tasks, vertex.parallelism)]),
                records_in: sum(|metrics| metrics.records_in),
                records_out: sum(|metrics| metrics.records_out),
                pending_records: self.pending_records(vertex),
                start_time_ms: self.running_since_ms,
                end_time_ms: self.end_time_ms,
                inputs: inputs.collect(),
                subtasks: self.counters.details(vertex.index.0, is_running),
            }
        });
        JobDetails {
            overview: self.overview(),
            timestamps: self.timestamps.clone(),
            vertices: vertices.collect(),
            restarts: self.restarts,
            restored_from: self.restored_from.clone(),
            parallelism: self.graph.max_vertex_parallelism(),
            restart_strategy: self.restart_strategy.clone(),
            counted_at_ms: self.counters.heard_ms(),
            places: self.places.clone(),
        }
    }
}

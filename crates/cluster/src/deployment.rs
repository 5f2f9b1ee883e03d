//! What a worker process needs to know to run its share of an attempt.

use std::collections::HashMap;
use std::sync::Arc;

use millpond_checkpoint::RestorePlan;
use millpond_fs::Location;
use millpond_job::gateway::Attempt;
use millpond_operator::RestoredState;
use millpond_runtime::{Program, Restore};
use millpond_snapshot::LoadedSnapshot;
use millpond_types::{JobId, OperatorId};
use serde::{Deserialize, Serialize};

use crate::local_recovery::{LocalRecovery, OwnCopies};
use crate::pointer;
use crate::storage::Storage;

/// One attempt, for all its processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    /// Worker threads in each process.
    pub(crate) workers: u32,
    /// Subtasks of each vertex, in their order.
    pub(crate) parallelism: Vec<u32>,
    pub(crate) exactly_once: bool,
    /// Whether sinks wait for checkpoints to commit.
    pub(crate) checkpointing: bool,
    pub(crate) restore: Option<RestoreFrom>,
    pub(crate) local_recovery: LocalRecovery,
    /// Splits dealt out by the enumerators.
    pub(crate) splits: Vec<AssignedSplits>,
    /// Where each process listens for data connections; a single process needs none.
    pub(crate) data_addresses: Vec<String>,
}

/// The snapshot that an attempt is restored from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RestoreFrom {
    /// Its directory or metadata file.
    pub(crate) pointer: String,
    /// Place and bytes of metadata that only the job master has: in its memory.
    pub(crate) in_memory: Option<(String, Vec<u8>)>,
    pub(crate) plan: RestorePlan,
    /// Files that the job master has not read, as URIs: there is a copy on its machine, or there may be one on
    /// those of the workers.
    pub(crate) unread: Vec<String>,
    /// Whether state may be dropped that the program has no place for.
    pub(crate) allow_non_restored_state: bool,
    /// Whether state that no operator registers is carried on, rather than refused.
    pub(crate) carries_unregistered_state: bool,
}

/// Splits that an enumerator has dealt to one subtask.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AssignedSplits {
    pub(crate) operator: OperatorId,
    pub(crate) subtask: u32,
    /// Serialized.
    pub(crate) splits: Vec<Vec<u8>>,
}

impl Deployment {
    /// The program with the parallelism and the maximum parallelism that this attempt has.
    pub(crate) fn program(&self, program: &Program) -> Program {
        let mut program = program.clone();
        for (vertex, parallelism) in program.graph.vertices.iter_mut().zip(&self.parallelism) {
            vertex.parallelism = *parallelism;
        }
        if let Some(from) = &self.restore {
            from.plan.adopt_max_parallelism(&mut program.graph);
        }
        program
    }

    /// What the data plane of a process restores from; `copies` are those of the process.
    ///
    /// # Errors
    ///
    /// The snapshot cannot be read.
    pub(crate) fn restore(
        &self,
        program: &Program,
        copies: Option<&OwnCopies>,
    ) -> Result<Restore, String> {
        let splits = self
            .splits
            .iter()
            .map(|all| ((all.operator, all.subtask), all.splits.clone()));
        let mut restore = Restore {
            states: HashMap::new(),
            splits: splits.collect(),
            read: Arc::default(),
        };
        let restored = |snapshot: Option<&LoadedSnapshot>| match copies {
            Some(copies) => copies.restored(snapshot).map_err(|error| error.to_string()),
            None => Ok(()),
        };
        let Some(from) = &self.restore else {
            restored(None)?;
            return Ok(restore);
        };
        let storage = match &from.in_memory {
            Some((file, metadata)) => Location::parse(file)
                .and_then(|file| Storage::holding(&file, metadata))
                .map_err(|error| error.to_string())?,
            None => Storage::default(),
        };
        let storage = storage.with_copies(copies.and_then(OwnCopies::to_read));
        restore.read = Arc::clone(storage.read());
        let snapshot = pointer::load(&storage, &from.pointer).map_err(|error| error.message)?;
        restored(Some(&snapshot))?;
        let snapshot = snapshot.with_unread(from.unread.iter().cloned());
        let snapshot = Arc::new(snapshot);
        for vertex in &program.graph.vertices {
            for operator in &vertex.operators {
                for subtask in 0..vertex.parallelism {
                    let Some(state) = from.plan.operator(operator.id, subtask) else {
                        continue;
                    };
                    let restored = RestoredState {
                        snapshot: Arc::clone(&snapshot),
                        checkpoint: from.plan.checkpoint,
                        keyed: state.keyed.clone(),
                        operator: state.operator.clone(),
                        in_flight: state.in_flight.clone(),
                        finished: state.finished,
                        ended: state.ended,
                        allow_non_restored_state: from.allow_non_restored_state,
                        carries_unregistered_state: from.carries_unregistered_state,
                    };
                    restore.states.insert((operator.id, subtask), restored);
                }
            }
        }
        Ok(restore)
    }
}

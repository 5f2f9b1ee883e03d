//! Finding, checking and planning the snapshot that an attempt is restored from.

use std::collections::HashMap;

use millpond_checkpoint::plan::{DescribedOperator, PlanOptions};
use millpond_checkpoint::{
    Coordinator, Event, RecoveryChoice, RestorePlan, RestoreRequest, StartedFrom, Verification,
    choose_recovery,
};
use millpond_fs::Location;
use millpond_job::JobGraph;
use millpond_runtime::Program;
use millpond_snapshot::{
    Claim, Damage, ErrorKind, LoadedSnapshot, StateRead, StreamHandle, Trailer,
};
use millpond_types::OperatorId;
use millpond_types::config::ClaimMode;

use crate::claim::{self, ClaimError};
use crate::deployment::RestoreFrom;
use crate::leftovers::unfinished_beside;
use crate::options::RestoreOptions;
use crate::plan::{Count, plan_states};
use crate::pointer;
use crate::siblings::files_of_others;
use crate::storage::Storage;

/// What an attempt is restored from.
pub(crate) struct Recovered {
    /// `None` starts without state.
    pub(crate) restore: Option<RestoreFrom>,
    /// For the coordinator.
    pub(crate) event: Option<Event>,
    /// State of the enumerators of the sources.
    pub(crate) coordinators: HashMap<OperatorId, Vec<u8>>,
    /// For people.
    pub(crate) warnings: Vec<String>,
}

/// Why an attempt cannot be restored.
pub(crate) enum RecoveryError {
    /// Not now.
    Unreachable(String),
    /// Never.
    Refused(String),
}

/// Restores attempts of one job.
pub(crate) struct Recovery {
    /// The snapshot that the job is to start from, until it was used.
    start: Option<RestoreOptions>,
    /// How much may be lost, also when the job goes on from a checkpoint of its own.
    options: PlanOptions,
    /// What the operators say about their states, once they were asked.
    described: Option<Vec<DescribedOperator>>,
    storage: Storage,
    /// How this job claims.
    claim: Claim,
    /// What is in the job's own directory of checkpoints for as long as its storage is there.
    mark: Option<Location>,
    /// Whether checksums are left to the workers, as these have copies on other machines; until they find
    /// damage.
    workers_check: bool,
}

impl Recovery {
    /// The first attempt starts from `start`, if there is one.
    pub(crate) fn new(
        start: Option<RestoreOptions>,
        storage: Storage,
        claim: Claim,
        mark: Option<Location>,
        workers_check: bool,
    ) -> Self {
        let options = start.as_ref().map(RestoreOptions::plan_options);
        Recovery {
            start,
            options: options.unwrap_or_default(),
            described: None,
            storage,
            claim,
            mark,
            workers_check,
        }
    }

    /// A worker has found state damaged: from now on it is looked for, and proven, before workers begin.
    pub(crate) fn damage_found(&mut self) {
        self.workers_check = false;
    }

    /// As [`verify`], for a snapshot that this job itself has written or used.
    ///
    /// Its directory may be missing because somebody has deleted it. If the directory around it cannot be
    /// listed either, or is another one than this job has made, the storage is gone, which says nothing
    /// about the snapshot: a checkpoint that is under way then makes the directory anew.
    fn verify_own(&self, directory: &str) -> (Verification, Option<LoadedSnapshot>) {
        let (result, snapshot) = match self.workers_check {
            true => verify(&self.storage, directory, LoadedSnapshot::verify_sizes),
            false => verify(&self.storage, directory, LoadedSnapshot::verify),
        };
        match (result, self.storage_problem(directory)) {
            (Verification::Damaged(damage), Some(problem)) => {
                let damage = damage.join("; ");
                let text = format!("{problem}: {damage}");
                (Verification::Unreachable(text), None)
            }
            (result, _) => (result, snapshot),
        }
    }

    /// Why the directory around a snapshot is not there.
    fn storage_problem(&self, directory: &str) -> Option<String> {
        let parent = Location::parse(directory).ok()?.parent()?;
        let fs = self.storage.file_system(&parent).ok()?;
        if let Err(error) = fs.list(&parent) {
            return Some(error.to_string());
        }
        let mark = self.mark.as_ref()?;
        let is_own = mark.parent().as_ref() == Some(&parent);
        (is_own && matches!(fs.exists(mark), Ok(false))).then(|| {
            format!(
                "\"{parent}\" is not the directory that this job has made: there is no \"{}\" in it",
                mark.file_name()
            )
        })
    }

    /// What was read to verify and to plan since this was asked for the last time.
    pub(crate) fn take_read(&self) -> StateRead {
        self.storage.read().take()
    }

    /// Chooses, verifies and plans.
    ///
    /// # Errors
    ///
    /// No snapshot can be restored, for now or for good.
    pub(crate) fn recover(
        &mut self,
        coordinator: &mut Coordinator,
        program: &Program,
        ask: impl FnOnce() -> Vec<DescribedOperator>,
    ) -> Result<Recovered, RecoveryError> {
        let graph = &program.graph;
        if let Some(start) = self.start.clone() {
            self.described.get_or_insert_with(ask);
            return self.start_from(&start, coordinator, program);
        }
        let candidates = coordinator.recovery_candidates();
        let policy = coordinator.recovery_policy();
        let mut results = Vec::new();
        let mut loaded = Vec::new();
        loop {
            match choose_recovery(&candidates, &results, policy) {
                RecoveryChoice::Empty => return Ok(Recovered::empty()),
                RecoveryChoice::Verify(index) => {
                    let (result, snapshot) = self.verify_own(&candidates[index].directory);
                    results.push(result);
                    loaded.push(snapshot);
                }
                RecoveryChoice::Restore { index, skipped } => {
                    let candidate = &candidates[index];
                    let snapshot = loaded
                        .swap_remove(index)
                        .expect("what is intact was loaded");
                    let event = Event::Restored {
                        checkpoint: candidate.checkpoint,
                        directory: candidate.directory.clone(),
                        is_savepoint: candidate.is_savepoint,
                        skipped: skipped.clone(),
                    };
                    let warnings = skipped.into_iter().map(|(_, damage)| {
                        format!(
                            "falling back to an older snapshot, as a newer one is damaged: {damage}"
                        )
                    });
                    let warnings: Vec<String> = warnings.collect();
                    let mut recovered = self.plan(&candidate.directory, &snapshot, graph, event)?;
                    recovered.warnings.extend(warnings);
                    return Ok(recovered);
                }
                RecoveryChoice::RetryLater { reason } => {
                    return Err(RecoveryError::Unreachable(reason));
                }
                RecoveryChoice::Refuse { message } => return Err(RecoveryError::Refused(message)),
            }
        }
    }

    fn start_from(
        &mut self,
        start: &RestoreOptions,
        coordinator: &mut Coordinator,
        program: &Program,
    ) -> Result<Recovered, RecoveryError> {
        let refuse = |why: &str| {
            RecoveryError::Refused(format!(
                "Failed to rollback to checkpoint/savepoint {}. {why}",
                start.path
            ))
        };
        let verified = verify(&self.storage, &start.path, LoadedSnapshot::verify);
        let snapshot = match verified {
            (Verification::Intact, Some(snapshot)) => snapshot,
            (Verification::Damaged(damage), _) => return Err(refuse(&damage.join("; "))),
            (Verification::Unreachable(reason), _) => {
                return Err(RecoveryError::Unreachable(reason));
            }
            (Verification::Intact, None) => unreachable!("what is intact was loaded"),
        };
        let directory = snapshot.directory.to_string();
        let unfinished = unfinished_beside(&**snapshot.file_system(), &snapshot.directory);
        if !unfinished.is_empty() {
            tracing::warn!(
                "beside \"{directory}\" lie unfinished checkpoints, left by a job that was killed or \
                 written by one that runs: {}; nothing is deleted",
                unfinished.join(", ")
            );
        }
        let checkpoint = snapshot.metadata.checkpoint_id;
        let trailer = snapshot.metadata.trailer.as_ref();
        let is_savepoint = trailer.is_none_or(|trailer| trailer.savepoint);
        let event = Event::Restored {
            checkpoint,
            directory: directory.clone(),
            is_savepoint: is_savepoint && start.mode != ClaimMode::Claim,
            skipped: Vec::new(),
        };
        let left_behind = self.check_states(&start.path, &snapshot, program)?;
        let recovered = self.plan(&start.path, &snapshot, &program.graph, event)?;
        let recovered = Recovered {
            warnings: recovered.warnings.into_iter().chain(left_behind).collect(),
            ..recovered
        };
        let (files, files_of_others) =
            self.own_files(start.mode, &snapshot)
                .map_err(|error| match error {
                    ClaimError::Taken(why) => refuse(&why),
                    ClaimError::Unreachable(why) => RecoveryError::Unreachable(why),
                })?;
        let mut state_bytes = 0;
        snapshot
            .metadata
            .streams(&mut |stream: &StreamHandle| state_bytes += stream.size());
        coordinator.start_from(StartedFrom {
            checkpoint,
            directory,
            is_savepoint,
            mode: start.mode,
            files,
            files_of_others,
            state_bytes,
            pending_transactions: trailer.is_some_and(Trailer::has_pending_transactions),
        });
        self.start = None;
        Ok(recovered)
    }

    /// Claims the snapshot if it is to be this job's. Returns its files, and those of them that are
    /// others' all the same.
    fn own_files(
        &self,
        mode: ClaimMode,
        snapshot: &LoadedSnapshot,
    ) -> Result<(Vec<String>, Vec<String>), ClaimError> {
        let fs = &**snapshot.file_system();
        let files = snapshot
            .files()
            .map_err(|error| ClaimError::Taken(error.to_string()))?;
        match mode {
            ClaimMode::NoClaim | ClaimMode::Legacy => {
                if let Some(owner) = claim::who_has(fs, &snapshot.directory, &files) {
                    tracing::warn!("{owner}");
                }
                Ok((files.into_iter().collect(), Vec::new()))
            }
            ClaimMode::Claim => {
                let void = claim::claim(fs, &snapshot.directory, &files, &self.claim)?;
                if let Some(Claim { job, name, .. }) = void {
                    tracing::info!(
                        "\"{}\" had been claimed by job {job} (\"{name}\"), whose process is gone and \
                         which has left nothing that needs it: the claim passes to this job",
                        snapshot.directory
                    );
                }
                let (of_others, problems) = files_of_others(snapshot, &files, &self.claim.job);
                for problem in problems {
                    tracing::warn!(
                        "files beside the claimed snapshot will not be deleted, as others may need \
                         them: {problem}"
                    );
                }
                Ok((files.into_iter().collect(), of_others))
            }
        }
    }

    /// Refuses a snapshot with named states that the program cannot read or does not claim, before
    /// any task is deployed; says in words what is left behind with the user's leave.
    fn check_states(
        &mut self,
        pointer: &str,
        snapshot: &LoadedSnapshot,
        program: &Program,
    ) -> Result<Vec<String>, RecoveryError> {
        let described = self.described.as_deref().unwrap_or_default();
        let unknown = described.iter().find_map(|operator| {
            let why = operator.states.as_ref().err()?;
            Some(format!("operator {} cannot be opened: {why}", operator.id))
        });
        if let Some(why) = unknown {
            // What a function needs of the outside world may come back.
            self.described = None;
            return Err(RecoveryError::Unreachable(why));
        }
        let count = Count::WhereItMatters;
        let plan = plan_states(program, described, pointer, snapshot, self.options, count);
        let plan = plan.map_err(|error| match error.kind() {
            // Whatever the file system refuses now says nothing about the snapshot.
            ErrorKind::Io(_) => RecoveryError::Unreachable(error.to_string()),
            ErrorKind::Corrupt { .. }
            | ErrorKind::Incompatible { .. }
            | ErrorKind::Unsupported { .. } => RecoveryError::Refused(format!(
                "Failed to rollback to checkpoint/savepoint {pointer}. {error}"
            )),
        })?;
        match plan.refusal() {
            Some(message) => Err(RecoveryError::Refused(message)),
            None => Ok(plan.left_behind()),
        }
    }

    fn plan(
        &self,
        pointer: &str,
        snapshot: &LoadedSnapshot,
        graph: &JobGraph,
        event: Event,
    ) -> Result<Recovered, RecoveryError> {
        let directory = snapshot.directory.to_string();
        let request = RestoreRequest {
            pointer,
            directory: &directory,
            allow_non_restored_state: self.options.allow_non_restored_state,
        };
        let plan = RestorePlan::new(&snapshot.metadata, graph, request)
            .map_err(|error| RecoveryError::Refused(error.to_string()))?;
        let mut coordinators = HashMap::new();
        for vertex in &graph.vertices {
            for operator in &vertex.operators {
                let restored = plan.operator(operator.id, 0);
                if let Some(bytes) = restored.and_then(|restored| restored.coordinator.clone()) {
                    coordinators.insert(operator.id, bytes);
                }
            }
        }
        let warnings = plan.warnings.clone();
        let restore = RestoreFrom {
            pointer: pointer.to_owned(),
            in_memory: self
                .storage
                .metadata_for_others(&snapshot.metadata_file)
                .map(|bytes| (snapshot.metadata_file.to_string(), bytes)),
            plan,
            unread: match self.workers_check {
                true => snapshot.files_with_checksum().map_err(|error| {
                    // Its own paths, which were understood a moment ago.
                    RecoveryError::Refused(error.to_string())
                })?,
                false => snapshot.read_by_copy(),
            },
            allow_non_restored_state: self.options.allow_non_restored_state,
            carries_unregistered_state: self.options.allow_non_restored_state
                || self.options.ignore_unregistered_state,
        };
        Ok(Recovered {
            restore: Some(restore),
            event: Some(event),
            coordinators,
            warnings,
        })
    }
}

impl Recovered {
    fn empty() -> Self {
        Recovered {
            restore: None,
            event: None,
            coordinators: HashMap::new(),
            warnings: Vec::new(),
        }
    }
}

/// Reads a snapshot's metadata and checks every file of it.
fn verify(
    storage: &Storage,
    path: &str,
    check: fn(&LoadedSnapshot) -> Vec<Damage>,
) -> (Verification, Option<LoadedSnapshot>) {
    match pointer::load(storage, path) {
        Ok(snapshot) => {
            let damages = check(&snapshot);
            if damages.is_empty() {
                return (Verification::Intact, Some(snapshot));
            }
            let words = damages.iter().map(ToString::to_string).collect::<Vec<_>>();
            match damages.iter().any(|damage| damage.permanent) {
                true => (Verification::Damaged(words), None),
                false => (Verification::Unreachable(words.join("; ")), None),
            }
        }
        Err(error) if error.is_transient => (Verification::Unreachable(error.message), None),
        Err(error) => (Verification::Damaged(vec![error.message]), None),
    }
}

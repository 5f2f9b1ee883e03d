//! Puts the states of snapshot and program beside each other.

use std::collections::BTreeSet;

use millpond_job::{ChainedOperator, JobVertex};
use millpond_serializer::{Compatibility, SerializerSnapshot};
use millpond_snapshot::{
    DistributionMode, Metadata, OperatorInventory, OperatorSnapshot, StateInventory, StateKind,
    StateMeta, StreamHandle,
};
use millpond_state::{DescribedState, KeyedDescription, StateDescription};
use millpond_types::OperatorId;

use crate::assignment::{RestorePlan, RestoreRequest};
use crate::error::ErrorKind;
use crate::plan::changes::changes;
use crate::plan::{
    BeforeAndNow, DescribedOperator, KeyPlan, NamedStatePlan, OperatorPlan, Outcome, PlanInput,
    PlannedSnapshot, Presence, StatePlan, Verdict,
};

/// The kind of the state of a source's enumerator.
pub(crate) const COORDINATOR: &str = "coordinator";

pub(crate) fn decide(input: PlanInput<'_>) -> StatePlan {
    let PlanInput { graph, program, .. } = input;
    let assignment = Assignment::of(input);
    let mut operators = Vec::new();
    for vertex in &graph.vertices {
        for operator in &vertex.operators {
            let described = program.iter().find(|described| described.id == operator.id);
            let max = assignment
                .max_parallelism
                .as_ref()
                .map_or(vertex.max_parallelism, |all| all[vertex.index.0 as usize]);
            let one = OneOperator {
                vertex,
                operator,
                described,
                max_parallelism: max,
            };
            operators.extend(of_program(&one, input.snapshot));
        }
    }
    let known: BTreeSet<OperatorId> = graph
        .vertices
        .iter()
        .flat_map(|vertex| &vertex.operators)
        .map(|operator| operator.id)
        .collect();
    if let Some((metadata, inventory)) = input.snapshot {
        let gone = metadata.operators.iter();
        let gone = gone.filter(|operator| !known.contains(&operator.id) && !operator.is_empty());
        operators.extend(gone.map(|operator| of_snapshot(operator, metadata, inventory)));
    }
    let mut plan = StatePlan {
        verdict: Verdict::Clean,
        snapshot: input.snapshot.map(|(metadata, _)| PlannedSnapshot {
            path: input.pointer.to_owned(),
            checkpoint_id: metadata.checkpoint_id,
            metadata_version: metadata.version,
            millpond_version: metadata
                .trailer
                .as_ref()
                .map(|trailer| trailer.millpond_version.clone()),
            job_name: metadata
                .trailer
                .as_ref()
                .map(|trailer| trailer.job_name.clone()),
        }),
        problems: assignment.problems,
        unnamed: assignment.unnamed,
        operators,
    };
    plan.verdict = verdict(&plan, input, assignment.needs_allowance);
    plan
}

fn verdict(plan: &StatePlan, input: PlanInput<'_>, needs_allowance: bool) -> Verdict {
    let broken = plan.operators.iter().any(|operator| {
        let by_key = operator.key.as_ref().and_then(|key| key.problem.as_ref());
        operator.problem.is_some() || by_key.is_some()
    });
    let incompatible = plan
        .states()
        .any(|(_, state)| state.outcome == Outcome::Incompatible);
    if !plan.problems.is_empty() || broken || incompatible {
        return Verdict::Impossible;
    }
    let options = input.options;
    let lost: Vec<_> = plan.states().filter(|(_, s)| s.loses_entries()).collect();
    let is_refused = |state: &NamedStatePlan| !(state.carried && options.ignore_unregistered_state);
    let loses = needs_allowance || !lost.is_empty();
    let refused = needs_allowance || lost.iter().any(|(_, state)| is_refused(state));
    match () {
        () if !loses => Verdict::Clean,
        () if options.allow_non_restored_state || !refused => Verdict::Allowed,
        () => Verdict::NeedsAllowNonRestoredState,
    }
}

/// What assigning the state to subtasks says.
#[derive(Default)]
struct Assignment {
    /// Of each vertex; `None` if there is no snapshot, or it does not fit.
    max_parallelism: Option<Vec<u32>>,
    problems: Vec<String>,
    /// Something is dropped whatever its states: an operator is gone, or there is raw state.
    needs_allowance: bool,
    /// What is dropped and has no name.
    unnamed: Vec<String>,
}

impl Assignment {
    fn of(input: PlanInput<'_>) -> Self {
        let Some((metadata, _)) = input.snapshot else {
            return Assignment::default();
        };
        let assign = |allow_non_restored_state| {
            let request = RestoreRequest {
                pointer: input.pointer,
                directory: input.pointer,
                allow_non_restored_state,
            };
            RestorePlan::new(metadata, input.graph, request)
        };
        match assign(true) {
            Ok(plan) => {
                let strict = assign(false).err();
                let unnamed = strict
                    .as_ref()
                    .filter(|error| error.kind() == ErrorKind::Unsupported);
                Assignment {
                    max_parallelism: Some(plan.max_parallelism),
                    problems: Vec::new(),
                    needs_allowance: strict.is_some(),
                    unnamed: unnamed.map(ToString::to_string).into_iter().collect(),
                }
            }
            Err(error) => Assignment {
                problems: vec![error.to_string()],
                ..Assignment::default()
            },
        }
    }
}

/// An operator of the program.
struct OneOperator<'a> {
    vertex: &'a JobVertex,
    operator: &'a ChainedOperator,
    described: Option<&'a DescribedOperator>,
    /// What the job adopts.
    max_parallelism: u32,
}

/// The plan of an operator of the program; `None` if it neither has state nor had some.
fn of_program(
    one: &OneOperator<'_>,
    snapshot: Option<(&Metadata, &[OperatorInventory])>,
) -> Option<OperatorPlan> {
    let id = one.operator.id;
    let found = snapshot.and_then(|(metadata, _)| metadata.operator(id));
    let inventory = snapshot.and_then(|(_, all)| all.iter().find(|inventory| inventory.id == id));
    let record = record(snapshot.map(|(metadata, _)| metadata), id);
    let mut plan = OperatorPlan {
        uid: one.operator.uid.clone(),
        operator_id: id.to_string(),
        name: Some(one.operator.name.clone()),
        presence: match found {
            Some(_) => Presence::Both,
            None => Presence::ProgramOnly,
        },
        parallelism: BeforeAndNow {
            snapshot: found.map(|found| found.parallelism),
            program: Some(one.vertex.parallelism),
        },
        max_parallelism: BeforeAndNow {
            snapshot: found.map(|found| found.max_parallelism),
            program: Some(one.max_parallelism),
        },
        key: None,
        positions: record.positions,
        pending_transactions: record.pending_transactions,
        problem: None,
        states: Vec::new(),
    };
    match one.described.map(|described| &described.states) {
        Some(Ok(states)) => add_states(&mut plan, states, inventory),
        // Nothing of it is in the snapshot: nothing can be lost.
        Some(Err(_)) if found.is_none_or(OperatorSnapshot::is_empty) => {}
        Some(Err(why)) => plan.problem = Some(format!("which state it has is not known: {why}")),
        None => plan.problem = Some("which state it has is not known".to_owned()),
    }
    if let Some(handle) = found.and_then(|found| found.coordinator.as_ref()) {
        let takes = one
            .described
            .is_some_and(|described| described.has_coordinator);
        plan.states.push(coordinator(handle, takes));
    }
    let is_stateless = plan.states.is_empty() && plan.problem.is_none();
    (!is_stateless || found.is_some_and(|found| !found.is_empty())).then_some(plan)
}

/// What is known of an operator from the trailer.
#[derive(Default)]
struct Record {
    name: Option<String>,
    uid: Option<String>,
    positions: Vec<String>,
    pending_transactions: bool,
}

fn record(metadata: Option<&Metadata>, id: OperatorId) -> Record {
    let trailer = metadata.and_then(|metadata| metadata.trailer.as_ref());
    let Some(found) = trailer.and_then(|trailer| trailer.operator(id)) else {
        return Record::default();
    };
    let subtasks = || found.subtasks.iter();
    Record {
        name: Some(found.name.clone()),
        uid: found.uid.clone(),
        positions: subtasks()
            .flat_map(|subtask| subtask.positions.clone())
            .collect(),
        pending_transactions: subtasks().any(|subtask| subtask.pending_transactions),
    }
}

/// The plan of an operator that only the snapshot has.
fn of_snapshot(
    operator: &OperatorSnapshot,
    metadata: &Metadata,
    inventory: &[OperatorInventory],
) -> OperatorPlan {
    let record = record(Some(metadata), operator.id);
    let inventory = inventory
        .iter()
        .find(|inventory| inventory.id == operator.id);
    let key = inventory.and_then(|inventory| inventory.keys.first());
    let states = inventory.map_or(&[][..], |inventory| &inventory.states);
    let mut states: Vec<NamedStatePlan> =
        states.iter().map(|state| unclaimed(state, false)).collect();
    states.extend(
        operator
            .coordinator
            .as_ref()
            .map(|handle| coordinator(handle, false)),
    );
    OperatorPlan {
        uid: operator.uid.clone().or(record.uid),
        operator_id: operator.id.to_string(),
        name: operator.name.clone().or(record.name),
        presence: Presence::SnapshotOnly,
        parallelism: BeforeAndNow {
            snapshot: Some(operator.parallelism),
            program: None,
        },
        max_parallelism: BeforeAndNow {
            snapshot: Some(operator.max_parallelism),
            program: None,
        },
        key: key.map(|key| KeyPlan {
            snapshot: Some(key.describe()),
            program: None,
            problem: None,
        }),
        positions: record.positions,
        pending_transactions: record.pending_transactions,
        problem: None,
        states,
    }
}

fn coordinator(handle: &StreamHandle, takes: bool) -> NamedStatePlan {
    NamedStatePlan {
        name: COORDINATOR.to_owned(),
        kind: COORDINATOR.to_owned(),
        outcome: match takes {
            true => Outcome::Restored,
            false => Outcome::Dropped,
        },
        carried: false,
        snapshot_type: None,
        program_type: None,
        changes: Vec::new(),
        reason: None,
        entries: None,
        bytes: Some(handle.size()),
    }
}

fn add_states(
    plan: &mut OperatorPlan,
    program: &StateDescription,
    inventory: Option<&OperatorInventory>,
) {
    let keyed = program.keyed.as_ref();
    let keys = inventory.map_or(&[][..], |inventory| &inventory.keys);
    let key_problem = keyed.and_then(|keyed| key_problem(keyed, keys));
    // The timers of a function that has none say nothing about its keys being of use.
    if keyed.is_some() || !keys.is_empty() {
        plan.key = Some(KeyPlan {
            snapshot: keys.first().map(SerializerSnapshot::describe),
            program: keyed.map(|keyed| keyed.key.describe()),
            problem: key_problem.clone(),
        });
    }
    let none = Vec::new();
    let sides = [
        (true, program.keyed.as_ref().map(|keyed| &keyed.states)),
        (false, program.operator.as_ref().map(|all| &all.states)),
    ];
    for (is_keyed, states) in sides {
        for state in states.unwrap_or(&none) {
            let found = inventory.and_then(|i| i.state(&state.meta().name, is_keyed));
            plan.states.push(match found {
                Some(found) => claimed(state, found, key_problem.as_deref().filter(|_| is_keyed)),
                None => new(state),
            });
        }
    }
    let Some(inventory) = inventory else { return };
    for found in &inventory.states {
        let (_, states) = sides[usize::from(!found.is_keyed())];
        let claims = |state: &DescribedState| state.meta().name == found.name();
        if !states.unwrap_or(&none).iter().any(claims) {
            plan.states.push(unclaimed(found, states.is_some()));
        }
    }
    if let Some(why) = inventory.unreadable.first() {
        plan.problem = Some(format!(
            "which state the snapshot has is not known: {why}; values of serializers that users or \
             Flink's SQL bring along cannot be restored"
        ));
    }
}

fn key_problem(keyed: &KeyedDescription, keys: &[SerializerSnapshot]) -> Option<String> {
    let refused = keys.iter().find_map(|key| keyed.accept_key(key).err());
    refused.map(|error| words(&error))
}

/// An error and its causes.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn new(state: &DescribedState) -> NamedStatePlan {
    let meta = state.meta();
    NamedStatePlan {
        name: meta.name.clone(),
        kind: kind_of(meta),
        outcome: Outcome::New,
        carried: false,
        snapshot_type: None,
        program_type: Some(type_of(meta)),
        changes: Vec::new(),
        reason: None,
        entries: None,
        bytes: None,
    }
}

fn unclaimed(found: &StateInventory, carried: bool) -> NamedStatePlan {
    let meta = found.meta();
    NamedStatePlan {
        name: meta.name.clone(),
        kind: kind_of(meta),
        outcome: match meta.kind {
            StateKind::PriorityQueue => Outcome::UnclaimedTimers,
            StateKind::KeyValue
            | StateKind::KeyValueV2
            | StateKind::Operator
            | StateKind::Broadcast => Outcome::Dropped,
        },
        carried,
        snapshot_type: Some(type_of(meta)),
        program_type: None,
        changes: Vec::new(),
        reason: None,
        entries: found.entries,
        bytes: found.bytes,
    }
}

/// A state that both have.
fn claimed(
    state: &DescribedState,
    found: &StateInventory,
    key_problem: Option<&str>,
) -> NamedStatePlan {
    let (old, new) = (found.meta(), state.meta());
    let mut plan = NamedStatePlan {
        name: new.name.clone(),
        kind: kind_of(new),
        outcome: Outcome::Restored,
        carried: false,
        snapshot_type: Some(type_of(old)),
        program_type: Some(type_of(new)),
        changes: Vec::new(),
        reason: None,
        entries: found.entries,
        bytes: found.bytes,
    };
    for old in &found.metas {
        for change in all_changes(old, new) {
            if !plan.changes.contains(&change) {
                plan.changes.push(change);
            }
        }
    }
    let refused = found.metas.iter().find_map(|old| state.accept(old).err());
    let reason = key_problem
        .map(str::to_owned)
        .or(refused.map(|e| words(&e)));
    if reason.is_some() && key_problem.is_none() && found.entries == Some(0) {
        // What is empty may have been of any type.
        plan.outcome = Outcome::New;
        plan.changes.clear();
        return plan;
    }
    if let Some(reason) = reason {
        plan.outcome = Outcome::Incompatible;
        plan.reason = Some(reason);
        return plan;
    }
    let resolved = found
        .metas
        .iter()
        .fold(Compatibility::AsIs, |all, old| all.and(resolve(old, new)));
    plan.outcome = match resolved {
        // Differences that mean nothing to the bytes are not told.
        Compatibility::AsIs => {
            plan.changes.clear();
            Outcome::Restored
        }
        Compatibility::Reconfigured => Outcome::Reconfigured,
        // The state says that it can read it all the same: a migration of the user's.
        Compatibility::AfterMigration | Compatibility::Incompatible(_) => Outcome::Migrated,
    };
    plan
}

/// The serializers of two metas that stand for the same part.
fn pairs<'a>(
    old: &'a StateMeta,
    new: &'a StateMeta,
) -> impl Iterator<Item = (&'a SerializerSnapshot, &'a SerializerSnapshot)> {
    new.serializers.iter().filter_map(|(part, new)| {
        let (_, old) = old.serializers.iter().find(|(other, _)| other == part)?;
        Some((old, new))
    })
}

fn all_changes(old: &StateMeta, new: &StateMeta) -> Vec<crate::plan::FieldChange> {
    pairs(old, new)
        .flat_map(|(old, new)| changes(old, new))
        .collect()
}

fn resolve(old: &StateMeta, new: &StateMeta) -> Compatibility {
    pairs(old, new).fold(Compatibility::AsIs, |all, (old, new)| {
        all.and(new.resolve(old))
    })
}

/// What a state is, in one word.
fn kind_of(meta: &StateMeta) -> String {
    let word = match meta.kind {
        StateKind::PriorityQueue => "timers",
        StateKind::KeyValueV2 => "asynchronous",
        StateKind::Broadcast => "broadcast",
        StateKind::Operator => match meta.distribution_mode() {
            Some(DistributionMode::Union) => "union-list",
            Some(DistributionMode::SplitDistribute | DistributionMode::Broadcast) | None => {
                "split-list"
            }
        },
        StateKind::KeyValue => match meta.keyed_state_type() {
            Some(of) => return of.name().to_lowercase(),
            None => "keyed",
        },
    };
    word.to_owned()
}

/// The types of a state, for people.
fn type_of(meta: &StateMeta) -> String {
    let value = meta
        .value_serializer()
        .map_or_else(|_| "?".to_owned(), SerializerSnapshot::describe);
    if let Ok(key) = meta.key_serializer() {
        return format!("{} to {value}", key.describe());
    }
    match meta.namespace_serializer() {
        Ok(namespace) if *namespace != SerializerSnapshot::void_namespace() => {
            format!("{value} in {}", namespace.describe())
        }
        Ok(_) | Err(_) => value,
    }
}

//! What a restore makes of every named state, decided before anything runs.
//!
//! Flink matches operators by id, and refuses state of an operator that the program lacks. Below
//! that it says nothing: a state that was renamed under an unchanged uid starts empty. Here
//! every named state of snapshot and program is put beside each other, and each has one [`Outcome`].
//!
//! | | the program has it | has it not |
//! | --- | --- | --- |
//! | the snapshot has it | restored, reconfigured, migrated, or incompatible | dropped, or unclaimed timers |
//! | has it not | new | |
//!
//! What the program does not claim is carried where its operator can take such state: kept as
//! bytes, not read, and written again by every snapshot. Elsewhere it is gone. Either needs a word
//! of the user, unless there is no entry in it.
//!
//! The plan is a function of data: what the program has comes from [`StateDescription`]s, which ask
//! the very checks that the restore will make, what the snapshot has from its inventory.

mod changes;
mod decide;
mod refusal;
#[cfg(test)]
mod tests;

use millpond_job::JobGraph;
use millpond_snapshot::{Metadata, OperatorInventory};
use millpond_state::StateDescription;
use millpond_types::{CheckpointId, OperatorId};
use serde::{Deserialize, Serialize};

pub use changes::FieldChange;

/// What one operator of the program says about its state.
#[derive(Debug)]
pub struct DescribedOperator {
    /// The operator.
    pub id: OperatorId,
    /// Whether it takes state of a coordinator: a source with an enumerator.
    pub has_coordinator: bool,
    /// Its states, or why it cannot tell.
    pub states: Result<StateDescription, String>,
}

/// How much may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Whether all state may be left behind that the program does not claim.
    pub allow_non_restored_state: bool,
    /// Whether state may be carried on unread that an operator could take and does not register,
    /// as Flink does.
    pub ignore_unregistered_state: bool,
}

/// What is known before a restore of some snapshot into some program.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// What the user named: a directory or metadata file.
    pub pointer: &'a str,
    /// The snapshot; `None` if the job starts without one.
    pub snapshot: Option<(&'a Metadata, &'a [OperatorInventory])>,
    /// The program's operators.
    pub graph: &'a JobGraph,
    /// What each of them says about its state.
    pub program: &'a [DescribedOperator],
    /// How much may be lost.
    pub options: PlanOptions,
}

/// What a restore makes of every named state.
///
/// In JSON all names are in kebab case, and what is not known is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatePlan {
    /// What it all comes to.
    pub verdict: Verdict,
    /// The snapshot; `None` if the job starts without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<PlannedSnapshot>,
    /// Why the restore is refused as a whole, whatever the states.
    pub problems: Vec<String>,
    /// State without a name that would be left behind, in words: raw state.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unnamed: Vec<String>,
    /// Operators of the program that have state or had some, in the program's order, then those
    /// that only the snapshot has.
    pub operators: Vec<OperatorPlan>,
}

/// What a plan comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything in the snapshot is taken over.
    Clean,
    /// Something is left behind, which an option allows.
    Allowed,
    /// Something would be left behind, which needs a word of the user.
    NeedsAllowNonRestoredState,
    /// It cannot be restored.
    Impossible,
}

impl Verdict {
    /// The exit code of a command that makes the plan: 0, 2 if the user has to allow it, 3 if it
    /// is impossible.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Clean | Verdict::Allowed => 0,
            Verdict::NeedsAllowNonRestoredState => 2,
            Verdict::Impossible => 3,
        }
    }
}

/// The snapshot that a plan is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedSnapshot {
    /// What the user named.
    pub path: String,
    /// Its number.
    pub checkpoint_id: CheckpointId,
    /// The version of its metadata.
    pub metadata_version: i32,
    /// The version of Millpond that wrote it; `None` if Flink did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millpond_version: Option<String>,
    /// The job that it is of, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_name: Option<String>,
}

/// What a restore makes of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OperatorPlan {
    /// Its uid, where it has one that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its id: 32 hex digits.
    pub operator_id: String,
    /// Its name, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is.
    pub presence: Presence,
    /// Number of subtasks.
    pub parallelism: BeforeAndNow,
    /// Number of key groups; now: what the job adopts.
    pub max_parallelism: BeforeAndNow,
    /// The type of its keys, where it has keyed state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyPlan>,
    /// Positions of a source in words, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<String>,
    /// Whether an exactly-once sink has transactions in the snapshot that are to be committed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pending_transactions: bool,
    /// Why its states are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its states.
    pub states: Vec<NamedStatePlan>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// Where an operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// In the snapshot and in the program.
    Both,
    /// In the program alone: it starts empty.
    ProgramOnly,
    /// In the snapshot alone: its state has no place.
    SnapshotOnly,
}

/// A number in the snapshot, and in the job that is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BeforeAndNow {
    /// In the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<u32>,
    /// In the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<u32>,
}

/// The keys of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyPlan {
    /// Their type in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Their type in the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Why they cannot be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What becomes of one named state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NamedStatePlan {
    /// Its name; of timers `_timer_state/event_user-timers` and the like.
    pub name: String,
    /// What it is: `value`, `list`, `map`, `reducing`, `aggregating`, `timers`, `split-list`,
    /// `union-list`, `broadcast`, `coordinator`.
    pub kind: String,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Whether it is carried: kept as bytes, not read, and written again by every snapshot.
    #[serde(default, skip_serializing_if = "is_false")]
    pub carried: bool,
    /// Its type in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_type: Option<String>,
    /// Its type in the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program_type: Option<String>,
    /// What differs between the types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
    /// Why it cannot be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Entries in the snapshot: keys times namespaces, for maps user keys, timers, elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Bytes in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl NamedStatePlan {
    /// Whether something is left behind that is not known to be empty.
    pub fn loses_entries(&self) -> bool {
        match self.outcome {
            Outcome::Dropped | Outcome::UnclaimedTimers => self.entries != Some(0),
            Outcome::Restored
            | Outcome::Reconfigured
            | Outcome::Migrated
            | Outcome::New
            | Outcome::Incompatible => false,
        }
    }
}

/// What becomes of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Taken over as it is.
    Restored,
    /// Taken over; the new serializer goes by what the old one knew.
    Reconfigured,
    /// Taken over, every value read by the old type and written by the new one.
    Migrated,
    /// Only the program has it, or the snapshot has it without entries in another type: it is
    /// empty.
    New,
    /// Only the snapshot has it.
    Dropped,
    /// Only the snapshot has them: nothing in the program fires them.
    UnclaimedTimers,
    /// Both have it, and it cannot be read.
    Incompatible,
}

impl StatePlan {
    /// Plans the restore of a snapshot into a program.
    pub fn new(input: PlanInput<'_>) -> StatePlan {
        decide::decide(input)
    }

    /// All states, each with its operator.
    pub fn states(&self) -> impl Iterator<Item = (&OperatorPlan, &NamedStatePlan)> {
        self.operators
            .iter()
            .flat_map(|operator| operator.states.iter().map(move |state| (operator, state)))
    }

    /// The operators with state that is left behind or cannot be read, and of which nobody has
    /// counted the entries: whether there are any may change the verdict.
    pub fn uncounted(&self) -> Vec<OperatorId> {
        let mut ids: Vec<OperatorId> = self
            .states()
            .filter(|(_, state)| state.entries.is_none())
            .filter(|(_, state)| state.loses_entries() || state.outcome == Outcome::Incompatible)
            .filter(|(_, state)| state.kind != decide::COORDINATOR)
            .filter_map(|(operator, _)| operator.operator_id.parse().ok())
            .collect();
        ids.dedup();
        ids
    }

    /// What is left behind with the user's leave, for people: one line per state.
    pub fn left_behind(&self) -> Vec<String> {
        let lost = self.states().filter(|(_, state)| state.loses_entries());
        lost.map(|(operator, state)| refusal::lost(operator, state))
            .collect()
    }

    /// Why the restore is refused, for people; `None` if it is not.
    pub fn refusal(&self) -> Option<String> {
        refusal::refusal(self)
    }
}

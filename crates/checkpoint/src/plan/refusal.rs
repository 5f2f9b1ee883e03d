//! Why a restore is refused, and what may be done, in words.

use crate::plan::{NamedStatePlan, OperatorPlan, Outcome, Presence, StatePlan, Verdict};

/// How many states are named before the rest is counted.
const NAMED_AT_MOST: usize = 5;

pub(crate) fn refusal(plan: &StatePlan) -> Option<String> {
    match plan.verdict {
        Verdict::Clean | Verdict::Allowed => None,
        Verdict::Impossible => Some(impossible(plan)),
        Verdict::NeedsAllowNonRestoredState => Some(needs_allowance(plan)),
    }
}

fn head(plan: &StatePlan) -> String {
    let path = plan.snapshot.as_ref().map_or("", |snapshot| &snapshot.path);
    format!("Failed to rollback to checkpoint/savepoint {path}.")
}

fn impossible(plan: &StatePlan) -> String {
    let mut reasons = Vec::new();
    for operator in &plan.operators {
        let of = of(operator);
        let key = operator.key.as_ref().and_then(|key| key.problem.as_ref());
        let by_operator = operator.problem.iter().chain(key);
        reasons.extend(by_operator.map(|why| format!("{of}: {why}")));
        // What is wrong with the keys is wrong with each state.
        let states = operator.states.iter().filter(|_| key.is_none());
        let states = states.filter(|state| state.outcome == Outcome::Incompatible);
        reasons.extend(states.map(|state| {
            let why = state.reason.as_deref().unwrap_or_default();
            format!("{of}: {}", with_path(state, why))
        }));
    }
    // These are whole sentences already.
    let mut text = match plan.problems.is_empty() {
        true => head(plan),
        false => plan.problems.join(" "),
    };
    if !reasons.is_empty() {
        text.push_str(&format!(" Nothing was restored: {}", list(reasons)));
    }
    text
}

fn needs_allowance(plan: &StatePlan) -> String {
    let mut text = head(plan);
    let mut operators = plan.operators.iter();
    if let Some(gone) = operators.find(|o| o.presence == Presence::SnapshotOnly) {
        // Source: Flink 2.3.0, class `Checkpoints`.
        text.push_str(&format!(
            " Cannot map checkpoint/savepoint state for operator {} to the new program, because the \
             operator is not available in the new program.",
            gone.operator_id
        ));
    }
    let lost = plan.states().filter(|(_, state)| state.loses_entries());
    let mut all: Vec<String> = lost.map(|(o, state)| self::lost(o, state)).collect();
    all.extend(plan.unnamed.iter().cloned());
    if !all.is_empty() {
        text.push_str(&format!(" State would be left behind: {}.", list(all)));
    }
    text.push_str(
        " Give the program the old name or uid again, or change it in a copy of the snapshot \
         (millpond state edit), or set the --allowNonRestoredState option on the CLI to go on \
         without that state",
    );
    let carried = |(_, state): (_, &NamedStatePlan)| state.loses_entries() && state.carried;
    if plan.states().any(carried) {
        text.push_str(
            "; what its operator can take is then carried on unread, which for such state \
             execution.state-recovery.ignore-unregistered-state allows as well",
        );
    }
    text
}

/// The operator, in front of what is said of it.
fn of(operator: &OperatorPlan) -> String {
    // As tasks name it when they cannot open it.
    match (&operator.name, &operator.uid) {
        (Some(name), Some(uid)) => format!("operator \"{name}\" (uid \"{uid}\")"),
        (Some(name), None) => format!("operator \"{name}\" ({})", operator.operator_id),
        (None, Some(uid)) => format!("operator {} (uid \"{uid}\")", operator.operator_id),
        (None, None) => format!("operator {}", operator.operator_id),
    }
}

pub(crate) fn lost(operator: &OperatorPlan, state: &NamedStatePlan) -> String {
    let mut text = format!("state \"{}\" ({}", state.name, state.kind);
    if let Some(of) = &state.snapshot_type {
        text.push_str(&format!(" of {of}"));
    }
    if let Some(entries) = state.entries {
        text.push_str(&format!(", {entries} entries"));
    }
    let why = match (state.outcome == Outcome::UnclaimedTimers, state.carried) {
        (true, true) => "the program has no timers of this service",
        (false, true) => "the program registers no state of this name",
        (_, false) => "the program has no place for it",
    };
    text.push_str(&format!(") of {}: {why}", of(operator)));
    text
}

fn with_path(state: &NamedStatePlan, why: &str) -> String {
    let paths: Vec<&str> = state
        .changes
        .iter()
        .map(|change| change.path.as_str())
        .filter(|path| !path.is_empty() && !why.contains(path))
        .collect();
    match paths.is_empty() {
        true => why.to_owned(),
        false => format!("{why}, at {}", paths.join(", ")),
    }
}

fn list(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(NAMED_AT_MOST);
    all.truncate(NAMED_AT_MOST);
    if more > 0 {
        all.push(format!("and {more} more, see millpond plan"));
    }
    all.join("; ")
}

//! A plan as a table, for people.

use std::fmt::Write;

use millpond_checkpoint::plan::{
    BeforeAndNow, NamedStatePlan, OperatorPlan, Outcome, Presence, StatePlan, Verdict,
};

/// The plan as text that ends its own lines.
pub(crate) fn table(plan: &StatePlan) -> String {
    let mut lines = vec![head(plan)];
    for operator in &plan.operators {
        lines.push(String::new());
        add_operator(operator, &mut lines);
    }
    lines.push(String::new());
    lines.extend(plan.problems.iter().map(|why| format!("problem: {why}")));
    lines.extend(
        plan.unnamed
            .iter()
            .map(|what| format!("left behind: {what}")),
    );
    lines.push(verdict(plan));
    lines
        .iter()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn head(plan: &StatePlan) -> String {
    let Some(snapshot) = &plan.snapshot else {
        return "The job starts without a snapshot.".to_owned();
    };
    let writer = match &snapshot.millpond_version {
        Some(version) => format!("Millpond {version}"),
        None => format!("Flink, metadata version {}", snapshot.metadata_version),
    };
    let job = match &snapshot.job_name {
        Some(name) => format!(", job \"{name}\""),
        None => String::new(),
    };
    let (path, checkpoint) = (&snapshot.path, snapshot.checkpoint_id);
    format!("{path}: checkpoint {checkpoint}, written by {writer}{job}")
}

fn add_operator(operator: &OperatorPlan, lines: &mut Vec<String>) {
    let uid = match &operator.uid {
        Some(uid) => format!(" uid \"{uid}\""),
        None => String::new(),
    };
    let name = operator.name.as_deref().unwrap_or("operator");
    let presence = match operator.presence {
        Presence::Both => "",
        Presence::ProgramOnly => ": new, not in the snapshot",
        Presence::SnapshotOnly => ": not in the program",
    };
    lines.push(format!("{name}{uid} ({}){presence}", operator.operator_id));
    let mut facts = format!(
        "  parallelism {}, max parallelism {}",
        numbers(operator.parallelism),
        numbers(operator.max_parallelism)
    );
    if let Some(key) = &operator.key {
        let of = match (&key.snapshot, &key.program) {
            (Some(was), Some(now)) if was != now => format!("{was} -> {now}"),
            (Some(of), _) | (None, Some(of)) => of.clone(),
            (None, None) => "unknown".to_owned(),
        };
        // Writing to a text does not fail.
        write!(facts, ", keys {of}").ok();
    }
    lines.push(facts);
    let problems = operator.key.iter().filter_map(|key| key.problem.as_ref());
    for why in problems.chain(&operator.problem) {
        lines.push(format!("  problem: {why}"));
    }
    if !operator.positions.is_empty() {
        lines.push(format!("  positions {}", operator.positions.join(", ")));
    }
    if operator.pending_transactions {
        lines.push("  transactions in the snapshot are committed at the start".to_owned());
    }
    add_states(&operator.states, lines);
}

fn numbers(of: BeforeAndNow) -> String {
    match (of.snapshot, of.program) {
        (Some(was), Some(now)) if was != now => format!("{was} -> {now}"),
        (Some(of), _) | (None, Some(of)) => of.to_string(),
        (None, None) => "unknown".to_owned(),
    }
}

fn add_states(states: &[NamedStatePlan], lines: &mut Vec<String>) {
    let heading = ["state", "kind", "type", "entries", "bytes", "outcome"];
    let mut rows = vec![heading.map(str::to_owned)];
    let number = |of: Option<u64>| of.map_or_else(|| "?".to_owned(), |of| of.to_string());
    for state in states {
        let of = match (&state.snapshot_type, &state.program_type) {
            (Some(was), Some(now)) if was != now => format!("{was} -> {now}"),
            (Some(of), _) | (None, Some(of)) => of.clone(),
            (None, None) => String::new(),
        };
        let (entries, bytes) = match state.snapshot_type.is_some() || state.bytes.is_some() {
            true => (number(state.entries), number(state.bytes)),
            false => (String::new(), String::new()),
        };
        let outcome = outcome(state).to_owned();
        rows.push([
            state.name.clone(),
            state.kind.clone(),
            of,
            entries,
            bytes,
            outcome,
        ]);
    }
    if states.is_empty() {
        return;
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[column] - cell.chars().count() + 2);
            // Numbers stand at the right.
            match column {
                3 | 4 => line.extend([&space[2..], cell, "  "]),
                _ => line.extend([cell, space.as_str()]),
            }
        }
        lines.push(line);
        let Some(state) = index.checked_sub(1).and_then(|at| states.get(at)) else {
            continue;
        };
        lines.extend(state.changes.iter().map(|change| format!("      {change}")));
        lines.extend(state.reason.iter().map(|why| format!("      {why}")));
    }
}

fn outcome(state: &NamedStatePlan) -> &'static str {
    match (state.outcome, state.carried) {
        (Outcome::Restored, _) => "restored",
        (Outcome::Reconfigured, _) => "restored, reconfigured",
        (Outcome::Migrated, _) => "migrated",
        (Outcome::New, _) => "new and empty",
        (Outcome::Incompatible, _) => "INCOMPATIBLE",
        (Outcome::Dropped | Outcome::UnclaimedTimers, _) if state.entries == Some(0) => {
            "empty, left out"
        }
        (Outcome::Dropped, true) => "NOT CLAIMED: carried, not read",
        (Outcome::UnclaimedTimers, true) => "UNCLAIMED TIMERS: carried, never fire",
        (Outcome::Dropped | Outcome::UnclaimedTimers, false) => "DROPPED",
    }
}

fn verdict(plan: &StatePlan) -> String {
    let gone = |operator: &&OperatorPlan| operator.presence == Presence::SnapshotOnly;
    let gone = plan.operators.iter().filter(gone).count();
    let lost = plan.states().filter(|(_, state)| state.loses_entries());
    let lost = match lost.count() {
        0 if gone == 1 => "1 operator is".to_owned(),
        0 if gone > 1 => format!("{gone} operators are"),
        0 => "raw state is".to_owned(),
        1 => "1 state is".to_owned(),
        many => format!("{many} states are"),
    };
    match plan.verdict {
        Verdict::Clean => "clean: everything in the snapshot is taken over".to_owned(),
        Verdict::Allowed => format!("allowed: {lost} left behind"),
        Verdict::NeedsAllowNonRestoredState => {
            format!("needs --allowNonRestoredState (-n): {lost} left behind")
        }
        Verdict::Impossible => "impossible: nothing would be restored".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> StatePlan {
        let json = serde_json::json!({
            "verdict": "needs-allow-non-restored-state",
            "snapshot": { "path": "/sp", "checkpoint-id": 7, "metadata-version": 3 },
            "problems": [],
            "operators": [{
                "uid": "counter", "operator-id": "ab", "name": "Counter", "presence": "both",
                "parallelism": { "snapshot": 3, "program": 2 },
                "max-parallelism": { "snapshot": 128, "program": 128 },
                "key": { "snapshot": "String", "program": "String" },
                "states": [
                    { "name": "count", "kind": "value", "outcome": "dropped", "carried": true,
                      "snapshot-type": "Long", "entries": 20, "bytes": 1234 },
                    { "name": "total", "kind": "value", "outcome": "new", "program-type": "Long" },
                ],
            }],
        });
        serde_json::from_value(json).expect("a plan")
    }

    #[test]
    fn the_table_tells_each_state_in_a_line() {
        let text = table(&plan());
        let expected = "\
/sp: checkpoint 7, written by Flink, metadata version 3

Counter uid \"counter\" (ab)
  parallelism 3 -> 2, max parallelism 128, keys String
  state  kind   type  entries  bytes  outcome
  count  value  Long       20   1234  NOT CLAIMED: carried, not read
  total  value  Long                  new and empty

needs --allowNonRestoredState (-n): 1 state is left behind
";
        assert_eq!(text, expected);
    }
}

//! A new snapshot that differs from another one by edits.
//!
//! Nothing is changed in place. Operators that no edit is about, or only their ids, pass byte by
//! byte; in an operator whose state is edited, untouched entries pass as they are. Beside the new
//! directory lies a log of the edits (an extra file inside of it would keep Flink from disposing
//! of the savepoint), and the trailer names the old snapshot as the parent of the new one.

mod condition;
mod expression;
mod keyed;
mod lists;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millpond_fs::{FileSystem, Location};
use millpond_snapshot::{Error as SnapshotError, FlinkRelease, LoadedSnapshot, OperatorSnapshot};
use millpond_types::OperatorId;
use serde_json::json;

pub use expression::{Edit, ParseEditError};

use crate::Error;
use crate::keyed_input::KeyedInput;
use crate::operator_input::OperatorStates;
use crate::rewrite::{NewOperator, check_movable, copy_subtask, new_metadata, states_above};
use crate::snapshot_writer::SnapshotWriter;
use expression::{Action, Target, TimeDomain};
use keyed::KeyedPlan;

/// How a snapshot is edited.
#[derive(Clone, Debug, Default)]
pub struct EditOptions {
    /// The release that the metadata is written for; that of the snapshot, if none is named.
    pub for_flink: Option<FlinkRelease>,
    /// Where the log of the edits goes; beside the new directory, if it is not said.
    pub log: Option<Location>,
    /// When values with time-to-live that are set were last used: milliseconds since 1970.
    pub now_ms: i64,
}

/// What came of edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditReport {
    /// Where the metadata of the new snapshot lies.
    pub metadata: Location,
    /// Where the log lies.
    pub log: Location,
    /// Each edit, and how many entries, elements, timers or operators it changed.
    pub edits: Vec<(String, u64)>,
}

/// Writes `from` with `edits`, in their order, into the directory `to`.
///
/// All edits are checked before anything is written.
///
/// # Errors
///
/// A request that makes no sense, if an edit does not fit the snapshot, `to` is not missing or empty, or the log is
/// there already; unsupported, if state that is edited cannot be read; corrupt or Io, as reading
/// and writing may fail.
pub fn edit(
    from: &LoadedSnapshot,
    fs: Arc<dyn FileSystem>,
    to: &Location,
    edits: &[Edit],
    options: &EditOptions,
) -> Result<EditReport, Error> {
    let counts: Vec<AtomicU64> = edits.iter().map(|_| AtomicU64::new(0)).collect();
    let mut plans: Vec<OperatorPlan<'_>> = from
        .metadata
        .operators
        .iter()
        .map(|operator| OperatorPlan::new(from, operator))
        .collect();
    for (index, edit) in edits.iter().enumerate() {
        apply(from, &mut plans, index, edit, options, &counts[index])?;
    }
    check_ids(&plans)?;
    let log = match &options.log {
        Some(log) => log.clone(),
        None => beside(to)?,
    };
    if fs.exists(&log)? {
        let reason = format!("the log of edits \"{log}\" is there already; name another one");
        return Err(Error::request(reason));
    }
    let mut writer = SnapshotWriter::create(fs.clone(), to)?.with_rocksdb(from.rocksdb().cloned());
    let newest = options.for_flink.map(FlinkRelease::operator_state_version);
    let mut operators = Vec::new();
    for plan in &plans {
        if plan.dropped_by.is_none() {
            operators.push(write_operator(&mut writer, from, plan, newest, &counts)?);
        }
    }
    let version = match options.for_flink {
        Some(release) => release.metadata_version(),
        None => from.metadata.version.max(3),
    };
    let metadata = new_metadata(from, version, operators)?;
    let edits: Vec<(String, u64)> = edits
        .iter()
        .zip(&counts)
        .map(|(edit, count)| (edit.to_string(), count.load(Ordering::Relaxed)))
        .collect();
    fs.write_atomic(&log, log_text(from, to, &edits).as_bytes())?;
    let finished = writer.finish(metadata).inspect_err(|_| {
        // The reason is told; a log without its snapshot would mislead.
        let _ = fs.delete_file(&log);
    });
    Ok(EditReport {
        metadata: finished?,
        log,
        edits,
    })
}

/// The place of a log beside a directory.
fn beside(to: &Location) -> Result<Location, Error> {
    let parent = to
        .parent()
        .ok_or_else(|| Error::request("the root directory cannot be a snapshot"))?;
    Ok(parent.join(&format!("{}.edits.json", to.file_name())))
}

fn log_text(from: &LoadedSnapshot, to: &Location, edits: &[(String, u64)]) -> String {
    let edits: Vec<_> = edits
        .iter()
        .map(|(edit, changed)| json!({ "edit": edit, "changed": changed }))
        .collect();
    let log = json!({
        "snapshot": to.to_string(),
        "parent": from.directory.to_string(),
        "millpond_version": env!("CARGO_PKG_VERSION"),
        "edits": edits,
    });
    format!("{log:#}\n")
}

/// One operator, as the edits so far have left it.
struct OperatorPlan<'a> {
    operator: &'a OperatorSnapshot,
    id: OperatorId,
    uid: Option<String>,
    /// Whether id and uid are new ones.
    renamed: bool,
    dropped_by: Option<usize>,
    /// The states, from the first edit on that is about them.
    states: Option<States<'a>>,
}

struct States<'a> {
    keyed: Option<KeyedPlan<'a>>,
    keyed_changed: bool,
    lists: Option<OperatorStates>,
    lists_changed: bool,
}

impl<'a> OperatorPlan<'a> {
    fn new(from: &LoadedSnapshot, operator: &'a OperatorSnapshot) -> Self {
        let known = from.metadata.trailer.as_ref();
        let record = known.and_then(|trailer| trailer.operator(operator.id));
        OperatorPlan {
            operator,
            id: operator.id,
            uid: operator
                .uid
                .clone()
                .or_else(|| record.and_then(|record| record.uid.clone())),
            renamed: false,
            dropped_by: None,
            states: None,
        }
    }

    fn states(&mut self, from: &'a LoadedSnapshot) -> Result<&mut States<'a>, Error> {
        if self.states.is_none() {
            check_movable(from, self.operator)?;
            let keyed = KeyedInput::open(from, self.operator)?
                .map(|input| KeyedPlan::new(input, self.operator.max_parallelism))
                .transpose()?;
            self.states = Some(States {
                keyed,
                keyed_changed: false,
                lists: OperatorStates::open(from, self.operator)?,
                lists_changed: false,
            });
        }
        Ok(self.states.as_mut().expect("set right above"))
    }
}

fn refused(edit: &Edit, what: impl std::fmt::Display) -> Error {
    Error::request(format!("edit \"{edit}\": {what}"))
}

/// Finds the operator that an edit names by its uid or id.
fn find<'p, 'a>(
    plans: &'p mut [OperatorPlan<'a>],
    name: &str,
    edit: &Edit,
) -> Result<&'p mut OperatorPlan<'a>, Error> {
    let of_uid = OperatorId::of_uid(name);
    let of_text = name.parse::<OperatorId>().ok();
    let matches = |plan: &OperatorPlan<'_>| {
        plan.dropped_by.is_none()
            && (plan.uid.as_deref() == Some(name) || plan.id == of_uid || Some(plan.id) == of_text)
    };
    let Some(at) = plans.iter().position(matches) else {
        let known: Vec<String> = plans
            .iter()
            .filter(|plan| plan.dropped_by.is_none())
            .map(|plan| match &plan.uid {
                Some(uid) => format!("\"{uid}\""),
                None => plan.id.to_string(),
            })
            .collect();
        let what = format!("no operator \"{name}\"; there are {}", known.join(", "));
        return Err(refused(edit, what));
    };
    Ok(&mut plans[at])
}

/// Plans one edit; those of operator state are done at once, in memory.
fn apply<'a>(
    from: &'a LoadedSnapshot,
    plans: &mut [OperatorPlan<'a>],
    index: usize,
    edit: &Edit,
    options: &EditOptions,
    count: &AtomicU64,
) -> Result<(), Error> {
    let changed = match &edit.action {
        Action::ChangeUid { operator, uid } => {
            let plan = find(plans, operator, edit)?;
            (plan.id, plan.uid) = (OperatorId::of_uid(uid), Some(uid.clone()));
            plan.renamed = true;
            1
        }
        Action::ChangeId { operator, id } => {
            let plan = find(plans, operator, edit)?;
            (plan.id, plan.uid) = (*id, None);
            plan.renamed = true;
            1
        }
        Action::DropOperator(operator) => {
            find(plans, operator, edit)?.dropped_by = Some(index);
            1
        }
        Action::ShiftTimers {
            operator,
            domain,
            by_ms,
        } => {
            let states = find(plans, operator, edit)?.states(from)?;
            let prefix = match domain {
                None => "_timer_state/",
                Some(TimeDomain::Event) => "_timer_state/event_",
                Some(TimeDomain::Processing) => "_timer_state/processing_",
            };
            let wanted = |name: &str| name.starts_with(prefix);
            let shifted = match &mut states.keyed {
                None => Ok(false),
                Some(keyed) => keyed.shift_timers(wanted, *by_ms, index),
            };
            if !shifted.map_err(|what| refused(edit, what))? {
                return Err(refused(edit, "the operator has no such timers"));
            }
            states.keyed_changed = true;
            0
        }
        Action::SourceOffset {
            operator,
            split,
            position,
        } => {
            let states = find(plans, operator, edit)?.states(from)?;
            let set = match &mut states.lists {
                None => Err("it has no operator state".to_owned()),
                Some(lists) => lists::set_position(lists, split, *position),
            };
            set.map_err(|what| refused(edit, what))?;
            states.lists_changed = true;
            1
        }
        Action::Set { target, .. }
        | Action::Delete { target, .. }
        | Action::Rename { target, .. }
        | Action::DropState(target) => {
            let plan = find(plans, &target.operator, edit)?;
            let parallelism = plan.operator.parallelism;
            let states = plan.states(from)?;
            apply_to_state(states, target, index, edit, options, parallelism)
                .map_err(|what| refused(edit, what))?
        }
    };
    count.fetch_add(changed, Ordering::Relaxed);
    Ok(())
}

/// Plans an edit of one state; returns how much it has changed already.
fn apply_to_state(
    states: &mut States<'_>,
    target: &Target,
    index: usize,
    edit: &Edit,
    options: &EditOptions,
    parallelism: u32,
) -> Result<u64, String> {
    if let Action::Rename { name, .. } = &edit.action
        && all_names(states).contains(name)
    {
        return Err(format!("there is a state \"{name}\" already"));
    }
    let keyed = states
        .keyed
        .as_mut()
        .and_then(|keyed| Some((keyed.state(&target.state)?, keyed)));
    if let Some((state, keyed)) = keyed {
        states.keyed_changed = true;
        match &edit.action {
            Action::Set { fields, .. } => keyed.set(state, fields, options.now_ms, index)?,
            Action::Delete { condition, .. } => keyed.delete(state, condition, index)?,
            Action::Rename { name, .. } => {
                keyed.rename(state, name)?;
                return Ok(1);
            }
            Action::DropState(_) => keyed.drop_state(state, index),
            Action::DropOperator(_)
            | Action::ChangeUid { .. }
            | Action::ChangeId { .. }
            | Action::SourceOffset { .. }
            | Action::ShiftTimers { .. } => {}
        }
        return Ok(0);
    }
    let known = all_names(states);
    let missing = || {
        format!(
            "no state \"{}\"; there are {}",
            target.state,
            known.join(", ")
        )
    };
    let lists = states.lists.as_mut().ok_or_else(missing)?;
    let state = lists::find(lists, &target.state).ok_or_else(missing)?;
    let changed = match &edit.action {
        Action::Set { fields, .. } => lists::set(state, fields, parallelism)?,
        Action::Delete { condition, .. } => lists::delete(state, condition)?,
        Action::Rename { name, .. } => {
            state.meta.name = name.clone();
            1
        }
        Action::DropState(_) => {
            let elements = state.elements.len() as u64;
            lists.states.retain(|state| state.meta.name != target.state);
            elements
        }
        Action::DropOperator(_)
        | Action::ChangeUid { .. }
        | Action::ChangeId { .. }
        | Action::SourceOffset { .. }
        | Action::ShiftTimers { .. } => 0,
    };
    states.lists_changed = true;
    Ok(changed)
}

fn all_names(states: &States<'_>) -> Vec<String> {
    let keyed = states.keyed.iter().flat_map(|keyed| keyed.names());
    let lists = states.lists.iter().flat_map(lists::names);
    keyed.chain(lists).map(str::to_owned).collect()
}

/// Refuses two operators of one id.
fn check_ids(plans: &[OperatorPlan<'_>]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let left = plans.iter().filter(|plan| plan.dropped_by.is_none());
    for plan in left {
        if !seen.insert(plan.id) {
            let uid = plan.uid.as_deref().unwrap_or("none");
            return Err(Error::request(format!(
                "after the edits two operators have the id {} (uid \"{uid}\")",
                plan.id
            )));
        }
    }
    Ok(())
}

fn write_operator(
    writer: &mut SnapshotWriter,
    from: &LoadedSnapshot,
    plan: &OperatorPlan<'_>,
    newest: Option<i32>,
    counts: &[AtomicU64],
) -> Result<NewOperator, SnapshotError> {
    let operator = plan.operator;
    let mut new = NewOperator::like(from, operator);
    if plan.renamed {
        (new.snapshot.id, new.record.id) = (plan.id, plan.id);
        new.snapshot.uid.clone_from(&plan.uid);
        new.record.uid.clone_from(&plan.uid);
    }
    let states = plan.states.as_ref();
    let keyed = states.filter(|states| states.keyed_changed);
    let lists = states
        .filter(|states| states.lists_changed)
        .and_then(|states| states.lists.as_ref());
    // What is not edited may still be in a version that the release does not read.
    let lowered = match lists {
        Some(_) => None,
        None => states_above(from, operator, newest)?,
    };
    let lists = lists.or(lowered.as_ref());
    for (index, subtask) in &operator.subtasks {
        let mut rest = subtask.clone();
        if keyed.is_some() {
            rest.managed_keyed = None;
        }
        if lists.is_some() {
            rest.managed_operator = None;
        }
        let copy = copy_subtask(writer, from, &rest)?;
        new.snapshot.subtasks.push((*index, copy));
    }
    if keyed.is_some() || lists.is_some() {
        // What is left of them comes back with what is written.
        new.forget_states(|name| {
            let plan = states.and_then(|states| states.keyed.as_ref());
            match plan.is_some_and(|plan| plan.had(name)) {
                true => keyed.is_some(),
                false => lists.is_some(),
            }
        });
    }
    if let Some(keyed) = keyed.and_then(|states| states.keyed.as_ref())
        && !keyed.is_empty()
    {
        let (parallelism, max) = (operator.parallelism, operator.max_parallelism);
        let written = keyed.write(writer, parallelism, max, counts)?;
        for (index, written) in (0..).zip(written) {
            new.set_keyed(index, written);
        }
    }
    if let Some(lists) = lists
        && !lists.states.is_empty()
    {
        let version = lists.version.min(newest.unwrap_or(lists.version));
        new.write_operator_states(writer, lists, version)?;
    }
    Ok(new)
}

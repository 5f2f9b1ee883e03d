//! The operations that users have started: each trigger id once, and its outcome.

use std::collections::{HashMap, VecDeque};

use millpond_job::dispatcher::{Operation, OperationFailure};
use millpond_types::{CheckpointId, TriggerId};

use crate::action::Outcome;

/// How many outcomes are remembered; the oldest are forgotten first.
const REMEMBERED_OUTCOMES: usize = 1000;

/// What was started under a trigger id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Savepoint,
    Checkpoint,
}

/// The operations of one job.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    all: HashMap<TriggerId, (Kind, Option<Outcome>)>,
    finished: VecDeque<TriggerId>,
}

impl Operations {
    /// Notes a new operation; false if this id has been used.
    pub(crate) fn begin(&mut self, trigger: TriggerId, kind: Kind) -> bool {
        if self.all.contains_key(&trigger) {
            return false;
        }
        self.all.insert(trigger, (kind, None));
        true
    }

    /// Notes how an operation ended and returns the outcome in its kind; `None` if it had ended.
    pub(crate) fn finish(
        &mut self,
        trigger: TriggerId,
        result: Result<(CheckpointId, String), OperationFailure>,
    ) -> Option<Outcome> {
        let (kind, outcome) = self.all.get_mut(&trigger)?;
        if outcome.is_some() {
            return None;
        }
        let new = match kind {
            Kind::Savepoint => Outcome::Savepoint(result.map(|(_, path)| path)),
            Kind::Checkpoint => Outcome::Checkpoint(result.map(|(checkpoint, _)| checkpoint)),
        };
        *outcome = Some(new.clone());
        self.finished.push_back(trigger);
        if self.finished.len() > REMEMBERED_OUTCOMES
            && let Some(oldest) = self.finished.pop_front()
        {
            self.all.remove(&oldest);
        }
        Some(new)
    }

    /// The state of a savepoint; `None` if no savepoint was started under this id.
    pub(crate) fn savepoint(&self, trigger: TriggerId) -> Option<Operation<String>> {
        match self.all.get(&trigger)? {
            (Kind::Savepoint, None) => Some(Operation::InProgress),
            (_, Some(Outcome::Savepoint(result))) => Some(Operation::Completed(result.clone())),
            (Kind::Checkpoint, None) | (_, Some(Outcome::Checkpoint(_))) => None,
        }
    }

    /// The state of a checkpoint; `None` if no checkpoint was started under this id.
    pub(crate) fn checkpoint(&self, trigger: TriggerId) -> Option<Operation<CheckpointId>> {
        match self.all.get(&trigger)? {
            (Kind::Checkpoint, None) => Some(Operation::InProgress),
            (_, Some(Outcome::Checkpoint(result))) => Some(Operation::Completed(result.clone())),
            (Kind::Savepoint, None) | (_, Some(Outcome::Savepoint(_))) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_ends_once_and_only_in_its_own_kind() {
        let mut operations = Operations::default();
        let trigger = TriggerId([1; 16]);
        assert!(operations.begin(trigger, Kind::Savepoint));
        assert!(
            !operations.begin(trigger, Kind::Checkpoint),
            "the id is taken"
        );
        assert_eq!(operations.savepoint(trigger), Some(Operation::InProgress));
        assert_eq!(operations.checkpoint(trigger), None);
        let outcome = operations.finish(trigger, Ok((3, "file:/s".to_owned())));
        assert_eq!(outcome, Some(Outcome::Savepoint(Ok("file:/s".to_owned()))));
        assert_eq!(operations.finish(trigger, Ok((4, String::new()))), None);
        let done = Operation::Completed(Ok("file:/s".to_owned()));
        assert_eq!(operations.savepoint(trigger), Some(done));
    }

    #[test]
    fn the_oldest_outcomes_are_forgotten_but_nothing_in_progress_is() {
        let mut operations = Operations::default();
        let running = TriggerId([255; 16]);
        operations.begin(running, Kind::Checkpoint);
        let id = |i: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&i.to_le_bytes());
            TriggerId(bytes)
        };
        for i in 0..=REMEMBERED_OUTCOMES {
            operations.begin(id(i), Kind::Checkpoint);
            operations.finish(id(i), Ok((1, String::new())));
        }
        assert_eq!(operations.checkpoint(id(0)), None);
        assert!(operations.checkpoint(id(1)).is_some());
        assert_eq!(operations.checkpoint(running), Some(Operation::InProgress));
    }
}

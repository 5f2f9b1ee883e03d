//! A count of all records, in a list that every subtask is given whole: union list state.
//!
//! Each subtask writes one entry into the list. When it starts it reads those of all subtasks that there were.
//! If one is missing or there twice, or if these had not all been given the same, the state is refused and the
//! job fails. At the same parallelism a subtask goes on with its own entry, at another one a single subtask
//! with the sum of all. Which one follows from the sum, so that subtasks that are given different lists do not
//! agree on it.
//!
//! At its end a subtask hands on what it has counted and not handed on before: what is counted is in an entry
//! or in the total, whoever ends in whatever order.

use millpond::prelude::{
    Collector, FlinkPojo, FunctionError, FunctionOpenContext, FunctionResult, OperatorListState,
    ProcessContext, ProcessFunction,
};
use millpond_exactness::workload::{Event, ledger_line};

/// What a subtask has written.
#[derive(FlinkPojo, Clone, Debug, PartialEq, Eq)]
struct Entry {
    subtask: i32,
    parallelism: i32,
    /// The sum of the list that it was given at its start.
    given: i64,
    records: i64,
}

/// Counts records.
pub(crate) struct Ledger {
    entries: OperatorListState<Entry>,
    own: Entry,
}

impl Ledger {
    pub(crate) fn open(context: &mut FunctionOpenContext<'_>) -> FunctionResult<Self> {
        let entries = context.union_list_state::<Entry>("entries")?;
        let given = entries.get();
        if context.is_restored() && !is_whole(&given) {
            return Err(FunctionError::refused_state(format!(
                "the union list \"entries\" is {given:?}, expected one entry of each subtask of the \
                 snapshot, all with the same parallelism and the same sum given"
            )));
        }
        let info = context.info();
        let (subtask, parallelism) = (info.subtask as i32, info.parallelism as i32);
        let own = begin(&given, subtask, parallelism);
        Ok(Ledger { entries, own })
    }
}

/// Whether these are the entries of all subtasks of one attempt.
fn is_whole(entries: &[Entry]) -> bool {
    let Some(first) = entries.first() else {
        return false;
    };
    let mut subtasks: Vec<i32> = entries.iter().map(|entry| entry.subtask).collect();
    subtasks.sort_unstable();
    let agree =
        |entry: &Entry| (entry.parallelism, entry.given) == (first.parallelism, first.given);
    entries.iter().all(agree) && subtasks.into_iter().eq(0..first.parallelism)
}

/// What a subtask begins with.
fn begin(given: &[Entry], subtask: i32, parallelism: i32) -> Entry {
    let sum = given.iter().map(|entry| entry.records).sum();
    let is_rescaled = given.iter().any(|entry| entry.parallelism != parallelism);
    let chosen = (sum % i64::from(parallelism)) as i32;
    let falls_to_it = |entry: &&Entry| match is_rescaled {
        true => subtask == chosen,
        false => subtask == entry.subtask,
    };
    let own = given.iter().filter(falls_to_it);
    Entry {
        subtask,
        parallelism,
        given: sum,
        records: own.map(|entry| entry.records).sum(),
    }
}

impl ProcessFunction for Ledger {
    type In = Event;
    type Out = i64;

    fn process_element(
        &mut self,
        _event: Event,
        _context: &ProcessContext<'_>,
        _out: &mut Collector<i64>,
    ) -> FunctionResult<()> {
        self.own.records += 1;
        Ok(())
    }

    fn finish(&mut self, out: &mut Collector<i64>) -> FunctionResult<()> {
        out.collect(std::mem::take(&mut self.own.records));
        Ok(())
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.entries.update([self.own.clone()]);
        Ok(())
    }
}

/// Sums what the subtasks hand on, and says it when all have ended.
pub(crate) struct Total {
    state: OperatorListState<i64>,
    records: i64,
}

impl Total {
    pub(crate) fn open(context: &mut FunctionOpenContext<'_>) -> FunctionResult<Self> {
        let state = context.operator_list_state::<i64>("records")?;
        let records = state.get().iter().sum();
        Ok(Total { state, records })
    }
}

impl ProcessFunction for Total {
    type In = i64;
    type Out = String;

    fn process_element(
        &mut self,
        records: i64,
        _context: &ProcessContext<'_>,
        _out: &mut Collector<String>,
    ) -> FunctionResult<()> {
        self.records += records;
        Ok(())
    }

    fn finish(&mut self, out: &mut Collector<String>) -> FunctionResult<()> {
        out.collect(ledger_line(self.records));
        Ok(())
    }

    fn snapshot_state(&mut self, _checkpoint: i64) -> FunctionResult<()> {
        self.state.update([self.records]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(subtask: i32, parallelism: i32, given: i64, records: i64) -> Entry {
        Entry {
            subtask,
            parallelism,
            given,
            records,
        }
    }

    #[test]
    fn a_list_that_lacks_doubles_or_mixes_entries_is_not_whole() {
        let (first, second) = (entry(0, 2, 9, 4), entry(1, 2, 9, 7));
        assert!(is_whole(&[second.clone(), first.clone()]));
        for wrong in [
            vec![],
            vec![first.clone()],
            vec![second.clone()],
            vec![first.clone(), second.clone(), second.clone()],
            vec![first.clone(), entry(1, 3, 9, 7)],
            vec![first.clone(), entry(1, 2, 8, 7)],
        ] {
            assert!(!is_whole(&wrong), "{wrong:?}");
        }
    }

    #[test]
    fn every_record_is_in_one_entry_at_any_parallelism() {
        let given = [entry(0, 3, 9, 4), entry(1, 3, 9, 0), entry(2, 3, 9, 7)];
        for parallelism in 1..9 {
            let all: Vec<Entry> = (0..parallelism)
                .map(|subtask| begin(&given, subtask, parallelism))
                .collect();
            assert!(is_whole(&all), "{all:?}");
            assert_eq!(all.iter().map(|entry| entry.records).sum::<i64>(), 11);
            assert!(all.iter().all(|entry| entry.given == 11));
        }
        // One that has ended need not end once more.
        assert_eq!(begin(&given, 2, 3), entry(2, 3, 11, 7));
    }
}

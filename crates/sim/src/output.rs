//! What the sinks have written outside: transactions, and which of them are committed.

use std::collections::BTreeMap;

use crate::job::Row;

/// Identifies a transaction.
pub(crate) type TransactionId = u64;

#[derive(Debug)]
struct Transaction {
    rows: Vec<Row>,
    committed: bool,
}

/// All transactions of all lives of the job.
#[derive(Debug, Default)]
pub(crate) struct Output {
    transactions: Vec<Transaction>,
    rows: BTreeMap<Row, TransactionId>,
}

impl Output {
    /// What a job has put out that begins with a snapshot which has counted so much, and has these rows still
    /// to write.
    pub(crate) fn as_of(&self, counted: &BTreeMap<u8, u32>, to_write: &[Row]) -> Output {
        let is_before = |row: &Row| {
            let is_counted = counted.get(&row.0).is_some_and(|count| row.1 <= *count);
            is_counted && !to_write.contains(row)
        };
        let transactions = self.transactions.iter().map(|transaction| Transaction {
            rows: transaction.rows.clone(),
            committed: transaction.committed && transaction.rows.iter().all(is_before),
        });
        let rows = self.rows.iter().filter(|(row, _)| is_before(row));
        Output {
            transactions: transactions.collect(),
            rows: rows.map(|(row, id)| (*row, *id)).collect(),
        }
    }

    pub(crate) fn prepare(&mut self, rows: Vec<Row>) -> TransactionId {
        self.transactions.push(Transaction {
            rows,
            committed: false,
        });
        self.transactions.len() as TransactionId - 1
    }

    /// Commits; again is as good as once. An error says which row is there already.
    pub(crate) fn commit(&mut self, id: TransactionId) -> Result<(), String> {
        let transaction = &mut self.transactions[id as usize];
        if std::mem::replace(&mut transaction.committed, true) {
            return Ok(());
        }
        for row in &transaction.rows {
            if let Some(before) = self.rows.insert(*row, id) {
                let (key, number) = row;
                return Err(format!(
                    "record {number} of key {key} is committed twice: by transactions {before} and {id}"
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn rows_of(&self, id: TransactionId) -> &[Row] {
        &self.transactions[id as usize].rows
    }

    pub(crate) fn is_committed(&self, row: Row) -> bool {
        self.rows.contains_key(&row)
    }

    /// How many rows of each key are committed. An error names one that is missing below another.
    pub(crate) fn counts(&self) -> Result<BTreeMap<u8, u32>, String> {
        let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
        for (key, number) in self.rows.keys() {
            let count = counts.entry(*key).or_default();
            *count += 1;
            if count != number {
                return Err(format!("record {count} of key {key} is lost"));
            }
        }
        Ok(counts)
    }
}

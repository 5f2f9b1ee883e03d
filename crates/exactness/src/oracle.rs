//! What an undisturbed run publishes, computed in one loop.

use std::collections::{BTreeMap, BTreeSet};

use crate::lines::{Lines, add};
use crate::workload::{
    Event, Input, KeyTotals, SESSION_GAP_MS, WINDOW_MS, count_line, event, expand, final_line,
    group_of, is_rule, is_sample, ledger_line, reduce, rule_of, rules_line, sample_line,
    session_line, timer_line, timer_of, window_line,
};

/// How much a run processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Records of input A.
    pub records_a: u64,
    /// Records of input B.
    pub records_b: u64,
    /// Number of keys.
    pub keys: u64,
}

/// All records.
fn events(workload: &Workload) -> impl Iterator<Item = Event> {
    let keys = workload.keys;
    let of_a = (0..workload.records_a).map(move |n| event(Input::A, n, keys));
    let of_b = (0..workload.records_b).map(move |n| event(Input::B, n, keys));
    of_a.chain(of_b).flat_map(expand)
}

/// The lines that the workload leads to in a job with a ledger.
pub fn expected_with_ledger(workload: &Workload) -> Lines {
    let mut lines = expected(workload);
    add(&mut lines, ledger_line(events(workload).count() as i64));
    lines
}

/// The lines that the workload leads to.
pub fn expected(workload: &Workload) -> Lines {
    let mut lines = Lines::new();
    let mut totals: BTreeMap<String, KeyTotals> = BTreeMap::new();
    let mut timers = BTreeSet::new();
    let mut windows = BTreeMap::new();
    let mut times: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    let mut rules: BTreeMap<i64, i64> = BTreeMap::new();
    for event in events(workload) {
        let of_key = totals.entry(event.key.clone()).or_default();
        of_key.count += 1;
        *of_key.by_class.entry(event.value % 5).or_default() += 1;
        if is_sample(&event) {
            of_key.samples.push(event.n);
            add(&mut lines, sample_line(&event));
        }
        of_key.highest = of_key.highest.max(event.value);
        add(&mut lines, count_line(&event.key, of_key.count));
        timers.insert((event.key.clone(), timer_of(&event)));
        let of_key = times.entry(event.key.clone()).or_default();
        of_key.push((event.time_ms, event.value));
        if is_rule(&event) {
            let (rule, added) = rule_of(&event);
            *rules.entry(rule).or_default() += added;
        }
        let group = group_of(&event);
        let start = event.time_ms / WINDOW_MS * WINDOW_MS;
        let value = (group, 1, event.value);
        windows
            .entry((group, start))
            .and_modify(|sum| *sum = reduce(sum, &value))
            .or_insert(value);
    }
    for (key, timestamp) in timers {
        add(&mut lines, timer_line(&key, timestamp));
    }
    for ((_, start), value) in &windows {
        add(&mut lines, window_line(*start, value));
    }
    let rules: Vec<(i64, i64)> = rules.into_iter().collect();
    for (key, of_key) in &mut times {
        add(&mut lines, rules_line(key, of_key.len() as i64, &rules));
        of_key.sort_unstable();
        // A gap of exactly the limit does not end a session.
        for session in of_key.chunk_by(|a, b| b.0 - a.0 <= SESSION_GAP_MS) {
            let (start, end) = (session[0].0, session[session.len() - 1].0 + SESSION_GAP_MS);
            let sum = session.iter().map(|(_, value)| value).sum();
            let line = session_line(key, start, end, (session.len() as i64, sum));
            add(&mut lines, line);
        }
    }
    for (key, of_key) in &mut totals {
        of_key.samples.sort_unstable();
        add(&mut lines, final_line(key, of_key));
    }
    lines
}

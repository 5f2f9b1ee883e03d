//! Who gets which operator state after a change of parallelism.
//!
//! A pure function over handles: no state is read. Split lists are dealt out state by state, in
//! contiguous runs that differ by at most one element; the subtask after the last one that got an
//! odd element comes first for the next state, so that small lists do not all fall to subtask 0.
//!
//! Source: Flink 2.3.0, class `RoundRobinOperatorStateRepartitioner`.

use millpond_snapshot::{DistributionMode, OperatorStateHandle, OperatorStateOffsets};

/// The elements of one state in one handle.
#[derive(Clone, Copy)]
struct Part<'a> {
    handle: &'a OperatorStateHandle,
    state: &'a OperatorStateOffsets,
}

/// Returns the handles of each new subtask; `previous` has those of each old one, in order.
///
/// With the same parallelism split and broadcast state stays where it is. Otherwise split state is
/// dealt out element by element, and new subtask `i` gets the broadcast state of old subtask
/// `i mod` their number. Union state goes to everyone in both cases.
///
/// # Panics
///
/// If `parallelism` is 0.
pub fn redistribute(
    previous: &[Vec<OperatorStateHandle>],
    parallelism: usize,
) -> Vec<Vec<OperatorStateHandle>> {
    assert!(parallelism > 0, "an operator has subtasks");
    let mut assigned = vec![Vec::new(); parallelism];
    let mut first = 0;
    let same = previous.len() == parallelism;
    for (name, mode) in state_names(previous) {
        let parts = parts_of(previous, name, mode);
        match mode {
            DistributionMode::Union => {
                for handles in &mut assigned {
                    parts
                        .iter()
                        .for_each(|(_, part)| give(handles, *part, &part.state.offsets));
                }
            }
            DistributionMode::SplitDistribute | DistributionMode::Broadcast if same => {
                for (subtask, part) in &parts {
                    give(&mut assigned[*subtask], *part, &part.state.offsets);
                }
            }
            DistributionMode::SplitDistribute => first = deal_out(&parts, &mut assigned, first),
            DistributionMode::Broadcast => {
                for (subtask, handles) in assigned.iter_mut().enumerate() {
                    let (_, part) = parts[subtask % parts.len()];
                    give(handles, part, &part.state.offsets);
                }
            }
        }
    }
    assigned
}

/// The states in the order in which they first appear.
fn state_names(previous: &[Vec<OperatorStateHandle>]) -> Vec<(&str, DistributionMode)> {
    let mut names: Vec<(&str, DistributionMode)> = Vec::new();
    for state in previous.iter().flatten().flat_map(|handle| &handle.states) {
        let entry = (state.name.as_str(), state.mode);
        if !names.contains(&entry) {
            names.push(entry);
        }
    }
    names
}

/// The parts of one state, each with the old subtask that it comes from.
fn parts_of<'a>(
    previous: &'a [Vec<OperatorStateHandle>],
    name: &str,
    mode: DistributionMode,
) -> Vec<(usize, Part<'a>)> {
    let mut parts = Vec::new();
    for (subtask, handles) in previous.iter().enumerate() {
        for handle in handles {
            for state in &handle.states {
                if state.name == name && state.mode == mode {
                    parts.push((subtask, Part { handle, state }));
                }
            }
        }
    }
    parts
}

/// Deals out the elements of one state; returns the subtask that comes first for the next state.
fn deal_out(
    parts: &[(usize, Part<'_>)],
    assigned: &mut [Vec<OperatorStateHandle>],
    first: usize,
) -> usize {
    let parallelism = assigned.len();
    let total: usize = parts.iter().map(|(_, part)| part.state.offsets.len()).sum();
    let (each, odd) = (total / parallelism, total % parallelism);
    let (mut at, mut offset) = (0, 0);
    for turn in 0..parallelism {
        let handles = &mut assigned[(first + turn) % parallelism];
        let mut wanted = each + usize::from(turn < odd);
        while wanted > 0 {
            let (_, part) = parts[at];
            let left = &part.state.offsets[offset..];
            let taken = wanted.min(left.len());
            if taken > 0 {
                give(handles, part, &left[..taken]);
            }
            wanted -= taken;
            offset += taken;
            if offset == part.state.offsets.len() {
                (at, offset) = (at + 1, 0);
            }
        }
    }
    (first + odd) % parallelism
}

/// Adds elements of a stream to the handle of that stream.
fn give(handles: &mut Vec<OperatorStateHandle>, part: Part<'_>, offsets: &[i64]) {
    let Part { handle, state } = part;
    let state = OperatorStateOffsets {
        name: state.name.clone(),
        mode: state.mode,
        offsets: offsets.to_vec(),
    };
    let known = handles
        .iter_mut()
        .find(|known| known.stream == handle.stream);
    match known {
        Some(known) => known.states.push(state),
        None => handles.push(OperatorStateHandle {
            states: vec![state],
            ..handle.clone()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_snapshot::StreamHandle;

    fn handle(name: &str, states: &[(&str, DistributionMode, usize)]) -> OperatorStateHandle {
        let mut next = 0;
        let states = states.iter().map(|(state, mode, count)| {
            let offsets = (next..next + *count as i64).collect();
            next += *count as i64;
            OperatorStateOffsets {
                name: (*state).to_owned(),
                mode: *mode,
                offsets,
            }
        });
        OperatorStateHandle {
            states: states.collect(),
            stream: StreamHandle::Relative {
                name: name.to_owned(),
                size: 100,
            },
            merged: None,
        }
    }

    /// Per subtask: (stream, state, offset).
    fn elements(assigned: &[Vec<OperatorStateHandle>], state: &str) -> Vec<Vec<(String, i64)>> {
        let of_subtask = |handles: &Vec<OperatorStateHandle>| {
            let mut found = Vec::new();
            for handle in handles {
                let StreamHandle::Relative { name, .. } = &handle.stream else {
                    panic!("made above")
                };
                for offsets in handle.states.iter().filter(|found| found.name == state) {
                    found.extend(offsets.offsets.iter().map(|offset| (name.clone(), *offset)));
                }
            }
            found
        };
        assigned.iter().map(of_subtask).collect()
    }

    #[test]
    fn every_element_of_a_split_list_goes_to_one_subtask_and_shares_differ_by_one() {
        use DistributionMode::SplitDistribute;
        for (counts, parallelism) in [
            (vec![3, 0, 4], 2),
            (vec![1, 1], 5),
            (vec![7], 3),
            (vec![0, 0], 3),
            (vec![2, 2, 2], 1),
        ] {
            let previous: Vec<_> = counts
                .iter()
                .enumerate()
                .map(|(subtask, count)| {
                    let states = [
                        ("a", SplitDistribute, *count),
                        ("b", SplitDistribute, *count),
                    ];
                    vec![handle(&subtask.to_string(), &states)]
                })
                .collect();
            let assigned = redistribute(&previous, parallelism);
            for state in ["a", "b"] {
                let after = elements(&assigned, state);
                let least = after.iter().map(Vec::len).min().unwrap_or(0);
                assert!(after.iter().all(|elements| elements.len() - least <= 1));
                let mut before = elements(&previous, state).concat();
                let mut after = after.concat();
                before.sort();
                after.sort();
                assert_eq!(before, after);
            }
        }
    }

    #[test]
    fn the_next_state_starts_where_the_last_one_ran_out() {
        use DistributionMode::SplitDistribute;
        let states = [("a", SplitDistribute, 1), ("b", SplitDistribute, 1)];
        let assigned = redistribute(&[vec![handle("0", &states)]], 3);
        let shares = |state| {
            elements(&assigned, state)
                .iter()
                .map(Vec::len)
                .collect::<Vec<_>>()
        };
        assert_eq!((shares("a"), shares("b")), (vec![1, 0, 0], vec![0, 1, 0]));
    }

    #[test]
    fn split_stays_and_union_goes_to_all_with_the_same_parallelism() {
        use DistributionMode::{SplitDistribute, Union};
        let states = [("s", SplitDistribute, 5), ("u", Union, 1)];
        let previous = [
            vec![handle("0", &states)],
            vec![handle("1", &[("u", Union, 2)])],
        ];
        let assigned = redistribute(&previous, 2);
        let counts = |state| {
            elements(&assigned, state)
                .iter()
                .map(Vec::len)
                .collect::<Vec<_>>()
        };
        assert_eq!((counts("s"), counts("u")), (vec![5, 0], vec![3, 3]));
    }

    #[test]
    fn broadcast_state_is_copied_round_robin() {
        use DistributionMode::Broadcast;
        let previous: Vec<_> = ["0", "1"]
            .iter()
            .map(|name| vec![handle(name, &[("b", Broadcast, 1)])])
            .collect();
        let assigned = redistribute(&previous, 3);
        let streams: Vec<_> = elements(&assigned, "b").concat();
        let expected = ["0", "1", "0"].map(|name| (name.to_owned(), 0));
        assert_eq!(streams, expected);
    }
}

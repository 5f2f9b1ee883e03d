//! Operator state on its way to another number of subtasks.
//!
//! | mode | same parallelism | other parallelism |
//! | --- | --- | --- |
//! | split | as it is | all elements in order, cut into runs of almost equal length |
//! | union | everything to everyone | everything to everyone |
//! | broadcast | as it is | subtask i gets the copy of old subtask i mod old |
//!
//! The elements of a split state keep their order. Where one state's longer runs end the next
//! state's begin, so that no subtask gets the odd element of every state.
//!
//! Source: Flink 2.3.0, class `RoundRobinOperatorStateRepartitioner`. Flink goes through the states
//! in the order of a hash map; here it is the order of their names.

use std::collections::{BTreeMap, BTreeSet};

use millpond_snapshot::{
    DistributionMode, OperatorStateHandle, OperatorStateOffsets, StreamHandle,
};

/// The handles of one new subtask, at most one per stream, each with the one that it is made from.
type Subtask<'a> = Vec<(&'a OperatorStateHandle, OperatorStateHandle)>;

/// One state in one stream.
#[derive(Clone, Copy)]
struct Part<'a> {
    handle: &'a OperatorStateHandle,
    offsets: &'a [i64],
}

/// Returns what each of `new_parallelism` subtasks restores.
///
/// `old` has the handles of each old subtask, by its index.
pub(crate) fn redistribute(
    old: &[Vec<&OperatorStateHandle>],
    new_parallelism: u32,
) -> Vec<Vec<OperatorStateHandle>> {
    let same = old.len() == new_parallelism as usize;
    let mut new: Vec<Subtask<'_>> = vec![Vec::new(); new_parallelism as usize];
    let parts = |wanted: DistributionMode| parts_by_name(old, wanted);
    if same {
        for (subtask, handles) in new.iter_mut().zip(old) {
            for handle in handles {
                for state in handle
                    .states
                    .iter()
                    .filter(|s| s.mode != DistributionMode::Union)
                {
                    add(subtask, handle, state.mode, &state.name, &state.offsets);
                }
            }
        }
    } else {
        split(&parts(DistributionMode::SplitDistribute), &mut new);
        for (name, parts) in parts(DistributionMode::Broadcast) {
            for (subtask, index) in new.iter_mut().zip(0..) {
                let part = parts[index % parts.len()];
                add(
                    subtask,
                    part.handle,
                    DistributionMode::Broadcast,
                    name,
                    part.offsets,
                );
            }
        }
    }
    for (name, parts) in parts(DistributionMode::Union) {
        for subtask in &mut new {
            for part in &parts {
                add(
                    subtask,
                    part.handle,
                    DistributionMode::Union,
                    name,
                    part.offsets,
                );
            }
        }
    }
    new.into_iter()
        .map(|subtask| subtask.into_iter().map(|(_, handle)| handle).collect())
        .collect()
}

/// All parts of all states of a mode, by name, in order of the old subtasks. No list is empty.
fn parts_by_name<'a>(
    old: &[Vec<&'a OperatorStateHandle>],
    mode: DistributionMode,
) -> BTreeMap<&'a str, Vec<Part<'a>>> {
    let mut parts: BTreeMap<&str, Vec<Part<'_>>> = BTreeMap::new();
    for handle in old.iter().flatten().copied() {
        for state in handle.states.iter().filter(|state| state.mode == mode) {
            parts.entry(&state.name).or_default().push(Part {
                handle,
                offsets: &state.offsets,
            });
        }
    }
    parts
}

fn split<'a>(states: &BTreeMap<&'a str, Vec<Part<'a>>>, new: &mut [Subtask<'a>]) {
    let mut start = 0;
    for (name, parts) in states {
        let total: usize = parts.iter().map(|part| part.offsets.len()).sum();
        let (base, odd) = (total / new.len(), total % new.len());
        let mut elements = parts
            .iter()
            .flat_map(|part| part.offsets.iter().map(|offset| (part.handle, *offset)));
        for i in 0..new.len() {
            let subtask = (start + i) % new.len();
            let run = elements.by_ref().take(base + usize::from(i < odd));
            add_run(&mut new[subtask], name, run);
        }
        start = (start + odd) % new.len();
    }
}

/// Adds elements of one state, which may lie in several streams.
fn add_run<'a>(
    subtask: &mut Subtask<'a>,
    name: &str,
    run: impl Iterator<Item = (&'a OperatorStateHandle, i64)>,
) {
    let mut runs: Vec<(&'a OperatorStateHandle, Vec<i64>)> = Vec::new();
    for (handle, offset) in run {
        match runs.last_mut() {
            Some((last, offsets)) if std::ptr::eq(*last, handle) => offsets.push(offset),
            Some(_) | None => runs.push((handle, vec![offset])),
        }
    }
    for (handle, offsets) in runs {
        add(
            subtask,
            handle,
            DistributionMode::SplitDistribute,
            name,
            &offsets,
        );
    }
}

/// Adds a state of a stream, to the handle that the subtask has of that stream already.
fn add<'a>(
    subtask: &mut Subtask<'a>,
    from: &'a OperatorStateHandle,
    mode: DistributionMode,
    name: &str,
    offsets: &[i64],
) {
    let state = OperatorStateOffsets {
        name: name.to_owned(),
        mode,
        offsets: offsets.to_vec(),
    };
    let same = subtask.iter_mut().find(|(origin, handle)| {
        std::ptr::eq(*origin, from) || is_same(&handle.stream, &from.stream)
    });
    match same {
        Some((_, handle)) => handle.states.push(state),
        None => {
            let (stream, merged) = (from.stream.clone(), from.merged.clone());
            subtask.push((
                from,
                OperatorStateHandle {
                    states: vec![state],
                    stream,
                    merged,
                },
            ));
        }
    }
}

/// Whether two handles are one place. Equal bytes inline are not: they may be of two subtasks.
fn is_same(a: &StreamHandle, b: &StreamHandle) -> bool {
    match a {
        StreamHandle::Bytes { .. } | StreamHandle::EmptySegment => false,
        StreamHandle::File { .. }
        | StreamHandle::Relative { .. }
        | StreamHandle::KeyGroups { .. }
        | StreamHandle::Segment { .. } => a == b,
    }
}

/// The names of all states in these handles, for messages.
pub(crate) fn state_names<'a>(handles: impl Iterator<Item = &'a OperatorStateHandle>) -> String {
    let names: BTreeSet<&str> = handles
        .flat_map(|handle| handle.states.iter().map(|state| state.name.as_str()))
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use DistributionMode::{Broadcast, SplitDistribute, Union};

    fn handle(file: &str, states: &[(&str, DistributionMode, &[i64])]) -> OperatorStateHandle {
        OperatorStateHandle {
            states: states
                .iter()
                .map(|(name, mode, offsets)| OperatorStateOffsets {
                    name: (*name).to_owned(),
                    mode: *mode,
                    offsets: offsets.to_vec(),
                })
                .collect(),
            stream: StreamHandle::Relative {
                name: file.to_owned(),
                size: 100,
            },
            merged: None,
        }
    }

    /// Redistributes the handles of one subtask each.
    fn spread(old: &[OperatorStateHandle], new_parallelism: u32) -> Vec<Vec<OperatorStateHandle>> {
        let old: Vec<Vec<&OperatorStateHandle>> = old.iter().map(|handle| vec![handle]).collect();
        redistribute(&old, new_parallelism)
    }

    /// The elements of a state that a subtask gets: file and offset.
    fn elements<'a>(subtask: &'a [OperatorStateHandle], name: &str) -> Vec<(&'a str, i64)> {
        let mut all = Vec::new();
        for handle in subtask {
            let StreamHandle::Relative { name: file, .. } = &handle.stream else {
                panic!()
            };
            for state in handle.states.iter().filter(|state| state.name == name) {
                all.extend(state.offsets.iter().map(|offset| (file.as_str(), *offset)));
            }
        }
        all
    }

    #[test]
    fn with_the_same_parallelism_split_and_broadcast_state_stay_where_they_are() {
        let old = [
            handle(
                "a",
                &[("s", SplitDistribute, &[1, 2, 3]), ("b", Broadcast, &[9])],
            ),
            handle("b", &[("s", SplitDistribute, &[]), ("b", Broadcast, &[8])]),
        ];
        let new = spread(&old, 2);
        assert_eq!(new, [vec![old[0].clone()], vec![old[1].clone()]]);
    }

    #[test]
    fn union_state_goes_to_every_subtask_whatever_the_parallelism() {
        let old = [
            handle("a", &[("u", Union, &[1])]),
            handle("b", &[("u", Union, &[2, 3])]),
        ];
        for parallelism in [1, 2, 3] {
            for subtask in &spread(&old, parallelism) {
                assert_eq!(elements(subtask, "u"), [("a", 1), ("b", 2), ("b", 3)]);
            }
        }
    }

    #[test]
    fn split_state_is_cut_into_runs_of_almost_equal_length_in_the_old_order() {
        let old = [
            handle("a", &[("s", SplitDistribute, &[1, 2, 3])]),
            handle("b", &[("s", SplitDistribute, &[4, 5])]),
        ];
        let new = spread(&old, 3);
        assert_eq!(elements(&new[0], "s"), [("a", 1), ("a", 2)]);
        assert_eq!(elements(&new[1], "s"), [("a", 3), ("b", 4)]);
        assert_eq!(elements(&new[2], "s"), [("b", 5)]);
    }

    #[test]
    fn the_odd_elements_of_the_next_state_go_to_the_next_subtask() {
        let old = [handle(
            "a",
            &[("s", SplitDistribute, &[1]), ("t", SplitDistribute, &[2])],
        )];
        let new = spread(&old, 2);
        assert_eq!(
            (elements(&new[0], "s").len(), elements(&new[1], "s").len()),
            (1, 0)
        );
        assert_eq!(
            (elements(&new[0], "t").len(), elements(&new[1], "t").len()),
            (0, 1)
        );
    }

    #[test]
    fn each_new_subtask_gets_one_old_copy_of_broadcast_state() {
        let old = [
            handle("a", &[("b", Broadcast, &[1])]),
            handle("b", &[("b", Broadcast, &[2])]),
        ];
        let new = spread(&old, 3);
        let got: Vec<_> = new.iter().map(|subtask| elements(subtask, "b")).collect();
        assert_eq!(got, [[("a", 1)], [("b", 2)], [("a", 1)]]);
    }

    #[test]
    fn all_states_of_one_inline_stream_stay_in_one_handle() {
        let states: [(&str, DistributionMode, &[i64]); 2] =
            [("s", SplitDistribute, &[4]), ("t", SplitDistribute, &[5])];
        let mut old = handle("", &states);
        old.stream = StreamHandle::Bytes {
            name: String::new(),
            data: vec![7],
        };
        assert_eq!(spread(&[old.clone()], 1), [vec![old]]);
    }

    #[test]
    fn equal_bytes_inline_of_two_subtasks_stay_two_states() {
        let mut old = handle("", &[("s", SplitDistribute, &[4])]);
        old.stream = StreamHandle::Bytes {
            name: String::new(),
            data: vec![7],
        };
        let new = spread(&[old.clone(), old], 1);
        assert_eq!(new[0].len(), 2);
    }
}

//! The table: ten rows, four kinds of snapshots, and for each cell the tests that show it.
//!
//! Rows, columns and promises are those of Flink's documentation ("Checkpoints vs. Savepoints").

/// The kinds of snapshots.
pub(super) const COLUMNS: [&str; 4] = [
    "canonical savepoint",
    "native savepoint",
    "aligned checkpoint",
    "unaligned checkpoint",
];

/// What Flink says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// It works.
    Yes,
    /// It does not, or it is not known to.
    No,
    /// It works today, and need not tomorrow.
    Without,
}

/// What Millpond does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It works.
    Works,
    /// It is refused, and why is told.
    Refused,
    /// No test says anything.
    NotShown,
}

/// A test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Its executable.
    pub(super) suite: &'static str,
    /// The file that it is in, from the root of the repository; looked at by a test.
    pub(super) file: &'static str,
    /// Its name there.
    pub(super) name: &'static str,
}

/// One kind of snapshot in one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) promise: Promise,
    pub(super) answer: Answer,
    /// None only where nothing is shown.
    pub(super) tests: &'static [Test],
}

/// One thing to do with a snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// In the order of [`COLUMNS`].
    pub(super) cells: [Cell; 4],
    /// For people, behind the tests.
    pub(super) note: &'static str,
}

impl Row {
    /// All of its tests.
    pub(super) fn tests(&self) -> impl Iterator<Item = &'static Test> {
        self.cells.iter().flat_map(|cell| cell.tests)
    }
}

const fn works(promise: Promise, tests: &'static [Test]) -> Cell {
    Cell {
        promise,
        answer: Answer::Works,
        tests,
    }
}

const fn refused(promise: Promise, tests: &'static [Test]) -> Cell {
    Cell {
        promise,
        answer: Answer::Refused,
        tests,
    }
}

const fn not_shown(promise: Promise) -> Cell {
    Cell {
        promise,
        answer: Answer::NotShown,
        tests: &[],
    }
}

/// A test of whole jobs.
const fn exactness(suite: &'static str, file: &'static str, name: &'static str) -> Test {
    Test { suite, file, name }
}

const fn capability(name: &'static str) -> Test {
    exactness(
        "capabilities",
        "crates/exactness/tests/capabilities.rs",
        name,
    )
}

const fn rescaling(name: &'static str) -> Test {
    exactness("rescaling", "crates/exactness/tests/rescaling.rs", name)
}

const fn from_flink(name: &'static str) -> Test {
    exactness(
        "restore_from_flink",
        "crates/exactness/tests/restore_from_flink.rs",
        name,
    )
}

const fn assignment(name: &'static str) -> Test {
    Test {
        suite: "millpond_checkpoint",
        file: "crates/checkpoint/src/assignment/tests.rs",
        name,
    }
}

const CHANGED_FIELDS: Test = changed_types("fields_come_and_go_in_every_kind_of_keyed_state");

const REFUSED_FIELDS: Test =
    changed_types("what_does_not_fit_is_refused_with_the_field_before_anything_is_restored");

const fn changed_types(name: &'static str) -> Test {
    Test {
        suite: "changed_types",
        file: "crates/state/tests/changed_types.rs",
        name,
    }
}

const OF_FLINK: &[Test] = &[
    from_flink("savepoints_of_flink_1_15_are_restored_whole"),
    from_flink("savepoints_of_flink_1_20_are_restored_whole"),
    from_flink("savepoints_of_flink_2_3_are_restored_whole"),
];

use Promise::{No, Without, Yes};

/// The table.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "another state backend",
        cells: [
            works(
                Yes,
                &[
                    capability("a_canonical_savepoint_is_resumed_on_another_backend"),
                    exactness(
                        "state_backend",
                        "crates/exactness/tests/state_backend.rs",
                        "a_savepoint_moves_between_state_backends_and_parallelisms",
                    ),
                ],
            ),
            works(
                No,
                &[capability(
                    "a_native_savepoint_is_resumed_on_another_backend",
                )],
            ),
            works(
                No,
                &[capability(
                    "an_aligned_checkpoint_is_resumed_on_another_backend",
                )],
            ),
            works(
                No,
                &[capability(
                    "an_unaligned_checkpoint_is_resumed_on_another_backend",
                )],
            ),
        ],
        note: "<br>From the heap to a store, and savepoints back.",
    },
    Row {
        name: "write with the toolbox",
        cells: [
            works(
                Yes,
                &[
                    capability("a_canonical_savepoint_is_rewritten_by_the_tools"),
                    exactness(
                        "write_state",
                        "tests/write_state.rs",
                        "a_job_goes_on_from_a_savepoint_that_was_made_from_rows",
                    ),
                ],
            ),
            works(
                No,
                &[capability("a_native_savepoint_is_rewritten_by_the_tools")],
            ),
            works(
                No,
                &[capability(
                    "an_aligned_checkpoint_is_rewritten_by_the_tools",
                )],
            ),
            refused(
                No,
                &[capability(
                    "an_unaligned_checkpoint_is_not_rewritten_by_the_tools",
                )],
            ),
        ],
        note: "",
    },
    Row {
        name: "read with the toolbox",
        cells: [
            works(
                Yes,
                &[capability("a_canonical_savepoint_is_read_by_the_tools")],
            ),
            works(
                Without,
                &[capability("a_native_savepoint_is_read_by_the_tools")],
            ),
            works(
                Without,
                &[capability("an_aligned_checkpoint_is_read_by_the_tools")],
            ),
            works(
                No,
                &[capability("an_unaligned_checkpoint_is_read_by_the_tools")],
            ),
        ],
        note: "",
    },
    Row {
        name: "self-contained, may be moved",
        cells: [
            works(
                Yes,
                &[
                    capability("a_canonical_savepoint_is_resumed_elsewhere"),
                    exactness(
                        "move_a_savepoint",
                        "crates/exactness/tests/move_a_savepoint.rs",
                        "a_moved_savepoint_restores",
                    ),
                ],
            ),
            works(
                Yes,
                &[capability("a_native_savepoint_is_resumed_elsewhere")],
            ),
            works(
                No,
                &[capability("an_aligned_checkpoint_is_resumed_elsewhere")],
            ),
            works(
                No,
                &[capability("an_unaligned_checkpoint_is_resumed_elsewhere")],
            ),
        ],
        note: "<br>Of checkpoints only those that are not incremental: those name files in `shared/`.",
    },
    Row {
        name: "changed types of state",
        cells: [
            works(
                Yes,
                &[
                    capability("a_canonical_savepoint_is_resumed_with_a_changed_type"),
                    CHANGED_FIELDS,
                    REFUSED_FIELDS,
                ],
            ),
            works(
                Without,
                &[capability(
                    "a_native_savepoint_is_resumed_with_a_changed_type",
                )],
            ),
            works(
                Without,
                &[capability(
                    "an_aligned_checkpoint_is_resumed_with_a_changed_type",
                )],
            ),
            works(
                Without,
                &[capability(
                    "an_unaligned_checkpoint_is_resumed_with_a_changed_type",
                )],
            ),
        ],
        note: "<br>Jobs get a class with one field more; all else that may change is looked at in the serializers, \
               which all formats hold. Not shown for an unaligned checkpoint: another type of records in flight.",
    },
    Row {
        name: "another job: partitioning",
        cells: [
            works(
                Yes,
                &[capability(
                    "a_canonical_savepoint_is_resumed_with_another_partitioning",
                )],
            ),
            works(
                Yes,
                &[capability(
                    "a_native_savepoint_is_resumed_with_another_partitioning",
                )],
            ),
            works(
                Yes,
                &[capability(
                    "an_aligned_checkpoint_is_resumed_with_another_partitioning",
                )],
            ),
            works(
                No,
                &[capability(
                    "an_unaligned_checkpoint_is_resumed_with_another_partitioning",
                )],
            ),
        ],
        note: "<br>Not shown for an unaligned checkpoint: another type of records in flight.",
    },
    Row {
        name: "another job: operators, same partitioning",
        cells: [
            works(
                Yes,
                &[
                    capability("a_canonical_savepoint_is_resumed_with_another_operator"),
                    exactness(
                        "change_the_job",
                        "crates/exactness/tests/change_the_job.rs",
                        "a_new_stateful_operator_starts_empty",
                    ),
                ],
            ),
            works(
                Yes,
                &[capability(
                    "a_native_savepoint_is_resumed_with_another_operator",
                )],
            ),
            works(
                Yes,
                &[capability(
                    "an_aligned_checkpoint_is_resumed_with_another_operator",
                )],
            ),
            works(
                Yes,
                &[capability(
                    "an_unaligned_checkpoint_is_resumed_with_another_operator",
                )],
            ),
        ],
        note: "",
    },
    Row {
        name: "another minor version",
        cells: [
            works(Yes, OF_FLINK),
            works(Yes, OF_FLINK),
            works(
                Yes,
                &[from_flink(
                    "aligned_checkpoints_of_flink_are_restored_whole",
                )],
            ),
            refused(
                No,
                &[assignment(
                    "assignment::tests::every_subtask_gets_all_records_that_were_in_flight_and_those_of_flink_are_refused",
                )],
            ),
        ],
        note: "<br>The versions are Flink's, 1.15.4, 1.20.5 and 2.3.0: Millpond has one so far.",
    },
    Row {
        name: "another patch version",
        cells: [
            not_shown(Yes),
            not_shown(Yes),
            not_shown(Yes),
            not_shown(Yes),
        ],
        note: "Millpond has one version so far.",
    },
    Row {
        name: "another parallelism",
        cells: [
            works(
                Yes,
                &[rescaling(
                    "a_canonical_savepoint_is_resumed_at_another_parallelism",
                )],
            ),
            works(
                Yes,
                &[rescaling(
                    "a_native_savepoint_is_resumed_at_another_parallelism",
                )],
            ),
            works(
                Yes,
                &[
                    rescaling("an_aligned_checkpoint_is_resumed_at_another_parallelism"),
                    rescaling("an_incremental_checkpoint_is_resumed_at_another_parallelism"),
                    rescaling("a_running_job_changes_its_parallelism"),
                ],
            ),
            works(
                Yes,
                &[
                    rescaling("an_unaligned_checkpoint_is_resumed_at_another_parallelism"),
                    exactness(
                        "unaligned",
                        "crates/exactness/tests/unaligned.rs",
                        "records_in_flight_are_resumed_once_at_parallelism_2_3_1_5_4",
                    ),
                ],
            ),
        ],
        note: "",
    },
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_test_of_the_table_is_there_and_every_answer_has_one() {
        for row in ROWS {
            for cell in &row.cells {
                let is_shown = cell.answer != Answer::NotShown;
                assert_eq!(is_shown, !cell.tests.is_empty(), "{}", row.name);
            }
            for test in row.tests() {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(test.file);
                let source = std::fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let name = test.name.rsplit(':').next().expect("a name");
                let place = source.find(&format!("#[test]\nfn {name}()"));
                assert!(place.is_some(), "no test {name} in {}", test.file);
            }
        }
    }
}

//! The kinds of snapshots that a job can be ended with, and resumed from.

use serde_json::json;

use crate::job_process::{Bench, JobProcess, wait_for};

/// A kind of snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// A savepoint in Flink's canonical format.
    CanonicalSavepoint,
    /// A savepoint in the format of the state backend.
    NativeSavepoint,
    /// A retained checkpoint that is aligned.
    AlignedCheckpoint,
    /// A retained checkpoint that is a base and changes.
    IncrementalCheckpoint,
    /// A retained checkpoint with records in flight.
    UnalignedCheckpoint,
}

impl SnapshotKind {
    /// A bench whose job has something in flight where the kind is about that, and else so many records
    /// per second of each input.
    #[must_use]
    pub fn prepare(self, bench: Bench, rate: u64) -> Bench {
        let unaligned = self == SnapshotKind::UnalignedCheckpoint;
        let bench = bench
            .option("execution.checkpointing.interval", "50 ms")
            .option(
                "execution.checkpointing.externalized-checkpoint-retention",
                "RETAIN_ON_CANCELLATION",
            )
            .option("execution.checkpointing.unaligned.enabled", unaligned)
            .option(
                "execution.checkpointing.incremental",
                self == SnapshotKind::IncrementalCheckpoint,
            );
        match unaligned {
            true => slowed(bench),
            false => bench.argument("--rate", rate),
        }
    }

    /// Ends the job with a snapshot; returns its place.
    ///
    /// # Panics
    ///
    /// If there is none, or the job ends before.
    pub fn take(self, bench: &Bench, job: &mut JobProcess) -> String {
        match self {
            SnapshotKind::CanonicalSavepoint => {
                job.wait_for_checkpoints(1);
                return job.stop(false);
            }
            SnapshotKind::NativeSavepoint => {
                job.wait_for_checkpoints(1);
                let body = json!({ "drain": false, "formatType": "NATIVE" });
                return job.stop_as(&body);
            }
            SnapshotKind::AlignedCheckpoint => job.wait_for_checkpoints(1),
            // The first one is full.
            SnapshotKind::IncrementalCheckpoint => job.wait_for_checkpoints(3),
            SnapshotKind::UnalignedCheckpoint => wait_for_records_in_flight(job),
        }
        job.kill_master();
        let newest = bench.newest_snapshot();
        newest.expect("a retained checkpoint").path()
    }
}

/// The job is held by its counter alone, so that there are records in flight in front of it: ten thousand last for
/// seconds, also at the highest parallelism. Those in front of a slow sink come subtask to subtask, and at
/// parallelism 1 no other ones would be left: these are never overtaken.
fn slowed(bench: Bench) -> Bench {
    bench.argument("--slow-counter-us", 2_000)
}

/// The job reads on as fast as it can.
#[must_use]
pub fn at_full_speed(bench: Bench) -> Bench {
    bench
        .argument("--slow-sink-us", 0)
        .argument("--slow-counter-us", 0)
        .argument("--rate", 1_000_000)
}

/// Waits until the newest complete checkpoint has overtaken records, and stored them.
///
/// # Panics
///
/// If none does.
pub fn wait_for_records_in_flight(job: &mut JobProcess) {
    job.ready();
    wait_for("a checkpoint with records in flight", || {
        let all = job.job("/checkpoints");
        let newest = &all["latest"]["completed"];
        let is_unaligned = newest["checkpoint_type"] == "UNALIGNED_CHECKPOINT";
        let persisted = newest["persisted_data"].as_u64().unwrap_or(0);
        (is_unaligned && persisted > 0).then_some(())
    });
}

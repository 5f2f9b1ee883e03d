//! Messages between a job master and its worker processes, as they come over a connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond_cluster::fuzzing::{command_bytes, message_bytes, messages};
use millpond_fuzz::{golden, seeds, within};
use millpond_job::acknowledgement::AcknowledgeMetrics;
use millpond_job::dispatcher::SavepointFormat;
use millpond_job::gateway::{FailureKind, FileMerging};
use millpond_job::metrics::{OperatorMetrics, SubtaskMetrics, TimeSpent};
use millpond_job::{
    EpochEnd, FromWorker, OperatorAcknowledgement, SnapshotOptions, StopMode,
    SubtaskAcknowledgement, ToWorker, VertexIndex,
};

fuzz_target!(
    init: seeds(|put| {
        let framed = message_bytes(of_workers()).into_iter().chain(command_bytes(of_master()));
        framed.for_each(put);
    }),
    |bytes: &[u8]| within(bytes.len(), || messages(bytes))
);

fn of_workers() -> Vec<FromWorker> {
    let vertex = VertexIndex(1);
    let states = golden()
        .into_iter()
        .flat_map(|golden| golden.metadata.operators);
    let acknowledgements = states.take(20).filter_map(|operator| {
        let (_, state) = operator.subtasks.into_iter().next()?;
        let acknowledged = OperatorAcknowledgement {
            operator: operator.id,
            state,
            files: Vec::new(),
            states: Vec::new(),
            positions: vec!["split 0 at 7".to_owned()],
            pending_transactions: false,
            ended: true,
        };
        Some(FromWorker::Acknowledge {
            attempt: 1,
            checkpoint: 3,
            acknowledgement: SubtaskAcknowledgement {
                vertex,
                subtask: 0,
                operators: vec![acknowledged],
                metrics: AcknowledgeMetrics::default(),
            },
        })
    });
    let mut messages: Vec<FromWorker> = acknowledgements.collect();
    messages.extend([
        FromWorker::Failed {
            attempt: 1,
            process: 0,
            task: Some("counter (1/2)".to_owned()),
            message: "it failed".to_owned(),
            kind: FailureKind::DamagedState,
        },
        FromWorker::Decline {
            attempt: 1,
            checkpoint: 3,
            vertex,
            subtask: 1,
            reason: "no room".to_owned(),
        },
        FromWorker::Metrics {
            attempt: 1,
            subtasks: vec![SubtaskMetrics {
                vertex,
                subtask: 0,
                process: 5,
                records_in: 1,
                records_out: 2,
                watermark: -3,
                pending_records: Some(4),
                time: TimeSpent {
                    busy_ns: 6,
                    soft_back_pressured_ns: 7,
                    hard_back_pressured_ns: 8,
                    idle_ns: 9,
                    waiting_ns: 10,
                },
                operators: vec![OperatorMetrics {
                    records_in: 11,
                    records_out: 12,
                    busy_ns: 13,
                }],
            }],
        },
    ]);
    messages
}

fn of_master() -> Vec<ToWorker> {
    let options = SnapshotOptions {
        id: 3,
        is_savepoint: true,
        format: SavepointFormat::Canonical,
        incremental: true,
        directory: "file:/sp".to_owned(),
        shared_directory: "file:/shared".to_owned(),
        base: Some(2),
        metadata_only_bytes: Some(5 << 20),
        inline_threshold_bytes: 20_480,
        file_merging: Some(FileMerging {
            max_file_bytes: 32 << 20,
            max_subtasks_per_file: 4,
            max_space_percent: 200,
        }),
        changes_limit_bytes: 1 << 30,
        triggered_at_ms: 5,
        aligned_timeout_ms: Some(0),
        stop: Some(StopMode::Drain),
    };
    vec![
        ToWorker::Announce {
            attempt: 1,
            epoch: 2,
            end: EpochEnd::Snapshot(options),
        },
        ToWorker::Advance {
            attempt: 1,
            epoch: 2,
        },
        ToWorker::NotifyComplete {
            attempt: 1,
            checkpoint: 3,
        },
    ]
}

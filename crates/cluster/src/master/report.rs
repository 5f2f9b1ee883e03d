//! What the job master tells about snapshots: statistics and the log.

use millpond_checkpoint::Event;
use millpond_job::dispatcher::CheckpointStatus;
use millpond_types::CheckpointId;

use super::Master;
use crate::alignment::Alignment;
use crate::throughput::Impact;

impl Master {
    /// Tells how fast the job read before and during its snapshots; `finally` waits for no more.
    pub(super) fn measure(&mut self, finally: bool) {
        let statistics = self.coordinator.statistics();
        let latest = [
            &statistics.latest_completed,
            &statistics.latest_savepoint,
            &statistics.latest_failed,
        ];
        for record in statistics
            .history
            .iter()
            .rev()
            .chain(latest.into_iter().flatten())
        {
            self.throughput
                .began(record.id, record.trigger_timestamp_ms);
            let ended_ms = record.trigger_timestamp_ms + record.end_to_end_duration_ms;
            match record.status {
                CheckpointStatus::InProgress => {}
                CheckpointStatus::Completed => self.throughput.ended(record.id, ended_ms),
                CheckpointStatus::Failed => self.throughput.failed(record.id),
            }
        }
        for impact in self.throughput.measured(self.clock.now_ms(), finally) {
            self.tell(Event::Measured {
                checkpoint: impact.checkpoint,
                records_per_second_before: impact.before,
                records_per_second_during: impact.during,
            });
            self.log_impact(&impact);
        }
    }

    /// Tells of a checkpoint that has just become complete; of a savepoint more is told
    /// [later](Self::log_impact).
    pub(super) fn log_completed(&self, checkpoint: CheckpointId) {
        let completed = &self.coordinator.statistics().latest_completed;
        let Some(record) = completed.as_ref().filter(|c| c.id == checkpoint) else {
            return;
        };
        tracing::info!(
            "Completed checkpoint {checkpoint} for job {} ({} bytes, of which {} are new, \
             {} files made, checkpointDuration={} ms; {}).",
            self.options.job,
            record.state_bytes,
            record.checkpointed_bytes,
            record.created_files,
            record.end_to_end_duration_ms,
            Alignment(record)
        );
    }

    fn log_impact(&self, impact: &Impact) {
        let savepoint = &self.coordinator.statistics().latest_savepoint;
        let Some(savepoint) = savepoint.as_ref().filter(|s| s.id == impact.checkpoint) else {
            return;
        };
        let before = match impact.before {
            Some(before) => format!("{before:.0} records/s before it"),
            None => "nothing was read before it".to_owned(),
        };
        tracing::info!(
            "savepoint {} \"{}\" is complete after {} ms: {before}, {:.0} records/s during it",
            savepoint.id,
            savepoint.external_path.as_deref().unwrap_or_default(),
            savepoint.end_to_end_duration_ms,
            impact.during
        );
    }

    /// Tells what the restore of this attempt has read, if it was restored.
    pub(super) fn log_restore(&self) {
        let restored = self.coordinator.statistics().latest_restored.as_ref();
        let Some(restored) = restored.filter(|_| self.lifecycle.restored().is_some()) else {
            return;
        };
        let read = restored.read;
        tracing::info!(
            "attempt {} is restored from \"{}\": {} bytes of state read locally, {} from the storage of \
             checkpoints; {} local copies of no use",
            self.lifecycle.attempt(),
            restored.external_path,
            read.local_bytes,
            read.remote_bytes,
            read.unusable_copies
        );
    }

    /// Lets others see the coordinator's statistics.
    pub(super) fn publish(&mut self) {
        let mut view = self.view.lock();
        if view.statistics != *self.coordinator.statistics() {
            view.statistics = self.coordinator.statistics().clone();
        }
    }
}

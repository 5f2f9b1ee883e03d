//! The snapshots of a task that are still being written, and when they are given up.
//!
//! What changes meanwhile stands in memory beside what is being written. So a snapshot that was
//! aborted is let go at once, wherever its writer is, as are all when the task ends, and one during
//! which too much changes is given up, which declines it.

use millpond_job::SnapshotOptions;
use millpond_state::ImageHandle;
use millpond_types::{CheckpointId, config::options};

/// The images of one task that may still be written.
#[derive(Debug, Default)]
pub(crate) struct LiveImages {
    images: Vec<LiveImage>,
}

#[derive(Debug)]
struct LiveImage {
    checkpoint: CheckpointId,
    changes_limit_bytes: u64,
    image: ImageHandle,
}

impl LiveImages {
    /// Adds the image of one operator.
    pub(crate) fn add(&mut self, options: &SnapshotOptions, image: ImageHandle) {
        self.images.push(LiveImage {
            checkpoint: options.id,
            changes_limit_bytes: options.changes_limit_bytes,
            image,
        });
    }

    /// A checkpoint will never complete: lets go of what is not written of it.
    pub(crate) fn aborted(&mut self, checkpoint: CheckpointId) {
        for live in &self.images {
            if live.checkpoint == checkpoint {
                live.image.give_up("the checkpoint was aborted");
            }
        }
        self.forget_written();
    }

    /// Gives up each image during which more has changed than its limit allows.
    #[inline]
    pub(crate) fn limit_changes(&mut self) {
        if !self.images.is_empty() {
            self.check_limits();
        }
    }

    fn check_limits(&mut self) {
        self.forget_written();
        for live in &self.images {
            let changed = live.image.changed_bytes() as u64;
            if changed > live.changes_limit_bytes {
                live.image.give_up(&format!(
                    "{changed} bytes of state changed while it was written, more than the \
                     {} bytes of {}; raise it, or make checkpoints faster",
                    live.changes_limit_bytes,
                    options::HEAP_CHANGES_LIMIT.key(),
                ));
            }
        }
    }

    fn forget_written(&mut self) {
        self.images.retain(|live| live.image.is_live());
    }
}

impl Drop for LiveImages {
    fn drop(&mut self) {
        for live in &self.images {
            live.image.give_up("the attempt has ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_state::{ErrorKind, FrozenKeyedState, KeyedBackend, ValueState};
    use millpond_types::KeyGroupRange;

    struct State {
        backend: KeyedBackend<i64>,
        value: ValueState<i64>,
    }

    impl State {
        fn new() -> Self {
            let backend = KeyedBackend::new(128, KeyGroupRange::of_subtask(0, 1, 128));
            let value = backend.value_state("value").expect("a fresh backend");
            let mut state = State { backend, value };
            state.change(1_000);
            state
        }

        fn change(&mut self, keys: i64) {
            for key in 0..keys {
                self.backend
                    .set_current_key(&key, self.backend.key_group(&key));
                self.value.update(key);
            }
        }
    }

    fn options_of(id: CheckpointId, changes_limit_bytes: u64) -> SnapshotOptions {
        SnapshotOptions {
            id,
            is_savepoint: false,
            format: millpond_job::dispatcher::SavepointFormat::Canonical,
            incremental: false,
            directory: "file:/checkpoints/chk-1".to_owned(),
            shared_directory: "file:/checkpoints/shared".to_owned(),
            base: None,
            metadata_only_bytes: None,
            inline_threshold_bytes: 0,
            file_merging: None,
            changes_limit_bytes,
            triggered_at_ms: 0,
            aligned_timeout_ms: None,
            stop: None,
        }
    }

    fn reason(frozen: FrozenKeyedState) -> String {
        let error = frozen.write(&mut std::io::sink()).expect_err("given up");
        assert!(matches!(error.kind(), ErrorKind::GivenUp { .. }));
        error.to_string()
    }

    #[test]
    fn an_aborted_checkpoint_lets_go_of_its_state_and_others_go_on() {
        let mut state = State::new();
        let mut images = LiveImages::default();
        let (first, second) = (state.backend.freeze(), state.backend.freeze());
        images.add(&options_of(1, u64::MAX), first.handle());
        images.add(&options_of(2, u64::MAX), second.handle());
        state.change(1_000);
        images.limit_changes();
        images.aborted(1);
        assert_eq!(images.images.len(), 1);
        assert!(reason(first).ends_with("the checkpoint was aborted"));
        assert!(
            !state.backend.maintain(),
            "the second still reads all groups"
        );
        assert!(second.write(&mut std::io::sink()).is_ok());
        images.limit_changes();
        assert!(images.images.is_empty());
        while state.backend.maintain() {}
        assert_eq!(state.backend.changed_bytes(), 0);
    }

    #[test]
    fn a_snapshot_is_given_up_once_more_has_changed_than_the_limit_allows() {
        let mut state = State::new();
        let mut images = LiveImages::default();
        let frozen = state.backend.freeze();
        images.add(&options_of(1, 10_000), frozen.handle());
        state.change(100);
        images.limit_changes();
        assert_eq!(
            images.images.len(),
            1,
            "100 changes are less than 10,000 bytes"
        );
        state.change(1_000);
        images.limit_changes();
        while state.backend.maintain() {}
        assert_eq!(state.backend.changed_bytes(), 0);
        let reason = reason(frozen);
        assert!(
            reason.contains("10000 bytes of state.backend.heap.snapshot-changes-limit"),
            "{reason}"
        );
    }
}

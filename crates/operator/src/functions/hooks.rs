//! The methods by which every kind of function takes part in checkpoints.
//!
//! They are declared by macros in the trait of each function: as traits of their own, every
//! function would have to name them.

/// What Flink calls `CheckpointedFunction` and `CheckpointListener`.
macro_rules! checkpoint_hooks {
    () => {
        /// A snapshot is about to be taken: bring state up to date that the function keeps
        /// elsewhere.
        ///
        /// # Errors
        ///
        /// Any error fails the job with its message.
        fn snapshot_state(
            &mut self,
            _checkpoint: ::millpond_types::CheckpointId,
        ) -> $crate::Result<()> {
            Ok(())
        }

        $crate::functions::hooks::checkpoint_listener!();
    };
}

/// What Flink calls `CheckpointListener`.
macro_rules! checkpoint_listener {
    () => {
        /// A checkpoint is complete. Best effort: it may be skipped.
        ///
        /// # Errors
        ///
        /// Any error fails the job with its message.
        fn notify_checkpoint_complete(
            &mut self,
            _checkpoint: ::millpond_types::CheckpointId,
        ) -> $crate::Result<()> {
            Ok(())
        }

        /// A checkpoint will never be complete. Best effort: it may be skipped.
        ///
        /// # Errors
        ///
        /// Any error fails the job with its message.
        fn notify_checkpoint_aborted(
            &mut self,
            _checkpoint: ::millpond_types::CheckpointId,
        ) -> $crate::Result<()> {
            Ok(())
        }
    };
}

pub(crate) use {checkpoint_hooks, checkpoint_listener};

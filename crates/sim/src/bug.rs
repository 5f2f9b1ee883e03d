//! Bugs that are planted between the world and what is under test, for the tests of the test.

/// A mistake that the laws have to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A checkpoint is complete although one subtask has not acknowledged it.
    SkippedAcknowledgement,
    /// A sink that is restored commits its transactions under new names.
    CommitTwice,
    /// A job master that was thought to be dead wakes up and goes on, beside its successor.
    StaleMaster,
    /// A master completes snapshots without a look at who has its directory.
    StaleCompletion,
    /// A master deletes without a look at who has its directory.
    StaleDeletion,
    /// A master that locks its directory anew does not look at what another has left there.
    ForgottenSuccessor,
    /// Messages of an older attempt are taken for those of the present one.
    StaleAttempt,
    /// A file that checkpoints share is deleted with the first checkpoint that refers to it.
    EarlyDeletion,
    /// Files that nobody needs any more are forgotten.
    ForgottenDeletion,
    /// Sinks commit when all parts are there, before the metadata is durable.
    EarlyCommit,
    /// A task does not wait for the barriers of all its inputs.
    NoAlignment,
    /// What an unaligned barrier overtakes is not in its snapshot.
    LostInFlight,
    /// Every subtask that is restored takes all records that were in flight.
    InFlightTwice,
    /// An attempt is restored from the second newest snapshot.
    OldSnapshot,
    /// A failed job is restarted whatever its strategy says.
    EndlessRestarts,
    /// An attempt begins at once, without the delay of the strategy.
    ImpatientRestart,
    /// Checkpoints begin without a pause.
    NoPause,
    /// More checkpoints are in progress than allowed.
    TooManyCheckpoints,
    /// After rescaling a subtask drops the last of its key groups.
    LostKeyGroup,
    /// After rescaling a subtask restores a key group of its neighbour too.
    KeyGroupTwice,
    /// Elastic mode changes the parallelism whatever is under way.
    RashChange,
    /// A worker that is lost is never noticed.
    DeafMaster,
    /// A job ends while metadata of an older snapshot is being written.
    HastyEnd,
    /// Whoever claims a snapshot asks only those beside it which files they need.
    NearSighted,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 24] = [
        Bug::SkippedAcknowledgement,
        Bug::CommitTwice,
        Bug::StaleMaster,
        Bug::StaleCompletion,
        Bug::StaleDeletion,
        Bug::ForgottenSuccessor,
        Bug::StaleAttempt,
        Bug::EarlyDeletion,
        Bug::ForgottenDeletion,
        Bug::EarlyCommit,
        Bug::NoAlignment,
        Bug::LostInFlight,
        Bug::InFlightTwice,
        Bug::OldSnapshot,
        Bug::EndlessRestarts,
        Bug::ImpatientRestart,
        Bug::NoPause,
        Bug::TooManyCheckpoints,
        Bug::LostKeyGroup,
        Bug::KeyGroupTwice,
        Bug::RashChange,
        Bug::DeafMaster,
        Bug::HastyEnd,
        Bug::NearSighted,
    ];
}

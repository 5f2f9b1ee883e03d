//! Sources: where records come from, and how their positions become state.
//!
//! Two shapes. [`Source`] has that of Flink's FLIP-27: an enumerator on the job master finds
//! splits, readers on the workers read them; reader state is `SourceReaderState`, one element per
//! split, and the enumerator's state is the operator's coordinator state. [`SourceFunction`] has the
//! older shape: it keeps its positions in operator list state of its own.

mod function;
mod reader;

pub use function::{SourceFunction, SourceFunctionOperator};
pub use reader::{
    Boundedness, ReaderContext, Source, SourceCoordinator, SourceCoordinatorFactory, SourceReader,
    SourceReaderOperator, SourceSplit, SplitEnumerator, source_coordinator,
};

pub(crate) use reader::{read_versioned, versioned};

/// What a source says after it was asked for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputStatus {
    /// There is more right now.
    MoreAvailable,
    /// There is nothing now; ask again at this time (milliseconds since 1970), or when woken.
    NothingAvailable(Option<u64>),
    /// There will never be more.
    EndOfInput,
}

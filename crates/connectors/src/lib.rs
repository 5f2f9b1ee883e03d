//! Sources and sinks for the outside world.
//!
//! | connector | exact after a failure | how |
//! | --- | --- | --- |
//! | [`GeneratorSource`] | yes | a record is a function of its number; numbers are the position |
//! | [`FileSource`] | yes | bytes (plain files) or lines (gzip files) are the position |
//! | [`FileSink`] | yes | hidden files become visible when their checkpoint is complete |
//! | [`CollectSink`] | yes, inside one process | only committed records are visible |
//! | [`PrintSink`] | no, at least once | |
//! | [`DiscardSink`] | | |

mod collect;
mod discard;
mod file;
mod generator;
mod print;
mod rate;

pub use collect::{CollectSink, CollectWriter};
pub use discard::{DiscardSink, DiscardWriter};
pub use file::{
    EncodeOutcome, FileEnumerator, FileReader, FileSink, FileSource, FileSplit, FileWriter,
};
pub use generator::{
    GeneratorEnumerator, GeneratorReader, GeneratorSource, GeneratorSplit, Random,
};
pub use print::{PrintSink, PrintWriter};

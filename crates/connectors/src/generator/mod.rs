//! A source that makes its records: record n is a function of n.
//!
//! The numbers 0, 1, 2, … are dealt out over S splits, number n to split n mod S. S is fixed by the
//! first run and kept in the enumerator's state, so that a position (the next number of one split)
//! means the same at every parallelism.

mod random;
mod reader;
mod split;

use std::sync::Arc;

use millpond_operator::source::{Boundedness, ReaderContext, Source};
use millpond_operator::{Data, Result};

pub use random::Random;
pub use reader::GeneratorReader;
pub use split::{GeneratorEnumerator, GeneratorSplit};

/// How many splits a generator has unless told otherwise.
const DEFAULT_SPLITS: u32 = 16;

/// A source of generated records.
///
/// # Examples
///
/// ```
/// use millpond_connectors::GeneratorSource;
///
/// let squares = GeneratorSource::new(Some(1000), |n| n * n).rate_limit(100);
/// let dice = GeneratorSource::seeded(42, None, |_, random| 1 + random.below(6));
/// # let _ = (squares, dice);
/// ```
pub struct GeneratorSource<F> {
    count: Option<u64>,
    splits: u32,
    records_per_s: Option<u64>,
    function: Arc<F>,
}

impl<F> GeneratorSource<F> {
    /// Record n is `function(n)`, for n below `count` or without end.
    ///
    /// The function must give the same record for the same n whenever it is asked: after a failure
    /// it is asked again.
    pub fn new<T>(count: Option<u64>, function: F) -> Self
    where
        F: Fn(u64) -> T,
    {
        GeneratorSource {
            count,
            splits: DEFAULT_SPLITS,
            records_per_s: None,
            function: Arc::new(function),
        }
    }

    /// Record n is `function(n, random)`, with random numbers that depend on `seed` and n only.
    pub fn seeded<T>(
        seed: u64,
        count: Option<u64>,
        function: F,
    ) -> GeneratorSource<impl Fn(u64) -> T>
    where
        F: Fn(u64, &mut Random) -> T,
    {
        GeneratorSource::new(count, move |n| function(n, &mut Random::of(seed, n)))
    }

    /// Limits the source, all subtasks together, to this many records per second, evenly spread.
    ///
    /// # Panics
    ///
    /// If `records_per_s` is 0.
    #[must_use]
    pub fn rate_limit(self, records_per_s: u64) -> Self {
        assert!(
            records_per_s > 0,
            "a rate limit of 0 records per second would emit nothing"
        );
        GeneratorSource {
            records_per_s: Some(records_per_s),
            ..self
        }
    }

    /// Sets the number of splits (16 unless set): the highest useful parallelism. A job that is
    /// restored keeps the number of its first run.
    ///
    /// # Panics
    ///
    /// If `splits` is 0 or does not fit into 31 bits.
    #[must_use]
    pub fn splits(self, splits: u32) -> Self {
        assert!((1..=i32::MAX as u32).contains(&splits), "{splits} splits");
        GeneratorSource { splits, ..self }
    }
}

impl<T, F> Source for GeneratorSource<F>
where
    T: Data,
    F: Fn(u64) -> T + Send + Sync + 'static,
{
    type Record = T;
    type Split = GeneratorSplit;
    type Enumerator = GeneratorEnumerator;
    type Reader = GeneratorReader<F>;

    fn boundedness(&self) -> Boundedness {
        match self.count {
            Some(_) => Boundedness::Bounded,
            None => Boundedness::ContinuousUnbounded,
        }
    }

    fn create_enumerator(&self, restored: Option<(i32, &[u8])>) -> Result<GeneratorEnumerator> {
        match restored {
            Some((version, state)) => GeneratorEnumerator::restore(version, state),
            None => Ok(GeneratorEnumerator::new(self.splits)),
        }
    }

    fn create_reader(&self, context: ReaderContext) -> Result<GeneratorReader<F>> {
        Ok(GeneratorReader::new(
            Arc::clone(&self.function),
            self.count,
            self.records_per_s,
            context.clock,
        ))
    }
}

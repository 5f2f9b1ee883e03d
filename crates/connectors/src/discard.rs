//! A sink that drops its records.

use std::marker::PhantomData;

use millpond_operator::sink::{Sink, SinkWriter, WriterContext};
use millpond_operator::{Data, Result};

/// Drops records; for jobs whose results lie elsewhere, and for measuring.
pub struct DiscardSink<T> {
    records: PhantomData<fn(T)>,
}

impl<T> DiscardSink<T> {
    /// A sink that drops its records.
    pub fn new() -> Self {
        DiscardSink {
            records: PhantomData,
        }
    }
}

impl<T> Default for DiscardSink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Data> Sink for DiscardSink<T> {
    type Record = T;
    type Writer = DiscardWriter;

    fn create_writer(&self, _context: WriterContext) -> Result<DiscardWriter> {
        Ok(DiscardWriter)
    }
}

/// Drops the records of one subtask.
#[derive(Debug)]
pub struct DiscardWriter;

impl<T> SinkWriter<T> for DiscardWriter {
    fn write(&mut self, _record: T, _timestamp: Option<i64>) -> Result<()> {
        Ok(())
    }
}

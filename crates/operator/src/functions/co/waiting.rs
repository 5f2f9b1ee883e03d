//! The rest of a batch of one input or the other.

use crate::batch::{AnyBatch, Batch, Data, downcast};
use crate::functions::rows::Rows;

/// Records of one of two inputs that are still to be processed.
pub(crate) enum Waiting<A, B> {
    First(Rows<A>),
    Second(Rows<B>),
}

impl<A: Data, B: Data> Waiting<A, B> {
    /// The records of a batch that came in at `input`, 0 or 1.
    pub(crate) fn new(input: usize, batch: Box<dyn AnyBatch>) -> Self {
        if input == 0 {
            Waiting::First(Rows::new(downcast(batch)))
        } else {
            Waiting::Second(Rows::new(downcast(batch)))
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Waiting::First(rows) => rows.is_empty(),
            Waiting::Second(rows) => rows.is_empty(),
        }
    }
}

impl<A, B> Default for Waiting<A, B> {
    fn default() -> Self {
        Waiting::First(Rows::new(Batch::default()))
    }
}

//! What runs inside a task: operators, user functions, sources and sinks, free of any engine.
//!
//! An [`Operator`] takes [`Element`]s (batches of records, watermarks) and puts elements into an
//! [`Output`]; it never sees a thread, a socket or a frontier. The data plane runs chains of
//! operators, tells them when to snapshot, and carries what they put out.

pub mod batch;
mod context;
mod element;
mod error;
pub mod functions;
mod operator;
mod output;
pub mod partition;
mod rows;
pub mod sink;
pub mod source;

pub use batch::{AnyBatch, Batch, BatchCodec, Data};
pub use context::{OpenContext, RestoredState, Restores, SnapshotContext, SubtaskInfo, Wake};
pub use element::{Element, MAX_WATERMARK, NO_TIMESTAMP};
pub use error::{FunctionError, Result, StateFault};
pub use operator::{Durable, Operator, OperatorFactory, OperatorSnapshot};
pub use output::{Collector, Output, Port, SideTag};

//! Millpond: a stateful stream processor whose jobs survive.
//!
//! A job is a program that links this crate. It builds streams in an [`Environment`] and executes
//! them; its state lives through crashes by checkpoints, and its owner takes savepoints to stop,
//! resume, fork, move or rescale it. Savepoints are Apache Flink's, byte for byte.
//!
//! # Examples
//!
//! ```no_run
//! use millpond::prelude::*;
//!
//! struct Counter {
//!     count: ValueState<i64>,
//! }
//!
//! impl KeyedProcessFunction for Counter {
//!     type Key = String;
//!     type In = String;
//!     type Out = String;
//!
//!     fn process_element(
//!         &mut self,
//!         word: String,
//!         _context: &mut KeyedContext<'_, String>,
//!         out: &mut Collector<String>,
//!     ) -> FunctionResult<()> {
//!         let count = self.count.value().unwrap_or(0) + 1;
//!         self.count.update(count);
//!         out.collect(format!("{word} {count}"));
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> millpond::Result<()> {
//!     let env = Environment::from_args()?;
//!     env.from_source(FileSource::lines(["words.txt"]), "words")
//!         .uid("source")
//!         .flat_map(|line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
//!         .key_by_ref(|word| word)
//!         .process(|context| Ok(Counter { count: context.value_state("count")? }))
//!         .uid("counter")
//!         .print();
//!     env.execute("word count")?;
//!     Ok(())
//! }
//! ```

mod config_file;
mod connected;
mod environment;
mod error;
mod execute;
#[cfg(fuzzing)]
pub mod fuzzing;
mod job_client;
mod job_options;
mod plan;
pub mod prelude;
mod restart_options;
pub mod service;
mod state_backends;
mod stream;
mod windowed;

pub use connected::{
    BroadcastConnectedStream, BroadcastStream, Connect, ConnectedStreams,
    KeyedBroadcastConnectedStream, KeyedConnectedStreams,
};
pub use environment::Environment;
pub use error::{Error, Result};
pub use execute::JobResult;
pub use job_client::JobClient;
pub use stream::{DataStream, DataStreamSink, KeyedStream};
pub use windowed::{EvictingWindowedStream, WindowedStream};

pub use millpond_connectors as connectors;
pub use millpond_job::dispatcher::SavepointFormat;
pub use millpond_operator as operator;
pub use millpond_serializer as serializer;
pub use millpond_state as state;
pub use millpond_types as types;

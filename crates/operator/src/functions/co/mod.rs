//! Functions of two inputs: one operator that hears two streams and has state in common for both.
//!
//! The watermark is the lower one of both inputs. Which input is heard first is not promised.

mod flat_map;
mod keyed;
mod process;
mod waiting;

pub use flat_map::CoFlatMapOperator;
pub use keyed::{KeyedCoProcessFunction, KeyedCoProcessOperator};
pub use process::{CoProcessFunction, CoProcessOperator};

pub(crate) use waiting::Waiting;

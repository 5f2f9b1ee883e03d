//! The built-in operators and the traits of the user functions that they run.

pub mod broadcast;
pub mod co;
pub(crate) mod hooks;
mod keyed;
mod keyed_core;
mod open;
mod process;
mod reduce;
pub(crate) mod restore;
mod rows;
mod stateless;
mod watermarks;
pub mod window;

pub use keyed::{KeyedContext, KeyedOpenContext, KeyedProcessFunction, KeyedProcessOperator};
pub use keyed_core::TimeDomain;
pub use open::FunctionOpenContext;
pub use process::{ProcessContext, ProcessFunction, ProcessOperator};
pub use reduce::RunningReduce;
pub use stateless::{FilterOperator, FlatMapOperator, MapOperator};
pub use watermarks::{WatermarkStrategy, WatermarksOperator};

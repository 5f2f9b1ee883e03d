//! The built-in operators and the traits of the user functions that they run.

mod keyed;
mod process;
mod reduce;
pub(crate) mod restore;
mod stateless;
mod watermarks;
mod window;

pub use keyed::{KeyedContext, KeyedOpenContext, KeyedProcessFunction, KeyedProcessOperator};
pub use process::{ProcessContext, ProcessFunction, ProcessOpenContext, ProcessOperator};
pub use reduce::RunningReduce;
pub use stateless::{FilterOperator, FlatMapOperator, MapOperator};
pub use watermarks::{WatermarkStrategy, WatermarksOperator};
pub use window::{TumblingEventTimeWindows, WindowReduceOperator};

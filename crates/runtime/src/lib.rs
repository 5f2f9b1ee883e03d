//! The data plane: the only importer of timely.
//!
//! A timestamp is an epoch and a tick ([`time`]). The barrier of checkpoint n is every operator's
//! advance from epoch e to e + 1; timely's progress protocol proves that all of epoch e has
//! arrived. Everything else that a stateful stream needs is here: a task drains its inputs into a
//! queue of its own (`task`), aligns or overtakes ([`barrier`], `in_flight`), runs its chain of operators in slices
//! (`chain`), sources stay within a window of records in flight (`window`), and all tasks within a
//! limit of what their receivers have not taken (`congestion`, across processes by `credits`).

mod attempt;
pub mod barrier;
mod board;
mod chain;
mod congestion;
mod control;
mod credits;
mod dataflow;
mod durables;
mod edge;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod in_flight;
mod live_images;
mod merge_group;
mod merged_file;
mod merged_files;
mod pace;
mod packet;
mod panic;
mod program;
mod snapshot_pool;
mod socket;
mod state_writer;
mod task;
mod task_time;
pub mod time;
mod uploaded_files;
mod volume;
mod window;

pub use attempt::{AttemptHandle, AttemptOptions, Restore, start_attempt};
pub use panic::contain;
pub use program::{EdgeProgram, NodeProgram, Program};

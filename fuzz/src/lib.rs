//! What the targets of fuzzing share.
//!
//! Each program below `targets/` feeds one reader with bytes that libFuzzer makes up. A panic, an
//! input that takes longer than a few seconds, or one that makes the reader hold more memory than
//! [`within`] allows, ends it and leaves the input in a file. `tests/fuzz.sh` builds and runs them.
//!
//! | file | what |
//! | --- | --- |
//! | `memory` | how much memory a reader may hold for an input |
//! | `input` | numbers and parts out of the bytes of an input |
//! | `golden` | the snapshots that Flink wrote, to begin with |
//! | `seeds` | inputs to begin with, written to a directory |

mod golden;
mod input;
mod memory;
mod seeds;

pub use golden::{Golden, golden, keyed_states, operator_states, serializers};
pub use input::Input;
pub use memory::within;
pub use seeds::seeds;

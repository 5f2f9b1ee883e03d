//! Whole attempts of small jobs, with the test in the place of the job master. Worker processes are
//! those of the data plane, joined by sockets, inside the process of the test.

mod back_pressure;
mod cluster;
mod commits;
mod ends;
mod slow_restore;
mod stages;
mod unaligned;

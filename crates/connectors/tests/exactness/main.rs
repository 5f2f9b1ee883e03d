//! Each record exactly once, whatever happens to the job: sources and sinks run by a small driver
//! that plays the engine.

mod collect;
mod driver;
mod file_sink;
mod file_source;
mod generator;

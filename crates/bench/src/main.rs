//! Benchmarks that print figures.
fn main() {}

//! Ids, key groups, options and the clock: what every other crate may know.

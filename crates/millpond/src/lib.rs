//! Millpond: a stateful stream processor whose jobs survive.

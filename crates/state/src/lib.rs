//! Keyed and operator state as a function sees it; the heap backend.

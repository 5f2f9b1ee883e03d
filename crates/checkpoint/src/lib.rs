//! When a checkpoint begins, completes, fails, is kept, subsumed or disposed; restore and restart decisions.

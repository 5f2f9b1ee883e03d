//! Options: how each is spelled, its older names, its default and its meaning.

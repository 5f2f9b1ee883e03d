//! Job master, worker processes, supervision and restart.

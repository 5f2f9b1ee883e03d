//! The flights job: per-airline and per-aircraft statistics over the flights of 2013.

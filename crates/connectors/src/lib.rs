//! Sources and sinks for the outside world.

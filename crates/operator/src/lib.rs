//! What runs inside a task: operators, user functions, sources and sinks, free of any engine.

//! Flink's REST API over a running cluster.

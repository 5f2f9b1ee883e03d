//! A job as data: graph, ids, chains, execution states and the messages between job master and workers.

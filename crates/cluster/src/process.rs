//! The contract between the job master and a worker process.

use millpond_job::{FromWorker, ToWorker};
use serde::{Deserialize, Serialize};

use crate::deployment::Deployment;

/// From the master to a worker process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum MasterMessage {
    /// Run your share of an attempt.
    Deploy(Box<Deployment>),
    /// For the attempt that runs.
    Worker(ToWorker),
}

/// From a worker process to the master.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ProcessMessage {
    /// The first message.
    Hello {
        /// The process, counted from 0.
        process: u32,
        /// Proves that the master started it.
        token: String,
        /// Where it listens for data connections.
        data_address: String,
    },
    /// Of the attempt that runs.
    Worker(FromWorker),
    /// There was nothing else to say for the interval of heartbeats.
    Alive,
}

/// The first bytes of a data connection: who connects, for which attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataHello {
    pub(crate) token: String,
    pub(crate) attempt: u32,
    pub(crate) process: u32,
}

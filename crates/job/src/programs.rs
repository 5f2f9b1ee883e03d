//! What the REST API may do with programs: executables that were uploaded, each of which can be run as
//! jobs. They take the place of Flink's jars.

use std::collections::BTreeMap;
use std::io::Write;

use millpond_types::JobId;

use crate::dispatcher::DispatchError;

/// The programs of a cluster.
pub trait Programs: Send + Sync {
    /// All of them, the newest first.
    fn list(&self) -> Vec<ProgramInfo>;

    /// Begins to take one in.
    ///
    /// # Errors
    ///
    /// Why it is not wanted.
    fn upload(&self, name: &str) -> Result<Box<dyn Upload>, DispatchError>;

    /// The most bytes of one.
    fn max_bytes(&self) -> u64;

    /// Removes one. Jobs that run it go on.
    ///
    /// # Errors
    ///
    /// It is not known, or cannot be removed.
    fn delete(&self, id: &str) -> Result<(), DispatchError>;

    /// Runs one as a job, and waits until the job is accepted.
    ///
    /// # Errors
    ///
    /// The program is not known, or did not get as far as its job; why.
    fn run(&self, id: &str, request: RunRequest) -> Result<JobId, DispatchError>;

    /// The plan of its job, as JSON in the shape of Flink's.
    ///
    /// # Errors
    ///
    /// As for `run`.
    fn plan(&self, id: &str, request: RunRequest) -> Result<String, DispatchError>;
}

/// A program on its way; dropped, it is forgotten.
pub trait Upload: Write + Send {
    /// All bytes have come; returns where the program is, whose last component is its id.
    ///
    /// # Errors
    ///
    /// It cannot be kept.
    fn finish(self: Box<Self>) -> Result<String, DispatchError>;
}

/// A program in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it came, in milliseconds since 1970.
    pub uploaded_ms: u64,
}

/// How a program is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunRequest {
    /// The program's arguments.
    pub arguments: Vec<String>,
    /// The id of the job; `None`: one is drawn.
    pub job: Option<JobId>,
    /// Options, over those of the cluster.
    pub configuration: BTreeMap<String, String>,
}

//! The proof that jobs survive: a workload, its oracle, and a harness that disturbs real processes.
//!
//! The job `exactness-job` runs the workload with the engine, the oracle runs it in one loop. What
//! the job has published must be what the oracle says, whatever has happened to the job on the way.
//!
//! | file | what |
//! | --- | --- |
//! | `workload` | the records, and what each stage of the job makes of them, as plain functions |
//! | `oracle` | the lines that an undisturbed run publishes, computed in order |
//! | `lines` | multisets of lines, and how two of them differ |
//! | `job_process` | a job in a child process: start, REST, kill -9, end |
//! | `processes` | processes of the machine, as `/proc` tells of them |
//! | `cluster` | a job manager and task managers in child processes, and jobs in their slots |
//! | `network` | hosts as network namespaces, and a switch between them that loses, delays and cuts |
//! | `snapshot_kind` | how a job is ended with each kind of snapshot |
//! | `disturbance` | random runs: what happens to a job, when, and how it goes on |
//! | `crash` | random runs: who is killed in which phase of a snapshot's life |
//! | `phase` | those phases, and storage that stands still in them |
//! | `remains` | what lies on the disk behind it: sound snapshots, garbage |
//! | `flink_count` | the content of a `count` job, as real Flink ran it too |
//! | `takeover` | a cluster that loses its leader, whatever service elects the next one |
//! | `skip` | tests that cannot run where they are |
//! | `zookeeper` | Apache ZooKeeper in child processes: one server, or an ensemble of three |
//! | `random` | random numbers that a printed seed brings back |

pub mod cluster;
pub mod crash;
pub mod disturbance;
pub mod flink_count;
pub mod job_process;
pub mod lines;
pub mod network;
pub mod oracle;
pub mod phase;
pub mod processes;
pub mod random;
pub mod remains;
pub mod seeds;
pub mod skip;
pub mod small_disk;
pub mod snapshot_kind;
pub mod takeover;
pub mod workload;
pub mod zookeeper;

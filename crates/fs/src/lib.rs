//! Bytes behind a URI.
//!
//! [`Location`] names a file or directory, [`FileSystem`] reads and writes it. The file system is
//! handed in, so that tests run on [`memory::MemoryFileSystem`] with faults of their choice;
//! [`file_system_for`] finds the one that a location asks for.
//!
//! Only what a snapshot needs is here: files are written once from start to end, read at any
//! place, and one small file can appear atomically.
//!
//! # Examples
//!
//! ```
//! use millpond_fs::{FileSystem, Location, memory::MemoryFileSystem};
//!
//! let fs = MemoryFileSystem::new();
//! let file = Location::parse("file:///snapshots/chk-1")?.join("_metadata");
//! fs.write_atomic(&file, b"whole")?;
//! assert_eq!(fs.read(&file)?, b"whole");
//! assert_eq!(file.to_string(), "file:/snapshots/chk-1/_metadata");
//! # Ok::<(), millpond_fs::Error>(())
//! ```

mod directory_lock;
mod error;
mod fenced;
mod file_system;
#[cfg(feature = "faults")]
pub mod injected;
mod local;
mod location;
pub mod memory;
mod metered;
mod scratch_directory;

pub use directory_lock::{DirectoryLock, HeldDirectory, LocalDirectoryLock, LocalLock};
pub use error::{Error, ErrorKind};
pub use fenced::{FencedFileSystem, Guard};
pub use file_system::{Durability, Entry, FileReader, FileSystem, FileWriter, file_system_for};
pub use local::LocalFileSystem;
pub use location::Location;
pub use metered::{Meter, MeteredFileSystem};
pub use scratch_directory::{ScratchDirectory, remove_abandoned};

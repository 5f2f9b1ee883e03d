//! A small file system in memory, to be filled and to be made read-only.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::job_process::wait_for;
use crate::skip::skip;

/// A file system of its own, until it is dropped.
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Mounts one of a mebibyte in `directory`; `None`, and a line that says so, if this process may not.
    ///
    /// # Panics
    ///
    /// If the directory cannot be made.
    pub fn mount(directory: &Path) -> Option<Self> {
        Self::mount_of(directory, "1m")
    }

    /// As [`mount`](Self::mount), of another size.
    ///
    /// # Panics
    ///
    /// If the directory cannot be made.
    pub fn mount_of(directory: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(directory).expect("a directory can be made");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory)
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => {
                return Some(SmallDisk {
                    directory: directory.to_owned(),
                });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default();
        let why = format!("this user may not mount a small file system: {why}");
        skip(test, &why);
        None
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }

    /// Writes until nothing more goes in, behind what was written for that before.
    ///
    /// # Panics
    ///
    /// If there is no room for one more file.
    pub fn fill(&self) {
        let mut file = std::fs::File::options();
        let file = file.create(true).append(true).open(self.filler());
        let mut file = file.expect("a file can be made");
        let large = vec![0; 1 << 20];
        for piece in [&large[..], &[0; 512]] {
            while file.write_all(piece).is_ok() {}
        }
    }

    /// Takes away what [`fill`](Self::fill) has written.
    ///
    /// # Panics
    ///
    /// If it was not there.
    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("the filler was there");
    }

    /// Makes it read-only, as soon as no file is being written, or writable again.
    ///
    /// # Panics
    ///
    /// If it cannot be done.
    pub fn set_read_only(&self, read_only: bool) {
        let how = match read_only {
            true => "remount,ro",
            false => "remount,rw",
        };
        wait_for("no file to be written", || {
            let remounted = Command::new("mount")
                .args(["-o", how])
                .arg(&self.directory)
                .output();
            remounted
                .is_ok_and(|output| output.status.success())
                .then_some(())
        });
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // If it stays, the directory cannot be removed, and the test is told.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&self.directory)
            .status();
    }
}

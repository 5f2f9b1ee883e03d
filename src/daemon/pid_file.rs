//! The file that notes which processes run in the background.
//!
//! A line for each: process id, the time at which it began (field 22 of `/proc/PID/stat`, in clock ticks
//! since the machine was started; 0 where the system does not tell), and its number among those of its kind.
//! Whoever reads or changes the file holds its lock.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::process::{Pid, test_kill_process};

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pid: u32,
    began: u64,
    pub(crate) number: u32,
}

impl Entry {
    /// Whether it has not ended, and is the one that was noted.
    pub(crate) fn is_running(self) -> bool {
        match began(self.pid) {
            Began::At(began) => began == self.began,
            Began::Ended => false,
            Began::Unknown => {
                let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
                pid.is_some_and(|pid| test_kill_process(pid).is_ok())
            }
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split_whitespace();
        let (pid, began, number) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Entry {
            pid: pid.parse().ok()?,
            began: began.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

enum Began {
    At(u64),
    Ended,
    /// There is no `/proc`.
    Unknown,
}

fn began(pid: u32) -> Began {
    if !Path::new("/proc/self/stat").exists() {
        return Began::Unknown;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, which is in brackets, may hold anything.
    let Some((_, behind_name)) = stat.rsplit_once(')') else {
        return Began::Ended;
    };
    let mut fields = behind_name.split_whitespace();
    match (fields.next(), fields.nth(18).map(str::parse)) {
        // Ended, and nobody has asked how.
        (Some("Z" | "X"), _) => Began::Ended,
        (_, Some(Ok(ticks))) => Began::At(ticks),
        _ => Began::Ended,
    }
}

/// The file, locked.
pub(crate) struct PidFile {
    file: File,
    entries: Vec<Entry>,
}

impl PidFile {
    /// Opens it, and forgets those that have ended.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let all = text.lines().filter_map(Entry::parse);
        let entries = all.filter(|entry| entry.is_running()).collect();
        Ok(PidFile { file, entries })
    }

    /// Those that run, in the order in which they were started.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The smallest number, from 1, that none of them has.
    pub(crate) fn free_number(&self) -> u32 {
        let is_free = |number: &u32| self.entries.iter().all(|entry| entry.number != *number);
        (1..)
            .find(is_free)
            .expect("there are not so many processes")
    }

    /// Notes one more.
    pub(crate) fn add(&mut self, pid: u32, number: u32) -> io::Result<()> {
        let began = match began(pid) {
            Began::At(began) => began,
            Began::Ended | Began::Unknown => 0,
        };
        self.entries.push(Entry { pid, began, number });
        self.write()
    }

    /// Writes those that run.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.entries.retain(|entry| entry.is_running());
        let line = |entry: &Entry| format!("{} {} {}\n", entry.pid, entry.began, entry.number);
        let text: String = self.entries.iter().map(line).collect();
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its id may be that of anything by now, and that must not be killed.
    #[test]
    fn a_process_that_has_the_id_of_another_one_is_not_that_one() {
        let place = tempfile::tempdir().expect("room");
        let path = place.path().join("some.pids");
        let pid = std::process::id();
        let mut file = PidFile::open(&path).expect("room");
        assert_eq!((file.entries().len(), file.free_number()), (0, 1));
        file.add(pid, 1).expect("room");
        drop(file);
        let file = PidFile::open(&path).expect("there");
        assert_eq!((file.entries().len(), file.free_number()), (1, 2));
        let own = file.entries()[0];
        drop(file);
        let other = format!("{pid} {} 1\nno line\n{} 1 2\n", own.began + 1, u32::MAX);
        std::fs::write(&path, other).expect("room");
        assert_eq!(PidFile::open(&path).expect("there").entries(), []);
    }
}

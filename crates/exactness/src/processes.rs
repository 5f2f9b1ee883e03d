//! Processes of the machine, as `/proc` tells of them: those of a job under test, and whether one has ended.

use std::path::Path;

/// The processes whose command line names `directory`, but for those that are ending.
pub(crate) fn processes_of(directory: &Path) -> Vec<u32> {
    let pids = all_processes().into_iter();
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| names(&command_line(*pid), directory))
        .collect()
}

fn all_processes() -> Vec<u32> {
    numbers_in("/proc")
}

/// The entries of a directory that are numbers: processes, or threads of one.
fn numbers_in(directory: &str) -> Vec<u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.collect()
}

/// Empty if there is no such process, and of one that is ending.
fn command_line(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

fn names(command_line: &[u8], directory: &Path) -> bool {
    let needle = directory.display().to_string().into_bytes();
    command_line
        .windows(needle.len())
        .any(|part| part == needle)
}

/// The state of a process and its parent.
fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which is in brackets, may hold anything.
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    state_and_parent(pid).map(|(_, parent)| parent)
}

/// Those that a process has started itself.
pub fn children_of(parent_pid: u32) -> Vec<u32> {
    let all = all_processes().into_iter();
    all.filter(|pid| parent(*pid) == Some(parent_pid)).collect()
}

/// Whether a process has not ended: it may stand still.
pub fn lives(pid: u32) -> bool {
    !command_line(pid).is_empty()
}

/// Whether a process that named `directory` may have files open and locked still: it has a command line,
/// or has lost that and not yet all its threads. Of one that waits to be reaped the first one is left.
pub(crate) fn holds_files(pid: u32, directory: &Path) -> bool {
    let line = command_line(pid);
    if !line.is_empty() {
        // If it names another one, its id is that of a later process.
        return names(&line, directory);
    }
    let threads = numbers_in(&format!("/proc/{pid}/task")).len();
    match state_and_parent(pid) {
        None => false,
        Some((state, _)) => !matches!(state.as_str(), "Z" | "X") || threads > 1,
    }
}

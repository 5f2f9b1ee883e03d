//! What the operating system says of the processes that are measured.

use std::fs;

/// User plus system time of this process and of its children that live, in seconds.
pub(crate) fn cpu_s() -> f64 {
    processes()
        .iter()
        .filter_map(|process| cpu_ticks(process))
        .sum::<u64>() as f64
        / ticks_per_s()
}

/// What has been sent over the loopback device of this machine so far, by whatever process, in bytes.
pub(crate) fn loopback_bytes() -> u64 {
    let devices = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let loopback = devices
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("lo:"))
        .and_then(|counts| counts.split_whitespace().next()?.parse().ok());
    loopback.unwrap_or(0)
}

/// Resident memory of this process and of its children that live, in bytes.
pub(crate) fn rss_bytes() -> u64 {
    let pages = |process: &String| {
        let text = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    processes().iter().filter_map(pages).sum::<u64>() * 4096
}

/// The most resident memory that this process has had, in bytes.
pub(crate) fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    peak.unwrap_or(0) * 1024
}

/// Memory of a process that is resident and of no file, in bytes; 0 once it is gone.
pub(crate) fn private_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    resident.unwrap_or(0) * 1024
}

/// Linux fixes the unit of these figures at 100 per second for user space.
fn ticks_per_s() -> f64 {
    100.0
}

fn cpu_ticks(process: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// This process and its direct children.
fn processes() -> Vec<String> {
    let mut all = vec!["self".to_owned()];
    all.extend(children_of("self"));
    all
}

/// The direct children of a process that live.
pub(crate) fn children_of(process: impl std::fmt::Display) -> Vec<String> {
    let mut all = Vec::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return all;
    };
    for task in tasks.flatten() {
        if let Ok(children) = fs::read_to_string(task.path().join("children")) {
            all.extend(children.split_whitespace().map(str::to_owned));
        }
    }
    all
}

/// The value below which `share` of the sorted values lie.
pub(crate) fn quantile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    let index = ((sorted.len() as f64) * share) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

//! A slow sink slows its sources down: memory stays bounded and checkpoints complete.

use millpond_exactness::job_process::{Bench, wait_for};

/// Far above what the job needs, far below what it would take to queue what its sources could make.
const MOST_RSS_KB: u64 = 400 * 1024;

fn rss_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[test]
fn a_slow_sink_keeps_memory_bounded_and_checkpoints_complete() {
    for processes in ["1", "2"] {
        let bench = Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
            .argument("--endless", true)
            .argument("--records-a", u64::MAX / 2)
            .argument("--keys", 100)
            .argument("--slow-sink-us", 50)
            .option("parallelism.default", 2)
            .option("execution.checkpointing.interval", "100 ms");
        let mut job = bench.start(&[("cluster.processes", processes)]);
        job.ready();
        let mut highest = 0;
        wait_for("3 checkpoints", || {
            let pids = job.workers().into_iter().chain([job.pid()]);
            highest = pids.map(rss_kb).max().unwrap_or(0).max(highest);
            assert!(highest < MOST_RSS_KB, "{highest} kB");
            (job.completed_checkpoints()? >= 3).then_some(())
        });
        eprintln!("at most {highest} kB in {processes} processes");
        job.cancel();
        job.wait();
    }
}

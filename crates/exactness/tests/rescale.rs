//! A savepoint or checkpoint is resumed at another parallelism, in other processes, without loss.

use millpond_exactness::job_process::Bench;
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};

const WORKLOAD: Workload = Workload {
    records_a: 20_000,
    records_b: 20_000,
    keys: 200,
};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", WORKLOAD.records_a)
        .argument("--records-b", WORKLOAD.records_b)
        .argument("--keys", WORKLOAD.keys)
        .argument("--rate", 8_000)
        .option("pipeline.max-parallelism", 128)
        .option("execution.checkpointing.interval", "50 ms")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
}

fn assert_exact(bench: &Bench) {
    let wrong = difference(&expected(&WORKLOAD), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

#[test]
fn savepoints_are_resumed_at_parallelism_1_3_2_5_1_8() {
    let bench = bench();
    let mut newest: Option<String> = None;
    for parallelism in ["1", "3", "2", "5", "1", "8"] {
        let mut options = vec![("parallelism.default", parallelism)];
        options.extend(
            newest
                .as_deref()
                .map(|path| ("execution.state-recovery.path", path)),
        );
        let mut job = bench.start(&options);
        if parallelism == "8" {
            job.finish();
        } else {
            job.wait_for_checkpoints(1);
            newest = Some(job.stop(false));
        }
    }
    assert_exact(&bench);
}

#[test]
fn retained_checkpoints_are_resumed_at_another_parallelism_and_in_other_processes() {
    let bench = bench();
    let mut newest: Option<String> = None;
    for (parallelism, processes) in [("3", "2"), ("2", "1"), ("4", "2"), ("1", "1")] {
        let mut options = vec![
            ("parallelism.default", parallelism),
            ("cluster.processes", processes),
        ];
        options.extend(
            newest
                .as_deref()
                .map(|path| ("execution.state-recovery.path", path)),
        );
        let mut job = bench.start(&options);
        if parallelism == "1" {
            job.finish();
        } else {
            job.wait_for_checkpoints(2);
            job.kill_master();
            newest = bench.newest_snapshot().map(|snapshot| snapshot.path());
        }
    }
    assert_exact(&bench);
}

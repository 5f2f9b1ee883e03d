//! Checkpoints go on while sources end, and the last one publishes everything.

use millpond_exactness::job_process::{Bench, wait_for};
use millpond_exactness::lines::{Lines, add, difference};
use millpond_exactness::oracle::{Workload, expected};
use millpond_exactness::workload::farewell_line;

fn bench(workload: &Workload) -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(workload)
        .option("parallelism.default", 2)
}

fn assert_exact(bench: &Bench, workload: &Workload) {
    let wrong = difference(&expected(workload), &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

#[test]
fn checkpoints_go_on_when_one_of_two_sources_has_ended() {
    let workload = Workload {
        records_a: 20_000,
        records_b: 100,
        keys: 20,
    };
    let bench = bench(&workload)
        .held()
        .argument("--rate", 10_000)
        .option("execution.checkpointing.interval", "20 ms")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        );
    let of_b = |lines: &Lines| lines.keys().any(|line| line.starts_with("timer,"));
    let mut job = bench.start(&[]);
    // Timers fire only when input B, whose watermark is behind, does not hold them: it has ended.
    wait_for("the end of input B", || {
        of_b(&bench.published()).then_some(())
    });
    let so_far = job.completed_checkpoints().expect("the job answers");
    job.wait_for_checkpoints(so_far + 5);
    job.kill_master();
    let newest = bench.newest_snapshot().expect("a checkpoint").path();
    let mut job = bench.start(&[
        ("execution.state-recovery.path", &newest),
        ("parallelism.default", "3"),
    ]);
    job.finish();
    assert_exact(&bench, &workload);
}

/// If it breaks, a job that fails between the end of an input and its own end publishes twice what
/// its functions say at their end.
#[test]
fn what_a_function_emits_at_its_end_is_published_once_however_often_the_job_is_restored() {
    let workload = Workload {
        records_a: 20_000,
        records_b: 100,
        keys: 20,
    };
    let farewell = farewell_line(100);
    let bench = bench(&workload)
        .held()
        .argument("--farewell", true)
        .argument("--rate", 5_000)
        .option("execution.checkpointing.interval", "20 ms")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        );
    let mut newest: Option<String> = None;
    for (processes, parallelism) in [("1", "2"), ("2", "2"), ("1", "3")] {
        let mut options = vec![
            ("cluster.processes", processes),
            ("parallelism.default", parallelism),
        ];
        if let Some(newest) = &newest {
            options.push(("execution.state-recovery.path", newest.as_str()));
        }
        let mut job = bench.start(&options);
        // It is in a complete checkpoint then, and so is the end of the function that said it.
        wait_for("the farewell", || {
            bench.published().contains_key(&farewell).then_some(())
        });
        job.wait_for_checkpoints(3);
        job.kill_master();
        newest = bench.newest_snapshot().map(|snapshot| snapshot.path());
    }
    let newest = newest.expect("a checkpoint");
    let mut job = bench.start(&[("execution.state-recovery.path", &newest)]);
    job.finish();
    let mut expected = expected(&workload);
    add(&mut expected, farewell);
    let wrong = difference(&expected, &bench.published());
    assert_eq!(wrong, None, "{}", wrong.clone().unwrap_or_default());
}

#[test]
fn the_end_of_all_sources_publishes_everything_by_a_last_checkpoint() {
    let workload = Workload {
        records_a: 5_000,
        records_b: 3_000,
        keys: 20,
    };
    for processes in ["1", "2"] {
        let bench = bench(&workload);
        // No checkpoint but the last is ever due.
        let mut job = bench.start(&[
            ("execution.checkpointing.interval", "1 h"),
            ("cluster.processes", processes),
        ]);
        job.finish();
        assert_exact(&bench, &workload);
    }
}

#[test]
fn without_checkpoints_everything_is_published_at_the_end() {
    let workload = Workload {
        records_a: 5_000,
        records_b: 3_000,
        keys: 20,
    };
    for processes in ["1", "2"] {
        let bench = bench(&workload);
        let mut job = bench.start(&[("cluster.processes", processes)]);
        job.finish();
        assert_exact(&bench, &workload);
    }
}

#[test]
fn a_silent_source_holds_neither_records_nor_checkpoints() {
    let workload = Workload {
        records_a: 200_000,
        records_b: 0,
        keys: 20,
    };
    let records = |lines: &Lines| -> u64 {
        let lines = lines.iter().filter(|(line, _)| line.starts_with("count,"));
        lines.map(|(_, times)| times).sum()
    };
    let all = records(&expected(&workload));
    for processes in ["1", "2"] {
        let bench = bench(&workload)
            .argument("--silent-b", true)
            .argument("--endless", true)
            .option("execution.checkpointing.interval", "50 ms");
        let mut job = bench.start(&[("cluster.processes", processes)]);
        job.wait_for_checkpoints(2);
        wait_for("all records of the other source", || {
            (records(&bench.published()) == all).then_some(())
        });
        job.stop(false);
        assert_eq!(records(&bench.published()), all);
    }
}

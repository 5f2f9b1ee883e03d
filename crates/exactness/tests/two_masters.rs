//! One job started twice in one directory: the second start is refused, and whoever finds another in its
//! place, or what that one has left, completes and deletes nothing any more.

use millpond_exactness::job_process::{
    Bench, JobProcess, continue_process, stop_process, wait_for,
};
use millpond_exactness::oracle::Workload;
use millpond_exactness::remains::unsound;

const WORKLOAD: Workload = Workload {
    records_a: 8_000,
    records_b: 8_000,
    keys: 40,
};

/// Nobody waits for its end.
const ENDLESS: Workload = Workload {
    records_a: 1_000_000,
    records_b: 1_000_000,
    keys: 40,
};

const JOB_ID: &str = "$internal.pipeline.job-id";

fn bench(workload: Workload) -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&workload)
        .held()
        .argument("--rate", 1_000)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "50 ms")
        .option("execution.checkpointing.data-inline-threshold", "0 b")
        .option(
            "execution.checkpointing.tolerable-failed-checkpoints",
            100_000,
        )
}

fn kill(mut job: JobProcess) {
    job.kill_master();
}

/// Both took the same numbers, each replaced the other's `_metadata`, and the second removed at its start
/// what the first was just writing.
#[test]
fn the_second_start_of_a_job_is_refused_and_costs_the_first_nothing() {
    for processes in ["1", "2"] {
        let (bench, elsewhere) = (bench(WORKLOAD), bench(WORKLOAD));
        let id = "ab".repeat(16);
        let checkpoints = bench.checkpoints().display().to_string();
        let options = [
            (JOB_ID, id.as_str()),
            ("cluster.processes", processes),
            ("execution.checkpointing.dir", checkpoints.as_str()),
        ];
        let mut first = bench.start(&options);
        first.wait_for_checkpoints(2);
        let mut second = elsewhere.start(&options);
        assert_eq!(second.wait().code(), Some(1), "{}", second.log());
        let handshake = second.handshake().expect("it has said why");
        assert_eq!(handshake.status.as_deref(), Some("FAILED"));
        let why = handshake.failure.expect("a reason");
        // Which one that is may not be known while others lock and unlock.
        let holder = format!("process {} of this machine", first.pid());
        let is_told = [holder.as_str(), "another process"];
        assert!(is_told.iter().any(|who| why.contains(who)), "{why}");
        assert!(why.contains(&format!("{checkpoints}/{id}")), "{why}");
        assert!(elsewhere.published().is_empty(), "it has done nothing");
        let so_far = first.completed_checkpoints().expect("the job answers");
        first.wait_for_checkpoints(so_far + 2);
        assert_eq!(first.failed_checkpoints(), 0, "{}", first.log());
        assert_eq!(first.failed_attempts(), 0, "{}", first.log());
        // The lock ends with the process, however that ends.
        kill(first);
        let newest = bench.newest_snapshot().expect("a checkpoint").path();
        let again = [("execution.state-recovery.path", newest.as_str())];
        let mut third = bench.start(&[&options[..], &again].concat());
        third.finish();
        bench.assert_exact(&WORKLOAD);
    }
}

/// A disk that was unmounted and mounted again elsewhere, for example.
#[test]
fn a_job_whose_directory_has_become_another_masters_completes_nothing_there() {
    let (bench, elsewhere) = (bench(ENDLESS), bench(ENDLESS));
    let id = "cd".repeat(16);
    let checkpoints = bench.checkpoints().display().to_string();
    let options = [
        (JOB_ID, id.as_str()),
        ("execution.checkpointing.dir", checkpoints.as_str()),
    ];
    let mut first = bench.start(&options);
    first.wait_for_checkpoints(2);
    stop_process(first.pid());
    let aside = bench.checkpoints().with_extension("aside");
    std::fs::rename(bench.checkpoints(), &aside).expect("it can be moved");
    let mut second = elsewhere.start(&options);
    second.wait_for_checkpoints(2);
    continue_process(first.pid());
    let holder = format!("process {} of this machine", second.pid());
    wait_for("a checkpoint of the first to fail as it should", || {
        let failed = first.job("/checkpoints")["latest"]["failed"].clone();
        let why = failed["failure_message"].to_string();
        why.contains(&holder).then_some(())
    });
    let completed = first.completed_checkpoints();
    // Though both take the same numbers at the same pace, the first a moment before the second.
    let so_far = second.completed_checkpoints().expect("the job answers");
    second.wait_for_checkpoints(so_far + 5);
    assert_eq!(first.completed_checkpoints(), completed);
    // A savepoint lies elsewhere, and would commit all the same.
    wait_for("a savepoint of the first to fail as it should", || {
        let trigger = first.trigger_savepoint()?;
        let why = first
            .savepoint_result(&trigger)?
            .expect_err("another has the directory");
        why.contains(&holder).then_some(())
    });
    // In this order: the directory of the first stands in the command line of both.
    kill(second);
    kill(first);
    assert_eq!(unsound(&[bench.checkpoints()]), [] as [String; 0]);
}

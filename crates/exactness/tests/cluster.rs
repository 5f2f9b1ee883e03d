//! Jobs in the slots of a cluster: a job manager, task managers, and what happens when one of them dies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use millpond_certificates::Authority;
use millpond_exactness::cluster::{Cluster, ClusterJob, HEARTBEAT, PATIENT};
use millpond_exactness::job_process::{
    Bench, continue_process, kill_process, stop_process, wait_for,
};
use millpond_exactness::lines::difference;
use millpond_exactness::oracle::{Workload, expected};
use millpond_exactness::random::Random;
use millpond_exactness::remains::{collect_garbage, files_below};
use millpond_exactness::seeds::for_each_seed;
use millpond_exactness::takeover;

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 10_000,
    keys: 40,
};

fn bench(rate: u32) -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", rate)
        .option("execution.checkpointing.interval", "50 ms")
        .option(
            "execution.checkpointing.externalized-checkpoint-retention",
            "RETAIN_ON_CANCELLATION",
        )
}

fn slots(cluster: &mut Cluster, expected: (u64, u64)) {
    wait_for(&format!("slots to be {expected:?}"), || {
        let overview = cluster.get("/overview");
        let found = (
            overview["slots-total"].as_u64()?,
            overview["slots-available"].as_u64()?,
        );
        (found == expected).then_some(())
    });
}

fn worker_of(cluster: &Cluster, task_manager: u32) -> u32 {
    wait_for("a worker", || {
        cluster.children_of(task_manager).first().copied()
    })
}

/// A job in all slots of one task manager, behind three checkpoints; returns that task manager too.
fn running(cluster: &mut Cluster) -> (u32, ClusterJob) {
    let task_manager = cluster.add_task_manager(2);
    let job = cluster.run(&[("parallelism.default", "2")]);
    job.wait_for_checkpoints(3);
    (task_manager, job)
}

/// The job once more, from its newest snapshot, to its end.
fn resumed(cluster: &mut Cluster, bench: &Bench) {
    let newest = bench.newest_snapshot().expect("a checkpoint").path();
    let job = cluster.run(&[
        ("parallelism.default", "2"),
        ("execution.state-recovery.path", &newest),
    ]);
    job.wait_for("FINISHED");
}

/// Waits until the job has begun again behind what was done to it.
fn recovered(job: &ClusterJob, failed_before: usize) {
    wait_for("the job to recover", || {
        (job.failed_attempts() > failed_before && job.status() == "RUNNING").then_some(())
    });
}

#[test]
fn a_job_runs_in_the_slots_of_two_task_managers_and_gives_them_back() {
    let bench = bench(3_000);
    let mut cluster = Cluster::start(&bench, &PATIENT);
    let first = cluster.add_task_manager(2);
    let second = cluster.add_task_manager(2);
    slots(&mut cluster, (4, 4));
    let job = cluster.run(&[("parallelism.default", "4")]);
    job.wait_for("RUNNING");
    slots(&mut cluster, (4, 0));
    for task_manager in [first, second] {
        assert_eq!(cluster.children_of(task_manager).len(), 1);
    }
    let rows = cluster.get("/taskmanagers")["taskmanagers"].clone();
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
    job.wait_for_checkpoints(2);
    let savepoint = job.savepoint(true);
    job.wait_for("FINISHED");
    slots(&mut cluster, (4, 4));
    wait_for("the workers and the job master to be gone", || {
        (cluster.processes().len() == 3).then_some(())
    });
    // On in fewer slots.
    let more = [
        ("parallelism.default", "3"),
        ("execution.state-recovery.path", savepoint.as_str()),
    ];
    let job = cluster.run(&more);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    let overview = cluster.get("/overview");
    assert_eq!(overview["jobs-finished"], 2, "{overview}");
    cluster.end();
}

#[test]
fn a_task_manager_keeps_a_program_for_as_long_as_it_is_told_to() {
    let bench = bench(3_000);
    let mut cluster = Cluster::start(&bench, &["blob.service.cleanup.interval=1"]);
    let copies = |cluster: &Cluster| cluster.local_files().0.len();
    let (_, job) = running(&mut cluster);
    assert_eq!(copies(&cluster), 1);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(copies(&cluster), 1, "it is run");
    job.wait_for("FINISHED");
    wait_for("the program to be removed", || {
        (copies(&cluster) == 0).then_some(())
    });
    // It is fetched again.
    let other = cluster.run_with_output(
        &bench.directory().join("again").display().to_string(),
        &[("parallelism.default", "2")],
    );
    other.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_job_goes_on_in_other_slots_when_a_task_manager_is_killed() {
    let bench = bench(3_000);
    let mut cluster = Cluster::start(&bench, &HEARTBEAT);
    let task_managers: Vec<u32> = (0..3).map(|_| cluster.add_task_manager(2)).collect();
    let job = cluster.run(&[("parallelism.default", "4")]);
    job.wait_for("RUNNING");
    job.wait_for_checkpoints(3);
    let of_the_job = |pid: &&u32| !cluster.children_of(**pid).is_empty();
    let busy = *task_managers.iter().find(of_the_job).expect("a worker");
    let failed = job.failed_attempts();
    cluster.kill_task_manager(busy);
    recovered(&job, failed);
    slots(&mut cluster, (4, 0));
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_killed_worker_costs_its_job_an_attempt_and_another_job_nothing() {
    // Neither is to end before one of them is hit, however busy the machine is.
    let (bench, other_bench) = (bench(1_000), bench(1_000));
    let mut cluster = Cluster::start(&bench, &PATIENT);
    let first = cluster.add_task_manager(1);
    cluster.add_task_manager(1);
    let job = cluster.run(&[]);
    job.wait_for("RUNNING");
    let out = other_bench.out().display().to_string();
    let other = cluster.run_with_output(&out, &[]);
    other.wait_for("RUNNING");
    job.wait_for_checkpoints(2);
    kill_process(worker_of(&cluster, first));
    wait_for("a job to recover", || {
        let failed = job.failed_attempts() + other.failed_attempts();
        (failed > 0).then_some(())
    });
    job.wait_for("FINISHED");
    other.wait_for("FINISHED");
    assert_eq!(job.failed_attempts() + other.failed_attempts(), 1);
    bench.assert_exact(&WORKLOAD);
    other_bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_job_waits_for_slots_and_begins_when_they_come() {
    let bench = bench(6_000);
    let options = [&PATIENT[..], &["slot.request.timeout=60 s"]].concat();
    let mut cluster = Cluster::start(&bench, &options);
    cluster.add_task_manager(1);
    let job = cluster.run(&[("parallelism.default", "2")]);
    slots(&mut cluster, (1, 1));
    assert_eq!(job.status(), "INITIALIZING");
    cluster.add_task_manager(1);
    job.wait_for("FINISHED");
    assert_eq!(job.failed_attempts(), 0);
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_job_that_gets_no_slots_in_time_fails_by_its_restart_strategy_and_says_why() {
    let bench = bench(6_000);
    let options = [&HEARTBEAT[..], &["slot.request.timeout=300 ms"]].concat();
    let mut cluster = Cluster::start(&bench, &options);
    cluster.add_task_manager(1);
    let job = cluster.run(&[
        ("parallelism.default", "3"),
        ("restart-strategy.type", "none"),
    ]);
    job.wait_for("FAILED");
    let why = job.try_get("/exceptions").expect("an answer").to_string();
    assert!(
        why.contains("3 slots are wanted, 1 of 1 in the cluster are free"),
        "{why}"
    );
    slots(&mut cluster, (1, 1));
    cluster.end();
}

#[test]
fn a_task_manager_that_stands_still_is_replaced_and_does_no_harm_when_it_wakes_up() {
    let bench = bench(2_000);
    let mut cluster = Cluster::start(&bench, &HEARTBEAT);
    let (first, job) = running(&mut cluster);
    let silent = [first, worker_of(&cluster, first)];
    cluster.add_task_manager(2);
    let failed = job.failed_attempts();
    silent.into_iter().for_each(stop_process);
    recovered(&job, failed);
    silent.into_iter().for_each(continue_process);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    // It has come again.
    slots(&mut cluster, (4, 4));
    cluster.end();
}

#[test]
fn a_job_whose_master_is_killed_has_failed_and_its_slots_are_free() {
    let bench = bench(2_000);
    let mut cluster = Cluster::start(&bench, &HEARTBEAT);
    let (task_manager, job) = running(&mut cluster);
    let masters = cluster.children_of(cluster.job_manager());
    assert_eq!(masters.len(), 1);
    kill_process(masters[0]);
    job.wait_for("FAILED");
    let why = job.try_get("/exceptions").expect("an answer").to_string();
    assert!(
        why.contains("the process of the job master ended (signal: 9"),
        "{why}"
    );
    slots(&mut cluster, (2, 2));
    wait_for("the workers to be gone", || {
        cluster.children_of(task_manager).is_empty().then_some(())
    });
    resumed(&mut cluster, &bench);
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn jobs_end_with_their_job_manager_and_task_managers_come_back_to_the_next_one() {
    let bench = bench(2_000);
    let mut cluster = Cluster::start(&bench, &HEARTBEAT);
    let (task_manager, _) = running(&mut cluster);
    cluster.restart_job_manager();
    wait_for("the job master and its workers to be gone", || {
        let workers = cluster.children_of(task_manager);
        (workers.is_empty() && cluster.processes().len() == 2).then_some(())
    });
    slots(&mut cluster, (2, 2));
    // Programs were kept, and the log of the job.
    resumed(&mut cluster, &bench);
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn what_cannot_run_is_refused_with_a_reason() {
    let bench = bench(2_000);
    let mut cluster = Cluster::start(&bench, &HEARTBEAT);
    cluster.add_task_manager(1);
    let refusals = [
        (
            cluster
                .try_run(&[("parallelism.default", "many")])
                .to_string(),
            "parallelism.default",
        ),
        (
            cluster
                .post("/jars/nothing/run", &serde_json::json!({}))
                .to_string(),
            "Program nothing does not exist",
        ),
        (
            cluster
                .try_run(&[("execution.state-recovery.path", "/nowhere")])
                .to_string(),
            "jobid",
        ),
    ];
    for (answer, part) in refusals {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let none = bench.directory().join("none");
    std::fs::write(&none, "#!/bin/sh\necho no job here >&2\nexit 3\n").expect("room");
    let program = cluster.upload(&none);
    let answer = cluster.post(&format!("/jars/{program}/run"), &serde_json::json!({}));
    let answer = answer.to_string();
    assert!(
        answer.contains("exit status: 3") && answer.contains("no job here"),
        "{answer}"
    );
    assert!(
        cluster
            .get(&format!("/jars/{program}/plan"))
            .to_string()
            .contains("no job here")
    );
    let plan = {
        let job = cluster.get("/jars")["files"]
            .as_array()
            .expect("a list")
            .len();
        assert_eq!(job, 2);
        cluster.plan()
    };
    assert!(plan["plan"]["nodes"].is_array(), "{plan}");
    cluster.end();
}

/// A program that is gone when its job starts again ends that for good.
#[test]
fn a_program_is_deleted_unless_a_job_needs_it() {
    let bench = bench(2_000);
    let mut cluster = Cluster::start(&bench, &HEARTBEAT);
    let worker = cluster.add_task_manager(2);
    let job = cluster.run(&[]);
    let uploaded = |cluster: &mut Cluster<'_>| {
        let files = cluster.get("/jars")["files"].clone();
        let files = files.as_array().expect("a list").clone();
        let ids = files
            .iter()
            .map(|file| file["id"].as_str().expect("an id").to_owned());
        ids.collect::<Vec<_>>()
    };
    let all = uploaded(&mut cluster);
    assert_eq!(all.len(), 1);
    let program = format!("/jars/{}", all[0]);
    let (status, answer) = cluster.delete(&program);
    let answer = answer.to_string();
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer.contains("Could not delete the program") && answer.contains(&job.id),
        "{answer}"
    );
    // What is uploaded again is the same program.
    assert_eq!(
        cluster.upload(Path::new(env!("CARGO_BIN_EXE_exactness-job"))),
        all[0]
    );
    job.wait_for_checkpoints(1);
    kill_process(worker_of(&cluster, worker));
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    assert_eq!(cluster.delete(&program), (200, serde_json::json!({})));
    assert_eq!(uploaded(&mut cluster), Vec::<String>::new());
    assert_eq!(cluster.delete(&program).0, 404);
    cluster.end();
}

/// Where a subtask runs is what a user looks for when one of many is slow.
#[test]
fn rest_says_which_task_manager_runs_a_subtask() {
    let bench = bench(6_000);
    let mut cluster = Cluster::start(&bench, &PATIENT);
    cluster.add_task_manager(1);
    cluster.add_task_manager(1);
    let job = cluster.run(&[("parallelism.default", "2")]);
    let rows = cluster.get("/taskmanagers")["taskmanagers"].clone();
    let mut known: Vec<String> = rows
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect();
    known.sort();
    wait_for("both subtasks to be seen at their task managers", || {
        let vertices = job.try_get("")?["vertices"].clone();
        let id = vertices[0]["id"].as_str()?.to_owned();
        let vertex = job.try_get(&format!("/vertices/{id}"))?;
        let subtasks = vertex["subtasks"].as_array()?.clone();
        let places = subtasks
            .iter()
            .map(|subtask| subtask["taskmanager-id"].as_str());
        let mut places: Vec<String> = places.flatten().map(str::to_owned).collect();
        places.sort();
        let hosts = subtasks
            .iter()
            .all(|subtask| subtask["endpoint"] == "127.0.0.1");
        (places == known && hosts).then_some(())
    });
    job.wait_for("FINISHED");
    cluster.end();
}

#[test]
fn a_job_that_fails_too_often_is_failed() {
    let bench = bench(2_000);
    let strategy = [
        ("restart-strategy.type", "failure-rate"),
        (
            "restart-strategy.failure-rate.max-failures-per-interval",
            "2",
        ),
        ("restart-strategy.failure-rate.failure-rate-interval", "1 h"),
        ("restart-strategy.failure-rate.delay", "10 ms"),
    ];
    let mut cluster = Cluster::start(&bench, &HEARTBEAT);
    let worker = cluster.add_task_manager(2);
    let job = cluster.run(&strategy);
    for failures in 1..=3 {
        // Of the attempt that is there now.
        job.wait_for_checkpoints(1);
        kill_process(worker_of(&cluster, worker));
        match failures {
            3 => job.wait_for("FAILED"),
            _ => wait_for("the job to start again", || {
                (job.failed_attempts() == failures).then_some(())
            }),
        }
    }
    let why = job.try_get("/exceptions").expect("an answer").to_string();
    let suppressed = "Recovery is suppressed by FailureRateRestartBackoffTimeStrategy";
    assert!(why.contains(suppressed), "{why}");
    // The only one that there is.
    let place = cluster.get("/taskmanagers")["taskmanagers"][0]["id"].clone();
    let place = format!(
        "worker process 0 (task manager {}) died",
        place.as_str().expect("an id")
    );
    assert!(why.contains(&place), "{place}: {why}");
    cluster.end();
}

/// So many free ports in a row, of those that nobody gets who asks for any.
fn ports(count: u16) -> (u16, u16) {
    let mut random = Random::new(u64::from(std::process::id()) ^ u64::from(count));
    wait_for("free ports", || {
        let first = 20_000 + random.below(10_000) as u16;
        let mut all = first..first + count;
        let free = all.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        free.then_some((first, first + count - 1))
    })
}

/// A firewall between hosts lets a few ports through.
#[test]
fn masters_and_workers_listen_on_the_ports_that_they_are_given() {
    let bench = bench(6_000);
    let (master, last) = ports(5);
    let (worker, other) = (last - 1, last);
    let last = master + 2;
    let of_masters = format!("jobmanager.master.port={master}-{last}");
    let of_workers = format!("taskmanager.data.port={worker},{other}");
    let options = [&PATIENT[..], &[&of_masters, &of_workers]].concat();
    let mut cluster = Cluster::start(&bench, &options);
    let first = cluster.add_task_manager(1);
    let second = cluster.add_task_manager(1);
    let two = [
        ("parallelism.default", "2"),
        ("restart-strategy.type", "none"),
    ];
    let job = cluster.run(&two);
    job.wait_for("RUNNING");
    for port in [master, worker, other] {
        TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    }
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    let taken = wait_for("its workers to end", || {
        TcpListener::bind(("127.0.0.1", other)).ok()
    });
    let job = cluster.run(&two);
    job.wait_for("FAILED");
    let logs = [first, second]
        .map(|pid| cluster.log_of_task_manager(pid))
        .concat();
    let why = format!("no port of {worker},{other} is free at 127.0.0.1");
    assert!(
        logs.contains(&why) && logs.contains("taskmanager.data.port"),
        "{logs}"
    );
    drop(taken);
    cluster.end();
}

/// The most memory that a process has had, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.expect("Linux tells").trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().expect("a number") << 10
}

/// A form with a program of so many bytes, of unknown length to who takes it.
fn form(bytes: u64) -> impl Read {
    let head = "--edge\r\nContent-Disposition: form-data; name=\"jarfile\"; \
                filename=\"job\"\r\n\r\n";
    let program = std::io::repeat(b'#').take(bytes);
    head.as_bytes()
        .chain(program)
        .chain("\r\n--edge--\r\n".as_bytes())
}

/// Whoever may upload could fill memory or disk of the job manager otherwise.
#[test]
fn a_program_that_is_too_large_is_refused_with_the_limit_and_nothing_of_it_is_kept() {
    const LIMIT: u64 = 1 << 20;
    let bench = bench(1);
    let limit = format!("rest.server.max-content-length={LIMIT}");
    let mut cluster = Cluster::start_without_program(&bench, &[&limit]);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let url = format!("{}/jars/upload", cluster.rest());
    let upload = |bytes: u64| {
        let mut answer = agent
            .post(&url)
            .header("content-type", "multipart/form-data; boundary=edge")
            .send(ureq::SendBody::from_owned_reader(form(bytes)))
            .expect("an answer");
        let status = answer.status().as_u16();
        let body: serde_json::Value =
            serde_json::from_reader(answer.body_mut().as_reader()).expect("JSON");
        (status, body)
    };
    let kept = |cluster: &Cluster<'_>| files_below(&cluster.uploads()).len();
    assert!(cluster.uploads().is_dir());
    let before = peak_memory(cluster.job_manager());
    for bytes in [LIMIT + 1, 128 * LIMIT] {
        let (status, body) = upload(bytes);
        assert_eq!(status, 413, "{body}");
        let errors = body["errors"].as_array().expect("errors, as in Flink");
        let error = errors[0].as_str().expect("a text");
        assert!(
            error.contains("Request Entity Too Large")
                && error.contains("at most 1048576 bytes (rest.server.max-content-length)"),
            "{error}"
        );
        wait_for("nothing of it to be kept", || {
            (kept(&cluster) == 0).then_some(())
        });
    }
    let grown = peak_memory(cluster.job_manager()) - before;
    assert!(grown < 32 << 20, "{grown} bytes");
    let (status, body) = upload(LIMIT);
    assert_eq!(status, 200, "as large as it may be: {body}");
    assert_eq!(kept(&cluster), 1);
    cluster.end();
}

/// Nobody learns otherwise that a port which runs programs is open to the network.
#[test]
fn services_that_listen_on_other_than_loopback_without_security_warn() {
    const MANAGER: &str = "the job manager listens on 0.0.0.0 (jobmanager.bind-host)";
    const WORKERS: &str = "the task manager listens on 0.0.0.0 (taskmanager.bind-host)";
    const REST: &str = "REST listens on 0.0.0.0 (rest.bind-address)";
    let bench = bench(1);
    let warnings = |options: &[&str]| {
        let mut cluster = Cluster::start_without_program(&bench, options);
        let worker = cluster.add_task_manager(1);
        let log = cluster.log() + &cluster.log_of_task_manager(worker);
        cluster.end();
        let lines = log.lines().filter(|line| line.contains("listens on"));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        assert!(lines.iter().all(|line| line.contains("WARN")), "{lines:?}");
        lines
    };
    assert_eq!(warnings(&[]), Vec::<String>::new());
    let open = [
        "jobmanager.bind-host=0.0.0.0",
        "taskmanager.bind-host=0.0.0.0",
        "rest.bind-address=0.0.0.0",
    ];
    let warned = warnings(&open);
    let expected = [
        (
            REST,
            "cancel jobs, as nothing asks who that is; security.rest.token-file does",
        ),
        (
            MANAGER,
            "run programs here, as nothing asks who that is; security.ssl.internal.enabled = true does",
        ),
        (
            WORKERS,
            "run programs here, as nothing asks who that is; security.ssl.internal.enabled = true does",
        ),
    ];
    assert_eq!(warned.len(), expected.len(), "{warned:?}");
    for (line, (what, why)) in warned.iter().zip(expected) {
        assert!(line.contains(what) && line.contains(why), "{line}");
    }

    // With a token it is heard by others, and with certificates between processes those are safe.
    let token = bench.directory().join("token");
    std::fs::write(&token, "s3cret").expect("room");
    let token = format!("security.rest.token-file={}", token.display());
    let authority = Authority::new(&bench.directory().join("certificates"));
    authority.sign("all");
    let secured = authority.options("security.ssl", "all");
    let secured = secured.iter().map(|(key, value)| format!("{key}={value}"));
    let secured: Vec<String> = secured
        .chain([token, "security.ssl.internal.enabled=true".to_owned()])
        .collect();
    let secured = secured.iter().map(String::as_str);
    let secured: Vec<&str> = open.into_iter().chain(secured).collect();
    let warned = warnings(&secured);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].contains(REST)
            && warned[0].contains("has its token; security.ssl.rest.enabled = true hides it"),
        "{warned:?}"
    );
}

/// What the cluster says is the default of its jobs, each of which may say otherwise.
#[test]
fn a_job_has_the_state_backend_of_its_cluster_unless_it_says_another() {
    let (bench_of_default, bench_of_own) = (bench(6_000), bench(6_000));
    let (key, own) = ("state.backend.type", "hashmap");
    let default = if cfg!(feature = "rocksdb") {
        "rocksdb"
    } else {
        "memory"
    };
    let of_cluster = format!("{key}={default}");
    let options: Vec<&str> = PATIENT.into_iter().chain([of_cluster.as_str()]).collect();
    let mut cluster = Cluster::start(&bench_of_default, &options);
    cluster.add_task_manager(2);
    let parallelism = ("parallelism.default", "1");
    let of_default = cluster.run(&[parallelism]);
    let out = bench_of_own.out().display().to_string();
    let of_own = cluster.run_with_output(&out, &[parallelism, (key, own)]);
    let backend = |job: &ClusterJob| {
        wait_for("the configuration of a job", || {
            let config = job.try_get("/checkpoints/config")?;
            config["state_backend"].as_str().map(str::to_owned)
        })
    };
    let expected = match default {
        "rocksdb" => "EmbeddedRocksDBStateBackend",
        other => other,
    };
    assert_eq!(backend(&of_default), expected);
    assert_eq!(backend(&of_own), "HashMapStateBackend");
    for job in [&of_default, &of_own] {
        job.wait_for_checkpoints(2);
    }
    for job in [&of_default, &of_own] {
        job.wait_for("FINISHED");
    }
    bench_of_default.assert_exact(&WORKLOAD);
    bench_of_own.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn strangers_on_the_port_of_task_managers_are_shown_out() {
    let bench = bench(6_000);
    let mut cluster = Cluster::start(&bench, &HEARTBEAT);
    let address = cluster.address();
    let claims_much = [&u32::MAX.to_le_bytes()[..], &[7; 100]].concat();
    let noise: Vec<u8> = (0..4_000u32).map(|n| (n * n % 251) as u8).collect();
    let short = [&40u32.to_le_bytes()[..], &noise[..40]].concat();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &claims_much,
        &noise,
        &short,
        &[],
    ] {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        // It may have had enough.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    let idle = TcpStream::connect(&address).expect("it listens");
    cluster.add_task_manager(1);
    let job = cluster.run(&[]);
    job.wait_for("FINISHED");
    drop(idle);
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

/// Jobs and the leader are noted in a directory of the bench.
fn highly_available(bench: &Bench) -> Vec<String> {
    let storage = bench.directory().join("ha").display().to_string();
    vec![
        "high-availability.type=filesystem".to_owned(),
        format!("high-availability.storageDir={storage}"),
    ]
}

fn start_highly_available(bench: &Bench) -> Cluster<'_> {
    let own = highly_available(bench);
    let own = own.iter().map(String::as_str);
    let options: Vec<&str> = HEARTBEAT.iter().copied().chain(own).collect();
    Cluster::start(bench, &options)
}

fn master_of(cluster: &Cluster) -> u32 {
    wait_for("a job master", || {
        let masters = cluster.children_of(cluster.job_manager());
        masters.first().copied()
    })
}

#[test]
fn a_standby_goes_on_with_the_jobs_of_a_leader_that_is_killed() {
    let bench = bench(2_000);
    let mut cluster = start_highly_available(&bench);
    cluster.add_standby();
    let (_, mut job) = running(&mut cluster);
    cluster.kill_leader();
    cluster.follow(&mut job);
    wait_for("the job to run again", || {
        (job.status() == "RUNNING").then_some(())
    });
    slots(&mut cluster, (2, 0));
    job.wait_for_checkpoints(2);
    let savepoint = job.savepoint(false);
    assert!(savepoint.contains("savepoint-"), "{savepoint}");
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    // It has ended for every leader.
    cluster.add_standby();
    cluster.kill_leader();
    slots(&mut cluster, (2, 2));
    assert_eq!(cluster.get("/jobs")["jobs"], serde_json::json!([]));
    cluster.end();
}

#[test]
fn a_leader_that_is_killed_in_a_phase_of_a_checkpoint_loses_nothing() {
    let bench = bench(500).with_storage_control();
    let mut cluster = start_highly_available(&bench);
    let (_, job) = running(&mut cluster);
    takeover::by_kills_in_phases(&bench, &mut cluster, job);
    cluster.end();
}

#[test]
fn a_job_whose_master_is_killed_goes_on_by_itself_where_jobs_are_kept() {
    let bench = bench(2_000);
    let mut cluster = start_highly_available(&bench);
    let (_, job) = running(&mut cluster);
    for _ in 0..3 {
        job.wait_for_checkpoints(2);
        let master = master_of(&cluster);
        kill_process(master);
        wait_for("another master", || {
            (master_of(&cluster) != master).then_some(())
        });
        wait_for("the job to run again", || {
            (job.status() == "RUNNING").then_some(())
        });
    }
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

/// It would complete a checkpoint or delete a file when it wakes up, beside its successor.
#[test]
fn a_master_that_stands_still_while_its_leader_dies_is_killed_by_its_successor() {
    let bench = bench(2_000);
    let mut cluster = start_highly_available(&bench);
    cluster.add_standby();
    let (_, mut job) = running(&mut cluster);
    let master = master_of(&cluster);
    stop_process(master);
    cluster.kill_leader();
    cluster.follow(&mut job);
    wait_for("the job to run again", || {
        (job.status() == "RUNNING").then_some(())
    });
    assert!(
        !cluster.processes().contains(&master),
        "it could still wake up"
    );
    continue_process(master);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_job_that_is_cancelled_while_it_has_no_master_is_not_started_again() {
    let bench = bench(2_000);
    let mut cluster = start_highly_available(&bench);
    cluster.add_standby();
    let (_, job) = running(&mut cluster);
    job.cancel();
    job.wait_for("CANCELED");
    cluster.kill_leader();
    slots(&mut cluster, (2, 2));
    assert_eq!(cluster.get("/jobs")["jobs"], serde_json::json!([]));
    assert!(cluster.children_of(cluster.job_manager()).is_empty());
    cluster.end();
}

#[test]
fn whatever_is_killed_the_result_is_exact() {
    for_each_seed(Duration::from_secs(30), |seed| {
        let mut random = Random::new(seed);
        let bench = bench(2_000);
        let mut cluster = start_highly_available(&bench);
        let mut task_managers = [cluster.add_task_manager(1), cluster.add_task_manager(1)];
        let mut job = cluster.run(&[("parallelism.default", "2")]);
        let mut killed = Vec::new();
        for _ in 0..4 {
            std::thread::sleep(random.duration(Duration::from_millis(500)));
            if job.status() == "FINISHED" {
                break;
            }
            match random.below(4) {
                0 => {
                    killed.push("leader");
                    cluster.add_standby();
                    cluster.kill_leader();
                    cluster.follow(&mut job);
                }
                1 => {
                    killed.push("task manager");
                    let index = random.below(2) as usize;
                    cluster.kill_task_manager(task_managers[index]);
                    task_managers[index] = cluster.add_task_manager(1);
                }
                2 => {
                    killed.push("master");
                    let masters = cluster.children_of(cluster.job_manager());
                    masters.into_iter().for_each(kill_process);
                }
                _ => {
                    killed.push("worker");
                    let index = random.below(2) as usize;
                    let workers = cluster.children_of(task_managers[index]);
                    workers.into_iter().for_each(kill_process);
                }
            }
        }
        cluster.wait_for_end(&job, &format!("seed {seed}, {killed:?}"));
        let wrong = difference(&expected(&WORKLOAD), &bench.published());
        assert_eq!(wrong, None, "seed {seed}, {killed:?}");
        // The job manager and the task managers.
        wait_for(
            &format!("all others to be gone, seed {seed}, {killed:?}"),
            || (cluster.processes().len() == 3).then_some(()),
        );
        slots(&mut cluster, (2, 2));
        cluster.end();
        let (wrong, _) = collect_garbage(&bench.checkpoints());
        assert!(wrong.is_empty(), "seed {seed}, {killed:?}: {wrong:?}");
    });
}

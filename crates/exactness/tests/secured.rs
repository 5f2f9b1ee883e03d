//! Jobs in a cluster whose processes speak by TLS: they are exact, and strangers are refused at every port.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use millpond_certificates::Authority;
use millpond_exactness::cluster::{Cluster, PATIENT};
use millpond_exactness::job_process::{Bench, kill_process, wait_for};
use millpond_exactness::oracle::Workload;
use millpond_security::Internal;
use millpond_types::config::Configuration;

const WORKLOAD: Workload = Workload {
    records_a: 12_000,
    records_b: 10_000,
    keys: 40,
};

/// For as long as a busy machine may need.
const WAIT: Duration = Duration::from_secs(60);

const ENABLED: &str = "security.ssl.internal.enabled";

fn bench(rate: u32) -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .workload(&WORKLOAD)
        .held()
        .argument("--rate", rate)
        .option("execution.checkpointing.interval", "50 ms")
}

/// The options of a process that has a certificate of this authority.
fn options(authority: &Authority, name: &str) -> Vec<(String, String)> {
    authority.sign(name);
    let mut options = authority.options("security.ssl", name);
    options.push((ENABLED.to_owned(), "true".to_owned()));
    options
}

fn as_text(options: &[(String, String)]) -> Vec<String> {
    let pairs = options.iter();
    pairs.map(|(key, value)| format!("{key}={value}")).collect()
}

/// A cluster of this authority.
fn start<'a>(bench: &'a Bench, ours: &Authority) -> Cluster<'a> {
    let secured = as_text(&options(ours, "all"));
    let secured = secured.iter().map(String::as_str);
    let options: Vec<&str> = PATIENT.iter().copied().chain(secured).collect();
    Cluster::start(bench, &options)
}

/// The ports on which a process listens.
fn ports(pid: u32) -> BTreeSet<u16> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let sockets: BTreeSet<String> = files
        .filter_map(|file| {
            std::fs::read_link(file.path())
                .ok()?
                .into_os_string()
                .into_string()
                .ok()
        })
        .filter_map(|target| {
            Some(
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let rows = table.lines().skip(1);
    rows.filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        // State 0A: it listens.
        let is_own = fields.get(3) == Some(&"0A") && sockets.contains(*fields.get(9)?);
        let port = fields.get(1)?.rsplit(':').next()?;
        is_own.then(|| u16::from_str_radix(port, 16).ok()).flatten()
    })
    .collect()
}

#[test]
fn a_job_over_tls_is_exact_though_its_worker_is_killed() {
    let bench = bench(3_000);
    let ours = Authority::new(&bench.directory().join("ours"));
    let mut cluster = start(&bench, &ours);
    let task_managers = [cluster.add_task_manager(2), cluster.add_task_manager(2)];
    let job = cluster.run(&[("parallelism.default", "4")]);
    for task_manager in task_managers {
        job.wait_for_checkpoints(3);
        let failed = job.failed_attempts();
        let worker = wait_for("a worker", || {
            cluster.children_of(task_manager).first().copied()
        });
        kill_process(worker);
        wait_for("the job to recover", || {
            (job.failed_attempts() > failed && job.status() == "RUNNING").then_some(())
        });
    }
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn strangers_are_refused_at_every_port_and_cost_the_job_nothing() {
    let bench = bench(1_500);
    let ours = Authority::new(&bench.directory().join("ours"));
    let others = Authority::new(&bench.directory().join("others"));
    let mut cluster = start(&bench, &ours);
    cluster.add_task_manager(1);
    cluster.add_task_manager(1);
    let job = cluster.run(&[("parallelism.default", "2")]);
    job.wait_for_checkpoints(3);
    let rest: u16 = cluster
        .rest()
        .rsplit(':')
        .next()
        .expect("a port")
        .parse()
        .expect("a number");
    // The job manager, the master of the job, two workers. The table of the system, which is read in pieces,
    // may lack some while others open and close theirs.
    let all = wait_for("four ports beside that of REST", || {
        let mut all: BTreeSet<u16> = cluster.processes().into_iter().flat_map(ports).collect();
        (all.remove(&rest) && all.len() == 4).then_some(all)
    });
    let mut stranger = Configuration::from_pairs(options(&others, "stranger"));
    let stranger = |trusts: &Authority| {
        let trusted = trusts.directory().join("ca.pem").display().to_string();
        stranger.set("security.ssl.trusted-certificates", trusted);
        Internal::from_configuration(&stranger).expect("files that were just made")
    };
    let stranger = {
        let mut stranger = stranger;
        [stranger(&others), stranger(&ours)]
    };
    let noise: Vec<u8> = (0..4_000u32).map(|n| (n * n % 251) as u8).collect();
    for port in all {
        for stranger in &stranger {
            // By TLS 1.3 a client may hear of its refusal only when it reads.
            let address = format!("127.0.0.1:{port}");
            let refused = stranger.connect(&address, WAIT).and_then(|mut connection| {
                connection.set_read_timeout(Some(WAIT))?;
                connection.write_all(&noise)?;
                connection.read(&mut [0; 9])
            });
            assert!(!matches!(refused, Ok(1..)), "port {port}: {refused:?}");
        }
        for bytes in [
            &noise[..],
            b"GET / HTTP/1.1\r\n\r\n",
            &[0x16, 3, 1, 0xff, 0xff],
            &[],
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            // It may have had enough.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            // Nothing but an alert.
            assert!(answer.len() <= 7, "port {port}: {answer:?}");
        }
    }
    job.wait_for("FINISHED");
    assert_eq!(job.failed_attempts(), 0);
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

#[test]
fn a_task_manager_of_others_is_refused_and_both_sides_say_why() {
    let bench = bench(6_000);
    let ours = Authority::new(&bench.directory().join("ours"));
    let others = Authority::new(&bench.directory().join("others"));
    let mut cluster = start(&bench, &ours);
    let short = "taskmanager.registration.timeout=500 ms".to_owned();

    let mut strange = as_text(&options(&others, "stranger"));
    strange.push(short.clone());
    let said = cluster.run_task_manager_to_its_end(&strange);
    assert!(
        said.contains("cannot reach the job manager") && said.contains("UnknownIssuer"),
        "{said}"
    );
    wait_for("the job manager to say why", || {
        let log = cluster.log();
        (log.contains("is refused: no TLS") && log.contains("UnknownCA")).then_some(())
    });

    // One that believes us, and whom we do not believe.
    let ca = ours.directory().join("ca.pem");
    strange.push(format!(
        "security.ssl.trusted-certificates={}",
        ca.display()
    ));
    let said = cluster.run_task_manager_to_its_end(&strange);
    assert!(
        said.contains("cannot reach the job manager") && said.contains("UnknownCA"),
        "{said}"
    );
    wait_for("the job manager to say why", || {
        cluster.log().contains("UnknownIssuer").then_some(())
    });

    let said = cluster.run_task_manager_to_its_end(&[format!("{ENABLED}=false"), short]);
    assert!(
        said.contains("is security.ssl.internal.enabled true there"),
        "{said}"
    );

    // One of ours comes as ever.
    cluster.add_task_manager(1);
    let job = cluster.run(&[]);
    job.wait_for("FINISHED");
    bench.assert_exact(&WORKLOAD);
    cluster.end();
}

/// A job of worker processes on one machine, without a cluster, has the same options.
#[test]
fn worker_processes_of_a_single_job_speak_by_tls_too() {
    let bench = bench(6_000);
    let ours = Authority::new(&bench.directory().join("ours"));
    let secured = options(&ours, "all");
    let mut more: Vec<(&str, &str)> = secured
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    more.extend([("cluster.processes", "2"), ("parallelism.default", "2")]);
    let mut job = bench.start(&more);
    job.wait_for_checkpoints(2);
    let workers = job.workers();
    assert_eq!(workers.len(), 2);
    for port in workers.into_iter().flat_map(ports) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        // It may have had enough.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(
            answer.first(),
            Some(&0x15),
            "port {port} answers no alert: {answer:?}"
        );
    }
    job.finish();
    bench.assert_exact(&WORKLOAD);
}

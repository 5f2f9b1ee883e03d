//! Who is busy, who is held back, and what a barrier met on its way, as REST tells it: of a job whose
//! sink is the slow one.

use millpond_exactness::cluster::Cluster;
use millpond_exactness::job_process::{Bench, wait_for};
use serde_json::Value;

/// Asks `/jobs/J` and a path.
type Ask<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// Where the input ends.
const RECORDS: u64 = 20_000;

fn bench(records: u64) -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_exactness-job"))
        .argument("--records-a", records)
        .argument("--keys", 100)
        .option("parallelism.default", 2)
        .option("execution.checkpointing.interval", "100 ms")
}

fn with_slow_sink(unaligned: bool) -> Bench {
    bench(u64::MAX / 2)
        .argument("--endless", true)
        .argument("--slow-sink-us", 50)
        .option("execution.checkpointing.unaligned.enabled", unaligned)
}

/// A vertex of the job, and where its records come from.
struct Vertex {
    id: String,
    is_source: bool,
    is_sink: bool,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn vertices(ask: Ask<'_>) -> Option<Vec<Vertex>> {
    let nodes = ask("/plan")?["plan"]["nodes"].as_array()?.clone();
    let feeds = |id: &str| {
        let inputs = nodes.iter().filter_map(|node| node["inputs"].as_array());
        inputs.flatten().any(|input| input["id"] == id)
    };
    let vertex = |node: &Value| {
        let id = text(&node["id"]);
        Vertex {
            is_source: node.get("inputs").is_none(),
            is_sink: !feeds(&id),
            id,
        }
    };
    Some(nodes.iter().map(vertex).collect())
}

/// The subtasks of a vertex that are known, each with its shares of time: busy, back-pressured, idle.
fn shares(ask: Ask<'_>, vertex: &Vertex) -> Option<Vec<[f64; 3]>> {
    let answer = ask(&format!("/vertices/{}/backpressure", vertex.id))?;
    if answer["status"] == "deprecated" {
        return None;
    }
    assert_eq!(answer["status"], "ok", "{answer}");
    let shares = |subtask: &Value| {
        let shares = ["busyRatio", "ratio", "idleRatio"].map(|name| {
            let share = subtask[name].as_f64();
            share.unwrap_or_else(|| panic!("{answer}"))
        });
        let sum: f64 = shares.iter().sum();
        assert!((0.99..1.01).contains(&sum), "a second has {sum}: {answer}");
        shares
    };
    Some(answer["subtasks"].as_array()?.iter().map(shares).collect())
}

fn most(all: &[[f64; 3]], share: usize) -> f64 {
    all.iter().map(|shares| shares[share]).fold(0.0, f64::max)
}

/// Waits until the sink is busier than any source, and a source is held back.
fn the_sink_is_the_slow_one(ask: Ask<'_>) {
    let vertices = wait_for("the plan", || vertices(ask));
    let (source, sink) = wait_for("a busy sink and sources that are held back", || {
        let mut sources = Vec::new();
        let mut sinks = Vec::new();
        for vertex in &vertices {
            let shares = shares(ask, vertex)?;
            if vertex.is_source {
                sources.push((vertex, most(&shares, 0), most(&shares, 1)));
            } else if vertex.is_sink {
                sinks.push((vertex, most(&shares, 0)));
            }
        }
        let (sink, sink_busy) = sinks.pop()?;
        let held = sources.iter().find(|(_, _, held)| *held > 0.0)?.0;
        let is_slow = sources.iter().all(|(_, busy, _)| sink_busy > *busy);
        is_slow.then_some((held, sink))
    });
    let names = "busyTimeMsPerSecond,backPressuredTimeMsPerSecond,softBackPressuredTimeMsPerSecond,\
                 hardBackPressuredTimeMsPerSecond,idleTimeMsPerSecond,accumulateBackPressuredTimeMs,\
                 numRecordsOutPerSecond";
    let path = format!("/vertices/{}/subtasks/metrics?get={names}", source.id);
    wait_for("the metrics of the source", || {
        let rows = ask(&path)?.as_array()?.clone();
        // One of the subtasks may not have told anything yet.
        let means: Vec<f64> = rows.iter().filter_map(|row| row["avg"].as_f64()).collect();
        let [busy, held, soft, hard, idle, accumulated, records] = means[..] else {
            return None;
        };
        assert!(held > 0.0 && accumulated > 0.0 && records > 0.0, "{rows:?}");
        // Each is rounded by itself.
        assert!((soft + hard - held).abs() <= 2.0, "{rows:?}");
        let sum = busy + held + idle;
        assert!((995.0..1005.0).contains(&sum), "{rows:?}");
        Some(())
    });
    let job = ask("").expect("an answer");
    let of_job = job["vertices"].as_array().expect("a list").clone();
    let of_sink = of_job.iter().find(|vertex| vertex["id"] == *sink.id);
    let metrics = &of_sink.expect("the sink")["metrics"];
    assert!(
        metrics["accumulated-busy-time"].as_f64() > Some(0.0),
        "{metrics}"
    );
    let details = ask(&format!("/vertices/{}", sink.id)).expect("an answer");
    let sum = &details["aggregated"]["metrics"]["accumulated-busy-time"]["sum"];
    // Each of its two subtasks is rounded by itself.
    let least = metrics["accumulated-busy-time"].as_f64().map(|ms| ms - 2.0);
    assert!(sum.as_f64() >= least, "{details}");
}

/// Waits for a complete checkpoint whose `field` is not 0; returns the sums of bytes and records over
/// its subtasks, `alignment.part` and its records.
fn a_checkpoint_with(ask: Ask<'_>, field: &str, part: &str) -> (u64, u64) {
    let vertices = wait_for("the plan", || vertices(ask));
    wait_for(&format!("a checkpoint with {field}"), || {
        let newest = ask("/checkpoints")?["latest"]["completed"].clone();
        let bytes = newest[field].as_u64().filter(|bytes| *bytes > 0)?;
        let id = newest["id"].as_i64()?;
        let details = ask(&format!("/checkpoints/details/{id}"))?;
        assert_eq!(details[field], bytes);
        let (mut of_vertices, mut sums) = (0, (0, 0));
        for vertex in &vertices {
            of_vertices += details["tasks"][&vertex.id][field].as_u64()?;
            // It may have left the history meanwhile.
            let path = format!("/checkpoints/details/{id}/subtasks/{}", vertex.id);
            for subtask in ask(&path)?["subtasks"].as_array()? {
                let alignment = &subtask["alignment"];
                sums.0 += alignment[part].as_u64()?;
                sums.1 += alignment[format!("{part}_records")].as_u64()?;
            }
        }
        assert_eq!((of_vertices, sums.0), (bytes, bytes), "{details}");
        Some(sums)
    })
}

/// The longest alignment of any subtask in the newest complete checkpoint, in ms.
fn longest_alignment(ask: Ask<'_>) -> Option<u64> {
    let vertices = vertices(ask)?;
    let id = ask("/checkpoints")?["latest"]["completed"]["id"].as_i64()?;
    let mut all = Vec::new();
    for vertex in &vertices {
        let path = format!("/checkpoints/details/{id}/subtasks/{}", vertex.id);
        for subtask in ask(&path)?["subtasks"].as_array()? {
            all.push(subtask["alignment"]["duration"].as_u64()?);
        }
    }
    all.into_iter().max()
}

#[test]
fn barriers_wait_for_each_other_where_records_count_once_and_nowhere_else() {
    for exactly_once in [true, false] {
        let mode = match exactly_once {
            true => "EXACTLY_ONCE",
            false => "AT_LEAST_ONCE",
        };
        let bench = with_slow_sink(false).option("execution.checkpointing.mode", mode);
        let mut job = bench.start(&[]);
        job.running();
        let id = job.ready().job_id;
        let ask = |path: &str| job.try_get(&format!("/jobs/{id}{path}"));
        the_sink_is_the_slow_one(&ask);
        match exactly_once {
            true => wait_for("a checkpoint that was aligned", || {
                longest_alignment(&ask).filter(|ms| *ms > 0)
            }),
            false => {
                let before =
                    ask("/checkpoints").expect("an answer")["counts"]["completed"].as_u64();
                wait_for("three more checkpoints", || {
                    assert_eq!(longest_alignment(&ask).unwrap_or(0), 0);
                    let now = ask("/checkpoints")?["counts"]["completed"].as_u64();
                    (now >= before.map(|count| count + 3)).then_some(0)
                })
            }
        };
        job.cancel();
        job.wait();
    }
}

#[test]
fn a_slow_sink_is_busy_its_sources_are_held_back_and_barriers_tell_what_they_met() {
    for (processes, unaligned) in [("1", false), ("2", true)] {
        let bench = with_slow_sink(unaligned);
        let mut job = bench.start(&[("cluster.processes", processes)]);
        job.running();
        let id = job.ready().job_id;
        let ask = |path: &str| job.try_get(&format!("/jobs/{id}{path}"));
        the_sink_is_the_slow_one(&ask);
        let (bytes, records) = a_checkpoint_with(&ask, "processed_data", "processed");
        // No record is without content.
        assert!(
            records > 0 && bytes > records,
            "{bytes} bytes, {records} records"
        );
        if unaligned {
            let (bytes, records) = a_checkpoint_with(&ask, "persisted_data", "persisted");
            assert!(
                records > 0 && bytes > records,
                "{bytes} bytes, {records} records"
            );
        }
        job.cancel();
        job.wait();
        let log = job.log();
        assert!(log.contains("longest alignment"), "{log}");
    }
}

#[test]
fn a_cluster_tells_the_same_of_its_jobs() {
    let bench = with_slow_sink(false);
    let mut cluster = Cluster::start(&bench, &[]);
    cluster.add_task_manager(1);
    cluster.add_task_manager(1);
    let job = cluster.run(&[]);
    job.wait_for("RUNNING");
    let ask = |path: &str| job.try_get(path);
    the_sink_is_the_slow_one(&ask);
    a_checkpoint_with(&ask, "processed_data", "processed");
    cluster.end();
}

#[test]
fn behind_the_end_of_its_input_a_job_is_idle_and_nobody_is_held_back() {
    let bench = bench(RECORDS).argument("--silent-b", true);
    let mut job = bench.start(&[]);
    job.running();
    let id = job.ready().job_id;
    let ask = |path: &str| job.try_get(&format!("/jobs/{id}{path}"));
    let vertices = wait_for("the plan", || vertices(&ask));
    wait_for("all subtasks to be idle", || {
        let mut all = Vec::new();
        for vertex in &vertices {
            all.extend(shares(&ask, vertex)?);
        }
        let job = ask("")?;
        let read = job["vertices"].as_array()?.iter();
        let read = read.filter_map(|vertex| vertex["metrics"]["read-records"].as_u64());
        let is_idle = |shares: &[f64; 3]| shares[1] == 0.0 && shares[2] > 0.5;
        (read.max()? >= RECORDS && all.iter().all(is_idle)).then_some(())
    });
    for vertex in &vertices {
        let answer = ask(&format!("/vertices/{}/backpressure", vertex.id)).expect("an answer");
        assert_eq!(answer["backpressureLevel"], "ok", "{answer}");
    }
    job.cancel();
    job.wait();
}

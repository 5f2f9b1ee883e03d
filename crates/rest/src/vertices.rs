//! One vertex with its subtasks, and how far they are held back by those behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use millpond_job::dispatcher::{JobDetails, SubtaskDetails, VertexDetails};
use serde::Serialize;

use crate::answer::{Answer, ok};
use crate::api::Api;
use crate::io_metrics::{IoMetrics, Spread, spreads};
use crate::jobs::{duration_ms, time_or_none};
use crate::request::PathIds;

/// The share of time back-pressured above which it is low, and above which it is high. Source: Flink
/// 2.3.0, class `JobVertexBackPressureHandler`.
const LOW: f64 = 0.1;
const HIGH: f64 = 0.5;

/// What Flink says of a subtask that is nowhere.
const UNASSIGNED: &str = "(unassigned)";

#[derive(Serialize)]
struct Vertex {
    id: String,
    name: String,
    parallelism: u32,
    #[serde(rename = "maxParallelism")]
    max_parallelism: u32,
    now: u64,
    subtasks: Vec<Attempt>,
    aggregated: Aggregated,
}

/// A subtask in the present attempt of the job.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Attempt {
    subtask: u32,
    status: &'static str,
    attempt: u32,
    endpoint: String,
    start_time: i64,
    #[serde(rename = "start_time")]
    start_time_once_more: i64,
    end_time: i64,
    duration: i64,
    metrics: IoMetrics,
    taskmanager_id: String,
    /// All subtasks of a job change their state together: the present one only.
    status_duration: BTreeMap<&'static str, i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Aggregated {
    metrics: BTreeMap<&'static str, Spread>,
    status_duration: BTreeMap<&'static str, Spread>,
}

/// GET `/jobs/J/vertices/V`.
pub(crate) async fn details(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let job = api.job(ids.job()?)?;
    let vertex = Api::vertex_of(&job, ids.vertex()?)?;
    let now = api.now_ms();
    let of_subtask = |index: u32| {
        let mut subtasks = vertex.subtasks.iter();
        subtasks.find(|subtask| subtask.metrics.subtask == index)
    };
    let subtasks: Vec<Attempt> = (0..vertex.parallelism)
        .map(|index| attempt(&job, vertex, index, of_subtask(index), now))
        .collect();
    let io: Vec<IoMetrics> = (0..vertex.parallelism)
        .map(|index| io_metrics(of_subtask(index)))
        .collect();
    let durations = subtasks
        .iter()
        .map(|subtask| subtask.duration.max(0) as u64);
    ok(&Vertex {
        id: vertex.id.to_string(),
        name: vertex.name.clone(),
        parallelism: vertex.parallelism,
        max_parallelism: vertex.max_parallelism,
        now,
        aggregated: Aggregated {
            metrics: spreads(&io),
            status_duration: BTreeMap::from([(vertex.status.as_str(), Spread::of(durations))]),
        },
        subtasks,
    })
}

fn io_metrics(subtask: Option<&SubtaskDetails>) -> IoMetrics {
    IoMetrics::of(subtask.map(|subtask| &subtask.metrics))
}

fn attempt(
    job: &JobDetails,
    vertex: &VertexDetails,
    index: u32,
    subtask: Option<&SubtaskDetails>,
    now: u64,
) -> Attempt {
    let duration = vertex.start_time_ms.map_or(-1, |start| {
        duration_ms(start, vertex.end_time_ms, now) as i64
    });
    let (task_manager, host) = match subtask.map(|subtask| subtask.metrics.process) {
        None => (UNASSIGNED.to_owned(), UNASSIGNED.to_owned()),
        Some(process) => match job.places.get(process as usize) {
            Some(place) => (place.task_manager.clone(), place.host.clone()),
            None => (format!("worker-{process}"), format!("worker-{process}")),
        },
    };
    Attempt {
        subtask: index,
        status: vertex.status.as_str(),
        attempt: job.restarts,
        endpoint: host,
        start_time: time_or_none(vertex.start_time_ms),
        start_time_once_more: time_or_none(vertex.start_time_ms),
        end_time: time_or_none(vertex.end_time_ms),
        duration,
        metrics: io_metrics(subtask),
        taskmanager_id: task_manager,
        status_duration: BTreeMap::from([(vertex.status.as_str(), duration)]),
    }
}

/// How a vertex or subtask is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Low,
    High,
}

impl Level {
    fn of(ratio: f64) -> Self {
        match ratio {
            ratio if ratio <= LOW => Level::Ok,
            ratio if ratio <= HIGH => Level::Low,
            _ => Level::High,
        }
    }
}

/// What is known of a vertex; without counters nothing but the status `deprecated`.
#[derive(Serialize)]
struct BackPressure {
    status: &'static str,
    #[serde(flatten)]
    sample: Option<Sample>,
}

#[derive(Serialize)]
struct Sample {
    #[serde(rename = "backpressureLevel")]
    level: Level,
    #[serde(rename = "backpressure-level")]
    level_once_more: Level,
    #[serde(rename = "end-timestamp")]
    end_timestamp: u64,
    subtasks: Vec<SubtaskBackPressure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubtaskBackPressure {
    subtask: u32,
    #[serde(rename = "attempt-number")]
    attempt_number: u32,
    #[serde(rename = "backpressureLevel")]
    level: Level,
    #[serde(rename = "backpressure-level")]
    level_once_more: Level,
    ratio: f64,
    idle_ratio: f64,
    busy_ratio: f64,
}

/// GET `/jobs/J/vertices/V/backpressure`.
pub(crate) async fn back_pressure(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let job = api.job(ids.job()?)?;
    let vertex = Api::vertex_of(&job, ids.vertex()?)?;
    let subtasks: Vec<SubtaskBackPressure> = vertex
        .subtasks
        .iter()
        .filter_map(|subtask| {
            let rates = subtask.rates.as_ref()?;
            let ratio = rates.back_pressured_ms() / 1000.0;
            let level = Level::of(ratio);
            Some(SubtaskBackPressure {
                subtask: subtask.metrics.subtask,
                attempt_number: job.restarts,
                level,
                level_once_more: level,
                ratio,
                idle_ratio: rates.idle_ms / 1000.0,
                busy_ratio: rates.busy_ms / 1000.0,
            })
        })
        .collect();
    let (Some(end_timestamp), false) = (job.counted_at_ms, subtasks.is_empty()) else {
        return ok(&BackPressure {
            status: "deprecated",
            sample: None,
        });
    };
    let level = Level::of(subtasks.iter().map(|s| s.ratio).fold(0.0, f64::max));
    ok(&BackPressure {
        status: "ok",
        sample: Some(Sample {
            level,
            level_once_more: level,
            end_timestamp,
            subtasks,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_that_of_flink_also_at_its_borders() {
        let levels = [0.0, 0.1, 0.11, 0.5, 0.51, 1.0].map(Level::of);
        let expected = [
            Level::Ok,
            Level::Ok,
            Level::Low,
            Level::Low,
            Level::High,
            Level::High,
        ];
        assert_eq!(levels, expected);
    }
}

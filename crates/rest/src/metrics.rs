//! Metrics of subtasks and operators under Flink's names: lists of names, values, and aggregates.
//!
//! A metric of a subtask is called `busyTimeMsPerSecond`, one of an operator of its chain
//! `<operator>.numRecordsIn`; among those of a whole vertex the number of the subtask stands before
//! it. What is per second is there while the job is RUNNING.
//!
//! Source of names and rules: Flink 2.3.0, classes `MetricNames`, `AbstractMetricsHandler` and
//! `AbstractAggregatingMetricsHandler`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::{Query, State};
use millpond_job::dispatcher::{SubtaskDetails, VertexDetails};
use serde::Serialize;

use crate::answer::{Answer, Refusal, ok};
use crate::api::Api;
use crate::request::PathIds;

/// How much of an operator's name is in that of a metric.
const OPERATOR_NAME_LENGTH: usize = 80;

const NS_PER_MS: f64 = 1e6;

/// A value, as Flink writes it: counters without, gauges of doubles and meters with a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    fn whole(number: u64) -> Self {
        Number::Whole(number as i64)
    }

    fn rounded(number: f64) -> Self {
        Number::Whole(number.round() as i64)
    }

    fn as_f64(self) -> f64 {
        match self {
            Number::Whole(number) => number as f64,
            Number::Real(number) => number,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Whole(number) => write!(f, "{number}"),
            // Always with a point, as Java's.
            Number::Real(number) => write!(f, "{number:?}"),
        }
    }
}

type Metrics = BTreeMap<String, Number>;

fn ms(ns: u64) -> Number {
    Number::Whole((ns as f64 / NS_PER_MS) as i64)
}

/// All metrics of one subtask.
fn of_subtask(vertex: &VertexDetails, subtask: &SubtaskDetails) -> Metrics {
    let counted = &subtask.metrics;
    let time = &counted.time;
    let mut metrics = Metrics::new();
    let mut put = |name: &str, number: Number| {
        // Of two operators of one name the first is told.
        metrics.entry(name.to_owned()).or_insert(number);
    };
    put("numRecordsIn", Number::whole(counted.records_in));
    put("numRecordsOut", Number::whole(counted.records_out));
    put("currentInputWatermark", Number::Whole(counted.watermark));
    put(
        "accumulateBusyTimeMs",
        Number::Real((time.busy_ns as f64 / NS_PER_MS).floor()),
    );
    put(
        "accumulateBackPressuredTimeMs",
        ms(time.back_pressured_ns()),
    );
    put("accumulateIdleTimeMs", ms(time.idle_ns));
    put("accumulateWaitingTimeMs", ms(time.waiting_ns));
    if let Some(rates) = &subtask.rates {
        put("numRecordsInPerSecond", Number::Real(rates.records_in));
        put("numRecordsOutPerSecond", Number::Real(rates.records_out));
        put("busyTimeMsPerSecond", Number::Real(rates.busy_ms));
        for (name, ms) in [
            ("backPressuredTimeMsPerSecond", rates.back_pressured_ms()),
            (
                "softBackPressuredTimeMsPerSecond",
                rates.soft_back_pressured_ms,
            ),
            (
                "hardBackPressuredTimeMsPerSecond",
                rates.hard_back_pressured_ms,
            ),
            ("idleTimeMsPerSecond", rates.idle_ms),
            ("waitingTimeMsPerSecond", rates.waiting_ms),
        ] {
            put(name, Number::rounded(ms));
        }
    }
    for (position, (name, operator)) in vertex.operators.iter().zip(&counted.operators).enumerate()
    {
        let name = in_a_metric(name);
        let mut put = |metric: &str, number| put(&format!("{name}.{metric}"), number);
        put("numRecordsIn", Number::whole(operator.records_in));
        put("numRecordsOut", Number::whole(operator.records_out));
        put(
            "accumulateBusyTimeMs",
            Number::Real((operator.busy_ns as f64 / NS_PER_MS).floor()),
        );
        if let Some(pending) = counted.pending_records.filter(|_| position == 0) {
            put("pendingRecords", Number::whole(pending));
        }
        let rates = subtask.rates.as_ref();
        if let Some(rates) = rates.and_then(|rates| rates.operators.get(position)) {
            put("numRecordsInPerSecond", Number::Real(rates.records_in));
            put("numRecordsOutPerSecond", Number::Real(rates.records_out));
            put("busyTimeMsPerSecond", Number::Real(rates.busy_ms));
        }
    }
    metrics
}

/// An operator's name within that of a metric. Source: Flink 2.3.0, classes `TaskMetricGroup` and
/// `MetricQueryService`.
fn in_a_metric(operator: &str) -> String {
    let plain = |c: char| match c {
        ' ' | '.' | ':' | ',' => '_',
        other => other,
    };
    let name = operator.chars().take(OPERATOR_NAME_LENGTH);
    name.map(plain).collect()
}

/// The values of a query parameter: several by comma, or several parameters.
fn values<'a>(query: &'a [(String, String)], key: &str) -> Vec<&'a str> {
    query
        .iter()
        .filter(|(name, _)| name == key)
        .flat_map(|(_, list)| list.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .collect()
}

fn unresolved(key: &str, value: &str, expected: &str) -> Refusal {
    Refusal::bad_request(format!(
        "Bad request, could not parse parameters: Cannot resolve query parameter ({key}) from value \
         \"{value}\". Expected {expected}."
    ))
}

#[derive(Serialize)]
struct Metric {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// The names of all, or the values of those that are asked for and there.
fn answer(metrics: &Metrics, asked: &[&str]) -> Answer {
    let rows: Vec<Metric> = match asked.is_empty() {
        true => metrics
            .keys()
            .map(|id| Metric {
                id: id.clone(),
                value: None,
            })
            .collect(),
        false => asked
            .iter()
            .filter_map(|id| {
                Some(Metric {
                    id: (*id).to_owned(),
                    value: Some(metrics.get(*id)?.to_string()),
                })
            })
            .collect(),
    };
    ok(&rows)
}

/// GET `/jobs/J/vertices/V/metrics?get=0.busyTimeMsPerSecond,...`.
pub(crate) async fn of_vertex(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let vertex = api.vertex(&ids)?;
    let mut all = Metrics::new();
    for subtask in &vertex.subtasks {
        let of_subtask = of_subtask(&vertex, subtask).into_iter();
        all.extend(of_subtask.map(|(name, number)| {
            let id = format!("{}.{name}", subtask.metrics.subtask);
            (id, number)
        }));
    }
    answer(&all, &values(&query, "get"))
}

/// GET `/jobs/J/vertices/V/subtasks/N/metrics?get=busyTimeMsPerSecond,...`.
pub(crate) async fn of_one_subtask(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let (vertex, index) = (api.vertex(&ids)?, ids.subtask()?);
    let mut subtasks = vertex.subtasks.iter();
    let metrics = subtasks
        .find(|subtask| subtask.metrics.subtask == index)
        .map(|subtask| of_subtask(&vertex, subtask));
    answer(&metrics.unwrap_or_default(), &values(&query, "get"))
}

/// How the values of several subtasks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregation {
    Min,
    Max,
    Avg,
    Sum,
    Skew,
}

impl Aggregation {
    const ALL: [(&'static str, Aggregation); 5] = [
        ("min", Aggregation::Min),
        ("max", Aggregation::Max),
        ("avg", Aggregation::Avg),
        ("sum", Aggregation::Sum),
        ("skew", Aggregation::Skew),
    ];

    fn parse(text: &str) -> Result<Self, Refusal> {
        let found = Self::ALL
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        found
            .map(|(_, aggregation)| *aggregation)
            .ok_or_else(|| unresolved("agg", text, "min, max, avg, sum or skew"))
    }
}

#[derive(Serialize)]
struct Aggregated {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avg: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skew: Option<f64>,
}

impl Aggregated {
    fn of(id: &str, numbers: &[f64], wanted: &[Aggregation]) -> Self {
        let of = |aggregation: Aggregation, number: f64| {
            (wanted.is_empty() || wanted.contains(&aggregation)).then_some(number)
        };
        let sum: f64 = numbers.iter().sum();
        let avg = sum / numbers.len() as f64;
        Aggregated {
            id: id.to_owned(),
            min: of(
                Aggregation::Min,
                numbers.iter().copied().fold(f64::INFINITY, f64::min),
            ),
            max: of(
                Aggregation::Max,
                numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ),
            avg: of(Aggregation::Avg, avg),
            sum: of(Aggregation::Sum, sum),
            skew: of(Aggregation::Skew, skew(numbers, avg)),
        }
    }
}

/// How far the numbers are from their mean, in per cent of it, at most 100. Source: Flink 2.3.0, class
/// `DoubleAccumulator.DoubleDataSkew`.
fn skew(numbers: &[f64], avg: f64) -> f64 {
    if avg == 0.0 {
        return 0.0;
    }
    let far: f64 = numbers.iter().map(|number| (avg - number).abs()).sum();
    (far / numbers.len() as f64 / avg * 100.0).min(100.0)
}

/// Subtasks by number: `0`, `2-4`.
fn subtask_range(text: &str) -> Result<RangeInclusive<u32>, Refusal> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) => Ok(first..=last),
        _ => Err(unresolved("subtasks", text, "numbers or ranges, as 0,2-4")),
    }
}

/// GET `/jobs/J/vertices/V/subtasks/metrics?get=...&agg=min,max&subtasks=0,2-4`.
///
/// As in Flink the answer is empty when one of those asked for is not there.
pub(crate) async fn of_subtasks(
    State(api): State<Arc<Api>>,
    ids: PathIds,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let vertex = api.vertex(&ids)?;
    let aggregations: Vec<Aggregation> = values(&query, "agg")
        .into_iter()
        .map(Aggregation::parse)
        .collect::<Result<_, _>>()?;
    let ranges: Vec<RangeInclusive<u32>> = values(&query, "subtasks")
        .into_iter()
        .map(subtask_range)
        .collect::<Result<_, _>>()?;
    let is_wanted = |subtask: &&SubtaskDetails| {
        let index = subtask.metrics.subtask;
        ranges.is_empty() || ranges.iter().any(|range| range.contains(&index))
    };
    let wanted = vertex.subtasks.iter().filter(is_wanted);
    let all: Vec<Metrics> = wanted.map(|subtask| of_subtask(&vertex, subtask)).collect();
    let asked = values(&query, "get");
    if asked.is_empty() {
        let union: Metrics = all.into_iter().flatten().collect();
        return answer(&union, &[]);
    }
    let mut rows = Vec::new();
    for id in asked {
        let numbers: Vec<f64> = all
            .iter()
            .filter_map(|metrics| metrics.get(id))
            .map(|number| number.as_f64())
            .collect();
        if numbers.is_empty() {
            return ok(&[(); 0]);
        }
        rows.push(Aggregated::of(id, &numbers, &aggregations));
    }
    ok(&rows)
}

#[derive(Serialize)]
struct Watermark {
    id: String,
    value: String,
}

/// GET `/jobs/J/vertices/V/watermarks`.
pub(crate) async fn watermarks(State(api): State<Arc<Api>>, ids: PathIds) -> Answer {
    let vertex = api.vertex(&ids)?;
    let row = |subtask: &SubtaskDetails| Watermark {
        id: format!("{}.currentInputWatermark", subtask.metrics.subtask),
        value: subtask.metrics.watermark.to_string(),
    };
    ok(&vertex.subtasks.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        assert_eq!(Number::whole(7).to_string(), "7");
        assert_eq!(Number::Real(7.0).to_string(), "7.0");
        assert_eq!(Number::rounded(6.5).to_string(), "7");
    }

    #[test]
    fn the_skew_is_the_mean_distance_from_the_mean() {
        // The example of Flink's own test.
        assert!((skew(&[23.0, 3.0, 10.0], 12.0) - 61.0).abs() < 0.5);
        assert_eq!(skew(&[0.0, 0.0], 0.0), 0.0);
        assert_eq!(skew(&[0.0, 0.0, 0.0, 9.0], 2.25), 100.0);
    }

    #[test]
    fn names_of_operators_have_no_sign_that_parts_a_metric() {
        assert_eq!(in_a_metric("Source: a.b, c"), "Source__a_b__c");
        assert_eq!(in_a_metric(&"x".repeat(100)).len(), 80);
    }

    #[test]
    fn ranges_of_subtasks_are_numbers() {
        assert_eq!(subtask_range("2-4").expect("a range"), 2..=4);
        assert_eq!(subtask_range("7").expect("a number"), 7..=7);
        for text in ["x", "-1", "1-", "1-x", "1-2-3"] {
            assert!(subtask_range(text).is_err(), "{text}");
        }
    }
}

//! Between which bounds the parallelism of a job may be, vertex by vertex.
//!
//! A job in elastic mode (`jobmanager.scheduler: adaptive`) uses the slots that it can have. In each
//! slot runs at most one subtask of every vertex, so with *s* slots a vertex has *s* subtasks, at most
//! its upper bound. The job runs if *s* is at least the highest of the lower bounds.
//!
//! Vertices between which records stay with their subtask (`FORWARD`) have the same parallelism, and so
//! the same upper bound.
//!
//! Source of the shape and of the texts: Flink 2.3.0, class `JobResourceRequirements`.

use std::collections::BTreeMap;
use std::fmt;

use millpond_types::OperatorId;
use serde::{Deserialize, Serialize};

use crate::dispatcher::VertexDetails;
use crate::graph::Partitioner;
use crate::job_graph::{JobGraph, JobVertex};

/// The least and the most subtasks of a vertex, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// With fewer the job does not run; at least 1.
    pub lower_bound: u32,
    /// More are not used.
    pub upper_bound: u32,
}

/// The bounds of every vertex of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequirements(BTreeMap<OperatorId, Bounds>);

impl JobRequirements {
    /// What a program asks for by itself: at least one subtask of each vertex, and at most its
    /// parallelism.
    pub fn of(graph: &JobGraph) -> Self {
        let bounds = graph.vertices.iter().map(|vertex| {
            let bounds = Bounds {
                lower_bound: 1,
                upper_bound: vertex.parallelism,
            };
            (vertex.id, bounds)
        });
        JobRequirements(bounds.collect())
    }

    /// With another lower bound for a vertex.
    #[must_use]
    pub fn with_lower_bound(mut self, vertex: OperatorId, lower_bound: u32) -> Self {
        if let Some(bounds) = self.0.get_mut(&vertex) {
            bounds.lower_bound = lower_bound;
        }
        self
    }

    /// As few slots as the job runs in.
    pub fn minimum(&self) -> u32 {
        let lower = self.0.values().map(|bounds| bounds.lower_bound);
        lower.max().unwrap_or(1).max(1)
    }

    /// As many slots as it uses.
    pub fn most(&self) -> u32 {
        let upper = self.0.values().map(|bounds| bounds.upper_bound);
        upper.max().unwrap_or(1).max(1)
    }

    /// The parallelism of a vertex in so many slots, at least 1; a vertex that is not known is not
    /// bounded. Never more than its key groups, of which a snapshot may have brought fewer than the bounds
    /// were made for.
    pub fn parallelism(&self, vertex: &JobVertex, slots: u32) -> u32 {
        let upper = self.0.get(&vertex.id).map(|bounds| bounds.upper_bound);
        let upper = upper.unwrap_or(slots).min(vertex.max_parallelism);
        slots.min(upper).max(1)
    }

    /// Gives each vertex its parallelism in so many slots.
    pub fn scale(&self, graph: &mut JobGraph, slots: u32) {
        for vertex in &mut graph.vertices {
            vertex.parallelism = self.parallelism(vertex, slots);
        }
    }

    /// Whether a job with these vertices can have them.
    ///
    /// # Errors
    ///
    /// A vertex is missing or not the job's; a bound is out of its range; vertices that forward to each
    /// other have different bounds.
    pub fn check(&self, vertices: &[VertexDetails]) -> Result<(), RequirementsError> {
        let mut problems = Vec::new();
        for (id, bounds) in &self.0 {
            let Some(vertex) = vertices.iter().find(|vertex| vertex.id == *id) else {
                problems.push(format!("Job vertex [{id}] was not found in the JobGraph."));
                continue;
            };
            let Bounds {
                lower_bound,
                upper_bound,
            } = bounds;
            if *lower_bound == 0 {
                problems.push(format!(
                    "The requested lower bound [0] for job vertex [{id}] is below 1."
                ));
            }
            if lower_bound > upper_bound {
                problems.push(format!(
                    "The requested lower bound [{lower_bound}] for job vertex [{id}] is higher than the \
                     upper bound [{upper_bound}]."
                ));
            }
            if *upper_bound > vertex.max_parallelism {
                problems.push(format!(
                    "The newly requested parallelism {upper_bound} for the job vertex {id} exceeds its \
                     maximum parallelism {}.",
                    vertex.max_parallelism
                ));
            }
        }
        for vertex in vertices {
            let Some(bounds) = self.0.get(&vertex.id) else {
                problems.push(format!(
                    "The request is incomplete, missing job vertex [{}] resource requirements.",
                    vertex.id
                ));
                continue;
            };
            let forward = vertex
                .inputs
                .iter()
                .filter(|input| input.ship_strategy == Partitioner::Forward.as_str());
            for input in forward {
                let upper = self.0.get(&input.from).map(|bounds| bounds.upper_bound);
                if upper.is_some_and(|upper| upper != bounds.upper_bound) {
                    problems.push(format!(
                        "Job vertex [{}] forwards its records to job vertex [{}], subtask to subtask: both \
                         need the same upper bound.",
                        input.from, vertex.id
                    ));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(RequirementsError(problems)),
        }
    }
}

/// Why a job cannot have such requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequirementsError(Vec<String>);

impl fmt::Display for RequirementsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for RequirementsError {}

/// Requirements as JSON has them, in Flink's shape:
/// `{"<vertex>": {"parallelism": {"lowerBound": 1, "upperBound": 4}}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequirementsBody(BTreeMap<String, VertexBody>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct VertexBody {
    parallelism: Bounds,
}

impl From<&JobRequirements> for RequirementsBody {
    fn from(requirements: &JobRequirements) -> Self {
        let bounds = requirements.0.iter();
        let bounds = bounds.map(|(id, bounds)| {
            let parallelism = *bounds;
            (id.to_string(), VertexBody { parallelism })
        });
        RequirementsBody(bounds.collect())
    }
}

impl TryFrom<&RequirementsBody> for JobRequirements {
    type Error = RequirementsError;

    fn try_from(body: &RequirementsBody) -> Result<Self, RequirementsError> {
        let bounds = body.0.iter().map(|(id, vertex)| {
            let id: OperatorId = id.parse().map_err(|error| {
                RequirementsError(vec![format!("\"{id}\" is no id of a job vertex: {error}")])
            })?;
            Ok((id, vertex.parallelism))
        });
        bounds.collect::<Result<_, _>>().map(JobRequirements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VertexIndex;
    use crate::dispatcher::VertexInput;
    use crate::status::ExecutionState;

    fn vertex(uid: &str, inputs: &[(&str, &str)]) -> VertexDetails {
        VertexDetails {
            id: OperatorId::of_uid(uid),
            name: uid.to_owned(),
            operators: vec![uid.to_owned()],
            parallelism: 2,
            max_parallelism: 16,
            status: ExecutionState::Running,
            tasks: BTreeMap::new(),
            records_in: 0,
            records_out: 0,
            pending_records: None,
            start_time_ms: None,
            end_time_ms: None,
            subtasks: Vec::new(),
            inputs: inputs
                .iter()
                .map(|(from, ship_strategy)| VertexInput {
                    from: OperatorId::of_uid(from),
                    ship_strategy: (*ship_strategy).to_owned(),
                })
                .collect(),
        }
    }

    fn requirements(all: &[(&str, u32, u32)]) -> JobRequirements {
        let bounds = all.iter().map(|(uid, lower_bound, upper_bound)| {
            let bounds = Bounds {
                lower_bound: *lower_bound,
                upper_bound: *upper_bound,
            };
            (OperatorId::of_uid(uid), bounds)
        });
        JobRequirements(bounds.collect())
    }

    #[test]
    fn what_a_job_cannot_have_is_refused_with_all_that_is_wrong() {
        let job = [
            vertex("source", &[]),
            vertex("map", &[("source", "FORWARD")]),
            vertex("counter", &[("map", "HASH")]),
        ];
        let good = requirements(&[("source", 1, 4), ("map", 2, 4), ("counter", 1, 16)]);
        assert_eq!(good.check(&job), Ok(()));
        assert_eq!((good.minimum(), good.most()), (2, 16));
        let cases = [
            (&[("source", 1, 2), ("map", 1, 2)][..], "missing job vertex"),
            (
                &[("source", 1, 2), ("map", 1, 2), ("counter", 3, 2)],
                "is higher than the upper bound [2]",
            ),
            (
                &[("source", 1, 2), ("map", 1, 2), ("counter", 0, 2)],
                "is below 1",
            ),
            (
                &[("source", 1, 2), ("map", 1, 2), ("counter", 1, 17)],
                "exceeds its maximum parallelism 16",
            ),
            (
                &[("source", 1, 2), ("map", 1, 3), ("counter", 1, 2)],
                "both need the same upper bound",
            ),
            (
                &[
                    ("source", 1, 2),
                    ("map", 1, 2),
                    ("counter", 1, 2),
                    ("x", 1, 1),
                ],
                "was not found in the JobGraph",
            ),
        ];
        for (wanted, part) in cases {
            let why = requirements(wanted)
                .check(&job)
                .expect_err(part)
                .to_string();
            assert!(why.contains(part), "{part}: {why}");
        }
        let both = requirements(&[("counter", 3, 2)]).check(&job);
        let both = both.expect_err("incomplete as well").to_string();
        assert_eq!(both.lines().count(), 3, "{both}");
    }

    #[test]
    fn a_vertex_has_as_many_subtasks_as_there_are_slots_up_to_its_bound() {
        let wanted = requirements(&[("source", 1, 2), ("counter", 1, 8)]);
        let vertex = |uid: &str, max_parallelism| JobVertex {
            index: VertexIndex(0),
            id: OperatorId::of_uid(uid),
            name: uid.to_owned(),
            parallelism: 1,
            max_parallelism,
            max_parallelism_is_explicit: false,
            operators: Vec::new(),
            chained_edges: Vec::new(),
        };
        let of = |uid: &str, slots| wanted.parallelism(&vertex(uid, 128), slots);
        assert_eq!((of("source", 5), of("counter", 5)), (2, 5));
        assert_eq!((of("source", 1), of("counter", 9)), (1, 8));
        // A snapshot has fewer key groups than the bounds were made for.
        assert_eq!(wanted.parallelism(&vertex("counter", 4), 9), 4);
    }
}

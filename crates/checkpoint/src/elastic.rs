//! When a job in elastic mode changes its parallelism: decided here, without doing anything.
//!
//! A running job that could use more slots, or is to use fewer, changes over as soon as all slots are
//! there that it could ever use; or when some have been there for a while. In between it is left alone
//! for the cooldown. Before it changes it takes a checkpoint, so that little has to be done again.
//!
//! Slots that are lost are no matter of this: their processes are lost too, and the attempt fails.

use std::time::Duration;

use millpond_job::resources::{ElasticWait, SlotRequest};
use millpond_job::{JobGraph, JobRequirements};
use millpond_types::TriggerId;

/// How the parallelism of a job follows the slots that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElasticOptions {
    /// For how long the job waits for the least that it needs.
    pub resource_wait: Duration,
    /// For how long it waits for all slots that it could use once it has the least.
    pub stabilization: Duration,
    /// The least time between its start and a change of its parallelism.
    pub cooldown: Duration,
    /// For how long it waits for all slots that it could use once some have come while it runs.
    pub executing_stabilization: Duration,
    /// How often the checkpoint before a change may fail until the job goes on from an older one.
    pub max_checkpoint_failures: u32,
    /// What was asked for before; `None`: as the program says.
    pub requirements: Option<JobRequirements>,
}

/// What a running job is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Stay,
    /// Nothing before this time.
    Wait(u64),
    /// Take a checkpoint.
    Checkpoint,
    /// Change over.
    Rescale,
}

/// Where the checkpoint before a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    None,
    Taking(TriggerId),
    /// It is complete, or has failed too often.
    Done,
}

/// The elastic mode of one job.
#[derive(Debug)]
pub struct Elastic {
    options: ElasticOptions,
    requirements: JobRequirements,
    /// Slots that the job could have, those that it has included.
    available: u32,
    /// Subtasks per vertex, at most, of the newest attempt; 0 if there was none.
    slots: u32,
    running_since_ms: u64,
    /// Since when other slots could be used.
    changed_ms: Option<u64>,
    progress: Progress,
    checkpoint_failures: u32,
    /// The next attempt is another one as slots have come or bounds have changed.
    is_planned: bool,
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

impl Elastic {
    /// Of a job that could have so many slots.
    pub fn new(options: ElasticOptions, graph: &JobGraph, available: u32) -> Self {
        let requirements = options.requirements.clone();
        Elastic {
            requirements: requirements.unwrap_or_else(|| JobRequirements::of(graph)),
            options,
            available,
            slots: 0,
            running_since_ms: 0,
            changed_ms: None,
            progress: Progress::None,
            checkpoint_failures: 0,
            is_planned: false,
        }
    }

    /// The bounds of the parallelism.
    pub fn requirements(&self) -> &JobRequirements {
        &self.requirements
    }

    /// Other bounds hold.
    pub fn require(&mut self, requirements: JobRequirements) {
        self.requirements = requirements;
    }

    /// The job could have so many slots.
    pub fn offered(&mut self, available: u32) {
        self.available = available;
    }

    /// What the next attempt asks for.
    ///
    /// An attempt that has failed wants what it had, or more: a task manager that is lost may come again
    /// soon. One that changes over has waited already, and takes what there is. Neither takes more than was
    /// offered: the rest may be another job's.
    pub fn request(&self) -> SlotRequest {
        let (minimum, most) = (self.requirements.minimum(), self.requirements.most());
        let (enough, most) = match self.slots {
            0 => (most, most),
            slots => {
                let offered = slots.max(self.available);
                let enough = match self.is_planned {
                    true => slots.min(self.available),
                    false => offered,
                };
                (enough, offered.clamp(minimum, most))
            }
        };
        SlotRequest {
            number: 0,
            minimum,
            enough: enough.clamp(minimum, most),
            most,
            elastic: Some(ElasticWait {
                resource_wait_ms: ms(self.options.resource_wait),
                stabilization_ms: ms(self.options.stabilization),
            }),
        }
    }

    /// Whether the next attempt may stay in the slots of the last one.
    pub fn may_keep_slots(&self) -> bool {
        !self.is_planned
    }

    /// An attempt is deployed in so many slots.
    pub fn deployed(&mut self, slots: u32, graph: &mut JobGraph) {
        self.slots = slots;
        self.is_planned = false;
        self.rest();
        self.requirements.scale(graph, slots);
    }

    /// All subtasks run.
    pub fn running(&mut self, now_ms: u64) {
        self.running_since_ms = now_ms;
    }

    /// The attempt ends; `is_planned` if to change over.
    pub fn ended(&mut self, is_planned: bool) {
        self.is_planned = is_planned;
        self.rest();
    }

    fn rest(&mut self) {
        self.changed_ms = None;
        self.progress = Progress::None;
        self.checkpoint_failures = 0;
    }

    /// So many slots the job is to use.
    fn target(&self) -> u32 {
        self.available.max(self.slots).min(self.requirements.most())
    }

    fn differs(&self, graph: &JobGraph, slots: u32) -> bool {
        let mut vertices = graph.vertices.iter();
        vertices.any(|vertex| vertex.parallelism != self.requirements.parallelism(vertex, slots))
    }

    /// What a job that runs as `graph` is to do. It is not to be asked where nothing may be interrupted.
    pub fn decide(&mut self, now_ms: u64, graph: &JobGraph) -> Decision {
        if matches!(self.progress, Progress::Taking(_)) {
            return Decision::Stay;
        }
        let target = self.target();
        if target < self.requirements.minimum() || !self.differs(graph, target) {
            self.rest();
            return Decision::Stay;
        }
        let changed_ms = *self.changed_ms.get_or_insert(now_ms);
        let cooled = self.running_since_ms + ms(self.options.cooldown);
        let due = match target == self.requirements.most() {
            true => cooled,
            false => cooled.max(changed_ms + ms(self.options.executing_stabilization)),
        };
        match self.progress {
            Progress::Done => Decision::Rescale,
            Progress::None if due > now_ms => Decision::Wait(due),
            Progress::None => Decision::Checkpoint,
            Progress::Taking(_) => Decision::Stay,
        }
    }

    /// The checkpoint before the change has begun.
    pub fn takes(&mut self, trigger: TriggerId) {
        self.progress = Progress::Taking(trigger);
    }

    /// Whether this is the checkpoint before the change.
    pub fn is_taking(&self, trigger: TriggerId) -> bool {
        self.progress == Progress::Taking(trigger)
    }

    /// It has ended.
    pub fn taken(&mut self, is_complete: bool) {
        if !is_complete {
            self.checkpoint_failures += 1;
        }
        let is_enough =
            is_complete || self.checkpoint_failures > self.options.max_checkpoint_failures;
        self.progress = match is_enough {
            true => Progress::Done,
            false => Progress::None,
        };
    }
}

#[cfg(test)]
mod tests {
    use millpond_job::{JobVertex, VertexIndex};
    use millpond_types::OperatorId;

    use super::*;

    fn graph(parallelism: u32) -> JobGraph {
        let vertex = |index: u32, uid: &str, parallelism: u32| JobVertex {
            index: VertexIndex(index),
            id: OperatorId::of_uid(uid),
            name: uid.to_owned(),
            parallelism,
            max_parallelism: 128,
            max_parallelism_is_explicit: false,
            operators: Vec::new(),
            chained_edges: Vec::new(),
        };
        JobGraph {
            vertices: vec![vertex(0, "source", parallelism), vertex(1, "one", 1)],
            edges: Vec::new(),
        }
    }

    /// A job of parallelism 4 that has run in so many slots since 1000, with a cooldown of 100 and a
    /// stabilization of 500.
    fn running(slots: u32) -> (Elastic, JobGraph) {
        let options = ElasticOptions {
            resource_wait: Duration::from_secs(300),
            stabilization: Duration::from_secs(10),
            cooldown: Duration::from_millis(100),
            executing_stabilization: Duration::from_millis(500),
            max_checkpoint_failures: 1,
            requirements: None,
        };
        let mut graph = graph(4);
        let mut elastic = Elastic::new(options, &graph, 0);
        assert_eq!(
            elastic.request().enough,
            4,
            "all, or what there is behind a while"
        );
        elastic.deployed(slots, &mut graph);
        elastic.running(1000);
        elastic.offered(slots);
        (elastic, graph)
    }

    #[test]
    fn a_vertex_of_parallelism_1_stays_so() {
        let (_, graph) = running(3);
        let found = graph.vertices.iter().map(|vertex| vertex.parallelism);
        assert_eq!(found.collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn all_slots_that_it_could_use_are_taken_behind_the_cooldown_and_some_when_they_have_been_there()
     {
        let (mut elastic, graph) = running(1);
        assert_eq!(elastic.decide(1010, &graph), Decision::Stay);
        elastic.offered(3);
        assert_eq!(elastic.decide(1050, &graph), Decision::Wait(1550));
        assert_eq!(elastic.decide(1549, &graph), Decision::Wait(1550));
        assert_eq!(elastic.decide(1550, &graph), Decision::Checkpoint);
        let (mut elastic, graph) = running(1);
        elastic.offered(6);
        assert_eq!(elastic.decide(1050, &graph), Decision::Wait(1100));
        assert_eq!(elastic.decide(1100, &graph), Decision::Checkpoint);
        // They have gone again.
        elastic.offered(1);
        assert_eq!(elastic.decide(1100, &graph), Decision::Stay);
    }

    #[test]
    fn it_changes_over_behind_a_checkpoint_or_when_that_has_failed_too_often() {
        let trigger = |n| TriggerId([n; 16]);
        let (mut elastic, graph) = running(1);
        elastic.offered(4);
        elastic.takes(trigger(1));
        assert!(elastic.is_taking(trigger(1)) && !elastic.is_taking(trigger(2)));
        assert_eq!(elastic.decide(2000, &graph), Decision::Stay);
        elastic.taken(false);
        assert_eq!(elastic.decide(2000, &graph), Decision::Checkpoint);
        elastic.takes(trigger(2));
        elastic.taken(false);
        assert_eq!(elastic.decide(2000, &graph), Decision::Rescale);
        elastic.ended(true);
        assert!(!elastic.may_keep_slots());
        assert_eq!(elastic.request().enough, 1, "and more, if there is more");
        let (mut elastic, graph) = running(1);
        elastic.offered(4);
        elastic.takes(trigger(1));
        elastic.taken(true);
        assert_eq!(elastic.decide(2000, &graph), Decision::Rescale);
        // Not any more.
        elastic.offered(1);
        assert_eq!(elastic.decide(2000, &graph), Decision::Stay);
        elastic.offered(4);
        assert_eq!(elastic.decide(2000, &graph), Decision::Checkpoint);
    }

    #[test]
    fn other_bounds_change_it_up_and_down_and_a_bound_out_of_reach_does_not_stop_it() {
        let bounds = |lower: u32, upper: u32| {
            JobRequirements::of(&graph(upper)).with_lower_bound(OperatorId::of_uid("source"), lower)
        };
        let (mut elastic, graph) = running(2);
        elastic.offered(3);
        elastic.require(bounds(1, 2));
        assert_eq!(elastic.decide(5000, &graph), Decision::Stay);
        elastic.require(bounds(1, 1));
        assert_eq!(elastic.decide(5000, &graph), Decision::Checkpoint);
        elastic.require(bounds(4, 8));
        assert_eq!(elastic.decide(5000, &graph), Decision::Stay);
        assert_eq!(
            (elastic.request().minimum, elastic.request().enough),
            (4, 4)
        );
        elastic.offered(5);
        assert_eq!(elastic.decide(5000, &graph), Decision::Wait(5500));
    }

    #[test]
    fn an_attempt_that_has_failed_wants_what_it_had_or_more() {
        let (mut elastic, _) = running(3);
        // Two of them are gone.
        elastic.offered(1);
        elastic.ended(false);
        assert_eq!(elastic.request().enough, 3);
        elastic.offered(9);
        assert_eq!(elastic.request().enough, 4);
    }
}

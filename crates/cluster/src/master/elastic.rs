//! Elastic mode: the parallelism of the job follows the slots that there are.

use millpond_checkpoint::{Decision, Event};
use millpond_job::JobRequirements;
use millpond_job::JobStatus;
use millpond_job::dispatcher::CheckpointKind;
use millpond_job::resources::SlotRequest;
use millpond_types::TriggerId;

use super::Master;

impl Master {
    /// The slots that the next attempt wants.
    pub(super) fn slot_request(&self) -> SlotRequest {
        match &self.elastic {
            Some(elastic) => elastic.request(),
            None => SlotRequest::exactly(self.program.graph.max_vertex_parallelism()),
        }
    }

    /// Gives each vertex the parallelism that it has in so many slots.
    pub(super) fn scale(&mut self, slots: u32) {
        let Some(elastic) = &mut self.elastic else {
            return;
        };
        elastic.deployed(slots, &mut self.program.graph);
        self.coordinator.rescale(&self.program.graph);
        self.view.lock().graph = self.program.graph.clone();
    }

    /// Other bounds hold from now on.
    pub(super) fn require(&mut self, requirements: JobRequirements) {
        let Some(elastic) = &mut self.elastic else {
            return;
        };
        elastic.require(requirements.clone());
        self.view.lock().requirements = Some(requirements);
        if self.lifecycle.is_allocating() {
            // In place of what was asked for.
            self.allocate(self.clock.now_ms());
        }
    }

    /// What the elastic mode wants of the running attempt.
    fn decide(&mut self, now_ms: u64) -> Decision {
        let takes_checkpoints = self.options.coordinator.interval_ms.is_some();
        if !self.lifecycle.is_running() || !takes_checkpoints || self.coordinator.is_occupied() {
            return Decision::Stay;
        }
        match &mut self.elastic {
            Some(elastic) => elastic.decide(now_ms, &self.program.graph),
            None => Decision::Stay,
        }
    }

    /// When the elastic mode wants to be asked again.
    pub(super) fn elastic_deadline(&mut self) -> Option<u64> {
        match self.decide(self.clock.now_ms()) {
            Decision::Wait(until) => Some(until),
            Decision::Checkpoint | Decision::Rescale => Some(0),
            Decision::Stay => None,
        }
    }

    /// Changes the parallelism if it is time.
    pub(super) fn rescale(&mut self, now_ms: u64) {
        match self.decide(now_ms) {
            Decision::Stay | Decision::Wait(_) => {}
            Decision::Checkpoint => {
                let trigger = TriggerId(crate::random::bytes());
                if let Some(elastic) = &mut self.elastic {
                    elastic.takes(trigger);
                }
                let kind = CheckpointKind::Configured;
                self.tell(Event::TriggerCheckpoint { trigger, kind });
            }
            Decision::Rescale => {
                tracing::info!(
                    "job {} changes its parallelism, from {} on",
                    self.options.job,
                    self.program.graph.max_vertex_parallelism()
                );
                self.lifecycle.change_over(now_ms);
                self.view.lock().enter(JobStatus::Restarting, now_ms);
                self.tell(Event::AttemptFailed {
                    reason: "the job changes its parallelism".to_owned(),
                });
                if let Some(elastic) = &mut self.elastic {
                    elastic.ended(true);
                }
                self.end_attempt();
            }
        }
    }

    /// Whether this is a checkpoint that the elastic mode takes.
    pub(super) fn is_of_elastic(&self, trigger: TriggerId) -> bool {
        let elastic = self.elastic.as_ref();
        elastic.is_some_and(|elastic| elastic.is_taking(trigger))
    }

    /// Such a checkpoint has ended.
    pub(super) fn elastic_checkpoint_ended(&mut self, result: Result<(), String>) {
        if let Err(why) = &result {
            tracing::warn!("the checkpoint before a change of the parallelism has failed: {why}");
        }
        if let Some(elastic) = &mut self.elastic {
            elastic.taken(result.is_ok());
        }
    }
}

//! Laws of elastic mode: when the parallelism changes, and to what.

use std::time::Duration;

use crate::world::World;

impl World {
    /// The parallelism is about to change: that undoes nothing that a user waits for, and not too often.
    pub(crate) fn check_change(&mut self, m: usize) {
        let cooldown = self
            .setting
            .elastic
            .as_ref()
            .map(|options| options.cooldown);
        let cooldown_ms = cooldown.unwrap_or(Duration::ZERO).as_millis() as u64;
        let now_ms = self.now_ms;
        let laws = &self.masters[m].laws;
        let open = laws.triggers.iter().find(|(_, ended)| !**ended);
        let open = open.map(|(trigger, _)| *trigger);
        let not_before = laws.running_since_ms + cooldown_ms;
        self.law(open.is_none(), || {
            format!("a change of the parallelism of master {m} undoes operation {open:?}")
        });
        self.law(now_ms >= not_before, || {
            format!("master {m} changes its parallelism, and may not before {not_before}")
        });
    }

    /// In a slot runs one subtask of each vertex at most, and no slot is idle that the job could use.
    pub(crate) fn check_parallelism(&mut self, m: usize, slots: u32) {
        let master = &self.masters[m];
        let most = master
            .elastic
            .as_ref()
            .map(|elastic| elastic.requirements().most());
        let vertices = &master.graph.vertices;
        let widest = vertices.iter().map(|vertex| vertex.parallelism).max();
        let expected = most.map(|most| most.min(slots));
        self.law(widest == expected, || {
            format!("master {m} has {slots} slots, can use {most:?}, and has {widest:?} subtasks")
        });
    }
}

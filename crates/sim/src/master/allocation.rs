//! Room for worker processes: so many for good, or the slots of a cluster, which come and go.
//!
//! When a job in elastic mode changes its parallelism the product's `Elastic` decides. What is around it in
//! `cluster::master`, and the job manager that offers slots and gives them, are models.

use millpond_checkpoint::{Decision, Elastic, Event};
use millpond_job::JobRequirements;
use millpond_job::dispatcher::CheckpointKind;

use crate::bug::Bug;
use crate::worker::Life;
use crate::world::{What, World};

/// The most slots that the cluster has for the job.
const MOST_SLOTS: u64 = 4;

impl World {
    /// Sees to room; an attempt begins if there is some.
    pub(super) fn allocate(&mut self, m: usize) {
        let master = &self.masters[m];
        let Some(elastic) = &master.elastic else {
            return self.begin_attempt(m);
        };
        let request = elastic.request();
        let are_enough = |slots: &u32| (request.enough..=request.most).contains(slots);
        let all_live = master.children.iter().all(Option::is_some);
        if master.slots.is_some_and(|slots| are_enough(&slots))
            && elastic.may_keep_slots()
            && all_live
        {
            self.see("an attempt in the slots of the last one");
            return self.begin_attempt(m);
        }
        // Whoever looks for other room ends what there was.
        for process in 0..self.masters[m].children.len() {
            self.forget(m, process);
        }
        let master = &mut self.masters[m];
        master.children.clear();
        master.slots = None;
        master.requests += 1;
        master.lifecycle.allocating();
        let number = master.requests;
        let wait = self.random.pick(&[0, 3, 50, 400]);
        self.later(wait, What::Allocated { master: m, number });
    }

    /// The cluster answers a request for slots, of which there are enough or not.
    pub(crate) fn allocated(&mut self, m: usize, number: u64) {
        if !self.master_takes(m, || What::Allocated { master: m, number }) {
            return;
        }
        let available = self.slots;
        let is_refused = available == 0 && self.fault(300);
        let master = &mut self.masters[m];
        let Some(elastic) = master
            .elastic
            .as_ref()
            .filter(|_| number == master.requests)
        else {
            return;
        };
        let request = elastic.request();
        if is_refused {
            self.see("a cluster without slots");
            self.fail_attempt(m, "there are no slots");
        } else if available < request.minimum {
            return self.later(100, What::Allocated { master: m, number });
        } else if master.lifecycle.is_allocating() {
            let slots = available.min(request.most);
            let processes = 1 + self.random.below(u64::from(slots)) as usize;
            self.masters[m].slots = Some(slots);
            self.masters[m].children = vec![None; processes];
            self.begin_attempt(m);
        }
        self.master_goes_on(m);
    }

    /// Gives each vertex the parallelism that it has in the slots of the next attempt.
    pub(super) fn scale(&mut self, m: usize) {
        let master = &mut self.masters[m];
        let (Some(elastic), Some(slots)) = (&mut master.elastic, master.slots) else {
            return;
        };
        elastic.deployed(slots, &mut master.graph);
        master.coordinator.rescale(&master.graph);
        self.check_parallelism(m, slots);
    }

    /// What elastic mode wants of the running attempt.
    fn decide(&mut self, m: usize) -> Decision {
        let master = &mut self.masters[m];
        let is_occupied = master.coordinator.is_occupied() && self.bug != Some(Bug::RashChange);
        if !master.lifecycle.is_running() || is_occupied {
            return Decision::Stay;
        }
        match &mut master.elastic {
            Some(elastic) => elastic.decide(self.now_ms, &master.graph),
            None => Decision::Stay,
        }
    }

    /// When elastic mode wants to be asked again.
    pub(super) fn elastic_deadline(&mut self, m: usize) -> Option<u64> {
        match self.decide(m) {
            Decision::Wait(until) => Some(until),
            Decision::Checkpoint | Decision::Rescale => Some(0),
            Decision::Stay => None,
        }
    }

    /// Changes the parallelism if it is time.
    pub(super) fn rescale(&mut self, m: usize) {
        match self.decide(m) {
            Decision::Stay | Decision::Wait(_) => {}
            Decision::Checkpoint => {
                let trigger = self.new_trigger();
                let master = &mut self.masters[m];
                if let Some(elastic) = &mut master.elastic {
                    elastic.takes(trigger);
                }
                master.laws.wanted_checkpoint(trigger);
                let kind = CheckpointKind::Configured;
                self.tell(m, Event::TriggerCheckpoint { trigger, kind });
            }
            Decision::Rescale => {
                self.note(|| format!("master {m} changes its parallelism"));
                self.see("a change of the parallelism");
                self.check_change(m);
                let master = &mut self.masters[m];
                master.lifecycle.change_over(self.now_ms);
                master.laws.attempt_is_over();
                let reason = "the job changes its parallelism".to_owned();
                self.tell(m, Event::AttemptFailed { reason });
                if let Some(elastic) = &mut self.masters[m].elastic {
                    elastic.ended(true);
                }
                self.end_attempt(m);
            }
        }
    }

    /// Slots come or go; with those that go a process goes too.
    pub(crate) fn slots_change(&mut self) {
        self.slots = self.random.below(MOST_SLOTS + 1) as u32;
        let slots = self.slots;
        self.note(|| format!("there are {slots} slots"));
        let lineage = self.some_lineage();
        let Some(m) = self.lineages[lineage].present else {
            return;
        };
        let has = self.masters[m].slots.unwrap_or(0);
        let pids: Vec<usize> = self.masters[m].pids().collect();
        if slots < has && !pids.is_empty() {
            let pid = self.random.pick(&pids);
            self.kill_worker(pid);
            self.later(5, What::Lost { master: m, pid });
        }
        for lineage in 0..self.lineages.len() {
            if let Some(m) = self.lineages[lineage].present {
                self.offer(m);
            }
        }
    }

    /// The cluster tells a job how many slots it could have.
    pub(crate) fn offer(&mut self, m: usize) {
        let slots = self.slots;
        let delay = self.random.pick(&[0, 2, 30]);
        self.later(delay, What::Offered { master: m, slots });
    }

    pub(crate) fn offered(&mut self, m: usize, slots: u32) {
        if !self.master_takes(m, || What::Offered { master: m, slots }) {
            return;
        }
        if let Some(elastic) = &mut self.masters[m].elastic {
            elastic.offered(slots);
        }
        self.master_goes_on(m);
    }

    /// The user gives the job other bounds.
    pub(crate) fn require_other_bounds(&mut self, m: usize) {
        if self.masters[m].elastic.is_none() {
            return;
        }
        let upper = self.job.some_parallelism(&mut self.random);
        let requirements = JobRequirements::of(&self.job.graph(upper));
        self.note(|| format!("the user wants a parallelism of at most {upper:?}"));
        self.see("other bounds of the parallelism");
        let master = &mut self.masters[m];
        if let Some(elastic) = &mut master.elastic {
            elastic.require(requirements);
        }
        if master.lifecycle.is_allocating() {
            self.allocate(m);
        }
        self.master_goes_on(m);
    }

    /// There are slots enough for any job, from now on.
    pub(crate) fn slots_stay(&mut self) {
        self.slots = MOST_SLOTS as u32;
        for m in 0..self.masters.len() {
            if self.masters[m].life != Life::Dead {
                self.offer(m);
            }
        }
    }
}

/// Elastic mode of a job that knows of no slots yet.
pub(super) fn elastic(world: &World, graph: &millpond_job::JobGraph) -> Option<Elastic> {
    let options = world.setting.elastic.clone()?;
    Some(Elastic::new(options, graph, 0))
}

//! Which job has which slots: decided here, without doing anything.
//!
//! A job of parallelism *p* needs *p* slots: in each, one subtask of every vertex. They are given as
//! processes of equal size, as the data plane wants the same number of worker threads in each: the
//! fewest processes that need no slot more than *p*. Jobs wait in order; one that fits is not held up by
//! one in front of it that does not.

use std::collections::BTreeMap;

use millpond_types::JobId;

/// Slots for one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// Unique, ascending.
    pub(crate) id: u64,
    /// Slots of each process.
    pub(crate) workers: u32,
    /// The task manager of each process.
    pub(crate) task_managers: Vec<String>,
}

impl Allocation {
    fn slots_on(&self, task_manager: &str) -> u32 {
        let there = self.task_managers.iter().filter(|id| *id == task_manager);
        there.count() as u32 * self.workers
    }
}

/// A job that waits for slots.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    job: JobId,
    parallelism: u32,
    until_ms: u64,
}

/// The slots of all task managers.
#[derive(Debug, Default)]
pub(crate) struct SlotPool {
    task_managers: BTreeMap<String, u32>,
    allocations: BTreeMap<JobId, Allocation>,
    waiting: Vec<Waiting>,
    last_id: u64,
}

impl SlotPool {
    /// A task manager has come.
    pub(crate) fn register(&mut self, task_manager: &str, slots: u32) {
        self.task_managers.insert(task_manager.to_owned(), slots);
    }

    /// A task manager has gone. Jobs that had slots there keep the rest until they release it.
    pub(crate) fn remove(&mut self, task_manager: &str) {
        self.task_managers.remove(task_manager);
    }

    /// A job wants slots, in place of those it had.
    pub(crate) fn request(&mut self, job: JobId, parallelism: u32, until_ms: u64) {
        self.release(job);
        self.waiting.push(Waiting {
            job,
            parallelism: parallelism.max(1),
            until_ms,
        });
    }

    /// A job wants no slots any more.
    pub(crate) fn release(&mut self, job: JobId) {
        self.allocations.remove(&job);
        self.waiting.retain(|waiting| waiting.job != job);
    }

    /// What a job has.
    pub(crate) fn of(&self, job: JobId) -> Option<&Allocation> {
        self.allocations.get(&job)
    }

    /// Gives slots to jobs that wait, in their order.
    pub(crate) fn grant(&mut self) -> Vec<(JobId, Allocation)> {
        let mut granted = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let free: Vec<(&String, u32)> = self
                .task_managers
                .keys()
                .map(|id| (id, self.free(id)))
                .filter(|(_, free)| *free > 0)
                .collect();
            let Some((workers, task_managers)) = fit(waiting.parallelism, &free) else {
                self.waiting.push(waiting);
                continue;
            };
            self.last_id += 1;
            let allocation = Allocation {
                id: self.last_id,
                workers,
                task_managers,
            };
            self.allocations.insert(waiting.job, allocation.clone());
            granted.push((waiting.job, allocation));
        }
        granted
    }

    /// Gives up those who have waited for too long; with how many slots each wanted.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<(JobId, u32)> {
        let is_late = |waiting: &Waiting| waiting.until_ms <= now_ms;
        let late = self.waiting.iter().filter(|waiting| is_late(waiting));
        let late = late.map(|late| (late.job, late.parallelism)).collect();
        self.waiting.retain(|waiting| !is_late(waiting));
        late
    }

    /// Slots of a task manager.
    pub(crate) fn slots(&self, task_manager: &str) -> u32 {
        self.task_managers.get(task_manager).copied().unwrap_or(0)
    }

    /// Slots of a task manager that no job has.
    pub(crate) fn free(&self, task_manager: &str) -> u32 {
        let used = self.allocations.values();
        let used: u32 = used.map(|all| all.slots_on(task_manager)).sum();
        self.slots(task_manager).saturating_sub(used)
    }

    /// All slots, and those that no job has.
    pub(crate) fn totals(&self) -> (u32, u32) {
        let ids = self.task_managers.keys();
        ids.fold((0, 0), |(all, free), id| {
            (all + self.slots(id), free + self.free(id))
        })
    }
}

/// Finds processes for a parallelism: how many slots each has, and where each is.
fn fit(parallelism: u32, free: &[(&String, u32)]) -> Option<(u32, Vec<String>)> {
    let largest = free.iter().map(|(_, free)| *free).max()?.min(parallelism);
    let needed = |workers: u32| parallelism.div_ceil(workers);
    let fits = |workers: u32| {
        let room: u32 = free.iter().map(|(_, free)| free / workers).sum();
        room >= needed(workers)
    };
    let best = (1..=largest)
        .filter(|workers| fits(*workers))
        .min_by_key(|workers| (needed(*workers) * workers, needed(*workers)))?;
    // The emptiest first: few machines for one job.
    let mut order: Vec<_> = free.to_vec();
    order.sort_by_key(|(_, free)| std::cmp::Reverse(*free));
    let places = order
        .into_iter()
        .flat_map(|(id, free)| std::iter::repeat_n(id.clone(), (free / best) as usize));
    Some((best, places.take(needed(best) as usize).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn job(n: u8) -> JobId {
        JobId([n; 16])
    }

    fn pool(slots: &[u32]) -> SlotPool {
        let mut pool = SlotPool::default();
        for (index, slots) in slots.iter().enumerate() {
            pool.register(&format!("tm-{index}"), *slots);
        }
        pool
    }

    fn granted(pool: &mut SlotPool, parallelism: u32) -> Option<(u32, usize)> {
        pool.request(job(1), parallelism, 10);
        let granted = pool.grant();
        let (_, allocation) = granted.first()?;
        Some((allocation.workers, allocation.task_managers.len()))
    }

    #[test]
    fn a_parallelism_needs_as_many_slots_in_the_fewest_processes() {
        let shapes = [
            (&[4][..], 4, Some((4, 1))),
            (&[4], 3, Some((3, 1))),
            (&[2, 2], 4, Some((2, 2))),
            (&[2, 2], 3, Some((1, 3))),
            (&[1, 3], 4, Some((1, 4))),
            (&[3, 2], 4, Some((2, 2))),
            (&[8, 8], 6, Some((6, 1))),
            (&[2, 2], 5, None),
            (&[], 1, None),
        ];
        for (slots, parallelism, expected) in shapes {
            let found = granted(&mut pool(slots), parallelism);
            assert_eq!(found, expected, "{parallelism} in {slots:?}");
        }
    }

    #[test]
    fn who_does_not_fit_waits_until_a_task_manager_comes_or_the_time_is_up() {
        let mut pool = pool(&[2]);
        pool.request(job(1), 3, 100);
        pool.request(job(2), 2, 100);
        let first = pool.grant();
        assert_eq!(first.len(), 1);
        assert_eq!(
            first[0].0,
            job(2),
            "it does not hold up whom there is room for"
        );
        pool.register("late", 3);
        assert_eq!(pool.grant()[0].0, job(1));
        assert_eq!(pool.totals(), (5, 0));
        pool.request(job(3), 1, 100);
        assert!(pool.grant().is_empty());
        assert!(pool.expire(99).is_empty());
        assert_eq!(pool.expire(100), [(job(3), 1)]);
        pool.release(job(1));
        assert_eq!(pool.totals(), (5, 3));
        assert!(pool.grant().is_empty(), "it has given up");
    }

    #[test]
    fn slots_of_a_task_manager_that_is_gone_are_none() {
        let mut pool = pool(&[2, 2]);
        assert_eq!(granted(&mut pool, 4), Some((2, 2)));
        pool.remove("tm-0");
        assert_eq!(pool.totals(), (2, 0));
        assert_eq!(
            granted(&mut pool, 2),
            Some((2, 1)),
            "what it had is released"
        );
        assert_eq!(
            pool.of(job(1)).expect("granted").task_managers,
            ["tm-1".to_owned()]
        );
    }

    proptest! {
        #[test]
        fn no_slot_is_given_twice_and_nobody_waits_who_fits(
            slots in prop::collection::vec(1u32..6, 1..5),
            jobs in prop::collection::vec((0u8..6, 1u32..9), 1..20),
        ) {
            let mut pool = pool(&slots);
            for (id, parallelism) in jobs {
                pool.request(job(id), parallelism, 10);
                for (_, allocation) in pool.grant() {
                    let all = allocation.workers * allocation.task_managers.len() as u32;
                    prop_assert!(all >= 1);
                }
                for index in 0..slots.len() {
                    let id = format!("tm-{index}");
                    let used: u32 =
                        pool.allocations.values().map(|all| all.slots_on(&id)).sum();
                    prop_assert!(used <= pool.slots(&id));
                }
                let (_, free) = pool.totals();
                // One slot each is always possible.
                prop_assert!(pool.waiting.iter().all(|waiting| waiting.parallelism > free));
            }
        }
    }
}

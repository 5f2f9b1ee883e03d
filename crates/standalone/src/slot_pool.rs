//! Which job has which slots: decided here, without doing anything.
//!
//! A job of parallelism *p* needs *p* slots: in each, one subtask of every vertex. They are given as
//! processes of equal size, as the data plane wants the same number of worker threads in each: the
//! fewest processes that need no slot more than *p*. Jobs wait in order; one that fits is not held up by
//! one in front of it that does not.
//!
//! A job that wants slots anew gets the same processes on the same task managers, as far as there is room
//! there: the copies of its state are on those machines.
//!
//! A job in elastic mode says between which bounds *p* may be. It gets what there is, at once if that is
//! enough for it, else when it has waited for more.

use std::collections::BTreeMap;

use millpond_job::resources::SlotRequest;
use millpond_types::JobId;

/// Slots for one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// Unique, ascending.
    pub(crate) id: u64,
    /// The number of the request.
    pub(crate) number: u64,
    /// Subtasks of each vertex that it is for.
    pub(crate) parallelism: u32,
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
    request: SlotRequest,
    until_ms: u64,
    /// Since when the minimum has been there, without a break.
    suffices_since_ms: Option<u64>,
}

impl Waiting {
    /// The parallelism that the job gets if so many slots are free.
    fn parallelism(&mut self, free: u32, now_ms: u64) -> Option<u32> {
        let request = self.request;
        if free < request.minimum {
            self.suffices_since_ms = None;
            return None;
        }
        let since_ms = *self.suffices_since_ms.get_or_insert(now_ms);
        let stabilization_ms = request.elastic.map_or(0, |wait| wait.stabilization_ms);
        let has_waited =
            now_ms >= since_ms.saturating_add(stabilization_ms) || now_ms >= self.until_ms;
        (free >= request.enough || has_waited).then(|| free.min(request.most))
    }
}

/// A job that got no slots in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Which.
    pub(crate) job: JobId,
    /// What it wanted.
    pub(crate) request: SlotRequest,
}

/// What a job that runs would change for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Want {
    /// It is to have as many; if it has fewer it does not change for less.
    pub(crate) least: u32,
    /// It uses no more. Less than it has: it does not change.
    pub(crate) most: u32,
}

/// The slots of all task managers.
#[derive(Debug, Default)]
pub(crate) struct SlotPool {
    task_managers: BTreeMap<String, u32>,
    allocations: BTreeMap<JobId, Allocation>,
    waiting: Vec<Waiting>,
    /// The task manager of each process that a job had before it began to wait.
    earlier: BTreeMap<JobId, Vec<String>>,
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

    /// A job wants slots, in place of those it had: who had some goes before who has never begun, and who
    /// waits keeps its place.
    pub(crate) fn request(&mut self, job: JobId, request: SlotRequest, until_ms: u64) {
        let place = match self.allocations.contains_key(&job) {
            true => Some(0),
            false => self.waiting.iter().position(|waiting| waiting.job == job),
        };
        let earlier = match self.of(job) {
            Some(allocation) => Some(allocation.task_managers.clone()),
            None => self.earlier.remove(&job),
        };
        self.release(job);
        self.earlier.extend(earlier.map(|places| (job, places)));
        let minimum = request.minimum.max(1);
        let most = request.most.max(minimum);
        let waiting = Waiting {
            job,
            request: SlotRequest {
                minimum,
                enough: request.enough.clamp(minimum, most),
                most,
                ..request
            },
            until_ms,
            suffices_since_ms: None,
        };
        let place = place.unwrap_or(self.waiting.len());
        self.waiting.insert(place, waiting);
    }

    /// A job wants no slots any more.
    pub(crate) fn release(&mut self, job: JobId) {
        self.allocations.remove(&job);
        self.earlier.remove(&job);
        self.waiting.retain(|waiting| waiting.job != job);
    }

    /// What a job has.
    pub(crate) fn of(&self, job: JobId) -> Option<&Allocation> {
        self.allocations.get(&job)
    }

    /// Gives slots to jobs that wait, in their order.
    pub(crate) fn grant(&mut self, now_ms: u64) -> Vec<(JobId, Allocation)> {
        let mut granted = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let free: Vec<(&String, u32)> = self
                .task_managers
                .keys()
                .map(|id| (id, self.free(id)))
                .filter(|(_, free)| *free > 0)
                .collect();
            let all_free = free.iter().map(|(_, free)| free).sum();
            let parallelism = waiting.parallelism(all_free, now_ms);
            let earlier = self
                .earlier
                .get(&waiting.job)
                .map_or(&[][..], Vec::as_slice);
            let found = parallelism.and_then(|most| Some((most, fit(most, &free, earlier)?)));
            let Some((parallelism, (workers, task_managers))) = found else {
                self.waiting.push(waiting);
                continue;
            };
            self.earlier.remove(&waiting.job);
            self.last_id += 1;
            let allocation = Allocation {
                id: self.last_id,
                number: waiting.request.number,
                parallelism,
                workers,
                task_managers,
            };
            self.allocations.insert(waiting.job, allocation.clone());
            granted.push((waiting.job, allocation));
        }
        granted
    }

    /// As many slots each of these jobs could have, if it has some: those, and its share of the free ones that
    /// nobody waits for. No slot is in two shares: who is below its least comes first, then each gets one more,
    /// who has the fewest before others, until none is free or nobody wants more.
    pub(crate) fn shares(&self, wants: &BTreeMap<JobId, Want>) -> BTreeMap<JobId, u32> {
        let mut free = match self.waiting.is_empty() {
            true => self.totals().1,
            false => 0,
        };
        let mut shares = BTreeMap::new();
        for (job, want) in wants {
            let Some(own) = self.of(*job) else {
                continue;
            };
            let ids = self.task_managers.keys();
            let own = ids.map(|id| own.slots_on(id)).sum::<u32>();
            let missing = want.least.saturating_sub(own);
            let given = if missing <= free { missing } else { 0 };
            free -= given;
            shares.insert(*job, own + given);
        }
        while free > 0 {
            // Who is below its least does not change for one more.
            let unsatisfied = shares.iter_mut().filter(|(job, share)| {
                let want = wants[*job];
                **share >= want.least && **share < want.most
            });
            let Some((_, share)) = unsatisfied.min_by_key(|(_, share)| **share) else {
                break;
            };
            *share += 1;
            free -= 1;
        }
        shares
    }

    /// Gives up those who have waited for too long.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<Expired> {
        let is_late = |waiting: &Waiting| waiting.until_ms <= now_ms;
        let late = self.waiting.iter().filter(|waiting| is_late(waiting));
        let late = late.map(|late| Expired {
            job: late.job,
            request: late.request,
        });
        let late = late.collect();
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

/// Finds processes for a parallelism: how many slots each has, and where each is; if possible on the task
/// managers where they were earlier.
fn fit(
    parallelism: u32,
    free: &[(&String, u32)],
    earlier: &[String],
) -> Option<(u32, Vec<String>)> {
    let largest = free.iter().map(|(_, free)| *free).max()?.min(parallelism);
    let needed = |workers: u32| parallelism.div_ceil(workers);
    let fits = |workers: u32| {
        let room: u32 = free.iter().map(|(_, free)| free / workers).sum();
        room >= needed(workers)
    };
    let best = (1..=largest)
        .filter(|workers| fits(*workers))
        .min_by_key(|workers| (needed(*workers) * workers, needed(*workers)))?;
    // Behind those of earlier the emptiest: few machines for one job.
    let mut order: Vec<_> = free.to_vec();
    order.sort_by_key(|(id, free)| (!earlier.contains(*id), std::cmp::Reverse(*free)));
    let places = order
        .into_iter()
        .flat_map(|(id, free)| std::iter::repeat_n(id.clone(), (free / best) as usize));
    let places = places.take(needed(best) as usize).collect();
    Some((best, as_earlier(places, earlier)))
}

/// Puts places in the order that they had earlier.
fn as_earlier(mut places: Vec<String>, earlier: &[String]) -> Vec<String> {
    let mut ordered = vec![None; places.len()];
    for (process, id) in ordered.iter_mut().zip(earlier) {
        let found = places.iter().position(|place| place == id);
        *process = found.map(|at| places.remove(at));
    }
    let mut others = places.into_iter();
    let ordered = ordered.into_iter();
    ordered
        .filter_map(|place| place.or_else(|| others.next()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_job::resources::ElasticWait;
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
        pool.request(job(1), SlotRequest::exactly(parallelism), 10);
        let granted = pool.grant(0);
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
        pool.request(job(1), SlotRequest::exactly(3), 100);
        pool.request(job(2), SlotRequest::exactly(2), 100);
        let first = pool.grant(0);
        assert_eq!(first.len(), 1);
        assert_eq!(
            first[0].0,
            job(2),
            "it does not hold up whom there is room for"
        );
        pool.register("late", 3);
        assert_eq!(pool.grant(0)[0].0, job(1));
        assert_eq!(pool.totals(), (5, 0));
        pool.request(job(3), SlotRequest::exactly(1), 100);
        assert!(pool.grant(0).is_empty());
        assert!(pool.expire(99).is_empty());
        let late = pool.expire(100);
        assert_eq!((late.len(), late[0].job), (1, job(3)));
        pool.release(job(1));
        assert_eq!(pool.totals(), (5, 3));
        assert!(pool.grant(100).is_empty(), "it has given up");
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

    #[test]
    fn processes_come_back_to_where_they_were_and_only_the_lost_go_elsewhere() {
        let places = |pool: &mut SlotPool| {
            pool.request(job(1), SlotRequest::exactly(4), 10);
            let granted = pool.grant(0);
            granted[0].1.task_managers.clone()
        };
        let mut pool = pool(&[2, 2, 2]);
        assert_eq!(places(&mut pool), ["tm-0", "tm-1"]);
        // Its name comes first, and it is emptier.
        pool.register("a", 3);
        assert_eq!(places(&mut pool), ["tm-0", "tm-1"]);
        pool.remove("tm-0");
        assert_eq!(places(&mut pool), ["a", "tm-1"]);
        pool.register("tm-0", 2);
        assert_eq!(places(&mut pool), ["a", "tm-1"]);
        // A job that has ended has no places any more.
        pool.release(job(1));
        assert_eq!(places(&mut pool), ["a", "tm-0"]);
    }

    fn elastic(minimum: u32, enough: u32, most: u32) -> SlotRequest {
        SlotRequest {
            number: 7,
            minimum,
            enough,
            most,
            elastic: Some(ElasticWait {
                resource_wait_ms: 1000,
                stabilization_ms: 100,
            }),
        }
    }

    /// The parallelism that is granted at each time.
    fn granted_at(pool: &mut SlotPool, times: &[u64]) -> Vec<Option<u32>> {
        let at = |now_ms: &u64| {
            let granted = pool.grant(*now_ms);
            granted
                .first()
                .map(|(_, allocation)| allocation.parallelism)
        };
        times.iter().map(at).collect()
    }

    #[test]
    fn an_elastic_job_takes_what_is_enough_at_once_and_less_when_it_has_waited_for_more() {
        let mut pool = pool(&[2, 1]);
        pool.request(job(1), elastic(1, 3, 8), 1000);
        assert_eq!(granted_at(&mut pool, &[0]), [Some(3)]);
        pool.request(job(1), elastic(2, 8, 8), 1000);
        assert_eq!(granted_at(&mut pool, &[10, 109]), [None, None]);
        pool.register("late", 2);
        assert_eq!(granted_at(&mut pool, &[109, 110]), [None, Some(5)]);
        assert_eq!(pool.of(job(1)).map(|own| own.number), Some(7));
        // It is not there without a break.
        pool.request(job(1), elastic(4, 8, 8), 1000);
        assert_eq!(granted_at(&mut pool, &[200]), [None]);
        pool.remove("late");
        assert_eq!(granted_at(&mut pool, &[250]), [None]);
        pool.register("late", 2);
        assert_eq!(
            granted_at(&mut pool, &[299, 301, 398, 399]),
            [None, None, None, Some(5)]
        );
    }

    #[test]
    fn an_elastic_job_that_has_its_minimum_is_not_given_up() {
        let mut pool = pool(&[2]);
        pool.request(job(1), elastic(2, 8, 8), 50);
        assert_eq!(granted_at(&mut pool, &[0, 50]), [None, Some(2)]);
        pool.request(job(1), elastic(3, 8, 8), 50);
        assert_eq!(granted_at(&mut pool, &[50]), [None]);
        assert_eq!(pool.expire(50).len(), 1);
    }

    #[test]
    fn a_job_that_gives_slots_back_for_fewer_keeps_those() {
        let mut pool = pool(&[2]);
        pool.request(job(1), elastic(1, 2, 2), 1000);
        pool.grant(0);
        pool.request(job(2), elastic(1, 2, 2), 1000);
        assert_eq!(granted_at(&mut pool, &[0, 500]), [None, None]);
        pool.request(job(1), elastic(1, 1, 1), 1000);
        assert_eq!(pool.grant(500)[0].0, job(1));
        assert_eq!(granted_at(&mut pool, &[600]), [Some(1)]);
        assert_eq!(pool.of(job(2)).map(|own| own.parallelism), Some(1));
    }

    #[test]
    fn a_job_could_have_its_own_slots_and_free_ones_that_nobody_waits_for() {
        let mut pool = pool(&[2, 2]);
        let share = |pool: &SlotPool| {
            let wants = BTreeMap::from([(job(1), Want { least: 1, most: 8 })]);
            pool.shares(&wants).get(&job(1)).copied()
        };
        assert_eq!(share(&pool), None);
        pool.request(job(1), elastic(1, 1, 1), 50);
        pool.grant(0);
        assert_eq!(share(&pool), Some(4));
        pool.request(job(2), SlotRequest::exactly(4), 50);
        pool.grant(0);
        assert_eq!(share(&pool), Some(1));
        pool.release(job(2));
        pool.remove("tm-1");
        assert_eq!(share(&pool), Some(2));
        pool.remove("tm-0");
        assert_eq!(share(&pool), Some(0));
    }

    #[test]
    fn free_slots_are_shared_and_each_is_for_one_job() {
        let shares = |own: [u32; 3], free: u32, wants: [(u32, u32); 3]| {
            let mut pool = pool(&[own.iter().sum::<u32>()]);
            for (index, own) in own.into_iter().enumerate() {
                pool.request(job(index as u8), SlotRequest::exactly(own), 50);
                pool.grant(0);
            }
            pool.register("free", free);
            let wants = wants.into_iter().enumerate();
            let wants =
                wants.map(|(index, (least, most))| (job(index as u8), Want { least, most }));
            let shares = pool.shares(&wants.collect());
            shares.into_values().collect::<Vec<_>>()
        };
        let all = (1, 8);
        assert_eq!(shares([1, 1, 1], 3, [all; 3]), [2, 2, 2]);
        assert_eq!(
            shares([1, 3, 1], 2, [all; 3]),
            [2, 3, 2],
            "the fewest first"
        );
        assert_eq!(shares([1, 3, 5], 1, [(1, 1), (1, 3), all]), [1, 3, 6]);
        assert_eq!(shares([2, 2, 2], 3, [(0, 0), all, (1, 2)]), [2, 5, 2]);
        assert_eq!(
            shares([1, 3, 1], 2, [all, (5, 8), all]),
            [1, 5, 1],
            "the least of all"
        );
        assert_eq!(
            shares([1, 3, 1], 2, [all, (6, 8), all]),
            [2, 3, 2],
            "out of reach"
        );
        assert_eq!(
            shares([3, 1, 3], 2, [all, (6, 8), all]),
            [4, 1, 4],
            "nor if it has fewest"
        );
        assert_eq!(shares([1, 1, 1], 9, [(1, 2), (1, 3), (1, 2)]), [2, 3, 2]);
    }

    proptest! {
        #[test]
        fn no_slot_is_given_twice_and_nobody_waits_who_fits(
            slots in prop::collection::vec(1u32..6, 1..5),
            jobs in prop::collection::vec((0u8..6, 1u32..9), 1..20),
        ) {
            let mut pool = pool(&slots);
            for (id, parallelism) in jobs {
                pool.request(job(id), SlotRequest::exactly(parallelism), 10);
                for (_, allocation) in pool.grant(0) {
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
                prop_assert!(pool.waiting.iter().all(|waiting| waiting.request.minimum > free));
            }
        }
    }
}

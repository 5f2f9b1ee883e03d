//! The same work on many things, on all cores.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls `work` for each of `tasks`, on as many threads as there are cores, and returns what came
/// of them in the order of the tasks.
///
/// # Errors
///
/// The first error; tasks that were not begun by then are left out.
pub(crate) fn in_parallel<T: Sync, R: Send, E: Send>(
    tasks: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if cores.min(tasks.len()) <= 1 {
        return tasks.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(usize::MAX);
    let results = Mutex::new(Vec::with_capacity(tasks.len()));
    thread::scope(|scope| {
        for _ in 0..cores.min(tasks.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= tasks.len() || failed.load(Ordering::Relaxed) < index {
                        return;
                    }
                    let result = work(&tasks[index]);
                    if result.is_err() {
                        failed.fetch_min(index, Ordering::Relaxed);
                    }
                    // A worker that panicked has not held the lock while it did.
                    results
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((index, result));
                }
            });
        }
    });
    let mut results = results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_tasks_and_the_first_error_wins() {
        let tasks: Vec<u32> = (0..1000).collect();
        let doubled = in_parallel(&tasks, |task| Ok::<_, u32>(task * 2)).expect("no error");
        assert!(
            doubled
                .iter()
                .zip(&tasks)
                .all(|(double, task)| *double == task * 2)
        );
        let error = in_parallel(&tasks, |task| match *task {
            700 | 300 | 999 => Err(*task),
            task => Ok(task),
        });
        assert_eq!(error, Err(300));
    }
}

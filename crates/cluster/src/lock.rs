//! A lock that another thread's panic does not take away.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; what the mutex holds is whole between any two statements of its users.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

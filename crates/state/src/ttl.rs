//! Time-to-live: for how long state that is not used stays, and what cleans it up.
//!
//! Each value carries the time of its last use; that of a list one per element, that of a map one
//! per user key. Whether it has expired is seen when it is read. What nobody reads goes by one of
//! two ways, or both: every access looks at some more entries, and a snapshot leaves expired ones
//! out.
//!
//! Source: Flink 2.3.0, classes `StateTtlConfig`, `TtlUtils`, `TtlIncrementalCleanup`.

use crate::list_value::ListValue;
use crate::map_value::MapValue;
use millpond_serializer::{FlinkType, TtlValue};
use millpond_types::Clock;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What renews the life of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlUpdateType {
    /// There is no time-to-live: state is as without a configuration.
    Disabled,
    /// Each write.
    OnCreateAndWrite,
    /// Each write and each read.
    OnReadAndWrite,
}

/// Whether a value that has expired can still be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlVisibility {
    /// Until it is cleaned up; reading it cleans it up.
    ReturnExpiredIfNotCleanedUp,
    /// Never.
    NeverReturnExpired,
}

/// Which time counts. Flink has this one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlTimeCharacteristic {
    /// The time of the machine.
    ProcessingTime,
}

/// What cleans up on each access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IncrementalCleanup {
    entries: usize,
    on_every_record: bool,
}

/// The time-to-live of a state, with Flink's meanings.
///
/// # Examples
///
/// ```
/// use millpond_state::{StateTtlConfig, TtlUpdateType};
/// use std::time::Duration;
///
/// let day = StateTtlConfig::new(Duration::from_secs(24 * 60 * 60))
///     .update_type(TtlUpdateType::OnReadAndWrite)
///     .cleanup_full_snapshot();
/// assert_eq!(day.time_to_live(), Duration::from_secs(86_400));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTtlConfig {
    time_to_live_ms: i64,
    update_type: TtlUpdateType,
    visibility: TtlVisibility,
    cleanup_full_snapshot: bool,
    cleanup_incrementally: Option<IncrementalCleanup>,
    cleanup_in_background: bool,
}

impl StateTtlConfig {
    /// Returns Flink's defaults: renewed by writes, expired values are never seen, and each access
    /// cleans up in the background.
    ///
    /// The time is rounded down to milliseconds.
    ///
    /// # Panics
    ///
    /// If it is less than a millisecond, as in Flink.
    pub fn new(time_to_live: Duration) -> Self {
        let time_to_live_ms = i64::try_from(time_to_live.as_millis()).unwrap_or(i64::MAX);
        assert!(time_to_live_ms > 0, "a time-to-live is positive");
        StateTtlConfig {
            time_to_live_ms,
            update_type: TtlUpdateType::OnCreateAndWrite,
            visibility: TtlVisibility::NeverReturnExpired,
            cleanup_full_snapshot: false,
            cleanup_incrementally: None,
            cleanup_in_background: true,
        }
    }

    /// Returns a configuration without time-to-live.
    pub fn disabled() -> Self {
        StateTtlConfig::new(Duration::MAX).update_type(TtlUpdateType::Disabled)
    }

    /// Sets what renews the life of a value.
    #[must_use]
    pub fn update_type(mut self, update_type: TtlUpdateType) -> Self {
        self.update_type = update_type;
        self
    }

    /// Sets whether a value that has expired can still be seen.
    #[must_use]
    pub fn state_visibility(mut self, visibility: TtlVisibility) -> Self {
        self.visibility = visibility;
        self
    }

    /// Sets which time counts.
    #[must_use]
    pub fn ttl_time_characteristic(self, characteristic: TtlTimeCharacteristic) -> Self {
        match characteristic {
            TtlTimeCharacteristic::ProcessingTime => self,
        }
    }

    /// Leaves expired values out of snapshots. The state in memory stays as it is.
    #[must_use]
    pub fn cleanup_full_snapshot(mut self) -> Self {
        self.cleanup_full_snapshot = true;
        self
    }

    /// Looks at `cleanup_size` more entries at each access of the state and, on demand, at each
    /// record even if it does not touch the state.
    ///
    /// # Panics
    ///
    /// If `cleanup_size` is 0, as in Flink.
    #[must_use]
    pub fn cleanup_incrementally(
        mut self,
        cleanup_size: usize,
        run_cleanup_for_every_record: bool,
    ) -> Self {
        assert!(cleanup_size > 0, "a clean-up looks at one entry at least");
        self.cleanup_incrementally = Some(IncrementalCleanup {
            entries: cleanup_size,
            on_every_record: run_cleanup_for_every_record,
        });
        self
    }

    /// Cleans up only by what was asked for, and by reading.
    ///
    /// Otherwise a state without other demands looks at 5 entries at each access.
    #[must_use]
    pub fn disable_cleanup_in_background(mut self) -> Self {
        self.cleanup_in_background = false;
        self
    }

    /// For how long a value stays.
    pub fn time_to_live(&self) -> Duration {
        Duration::from_millis(self.time_to_live_ms.unsigned_abs())
    }

    /// Whether there is a time-to-live at all.
    pub fn is_enabled(&self) -> bool {
        self.update_type != TtlUpdateType::Disabled
    }

    fn incremental(&self) -> Option<IncrementalCleanup> {
        let in_background = self.cleanup_in_background.then_some(IncrementalCleanup {
            entries: 5,
            on_every_record: false,
        });
        self.cleanup_incrementally.or(in_background)
    }
}

/// The time-to-live of a state, with the clock that it goes by.
#[derive(Clone)]
pub(crate) struct Ttl {
    config: StateTtlConfig,
    clock: Arc<dyn Clock>,
}

impl Ttl {
    pub(crate) fn new(config: StateTtlConfig, clock: Arc<dyn Clock>) -> Self {
        Ttl { config, clock }
    }

    /// What has expired now.
    pub(crate) fn expiry(&self) -> Expiry {
        Expiry {
            time_to_live_ms: self.config.time_to_live_ms,
            now_ms: self.clock.now_ms() as i64,
        }
    }

    pub(crate) fn renews_on_read(&self) -> bool {
        self.config.update_type == TtlUpdateType::OnReadAndWrite
    }

    pub(crate) fn shows_expired(&self) -> bool {
        self.config.visibility == TtlVisibility::ReturnExpiredIfNotCleanedUp
    }

    pub(crate) fn cleans_snapshots(&self) -> bool {
        self.config.cleanup_full_snapshot
    }

    /// At how many entries each access looks.
    pub(crate) fn entries_per_access(&self) -> usize {
        self.config.incremental().map_or(0, |clean| clean.entries)
    }

    pub(crate) fn cleans_on_every_record(&self) -> bool {
        let incremental = self.config.incremental();
        incremental.is_some_and(|clean| clean.on_every_record)
    }
}

impl fmt::Debug for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// What has expired at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    time_to_live_ms: i64,
    now_ms: i64,
}

impl Expiry {
    pub(crate) fn now_ms(self) -> i64 {
        self.now_ms
    }

    /// Whether a value that was last used then has expired.
    #[inline]
    pub(crate) fn is_over(self, last_access_ms: i64) -> bool {
        last_access_ms.saturating_add(self.time_to_live_ms) <= self.now_ms
    }

    /// A value that is written now.
    pub(crate) fn fresh<T>(self, value: T) -> TtlValue<T> {
        TtlValue {
            last_access: self.now_ms,
            value,
        }
    }
}

/// What a clean-up leaves of the value of one key.
#[derive(Debug)]
pub(crate) enum Swept<V> {
    /// All of it.
    All,
    /// This part.
    Part(V),
    Nothing,
}

/// A value of which some or all can expire.
pub(crate) trait Expires: Sized {
    /// What is left when the expired parts are gone.
    fn sweep(&self, expiry: Expiry) -> Swept<Self>;
}

impl<T> Expires for TtlValue<T> {
    fn sweep(&self, expiry: Expiry) -> Swept<Self> {
        match expiry.is_over(self.last_access) {
            true => Swept::Nothing,
            false => Swept::All,
        }
    }
}

impl<T: FlinkType> Expires for ListValue<TtlValue<T>> {
    fn sweep(&self, expiry: Expiry) -> Swept<Self> {
        let (mut all, mut left) = (0, 0);
        self.for_each(|element| {
            all += 1;
            left += usize::from(!expiry.is_over(element.last_access));
        });
        if left == all {
            return Swept::All;
        }
        if left == 0 {
            return Swept::Nothing;
        }
        let mut elements = Vec::with_capacity(left);
        self.for_each(|element| {
            if !expiry.is_over(element.last_access) {
                elements.push(element.clone());
            }
        });
        Swept::Part(elements.into_iter().collect())
    }
}

impl<UK: FlinkType + Ord, UV: FlinkType> Expires for MapValue<UK, TtlValue<UV>> {
    fn sweep(&self, expiry: Expiry) -> Swept<Self> {
        let mut left = 0;
        self.for_each(|_, value| left += usize::from(!expiry.is_over(value.last_access)));
        if left == self.len() {
            return Swept::All;
        }
        if left == 0 {
            return Swept::Nothing;
        }
        // Large maps share their nodes: this copies what is removed, not what stays.
        let mut map = self.clone();
        map.retain(|_, value| !expiry.is_over(value.last_access));
        Swept::Part(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_expires_with_its_last_millisecond_and_the_end_of_time_is_never_over() {
        let expiry = |now_ms| Expiry {
            time_to_live_ms: 100,
            now_ms,
        };
        assert!(!expiry(1_099).is_over(1_000));
        assert!(expiry(1_100).is_over(1_000));
        assert!(!expiry(i64::MAX - 1).is_over(i64::MAX - 50));
        assert!(expiry(0).is_over(i64::MIN));
    }

    #[test]
    fn the_background_cleans_unless_told_otherwise() {
        let ttl = |config| Ttl::new(config, Arc::new(millpond_types::ManualClock::at(0)));
        let config = StateTtlConfig::new(Duration::from_secs(1));
        assert_eq!(ttl(config).entries_per_access(), 5);
        assert!(!ttl(config).cleans_on_every_record());
        assert_eq!(
            ttl(config.disable_cleanup_in_background()).entries_per_access(),
            0
        );
        let config = config
            .disable_cleanup_in_background()
            .cleanup_incrementally(3, true);
        assert_eq!(ttl(config).entries_per_access(), 3);
        assert!(ttl(config).cleans_on_every_record());
    }
}

//! What every keyed operator is made of, whatever function it runs: state, timers, and time.

use std::borrow::Cow;
use std::sync::Arc;

use millpond_serializer::{FlinkKey, Namespace};
use millpond_state::{
    BackendOwner, KeyedBackend, OperatorStateBackend, StateDescription, Timer, TimerHandle,
    TimerService,
};
use millpond_types::{Clock, KeyGroup};

use crate::batch::Data;
use crate::context::{OpenContext, SnapshotContext};
use crate::element::NO_TIMESTAMP;
use crate::error::Result;
use crate::functions::keyed::KeyedOpenContext;
use crate::functions::open::FunctionOpenContext;
use crate::functions::restore::restore_operator;
use crate::functions::rows::Rows;
use crate::operator::OperatorSnapshot;
use crate::output::{Collector, Output};
use crate::partition::KeySelector;

/// For how many records state is looked up ahead: few enough for the nearest caches.
const RECORDS_AHEAD: usize = 256;

/// How many timers fire before other tasks have their turn.
const TIMERS_PER_SLICE: usize = 1024;

/// Which clock a timer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeDomain {
    /// The watermark.
    EventTime,
    /// The clock of the worker process.
    ProcessingTime,
}

/// What is being fired.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Firing {
    Nothing,
    /// Event-time timers up to this watermark, which is then passed on.
    Event(i64),
    /// Processing-time timers up to this time.
    Processing(i64),
}

/// State and timers of one subtask of a keyed operator; the namespace of its timers is `N`.
pub(crate) struct KeyedCore<K: FlinkKey, N: Namespace> {
    pub(crate) keyed: KeyedBackend<K>,
    pub(crate) operator: OperatorStateBackend,
    pub(crate) handle: TimerHandle<N>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The watermark, in milliseconds; `i64::MIN` before the first.
    pub(crate) watermark: i64,
    timers: TimerService<K, N>,
    firing: Firing,
    max_parallelism: u32,
}

impl<K: FlinkKey, N: Namespace> KeyedCore<K, N> {
    /// Restores all state, has `open` make the function, and registers the timers of `service`.
    ///
    /// # Errors
    ///
    /// State that cannot be restored; whatever `open` returns.
    pub(crate) fn open<F>(
        context: &OpenContext,
        service: &str,
        open: impl FnOnce(&mut KeyedOpenContext<'_, K>) -> Result<F>,
    ) -> Result<(Self, F)> {
        let info = &context.info;
        let owner = BackendOwner {
            operator: info.operator,
            operator_name: info.name.clone(),
            subtask: info.subtask,
            range: info.key_groups(),
            max_parallelism: info.max_parallelism,
        };
        let (backend, operator) = (&context.backend, OperatorStateBackend::new());
        let keyed: KeyedBackend<K> = match &context.restored {
            None => backend.keyed_backend(&owner)?,
            Some(restored) => {
                restore_operator(&operator, restored)?;
                backend.restored_backend(&owner, &restored.snapshot, &restored.keyed)?
            }
        };
        let function = open(&mut KeyedOpenContext::new(
            FunctionOpenContext::new(context, &operator),
            &keyed,
        ))?;
        let timers = keyed.timers(service)?;
        let core = KeyedCore {
            handle: timers.handle(),
            timers,
            keyed,
            operator,
            clock: Arc::clone(&context.clock),
            watermark: i64::MIN,
            firing: Firing::Nothing,
            max_parallelism: info.max_parallelism,
        };
        Ok((core, function))
    }

    /// Makes the key of a record the current one.
    #[inline]
    pub(crate) fn set_key(&self, key: &K, group: Option<u16>) {
        let group = match group {
            Some(group) => KeyGroup(group),
            None => KeyGroup::of_hash(key.hash_code(), self.max_parallelism),
        };
        self.keyed.set_current_key(key, group);
    }

    /// The time of the machine in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms() as i64
    }

    /// Has the state of the next records on its way to the caches before the first needs it.
    ///
    /// Called before each record; does something for one in [`RECORDS_AHEAD`].
    #[inline]
    pub(crate) fn prefetch<T, S: KeySelector<T, Key = K>>(&self, rows: &Rows<T>, selector: &S) {
        if rows.taken().is_multiple_of(RECORDS_AHEAD) {
            self.prefetch_ahead(rows, selector);
        }
    }

    #[cold]
    #[inline(never)]
    fn prefetch_ahead<T, S: KeySelector<T, Key = K>>(&self, rows: &Rows<T>, selector: &S) {
        let (rows, groups) = rows.upcoming(RECORDS_AHEAD);
        let keys: Vec<Cow<'_, K>> = rows.iter().map(|row| selector.key(row)).collect();
        let groups = groups.iter().map(|group| KeyGroup(*group));
        let keys = keys.iter().map(|key| &**key).zip(groups);
        std::hint::black_box(self.keyed.prefetch(keys));
    }

    /// A watermark has come: its timers fire next, then it is passed on.
    pub(crate) fn advance_watermark(&mut self, watermark: i64) {
        self.watermark = watermark;
        self.firing = Firing::Event(watermark);
    }

    /// The clock has moved on: timers up to then fire next.
    pub(crate) fn advance_processing_time(&mut self, now_ms: u64) {
        self.firing = Firing::Processing(now_ms as i64);
    }

    /// Whether timers are still to be fired, or a watermark to be passed on.
    pub(crate) fn is_firing(&self) -> bool {
        self.firing != Firing::Nothing
    }

    /// When the first processing-time timer is due, in milliseconds since 1970.
    pub(crate) fn next_processing_time(&self) -> Option<u64> {
        self.timers
            .next_processing_time()
            .map(|next| next.max(0) as u64)
    }

    /// Fires a slice of the timers that are due, each with its key as the current one.
    ///
    /// # Errors
    ///
    /// Whatever `on_timer` returns.
    pub(crate) fn fire<T: Data>(
        &mut self,
        collector: &mut Collector<T>,
        output: &mut Output,
        mut on_timer: impl FnMut(&Self, Timer<K, N>, TimeDomain, &mut Collector<T>) -> Result<()>,
    ) -> Result<()> {
        // Timers may emit nothing: their number is bounded too.
        for _ in 0..TIMERS_PER_SLICE {
            if collector.is_full() {
                break;
            }
            let (timer, domain) = match self.firing {
                Firing::Nothing => (None, TimeDomain::EventTime),
                Firing::Event(watermark) => (
                    self.timers.pop_event_timer(watermark),
                    TimeDomain::EventTime,
                ),
                Firing::Processing(now) => (
                    self.timers.pop_processing_timer(now),
                    TimeDomain::ProcessingTime,
                ),
            };
            let Some(timer) = timer else {
                collector.flush(output);
                if let Firing::Event(watermark) = self.firing {
                    output.watermark(watermark);
                }
                self.firing = Firing::Nothing;
                return Ok(());
            };
            self.keyed.set_current_key(&timer.key, timer.group);
            collector.set_timestamp(match domain {
                TimeDomain::EventTime => timer.timestamp,
                TimeDomain::ProcessingTime => NO_TIMESTAMP,
            });
            on_timer(self, timer, domain, collector)?;
        }
        collector.flush(output);
        Ok(())
    }

    /// Describes all state.
    pub(crate) fn state(&self) -> StateDescription {
        StateDescription {
            keyed: Some(self.keyed.describe()),
            operator: Some(self.operator.describe()),
        }
    }

    /// Freezes all state.
    pub(crate) fn snapshot(&self, context: SnapshotContext) -> OperatorSnapshot {
        let keyed = match context.incremental {
            true => self.keyed.freeze_at(context.id, context.base),
            false => self.keyed.freeze(),
        };
        OperatorSnapshot {
            keyed: Some(keyed),
            operator: Some(self.operator.freeze()),
            ..OperatorSnapshot::default()
        }
    }
}

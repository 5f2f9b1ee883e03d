//! Statistics of each aircraft from the first day on, and where it was last seen, told at the end
//! of each month.

use millpond::prelude::*;

use crate::sightings::sighting;
use crate::{Flight, Report, Sighting, Statistics, Subject};

/// Follows an aircraft. Flights of a month wait until it is over, as in [`Airlines`].
///
/// [`Airlines`]: crate::airlines::Airlines
pub(crate) struct Aircraft {
    /// All flights of months that are over.
    total: ValueState<Statistics>,
    /// Where it was last seen in months that are over.
    last_seen: ValueState<Sighting>,
    /// Flights of months that are not, by the end of the month.
    open: MapState<i64, Statistics>,
    /// Where it was last seen in each of them.
    open_last_seen: MapState<i64, Sighting>,
}

impl Aircraft {
    pub(crate) fn open(context: &KeyedOpenContext<'_, String>) -> FunctionResult<Self> {
        Ok(Aircraft {
            total: context.value_state("total")?,
            last_seen: context.value_state("last-seen")?,
            open: context.map_state("open")?,
            open_last_seen: context.map_state("open-last-seen")?,
        })
    }
}

impl KeyedProcessFunction for Aircraft {
    type Key = String;
    type In = Flight;
    type Out = Report;

    fn process_element(
        &mut self,
        flight: Flight,
        context: &mut KeyedContext<'_, String>,
        _out: &mut Collector<Report>,
    ) -> FunctionResult<()> {
        let end = Subject::Aircraft.period().end(flight.scheduled_ms);
        self.open.update_with(end, |month| {
            *month = Some(month.unwrap_or_default().merge(&Statistics::of(&flight)));
        });
        if let Some(seen) = sighting(&flight) {
            self.open_last_seen
                .update_with(end, |latest| *latest = latest.take().max(Some(seen)));
        }
        context.register_event_time_timer(end - 1);
        Ok(())
    }

    fn on_timer(
        &mut self,
        last_ms: i64,
        context: &mut KeyedContext<'_, String>,
        out: &mut Collector<Report>,
    ) -> FunctionResult<()> {
        let end = last_ms + 1;
        let month = self.open.get(&end).unwrap_or_default();
        self.open.remove(&end);
        let statistics = self.total.value().unwrap_or_default().merge(&month);
        self.total.update(statistics);
        if let Some(seen) = self.open_last_seen.get(&end) {
            self.open_last_seen.remove(&end);
            self.last_seen.update(seen);
        }
        out.collect(Report {
            subject: Subject::Aircraft,
            key: context.current_key(),
            time_ms: last_ms,
            statistics,
            last_seen: self.last_seen.value().map(|(_, airport)| airport),
        });
        Ok(())
    }
}

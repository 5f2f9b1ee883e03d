//! Statistics of each airline from the first day on, told at the end of each day.

use millpond::prelude::*;

use crate::{Flight, Report, Statistics, Subject};

/// Adds up the flights of an airline.
///
/// Records of the next day may come before the timer of this one fires, as watermarks follow behind
/// the records. So the flights of each day wait in `open` until their day is over.
pub(crate) struct Airlines {
    /// All flights of days that are over.
    total: ValueState<Statistics>,
    /// Flights of days that are not, by the end of the day.
    open: MapState<i64, Statistics>,
}

impl Airlines {
    pub(crate) fn open(context: &KeyedOpenContext<'_, String>) -> FunctionResult<Self> {
        Ok(Airlines {
            total: context.value_state("total")?,
            open: context.map_state("open")?,
        })
    }
}

impl KeyedProcessFunction for Airlines {
    type Key = String;
    type In = Flight;
    type Out = Report;

    fn process_element(
        &mut self,
        flight: Flight,
        context: &mut KeyedContext<'_, String>,
        _out: &mut Collector<Report>,
    ) -> FunctionResult<()> {
        let end = Subject::Airline.period().end(flight.scheduled_ms);
        self.open.update_with(end, |day| {
            *day = Some(day.unwrap_or_default().merge(&Statistics::of(&flight)));
        });
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
        let day = self.open.get(&end).unwrap_or_default();
        self.open.remove(&end);
        let statistics = self.total.value().unwrap_or_default().merge(&day);
        self.total.update(statistics);
        out.collect(Report {
            subject: Subject::Airline,
            key: context.current_key(),
            time_ms: last_ms,
            statistics,
            last_seen: None,
        });
        Ok(())
    }
}

//! Where an aircraft was seen.

use crate::Flight;

/// When an aircraft was seen, and at which airport: the later of two is the greater.
///
/// As state it is Flink's `Tuple2<Long, String>`. Two sightings of one time are told apart by the
/// airport's name, so that the latest of any set of sightings does not depend on their order.
pub type Sighting = (i64, String);

/// What a flight tells of its aircraft's place; `None` if it was cancelled.
///
/// The time is that of the scheduled departure: the file has no other.
pub(crate) fn sighting(flight: &Flight) -> Option<Sighting> {
    let airport = match (flight.departure_delay, flight.arrival_delay) {
        (None, _) => return None,
        (Some(_), Some(_)) => &flight.destination,
        // It departed, and came down nobody knows where.
        (Some(_), None) => &flight.origin,
    };
    Some((flight.scheduled_ms, airport.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aircraft_is_seen_where_it_arrived_or_else_where_it_departed() {
        let seen = |delays| {
            let line = format!("2013-01-01,UA,1,N1,EWR,IAH,0,{delays},1400");
            let flight = Flight::parse(&line).expect("a row").expect("a flight");
            sighting(&flight).map(|(_, airport)| airport)
        };
        assert_eq!(seen("2,11").as_deref(), Some("IAH"));
        assert_eq!(seen("2,").as_deref(), Some("EWR"));
        assert_eq!(seen(","), None);
    }
}

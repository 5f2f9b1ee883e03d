//! The job's results are those of a plain loop over the input, at every parallelism.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use millpond::Environment;
use millpond::types::config::Configuration;
use millpond_flights::{Flight, Options, Report, Statistics, Subject, build};

/// Three airlines, aircraft and airports over 70 days, some flights without an aircraft, departure
/// or arrival.
fn input() -> String {
    let mut text = String::from(
        "date,carrier,flight,tailnum,origin,dest,sched_dep_time,dep_delay,arr_delay,distance\n",
    );
    for n in 0..4000_u32 {
        let (hour, day) = (n / 2 % 24, n / 2 / 24 % 28);
        let month = 1 + n / 2 / 24 / 28;
        let pick = n.wrapping_mul(2_654_435_761) >> 8;
        let one_of = |names: [&'static str; 4], by: u32| names[(pick / by) as usize % 4];
        let (departure, arrival) = match pick % 13 {
            0 => (String::new(), String::new()),
            1 => ("7".to_owned(), String::new()),
            _ => (
                (pick % 90).to_string(),
                (i64::from(pick % 120) - 40).to_string(),
            ),
        };
        writeln!(
            text,
            "2013-{month:02}-{:02},{},{n},{},{},{},{}{:02},{departure},{arrival},100",
            day + 1,
            one_of(["AA", "B6", "UA", "US"], 3),
            one_of(["N1", "N2", "N3", ""], 5),
            one_of(["EWR", "JFK", "LGA", "LGA"], 7),
            one_of(["ATL", "BOS", "DEN", "ORD"], 11),
            hour,
            pick % 60 / 30 * 30,
        )
        .expect("text");
    }
    text
}

/// What a loop over sorted maps tells of the input.
fn expected(input: &str) -> Vec<String> {
    let mut groups: BTreeMap<(&str, String, i64), Vec<Flight>> = BTreeMap::new();
    for flight in input
        .lines()
        .filter_map(|line| Flight::parse(line).expect("a row"))
    {
        for (name, subject, key) in [
            ("airline", Subject::Airline, Some(flight.carrier.clone())),
            ("aircraft", Subject::Aircraft, flight.tail_number.clone()),
            ("hour", Subject::Hour, Some(flight.origin.clone())),
            ("day", Subject::Day, Some(flight.origin.clone())),
        ] {
            let Some(key) = key else { continue };
            let start = subject.period().start(flight.scheduled_ms);
            groups
                .entry((name, key, start))
                .or_default()
                .push(flight.clone());
        }
    }
    let mut totals: BTreeMap<(&str, String), Vec<Flight>> = BTreeMap::new();
    let mut lines = Vec::new();
    for ((name, key, time_ms), flights) in groups {
        let (subject, flights) = match name {
            "hour" => (Subject::Hour, flights),
            "day" => (Subject::Day, flights),
            _ => {
                let total = totals.entry((name, key.clone())).or_default();
                total.extend(flights);
                let airline = name == "airline";
                (
                    if airline {
                        Subject::Airline
                    } else {
                        Subject::Aircraft
                    },
                    total.clone(),
                )
            }
        };
        let latest = flights
            .iter()
            .filter(|flight| subject == Subject::Aircraft && !flight.is_cancelled())
            .map(|flight| match flight.arrival_delay {
                Some(_) => (flight.scheduled_ms, flight.destination.clone()),
                None => (flight.scheduled_ms, flight.origin.clone()),
            })
            .max();
        let all = flights.iter().map(Statistics::of);
        let report = Report {
            subject,
            key,
            time_ms,
            statistics: all.fold(Statistics::default(), |sum, one| sum.merge(&one)),
            last_seen: latest.map(|(_, airport)| airport),
        };
        lines.push(report.to_string());
    }
    lines.sort();
    lines
}

/// The lines of all files that are visible.
fn results(output: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(output).expect("the directory of the results") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        assert!(!name.starts_with('.'), "{name} is left over");
        let text = std::fs::read_to_string(&path).expect("a file of results");
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

#[test]
fn results_are_those_of_a_plain_loop_at_every_parallelism() {
    let directory = tempfile::tempdir().expect("a directory");
    let (text, file) = (input(), directory.path().join("flights.csv"));
    std::fs::write(&file, &text).expect("written");
    let expected = expected(&text);
    assert!(expected.len() > 1000, "{} results", expected.len());
    for parallelism in ["1", "2", "3"] {
        let output = directory.path().join(parallelism);
        let checkpoints = directory.path().join("checkpoints");
        let env = Environment::from_configuration(Configuration::from_pairs([
            ("parallelism.default", parallelism),
            ("rest.bind-port", "0"),
            ("rest.linger", "0 s"),
            ("execution.checkpointing.interval", "20 ms"),
            (
                "execution.checkpointing.dir",
                checkpoints.to_str().expect("UTF-8"),
            ),
        ]))
        .expect("options");
        let options = Options {
            input: file.clone(),
            output: output.clone(),
            rate: None,
        };
        build(&env, &options);
        env.execute("flights").expect("finishes");
        assert!(results(&output) == expected, "parallelism {parallelism}");
    }
}

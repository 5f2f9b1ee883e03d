//! `millpond state ls`: what a snapshot holds.

use std::process::ExitCode;

use clap::Command;
use millpond_state_processor::{
    Counting, Listing, OperatorListing, StateListing, Threads, TimerListing, list,
};

use crate::arguments::{self, Parsed, flag};
use crate::printer;
use crate::state::columns::{Cell, Columns, bytes, counted, grouped};
use crate::state::progress::Bar;
use crate::state::snapshot_argument::place;
use crate::state::{StateFailure, snapshot_argument};

fn command() -> Command {
    snapshot_argument::command(
        "ls",
        "millpond state ls <SNAPSHOT> [--quick] [--json] [OPTIONS]",
        "Lists operators, states, timers and sources of a snapshot",
    )
    .arg(flag("json").help("Prints JSON"))
    .arg(flag("quick").help("Does not read the state of Flink's snapshots to count keys"))
}

/// Runs the command.
pub(super) fn run(given: &[String]) -> Result<ExitCode, StateFailure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let snapshot = snapshot_argument::open(&matches)?;
    let counting = match matches.get_flag("quick") {
        true => Counting::Known,
        false => Counting::Full,
    };
    let bar = Bar::start(&matches, "counting");
    let listing = list(&snapshot, counting, Threads::default(), bar.progress())
        .map_err(|error| snapshot_argument::explain(&error, &place(&snapshot)))?;
    drop(bar);
    if matches.get_flag("json") {
        let text = serde_json::to_string_pretty(&listing);
        printer::line(text.map_err(|error| StateFailure::failed(error.to_string()))?);
    } else {
        print(&listing);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(listing: &Listing) {
    let writer = &listing.written_by;
    let kind = match writer.kind {
        Some("savepoint") => "Savepoint",
        Some("checkpoint") => "Checkpoint",
        _ => "Snapshot",
    };
    printer::line(format!("{kind} {}", listing.location));
    printer::line(format!(
        "  written by {} {} (metadata version {}), checkpoint id {}, {}",
        writer.engine,
        writer.version,
        writer.metadata_version,
        listing.checkpoint_id,
        if listing.checksums {
            "with checksums"
        } else {
            "without checksums"
        },
    ));
    if let (Some(id), Some(name)) = (&listing.job_id, &listing.job_name) {
        printer::line(format!("  job \"{name}\" ({id})"));
    }
    if let Some(parent) = &listing.parent {
        printer::line(format!("  the job had been started from {parent}"));
    }
    printer::line(format!(
        "  {} with state, {} without; {} of state, in _metadata ({}) and {}",
        counted(listing.operators.len() as u64, "operator", "operators"),
        grouped(listing.stateless_operators),
        bytes(listing.state_bytes),
        bytes(listing.metadata_bytes),
        counted(listing.files, "file", "files"),
    ));
    for name in &listing.master_states {
        printer::line(format!("  state of the job manager's hook \"{name}\""));
    }
    listing.operators.iter().for_each(print_operator);
}

fn print_operator(operator: &OperatorListing) {
    printer::line("");
    let called = match (&operator.uid, &operator.name) {
        (Some(uid), Some(name)) if uid != name => format!("{uid}  \"{name}\"  "),
        (Some(name), _) => format!("{name}  "),
        (None, Some(name)) => format!("\"{name}\"  "),
        (None, None) => String::new(),
    };
    printer::line(format!(
        "{called}{}  parallelism {} of {}, {}{}",
        operator.operator_id,
        operator.parallelism,
        operator.max_parallelism,
        bytes(operator.bytes),
        if operator.finished { ", finished" } else { "" },
    ));
    let mut columns = Columns::default();
    let key = operator.key_type.as_deref().unwrap_or("");
    for state in &operator.keyed_states {
        columns.row(state_cells(state, key));
    }
    for timers in &operator.timers {
        columns.row(timer_cells(timers, key));
    }
    for state in &operator.operator_states {
        let of = match state.types.as_slice() {
            [key, value] => format!("{key} -> {value}"),
            types => types.join(", "),
        };
        columns.row(vec![
            Cell::Left(state.name.clone()),
            Cell::Left(state.mode.to_owned()),
            Cell::Left(of),
            Cell::Right(counted(state.elements, "element", "elements")),
            Cell::Right(bytes(state.bytes)),
        ]);
    }
    columns.lines("  ").iter().for_each(printer::line);
    if !operator.formats.is_empty() {
        printer::line(format!(
            "  keyed state is {}",
            operator.formats.join(" and ")
        ));
    }
    if let Some(source) = &operator.source {
        let version = source
            .enumerator_version
            .map_or_else(String::new, |version| {
                format!(", enumerator version {version}")
            });
        let splits = source.splits.map_or_else(String::new, |splits| {
            format!(", {} in the readers", counted(splits, "split", "splits"))
        });
        printer::line(format!(
            "  coordinator state {}{version}{splits}",
            bytes(source.coordinator_bytes)
        ));
        for position in &source.positions {
            printer::line(format!("    {position}"));
        }
    }
    if operator.channels > 0 {
        printer::line(format!(
            "  in-flight data in {}, {}",
            counted(operator.channels, "channel", "channels"),
            bytes(operator.channel_bytes)
        ));
    }
    if operator.raw_bytes > 0 {
        printer::line(format!(
            "  raw state in a format of its own, {}",
            bytes(operator.raw_bytes)
        ));
    }
    for unreadable in &operator.unreadable {
        printer::line(format!(
            "  not read: subtask {}: {} ({})",
            unreadable.subtask,
            unreadable.what,
            bytes(unreadable.bytes)
        ));
    }
}

fn state_cells(state: &StateListing, key: &str) -> Vec<Cell> {
    let namespace = match state.namespace.as_str() {
        "void" => String::new(),
        other => format!(", {other}"),
    };
    let ttl = if state.ttl { ", ttl" } else { "" };
    let values = match (state.kind, state.types.as_slice()) {
        ("map", [user_key, value]) => format!("{{{user_key}: {value}}}"),
        ("list", [element]) => format!("[{element}]"),
        (_, types) => types.join(", "),
    };
    let many = match (state.keys, state.entries) {
        (Some(keys), Some(entries)) if state.kind == "map" => {
            let keys = counted(keys, "key", "keys");
            format!("{keys}, {}", counted(entries, "entry", "entries"))
        }
        (Some(keys), _) => counted(keys, "key", "keys"),
        (None, Some(entries)) => counted(entries, "entry", "entries"),
        (None, None) => "not counted".to_owned(),
    };
    vec![
        Cell::Left(state.name.clone()),
        Cell::Left(state.kind.to_owned()),
        Cell::Left(format!("({key}{namespace}) -> {values}{ttl}")),
        Cell::Right(many),
        Cell::Right(state.live_bytes.map_or_else(String::new, bytes)),
    ]
}

fn timer_cells(timers: &TimerListing, key: &str) -> Vec<Cell> {
    let namespace = match timers.namespace.as_str() {
        "void" => String::new(),
        other => format!(", {other}"),
    };
    let many = match (timers.event, timers.processing) {
        (None, None) => "not counted".to_owned(),
        (event, processing) => format!(
            "{} event, {} processing",
            grouped(event.unwrap_or(0)),
            grouped(processing.unwrap_or(0))
        ),
    };
    vec![
        Cell::Left(timers.service.clone()),
        Cell::Left("timers".to_owned()),
        Cell::Left(format!("({key}{namespace})")),
        Cell::Right(many),
        Cell::Right(timers.live_bytes.map_or_else(String::new, bytes)),
    ]
}

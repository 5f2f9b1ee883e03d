//! `millpond list`: jobs, by what they are doing.

use std::process::ExitCode;

use clap::Command;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::arguments::{self, Parsed, flag};
use crate::failure::Failure;
use crate::printer;
use crate::rest_client::JobRow;

fn command() -> Command {
    arguments::action("list", "Lists running and scheduled jobs")
        .arg(
            flag("running")
                .short('r')
                .help("Shows only running jobs and their JobIDs"),
        )
        .arg(
            flag("scheduled")
                .short('s')
                .help("Shows only scheduled jobs and their JobIDs"),
        )
        .arg(
            flag("all")
                .short('a')
                .help("Shows all jobs and their JobIDs"),
        )
}

/// Runs the action.
pub(crate) fn run(given: &[String]) -> Result<ExitCode, Failure> {
    let Parsed::Matches(matches) = arguments::parse(command(), given)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let all = matches.get_flag("all");
    let (running, scheduled) = (matches.get_flag("running"), matches.get_flag("scheduled"));
    let both = all || running == scheduled;
    let client = arguments::client(&matches)?;
    printer::line("Waiting for response...");
    let jobs = client
        .jobs()
        .map_err(|failure| failure.during("Failed to retrieve job list."))?;
    let of = |group: Group| {
        let mut jobs: Vec<&JobRow> = jobs
            .iter()
            .filter(|job| Group::of(&job.state) == group)
            .collect();
        jobs.sort_by_key(|job| job.start_time);
        jobs
    };
    if running || both {
        print(
            "Running/Restarting Jobs",
            &of(Group::Running),
            Some("No running jobs."),
        );
    }
    if scheduled || both {
        print(
            "Scheduled Jobs",
            &of(Group::Scheduled),
            Some("No scheduled jobs."),
        );
    }
    if all {
        print("Terminated Jobs", &of(Group::Terminated), None);
    }
    Ok(ExitCode::SUCCESS)
}

/// The heading that a job is listed under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Running,
    Scheduled,
    Terminated,
}

impl Group {
    fn of(state: &str) -> Group {
        match state {
            "CREATED" => Group::Scheduled,
            "FINISHED" | "CANCELED" | "FAILED" => Group::Terminated,
            _ => Group::Running,
        }
    }
}

fn print(heading: &str, jobs: &[&JobRow], none: Option<&str>) {
    if jobs.is_empty() {
        if let Some(none) = none {
            printer::line(none);
        }
        return;
    }
    printer::line(format!("{:-^62}", format!(" {heading} ")));
    for JobRow {
        jid,
        name,
        state,
        start_time,
    } in jobs
    {
        printer::line(format!(
            "{} : {jid} : {name} ({state})",
            local_time(*start_time)
        ));
    }
    printer::line("-".repeat(62));
}

fn local_time(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms).map_or_else(
        |_| "-".to_owned(),
        |time| {
            time.to_zoned(TimeZone::system())
                .strftime("%d.%m.%Y %H:%M:%S")
                .to_string()
        },
    )
}

//! What all commands share that make a new snapshot out of another one.

use std::sync::Arc;

use clap::{Arg, ArgMatches, Command};
use millpond_fs::{FileSystem, Location, MeteredFileSystem, file_system_for};
use millpond_snapshot::{FlinkRelease, StreamHandle};
use millpond_state_processor::{Error, OpenSnapshot};

use crate::arguments::value;
use crate::failure::chain;
use crate::printer;
use crate::state::progress::RewriteBar;
use crate::state::{StateFailure, snapshot_argument};

/// Returns a command about an old and a new snapshot.
pub(super) fn command(name: &'static str, usage: &'static str, about: &'static str) -> Command {
    snapshot_argument::command(name, usage, about)
        .arg(
            value("for-flink", "RELEASE")
                .help("The release that is to read it: 1.15, 1.20, 2.3 or one between"),
        )
        .arg(
            Arg::new("directory")
                .value_name("DIRECTORY")
                .required(true)
                .help("The directory of the new snapshot: missing or empty"),
        )
}

/// The old snapshot, and where the new one goes.
pub(super) struct Work {
    pub(super) old: OpenSnapshot,
    pub(super) fs: Arc<dyn FileSystem>,
    pub(super) to: Location,
    bar: RewriteBar,
}

impl Work {
    /// Opens the old snapshot; `what` says what is done with it. Each byte of it is read or
    /// written about `passes` times.
    pub(super) fn start(
        matches: &ArgMatches,
        what: &'static str,
        passes: u64,
    ) -> Result<Self, StateFailure> {
        let text = matches.get_one::<String>("directory").expect("required");
        let wrong = |error: millpond_fs::Error| StateFailure::Failed(chain(&error));
        let to = Location::parse(text).map_err(wrong)?;
        let bar = RewriteBar::start(matches, what);
        let fs = file_system_for(&to).map_err(wrong)?;
        let fs = Arc::new(MeteredFileSystem::new(fs, bar.new_one()));
        let old = snapshot_argument::open_metered(matches, bar.old())?;
        let mut bytes = 0;
        old.metadata()
            .streams(&mut |stream: &StreamHandle| bytes += stream.size());
        bar.expect(bytes.saturating_mul(passes));
        Ok(Work { old, fs, to, bar })
    }

    /// Ends the work: tells where the new snapshot lies, or why there is none.
    pub(super) fn end<T>(self, result: Result<T, Error>) -> Result<T, StateFailure> {
        drop(self.bar);
        let made = result.map_err(|error| {
            snapshot_argument::explain(&error, &snapshot_argument::place(&self.old))
        })?;
        printer::line(format!("Snapshot written. Path: {}", self.to));
        Ok(made)
    }
}

/// The release that was named.
pub(super) fn for_flink(matches: &ArgMatches) -> Result<Option<FlinkRelease>, StateFailure> {
    let named = matches.get_one::<String>("for-flink");
    let release = named.map(|text| {
        text.parse::<FlinkRelease>().map_err(|_| {
            StateFailure::Usage(format!(
                "--for-flink takes a release of 1.11 to 1.20 or 2.0 to 2.3, not \"{text}\""
            ))
        })
    });
    release.transpose()
}

/// A number of subtasks or key groups.
pub(super) fn number(matches: &ArgMatches, option: &str) -> Result<Option<u32>, StateFailure> {
    let given = matches.get_one::<String>(option);
    let number = given.map(|text| match text.parse() {
        Ok(number @ 1..=32768) => Ok(number),
        Ok(_) | Err(_) => Err(StateFailure::Usage(format!(
            "--{option} takes a number of 1 to 32768, not \"{text}\""
        ))),
    });
    number.transpose()
}

//! The snapshot that a command is about: where it lies, and where its files are now.

use std::sync::Arc;

use clap::{Arg, ArgAction, ArgMatches, Command};
use millpond_fs::{Location, Meter, MeteredFileSystem};
use millpond_state_processor::{
    Error, ErrorKind, OpenSnapshot, PathMap, find_checkpoint, kept_checkpoints,
};

use crate::arguments::{flag, value};
use crate::state::{StateFailure, rocksdb};

/// Returns a command of `millpond state` about one snapshot.
pub(super) fn command(name: &'static str, usage: &'static str, about: &'static str) -> Command {
    options(name, usage, about)
        .arg(
            Arg::new("snapshot")
                .value_name("SNAPSHOT")
                .required(true)
                .help("The directory of a savepoint or checkpoint, or its _metadata file"),
        )
        .arg(value("at", "chk-N").help(
            "The snapshot is the directory of a job, or the one above it: of the checkpoints kept \
         there this one, or the latest",
        ))
        .arg(quiet())
}

/// The option that nothing is told of long work.
pub(super) fn quiet() -> Arg {
    flag("quiet").help("Does not show how far the work is")
}

/// As [`command`], without the snapshot.
pub(super) fn options(name: &'static str, usage: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .bin_name(format!("millpond state {name}"))
        .override_usage(usage)
        .about(about)
        .arg(
            value("map", "FROM=TO")
                .action(ArgAction::Append)
                .help("Files that the snapshot has at FROM... now lie at TO...; may be repeated"),
        )
}

/// The path map of the options.
pub(super) fn paths(matches: &ArgMatches) -> Result<PathMap, StateFailure> {
    let mut paths = PathMap::default();
    for pair in matches.get_many::<String>("map").into_iter().flatten() {
        let (from, to) = pair
            .split_once('=')
            .ok_or_else(|| StateFailure::Usage(format!("--map takes FROM=TO, not \"{pair}\"")))?;
        let added = paths.add(from, to);
        added.map_err(|error| StateFailure::Usage(format!("--map {pair}: {error}")))?;
    }
    Ok(paths)
}

/// Opens the snapshot that was given.
pub(super) fn open(matches: &ArgMatches) -> Result<OpenSnapshot, StateFailure> {
    let paths = paths(matches)?;
    open_at(&pointer(matches, &paths)?, &paths)
}

/// Says what may be meant by a directory that is no snapshot itself.
fn hint(pointer: &str, paths: &PathMap) -> Option<String> {
    // That it cannot be listed either is no news.
    let kept = kept_checkpoints(pointer, paths).ok()?;
    let newest = kept.iter().map(|checkpoint| checkpoint.id).max()?;
    Some(format!(
        "Checkpoints are kept there; name one by --at: --at chk-{newest}, or --at latest"
    ))
}

/// Where the snapshot lies that was given.
fn pointer(matches: &ArgMatches, paths: &PathMap) -> Result<String, StateFailure> {
    let given = matches.get_one::<String>("snapshot").expect("required");
    let at = matches.get_one::<String>("at").map(String::as_str);
    pointer_at(given, at, paths)
}

/// Where the snapshot lies that is named by a place and perhaps by `--at`.
pub(super) fn pointer_at(
    given: &str,
    at: Option<&str>,
    paths: &PathMap,
) -> Result<String, StateFailure> {
    let Some(at) = at else {
        return Ok(given.to_owned());
    };
    match find_checkpoint(given, at, paths) {
        Ok(location) => Ok(location.to_string()),
        Err(error) if matches!(error.kind(), ErrorKind::Request { .. }) => {
            Err(StateFailure::Usage(format!("--at {at}: {error}")))
        }
        Err(error) => Err(StateFailure::failed(error.to_string())),
    }
}

/// Opens the snapshot at a place.
pub(super) fn open_at(pointer: &str, paths: &PathMap) -> Result<OpenSnapshot, StateFailure> {
    opened(OpenSnapshot::open(pointer, paths), pointer, paths)
}

/// Opens the snapshot that was given; what is read of it is counted.
pub(super) fn open_metered(
    matches: &ArgMatches,
    meter: Arc<Meter>,
) -> Result<OpenSnapshot, StateFailure> {
    let paths = paths(matches)?;
    let pointer = pointer(matches, &paths)?;
    let load = || {
        let fs = Arc::new(MeteredFileSystem::new(paths.file_system(), meter));
        let loaded = millpond_snapshot::load(fs, &Location::parse(&pointer)?)?;
        Ok(OpenSnapshot::of_loaded(loaded))
    };
    opened(load(), &pointer, &paths)
}

fn opened(
    snapshot: Result<OpenSnapshot, Error>,
    pointer: &str,
    paths: &PathMap,
) -> Result<OpenSnapshot, StateFailure> {
    let snapshot = snapshot.map(|snapshot| snapshot.with_rocksdb(rocksdb::files()));
    snapshot.map_err(|error| {
        let is_io = matches!(error.kind(), ErrorKind::Snapshot(below)
            if matches!(below.kind(), millpond_snapshot::ErrorKind::Io(_)));
        match is_io {
            // No snapshot is not a damaged one.
            true => {
                let hint = hint(pointer, paths).into_iter();
                StateFailure::Failed([error.to_string()].into_iter().chain(hint).collect())
            }
            false => (&error).into(),
        }
    })
}

/// Says why work on the snapshot in the directory `here` failed, and what may help if a file is
/// not at the place that the snapshot has for it.
pub(super) fn explain(error: &Error, here: &str) -> StateFailure {
    let ErrorKind::Snapshot(below) = error.kind() else {
        return error.into();
    };
    let missing = matches!(below.kind(), millpond_snapshot::ErrorKind::Io(io)
        if io.kind() == millpond_fs::ErrorKind::NotFound);
    let Some(file) = below.file().filter(|_| missing) else {
        return error.into();
    };
    let Some((from, to)) = moved(file, here) else {
        return error.into();
    };
    StateFailure::Damaged(vec![
        error.to_string(),
        format!("The checkpoint has absolute paths. If it was moved, try --map {from}={to}"),
    ])
}

/// The directory of a snapshot, for [`explain`].
pub(super) fn place(snapshot: &OpenSnapshot) -> String {
    snapshot.loaded().directory.to_string()
}

/// Guesses what a checkpoint was moved from, by the part of the path that has not changed:
/// ".../<job>/shared/f" and "/here/<job>/chk-1" differ in front of the job.
fn moved(file: &str, here: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = file.split('/').collect();
    let mine: Vec<&str> = here.split('/').collect();
    let (at, in_mine) = parts.iter().enumerate().rev().find_map(|(at, part)| {
        let is_id = part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let in_mine = mine.iter().rposition(|other| other == part)?;
        is_id.then_some((at, in_mine))
    })?;
    let common = (0..at.min(in_mine))
        .take_while(|back| parts[at - 1 - back] == mine[in_mine - 1 - back])
        .count();
    let from = parts[..at - common].join("/");
    let to = mine[..in_mine - common].join("/");
    (!from.is_empty() && from != to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_checkpoint_is_guessed_by_the_job_in_its_path() {
        let job = "49fa0df4f3cbc0e158444c2b0f2c49e2";
        let file = format!("file:/mnt/checkpoint-a/{job}/shared/x");
        let here = format!("file:/home/me/checkpoint-a/{job}/chk-2");
        let expected = ("file:/mnt".to_owned(), "file:/home/me".to_owned());
        assert_eq!(moved(&file, &here), Some(expected));
        assert_eq!(moved("file:/mnt/a/b", &here), None);
        assert_eq!(
            moved(&format!("file:/mnt/{job}/x"), &format!("file:/mnt/{job}/y")),
            None
        );
    }
}

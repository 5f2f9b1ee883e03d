//! Errors of RocksDB in the words of a snapshot.

use std::io;

use millpond_snapshot::Error;
use rocksdb::ErrorKind;

use crate::working_directory::WorkingDirectory;

/// Says what was wrong with files that were brought together in `directory`: the file of the
/// snapshot, not the link to it.
#[cold]
pub(crate) fn of_reading(error: &rocksdb::Error, directory: &WorkingDirectory) -> Error {
    let text = error.as_ref();
    let here = format!("{}/", directory.path().display());
    let told = text.replace(&here, "");
    let local = text.find(&here).map(|at| {
        let rest = &text[at + here.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.')));
        rest[..end.unwrap_or(rest.len())].trim_end_matches('.')
    });
    let origin = local.and_then(|name| directory.origin(name));
    // A file that is named and was not brought: the manifest has it, the handle has not.
    let missing = local.filter(|_| origin.is_none() && is_missing(text));
    if let Some(missing) = missing {
        let expected = format!("all files that the manifest names, {missing} among them");
        return Error::corrupt(0, expected, "none of that name").in_file(directory.snapshot());
    }
    let file = origin.unwrap_or(directory.snapshot());
    match error.kind() {
        ErrorKind::IOError if !is_missing(text) => {
            let source = io::Error::other(told);
            millpond_fs::Error::io("read state of RocksDB in", file, source).into()
        }
        ErrorKind::NotSupported => Error::unsupported(told).in_file(file),
        ErrorKind::NotFound
        | ErrorKind::Corruption
        | ErrorKind::InvalidArgument
        | ErrorKind::IOError
        | ErrorKind::MergeInProgress
        | ErrorKind::Incomplete
        | ErrorKind::ShutdownInProgress
        | ErrorKind::TimedOut
        | ErrorKind::Aborted
        | ErrorKind::Busy
        | ErrorKind::Expired
        | ErrorKind::TryAgain
        | ErrorKind::CompactionTooLarge
        | ErrorKind::ColumnFamilyDropped
        | ErrorKind::Unknown => {
            Error::corrupt(offset_in(text), "a sound file of RocksDB", told).in_file(file)
        }
    }
}

/// Says why a new set of files could not be written.
#[cold]
pub(crate) fn of_writing(error: &rocksdb::Error, directory: &std::path::Path) -> Error {
    let source = io::Error::other(error.as_ref().to_owned());
    millpond_fs::Error::io("write state of RocksDB in", directory.display(), source).into()
}

fn is_missing(text: &str) -> bool {
    text.contains("No such file or directory")
}

/// The place in a file that a text of RocksDB has: "... in 000012.sst offset 123 size 456".
fn offset_in(text: &str) -> u64 {
    let behind = text.split(" offset ").nth(1);
    let digits = behind.map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .flatten()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_damaged_block_is_found() {
        let text = "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 1  in \
                    /tmp/x/000012.sst offset 1234 size 56";
        assert_eq!(offset_in(text), 1234);
        assert_eq!(offset_in("Corruption: bad table magic number"), 0);
    }
}

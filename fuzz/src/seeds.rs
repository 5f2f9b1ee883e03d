//! Inputs to begin with, written to a directory.
//!
//! They are made from the golden snapshots by each target itself, as it knows how it takes its
//! input apart; so nothing is in the tree twice.

use std::path::PathBuf;

/// Where a target writes its seeds, instead of fuzzing.
const DIRECTORY: &str = "MILLPOND_FUZZ_SEEDS";

/// Writes what `make` puts in as files and ends the process, if the environment names a directory.
///
/// # Panics
///
/// If they cannot be written.
pub fn seeds(make: impl FnOnce(&mut dyn FnMut(Vec<u8>))) {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    std::fs::create_dir_all(&directory).expect("a directory for seeds");
    let mut count = 0;
    make(&mut |bytes| {
        let file = directory.join(format!("seed-{count:04}"));
        std::fs::write(file, bytes).expect("room for a seed");
        count += 1;
    });
    eprintln!("{count} seeds in {}", directory.display());
    std::process::exit(0);
}

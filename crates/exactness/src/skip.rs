//! Tests that cannot run where they are, which is told and not passed over.

use std::fs::File;
use std::io::Write;

/// Names the file that they are noted in.
const SKIPS: &str = "MILLPOND_SKIPS";

/// Says that a test is skipped, and why: at once, and at the end of `./test`.
///
/// # Panics
///
/// If it cannot be noted.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    if let Some(path) = std::env::var_os(SKIPS) {
        let file = File::options().create(true).append(true).open(path);
        let noted = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
        noted.expect("a skipped test is noted");
    }
}

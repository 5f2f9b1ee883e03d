//! The one place that prints.
//!
//! A reader that has gone away (`millpond list | head -1`) is no failure: what it does not want to
//! read is dropped.

use std::io::Write;

/// Prints a line to standard output.
pub(crate) fn line(text: impl AsRef<str>) {
    // See above: the reader may be gone.
    writeln!(std::io::stdout().lock(), "{}", text.as_ref()).ok();
}

/// Prints text that ends its own lines to standard output.
pub(crate) fn text(text: impl AsRef<str>) {
    // See above: the reader may be gone.
    write!(std::io::stdout().lock(), "{}", text.as_ref()).ok();
}

/// Prints a line to standard error.
pub(crate) fn error_line(text: impl AsRef<str>) {
    // See above: the reader may be gone.
    writeln!(std::io::stderr().lock(), "{}", text.as_ref()).ok();
}

//! Bytes behind a URI.

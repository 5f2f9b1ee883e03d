//! The files that a state handle points at, as URIs.

use millpond_fs::Location;
use millpond_snapshot::StreamHandle;

/// Returns the URI of the file behind a handle of the snapshot in `directory`; `None` if its bytes
/// are in the handle.
///
/// Two spellings of a place are one URI, so that it can be compared.
pub(crate) fn file_of(stream: &StreamHandle, directory: &str) -> Option<String> {
    match stream {
        StreamHandle::Bytes { .. } | StreamHandle::EmptySegment => None,
        StreamHandle::File { path, .. } | StreamHandle::Segment { path, .. } => {
            Some(match Location::parse(path) {
                Ok(location) => location.to_string(),
                // Whatever it is, it is what it says.
                Err(_) => path.clone(),
            })
        }
        StreamHandle::Relative { name, .. } => Some(format!("{directory}/{name}")),
        StreamHandle::KeyGroups { stream, .. } => file_of(stream, directory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_uri_however_it_is_spelled() {
        let file = |path: &str| StreamHandle::File {
            path: path.to_owned(),
            size: 1,
        };
        for path in ["file:///c/shared/a", "file:/c/shared/a", "/c//shared/./a"] {
            let found = file_of(&file(path), "file:/c/chk-1");
            assert_eq!(found.as_deref(), Some("file:/c/shared/a"));
        }
        let relative = StreamHandle::Relative {
            name: "a".to_owned(),
            size: 1,
        };
        let found = file_of(&relative, "file:/c/chk-1");
        assert_eq!(found.as_deref(), Some("file:/c/chk-1/a"));
        assert_eq!(file_of(&StreamHandle::EmptySegment, "file:/c"), None);
    }
}

//! A file as a split: its path, and up to where it has been read.
//!
//! | order | width | meaning (version 1) |
//! | --- | --- | --- |
//! | 1 | i32 | number of files of the source when they were discovered |
//! | 2 | u8 | position: 0 nothing read, 1 bytes of a plain file, 2 lines of a gzip file |
//! | 3 | i64 | the position |
//! | 4 | bool | the end has been reached |
//! | 5 | UTF | absolute path |

use millpond_operator::source::SourceSplit;
use millpond_operator::{FunctionError, Result};
use millpond_serializer::{ByteReader, ByteWriter};

/// How far a file has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// Not at all; whether it is compressed is not known yet.
    Start,
    /// Bytes of a plain file.
    Bytes(u64),
    /// Lines of a gzip file: a place in compressed bytes cannot be gone to.
    Lines(u64),
}

/// A file and how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSplit {
    pub(crate) path: String,
    pub(crate) position: Position,
    /// All its lines have been emitted; it is not opened any more, unless it is followed.
    pub(crate) ended: bool,
    /// Number of files of the source, among which a rate limit is shared.
    pub(crate) files: u32,
}

impl FileSplit {
    /// A file of which nothing has been read, one of `files`.
    pub(crate) fn new(path: String, files: u32) -> Self {
        FileSplit {
            path,
            position: Position::Start,
            ended: false,
            files,
        }
    }
}

impl SourceSplit for FileSplit {
    const VERSION: i32 = 1;

    fn split_id(&self) -> String {
        self.path.clone()
    }

    fn serialize(&self) -> Vec<u8> {
        let (kind, position) = match self.position {
            Position::Start => (0, 0),
            Position::Bytes(bytes) => (1, bytes),
            Position::Lines(lines) => (2, lines),
        };
        let mut out = Vec::new();
        out.put_i32(self.files as i32);
        out.put_u8(kind);
        out.put_i64(position as i64);
        out.put_bool(self.ended);
        out.put_utf(&self.path)
            .expect("paths of files that were found are shorter than 64 KiB");
        out
    }

    fn deserialize(version: i32, bytes: &[u8]) -> Result<Self> {
        if version != <Self as SourceSplit>::VERSION {
            return Err(FunctionError::new(format!(
                "a file split in the snapshot has version {version}, expected {}; it was written \
                 by a newer Millpond or another source",
                <Self as SourceSplit>::VERSION
            )));
        }
        let mut reader = ByteReader::new(bytes);
        let files = reader.i32()? as u32;
        let kind = reader.u8()?;
        let position = reader.i64()? as u64;
        let position = match kind {
            0 => Position::Start,
            1 => Position::Bytes(position),
            2 => Position::Lines(position),
            other => {
                let text =
                    format!("a file split is damaged: position of kind {other}, expected 0 to 2");
                return Err(FunctionError::new(text));
            }
        };
        Ok(FileSplit {
            position,
            ended: reader.bool()?,
            path: reader.utf()?,
            files,
        })
    }

    fn position(&self) -> String {
        let end = if self.ended { " (end)" } else { "" };
        match self.position {
            Position::Start => format!("{}@0{end}", self.path),
            Position::Bytes(bytes) => format!("{}@{bytes}{end}", self.path),
            Position::Lines(lines) => format!("{}@line {lines}{end}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_comes_back_from_its_bytes_and_damage_is_refused() {
        for position in [
            Position::Start,
            Position::Bytes(7),
            Position::Lines(u64::MAX >> 1),
        ] {
            let split = FileSplit {
                path: "/a/é.csv".to_owned(),
                position,
                ended: true,
                files: 3,
            };
            let bytes = split.serialize();
            assert_eq!(FileSplit::deserialize(1, &bytes).expect("whole"), split);
            assert!(FileSplit::deserialize(2, &bytes).is_err());
            for end in 0..bytes.len() {
                assert!(
                    FileSplit::deserialize(1, &bytes[..end]).is_err(),
                    "cut at {end}"
                );
            }
        }
    }

    #[test]
    fn positions_are_readable() {
        let mut split = FileSplit::new("/a.csv".to_owned(), 1);
        assert_eq!(SourceSplit::position(&split), "/a.csv@0");
        split.position = Position::Bytes(17);
        assert_eq!(SourceSplit::position(&split), "/a.csv@17");
        split.position = Position::Lines(3);
        split.ended = true;
        assert_eq!(SourceSplit::position(&split), "/a.csv@line 3 (end)");
    }
}

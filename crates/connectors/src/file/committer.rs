//! Publishes the files of a sink: a rename each.
//!
//! A committable, in the operator state `streaming_committer_raw_states`:
//!
//! | order | width | meaning |
//! | --- | --- | --- |
//! | 1 | i32 | version, 1 |
//! | 2 | i64 | length of the file in bytes |
//! | 3 | UTF | absolute path of the directory |
//! | 4 | UTF | hidden name |
//! | 5 | UTF | published name |

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use millpond_operator::sink::Committer;
use millpond_operator::{FunctionError, Result};
use millpond_serializer::{ByteReader, ByteWriter};

use super::file_error;

const VERSION: i32 = 1;

/// A file that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingFile {
    pub(crate) directory: String,
    pub(crate) hidden_name: String,
    pub(crate) visible_name: String,
    pub(crate) bytes: u64,
}

impl PendingFile {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.put_i32(VERSION);
        out.put_i64(self.bytes as i64);
        out.put_utf(&self.directory)?;
        out.put_utf(&self.hidden_name)?;
        out.put_utf(&self.visible_name)?;
        Ok(out)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = ByteReader::new(bytes);
        let version = reader.i32()?;
        if version != VERSION {
            return Err(FunctionError::new(format!(
                "a pending file in the snapshot has version {version}, expected {VERSION}; it was \
                 written by a newer Millpond or another sink"
            )));
        }
        Ok(PendingFile {
            bytes: reader.i64()? as u64,
            directory: reader.utf()?,
            hidden_name: reader.utf()?,
            visible_name: reader.utf()?,
        })
    }

    fn publish(&self) -> Result<()> {
        let directory = Path::new(&self.directory);
        let hidden = directory.join(&self.hidden_name);
        let visible = directory.join(&self.visible_name);
        let failed = |error| file_error("publish", &hidden, error);
        let published = visible.try_exists().map_err(failed)?;
        let length = match fs::metadata(&hidden) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return if published {
                    Ok(())
                } else {
                    Err(lost(&hidden, &visible))
                };
            }
            Err(error) => return Err(failed(error)),
        };
        if published {
            return Err(FunctionError::new(format!(
                "cannot publish \"{}\": \"{}\" exists already and would be overwritten",
                hidden.display(),
                visible.display()
            )));
        }
        if length != self.bytes {
            return Err(FunctionError::new(format!(
                "cannot publish \"{}\": it has {length} bytes, expected {}; it was changed since \
                 its checkpoint",
                hidden.display(),
                self.bytes
            )));
        }
        match fs::rename(&hidden, &visible) {
            Ok(()) => Ok(()),
            // Another attempt that restored the same checkpoint was faster.
            Err(error) if error.kind() == ErrorKind::NotFound && visible.exists() => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

fn lost(hidden: &Path, visible: &Path) -> FunctionError {
    FunctionError::new(format!(
        "results of a completed checkpoint are lost: neither \"{}\" nor, already published, \"{}\" \
         exists",
        hidden.display(),
        visible.display()
    ))
}

/// Publishes the files of one subtask.
#[derive(Debug)]
pub(crate) struct FileCommitter;

impl Committer for FileCommitter {
    fn commit(&mut self, committables: &[Vec<u8>]) -> Result<()> {
        let mut directories = BTreeSet::new();
        for committable in committables {
            let file = PendingFile::from_bytes(committable)?;
            file.publish()?;
            directories.insert(PathBuf::from(file.directory));
        }
        for directory in directories {
            sync_directory(&directory)?;
        }
        Ok(())
    }
}

/// Makes the names in a directory survive a power failure.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| file_error("sync", directory, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_file_comes_back_from_its_bytes_and_damage_is_refused() {
        let file = PendingFile {
            directory: "/out".to_owned(),
            hidden_name: ".a".to_owned(),
            visible_name: "a".to_owned(),
            bytes: 5,
        };
        let bytes = file.to_bytes().expect("short names");
        assert_eq!(PendingFile::from_bytes(&bytes).expect("whole"), file);
        for end in 0..bytes.len() {
            assert!(
                PendingFile::from_bytes(&bytes[..end]).is_err(),
                "cut at {end}"
            );
        }
    }
}

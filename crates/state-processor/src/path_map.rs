//! Absolute paths in a snapshot that has moved: each begins with what was, and now begins with
//! what is.
//!
//! Savepoints are relocatable; checkpoints name shared files by the place that they were taken
//! at. A [`PathMap`] is a file system in front of the others, so that nothing behind it knows.

use std::path::PathBuf;
use std::sync::Arc;

use millpond_fs::{Entry, Error, FileReader, FileSystem, FileWriter, Location, file_system_for};

/// Prefixes of locations, and what stands for them here; the longest prefix wins.
#[derive(Clone, Debug, Default)]
pub struct PathMap {
    pairs: Vec<(Location, Location)>,
}

impl PathMap {
    /// Adds a pair: what begins with `from` in the snapshot lies below `to`.
    ///
    /// # Errors
    ///
    /// Location, if one of both is none.
    pub fn add(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let pair = (Location::parse(from)?, Location::parse(to)?);
        self.pairs.push(pair);
        let length = |pair: &(Location, Location)| pair.0.path().len();
        self.pairs
            .sort_by_key(|pair| std::cmp::Reverse(length(pair)));
        Ok(())
    }

    /// Returns where a location of the snapshot lies.
    pub fn map(&self, location: &Location) -> Location {
        let found = self
            .pairs
            .iter()
            .find(|(from, _)| location.starts_with(from));
        match found {
            Some((from, to)) => {
                let rest = location.path().get(from.path().len()..).unwrap_or("");
                to.join(rest)
            }
            None => location.clone(),
        }
    }

    /// Returns the file system that sees snapshots through this map.
    pub fn file_system(&self) -> Arc<dyn FileSystem> {
        Arc::new(Mapped(self.clone()))
    }
}

struct Mapped(PathMap);

impl Mapped {
    fn find(&self, location: &Location) -> Result<(Arc<dyn FileSystem>, Location), Error> {
        let location = self.0.map(location);
        Ok((file_system_for(&location)?, location))
    }
}

impl FileSystem for Mapped {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        let (fs, file) = self.find(file)?;
        fs.create(&file)
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        let (fs, file) = self.find(file)?;
        fs.open(&file)
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        let (fs, file) = self.find(file)?;
        fs.write_atomic(&file, bytes)
    }

    fn exists(&self, location: &Location) -> Result<bool, Error> {
        let (fs, location) = self.find(location)?;
        fs.exists(&location)
    }

    fn len(&self, file: &Location) -> Result<u64, Error> {
        let (fs, file) = self.find(file)?;
        fs.len(&file)
    }

    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error> {
        let (fs, directory) = self.find(directory)?;
        fs.list(&directory)
    }

    fn delete_file(&self, file: &Location) -> Result<(), Error> {
        let (fs, file) = self.find(file)?;
        fs.delete_file(&file)
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        let (fs, directory) = self.find(directory)?;
        fs.delete_dir(&directory)
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        let (fs, directory) = self.find(directory)?;
        fs.create_dir_all(&directory)
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        let (fs, directory) = self.find(directory)?;
        fs.sync_dir(&directory)
    }

    fn local_path(&self, file: &Location) -> Option<PathBuf> {
        let (fs, file) = self.find(file).ok()?;
        fs.local_path(&file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_ends_at_a_slash() {
        let mut map = PathMap::default();
        map.add("hdfs://nn:8020/flink", "/data/flink")
            .expect("locations");
        map.add("file:///mnt", "/a").expect("locations");
        map.add("file:///mnt/deep", "/b").expect("locations");
        let mapped = |text: &str| {
            let location = Location::parse(text).expect("a location");
            map.map(&location).to_string()
        };
        assert_eq!(mapped("file:/mnt/x/y"), "file:/a/x/y");
        assert_eq!(mapped("file:/mnt/deep/y"), "file:/b/y");
        assert_eq!(mapped("file:/mnt"), "file:/a");
        assert_eq!(mapped("file:/mntx/y"), "file:/mntx/y");
        assert_eq!(mapped("hdfs://nn:8020/flink/s/1"), "file:/data/flink/s/1");
        assert_eq!(mapped("hdfs://other/flink/s"), "hdfs://other/flink/s");
    }
}

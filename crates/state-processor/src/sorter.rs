//! Entries of keyed state that come in any order, brought into that of a snapshot.
//!
//! They are sorted by key group, state and key, in memory while they fit, and else by way of
//! sorted runs in temporary files that are merged: the memory is bounded by [`MEMORY_BYTES`] and a
//! window per run, whatever there is to sort. Entries of equal keys keep their order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::sync::Arc;

use millpond_fs::{Durability, FileReader, FileSystem, FileWriter, Location};
use millpond_snapshot::Error;
use millpond_types::KeyGroup;

use crate::snapshot_writer::random;

/// What is sorted in memory at once.
const MEMORY_BYTES: usize = 32 << 20;
/// How many runs are merged at once.
const FAN_IN: usize = 64;
/// What is read of a run at once.
const WINDOW_BYTES: usize = 256 << 10;
/// Group, state, and the lengths of key and value.
const HEAD_BYTES: usize = 2 + 2 + 4 + 4;

/// Takes entries.
pub(crate) struct Sorter {
    fs: Arc<dyn FileSystem>,
    /// Where the temporary files are.
    directory: Location,
    memory_bytes: usize,
    chunk: Chunk,
    /// Sorted runs: those of level n + 1 are each the merge of `FAN_IN` of level n.
    levels: Vec<Vec<Run>>,
}

/// Entries in memory.
#[derive(Default)]
struct Chunk {
    /// As in a run.
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

/// One entry, as it is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SortedEntry<'a> {
    pub(crate) group: KeyGroup,
    pub(crate) state: u16,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// A temporary file; it goes with the value.
struct Run {
    fs: Arc<dyn FileSystem>,
    file: Location,
}

impl Drop for Run {
    fn drop(&mut self) {
        // Left-overs have a name that nobody reads.
        let _ = self.fs.delete_file(&self.file);
    }
}

impl Chunk {
    fn entry(&self, start: usize) -> SortedEntry<'_> {
        parse(&self.bytes[start..]).expect("it was written here")
    }

    fn sort(&mut self) {
        let mut starts = std::mem::take(&mut self.starts);
        starts.sort_unstable_by(|a, b| {
            let (x, y) = (self.entry(*a), self.entry(*b));
            (x.group, x.state, x.key, a).cmp(&(y.group, y.state, y.key, b))
        });
        self.starts = starts;
    }

    /// Bytes in use, and room for sorting them.
    fn memory(&self) -> usize {
        self.bytes.len() + self.starts.len() * size_of::<usize>()
    }
}

fn put(entry: SortedEntry<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let length = |bytes: &[u8]| {
        u32::try_from(bytes.len())
            .map_err(|_| Error::unsupported(format!("a key or value of {} bytes", bytes.len())))
    };
    out.extend_from_slice(&entry.group.0.to_be_bytes());
    out.extend_from_slice(&entry.state.to_be_bytes());
    out.extend_from_slice(&length(entry.key)?.to_be_bytes());
    out.extend_from_slice(&length(entry.value)?.to_be_bytes());
    out.extend_from_slice(entry.key);
    out.extend_from_slice(entry.value);
    Ok(())
}

/// Reads the entry at the start of `bytes`, if all of it is there.
fn parse(bytes: &[u8]) -> Option<SortedEntry<'_>> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let [g0, g1, s0, s1, k0, k1, k2, k3, v0, v1, v2, v3] = *head;
    let key_bytes = u32::from_be_bytes([k0, k1, k2, k3]) as usize;
    let value_bytes = u32::from_be_bytes([v0, v1, v2, v3]) as usize;
    let rest = rest.get(..key_bytes + value_bytes)?;
    let (key, value) = rest.split_at(key_bytes);
    Some(SortedEntry {
        group: KeyGroup(u16::from_be_bytes([g0, g1])),
        state: u16::from_be_bytes([s0, s1]),
        key,
        value,
    })
}

impl Sorter {
    /// Returns a sorter whose temporary files go into `directory`, and are gone at the end.
    pub(crate) fn new(fs: Arc<dyn FileSystem>, directory: &Location) -> Self {
        Self::with_memory(fs, directory, MEMORY_BYTES)
    }

    fn with_memory(fs: Arc<dyn FileSystem>, directory: &Location, memory_bytes: usize) -> Self {
        Sorter {
            fs,
            directory: directory.clone(),
            memory_bytes,
            chunk: Chunk::default(),
            levels: Vec::new(),
        }
    }

    /// Adds an entry; `key` is without the key group.
    pub(crate) fn push(
        &mut self,
        group: KeyGroup,
        state: u16,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        self.chunk.starts.push(self.chunk.bytes.len());
        let entry = SortedEntry {
            group,
            state,
            key,
            value,
        };
        put(entry, &mut self.chunk.bytes)?;
        if self.chunk.memory() >= self.memory_bytes {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), Error> {
        self.chunk.sort();
        let chunk = &self.chunk;
        let entries = chunk.starts.iter().map(|start| Ok(chunk.entry(*start)));
        let run = self.write_run(entries)?;
        self.chunk.bytes.clear();
        self.chunk.starts.clear();
        self.add(0, run)
    }

    fn add(&mut self, level: usize, run: Run) -> Result<(), Error> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(run);
        if self.levels[level].len() < FAN_IN {
            return Ok(());
        }
        let runs = std::mem::take(&mut self.levels[level]);
        let mut merge = Merge::of(runs)?;
        let mut file = self.create_run()?;
        let mut buffer = Vec::new();
        merge.try_for_each(|entry| {
            put(entry, &mut buffer)?;
            if buffer.len() >= WINDOW_BYTES {
                file.write(&buffer)?;
                buffer.clear();
            }
            Ok(())
        })?;
        file.write(&buffer)?;
        let run = file.close()?;
        self.add(level + 1, run)
    }

    fn write_run<'a>(
        &self,
        entries: impl Iterator<Item = Result<SortedEntry<'a>, Error>>,
    ) -> Result<Run, Error> {
        let mut file = self.create_run()?;
        let mut buffer = Vec::new();
        for entry in entries {
            put(entry?, &mut buffer)?;
            if buffer.len() >= WINDOW_BYTES {
                file.write(&buffer)?;
                buffer.clear();
            }
        }
        file.write(&buffer)?;
        file.close()
    }

    fn create_run(&self) -> Result<RunWriter, Error> {
        let name: String = random::<8>().iter().map(|b| format!("{b:02x}")).collect();
        let file = self.directory.join(&format!("._sort-{name}.inprogress"));
        let out = self.fs.create(&file)?;
        let run = Run {
            fs: self.fs.clone(),
            file,
        };
        Ok(RunWriter { run, out })
    }

    /// Calls `visit` for every entry, in order.
    ///
    /// # Errors
    ///
    /// What `visit` returns; Io, if a temporary file cannot be read.
    pub(crate) fn try_for_each(
        mut self,
        mut visit: impl FnMut(SortedEntry<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.levels.is_empty() {
            self.chunk.sort();
            let chunk = &self.chunk;
            return chunk
                .starts
                .iter()
                .try_for_each(|start| visit(chunk.entry(*start)));
        }
        self.spill()?;
        self.chunk = Chunk::default();
        // Higher levels hold what came earlier.
        let runs = self.levels.into_iter().rev().flatten().collect();
        Merge::of(runs)?.try_for_each(visit)
    }
}

struct RunWriter {
    run: Run,
    out: Box<dyn FileWriter>,
}

impl RunWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let file = &self.run.file;
        self.out
            .write_all(bytes)
            .map_err(|error| Error::from(millpond_fs::Error::io("write", file, error)))
    }

    fn close(self) -> Result<Run, Error> {
        self.out.close(Durability::Cached)?;
        Ok(self.run)
    }
}

/// Runs being read side by side, earlier ones first.
struct Merge {
    readers: Vec<RunReader>,
}

struct RunReader {
    run: Run,
    reader: Box<dyn FileReader>,
    /// Where the window ends in the file.
    offset: u64,
    window: Vec<u8>,
    at: usize,
}

impl RunReader {
    fn open(run: Run) -> Result<Self, Error> {
        let reader = run.fs.open(&run.file)?;
        Ok(RunReader {
            run,
            reader,
            offset: 0,
            window: Vec::new(),
            at: 0,
        })
    }

    /// Makes sure that the whole next entry is in the window; false at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        let mut want = WINDOW_BYTES;
        loop {
            if parse(&self.window[self.at..]).is_some() {
                return Ok(true);
            }
            let left = self.reader.len() - self.offset;
            if left == 0 {
                if self.at == self.window.len() {
                    return Ok(false);
                }
                let error = Error::corrupt(self.offset, "a whole entry", "the end of the file");
                return Err(error.in_file(&self.run.file));
            }
            self.window.drain(..self.at);
            self.at = 0;
            let have = self.window.len();
            let more = left.min(want as u64) as usize;
            self.window.resize(have + more, 0);
            self.reader.read_at(self.offset, &mut self.window[have..])?;
            self.offset += more as u64;
            // An entry that is larger than the window.
            want *= 2;
        }
    }

    fn entry(&self) -> SortedEntry<'_> {
        parse(&self.window[self.at..]).expect("filled before")
    }

    fn advance(&mut self) -> Result<bool, Error> {
        let entry = self.entry();
        self.at += HEAD_BYTES + entry.key.len() + entry.value.len();
        self.fill()
    }
}

impl Merge {
    fn of(runs: Vec<Run>) -> Result<Self, Error> {
        let readers = runs.into_iter().map(RunReader::open);
        Ok(Merge {
            readers: readers.collect::<Result<_, _>>()?,
        })
    }

    fn try_for_each(
        &mut self,
        mut visit: impl FnMut(SortedEntry<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // The heads of the runs; keys are copied, so that the readers can move on.
        let head = |index: usize, reader: &RunReader| {
            let entry = reader.entry();
            Reverse((entry.group, entry.state, entry.key.to_vec(), index))
        };
        let mut heads = BinaryHeap::new();
        for (index, reader) in self.readers.iter_mut().enumerate() {
            if reader.fill()? {
                heads.push(head(index, reader));
            }
        }
        while let Some(Reverse((.., index))) = heads.pop() {
            let reader = &mut self.readers[index];
            visit(reader.entry())?;
            if reader.advance()? {
                heads.push(head(index, reader));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_fs::memory::MemoryFileSystem;

    /// SplitMix64.
    fn random_numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
        move |bound| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ z >> 31) % bound as u64) as usize
        }
    }

    type Row = (u16, u16, Vec<u8>, Vec<u8>);

    fn sorted(memory_bytes: usize, rows: &[Row]) -> (Vec<Row>, Arc<MemoryFileSystem>) {
        let fs = Arc::new(MemoryFileSystem::new());
        let directory = Location::parse("/sort").expect("a path");
        let mut sorter = Sorter::with_memory(fs.clone(), &directory, memory_bytes);
        for (group, state, key, value) in rows {
            sorter
                .push(KeyGroup(*group), *state, key, value)
                .expect("memory");
        }
        let mut found = Vec::new();
        let visit = |entry: SortedEntry<'_>| {
            found.push((
                entry.group.0,
                entry.state,
                entry.key.to_vec(),
                entry.value.to_vec(),
            ));
            Ok(())
        };
        sorter.try_for_each(visit).expect("memory");
        (found, fs)
    }

    #[test]
    fn any_memory_gives_the_same_order_and_leaves_no_file() {
        let mut next = random_numbers(7);
        let rows: Vec<Row> = (0..6000)
            .map(|index| {
                let size = if index == 77 { 600_000 } else { next(40) };
                (
                    next(5) as u16,
                    next(3) as u16,
                    vec![next(7) as u8; next(3)],
                    [&[index as u8; 1][..], &vec![index as u8; size]].concat(),
                )
            })
            .collect();
        let mut expected = rows.clone();
        expected.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
        // In memory; some runs; runs of runs.
        for memory_bytes in [1 << 30, 100_000, 2_000] {
            let (found, fs) = sorted(memory_bytes, &rows);
            assert!(found == expected, "{memory_bytes} bytes of memory");
            let left = fs
                .list(&Location::parse("/sort").expect("a path"))
                .unwrap_or_default();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

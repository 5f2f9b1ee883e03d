//! How fast, and in how much memory, is a savepoint read, verified and compared?
//!
//! The savepoint is canonical, with keys and counts of type Long in two subtasks. Entries per
//! second are of all threads together; those per second of a processor tell more on a machine that
//! does other things too. `peak_bytes` is the most memory that the process held.
//! A surprise would be a peak above 200 MB, whatever the number of keys.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use millpond_fs::{Durability, FileSystem, LocalFileSystem, Location};
use millpond_serializer::{FlinkKey, FlinkType, VoidNamespace};
use millpond_snapshot::{
    CanonicalWriter, KeyGroupsKind, KeyedHandle, KeyedHeader, KeyedStateType, Metadata,
    OperatorSnapshot, StateMeta, StreamHandle, SubtaskSnapshot,
};
use millpond_state_processor::{
    Format, OpenSnapshot, PathMap, Progress, ReadOptions, RowReader, Selection, Threads, diff,
    read, scan, verify,
};
use millpond_types::{KeyGroup, KeyGroupRange, OperatorId};
use serde_json::{Value, json};

use crate::measure::{cpu_s, peak_bytes};
use crate::{Failure, failure};

const MAX_PARALLELISM: u32 = 128;
const PARALLELISM: u32 = 2;
/// About how many bytes of a file one thread reads at a time.
const PIECE_BYTES: u64 = 4 << 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of keys
    #[arg(long, default_value_t = 10_000_000)]
    keys: u64,
    /// Accepted for completeness: the figures are always JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct WriteArguments {
    #[arg(long)]
    path: PathBuf,
    #[arg(long)]
    keys: u64,
    #[arg(long)]
    differing: Option<u64>,
}

/// Writes a savepoint in a process of its own: what it needs of memory is not measured.
pub(crate) fn make_savepoint(
    directory: &Path,
    keys: u64,
    differing: Option<u64>,
) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(failure)?;
    let mut command = Command::new(program);
    command.args(["state-write", "--keys", &keys.to_string(), "--path"]);
    command.arg(directory);
    if let Some(every) = differing {
        command.args(["--differing", &every.to_string()]);
    }
    let ended = command.stdout(Stdio::null()).status().map_err(failure)?;
    match ended.success() {
        true => Ok(()),
        false => Err(format!("writing the savepoint: {ended}")),
    }
}

/// Writes a savepoint.
pub(crate) fn run_write(arguments: &WriteArguments) -> Result<Value, Failure> {
    write_savepoint(&arguments.path, arguments.keys, arguments.differing)?;
    Ok(json!({"keys": arguments.keys}))
}

/// Writes a savepoint of as many keys; every `differing`th count is one more.
fn write_savepoint(directory: &Path, keys: u64, differing: Option<u64>) -> Result<(), Failure> {
    let location = Location::of_path(directory).map_err(failure)?;
    let (long, void) = (
        i64::serializer_snapshot(),
        VoidNamespace::serializer_snapshot(),
    );
    let count = StateMeta::key_value("count", KeyedStateType::Value, void, long.clone());
    let header = KeyedHeader {
        compressed: false,
        key_serializer: long,
        states: vec![count],
    };
    let mut of_group: Vec<Vec<i64>> = vec![Vec::new(); MAX_PARALLELISM as usize];
    for key in 0..keys as i64 {
        let group = KeyGroup::of_hash(key.hash_code(), MAX_PARALLELISM);
        of_group[usize::from(group.0)].push(key);
    }
    let mut operator =
        OperatorSnapshot::new(OperatorId::of_uid("counter"), PARALLELISM, MAX_PARALLELISM);
    for subtask in 0..PARALLELISM {
        let range = KeyGroupRange::of_subtask(subtask, PARALLELISM, MAX_PARALLELISM);
        let name = format!("state-{subtask}");
        let out = LocalFileSystem
            .create(&location.join(&name))
            .map_err(failure)?;
        let mut writer =
            CanonicalWriter::new(out, &header, range, MAX_PARALLELISM).map_err(failure)?;
        for group in range.iter() {
            writer.begin_state(group, 0).map_err(failure)?;
            for key in &of_group[usize::from(group.0)] {
                let more = differing.is_some_and(|every| (*key as u64).is_multiple_of(every));
                let put = |out: &mut Vec<u8>| {
                    key.write(out);
                    VoidNamespace.write(out);
                };
                let count = key * 7 + i64::from(more);
                writer.entry(put, |out| count.write(out)).map_err(failure)?;
            }
        }
        let written = writer.finish().map_err(failure)?;
        written.out.close(Durability::Cached).map_err(failure)?;
        let keyed = KeyedHandle::KeyGroups {
            kind: KeyGroupsKind::Savepoint,
            groups: written.groups,
            stream: StreamHandle::Relative {
                name,
                size: written.bytes as i64,
            },
        };
        let state = SubtaskSnapshot {
            managed_keyed: Some(keyed),
            ..SubtaskSnapshot::default()
        };
        operator.subtasks.push((subtask, state));
    }
    let mut metadata = Metadata::new(1);
    metadata.operators.push(operator);
    millpond_snapshot::write_metadata(&LocalFileSystem, &location, &metadata).map_err(failure)?;
    Ok(())
}

/// Opens what was written.
pub(crate) fn open(directory: &Path) -> Result<OpenSnapshot, Failure> {
    let pointer = directory.to_str().ok_or("a path that is no text")?;
    OpenSnapshot::open(pointer, &PathMap::default()).map_err(failure)
}

/// What a run took.
pub(crate) struct Cost {
    /// Wall time, and time of all processors.
    pub(crate) seconds: f64,
    pub(crate) cpu_s: f64,
    /// The most memory that the process held meanwhile.
    pub(crate) peak_bytes: u64,
}

/// Runs, and tells what it took.
pub(crate) fn measured<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Cost), Failure> {
    // Without it (in some containers) the peak is that since the start.
    std::fs::write("/proc/self/clear_refs", "5").ok();
    let (begin, cpu_before) = (Instant::now(), cpu_s());
    let result = run()?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu_s = cpu_s() - cpu_before;
    Ok((
        result,
        Cost {
            seconds,
            cpu_s,
            peak_bytes: peak_bytes(),
        },
    ))
}

/// Notes when the first byte comes.
struct FirstByte {
    begin: Instant,
    first_s: Option<f64>,
    bytes: u64,
}

impl Write for FirstByte {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.first_s
            .get_or_insert_with(|| self.begin.elapsed().as_secs_f64());
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads every row as values, and once more as lines of JSON.
pub(crate) fn run_read(arguments: &Arguments) -> Result<Value, Failure> {
    let directory = tempfile::tempdir().map_err(failure)?;
    make_savepoint(directory.path(), arguments.keys, None)?;
    let (rows, cost) = measured(|| {
        let snapshot = open(directory.path())?;
        let operators = snapshot.operators();
        let pieces: Vec<_> = operators
            .flat_map(|operator| operator.keyed_parts().collect::<Vec<_>>())
            .flat_map(|part| part.pieces(PIECE_BYTES))
            .collect();
        let mut rows = 0u64;
        scan(
            &pieces,
            Threads::default(),
            |piece, put| {
                let Some(reader) = piece.open()? else {
                    return Ok(());
                };
                let mut reader = RowReader::new(reader)?;
                let mut rows = 0u64;
                while reader.next_row()?.is_some() {
                    rows += 1;
                }
                // Nobody stops before the end.
                let _: ControlFlow<()> = put(rows);
                Ok(())
            },
            |_, more| {
                rows += more;
                Ok(ControlFlow::Continue(()))
            },
        )
        .map_err(failure)?;
        Ok(rows)
    })?;
    let ((lines, first_s), lines_cost) = measured(|| {
        let mut out = FirstByte {
            begin: Instant::now(),
            first_s: None,
            bytes: 0,
        };
        let snapshot = open(directory.path())?;
        let options = ReadOptions {
            selection: Selection::default(),
            format: Format::JsonLines,
            ttl: false,
            limit: None,
        };
        let threads = Threads::default();
        let rows = read(&snapshot, &options, threads, &Progress::default(), &mut out);
        Ok((rows.map_err(failure)?, out.first_s.unwrap_or(f64::NAN)))
    })?;
    if rows != arguments.keys || lines != arguments.keys {
        return Err(format!(
            "{rows} rows and {lines} lines of {}",
            arguments.keys
        ));
    }
    Ok(json!({
        "benchmark": "state-read",
        "keys": arguments.keys,
        "entries_per_s": rows as f64 / cost.seconds,
        "entries_per_cpu_s": rows as f64 / cost.cpu_s,
        "peak_bytes": cost.peak_bytes,
        "json_lines_per_s": lines as f64 / lines_cost.seconds,
        "json_lines_per_cpu_s": lines as f64 / lines_cost.cpu_s,
        "json_lines_peak_bytes": lines_cost.peak_bytes,
        "first_row_s": first_s,
    }))
}

/// Checks every entry.
pub(crate) fn run_verify(arguments: &Arguments) -> Result<Value, Failure> {
    let directory = tempfile::tempdir().map_err(failure)?;
    make_savepoint(directory.path(), arguments.keys, None)?;
    let (found, cost) = measured(|| {
        let snapshot = open(directory.path())?;
        verify(&snapshot, Threads::default(), &Progress::default()).map_err(failure)
    })?;
    if !found.sound || found.checked.entries != arguments.keys {
        return Err(format!("{:?}", found.problems));
    }
    Ok(json!({
        "benchmark": "state-verify",
        "keys": arguments.keys,
        "entries_per_s": found.checked.entries as f64 / cost.seconds,
        "entries_per_cpu_s": found.checked.entries as f64 / cost.cpu_s,
        "peak_bytes": cost.peak_bytes,
    }))
}

/// Compares with a savepoint in which one count in a thousand differs.
pub(crate) fn run_diff(arguments: &Arguments) -> Result<Value, Failure> {
    const EVERY: u64 = 1000;
    let directory = tempfile::tempdir().map_err(failure)?;
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    make_savepoint(&one, arguments.keys, None)?;
    make_savepoint(&other, arguments.keys, Some(EVERY))?;
    let (found, cost) = measured(|| {
        let (first, second) = (open(&one)?, open(&other)?);
        let threads = Threads::default();
        diff(&first, &second, None, threads, &Progress::default()).map_err(failure)
    })?;
    let states = found.operators.iter().flat_map(|operator| &operator.states);
    let changed: u64 = states.map(|state| state.changed).sum();
    if changed != arguments.keys.div_ceil(EVERY) {
        return Err(format!("{changed} changes"));
    }
    Ok(json!({
        "benchmark": "state-diff",
        "keys": arguments.keys,
        "changed": changed,
        "entries_per_s": 2.0 * arguments.keys as f64 / cost.seconds,
        "entries_per_cpu_s": 2.0 * arguments.keys as f64 / cost.cpu_s,
        "peak_bytes": cost.peak_bytes,
    }))
}

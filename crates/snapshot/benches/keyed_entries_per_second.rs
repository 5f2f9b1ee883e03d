//! How many entries of 8-byte keys and values go through the canonical format per CPU-second?
//!
//! Counts entries per second on one thread, writing into a sink with checksum and reading from a
//! file; 1e7 entries in 128 key groups. A surprise would be: writing below 20 million per second
//! (a savepoint of 1e7 keys would then take half a second of CPU), or reading below writing / 3.

use std::io::{self, Write};
use std::time::Instant;

use millpond_fs::{Durability, FileSystem, LocalFileSystem, Location};
use millpond_serializer::{FlinkType, VoidNamespace};
use millpond_snapshot::{
    CanonicalReader, CanonicalWriter, ChecksumWriter, KeyedHeader, KeyedStateType, StateMeta,
    StateSource,
};
use millpond_types::{KeyGroup, KeyGroupRange};

const ENTRIES: i64 = 10_000_000;

fn write<W: Write>(out: W) -> millpond_snapshot::WrittenKeyed<W> {
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
    let range = KeyGroupRange::of_subtask(0, 1, 128);
    let mut writer = CanonicalWriter::new(out, &header, range, 128).expect("a header");
    for group in range.iter() {
        writer.begin_state(group, 0).expect("a sink");
        for key in 0..ENTRIES / 128 {
            writer
                .entry(
                    |out| {
                        key.write(out);
                        VoidNamespace.write(out);
                    },
                    |out| (key * 7).write(out),
                )
                .expect("a sink");
        }
    }
    writer.finish().expect("a sink")
}

fn median(mut run: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[2]
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn main() {
    let written = median(|| drop(write(ChecksumWriter::new(io::sink()))));
    let directory = tempfile::tempdir().expect("a directory");
    let file = Location::of_path(directory.path())
        .expect("text")
        .join("state");
    let out = write(LocalFileSystem.create(&file).expect("a file"));
    out.out.close(Durability::Cached).expect("room");
    let read = median(|| {
        let opened = LocalFileSystem.open(&file).expect("there");
        let source = StateSource::of_file("state", opened, 0, out.bytes).expect("whole");
        let range = KeyGroupRange::of_subtask(0, 1, 128);
        let mut reader = CanonicalReader::open(source, &out.groups, range, 128).expect("a header");
        let (mut entries, mut last) = (0, KeyGroup(0));
        while let Some(entry) = reader.next_entry().expect("whole") {
            entries += 1;
            last = entry.key_group;
        }
        assert_eq!((entries, last), (ENTRIES / 128 * 128, KeyGroup(127)));
    });
    let rate = |seconds: f64| ENTRIES as f64 / seconds / 1e6;
    println!(
        "written: {written:.3} s, {:.0} million entries per second",
        rate(written)
    );
    println!(
        "read:    {read:.3} s, {:.0} million entries per second",
        rate(read)
    );
}

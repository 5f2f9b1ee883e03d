use super::*;
use crate::{CanonicalReader, KeyedStateType, StateMeta, StateSource};
use millpond_serializer::{FlinkType, SerializerSnapshot, TimeWindow, TimerElement, VoidNamespace};

fn header() -> KeyedHeader {
    let long = i64::serializer_snapshot();
    let window = TimeWindow::serializer_snapshot();
    let timer = SerializerSnapshot::timer(long.clone(), window.clone());
    let reducing = KeyedStateType::Reducing;
    KeyedHeader {
        compressed: false,
        key_serializer: long.clone(),
        states: vec![
            StateMeta::key_value("window-contents", reducing, window, long),
            StateMeta::priority_queue("_timer_state/processing_window-timers", timer.clone()),
            StateMeta::priority_queue("_timer_state/event_window-timers", timer),
        ],
    }
}

type Row = (u16, usize, Vec<u8>, Vec<u8>);

fn read(written: &WrittenKeyed<Vec<u8>>, max_parallelism: u32) -> Result<Vec<Row>, Error> {
    let source = StateSource::of_bytes("test", written.out.as_slice());
    let range = written.groups.range().expect("not empty");
    let mut reader = CanonicalReader::open(source, &written.groups, range, max_parallelism)?;
    assert_eq!(reader.header(), &header());
    let mut rows = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        rows.push((
            entry.key_group.0,
            entry.state,
            entry.key.to_vec(),
            entry.value.to_vec(),
        ));
    }
    Ok(rows)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits")
    };
    digits.chunks(2).map(byte).collect()
}

#[test]
fn a_group_with_window_contents_and_timers_has_the_bytes_that_flink_writes() {
    let range = KeyGroupRange::of_subtask(0, 1, 128);
    let mut writer = CanonicalWriter::new(Vec::new(), &header(), range, 128).expect("memory");
    let windows = [
        (
            TimeWindow {
                start: 0,
                end: 3_600_000,
            },
            0x11f_i64,
        ),
        (
            TimeWindow {
                start: 0xb_a40a_a000,
                end: 0xb_a441_8e80,
            },
            0x1_836e_2204,
        ),
    ];
    let group = KeyGroup(0x56);
    writer.begin_state(group, 0).expect("memory");
    for (window, sum) in windows {
        let key = |out: &mut Vec<u8>| {
            1i64.write(out);
            window.write(out);
        };
        writer.entry(key, |out| sum.write(out)).expect("memory");
    }
    writer.begin_state(group, 1).expect("memory");
    writer.begin_state(group, 2).expect("memory");
    for (namespace, _) in windows {
        let timer = TimerElement {
            timestamp: namespace.max_timestamp(),
            key: 1i64,
            namespace,
        };
        writer
            .entry(|out| timer.write(out), |_| {})
            .expect("memory");
    }
    let written = writer.finish().expect("memory");
    let expected = hex("0000
         00000019 56 0000000000000001 0000000000000000 000000000036ee80 00000008 000000000000011f
         00000019 d6 0000000000000001 0000000ba40aa000 0000000ba4418e80 00000008 00000001836e2204
         0002
         00000021 56 800000000036ee7f 0000000000000001 0000000000000000 000000000036ee80 00000000
         00000021 d6 8000000ba4418e7f 0000000000000001 0000000ba40aa000 0000000ba4418e80 00000000
         ffff");
    let mut head = Vec::new();
    header().write(&mut head).expect("short names");
    assert_eq!(written.out, [head.clone(), expected].concat());
    assert_eq!(written.groups.offsets[0x56], head.len() as i64);
    assert_eq!(
        written
            .groups
            .offsets
            .iter()
            .filter(|offset| **offset != 0)
            .count(),
        1
    );
    let entries: Vec<_> = written.states.iter().map(WrittenState::entries).collect();
    assert_eq!(entries, [2, 0, 2]);
    assert_eq!(read(&written, 128).expect("whole").len(), 4);
}

/// Entries of all sizes, so that the buffer is written in the midst of states and groups, and one
/// entry is larger than buffer and window.
#[test]
fn what_is_written_in_many_parts_is_read_whole() {
    let (range, max_parallelism) = (KeyGroupRange::of_subtask(1, 2, 300), 300);
    let mut writer =
        CanonicalWriter::new(Vec::new(), &header(), range, max_parallelism).expect("memory");
    let mut rows: Vec<Row> = Vec::new();
    for (index, group) in range.iter().enumerate().filter(|(index, _)| index % 3 != 0) {
        for state in 0..3 {
            writer.begin_state(group, state).expect("memory");
            for entry in 0..(index * 7 + state * 5) % 11 {
                let size = match (index, state, entry) {
                    (4, 1, 2) => 3 << 20,
                    _ => (index * 131 + state * 977 + entry * 4099) % 30_000,
                };
                let (key, value) = (vec![index as u8; entry], vec![entry as u8; size]);
                writer.raw_entry(&key, &value).expect("memory");
                rows.push((group.0, state, key, value));
            }
        }
    }
    let bytes = writer.bytes();
    let written = writer.finish().expect("memory");
    assert!(written.bytes >= bytes && written.out.len() as u64 == written.bytes);
    assert!(written.bytes > 3 * BUFFER_BYTES as u64);
    assert!(read(&written, max_parallelism).expect("whole") == rows);
    let counted: u64 = written.states.iter().map(WrittenState::entries).sum();
    assert_eq!(counted, rows.len() as u64);
}

#[test]
fn a_flag_lost_or_found_by_damage_ends_in_an_error() {
    let range = KeyGroupRange::of_subtask(0, 1, 128);
    let mut writer = CanonicalWriter::new(Vec::new(), &header(), range, 128).expect("memory");
    for group in [3, 4] {
        writer.begin_state(KeyGroup(group), 0).expect("memory");
        for key in 0..3i64 {
            let key = |out: &mut Vec<u8>| {
                key.write(out);
                VoidNamespace.write(out);
            };
            writer.entry(key, |out| out.push(0xff)).expect("memory");
        }
    }
    let mut written = writer.finish().expect("memory");
    let start = written.groups.offsets[3] as usize;
    // State, key length, key group and key, void, value length, value.
    let first_of = |entry: usize| start + 2 + entry * (4 + 10 + 4 + 1) + 4;
    for entry in 0..3 {
        written.out[first_of(entry)] ^= 0x80;
        assert!(read(&written, 128).is_err(), "entry {entry}");
        written.out[first_of(entry)] ^= 0x80;
    }
    assert_eq!(read(&written, 128).expect("whole").len(), 6);
}

#[test]
#[should_panic(expected = "key group 3 comes twice")]
fn a_group_that_comes_twice_is_refused() {
    let range = KeyGroupRange::of_subtask(0, 1, 128);
    let mut writer = CanonicalWriter::new(Vec::new(), &header(), range, 128).expect("memory");
    for group in [3, 4, 3] {
        writer.begin_state(KeyGroup(group), 0).expect("memory");
        writer.raw_entry(&[0], &[]).expect("memory");
    }
}

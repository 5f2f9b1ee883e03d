//! The file source.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use millpond_connectors::FileSource;
use millpond_operator::source::InputStatus;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::driver::SourceJob;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn file(directory: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).expect("writes");
    path
}

fn append(path: &Path, content: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).expect("opens");
    file.write_all(content).expect("writes");
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn read_all(source: &FileSource) -> Result<Vec<String>, String> {
    let mut job = SourceJob::start(source, 1, None).map_err(|error| error.to_string())?;
    job.run_to_end().map_err(|error| error.to_string())
}

#[test]
fn lines_of_plain_and_gzip_files_come_without_their_ends() {
    let directory = directory();
    let content = "a\r\n\nné😀\nlast".as_bytes();
    for path in [
        file(&directory, "plain", content),
        file(&directory, "zipped", &gzip(content)),
    ] {
        let lines = read_all(&FileSource::lines([path])).expect("reads");
        assert_eq!(lines, ["a", "", "né😀", "last"]);
    }
}

#[test]
fn all_members_of_a_gzip_file_are_read() {
    let directory = directory();
    let content = [gzip(b"a\nb"), gzip(b"c\nd\n")].concat();
    let path = file(&directory, "two.gz", &content);
    assert_eq!(
        read_all(&FileSource::lines([path])).expect("reads"),
        ["a", "bc", "d"]
    );
}

#[test]
fn empty_files_and_empty_directories_have_no_lines() {
    let directory = directory();
    assert!(
        read_all(&FileSource::lines([directory.path()]))
            .expect("reads")
            .is_empty()
    );
    file(&directory, "empty", b"");
    file(&directory, "empty.gz", &gzip(b""));
    assert!(
        read_all(&FileSource::lines([directory.path()]))
            .expect("reads")
            .is_empty()
    );
}

#[test]
fn a_directory_means_its_files_in_order_but_the_hidden_ones() {
    let directory = directory();
    fs::create_dir(directory.path().join("b")).expect("makes");
    for name in ["c", "b/x", "a", ".hidden", "_SUCCESS"] {
        file(&directory, name, format!("{name}\n").as_bytes());
    }
    let again = directory.path().join("a");
    let source = FileSource::lines([directory.path(), &again]);
    assert_eq!(read_all(&source).expect("reads"), ["a", "b/x", "c"]);
    let uri = format!("file://{}", again.display());
    assert_eq!(read_all(&FileSource::lines([uri])).expect("reads"), ["a"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let missing = directory().path().join("missing.csv");
    let error = read_all(&FileSource::lines([&missing])).expect_err("is not there");
    assert!(error.contains(missing.to_str().expect("UTF-8")), "{error}");
}

#[test]
fn a_restored_job_reads_the_files_of_its_first_run() {
    let directory = directory();
    file(&directory, "a", b"a1\na2\n");
    let source = FileSource::lines([directory.path()]);
    let mut job = SourceJob::start(&source, 1, None).expect("starts");
    let mut lines = Vec::new();
    job.run(1, 1, &mut lines).expect("reads");
    let snapshot = job.snapshot();
    file(&directory, "b", b"b1\n");
    let mut job = SourceJob::start(&source, 1, Some(&snapshot)).expect("starts");
    assert_eq!(job.run_to_end().expect("reads"), ["a2"]);
}

#[test]
fn positions_are_bytes_of_plain_files_and_lines_of_gzip_files() {
    let directory = directory();
    let plain = file(&directory, "a", b"one\ntwo\n");
    let zipped = file(&directory, "b", &gzip(b"one\ntwo\n"));
    let mut job =
        SourceJob::start(&FileSource::lines([directory.path()]), 1, None).expect("starts");
    let mut lines = Vec::new();
    job.run(1, 1, &mut lines).expect("reads");
    let (plain, zipped) = (plain.display(), zipped.display());
    assert_eq!(
        job.snapshot().positions,
        [format!("{plain}@4"), format!("{zipped}@0")]
    );
    job.run(3, 1, &mut lines).expect("reads");
    let positions = job.snapshot().positions;
    assert_eq!(
        positions,
        [format!("{plain}@8 (end)"), format!("{zipped}@line 1")]
    );
}

#[test]
fn invalid_utf8_is_named_with_file_and_byte() {
    let directory = directory();
    let content = b"good\nbad \xff\n";
    let plain = file(&directory, "plain", content);
    let error = read_all(&FileSource::lines([&plain])).expect_err("is no UTF-8");
    assert!(
        error.contains(&format!(
            "invalid UTF-8 at byte 9 of \"{}\"",
            plain.display()
        )),
        "{error}"
    );
    let zipped = file(&directory, "zipped", &gzip(content));
    let error = read_all(&FileSource::lines([&zipped])).expect_err("is no UTF-8");
    assert!(
        error.contains("byte 9 of the decompressed content"),
        "{error}"
    );
    assert!(error.contains("(line 2)"), "{error}");
}

#[test]
fn a_cut_gzip_file_is_an_error_that_names_it() {
    let directory = directory();
    let content: String = (0..5000)
        .map(|n| format!("line {}\n", n * 7919 % 5000))
        .collect();
    let whole = gzip(content.as_bytes());
    let path = file(&directory, "cut.gz", &whole[..whole.len() / 2]);
    let error = read_all(&FileSource::lines([&path])).expect_err("is cut");
    assert!(error.contains("cut.gz"), "{error}");
}

#[test]
fn a_file_that_was_truncated_or_replaced_fails_the_restore() {
    let directory = directory();
    let content = b"first\nsecond\nthird\n";
    let replacements: [(&[u8], &[u8], &str); 5] = [
        (
            content,
            b"first\n",
            "it has 6 bytes, and 13 bytes of it have been read",
        ),
        (
            content,
            b"another content\nhere\n",
            "ended at byte 13, where no line ends now",
        ),
        (
            content,
            &gzip(content),
            "was a plain file and is a gzip file now",
        ),
        (&gzip(content), content, "was a gzip file and is none now"),
        (
            &gzip(content),
            &gzip(b"first\n"),
            "it has 1 lines, and 2 lines of it have been read",
        ),
    ];
    for (before, after, expected) in replacements {
        let path = file(&directory, "file", before);
        let source = FileSource::lines([&path]);
        let mut job = SourceJob::start(&source, 1, None).expect("starts");
        let mut lines = Vec::new();
        job.run(2, 2, &mut lines).expect("reads");
        let snapshot = job.snapshot();
        fs::write(&path, after).expect("writes");
        let restored = SourceJob::start(&source, 1, Some(&snapshot));
        let error = restored
            .and_then(|mut job| job.run_to_end())
            .expect_err("differs")
            .to_string();
        assert!(
            error.contains(expected) && error.contains("truncated or replaced"),
            "{error}"
        );
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn a_followed_file_gives_whole_lines_as_they_are_appended() {
    let directory = directory();
    let path = file(&directory, "log", b"");
    let source = FileSource::lines([&path]).follow();
    let mut job = SourceJob::start(&source, 1, None).expect("starts");
    assert_eq!(
        job.poll(0, 10).expect("reads").0,
        InputStatus::NothingAvailable(None)
    );
    append(&path, b"one\ntw");
    let mut lines = Vec::new();
    job.run(1, 10, &mut lines).expect("reads");
    assert_eq!(job.snapshot().positions, [format!("{}@4", path.display())]);
    append(&path, b"o\nthree\nhalf");
    job.run(3, 10, &mut lines).expect("reads");
    assert_eq!(lines, ["one", "two", "three"]);
    let snapshot = job.snapshot();
    job.stop();
    append(&path, b" and whole\n");
    let mut job = SourceJob::start(&source, 1, Some(&snapshot)).expect("starts");
    lines.clear();
    job.run(1, 10, &mut lines).expect("reads");
    assert_eq!(lines, ["half and whole"]);
}

#[test]
fn a_followed_file_that_is_truncated_or_replaced_fails_the_job() {
    let directory = directory();
    for replace in [false, true] {
        let path = file(&directory, "log", b"one\ntwo\n");
        let mut job =
            SourceJob::start(&FileSource::lines([&path]).follow(), 1, None).expect("starts");
        let mut lines = Vec::new();
        job.run(2, 10, &mut lines).expect("reads");
        if replace {
            let other = file(&directory, "other", b"one\ntwo\nthree\n");
            fs::rename(other, &path).expect("renames");
        } else {
            fs::write(&path, b"one\n").expect("writes");
        }
        let error = job
            .run(3, 10, &mut lines)
            .expect_err("was replaced")
            .to_string();
        assert!(error.contains("truncated or replaced"), "{error}");
    }
}

#[test]
fn the_thread_ends_with_its_reader_while_it_waits_or_is_held_back() {
    let directory = directory();
    let small = file(&directory, "small", b"one\n");
    SourceJob::start(&FileSource::lines([&small]).follow(), 1, None)
        .expect("starts")
        .stop();
    let large = file(
        &directory,
        "large",
        "a line of some bytes\n".repeat(200_000).as_bytes(),
    );
    let job = SourceJob::start(&FileSource::lines([&large]), 1, None).expect("starts");
    job.wait();
    job.stop();
}

#[test]
fn a_rate_limit_is_shared_by_the_files() {
    let directory = directory();
    for name in ["a", "b", "c"] {
        file(&directory, name, "line\n".repeat(3000).as_bytes());
    }
    let source = FileSource::lines([directory.path()]).rate_limit(900);
    let mut job = SourceJob::start(&source, 2, None).expect("starts");
    let mut in_a_second = [0, 0];
    for _ in 0..1000 {
        for (subtask, lines) in in_a_second.iter_mut().enumerate() {
            loop {
                let (status, more) = job.poll(subtask, 100).expect("reads");
                *lines += more.len();
                match status {
                    // The thread has not read that far.
                    InputStatus::NothingAvailable(None) => job.wait(),
                    InputStatus::NothingAvailable(Some(_)) => break,
                    InputStatus::MoreAvailable | InputStatus::EndOfInput => panic!("{status:?}"),
                }
            }
        }
        job.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(in_a_second, [600, 300]);
}

/// Files of some lines each, plain or gzip, with or without a last line end.
fn files() -> impl Strategy<Value = Vec<(Vec<String>, bool, bool)>> {
    let line = prop_oneof!["[a-zé]{0,8}", "x{3000}"];
    let file = (
        prop::collection::vec(line, 0..40),
        any::<bool>(),
        any::<bool>(),
    );
    prop::collection::vec(file, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn restored_anywhere_at_any_parallelism_each_line_comes_once(
        files in files(),
        runs in prop::collection::vec((0usize..60, 1u32..4, 1usize..20), 0..5),
    ) {
        let directory = directory();
        let mut expected = Vec::new();
        for (index, (lines, zipped, ends)) in files.iter().enumerate() {
            let lines: Vec<String> =
                lines.iter().enumerate().map(|(n, line)| format!("{index}:{n}:{line}")).collect();
            let mut content = lines.join("\n").into_bytes();
            if *ends && !lines.is_empty() {
                content.push(b'\n');
            }
            let content = if *zipped { gzip(&content) } else { content };
            file(&directory, &format!("file-{index}"), &content);
            expected.extend(lines);
        }
        let source = FileSource::lines([directory.path()]);
        let (mut lines, mut snapshot) = (Vec::new(), None);
        for (enough, parallelism, limit) in runs {
            let mut job = SourceJob::start(&source, parallelism, snapshot.as_ref()).expect("starts");
            let before = lines.len();
            job.run(before + enough, limit, &mut lines).expect("reads");
            snapshot = Some(job.snapshot());
        }
        let mut job = SourceJob::start(&source, 2, snapshot.as_ref()).expect("starts");
        lines.extend(job.run_to_end().expect("reads"));
        // Within a file lines come in order, so this also says that none moved.
        lines.sort_by_key(|line| line.split(':').next().map(str::to_owned));
        prop_assert_eq!(lines, expected);
    }
}

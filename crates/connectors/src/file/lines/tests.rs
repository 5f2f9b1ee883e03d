use super::*;

fn lines_of(content: &[u8], position: Position) -> Vec<(String, Position)> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    fs::write(&path, content).expect("writes");
    let mut reader =
        LineReader::open(path.to_str().expect("UTF-8"), position, false).expect("opens");
    let mut lines = Vec::new();
    loop {
        match reader.step().expect("reads") {
            Step::Line(line) => lines.push((line, reader.position())),
            Step::Skipped => {}
            Step::Wait => panic!("it is not followed"),
            Step::End => return lines,
        }
    }
}

#[test]
fn the_position_is_the_byte_behind_the_line_end() {
    let line = |text: &str, bytes| (text.to_owned(), Position::Bytes(bytes));
    let content = b"a\r\n\nbc\nd";
    let all = [line("a", 3), line("", 4), line("bc", 7), line("d", 8)];
    assert_eq!(lines_of(content, Position::Start), all);
    assert_eq!(lines_of(content, Position::Bytes(3)), all[1..]);
    assert_eq!(lines_of(content, Position::Bytes(4)), all[2..]);
    assert_eq!(lines_of(content, Position::Bytes(8)), []);
}

#[test]
fn a_file_of_one_magic_byte_is_plain() {
    assert_eq!(
        lines_of(b"\x1f", Position::Start),
        [("\x1f".to_owned(), Position::Bytes(1))]
    );
}

#[test]
fn a_followed_file_is_not_judged_before_two_bytes_are_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    let text = path.to_str().expect("UTF-8");
    for content in [b"" as &[u8], b"\x1f"] {
        fs::write(&path, content).expect("writes");
        let mut reader = LineReader::open(text, Position::Start, true).expect("opens");
        assert_eq!(reader.step().expect("reads"), Step::Wait);
        assert_eq!(reader.position(), Position::Start);
        fs::write(&path, b"\x1f is plain\n").expect("writes");
        assert_eq!(
            reader.step().expect("reads"),
            Step::Line("\x1f is plain".to_owned())
        );
    }
}

#[test]
fn an_endless_line_is_an_error_not_an_endless_buffer() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("file");
    let file = File::create(&path).expect("creates");
    file.set_len(MAX_LINE_BYTES as u64 + 1)
        .expect("a sparse file");
    let mut reader =
        LineReader::open(path.to_str().expect("UTF-8"), Position::Start, false).expect("opens");
    let error = reader.step().expect_err("is too long").to_string();
    assert!(error.contains("the line at byte 0 of"), "{error}");
}

//! Edits as a user writes them.
//!
//! | edit | does |
//! | --- | --- |
//! | `set UID/STATE key=K value=V` | sets a value, a list or a map of a key |
//! | `set UID/STATE key=K user_key=U value=V` | sets one entry of a map |
//! | `set UID/STATE key=K value=V` | sets an entry of broadcast state |
//! | `set UID/STATE value=[...]` | sets a whole operator list |
//! | `delete UID/STATE where TEST and TEST ...` | deletes the entries that pass all tests |
//! | `rename UID/STATE to NAME` | renames a state |
//! | `drop UID/STATE`, `drop UID` | forgets a state, an operator |
//! | `uid UID to NEW`, `uid-hash UID to HEX` | gives an operator another uid, or id |
//! | `offset UID/SPLIT to N` | sets the position of one split of a source |
//! | `shift-timers UID by DURATION` | moves timers; `event` or `processing` behind the uid: only those |
//!
//! UID is a uid or the 32 digits of an id. A TEST is `FIELD.PATH OP JSON` with the fields `key`,
//! `namespace`, `user_key`, `value` and `timestamp`, and OP one of `= != < <= > >=`; PATH names
//! fields of objects, and items of lists by their number. Names with spaces or slashes stand in
//! double quotes. K, U and V are JSON; a bare word is a text. A namespace other than the void one
//! is given as `namespace=N`.

use std::fmt;

use millpond_types::OperatorId;
use millpond_types::config::parse_duration;
use serde_json::Value as Json;

use super::condition::{Comparison, Condition, Field, Test};

/// One change of a snapshot.
///
/// # Examples
///
/// ```
/// use millpond_state_processor::Edit;
/// let edit: Edit = r#"delete counter/count where key = "a" and value < 3"#.parse()?;
/// assert!("delete counter where".parse::<Edit>().is_err());
/// # assert!(edit.to_string().starts_with("delete"));
/// # Ok::<(), millpond_state_processor::ParseEditError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub(super) text: String,
    pub(super) action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Set {
        target: Target,
        fields: Vec<(Field, Json)>,
    },
    Delete {
        target: Target,
        condition: Condition,
    },
    Rename {
        target: Target,
        name: String,
    },
    DropState(Target),
    DropOperator(String),
    ChangeUid {
        operator: String,
        uid: String,
    },
    ChangeId {
        operator: String,
        id: OperatorId,
    },
    SourceOffset {
        operator: String,
        split: String,
        position: i64,
    },
    ShiftTimers {
        operator: String,
        domain: Option<TimeDomain>,
        by_ms: i64,
    },
}

/// A state of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) operator: String,
    pub(super) state: String,
}

/// The kind of time that a timer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeDomain {
    Event,
    Processing,
}

/// Why a text is no edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseEditError {
    text: String,
    /// In characters from the start.
    at: usize,
    expected: String,
}

impl fmt::Display for ParseEditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest: String = self.text.chars().skip(self.at).take(20).collect();
        let found = if rest.is_empty() {
            "the end".to_owned()
        } else {
            format!("\"{rest}\"")
        };
        write!(
            f,
            "edit \"{}\": expected {} at character {}, found {found}",
            self.text,
            self.expected,
            self.at + 1
        )
    }
}

impl std::error::Error for ParseEditError {}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Edit {
    type Err = ParseEditError;

    fn from_str(text: &str) -> Result<Self, ParseEditError> {
        let mut input = Input { text, at: 0 };
        let action = action(&mut input)?;
        input.end()?;
        Ok(Edit {
            text: text.trim().to_owned(),
            action,
        })
    }
}

/// A cursor over the text.
struct Input<'a> {
    text: &'a str,
    /// In bytes; always between two characters.
    at: usize,
}

impl<'a> Input<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn expected(&self, expected: impl Into<String>) -> ParseEditError {
        ParseEditError {
            text: self.text.to_owned(),
            at: self.text[..self.at].chars().count(),
            expected: expected.into(),
        }
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn end(&mut self) -> Result<(), ParseEditError> {
        self.skip_space();
        match self.rest() {
            "" => Ok(()),
            _ => Err(self.expected("the end")),
        }
    }

    fn take(&mut self, part: &str) -> bool {
        let found = self.rest().starts_with(part);
        if found {
            self.at += part.len();
        }
        found
    }

    fn expect(&mut self, part: &str) -> Result<(), ParseEditError> {
        self.skip_space();
        match self.take(part) {
            true => Ok(()),
            false => Err(self.expected(format!("\"{part}\""))),
        }
    }

    /// Takes a word of its own, if it comes next.
    fn take_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let found = self
            .rest()
            .strip_prefix(word)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), ParseEditError> {
        match self.take_word(word) {
            true => Ok(()),
            false => Err(self.expected(format!("\"{word}\""))),
        }
    }

    /// Takes characters as long as they are wanted.
    fn run(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A name in double quotes, or a bare one up to a space or one of `stops`.
    fn name(&mut self, what: &str, stops: &[char]) -> Result<String, ParseEditError> {
        self.skip_space();
        if self.rest().starts_with('"') {
            let json = self.json()?;
            let name = json.as_str().filter(|name| !name.is_empty());
            return name.map(str::to_owned).ok_or_else(|| self.expected(what));
        }
        match self.run(|c| !c.is_whitespace() && !stops.contains(&c)) {
            "" => Err(self.expected(what)),
            name => Ok(name.to_owned()),
        }
    }

    fn operator(&mut self) -> Result<String, ParseEditError> {
        self.name("a uid or the id of an operator", &['/'])
    }

    fn target(&mut self) -> Result<Target, ParseEditError> {
        let operator = self.operator()?;
        if !self.take("/") {
            return Err(self.expected("\"/\" and the name of a state"));
        }
        let state = self.name("the name of a state", &[])?;
        Ok(Target { operator, state })
    }

    /// JSON, or a bare word as a text.
    fn json(&mut self) -> Result<Json, ParseEditError> {
        self.skip_space();
        let mut stream = serde_json::Deserializer::from_str(self.rest()).into_iter::<Json>();
        match stream.next() {
            Some(Ok(value)) => {
                self.at += stream.byte_offset();
                Ok(value)
            }
            Some(Err(_)) | None => {
                if self.rest().starts_with(['"', '[', '{']) {
                    return Err(self.expected("JSON"));
                }
                match self.run(|c| !c.is_whitespace()) {
                    "" => Err(self.expected("a value")),
                    word => Ok(Json::String(word.to_owned())),
                }
            }
        }
    }

    fn field(&mut self) -> Result<Field, ParseEditError> {
        self.skip_space();
        let start = self.at;
        let word = self.run(|c| c.is_ascii_lowercase() || c == '_');
        match Field::of_word(word) {
            Some(field) => Ok(field),
            None => {
                self.at = start;
                Err(self.expected("key, namespace, user_key, value or timestamp"))
            }
        }
    }
}

fn action(input: &mut Input<'_>) -> Result<Action, ParseEditError> {
    if input.take_word("set") {
        return set(input);
    }
    if input.take_word("delete") {
        let target = input.target()?;
        input.expect_word("where")?;
        let condition = condition(input)?;
        return Ok(Action::Delete { target, condition });
    }
    if input.take_word("rename") {
        let target = input.target()?;
        input.expect_word("to")?;
        let name = input.name("a name", &[])?;
        return Ok(Action::Rename { target, name });
    }
    if input.take_word("drop") {
        let operator = input.operator()?;
        if input.take("/") {
            let state = input.name("the name of a state", &[])?;
            return Ok(Action::DropState(Target { operator, state }));
        }
        return Ok(Action::DropOperator(operator));
    }
    if input.take_word("uid") {
        let operator = input.operator()?;
        input.expect_word("to")?;
        let uid = input.name("a uid", &[])?;
        return Ok(Action::ChangeUid { operator, uid });
    }
    if input.take_word("uid-hash") {
        let operator = input.operator()?;
        input.expect_word("to")?;
        input.skip_space();
        let start = input.at;
        let text = input.run(|c| !c.is_whitespace());
        return match text.parse() {
            Ok(id) => Ok(Action::ChangeId { operator, id }),
            Err(_) => {
                input.at = start;
                Err(input.expected("32 hexadecimal digits"))
            }
        };
    }
    if input.take_word("offset") {
        let Target { operator, state } = input.target()?;
        input.expect_word("to")?;
        return match input.json()?.as_i64() {
            Some(position) => Ok(Action::SourceOffset {
                operator,
                split: state,
                position,
            }),
            None => Err(input.expected("a whole number")),
        };
    }
    if input.take_word("shift-timers") {
        return shift(input);
    }
    Err(input.expected(
        "set, delete, rename, drop, uid, uid-hash, offset or shift-timers at the beginning",
    ))
}

fn set(input: &mut Input<'_>) -> Result<Action, ParseEditError> {
    let target = input.target()?;
    let mut fields: Vec<(Field, Json)> = Vec::new();
    loop {
        input.skip_space();
        if input.rest().is_empty() {
            break;
        }
        let field = input.field()?;
        if fields.iter().any(|(known, _)| *known == field) {
            return Err(input.expected("each field once"));
        }
        input.expect("=")?;
        fields.push((field, input.json()?));
    }
    if !fields.iter().any(|(field, _)| *field == Field::Value) {
        return Err(input.expected("value=JSON"));
    }
    Ok(Action::Set { target, fields })
}

fn condition(input: &mut Input<'_>) -> Result<Condition, ParseEditError> {
    let mut tests = Vec::new();
    loop {
        let field = input.field()?;
        let mut path = Vec::new();
        while input.take(".") {
            let part = match input.rest().starts_with('"') {
                true => input.name("a field", &[])?,
                false => input
                    .run(|c| c.is_alphanumeric() || c == '_' || c == '$')
                    .to_owned(),
            };
            if part.is_empty() {
                return Err(input.expected("a field, or the number of an item"));
            }
            path.push(part);
        }
        input.skip_space();
        let known = Comparison::ALL.iter();
        let found = known.copied().find(|(_, sign)| input.take(sign));
        let Some((comparison, _)) = found else {
            return Err(input.expected("one of = != < <= > >="));
        };
        tests.push(Test {
            field,
            path,
            comparison,
            literal: input.json()?,
        });
        if !input.take_word("and") {
            return Ok(Condition(tests));
        }
    }
}

fn shift(input: &mut Input<'_>) -> Result<Action, ParseEditError> {
    let operator = input.operator()?;
    let domain = if input.take_word("event") {
        Some(TimeDomain::Event)
    } else if input.take_word("processing") {
        Some(TimeDomain::Processing)
    } else {
        None
    };
    input.expect_word("by")?;
    input.skip_space();
    let negative = input.take("-");
    if !negative {
        input.take("+");
    }
    let text = input.rest();
    let duration = parse_duration(text).ok();
    let whole = duration.filter(|duration| duration.subsec_nanos() % 1_000_000 == 0);
    let Some(millis) = whole.and_then(|duration| i64::try_from(duration.as_millis()).ok()) else {
        return Err(input.expected("a duration in whole milliseconds, such as \"90 min\""));
    };
    input.at += text.len();
    Ok(Action::ShiftTimers {
        operator,
        domain,
        by_ms: if negative { -millis } else { millis },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Action {
        text.parse::<Edit>()
            .unwrap_or_else(|error| panic!("{error}"))
            .action
    }

    fn target(operator: &str, state: &str) -> Target {
        Target {
            operator: operator.to_owned(),
            state: state.to_owned(),
        }
    }

    #[test]
    fn edits_are_read_as_they_are_written() {
        assert_eq!(
            parse(r#" set c/count key="a b" value={"x": [1, null]} namespace=[0,5] "#),
            Action::Set {
                target: target("c", "count"),
                fields: vec![
                    (Field::Key, json!("a b")),
                    (Field::Value, json!({"x": [1, null]})),
                    (Field::Namespace, json!([0, 5])),
                ],
            }
        );
        assert_eq!(
            parse(
                r#"delete "my uid"/_timer_state/event_user-timers where timestamp>=10 and key.0 != k1"#
            ),
            Action::Delete {
                target: target("my uid", "_timer_state/event_user-timers"),
                condition: Condition(vec![
                    Test {
                        field: Field::Timestamp,
                        path: vec![],
                        comparison: Comparison::AtLeast,
                        literal: json!(10),
                    },
                    Test {
                        field: Field::Key,
                        path: vec!["0".to_owned()],
                        comparison: Comparison::NotEqual,
                        literal: json!("k1"),
                    },
                ]),
            }
        );
        assert_eq!(parse("drop c"), Action::DropOperator("c".to_owned()));
        assert_eq!(parse("drop c/s"), Action::DropState(target("c", "s")));
        assert_eq!(
            parse(r#"rename c/s to "a / b""#),
            Action::Rename {
                target: target("c", "s"),
                name: "a / b".to_owned(),
            }
        );
        assert_eq!(
            parse("offset src/1 to -7"),
            Action::SourceOffset {
                operator: "src".to_owned(),
                split: "1".to_owned(),
                position: -7,
            }
        );
        let id = "0da08f51eaa85fc298e176a139b3649a";
        assert_eq!(
            parse(&format!("uid-hash c to {id}")),
            Action::ChangeId {
                operator: "c".to_owned(),
                id: OperatorId::of_uid("counter"),
            }
        );
        for (text, domain, by_ms) in [
            ("by 90 min", None, 5_400_000),
            ("event by -1h", Some(TimeDomain::Event), -3_600_000),
            ("processing by +5", Some(TimeDomain::Processing), 5),
        ] {
            let operator = "c".to_owned();
            assert_eq!(
                parse(&format!("shift-timers c {text}")),
                Action::ShiftTimers {
                    operator,
                    domain,
                    by_ms,
                }
            );
        }
    }

    #[test]
    fn what_is_no_edit_is_told_with_its_place() {
        for (text, told) in [
            ("", "set, delete, rename"),
            (
                "sett c/s value=1",
                "at character 1, found \"sett c/s value=1\"",
            ),
            (
                "set c value=1",
                "expected \"/\" and the name of a state at character 6",
            ),
            (
                "set c/s key=1",
                "expected value=JSON at character 14, found the end",
            ),
            ("set c/s key=1 key=2", "each field once"),
            (
                "set c/s kay=1",
                "key, namespace, user_key, value or timestamp at character 9",
            ),
            ("set c/s value=[1", "expected JSON at character 15"),
            ("delete c/s", "expected \"where\""),
            ("delete c/s where", "key, namespace"),
            ("delete c/s where key ~ 1", "one of = != < <= > >="),
            ("delete c/s where key=1 or key=2", "expected the end"),
            ("rename c/s two", "expected \"to\""),
            ("drop c/s t", "expected the end at character 10"),
            ("uid-hash c to 12", "32 hexadecimal digits at character 15"),
            ("offset c/1 to x", "a whole number"),
            ("shift-timers c by", "a duration"),
            ("shift-timers c by 1 ns", "whole milliseconds"),
            (
                "uid é/x to y",
                "expected \"to\" at character 6, found \"/x to y\"",
            ),
        ] {
            let error = text.parse::<Edit>().expect_err(text).to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    /// Texts come from a shell: whatever they are, they are read or refused.
    #[test]
    fn damaged_edits_are_refused_or_read_but_never_a_panic() {
        let whole = [
            r#"set c/count key="a b" value={"x": [1, null, "é"]} namespace=[0,5]"#,
            r#"delete "my uid"/_timer_state/event where timestamp>=10 and key.0."a b" != k1"#,
            r#"rename c/s to "a / b""#,
            "uid-hash c to 0da08f51eaa85fc298e176a139b3649a",
            "offset src/1 to -7",
            "shift-timers c processing by -90 min",
        ];
        let splices = [
            "\"",
            "\\",
            "/",
            ".",
            "=",
            " ",
            "é",
            "\u{1f600}",
            "[",
            "{",
            "and",
            "9",
            "-",
            "\0",
        ];
        for text in whole {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            for &at in &places {
                drop(text[..at].parse::<Edit>());
                drop(text[at..].parse::<Edit>());
                for splice in splices {
                    let spliced = format!("{}{splice}{}", &text[..at], &text[at..]);
                    drop(spliced.parse::<Edit>().map_err(|error| error.to_string()));
                    let end = text.len();
                    let next = places
                        .iter()
                        .copied()
                        .find(|next| *next > at)
                        .unwrap_or(end);
                    let replaced = format!("{}{splice}{}", &text[..at], &text[next..]);
                    drop(replaced.parse::<Edit>().map_err(|error| error.to_string()));
                }
            }
        }
        // Deeper nesting than a stack would like.
        drop(format!("set c/s key={} value=1", "[".repeat(100_000)).parse::<Edit>());
    }
}

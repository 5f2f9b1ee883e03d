//! What the job under test is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

/// What a function does at the record that it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Panic,
    Error,
    /// It cannot even be opened.
    Open,
}

/// The key of the jobs that wrote the fixtures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    String,
    Long,
    Int,
    Tuple,
}

/// How the operator that there may be more has its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtraType {
    Number,
    Text,
    /// In a class.
    Class,
    /// In that class when it has got one more field.
    NewerClass,
}

/// Which job is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Workload,
    Fixture(KeyType),
    /// That of a fixture with every kind of keyed state.
    Kinds,
}

/// All arguments, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) shape: Shape,
    pub(crate) out: String,
    pub(crate) records_a: u64,
    pub(crate) records_b: u64,
    pub(crate) keys: u64,
    /// Records per second of each input; `None` is full speed.
    pub(crate) rate: Option<u64>,
    /// The sources do not end behind their last record.
    pub(crate) endless: bool,
    /// Input A stops in front of a record until this file is there.
    pub(crate) hold: Option<PathBuf>,
    /// That record; the last one if it is not told.
    pub(crate) hold_at: Option<u64>,
    /// Input B neither emits nor ends.
    pub(crate) silent_b: bool,
    /// The counting stage has this uid.
    pub(crate) counter_uid: String,
    /// There is one more stateful operator, with this uid.
    pub(crate) extra_uid: Option<String>,
    /// There is one more operator without state, with this uid.
    pub(crate) plain_uid: Option<String>,
    /// The name of its state.
    pub(crate) extra_state: String,
    /// The type of its state.
    pub(crate) extra_type: ExtraType,
    /// It says another name when it is asked which state it has.
    pub(crate) extra_hides: bool,
    /// The function that fails, and at which record of input A.
    pub(crate) failure: Option<(Failure, i64)>,
    /// One file in here for each failure so far; as many as `failures` happen.
    pub(crate) failure_log: PathBuf,
    pub(crate) failures: u64,
    /// Input B reads its numbers from the files in this directory.
    pub(crate) files_b: Option<String>,
    /// Records of both inputs are spread over the subtasks of what follows.
    pub(crate) rebalance: bool,
    /// Machine time between the first record of a key and its ping.
    pub(crate) ping_after_ms: i64,
    /// A function says how many records of input B there were, when the input has ended.
    pub(crate) farewell: bool,
    /// All records are counted in union list state as well, whose sum is published in the end.
    pub(crate) ledger: bool,
    /// Microseconds that the sink needs for a record.
    pub(crate) slow_sink_us: u64,
    /// Microseconds that the chain of the counter needs for a record more than it would.
    pub(crate) slow_counter_us: u64,
}

impl Arguments {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
            given.insert(name.as_str(), value.as_str());
        }
        let key_type = match given.remove("--key-type") {
            None | Some("string") => KeyType::String,
            Some("long") => KeyType::Long,
            Some("int") => KeyType::Int,
            Some("tuple") => KeyType::Tuple,
            Some(other) => return Err(format!("--key-type is \"{other}\"")),
        };
        let failure_at = take(&mut given, "--failure-at")?;
        let failure = match given.remove("--failure") {
            None => None,
            Some("panic") => failure_at.map(|at| (Failure::Panic, at)),
            Some("error") => failure_at.map(|at| (Failure::Error, at)),
            Some("open") => failure_at.map(|at| (Failure::Open, at)),
            Some(other) => return Err(format!("--failure is \"{other}\"")),
        };
        let parsed = Arguments {
            shape: match given.remove("--job") {
                None | Some("workload") => Shape::Workload,
                Some("fixture") => Shape::Fixture(key_type),
                Some("kinds") => Shape::Kinds,
                Some(other) => return Err(format!("--job is \"{other}\"")),
            },
            out: take(&mut given, "--out")?.unwrap_or_default(),
            records_a: take(&mut given, "--records-a")?.unwrap_or(1000),
            records_b: take(&mut given, "--records-b")?.unwrap_or(1000),
            keys: take(&mut given, "--keys")?.unwrap_or(10),
            rate: take(&mut given, "--rate")?,
            endless: take(&mut given, "--endless")?.unwrap_or(false),
            hold: take(&mut given, "--hold")?,
            hold_at: take(&mut given, "--hold-at")?,
            silent_b: take(&mut given, "--silent-b")?.unwrap_or(false),
            counter_uid: take(&mut given, "--counter-uid")?.unwrap_or_else(|| "counter".to_owned()),
            extra_uid: take(&mut given, "--extra-uid")?,
            plain_uid: take(&mut given, "--plain-uid")?,
            extra_state: take(&mut given, "--extra-state")?.unwrap_or_else(|| "seen".to_owned()),
            extra_hides: take(&mut given, "--extra-hides")?.unwrap_or(false),
            extra_type: match given.remove("--extra-type") {
                None | Some("number") => ExtraType::Number,
                Some("text") => ExtraType::Text,
                Some("class") => ExtraType::Class,
                Some("newer-class") => ExtraType::NewerClass,
                Some(other) => return Err(format!("--extra-type is \"{other}\"")),
            },
            failure,
            failure_log: take(&mut given, "--failure-log")?.unwrap_or_default(),
            failures: take(&mut given, "--failures")?.unwrap_or(u64::MAX),
            files_b: take(&mut given, "--files-b")?,
            rebalance: take(&mut given, "--rebalance")?.unwrap_or(false),
            ping_after_ms: take(&mut given, "--ping-after-ms")?.unwrap_or(30),
            farewell: take(&mut given, "--farewell")?.unwrap_or(false),
            ledger: take(&mut given, "--ledger")?.unwrap_or(false),
            slow_sink_us: take(&mut given, "--slow-sink-us")?.unwrap_or(0),
            slow_counter_us: take(&mut given, "--slow-counter-us")?.unwrap_or(0),
        };
        match given.keys().next() {
            None => Ok(parsed),
            Some(name) => Err(format!("unknown option {name}")),
        }
    }
}

fn take<T: FromStr>(given: &mut BTreeMap<&str, &str>, name: &str) -> Result<Option<T>, String> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| format!("{name} cannot be \"{text}\""))
    };
    given.remove(name).map(parse).transpose()
}

//! Faults of a real file system in a real process, on demand of another one; for tests.
//!
//! A process that was built with the feature `faults` and finds [`FAULTS_VARIABLE`] in its environment
//! asks the file named there, before each call, whether that call is to fail or to take long. Whoever
//! tests it writes the file (wholly, by renaming), and reads in a second one beside it which calls were
//! met: so a test knows where in its work the process is at that moment, and can kill it there.
//!
//! One rule a line, the first that fits counts:
//!
//! ```text
//! NAME OPERATION PART-OF-PATH SKIP TIMES EFFECT
//! upload sync /chk- 2 1 pause 300           the third file of a checkpoint takes 300 ms longer to be synced
//! full write,sync /shared/ 0 * fail ENOSPC  no byte goes into a shared file
//! gone delete_file,delete_dir /chk- 0 1 pause-after 300   done, but the caller has not heard yet
//! ```
//!
//! Operations: `create`, `write`, `sync` (the end of a file), `write_atomic`, `open`, `read`, `list`,
//! `delete_file`, `delete_dir`, `create_dir`, `*`. Each process counts by itself, anew with each
//! content of the file.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{
    DirectoryLock, Durability, Entry, Error, FileReader, FileSystem, FileWriter, Location,
};

/// Names the file with the rules.
pub const FAULTS_VARIABLE: &str = "MILLPOND_TEST_FS_FAULTS";

/// What a rule does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The call begins so much later.
    Pause(Duration),
    /// The call succeeds, and returns so much later.
    PauseAfter(Duration),
    /// The call fails with this error of the operating system.
    Fail(i32),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    name: String,
    operations: Vec<String>,
    part_of_path: String,
    skip: u64,
    times: u64,
    effect: Effect,
}

/// The rules of one content of the file, with what they have met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    text: String,
    rules: Vec<(Rule, u64)>,
}

impl Rules {
    /// Understands the lines; those that are empty or begin with `#` are none.
    ///
    /// # Errors
    ///
    /// The first line that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules: Result<Vec<_>, String> = lines
            .map(|line| match rule(line) {
                Some(rule) => Ok((rule, 0)),
                None => Err(format!(
                    "\"{line}\" is no rule; expected NAME OPERATION PART-OF-PATH SKIP TIMES \
                     (pause|pause-after MS | fail ENOSPC|EIO|EROFS|EACCES|ETIMEDOUT)"
                )),
            })
            .collect();
        Ok(Rules {
            text: text.to_owned(),
            rules: rules?,
        })
    }

    /// What happens to a call, with the name of the rule that says so.
    pub fn decide(&mut self, operation: &str, path: &str) -> Option<(String, Effect)> {
        let fits = |rule: &Rule| {
            let named = |name: &String| name == "*" || name == operation;
            rule.operations.iter().any(named) && path.contains(&rule.part_of_path)
        };
        for (rule, met) in self.rules.iter_mut().filter(|(rule, _)| fits(rule)) {
            *met += 1;
            if *met > rule.skip && *met - rule.skip <= rule.times {
                return Some((rule.name.clone(), rule.effect));
            }
        }
        None
    }
}

fn rule(line: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let mut word = || words.next();
    let name = word()?.to_owned();
    let operations = word()?.split(',').map(str::to_owned).collect();
    let part_of_path = word()?.to_owned();
    let skip = word()?.parse().ok()?;
    let times = match word()? {
        "*" => u64::MAX,
        times => times.parse().ok()?,
    };
    let effect = match (word()?, word()?) {
        ("pause", ms) => Effect::Pause(Duration::from_millis(ms.parse().ok()?)),
        ("pause-after", ms) => Effect::PauseAfter(Duration::from_millis(ms.parse().ok()?)),
        // Numbers of Linux.
        ("fail", "EIO") => Effect::Fail(5),
        ("fail", "EACCES") => Effect::Fail(13),
        ("fail", "ENOSPC") => Effect::Fail(28),
        ("fail", "EROFS") => Effect::Fail(30),
        ("fail", "ETIMEDOUT") => Effect::Fail(110),
        _ => return None,
    };
    word().is_none().then_some(Rule {
        name,
        operations,
        part_of_path,
        skip,
        times,
        effect,
    })
}

/// The file with the rules, and the one beside it that tells which calls were met.
pub struct Injector {
    file: PathBuf,
    rules: Mutex<Rules>,
}

impl Injector {
    /// Reads its rules from `file`, which may come and go.
    pub fn new(file: &Path) -> Self {
        Injector {
            file: file.to_owned(),
            rules: Mutex::default(),
        }
    }

    /// Where the calls that were met are told: `NAME PROCESS PATH` a line.
    pub fn log_of(file: &Path) -> PathBuf {
        file.with_extension("met")
    }

    /// Does what is asked for one call.
    fn on<T>(
        &self,
        operation: &'static str,
        path: &Location,
        call: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.effect(operation, path) {
            None => call(),
            Some(Effect::Pause(time)) => {
                std::thread::sleep(time);
                call()
            }
            Some(Effect::PauseAfter(time)) => {
                let outcome = call();
                std::thread::sleep(time);
                outcome
            }
            Some(Effect::Fail(code)) => Err(Error::io(
                operation,
                path,
                io::Error::from_raw_os_error(code),
            )),
        }
    }

    fn effect(&self, operation: &str, path: &Location) -> Option<Effect> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let path = path.to_string();
        let decided = {
            let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
            if rules.text != text {
                // The one who writes the rules is a test: it is to see its mistake.
                *rules = Rules::parse(&text).expect("the rules of injected faults");
            }
            rules.decide(operation, &path)
        };
        let (name, effect) = decided?;
        let line = format!("{name} {} {path}\n", std::process::id());
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(Self::log_of(&self.file));
        // Where nobody can be told, the test finds that nothing was met.
        let _ = log.and_then(|mut log| log.write_all(line.as_bytes()));
        Some(effect)
    }
}

/// A file system whose calls fail or take long as an [`Injector`] says.
pub struct InjectedFileSystem {
    behind: Arc<dyn FileSystem>,
    injector: Arc<Injector>,
}

impl InjectedFileSystem {
    /// Puts `injector` in front of `behind`.
    pub fn new(behind: Arc<dyn FileSystem>, injector: Arc<Injector>) -> Self {
        InjectedFileSystem { behind, injector }
    }
}

struct InjectedWriter {
    behind: Box<dyn FileWriter>,
    injector: Arc<Injector>,
    location: Location,
}

impl Write for InjectedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let InjectedWriter {
            behind,
            injector,
            location,
        } = self;
        let write = || {
            let written = behind.write(bytes);
            written.map_err(|error| Error::io("write", &*location, error))
        };
        injector.on("write", location, write).map_err(into_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.behind.flush()
    }
}

/// The error of the operating system below one of a file system.
fn into_io(error: Error) -> io::Error {
    let below = std::error::Error::source(&error).and_then(|error| error.downcast_ref());
    let code = below.and_then(io::Error::raw_os_error);
    match code {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error),
    }
}

impl FileWriter for InjectedWriter {
    fn close(self: Box<Self>, durability: Durability) -> Result<Duration, Error> {
        let InjectedWriter {
            behind,
            injector,
            location,
        } = *self;
        injector.on("sync", &location, || behind.close(durability))
    }
}

struct InjectedReader {
    behind: Box<dyn FileReader>,
    injector: Arc<Injector>,
    location: Location,
}

impl FileReader for InjectedReader {
    fn len(&self) -> u64 {
        self.behind.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let read = || self.behind.read_at(offset, buffer);
        self.injector.on("read", &self.location, read)
    }
}

impl FileSystem for InjectedFileSystem {
    fn create(&self, file: &Location) -> Result<Box<dyn FileWriter>, Error> {
        let behind = self
            .injector
            .on("create", file, || self.behind.create(file))?;
        Ok(Box::new(InjectedWriter {
            behind,
            injector: self.injector.clone(),
            location: file.clone(),
        }))
    }

    fn open(&self, file: &Location) -> Result<Box<dyn FileReader>, Error> {
        let behind = self.injector.on("open", file, || self.behind.open(file))?;
        Ok(Box::new(InjectedReader {
            behind,
            injector: self.injector.clone(),
            location: file.clone(),
        }))
    }

    fn write_atomic(&self, file: &Location, bytes: &[u8]) -> Result<(), Error> {
        let write = || self.behind.write_atomic(file, bytes);
        self.injector.on("write_atomic", file, write)
    }

    fn write_atomic_if(
        &self,
        file: &Location,
        bytes: &[u8],
        may: &dyn Fn() -> io::Result<()>,
    ) -> Result<(), Error> {
        let write = || self.behind.write_atomic_if(file, bytes, may);
        self.injector.on("write_atomic", file, write)
    }

    fn exists(&self, location: &Location) -> Result<bool, Error> {
        self.behind.exists(location)
    }

    fn len(&self, file: &Location) -> Result<u64, Error> {
        self.behind.len(file)
    }

    fn list(&self, directory: &Location) -> Result<Vec<Entry>, Error> {
        let list = || self.behind.list(directory);
        self.injector.on("list", directory, list)
    }

    fn delete_file(&self, file: &Location) -> Result<(), Error> {
        let delete = || self.behind.delete_file(file);
        self.injector.on("delete_file", file, delete)
    }

    fn delete_dir(&self, directory: &Location) -> Result<(), Error> {
        let delete = || self.behind.delete_dir(directory);
        self.injector.on("delete_dir", directory, delete)
    }

    fn delete_empty_dir(&self, directory: &Location) -> Result<bool, Error> {
        let delete = || self.behind.delete_empty_dir(directory);
        self.injector.on("delete_dir", directory, delete)
    }

    fn create_dir_all(&self, directory: &Location) -> Result<(), Error> {
        let create = || self.behind.create_dir_all(directory);
        self.injector.on("create_dir", directory, create)
    }

    fn sync_dir(&self, directory: &Location) -> Result<(), Error> {
        self.behind.sync_dir(directory)
    }

    fn lock_dir(&self, directory: &Location) -> Result<DirectoryLock, Error> {
        self.behind.lock_dir(directory)
    }

    /// What others do by the path is not met.
    fn local_path(&self, file: &Location) -> Option<PathBuf> {
        self.behind.local_path(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::memory::MemoryFileSystem;

    #[test]
    fn a_rule_meets_the_calls_it_names_and_no_others() {
        let text =
            "# nothing\nfull write,sync /shared/ 1 2 fail ENOSPC\nlate * /chk-3/ 0 * pause 5\n";
        let mut rules = Rules::parse(text).expect("rules");
        let full = Some(("full".to_owned(), Effect::Fail(28)));
        assert_eq!(rules.decide("write", "/c/shared/a"), None, "one is skipped");
        assert_eq!(rules.decide("create", "/c/shared/a"), None);
        assert_eq!(rules.decide("sync", "/c/shared/a"), full);
        assert_eq!(rules.decide("write", "/c/shared/b"), full);
        assert_eq!(rules.decide("write", "/c/shared/b"), None, "twice only");
        let late = Effect::Pause(Duration::from_millis(5));
        let late = Some(("late".to_owned(), late));
        assert_eq!(rules.decide("list", "/c/chk-3/"), late);
        assert_eq!(rules.decide("list", "/c/chk-30/"), None);
    }

    #[test]
    fn a_line_that_is_no_rule_is_told() {
        for line in [
            "x",
            "x sync / 0 1 pause",
            "x sync / 0 1 fail EWHAT",
            "x sync / 0 1 pause 1 2",
        ] {
            let error = Rules::parse(line).expect_err(line);
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn calls_fail_as_the_file_says_and_those_that_were_met_are_told() {
        let directory = tempfile::tempdir().expect("room");
        let control = directory.path().join("faults");
        let injector = Arc::new(Injector::new(&control));
        let fs = InjectedFileSystem::new(Arc::new(MemoryFileSystem::new()), injector);
        let file = Location::parse("file:///c/chk-1/a").expect("a location");
        let mut writer = fs.create(&file).expect("no rules yet");
        std::fs::write(&control, "full write /chk- 0 1 fail ENOSPC").expect("room");
        let error = writer.write_all(b"x").expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        writer.write_all(b"x").expect("once only");
        writer.close(Durability::Synced).expect("room");
        std::fs::write(&control, "away open /chk- 0 * fail EROFS").expect("room");
        let error = fs.open(&file).err().expect("away");
        assert_eq!(error.kind(), ErrorKind::Permission);
        std::fs::remove_file(&control).expect("there");
        assert_eq!(fs.read(&file).expect("there"), b"x");
        let met = std::fs::read_to_string(Injector::log_of(&control)).expect("told");
        let names: Vec<_> = met
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(names, ["full", "away"]);
    }
}

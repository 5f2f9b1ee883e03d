//! How far long work is, on standard error: a bar on a terminal, a line now and then elsewhere,
//! nothing if the work is short or `--quiet` was given.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::ArgMatches;
use indicatif::{ProgressBar, ProgressStyle};
use millpond_fs::Meter;
use millpond_state_processor::Progress;

use crate::printer;
use crate::state::columns::{bytes, grouped};

/// Work that ends before this shows no bar.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const NEXT_LOOK: Duration = Duration::from_millis(100);
/// How often a line is printed where there is no terminal; shorter work prints none.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Progress over the bytes that are read; it goes when this is dropped.
pub(super) struct Bar {
    progress: Arc<Progress>,
    _shown: Shown,
}

/// Progress of work that writes a new snapshot: over what is read of the old one, and what is
/// written and read of the new one.
pub(super) struct RewriteBar {
    work: Arc<Rewriting>,
    _shown: Shown,
}

#[derive(Default)]
struct Rewriting {
    old: Arc<Meter>,
    new: Arc<Meter>,
    /// How many bytes will be read and written altogether.
    total_bytes: AtomicU64,
}

/// How far work is.
struct Look {
    done: u64,
    total: u64,
    /// What else is to be said.
    words: String,
}

impl Look {
    fn percent(&self) -> u64 {
        let done = u128::from(self.done.min(self.total));
        (done * 100 / u128::from(self.total.max(1))) as u64
    }

    fn line(&self, what: &str) -> String {
        format!("{what}: {} %, {}", self.percent(), self.words)
    }
}

impl Bar {
    /// Begins; `what` stands in front of the bar.
    pub(super) fn start(matches: &ArgMatches, what: &'static str) -> Self {
        Bar::start_in(Manner::of(matches, false), what)
    }

    /// As [`start`](Self::start), for work that prints while it goes on: no bar if it prints to
    /// the same terminal.
    pub(super) fn start_beside_output(matches: &ArgMatches, what: &'static str) -> Self {
        Bar::start_in(Manner::of(matches, true), what)
    }

    fn start_in(manner: Manner, what: &'static str) -> Self {
        let progress = Arc::new(Progress::default());
        let watched = progress.clone();
        let look = move || Look {
            done: watched.bytes.load(Ordering::Relaxed),
            total: watched.total_bytes.load(Ordering::Relaxed),
            words: format!(
                "{} entries",
                grouped(watched.entries.load(Ordering::Relaxed))
            ),
        };
        Bar {
            progress,
            _shown: Shown::start(manner, what, look),
        }
    }

    /// Where the work says how far it is.
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl RewriteBar {
    /// Begins; `what` stands in front of the bar.
    pub(super) fn start(matches: &ArgMatches, what: &'static str) -> Self {
        let work = Arc::new(Rewriting::default());
        let watched = work.clone();
        let look = move || watched.look();
        RewriteBar {
            work,
            _shown: Shown::start(Manner::of(matches, false), what, look),
        }
    }

    /// What goes through the file system of the old snapshot.
    pub(super) fn old(&self) -> Arc<Meter> {
        self.work.old.clone()
    }

    /// What goes through the file system of the new snapshot.
    pub(super) fn new_one(&self) -> Arc<Meter> {
        self.work.new.clone()
    }

    /// Says how many bytes will be read and written altogether.
    pub(super) fn expect(&self, bytes: u64) {
        self.work.total_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Rewriting {
    fn look(&self) -> Look {
        let read = self.old.read.load(Ordering::Relaxed);
        let written = self.new.written.load(Ordering::Relaxed);
        Look {
            // Temporary files are read again.
            done: read + written + self.new.read.load(Ordering::Relaxed),
            total: self.total_bytes.load(Ordering::Relaxed),
            words: format!("{} read, {} written", bytes(read), bytes(written)),
        }
    }
}

/// In what manner progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Nothing,
    Bar,
    Lines,
}

impl Manner {
    fn of(matches: &ArgMatches, beside_output: bool) -> Self {
        let is_quiet = matches
            .try_get_one::<bool>("quiet")
            .is_ok_and(|quiet| quiet == Some(&true));
        match std::io::stderr().is_terminal() {
            _ if is_quiet => Manner::Nothing,
            true if beside_output && std::io::stdout().is_terminal() => Manner::Nothing,
            true => Manner::Bar,
            false => Manner::Lines,
        }
    }
}

/// A thread that shows progress until this is dropped.
struct Shown {
    /// Dropped to end the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    fn start(manner: Manner, what: &'static str, look: impl Fn() -> Look + Send + 'static) -> Self {
        let (end, ended) = channel();
        let thread = match manner {
            Manner::Nothing => None,
            Manner::Bar => Some(std::thread::spawn(move || show_bar(what, &look, &ended))),
            Manner::Lines => Some(std::thread::spawn(move || {
                let print = |line: String| printer::error_line(line);
                show_lines(what, &look, &ended, LINE_EVERY, print);
            })),
        };
        Shown {
            end: Some(end),
            thread,
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It only paints: if it has failed, there is nothing to be saved.
            thread.join().ok();
        }
    }
}

fn show_bar(what: &'static str, look: &dyn Fn() -> Look, ended: &Receiver<()>) {
    if ended.recv_timeout(FIRST_LOOK) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    let template = "{prefix} [{bar:30}] {percent:>3} %  {msg}";
    let style = ProgressStyle::with_template(template)
        .expect("a template that was tried")
        .progress_chars("=> ");
    let bar = ProgressBar::new(1).with_style(style).with_prefix(what);
    loop {
        let look = look();
        bar.set_length(look.total.max(1));
        bar.set_position(look.done.min(look.total));
        bar.set_message(look.words);
        if ended.recv_timeout(NEXT_LOOK) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    bar.finish_and_clear();
}

fn show_lines(
    what: &'static str,
    look: &dyn Fn() -> Look,
    ended: &Receiver<()>,
    every: Duration,
    mut print: impl FnMut(String),
) {
    while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        print(look().line(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_how_far_work_is_and_end_with_it() {
        let work = Rewriting::default();
        work.total_bytes.store(4_000, Ordering::Relaxed);
        work.old.read.store(2_000, Ordering::Relaxed);
        work.new.written.store(1_040, Ordering::Relaxed);
        let (end, ended) = channel();
        let (mut end, mut lines) = (Some(end), Vec::new());
        let every = Duration::from_millis(1);
        show_lines("converting", &|| work.look(), &ended, every, |line| {
            lines.push(line);
            work.new.written.store(9_000, Ordering::Relaxed);
            if lines.len() == 2 {
                end.take();
            }
        });
        assert_eq!(
            lines,
            [
                "converting: 76 %, 2.0 kB read, 1.0 kB written",
                "converting: 100 %, 2.0 kB read, 9.0 kB written"
            ]
        );
    }
}

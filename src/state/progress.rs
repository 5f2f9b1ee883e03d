//! How far long work is: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use millpond_state_processor::Progress;

/// Work that ends before this shows no bar.
const FIRST_LOOK: Duration = Duration::from_millis(500);
const NEXT_LOOK: Duration = Duration::from_millis(100);

/// A bar over the bytes that are read; it goes when this is dropped.
pub(super) struct Bar {
    progress: Arc<Progress>,
    /// Dropped to end the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Begins; `what` stands in front of the bar.
    pub(super) fn start(what: &'static str) -> Self {
        Bar::start_if(what, std::io::stderr().is_terminal())
    }

    /// As [`start`](Self::start), for work that prints while it goes on: no bar if it prints to
    /// the same terminal.
    pub(super) fn start_beside_output(what: &'static str) -> Self {
        let both = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        Bar::start_if(what, both)
    }

    fn start_if(what: &'static str, shown: bool) -> Self {
        let progress = Arc::new(Progress::default());
        let (end, ended) = channel();
        let watched = progress.clone();
        let thread = shown.then(|| {
            std::thread::spawn(move || {
                if ended.recv_timeout(FIRST_LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let template = "{prefix} [{bar:30}] {percent:>3} %{msg}";
                let style = ProgressStyle::with_template(template)
                    .expect("a template that was tried")
                    .progress_chars("=> ");
                let bar = ProgressBar::new(1).with_style(style).with_prefix(what);
                loop {
                    bar.set_length(watched.total_bytes.load(Ordering::Relaxed).max(1));
                    bar.set_position(watched.bytes.load(Ordering::Relaxed));
                    let entries = watched.entries.load(Ordering::Relaxed);
                    bar.set_message(format!("  {} entries", super::columns::grouped(entries)));
                    if ended.recv_timeout(NEXT_LOOK) != Err(RecvTimeoutError::Timeout) {
                        break;
                    }
                }
                bar.finish_and_clear();
            })
        });
        Bar {
            progress,
            end: Some(end),
            thread,
        }
    }

    /// Where the work says how far it is.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It only paints: if it has failed, there is nothing to be saved.
            thread.join().ok();
        }
    }
}

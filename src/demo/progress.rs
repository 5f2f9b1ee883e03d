//! Live progress: a bar on a terminal, lines elsewhere.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::table::grouped;
use crate::printer;

/// How often the job is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often there is a line where there is no bar.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// The time over which the rate is measured.
const RATE_OVER: Duration = Duration::from_secs(2);

/// Waits between two looks at the job.
pub(super) fn pause() {
    std::thread::sleep(LOOK_INTERVAL);
}

/// Shows how far a job is.
pub(super) struct Progress {
    total: u64,
    /// Only on a terminal.
    bar: Option<ProgressBar>,
    last_line: Instant,
    rate: Rate,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("[{bar:40}] {pos}/{len} flights{msg}")
                .expect("a template that was tried");
            ProgressBar::new(total).with_style(style.progress_chars("=> "))
        });
        Progress {
            total,
            bar,
            last_line: Instant::now(),
            rate: Rate::default(),
        }
    }

    /// Another process reads, from this flight on.
    pub(super) fn restart(&mut self, flights: u64) {
        self.rate = Rate::default();
        self.last_line = Instant::now();
        if let Some(bar) = &self.bar {
            bar.set_position(flights);
        }
    }

    pub(super) fn show(&mut self, flights: u64, checkpoint: Option<i64>) {
        let now = Instant::now();
        self.rate.add(now, flights);
        let rate = grouped(self.rate.per_s());
        let checkpoint = match checkpoint {
            Some(id) => format!(", last checkpoint {id}"),
            None => String::new(),
        };
        if let Some(bar) = &self.bar {
            bar.set_message(format!(", {rate}/s{checkpoint}"));
            bar.set_position(flights);
        } else if now - self.last_line >= LINE_INTERVAL {
            self.last_line = now;
            let (flights, total) = (grouped(flights), grouped(self.total));
            printer::line(format!(
                "          {flights} of {total} flights, {rate}/s{checkpoint}"
            ));
        }
    }

    /// Prints without getting into the bar's way.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Flights per second, of late.
#[derive(Default)]
struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn add(&mut self, now: Instant, flights: u64) {
        self.seen.push_back((now, flights));
        while self.seen.len() > 2 && now - self.seen[1].0 >= RATE_OVER {
            self.seen.pop_front();
        }
    }

    fn per_s(&self) -> u64 {
        let (Some(first), Some(last)) = (self.seen.front(), self.seen.back()) else {
            return 0;
        };
        let seconds = (last.0 - first.0).as_secs_f64();
        if seconds == 0.0 {
            0
        } else {
            ((last.1 - first.1) as f64 / seconds) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_two_seconds() {
        let (start, mut rate) = (Instant::now(), Rate::default());
        assert_eq!(rate.per_s(), 0);
        for step in 0..=100 {
            let faster = if step > 50 { (step - 50) * 100 } else { 0 };
            rate.add(
                start + Duration::from_millis(100 * step),
                step * 10 + faster,
            );
        }
        assert_eq!(rate.per_s(), 1100);
    }
}

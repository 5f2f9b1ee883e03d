//! Reads the files of one subtask on a thread of its own.
//!
//! The thread sends batches of lines over a bounded channel and wakes the task; it blocks when the
//! channel is full, and ends when the reader is dropped. A position counts as read when its line is
//! emitted, not when it is in the channel.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use millpond_operator::source::{InputStatus, SourceReader};
use millpond_operator::{Collector, FunctionError, Result, Wake};
use millpond_types::{CheckpointId, Clock};

use super::lines::{LineReader, Step};
use super::split::{FileSplit, Position};
use crate::rate::RateLimit;

/// How many lines, and how many bytes of lines, travel together at most (one line at least).
const BATCH_LINES: usize = 1024;
const BATCH_BYTES: usize = 256 << 10;

/// How many batches wait for the task at most.
const CHANNEL_BATCHES: usize = 4;

/// How long a followed file is left alone after it had nothing new.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(20);

/// Reads the lines of its files, one file after the other, or of all in turn when they are followed.
pub struct FileReader {
    splits: Vec<FileSplit>,
    follow: bool,
    limit: Option<RateLimit>,
    clock: Arc<dyn Clock>,
    wake: Wake,
    readings: Vec<Reading>,
    /// Lines that are next, if there are any.
    batch: Option<Waiting>,
    no_more_splits: bool,
}

/// A thread that reads some of the files.
struct Reading {
    messages: Receiver<Message>,
    /// The thread ends when the other end of this is dropped.
    _running: SyncSender<()>,
    unfinished: usize,
}

enum Message {
    Lines(Batch),
    End { split: usize },
    Failed(FunctionError),
}

/// Lines of one file, and the position behind each.
struct Batch {
    split: usize,
    lines: Vec<String>,
    positions: Vec<Position>,
    bytes: usize,
}

struct Waiting {
    split: usize,
    lines: std::vec::IntoIter<String>,
    positions: std::vec::IntoIter<Position>,
}

impl FileReader {
    pub(crate) fn new(
        follow: bool,
        records_per_s: Option<u64>,
        clock: Arc<dyn Clock>,
        wake: Wake,
    ) -> Self {
        let limit =
            records_per_s.map(|records_per_s| RateLimit::new(records_per_s, clock.now_ms()));
        FileReader {
            splits: Vec::new(),
            follow,
            limit,
            clock,
            wake,
            readings: Vec::new(),
            batch: None,
            no_more_splits: false,
        }
    }

    fn start_reading(&mut self, files: Vec<(usize, FileSplit)>) -> Result<()> {
        let (sender, messages) = sync_channel(CHANNEL_BATCHES);
        let (running, stop) = sync_channel(0);
        let unfinished = files.len();
        let outlet = Outlet {
            sender: Some(sender),
            wake: Arc::clone(&self.wake),
            stop,
        };
        let follow = self.follow;
        thread::Builder::new()
            .name("file reader".to_owned())
            .spawn(move || run(files, follow, &outlet))?;
        self.readings.push(Reading {
            messages,
            _running: running,
            unfinished,
        });
        Ok(())
    }

    /// Emits up to `budget` lines; returns how many there were.
    fn emit(&mut self, budget: usize, out: &mut Collector<String>) -> Result<usize> {
        let mut emitted = 0;
        while emitted < budget {
            let Some(waiting) = &mut self.batch else {
                if self.receive()? {
                    continue;
                }
                break;
            };
            let mut position = None;
            for line in waiting.lines.by_ref().take(budget - emitted) {
                out.collect(line);
                emitted += 1;
                position = waiting.positions.next();
            }
            if let Some(position) = position {
                self.splits[waiting.split].position = position;
            }
            if waiting.lines.len() == 0 {
                self.batch = None;
            }
        }
        Ok(emitted)
    }

    /// Gets the next batch, if there is one.
    fn receive(&mut self) -> Result<bool> {
        let mut index = 0;
        while let Some(reading) = self.readings.get_mut(index) {
            match reading.messages.try_recv() {
                Ok(Message::Lines(Batch {
                    split,
                    lines,
                    positions,
                    ..
                })) => {
                    let (lines, positions) = (lines.into_iter(), positions.into_iter());
                    self.batch = Some(Waiting {
                        split,
                        lines,
                        positions,
                    });
                    return Ok(true);
                }
                Ok(Message::End { split }) => {
                    self.splits[split].ended = true;
                    reading.unfinished -= 1;
                }
                Ok(Message::Failed(error)) => return Err(error),
                Err(TryRecvError::Empty) => index += 1,
                Err(TryRecvError::Disconnected) if reading.unfinished == 0 => {
                    self.readings.remove(index);
                }
                Err(TryRecvError::Disconnected) => {
                    return Err(FunctionError::new(
                        "the thread that reads files has panicked",
                    ));
                }
            }
        }
        Ok(false)
    }
}

impl SourceReader<String, FileSplit> for FileReader {
    fn add_splits(&mut self, splits: Vec<FileSplit>) -> Result<()> {
        let first = self.splits.len();
        self.splits.extend(splits);
        let follow = self.follow;
        let mut files: Vec<(usize, FileSplit)> = self.splits.iter().cloned().enumerate().collect();
        files.retain(|(index, split)| *index >= first && (follow || !split.ended));
        files.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
        if let (Some(limit), Some(split)) = (&mut self.limit, self.splits.first()) {
            limit.share(self.splits.len() as u64, u64::from(split.files));
        }
        if files.is_empty() {
            return Ok(());
        }
        self.start_reading(files)
    }

    fn notify_no_more_splits(&mut self) {
        self.no_more_splits = true;
    }

    fn poll_next(&mut self, limit: usize, out: &mut Collector<String>) -> Result<InputStatus> {
        let budget = match &mut self.limit {
            None => limit,
            Some(rate) => limit.min(rate.due(self.clock.now_ms()) as usize),
        };
        let emitted = self.emit(budget, out)?;
        if let Some(rate) = &mut self.limit {
            rate.emitted(emitted as u64);
        }
        if emitted == limit {
            return Ok(InputStatus::MoreAvailable);
        }
        if self.readings.is_empty() && self.batch.is_none() && self.no_more_splits && !self.follow {
            return Ok(InputStatus::EndOfInput);
        }
        Ok(match &self.limit {
            // The rate holds it back, not the file.
            Some(rate) if emitted == budget => InputStatus::NothingAvailable(rate.next_ms()),
            Some(_) | None => InputStatus::NothingAvailable(None),
        })
    }

    fn snapshot_state(&mut self, _checkpoint: CheckpointId) -> Result<Vec<FileSplit>> {
        Ok(self.splits.clone())
    }
}

/// The thread's end of the channels.
struct Outlet {
    sender: Option<SyncSender<Message>>,
    wake: Wake,
    stop: Receiver<()>,
}

/// Why the thread stops early: the reader was dropped.
struct Dropped;

impl Outlet {
    fn send(&self, message: Message) -> std::result::Result<(), Dropped> {
        let sender = self.sender.as_ref().expect("it is taken only on drop");
        sender.send(message).map_err(|_| Dropped)?;
        (self.wake)();
        Ok(())
    }

    /// Waits until files may have grown, unless the reader is dropped.
    fn pause(&self, time: Duration) -> std::result::Result<(), Dropped> {
        match self.stop.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(Dropped),
        }
    }

    fn check(&self) -> std::result::Result<(), Dropped> {
        match self.stop.try_recv() {
            Err(TryRecvError::Empty) => Ok(()),
            Ok(()) | Err(TryRecvError::Disconnected) => Err(Dropped),
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // First closed, then woken: the task must see that the thread is gone, even by a panic.
        drop(self.sender.take());
        (self.wake)();
    }
}

/// Why reading ends before the end.
enum Interruption {
    Dropped,
    Failed(FunctionError),
}

impl From<Dropped> for Interruption {
    fn from(Dropped: Dropped) -> Self {
        Interruption::Dropped
    }
}

impl From<FunctionError> for Interruption {
    fn from(error: FunctionError) -> Self {
        Interruption::Failed(error)
    }
}

fn run(files: Vec<(usize, FileSplit)>, follow: bool, outlet: &Outlet) {
    let read = if follow {
        follow_files(files, outlet)
    } else {
        read_files(files, outlet)
    };
    match read {
        Ok(()) | Err(Interruption::Dropped) => {}
        Err(Interruption::Failed(error)) => {
            // If the reader is gone, nobody wants to know.
            let _ = outlet.send(Message::Failed(error));
        }
    }
}

fn read_files(
    files: Vec<(usize, FileSplit)>,
    outlet: &Outlet,
) -> std::result::Result<(), Interruption> {
    for (split, file) in files {
        let mut reader = LineReader::open(&file.path, file.position, false)?;
        while advance(split, &mut reader, outlet)? != Advance::End {}
        outlet.send(Message::End { split })?;
    }
    Ok(())
}

fn follow_files(
    files: Vec<(usize, FileSplit)>,
    outlet: &Outlet,
) -> std::result::Result<(), Interruption> {
    let mut readers = Vec::with_capacity(files.len());
    for (split, file) in files {
        readers.push((split, LineReader::open(&file.path, file.position, true)?));
    }
    while !readers.is_empty() {
        let mut moved = false;
        let mut index = 0;
        while let Some((split, reader)) = readers.get_mut(index) {
            match advance(*split, reader, outlet)? {
                Advance::More => moved = true,
                Advance::Wait => {}
                Advance::End => {
                    outlet.send(Message::End { split: *split })?;
                    readers.remove(index);
                    continue;
                }
            }
            index += 1;
        }
        if !moved {
            outlet.pause(FOLLOW_INTERVAL)?;
        }
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Advance {
    More,
    Wait,
    End,
}

/// Reads and sends one batch.
fn advance(
    split: usize,
    reader: &mut LineReader,
    outlet: &Outlet,
) -> std::result::Result<Advance, Interruption> {
    outlet.check()?;
    let mut batch = Batch {
        split,
        lines: Vec::new(),
        positions: Vec::new(),
        bytes: 0,
    };
    let read = fill(&mut batch, reader);
    if !batch.lines.is_empty() {
        outlet.send(Message::Lines(batch))?;
    }
    Ok(read?)
}

fn fill(batch: &mut Batch, reader: &mut LineReader) -> Result<Advance> {
    while batch.lines.len() < BATCH_LINES && batch.bytes < BATCH_BYTES {
        match reader.step()? {
            Step::Line(line) => {
                batch.bytes += line.len();
                batch.lines.push(line);
                batch.positions.push(reader.position());
            }
            Step::Skipped => return Ok(Advance::More),
            Step::Wait => return Ok(Advance::Wait),
            Step::End => return Ok(Advance::End),
        }
    }
    Ok(Advance::More)
}

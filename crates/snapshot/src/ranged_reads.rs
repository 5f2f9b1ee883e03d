//! Reads parts of files several at a time: from storage where each request takes long, a restore waits for
//! few of them and not for each.
//!
//! Whoever reads a stream says which parts of it are wanted ([`StateSource::read_ahead`]), in the order of
//! reading; of these the next few are on their way at any time. Whole files come by
//! [`copy_files`]. All share the threads of one [`RangedReads`]:
//!
//! ```text
//!   file    ....[== group 7 ==][== group 8 ==][== group 9 ==]....     of a subtask with groups 7 to 9
//!   parts       [ read ][ read ][ asked ][ asked ][   ][   ][]
//!                  ^ the reader is here       ^ no further: a bound per stream, and one on the bytes of all
//! ```
//!
//! Nothing outside of the wanted parts is read. A part that there is no room for is not read ahead but
//! when it is needed, so that streams never wait for each other.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::{Error, StateSource};

/// How much one request reads.
const PART_BYTES: u64 = 1 << 20;
/// How many parts of a stream are on their way or wait for its reader.
const PARTS_AHEAD: usize = 4;
/// How many bytes of all streams are on their way or wait for their readers.
const MOST_AHEAD_BYTES: u64 = 64 << 20;
/// How many requests are on their way.
const REQUESTS: usize = 8;

type Task = Box<dyn FnOnce() + Send>;

/// Threads that read, as many as there is something to read for and no more than a bound.
#[derive(Default)]
pub struct RangedReads {
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    tasks: VecDeque<Task>,
    threads: usize,
    /// On their way or waiting for their readers.
    ahead_bytes: u64,
}

impl std::fmt::Debug for RangedReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RangedReads").finish_non_exhaustive()
    }
}

impl RangedReads {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Nothing panics while it holds the lock.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a task done by one of the threads.
    fn submit(self: &Arc<Self>, task: Task) {
        let mut pool = self.pool();
        pool.tasks.push_back(task);
        if pool.threads >= REQUESTS {
            return;
        }
        pool.threads += 1;
        drop(pool);
        let reads = Arc::clone(self);
        let started = thread::Builder::new()
            .name("ranged-reads".to_owned())
            .spawn(move || reads.work());
        if started.is_err() {
            // Then whoever wants it does it.
            self.work();
        }
    }

    /// Does tasks until there are none.
    fn work(self: &Arc<Self>) {
        /// A task that panics takes its thread along: another one can be had for it.
        struct Leaving<'a>(&'a RangedReads);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.pool().threads -= 1;
                }
            }
        }
        let _leaving = Leaving(self);
        loop {
            let mut pool = self.pool();
            let Some(task) = pool.tasks.pop_front() else {
                // In one step: a task that comes later finds one thread less.
                pool.threads -= 1;
                return;
            };
            drop(pool);
            task();
        }
    }

    /// Room for bytes that are read ahead, if there is any.
    fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reserved> {
        let mut pool = self.pool();
        if pool.ahead_bytes + bytes > MOST_AHEAD_BYTES {
            return None;
        }
        pool.ahead_bytes += bytes;
        let reads = Arc::clone(self);
        Some(Reserved { reads, bytes })
    }
}

/// Room for bytes, until it is dropped.
struct Reserved {
    reads: Arc<RangedReads>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.reads.pool().ahead_bytes -= self.bytes;
    }
}

/// What has come of a request; the room is held as long as the bytes are.
type Answer = Result<(Vec<u8>, Reserved), Error>;

/// A part that was asked for.
struct Part {
    start: u64,
    end: u64,
    answer: Receiver<Answer>,
    bytes: Option<(Vec<u8>, Reserved)>,
}

/// One stream, read ahead.
pub(crate) struct ReadAhead {
    reads: Arc<RangedReads>,
    /// Reads at once.
    source: StateSource,
    /// What was not asked for yet.
    todo: VecDeque<Range<u64>>,
    /// What was, in order.
    asked: VecDeque<Part>,
}

impl ReadAhead {
    /// Begins to read `wanted`, which lies in `source` and is read in this order.
    pub(crate) fn new(
        reads: Arc<RangedReads>,
        source: StateSource,
        wanted: impl IntoIterator<Item = Range<u64>>,
    ) -> Self {
        let mut todo: VecDeque<Range<u64>> = VecDeque::new();
        for range in wanted.into_iter().filter(|range| !range.is_empty()) {
            match todo.back_mut() {
                Some(before) if before.end == range.start => before.end = range.end,
                Some(_) | None => todo.push_back(range),
            }
        }
        let mut ahead = ReadAhead {
            reads,
            source,
            todo,
            asked: VecDeque::new(),
        };
        ahead.ask();
        ahead
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    ///
    /// As those of the source.
    pub(crate) fn read_at(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            self.leave_behind(offset);
            let end = offset + buffer.len() as u64;
            let length = match self.asked.front_mut() {
                Some(part) if part.start <= offset => {
                    let skipped = (offset - part.start) as usize;
                    let have = &part.bytes()?[skipped..];
                    let length = have.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&have[..length]);
                    length
                }
                // Not wanted before, or there was no room for it.
                next => {
                    let until = next.map_or(end, |part| part.start.min(end));
                    let length = (until - offset) as usize;
                    self.source.read_at(offset, &mut buffer[..length])?;
                    length
                }
            };
            offset += length as u64;
            buffer = &mut buffer[length..];
        }
        self.leave_behind(offset);
        self.ask();
        Ok(())
    }

    /// Forgets what lies before `offset`, up to the part that holds it.
    fn leave_behind(&mut self, offset: u64) {
        while let Some(part) = self.asked.front()
            && part.end <= offset
        {
            self.asked.pop_front();
        }
        if !self.asked.is_empty() {
            return;
        }
        // What there was no room for was read at once.
        while let Some(range) = self.todo.front_mut()
            && range.start < offset
        {
            range.start = offset.min(range.end);
            if !range.is_empty() {
                return;
            }
            self.todo.pop_front();
        }
    }

    /// Asks for the next parts.
    fn ask(&mut self) {
        while self.asked.len() < PARTS_AHEAD
            && let Some(range) = self.todo.front_mut()
        {
            let end = range.end.min(range.start + PART_BYTES);
            let Some(reserved) = self.reads.reserve(end - range.start) else {
                return;
            };
            let start = std::mem::replace(&mut range.start, end);
            if range.is_empty() {
                self.todo.pop_front();
            }
            let (tell, answer) = channel();
            let source = self.source.clone();
            self.reads.submit(Box::new(move || {
                let read = source.read_range(start, end);
                // Nobody waits any more: the reader is gone.
                let _ = tell.send(read.map(|bytes| (bytes, reserved)));
            }));
            self.asked.push_back(Part {
                start,
                end,
                answer,
                bytes: None,
            });
        }
    }
}

impl Part {
    /// Its bytes, once they are there.
    fn bytes(&mut self) -> Result<&[u8], Error> {
        let read = match self.bytes.take() {
            Some(read) => read,
            None => self.answer.recv().map_err(|_| lost())??,
        };
        Ok(&self.bytes.insert(read).0)
    }
}

/// The thread that read has panicked.
fn lost() -> Error {
    let error = io::Error::other("the thread that read it panicked");
    millpond_fs::Error::io("read", "a part of a file", error).into()
}

/// Why files could not be copied.
#[derive(Debug)]
pub enum CopyError {
    /// A source cannot be read.
    Read(Error),
    /// A file cannot be written.
    Write(PathBuf, io::Error),
}

/// Copies whole streams into new files of this machine, parts of them at the same time if there is
/// somebody to do so.
///
/// # Errors
///
/// A source cannot be read, or a file cannot be written or is there already. What is there of the files
/// then is of no use.
pub fn copy_files(
    reads: Option<&Arc<RangedReads>>,
    copies: &[(StateSource, PathBuf)],
) -> Result<(), CopyError> {
    let (tell, told) = channel();
    let mut on_their_way = 0;
    let mut outcome = Ok(());
    'all: for (source, to) in copies {
        let failed = |error| CopyError::Write(to.clone(), error);
        let file = match File::create_new(to) {
            Ok(file) => Arc::new(file),
            Err(error) => {
                outcome = Err(failed(error));
                break;
            }
        };
        let mut start = 0;
        while start < source.len() {
            let end = source.len().min(start + PART_BYTES);
            let part = copy_of_part(source.clone(), start..end, &file, to);
            start = end;
            let Some(reads) = reads else {
                part()?;
                continue;
            };
            let tell: Sender<_> = tell.clone();
            reads.submit(Box::new(move || {
                // Whoever waited has failed.
                let _ = tell.send(part());
            }));
            on_their_way += 1;
            // No more than the threads have to do: a failure ends it, and few files are open.
            if on_their_way >= 2 * REQUESTS {
                on_their_way -= 1;
                outcome = told.recv().unwrap_or_else(|_| Err(CopyError::Read(lost())));
                if outcome.is_err() {
                    break 'all;
                }
            }
        }
    }
    // Ends also if one panics: its sender goes with it.
    drop(tell);
    for copied in told {
        outcome = outcome.and(copied);
        on_their_way -= 1;
    }
    match on_their_way {
        0 => outcome,
        _ => outcome.and(Err(CopyError::Read(lost()))),
    }
}

fn copy_of_part(
    source: StateSource,
    part: Range<u64>,
    file: &Arc<File>,
    to: &std::path::Path,
) -> impl FnOnce() -> Result<(), CopyError> + Send + use<> {
    let (file, to) = (Arc::clone(file), to.to_owned());
    move || {
        let bytes = source.read_range(part.start, part.end);
        let bytes = bytes.map_err(CopyError::Read)?;
        let written = file.write_all_at(&bytes, part.start);
        written.map_err(|error| CopyError::Write(to, error))
    }
}

#[cfg(test)]
mod tests;

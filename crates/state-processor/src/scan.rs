//! Reading the pieces of keyed state on several threads, in order, in bounded memory.
//!
//! ```text
//! pieces:   0  1  2  3 ...      threads take the next one that nobody has
//!           |  |                each sends what it makes through a channel of its piece
//!           v  v                that holds a few items, and then waits
//!        the caller takes piece 0 to its end, then piece 1, ...
//! ```
//!
//! Pieces are taken in order, so that the one that the caller waits for is always being read. A
//! caller that wants no more just stops: the threads find their channels closed.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use millpond_snapshot::KeyedReader;
use millpond_types::KeyGroupRange;

use crate::{Error, KeyedPart};

/// How many items may wait in the channel of a piece.
const WAITING_ITEMS: usize = 4;

/// What a piece is sent through.
type Sender<T> = SyncSender<Result<T, Error>>;

/// Some key groups of one subtask.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    part: KeyedPart<'a>,
    range: KeyGroupRange,
    bytes: u64,
}

/// How many threads read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(pub NonZero<usize>);

impl Default for Threads {
    /// As many as the machine has, at most 16.
    fn default() -> Self {
        let most = NonZero::new(16).expect("not zero");
        Threads(
            std::thread::available_parallelism()
                .map_or(NonZero::<usize>::MIN, |found| found.min(most)),
        )
    }
}

/// How far a scan is; shared with whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the pieces that have been read.
    pub bytes: AtomicU64,
    /// Bytes of all pieces.
    pub total_bytes: AtomicU64,
    /// Entries so far.
    pub entries: AtomicU64,
}

impl<'a> Piece<'a> {
    pub(crate) fn new(part: KeyedPart<'a>, range: KeyGroupRange, bytes: u64) -> Self {
        Piece { part, range, bytes }
    }

    /// The keyed state of a subtask that this is a piece of.
    pub fn part(&self) -> KeyedPart<'a> {
        self.part
    }

    /// The key groups.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// About how many bytes they take on the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Opens the piece.
    ///
    /// # Errors
    ///
    /// As [`KeyedPart::open`].
    pub fn open(&self) -> Result<Option<KeyedReader>, Error> {
        self.part.open(Some(self.range))
    }
}

/// Reads pieces by `work` on several threads, and hands what it makes to `take`, piece by piece in
/// order.
///
/// `work` gets a place to put items; when that answers `Break`, nobody wants more. `take` may end
/// the scan with `Break`.
///
/// # Errors
///
/// The first error of `work` in the order of the pieces, after all that was made before it; or
/// that of `take`.
pub fn scan<P: Sync, T: Send>(
    pieces: &[P],
    threads: Threads,
    work: impl Fn(&P, &mut dyn FnMut(T) -> ControlFlow<()>) -> Result<(), Error> + Sync,
    mut take: impl FnMut(&P, T) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let channels = pieces.iter().map(|_| sync_channel(WAITING_ITEMS));
    let (senders, receivers): (Vec<Sender<T>>, Vec<Receiver<_>>) = channels.unzip();
    // Each sender is taken by the thread that reads its piece, and closed when it is done.
    let senders: Vec<Mutex<Option<Sender<T>>>> = senders
        .into_iter()
        .map(|sender| Mutex::new(Some(sender)))
        .collect();
    let next = AtomicUsize::new(0);
    let read = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(index) else {
                return;
            };
            let sender = senders[index]
                .lock()
                .ok()
                .and_then(|mut sender| sender.take());
            let Some(sender) = sender else {
                return;
            };
            let result = work(piece, &mut |item| match sender.send(Ok(item)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            });
            if let Err(error) = result {
                // Nobody may want to know any more.
                sender.send(Err(error)).ok();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.0.get().min(pieces.len()) {
            scope.spawn(read);
        }
        let mut receivers = receivers.into_iter();
        let result = pieces.iter().try_for_each(|piece| {
            let receiver = receivers.next().expect("one for each piece");
            for item in receiver {
                if take(piece, item?)?.is_break() {
                    return Err(Ended::Enough);
                }
            }
            Ok(())
        });
        // Those that wait for room find that nobody is there.
        next.store(pieces.len(), Ordering::Relaxed);
        drop(receivers);
        match result {
            Ok(()) | Err(Ended::Enough) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
        }
    })
}

enum Ended {
    Enough,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Ended::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(count: usize) -> Threads {
        Threads(NonZero::new(count).expect("not zero"))
    }

    fn count_to(piece: &u32, put: &mut dyn FnMut(u32) -> ControlFlow<()>) -> Result<(), Error> {
        for item in 0..*piece {
            if put(item).is_break() {
                break;
            }
        }
        Ok(())
    }

    #[test]
    fn items_come_in_the_order_of_the_pieces_whatever_the_threads() {
        let pieces = [3, 0, 100, 1, 50, 7];
        let expected: Vec<u32> = pieces.iter().flat_map(|piece| 0..*piece).collect();
        for count in [1, 2, 8] {
            let mut found = Vec::new();
            let take = |_: &u32, item| {
                found.push(item);
                Ok(ControlFlow::Continue(()))
            };
            scan(&pieces, threads(count), count_to, take).expect("no error");
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_caller_that_has_enough_stops_all_threads() {
        let mut found = 0;
        let take = |_: &u32, _| {
            found += 1;
            Ok(match found {
                10 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        };
        scan(&[u32::MAX; 4], threads(2), count_to, take).expect("no error");
        assert_eq!(found, 10);
    }

    #[test]
    fn the_first_error_in_order_is_told_after_what_was_made_before_it() {
        let work = |piece: &u32, put: &mut dyn FnMut(u32) -> ControlFlow<()>| {
            count_to(piece, put)?;
            Err(Error::request(format!("piece {piece}")))
        };
        let mut found = 0;
        let take = |_: &u32, _| {
            found += 1;
            Ok(ControlFlow::Continue(()))
        };
        let error = scan(&[20, 5], threads(2), work, take).expect_err("an error");
        assert_eq!((error.to_string().as_str(), found), ("piece 20", 20));
    }
}

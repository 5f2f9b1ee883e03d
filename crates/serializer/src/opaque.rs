//! Serializer snapshots of classes that are not known, in headers whose end is.
//!
//! The body of a snapshot has no length: where a class is not known, nothing in the bytes says
//! where it ends. But the header as a whole ends where the data begins, which a handle tells, and
//! what stands behind a body is told by the format. So every length is tried, and a header is taken
//! if **exactly one** way of reading it ends where it must. The body is then kept as it is, and the
//! values of that serializer pass as bytes. With no such way, or with two, the header is refused.
//!
//! In the fields of a POJO bodies lie in frames, and nothing has to be tried for long.

use crate::{ByteReader, Error};

/// How many bytes are read in all attempts together, and how many attempts there are: a hostile
/// file ends the search, and not the patience.
const MAX_WORK_BYTES: usize = 200 << 20;
const MAX_ATTEMPTS: usize = if cfg!(fuzzing) { 2_000 } else { 200_000 };
/// So many unknown classes are in no header; each holds what is behind it.
const MAX_BODIES: usize = 32;
/// A body longer than this is not looked for.
const MAX_BODY_BYTES: usize = 1 << 16;

/// How long the bodies of unknown classes are taken to be, in the order in which they come.
#[derive(Debug, Default)]
pub struct OpaqueBodies {
    lengths: Vec<usize>,
    used: usize,
    /// All behind the version of a class whose body has no length given.
    open: Option<Vec<u8>>,
}

impl OpaqueBodies {
    /// No unknown class can be read.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a body; `None` if no length is given for it.
    pub(crate) fn take(&mut self, input: &mut ByteReader<'_>) -> Result<Option<Vec<u8>>, Error> {
        let Some(length) = self.lengths.get(self.used) else {
            self.open.get_or_insert_with(|| input.rest().to_vec());
            return Ok(None);
        };
        let body = input.take(*length)?;
        self.used += 1;
        Ok(Some(body.to_vec()))
    }
}

/// Reads all of `header`, in which classes may be unknown.
///
/// `read` is called again and again, and fails if anything is left behind what it reads; what it
/// returns must depend on its arguments alone.
///
/// # Errors
///
/// Those of `read` without unknown classes, if there is not exactly one way.
pub fn read_whole<T, E>(
    header: &ByteReader<'_>,
    read: impl Fn(&mut ByteReader<'_>, &mut OpaqueBodies) -> Result<T, E>,
) -> Result<T, E> {
    let mut search = Search {
        header,
        read: &read,
        attempts_left: (MAX_WORK_BYTES / header.remaining().max(1)).min(MAX_ATTEMPTS),
        found: Vec::new(),
    };
    let error = match search.attempt(&[]) {
        Attempt::Read(value) => return Ok(value),
        Attempt::Failed(error) => return Err(error),
        Attempt::Open(error, rest) => {
            search.go_on(&mut Vec::new(), &rest);
            error
        }
    };
    match (search.attempts_left > 0, search.found.pop()) {
        (true, Some(only)) if search.found.is_empty() => Ok(only),
        _ => Err(error),
    }
}

struct Search<'a, 'h, T, R> {
    header: &'a ByteReader<'h>,
    read: &'a R,
    attempts_left: usize,
    found: Vec<T>,
}

/// What came of one way of reading.
enum Attempt<T, E> {
    /// The whole header.
    Read(T),
    /// A body of which no length was given, and what follows behind its class and version.
    Open(E, Vec<u8>),
    /// Something that is no header.
    Failed(E),
}

impl<T, E, R> Search<'_, '_, T, R>
where
    R: Fn(&mut ByteReader<'_>, &mut OpaqueBodies) -> Result<T, E>,
{
    fn attempt(&mut self, lengths: &[usize]) -> Attempt<T, E> {
        self.attempts_left = self.attempts_left.saturating_sub(1);
        let mut bodies = OpaqueBodies {
            lengths: lengths.to_vec(),
            ..OpaqueBodies::default()
        };
        match (self.read)(&mut self.header.clone(), &mut bodies) {
            Ok(value) => Attempt::Read(value),
            Err(error) => match bodies.open {
                Some(rest) => Attempt::Open(error, rest),
                None => Attempt::Failed(error),
            },
        }
    }

    /// Tries all lengths for the next body, which `rest` begins with.
    fn go_on(&mut self, lengths: &mut Vec<usize>, rest: &[u8]) {
        if lengths.len() == MAX_BODIES {
            // One of what follows might be another way to read the header.
            self.attempts_left = 0;
        }
        for length in 0..=rest.len().min(MAX_BODY_BYTES) {
            if !may_follow(&rest[length..]) {
                continue;
            }
            if self.attempts_left == 0 || self.found.len() > 1 {
                return;
            }
            lengths.push(length);
            match self.attempt(lengths) {
                Attempt::Read(value) => self.found.push(value),
                Attempt::Open(_, rest) => self.go_on(lengths, &rest),
                Attempt::Failed(_) => {}
            }
            lengths.pop();
        }
    }
}

/// Whether a body may end in front of `rest`: behind it is the end, a name, or a number of states.
///
/// Both begin with 16 bits that are no more than what follows. It spares most attempts.
fn may_follow(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [high, low, behind @ ..] => usize::from(u16::from_be_bytes([*high, *low])) <= behind.len(),
        [_] => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Reads a header that is nothing but `bodies` of unknown classes, or any number of them;
    /// returns how often it was read, and what came of it.
    fn search(header: &[u8], bodies: Option<usize>) -> (usize, Result<Vec<usize>, Error>) {
        let reads = Cell::new(0);
        let result = read_whole(&ByteReader::new(header), |input, opaque| {
            reads.set(reads.get() + 1);
            let refused =
                |input: &ByteReader<'_>| Error::corrupt(input.offset(), "the end", "more");
            let mut lengths = Vec::new();
            while bodies.is_none_or(|bodies| lengths.len() < bodies) {
                match opaque.take(input)? {
                    Some(body) => lengths.push(body.len()),
                    None => return Err(refused(input)),
                }
            }
            match input.is_empty() {
                true => Ok(lengths),
                false => Err(refused(input)),
            }
        });
        (reads.get(), result)
    }

    #[test]
    fn the_one_way_to_read_a_header_is_found_and_of_two_none_is_taken() {
        let (_, only) = search(&[0; 60], Some(1));
        assert_eq!(only.expect("one way"), [60]);
        let (_, two) = search(&[0; 60], Some(2));
        assert!(two.is_err(), "{two:?}");
    }

    /// Of 60 bytes, three bodies can be cut in 1,891 ways; of 300, in 45,451; four of 300 in four and
    /// a half million. Each was tried, for seconds.
    #[test]
    fn a_header_that_can_be_read_in_millions_of_ways_is_read_a_bounded_number_of_times() {
        // 255 behind each other are a name that is longer than what follows.
        let hostile = |length: usize| [vec![0; length], vec![255; 3]].concat();
        let ways = |length: usize, bodies: usize| search(&hostile(length), Some(bodies)).0;
        assert!(ways(60, 3) < MAX_ATTEMPTS);
        for bodies in [5, 8] {
            let reads = ways(300, bodies);
            assert!(reads <= MAX_ATTEMPTS, "{reads} for {bodies}");
        }
        // And larger ones fewer times.
        let (reads, _) = search(&hostile(1 << 16), Some(8));
        assert!(reads <= MAX_WORK_BYTES / (1 << 16), "{reads}");
    }

    /// Each unknown class on the way holds what is behind it: a header full of them held 4 GiB.
    #[test]
    fn a_header_full_of_unknown_classes_is_given_up_at_a_bounded_depth() {
        let (reads, result) = search(&[0; 1 << 16], None);
        assert!(result.is_err());
        assert!(reads <= MAX_BODIES + 1, "{reads}");
    }
}

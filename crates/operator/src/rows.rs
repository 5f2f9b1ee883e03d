//! The records of a batch as bytes: one after the other, each in postcard's form.
//!
//! Text is the commonest record that takes memory of its own. Its bytes are the same as of any other record, the
//! number of its bytes as a varint and then those; they are only written and read all at once.

use std::any::{Any, TypeId};

use crate::batch::Data;
use crate::error::{FunctionError, Result};

/// How much memory is taken at once for each byte of a batch, whatever it says of itself.
const MEMORY_PER_BYTE: usize = 64;

/// The least number that takes more than one byte as a varint.
const LONG: usize = 0x80;

/// Appends the bytes of all.
///
/// # Errors
///
/// A record's `Serialize` failed.
pub(crate) fn encode<T: Data>(rows: &Vec<T>, out: &mut Vec<u8>) -> Result<()> {
    if let Some(texts) = (rows as &dyn Any).downcast_ref::<Vec<String>>() {
        let bytes = texts.iter().map(|text| text.len() + 1);
        out.reserve(bytes.sum());
        for text in texts {
            match text.len() < LONG {
                true => {
                    out.push(text.len() as u8);
                    out.extend_from_slice(text.as_bytes());
                }
                false => postcard::serialize_with_flavor(text, Append(out))?,
            }
        }
        return Ok(());
    }
    for row in rows {
        postcard::serialize_with_flavor(row, Append(out))?;
    }
    Ok(())
}

/// How many bytes [`encode`] appends; of a record that cannot be encoded, none.
pub(crate) fn encoded_len<T: Data>(rows: &[T]) -> usize {
    let sizes = rows.iter().map(|row| {
        let size = postcard::ser_flavors::Size::default();
        postcard::serialize_with_flavor(row, size).unwrap_or(0)
    });
    sizes.sum()
}

/// Reads `count` records, which takes no more memory at once than bytes that are there are a reason for.
///
/// # Errors
///
/// The bytes are cut or are of another type.
pub(crate) fn decode<T: Data>(bytes: &[u8], count: usize) -> Result<Vec<T>> {
    if TypeId::of::<T>() == TypeId::of::<String>()
        && let Some(texts) = short_texts(bytes, count)
    {
        let texts: Box<dyn Any> = Box::new(texts);
        if let Ok(rows) = texts.downcast::<Vec<T>>() {
            return Ok(*rows);
        }
    }
    let mut bytes = bytes;
    let mut rows = Vec::new();
    let at_once = bytes.len().saturating_mul(MEMORY_PER_BYTE) / size_of::<T>().max(1);
    rows.reserve_exact(count.min(at_once));
    for _ in 0..count {
        let (row, rest) = postcard::take_from_bytes::<T>(bytes).map_err(FunctionError::from)?;
        rows.push(row);
        bytes = rest;
    }
    Ok(rows)
}

/// Texts that are all so short that their lengths are bytes of ASCII: what is valid as a whole is so in its parts,
/// and is looked at once. `None` if they are not, or the bytes are damaged: then they are read one by one.
fn short_texts(bytes: &[u8], count: usize) -> Option<Vec<String>> {
    let mut rest = std::str::from_utf8(bytes).ok()?;
    let mut texts = Vec::new();
    texts.reserve_exact(count.min(bytes.len()));
    for _ in 0..count {
        let length = usize::from(*rest.as_bytes().first().filter(|byte| byte.is_ascii())?);
        let (text, behind) = rest.get(1..)?.split_at_checked(length)?;
        texts.push(text.to_owned());
        rest = behind;
    }
    Some(texts)
}

/// Lets postcard append to a vector that it does not own.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use millpond_damage::Damage;

    use super::*;

    fn one_by_one(texts: &[String]) -> Vec<u8> {
        let bytes = texts.iter().map(postcard::to_allocvec);
        bytes.flat_map(|bytes| bytes.expect("text")).collect()
    }

    /// As records of any other type are read.
    fn read_one_by_one(bytes: &[u8], count: usize) -> Option<Vec<String>> {
        let mut rest = bytes;
        let mut texts = Vec::new();
        for _ in 0..count {
            let (text, behind) = postcard::take_from_bytes::<String>(rest).ok()?;
            texts.push(text);
            rest = behind;
        }
        Some(texts)
    }

    fn texts() -> Vec<Vec<String>> {
        let of = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        vec![
            of(&[]),
            of(&["", "a", "né😀", "\u{7f}\0", ""]),
            vec!["x".repeat(127), "é".repeat(63)],
            // Lengths of one byte and of several.
            vec![
                "a".to_owned(),
                "x".repeat(128),
                "b".repeat(20_000),
                String::new(),
            ],
        ]
    }

    #[test]
    fn texts_have_the_bytes_of_any_record_and_come_back() {
        for texts in texts() {
            let mut bytes = Vec::new();
            encode(&texts, &mut bytes).expect("text");
            assert_eq!(bytes, one_by_one(&texts));
            assert_eq!(encoded_len(&texts), bytes.len());
            assert_eq!(decode::<String>(&bytes, texts.len()).expect("whole"), texts);
        }
    }

    /// Texts that are read at once are the same, or refused alike, whatever the bytes are.
    #[test]
    fn damaged_texts_are_what_they_are_one_by_one() {
        let corpus: Vec<Vec<u8>> = texts().iter().map(|texts| one_by_one(texts)).collect();
        let check = |bytes: &[u8]| {
            for count in [0, 1, 2, 5] {
                let found = decode::<String>(bytes, count).ok();
                assert_eq!(found, read_one_by_one(bytes, count), "{count} of {bytes:?}");
            }
        };
        corpus.iter().for_each(|bytes| check(bytes));
        // A character across the end of its text, which is valid as a whole.
        check(&[1, 0xc3, 0xa9]);
        check(&[0xc3, 0xa9]);
        Damage::seeded().search(&corpus, |_, bytes| check(bytes));
    }
}

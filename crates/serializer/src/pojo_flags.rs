//! The byte in front of a POJO: null, the class itself, or one of its subclasses.
//!
//! What follows each of them is in the table of [`pojo`](crate::pojo).
//!
//! Source: Flink 2.3.0, class `PojoSerializer`.

use crate::Error;

/// The flags of a null.
pub(crate) const NULL: u8 = 1;
/// The flags of an object of the class itself.
pub(crate) const EXACT: u8 = 2;
/// The flags of an object of a subclass that is not registered.
pub(crate) const OTHER: u8 = 4;
/// The flags of an object of a registered subclass.
pub(crate) const REGISTERED: u8 = 8;

/// The damage that any other byte is.
#[cold]
pub(crate) fn bad_flags(at: u64, flags: u8) -> Error {
    Error::corrupt(at, "the flags of a POJO, 1, 2, 4 or 8", flags.to_string())
}

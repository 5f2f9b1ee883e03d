//! Numbers and parts out of the bytes of an input.
//!
//! A reader that needs more than one stream of bytes, such as a handle and a file, gets them out of
//! one input: first the small ones, then the rest. Where the input ends, zeros come.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Returns the whole input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Input(bytes)
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        self.part(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes, the high one first.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// The next four bytes, the high one first.
    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// The next `bytes` bytes, or what there is.
    pub fn part(&mut self, bytes: usize) -> &'a [u8] {
        let (part, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        part
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

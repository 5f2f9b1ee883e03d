//! Errors of user functions: anything that is an error, with its causes.

use std::error::Error as StdError;
use std::fmt;

/// An error that a user function returned; it fails the job with its message.
///
/// Every error type converts into it by `?`. It is no [`std::error::Error`] itself, as that would
/// forbid this conversion.
pub struct FunctionError(Box<dyn StdError + Send + Sync>);

/// What user functions return.
pub type Result<T> = std::result::Result<T, FunctionError>;

impl FunctionError {
    /// Makes an error of a text.
    pub fn new(message: impl Into<String>) -> Self {
        FunctionError(message.into().into())
    }

    /// The text with those of all causes, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for FunctionError {
    fn from(error: E) -> Self {
        FunctionError(Box::new(error))
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

impl fmt::Debug for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

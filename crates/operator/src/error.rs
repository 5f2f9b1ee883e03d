//! Errors of user functions: anything that is an error, with its causes.

use std::error::Error as StdError;
use std::fmt;

use millpond_state::ErrorKind;

/// An error that a user function returned; it fails the job with its message.
///
/// Every error type converts into it by `?`. It is no [`std::error::Error`] itself, as that would
/// forbid this conversion.
pub struct FunctionError(Box<dyn StdError + Send + Sync>);

/// What is wrong with state that an operator was to be opened with: no other try will mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFault {
    /// It does not fit the operator, or the operator has no place for it.
    Refused,
    /// Its bytes are damaged.
    Damaged,
}

/// State of a snapshot that does not fit, in words.
#[derive(Debug)]
struct RefusedState(String);

impl fmt::Display for RefusedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for RefusedState {}

/// What went wrong when an operator was opened.
#[derive(Debug)]
struct OpeningFailed {
    operator: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl fmt::Display for OpeningFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be opened", self.operator)
    }
}

impl StdError for OpeningFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

/// What user functions return.
pub type Result<T> = std::result::Result<T, FunctionError>;

impl FunctionError {
    /// Makes an error of a text.
    pub fn new(message: impl Into<String>) -> Self {
        FunctionError(message.into().into())
    }

    /// Refuses the state that an operator is restored from: it fails the job, however often that may
    /// be started again.
    pub fn refused_state(message: impl Into<String>) -> Self {
        FunctionError(Box::new(RefusedState(message.into())))
    }

    /// The same error, told as one that an operator had when it was opened.
    #[must_use]
    pub fn opening(self, name: &str, uid: Option<&str>) -> Self {
        let uid = uid.map_or_else(String::new, |uid| format!(" (uid \"{uid}\")"));
        FunctionError(Box::new(OpeningFailed {
            operator: format!("operator \"{name}\"{uid}"),
            source: self.0,
        }))
    }

    /// What is wrong with restored state, if it or one of its causes says so.
    pub fn state_fault(&self) -> Option<StateFault> {
        self.causes().find_map(fault)
    }

    /// Whether state was lost, so that the attempt cannot go on.
    pub fn is_state_broken(&self) -> bool {
        self.causes().any(|error| {
            let error = error.downcast_ref::<millpond_state::Error>();
            error.is_some_and(|error| matches!(error.kind(), ErrorKind::Broken { .. }))
        })
    }

    /// The error itself, and what it was caused by.
    fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let first: &(dyn StdError + 'static) = &*self.0;
        std::iter::successors(Some(first), |error| (*error).source())
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

fn fault(error: &(dyn StdError + 'static)) -> Option<StateFault> {
    if error.is::<RefusedState>() {
        return Some(StateFault::Refused);
    }
    match error.downcast_ref::<millpond_state::Error>()?.kind() {
        ErrorKind::Incompatible { .. } | ErrorKind::Unsupported { .. } => Some(StateFault::Refused),
        ErrorKind::Corrupt { .. } => Some(StateFault::Damaged),
        ErrorKind::Registered { .. }
        | ErrorKind::Serializer { .. }
        | ErrorKind::GivenUp { .. }
        | ErrorKind::Storage { .. }
        | ErrorKind::Broken { .. } => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_state_is_told_from_a_snapshot_that_failed() {
        let failed = millpond_state::Error::storage("linking", "no space");
        assert!(!FunctionError::from(failed).is_state_broken());
        let broken = millpond_state::Error::broken("writing", "no space");
        assert!(FunctionError::from(broken).is_state_broken());
    }

    #[test]
    fn refused_state_is_told_from_other_errors_below_whatever_is_wrapped_around_it() {
        #[derive(Debug)]
        struct Wrapped(RefusedState);
        impl fmt::Display for Wrapped {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the operator cannot be opened")
            }
        }
        impl StdError for Wrapped {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let refused = FunctionError::refused_state("no place");
        assert_eq!(refused.state_fault(), Some(StateFault::Refused));
        let wrapped = FunctionError::from(Wrapped(RefusedState("no place".to_owned())));
        assert_eq!(wrapped.state_fault(), Some(StateFault::Refused));
        assert_eq!(wrapped.chain(), "the operator cannot be opened: no place");
        assert_eq!(FunctionError::new("no place").state_fault(), None);
        let opening = FunctionError::refused_state("no place").opening("count", Some("c"));
        assert_eq!(opening.state_fault(), Some(StateFault::Refused));
        let text = "operator \"count\" (uid \"c\") cannot be opened: no place";
        assert_eq!(opening.chain(), text);
    }
}

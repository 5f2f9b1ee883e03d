//! Panics in user code: caught, and turned into a failure that says what and where.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Remembers message and place of a panic on threads that catch it, instead of printing it.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let of_timely = std::thread::current()
                .name()
                .is_some_and(|n| n.starts_with("timely:"));
            if CAUGHT.get() || of_timely {
                let place = info
                    .location()
                    .map(|at| format!(" at {}:{}", at.file(), at.line()));
                let text = format!("{}{}", message(info.payload()), place.unwrap_or_default());
                LAST.with_borrow_mut(|last| {
                    // The first panic is the cause; those while unwinding are not.
                    last.get_or_insert(text);
                });
            } else {
                previous(info);
            }
        }));
    });
}

/// Runs `function`; a panic becomes an error with its message and place.
///
/// # Errors
///
/// The function panicked.
pub fn contain<R>(function: impl FnOnce() -> R) -> Result<R, String> {
    install_hook();
    let before = CAUGHT.replace(true);
    LAST.set(None);
    let result = catch_unwind(AssertUnwindSafe(function));
    CAUGHT.set(before);
    result.map_err(|payload| LAST.take().unwrap_or_else(|| message(&*payload)))
}

/// The text of a panic's payload.
pub(crate) fn message(payload: &dyn Any) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic with a value that is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message_and_place() {
        let text = contain(|| panic!("boom {}", 1)).expect_err("panics");
        assert!(
            text.starts_with("boom 1 at ") && text.contains("panic.rs:"),
            "{text}"
        );
    }
}

//! Turns a panic of the foreign engine on damaged bytes into an error, without a word on the screen.
//!
//! tantivy trusts its files: a flipped bit makes it index outside a slice or fail an assertion, which panics. Every
//! read of its structures therefore runs inside [`guard`]. The panic hook is process-wide, so one is installed once
//! that stays silent while the panicking thread is inside a guard and calls the hook that was there before otherwise.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Restores the flag however the guarded call ends, so that guards nest.
struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        SILENT.set(self.0);
    }
}

/// Runs `read`; a panic inside becomes an error that names `place` as damaged.
///
/// What `read` was changing when it panicked must be thrown away by the caller.
pub(crate) fn guard<T>(place: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !SILENT.get() {
                before(info);
            }
        }));
    });
    let restore = Restore(SILENT.replace(true));
    let result = panic::catch_unwind(AssertUnwindSafe(read));
    drop(restore);
    result.unwrap_or_else(|cause| {
        // A message is a `String` where it was formatted and a `&str` where it was not.
        let fixed = cause.downcast_ref::<&str>().map(|text| text.to_string());
        let cause = fixed.or_else(|| cause.downcast_ref::<String>().cloned());
        let error = damaged(place, "a structure inside does not hold together");
        Err(match cause {
            Some(cause) => error.because(cause),
            None => error,
        })
    })
}

/// An error for bytes that are not what was written, with the remedy.
pub(crate) fn damaged(place: impl AsRef<Path>, message: impl Into<String>) -> Error {
    Error::damaged(place, message).hint("build the index anew with `--force`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_panic_becomes_an_error_that_names_the_place() {
        let error = guard::<()>(Path::new("part-0"), || panic!("index {} out of range", 7)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(error.place().0, Some(Path::new("part-0")));
        assert!(format!("{error:?}").contains("index 7 out of range"), "{error:?}");
        assert!(!SILENT.get(), "the flag is put back");
        assert_eq!(guard(Path::new("x"), || Ok(3)).unwrap(), 3);
    }

    #[test]
    fn guards_nest() {
        let outer = guard(Path::new("outer"), || {
            let inner = guard::<()>(Path::new("inner"), || panic!("inner"));
            assert!(SILENT.get(), "still inside the outer guard");
            Ok(inner.is_err())
        });
        assert!(outer.unwrap());
    }
}

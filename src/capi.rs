//! The C face: every function of `include/ntpclock.h`, in C's spelling.
//!
//! The doc comments below this module *are* the header's text; `build.rs` turns them into
//! `include/ntpclock.h`, and `tests/header.rs` keeps the committed copy current. What C receives is
//! plain `#[repr(C)]` data or an opaque handle; what C passes as a number arrives as a number, since an
//! unlisted value of a Rust enum would be undefined behaviour.
//!
//! Every exported function runs its body inside `guarded` (most through `boundary`), so that an error and
//! a panic alike end as a value, and the calling thread is not cancelled in the midst of it. What only reads does
//! without the latter (`caught`, `reading_boundary`).

mod clock;
mod config;
mod convert;
mod events;
mod growing;
mod moments;
mod process;
mod query;
mod result;
mod server;
mod text;
mod values;

pub use clock::*;
pub use config::*;
pub use convert::*;
pub use events::*;
pub use moments::*;
pub use process::*;
pub use query::*;
pub use result::*;
pub use server::*;
pub use text::*;
pub use values::*;

use std::panic::{self, AssertUnwindSafe};

use crate::error::Error;
use crate::sys::cancel::Uncancelled;

/// Runs `body`, in which the calling thread cannot be cancelled; a panic ends here and gives `None`: nothing unwinds
/// into C.
fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    let _whole = Uncancelled::begin();
    caught(body)
}

/// The same for a body that comes to no cancellation point, as readings do not: they are spared the cost.
fn caught<T>(body: impl FnOnce() -> T) -> Option<T> {
    // A panic leaves no broken state that is ours: C's memory is written only by whole values.
    panic::catch_unwind(AssertUnwindSafe(body)).ok()
}

/// Runs `body` inside `guarded` and turns its error, or its panic, into a result; the thread remembers the sentence.
fn boundary(body: impl FnOnce() -> Result<(), Error>) -> ntp_result {
    told(guarded(body))
}

/// The same inside `caught`.
fn reading_boundary(body: impl FnOnce() -> Result<(), Error>) -> ntp_result {
    told(caught(body))
}

fn told(outcome: Option<Result<(), Error>>) -> ntp_result {
    match outcome {
        Some(Ok(())) => ntp_result::NTP_OK,
        Some(Err(error)) => {
            remember(&error);
            (&error).into()
        }
        None => {
            remember_bug();
            ntp_result::NTP_ERR_INTERNAL
        }
    }
}

/// Refuses a NULL that must not be; called before anything is written or begun.
fn not_null<T>(name: &'static str, pointer: *const T) -> Result<(), Error> {
    if pointer.is_null() { Err(Error::argument(name, "is NULL")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn last_error() -> String {
        // SAFETY: a NUL-terminated string of this thread, valid until its next failure.
        let text = unsafe { CStr::from_ptr(ntp_last_error()) };
        text.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_ends_as_a_result_and_a_sentence() {
        assert_eq!(boundary(|| panic!("on purpose")), ntp_result::NTP_ERR_INTERNAL);
        assert_eq!(last_error(), "a bug in ntpclock; please report it");
    }

    #[test]
    fn an_error_is_remembered_by_its_thread_alone() {
        assert_eq!(boundary(|| Err(Error::NotRunning)), ntp_result::NTP_ERR_NOT_RUNNING);
        std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
        assert_eq!(last_error(), "the clock is not running");
    }

    #[test]
    fn success_leaves_the_last_error_alone() {
        boundary(|| Err(Error::Stopped));
        assert_eq!(boundary(|| Ok(())), ntp_result::NTP_OK);
        assert_eq!(last_error(), "the clock was stopped");
    }
}

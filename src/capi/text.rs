//! Text from C, text to C, and the calling thread's last error.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};

use super::caught;
use super::result::ntp_result;
use super::values::{ntp_nts_state, ntp_selection, ntp_state};
use crate::error::Error;
use crate::status::{NtsState, Selection, State};

// What the last failing call of this thread said. In the thread, not in a handle: readers of one clock must not take
// turns over an error text.
thread_local! {
    /// The text, if it was known beforehand. A reading ends here, perhaps in a signal handler that has interrupted the
    /// allocator: without a destructor, whose registration would allocate.
    static KNOWN: Cell<Option<&'static CStr>> = const { Cell::new(None) };

    /// And otherwise.
    static COMPOSED: RefCell<CString> = RefCell::default();
}

/// Longest text that is read where a list may stand; the list's own limit is not above it.
pub(super) const LIST_LIMIT: usize = 16_384;

/// Longest text that is read where one name or address stands: a host name has up to 253 bytes.
pub(super) const NAME_LIMIT: usize = 1_024;

/// Longest text that is read where a path stands: the kernel's own limit.
pub(super) const PATH_LIMIT: usize = 4_096;

/// Keeps what `error` says for [`ntp_last_error`].
pub(super) fn remember(error: &Error) {
    match error {
        // Of a clock that is not synchronised every reading ends here.
        Error::NotSynchronized(state) => KNOWN.set(Some(not_synchronized(*state))),
        error => {
            let text = CString::new(error.to_string().replace('\0', "?")).unwrap_or_default();
            // While a thread ends this is gone; there is then nobody left to ask for the text.
            let _ = COMPOSED.try_with(|last| last.replace(text));
            KNOWN.set(None);
        }
    }
}

/// Keeps the text for a panic; the panic hook has had the details.
pub(super) fn remember_bug() {
    KNOWN.set(Some(c"a bug in ntpclock; please report it"));
}

/// What [`Error::NotSynchronized`] says, known beforehand.
fn not_synchronized(state: State) -> &'static CStr {
    match state {
        State::Unsynchronized => c"no synchronised time: the clock is UNSYNCHRONIZED",
        State::Synchronized => c"no synchronised time: the clock is SYNCHRONIZED",
        State::Holdover => c"no synchronised time: the clock is HOLDOVER",
        State::Disrupted => c"no synchronised time: the clock is DISRUPTED",
    }
}

/// Borrows the text that C passed as the argument `name`.
///
/// # Safety
///
/// `pointer` is NULL or points to a NUL-terminated string that outlives `'a` and does not change.
pub(super) unsafe fn borrow_text<'a>(
    name: &'static str,
    pointer: *const c_char,
    limit: usize,
) -> Result<&'a str, Error> {
    super::not_null(name, pointer)?;
    // SAFETY: NUL-terminated by contract; and no byte beyond `limit` is read, whatever was passed.
    let length = unsafe { libc::strnlen(pointer, limit + 1) };
    if length > limit {
        return Err(Error::argument(name, format!("is longer than {limit} bytes")));
    }
    // SAFETY: `strnlen` has just seen `length` bytes there; by contract they live and stay for `'a`.
    let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) };
    std::str::from_utf8(bytes)
        .map_err(|error| Error::argument(name, format!("is not UTF-8 from byte {} on", error.valid_up_to())))
}

/// Copies `text` into a fixed array: cut between characters where it is too long, always NUL-terminated.
pub(super) fn fixed_text<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    let kept = text.floor_char_boundary(N - 1);
    for (cell, byte) in array.iter_mut().zip(text.bytes().take(kept)) {
        *cell = byte as c_char;
    }
    array
}

/// Says what a result means, in general; `ntp_last_error` says what happened to this call.
///
/// The text is static. Any number may be asked for; those this library does not know get a text that
/// says so. Any thread may call this at any time; it never fails.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_result_message(result: i32) -> *const c_char {
    let message = caught(|| ntp_result::message(result)).flatten();
    message.unwrap_or(c"a result unknown to this version of ntpclock").as_ptr()
}

/// Says what went wrong in the last call of this thread that failed: one sentence that names the thing
/// and the numbers. Empty if none has failed yet; a call that succeeds leaves it alone.
///
/// The text is the calling thread's own and stays valid until its next failing call, or its end: in the destructor of a
/// `pthread_key_create` it may be empty. A failing call in a signal handler counts like any other of the thread.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_last_error() -> *const c_char {
    let composed = || COMPOSED.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr());
    KNOWN.get().map_or_else(|| caught(composed).unwrap_or(c"".as_ptr()), CStr::as_ptr)
}

/// Names a state as the documentation does: "SYNCHRONIZED" for `NTP_STATE_SYNCHRONIZED`.
///
/// The text is static. Any number may be asked for; "UNKNOWN" names those that are no state. Any thread
/// may call this at any time; it never fails.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_state_name(state: i32) -> *const c_char {
    const STATES: [(State, &CStr); 4] = [
        (State::Unsynchronized, c"UNSYNCHRONIZED"),
        (State::Synchronized, c"SYNCHRONIZED"),
        (State::Holdover, c"HOLDOVER"),
        (State::Disrupted, c"DISRUPTED"),
    ];
    let named = caught(|| STATES.into_iter().find(|(known, _)| ntp_state::from(*known) as i32 == state));
    named.flatten().map_or(c"UNKNOWN", |(_, name)| name).as_ptr()
}

/// Names what a source has of Network Time Security: "authenticated" for `NTP_NTS_AUTHENTICATED`.
///
/// The text is static. Any number may be asked for; "unknown" names those that are none. Any thread may
/// call this at any time; it never fails.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_nts_state_name(state: i32) -> *const c_char {
    const STATES: [(NtsState, &CStr); 5] = [
        (NtsState::Off, c"off"),
        (NtsState::NoKeys, c"no keys"),
        (NtsState::Provisional, c"provisional"),
        (NtsState::Unreviewed, c"unreviewed"),
        (NtsState::Authenticated, c"authenticated"),
    ];
    let named = caught(|| STATES.into_iter().find(|(known, _)| ntp_nts_state::from(*known) as i32 == state));
    named.flatten().map_or(c"unknown", |(_, name)| name).as_ptr()
}

/// Names what selection thinks of a source: "truechimer" for `NTP_SELECTION_TRUECHIMER`.
///
/// The text is static. Any number may be asked for; "unknown" names those that are none. Any thread may
/// call this at any time; it never fails.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_selection_name(selection: i32) -> *const c_char {
    const SELECTIONS: [(Selection, &CStr); 6] = [
        (Selection::Unreachable, c"unreachable"),
        (Selection::Truechimer, c"truechimer"),
        (Selection::Falseticker, c"falseticker"),
        (Selection::Unusable, c"unusable"),
        (Selection::Duplicate, c"duplicate"),
        (Selection::Candidate, c"candidate"),
    ];
    let named = caught(|| SELECTIONS.into_iter().find(|(known, _)| ntp_selection::from(*known) as i32 == selection));
    named.flatten().map_or(c"unknown", |(_, name)| name).as_ptr()
}

/// Names a reason why a source or an answer was refused: "origin" for `NTP_REASON_ORIGIN`.
///
/// The text is static. Any number may be asked for; "unknown" names those that are none. Any thread may call this at
/// any time; it never fails.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_reason_name(reason: i32) -> *const c_char {
    const REASONS: [&CStr; 19] = [
        c"malformed",
        c"origin",
        c"authentication",
        c"nak",
        c"rate",
        c"deny",
        c"kiss",
        c"unsynchronized",
        c"loop",
        c"no_timestamp",
        c"root_distance",
        c"hold",
        c"negative_delay",
        c"late",
        c"silence",
        c"network",
        c"contradiction",
        c"falseticker",
        c"no_cookie",
    ];
    let named = usize::try_from(reason).ok().and_then(|place| REASONS.get(place));
    named.copied().unwrap_or(c"unknown").as_ptr()
}

/// The version of the library that is running, as "0.1.0": compare `NTPCLOCK_VERSION_STRING`, the version
/// of the header a program was compiled with. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn ntp_version_string() -> *const c_char {
    // Checked when this is compiled, so that nothing can fail when it is called.
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version holds no NUL"),
    };
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Reason;

    fn text_of(array: &[c_char]) -> String {
        let bytes: Vec<u8> = array.iter().map(|&byte| byte as u8).collect();
        CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned()
    }

    fn name_of(name: *const c_char) -> &'static str {
        // SAFETY: the names are static strings.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap()
    }

    #[test]
    fn text_is_cut_between_characters_and_always_ends() {
        assert_eq!(text_of(&fixed_text::<4>("abc")), "abc");
        assert_eq!(text_of(&fixed_text::<4>("abcd")), "abc");
        assert_eq!(text_of(&fixed_text::<4>("abé")), "ab");
        assert_eq!(text_of(&fixed_text::<1>("a")), "");
    }

    #[test]
    fn that_there_is_no_time_is_said_without_allocating() {
        for state in [State::Unsynchronized, State::Synchronized, State::Holdover, State::Disrupted] {
            let error = Error::NotSynchronized(state);
            remember(&error);
            // The static text itself, not a copy.
            assert_eq!(ntp_last_error(), not_synchronized(state).as_ptr());
            assert_eq!(name_of(ntp_last_error()), error.to_string());
        }
    }

    #[test]
    fn a_text_that_cannot_be_used_is_refused_by_name() {
        let refusal = |pointer| {
            // SAFETY: NULL, or a literal.
            unsafe { borrow_text("host", pointer, 4) }.unwrap_err().to_string()
        };
        assert_eq!(refusal(std::ptr::null()), "`host` is NULL");
        assert_eq!(refusal(c"abcde".as_ptr()), "`host` is longer than 4 bytes");
        assert_eq!(refusal(c"ab\xff".as_ptr()), "`host` is not UTF-8 from byte 2 on");
        // SAFETY: a literal.
        assert_eq!(unsafe { borrow_text("host", c"abcd".as_ptr(), 4) }.unwrap(), "abcd");
    }

    #[test]
    fn c_and_rust_use_the_same_names() {
        for state in [State::Unsynchronized, State::Synchronized, State::Holdover, State::Disrupted] {
            assert_eq!(name_of(ntp_state_name(state as i32)), state.to_string());
        }
        for number in 0..6 {
            assert_ne!(name_of(ntp_selection_name(number)), "unknown");
        }
        use NtsState::{Authenticated, NoKeys, Off, Provisional, Unreviewed};
        for state in [Off, NoKeys, Provisional, Unreviewed, Authenticated] {
            assert_eq!(name_of(ntp_nts_state_name(state as i32)), state.to_string());
        }
        assert_eq!(name_of(ntp_nts_state_name(5)), "unknown");
        assert_eq!(name_of(ntp_selection_name(Selection::Duplicate as i32)), Selection::Duplicate.to_string());
        for reason in Reason::ALL {
            assert_eq!(name_of(ntp_reason_name(reason as i32)), reason.name());
        }
        assert_eq!([-1, Reason::ALL.len() as i32].map(|none| name_of(ntp_reason_name(none))), ["unknown"; 2]);
        assert_eq!(name_of(ntp_state_name(i32::MIN)), "UNKNOWN");
        assert_eq!(name_of(ntp_selection_name(6)), "unknown");
        assert_eq!(name_of(ntp_version_string()), env!("CARGO_PKG_VERSION"));
    }
}

//! What a call came to, in numbers that never change.

use std::ffi::CStr;

use crate::error::Error;

/// What a call came to. Zero is success, every failure is negative.
///
/// Numbers are never reused and never change their meaning: -1 to -19 are the caller's mistake, the
/// same call will fail again; -20 to -39 mean not now, the same call may succeed later; from -40 on the
/// system or the library itself is at fault. Expect numbers that this header does not list: a newer
/// library may have found a new way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_result {
    /// The call did what it says.
    NTP_OK = 0,

    // -1..-19: the caller's mistake; the same call will fail again.
    /// A pointer is NULL, a string is over-long or not UTF-8, or a value makes no sense.
    NTP_ERR_INVALID_ARGUMENT = -1,
    /// An entry of a server list does not follow the grammar.
    NTP_ERR_INVALID_SERVER = -2,
    /// No server is named: the list is empty or, where the environment was to name them, NTPCLOCK_SERVERS is
    /// not set.
    NTP_ERR_NO_SERVERS = -3,
    /// The thing asked for is not part of this build.
    NTP_ERR_UNSUPPORTED = -4,
    /// The process-wide clock already runs with another server list, or with other settings.
    NTP_ERR_ALREADY_RUNNING = -5,
    /// The clock was never started, or is stopped already.
    NTP_ERR_NOT_RUNNING = -6,
    /// A file does not have the form it should.
    NTP_ERR_MALFORMED = -7,

    // -20..-39: not now; the same call may succeed later.
    /// No synchronised time is to be had.
    NTP_ERR_NOT_SYNCHRONIZED = -20,
    /// The time ran out.
    NTP_ERR_TIMEOUT = -21,
    /// The clock was stopped while the call waited.
    NTP_ERR_STOPPED = -22,
    /// A host name has no address.
    NTP_ERR_RESOLVE = -23,
    /// A server's reply could not be used.
    NTP_ERR_BAD_REPLY = -24,
    /// The error bound is larger than the caller allows.
    NTP_ERR_BOUND_EXCEEDED = -25,
    /// Nothing honest can be said of a stamp.
    NTP_ERR_UNCONVERTIBLE = -26,
    /// A server was to be asked with Network Time Security, and there are no keys to do so.
    NTP_ERR_KEY_EXCHANGE = -29,

    // From -40: the system's fault, or ours.
    /// The operating system refused something.
    NTP_ERR_SYSTEM = -40,
    /// A bug in ntpclock.
    NTP_ERR_INTERNAL = -41,
    /// A state file was refused, or could not be written; the clock runs all the same.
    NTP_ERR_STATE_FILE = -42,
    /// A page that processes share, or its lock file, cannot be used; or it was taken away from a clock that runs on
    /// all the same.
    NTP_ERR_SHARED_PAGE = -43,
}

use ntp_result::*;

/// Every result; a test compares it with the list above.
const ALL: [ntp_result; 20] = [
    NTP_OK,
    NTP_ERR_INVALID_ARGUMENT,
    NTP_ERR_INVALID_SERVER,
    NTP_ERR_NO_SERVERS,
    NTP_ERR_UNSUPPORTED,
    NTP_ERR_ALREADY_RUNNING,
    NTP_ERR_NOT_RUNNING,
    NTP_ERR_MALFORMED,
    NTP_ERR_NOT_SYNCHRONIZED,
    NTP_ERR_TIMEOUT,
    NTP_ERR_STOPPED,
    NTP_ERR_RESOLVE,
    NTP_ERR_BAD_REPLY,
    NTP_ERR_BOUND_EXCEEDED,
    NTP_ERR_UNCONVERTIBLE,
    NTP_ERR_KEY_EXCHANGE,
    NTP_ERR_SYSTEM,
    NTP_ERR_INTERNAL,
    NTP_ERR_STATE_FILE,
    NTP_ERR_SHARED_PAGE,
];

impl ntp_result {
    /// What `number` means; `None` if no result has it.
    pub(super) fn message(number: i32) -> Option<&'static CStr> {
        let known = ALL.into_iter().find(|known| *known as i32 == number)?;
        Some(match known {
            NTP_OK => c"success",
            NTP_ERR_INVALID_ARGUMENT => c"an argument is invalid",
            NTP_ERR_INVALID_SERVER => c"a server list is malformed",
            NTP_ERR_NO_SERVERS => c"no server is named",
            NTP_ERR_UNSUPPORTED => c"not part of this build",
            NTP_ERR_ALREADY_RUNNING => c"the clock already runs with other servers or settings",
            NTP_ERR_NOT_RUNNING => c"the clock is not running",
            NTP_ERR_MALFORMED => c"a file is malformed",
            NTP_ERR_NOT_SYNCHRONIZED => c"the clock is not synchronised",
            NTP_ERR_TIMEOUT => c"the time ran out",
            NTP_ERR_STOPPED => c"the clock was stopped",
            NTP_ERR_RESOLVE => c"a host name cannot be resolved",
            NTP_ERR_BAD_REPLY => c"a server's reply is unusable",
            NTP_ERR_BOUND_EXCEEDED => c"the error bound is too large",
            NTP_ERR_UNCONVERTIBLE => c"a stamp cannot be converted",
            NTP_ERR_KEY_EXCHANGE => c"no keys could be exchanged",
            NTP_ERR_SYSTEM => c"the operating system refused",
            NTP_ERR_INTERNAL => c"a bug in ntpclock",
            NTP_ERR_STATE_FILE => c"a state file is not used",
            NTP_ERR_SHARED_PAGE => c"a shared page cannot be used",
        })
    }
}

impl From<&Error> for ntp_result {
    // No `_` arm: a new cause must choose its number.
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidArgument { .. } => NTP_ERR_INVALID_ARGUMENT,
            Error::InvalidServer { .. } => NTP_ERR_INVALID_SERVER,
            Error::NoServers => NTP_ERR_NO_SERVERS,
            Error::Unsupported(_) => NTP_ERR_UNSUPPORTED,
            Error::AlreadyRunning { .. } => NTP_ERR_ALREADY_RUNNING,
            Error::NotRunning => NTP_ERR_NOT_RUNNING,
            Error::Malformed { .. } => NTP_ERR_MALFORMED,
            Error::NotSynchronized(_) => NTP_ERR_NOT_SYNCHRONIZED,
            Error::Timeout { .. } => NTP_ERR_TIMEOUT,
            Error::Stopped => NTP_ERR_STOPPED,
            Error::Resolve { .. } => NTP_ERR_RESOLVE,
            Error::BadReply { .. } => NTP_ERR_BAD_REPLY,
            Error::BoundExceeded { .. } => NTP_ERR_BOUND_EXCEEDED,
            Error::Unconvertible { .. } => NTP_ERR_UNCONVERTIBLE,
            Error::KeyExchange { .. } => NTP_ERR_KEY_EXCHANGE,
            Error::Io { .. } => NTP_ERR_SYSTEM,
            Error::StateFile { .. } => NTP_ERR_STATE_FILE,
            Error::SharedPage { .. } => NTP_ERR_SHARED_PAGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_has_a_number_and_a_message_of_its_own() {
        let listed = include_str!("result.rs").lines().filter_map(|line| {
            let (name, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
            name.starts_with("NTP_").then(|| number.parse::<i32>().ok())?
        });
        let mut messages: Vec<_> = listed.map(|number| ntp_result::message(number).expect("is in ALL")).collect();
        assert_eq!(messages.len(), ALL.len());
        messages.sort_unstable();
        messages.dedup();
        assert_eq!(messages.len(), ALL.len());
        assert_eq!(ntp_result::message(1), None);
    }
}

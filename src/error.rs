//! Everything that can go wrong, one variant a cause; each sentence names the thing and the numbers.

use std::{fmt, io};

/// Why a call failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The argument called `name` makes no sense; `why` completes "`name` …".
    InvalidArgument {
        /// What the argument is called, or what it is if that is not the same in every language.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// `entry` of a server list does not follow the grammar.
    InvalidServer {
        /// The entry as written.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No server is named: the list is empty or, where the environment was to name them, `NTPCLOCK_SERVERS` is not set.
    NoServers,
    /// The thing asked for is not part of this build.
    Unsupported(&'static str),
    /// The process-wide clock already runs with another server list, or with other settings.
    AlreadyRunning {
        /// The list it runs with.
        servers: String,
    },
    /// The clock was never started, or is stopped already.
    NotRunning,
    /// The clock was stopped while the call waited.
    Stopped,
    /// The time ran out; `detail` says for each source what it last suffered.
    Timeout {
        /// One clause a source.
        detail: String,
    },
    /// No synchronised time is to be had now; `state` says why.
    NotSynchronized(crate::State),
    /// The error bound is larger than the caller allows.
    BoundExceeded {
        /// The bound now, ns.
        bound_ns: i64,
        /// The caller's cap, ns.
        max_bound_ns: i64,
    },
    /// A stamp, or a point of UTC, of which nothing honest can be said; `why` completes "the stamp cannot be converted:
    /// …".
    Unconvertible {
        /// What stands against it.
        why: &'static str,
    },
    /// A host name has no address, for now at least.
    Resolve {
        /// The name.
        host: String,
        /// The resolver's reason.
        why: String,
    },
    /// The operating system refused `what`.
    Io {
        /// The operation and the thing it was done to.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A file does not have the form it should.
    Malformed {
        /// The file.
        path: std::path::PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// A state file was not used, or could not be written; the clock runs all the same.
    StateFile {
        /// The file, and what is wrong with it.
        why: String,
    },
    /// A server was to be asked with Network Time Security, and there are no keys to do so.
    KeyExchange {
        /// The server.
        server: String,
        /// Why there are none.
        why: String,
    },
    /// A page that processes share cannot be used, or its lock file; or it was taken away from a clock that runs on all
    /// the same.
    SharedPage {
        /// The file, and what is wrong with it.
        why: String,
    },
    /// A server's reply could not be used.
    BadReply {
        /// The server.
        server: String,
        /// What was wrong with the reply.
        why: String,
    },
}

impl Error {
    pub(crate) fn argument(name: &'static str, why: impl Into<String>) -> Self {
        Self::InvalidArgument { name, why: why.into() }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArgument { name, why } => write!(f, "`{name}` {why}"),
            Self::InvalidServer { entry, why } => write!(f, "server `{entry}`: {why}"),
            Self::NoServers => f.write_str("no server is named"),
            Self::Unsupported(what) => write!(f, "this build of ntpclock has no {what}"),
            Self::AlreadyRunning { servers } => {
                write!(f, "the clock already runs with other servers or settings; its servers are `{servers}`")
            }
            Self::NotRunning => f.write_str("the clock is not running"),
            Self::Stopped => f.write_str("the clock was stopped"),
            Self::Timeout { detail } => write!(f, "the time ran out: {detail}"),
            Self::NotSynchronized(state) => write!(f, "no synchronised time: the clock is {state}"),
            Self::BoundExceeded { bound_ns, max_bound_ns } => {
                write!(f, "the error bound is {bound_ns} ns, {max_bound_ns} ns are allowed")
            }
            Self::Unconvertible { why } => write!(f, "the stamp cannot be converted: {why}"),
            Self::Resolve { host, why } => write!(f, "host `{host}` cannot be resolved: {why}"),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Malformed { path, line, why } => write!(f, "{}:{line}: {why}", path.display()),
            Self::StateFile { why } | Self::SharedPage { why } => f.write_str(why),
            Self::KeyExchange { server, why } => write!(f, "no keys for {server}: {why}"),
            Self::BadReply { server, why } => write!(f, "the reply of {server} is unusable: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

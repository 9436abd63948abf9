//! A clock you link into your program: synchronised UTC with an honest error bound.
//!
//! A background thread asks NTP servers and publishes a *clock model*: a line from the raw counter to UTC, and the
//! interval around it in which UTC must lie. Any thread of the program reads it in nanoseconds, without a lock. There
//! is no daemon, no need of root, and the system clock is left alone.
//!
//! # The way the data takes
//!
//! ```text
//! packet ─► exchange ─► source ─► selection ─► model ─► publication ─► reading
//! bytes     T1..T4:     one       who tells    a line   a page that    time and
//!           offset,     server    the truth?   and its  readers never  interval at
//!           delay       over time              interval wait for       a counter value
//! ```
//!
//! One direction, and a room knows only those before it. Up to the `synchronizer`, which is the core as one value,
//! nothing opens a socket, reads a clock or sleeps: time and bytes come in as arguments, actions go out as values, and
//! the tests run an hour in a millisecond. `nts` is there, too: what authenticated requests and replies look like, and
//! at which time a certificate is to be checked. Below it stands the world:
//!
//! * `sys` is the operating system behind safe functions: counter, kernel timestamps, threads, forks;
//! * `keys` reads the symmetric keys that requests and replies are authenticated with (`mac`, in the core);
//! * `convert` remembers what was published, and where the system's clocks stood: stamps of the past become UTC;
//! * `events` tells programs that something has happened to the clock;
//! * `trace` is exchanges on disk, replayed through the very same core;
//! * `engine` is the thread that carries requests out and datagrams in, and publishes what the core plans, with a helper
//!   for what blocks: names and key exchanges; where processes share a page, it leads or follows;
//! * `query` asks one server once; `clock` is the Rust face; `server` answers other machines from a clock;
//! * `cli` and `capi` are the command line and the C face (features of the same names). The C++ header and the Python
//!   package are built on these. A face holds no thought about time.
//!
//! # From Rust
//!
//! [`Clock`] is a clock of one's own. For programs that need one line, [`start`], [`wait`] and [`now`] are one for the
//! whole process.
//!
//! ```
//! use std::time::Duration;
//!
//! use ntpclock::{Clock, Config, Server, ServerConfig};
//!
//! # fn main() -> Result<(), ntpclock::Error> {
//! // A server of this machine's own clock, so that the example needs no network.
//! let mut config = ServerConfig::new();
//! config.add_listen("127.0.0.1:0")?.set_local(1, Duration::from_millis(1))?;
//! let server = Server::start(None, &config)?;
//!
//! let clock = Clock::start(Config::with_servers(&server.addresses()[0].to_string())?)?;
//! clock.wait(None, Some(Duration::from_secs(10)))?;
//! let reading = clock.now();
//! assert!(reading.earliest_ns <= reading.unix_ns && reading.unix_ns <= reading.latest_ns);
//! println!("{} ns since 1970, within {} ns", reading.unix_ns, reading.error_bound_ns());
//! # Ok(())
//! # }
//! ```

// No bytes from outside may end our host.
#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice, clippy::unwrap_used)]

// The core, and the words and wishes it knows.
mod checksum;
mod config;
mod error;
mod exchange;
mod mac;
mod model;
#[cfg_attr(not(feature = "_nts"), expect(dead_code, reason = "without ciphers there are no sessions"))]
mod nts;
mod packet;
mod selection;
mod source;
mod state;
mod status;
mod synchronizer;
mod units;

// The world.
mod clock;
mod convert;
mod engine;
mod events;
mod keys;
mod publication;
mod query;
mod reading;
mod server;
mod sys;
mod trace;

// The faces that are not Rust's.
#[cfg(feature = "capi")]
#[expect(unsafe_code, non_camel_case_types, reason = "the C face: raw pointers in, names in C's spelling")]
pub mod capi;
#[cfg(feature = "cli")]
pub mod cli;

// What fuzzers drive: a hidden door, there in tests and fuzzers only.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a fuzzer is there to fail"
)]
#[path = "../tests/fuzz/targets/mod.rs"]
pub mod fuzzing;

// What the benchmark of readings beside a held writer needs.
#[cfg(feature = "_bench")]
#[doc(hidden)]
pub use clock::held::HeldPage;

#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod simulation;

pub use clock::process::{
    after, before, convert, deadline, event_fd, is_running, now, now_checked, now_within, offset, on_event, report,
    restart, resume_watch_fault, session, sleep_until, sources, start, start_with, state_file_fault, stop, take_events,
    unix_ns, unix_ns_relaxed, wait, wait_until_past,
};
pub use clock::{Clock, Offset};
pub use config::{Authentication, Config};
pub use convert::{Deadline, Timescale};
pub use error::Error;
pub use events::Events;
pub use query::{query, query_with};
pub use reading::Reading;
pub use reading::compare::Relation;
pub use server::{Server, ServerConfig, ServerStatistics};
pub use status::{
    Flags, Leap, NtsInfo, NtsState, QueryResult, Reason, Refusals, Report, Role, Selection, ServerOptions, SourceInfo,
    State,
};
pub use trace::replay::Replay;

//! A clock you link into your program: synchronised UTC with an honest error bound.

mod config;
mod engine;
mod error;
mod exchange;
mod model;
mod packet;
mod publication;
mod query;
mod reading;
mod selection;
mod source;
mod state;
mod status;
mod synchronizer;
mod sys;
mod trace;
mod units;

#[cfg(feature = "capi")]
#[expect(unsafe_code, non_camel_case_types, reason = "the C face: raw pointers in, names in C's spelling")]
pub mod capi;
#[cfg(feature = "cli")]
pub mod cli;
mod clock;
mod server;
#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod simulation;

pub use clock::process::{is_running, now, offset, report, sources, start, stop, wait};
pub use clock::{Clock, Offset};
pub use config::Config;
pub use error::Error;
pub use query::query;
pub use reading::Reading;
pub use server::{Server, ServerConfig};
pub use status::{Flags, Leap, QueryResult, Report, Selection, SourceInfo, State};
pub use trace::replay::Replay;

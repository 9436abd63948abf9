//! A server as clients, liars and floods see it: by what goes over the wire.
//!
//! `cases` are those that were collected from other servers' faults (each named there by its number); `interleaved` is
//! RFC 9769; `tree` is three strata of servers and clients in a network of its own; `privileges` is the command.

mod cases;
mod interleaved;
mod privileges;
mod system;
mod tree;
mod wire;

#[path = "../common/namespace.rs"]
mod namespace;
#[path = "../common/peers.rs"]
#[expect(dead_code, reason = "servers and clients of one kind will do here")]
mod peers;

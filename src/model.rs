//! Counter → UTC, as a value.
pub(crate) mod bound;

//! What the fuzzers try: a function for each way in which bytes of somebody else come in, and for the arithmetic that
//! they reach. Each states what must hold whatever the bytes are; that nothing panics, and no sum overflows, goes
//! without saying.
//!
//! They are part of the library in its tests and under `cfg(fuzzing)`, and nowhere else, so that they reach what users
//! do not. What they were ever given of note is kept in `../corpus`, and every test run gives it to them again.

mod core;
mod files;
mod keyed;
mod numbers;
mod served;
mod texts;
mod wire;

#[cfg(test)]
mod seeds;

/// What a target does with some bytes: it panics if something does not hold.
pub type Target = fn(&[u8]);

/// Every target and its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("packet", wire::packet),
    ("extension", wire::extension),
    ("reply", wire::reply),
    ("records", keyed::records),
    ("sealed", keyed::sealed),
    ("asked", served::asked),
    ("served", served::served),
    ("key_file", files::keys),
    ("trace", files::trace),
    ("state_file", files::state),
    ("shared_page", files::page),
    ("server_list", texts::servers),
    #[cfg(feature = "cli")]
    ("serve_config", texts::config),
    ("prefixes", crate::server::fuzzed::prefixes),
    ("requests", crate::server::fuzzed::requests),
    ("core", core::core),
    ("numbers", numbers::numbers),
];

/// Bytes taken one by one; zeros once they are used up, so that any input is a whole one.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.bytes(N);
        array.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
        array
    }

    /// As many of them as there are.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn long(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }

    /// A number of any size, small ones as often as large ones: a byte says how many bits count.
    pub(crate) fn sized(&mut self) -> i64 {
        let bits = u32::from(self.byte() & 63);
        let value = self.long();
        value >> (63 - bits)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

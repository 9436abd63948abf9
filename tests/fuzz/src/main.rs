//! One program for all targets: which of them, the environment says (`NTPCLOCK_FUZZ`), since the arguments are
//! libFuzzer's. What the targets try stands in `../targets`, within the library, whose inner parts they reach.

#![no_main]

use std::sync::LazyLock;

use ntpclock::fuzzing::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("NTPCLOCK_FUZZ").unwrap_or_default();
    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("NTPCLOCK_FUZZ is `{name}`; there are {}", known.join(", "))).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));

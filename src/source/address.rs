//! How a source gets a server's address, and another one when that is of no more use: one question at a time.

use super::{Fault, Source};
use crate::status::Selection;
use crate::units::{Counter, Nanos};

/// Longest distance between attempts to find an address, as an exponent of 2 in seconds.
const RESOLVE_RETRY_MAX: i8 = 6;

impl Source {
    /// Whether an address should be looked for now; the question is asked once per attempt.
    pub(crate) fn take_address_wish(&mut self, now: Counter) -> bool {
        let wished = self.resolve_due.is_some_and(|due| due <= now);
        if wished {
            (self.resolve_due, self.resolving) = (None, true);
            self.nts.iter_mut().for_each(|nts| nts.handle_asked(now));
        }
        wished
    }

    /// No address was found; another attempt follows.
    pub(crate) fn handle_no_address(&mut self, why: String, now: Counter) {
        if self.address.is_none() {
            self.fault = Some(Fault::NoAddress(why));
        }
        self.resolving = false;
        self.resolve_failures = (self.resolve_failures + 1).min(RESOLVE_RETRY_MAX + 1);
        self.resolve_due = Some(now + Nanos::from_log2_seconds(self.resolve_failures - 1));
    }

    /// Whether it was told that it wishes for an address, and is not answered yet.
    pub(crate) fn awaits_address(&self) -> bool {
        self.resolving
    }

    /// Whether the address that was wished for is still of use: the old one may have come back to its senses meanwhile.
    pub(crate) fn wants_address(&self) -> bool {
        let good = self.reach() != 0 && !self.is_discredited() && self.selection != Selection::Falseticker;
        self.address.is_none() || !good
    }

    /// Asks for a (perhaps different) address, one question at a time.
    pub(super) fn wish_for_another(&mut self, now: Counter) {
        if self.resolve_due.is_none() && !self.resolving {
            self.resolve_due = Some(now.max(self.earliest_wish(now)));
        }
    }
}

//! What servers of our own say of themselves, so that we do not follow one.

use crate::exchange::Reference;

/// A server may be a few exchanges behind what it should say.
const KEPT: usize = 4;

/// What was said lately, the newest first.
#[derive(Debug, Default)]
pub(crate) struct Ours([Option<Reference>; KEPT]);

impl Ours {
    /// A server of ours says this from now on.
    pub(crate) fn add(&mut self, reference: Reference) {
        let Self([newest, ..]) = self;
        if *newest != Some(reference) {
            self.0.rotate_right(1);
            self.0[0] = Some(reference);
        }
    }

    pub(super) fn contains(&self, reference: Reference) -> bool {
        self.0.contains(&Some(reference))
    }
}

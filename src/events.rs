//! Telling the program that something has happened to the clock: by a descriptor it can wait for, and by a callback.

pub(crate) mod desk;
pub(crate) mod watch;

/// What happened, one bit each. Expect bits that are not listed here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Events(pub u32);

impl Events {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The clock became SYNCHRONIZED.
    pub const SYNCHRONIZED: Self = Self(1);
    /// The clock is no longer SYNCHRONIZED but in HOLDOVER, or no longer that but UNSYNCHRONIZED; also by its stop.
    pub const LOST: Self = Self(1 << 1);
    /// The clock became DISRUPTED: nothing older is to be trusted.
    pub const DISRUPTED: Self = Self(1 << 2);
    /// A new epoch has begun, and not the first: readings of before and after are not on one line.
    pub const STEPPED: Self = Self(1 << 3);

    /// The bits that say which state was entered.
    const OF_STATES: Self = Self(Self::SYNCHRONIZED.0 | Self::LOST.0 | Self::DISRUPTED.0);

    /// Whether every bit of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing happened.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for Events {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

//! Certificates before time: a certificate is valid *at a time*, and the time is what we are after.
//!
//! So it is checked at the best time there is when keys are exchanged, in this order: what our own clock shows, if it
//! is synchronised; the host's clock, if it is possible; else the earliest time that is possible. UTC is not before the
//! *floor*: the day we were built, or the time that an earlier run has left. A session whose certificate could only be
//! checked at the earliest time is *provisional*.
//!
//! As soon as enough sources agree on a time, every certificate is checked again, at that time; a session whose
//! certificate does not hold there ends.

use std::fmt;
use std::sync::Arc;

use crate::units::{Nanos, UnixTime};

/// How far after the floor a host's clock is believed: no library is used for longer, and no certificate holds.
const PLAUSIBLE: Nanos = Nanos::from_seconds(20 * 366 * 86_400);

/// Certificates that may each say that the time is too early; a chain is not longer.
const CHAIN_MAX: usize = 16;

/// Whose time a certificate was checked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The synchronised clock's, or that of the sources that agreed: it stands.
    Obtained,
    /// The host's clock.
    Host,
    /// No clock's: the earliest possible one.
    Floor,
}

/// The time to check a certificate at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CertificateTime {
    pub(crate) at: UnixTime,
    pub(crate) basis: Basis,
}

impl CertificateTime {
    /// `own` is what our clock shows, if it can be trusted; `host` what the host's clock shows.
    pub(crate) fn choose(floor: UnixTime, host: UnixTime, own: Option<UnixTime>) -> Self {
        match own {
            Some(own) if own >= floor => Self { at: own, basis: Basis::Obtained },
            _ if host >= floor && host - floor <= PLAUSIBLE => Self { at: host, basis: Basis::Host },
            _ => Self { at: floor, basis: Basis::Floor },
        }
    }

    /// Has `check` judge a chain of certificates at this time; where there is no clock, at the earliest time from the
    /// floor on at which none of them is not valid yet.
    pub(crate) fn judge<T>(self, check: impl Fn(UnixTime) -> Result<T, Invalid>) -> Result<T, Invalid> {
        let mut at = self.at;
        for _ in 0..CHAIN_MAX {
            match check(at) {
                // Later at each turn, so that it comes to an end.
                Err(Invalid::NotYet { from }) if self.basis == Basis::Floor && from > at => at = from,
                judged => return judged,
            }
        }
        check(at)
    }
}

/// Why a chain of certificates does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// Not before this time.
    NotYet { from: UnixTime },
    /// Not after this time.
    Expired { since: UnixTime },
    /// Whatever the time; in words.
    Otherwise(String),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet { from } => write!(f, "the certificate is not valid before {from}"),
            Self::Expired { since } => write!(f, "the certificate has expired, {since}"),
            Self::Otherwise(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for CertificateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.basis {
            Basis::Obtained => write!(f, "at the time obtained, {}", self.at),
            Basis::Host => write!(f, "at the system clock's time, {}", self.at),
            Basis::Floor => write!(f, "the system clock being out of the question, from {} on", self.at),
        }
    }
}

/// A server's chain of certificates, and the name it has to be for: whether it holds at another time.
pub(crate) trait Chain: fmt::Debug + Send + Sync {
    fn check(&self, at: UnixTime) -> Result<(), Invalid>;
}

/// What stands behind a session's keys.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) basis: Basis,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::unix_seconds;

    const YEAR: i64 = 365 * 86_400;
    const FLOOR: UnixTime = unix_seconds(1_795_000_000);

    fn years(years: i64) -> UnixTime {
        FLOOR + Nanos::from_seconds(years * YEAR)
    }

    #[test]
    fn our_own_clock_comes_before_the_hosts_and_a_possible_one_before_none() {
        let choose = |host, own| CertificateTime::choose(FLOOR, host, own);
        let (obtained, floor) = (CertificateTime { at: years(1), basis: Basis::Obtained }, Basis::Floor);
        assert_eq!(choose(years(2), Some(years(1))), obtained);
        assert_eq!(choose(unix_seconds(0), Some(years(1))), obtained);
        assert_eq!(choose(years(2), None), CertificateTime { at: years(2), basis: Basis::Host });
        // 14 years ahead is possible, and 1970 and 2060 are not.
        assert_eq!(choose(years(14), None).basis, Basis::Host);
        for impossible in [unix_seconds(0), years(-1), years(34)] {
            assert_eq!(choose(impossible, None), CertificateTime { at: FLOOR, basis: floor });
        }
        // A time of ours from before we were built is none.
        assert_eq!(choose(years(2), Some(years(-1))).basis, Basis::Host);
    }

    /// Checks like those of a chain whose members are valid within these spans.
    fn chain(spans: &[(i64, i64)]) -> impl Fn(UnixTime) -> Result<UnixTime, Invalid> {
        move |at| {
            for &(from, until) in spans {
                if at < years(from) {
                    return Err(Invalid::NotYet { from: years(from) });
                }
                if at > years(until) {
                    return Err(Invalid::Expired { since: years(until) });
                }
            }
            Ok(at)
        }
    }

    #[test]
    fn without_a_clock_a_chain_is_judged_when_the_last_of_it_has_become_valid() {
        let floor = CertificateTime { at: FLOOR, basis: Basis::Floor };
        assert_eq!(floor.judge(chain(&[(-1, 5)])), Ok(FLOOR));
        assert_eq!(floor.judge(chain(&[(1, 5), (2, 9), (0, 9)])), Ok(years(2)));
        assert!(floor.judge(chain(&[(-5, -1)])).is_err());
        // No one time is in both.
        assert!(floor.judge(chain(&[(1, 2), (3, 4)])).is_err());
    }

    #[test]
    fn a_clock_is_taken_at_its_word() {
        for basis in [Basis::Host, Basis::Obtained] {
            let time = CertificateTime { at: years(1), basis };
            assert_eq!(time.judge(chain(&[(0, 2)])), Ok(years(1)));
            assert_eq!(time.judge(chain(&[(2, 3)])), Err(Invalid::NotYet { from: years(2) }));
            assert!(time.judge(chain(&[(-2, 0)])).is_err());
        }
    }

    #[test]
    fn a_chain_that_never_becomes_valid_is_given_up() {
        let floor = CertificateTime { at: FLOOR, basis: Basis::Floor };
        let never = |at| Err::<(), _>(Invalid::NotYet { from: at + Nanos(1) });
        assert!(floor.judge(never).is_err());
        let stuck = |_| Err::<(), _>(Invalid::NotYet { from: years(-1) });
        assert!(floor.judge(stuck).is_err());
    }
}

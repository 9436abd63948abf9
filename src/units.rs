//! The quantities of timekeeping, each a type of its own; every conversion is here.
//!
//! Two time lines never mix: [`Counter`] is the free-running local oscillator, [`UnixTime`] is UTC. A
//! difference on either line is a span of [`Nanos`]. All arithmetic saturates: hostile timestamps may
//! be any 64 bits, and a saturated span is refused by every later check, where a wrapped one might pass.

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub};

/// Nanoseconds in one second.
pub(crate) const NANOS_PER_SECOND: i64 = 1_000_000_000;

pub(crate) const SECONDS_PER_DAY: i64 = 86_400;

/// Seconds from the first NTP era (1900-01-01) to the Unix epoch (1970-01-01); RFC 5905, figure 4.
const NTP_UNIX_OFFSET_S: i64 = 2_208_988_800;

/// Seconds in one NTP era.
const ERA_S: i64 = 1 << 32;

/// A span of time in nanoseconds, of either sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Nanos(pub(crate) i64);

/// A value of the raw counter: nanoseconds at its nominal rate since an origin that is one per boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Counter(pub(crate) i64);

/// A point of UTC: nanoseconds since 1970-01-01T00:00:00Z, POSIX counting (no leap seconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UnixTime(pub(crate) i64);

/// A relative frequency (or slew rate) in parts per 10^9; positive: UTC gains on the raw counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub(crate) struct Ppb(pub(crate) f64);

/// A relative frequency in fixed point, units of 2^-48 (3.6e-15): what a published page carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rate(pub(crate) i64);

/// A point on the NTP time scale: 32.32 fixed-point seconds within one era.
///
/// Eras last 2^32 s and carry no number on the wire; the next begins on 2036-02-07.
/// There is therefore no `Ord`: only differences have meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NtpTime(pub(crate) u64);

/// A span on the wire: 16.16 fixed-point seconds, never negative (RFC 5905, "short format").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NtpShort(pub(crate) u32);

impl Nanos {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const MAX: Self = Self(i64::MAX);

    pub(crate) const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    pub(crate) const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// 2^`exponent` seconds, rounded up to at least 1 ns: a poll interval or a clock's precision.
    ///
    /// Exponents come off the wire, so any value is answered; those beyond ±32 are held there.
    pub(crate) fn from_log2_seconds(exponent: i8) -> Self {
        match exponent.clamp(-32, 32) {
            small @ ..0 => Self((NANOS_PER_SECOND >> -small) + 1),
            large => Self(NANOS_PER_SECOND << large),
        }
    }

    /// A span computed in floating point, rounded away from zero: a bound never shrinks by rounding.
    pub(crate) fn from_f64_outward(nanos: f64) -> Self {
        // `as` saturates, and turns a NaN into 0; no formula of ours yields one from finite input.
        Self(if nanos < 0.0 { nanos.floor() as i64 } else { nanos.ceil() as i64 })
    }

    pub(crate) fn from_duration(duration: std::time::Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }

    /// The span as a `Duration`; a negative one is zero.
    pub(crate) fn to_duration(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    pub(crate) fn as_f64(self) -> f64 {
        self.0 as f64
    }

    pub(crate) fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// Half of the span, rounded up.
    pub(crate) fn half_up(self) -> Self {
        Self(self.0 / 2 + self.0 % 2)
    }

    /// What `rate` gains over this span, rounded to the nearest nanosecond.
    pub(crate) fn gain(self, rate: Ppb) -> Self {
        Self((self.as_f64() * rate.0 * 1e-9).round() as i64)
    }

    /// What `rate` gains over this span at most, rounded away from zero.
    pub(crate) fn gain_outward(self, rate: Ppb) -> Self {
        Self::from_f64_outward(self.as_f64() * rate.0 * 1e-9)
    }
}

impl Ppb {
    pub(crate) const fn from_ppm(ppm: f64) -> Self {
        Self(ppm * 1e3)
    }
}

impl Rate {
    const FRACTION_BITS: u32 = 48;

    /// The nearest rate; held within ±1 %, far above any oscillator's error.
    pub(crate) fn from_ppb(ppb: Ppb) -> Self {
        Self((ppb.0.clamp(-1e7, 1e7) * 1e-9 * (1_u64 << Self::FRACTION_BITS) as f64).round() as i64)
    }

    /// Not below `ppb`: for the upper end of a bound.
    pub(crate) fn from_ppb_up(ppb: Ppb) -> Self {
        Self(Self::from_ppb(ppb).0 + 1)
    }

    /// Not above `ppb`: for the lower end of a bound.
    pub(crate) fn from_ppb_down(ppb: Ppb) -> Self {
        Self(Self::from_ppb(ppb).0 - 1)
    }

    /// The same in parts of 10^9, to far better than a page's resolution.
    pub(crate) fn ppb(self) -> Ppb {
        Ppb(self.0 as f64 / (1_u64 << Self::FRACTION_BITS) as f64 * 1e9)
    }

    /// What this rate gains over `span`, rounded down: hence never decreasing by more than `span` grows.
    pub(crate) fn gain(self, span: Nanos) -> Nanos {
        // 63 + 48 bits at most: the product fits, and so does its quotient, as the rate is below 1.
        Nanos(((i128::from(span.0) * i128::from(self.0)) >> Self::FRACTION_BITS) as i64)
    }

    /// What this rate adds to a multiplier of nanoseconds, rounded down.
    pub(crate) fn gain_of(self, multiplier: u64) -> i64 {
        // 64 + 48 bits at most, and the rate is within ±1 %: the quotient has 58.
        ((i128::from(multiplier) * i128::from(self.0)) >> Self::FRACTION_BITS) as i64
    }
}

impl Counter {
    /// Midpoint of two counter values.
    pub(crate) fn midpoint(self, other: Self) -> Self {
        Self(self.0.midpoint(other.0))
    }
}

impl NtpTime {
    pub(crate) const ZERO: Self = Self(0);

    /// The wire's timestamp for `time`, rounded down; the era is lost.
    pub(crate) fn from_unix(time: UnixTime) -> Self {
        let seconds = time.0.div_euclid(NANOS_PER_SECOND) + NTP_UNIX_OFFSET_S;
        let nanos = time.0.rem_euclid(NANOS_PER_SECOND) as u64;
        let fraction = (nanos << 32) / NANOS_PER_SECOND as u64;
        // Truncation to 32 bits is what an era is.
        Self(((seconds as u64) << 32) | fraction)
    }

    /// UTC within the era that begins at `pivot`: the answer lies in [pivot, pivot + 2^32 s).
    ///
    /// The fraction is rounded to the nearest nanosecond; the wire's grain is 0.23 ns.
    pub(crate) fn resolve(self, pivot: UnixTime) -> UnixTime {
        let pivot_s = pivot.0.div_euclid(NANOS_PER_SECOND);
        let seconds_in_era = (self.0 >> 32) as i64 - NTP_UNIX_OFFSET_S;
        let seconds = pivot_s + (seconds_in_era - pivot_s).rem_euclid(ERA_S);
        let fraction = self.0 & 0xffff_ffff;
        let nanos = (fraction * NANOS_PER_SECOND as u64 + (1 << 31)) >> 32;
        UnixTime(seconds.saturating_mul(NANOS_PER_SECOND)) + Nanos(nanos as i64)
    }
}

impl NtpShort {
    /// The largest span the wire can carry, about 18 h.
    pub(crate) const MAX: Self = Self(u32::MAX);

    /// The span in nanoseconds, rounded up by the wire's grain of 15.3 µs: the sender may have truncated.
    pub(crate) fn nanos_up(self) -> Nanos {
        if self.0 == 0 {
            // An exact zero is what a primary server says of its own reference.
            return Nanos::ZERO;
        }
        Nanos(((i64::from(self.0) + 1) * NANOS_PER_SECOND) >> 16)
    }

    /// The smallest wire value that is not below `span`; negative spans are zero.
    pub(crate) fn from_nanos_up(span: Nanos) -> Self {
        let wide = i128::from(span.0.max(0)) << 16;
        let up = (wide + i128::from(NANOS_PER_SECOND) - 1) / i128::from(NANOS_PER_SECOND);
        u32::try_from(up).map_or(Self::MAX, Self)
    }
}

macro_rules! spans {
    ($point:ident) => {
        impl Sub for $point {
            type Output = Nanos;
            fn sub(self, other: Self) -> Nanos {
                Nanos(self.0.saturating_sub(other.0))
            }
        }
        impl Add<Nanos> for $point {
            type Output = Self;
            fn add(self, span: Nanos) -> Self {
                Self(self.0.saturating_add(span.0))
            }
        }
        impl Sub<Nanos> for $point {
            type Output = Self;
            fn sub(self, span: Nanos) -> Self {
                Self(self.0.saturating_sub(span.0))
            }
        }
        impl AddAssign<Nanos> for $point {
            fn add_assign(&mut self, span: Nanos) {
                *self = *self + span;
            }
        }
    };
}

spans!(Counter);
spans!(UnixTime);

impl Add for Nanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Nanos {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Nanos {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The point of UTC that is `seconds` after 1970-01-01T00:00:00Z.
pub(crate) const fn unix_seconds(seconds: i64) -> UnixTime {
    UnixTime(seconds.saturating_mul(NANOS_PER_SECOND))
}

/// As ISO 8601 has it: `2026-11-22T17:03:47.123456789Z`.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.div_euclid(NANOS_PER_SECOND), self.0.rem_euclid(NANOS_PER_SECOND));
        let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

/// Year, month and day of the day that is `days` after 1970-01-01, in the Gregorian calendar.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    /// Days of 400 years: the calendar repeats after them.
    const CYCLE: i64 = 146_097;
    /// 0000-03-01 to 1970-01-01. Years that begin in March have the leap day at their end, where it shifts nothing.
    const MARCH_OF_YEAR_0: i64 = 719_468;
    let day = days + MARCH_OF_YEAR_0;
    let (cycle, day) = (day.div_euclid(CYCLE), day.rem_euclid(CYCLE));
    // Take out the leap days before `day`: one in 4 years, none in 100, one in 400. Each span is counted by
    // its whole length less one day, so that its last day still belongs to it.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, the lengths 31 30 31 30 31 repeat: 153 days in five months.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next_year, month, day)
}

impl UnixTime {
    /// The month of the calendar, 1 to 12.
    pub(crate) fn month(self) -> i64 {
        civil(self.0.div_euclid(SECONDS_PER_DAY * NANOS_PER_SECOND)).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2036-02-07T06:28:16Z, the first second of era 1.
    const ERA_1: i64 = ERA_S - NTP_UNIX_OFFSET_S;

    #[test]
    fn known_instants_are_written_as_everybody_writes_them() {
        let second = NANOS_PER_SECOND;
        for (unix_ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400 * second, "2000-02-29T00:00:00.000000000Z"),
            (1_709_251_199 * second + 5, "2024-02-29T23:59:59.000000005Z"),
            (2_085_978_496 * second, "2036-02-07T06:28:16.000000000Z"),
            (4_107_542_400 * second, "2100-03-01T00:00:00.000000000Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            assert_eq!(UnixTime(unix_ns).to_string(), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let length = |year: i64, month: i64| match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut expected = (1900, 1, 1);
        for days in -25_567..-25_567 + 146_097 {
            assert_eq!(civil(days), expected);
            let (year, month, day) = expected;
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                _ if day == length(year, month) => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
    }

    #[test]
    fn a_timestamp_survives_the_wire_to_the_nanosecond() {
        let pivot = unix_seconds(1_700_000_000);
        for nanos in [0, 1, 2, 499_999_999, 999_999_998, 999_999_999] {
            let time = UnixTime(1_795_000_000 * NANOS_PER_SECOND + nanos);
            let back = NtpTime::from_unix(time).resolve(pivot);
            assert!((back - time).abs() <= Nanos(1), "{time:?} became {back:?}");
        }
    }

    #[test]
    fn the_era_is_the_one_that_begins_at_the_pivot() {
        let pivot = unix_seconds(ERA_1 - 10);
        for seconds in [ERA_1 - 10, ERA_1 - 1, ERA_1, ERA_1 + 1, ERA_1 - 11 + ERA_S] {
            assert_eq!(NtpTime::from_unix(unix_seconds(seconds)).resolve(pivot), unix_seconds(seconds));
        }
        // One second before the pivot cannot be told from the end of the era that follows.
        assert_eq!(NtpTime::from_unix(unix_seconds(ERA_1 - 11)).resolve(pivot), unix_seconds(ERA_1 - 11 + ERA_S));
    }

    #[test]
    fn short_spans_round_up_both_ways() {
        for nanos in [1, 15_258, 15_259, 1_000_000, 999_999_999, 65_535 * NANOS_PER_SECOND] {
            let wire = NtpShort::from_nanos_up(Nanos(nanos));
            assert!(wire.nanos_up() >= Nanos(nanos), "{nanos}");
        }
        assert_eq!(NtpShort::from_nanos_up(Nanos::MAX), NtpShort::MAX);
        assert_eq!(NtpShort::from_nanos_up(Nanos(-5)), NtpShort(0));
    }

    #[test]
    fn powers_of_two_are_never_zero_and_never_overflow() {
        assert_eq!(Nanos::from_log2_seconds(4), Nanos::from_seconds(16));
        assert!(Nanos::from_log2_seconds(i8::MIN) > Nanos::ZERO);
        assert!(Nanos::from_log2_seconds(i8::MAX) > Nanos::from_seconds(1));
    }

    #[test]
    fn spans_saturate_instead_of_wrapping() {
        assert_eq!(UnixTime(i64::MAX) - UnixTime(i64::MIN), Nanos::MAX);
        assert_eq!(UnixTime(i64::MAX) + Nanos(1), UnixTime(i64::MAX));
    }

    #[test]
    fn a_month_begins_at_midnight() {
        let december = unix_seconds(1_796_083_200);
        assert_eq!([(december - Nanos(1)).month(), december.month()], [11, 12]);
    }
}

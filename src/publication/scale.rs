//! What ticks are in nanoseconds: fixed-point arithmetic without division or floating point.
//!
//! A [`Factor`] is nanoseconds a tick, `m / 2^(64-s)` with `m` of 64 bits. Its product with a span of ticks is the high
//! half of one multiplication, `((d << s) · m) >> 64`. For a counter above 1 GHz `s` is 0; for one whose tick is 1 ns
//! or longer the multiplier alone would not fit 64 bits, so the ticks are shifted beforehand.

use crate::sys::ticks::{Kind, Tick};
use crate::units::{Counter, Nanos, Rate};

/// Nanoseconds a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Factor {
    /// Units of 2^-(64 - `shift`) ns.
    pub(crate) multiplier: u64,
    pub(crate) shift: u32,
}

/// Factors of every counter lie below this, so that one that gains 1 % more still fits.
const MULTIPLIER_MAX: u64 = u64::MAX / 50 * 49;

/// What the shift of a page of ticks can be: where they are known to be shorter than 1 ns, readers need not shift at
/// all.
const SHIFT_MAX: u32 = if cfg!(target_arch = "x86_64") { 0 } else { 10 };

impl Factor {
    /// One nanosecond.
    pub(crate) const RAW: Self = Self { multiplier: 1 << 63, shift: 1 };

    /// `numerator / 2^bits` ns a tick; `None` for a counter that is too slow for this machine's readers, or no counter.
    pub(crate) fn new(numerator: u32, bits: u32) -> Option<Self> {
        let wide = u128::from(numerator) << 64_u32.checked_sub(bits)?;
        (0..=SHIFT_MAX)
            .map(|shift| (shift, wide >> shift))
            .find(|(_, multiplier)| (1..=u128::from(MULTIPLIER_MAX)).contains(multiplier))
            .map(|(shift, multiplier)| Self { multiplier: multiplier as u64, shift })
    }

    /// The same for UTC, which gains `rate` on the raw counter; rounded down by less than 2^-63.
    pub(crate) fn gaining(self, rate: Rate) -> Self {
        let gain = rate.gain_of(self.multiplier);
        Self { multiplier: self.multiplier.saturating_add_signed(gain), shift: self.shift }
    }

    /// What `ticks` last, rounded down. Saturates.
    pub(crate) fn over(self, ticks: i64) -> Nanos {
        // 63 + 64 bits and a sign: just fits.
        let product = (i128::from(ticks) * i128::from(self.multiplier)) >> (64 - self.shift);
        Nanos(product.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

/// What `ticks` last, rounded down: the reader's form of [`Factor::over`], the same up to some 150 years.
#[inline(always)]
pub(crate) fn high_product(ticks: u64, shift: u32, multiplier: u64) -> i64 {
    ((u128::from(ticks << shift) * u128::from(multiplier)) >> 64) as i64
}

/// Tick → raw counter: never decreasing, the same function for as long as a page is read by ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) kind: Kind,
    pub(crate) factor: Factor,
    /// The counter shows `counter` at `tick`.
    pub(crate) tick: Tick,
    pub(crate) counter: Counter,
}

impl Scale {
    /// The raw counter read as such: a tick is a nanosecond.
    pub(crate) const RAW: Self = Self { kind: Kind::Raw, factor: Factor::RAW, tick: Tick(0), counter: Counter(0) };

    pub(crate) fn counter_at(&self, tick: Tick) -> Counter {
        self.counter + self.factor.over(tick.0.saturating_sub(self.tick.0))
    }

    /// The first tick at which the counter shows `counter`. What is centuries away saturates.
    pub(crate) fn tick_at(&self, counter: Counter) -> Tick {
        const FAR: i64 = 1 << 62;
        let Some(multiplier) = std::num::NonZeroU64::new(self.factor.multiplier) else { return self.tick };
        let nanos = (counter - self.counter).0.clamp(-FAR, FAR);
        let wide = i128::from(nanos) << (64 - self.factor.shift);
        let multiplier = i128::from(multiplier.get());
        let ticks = wide.div_euclid(multiplier) + i128::from(wide.rem_euclid(multiplier) != 0);
        Tick(self.tick.0.saturating_add(ticks.clamp(i64::MIN.into(), i64::MAX.into()) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Ppb;

    /// Counters of 24 MHz (AArch64; the reader's shift is then 6), 1 GHz, 2.3 GHz and 5 GHz.
    fn scales() -> Vec<Scale> {
        let of = |hertz: f64, shift: u32| {
            let multiplier = (1e9 / hertz * ((64.0 - f64::from(shift)).exp2())) as u64;
            Scale {
                kind: Kind::Ticks,
                factor: Factor { multiplier, shift },
                tick: Tick(123_456_789),
                counter: Counter(-77),
            }
        };
        vec![of(24e6, 6), of(1e9, 1), of(2.3e9, 0), of(5e9, 0), Scale::RAW]
    }

    /// Spans in ticks up to 30 years' worth of a 5 GHz counter, and their neighbours.
    fn spans() -> impl Iterator<Item = i64> {
        let thirty_years = 30 * 366 * 86_400 * 5_000_000_000_i64;
        let powers = (0..63).map(|bit| 1_i64 << bit).filter(move |span| *span <= thirty_years);
        powers.chain([thirty_years]).flat_map(|span| [span - 1, span, span + 1])
    }

    #[test]
    fn the_readers_product_is_the_writers() {
        for scale in scales() {
            // A slow counter takes longer to get as far.
            for ticks in spans().filter(|ticks| ticks.leading_zeros() > scale.factor.shift) {
                let reader = high_product(ticks.cast_unsigned(), scale.factor.shift, scale.factor.multiplier);
                assert_eq!(Nanos(reader), scale.factor.over(ticks), "{ticks} {scale:?}");
            }
        }
    }

    #[test]
    fn a_counter_value_is_first_shown_at_its_tick() {
        for scale in scales() {
            for span in spans().flat_map(|span| [span, -span]).filter(|span| span.abs() < 1 << 60) {
                let counter = scale.counter + Nanos(span);
                let tick = scale.tick_at(counter);
                if tick.0.abs() > i64::MAX / 2 {
                    // 30 years of nanoseconds are more than 63 bits of the fastest ticks: it says so.
                    continue;
                }
                assert!(scale.counter_at(tick) >= counter, "{span} {scale:?}");
                assert!(scale.counter_at(Tick(tick.0 - 1)) < counter, "{span} {scale:?}");
            }
        }
    }

    #[test]
    fn thirty_years_at_five_gigahertz_are_thirty_years() {
        let thirty_years = 30 * 365 * 86_400;
        let shown = Factor { multiplier: u64::MAX / 5, shift: 0 }.over(thirty_years * 5_000_000_000);
        assert!((shown - Nanos::from_seconds(thirty_years)).abs() <= Nanos(2), "{shown:?}");
        assert_eq!(Scale::RAW.factor.over(i64::MAX - 5), Nanos(i64::MAX - 5));
        assert_eq!(Scale::RAW.factor.over(i64::MIN), Nanos(i64::MIN));
    }

    #[test]
    fn what_gains_takes_the_same_time_longer() {
        for scale in scales() {
            for ppm in [-10_000.0, -500.0, -0.001, 0.0, 0.001, 500.0, 10_000.0] {
                let rate = Rate::from_ppb(Ppb::from_ppm(ppm));
                let factor = scale.factor.gaining(rate);
                let ticks = scale.tick_at(scale.counter + Nanos::from_seconds(86_400)).0 - scale.tick.0;
                let span = scale.factor.over(ticks);
                let shown = factor.over(ticks);
                assert!((shown - span - rate.gain(span)).abs() <= Nanos(2), "{ppm} {scale:?}: {shown:?}");
            }
        }
    }

    #[test]
    fn a_tick_of_a_nanosecond_or_more_is_shifted_beforehand() {
        // 24 MHz: the kernel's multiplier and shift.
        let arm = Factor::new(699_050_667, 24);
        let giga = Factor::new(1 << 23, 23);
        if cfg!(target_arch = "x86_64") {
            assert_eq!((arm, giga), (None, None), "readers of this machine do not shift");
        } else {
            assert_eq!(arm.map(|factor| factor.shift), Some(6));
            assert_eq!(giga.map(|factor| factor.shift), Some(1));
        }
        assert_eq!(Factor::new(0, 24), None);
        assert_eq!(Factor::new(u32::MAX, 65), None);
        assert_eq!(Factor::new(1 << 23, 24), Some(Factor { multiplier: 1 << 63, shift: 0 }));
    }
}

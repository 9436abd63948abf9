//! Finds out what function of the ticks the raw counter is, and checks that it still is.
//!
//! While Linux tells the time by one counter, `CLOCK_MONOTONIC_RAW` is exactly
//!
//! ```text
//! raw(tick) = floor((tick · mult + c) / 2^shift)
//! ```
//!
//! with whole numbers `mult`, `shift` and `c` that never change (`kernel/time/timekeeping.c`, `tkr_raw`; NTP corrects
//! only `tkr_mono`). Two sights some tenths of a second apart, each good to some 50 ns, leave but one `mult` possible;
//! `shift` follows from the frequency as the kernel chooses it (`clocks_calc_mult_shift` for `CLOCKSOURCE` masks of
//! more than 32 bits). `c` stays unknown within the width of a sight, and the greatest possible is taken: what readers
//! compute from ticks is never behind the raw counter, and ahead of it by at most [`Relation::ahead`]. So whoever goes
//! over from the one to the other reads nothing twice, and the published interval begins earlier by as much.
//!
//! Should a kernel reckon otherwise, `mult` is wrong by less than the sights can tell. What they can is the [`Doubt`]:
//! it is in the published interval too, and shrinks as the sights move apart. Sights that contradict the relation end
//! it: there is another clock source, or a counter was reset. Until the writer's next wake-up readers cannot know.

use super::scale::{Factor, Scale};
use crate::sys::ticks::{Kind, Sight, Tick};
use crate::units::{Counter, Nanos, Ppb};

/// Sights further apart than this are compared with the first one.
const BASELINE_MIN: Nanos = Nanos::from_millis(100);

/// A wider sight was interrupted: it shows little.
const WIDTH_MAX: Nanos = Nanos(2_000);

/// The two counters as they belong together. A page carries it, so that another writer can go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) scale: Scale,
    /// The scale is ahead of the raw counter by this at most, and never behind.
    pub(crate) ahead: Nanos,
    /// What it was first compared with.
    pub(crate) first: Sight,
}

/// How far a scale can be off, whether or not the kernel reckons as we think: from the newest sight on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Doubt {
    /// The scale is ahead of the raw counter by this at most,
    pub(crate) ahead: Nanos,
    /// or behind by this,
    pub(crate) behind: Nanos,
    /// and its frequency is off by this, of either sign.
    pub(crate) frequency: Ppb,
}

impl Doubt {
    /// The raw counter itself is what we mean.
    pub(crate) const NONE: Self = Self { ahead: Nanos::ZERO, behind: Nanos::ZERO, frequency: Ppb(0.0) };
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing to be said: no relation is known, or the sight was poor.
    Nothing,
    /// The relation is known and holds.
    Holds,
    /// The relation that readers rely on does not hold any more: since the last sight that did hold, what they read was
    /// wrong.
    Broken,
}

/// The search for the relation, and its further fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gauge {
    /// Ticks are not for use here.
    Idle,
    /// There is one sight.
    Searching(Sight),
    /// Known; with the newest sight that agreed.
    Known(Relation, Sight),
}

impl Relation {
    /// Of readers that read the raw counter itself.
    pub(crate) const RAW: Self = Self {
        scale: Scale::RAW,
        ahead: Nanos::ZERO,
        first: Sight { before: Tick(0), raw: Counter(0), after: Tick(0) },
    };

    /// From two sights; `None` if they leave several relations possible, or none.
    fn between(first: &Sight, second: &Sight) -> Option<Self> {
        let raw = (second.raw - first.raw).as_f64();
        let longest = (second.after.0.saturating_sub(first.before.0)) as f64;
        let shortest = (second.before.0.saturating_sub(first.after.0)) as f64;
        let shift = kernel_shift(raw / longest)?;
        // Each raw reading was rounded down to the nanosecond.
        let unit = f64::from(shift).exp2();
        let (least, most) = ((raw - 1.0) / longest * unit, (raw + 1.0) / shortest * unit);
        let mult = most.floor();
        if mult < least || mult - 1.0 >= least {
            return None;
        }
        Self::with(mult as u32, shift, first, second)
    }

    fn with(mult: u32, shift: u32, first: &Sight, second: &Sight) -> Option<Self> {
        let product = |tick: Tick| i128::from(tick.0) * i128::from(mult);
        let raw = |counter: Counter| i128::from(counter.0) << shift;
        let least = |sight: &Sight| raw(sight.raw) - product(sight.after);
        let most = |sight: &Sight| raw(sight.raw + Nanos(1)) - product(sight.before);
        let (least, most) = (least(first).max(least(second)), most(first).min(most(second)));
        if least > most {
            return None;
        }
        // Rounded up: not behind for that either.
        let counter = ((product(first.before) + most) >> shift) + 1;
        let scale = Scale {
            kind: Kind::Ticks,
            factor: Factor::new(mult, shift)?,
            tick: first.before,
            counter: Counter(i64::try_from(counter).ok()?),
        };
        let ahead = Nanos(i64::try_from((most - least) >> shift).ok()? + 2);
        Some(Self { scale, ahead, first: *first })
    }

    /// Whether `sight` can be true if the relation is.
    fn agrees(&self, sight: &Sight) -> bool {
        let (before, after) = (self.scale.counter_at(sight.before), self.scale.counter_at(sight.after));
        sight.raw <= after && before - self.ahead <= sight.raw
    }

    /// How far the scale can be off, for all that the first sight and `last` can tell.
    fn doubt(&self, last: &Sight) -> Doubt {
        let width = |sight: &Sight| self.scale.factor.over(sight.after.0 - sight.before.0) + Nanos(2);
        let unsure = width(&self.first) + width(last) + self.ahead;
        let baseline = (last.raw - self.first.raw).as_f64().max(1.0);
        let frequency = Ppb(unsure.as_f64() / baseline * 1e9);
        Doubt { ahead: self.ahead + width(last), behind: width(last), frequency }
    }
}

/// The shift that Linux chooses for a counter of `ratio` ns a tick: the largest with which 600 s of ticks times the
/// multiplier stay below 2^64 (`clocks_calc_mult_shift`, `kernel/time/clocksource.c`).
fn kernel_shift(ratio: f64) -> Option<u32> {
    const SECONDS: f64 = 600.0;
    if !(1e-3..=1e3).contains(&ratio) {
        return None;
    }
    let ticks = (SECONDS * 1e9 / ratio) as u64;
    let bits = (ticks >> 32).checked_ilog2().map_or(0, |log| log + 1);
    (1..=32).rev().find(|shift| ratio * f64::from(*shift).exp2() < f64::from(32 - bits).exp2())
}

impl Gauge {
    /// Begins with a first sight, and with the relation that an earlier writer left on the page if it still holds;
    /// `None` where ticks are not to be used.
    pub(crate) fn new(sight: Option<Sight>, inherited: Option<Relation>) -> Self {
        match (sight, inherited) {
            (None, _) => Self::Idle,
            (Some(sight), Some(relation)) if relation.agrees(&sight) => Self::Known(relation, sight),
            (Some(sight), _) => Self::Searching(sight),
        }
    }

    /// Compares the two counters. After [`Finding::Broken`] the search has begun anew.
    pub(crate) fn cross_check(&mut self, sight: Option<Sight>) -> Finding {
        let Some(sight) = sight else {
            // They cannot be read any more.
            let known = matches!(self, Self::Known(..));
            *self = Self::Idle;
            return if known { Finding::Broken } else { Finding::Nothing };
        };
        match *self {
            Self::Idle => Finding::Nothing,
            Self::Known(relation, last) => {
                if relation.agrees(&sight) {
                    // Of a poor one nothing can be learnt.
                    let best = if is_good(&relation, &sight) { sight } else { last };
                    *self = Self::Known(relation, best);
                    Finding::Holds
                } else {
                    *self = Self::Searching(sight);
                    Finding::Broken
                }
            }
            Self::Searching(first) => {
                if sight.raw - first.raw < BASELINE_MIN {
                    return Finding::Nothing;
                }
                match Relation::between(&first, &sight) {
                    Some(relation) if is_good(&relation, &sight) => {
                        // A poor first one is replaced; a later pair will tell.
                        let founded = is_good(&relation, &first);
                        *self = if founded { Self::Known(relation, sight) } else { Self::Searching(sight) };
                        if founded { Finding::Holds } else { Finding::Nothing }
                    }
                    _ => Finding::Nothing,
                }
            }
        }
    }

    /// What readers are to use, and how far it can be off.
    pub(crate) fn relation(&self) -> (Relation, Doubt) {
        match self {
            Self::Known(relation, last) => (*relation, relation.doubt(last)),
            Self::Idle | Self::Searching(_) => (Relation::RAW, Doubt::NONE),
        }
    }
}

fn is_good(relation: &Relation, sight: &Sight) -> bool {
    relation.scale.factor.over(sight.after.0 - sight.before.0) <= WIDTH_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ticks;

    /// A machine as Linux runs it: `raw` of a tick is exact.
    #[derive(Clone, Copy)]
    struct Machine {
        mult: u32,
        shift: u32,
        c: i128,
    }

    impl Machine {
        /// Of a TSC of so many kHz, the kernel's way, in its own whole numbers.
        fn of(khz: u64, c: i128) -> Self {
            let mut bits = 32;
            let mut high = (600_000 * khz) >> 32;
            while high != 0 {
                high >>= 1;
                bits -= 1;
            }
            let mut shift = 32;
            loop {
                let mult = ((1_000_000 << shift) + khz / 2) / khz;
                if mult >> bits == 0 {
                    return Self { mult: mult as u32, shift, c };
                }
                shift -= 1;
            }
        }

        fn raw(&self, tick: i64) -> Counter {
            Counter(((i128::from(tick) * i128::from(self.mult) + self.c) >> self.shift) as i64)
        }

        /// A sight around `tick`, read `early` and `late` ticks before and after.
        fn sight(&self, tick: i64, early: i64, late: i64) -> Sight {
            Sight { before: Tick(tick - early), raw: self.raw(tick), after: Tick(tick + late) }
        }

        fn ticks(&self, nanos: i64) -> i64 {
            ((i128::from(nanos) << self.shift) / i128::from(self.mult)) as i64
        }
    }

    const KILOHERTZ: [u64; 9] =
        [1_100_000, 1_995_379, 2_000_000, 2_299_998, 2_445_422, 2_793_436, 3_000_001, 4_200_013, 5_000_000];

    fn known(machine: &Machine, begin: i64, late: i64) -> Gauge {
        let mut gauge = Gauge::new(Some(machine.sight(begin, 60, late)), None);
        for step in 1..100 {
            let early = [40, 90, 25][step % 3];
            let tick = begin + machine.ticks(step as i64 * 137_000_000);
            if gauge.cross_check(Some(machine.sight(tick, early, late))) == Finding::Holds {
                return gauge;
            }
        }
        panic!("not found: {gauge:?}");
    }

    #[test]
    fn the_kernels_own_numbers_are_found_and_readers_are_never_behind() {
        for khz in KILOHERTZ {
            // A machine that was just started, one that has run for 30 years, and one whose origin is elsewhere.
            for (begin, c) in [(1_000, 7), (30 * 366 * 86_400 * (khz as i64 * 1_000), 0), (5_000_000_000, -(1 << 80))] {
                let machine = Machine::of(khz, c);
                let Gauge::Known(relation, _) = known(&machine, begin, 55) else { unreachable!() };
                assert_eq!(relation.scale.factor, Factor::new(machine.mult, machine.shift).unwrap());
                assert!(relation.ahead <= Nanos(200), "{relation:?}");
                for seconds in [0, 1, 64, 86_400, 365 * 86_400] {
                    for more in 0..50 {
                        let tick = begin + machine.ticks(seconds * 1_000_000_000) + more;
                        let ahead = relation.scale.counter_at(Tick(tick)) - machine.raw(tick);
                        assert!(
                            (Nanos::ZERO..=relation.ahead).contains(&ahead),
                            "{khz} kHz after {seconds} s: {ahead:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_doubt_shrinks_as_the_sights_move_apart() {
        let machine = Machine::of(2_445_422, 0);
        let mut gauge = known(&machine, 1_000, 55);
        let early = gauge.relation().1.frequency;
        assert_eq!(gauge.cross_check(Some(machine.sight(machine.ticks(64_000_000_000), 50, 50))), Finding::Holds);
        let later = gauge.relation().1.frequency;
        assert!(early.0 < 2_000.0 && later.0 < 5.0 && later.0 > 0.5, "{early:?} {later:?}");
    }

    #[test]
    fn another_clock_source_a_reset_and_a_counter_that_went_on_asleep_are_noticed() {
        let machine = Machine::of(2_445_422, 0);
        let tick = machine.ticks(3_600_000_000_000);
        let honest = machine.sight(tick, 50, 50);
        // The kernel went over to a clock that gains 0.2 ppm; the ticks began anew; one of the two stood still for 1
        // µs.
        let gained = Sight { raw: honest.raw + Nanos(720_000), ..honest };
        let reset = Sight { before: Tick(5), after: Tick(105), ..honest };
        let slept = Sight { raw: honest.raw - Nanos(1_000), ..honest };
        let lost = Sight { raw: honest.raw + Nanos(1_000), ..honest };
        for broken in [Some(gained), Some(reset), Some(slept), Some(lost), None] {
            let mut gauge = known(&machine, 1_000, 55);
            assert_eq!(gauge.cross_check(Some(honest)), Finding::Holds);
            assert_eq!(gauge.cross_check(broken), Finding::Broken, "{broken:?}");
            assert_eq!(gauge.relation(), (Relation::RAW, Doubt::NONE));
        }
    }

    #[test]
    fn a_later_writer_goes_on_with_the_page_s_relation() {
        let machine = Machine::of(3_000_001, 12_345);
        let (relation, _) = known(&machine, 1_000, 55).relation();
        let now = machine.sight(machine.ticks(9_000_000_000), 30, 30);
        assert_eq!(Gauge::new(Some(now), Some(relation)).relation().0, relation);
        assert_eq!(Gauge::new(None, Some(relation)).relation().0, Relation::RAW);
        let reset = Sight { before: Tick(5), after: Tick(105), ..now };
        assert_eq!(Gauge::new(Some(reset), Some(relation)).relation().0, Relation::RAW);
    }

    #[test]
    fn an_interrupted_sight_neither_founds_a_relation_nor_breaks_one() {
        let machine = Machine::of(2_000_000, 0);
        let mut gauge = Gauge::new(Some(machine.sight(1_000, 50, 50)), None);
        let torn = machine.sight(machine.ticks(1_000_000_000), 50, 2_000_000);
        assert_eq!(gauge.cross_check(Some(torn)), Finding::Nothing);
        let mut gauge = known(&machine, 1_000, 55);
        let before = gauge;
        assert_eq!(gauge.cross_check(Some(torn)), Finding::Holds);
        assert_eq!(gauge, before);
    }

    #[test]
    fn a_kernel_that_reckons_otherwise_stays_within_the_doubt_until_it_is_noticed() {
        // 0.5 ns a tick and 60 ppb: between two multiples of the unit that we expect.
        let raw = |tick: i64| Counter((i128::from(tick) * 500_000_030 / 1_000_000_000) as i64);
        let sight = |tick: i64| Sight { before: Tick(tick - 30), raw: raw(tick), after: Tick(tick + 30) };
        for pace in [200_000_000, 700_000_000, 16_000_000_000_i64] {
            let mut gauge = Gauge::new(Some(sight(1_000)), None);
            let mut broken = false;
            for step in 1..100 {
                let tick = 1_000 + step * pace;
                broken |= gauge.cross_check(Some(sight(tick))) == Finding::Broken;
                let (relation, doubt) = gauge.relation();
                if relation == Relation::RAW {
                    continue;
                }
                for later in [0, pace, 64 * pace] {
                    let ahead = relation.scale.counter_at(Tick(tick + later)) - raw(tick + later);
                    let slack = Nanos(later / 2).gain_outward(doubt.frequency);
                    let doubted = -(doubt.behind + slack)..=doubt.ahead + slack;
                    assert!(doubted.contains(&ahead), "{pace} {step} {later}: {ahead:?}");
                }
            }
            assert!(broken || gauge.relation().0 == Relation::RAW, "{pace}: {gauge:?}");
        }
    }

    #[test]
    fn the_real_counters_are_gauged_where_the_kernel_counts_by_ticks() {
        let mut gauge = Gauge::new(ticks::kernel_sight(), None);
        let begun = std::time::Instant::now();
        while !matches!(gauge, Gauge::Idle | Gauge::Known(..)) && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            gauge.cross_check(ticks::sight());
        }
        match gauge {
            Gauge::Idle => assert_eq!(ticks::kernel_sight(), None),
            Gauge::Known(..) => {
                std::thread::sleep(std::time::Duration::from_millis(500));
                assert_eq!(gauge.cross_check(ticks::sight()), Finding::Holds);
            }
            Gauge::Searching(_) => panic!("not found: {gauge:?}"),
        }
    }
}

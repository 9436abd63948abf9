//! Anchors: what all clocks showed at the same time, now and then; and between them, where the counter can have stood.
//!
//! The kernel slews `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME` and `CLOCK_REALTIME` alike. With `s` the most it does so, and a
//! clock that showed `v` when the counter stood at `c`, it showed `v + x` when the counter stood in `c + x/(1 ± s)`. An
//! anchor on either side gives two such intervals; both hold, so their intersection does.

use super::Timescale;
use crate::sys::clocks::Anchor;
use crate::units::{Counter, Nanos};

/// Anchors kept at most.
const MOST: usize = 128;

/// Anchors nearer than this to the last one tell little.
const SPACING: Nanos = Nanos::from_millis(10);

const SUSPENDED: &str = "the machine was suspended after it";
const SUSPENDED_UNSEEN: &str = "the machine was suspended before the clock was started, perhaps after it";
const BEFORE_THE_START: &str = "it is older than the clock's memory, and the system clock may have been stepped since";
const STEPPED: &str = "the system clock was stepped at about that time";
const TWICE: &str = "the system clock was set back and showed that time more than once";
const NOT_SHOWN: &str = "the system clock has not shown that time yet, or was set back since";

/// Where the counter stood when a stamp was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) earliest: Counter,
    pub(crate) latest: Counter,
}

/// The anchors, from old to new; thinner the older they are.
#[derive(Debug)]
pub(crate) struct Anchors {
    list: Vec<Anchor>,
    /// Why nothing before the first can be told.
    lost: Option<&'static str>,
}

impl Anchors {
    pub(crate) const fn new() -> Self {
        Self { list: Vec::new(), lost: None }
    }

    /// The newest one.
    pub(crate) fn last(&self) -> Option<&Anchor> {
        self.list.last()
    }

    /// Takes up one more. Says whether the machine was suspended since the last: then that is the first there is.
    pub(crate) fn add(&mut self, anchor: Anchor) -> bool {
        let mut broken = false;
        match self.list.last() {
            Some(last) if anchor.was_suspended_since(last) => {
                self.forget(SUSPENDED);
                broken = true;
            }
            Some(last) if anchor.before - last.after < SPACING && !stepped_between(last, &anchor) => return false,
            None if anchor.suspended().abs() > anchor.width() => {
                self.lost = self.lost.or(Some(SUSPENDED_UNSEEN));
            }
            _ => {}
        }
        // Before it is taken up, so that the memory never grows beyond.
        if self.list.len() == MOST {
            self.thin();
        }
        self.list.reserve_exact(MOST - self.list.len());
        self.list.push(anchor);
        broken
    }

    /// Nothing so far is of use any more, because of `why`.
    pub(crate) fn forget(&mut self, why: &'static str) {
        self.list.clear();
        self.lost = Some(why);
    }

    /// Drops the anchor that is missed least: the gap it leaves is small for its age, and no step hides in it.
    fn thin(&mut self) {
        let newest = self.list[self.list.len() - 1].after;
        let least = (1..self.list.len() - 1)
            .filter(|&i| {
                let (before, it, after) = (&self.list[i - 1], &self.list[i], &self.list[i + 1]);
                !stepped_between(before, it) && !stepped_between(it, after)
            })
            .map(|i| {
                let gap = self.list[i + 1].before - self.list[i - 1].after;
                (i, gap.as_f64() / (newest - self.list[i].before).as_f64().max(1.0))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1));
        // Where the system clock is stepped without end, the oldest has to go.
        self.list.remove(least.map_or(0, |(i, _)| i));
    }

    /// Where the counter stood when `scale` showed `stamp`; `now` is later than every anchor.
    pub(crate) fn locate(&self, scale: Timescale, stamp: i64, now: &Anchor) -> Result<Window, &'static str> {
        let window = match scale {
            Timescale::Raw => Window { earliest: Counter(stamp), latest: Counter(stamp) },
            Timescale::Monotonic => self.steady(stamp, now, |anchor| anchor.monotonic),
            Timescale::Boottime => self.steady(stamp, now, |anchor| anchor.boottime),
            Timescale::Realtime => self.system(stamp, now)?,
        };
        self.check(window.earliest, now)?;
        Ok(window)
    }

    /// Whether what is known of the counter now was true when it stood at `counter`.
    pub(crate) fn check(&self, counter: Counter, now: &Anchor) -> Result<(), &'static str> {
        if counter < now.before && self.list.last().is_some_and(|last| now.was_suspended_since(last)) {
            return Err(SUSPENDED);
        }
        match (self.lost, self.list.first()) {
            (Some(why), Some(first)) if counter < first.before => Err(why),
            (Some(why), None) if counter < now.before => Err(why),
            _ => Ok(()),
        }
    }

    /// By which part the kernel's clocks may have been slewed between the anchor at `place` and the one before it. Who
    /// was faster than he should there, or next to it, shall not be wrong, only wide. What passes within a gap and is
    /// less than 0.1 % of it cannot be seen: that nobody is so fast for so short is an assumption.
    fn part_about(&self, place: usize, now: &Anchor) -> i64 {
        let points = || self.list.iter().chain([now]).skip(place.saturating_sub(2)).take(4);
        let fast = points().zip(points().skip(1)).any(|(early, late)| {
            let (shown, width) = (late.monotonic - early.monotonic, early.width() + late.width());
            (late.before - early.before - shown).abs() > slack(shown) + width
        });
        if fast { PART_MOST } else { PART }
    }

    /// A clock that is never stepped.
    fn steady(&self, stamp: i64, now: &Anchor, value: impl Fn(&Anchor) -> Nanos) -> Window {
        let points = || self.list.iter().chain([now]);
        let place = points().take_while(|anchor| value(anchor).0 <= stamp).count();
        let part = self.part_about(place, now);
        let before = place.checked_sub(1).and_then(|last| points().nth(last));
        between(before, points().nth(place), Nanos(stamp), part, value)
    }

    /// The system clock, which may have been stepped, forwards over the stamp or back over it.
    fn system(&self, stamp: i64, now: &Anchor) -> Result<Window, &'static str> {
        let stamp = Nanos(stamp);
        let mut found: Option<Window> = None;
        for (place, (early, late)) in self.list.iter().zip(self.list.iter().skip(1).chain([now])).enumerate() {
            if stepped_between(early, late) {
                // Before the step, or after it, whenever in between it was.
                let shown = |by: &Anchor| {
                    let monotonic = stamp - by.stepped();
                    early.monotonic - by.width() <= monotonic && monotonic <= late.monotonic + by.width()
                };
                if shown(early) || shown(late) {
                    return Err(STEPPED);
                }
            } else if early.realtime <= stamp && stamp <= late.realtime {
                // A step that is too small to be seen.
                let unseen = early.width() + late.width();
                let part = self.part_about(place + 1, now);
                let window = between(Some(early), Some(late), stamp, part, |anchor| anchor.realtime);
                let window = Window { earliest: window.earliest - unseen, latest: window.latest + unseen };
                found = match found {
                    None => Some(window),
                    // One and the same anchor ends one stretch and begins the next.
                    Some(former) if window.earliest <= former.latest => {
                        Some(Window { earliest: former.earliest, latest: window.latest })
                    }
                    Some(_) => return Err(TWICE),
                };
            }
        }
        let first = self.list.first().map_or(now.realtime, |first| first.realtime);
        found.ok_or(if stamp < first { BEFORE_THE_START } else { NOT_SHOWN })
    }
}

/// Where the counter stood when a clock showed `stamp` that shows `value` at anchors, `before` and `after` it, and is
/// slewed by one `part` at most.
fn between(
    before: Option<&Anchor>,
    after: Option<&Anchor>,
    stamp: Nanos,
    part: i64,
    value: impl Fn(&Anchor) -> Nanos,
) -> Window {
    let slack = |span: Nanos| slack_of(span, part);
    let mut window = Window { earliest: Counter(i64::MIN), latest: Counter(i64::MAX) };
    if let Some(anchor) = before {
        let span = stamp - value(anchor);
        window.earliest = anchor.before + span - slack(span);
        window.latest = anchor.after + span + slack(span);
    }
    if let Some(anchor) = after {
        let span = value(anchor) - stamp;
        window.earliest = window.earliest.max(anchor.before - span - slack(span));
        window.latest = window.latest.min(anchor.after - span + slack(span));
    }
    if let (Some(before), Some(after)) = (before, after) {
        // Neither clock ever runs backwards. And that is all there is to say where somebody slewed faster than he can.
        let slewed_too_fast = window.earliest > window.latest;
        if slewed_too_fast || window.earliest < before.before {
            window.earliest = before.before;
        }
        if slewed_too_fast || window.latest > after.after {
            window.latest = after.after;
        }
    }
    window
}

/// What `scale` shows when the counter stands at `counter`: at least, about, and at most.
pub(crate) fn project(scale: Timescale, counter: Counter, now: &Anchor) -> (i64, i64, i64) {
    let value = match scale {
        Timescale::Raw => return (counter.0, counter.0, counter.0),
        Timescale::Monotonic => now.monotonic,
        Timescale::Boottime => now.boottime,
        Timescale::Realtime => now.realtime,
    };
    let (least, most) = (counter - now.after, counter - now.before);
    let about = value + (counter - now.before.midpoint(now.after));
    ((value + least - slack(least)).0, about.0, (value + most + slack(most)).0)
}

/// By which part the counter may run away from the kernel's clocks: 1000 ppm. Both tick with one oscillator; the kernel
/// corrects the frequency of its clocks by up to 500 ppm, and `adjtime` slews by another 500 ppm.
const PART: i64 = 999;

/// By `adjtimex` a tick can be made 10 % longer or shorter, and the frequency another 0.1 %: what there can be at all.
const PART_MOST: i64 = 8;

/// How far the counter may run from the kernel's clocks within `span`.
fn slack(span: Nanos) -> Nanos {
    slack_of(span, PART)
}

fn slack_of(span: Nanos, part: i64) -> Nanos {
    Nanos(span.abs().0 / part + 1)
}

fn stepped_between(early: &Anchor, late: &Anchor) -> bool {
    (late.stepped() - early.stepped()).abs() > early.width() + late.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const UTC: i64 = 1_795_000_000 * SECOND;

    /// The clocks of a machine whose kernel slews them this way and that, and whose system clock is stepped at times.
    struct Machine {
        /// Gain of the clocks on the counter in each stretch of 1 s, ppm.
        slews: Vec<i64>,
        /// From the second on, the system clock is ahead by so much.
        steps: Vec<(i64, i64)>,
    }

    impl Machine {
        fn slewed(seed: u64, most: i64) -> Self {
            let mut state = seed;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as i64
            };
            let slews = (0..400).map(|_| if random() % 2 == 0 { most } else { random() % (2 * most + 1) - most });
            Self { slews: slews.collect(), steps: Vec::new() }
        }

        fn at(&self, counter: i64) -> Anchor {
            let (whole, part) = ((counter / SECOND) as usize, counter % SECOND);
            let gained: i64 = self.slews[..whole].iter().map(|ppm| ppm * 1_000).sum();
            let monotonic = Nanos(counter + gained + part * self.slews[whole] / 1_000_000);
            let ahead = self.steps.iter().rev().find(|(second, _)| second * SECOND <= counter).map_or(0, |step| step.1);
            Anchor {
                before: Counter(counter - 100),
                monotonic,
                boottime: monotonic,
                realtime: monotonic + Nanos(UTC + ahead),
                after: Counter(counter + 100),
            }
        }

        /// With anchors at irregular times, and one of now.
        fn watched(&self, end: i64) -> (Anchors, Anchor) {
            let mut anchors = Anchors::new();
            let mut at = SECOND / 3;
            let mut spacing = SECOND / 7;
            while at < end * SECOND {
                assert!(!anchors.add(self.at(at)));
                at += spacing;
                spacing = (spacing * 3 / 2) % (40 * SECOND) + SECOND / 100;
            }
            (anchors, self.at(end * SECOND))
        }
    }

    const SCALES: [Timescale; 3] = [Timescale::Monotonic, Timescale::Boottime, Timescale::Realtime];

    fn shown(anchor: &Anchor, scale: Timescale) -> i64 {
        match scale {
            Timescale::Raw => anchor.before.midpoint(anchor.after).0,
            Timescale::Monotonic => anchor.monotonic.0,
            Timescale::Boottime => anchor.boottime.0,
            Timescale::Realtime => anchor.realtime.0,
        }
    }

    #[test]
    fn whatever_the_kernel_slews_the_counter_is_where_it_is_said_to_be() {
        for seed in 0..20 {
            let machine = Machine::slewed(seed, 999);
            let (anchors, now) = machine.watched(350);
            for counter in (SECOND / 2..350 * SECOND).step_by(123_456_789) {
                for scale in SCALES {
                    let window = anchors.locate(scale, shown(&machine.at(counter), scale), &now).unwrap();
                    assert!(
                        window.earliest.0 <= counter && counter <= window.latest.0,
                        "seed {seed}, {scale:?} {counter}: {window:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn who_slews_faster_than_he_should_costs_width_but_no_truth() {
        let machine = Machine { slews: vec![50_000; 400], steps: Vec::new() };
        let (anchors, now) = machine.watched(350);
        for counter in (SECOND..350 * SECOND).step_by(777_777_777) {
            let window = anchors.locate(Timescale::Monotonic, machine.at(counter).monotonic.0, &now).unwrap();
            assert!(window.earliest.0 <= counter && counter <= window.latest.0, "{counter}: {window:?}");
        }
    }

    #[test]
    fn a_slew_as_fast_as_there_are_costs_width_but_no_truth_where_it_can_be_seen() {
        // Seconds of it: in the middle of gaps, over anchors, both ways, one after the other.
        for (seconds, ppm) in [(1, 83_333), (2, -83_333), (3, 100_000), (7, -100_000), (20, 60_000)] {
            for from in (40..330_usize).step_by(13) {
                let mut machine = Machine::slewed(5, 400);
                machine.slews[from..from + seconds].fill(ppm);
                let (anchors, now) = machine.watched(350);
                for counter in (SECOND..350 * SECOND).step_by(456_789_123) {
                    for scale in SCALES {
                        let window = anchors.locate(scale, shown(&machine.at(counter), scale), &now).unwrap();
                        let holds = window.earliest.0 <= counter && counter <= window.latest.0;
                        assert!(holds, "{seconds} s of {ppm} ppm from {from}: {scale:?} {counter}: {window:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_stamp_just_taken_is_told_to_the_width_of_an_anchor() {
        let machine = Machine::slewed(1, 100);
        let (anchors, now) = machine.watched(350);
        let stamp = machine.at(350 * SECOND - 1_000_000).realtime.0;
        let window = anchors.locate(Timescale::Realtime, stamp, &now).unwrap();
        // 1 ms at 1000 ppm and the width of the anchor; and either way what a step too small to be seen may have made.
        assert!(window.latest - window.earliest < Nanos(2 * 1_010 + 200 + 2 * 400), "{window:?}");
    }

    #[test]
    fn a_stamp_of_the_steady_clocks_from_before_the_start_is_told_at_a_thousand_ppm() {
        let machine = Machine::slewed(3, 300);
        let mut anchors = Anchors::new();
        anchors.add(machine.at(100 * SECOND));
        let now = machine.at(200 * SECOND);
        for counter in [SECOND, 50 * SECOND, 99 * SECOND] {
            let window = anchors.locate(Timescale::Monotonic, machine.at(counter).monotonic.0, &now).unwrap();
            assert!(window.earliest.0 <= counter && counter <= window.latest.0);
            assert!((window.latest - window.earliest).0 < (100 * SECOND - counter) / 490 + 1_000);
        }
    }

    #[test]
    fn a_stamp_of_the_system_clock_from_before_the_start_is_refused() {
        let machine = Machine::slewed(3, 300);
        let mut anchors = Anchors::new();
        anchors.add(machine.at(100 * SECOND));
        let stamp = machine.at(99 * SECOND).realtime.0;
        assert_eq!(anchors.locate(Timescale::Realtime, stamp, &machine.at(200 * SECOND)), Err(BEFORE_THE_START));
    }

    #[test]
    fn before_the_start_of_a_clock_on_a_machine_that_has_slept_nothing_is_told() {
        let machine = Machine::slewed(3, 300);
        let slept = |counter| Anchor { boottime: machine.at(counter).boottime + Nanos(SECOND), ..machine.at(counter) };
        let mut anchors = Anchors::new();
        anchors.add(slept(100 * SECOND));
        let now = slept(200 * SECOND);
        assert_eq!(anchors.locate(Timescale::Raw, 99 * SECOND, &now), Err(SUSPENDED_UNSEEN));
        assert_eq!(anchors.locate(Timescale::Monotonic, slept(99 * SECOND).monotonic.0, &now), Err(SUSPENDED_UNSEEN));
        assert!(anchors.locate(Timescale::Monotonic, slept(101 * SECOND).monotonic.0, &now).is_ok());
    }

    #[test]
    fn a_step_forwards_leaves_no_doubt_but_about_its_own_time() {
        let machine = Machine { steps: vec![(200, 3600 * SECOND)], ..Machine::slewed(5, 100) };
        let (anchors, now) = machine.watched(350);
        let mut refused = 0;
        for counter in (SECOND..350 * SECOND).step_by(SECOND as usize / 3) {
            match anchors.locate(Timescale::Realtime, machine.at(counter).realtime.0, &now) {
                Ok(window) => {
                    assert!(window.earliest.0 <= counter && counter <= window.latest.0, "{counter}: {window:?}")
                }
                Err(why) => {
                    assert_eq!(why, STEPPED);
                    assert!((counter - 200 * SECOND).abs() < 45 * SECOND, "{counter}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 3, "{refused}");
        // What was leapt over was never shown.
        let leapt = machine.at(200 * SECOND - 1).realtime.0 + 1800 * SECOND;
        assert!(anchors.locate(Timescale::Realtime, leapt, &now).is_err());
    }

    #[test]
    fn what_the_system_clock_showed_twice_is_refused() {
        let machine = Machine { steps: vec![(200, -100 * SECOND)], ..Machine::slewed(5, 100) };
        let (anchors, now) = machine.watched(350);
        let told = |counter| anchors.locate(Timescale::Realtime, machine.at(counter * SECOND).realtime.0, &now);
        assert_eq!(told(150), Err(TWICE));
        assert_eq!(told(250), Err(TWICE));
        assert_eq!(told(200), Err(STEPPED));
        for counter in [50, 90, 340] {
            let window = told(counter).unwrap();
            assert!(window.earliest.0 <= counter * SECOND && counter * SECOND <= window.latest.0);
        }
        // Later than the system clock's now: it was set back, or the stamp was not taken on it.
        assert_eq!(anchors.locate(Timescale::Realtime, now.realtime.0 + 1, &now), Err(NOT_SHOWN));
    }

    #[test]
    fn memory_is_bounded_and_thins_out_with_age() {
        let machine = Machine { slews: vec![0; 90_000], steps: Vec::new() };
        let mut anchors = Anchors::new();
        for second in 1..80_000 {
            anchors.add(machine.at(second * SECOND));
        }
        assert_eq!((anchors.list.len(), anchors.list.capacity()), (MOST, MOST));
        assert_eq!(anchors.list[0], machine.at(SECOND));
        let newest = anchors.list[MOST - 1].before;
        for pair in anchors.list.windows(2) {
            let (gap, age) = (pair[1].before - pair[0].before, newest - pair[0].before);
            assert!(gap.0 <= SECOND.max(age.0 / 5), "a gap of {gap:?} after {age:?}");
        }
    }

    #[test]
    fn steps_are_not_forgotten_between_anchors_however_many_there_are() {
        let steps = (1..300).map(|k| (k, if k % 2 == 0 { 0 } else { 5_000_000 })).collect();
        let machine = Machine { slews: vec![0; 400], steps };
        let mut anchors = Anchors::new();
        for tenth in 5..3_500 {
            anchors.add(machine.at(tenth * SECOND / 10));
        }
        assert_eq!(anchors.list.len(), MOST);
        let now = machine.at(350 * SECOND);
        for counter in (SECOND..350 * SECOND).step_by(77_777_777) {
            if let Ok(window) = anchors.locate(Timescale::Realtime, machine.at(counter).realtime.0, &now) {
                assert!(window.earliest.0 <= counter && counter <= window.latest.0, "{counter}: {window:?}");
            }
        }
        assert!(anchors.locate(Timescale::Realtime, machine.at(340 * SECOND).realtime.0, &now).is_ok());
    }
}

//! What a reader gets: page × tick → [`Reading`].

pub(crate) mod compare;

use std::time::Duration;

use crate::publication::Publication;
use crate::publication::glance::{Glimpse, Piece};
use crate::publication::page::Page;
use crate::status::{Flags, Leap, State};
use crate::sys::ticks::{Kind, Tick};
use crate::units::{Nanos, UnixTime};

/// One reading of a clock: the time, and the interval that holds UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// UTC, nanoseconds since 1970-01-01T00:00:00Z, POSIX counting (no leap seconds).
    pub unix_ns: i64,
    /// UTC is not before this; `i64::MIN` when unknown. Never above `unix_ns`.
    pub earliest_ns: i64,
    /// UTC is not after this; `i64::MAX` when unknown. Never below `unix_ns`.
    pub latest_ns: i64,
    /// The raw counter at the reading, as nanoseconds at its nominal rate; one origin per boot, the same in every
    /// process to some 0.1 µs.
    pub raw_ns: i64,
    /// Nanoseconds since the newest exchange that counted; `i64::MAX` before the first.
    pub age_ns: i64,
    /// The number of the stretch without a step; 0 before the first synchronisation.
    pub epoch: u32,
    /// How far the interval can be trusted.
    pub state: State,
    /// What else is to be known.
    pub flags: Flags,
    /// What the sources announce for the end of the month.
    pub leap: Leap,
    /// TAI minus UTC in seconds, where known.
    pub tai_minus_utc: Option<i16>,
}

impl Reading {
    /// Reads `publication` by `read`, in a process of this fork generation.
    #[inline(always)]
    pub(crate) fn of(
        publication: &Publication,
        generation: u32,
        read: impl Fn(Kind) -> Tick,
        system_time: impl FnOnce() -> UnixTime,
    ) -> Self {
        match Self::glimpse(publication, generation, &read) {
            Some(reading) => reading,
            None => Self::otherwise(publication, generation, read, system_time),
        }
    }

    /// The reading, if it is to be had by ticks and at a glance. Cannot panic.
    #[inline(always)]
    pub(crate) fn glimpse(publication: &Publication, generation: u32, read: impl Fn(Kind) -> Tick) -> Option<Self> {
        publication.glimpse(Piece::Settled, Kind::Ticks, read, generation, Self::glimpsed)
    }

    /// Where that cannot be had. Apart, so that the quick way is short.
    #[inline(never)]
    pub(crate) fn otherwise(
        publication: &Publication,
        generation: u32,
        read: impl Fn(Kind) -> Tick,
        system_time: impl FnOnce() -> UnixTime,
    ) -> Self {
        let slewing = |kind| publication.glimpse(Piece::Slewing, kind, &read, generation, Self::while_slewing);
        slewing(Kind::Ticks)
            .or_else(|| publication.glimpse(Piece::Settled, Kind::Raw, &read, generation, Self::glimpsed))
            .or_else(|| slewing(Kind::Raw))
            // Before the first synchronisation, shortly before a switch, in holdover, after a fork.
            .unwrap_or_else(|| {
                let (page, tick) = publication.read(&read);
                Self::new(&page, tick, generation, system_time)
            })
    }

    /// As [`Self::of`], but DISRUPTED if the machine was suspended since the page's writer looked last. `suspended`
    /// tells the time suspended since boot, at least; it is asked after the reading, for a suspend in between does no
    /// harm.
    pub(crate) fn checked(
        publication: &Publication,
        generation: u32,
        read: impl Fn(Kind) -> Tick,
        system_time: impl FnOnce() -> UnixTime,
        suspended: impl FnOnce() -> Nanos,
    ) -> Self {
        let glimpse = publication.glimpse(Piece::Settled, Kind::Ticks, &read, generation, |glimpse| {
            (Self::glimpsed(glimpse), glimpse.suspended())
        });
        // The reading and what its writer knew of suspends are of one turn, either way.
        let (reading, known) = match glimpse {
            Some(told) => told,
            None => {
                let (page, tick) = publication.read(&read);
                (Self::new(&page, tick, generation, system_time), page.suspended)
            }
        };
        if reading.state.is_usable() && suspended() > known {
            return Self { earliest_ns: i64::MIN, latest_ns: i64::MAX, state: State::Disrupted, ..reading };
        }
        reading
    }

    /// What `page` says at `tick`. `generation` is the reader's; `system_time` serves until there is a model.
    pub(crate) fn new(page: &Page, tick: Tick, generation: u32, system_time: impl FnOnce() -> UnixTime) -> Self {
        let (model, counter) = (page.model_at(tick), page.counter_at(tick));
        if !model.has_line() {
            return Self {
                unix_ns: system_time().0,
                earliest_ns: i64::MIN,
                latest_ns: i64::MAX,
                raw_ns: counter.0,
                age_ns: i64::MAX,
                epoch: 0,
                state: State::Unsynchronized,
                flags: Flags::default(),
                leap: Leap::Unknown,
                tai_minus_utc: None,
            };
        }
        let state = match model.state_at(counter) {
            // The thread that kept this page is not in this process.
            State::Synchronized if page.generation != generation => State::Holdover,
            state => state,
        };
        let (earliest, utc, latest) = model.at(counter);
        Self {
            unix_ns: utc.0,
            earliest_ns: if state.is_usable() { earliest.0 } else { i64::MIN },
            latest_ns: if state.is_usable() { latest.0 } else { i64::MAX },
            raw_ns: counter.0,
            // A model is published for a counter value a little ahead of its exchange, never behind.
            age_ns: (counter - model.newest_exchange).0.max(0),
            epoch: model.epoch,
            state,
            flags: model.told_flags().with(Flags::SLEWING, model.line.is_slewing(counter)),
            leap: model.leap,
            tai_minus_utc: None,
        }
    }

    /// What a glance at a page told: the same as [`Self::new`] says of the whole page, but for roundings of the
    /// interval.
    #[inline(always)]
    pub(crate) fn glimpsed(glimpse: &Glimpse) -> Self {
        let (utc, counter) = (glimpse.utc(), glimpse.counter());
        Self {
            unix_ns: utc.0,
            earliest_ns: glimpse.earliest(utc).0,
            latest_ns: glimpse.latest(utc).0,
            raw_ns: counter.0,
            age_ns: glimpse.age(counter).0,
            epoch: glimpse.epoch(),
            state: glimpse.state(),
            flags: glimpse.flags(),
            leap: glimpse.leap(),
            tai_minus_utc: None,
        }
    }

    /// The same of a glance at a correction.
    fn while_slewing(glimpse: &Glimpse) -> Self {
        let settled = Self::glimpsed(glimpse);
        Self { flags: settled.flags.with(Flags::SLEWING, true), ..settled }
    }

    /// The larger distance from the reading to either end of its interval, ns: UTC lies within ± this.
    /// `i64::MAX` when unknown.
    pub fn error_bound_ns(&self) -> i64 {
        if self.earliest_ns == i64::MIN || self.latest_ns == i64::MAX {
            return i64::MAX;
        }
        let before = self.unix_ns.saturating_sub(self.earliest_ns);
        let after = self.latest_ns.saturating_sub(self.unix_ns);
        before.max(after)
    }

    /// The error bound, or `None` when unknown.
    pub fn error_bound(&self) -> Option<Duration> {
        match self.error_bound_ns() {
            i64::MAX => None,
            bound => Some(Duration::from_nanos(bound.unsigned_abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::slew::Line;
    use crate::model::{ClockModel, UtcSpan};
    use crate::publication::Writer;
    use crate::sys::ticks::Sight;
    use crate::units::{Counter, NANOS_PER_SECOND, Ppb, Rate};
    use std::cell::Cell;

    const GENERATION: u32 = 3;
    const UTC: UnixTime = UnixTime(1_795_000_000 * NANOS_PER_SECOND);

    /// A machine whose kernel counts by a TSC: 2.445422 GHz, with its kernel's numbers.
    struct Machine {
        raw: Cell<i64>,
    }

    impl Machine {
        const MULT: i128 = 6_860_664;

        fn read(&self, kind: Kind) -> Tick {
            match kind {
                Kind::Raw => Tick(self.raw.get()),
                Kind::Ticks => Tick(((i128::from(self.raw.get()) << 24).div_euclid(Self::MULT) + 1) as i64),
            }
        }

        fn pass(&self, span: Nanos) {
            self.raw.set(self.raw.get() + span.0);
        }

        fn sight(&self) -> Sight {
            let Tick(tick) = self.read(Kind::Ticks);
            Sight { before: Tick(tick - 60), raw: Counter(self.raw.get()), after: Tick(tick + 60) }
        }

        /// A publication on which `plan` makes the second model; read by ticks if `ticks`. It has just taken effect.
        fn publish(&self, ticks: bool, plan: impl Fn(Counter) -> ClockModel) -> Publication {
            let publication = Publication::new();
            let mut writer = Writer::new(&publication, ticks.then(|| self.sight()));
            let counter = || Counter(self.raw.get());
            for _ in 0..2 {
                self.pass(Nanos::from_seconds(2));
                writer.cross_check(ticks.then(|| self.sight()));
                writer.note_suspended(Nanos::from_seconds(77));
                writer.publish(&publication, GENERATION, counter, |switch| (plan(switch), ())).unwrap();
            }
            self.raw.set(writer.ready_at().0);
            publication
        }
    }

    fn model(base: Counter, ppm: [f64; 2], slewing: Nanos, state: State) -> ClockModel {
        let rate = |ppm| Rate::from_ppb(Ppb::from_ppm(ppm));
        let utc = UTC + (base - Counter(0));
        ClockModel {
            line: Line { base, utc, slew: rate(ppm[0]), slew_end: base + slewing, rate: rate(ppm[1]) },
            span: UtcSpan {
                at: base,
                earliest: utc - Nanos(30_000),
                latest: utc + Nanos(50_000),
                slowest: rate(ppm[1] - 3.0),
                fastest: rate(ppm[1] + 5.0),
                knee: Nanos::from_seconds(1000),
                drift_long: rate(15.0),
            },
            state,
            leap: Leap::Insert,
            flags: Flags::AUTHENTICATED,
            epoch: 7,
            holdover_at: base + Nanos::from_seconds(192),
            bound_cap: Nanos::from_seconds(1),
            newest_exchange: base - Nanos(700_000),
        }
    }

    /// Reads the whole page, whatever a glance may tell.
    fn whole(publication: &Publication, machine: &Machine) -> Reading {
        let (page, tick) = publication.read(|kind| machine.read(kind));
        Reading::new(&page, tick, GENERATION, || UnixTime(0))
    }

    #[test]
    fn a_glance_tells_what_the_whole_page_says() {
        let mut glances = 0;
        for (uptime, ticks) in [(1, true), (30 * 365 * 86_400, true), (1, false), (30 * 365 * 86_400, false)] {
            for ppm in [[0.0, 0.0], [480.0, -20.0], [-520.0, -20.0], [10_000.0, 9_990.0]] {
                for slewing in [Nanos::ZERO, Nanos(40_000_000), Nanos::from_seconds(150)] {
                    for state in [State::Synchronized, State::Holdover, State::Disrupted, State::Unsynchronized] {
                        let machine = Machine { raw: Cell::new(uptime * NANOS_PER_SECOND) };
                        let publication = machine.publish(ticks, |switch| model(switch, ppm, slewing, state));
                        for pause in [0, 1, 2, 39_999_990, 7, 8, 100_000_000_000, 92_000_000_000, 900_000_000_000] {
                            machine.pass(Nanos(pause));
                            let read = |kind| machine.read(kind);
                            let whole = whole(&publication, &machine);
                            let glance = Reading::of(&publication, GENERATION, read, || UnixTime(0));
                            let told = format!("{uptime} {ppm:?} {slewing:?} {pause}: {glance:?} {whole:?}");
                            let seen =
                                publication.glimpse(Piece::Settled, Kind::Ticks, read, GENERATION, |_| ()).is_some();
                            glances += u32::from(seen);
                            assert!(glance.earliest_ns <= whole.earliest_ns, "{told}");
                            assert!(glance.latest_ns >= whole.latest_ns, "{told}");
                            assert!(glance.earliest_ns.saturating_add(12) >= whole.earliest_ns, "{told}");
                            assert!(glance.latest_ns.saturating_sub(12) <= whole.latest_ns, "{told}");
                            let ends = (whole.earliest_ns, whole.latest_ns);
                            assert_eq!(Reading { earliest_ns: ends.0, latest_ns: ends.1, ..glance }, whole, "{told}");
                            for kind in [Kind::Ticks, Kind::Raw] {
                                if let Some(utc) = publication.utc(kind, read) {
                                    assert_eq!(utc.0, whole.unix_ns, "{told}");
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(glances > 50, "only {glances} times was a glance enough");
    }

    #[test]
    fn a_checked_reading_finds_a_suspend_that_the_writer_has_not_seen_and_nothing_else() {
        for ticks in [true, false] {
            let machine = Machine { raw: Cell::new(NANOS_PER_SECOND) };
            let publication =
                machine.publish(ticks, |switch| model(switch, [0.0, 0.0], Nanos::ZERO, State::Synchronized));
            let read = |kind| machine.read(kind);
            assert_eq!(publication.glimpse(Piece::Settled, Kind::Ticks, read, GENERATION, |_| ()).is_some(), ticks);
            let known = publication.read(read).0.suspended;
            let checked = |generation, suspended: Nanos| {
                Reading::checked(&publication, generation, read, || UnixTime(0), || suspended)
            };
            let plain = whole(&publication, &machine);
            for before in [known, known - Nanos(50), Nanos(i64::MIN)] {
                let told = checked(GENERATION, before);
                let ends = (plain.earliest_ns, plain.latest_ns);
                assert!(
                    (0..=12).contains(&(ends.0 - told.earliest_ns)) && (0..=12).contains(&(told.latest_ns - ends.1))
                );
                assert_eq!(Reading { earliest_ns: ends.0, latest_ns: ends.1, ..told }, plain);
            }
            for suspended in [Nanos(1), Nanos::from_millis(50), Nanos::from_seconds(3_600)] {
                for generation in [GENERATION, GENERATION + 1] {
                    let found = checked(generation, known + suspended);
                    assert_eq!((found.state, found.error_bound()), (State::Disrupted, None), "{suspended:?}");
                    assert_eq!((found.unix_ns, found.epoch), (plain.unix_ns, plain.epoch));
                }
            }
        }
        // Without a line there is nothing to be lost.
        let never = Publication::new();
        let read = |_| Tick(7);
        let reading = Reading::checked(&never, GENERATION, read, || UnixTime(5), || Nanos::from_seconds(9));
        assert_eq!((reading.state, reading.unix_ns), (State::Unsynchronized, 5));
    }

    #[test]
    fn a_disruption_shows_as_soon_as_it_is_published_and_the_line_goes_on_to_the_switch() {
        for ticks in [true, false] {
            let machine = Machine { raw: Cell::new(NANOS_PER_SECOND) };
            let publication = Publication::new();
            let mut writer = Writer::new(&publication, ticks.then(|| machine.sight()));
            let read = |kind| machine.read(kind);
            let mut publish = |state, suspended| {
                machine.pass(Nanos::from_seconds(2));
                writer.cross_check(ticks.then(|| machine.sight()));
                writer.note_suspended(suspended);
                let plan = |switch| (model(switch, [0.0, 0.0], Nanos::ZERO, state), ());
                writer.publish(&publication, GENERATION, || Counter(machine.raw.get()), plan).unwrap();
                writer.ready_at()
            };
            for _ in 0..2 {
                let ready = publish(State::Synchronized, Nanos::ZERO);
                machine.raw.set(ready.0);
            }
            let ready = publish(State::Disrupted, Nanos::from_seconds(50));
            let mut last = i64::MIN;
            for at in [machine.raw.get(), ready.0 - 1, ready.0, ready.0 + 1_000] {
                machine.raw.set(at);
                let plain = Reading::of(&publication, GENERATION, read, || UnixTime(0));
                // Its page knows of the suspend that the system tells of.
                let checked =
                    Reading::checked(&publication, GENERATION, read, || UnixTime(0), || Nanos::from_seconds(50));
                for reading in [plain, checked] {
                    assert_eq!((reading.state, reading.error_bound()), (State::Disrupted, None), "{at} of {ready:?}");
                }
                // Ticks are told to some nanoseconds.
                assert!(plain.unix_ns >= last && (0..200).contains(&(plain.unix_ns - UTC.0 - at)), "{plain:?}");
                last = plain.unix_ns;
            }
        }
    }

    #[test]
    fn a_child_in_which_no_thread_keeps_the_page_is_in_holdover_and_reads_on() {
        for ticks in [true, false] {
            let machine = Machine { raw: Cell::new(NANOS_PER_SECOND) };
            let publication =
                machine.publish(ticks, |switch| model(switch, [0.0, 0.0], Nanos::ZERO, State::Synchronized));
            let read = |kind| machine.read(kind);
            let of = |generation| Reading::of(&publication, generation, read, || UnixTime(0));
            assert_eq!((of(GENERATION).state, of(GENERATION + 1).state), (State::Synchronized, State::Holdover));
            assert_eq!(of(GENERATION).unix_ns, of(GENERATION + 1).unix_ns);
        }
    }

    #[test]
    fn going_over_to_ticks_takes_no_reading_back_and_widens_the_interval_by_what_is_unknown() {
        let machine = Machine { raw: Cell::new(77 * NANOS_PER_SECOND) };
        let publication = Publication::new();
        let mut writer = Writer::new(&publication, Some(machine.sight()));
        let read = || Reading::of(&publication, GENERATION, |kind| machine.read(kind), || UnixTime(0));
        let counter = || Counter(machine.raw.get());
        let line = model(counter(), [0.0, 0.0], Nanos::ZERO, State::Synchronized);
        // Too early for a relation; then there is one.
        for (pause, kind) in [(Nanos(1_000), Kind::Raw), (Nanos::from_seconds(3), Kind::Ticks)] {
            machine.pass(pause);
            writer.cross_check(Some(machine.sight()));
            let before = read();
            writer.publish(&publication, GENERATION, counter, |_| (line, ())).unwrap();
            assert_eq!(publication.read(|kind| machine.read(kind)).0.relation.scale.kind, kind);
            let mut last = before;
            for step in 0..3_000_000 {
                let next = read();
                let raw = Counter(machine.raw.get());
                if before.epoch != 0 {
                    assert!(next.unix_ns >= last.unix_ns && next.raw_ns >= last.raw_ns, "{step}: {next:?} {last:?}");
                    assert!((0..200).contains(&(next.unix_ns - line.line.utc_at(raw).0)), "{step}: {next:?}");
                }
                if next.epoch != 0 {
                    let (earliest, latest) = line.span.at(raw);
                    assert!(next.earliest_ns <= earliest.0 && latest.0 <= next.latest_ns, "{step}: {next:?}");
                    assert!(earliest.0 - next.earliest_ns < 1_000 && next.latest_ns - latest.0 < 1_000, "{next:?}");
                }
                last = next;
                machine.pass(Nanos(step % 3));
            }
            machine.raw.set(machine.raw.get().max(writer.ready_at().0));
        }
    }
}

//! Whose time is served, and what may honestly be said of it at one moment.

use super::config::Local;
use super::respond::{Identity, UNSYNCHRONIZED};
use crate::clock;
use crate::engine::SharedRef;
use crate::exchange::root_dispersion;
use crate::model::slew::Line;
use crate::publication::page::Page;
use crate::reading::Reading;
use crate::status::{Leap, Report};
use crate::sys::counter::{self, Bracket};
use crate::sys::ticks::{self, Tick};
use crate::units::{Counter, Nanos, Rate, UnixTime};

/// A report serves for so long: what it tells beside the page changes with polls, not with requests.
const REPORT_AGE_MAX: Nanos = Nanos::from_millis(100);

/// What a local server above stratum 1 gives as its reference: the address reserved for a host's own clock.
const LOCAL_CLOCK: u32 = u32::from_be_bytes([127, 127, 1, 1]);

/// Whose time is served.
pub(super) enum Source {
    Clock(Served),
    Local(Local),
    /// Fails so many times, then has no time.
    #[cfg(test)]
    Broken {
        moments: u32,
    },
}

/// A clock that is served.
pub(super) struct Served {
    shared: SharedRef,
    /// Its last report, and when that was made: asking the engine for one takes a lock.
    report: Option<(Counter, Report)>,
}

/// Time at one instant, the line along which it came there, and what is to be said about both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// T3, not later than the replies leave.
    pub(super) leaving: UnixTime,
    /// Along it are all arrivals told, not only those since it took effect: so a step in between tears no T2 from its
    /// T3.
    line: Line,
    pub(super) identity: Identity,
    /// The clock's epoch; times of different epochs do not belong together.
    pub(super) epoch: u32,
}

impl Moment {
    /// T2 of what came at `came`.
    pub(super) fn received(&self, came: Counter) -> UnixTime {
        self.line.utc_at(came).min(self.leaving)
    }

    /// The time at `left`, of a reply that was sent before: never later than it was.
    pub(super) fn sent(&self, left: Counter) -> UnixTime {
        self.line.utc_at(left)
    }
}

impl Source {
    pub(super) fn of(shared: SharedRef) -> Self {
        Self::Clock(Served { shared, report: None })
    }

    /// The time now, for replies to what came at `oldest` and later; `look` is of just before.
    pub(super) fn moment(&mut self, oldest: Counter, look: &Bracket) -> Moment {
        match self {
            Self::Local(local) => local.moment(look),
            #[cfg(test)]
            Self::Broken { moments } => {
                let left = moments.checked_sub(1);
                *moments = left.unwrap_or_default();
                assert!(left.is_none(), "as was wished");
                let (base, rate) = (look.before, Rate(0));
                let line = Line { base, utc: look.system, slew: rate, slew_end: base, rate };
                Moment { leaving: look.system, line, identity: Identity::UNSYNCHRONIZED, epoch: 0 }
            }
            Self::Clock(served) => {
                // All that is told of the time is of one page.
                let Served { shared, report } = served;
                let (page, tick) = shared.place.read(ticks::read);
                moment(&page, oldest, tick, shared.place.generation(), || report_of(shared, report, look.after))
            }
        }
    }
}

impl Local {
    fn moment(&self, look: &Bracket) -> Moment {
        let leaving = counter::system_time();
        let reference_id = if self.stratum == 1 { u32::from_be_bytes(*b"LOCL") } else { LOCAL_CLOCK };
        let identity = Identity {
            leap: Leap::None,
            stratum: self.stratum,
            root_delay: Nanos::ZERO,
            root_dispersion: self.root_dispersion,
            reference_id,
            reference_time: leaving,
        };
        // By the system clock as it is now: if it was stepped since a datagram came, T2 and T3 still belong together.
        let (base, still) = (look.before, Rate(0));
        let line = Line { base, utc: look.system, slew: still, slew_end: base, rate: still };
        Moment { leaving, line, identity, epoch: 0 }
    }
}

/// What `shared` has to report at `now`: what is `kept` of it, as long as that serves.
fn report_of<'a>(shared: &SharedRef, kept: &'a mut Option<(Counter, Report)>, now: Counter) -> &'a Report {
    let fresh = |made: Counter| now - made < REPORT_AGE_MAX;
    // One that names no source yet may be outdated by the next publication.
    let serves = kept.take().filter(|(made, report)| fresh(*made) && report.stratum < UNSYNCHRONIZED);
    let (_, report) = kept.insert(serves.unwrap_or_else(|| (now, clock::report(shared))));
    report
}

/// What `page` says at `tick`, for replies to what came at `oldest` and later.
pub(super) fn moment<'a>(
    page: &Page,
    oldest: Counter,
    tick: Tick,
    generation: u32,
    report: impl FnOnce() -> &'a Report,
) -> Moment {
    let reading = Reading::new(page, tick, generation, counter::system_time);
    let leaving = UnixTime(reading.unix_ns);
    let line = page.model_at(tick).line;
    // Who has no time need not be asked what else is to be said of it.
    let report = reading.state.is_usable().then(report).filter(|report| report.stratum < UNSYNCHRONIZED);
    let identity = report.map_or(Identity::UNSYNCHRONIZED, |report| identity(&reading, oldest, report));
    Moment { leaving, line, identity, epoch: reading.epoch }
}

/// What may honestly be said about a reading and what is told of the time since `oldest`: our whole bound, as root
/// delay and root dispersion.
fn identity(reading: &Reading, oldest: Counter, report: &Report) -> Identity {
    // Back along the line it is off by what can be slewed in that time, and drift.
    let back = Nanos((Counter(reading.raw_ns) - oldest).0.max(0) / 1000);
    let bound = Nanos(reading.error_bound_ns()) + back;
    Identity {
        leap: reading.leap,
        stratum: report.stratum,
        root_delay: Nanos(report.root_delay_ns),
        root_dispersion: root_dispersion(bound, Nanos(report.root_delay_ns)),
        reference_id: report.reference_id,
        reference_time: UnixTime(report.reference_time_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Shared;
    use crate::model::{ClockModel, UtcSpan};
    use crate::publication::Place;
    use crate::publication::gauge::Relation;
    use crate::publication::page::Shown;
    use crate::publication::track::Track;
    use crate::status::{Flags, State};
    use std::sync::Arc;

    const SECOND: Nanos = Nanos::from_seconds(1);
    const BASE: Counter = Counter(5_000_000_000_000);
    const UTC: UnixTime = UnixTime(1_795_000_000_000_000_000);

    /// A model of `epoch` that takes effect at `base` and shows `utc` there, give or take `bound`.
    fn model(epoch: u32, base: Counter, utc: UnixTime, bound: Nanos) -> ClockModel {
        ClockModel {
            line: Line { base, utc, slew_end: base, ..Line::default() },
            span: UtcSpan {
                at: base,
                earliest: utc - bound,
                latest: utc + bound,
                slowest: Rate::from_ppb(crate::units::Ppb(-5_000.0)),
                fastest: Rate::from_ppb(crate::units::Ppb(5_000.0)),
                knee: SECOND,
                ..UtcSpan::default()
            },
            state: State::Synchronized,
            leap: Leap::None,
            flags: Flags::default(),
            epoch,
            holdover_at: base + Nanos::from_seconds(192),
            bound_cap: SECOND,
            newest_exchange: base,
        }
    }

    fn report() -> Report {
        Report { stratum: 3, root_delay_ns: 10_000, ..clock::report(&Shared::new(Place::own())) }
    }

    fn page(former: ClockModel, current: ClockModel) -> Page {
        let (switch, relation) = (current.line.base, Relation::RAW);
        let shown = |model: ClockModel| {
            let track = Track::new(&model.line, &relation.scale, Tick(model.line.base.0), None);
            Shown { model, track }
        };
        Page { relation, former: shown(former), current: shown(current), switch, generation: 0, suspended: Nanos::ZERO }
    }

    /// What is said at `now` of what came at `oldest`.
    fn said(page: &Page, oldest: Counter, now: Counter) -> Moment {
        let report = report();
        moment(page, oldest, page.tick_at(now), 0, || &report)
    }

    const MILLISECOND: Nanos = Nanos::from_millis(1);

    #[test]
    fn a_step_between_arrival_and_departure_does_not_tear_them() {
        let stepped = model(2, BASE, UTC, Nanos(1_000));
        for former in [
            // By one hour, ahead and back; and for the first time.
            model(1, BASE - SECOND, UTC - Nanos::from_seconds(3601), Nanos(1_000)),
            model(1, BASE - SECOND, UTC + Nanos::from_seconds(3599), Nanos(1_000)),
            ClockModel::UNSYNCHRONIZED,
        ] {
            let moment = said(&page(former, stepped), BASE - MILLISECOND, BASE + MILLISECOND);
            assert_eq!(moment.leaving, UTC + MILLISECOND);
            assert_eq!(moment.leaving - moment.received(BASE - MILLISECOND), Nanos::from_millis(2));
            assert_eq!((moment.identity.stratum, moment.epoch), (3, 2));
        }
    }

    #[test]
    fn the_bound_that_is_served_holds_for_what_came_as_well() {
        // A correction of 40 µs is being slewed in; what came 50 ms ago came before it began.
        let former = model(1, BASE - SECOND, UTC - SECOND, Nanos(50_000));
        let mut current = model(1, BASE, UTC, Nanos(50_000));
        current.line.slew = Rate::from_ppb(crate::units::Ppb::from_ppm(500.0));
        current.line.slew_end = BASE + Nanos::from_millis(80);
        let page = page(former, current);
        let (came, now) = (BASE - Nanos::from_millis(10), BASE + Nanos::from_millis(40));
        let moment = said(&page, came, now);
        let claimed = moment.identity.root_dispersion + Nanos(5_000);
        // At both ends UTC lies within what is claimed of what is told.
        for (at, told) in [(came, moment.received(came)), (now, moment.leaving)] {
            let (earliest, latest) = current.span.at(at);
            assert!(told - claimed <= earliest && latest <= told + claimed, "{at:?}: {told:?} {claimed:?}");
        }
        // And not by more than 0.1 % of the time since.
        let reading = Reading::new(&page, page.tick_at(now), 0, || UnixTime(0));
        assert_eq!(claimed.0, reading.error_bound_ns() + 50_000);
    }

    #[test]
    fn holdover_lets_the_root_dispersion_grow_keeps_the_stratum_and_ends_at_the_cap() {
        let model = model(1, BASE, UTC, Nanos(50_000));
        let page = page(model, model);
        let mut last = Nanos::ZERO;
        let mut seen = Vec::new();
        for second in (0..400_000).step_by(50) {
            let now = BASE + Nanos::from_seconds(second);
            let state = Reading::new(&page, page.tick_at(now), 0, || UnixTime(0)).state;
            let identity = said(&page, now, now).identity;
            if state.is_usable() {
                let (earliest, _) = model.span.at(now);
                let told = model.line.utc_at(now);
                assert!(told - identity.root_dispersion - Nanos(5_000) <= earliest, "{second}");
                assert_eq!((identity.stratum, identity.leap), (3, Leap::None));
                assert!(identity.root_dispersion >= last);
                last = identity.root_dispersion;
            } else {
                assert_eq!(identity, Identity::UNSYNCHRONIZED, "{second}");
            }
            if seen.last() != Some(&state) {
                seen.push(state);
            }
        }
        assert_eq!(seen, [State::Synchronized, State::Holdover, State::Unsynchronized]);
        assert!(last > Nanos::from_millis(700), "{last:?}");
    }

    #[test]
    fn a_disrupted_clock_and_a_forked_child_serve_what_they_know() {
        let healthy = model(1, BASE, UTC, Nanos(50_000));
        let disrupted = page(healthy, ClockModel { state: State::Disrupted, ..healthy });
        assert_eq!(said(&disrupted, BASE, BASE + SECOND).identity, Identity::UNSYNCHRONIZED);
        let report = report();
        let child = moment(&page(healthy, healthy), BASE, Tick(BASE.0 + 1), 1, || &report);
        assert_eq!(child.identity.stratum, 3);
    }

    #[test]
    fn leap_seconds_are_passed_on() {
        for leap in [Leap::None, Leap::Insert, Leap::Delete] {
            let model = ClockModel { leap, ..model(1, BASE, UTC, Nanos(50_000)) };
            assert_eq!(said(&page(model, model), BASE, BASE + SECOND).identity.leap, leap);
        }
    }

    #[test]
    fn the_engine_is_asked_ten_times_a_second_at_most() {
        let shared = SharedRef::Counted(Arc::new(Shared::new(Place::own())));
        let made = Counter(5_000_000_000);
        // The engine itself would say that it knows no source.
        let mut kept = Some((made, report()));
        assert_eq!(report_of(&shared, &mut kept, made + REPORT_AGE_MAX - Nanos(1)).stratum, 3);
        assert_eq!(report_of(&shared, &mut kept, made + REPORT_AGE_MAX).stratum, 16);
        // And that is asked again at once: the first synchronisation is not kept from clients.
        let mut kept = Some((made, Report { stratum: 16, exchanges: 1, ..report() }));
        assert_eq!(report_of(&shared, &mut kept, made).exchanges, 0);
    }
}

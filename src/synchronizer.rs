//! The whole core as one value: events in, requests and clock models out.
//!
//! Nothing here knows a socket, a thread or the time of day. The engine, the simulator and a replay drive it
//! alike: they ask [`Synchronizer::next_due`] when to come back, carry requests out and datagrams in, and
//! publish what [`Synchronizer::plan`] answers. A plan changes nothing until it is [committed]
//! (Synchronizer::commit), so that a publisher who was late can plan again.

mod account;
mod certificates;
mod electorate;
pub(crate) mod memory;
#[expect(clippy::indexing_slicing, reason = "an index counts sources, and every list has an entry for each of them")]
mod plan;
pub(crate) mod rounds;
pub(crate) mod succession;

use std::net::{IpAddr, SocketAddr};

use crate::config::Settings;
use crate::exchange::{Exchange, ServerState};
use crate::model::estimator::Prior;
use crate::model::{ClockModel, UtcSpan};
use crate::source::{Chance, Fault, Outcome, Source, Standing};
use crate::units::{Counter, Nanos, Ppb, UnixTime};
use memory::Remembered;
pub(crate) use plan::Plan;
use rounds::Rounds;

/// How long the first answer waits for those of the other sources, so that the first time shown is already voted on.
const SETTLE: Nanos = Nanos::from_seconds(1);

/// A place in the list of sources; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceId(pub(crate) usize);

/// A datagram to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) source: SourceId,
    pub(crate) address: SocketAddr,
    pub(crate) datagram: Vec<u8>,
}

/// The oscillator broke its limits, or stood still: nothing older is to be trusted.
#[derive(Clone, Copy, Debug)]
struct Disruption {
    since: Counter,
    /// Sources that must be heard anew before the clock is.
    needed: usize,
}

/// The outcome of a selection, for reports.
#[derive(Clone, Debug, Default)]
struct Verdict {
    configured: usize,
    answering: usize,
    agreeing: usize,
    faults: usize,
    faults_exceeded: bool,
    frequency: Ppb,
    /// Standard deviation of the combined estimate.
    deviation: Option<Nanos>,
    /// The survivor that is said to be followed, as it was then.
    primary: Option<Primary>,
}

/// What a server that follows us is told about the source that we follow most.
#[derive(Clone, Copy, Debug)]
struct Primary {
    /// Its place in the list of sources.
    source: usize,
    server: ServerState,
    delay: Nanos,
    reference_id: u32,
}

/// The core.
#[derive(Debug)]
pub(crate) struct Synchronizer {
    settings: Settings,
    /// Begins the era in which timestamps of the wire are resolved.
    pivot: UnixTime,
    /// UTC is not before this.
    floor: UnixTime,
    /// What is published rests on a certificate that was not checked at the time obtained.
    unreviewed: bool,
    /// What every source's estimator expects of our oscillator.
    prior: Prior,
    sources: Vec<Source>,
    model: ClockModel,
    verdict: Verdict,
    /// For each source whether it voted last; who is new does.
    voters: Vec<bool>,
    /// Looks beyond the sources, if they are wished for.
    rounds: Option<Rounds>,
    /// What an earlier run left, as long as it has a say.
    remembered: Option<Remembered>,
    /// What is published is another leader's: nothing was agreed on since.
    inherited: bool,
    /// Where UTC lies by what this run's sources agreed on last, whatever is remembered.
    heard: Option<UtcSpan>,
    last_epoch: u32,
    steps: u32,
    disruption: Option<Disruption>,
    /// When the first answer stops waiting for the others'; `None` before it and after the first plan since.
    settle_at: Option<Counter>,
    settled: bool,
    /// Something happened since the last plan was committed.
    dirty: bool,
}

impl Synchronizer {
    /// A core that has heard nothing. Epochs are counted on from `last_epoch`.
    pub(crate) fn new(settings: Settings, pivot: UnixTime, last_epoch: u32) -> Self {
        let model = ClockModel { bound_cap: settings.bound_cap, ..ClockModel::UNSYNCHRONIZED };
        Self {
            rounds: settings.khronos.then(Rounds::new),
            settings,
            pivot,
            floor: pivot,
            unreviewed: false,
            prior: Prior::default(),
            sources: Vec::new(),
            model,
            verdict: Verdict::default(),
            voters: Vec::new(),
            remembered: None,
            inherited: false,
            heard: None,
            last_epoch,
            steps: 0,
            disruption: None,
            settle_at: None,
            settled: false,
            dirty: false,
        }
    }

    /// One more source of no particular standing.
    pub(crate) fn add_source(&mut self, now: Counter) -> SourceId {
        self.add_source_of(Standing::default(), now)
    }

    /// One more source; it wants an address at once.
    pub(crate) fn add_source_of(&mut self, standing: Standing, now: Counter) -> SourceId {
        let mut source = Source::new(standing, &self.settings, now);
        source.seed(self.prior);
        self.sources.push(source);
        self.voters.push(true);
        // Until the first selection finds duplicates, every source counts.
        self.verdict.configured += 1;
        self.verdict.faults = self.settings.faults(self.verdict.configured);
        SourceId(self.sources.len() - 1)
    }

    pub(crate) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// The source of that place, if there is one.
    fn of(&mut self, id: SourceId) -> impl Iterator<Item = &mut Source> {
        self.sources.get_mut(id.0).into_iter()
    }

    pub(crate) fn address(&self, id: SourceId) -> Option<SocketAddr> {
        self.sources.get(id.0)?.address()
    }

    /// What was committed last.
    pub(crate) fn model(&self) -> &ClockModel {
        &self.model
    }

    /// When something is to be done next, beside a plan that is wanted already.
    pub(crate) fn next_due(&self, now: Counter) -> Counter {
        let sources = self.sources.iter().map(Source::due).min().unwrap_or(Counter(i64::MAX));
        let rounds = self.rounds.as_ref().map_or(Counter(i64::MAX), Rounds::due);
        self.settle_at.filter(|&settle| settle > now).unwrap_or(Counter(i64::MAX)).min(sources).min(rounds)
    }

    /// A source that wants an address (or another one); each wish is told once and must be answered with
    /// [`Self::assign`] or [`Self::handle_no_address`].
    pub(crate) fn take_address_wish(&mut self, now: Counter) -> Option<SourceId> {
        self.sources.iter_mut().position(|source| source.take_address_wish(now)).map(SourceId)
    }

    /// Whether a wish for an address was told and is not yet answered.
    pub(crate) fn awaits_address(&self, id: SourceId) -> bool {
        self.sources.get(id.0).is_some_and(Source::awaits_address)
    }

    /// Whether an address that was looked for is still of use.
    pub(crate) fn wants_address(&self, id: SourceId) -> bool {
        self.sources.get(id.0).is_some_and(Source::wants_address)
    }

    pub(crate) fn assign(&mut self, id: SourceId, address: SocketAddr, now: Counter) {
        self.of(id).for_each(|source| source.assign(address, now));
        self.dirty = true;
    }

    pub(crate) fn handle_no_address(&mut self, id: SourceId, why: String, now: Counter) {
        let Some(source) = self.sources.get_mut(id.0) else { return };
        source.handle_no_address(why, now);
        self.dirty = true;
    }

    /// Whether a request is due.
    pub(crate) fn wants_to_send(&self, now: Counter) -> bool {
        self.sources.iter().any(|source| source.wants_to_send(now))
            || self.rounds.as_ref().is_some_and(Rounds::wants_to_send)
    }

    /// The next request that is due; call until `None`, with another chance each time.
    pub(crate) fn poll_request(&mut self, now: Counter, chance: &Chance) -> Option<Request> {
        let Self { sources, dirty, .. } = self;
        let request = sources.iter_mut().enumerate().find_map(|(index, source)| {
            let is_due = source.wants_to_send(now);
            let request = source.poll_transmit(now, chance);
            // A poll that is missed for want of a cookie is news as much as one that is not answered.
            *dirty |= is_due && request.is_none();
            let (address, datagram) = request?;
            Some(Request { source: SourceId(index), address, datagram })
        });
        request.or_else(|| self.rounds.as_mut()?.poll_transmit(now, chance.transmit))
    }

    /// As [`Self::poll_request`], where no source asks for NTS.
    #[cfg(test)]
    pub(crate) fn poll_transmit(&mut self, now: Counter, transmit: u64, dither: u64) -> Option<Request> {
        self.poll_request(now, &Chance::new([transmit, dither, 0, 0, 0, 0, 0, 0]))
    }

    /// The request left not before `t1`, from the address `local`; servers of ours are at `served`. (Rounds of the
    /// watchdog need neither.)
    pub(crate) fn handle_sent(&mut self, id: SourceId, t1: Counter, local: Option<IpAddr>, served: &[IpAddr]) {
        match id.in_round() {
            Some(place) => self.rounds.iter_mut().for_each(|rounds| rounds.handle_sent(place, t1)),
            None => self.of(id).for_each(|source| source.handle_sent(t1, local, served)),
        }
    }

    /// The request to `id` left not before `t1`, as is known by now.
    pub(crate) fn handle_departure(&mut self, id: SourceId, t1: Counter) {
        match id.in_round() {
            Some(place) => self.rounds.iter_mut().for_each(|rounds| rounds.handle_sent(place, t1)),
            None => self.of(id).for_each(|source| source.handle_departure(t1)),
        }
    }

    /// A datagram arrived from the source's address not after `t4`.
    pub(crate) fn handle_datagram(&mut self, id: SourceId, datagram: &[u8], t4: Counter) -> Outcome {
        if let Some(place) = id.in_round() {
            return self.handle_round_datagram(place, datagram, t4);
        }
        let Some(source) = self.sources.get_mut(id.0) else { return Outcome::Ignored };
        let outcome = source.handle_datagram(datagram, t4, self.pivot, &self.settings);
        if outcome == Outcome::Accepted {
            self.handle_fresh(t4);
        }
        self.dirty |= outcome != Outcome::Ignored;
        outcome
    }

    /// The newest exchange of `id` that counted.
    pub(crate) fn newest_exchange(&self, id: SourceId) -> Option<Exchange> {
        self.sources.get(id.0)?.newest_exchange()
    }

    /// An exchange from a trace.
    pub(crate) fn handle_recorded(&mut self, id: SourceId, exchange: &Exchange) {
        let Some(source) = self.sources.get_mut(id.0) else { return };
        let before = source.exchanges;
        source.handle_recorded(exchange, &self.settings);
        if source.exchanges > before {
            self.handle_fresh(exchange.stamps.t4);
        }
        self.dirty = true;
    }

    /// A request that a trace shows to be unanswered.
    pub(crate) fn handle_silence(&mut self, id: SourceId, now: Counter) {
        self.of(id).for_each(|source| source.handle_silence(now));
        self.dirty = true;
    }

    fn handle_fresh(&mut self, t4: Counter) {
        self.look_for_disruption(t4);
        if !self.settled && self.settle_at.is_none() {
            self.settle_at = Some(t4 + SETTLE);
        }
    }

    /// One source that contradicts itself has stepped, or lies. When most of those that answer do so within one window,
    /// it is our oscillator that broke its limits, or stood still.
    fn look_for_disruption(&mut self, now: Counter) {
        let window = self.answering().map(Source::interval).max();
        let since = now - Nanos(window.unwrap_or(Nanos::ZERO).0.saturating_mul(2));
        let contradictions = self.voting().filter_map(Source::contradicted).filter(|&at| at >= since);
        // As many as may lie are believed capable of it, however few of the others answer.
        let count = contradictions.count();
        if count * 2 <= self.answering().count() || count <= self.verdict.faults {
            return;
        }
        for source in &mut self.sources {
            source.handle_disruption(now);
        }
        self.disrupt(now);
    }

    /// The counter stood still or was replaced before `now`: nothing older is to be trusted, and no answer to a request
    /// that is under way. The clock is DISRUPTED until more than half of those that answered have been heard anew.
    pub(crate) fn handle_disruption(&mut self, now: Counter) {
        for source in &mut self.sources {
            source.handle_gap(now);
        }
        self.settle_at = None;
        self.disrupt(now);
        self.dirty = true;
    }

    fn disrupt(&mut self, now: Counter) {
        (self.remembered, self.inherited) = (None, false);
        self.rounds.iter_mut().for_each(Rounds::abandon);
        self.disruption = Some(Disruption { since: now, needed: self.answering().count() / 2 + 1 });
    }

    /// Those that say where UTC lies: what others do is no reason to doubt our oscillator.
    fn voting(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().zip(&self.voters).filter(|(_, votes)| **votes).map(|(source, _)| source)
    }

    /// Those of them that have answered one of their last eight requests.
    fn answering(&self) -> impl Iterator<Item = &Source> {
        self.voting().filter(|source| source.reach() != 0)
    }

    /// Whether the oscillator was at fault and too few sources were heard since.
    fn is_disrupted(&self) -> bool {
        self.disruption.is_some_and(|disruption| {
            let heard = |source: &&Source| source.newest().is_some_and(|newest| newest.at > disruption.since);
            self.voting().filter(heard).count() < disruption.needed
        })
    }

    /// When the first answer stops waiting for the others'.
    pub(crate) fn settles_at(&self) -> Option<Counter> {
        self.settle_at
    }

    /// The request could not be sent, or the network refused it.
    pub(crate) fn handle_failure(&mut self, id: SourceId, why: String, now: Counter) {
        if let Some(place) = id.in_round() {
            return self.end_in_round(place, now);
        }
        let Some(source) = self.sources.get_mut(id.0) else { return };
        source.handle_failure(Fault::World(why), now);
        self.dirty = true;
    }

    /// No request can be made now.
    pub(crate) fn handle_hindrance(&mut self, why: &str, now: Counter) {
        for source in &mut self.sources {
            self.dirty |= source.handle_hindrance(why, now);
        }
    }

    /// Ends one request whose time is over; call until `None`.
    pub(crate) fn expire(&mut self, now: Counter) -> Option<SourceId> {
        if let Some(index) = self.sources.iter_mut().position(|source| source.expire(now)) {
            self.dirty = true;
            return Some(SourceId(index));
        }
        let place = self.rounds.as_ref()?.expired(now)?;
        self.end_in_round(place, now);
        Some(SourceId::of_round(place))
    }

    /// Whether a new plan may differ from what is published.
    pub(crate) fn wants_plan(&self, now: Counter) -> bool {
        self.dirty || self.settle_at.is_some_and(|settle| settle <= now)
    }

    /// Makes `plan` the state of the core: readers see it, or are about to.
    pub(crate) fn commit(&mut self, plan: Plan, now: Counter) {
        self.steps = self.steps_with(&plan);
        // A line from an earlier run is no answer: the first one still waits for the others.
        if plan.heard.is_some() || self.settle_at.is_some_and(|settle| settle <= now) {
            self.settled = true;
        }
        if self.settled {
            self.settle_at = None;
        }
        for (source, (selection, objection)) in self.sources.iter_mut().zip(&plan.judgements) {
            source.handle_selection(*selection, *objection, now);
        }
        if let Some(heard) = plan.heard {
            self.unreviewed = plan.unreviewed;
            self.disruption = None;
            self.inherited = false;
            self.heard = Some(heard);
            self.remembered = self.remembered.filter(|memory| !plan.refutes_memory && !memory.is_silent(now));
            let knee = self.settings.drift.knee;
            self.remembered.iter_mut().for_each(|remembered| remembered.handle_agreement(now, knee));
        }
        self.voters = plan.voters;
        if let (Some(rounds), Some((agreed, at))) = (&mut self.rounds, plan.agreed) {
            rounds.note_agreement(agreed, at);
        }
        self.last_epoch = self.last_epoch.max(plan.model.epoch);
        self.model = plan.model;
        self.verdict = plan.verdict;
        self.dirty = false;
        if let Some(served) = self.reference() {
            self.sources.iter_mut().for_each(|source| source.ours.add(served));
        }
    }

    /// The steps so far if `plan` is committed.
    fn steps_with(&self, plan: &Plan) -> u32 {
        let stepped = plan.model.epoch > self.model.epoch && self.model.has_line();
        self.steps + u32::from(stepped)
    }

    /// Whether the first synchronisation may happen: all sources were tried, or waited for long enough.
    fn may_start(&self, now: Counter) -> bool {
        self.settled
            || self.settle_at.is_some_and(|settle| settle <= now)
            || !self.sources.iter().any(Source::is_untried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Stamps;
    use crate::packet::{self, Packet};
    use crate::status::{Flags, Reason, Selection, ServerOptions, State};
    use crate::units::NtpShort;
    use crate::units::{NANOS_PER_SECOND, NtpTime, unix_seconds};
    use std::net::Ipv4Addr;

    const PIVOT: UnixTime = unix_seconds(1_700_000_000);

    /// A world of servers around one core; the true offset of UTC is a function of the counter.
    struct World {
        core: Synchronizer,
        now: Counter,
        /// Frequency of UTC against the counter, ppb.
        frequency: i64,
        /// Each server's reference id; above 0 it is of stratum 2.
        references: Vec<u32>,
        /// What each server adds to the truth, ns; `None`: it is dead.
        servers: Vec<Option<i64>>,
        seed: u64,
        backwards: Vec<(Counter, Nanos)>,
        /// How often a sample of other servers was wished for.
        wishes: u32,
    }

    impl World {
        fn new(settings: Settings, servers: &[Option<i64>]) -> Self {
            let mut core = Synchronizer::new(settings, PIVOT, 0);
            for index in 0..servers.len() {
                let id = core.add_source(Counter(0));
                core.assign(id, SocketAddr::from((Ipv4Addr::new(192, 0, 2, index as u8 + 1), 123)), Counter(0));
            }
            let (references, servers) = (vec![0; servers.len()], servers.to_vec());
            Self {
                core,
                now: Counter(0),
                frequency: 20_000,
                references,
                servers,
                seed: 1,
                backwards: Vec::new(),
                wishes: 0,
            }
        }

        fn utc(&self, counter: Counter) -> UnixTime {
            unix_seconds(1_795_000_000) + Nanos(counter.0) + Nanos(counter.0 / NANOS_PER_SECOND * self.frequency)
        }

        fn random(&mut self) -> u64 {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.seed >> 16
        }

        /// Answers a request after 100 µs and up to 50 µs more each way.
        fn exchange(&mut self, request: &Request) {
            let t1 = self.now;
            self.core.handle_sent(request.source, t1, None, &[]);
            let Some(error) = self.servers[request.source.0] else { return };
            let there = Nanos(100_000 + (self.random() % 50_000) as i64);
            let back = Nanos(100_000 + (self.random() % 50_000) as i64);
            let t2 = self.utc(t1 + there) + Nanos(error);
            let reference_id = self.references[request.source.0];
            let reply = Packet {
                stratum: if reference_id == 0 { 1 } else { 2 },
                reference_id,
                reference: NtpTime::from_unix(unix_seconds(1_795_000_000)),
                mode: packet::Mode::Server,
                precision: -25,
                origin: Packet::parse(&request.datagram).unwrap().transmit,
                receive: NtpTime::from_unix(t2),
                transmit: NtpTime::from_unix(t2 + Nanos(1)),
                ..Packet::request(NtpTime::ZERO)
            };
            let t4 = t1 + there + back;
            self.core.handle_datagram(request.source, &reply.bytes(), t4);
            self.now = t4;
        }

        /// Runs until `seconds`, checking the published model every time it changes.
        fn run_until(&mut self, seconds: i64) {
            let end = Counter(0) + Nanos::from_seconds(seconds);
            while self.now < end {
                while self.core.expire(self.now).is_some() {}
                self.wishes += u32::from(self.core.take_round_wish(self.now));
                while let Some(id) = self.core.take_address_wish(self.now) {
                    // There is no other server to be had.
                    let address = self.core.address(id).unwrap();
                    self.core.assign(id, address, self.now);
                }
                loop {
                    let (transmit, dither) = (self.random(), self.random());
                    let Some(request) = self.core.poll_transmit(self.now, transmit, dither) else { break };
                    self.exchange(&request);
                }
                if self.core.wants_plan(self.now) {
                    let former = *self.core.model();
                    let plan = self.core.plan(self.now);
                    self.core.commit(plan, self.now);
                    let model = *self.core.model();
                    let shown = (model.line.utc_at(self.now), former.line.utc_at(self.now));
                    if former.has_line() && former.epoch == model.epoch && shown.0 < shown.1 {
                        self.backwards.push((self.now, shown.0 - shown.1));
                    }
                }
                self.now = self.core.next_due(self.now).max(self.now + Nanos(1)).min(end.max(self.now + Nanos(1)));
            }
        }

        fn state(&self) -> State {
            self.core.model().state_at(self.now)
        }

        /// UTC as shown minus UTC, and whether the interval holds UTC.
        fn error(&self) -> (Nanos, bool) {
            let (earliest, utc, latest) = self.core.model().at(self.now);
            let truth = self.utc(self.now);
            (utc - truth, earliest <= truth && truth <= latest)
        }

        fn selections(&self) -> Vec<Selection> {
            self.core.source_infos(self.now).iter().map(|info| info.selection).collect()
        }
    }

    fn world(servers: &[Option<i64>]) -> World {
        World::new(Settings::default(), servers)
    }

    #[test]
    fn one_server_gives_time_and_frequency() {
        let mut world = world(&[Some(0)]);
        world.run_until(1);
        assert_eq!(world.state(), State::Synchronized);
        world.run_until(3000);
        let (error, holds) = world.error();
        assert!(error.abs() < Nanos(25_000) && holds, "{error:?}");
        let frequency = world.core.report(world.now).frequency_ppb;
        assert!((frequency - 20_000.0).abs() < 100.0, "{frequency}");
        assert_eq!((world.core.report(world.now).steps, world.backwards.len()), (0, 0));
    }

    #[test]
    fn of_three_servers_the_liar_is_named_and_the_time_stays_right() {
        let mut world = world(&[Some(0), Some(5 * NANOS_PER_SECOND), Some(0)]);
        world.run_until(300);
        let (error, holds) = world.error();
        assert!(error.abs() < Nanos(50_000) && holds, "{error:?}");
        let (good, bad) = (Selection::Truechimer, Selection::Falseticker);
        assert_eq!(world.selections(), [good, bad, good]);
        let report = world.core.report(world.now);
        assert!(report.faults_exceeded && report.agreeing == 2 && report.steps == 0, "{report:?}");
    }

    #[test]
    fn when_the_servers_die_the_interval_grows_and_holds_until_they_return() {
        let mut world = world(&[Some(0), Some(0)]);
        world.run_until(600);
        let bound = |world: &World| world.core.report(world.now).bound_ns;
        let fresh = bound(&world);
        world.servers = vec![None, None];
        world.run_until(5_000);
        assert_eq!(world.state(), State::Holdover);
        assert!(bound(&world) > 10 * fresh && world.error().1, "{} {:?}", bound(&world), world.error());
        world.servers = vec![Some(0), Some(0)];
        world.run_until(9_000);
        assert_eq!(world.state(), State::Synchronized);
        assert!(world.error().1 && world.backwards.is_empty());
        assert_eq!(world.core.report(world.now).epoch, 1);
    }

    #[test]
    fn two_servers_that_disagree_are_no_time_at_all() {
        let mut world = world(&[Some(0), Some(NANOS_PER_SECOND)]);
        world.run_until(100);
        assert_eq!(world.state(), State::Unsynchronized);
        assert_eq!(world.selections(), [Selection::Candidate; 2]);
        let told: Vec<_> = world.core.sources.iter().map(Source::complaint).collect();
        assert_eq!(told, vec![Some("no majority of the sources agrees on a time".to_owned()); 2]);
    }

    #[test]
    fn one_that_answers_where_one_may_lie_is_no_time_and_says_why() {
        let mut world = world(&[Some(0), None, None, None]);
        world.run_until(100);
        assert_eq!((world.state(), world.selections()[0]), (State::Unsynchronized, Selection::Candidate));
        assert_eq!(world.core.sources[0].complaint().as_deref(), Some("no more sources answer than may lie"));
    }

    #[test]
    fn one_dead_server_of_two_does_not_matter() {
        let mut world = world(&[Some(0), None]);
        world.run_until(60);
        assert_eq!(world.state(), State::Synchronized);
        assert_eq!(world.selections(), [Selection::Truechimer, Selection::Unreachable]);
    }

    #[test]
    fn fewer_agreeing_sources_than_asked_for_are_not_enough() {
        let settings = Settings { min_agreeing: 2, ..Settings::default() };
        let mut world = World::new(settings, &[Some(0), None]);
        world.run_until(60);
        assert_eq!(world.state(), State::Unsynchronized);
    }

    #[test]
    fn when_most_sources_contradict_themselves_the_clock_is_disrupted_until_they_are_heard_anew() {
        let mut world = world(&[Some(0), Some(0), Some(0)]);
        world.run_until(100);
        let truth = world.core.model().epoch;
        // The counter stood still for an hour: all that was seen before is an hour off.
        world.servers = vec![Some(3600 * NANOS_PER_SECOND); 3];
        let mut seen = Vec::new();
        for second in 101..200 {
            world.run_until(second);
            if seen.last() != Some(&world.state()) {
                seen.push(world.state());
            }
        }
        assert_eq!(seen.last(), Some(&State::Synchronized), "{seen:?}");
        assert!(seen.contains(&State::Disrupted), "{seen:?}");
        assert_eq!(world.core.model().epoch, truth + 1);
        let (error, _) = world.error();
        assert!((error - Nanos::from_seconds(3600)).abs() < Nanos(100_000), "{error:?}");
    }

    #[test]
    fn a_gap_right_after_an_exchange_leaves_nothing_of_it() {
        let mut world = world(&[Some(0)]);
        world.run_until(100);
        let end = world.core.sources[0].newest().unwrap().at;
        world.core.handle_disruption(end);
        assert!(world.core.sources[0].newest().is_none());
    }

    #[test]
    fn a_suspend_disrupts_at_once_voids_what_is_under_way_and_ends_when_most_sources_were_heard_anew() {
        for sources in [1, 3, 5] {
            let mut world = world(&vec![Some(0); sources]);
            world.run_until(1_000);
            let (epoch, steps) = (world.core.model().epoch, world.core.report(world.now).steps);
            world.now = world.core.next_due(world.now);
            let request = world.core.poll_transmit(world.now, 77, 0).unwrap();
            world.core.handle_sent(request.source, world.now, None, &[]);
            world.core.handle_disruption(world.now);
            assert!(world.core.wants_plan(world.now));
            let plan = world.core.plan(world.now);
            world.core.commit(plan, world.now);
            assert_eq!(world.state(), State::Disrupted);
            // An hour that the counter does not know of.
            world.servers = vec![Some(3600 * NANOS_PER_SECOND); sources];
            let exchanges = world.core.report(world.now).exchanges;
            world.exchange(&request);
            assert_eq!(world.core.report(world.now).exchanges, exchanges);
            assert!(world.core.next_due(world.now) <= world.now, "the sources are asked at once");
            let begun = world.now;
            while world.state() == State::Disrupted {
                world.run_until((world.now - Counter(0)).0 / NANOS_PER_SECOND + 1);
                assert!(world.now - begun < Nanos::from_seconds(10), "{sources}");
            }
            assert_eq!(world.state(), State::Synchronized);
            let report = world.core.report(world.now);
            assert_eq!((report.epoch, report.steps), (epoch + 1, steps + 1));
            let (error, _) = world.error();
            assert!((error - Nanos::from_seconds(3600)).abs() < Nanos(200_000), "{error:?}");
        }
    }

    #[test]
    fn a_disruption_before_the_first_synchronisation_is_none_of_the_readers_business() {
        let mut world = world(&[None, None]);
        world.run_until(10);
        world.core.handle_disruption(world.now);
        let plan = world.core.plan(world.now);
        assert_eq!((plan.model.state, plan.model.epoch), (State::Unsynchronized, 0));
        world.core.commit(plan, world.now);
        world.servers = vec![Some(0), Some(0)];
        world.run_until(300);
        assert_eq!((world.state(), world.error().1), (State::Synchronized, true));
    }

    #[test]
    fn a_line_from_before_a_disruption_is_not_continued_even_if_nobody_could_be_told_of_it() {
        let mut world = world(&[Some(0)]);
        world.run_until(1_000);
        let epoch = world.core.model().epoch;
        world.core.handle_disruption(world.now);
        // The engine came too late again and again; the next plan already has a new exchange.
        let request = world.core.poll_transmit(world.now, 77, 0).unwrap();
        world.servers = vec![Some(50_000_000)];
        world.exchange(&request);
        let plan = world.core.plan(world.now);
        assert_eq!((plan.model.state, plan.model.epoch), (State::Synchronized, epoch + 1));
    }

    #[test]
    fn a_disruption_lasts_until_the_sources_agree_not_just_until_they_are_heard() {
        let mut world = world(&[Some(0), Some(0), Some(0)]);
        world.run_until(100);
        let disagreeing = [3600, 3605, 3610].map(|seconds| Some(seconds * NANOS_PER_SECOND));
        world.servers = disagreeing.into();
        world.run_until(200);
        for second in 201..400 {
            world.run_until(second);
            assert_eq!(world.state(), State::Disrupted, "second {second}");
        }
        world.servers = vec![Some(3600 * NANOS_PER_SECOND); 3];
        world.run_until(500);
        assert_eq!(world.state(), State::Synchronized);
        assert!(world.core.report(world.now).steps >= 1);
    }

    #[test]
    fn a_falseticker_is_told_by_how_much() {
        let mut world = world(&[Some(0), Some(5 * NANOS_PER_SECOND), Some(0)]);
        world.run_until(60);
        let fault = world.core.source_infos(world.now)[1].fault.clone().unwrap();
        assert!(fault.starts_with("its interval misses the agreed one by 49"), "{fault}");
    }

    #[test]
    fn a_server_that_follows_us_is_not_followed() {
        let ours = std::net::IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));
        let mut world = world(&[Some(0)]);
        world.references = vec![packet::reference_id(ours)];
        let request = world.core.poll_transmit(world.now, 77, 0).unwrap();
        world.core.handle_sent(request.source, world.now, Some(ours), &[]);
        let reply = Packet {
            mode: packet::Mode::Server,
            stratum: 3,
            reference_id: packet::reference_id(ours),
            origin: NtpTime(77),
            receive: NtpTime::from_unix(world.utc(world.now)),
            transmit: NtpTime::from_unix(world.utc(world.now)),
            ..Packet::request(NtpTime::ZERO)
        };
        let outcome = world.core.handle_datagram(request.source, &reply.bytes(), world.now + Nanos(500_000));
        assert_eq!(outcome, Outcome::Refused);
        let fault = world.core.source_infos(world.now)[0].fault.clone().unwrap();
        assert!(fault.contains("follows this very host"), "{fault}");
    }

    #[test]
    fn a_server_that_says_what_we_serve_is_ourselves_at_whatever_address() {
        // Who follows the same server, and is another, is as good as any.
        for (more, expected) in [(0, Outcome::Refused), (9, Outcome::Accepted)] {
            let mut world = world(&[Some(0)]);
            world.run_until(20);
            let report = world.core.report(world.now);
            let (transmit, request) = loop {
                let (transmit, dither) = (world.random(), world.random());
                match world.core.poll_transmit(world.now, transmit, dither) {
                    Some(request) => break (transmit, request),
                    None => world.now = world.core.next_due(world.now).max(world.now + Nanos(1)),
                }
            };
            let reply = Packet {
                mode: packet::Mode::Server,
                stratum: 3,
                reference_id: report.reference_id,
                reference: NtpTime::from_unix(UnixTime(report.reference_time_ns)),
                root_delay: NtpShort(NtpShort::from_nanos_up(Nanos(report.root_delay_ns)).0 + more),
                origin: NtpTime(transmit),
                receive: NtpTime::from_unix(world.utc(world.now)),
                transmit: NtpTime::from_unix(world.utc(world.now)),
                ..Packet::request(NtpTime::ZERO)
            };
            let outcome = world.core.handle_datagram(request.source, &reply.bytes(), world.now + Nanos(500_000));
            assert_eq!(outcome, expected, "{:?}", world.core.source_infos(world.now)[0].fault);
            let fault = world.core.source_infos(world.now)[0].fault.clone().unwrap_or_default();
            assert_eq!(fault.contains("follows this very host"), more == 0, "{fault}");
        }
    }

    /// The requests of a round of seven others.
    fn round(world: &mut World) -> Vec<Request> {
        let others: Vec<_> = (1..=7).map(|last| (Ipv4Addr::new(198, 51, 100, last), 123).into()).collect();
        world.core.start_round(&others);
        let requests = std::iter::from_fn(|| {
            let (transmit, dither) = (world.random(), world.random());
            world.core.poll_transmit(world.now, transmit, dither)
        });
        requests.filter(|request| others.contains(&request.address)).collect()
    }

    #[test]
    fn a_round_asks_each_once_and_waits_and_a_disruption_ends_it() {
        let mut world = World::new(Settings { khronos: true, ..Settings::default() }, &[Some(0)]);
        world.run_until(100);
        assert_eq!(world.wishes, 0);
        world.run_until(200);
        assert_eq!(world.wishes, 1);
        let requests = round(&mut world);
        assert_eq!(requests.len(), 7);
        world.core.handle_failure(requests[0].source, "unreachable".into(), world.now);
        world.now += Nanos::from_seconds(6);
        let expired = std::iter::from_fn(|| world.core.expire(world.now)).filter(|id| *id != SourceId(0)).count();
        assert_eq!(expired, 6);
        assert!(!world.core.plan(world.now).model.flags.contains(Flags::VETOED));

        world.run_until(4_000);
        assert_eq!(world.wishes, 2);
        let requests = round(&mut world);
        world.core.handle_disruption(world.now);
        let late = world.core.handle_datagram(requests[0].source, &[0; 48], world.now);
        assert_eq!((requests.len(), late), (7, Outcome::Ignored));
        // It is wished for again when there is a time again to be judged, and not at once.
        world.run_until(4_100);
        assert_eq!((world.state(), world.wishes), (State::Synchronized, 2));
        world.run_until(4_400);
        assert_eq!(world.wishes, 3);
    }

    #[test]
    fn all_servers_stepping_starts_a_new_epoch_and_is_counted() {
        let mut world = world(&[Some(0)]);
        world.run_until(100);
        world.servers = vec![Some(10 * NANOS_PER_SECOND)];
        world.run_until(400);
        let report = world.core.report(world.now);
        assert_eq!((report.epoch, report.steps), (2, 1));
        assert!(world.core.source_infos(world.now)[0].restarts >= 1);
    }

    #[test]
    fn the_same_address_twice_counts_once() {
        let mut world = world(&[Some(0), Some(0)]);
        let address = world.core.address(SourceId(0)).unwrap();
        world.core.assign(SourceId(1), address, world.now);
        world.run_until(60);
        assert_eq!(world.selections(), [Selection::Truechimer, Selection::Duplicate]);
        assert_eq!(world.core.report(world.now).configured, 1);
    }

    #[test]
    fn who_claims_to_be_another_server_does_not_replace_it() {
        // Four sources, one of them a liar who stands before an honest one and copies its reference.
        let mut world = world(&[Some(-150_000), Some(0), Some(0), Some(0)]);
        world.references = vec![7, 7, 8, 9];
        world.run_until(300);
        assert!(world.error().1, "{:?}", world.error());
        assert_eq!(world.selections()[1], Selection::Duplicate);
        assert_eq!(world.state(), State::Synchronized);
    }

    #[test]
    fn who_claims_to_be_a_trusted_server_neither_widens_nor_silences_it() {
        for liar_first in [true, false] {
            let mut core = Synchronizer::new(Settings::default(), PIVOT, 0);
            let options = ServerOptions { trust: true, require: true, ..ServerOptions::default() };
            let trusted = Standing { options, key: None };
            let standings = if liar_first { [Standing::default(), trusted] } else { [trusted, Standing::default()] };
            for (index, standing) in standings.into_iter().enumerate() {
                let id = core.add_source_of(standing, Counter(0));
                core.assign(id, SocketAddr::from((Ipv4Addr::new(192, 0, 2, index as u8 + 1), 123)), Counter(0));
            }
            let mut world = world(&[]);
            world.core = core;
            (world.references, world.servers) = (vec![7, 7], vec![Some(0); 2]);
            world.servers[usize::from(!liar_first)] = Some(150_000);
            world.run_until(300);
            assert_eq!((world.state(), world.error().1), (State::Synchronized, true));
            assert_eq!(world.selections()[usize::from(liar_first)], Selection::Truechimer);
            assert_eq!(world.core.report(world.now).configured, 2);
        }
    }

    #[test]
    fn who_has_no_vote_while_those_that_have_one_disagree_says_so() {
        let mut world = world(&[Some(0)]);
        for last in [8, 9] {
            let options = ServerOptions { trust: true, ..ServerOptions::default() };
            let trusted = world.core.add_source_of(Standing { options, key: None }, Counter(0));
            world.core.assign(trusted, SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), 123)), Counter(0));
        }
        (world.references, world.servers) = (vec![0; 3], vec![Some(0), Some(0), Some(NANOS_PER_SECOND)]);
        world.run_until(60);
        assert_eq!((world.state(), world.selections()), (State::Unsynchronized, vec![Selection::Candidate; 3]));
        let told: Vec<_> = world.core.sources.iter().filter_map(Source::complaint).collect();
        let disagree = "no majority of the sources agrees on a time";
        assert_eq!(told, ["sources that are trusted more have the say, and agree on nothing", disagree, disagree]);
    }

    #[test]
    fn sources_that_agree_where_none_that_is_required_does_say_why_there_is_no_time() {
        let mut world = world(&[Some(0), Some(0)]);
        let options = ServerOptions { require: true, ..ServerOptions::default() };
        let required = world.core.add_source_of(Standing { options, key: None }, Counter(0));
        world.core.assign(required, SocketAddr::from((Ipv4Addr::new(192, 0, 2, 9), 123)), Counter(0));
        (world.references, world.servers) = (vec![0; 3], vec![Some(0), Some(0), None]);
        world.run_until(60);
        assert_eq!(world.state(), State::Unsynchronized);
        let told = |world: &World| world.core.sources.iter().map(Source::complaint).collect::<Vec<_>>();
        let why = Some("no source that is required, or authenticated where others are not, agrees".to_owned());
        assert_eq!(told(&world), [why.clone(), why, Some("no answer".to_owned())]);
        // And no longer once it does.
        world.servers[2] = Some(0);
        world.run_until(2_000);
        assert_eq!((world.state(), told(&world)), (State::Synchronized, vec![None; 3]));
    }

    #[test]
    fn a_required_server_that_has_another_name_is_there_by_either() {
        let mut world = world(&[Some(0)]);
        let options = ServerOptions { require: true, ..ServerOptions::default() };
        let required = world.core.add_source_of(Standing { options, key: None }, Counter(0));
        let address = world.core.address(SourceId(0)).unwrap();
        world.core.assign(required, address, Counter(0));
        (world.references, world.servers) = (vec![0, 0], vec![Some(0), Some(0)]);
        world.run_until(60);
        assert_eq!(world.state(), State::Synchronized);
        assert_eq!(world.selections(), [Selection::Duplicate, Selection::Truechimer]);
    }

    #[test]
    fn a_server_that_follows_us_is_told_in_holdover_what_it_was_told_before() {
        let mut world = world(&[Some(0)]);
        world.run_until(60);
        let before = world.core.report(world.now);
        world.core.assign(SourceId(0), SocketAddr::from((Ipv4Addr::new(192, 0, 2, 99), 123)), world.now);
        let plan = world.core.plan(world.now);
        world.core.commit(plan, world.now);
        let after = world.core.report(world.now);
        assert_eq!((after.state, after.stratum), (State::Holdover, before.stratum));
        assert_eq!(after.reference_id, before.reference_id);
    }

    #[test]
    fn a_stranger_cannot_answer() {
        let mut world = world(&[None]);
        let request = world.core.poll_transmit(world.now, 77, 0).unwrap();
        let forged =
            Packet { mode: packet::Mode::Server, stratum: 1, origin: NtpTime(78), ..Packet::request(NtpTime(9)) };
        let outcome = world.core.handle_datagram(request.source, &forged.bytes(), world.now + Nanos(5));
        assert_eq!(outcome, Outcome::Ignored);
        assert_eq!(world.core.report(world.now).exchanges, 0);
    }

    #[test]
    fn a_reply_counts_once() {
        let mut world = world(&[Some(0)]);
        let request = world.core.poll_transmit(world.now, 77, 0).unwrap();
        world.exchange(&request);
        world.exchange(&request);
        assert_eq!(world.core.report(world.now).exchanges, 1);
    }

    /// Exchanges of three servers, each of whose ways there and back take so many ms, one after the other every 16 s.
    fn play_paths(
        core: &mut Synchronizer,
        ways: [(i64, i64); 3],
        times: std::ops::Range<i64>,
        utc: impl Fn(i64) -> i64,
    ) {
        for turn in times {
            for (index, (there, back)) in ways.into_iter().enumerate() {
                let t1 = 16_000 * turn + 3_000 * index as i64;
                let at = |ms: i64| unix_seconds(1_795_000_000) + Nanos::from_millis(utc(ms));
                let (middle, t4) = (at(t1 + there), t1 + there + back);
                let stamps = Stamps {
                    t1: Counter(0) + Nanos::from_millis(t1),
                    t2: middle,
                    t3: middle,
                    t4: Counter(0) + Nanos::from_millis(t4),
                };
                core.handle_recorded(SourceId(index), &Exchange { stamps, server: ServerState::primary() });
                let switch = stamps.t4;
                let plan = core.plan(switch);
                core.commit(plan, switch);
                let (earliest, _, latest) = core.model().at(switch);
                let holds = earliest <= at(t4) && at(t4) <= latest;
                assert!(holds || core.model().state_at(switch) != State::Synchronized || turn == 40, "{turn}.{index}");
            }
        }
    }

    #[test]
    fn after_a_disruption_nothing_that_was_seen_before_is_used() {
        let mut core = Synchronizer::new(Settings::default(), PIVOT, 0);
        (0..3).for_each(|_| _ = core.add_source(Counter(0)));
        // Two near ones contradict themselves when the counter has stood still for 20 ms; the far one between them need
        // not.
        let ways = [(2, 15), (10, 390), (2, 15)];
        play_paths(&mut core, ways, 1..40, |ms| ms);
        assert_eq!(core.model().state, State::Synchronized);
        play_paths(&mut core, ways, 40..41, |ms| ms + 20);
        assert_eq!(core.model().state, State::Disrupted);
        play_paths(&mut core, ways, 41..80, |ms| ms + 20);
        assert_eq!(core.model().state, State::Synchronized);
    }

    #[test]
    fn as_many_as_may_lie_do_not_disrupt_a_holdover() {
        let mut world = world(&[Some(0); 4]);
        world.run_until(2_000);
        world.servers = vec![Some(0), None, None, None];
        world.run_until(8_000);
        assert_eq!(world.state(), State::Holdover);
        world.servers[0] = Some(3_000_000_000);
        world.run_until(12_000);
        assert_eq!(world.state(), State::Holdover);
        assert!(world.error().1);
    }

    #[test]
    fn of_two_names_of_one_server_the_one_that_answers_counts() {
        let mut world = world(&[None, Some(0)]);
        let address = world.core.address(SourceId(1)).unwrap();
        world.core.assign(SourceId(0), address, Counter(0));
        world.run_until(600);
        assert_eq!((world.state(), world.core.report(world.now).answering), (State::Synchronized, 1));
        assert_eq!(world.selections(), [Selection::Duplicate, Selection::Truechimer]);
    }

    /// Sends the next request of the only source, and has it answered with `reply`.
    fn reply_next(world: &mut World, reply: impl Fn(Packet) -> Packet) {
        let request = loop {
            let (transmit, dither) = (world.random(), world.random());
            match world.core.poll_transmit(world.now, transmit, dither) {
                Some(request) => break request,
                None => world.now = world.core.next_due(world.now),
            }
        };
        world.core.handle_sent(request.source, world.now, None, &[]);
        let utc = NtpTime::from_unix(world.utc(world.now));
        let packet = reply(Packet {
            mode: packet::Mode::Server,
            stratum: 1,
            precision: -25,
            origin: Packet::parse(&request.datagram).unwrap().transmit,
            receive: utc,
            transmit: utc,
            ..Packet::request(NtpTime::ZERO)
        });
        world.now += Nanos(200_000);
        world.core.handle_datagram(request.source, &packet.bytes(), world.now);
        let plan = world.core.plan(world.now);
        world.core.commit(plan, world.now);
    }

    fn denied(packet: Packet) -> Packet {
        Packet { stratum: 0, reference_id: u32::from_be_bytes(*b"DENY"), ..packet }
    }

    #[test]
    fn a_server_is_replaced_when_it_has_denied_service_three_times_in_a_row_and_not_before() {
        let mut world = world(&[Some(0)]);
        world.run_until(600);
        let before = world.core.model().holdover_at;
        for _ in 0..2 {
            reply_next(&mut world, denied);
            assert_eq!(world.selections(), [Selection::Truechimer]);
            let fault = world.core.source_infos(world.now)[0].fault.clone();
            assert_eq!(fault.as_deref(), Some("the server denies service (DENY)"));
            assert_eq!(world.core.take_address_wish(world.now), None);
        }
        reply_next(&mut world, denied);
        assert_eq!(world.selections(), [Selection::Unusable]);
        assert_eq!(world.core.source_infos(world.now)[0].refusals.count(Reason::Deny), 3);
        assert_eq!(world.core.take_address_wish(world.now), Some(SourceId(0)));
        // Whatever it told lately, it does not stay fresh.
        assert!(world.core.model().holdover_at <= before);
        assert_eq!(world.core.model().state_at(before), State::Holdover);
    }

    #[test]
    fn a_good_answer_between_denials_makes_up_for_them() {
        let mut world = world(&[Some(0)]);
        world.run_until(600);
        for _ in 0..5 {
            reply_next(&mut world, denied);
            reply_next(&mut world, denied);
            reply_next(&mut world, |packet| packet);
        }
        assert_eq!(world.selections(), [Selection::Truechimer]);
    }

    #[test]
    fn who_is_caught_lying_is_heard_again_after_four_good_answers_and_replaced_if_it_goes_on() {
        let mut world = world(&[Some(0)]);
        world.run_until(600);
        let lie = |packet: Packet| Packet { transmit: NtpTime(packet.receive.0.wrapping_sub(1 << 32)), ..packet };
        reply_next(&mut world, lie);
        assert_eq!(world.selections(), [Selection::Unusable]);
        assert_eq!(world.core.report(world.now).answering, 0);
        for left in (0..4).rev() {
            reply_next(&mut world, |packet| packet);
            let info = &world.core.source_infos(world.now)[0];
            let expected = if left == 0 { Selection::Truechimer } else { Selection::Unusable };
            assert_eq!(info.selection, expected, "{left}");
            let told = format!("it was caught lying; heard again after {left} more good answers");
            assert_eq!(info.fault, (left > 0).then_some(told));
        }
        assert_eq!(world.core.take_address_wish(world.now), None);
        reply_next(&mut world, lie);
        reply_next(&mut world, lie);
        assert_eq!(world.core.take_address_wish(world.now), Some(SourceId(0)));
        assert_eq!(world.core.source_infos(world.now)[0].refusals.count(Reason::Hold), 3);
    }

    #[test]
    fn a_reply_after_its_time_is_late_whenever_it_is_looked_at() {
        let mut world = world(&[None]);
        let request = world.core.poll_transmit(world.now, 77, 0).unwrap();
        world.servers = vec![Some(0)];
        world.now += Nanos::from_seconds(3);
        let utc = NtpTime::from_unix(world.utc(world.now));
        let reply = Packet {
            mode: packet::Mode::Server,
            stratum: 1,
            origin: NtpTime(77),
            receive: utc,
            transmit: utc,
            ..Packet::request(NtpTime::ZERO)
        };
        assert_eq!(world.core.handle_datagram(request.source, &reply.bytes(), world.now), Outcome::Refused);
        let info = &world.core.source_infos(world.now)[0];
        assert_eq!((info.exchanges, info.refusals.count(Reason::Late)), (0, 1));
    }

    #[test]
    fn a_recorded_server_that_calls_itself_unsynchronised_is_refused() {
        for server in [
            ServerState { leap: crate::status::Leap::Unknown, ..ServerState::primary() },
            ServerState { stratum: 16, ..ServerState::primary() },
            ServerState { stratum: 0, ..ServerState::primary() },
            ServerState { root_dispersion: Nanos::from_seconds(16), ..ServerState::primary() },
        ] {
            let mut core = Synchronizer::new(Settings::default(), PIVOT, 0);
            let id = core.add_source(Counter(0));
            let (t1, t4) = (Counter(0), Counter(1_000_000));
            let utc = unix_seconds(1_795_000_000);
            core.handle_recorded(id, &Exchange { stamps: Stamps { t1, t2: utc, t3: utc, t4 }, server });
            let info = &core.source_infos(t4)[0];
            assert_eq!((info.exchanges, info.rejected), (0, 1), "{server:?}");
        }
    }
}

//! Virtual time: the real core and the real publication, driven as the engine drives them, in a world that is made up.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Trial;
use super::calibration::Calibration;
use super::oracle::{Oracle, Promise, second};
use super::oscillator::Oscillator;
use super::processor;
use super::random::Random;
use super::server::{Server, address, number};
use crate::config::Settings;
use crate::publication::gauge::Finding;
use crate::publication::note::Note;
use crate::publication::{Publication, Writer};
use crate::reading::Reading;
use crate::server::served;
use crate::source::Outcome;
use crate::status::{Report, Selection, SourceInfo, State};
use crate::synchronizer::{SourceId, Synchronizer};
use crate::units::{Counter, NANOS_PER_SECOND, Nanos, UnixTime, unix_seconds};

/// Begins the era of the wire's timestamps: about the time this was written.
pub(super) const PIVOT: UnixTime = unix_seconds(1_790_000_000);

/// When a scenario begins that does not say otherwise.
const BEGIN: UnixTime = unix_seconds(1_795_000_000);

/// Rounds without progress after which the core is said to turn in circles.
const ROUNDS_MAX: u32 = 10_000;

/// How often planning takes so long that the switch is missed.
const LATE: f64 = 0.02;

/// Every so many times that something is published, what the core says of itself is looked at.
const LOOK: u64 = 16;

/// Every so many readings, what a server of this clock would say is looked at.
const SERVE: i64 = 13;

/// A datagram on its way to us.
type Arrival = Reverse<(Counter, usize, Vec<u8>)>;

/// A core, its servers, its oscillator, and the oracle that watches.
pub(super) struct World {
    core: Synchronizer,
    settings: Settings,
    writer: Writer,
    publication: Publication,
    oscillator: Oscillator,
    servers: Vec<Server>,
    /// Servers that the resolver has not named yet.
    spares: Vec<usize>,
    /// Servers of the same pool that are not polled.
    bystanders: Vec<usize>,
    arrivals: BinaryHeap<Arrival>,
    origin: Counter,
    now: Counter,
    /// Up to here, pauses of the counter have been seen to.
    passed: Counter,
    /// The second of the next reading.
    next_reading: i64,
    random: Random,
    pub(super) oracle: Oracle,
    /// If set, every reading that is usable is entered here.
    pub(super) calibration: Option<Calibration>,
    /// If set, changes of favour are counted here.
    pub(super) favour: Option<Favour>,
    promise: Promise,
    /// What is shown is what the leader before had, of whose sources there is but its word, as long as its own do not
    /// agree.
    is_heir: bool,
    disruption: Option<Disruption>,
    /// Requests sent in all.
    pub(super) requests: u64,
    /// How often something was published.
    published: u64,
}

/// The counter stood still; readings are excused until a majority of the sources was heard again.
#[derive(Debug)]
struct Disruption {
    at: Counter,
    heard: Vec<bool>,
    /// When what was then published took effect.
    over: Option<Counter>,
}

/// Whom the core favours: whom it says it follows, and whom it uses at all.
#[derive(Debug, Default)]
pub(super) struct Favour {
    leader: Option<u32>,
    used: Vec<bool>,
    /// How often each of both changed.
    pub(super) leads: u32,
    pub(super) uses: u32,
}

impl Favour {
    fn look(&mut self, report: &Report, sources: &[SourceInfo]) {
        let used =
            sources.iter().map(|source| source.selection == Selection::Truechimer && !is_apart(source)).collect();
        if self.leader.replace(report.reference_id).is_some_and(|former| former != report.reference_id) {
            self.leads += 1;
        }
        let former = std::mem::replace(&mut self.used, used);
        self.uses += former.iter().zip(&self.used).filter(|(former, used)| former != used).count() as u32;
    }
}

/// Believed, but not used.
pub(super) fn is_apart(source: &SourceInfo) -> bool {
    source.fault.as_ref().is_some_and(|fault| fault.starts_with("set apart"))
}

impl World {
    /// A world with one source for each of `servers`, as of now.
    pub(super) fn new(trial: &Trial, settings: &Settings, oscillator: Oscillator, servers: Vec<Server>) -> Self {
        Self::beginning(BEGIN, trial, settings, oscillator, servers)
    }

    pub(super) fn beginning(
        begin: UnixTime,
        trial: &Trial,
        settings: &Settings,
        mut oscillator: Oscillator,
        servers: Vec<Server>,
    ) -> Self {
        let mut random = Random::new(!trial.seed);
        // A machine may have been up for minutes or for years.
        let origin = Counter(random.exponential(3e15) as i64);
        oscillator.start(origin, begin, random.split());
        let mut core = Synchronizer::new(settings.clone(), PIVOT, 0);
        let publication = Publication::new();
        for server in &servers {
            core.add_source_of(server.standing.clone(), origin);
        }
        Self {
            core,
            settings: settings.clone(),
            writer: Writer::new(&publication, Some(processor::sight(origin))),
            publication,
            oscillator,
            servers,
            spares: Vec::new(),
            bystanders: Vec::new(),
            arrivals: BinaryHeap::new(),
            origin,
            now: origin,
            passed: origin,
            next_reading: 0,
            random,
            oracle: Oracle::default(),
            calibration: None,
            favour: None,
            promise: Promise::HoldsUtc,
            is_heir: false,
            disruption: None,
            requests: 0,
            published: 0,
        }
    }

    /// Further servers behind the same names, for sources that want another one.
    pub(super) fn with_spares(mut self, spares: Vec<Server>) -> Self {
        self.spares = (self.servers.len()..).take(spares.len()).collect();
        self.servers.extend(spares);
        self
    }

    /// Further servers behind the same names, which are asked at times and never polled.
    pub(super) fn with_bystanders(mut self, bystanders: Vec<Server>) -> Self {
        self.bystanders = (self.servers.len()..).take(bystanders.len()).collect();
        self.servers.extend(bystanders);
        self
    }

    /// From now on, what is promised is this.
    pub(super) fn promise(&mut self, promise: Promise) {
        self.promise = promise;
    }

    pub(super) fn report(&self) -> Report {
        self.core.report(self.now)
    }

    pub(super) fn sources(&self) -> Vec<SourceInfo> {
        self.core.source_infos(self.now)
    }

    pub(super) fn selections(&self) -> Vec<Selection> {
        self.sources().iter().map(|info| info.selection).collect()
    }

    pub(super) fn state(&self) -> State {
        self.oracle.last().map_or(State::Unsynchronized, |reading| reading.state)
    }

    pub(super) fn epoch(&self) -> u32 {
        self.report().epoch
    }

    /// Whether the reading is, at this moment, within `nanos` of UTC.
    pub(super) fn is_right_within(&self, nanos: f64) -> bool {
        self.state().is_usable() && (self.oracle.error as f64).abs() <= nanos
    }

    /// Whether UTC moved by `off` (ns) lies in the interval of the last reading: what servers tell that are all off by
    /// it.
    pub(super) fn tells(&mut self, off: f64) -> bool {
        let Some(reading) = self.oracle.last().copied() else { return false };
        let told = self.oscillator.utc_at(Counter(reading.raw_ns)) + Nanos(off as i64);
        reading.state.is_usable() && (reading.earliest_ns..=reading.latest_ns).contains(&told.0)
    }

    pub(super) fn seconds(&self) -> f64 {
        (self.now - self.origin).as_f64() / 1e9
    }

    /// Notes whether something is as the scenario wants it.
    pub(super) fn expect(&mut self, what: &str, holds: bool) {
        self.oracle.expect(what, holds, self.seconds());
    }

    /// The process ends and, so many hours later, another goes on from what it left. Meanwhile nobody reads.
    pub(super) fn restart(&mut self, hours: f64) {
        let settings = self.settings.clone();
        let (memory, epoch) = (self.core.memory(self.now), self.core.model().epoch);
        self.arrivals.clear();
        self.now += Nanos((hours * 3.6e12) as i64);
        self.passed = self.now;
        self.next_reading = (self.now - self.origin).0 / NANOS_PER_SECOND + 1;
        self.core = Synchronizer::new(settings, PIVOT, epoch);
        if let Some(memory) = memory {
            self.core.restore(&memory, self.now);
        }
        for server in &self.servers[..self.servers.len() - self.spares.len()] {
            self.core.add_source_of(server.standing.clone(), self.now);
        }
        self.publish();
    }

    /// The leader dies and, so many seconds later, another takes over the page. Its readers go on reading.
    pub(super) fn change_leader(&mut self, seconds: f64) {
        self.arrivals.clear();
        self.now += Nanos((seconds * 1e9) as i64);
        self.passed = self.now;
        self.read_until(self.now);
        self.core = Synchronizer::new(self.settings.clone(), PIVOT, 0);
        let left = self.publication.whole().expect("none but leaders have written here");
        if let Some((page, note)) = left {
            let (writer, finding) = Writer::succeed(&page, Some(processor::sight(self.now)));
            assert_ne!(finding, Finding::Broken);
            self.writer = writer;
            self.core.succeed(page.current.model, &note.report, &note.legacy, self.now);
            self.is_heir = true;
        }
        for _ in 0..self.servers.len() - self.spares.len() {
            self.core.add_source(self.now);
        }
        self.now = self.now.max(self.writer.ready_at());
        self.passed = self.now;
        self.read_until(self.now);
        self.publish();
    }

    /// Lets so many hours pass, looking every second.
    pub(super) fn run(&mut self, hours: f64) {
        let end = self.now + Nanos((hours * 3.6e12) as i64);
        let (mut rounds, mut before) = (0, self.now);
        while self.now < end {
            let next = self.next_event().min(end);
            self.pass_to(next);
            self.read_until(next);
            while let Some(Reverse((at, source, datagram))) = self.arrivals.pop_if_due(self.now) {
                self.receive(SourceId(source), &datagram, at);
            }
            self.tick();
            if self.core.wants_plan(self.now) && self.now >= self.writer.ready_at() {
                self.publish();
            }
            rounds = if self.now > before { 0 } else { rounds + 1 };
            assert!(rounds < ROUNDS_MAX, "the core wants to be asked again at once, for ever: {:?}", self.core);
            before = self.now;
        }
        self.read_until(end);
    }

    fn next_event(&self) -> Counter {
        let mut next = self.core.next_due(self.now);
        if self.core.wants_plan(self.now) {
            // What is due once it may be published: the engine would turn in circles until then.
            next = next.min(self.writer.ready_at());
        }
        let arrival = self.arrivals.peek().map_or(Counter(i64::MAX), |Reverse((at, ..))| *at);
        let pause = self.next_pause().unwrap_or(Counter(i64::MAX));
        next.min(arrival).min(pause).max(self.now)
    }

    /// When the counter stands still next, or did while nobody looked.
    fn next_pause(&self) -> Option<Counter> {
        self.oscillator.next_pause(self.passed + Nanos(1))
    }

    /// Lets the time until `next` pass; what happens to the counter on the way, happens.
    fn pass_to(&mut self, next: Counter) {
        if let Some(pause) = self.next_pause().filter(|&pause| pause <= next) {
            // A sleeping machine hears nothing: what was on its way is lost.
            self.arrivals.clear();
            self.disruption = Some(Disruption { at: pause, heard: vec![false; self.core.source_count()], over: None });
        }
        self.now = self.now.max(next);
        self.passed = self.now;
    }

    /// Reads the clock at every whole second before `end`.
    fn read_until(&mut self, end: Counter) {
        loop {
            let at = second(self.origin, self.next_reading);
            if at >= end {
                return;
            }
            self.next_reading += 1;
            // A second that passed while a plan was made is read late, but before its switch.
            self.read(at);
        }
    }

    fn read(&mut self, at: Counter) {
        let reading = Reading::of(&self.publication, 0, |kind| processor::read(kind, at), || UnixTime(0));
        let excused = self.disruption.as_ref().is_some_and(|disruption| disruption.excuses(at));
        let promise = if excused { Promise::Nothing } else { self.promise };
        let utc = self.oscillator.utc_at(at);
        let seconds = (at - self.origin).as_f64() / 1e9;
        self.oracle.judge(&reading, utc, seconds, promise);
        if self.next_reading % SERVE == 0 && promise == Promise::HoldsUtc {
            let (page, tick) = self.publication.read(|kind| processor::read(kind, at));
            self.oracle.judge_served(&served(&page, tick, &self.core.report(at)), utc, seconds);
        }
        if let Some(calibration) = self.calibration.as_mut().filter(|_| reading.state.is_usable()) {
            let expected = self.core.report(at).estimated_error_ns;
            calibration.add((reading.unix_ns - utc.0) as f64, expected as f64);
        }
    }

    /// Does everything that is due, as the engine does.
    fn tick(&mut self) {
        let now = self.now;
        while self.core.expire(now).is_some() {}
        while let Some(id) = self.core.take_address_wish(now) {
            let present = self.core.address(id).map(number);
            let found = match present {
                None => id.0,
                Some(present) if self.spares.is_empty() => present,
                Some(_) => self.spares.remove(0),
            };
            self.core.assign(id, address(found), now);
        }
        if self.core.take_round_wish(now) {
            let sample: Vec<_> = self.bystanders.iter().map(|&number| address(number)).collect();
            self.core.start_round(&sample);
        }
        loop {
            let (transmit, dither) = (self.random.next(), self.random.next());
            let Some(request) = self.core.poll_transmit(now, transmit, dither) else { return };
            self.core.handle_sent(request.source, now, None, &[]);
            self.requests += 1;
            let server = &mut self.servers[number(request.address)];
            let seconds = (now - self.origin).as_f64() / 1e9;
            let replies = server.answer(&request.datagram, now, seconds, &mut self.oscillator, &mut self.random);
            for reply in replies {
                self.arrivals.push(Reverse((reply.arrives.max(now), request.source.0, reply.bytes())));
            }
        }
    }

    fn receive(&mut self, id: SourceId, datagram: &[u8], at: Counter) {
        // The engine stamps a little late, the kernel too.
        let t4 = at + Nanos(self.random.exponential(2_000.0) as i64);
        let outcome = self.core.handle_datagram(id, datagram, t4);
        self.now = self.now.max(t4);
        if let (Outcome::Accepted, Some(disruption)) = (outcome, &mut self.disruption) {
            disruption.heard[id.0] = true;
        }
    }

    /// Publishes as the engine does: planning takes time, at times too much of it.
    fn publish(&mut self) {
        assert_ne!(self.writer.cross_check(Some(processor::sight(self.now))), Finding::Broken);
        let clock = Cell::new(self.now);
        let core = &self.core;
        let random = &mut self.random;
        let plan = self.writer.publish_with(
            &self.publication,
            0,
            || clock.get(),
            |switch| {
                let mean = if random.chance(LATE) { 3e6 } else { 2e4 };
                clock.set(clock.get() + Nanos(random.exponential(mean) as i64));
                let plan = core.plan(switch);
                let note = Note { report: core.report_with(&plan, switch), legacy: core.legacy(&plan) };
                (plan.model, Some(note), plan)
            },
        );
        let published = clock.get();
        let Some(plan) = plan else {
            // Too late again and again: nothing was shown.
            self.now = published;
            return;
        };
        self.core.commit(plan, published);
        self.published += 1;
        if self.published.is_multiple_of(LOOK) {
            self.check_account();
        }
        if let Some(favour) = &mut self.favour {
            favour.look(&self.core.report(published), &self.core.source_infos(published));
        }
        let switch = self.writer.ready_at();
        if let Some(disruption) = &mut self.disruption {
            let heard = disruption.heard.iter().filter(|&&heard| heard).count();
            if heard * 2 > disruption.heard.len() && disruption.over.is_none() {
                disruption.over = Some(switch);
            }
        }
        // Readers look on both sides of the switch, and just when the page was turned.
        for at in [published, switch - Nanos(1), switch] {
            if self.next_pause().is_some_and(|pause| pause <= at) {
                break;
            }
            self.read_until(at);
            self.read(at);
        }
        self.now = published;
    }
}

impl World {
    /// What the core says of itself fits together.
    fn check_account(&mut self) {
        let (report, sources) = (self.report(), self.sources());
        let believed = |source: &SourceInfo| source.selection == Selection::Truechimer;
        let named = |source: &SourceInfo| {
            let told = source.fault.as_ref().is_some_and(|fault| fault.starts_with("its interval misses"));
            told == (source.selection == Selection::Falseticker)
        };
        let counts = report.agreeing <= report.answering && report.answering <= report.configured;
        self.expect("no more agree than answer, and no more answer than there are", counts);
        self.expect("who is false is told why, and nobody else", sources.iter().all(named));
        let used = sources.iter().any(|source| believed(source) && !is_apart(source));
        self.is_heir &= !used;
        self.expect("who is set apart is believed", sources.iter().filter(|s| is_apart(s)).all(believed));
        if report.state == State::Synchronized {
            self.expect("a synchronised clock follows somebody", self.is_heir || used);
            self.expect("the expected error is within the bound", report.estimated_error_ns <= report.bound_ns);
        }
    }
}

impl Disruption {
    fn excuses(&self, at: Counter) -> bool {
        at >= self.at && self.over.is_none_or(|over| at < over)
    }
}

/// The earliest arrival, if its time has come.
trait PopIfDue {
    fn pop_if_due(&mut self, now: Counter) -> Option<Arrival>;
}

impl PopIfDue for BinaryHeap<Arrival> {
    fn pop_if_due(&mut self, now: Counter) -> Option<Arrival> {
        if self.peek().is_some_and(|Reverse((at, ..))| *at <= now) { self.pop() } else { None }
    }
}

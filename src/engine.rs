//! The engine: one thread that carries requests out and datagrams into the core, and publishes what it plans.

pub(crate) mod exchanger;
pub(crate) mod files;
mod follower;
#[cfg(feature = "_nts")]
pub(crate) mod handshake;
pub(crate) mod helper;
#[cfg(feature = "_nts")]
mod inquiry;
#[cfg(feature = "_nts")]
mod keys;
/// Where there are no ciphers nobody exchanges keys.
#[cfg(not(feature = "_nts"))]
mod keys {
    use super::{Roster, Synchronizer};
    use crate::config::Config;
    use crate::error::Error;

    pub(super) struct KeyExchanges;

    impl KeyExchanges {
        pub(super) fn new(_: &Config) -> Result<Self, Error> {
            Ok(Self)
        }

        pub(super) fn take_in(&self, _: &mut Roster, _: &mut Synchronizer) {}
    }
}
pub(crate) mod resolve;
pub(crate) mod roster;
pub(crate) mod seat;
pub(crate) mod shared;
mod start;
pub(crate) mod watchdog;

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::events::watch::Watch;
use crate::model::ClockModel;
use crate::publication::note::Note;
use crate::publication::{Publication, Writer};
use crate::source::{Chance, Outcome};
use crate::status::State;
use crate::synchronizer::rounds::SAMPLE;
use crate::synchronizer::{Plan, Request, SourceId, Synchronizer};
use crate::sys::clocks::Anchor;
use crate::sys::resume::ResumeWatch;
use crate::sys::thread::Order;
use crate::sys::ticks::Sight;
use crate::sys::vmclock::{Marks, VmClock};
use crate::sys::{self, counter, futex, socket, ticks, wake};
use crate::units::{Counter, Nanos, UnixTime, unix_seconds};
use exchanger::{Arrival, Exchanger};
use files::Files;
use keys::KeyExchanges;
use resolve::{Addresses, Question};
use roster::{Lookup, Roster};
use seat::Lead;
pub(crate) use shared::{Account, Membership, ServedAt, Shared, SharedRef, Status, Unwatched};
use start::Parts;
pub(crate) use start::{Start, start};
use watchdog::Watchdog;

/// The engine's side of what readers, listeners and converters are told.
struct Told {
    writer: Writer,
    watch: Watch,
    watchdog: Watchdog,
    /// Of a page that processes share: where to write.
    lead: Option<Lead>,
}

impl Told {
    /// Publishes what the core plans, and has it remembered. `None`: this thread was late again and again.
    fn publish(&mut self, shared: &Shared, core: &Synchronizer) -> Option<Plan> {
        let leads = self.lead.is_some();
        self.publish_model(shared, |switch| {
            let plan = core.plan(switch);
            let note = || Note { report: core.report_with(&plan, switch), legacy: core.legacy(&plan) };
            (plan.model, leads.then(note), plan)
        })
    }

    fn publish_model<P>(
        &mut self,
        shared: &Shared,
        mut plan: impl FnMut(Counter) -> (ClockModel, Option<Note>, P),
    ) -> Option<P> {
        let target: &Publication = self.lead.as_ref().map_or(&shared.place, Lead::publication);
        let published = self.writer.publish_with(target, shared.place.generation(), counter::now, |switch| {
            let (model, note, rest) = plan(switch);
            (model, note, (model, rest))
        });
        let (model, rest) = published?;
        let switch = self.writer.ready_at();
        shared.with_history(|history| history.publish(switch, &model));
        self.watch.publish(switch, &model);
        Some(rest)
    }

    /// Tells the listeners what readers see by now.
    fn listeners(&mut self, shared: &Shared) {
        shared.events.tell(self.watch.look(counter::now()));
    }
}

/// How long to wait after a publication that came too late again and again.
const RETRY: Nanos = Nanos::from_millis(100);

/// How often a leader looks whether its page still is where others look for it: well within the patience of one that is
/// being started and waits for the lock.
const LEAD_PACE: Nanos = Nanos::from_millis(500);

/// How long to wait for random bits where there were none.
const RANDOMNESS_RETRY: Nanos = Nanos::from_millis(100);

/// How long to wait for a descriptor where there were none.
const WATCH_RETRY: Nanos = Nanos::from_seconds(3);

/// How far the clock of the machine that built us may have been ahead: an era lasts 136 years, a year is cheap.
const BUILD_CLOCK_ERROR: Nanos = Nanos::from_seconds(365 * 86_400);

/// How far it is believed to have been ahead where that decides which certificates hold: there a year is dear.
const BUILD_CLOCK_SLACK: Nanos = Nanos::from_seconds(3 * 86_400);

/// The day the library was built, by the clock of the machine that did.
fn built() -> UnixTime {
    unix_seconds(env!("NTPCLOCK_BUILD_DATE").parse().unwrap_or(0))
}

/// UTC is not before this; it tells the era of a timestamp.
pub(crate) fn era_begin() -> UnixTime {
    built() - BUILD_CLOCK_ERROR
}

/// UTC is not before this, where certificates are concerned: what has expired by then has expired.
pub(crate) fn build_floor() -> UnixTime {
    built() - BUILD_CLOCK_SLACK
}

/// The engine's thread. What is large in it is boxed: a stack that something has been moved over stays in memory.
struct Run {
    core: Box<Synchronizer>,
    roster: Roster,
    exchanger: Exchanger,
    files: Files,
    told: Box<Told>,
    /// Wakes us when the machine resumes; `None` where there is none to be had.
    resume_watch: Option<ResumeWatch>,
    /// When to try for one again.
    watch_due: Counter,
    /// What the hypervisor has to tell, if it has.
    vmclock: Option<VmClock>,
    shared: SharedRef,
    order: Order,
    answers: Sender<(usize, Addresses)>,
    answered: Receiver<(usize, Addresses)>,
    keys: KeyExchanges,
    buffer: Box<[u8; socket::DATAGRAM_MAX]>,
    /// When a publication came to nothing last.
    gave_up: Counter,
    /// The least time to sleep, once.
    pause: Option<Nanos>,
    /// When to look after a page that processes share.
    lead_due: Counter,
}

impl Run {
    fn new(parts: Parts, shared: SharedRef, order: Order) -> Self {
        let Parts { core, roster, files, told, vmclock, keys } = parts;
        let (answers, answered) = crossbeam_channel::unbounded();
        Self {
            core,
            roster,
            exchanger: Exchanger::new(),
            files,
            told,
            resume_watch: None,
            watch_due: Counter(i64::MIN),
            vmclock,
            shared,
            order,
            answers,
            answered,
            keys,
            buffer: Box::new([0; socket::DATAGRAM_MAX]),
            gave_up: Counter(i64::MIN),
            pause: None,
            lead_due: Counter(i64::MIN),
        }
    }

    fn run(mut self) {
        // The last model of another leader may be about to take effect.
        self.settle();
        // What an earlier run left on the page is over, unless it was taken up.
        self.publish();
        while !self.order.is_over() {
            self.turn();
        }
        self.finish();
    }

    /// From one sleep to the next.
    fn turn(&mut self) {
        while let Ok((tag, addresses)) = self.answered.try_recv() {
            self.roster.handle_addresses(SourceId(tag), addresses, &mut self.core, counter::now());
        }
        self.keys.take_in(&mut self.roster, &mut self.core);
        self.watch_for_resumes();
        self.tick();
        self.told.listeners(&self.shared);
        let now = counter::now();
        if self.core.wants_plan(now) && now >= self.told.writer.ready_at().max(self.gave_up + RETRY) {
            self.publish();
        }
        if self.files.tend(&self.core) {
            self.tell_of_files();
        }
        self.tend_lead();
        let ready = self.sleep();
        // Before anything that came is taken in: an answer may have waited while the machine was suspended.
        let marks = self.marks();
        self.heed(Anchor::read(), ticks::sight(), marks);
        for source in ready {
            self.receive(source);
        }
    }

    /// Judges what the machine's clocks show, at every wake-up, and says so if what was known of the time means nothing
    /// any more.
    fn heed(&mut self, clocks: Anchor, sight: Option<Sight>, marks: Option<Marks>) {
        let ticks = self.told.writer.cross_check(sight);
        // Between two such looks a stamp of any clock can be told to 0.1 % of the way to the nearer one.
        self.shared.with_history(|history| history.note(clocks));
        let disruption = self.told.watchdog.look(clocks, ticks, marks);
        self.told.writer.note_suspended(self.told.watchdog.suspended());
        if disruption.is_some() {
            self.exchanger.close_all();
            self.core.handle_disruption(counter::now());
            // The counter may have been set back: nothing of what was to come is to wait until it is there again.
            (self.gave_up, self.lead_due) = (Counter(i64::MIN), Counter(i64::MIN));
            self.settle();
            self.publish();
        }
    }

    /// Tries to have ourselves woken when the machine resumes: at first after the descriptor that ends the thread, for
    /// that one is needed, this one only good to have; and again while the system is but short of something.
    fn watch_for_resumes(&mut self) {
        let now = counter::now();
        if self.resume_watch.is_some() || now < self.watch_due {
            return;
        }
        let made = ResumeWatch::new();
        let short = made.as_ref().is_err_and(sys::is_shortage);
        self.watch_due = if short { now + WATCH_RETRY } else { Counter(i64::MAX) };
        self.shared.change(|status| status.unwatched.resume = made.as_ref().err().map(ToString::to_string));
        self.resume_watch = made.ok();
    }

    /// What the hypervisor shows; `None` if that cannot be read, which is told.
    fn marks(&mut self) -> Option<Marks> {
        let marks = self.vmclock.as_mut()?.marks();
        let fault = marks.as_ref().err().map(ToString::to_string);
        if self.shared.with_status(|status| status.unwatched.vmclock != fault) {
            self.shared.change(|status| status.unwatched.vmclock = fault);
        }
        marks.ok()
    }

    /// Does everything that is due. Apart, as what else a turn consists of: so the stack is no deeper than one of them.
    #[inline(never)]
    fn tick(&mut self) {
        let now = counter::now();
        while let Some(id) = self.core.expire(now) {
            self.exchanger.close(id);
        }
        while let Some(id) = self.core.take_address_wish(now).or_else(|| self.roster.take_look(now)) {
            self.look_up(id, now);
        }
        if self.core.take_round_wish(now) {
            let sample = self.roster.sample(SAMPLE, &self.core, || sys::random().ok().map(|[random]| random));
            self.core.start_round(&sample);
        }
        while self.core.wants_to_send(counter::now()) {
            let chance = match sys::random() {
                Ok(words) => Chance::new(words),
                Err(error) => {
                    // Without randomness there is no safe request: come back a little later.
                    self.pause = Some(RANDOMNESS_RETRY);
                    return self.core.handle_hindrance(&format!("no random numbers: {error}"), counter::now());
                }
            };
            let Some(request) = self.core.poll_request(counter::now(), &chance) else { return };
            match self.send(&request) {
                Ok((t1, local)) => {
                    let served = self.shared.with_status(|status| status.served.clone());
                    self.core.handle_sent(request.source, t1, local, &served);
                }
                Err(error) => self.core.handle_failure(request.source, error.to_string(), counter::now()),
            }
        }
    }

    /// Sends `request`; where descriptors are short, at the price of those that are only good to have.
    fn send(&mut self, request: &Request) -> io::Result<(Counter, Option<IpAddr>)> {
        loop {
            match self.exchanger.send(request) {
                Err(error) if sys::is_short_of_descriptors(&error) && self.give_up_a_descriptor() => {}
                told => return told,
            }
        }
    }

    fn give_up_a_descriptor(&mut self) -> bool {
        if self.exchanger.give_up_stamping() {
            return true;
        }
        let is_given_up = self.resume_watch.take().is_some();
        if is_given_up {
            self.watch_due = counter::now() + WATCH_RETRY;
            let why = Some("its descriptor was needed for a request".to_owned());
            self.shared.change(|status| status.unwatched.resume = why);
        }
        is_given_up
    }

    fn look_up(&mut self, id: SourceId, now: Counter) {
        match self.roster.lookup(id) {
            Some(Lookup::Literal(address)) => self.roster.assign(id, &[address], &mut self.core, now),
            Some(Lookup::Name { host, port }) => resolve::lookup(Question {
                host,
                port,
                tag: id.0,
                answers: self.answers.clone(),
                waker: Arc::clone(&self.order.waker),
            }),
            #[cfg(feature = "_nts")]
            Some(Lookup::Keys(exchanger)) => self.keys.order(id, exchanger, &self.core, &self.order.waker),
            None => {}
        }
    }

    /// When there is something to do, if nothing arrives before.
    fn due(&mut self, now: Counter) -> Counter {
        let mut due = self.core.next_due(now).min(self.roster.look_due());
        due = due.min(self.files.due()).min(self.told.watch.due(now));
        due = due.min(if self.told.lead.is_some() { self.lead_due } else { Counter(i64::MAX) });
        if self.core.wants_plan(now) {
            due = due.min(self.told.writer.ready_at().max(self.gave_up + RETRY));
        }
        due
    }

    /// Sleeps until something arrives or is due; says for which sources there is something to take in.
    #[inline(never)]
    fn sleep(&mut self) -> Vec<SourceId> {
        let mut descriptors = vec![self.order.waker.as_raw_fd()];
        descriptors.extend(self.resume_watch.as_ref().map(AsRawFd::as_raw_fd));
        descriptors.extend(self.vmclock.as_ref().and_then(VmClock::descriptor));
        let own = descriptors.len();
        descriptors.extend(self.exchanger.descriptors());
        let now = counter::now();
        let least = self.pause.take().unwrap_or(Nanos::ZERO);
        let timeout = (self.due(now) - now).max(least).to_duration();
        match wake::wait(&descriptors, Some(timeout)) {
            Ok(ready) => {
                if ready.first() == Some(&true) {
                    self.order.waker.clear();
                }
                // Whatever it has seen, we are about to look at all clocks.
                if ready.iter().take(own).skip(1).any(|&ready| ready) {
                    self.resume_watch.iter().for_each(ResumeWatch::clear);
                }
                self.exchanger.ready_sources(ready.get(own..).unwrap_or_default())
            }
            // Out of memory in the kernel, or forbidden: look at everything at a walking pace meanwhile.
            Err(_) => {
                futex::pause(Duration::from_millis(10));
                self.exchanger.ready_sources(&vec![true; descriptors.len() - own])
            }
        }
    }

    #[inline(never)]
    fn receive(&mut self, source: SourceId) {
        for _ in 0..Exchanger::TURN {
            match self.exchanger.receive(source, &mut self.buffer) {
                Arrival::Nothing => return,
                Arrival::Departure(t1) => self.core.handle_departure(source, t1),
                Arrival::Error(error) => {
                    self.exchanger.close(source);
                    self.core.handle_failure(source, error.to_string(), counter::now());
                    return;
                }
                Arrival::Datagram { length, t4 } => {
                    let datagram = self.buffer.get(..length).unwrap_or_default();
                    let outcome = self.core.handle_datagram(source, datagram, t4);
                    if outcome == Outcome::Accepted {
                        self.files.record(source, self.core.newest_exchange(source));
                    }
                    if outcome != Outcome::Ignored {
                        self.exchanger.close(source);
                        return;
                    }
                    self.exchanger.note_junk(source);
                }
            }
        }
    }

    fn publish(&mut self) {
        self.core.review(counter::now());
        let plan = self.told.publish(&self.shared, &self.core);
        match plan {
            Some(plan) => self.core.commit(plan, counter::now()),
            None => self.gave_up = counter::now(),
        }
        self.account();
    }

    /// Tells what there is to tell of the sources.
    #[inline(never)]
    fn account(&self) {
        let account = Account::of(&self.core, &self.roster, &self.told.watchdog);
        self.shared.change(|status| {
            status.last_epoch = status.last_epoch.max(account.report.epoch);
            status.account = Some(Arc::new(account));
        });
    }

    /// Sees to it that the page is where others look for it.
    fn tend_lead(&mut self) {
        let now = counter::now();
        if let Some(lead) = &mut self.told.lead
            && now >= self.lead_due
        {
            self.lead_due = now + LEAD_PACE;
            let fault = lead.check();
            self.shared.tell_membership(Membership { leads: true, leader: std::process::id(), fault });
        }
    }

    fn tell_of_files(&self) {
        self.shared.change(|status| status.files.clone_from(&self.files.faults));
    }

    /// The last word: from now on the interval only grows. On a page that others share it is left to the next leader.
    fn finish(&mut self) {
        self.settle();
        if self.told.lead.take().is_none() {
            self.retire();
        }
        // Last, for a disk may take its time.
        if self.files.close(&self.core) {
            self.tell_of_files();
        }
    }

    #[inline(never)]
    fn retire(&mut self) {
        let mut model = *self.core.model();
        if model.has_line() {
            // Who is disrupted stays so: nobody is left to judge the clock anew.
            model.state = if model.state.is_usable() { State::Holdover } else { model.state };
            self.told.publish_model(&self.shared, |_| (model, None, ()));
            // Whoever stopped us shall find the clock stopped; and a wait after a new start, no old success.
            self.settle();
        }
    }

    /// Sleeps until what was published last has taken effect, and tells the listeners: what is published next may be
    /// all that they could see of it.
    fn settle(&mut self) {
        futex::pause(self.told.writer.rest(counter::now()).to_duration());
        self.told.listeners(&self.shared);
    }
}

#[cfg(test)]
mod tests {
    use super::start::{Beginning, prepare};
    use super::*;
    use crate::config::Config;
    use crate::publication::Place;
    use crate::reading::Reading;
    use crate::server::{Server, ServerConfig};
    use crate::sys::fork;
    use crate::sys::thread::Worker;
    use crate::sys::ticks::Kind;
    use crate::sys::vmclock::made_up::Device;

    /// Turns until the clock shows `state`, and returns that reading.
    fn turn_until(run: &mut Run, state: State) -> Reading {
        for _ in 0..10_000 {
            let reading = shown(run);
            if reading.state == state {
                return reading;
            }
            run.turn();
        }
        panic!("never {state}: {:?}", shown(run));
    }

    fn shown(run: &Run) -> Reading {
        Reading::of(&run.shared.place, fork::generation(), ticks::read, counter::system_time)
    }

    /// A run that follows a server of this machine's own clock, on a thread of its own, as `act` drives it. `prepared`
    /// may change what it begins with.
    fn driven(prepared: impl FnOnce(&mut Parts), act: impl FnOnce(&mut Run) + Send + 'static) {
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").unwrap().set_local(1, Duration::ZERO).unwrap();
        let server = Server::start(None, &config).unwrap();
        let mut config = Config::with_servers(&server.addresses()[0].to_string()).unwrap();
        config.set_poll_exponents(0, 0).unwrap();
        let shared = SharedRef::Counted(Arc::new(Shared::new(Place::own())));
        let keys = KeyExchanges::new(&config).unwrap();
        let mut parts = prepare(&config, &shared, keys, Beginning::Anew).unwrap();
        prepared(&mut parts);
        let (done, ended) = crossbeam_channel::bounded(1);
        let worker = Worker::start("test", move |order| {
            act(&mut Run::new(parts, shared, order));
            done.send(()).unwrap();
        });
        let told = ended.recv_timeout(Duration::from_secs(60));
        drop(worker);
        assert_eq!(told, Ok(()), "the test's thread has ended, as it says above");
    }

    /// (case 30)
    #[test]
    fn a_look_that_shows_a_suspend_is_heeded_before_any_answer_and_one_that_shows_a_step_is_not() {
        driven(
            |_| (),
            |run| {
                let before = turn_until(run, State::Synchronized);

                let stepped = Anchor::read();
                run.heed(
                    Anchor { realtime: stepped.realtime + Nanos::from_seconds(3_600), ..stepped },
                    ticks::sight(),
                    None,
                );
                run.settle();
                assert_eq!((shown(run).state, shown(run).epoch), (State::Synchronized, before.epoch));

                // A request is on its way, and its answer may be waiting already.
                while run.exchanger.descriptors().next().is_none() {
                    run.turn();
                    run.tick();
                }
                let exchanges = run.core.report(counter::now()).exchanges;
                let suspended = Anchor::read();
                let suspended = Anchor { boottime: suspended.boottime + Nanos::from_millis(50), ..suspended };
                run.heed(suspended, ticks::sight(), None);
                run.settle();
                let disrupted = shown(run);
                assert_eq!((disrupted.state, disrupted.epoch), (State::Disrupted, before.epoch));
                assert_eq!(run.exchanger.descriptors().next(), None);
                assert_eq!(run.core.report(counter::now()).exchanges, exchanges);
                assert_eq!(run.shared.place.read(ticks::read).0.suspended, suspended.suspended());

                let after = turn_until(run, State::Synchronized);
                assert_eq!(after.epoch, before.epoch + 1);

                // Stopped before anybody was heard anew, it claims nothing.
                run.heed(
                    Anchor { boottime: suspended.boottime + Nanos::from_seconds(9), ..Anchor::read() },
                    ticks::sight(),
                    None,
                );
                run.finish();
                assert_eq!(shown(run).state, State::Disrupted);
            },
        );
    }

    /// Whether `run`, synchronised, is disrupted by `happen`, and judged anew afterwards; the reading before.
    fn is_disrupted_by(run: &mut Run, happen: impl FnOnce(&mut Run)) {
        let before = turn_until(run, State::Synchronized);
        happen(run);
        run.settle();
        let disrupted = shown(run);
        assert_eq!((disrupted.state, disrupted.epoch), (State::Disrupted, before.epoch));
        assert_eq!((disrupted.earliest_ns, disrupted.latest_ns), (i64::MIN, i64::MAX));
        assert_eq!(turn_until(run, State::Synchronized).epoch, before.epoch + 1);
    }

    #[test]
    fn what_the_hypervisor_marks_disrupts_the_clock_until_it_is_judged_anew() {
        let device = Device::new("engine");
        let (path, device) = (device.0.clone(), device);
        let open = move |parts: &mut Parts| parts.vmclock = VmClock::open(&path).unwrap();
        driven(open, move |run| {
            for (disruption, generation) in [(2, Some(1)), (2, Some(2)), (3, Some(3))] {
                is_disrupted_by(run, |run| {
                    device.show(disruption, generation);
                    // Whatever wakes it.
                    run.order.waker.wake();
                    run.turn();
                });
            }
            // What cannot be read any more is told, and is no disruption.
            device.write(&[0; 64]);
            run.turn();
            let told = run.shared.with_status(|status| status.unwatched.vmclock.clone());
            assert_eq!(told.as_deref(), Some("it is no vmclock"));
            device.show(3, Some(3));
            run.turn();
            assert_eq!(run.shared.with_status(|status| status.unwatched.vmclock.clone()), None);
            assert_eq!(shown(run).state, State::Synchronized);
        });
    }

    #[test]
    fn a_kernel_that_counts_by_another_clocksource_disrupts_readers_of_ticks_who_then_read_the_raw_counter() {
        let kind = |run: &Run| run.shared.place.read(ticks::read).0.relation.scale.kind;
        driven(
            |_| (),
            move |run| {
                turn_until(run, State::Synchronized);
                if ticks::kernel_sight().is_none() {
                    // A kernel that counts by nothing that we can read: there is nothing to switch from.
                    return assert_eq!(kind(run), Kind::Raw);
                }
                while kind(run) == Kind::Raw {
                    run.turn();
                }
                is_disrupted_by(run, |run| {
                    let sight = ticks::sight().unwrap();
                    // The raw counter has gone another way since the last look, by an eighth of a millisecond.
                    let raw = sight.raw + Nanos(125_000);
                    run.heed(Anchor::read(), Some(Sight { raw, ..sight }), None);
                    assert_eq!(kind(run), Kind::Raw);
                });
            },
        );
    }

    /// Whether `run` is woken, by what is put into it when it is about to sleep, before anything else can wake it.
    fn is_woken(run: &mut Run, by: impl FnOnce(&mut Run)) -> bool {
        loop {
            if run.core.wants_plan(counter::now()) {
                run.publish();
            }
            let now = counter::now();
            let due = run.due(now);
            if due - now > Nanos::from_millis(500) && run.exchanger.descriptors().next().is_none() {
                by(run);
                run.sleep();
                return counter::now() + Nanos::from_millis(50) < due;
            }
            run.turn();
        }
    }

    #[test]
    fn a_resume_and_a_hypervisor_that_has_something_to_tell_end_the_sleep() {
        let device = Device::new("sleep");
        driven(
            |_| (),
            move |run| {
                turn_until(run, State::Synchronized);
                // No test sets the clock: this watch tells of a time that has passed.
                assert!(is_woken(run, |run| run.resume_watch = Some(ResumeWatch::until(1).unwrap())));
                let watch = run.resume_watch.as_ref().map(AsRawFd::as_raw_fd);
                assert_eq!(wake::wait(watch.as_slice(), Some(Duration::ZERO)).unwrap(), [false], "it was heard");
                assert!(is_woken(run, |run| run.vmclock = Some(device.telling())));
                // And by nothing, it is not.
                assert!(!is_woken(run, |run| run.vmclock = None));
            },
        );
    }

    #[test]
    fn an_admin_who_sets_the_system_clock_moves_no_reading() {
        driven(
            |_| (),
            |run| {
                let before = turn_until(run, State::Synchronized);
                for hours in [-1, 1, 24 * 365] {
                    let clocks = Anchor::read();
                    let realtime = clocks.realtime + Nanos::from_seconds(hours * 3_600);
                    run.heed(Anchor { realtime, ..clocks }, ticks::sight(), None);
                    run.turn();
                    let after = shown(run);
                    assert_eq!((after.state, after.epoch), (State::Synchronized, before.epoch));
                    let passed = after.raw_ns - before.raw_ns;
                    assert!((after.unix_ns - before.unix_ns - passed).abs() < 10_000_000, "{after:?} {before:?}");
                }
            },
        );
    }
}

//! The engine: one thread that carries requests out and datagrams into the core, and publishes what it plans.

pub(crate) mod exchanger;
pub(crate) mod files;
#[cfg(feature = "_nts")]
pub(crate) mod handshake;
pub(crate) mod helper;
#[cfg(feature = "_nts")]
mod keys;
pub(crate) mod resolve;
pub(crate) mod roster;
pub(crate) mod watchdog;

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::config::Config;
use crate::convert::History;
use crate::error::Error;
use crate::events::desk::Desk;
use crate::events::watch::Watch;
use crate::model::ClockModel;
use crate::publication::{Publication, Writer};
use crate::source::{Chance, Outcome};
use crate::status::{Report, SourceInfo, State};
use crate::synchronizer::{SourceId, Synchronizer};
use crate::sys::clocks::Anchor;
use crate::sys::resume::ResumeWatch;
use crate::sys::thread::{Order, Worker};
use crate::sys::ticks::Sight;
use crate::sys::{self, counter, fork, futex, socket, ticks, wake};
use crate::units::{Counter, Nanos, UnixTime, unix_seconds};
use exchanger::{Arrival, Exchanger};
use files::{FileFaults, Files};
use resolve::{Addresses, Question};
use roster::{Lookup, Roster};
use watchdog::Watchdog;

/// What the engine's thread and the readers of a clock share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) publication: Publication,
    /// Locked only under [`fork::exclusive`], so that a forked child finds it free.
    status: Mutex<Status>,
    /// Locked as `status` is.
    history: Mutex<History>,
    pub(crate) events: Desk,
    /// Counts the changes of `status`; whoever waits for one sleeps on it.
    changes: AtomicU32,
}

/// What the engine says about itself, beside the page.
#[derive(Debug)]
pub(crate) struct Status {
    /// Starts so far; tells a stop and a new start from none.
    pub(crate) session: u64,
    running: bool,
    /// The fork generation that the thread belongs to.
    generation: u32,
    /// Epochs go on being counted over stops and starts.
    last_epoch: u32,
    pub(crate) min_agreeing: usize,
    pub(crate) account: Option<Arc<Account>>,
    pub(crate) files: FileFaults,
    /// Why the thread is not woken when the system clock is set or the machine resumes: the system's number for it.
    pub(crate) unwatched: Option<i32>,
}

/// The core's account of itself at one instant.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) at: Counter,
    pub(crate) report: Report,
    pub(crate) sources: Vec<SourceInfo>,
}

impl Account {
    fn of(core: &Synchronizer, roster: &Roster) -> Self {
        let at = counter::now();
        let mut sources = core.source_infos(at);
        for (index, source) in sources.iter_mut().enumerate() {
            source.name = roster.name(SourceId(index));
        }
        Self { at, report: core.report(at), sources }
    }
}

impl Status {
    /// Whether there is a thread, in this process.
    pub(crate) fn is_running(&self) -> bool {
        self.running && self.generation == fork::generation()
    }
}

impl Shared {
    pub(crate) const fn new() -> Self {
        Self {
            publication: Publication::new(),
            status: Mutex::new(Status {
                session: 0,
                running: false,
                generation: 0,
                last_epoch: 0,
                min_agreeing: 1,
                account: None,
                files: FileFaults::NONE,
                unwatched: None,
            }),
            history: Mutex::new(History::new()),
            events: Desk::new(),
            changes: AtomicU32::new(0),
        }
    }

    /// A look at the status.
    pub(crate) fn with_status<T>(&self, look: impl FnOnce(&Status) -> T) -> T {
        let _forks_wait = fork::exclusive();
        look(&self.status.lock())
    }

    /// A look at the past.
    pub(crate) fn with_history<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        let _forks_wait = fork::exclusive();
        look(&mut self.history.lock())
    }

    /// Waits until `judge` has an answer; it looks again at every change, and after the time it answers instead.
    pub(crate) fn wait_for<T>(&self, mut judge: impl FnMut(&Status) -> Result<T, Duration>) -> T {
        loop {
            let seen = self.changes.load(Acquire);
            let pause = match self.with_status(&mut judge) {
                Ok(answer) => return answer,
                Err(pause) => pause,
            };
            futex::wait(&self.changes, seen, pause);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        {
            let _forks_wait = fork::exclusive();
            change(&mut self.status.lock());
        }
        // Whoever has looked but does not sleep yet finds another number than it saw, and will not.
        self.changes.fetch_add(1, Release);
        futex::wake_all(&self.changes);
    }
}

/// A shared state that lives as long as the process, or as long as somebody needs it.
#[derive(Clone, Debug)]
pub(crate) enum SharedRef {
    Static(&'static Shared),
    Counted(Arc<Shared>),
}

impl std::ops::Deref for SharedRef {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        match self {
            Self::Static(shared) => shared,
            Self::Counted(shared) => shared,
        }
    }
}

/// Starts the engine's thread; it publishes to `shared`, which no other engine may do meanwhile.
pub(crate) fn start(config: Config, shared: SharedRef) -> Result<Worker, Error> {
    let parts = prepare(&config, &shared)?;
    let theirs = shared.clone();
    Worker::start("ntpclock", move |order| Run::new(parts, theirs, order).run()).map_err(|error| {
        shared.change(|status| status.running = false);
        Error::io("starting the clock's thread", error)
    })
}

/// What a run begins with.
struct Parts {
    core: Synchronizer,
    roster: Roster,
    files: Files,
    told: Told,
    #[cfg(feature = "_nts")]
    keys: keys::KeyExchanges,
}

/// Does what can fail, and what is to be seen as soon as the clock is started.
fn prepare(config: &Config, shared: &Shared) -> Result<Parts, Error> {
    let last_epoch = shared.with_status(|status| status.last_epoch);
    // Before the state file is judged: no suspend falls between the two.
    let clocks = Anchor::read();
    let watchdog = Watchdog::new(clocks);
    #[cfg(feature = "_nts")]
    let keys = keys::KeyExchanges::new(config)?;
    let (files, recollection) = Files::open(config)?;
    let mut core = Synchronizer::new(config.settings.clone(), build_date(), last_epoch);
    recollection.floor.into_iter().for_each(|floor| core.raise_floor(floor));
    let mut writer = Writer::new(&shared.publication, ticks::kernel_sight());
    writer.note_suspended(watchdog.suspended());
    let mut told = Told { writer, watch: Watch::new(last_epoch), watchdog };
    shared.with_history(|history| history.note(clocks));
    if let Some(memory) = recollection.memory {
        core.restore(&memory, counter::now());
        show(&core, &mut told, shared);
    }
    let roster = Roster::new(&config.servers, &mut core, counter::now());
    // Told before the thread can: who asks right after the start finds every source.
    let account = Account::of(&core, &roster);
    shared.change(|status| {
        status.session += 1;
        (status.running, status.generation) = (true, fork::generation());
        status.min_agreeing = config.settings.min_agreeing;
        status.last_epoch = status.last_epoch.max(account.report.epoch);
        status.account = Some(Arc::new(account));
        status.files = files.faults.clone();
        status.unwatched = None;
    });
    Ok(Parts {
        core,
        roster,
        files,
        told,
        #[cfg(feature = "_nts")]
        keys,
    })
}

/// Publishes what `core` remembers, and waits for the moment in which it takes effect: the first reading has a bound.
fn show(core: &Synchronizer, told: &mut Told, shared: &Shared) {
    let model = *core.model();
    if model.has_line() {
        // Who is late again and again shows nothing; the thread will try anew.
        told.publish(shared, |_| (model, ()));
        std::thread::sleep((told.writer.ready_at() - counter::now()).to_duration());
    }
}

/// The engine's side of what readers, listeners and converters are told.
struct Told {
    writer: Writer,
    watch: Watch,
    watchdog: Watchdog,
}

impl Told {
    /// Publishes, and has it remembered. `None`: this thread was late again and again.
    fn publish<P>(&mut self, shared: &Shared, mut plan: impl FnMut(Counter) -> (ClockModel, P)) -> Option<P> {
        let published = self.writer.publish(&shared.publication, fork::generation(), counter::now, |switch| {
            let (model, rest) = plan(switch);
            (model, (model, rest))
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

/// How long to wait for random bits where there were none.
const RANDOMNESS_RETRY: Nanos = Nanos::from_millis(100);

/// How far the clock of the machine that built us may have been ahead: an era lasts 136 years, a year is cheap.
const BUILD_CLOCK_ERROR: Nanos = Nanos::from_seconds(365 * 86_400);

/// UTC is not before this, about the day the library was built; it tells the era of a timestamp.
pub(crate) fn build_date() -> UnixTime {
    unix_seconds(env!("NTPCLOCK_BUILD_DATE").parse().unwrap_or(0)) - BUILD_CLOCK_ERROR
}

/// What chance has in store for one request.
fn chance() -> std::io::Result<Chance> {
    Ok(Chance::new(sys::random()?, sys::random()?, sys::random_bytes()?, sys::random_bytes()?))
}

/// The engine's thread.
struct Run {
    core: Synchronizer,
    roster: Roster,
    exchanger: Exchanger,
    files: Files,
    told: Told,
    /// Wakes us when the machine resumes; `None` where there is none to be had.
    resume_watch: Option<ResumeWatch>,
    shared: SharedRef,
    order: Order,
    answers: Sender<(usize, Addresses)>,
    answered: Receiver<(usize, Addresses)>,
    #[cfg(feature = "_nts")]
    keys: keys::KeyExchanges,
    buffer: Box<[u8; socket::DATAGRAM_MAX]>,
    /// When a publication came to nothing last.
    gave_up: Counter,
    /// The least time to sleep, once.
    pause: Option<Nanos>,
}

impl Run {
    fn new(parts: Parts, shared: SharedRef, order: Order) -> Self {
        let Parts {
            core,
            roster,
            files,
            told,
            #[cfg(feature = "_nts")]
            keys,
        } = parts;
        let (answers, answered) = crossbeam_channel::unbounded();
        // After the descriptor that ends the thread: that one is needed, this one only good to have.
        let resume_watch = ResumeWatch::new();
        if let Err(error) = &resume_watch {
            shared.change(|status| status.unwatched = error.raw_os_error());
        }
        Self {
            core,
            roster,
            exchanger: Exchanger::new(),
            files,
            told,
            resume_watch: resume_watch.ok(),
            shared,
            order,
            answers,
            answered,
            #[cfg(feature = "_nts")]
            keys,
            buffer: Box::new([0; socket::DATAGRAM_MAX]),
            gave_up: Counter(i64::MIN),
            pause: None,
        }
    }

    fn run(mut self) {
        // What an earlier run left on the page is over: until an answer comes, the system clock is all there is.
        self.publish();
        while !self.order.is_over() {
            self.turn();
        }
        self.finish();
    }

    /// From one sleep to the next.
    fn turn(&mut self) {
        while let Ok((tag, addresses)) = self.answered.try_recv() {
            self.handle_addresses(SourceId(tag), addresses);
        }
        #[cfg(feature = "_nts")]
        self.keys.take_in(&mut self.roster, &mut self.core);
        self.tick();
        self.told.listeners(&self.shared);
        let now = counter::now();
        if self.core.wants_plan(now) && now >= self.told.writer.ready_at().max(self.gave_up + RETRY) {
            self.publish();
        }
        if self.files.tend(&self.core) {
            self.tell_of_files();
        }
        let ready = self.sleep();
        // Before anything that came is taken in: an answer may have waited while the machine was suspended.
        self.heed(Anchor::read(), ticks::sight());
        for source in ready {
            self.receive(source);
        }
    }

    /// Judges what the machine's clocks show, at every wake-up, and says so if what was known of the time means nothing
    /// any more.
    fn heed(&mut self, clocks: Anchor, sight: Option<Sight>) {
        let ticks = self.told.writer.cross_check(sight);
        // Between two such looks a stamp of any clock can be told to 0.1 % of the way to the nearer one.
        self.shared.with_history(|history| history.note(clocks));
        let disruption = self.told.watchdog.look(clocks, ticks);
        self.told.writer.note_suspended(self.told.watchdog.suspended());
        if disruption.is_some() {
            self.exchanger.close_all();
            self.core.handle_disruption(counter::now());
            self.settle();
            self.publish();
        }
    }

    /// Does everything that is due.
    fn tick(&mut self) {
        let now = counter::now();
        while let Some(id) = self.core.expire(now) {
            self.exchanger.close(id);
        }
        while let Some(id) = self.core.take_address_wish(now) {
            self.look_up(id, now);
        }
        loop {
            let Ok(chance) = chance() else {
                // Without randomness there is no safe request: come back a little later.
                self.pause = Some(RANDOMNESS_RETRY);
                return;
            };
            let Some(request) = self.core.poll_request(counter::now(), &chance) else { return };
            match self.exchanger.send(&request) {
                Ok((t1, local)) => self.core.handle_sent(request.source, t1, local),
                Err(error) => self.core.handle_failure(request.source, error.to_string(), counter::now()),
            }
        }
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

    fn handle_addresses(&mut self, id: SourceId, addresses: Addresses) {
        let now = counter::now();
        match addresses {
            Ok(found) => self.roster.assign(id, &found, &mut self.core, now),
            Err(why) => self.core.handle_no_address(id, format!("cannot be resolved: {why}"), now),
        }
    }

    /// Sleeps until something arrives or is due; says for which sources there is something to take in.
    fn sleep(&mut self) -> Vec<SourceId> {
        let mut descriptors = vec![self.order.waker.as_raw_fd()];
        descriptors.extend(self.resume_watch.as_ref().map(AsRawFd::as_raw_fd));
        let own = descriptors.len();
        descriptors.extend(self.exchanger.descriptors());
        let now = counter::now();
        let mut due = self.core.next_due(now).min(self.files.due()).min(self.told.watch.due(now));
        if self.core.wants_plan(now) {
            due = due.min(self.told.writer.ready_at().max(self.gave_up + RETRY));
        }
        let least = self.pause.take().unwrap_or(Nanos::ZERO);
        let timeout = (due - now).max(least).to_duration();
        match wake::wait(&descriptors, Some(timeout)) {
            Ok(ready) => {
                if ready[0] {
                    self.order.waker.clear();
                }
                // Whatever it has seen, we are about to look at all clocks.
                self.resume_watch.iter().for_each(ResumeWatch::clear);
                self.exchanger.ready_sources(&ready[own..])
            }
            // Out of memory in the kernel: do not turn in circles at full speed meanwhile.
            Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                Vec::new()
            }
        }
    }

    fn receive(&mut self, source: SourceId) {
        for _ in 0..Exchanger::TURN {
            match self.exchanger.receive(source, &mut self.buffer) {
                Arrival::Nothing => return,
                Arrival::Error(error) => {
                    self.exchanger.close(source);
                    self.core.handle_failure(source, error.to_string(), counter::now());
                    return;
                }
                Arrival::Datagram { length, t4 } => {
                    let outcome = self.core.handle_datagram(source, &self.buffer[..length], t4);
                    if outcome == Outcome::Accepted {
                        self.files.record(source, self.core.newest_exchange(source));
                    }
                    if outcome != Outcome::Ignored {
                        self.exchanger.close(source);
                        return;
                    }
                }
            }
        }
    }

    fn publish(&mut self) {
        self.core.review(counter::now());
        let core = &self.core;
        let plan = self.told.publish(&self.shared, |switch| {
            let plan = core.plan(switch);
            (plan.model, plan)
        });
        match plan {
            Some(plan) => self.core.commit(plan, counter::now()),
            None => self.gave_up = counter::now(),
        }
        self.account();
    }

    fn account(&self) {
        let account = Account::of(&self.core, &self.roster);
        self.shared.change(|status| {
            status.last_epoch = status.last_epoch.max(account.report.epoch);
            status.account = Some(Arc::new(account));
        });
    }

    fn tell_of_files(&self) {
        self.shared.change(|status| status.files.clone_from(&self.files.faults));
    }

    /// The last word: from now on the interval only grows.
    fn finish(&mut self) {
        self.settle();
        let mut model = *self.core.model();
        if model.has_line() {
            // Who is disrupted stays so: nobody is left to judge the clock anew.
            model.state = if model.state.is_usable() { State::Holdover } else { model.state };
            self.told.publish(&self.shared, |_| (model, ()));
            // Whoever stopped us shall find the clock stopped; and a wait after a new start, no old success.
            self.settle();
            self.told.listeners(&self.shared);
        }
        // Last, for a disk may take its time.
        if self.files.close(&self.core) {
            self.tell_of_files();
        }
    }

    /// Sleeps until what was published last has taken effect.
    fn settle(&self) {
        std::thread::sleep((self.told.writer.ready_at() - counter::now()).to_duration());
    }
}

impl Drop for Run {
    /// However the thread ends, by order or by a bug of ours: nobody shall wait for it.
    fn drop(&mut self) {
        self.shared.change(|status| status.running = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Reading;
    use crate::server::{Server, ServerConfig};

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
        Reading::of(&run.shared.publication, fork::generation(), ticks::read, counter::system_time)
    }

    #[test]
    fn a_look_that_shows_a_suspend_is_heeded_before_any_answer_and_one_that_shows_a_step_is_not() {
        let mut config = ServerConfig::new();
        config.add_listen("127.0.0.1:0").unwrap().set_local(1, Duration::ZERO).unwrap();
        let server = Server::start(None, &config).unwrap();
        let mut config = Config::with_servers(&server.addresses()[0].to_string()).unwrap();
        config.set_poll_exponents(0, 0).unwrap();
        let shared = SharedRef::Counted(Arc::new(Shared::new()));
        let parts = prepare(&config, &shared).unwrap();
        let (done, ended) = crossbeam_channel::bounded(1);
        let worker = Worker::start("test", move |order| {
            let mut run = Run::new(parts, shared, order);
            let before = turn_until(&mut run, State::Synchronized);

            let stepped = Anchor::read();
            run.heed(Anchor { realtime: stepped.realtime + Nanos::from_seconds(3_600), ..stepped }, ticks::sight());
            run.settle();
            assert_eq!((shown(&run).state, shown(&run).epoch), (State::Synchronized, before.epoch));

            // A request is on its way, and its answer may be waiting already.
            while run.exchanger.descriptors().next().is_none() {
                run.turn();
                run.tick();
            }
            let exchanges = run.core.report(counter::now()).exchanges;
            let suspended = Anchor::read();
            let suspended = Anchor { boottime: suspended.boottime + Nanos::from_millis(50), ..suspended };
            run.heed(suspended, ticks::sight());
            run.settle();
            let disrupted = shown(&run);
            assert_eq!((disrupted.state, disrupted.epoch), (State::Disrupted, before.epoch));
            assert_eq!(run.exchanger.descriptors().next(), None);
            assert_eq!(run.core.report(counter::now()).exchanges, exchanges);
            assert_eq!(run.shared.publication.read(ticks::read).0.suspended, suspended.suspended());

            let after = turn_until(&mut run, State::Synchronized);
            assert_eq!(after.epoch, before.epoch + 1);

            // Stopped before anybody was heard anew, it claims nothing.
            run.heed(
                Anchor { boottime: suspended.boottime + Nanos::from_seconds(9), ..Anchor::read() },
                ticks::sight(),
            );
            run.finish();
            assert_eq!(shown(&run).state, State::Disrupted);
            done.send(()).unwrap();
        });
        let told = ended.recv_timeout(Duration::from_secs(60));
        drop(worker);
        assert_eq!(told, Ok(()), "the test's thread has ended, as it says above");
    }
}

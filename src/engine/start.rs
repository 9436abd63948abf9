//! How the engine's thread begins: alone, as the leader of a page that processes share, or following one until it
//! leads.

use std::path::Path;
use std::sync::Arc;

use super::files::Files;
use super::follower::{Follower, Succession};
use super::keys::KeyExchanges;
use super::roster::Roster;
use super::seat::{Lead, Seat};
use super::watchdog::Watchdog;
use super::{Account, Membership, Run, Shared, SharedRef, Told, Unwatched, build_floor, era_begin};
use crate::config::Config;
use crate::error::Error;
use crate::events::watch::Watch;
use crate::model::ClockModel;
use crate::publication::gauge::Finding;
use crate::publication::page::Page;
use crate::publication::{self, Writer};
use crate::status::State;
use crate::synchronizer::Synchronizer;
use crate::sys::clocks::{self, Anchor};
use crate::sys::host::{self, Identity};
use crate::sys::thread::{Order, Worker};
use crate::sys::ticks::{self, Kind};
use crate::sys::vmclock::{self, VmClock};
use crate::sys::{counter, fork, futex};

/// How a clock starts.
pub(crate) enum Start {
    /// What an earlier run left on the page is over: until an answer comes, the system clock is all there is.
    Anew,
    /// In a forked child: the thread of the run is gone, and its line goes on.
    Onward,
    /// On a page that processes share: with the lead, or with the place where to stand for it.
    Seated(Result<Lead, Seat>),
    /// On such a page, in a forked child: its parent may well lead.
    SeatedOnward(Seat),
}

/// Starts the engine's thread; the paths of `config` are [located](super::files::locate). It publishes to `shared`,
/// which no other engine may do meanwhile.
pub(crate) fn start(config: Config, shared: SharedRef, start: Start) -> Result<Worker, Error> {
    let keys = KeyExchanges::new(&config)?;
    let follow = |seat: Seat, onward, keys| {
        shared.tell_membership(seat.followed());
        Begun::Follow(Box::new(Follower::new(seat, onward)), keys)
    };
    let begun = match start {
        Start::Anew => Begun::Run(Box::new(prepare(&config, &shared, keys, Beginning::Anew)?)),
        Start::Onward => Begun::Run(Box::new(prepare(&config, &shared, keys, Beginning::Onward)?)),
        Start::Seated(Ok(lead)) => {
            let succession = Succession { lead, watch: Watch::new(0), late: false, onward: false };
            Begun::Run(Box::new(prepare(&config, &shared, keys, Beginning::Succeeding(Box::new(succession)))?))
        }
        Start::Seated(Err(seat)) => follow(seat, false, keys),
        Start::SeatedOnward(seat) => follow(seat, true, keys),
    };
    shared.change(|status| {
        status.session += 1;
        (status.running, status.generation) = (true, fork::generation());
        status.min_agreeing = config.settings.min_agreeing;
    });
    let theirs = shared.clone();
    let work = move |order| {
        // However the thread ends, by order or by a bug of ours: nobody shall wait for it.
        let running = Running(theirs);
        let parts = match begun {
            Begun::Run(parts) => Some(parts),
            Begun::Follow(follower, keys) => follow_until_leading(&config, &running.0, *follower, keys, &order),
        };
        if let Some(parts) = parts {
            Run::new(*parts, running.0.clone(), order).run();
        }
    };
    Worker::start("ntpclock", work).map_err(|error| {
        shared.change(|status| status.running = false);
        Error::io("starting the clock's thread", error)
    })
}

/// Follows a page, and takes it over when its leader is gone; `None`: by order, or it could not be taken over. Apart,
/// so that who runs alone needs less of a stack.
#[inline(never)]
fn follow_until_leading(
    config: &Config,
    shared: &Shared,
    follower: Follower,
    keys: KeyExchanges,
    order: &Order,
) -> Option<Box<Parts>> {
    let succession = follower.run(shared, order)?;
    match prepare(config, shared, keys, Beginning::Succeeding(Box::new(succession))) {
        Ok(parts) => Some(Box::new(parts)),
        Err(error) => {
            let fault = Some(format!("taking over the shared page: {error}"));
            shared.tell_membership(Membership { fault, ..Membership::default() });
            None
        }
    }
}

/// How a thread begins.
enum Begun {
    Run(Box<Parts>),
    Follow(Box<Follower>, KeyExchanges),
}

/// Says that the thread has ended.
struct Running(SharedRef);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.change(|status| (status.running, status.membership.leads) = (false, false));
    }
}

/// What a run begins with.
pub(super) struct Parts {
    pub(super) core: Box<Synchronizer>,
    pub(super) roster: Roster,
    pub(super) files: Files,
    pub(super) told: Box<Told>,
    pub(super) vmclock: Option<VmClock>,
    pub(super) keys: KeyExchanges,
}

/// What a run makes of what there is.
pub(super) enum Beginning {
    Anew,
    Onward,
    Succeeding(Box<Succession>),
}

/// Does what can fail, and what is to be seen as soon as the clock is started.
pub(super) fn prepare(
    config: &Config,
    shared: &Shared,
    keys: KeyExchanges,
    beginning: Beginning,
) -> Result<Parts, Error> {
    let (last_epoch, left) = shared.with_status(|status| (status.last_epoch, status.account.clone()));
    let origin = host::origin();
    // Before the state file is judged: no suspend falls between the two.
    let clocks = Anchor::read();
    let (mut vmclock, unread) = match VmClock::open(Path::new(vmclock::DEVICE)) {
        Ok(device) => (device, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let watchdog = Watchdog::new(clocks, vmclock.as_mut().and_then(|device| device.marks().ok()));
    let (files, recollection) = match &beginning {
        Beginning::Succeeding(succession) if succession.onward => Files::open_onward(config),
        Beginning::Succeeding(succession) if succession.late => Files::open_unheard(config),
        Beginning::Onward => Files::open_onward(config),
        _ => Files::open(config)?,
    };
    let mut core = Box::new(Synchronizer::new(config.settings.clone(), era_begin(), last_epoch));
    core.raise_floor(build_floor());
    recollection.floor.into_iter().for_each(|floor| core.raise_floor(floor));
    let mut told = Box::new(match beginning {
        Beginning::Succeeding(succession) => succeed(*succession, &mut core, watchdog),
        Beginning::Onward if let Some(left) = &left => {
            let writer = go_on(shared, left, &mut core, &clocks, &watchdog, origin);
            Told { writer, watch: Watch::new(last_epoch), watchdog, lead: None }
        }
        _ => {
            let writer = Writer::new(&shared.place, ticks::kernel_sight());
            Told { writer, watch: Watch::new(last_epoch), watchdog, lead: None }
        }
    });
    shared.with_history(|history| history.note(clocks));
    told.writer.note_suspended(told.watchdog.suspended());
    // What is on a page that others read, or ourselves, goes before what is in a file.
    if core.model().has_line() {
        if told.lead.is_none() {
            show(&core, &mut told, shared);
        }
    } else if let Some(memory) = recollection.memory {
        core.restore(&memory, counter::now());
        show(&core, &mut told, shared);
    }
    let roster = Roster::new(config, &mut core, counter::now())?;
    // Told before the thread can: who asks right after the start finds every source.
    let account = Account::of(&core, &roster, &told.watchdog);
    let leads = told.lead.is_some();
    let membership = Membership { leads, leader: if leads { std::process::id() } else { 0 }, fault: None };
    shared.change(|status| {
        status.last_epoch = status.last_epoch.max(account.report.epoch);
        status.origin = origin;
        status.account = Some(Arc::new(account));
        status.files = files.faults.clone();
        status.membership = membership;
        status.unwatched = Unwatched { resume: None, vmclock: unread };
    });
    Ok(Parts { core, roster, files, told, vmclock, keys })
}

/// Goes on where the former leader of a page ended.
fn succeed(succession: Succession, core: &mut Synchronizer, watchdog: Watchdog) -> Told {
    let Succession { mut lead, watch, .. } = succession;
    let Some((page, note)) = lead.left.take().map(|left| *left) else {
        let sight = lead.page().sight(false);
        let writer = Writer::new(lead.publication(), sight);
        return Told { writer, watch, watchdog, lead: Some(lead) };
    };
    let sight = lead.page().sight(page.relation.scale.kind == Kind::Ticks);
    let (writer, finding) = Writer::succeed(&page, sight);
    let now = counter::now();
    core.succeed(page.current.model, &note.report, &note.legacy, now);
    // Nobody has watched the machine since the page was written.
    if clocks::suspended_at_least() > page.suspended || finding == Finding::Broken {
        core.handle_disruption(now);
    }
    Told { writer, watch, watchdog, lead: Some(lead) }
}

/// Goes on where a run has left off whose thread is gone, in the same epoch and on the same line; in HOLDOVER, until
/// our own sources were heard.
fn go_on(
    shared: &Shared,
    left: &Account,
    core: &mut Synchronizer,
    clocks: &Anchor,
    watchdog: &Watchdog,
    origin: Option<Identity>,
) -> Writer {
    let page = settled(shared);
    let (writer, finding) = Writer::succeed(&page, ticks::kernel_sight());
    if !page.current.model.has_line() {
        return writer;
    }
    let state = match page.current.model.state {
        State::Synchronized => State::Holdover,
        state => state,
    };
    let now = counter::now();
    core.succeed(ClockModel { state, ..page.current.model }, &left.report, &left.legacy, now);
    // Nobody has watched the machine since the thread was gone.
    let suspended = clocks.suspended() - clocks.width() > page.suspended;
    let seen = shared.with_history(|history| history.last_anchor()).unwrap_or(*clocks);
    let disruption = Watchdog::new(seen, left.marks).look(*clocks, finding, watchdog.marks());
    // In another time namespace all clocks but UTC count from elsewhere, and agree on it.
    let moved = shared.with_status(|status| status.origin) != origin;
    if suspended || moved || disruption.is_some() {
        core.handle_disruption(now);
    }
    writer
}

/// The page when what was published last has taken effect: a fork may fall between the two.
fn settled(shared: &Shared) -> Page {
    let (page, tick) = shared.place.read(ticks::read);
    // Nobody else publishes here.
    futex::pause(publication::rest(page.switch, page.counter_at(tick)).to_duration());
    page
}

/// Publishes what `core` remembers, and waits for the moment in which it takes effect: the first reading has a bound.
fn show(core: &Synchronizer, told: &mut Told, shared: &Shared) {
    if core.model().has_line() {
        // Who is late again and again shows nothing; the thread will try anew.
        told.publish(shared, core);
        futex::pause(told.writer.rest(counter::now()).to_duration());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::slew::Line;
    use crate::model::{ClockModel, UtcSpan};
    use crate::publication::Place;
    use crate::publication::note::Note;
    use crate::publication::page::ANY_PROCESS;
    use crate::status::State;
    use crate::sys::vmclock::Marks;
    use crate::units::{Counter, Nanos, UnixTime};
    use std::time::Duration;

    fn model(from: Counter, state: State) -> ClockModel {
        let utc = UnixTime(1_795_000_000_000_000_000);
        ClockModel {
            line: Line { base: from, utc, slew_end: from, ..Line::default() },
            span: UtcSpan { at: from, earliest: utc, latest: utc, ..UtcSpan::default() },
            state,
            epoch: 3,
            holdover_at: from + Nanos::from_seconds(99),
            bound_cap: Nanos::from_seconds(1),
            ..ClockModel::UNSYNCHRONIZED
        }
    }

    /// A clock that takes over a page whose last leader knew of so little time suspended, before it has asked anybody.
    fn taken_over(name: &str, suspended: Nanos) -> Parts {
        let path = std::env::temp_dir().join(format!("ntpclock-start-{}-{name}", std::process::id()));
        let lead = Seat::open(&path).unwrap().seat.expect("nobody else leads");
        let mut writer = Writer::new(lead.publication(), None);
        writer.note_suspended(suspended);
        let core = Synchronizer::new(Config::new().settings, era_begin(), 0);
        let published = writer.publish_with(lead.publication(), ANY_PROCESS, counter::now, |switch| {
            let plan = core.plan(switch);
            let note = Note { report: core.report(switch), legacy: core.legacy(&plan) };
            (model(switch, State::Synchronized), Some(note), ())
        });
        assert!(published.is_some());
        drop(lead);
        let opened = Seat::open(&path).unwrap();
        let lead = opened.seat.expect("it was let go of");
        let shared = Shared::new(Place::Shared(opened.page));
        let config = Config::with_servers("127.0.0.1:9").unwrap();
        let succession = Succession { lead, watch: Watch::new(0), late: false, onward: false };
        let keys = KeyExchanges::new(&config).unwrap();
        let parts = prepare(&config, &shared, keys, Beginning::Succeeding(Box::new(succession))).unwrap();
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        std::fs::remove_file(&path).and_then(|()| std::fs::remove_file(lock)).unwrap();
        parts
    }

    #[test]
    fn a_leader_that_takes_over_after_a_suspend_is_disrupted_and_one_that_does_not_goes_on() {
        let now = clocks::suspended_at_least();
        for (name, suspended, state) in [
            ("awake", now + Nanos::from_millis(100), State::Synchronized),
            ("asleep", now - Nanos::from_millis(100), State::Disrupted),
        ] {
            let core = taken_over(name, suspended).core;
            let model = core.plan(counter::now()).model;
            assert_eq!((model.state, model.epoch), (state, 3), "{name}");
        }
    }

    #[test]
    fn a_child_that_takes_the_lead_leaves_its_parents_recording_alone() {
        let path = std::env::temp_dir().join(format!("ntpclock-start-{}-onward", std::process::id()));
        let beside = |end: &str| std::path::PathBuf::from(format!("{}{end}", path.display()));
        let (recording, lock) = (beside(".csv"), beside(".lock"));
        std::fs::write(&recording, "what the parent has recorded\n").unwrap();
        let parents = Seat::open(&path).unwrap();
        let mut config = Config::with_servers("127.0.0.1:9").unwrap();
        config.set_recording(&recording).unwrap();
        let shared = SharedRef::Counted(Arc::new(Shared::new(Place::Shared(parents.page))));
        let childs = start(config, shared.clone(), Start::SeatedOnward(Seat::of(&path).unwrap())).unwrap();
        drop(parents.seat);
        let leads = |status: &super::super::Status| {
            if status.membership.leads { Ok(()) } else { Err(Duration::from_millis(10)) }
        };
        shared.wait_for(leads);
        drop(childs);
        assert_eq!(std::fs::read_to_string(&recording).unwrap(), "what the parent has recorded\n");
        let fault = shared.with_status(|status| status.files.recording.clone()).unwrap();
        assert!(fault.ends_with("does not go on after a restart"), "{fault}");
        [path.clone(), recording.clone(), lock].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }

    /// What a child finds that goes on with a clock of which this was published, `clocks` were noted, and `marks`
    /// shown, all counted from the origin 7; as it looks at them now.
    fn gone_on(published: State, clocks: Anchor, marks: Option<Marks>, now: (Anchor, Option<Marks>, u8)) -> ClockModel {
        let shared = Shared::new(Place::own());
        let mut writer = Writer::new(&shared.place, None);
        writer.note_suspended(clocks.suspended());
        shared.with_history(|history| history.note(clocks));
        let shown = writer.publish_with(&shared.place, 0, counter::now, |switch| (model(switch, published), None, ()));
        assert!(shown.is_some());
        let config = Config::new();
        let mut core = Synchronizer::new(config.settings.clone(), era_begin(), 3);
        let nobody = Roster::new(&config, &mut core, counter::now()).unwrap();
        let left = Account::of(&core, &nobody, &Watchdog::new(clocks, marks));
        shared.change(|status| status.origin = Some([7; 16]));
        let (now, shown, origin) = now;
        let after = go_on(&shared, &left, &mut core, &now, &Watchdog::new(now, shown), Some([origin; 16]));
        assert!(counter::now() >= after.ready_at(), "it waits until what was published holds");
        let model = core.plan(counter::now()).model;
        assert_eq!((model.epoch, model.line), (3, shared.place.read(ticks::read).0.current.model.line));
        model
    }

    #[test]
    fn a_child_goes_on_in_holdover_and_disrupted_if_anything_has_happened_while_nobody_looked() {
        let marks = |disruption| Some(Marks { disruption, generation: None });
        let awake = || (Anchor::read(), marks(1), 7);
        let (now, later) = (Anchor::read(), Nanos::from_seconds(5));
        let asleep = Anchor { boottime: now.boottime + Nanos::from_millis(50), ..now };
        let replaced = Anchor { monotonic: now.monotonic + later, boottime: now.boottime + later, ..now };
        for (published, now, state) in [
            (State::Synchronized, awake(), State::Holdover),
            (State::Holdover, awake(), State::Holdover),
            (State::Disrupted, awake(), State::Disrupted),
            (State::Synchronized, (asleep, marks(1), 7), State::Disrupted),
            (State::Synchronized, (replaced, marks(1), 7), State::Disrupted),
            (State::Synchronized, (Anchor::read(), marks(2), 7), State::Disrupted),
            (State::Synchronized, (Anchor::read(), None, 7), State::Holdover),
            (State::Synchronized, (Anchor::read(), marks(1), 8), State::Disrupted),
        ] {
            assert_eq!(gone_on(published, Anchor::read(), marks(1), now).state, state, "{published} {now:?}");
        }
    }
}

//! How the engine's thread begins: alone, as the leader of a page that processes share, or following one until it leads.

use std::sync::Arc;

use super::files::{self, Files};
use super::follower::{Follower, Succession};
use super::keys::KeyExchanges;
use super::roster::Roster;
use super::seat::{Lead, Seat};
use super::watchdog::Watchdog;
use super::{Account, Membership, Run, Shared, SharedRef, Told, build_date};
use crate::config::Config;
use crate::error::Error;
use crate::events::watch::Watch;
use crate::publication::Writer;
use crate::publication::gauge::Finding;
use crate::synchronizer::Synchronizer;
use crate::sys::clocks::{self, Anchor};
use crate::sys::thread::Worker;
use crate::sys::{counter, fork, ticks};

/// Starts the engine's thread; it publishes to `shared`, which no other engine may do meanwhile. Of a page that processes
/// share, `seat` is the lead, or the place where to stand for it.
pub(crate) fn start(mut config: Config, shared: SharedRef, seat: Option<Result<Lead, Seat>>) -> Result<Worker, Error> {
    files::locate(&mut config)?;
    let keys = KeyExchanges::new(&config)?;
    let begun = match seat {
        None => Begun::Run(Box::new(prepare(&config, &shared, keys, None)?)),
        Some(Ok(lead)) => {
            let succession = Succession { lead, watch: Watch::new(0), late: false };
            Begun::Run(Box::new(prepare(&config, &shared, keys, Some(succession))?))
        }
        Some(Err(seat)) => {
            shared.tell_membership(seat.followed());
            Begun::Follow(Box::new(Follower::new(seat)), keys)
        }
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
            Begun::Run(parts) => Some(*parts),
            Begun::Follow(follower, keys) => {
                let succession = follower.run(&running.0, &order);
                succession.and_then(|succession| prepare(&config, &running.0, keys, Some(succession)).ok())
            }
        };
        if let Some(parts) = parts {
            Run::new(parts, running.0.clone(), order).run();
        }
    };
    Worker::start("ntpclock", work).map_err(|error| {
        shared.change(|status| status.running = false);
        Error::io("starting the clock's thread", error)
    })
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
    pub(super) core: Synchronizer,
    pub(super) roster: Roster,
    pub(super) files: Files,
    pub(super) told: Told,
    pub(super) keys: KeyExchanges,
}

/// Does what can fail, and what is to be seen as soon as the clock is started.
pub(super) fn prepare(
    config: &Config,
    shared: &Shared,
    keys: KeyExchanges,
    succession: Option<Succession>,
) -> Result<Parts, Error> {
    let last_epoch = shared.with_status(|status| status.last_epoch);
    // Before the state file is judged: no suspend falls between the two.
    let clocks = Anchor::read();
    let watchdog = Watchdog::new(clocks);
    let late = succession.as_ref().is_some_and(|succession| succession.late);
    let (files, recollection) = if late { Files::open_unheard(config) } else { Files::open(config)? };
    let mut core = Synchronizer::new(config.settings.clone(), build_date(), last_epoch);
    recollection.floor.into_iter().for_each(|floor| core.raise_floor(floor));
    shared.with_history(|history| history.note(clocks));
    let mut told = match succession {
        None => {
            let writer = Writer::new(&shared.place, ticks::kernel_sight());
            Told { writer, watch: Watch::new(last_epoch), watchdog, lead: None }
        }
        Some(succession) => succeed(succession, &mut core, watchdog),
    };
    told.writer.note_suspended(told.watchdog.suspended());
    // What is on a page that others read goes before what is in a file.
    if let Some(memory) = recollection.memory.filter(|_| !core.model().has_line()) {
        core.restore(&memory, counter::now());
        show(&core, &mut told, shared);
    }
    let roster = Roster::new(&config.servers, &mut core, counter::now());
    // Told before the thread can: who asks right after the start finds every source.
    let account = Account::of(&core, &roster);
    let leads = told.lead.is_some();
    let membership = Membership { leads, leader: if leads { std::process::id() } else { 0 }, fault: None };
    shared.change(|status| {
        status.last_epoch = status.last_epoch.max(account.report.epoch);
        status.account = Some(Arc::new(account));
        status.files = files.faults.clone();
        status.membership = membership;
        status.unwatched = None;
    });
    Ok(Parts { core, roster, files, told, keys })
}

/// Goes on where the former leader of a page ended.
fn succeed(succession: Succession, core: &mut Synchronizer, watchdog: Watchdog) -> Told {
    let Succession { mut lead, watch, .. } = succession;
    let sight = lead.page().sight();
    let Some((page, note)) = lead.left.take().map(|left| *left) else {
        let writer = Writer::new(lead.publication(), sight);
        return Told { writer, watch, watchdog, lead: Some(lead) };
    };
    let (writer, finding) = Writer::succeed(&page, sight);
    let now = counter::now();
    core.succeed(page.current.model, &note.report, &note.legacy, now);
    // Nobody has watched the machine since the page was written.
    if clocks::suspended_at_least() > page.suspended || finding == Finding::Broken {
        core.handle_disruption(now);
    }
    Told { writer, watch, watchdog, lead: Some(lead) }
}

/// Publishes what `core` remembers, and waits for the moment in which it takes effect: the first reading has a bound.
fn show(core: &Synchronizer, told: &mut Told, shared: &Shared) {
    if core.model().has_line() {
        // Who is late again and again shows nothing; the thread will try anew.
        told.publish(shared, core);
        std::thread::sleep((told.writer.ready_at() - counter::now()).to_duration());
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
    use crate::units::{Nanos, UnixTime};

    /// A clock that takes over a page whose last leader knew of so little time suspended, before it has asked anybody.
    fn taken_over(name: &str, suspended: Nanos) -> Parts {
        let path = std::env::temp_dir().join(format!("ntpclock-start-{}-{name}", std::process::id()));
        let lead = Seat::open(&path).unwrap().seat.expect("nobody else leads");
        let mut writer = Writer::new(lead.publication(), None);
        writer.note_suspended(suspended);
        let core = Synchronizer::new(Config::new().settings, build_date(), 0);
        let published = writer.publish_with(lead.publication(), ANY_PROCESS, counter::now, |switch| {
            let utc = UnixTime(1_795_000_000_000_000_000);
            let model = ClockModel {
                line: Line { base: switch, utc, slew_end: switch, ..Line::default() },
                span: UtcSpan { at: switch, earliest: utc, latest: utc, ..UtcSpan::default() },
                state: State::Synchronized,
                epoch: 3,
                holdover_at: switch + Nanos::from_seconds(99),
                bound_cap: Nanos::from_seconds(1),
                ..ClockModel::UNSYNCHRONIZED
            };
            let plan = core.plan(switch);
            (model, Some(Note { report: core.report(switch), legacy: core.legacy(&plan) }), ())
        });
        assert!(published.is_some());
        drop(lead);
        let opened = Seat::open(&path).unwrap();
        let lead = opened.seat.expect("it was let go of");
        let shared = Shared::new(Place::Shared(opened.page));
        let config = Config::with_servers("127.0.0.1:9").unwrap();
        let succession = Succession { lead, watch: Watch::new(0), late: false };
        let keys = KeyExchanges::new(&config).unwrap();
        let parts = prepare(&config, &shared, keys, Some(succession)).unwrap();
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
}

//! How a run of the engine begins: with nothing, with a state file, or where a run has left off whose thread is gone.

use std::path::Path;
use std::sync::Arc;

use super::files::Files;
use super::roster::Roster;
use super::watchdog::Watchdog;
use super::{Account, Shared, Told, Unwatched, build_date};
use crate::config::Config;
use crate::error::Error;
use crate::events::watch::Watch;
use crate::model::ClockModel;
use crate::publication::Writer;
use crate::publication::gauge::Finding;
use crate::synchronizer::Synchronizer;
use crate::sys::clocks::Anchor;
use crate::sys::vmclock::{self, VmClock};
use crate::sys::{counter, fork, ticks};

/// What a run makes of what an earlier one has left on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It is over: until an answer comes, the system clock is all there is.
    Anew,
    /// Its thread is gone, in a forked child: the same line goes on.
    Onward,
}

/// What a run begins with.
pub(super) struct Parts {
    pub(super) core: Synchronizer,
    pub(super) roster: Roster,
    pub(super) files: Files,
    pub(super) told: Told,
    pub(super) vmclock: Option<VmClock>,
}

/// Does what can fail, and what is to be seen as soon as the clock is started.
pub(super) fn prepare(config: &Config, shared: &Shared, beginning: Beginning) -> Result<Parts, Error> {
    let (last_epoch, left) = shared.with_status(|status| (status.last_epoch, status.account.clone()));
    // Before the state file is judged: no suspend falls between the two.
    let clocks = Anchor::read();
    let (mut vmclock, unread) = match VmClock::open(Path::new(vmclock::DEVICE)) {
        Ok(device) => (device, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let watchdog = Watchdog::new(clocks, vmclock.as_mut().and_then(|device| device.marks().ok()));
    let (files, memory) = Files::open(config, beginning == Beginning::Onward)?;
    let mut core = Synchronizer::new(config.settings.clone(), build_date(), last_epoch);
    let sight = ticks::kernel_sight();
    let shown = (beginning == Beginning::Onward).then(|| Inherited::of(shared, &clocks, &watchdog)).flatten();
    let mut writer = match shown {
        Some(_) => Writer::resuming(&shared.publication, sight),
        None => Writer::new(&shared.publication, sight),
    };
    writer.note_suspended(watchdog.suspended());
    let mut told = Told { writer, watch: Watch::new(last_epoch), watchdog };
    shared.with_history(|history| history.note(clocks));
    if let Some(Inherited { model, disrupted }) = shown {
        let memory = left.as_ref().and_then(|account| account.memory.as_ref());
        core.resume(&model, memory, disrupted, counter::now());
        show(&core, &mut told, shared);
    } else if let Some(memory) = memory {
        core.restore(&memory, counter::now());
        show(&core, &mut told, shared);
    }
    let roster = Roster::new(&config.servers, &mut core, counter::now());
    // Told before the thread can: who asks right after the start finds every source.
    let account = Account::of(&core, &roster, &told.watchdog);
    shared.change(|status| {
        status.session += 1;
        (status.running, status.generation) = (true, fork::generation());
        status.min_agreeing = config.settings.min_agreeing;
        status.last_epoch = status.last_epoch.max(account.report.epoch);
        status.account = Some(Arc::new(account));
        status.files = files.faults.clone();
        status.unwatched = Unwatched { resume: None, vmclock: unread };
    });
    Ok(Parts { core, roster, files, told, vmclock })
}

/// What readers see of a run whose thread is gone.
struct Inherited {
    model: ClockModel,
    /// It means nothing any more: nobody was there to see the machine suspended, or the counter replaced.
    disrupted: bool,
}

impl Inherited {
    /// `None` if there is no line to go on with.
    fn of(shared: &Shared, clocks: &Anchor, now: &Watchdog) -> Option<Self> {
        let marks = shared.with_status(|status| status.account.as_ref().and_then(|account| account.marks));
        loop {
            let (page, tick) = shared.publication.read(ticks::read);
            // A fork may fall between the turn of a page and the moment from which on it holds.
            let rest = (page.switch - page.counter_at(tick)).to_duration();
            if !rest.is_zero() && page.current.model.has_line() {
                std::thread::sleep(rest);
                continue;
            }
            let suspended = clocks.suspended() - clocks.width() > page.suspended;
            let seen = shared.with_history(|history| history.last_anchor());
            let strayed = seen
                .is_some_and(|seen| Watchdog::new(seen, marks).look(*clocks, Finding::Nothing, now.marks()).is_some());
            let model = page.model_at(tick);
            return model.has_line().then_some(Self { model, disrupted: suspended || strayed });
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::status::State;
    use crate::sys::vmclock::Marks;
    use crate::units::{Nanos, UnixTime};

    #[test]
    fn a_run_is_taken_up_as_disrupted_if_the_machine_was_suspended_or_its_counter_replaced_while_nobody_looked() {
        let shared = Shared::new();
        let clocks = Anchor::read();
        assert!(Inherited::of(&shared, &clocks, &Watchdog::new(clocks, None)).is_none(), "there is no line yet");
        let mut writer = Writer::new(&shared.publication, None);
        writer.note_suspended(clocks.suspended());
        shared.with_history(|history| history.note(clocks));
        let model = ClockModel { epoch: 1, state: State::Synchronized, ..ClockModel::UNSYNCHRONIZED };
        writer.publish(&shared.publication, fork::generation(), counter::now, |_| (model, ())).unwrap();

        let taken_up =
            |clocks: Anchor| Inherited::of(&shared, &clocks, &Watchdog::new(clocks, None)).unwrap().disrupted;
        assert!(!taken_up(Anchor::read()));
        assert!(counter::now() >= writer.ready_at(), "it waits until the line holds");
        let now = Anchor::read();
        assert!(taken_up(Anchor { boottime: now.boottime + Nanos::from_millis(50), ..now }));
        assert!(taken_up(Anchor { monotonic: now.monotonic + Nanos::from_seconds(5), ..now }));

        let marks = |disruption| Some(Marks { disruption, generation: None });
        let then = Watchdog::new(clocks, marks(1));
        let roster = Roster::new(&[], &mut Synchronizer::new(Settings::default(), UnixTime(0), 0), counter::now());
        let core = Synchronizer::new(Settings::default(), UnixTime(0), 0);
        shared.change(|status| status.account = Some(Arc::new(Account::of(&core, &roster, &then))));
        for (shows, disrupted) in [(marks(1), false), (marks(2), true), (None, false)] {
            let now = Anchor::read();
            assert_eq!(Inherited::of(&shared, &now, &Watchdog::new(now, shows)).unwrap().disrupted, disrupted);
        }
    }
}

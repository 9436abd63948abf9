//! Single writer, any readers: how a clock model reaches the threads that read it.
//!
//! A page of words stands behind a [`latch`]. A reader reads its counter while the page is the present one; what it
//! reads is the page's choice: `CLOCK_MONOTONIC_RAW`, or, where the kernel itself counts by it, the processor's tick
//! counter, which costs half. The core knows nothing of ticks. The [`gauge`] finds what they are in nanoseconds, the
//! writer puts the model's line into ticks ([`track`]), and the same sum of whole numbers is what every reader sees.
//!
//! Going over from the one counter to the other happens at a turn of the latch, as everything else: who sees the new
//! page, or hears of a reading from it, never uses the old one again; and the new counter is not behind the old one.
//!
//! The same page can stand in a file that processes share ([`shared`]); its readers are the same code.

#[cfg(test)]
pub(crate) mod gate;
pub(crate) mod gauge;
pub(crate) mod glance;
#[expect(clippy::indexing_slicing, reason = "one of two slots by one bit, and words by constants")]
pub(crate) mod latch;
pub(crate) mod note;
pub(crate) mod page;
pub(crate) mod scale;
pub(crate) mod shared;
pub(crate) mod track;

use std::sync::atomic::AtomicU64;

use crate::model::ClockModel;
use crate::status::State;
use crate::sys::fork;
use crate::sys::ticks::{Kind, Sight, Tick};
use crate::units::{Counter, Nanos, Rate, UnixTime};
use gauge::{Doubt, Finding, Gauge, Relation};
use glance::{Glimpse, Piece};
use latch::{Latch, Word};
use note::Note;
use page::{Page, Shown, WORDS};
use shared::SharedPage;
use track::Track;

/// How far ahead a new model takes effect: long enough that a writer is rarely late, short enough not to matter.
const LEAD: Nanos = Nanos::from_millis(1);

/// Attempts, each with twice the lead of the one before; the last has 64 ms.
const ATTEMPTS: u32 = 7;

/// The longest time from a publication until its model takes effect.
const LEAD_MAX: Nanos = Nanos(LEAD.0 << (ATTEMPTS - 1));

/// Where readers find the page.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Publication(Latch<SLOT>);

/// Words of a slot: a power of two, so that readers need not multiply to find theirs. A [`note`] fits behind the page.
pub(crate) const SLOT: usize = WORDS.next_power_of_two();

/// A slot while it is looked at.
type Slot<'a> = latch::Words<'a, SLOT, AtomicU64>;

/// Where a publication is: whichever it is, one pointer leads to it.
#[derive(Debug)]
pub(crate) enum Place {
    /// In this process, for as long as it runs.
    Static(&'static Publication),
    /// In this process, for as long as a clock needs it.
    Own(Box<Publication>),
    /// In a file that processes share.
    Shared(SharedPage),
}

impl std::ops::Deref for Place {
    type Target = Publication;

    #[inline(always)]
    fn deref(&self) -> &Publication {
        match self {
            Self::Static(publication) => publication,
            Self::Own(publication) => publication,
            Self::Shared(page) => page.publication(),
        }
    }
}

impl Place {
    /// The publication of a clock of one's own.
    pub(crate) fn own() -> Self {
        Self::Own(Box::new(Publication::new()))
    }

    /// The page that processes share, if it is one.
    pub(crate) fn shared(&self) -> Option<&SharedPage> {
        match self {
            Self::Shared(page) => Some(page),
            Self::Static(_) | Self::Own(_) => None,
        }
    }

    /// The fork generation that its writer and its readers must be of.
    #[inline(always)]
    pub(crate) fn generation(&self) -> u32 {
        if self.shared().is_some() { page::ANY_PROCESS } else { fork::generation() }
    }
}

/// The writer's side: what it published last. There is one for each publication.
#[derive(Debug)]
pub(crate) struct Writer {
    gauge: Gauge,
    relation: Relation,
    current: Shown,
    switch: Counter,
    suspended: Nanos,
}

impl Publication {
    /// Never synchronised.
    pub(crate) const fn new() -> Self {
        Self(Latch::new())
    }

    /// Makes the page what the next turn shows. Apart, as the other: what a thread's stack has ever held stays in memory.
    #[inline(never)]
    fn stage(&self, page: &Page) {
        self.0.stage(&page.to_words());
    }

    /// The same with a note.
    #[inline(never)]
    fn stage_with(&self, page: &Page, note: &Note) {
        self.0.stage(&note::sealed(page, note));
    }

    /// As somebody may leave it who writes whatever he likes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_words(words: [u64; SLOT], tag: u8) -> Self {
        let publication = Self::new();
        publication.0.stage(&words);
        publication.0.turn(tag);
        publication
    }

    /// The page, and what it is to be read by, read while it was the present one: only so do readers of two successive
    /// pages see one line.
    pub(crate) fn read(&self, read: impl Fn(Kind) -> Tick) -> (Page, Tick) {
        let (words, tick) = self.0.read(|tag| read(page::kind(tag)));
        (Page::from_words(&words), tick)
    }

    /// Page and note of what a leader published last; `None`: nothing was ever published. Not for readers of the time.
    ///
    /// # Errors
    ///
    /// [`Damaged`]: somebody else has written here.
    pub(crate) fn whole(&self) -> Result<Option<(Page, Note)>, Damaged> {
        let (words, _) = self.0.read(|_| ());
        if words == [0; SLOT] {
            return Ok(None);
        }
        note::opened(&words).map(Some).ok_or(Damaged)
    }

    /// UTC now, if it is to be had at a glance and by `kind`.
    #[inline(always)]
    pub(crate) fn utc(&self, kind: Kind, read: impl Fn(Kind) -> Tick) -> Option<UnixTime> {
        self.0.read_if(page::tag(kind), |words| glance::utc_at(|index| words.at(index), kind, read(kind)))?
    }

    /// What `make` makes of what can be had now at a glance of `piece` and by `kind`, in a process of this fork
    /// generation.
    ///
    /// `make` may be called several times, and of what means nothing; what it made last counts, if it holds. So where
    /// it puts its numbers somewhere, no register has to keep them until that is known.
    #[inline(always)]
    pub(crate) fn glimpse<T>(
        &self,
        piece: Piece,
        kind: Kind,
        read: impl Fn(Kind) -> Tick,
        generation: u32,
        make: impl Fn(&Glimpse) -> T,
    ) -> Option<T> {
        // Both at once and not an `Option`, so that nothing waits for the comparison.
        let (holds, made) = self.0.read_if(page::tag(kind), |words| {
            let glimpse = Glimpse::at(words, piece, kind, read(kind));
            (glimpse.holds(generation), make(&glimpse))
        })?;
        holds.then_some(made)
    }
}

/// How long to sleep from `now` until a model takes effect at `switch`; where the counter was set back meanwhile, no
/// longer than that can have been meant to be. Sleepers count by another clock, which may run faster by 0.1 %.
pub(crate) fn rest(switch: Counter, now: Counter) -> Nanos {
    let rest = (switch - now).clamp(Nanos::ZERO, LEAD_MAX);
    rest + Nanos(rest.0 / 1000)
}

/// Shows what was staged, to take effect at `switch`, which was planned with so much of a lead; or does not, where half
/// of that has passed. A writer that comes too late would change what some readers have already read.
fn turn_in_time<const N: usize, W: Word>(
    latch: &Latch<N, W>,
    tag: u8,
    switch: Counter,
    lead: Nanos,
    counter: impl Fn() -> Counter,
) -> bool {
    let in_time = counter() < switch - lead.half_up();
    if in_time {
        latch.turn(tag);
    }
    in_time
}

/// The words of a shared page are not what a leader of ours wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl Writer {
    /// The next writer of `publication`. `sight` is of now; `None` where readers are not to read ticks.
    pub(crate) fn new(publication: &Publication, sight: Option<Sight>) -> Self {
        let (page, _) = publication.read(|_| Tick::default());
        let inherited = (page.relation.scale.kind == Kind::Ticks).then_some(page.relation);
        Self {
            gauge: Gauge::new(sight, inherited),
            relation: page.relation,
            current: Shown::nothing(),
            switch: Counter(i64::MIN),
            suspended: page.suspended,
        }
    }

    /// The next writer of a publication that shows `page`, which another process wrote; and whether it is still read by
    /// what the machine counts by. If not ([`Finding::Broken`]), what is published next may show less than readers have
    /// seen.
    pub(crate) fn succeed(page: &Page, sight: Option<Sight>) -> (Self, Finding) {
        let inherited = (page.relation.scale.kind == Kind::Ticks).then_some(page.relation);
        let gauge = Gauge::new(sight, inherited);
        let finding = match (inherited, gauge) {
            (None, _) => Finding::Nothing,
            (Some(_), Gauge::Known(..)) => Finding::Holds,
            (Some(_), _) => Finding::Broken,
        };
        let Page { relation, current, switch, suspended, .. } = *page;
        (Self { gauge, relation, current, switch, suspended }, finding)
    }

    /// The machine was suspended for no more than this since boot, as of what is published from now on.
    pub(crate) fn note_suspended(&mut self, suspended: Nanos) {
        self.suspended = suspended;
    }

    /// Compares ticks and raw counter: to be called at every wake-up, and before publishing.
    ///
    /// After [`Finding::Broken`] what readers have seen since the last comparison may be wrong, and goes on being so
    /// until the next publication, which goes back to the raw counter; it may show less than they have seen.
    pub(crate) fn cross_check(&mut self, sight: Option<Sight>) -> Finding {
        self.gauge.cross_check(sight)
    }

    /// Before this the last model has not yet taken effect, and no other may be published: the page holds but two.
    pub(crate) fn ready_at(&self) -> Counter {
        self.switch
    }

    /// How long to sleep from `now` until then.
    pub(crate) fn rest(&self, now: Counter) -> Nanos {
        rest(self.switch, now)
    }

    /// Publishes the model that `plan` makes for the counter value at which it will take effect.
    ///
    /// `plan` may be called again with a later one; what it returns beside the model that was published is handed back.
    /// On a page that processes share, a note for the others goes with the model. `None` if this thread was late again
    /// and again: nothing was shown, try again later.
    ///
    /// Between the last look at the counter and the store that shows the page lie a few instructions. A writer that is
    /// stopped just there, for more than what is left of the lead, shows its line late, and a reader may then read less
    /// than another did from the old one, by what the two lines differ. No store can be made to depend on the time;
    /// half of the lead must be left so that only a long stop in that place can do harm.
    pub(crate) fn publish_with<P>(
        &mut self,
        publication: &Publication,
        generation: u32,
        counter: impl Fn() -> Counter,
        mut plan: impl FnMut(Counter) -> (ClockModel, Option<Note>, P),
    ) -> Option<P> {
        for attempt in 0..ATTEMPTS {
            let lead = Nanos(LEAD.0 << attempt);
            let now = counter();
            let switch = now + lead;
            let (model, note, rest) = plan(switch);
            let page = self.compose(&model, now, switch, generation);
            match note {
                Some(note) => publication.stage_with(&page, &note),
                None => publication.stage(&page),
            }
            #[cfg(any(test, feature = "_bench"))]
            stall::here();
            #[cfg(test)]
            gate::pass(publication, self.switch);
            if turn_in_time(&publication.0, page.tag(), switch, lead, &counter) {
                (self.relation, self.current, self.switch) = (page.relation, page.current, switch);
                return Some(rest);
            }
        }
        None
    }

    /// The same without a note.
    #[cfg(test)]
    pub(crate) fn publish<P>(
        &mut self,
        publication: &Publication,
        generation: u32,
        counter: impl Fn() -> Counter,
        mut plan: impl FnMut(Counter) -> (ClockModel, P),
    ) -> Option<P> {
        let plan = |switch| {
            let (model, rest) = plan(switch);
            (model, None, rest)
        };
        self.publish_with(publication, generation, counter, plan)
    }

    /// The page that shows `model` from `switch` on, and what was shown last until then; `now` is in the past when it
    /// appears.
    fn compose(&self, model: &ClockModel, now: Counter, switch: Counter, generation: u32) -> Page {
        let (relation, doubt) = self.gauge.relation();
        let scale = &relation.scale;
        let mut former = self.current;
        if relation != self.relation && former.model.has_line() {
            former.track = former.track.rescaled(&self.relation.scale, scale, now);
            former.model = widened(&former.model, &doubt);
        }
        if model.state == State::Disrupted && former.model.has_line() {
            // What was shown until now is worth nothing, also until the switch: whoever reads this page knows by it of
            // the suspend, and does not look for itself any more.
            former.model.state = State::Disrupted;
        }
        let start = scale.tick_at(switch);
        let goes_on = former.model.has_line() && former.model.epoch == model.epoch;
        let floor = goes_on.then(|| former.track.utc_at(scale, start));
        let track = if model.has_line() { Track::new(&model.line, scale, start, floor) } else { Track::default() };
        let current = Shown { model: widened(model, &doubt), track };
        Page { relation, former, current, switch, generation, suspended: self.suspended }
    }
}

/// `model` for readers whose counter is as doubtful as that.
fn widened(model: &ClockModel, doubt: &Doubt) -> ClockModel {
    if *doubt == Doubt::NONE {
        return *model;
    }
    let mut span = model.span;
    span.earliest = span.earliest - doubt.ahead;
    span.latest += doubt.behind;
    let frequency = Rate::from_ppb_up(doubt.frequency).0;
    span.slowest = Rate(span.slowest.0.saturating_sub(frequency));
    span.fastest = Rate(span.fastest.0.saturating_add(frequency));
    ClockModel { span, ..*model }
}

/// Lets tests and benchmarks hold writers where preemption hurts most: everything is written, nothing is shown.
#[cfg(any(test, feature = "_bench"))]
pub(crate) mod stall {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    /// How long every writer is held, µs.
    pub(crate) static MICROS: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        /// What this thread does instead of publishing.
        pub(crate) static HOOK: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
    }

    pub(super) fn here() {
        HOOK.with(|hook| hook.borrow_mut().as_mut().map(|hook| hook()));
        match MICROS.load(Relaxed) {
            0 => {}
            micros => std::thread::sleep(Duration::from_micros(micros)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::slew::{Course, Line, steer};
    use crate::status::State;
    use crate::units::{Ppb, Rate, UnixTime};
    use std::cell::Cell;
    use std::rc::Rc;

    /// A model that shows `ahead` more than the counter from `switch` on, in epoch 1.
    fn model(line: Line) -> ClockModel {
        ClockModel { line, state: State::Synchronized, epoch: 1, ..ClockModel::UNSYNCHRONIZED }
    }

    fn line(ahead: i64) -> Line {
        Line { base: Counter(0), utc: UnixTime(ahead), slew: Rate(0), slew_end: Counter(0), rate: Rate(0) }
    }

    /// Corrects what is shown by `correction`, continuously.
    fn corrected(former: &ClockModel, switch: Counter, correction: Nanos) -> ClockModel {
        let target = former.line.utc_at(switch) + correction;
        match steer(Some(&former.line), switch, target, Ppb(0.0), Nanos::from_seconds(1)) {
            Course::Slew(line) | Course::Step(line) => model(line),
        }
    }

    /// What readers of the raw counter see.
    fn shown(page: &Page, counter: i64) -> i64 {
        page.model_at(Tick(counter)).line.utc_at(Counter(counter)).0
    }

    /// The writer of a publication that is read by the raw counter.
    fn writer(publication: &Publication) -> Writer {
        Writer::new(publication, None)
    }

    /// A publication with a first model, then a second with `correction`, whose writer is held for `held` ns at its
    /// first attempt. Returns the pages before and after, and the counter when the second was shown.
    fn publish_twice(correction: Nanos, held: i64) -> (Page, Page, i64) {
        let counter = Rc::new(Cell::new(0));
        let now = || Counter(counter.get());
        let publication = Publication::new();
        let mut writer = writer(&publication);
        let first = model(line(1_000));
        writer.publish(&publication, 0, now, |_| (first, ())).unwrap();
        counter.set(10_000_000);
        let (before, _) = publication.read(|_| Tick(counter.get()));
        let (advance, mut left) = (Rc::clone(&counter), held);
        let hold = move || advance.set(advance.get() + std::mem::take(&mut left));
        stall::HOOK.with(|hook| hook.replace(Some(Box::new(hold))));
        writer.publish(&publication, 0, now, |switch| (corrected(&first, switch, correction), ())).unwrap();
        stall::HOOK.with(|hook| hook.take());
        let (after, _) = publication.read(|_| Tick(counter.get()));
        (before, after, counter.get())
    }

    #[test]
    fn readers_of_the_old_page_and_of_the_new_one_see_one_line() {
        for correction in [Nanos::from_millis(50), Nanos::from_millis(-50)] {
            for held in [0, 400_000, 900_000, 5_000_000, 20_000_000] {
                let (before, after, turned) = publish_twice(correction, held);
                assert!(after.switch.0 > turned, "the new model was shown after it took effect");
                // Up to the turn, readers had the old page; from then on they have the new one.
                let mut last = shown(&before, turned - 1_000_000);
                for counter in (turned - 1_000_000..turned).step_by(10_000) {
                    assert!(shown(&before, counter) >= last);
                    last = shown(&before, counter);
                }
                for counter in (turned..turned + 200_000_000).step_by(10_000) {
                    assert!(shown(&after, counter) >= last, "{correction:?} {held} at {counter}");
                    last = shown(&after, counter);
                }
            }
        }
    }

    #[test]
    fn before_the_switch_the_new_page_still_shows_the_old_line() {
        let (before, after, turned) = publish_twice(Nanos::from_millis(-50), 0);
        assert_eq!(shown(&after, turned), shown(&before, turned));
        let later = after.switch.0 + 10_000_000;
        assert_eq!(shown(&after, later) - shown(&before, later), -5_000);
    }

    #[test]
    fn another_process_that_goes_on_writing_shows_readers_one_line_in_mid_slew_too() {
        for correction in [Nanos::from_millis(50), Nanos::from_millis(-50)] {
            let counter = Cell::new(0);
            let now = || Counter(counter.get());
            let publication = Publication::new();
            let first = model(line(1_000));
            let mut former = writer(&publication);
            former.publish(&publication, 0, now, |_| (first, ())).unwrap();
            counter.set(10_000_000);
            let mut slewing = first;
            former
                .publish(&publication, 0, now, |switch| {
                    slewing = corrected(&first, switch, correction);
                    (slewing, ())
                })
                .unwrap();
            counter.set(30_000_000);
            let (before, _) = publication.read(|_| Tick(counter.get()));
            let (mut next, finding) = Writer::succeed(&before, None);
            assert_eq!((finding, next.ready_at()), (Finding::Nothing, before.switch));
            let back = Nanos(-correction.0 / 5);
            next.publish(&publication, 0, now, |switch| (corrected(&slewing, switch, back), ())).unwrap();
            let (after, _) = publication.read(|_| Tick(counter.get()));
            assert_eq!(after.former, before.current);
            let mut last = shown(&before, 29_000_000);
            for at in (29_000_000..200_000_000).step_by(10_000) {
                let seen = shown(if at < counter.get() { &before } else { &after }, at);
                assert!(seen >= last, "{correction:?} at {at}");
                last = seen;
            }
        }
    }

    #[test]
    fn who_cannot_read_the_ticks_that_a_page_is_read_by_finds_it_broken() {
        let before = Page::from_words(&[0; WORDS]);
        let scale = scale::Scale { kind: Kind::Ticks, ..scale::Scale::RAW };
        let by_ticks = Page { relation: Relation { scale, ..Relation::RAW }, ..before };
        assert_eq!(Writer::succeed(&by_ticks, None).1, Finding::Broken);
        let agreeing = Sight { before: Tick(70), raw: Counter(75), after: Tick(80) };
        assert_eq!(Writer::succeed(&by_ticks, Some(agreeing)).1, Finding::Holds);
        assert_eq!(Writer::succeed(&by_ticks, Some(Sight { raw: Counter(95), ..agreeing })).1, Finding::Broken);
        assert_eq!(Writer::succeed(&before, Some(agreeing)).1, Finding::Nothing);
    }

    #[test]
    fn a_writer_that_is_always_late_gives_up_and_shows_nothing() {
        let counter = Rc::new(Cell::new(0));
        let now = || Counter(counter.get());
        let publication = Publication::new();
        let advance = Rc::clone(&counter);
        stall::HOOK.with(|hook| hook.replace(Some(Box::new(move || advance.set(advance.get() + 1_000_000_000)))));
        let given_up = writer(&publication).publish(&publication, 0, now, |_| (model(line(0)), ()));
        stall::HOOK.with(|hook| hook.take());
        assert!(given_up.is_none());
        assert!(!publication.read(|_| Tick(counter.get())).0.current.model.has_line());
    }
}

//! A latch: one writer replaces a few words, any number of readers copy them, nobody waits for anybody.
//!
//! Two slots and a turn counter; the slot of the present turn is never written. A reader copies that slot and starts
//! again only if the turn has moved on meanwhile, so a writer that stalls or dies in the middle of writing the other
//! slot costs readers nothing. It is the kernel's `seqcount_latch` (Linux, `kernel/time/timekeeping.c`, "fast
//! timekeeper"), with the fences of H.-J. Boehm, "Can seqlocks get along with programming language memory models?"
//! (MSPC 2012).

use std::sync::atomic::{
    AtomicU64, Ordering,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// A shared word, and the fences between words: those of the machine, or those of a checker that tries every order.
pub(crate) trait Word {
    fn load(&self, ordering: Ordering) -> u64;
    fn store(&self, value: u64, ordering: Ordering);
    fn fence(ordering: Ordering);
}

impl Word for AtomicU64 {
    #[inline(always)]
    fn load(&self, ordering: Ordering) -> u64 {
        self.load(ordering)
    }

    #[inline(always)]
    fn store(&self, value: u64, ordering: Ordering) {
        self.store(value, ordering);
    }

    #[inline(always)]
    fn fence(ordering: Ordering) {
        fence(ordering);
    }
}

/// `N` words behind a latch.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Latch<const N: usize, W = AtomicU64> {
    turn: Line<W>,
    slots: [Line<[W; N]>; 2],
}

/// Something that begins a cache line: a reader of a slot's first eight words touches two lines in all. Slots are a
/// power of two apart if their words are: nothing to multiply.
#[derive(Debug)]
#[repr(C, align(64))]
struct Line<T>(T);

/// The words of a slot while it is looked at.
pub(crate) struct Words<'a, const N: usize, W>(&'a [W; N]);

impl<const N: usize, W: Word> Words<'_, N, W> {
    /// The word at an index below `N`.
    #[inline(always)]
    pub(crate) fn at(&self, index: usize) -> u64 {
        self.0[index].load(Relaxed)
    }
}

impl<const N: usize> Latch<N> {
    /// All words zero.
    pub(crate) const fn new() -> Self {
        Self {
            turn: Line(AtomicU64::new(0)),
            slots: [const { Line([const { AtomicU64::new(0) }; N]) }, const { Line([const { AtomicU64::new(0) }; N]) }],
        }
    }
}

impl<const N: usize, W: Word> Latch<N, W> {
    /// Writes the first words that the next [`Self::turn`] will show. One thread at a time.
    pub(crate) fn stage<const K: usize>(&self, words: &[u64; K]) {
        const { assert!(K <= N, "a slot has no more") };
        let turn = self.turn.0.load(Relaxed);
        // Pairs with the acquire fence in `read`: a reader that still uses this slot, and sees a word written
        // below, also sees that `turn` has left it, and reads again.
        W::fence(Release);
        for (slot, word) in self.slots[Self::slot(turn) ^ 1].0.iter().zip(words) {
            slot.store(*word, Relaxed);
        }
    }

    /// Shows what was staged, with a tag. One thread at a time, the one that staged.
    pub(crate) fn turn(&self, tag: u8) {
        let turn = self.turn.0.load(Relaxed) & !Self::TAG | u64::from(tag);
        // Pairs with the acquire fence in `present`: who sees the new turn sees its words.
        self.turn.0.store(turn.wrapping_add(Self::STEP), Release);
    }

    /// The first `K` words of the present turn, and what `during` made of its tag while it was the present one.
    ///
    /// What `during` does and the words do not wait for each other: a processor can have both under way at once.
    #[inline(always)]
    pub(crate) fn read<const K: usize, T>(&self, during: impl Fn(u8) -> T) -> ([u64; K], T) {
        const { assert!(K <= N, "a slot has no more") };
        loop {
            let turn = self.present();
            let value = during((turn & Self::TAG) as u8);
            let slot = &self.slots[Self::slot(turn)].0;
            let words = std::array::from_fn(|index| slot[index].load(Relaxed));
            // Pairs with the release fence in `stage`.
            W::fence(Acquire);
            if self.turn.0.load(Relaxed) == turn {
                return (words, value);
            }
        }
    }

    /// What `during` made of the words of the present turn, if that has this tag; `None` without a look at them if it
    /// has another.
    ///
    /// `during` may see words of several turns, and is then called again: whatever they are, it must neither panic nor
    /// loop. It gets words one by one, so that those it is done with need not be kept.
    #[inline(always)]
    pub(crate) fn read_if<T>(&self, tag: u8, during: impl Fn(&Words<'_, N, W>) -> T) -> Option<T> {
        loop {
            let turn = self.present();
            if turn & Self::TAG != u64::from(tag) {
                return None;
            }
            let value = during(&Words(&self.slots[Self::slot(turn)].0));
            // Pairs with the release fence in `stage`.
            W::fence(Acquire);
            if self.turn.0.load(Relaxed) == turn {
                return Some(value);
            }
        }
    }

    /// The present turn: who has read it sees its words.
    #[inline(always)]
    fn present(&self) -> u64 {
        // A fence instead of an acquiring load: of memory that may not be written, as a shared page is to its readers,
        // relaxed loads are defined, and no others. On x86-64 it is the same code.
        let turn = self.turn.0.load(Relaxed);
        // Pairs with the release store in `turn`.
        W::fence(Acquire);
        turn
    }

    /// The low byte of a turn is its tag, the rest counts.
    const TAG: u64 = Self::STEP - 1;
    const STEP: u64 = 1 << 8;

    #[inline(always)]
    fn slot(turn: u64) -> usize {
        ((turn / Self::STEP) & 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn a_reader_sees_whole_turns_only() {
        let latch = Latch::<8>::new();
        let reads = [AtomicU64::new(0), AtomicU64::new(0)];
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for count in &reads {
                scope.spawn(|| {
                    let mut last = 0;
                    while !over.load(Relaxed) {
                        let (words, ()) = latch.read::<8, _>(|_| ());
                        assert!(words.iter().all(|&word| word == words[0]), "torn: {words:?}");
                        assert!(words[0] >= last, "{} after {last}", words[0]);
                        last = words[0];
                        count.fetch_add(1, Relaxed);
                    }
                });
            }
            // Until both have read a good many times beside the writer; a reader that fails ends the scope with its
            // panic.
            let begun = std::time::Instant::now();
            let mut turn = 0;
            while reads.iter().any(|count| count.load(Relaxed) < 100_000) && begun.elapsed().as_secs() < 60 {
                turn += 1;
                latch.stage(&[turn; 8]);
                latch.turn(0);
            }
            over.store(true, Relaxed);
        });
        assert!(reads.iter().all(|count| count.load(Relaxed) >= 100_000), "{reads:?}");
    }

    #[test]
    fn what_is_staged_is_not_seen_before_its_turn() {
        let latch = Latch::<2>::new();
        latch.stage(&[1, 1]);
        assert_eq!(latch.read(|_| ()).0, [0, 0]);
        latch.stage(&[2, 2]);
        latch.turn(9);
        assert_eq!(latch.read(|_| ()).0, [2, 2]);
        assert_eq!(latch.read(|tag| tag), ([2], 9));
        let sum = |tag| latch.read_if(tag, |words| words.at(0) + words.at(1));
        assert_eq!((sum(8), sum(9)), (None, Some(4)));
    }
}

/// Orders of events that the memory model allows, tried by loom: the very latch above, over loom's words. All of them
/// with so many preemptions as each model says, two or three.
#[cfg(test)]
mod model {
    use super::super::turn_in_time;
    use super::*;
    use crate::units::{Counter, Nanos};
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64 as Tried;
    use loom::thread;

    impl Word for Tried {
        fn load(&self, ordering: Ordering) -> u64 {
            self.load(ordering)
        }

        fn store(&self, value: u64, ordering: Ordering) {
            self.store(value, ordering);
        }

        fn fence(ordering: Ordering) {
            loom::sync::atomic::fence(ordering);
        }
    }

    fn latch<const N: usize>() -> Latch<N, Tried> {
        let slot = || Line(std::array::from_fn(|_| Tried::new(0)));
        Latch { turn: Line(Tried::new(0)), slots: [slot(), slot()] }
    }

    fn try_all(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.check(body);
    }

    #[test]
    fn no_order_of_events_tears_a_turn_or_goes_back_to_an_old_one() {
        try_all(3, || {
            let latch = Arc::new(latch::<2>());
            let reader = {
                let latch = Arc::clone(&latch);
                thread::spawn(move || {
                    let read = || {
                        let ([first, second], tag) = latch.read(u64::from);
                        assert!(first == second && first == tag, "torn: {first} {second} {tag}");
                        first
                    };
                    let seen = read();
                    assert!(read() >= seen);
                    let words = latch.read_if(3, |words| [words.at(0), words.at(1)]);
                    assert!(words.is_none_or(|words| words == [3, 3]), "torn: {words:?}");
                })
            };
            for turn in 1..=3 {
                latch.stage(&[turn, turn]);
                latch.turn(turn as u8);
            }
            reader.join().unwrap();
        });
    }

    /// Ticks from the plan of a page to its switch. The readers below take four at most.
    const LEAD: u64 = 12;

    /// A line that is ahead by `tick` up to the switch, and from there on gains half as much.
    fn line(switch: u64, tick: u64) -> u64 {
        if tick < switch { 2 * tick } else { switch + tick }
    }

    /// A writer that shows its page by the very function that [`super::super::Writer`] does, `late` ticks after its plan,
    /// beside two readers of which one hears of what the other has read. Not `careful`: it does not look at the counter
    /// again before.
    fn publish_beside_readers(late: u64, careful: bool) {
        try_all(2, move || {
            let latch = Arc::new(latch::<1>());
            // The counter: ordered, and no two reads alike. The lines cross nowhere: `u64::MAX` is no switch at all.
            let counter = Arc::new(Tried::new(0));
            let told = Arc::new(Tried::new(0));
            latch.stage(&[u64::MAX]);
            latch.turn(0);
            let read = |latch: &Latch<1, Tried>, counter: &Tried| {
                let ([switch], tick) = latch.read(|_| counter.fetch_add(1, Ordering::AcqRel));
                line(switch, tick)
            };
            let first = {
                let (latch, counter, told) = (Arc::clone(&latch), Arc::clone(&counter), Arc::clone(&told));
                thread::spawn(move || told.store(read(&latch, &counter), Release))
            };
            let second = {
                let (latch, counter) = (Arc::clone(&latch), Arc::clone(&counter));
                thread::spawn(move || {
                    let heard = told.load(Acquire);
                    let seen = read(&latch, &counter);
                    assert!(seen >= heard, "{seen} after {heard} was heard of");
                })
            };
            let now = || Counter(counter.load(Acquire).cast_signed());
            let lead = Nanos(LEAD.cast_signed());
            let switch = now() + lead;
            latch.stage(&[switch.0.cast_unsigned()]);
            counter.fetch_add(late, Ordering::AcqRel);
            if careful {
                turn_in_time(&latch, 0, switch, lead, now);
            } else {
                latch.turn(0);
            }
            first.join().unwrap();
            second.join().unwrap();
        });
    }

    #[test]
    fn readers_on_both_sides_of_a_switch_see_one_line_however_late_the_writer() {
        for late in [0, 3, LEAD / 2, LEAD - 1, 2 * LEAD] {
            publish_beside_readers(late, true);
        }
    }

    #[test]
    #[should_panic(expected = "was heard of")]
    fn a_writer_that_does_not_look_again_is_caught_by_this_model() {
        publish_beside_readers(2 * LEAD, false);
    }
}

//! A latch: one writer replaces a few words, any number of readers copy them, nobody waits for anybody.
//!
//! Two slots and a turn counter; the slot of the present turn is never written. A reader copies that slot and starts
//! again only if the turn has moved on meanwhile, so a writer that stalls or dies in the middle of writing the other
//! slot costs readers nothing. It is the kernel's `seqcount_latch` (Linux, `kernel/time/timekeeping.c`, "fast
//! timekeeper"), with the fences of H.-J. Boehm, "Can seqlocks get along with programming language memory models?"
//! (MSPC 2012).

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// `N` words behind a latch.
#[derive(Debug)]
pub(crate) struct Latch<const N: usize> {
    turn: AtomicU64,
    slots: [[AtomicU64; N]; 2],
}

impl<const N: usize> Latch<N> {
    /// All words zero.
    pub(crate) const fn new() -> Self {
        Self { turn: AtomicU64::new(0), slots: [const { [const { AtomicU64::new(0) }; N] }; 2] }
    }

    /// Writes the words that the next [`Self::turn`] will show. One thread at a time.
    pub(crate) fn stage(&self, words: [u64; N]) {
        let turn = self.turn.load(Relaxed);
        // Pairs with the acquire fence in `read`: a reader that still uses this slot, and sees a word written
        // below, also sees that `turn` has left it, and reads again.
        fence(Release);
        for (slot, word) in self.slots[((turn + 1) & 1) as usize].iter().zip(words) {
            slot.store(word, Relaxed);
        }
    }

    /// Shows what was staged. One thread at a time, the one that staged.
    pub(crate) fn turn(&self) {
        let turn = self.turn.load(Relaxed);
        // Pairs with the acquire load in `read`: who sees the new turn sees its words.
        self.turn.store(turn + 1, Release);
    }

    /// The words of the present turn, and what `during` returned while it was the present one.
    pub(crate) fn read<T>(&self, during: impl Fn() -> T) -> ([u64; N], T) {
        loop {
            // Pairs with the release store in `turn`.
            let turn = self.turn.load(Acquire);
            let slot = &self.slots[(turn & 1) as usize];
            let words = std::array::from_fn(|index| slot[index].load(Relaxed));
            let value = during();
            // Pairs with the release fence in `stage`.
            fence(Acquire);
            if self.turn.load(Relaxed) == turn {
                return (words, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn a_reader_sees_whole_turns_only() {
        let latch = Latch::<8>::new();
        let over = AtomicBool::new(false);
        // Else the writer is done before anybody reads.
        let together = Barrier::new(3);
        thread::scope(|scope| {
            let reader = || {
                let mut last = 0;
                together.wait();
                loop {
                    let last_look = over.load(Acquire);
                    let (words, ()) = latch.read(|| ());
                    assert!(words.iter().all(|&word| word == words[0]), "torn: {words:?}");
                    assert!(words[0] >= last, "{} after {last}", words[0]);
                    last = words[0];
                    if last_look {
                        break;
                    }
                }
                assert_eq!(last, 300_000);
            };
            let readers = [scope.spawn(reader), scope.spawn(reader)];
            together.wait();
            for turn in 1..=300_000 {
                latch.stage([turn; 8]);
                latch.turn();
            }
            over.store(true, Release);
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }

    #[test]
    fn what_is_staged_is_not_seen_before_its_turn() {
        let latch = Latch::<2>::new();
        latch.stage([1, 1]);
        assert_eq!(latch.read(|| ()).0, [0, 0]);
        latch.stage([2, 2]);
        latch.turn();
        assert_eq!(latch.read(|| ()).0, [2, 2]);
    }
}

//! Interleaved mode (RFC 9769): when earlier replies came and left, kept for the clients that ask for it.
//!
//! A transmit timestamp inside a reply is of before it was handed to the kernel. In interleaved mode a client names, as
//! its origin timestamp, the receive timestamp of the last reply it got, and is told when *that* one really left. So a
//! server remembers pairs of receive and transmit timestamps: of clients that have named any origin at all, which those
//! that do not know the mode rarely do.
//!
//! No pair ever serves two clients. Receive timestamps that are remembered are unique: each thread's grow, and their
//! lowest bits are the thread's. And a pair is found by 64 bits of a keyed hash over client address, receive timestamp
//! and epoch (times of two epochs do not belong together), of which nobody outside can know the key.
//!
//! The table is of fixed size, and without locks: the first word of an entry is its key combined with the second by an
//! exclusive or, so that an entry of which one word is newer than the other is not found (R. Hyatt and T. Mann, "A
//! lockless transposition-table implementation", ICGA Journal 25(1), 2002).

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::units::{NtpShort, NtpTime};

/// Cache lines of the table: 256 KiB, 16384 pairs.
const LINES: usize = 4096;
const WAYS: usize = 4;

/// Lowest bits of a receive timestamp that tell the thread: 15 ns for 64 of them, far below our precision.
const SEAT_BITS: u32 = 6;

/// A step of receive timestamps that leaves the lowest bits alone.
const STEP: u64 = 1 << SEAT_BITS;

/// Below the time from arrival to departure an entry has the root distance, of which more than 16 s would be no
/// synchronisation, and the second of its arrival, by which the oldest of a line is found.
const DISTANCE_BITS: u32 = 20;
const SECOND_BITS: u32 = 12;

/// What receive timestamps go back by without a step of the clock: no more than queues on the way reorder.
const REORDER_MAX: u64 = (1 << 32) / 1000;

/// When a reply left, and what was then claimed of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) transmit: NtpTime,
    /// Half the root delay and the root dispersion: the former may since have become less.
    pub(super) root_distance: NtpShort,
}

#[derive(Debug)]
#[repr(align(64))]
struct Line([[AtomicU64; 2]; WAYS]);

/// The table.
#[derive(Debug)]
pub(super) struct Pairs {
    keys: RandomState,
    lines: Box<[Line]>,
}

/// What finds a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    hash: u64,
    receive: NtpTime,
}

impl Pairs {
    pub(super) fn new() -> Self {
        let line = |_| Line([const { [const { AtomicU64::new(0) }; 2] }; WAYS]);
        Self { keys: RandomState::new(), lines: (0..LINES).map(line).collect() }
    }

    /// The key of what `client` was told to have been received at `receive`.
    pub(super) fn key(&self, client: IpAddr, receive: NtpTime, epoch: u32) -> Key {
        // However a socket shows it, an address is one.
        Key { hash: self.keys.hash_one((client.to_canonical(), receive.0, epoch)), receive }
    }

    /// Remembers `pair`, if it is one: what left a second after it came has no place. The oldest of its line gives way.
    pub(super) fn store(&self, key: Key, pair: Pair) {
        let Ok(hold) = u32::try_from(pair.transmit.0.wrapping_sub(key.receive.0)) else { return };
        if pair.root_distance.0 >> DISTANCE_BITS != 0 {
            return;
        }
        let second = key.receive.0 >> 32 & SECONDS;
        let value = u64::from(hold) << 32 | u64::from(pair.root_distance.0) << SECOND_BITS | second;
        let Some(Line(ways)) = self.lines.get(key.hash as usize % LINES) else { return };
        let rank = |[first, other]: &[AtomicU64; 2]| {
            let (first, other) = (first.load(Relaxed), other.load(Relaxed));
            let age = second.wrapping_sub(other) & SECONDS;
            // Its own place, then one that is free, then the oldest.
            (first ^ other == key.hash, other == 0, age)
        };
        if let Some([first, other]) = ways.iter().max_by_key(|way| rank(way)) {
            first.store(key.hash ^ value, Relaxed);
            other.store(value, Relaxed);
        }
    }

    pub(super) fn find(&self, key: Key) -> Option<Pair> {
        self.place(key).map(|(_, value)| Self::pair(key, value))
    }

    /// The same, once: a receive timestamp that was named as an origin is not to be answered in interleaved mode again
    /// (RFC 9769, section 2).
    pub(super) fn take(&self, key: Key) -> Option<Pair> {
        let (other, value) = self.place(key)?;
        // Of two threads that found it one has it.
        other.compare_exchange(value, 0, Relaxed, Relaxed).ok()?;
        Some(Self::pair(key, value))
    }

    /// The second word of the entry that `key` finds, and what was in it.
    fn place(&self, key: Key) -> Option<(&AtomicU64, u64)> {
        let Line(ways) = self.lines.get(key.hash as usize % LINES)?;
        ways.iter().find_map(|[first, other]| {
            let value = other.load(Relaxed);
            (value != 0 && first.load(Relaxed) ^ value == key.hash).then_some((other, value))
        })
    }

    fn pair(key: Key, value: u64) -> Pair {
        Pair {
            transmit: NtpTime(key.receive.0.wrapping_add(value >> 32)),
            root_distance: NtpShort((value as u32) >> SECOND_BITS),
        }
    }
}

const SECONDS: u64 = (1 << SECOND_BITS) - 1;

/// One thread's receive timestamps that are remembered: each another one, whatever the other threads give.
#[derive(Debug)]
pub(super) struct Unique {
    seat: u64,
    last: u64,
}

impl Unique {
    /// Of thread number `seat`, below 64.
    pub(super) fn new(seat: usize) -> Self {
        Self { seat: seat as u64 % STEP, last: 0 }
    }

    /// `receive` or a little later.
    pub(super) fn next(&mut self, receive: NtpTime) -> NtpTime {
        let whole = receive.0 & !(STEP - 1) | self.seat;
        let mut unique = if whole < receive.0 { whole.wrapping_add(STEP) } else { whole };
        if self.last.wrapping_sub(unique) < REORDER_MAX {
            unique = self.last.wrapping_add(STEP);
        }
        self.last = unique;
        NtpTime(unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    const RECEIVE: NtpTime = NtpTime(0xe000_0000_1234_5678);

    fn pair(number: u64) -> Pair {
        Pair { transmit: NtpTime(RECEIVE.0 + 5_000 + number), root_distance: NtpShort(number as u32) }
    }

    #[test]
    fn a_pair_is_found_by_its_client_its_receive_timestamp_and_its_epoch_only() {
        let pairs = Pairs::new();
        let key = pairs.key(CLIENT, RECEIVE, 3);
        assert_eq!(pairs.find(key), None);
        pairs.store(key, pair(1));
        assert_eq!(pairs.find(key), Some(pair(1)));
        // What the kernel says of the same reply takes the place of what we thought.
        pairs.store(key, pair(2));
        assert_eq!(pairs.find(key), Some(pair(2)));
        let IpAddr::V4(v4) = CLIENT else { unreachable!() };
        assert_eq!(pairs.find(pairs.key(v4.to_ipv6_mapped().into(), RECEIVE, 3)), Some(pair(2)));
        let neighbour = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
        for other in [(neighbour, RECEIVE, 3), (CLIENT, NtpTime(RECEIVE.0 + 1), 3), (CLIENT, RECEIVE, 4)] {
            assert_eq!(pairs.find(pairs.key(other.0, other.1, other.2)), None, "{other:?}");
        }
        // A server that was started anew knows nothing, and takes nothing for something.
        assert_eq!(Pairs::new().find(key), None);
    }

    #[test]
    fn a_pair_is_taken_once() {
        let pairs = Pairs::new();
        let (key, other) = (pairs.key(CLIENT, RECEIVE, 3), pairs.key(CLIENT, NtpTime(RECEIVE.0 + 64), 3));
        pairs.store(key, pair(1));
        pairs.store(other, pair(2));
        assert_eq!((pairs.take(key), pairs.take(key), pairs.find(key)), (Some(pair(1)), None, None));
        assert_eq!(pairs.find(other).map(|pair| pair.root_distance), Some(NtpShort(2)));
    }

    #[test]
    fn what_has_no_place_is_not_kept() {
        let pairs = Pairs::new();
        let key = pairs.key(CLIENT, RECEIVE, 3);
        for (hold, dispersion) in [(u64::MAX, 0), (1 << 32, 0), (5_000, 1 << DISTANCE_BITS)] {
            let transmit = NtpTime(RECEIVE.0.wrapping_add(hold));
            pairs.store(key, Pair { transmit, root_distance: NtpShort(dispersion) });
            assert_eq!(pairs.find(key), None);
        }
    }

    #[test]
    fn any_number_of_clients_takes_no_memory_and_never_mixes_them() {
        let pairs = Pairs::new();
        // A thousand of them a second.
        let client = |number: u32| {
            let receive = NtpTime(RECEIVE.0.wrapping_add(u64::from(number / 1_000) << 32));
            pairs.key(IpAddr::V4(Ipv4Addr::from(number)), receive, 1)
        };
        let pair = |number: u32| Pair {
            transmit: NtpTime(client(number).receive.0 + 5_000 + u64::from(number)),
            root_distance: NtpShort(number),
        };
        let mut found = 0;
        for number in 0..1_000_000_u32 {
            pairs.store(client(number), pair(number));
            let earlier = number.saturating_sub(1_000);
            match pairs.find(client(earlier)) {
                Some(told) => {
                    assert_eq!(told, pair(earlier));
                    found += 1;
                }
                None => assert!(number > 1_000),
            }
        }
        // Of a thousand others in between hardly one had to take its place.
        assert!(found > 999_000, "{found}");
        assert_eq!(size_of_val(&*pairs.lines), 256 << 10);
    }

    #[test]
    fn a_torn_entry_is_not_found() {
        let pairs = Pairs::new();
        let key = pairs.key(CLIENT, RECEIVE, 1);
        pairs.store(key, pair(7));
        let Line(ways) = &pairs.lines[key.hash as usize % LINES];
        let own = ways.iter().find(|way| way[1].load(Relaxed) != 0).unwrap();
        own[1].store(9, Relaxed);
        assert_eq!(pairs.find(key), None);
    }

    #[test]
    fn receive_timestamps_of_all_threads_are_unique_and_never_early() {
        let mut seen = HashSet::new();
        for seat in [0, 1, 63] {
            let mut unique = Unique::new(seat);
            let mut times: Vec<u64> = vec![RECEIVE.0; 100];
            // In disorder, in disorder by a step of the clock, and at the end of an era.
            times.extend((0..100).map(|n| RECEIVE.0 + 1_000 - n * 7));
            times.extend((0..100).map(|n| u64::MAX - 100 + n));
            times.extend((0..100).map(|n| RECEIVE.0 - (1 << 33) + n));
            for time in times {
                let given = unique.next(NtpTime(time));
                let later = given.0.wrapping_sub(time);
                assert!(later < 250 * STEP, "{later}");
                assert!(seen.insert(given.0), "{seat} {time:#x}");
            }
        }
    }
}

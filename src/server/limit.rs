//! How often one address is answered: a table of fixed size, whoever asks.
//!
//! The purpose is not to save work: an answer costs little more than a refusal. A server that answers everything can be
//! made to send to anybody, by requests in that one's name; it never sends more than it gets, and with a limit not even
//! as much. And one client that has run wild shall not take what others need.
//!
//! So the limit is far above what sane clients do: 16 a second over time lets a thousand clients behind one address ask
//! every 64 s, and 64 at once lets eight of them begin their bursts of eight in the same moment. What is beyond is not
//! all refused: a quarter, drawn at random, is answered, so that whoever floods us in a client's name does not silence
//! us to that client, which asks again (chrony's "leak"); and a quarter of what is left is told to ask less (`RATE`).
//! Nobody can choose who is refused: the random bits are the caller's. Unless a limit is set, it is not for this host's
//! own loopback addresses, in whose name nobody elsewhere can ask.
//!
//! An address's bucket is one number, the time at which it will be full again (the "theoretical arrival time" of the
//! generic cell rate algorithm, ITU-T I.371). Buckets stand eight to a cache line, which the address's keyed hash
//! picks; a newcomer takes the place of the bucket that is, or will be, full first. A flood from any number of
//! addresses so costs one cache line each and no memory; who is pushed out is forgotten, and answered.
//!
//! All threads share the table, for the kernel shares a client's requests out among them. Two that judge one address at
//! the same instant may count one request for two.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::config::ServerConfig;
use crate::error::Error;
use crate::units::{Counter, NANOS_PER_SECOND, Nanos};

/// Cache lines of the table: 128 KiB, 16384 addresses.
const LINES: usize = 2048;
const WAYS: usize = 8;

/// An entry is the upper bits of the hash, and below them the time in units of 64 ns, as it fits.
const TIME_BITS: u32 = 40;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const UNIT_SHIFT: u32 = 6;

const NUMBER_MAX: i64 = 1_000_000;

/// The longest that a bucket may take to fill again: all times beside it are taken for times long past.
const FILL_MAX: Nanos = Nanos::from_seconds(3600);

/// How much one address gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The time after which one more request is answered, in units; 0 for no limit.
    interval: u64,
    /// In units.
    burst: u64,
    spares_loopback: bool,
}

impl Default for Limit {
    fn default() -> Self {
        let (per_second, burst) = ServerConfig::RATE_LIMIT;
        Self { spares_loopback: true, ..Self::of(per_second, burst) }
    }
}

impl Limit {
    pub(super) fn new(per_second: i64, burst: i64) -> Result<Self, Error> {
        let within = |name, value: i64, least: i64| {
            let why = || format!("is {value}; {least} to {NUMBER_MAX} is possible");
            if (least..=NUMBER_MAX).contains(&value) { Ok(()) } else { Err(Error::argument(name, why())) }
        };
        within("per_second", per_second, 0)?;
        within("burst", burst, 1)?;
        let limit = Self::of(per_second, burst);
        if limit.burst > units(FILL_MAX) {
            return Err(Error::argument(
                "burst",
                format!("is {burst}, which takes over an hour at {per_second} a second"),
            ));
        }
        Ok(limit)
    }

    fn of(per_second: i64, burst: i64) -> Self {
        // To the nearest unit; the shortest are of sixteen.
        let half = Nanos(1 << (UNIT_SHIFT - 1));
        let interval = if per_second == 0 { 0 } else { units(Nanos(NANOS_PER_SECOND / per_second) + half) };
        Self { interval, burst: interval * burst.unsigned_abs(), spares_loopback: false }
    }
}

fn units(span: Nanos) -> u64 {
    span.0.unsigned_abs() >> UNIT_SHIFT
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    Served,
    /// Beyond the limit, and answered all the same.
    Leaked,
    /// To be told to ask less.
    Kiss,
    Refused,
}

/// The table.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: Limit,
    keys: RandomState,
    lines: Box<[Line]>,
}

#[derive(Debug)]
#[repr(align(64))]
struct Line([AtomicU64; WAYS]);

impl Limiter {
    /// `None` where there is no limit.
    pub(super) fn new(limit: Limit) -> Option<Self> {
        let line = |_| Line([const { AtomicU64::new(0) }; WAYS]);
        (limit.interval != 0).then(|| Self { limit, keys: RandomState::new(), lines: (0..LINES).map(line).collect() })
    }

    /// Counts a request of `address`; `random` is drawn if it is beyond the limit.
    pub(super) fn judge(&self, address: IpAddr, now: Counter, random: impl FnOnce() -> u64) -> Allowance {
        if self.limit.spares_loopback && address.to_canonical().is_loopback() {
            return Allowance::Served;
        }
        // Who has one address of IPv6 has 2^64 of them. Where the networks of IPv6 begin with zeros, nobody lives:
        // there is room for IPv4.
        let network = match address.to_canonical() {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        };
        let hash = self.keys.hash_one(network);
        if self.take(hash, now) {
            return Allowance::Served;
        }
        match random() & 15 {
            0..4 => Allowance::Leaked,
            4..7 => Allowance::Kiss,
            _ => Allowance::Refused,
        }
    }

    /// Whether there is one in the bucket of that hash; it is taken.
    fn take(&self, hash: u64, now: Counter) -> bool {
        let Some(Line(ways)) = self.lines.get(hash as usize % LINES) else { return true };
        let (tag, now) = (hash & !TIME_MASK, now.0.unsigned_abs() >> UNIT_SHIFT & TIME_MASK);
        // How far ahead an entry's time lies; what is further than it can be is long past.
        let ahead = |entry: u64| {
            let ahead = (entry & TIME_MASK).wrapping_sub(now) & TIME_MASK;
            if ahead > self.limit.burst { 0 } else { ahead }
        };
        let (mut place, mut least, mut found) = (None, u64::MAX, false);
        for way in ways {
            let entry = way.load(Relaxed);
            if entry & !TIME_MASK == tag {
                (place, least, found) = (Some(way), ahead(entry), true);
                break;
            }
            if ahead(entry) < least {
                (place, least) = (Some(way), ahead(entry));
            }
        }
        let full = if found { least } else { 0 } + self.limit.interval;
        if full > self.limit.burst {
            return false;
        }
        place.into_iter().for_each(|way| way.store(tag | ((now + full) & TIME_MASK), Relaxed));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn limiter(per_second: i64, burst: i64) -> Limiter {
        Limiter::new(Limit::new(per_second, burst).unwrap()).unwrap()
    }

    /// Random bits of a test's own.
    fn random(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 32
    }

    fn at(milliseconds: i64) -> Counter {
        Counter(7_777_777_777) + Nanos::from_millis(milliseconds)
    }

    fn served(limiter: &Limiter, address: IpAddr, times: impl IntoIterator<Item = i64>) -> usize {
        times.into_iter().filter(|ms| limiter.judge(address, at(*ms), || 15) == Allowance::Served).count()
    }

    #[test]
    fn a_burst_is_served_and_then_so_many_a_second() {
        for (per_second, burst) in [(16, 64), (1, 1), (1000, 5), (1_000_000, 1_000_000)] {
            let limiter = limiter(per_second, burst);
            assert_eq!(served(&limiter, VICTIM, vec![0; burst as usize + 100]), burst as usize);
            // Asked ten times as often for ten seconds, from the next one on.
            let times = (0..10_000).flat_map(|ms| vec![ms; (per_second as usize / 100).max(1)]);
            let served = served(&limiter, VICTIM, times);
            let expected = per_second as usize * 10;
            assert!(served.abs_diff(expected) <= expected / 40 + 1, "{per_second}: {served}");
        }
    }

    #[test]
    fn sane_clients_are_never_refused_not_even_a_thousand_behind_one_address() {
        let limiter = Limiter::new(Limit::default()).unwrap();
        // A burst of eight 2 s apart, one of eight at once, and then for ever every second.
        assert_eq!(served(&limiter, VICTIM, (0..8).map(|n| 2_000 * n)), 8);
        assert_eq!(served(&limiter, VICTIM, [16_000; 8]), 8);
        assert_eq!(served(&limiter, VICTIM, (17..1_000).map(|s| 1_000 * s)), 983);
        // A thousand clients, each every 64 s, at times of their own; and each time 20 of them begin with a burst.
        let nat = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
        let mut seed = 1;
        let mut times: Vec<i64> = (0..10 * 960).map(|_| (random(&mut seed) % 640_000) as i64).collect();
        times.extend((0..20).flat_map(|client| (0..8).map(move |n| 640_000 / 20 * client + 2_000 * n)));
        times.sort_unstable();
        let count = times.len();
        assert_eq!(served(&limiter, nat, times), count);
    }

    #[test]
    fn this_host_itself_is_limited_only_if_that_is_set() {
        let own = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let mapped = IpAddr::V6(Ipv4Addr::new(127, 1, 2, 3).to_ipv6_mapped());
        let usual = Limiter::new(Limit::default()).unwrap();
        for address in own.into_iter().chain([mapped]) {
            assert_eq!(served(&usual, address, vec![0; 1_000]), 1_000);
            assert_eq!(served(&limiter(16, 64), address, vec![0; 1_000]), 64);
        }
        assert_eq!(served(&usual, VICTIM, vec![0; 1_000]), 64);
    }

    #[test]
    fn of_what_is_beyond_a_quarter_is_answered_and_some_are_told_to_ask_less() {
        let limiter = limiter(1, 1);
        let mut seed = 5;
        let mut counts = [0; 4];
        for _ in 0..100_000 {
            counts[limiter.judge(VICTIM, at(0), || random(&mut seed)) as usize] += 1;
        }
        let [served, leaked, kissed, refused] = counts;
        assert_eq!(served, 1);
        assert!((24_000..26_000).contains(&leaked), "{counts:?}");
        assert!((17_000..20_000).contains(&kissed) && refused > 50_000, "{counts:?}");
    }

    #[test]
    fn addresses_do_not_share_a_bucket_but_those_of_one_ipv6_network_do() {
        let limiter = limiter(1, 4);
        let v6 = |network: u16, host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host));
        assert_eq!(served(&limiter, v6(1, 1), [0; 4]), 4);
        assert_eq!(served(&limiter, v6(1, 2), [0; 4]), 0);
        assert_eq!(served(&limiter, v6(2, 1), [0; 4]), 4);
        for last in 0..200 {
            let v4 = Ipv4Addr::new(203, 0, 113, last);
            // However a socket shows it, an address is one.
            assert_eq!(served(&limiter, v4.into(), [0; 3]), 3);
            assert_eq!(served(&limiter, v4.to_ipv6_mapped().into(), [0; 3]), 1);
        }
    }

    #[test]
    fn a_flood_from_ten_million_addresses_takes_no_memory_and_silences_nobody() {
        let limiter = limiter(16, 64);
        let mut refused = 0;
        for number in 0..10_000_000_u32 {
            // In ten seconds; an honest client asks every second meanwhile.
            let now = i64::from(number / 1_000);
            if number % 1_000_000 == 0 {
                refused += usize::from(served(&limiter, VICTIM, [now]) == 0);
            }
            let address = Ipv4Addr::from(number.wrapping_mul(2_654_435_761));
            refused += usize::from(served(&limiter, address.into(), [now]) == 0);
        }
        assert_eq!(refused, 0);
        assert_eq!(size_of_val(&*limiter.lines), 128 << 10);
    }

    #[test]
    fn a_bucket_is_full_again_after_any_time() {
        let limiter = limiter(16, 64);
        let span = 1_i64 << (TIME_BITS + UNIT_SHIFT);
        let mut now = Counter(5);
        for pause in [0, 1, 4_000_000_001, span / 2, span - 1, span + 5_000_000_000, 9 * span - 1, i64::MAX / 4] {
            now += Nanos(pause);
            // What lies whole rounds of the clock behind may count as just now: some of the burst is lost, not all.
            limiter.take(77, now);
        }
        now += Nanos::from_seconds(10);
        assert!((0..64).all(|_| limiter.take(77, now)));
        assert!(!limiter.take(77, now));
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for (per_second, burst) in [(-1, 8), (1_000_001, 8), (1, 0), (1, -1), (1, 1_000_000), (1, 1_000_001)] {
            assert!(Limit::new(per_second, burst).is_err(), "{per_second} {burst}");
        }
        assert!(Limiter::new(Limit::new(0, 1).unwrap()).is_none());
    }
}

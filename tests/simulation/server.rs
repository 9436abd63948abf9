//! The servers of the simulated world, and the paths to them.
//!
//! A server is honest until a scenario makes it a liar: its clock is then within the root distance it claims, by
//! construction. Paths may delay, lose, double and hold back what they like: that is no lie.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::oscillator::Oscillator;
use super::random::Random;
use crate::mac::Key;
use crate::packet::{Mode, Packet};
use crate::source::Standing;
use crate::status::{Leap, ServerOptions};
use crate::units::{Counter, Nanos, NtpShort, NtpTime, UnixTime, unix_seconds};

pub(super) const MICROSECOND: f64 = 1e3;
pub(super) const MILLISECOND: f64 = 1e6;
pub(super) const SECOND: f64 = 1e9;

/// Something that depends on the second of the simulation, and on chance: a delay or an error in ns.
pub(super) type OverTime = Box<dyn FnMut(f64, &mut Random) -> f64>;

/// A reply on its way, for a liar to spoil.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) packet: Packet,
    pub(super) arrives: Counter,
    /// The key that it is authenticated with.
    pub(super) key: Option<Arc<Key>>,
}

impl Reply {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.packet.bytes().to_vec();
        self.key.iter().for_each(|key| key.authenticate(&mut bytes));
        bytes
    }
}

/// What a liar does to its replies, given the second of the simulation.
pub(super) type Tampering = Box<dyn FnMut(&mut Reply, f64, &mut Random)>;

/// One server and its path.
pub(super) struct Server {
    pub(super) stratum: u8,
    pub(super) leap: Leap,
    pub(super) precision: i8,
    pub(super) root_delay: Nanos,
    pub(super) root_dispersion: Nanos,
    /// Whom it follows: a different one for each, lest they be taken for one server under many names.
    pub(super) reference_id: u32,
    /// What we think of it, and the key that we share.
    pub(super) standing: Standing,
    /// Its clock's error, to be added to UTC.
    error: OverTime,
    /// An error on top of that, of which its claims know nothing.
    lie: Option<OverTime>,
    tampering: Option<Tampering>,
    there: OverTime,
    back: OverTime,
    /// Chances of a datagram to be lost, or to arrive twice.
    loss: f64,
    doubling: f64,
    /// Whether it, or the way to it, is dead at a second.
    dead: Box<dyn Fn(f64) -> bool>,
}

/// A delay that is never below its base.
pub(super) fn delay(base: f64, mut more: impl FnMut(f64, &mut Random) -> f64 + 'static) -> OverTime {
    Box::new(move |t, random| base + more(t, random))
}

/// Queues like those of one busy router.
pub(super) fn exponential(base: f64, mean: f64) -> OverTime {
    delay(base, move |_, random| random.exponential(mean))
}

/// Queues like those of many routers.
pub(super) fn gamma(base: f64, shape: u32, mean: f64) -> OverTime {
    delay(base, move |_, random| random.gamma(shape, mean))
}

/// Mostly short, at times very long, never above 4 s.
pub(super) fn heavy_tailed(base: f64, scale: f64) -> OverTime {
    delay(base, move |_, random| random.heavy_tailed(scale, 1.2).min(4.0 * SECOND))
}

/// Long queues for minutes at a time, as a wireless link or a full buffer makes them.
pub(super) fn bursts(base: f64, calm: f64, storm: f64) -> OverTime {
    let (mut stormy, mut until) = (false, 0.0);
    delay(base, move |t, random| {
        if t >= until {
            stormy = !stormy && random.chance(0.5);
            until = t + random.exponential(if stormy { 120.0 } else { 600.0 });
        }
        random.exponential(if stormy { storm } else { calm })
    })
}

impl Server {
    /// A stratum-1 server with a perfect clock behind the given path.
    pub(super) fn behind(there: OverTime, back: OverTime) -> Self {
        Self {
            stratum: 1,
            leap: Leap::None,
            precision: -23,
            root_delay: Nanos::ZERO,
            root_dispersion: Nanos::ZERO,
            reference_id: u32::from_be_bytes(*b"GPS\0"),
            standing: Standing::default(),
            error: Box::new(|_, _| 0.0),
            lie: None,
            tampering: None,
            there,
            back,
            loss: 0.0,
            doubling: 0.0,
            dead: Box::new(|_| false),
        }
    }

    /// In the same building: some tens of microseconds away.
    pub(super) fn near(random: &mut Random) -> Self {
        let base = random.between(20.0, 150.0) * MICROSECOND;
        let mean = random.between(1.0, 50.0) * MICROSECOND;
        Self::behind(exponential(base, mean), exponential(base, mean)).with_error_below(50.0 * MICROSECOND, random)
    }

    /// Somewhere on the internet: some milliseconds away, by a path that need not be symmetric.
    pub(super) fn far(random: &mut Random) -> Self {
        let mut way = || {
            let base = random.between(2.0, 30.0) * MILLISECOND;
            let mean = random.between(0.05, 3.0) * MILLISECOND;
            gamma(base, random.pick(&[1, 2, 4]), mean)
        };
        let (there, back) = (way(), way());
        Self::behind(there, back).with_error_below(2.0 * MILLISECOND, random)
    }

    /// A clock that is off by up to `most` (ns), and claims so: its error swings within its root distance, often to the
    /// very ends of it.
    pub(super) fn with_error_below(mut self, most: f64, random: &mut Random) -> Self {
        let claim = random.between(0.1, 1.0) * most;
        let share = random.unit();
        self.stratum = random.pick(&[1, 2, 3]);
        self.reference_id = random.next() as u32;
        self.root_delay = Nanos((claim * share * 2.0) as i64);
        self.root_dispersion = Nanos((claim * (1.0 - share)) as i64);
        let claimed = self.root_delay.as_f64() / 2.0 + self.root_dispersion.as_f64();
        let (period, phase) = (random.between(600.0, 90_000.0), random.unit());
        let swing = random.between(0.5, 1.5);
        let turn = std::f64::consts::TAU;
        self.error = Box::new(move |t, _| (turn * (t / period + phase)).sin() * swing * claimed);
        let mut error = self.error;
        self.error = Box::new(move |t, random| error(t, random).clamp(-claimed, claimed));
        self
    }

    /// Always off by as much as it claims, to one side.
    pub(super) fn with_error_at_its_claim(mut self, claim: f64) -> Self {
        self.root_dispersion = Nanos(claim.abs() as i64);
        self.error = Box::new(move |_, _| claim.trunc());
        self
    }

    pub(super) fn with_path(mut self, there: OverTime, back: OverTime) -> Self {
        (self.there, self.back) = (there, back);
        self
    }

    pub(super) fn with_loss(mut self, chance: f64) -> Self {
        self.loss = chance;
        self
    }

    pub(super) fn with_doubles(mut self, chance: f64) -> Self {
        self.doubling = chance;
        self
    }

    pub(super) fn dead_when(mut self, dead: impl Fn(f64) -> bool + 'static) -> Self {
        self.dead = Box::new(dead);
        self
    }

    /// As far as that, we trust it.
    pub(super) fn trusted(mut self, options: ServerOptions) -> Self {
        self.standing.options = options;
        self
    }

    /// A server that shares a key with us, the only one of that number.
    pub(super) fn with_key(mut self, number: u32) -> Self {
        let key = Key::parse(&number.to_string(), "AES128", &format!("HEX:{number:032x}"));
        self.standing.key = key.ok().map(Arc::new);
        self
    }

    /// A key of that number whose secret is another.
    pub(super) fn impostor(number: u32) -> Option<Arc<Key>> {
        Key::parse(&number.to_string(), "AES128", "HEX:ffffffffffffffffffffffffffffffff").ok().map(Arc::new)
    }

    pub(super) fn announcing(mut self, leap: Leap) -> Self {
        self.leap = leap;
        self
    }

    /// A liar about the time: this much is added to its clock's error, whatever it claims.
    pub(super) fn lying_by(mut self, lie: impl FnMut(f64, &mut Random) -> f64 + 'static) -> Self {
        self.lie = Some(Box::new(lie));
        self
    }

    /// A liar in any other way.
    pub(super) fn tampering(mut self, tampering: impl FnMut(&mut Reply, f64, &mut Random) + 'static) -> Self {
        self.tampering = Some(Box::new(tampering));
        self
    }

    /// The replies to a request that left at `t1`, each with the counter value at which it arrives.
    pub(super) fn answer(
        &mut self,
        request: &[u8],
        t1: Counter,
        seconds: f64,
        oscillator: &mut Oscillator,
        random: &mut Random,
    ) -> Vec<Reply> {
        let Some(request) = Packet::parse(request).filter(|request| request.mode == Mode::Client) else {
            panic!("the core sent what no server takes for a request: {request:?}");
        };
        if (self.dead)(seconds) || random.chance(self.loss) {
            return Vec::new();
        }
        let there = positive((self.there)(seconds, random));
        // A server's own work, for the most part a few microseconds.
        let held = positive(random.heavy_tailed(3.0 * MICROSECOND, 1.5).min(SECOND));
        let back = positive((self.back)(seconds, random));
        let off = (self.error)(seconds, random) + self.lie.as_mut().map_or(0.0, |lie| lie(seconds, random));
        let off = Nanos(off as i64);
        let (t2, t3) = (t1 + there, t1 + there + held);
        let utc = oscillator.utc_at(t2);
        let packet = Packet {
            leap: self.leap,
            version: 4,
            mode: Mode::Server,
            stratum: self.stratum,
            poll: request.poll,
            precision: self.precision,
            root_delay: NtpShort::from_nanos_up(self.root_delay),
            root_dispersion: NtpShort::from_nanos_up(self.root_dispersion),
            reference_id: self.reference_id,
            reference: NtpTime::from_unix(unix_seconds(utc.0 / 64_000_000_000 * 64)),
            origin: request.transmit,
            receive: NtpTime::from_unix(utc + off),
            transmit: NtpTime::from_unix(oscillator.utc_at(t3) + off),
        };
        let mut reply = Reply { packet, arrives: t3 + back, key: self.standing.key.clone() };
        if let Some(tampering) = &mut self.tampering {
            tampering(&mut reply, seconds, random);
        }
        if random.chance(self.loss) {
            return Vec::new();
        }
        let mut replies = vec![reply.clone()];
        if random.chance(self.doubling) {
            let later = Nanos(random.exponential(5.0 * SECOND) as i64);
            replies.push(Reply { arrives: reply.arrives + later, ..reply });
        }
        replies
    }
}

fn positive(nanos: f64) -> Nanos {
    assert!(nanos >= 0.0, "a path that delivers before it is asked to: {nanos} ns");
    Nanos(nanos as i64)
}

/// Where the server with this number lives.
pub(super) fn address(number: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0a00_0001 + number as u32), 123))
}

/// The number of the server that lives there.
pub(super) fn number(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(v4) => (u32::from(*v4.ip()) - 0x0a00_0001) as usize,
        SocketAddr::V6(_) => unreachable!("all servers have IPv4 addresses"),
    }
}

/// A timestamp of the wire, moved.
pub(super) fn moved(stamp: NtpTime, by: f64, pivot: UnixTime) -> NtpTime {
    NtpTime::from_unix(stamp.resolve(pivot) + Nanos(by as i64))
}

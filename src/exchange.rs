//! From four timestamps to one measurement, and the checks a reply must pass first.
//!
//! The request leaves us at `t1` and reaches the server at `t2`; the reply leaves the
//! server at `t3` and reaches us at `t4`. With `o` the true offset (server minus local) and
//! `d`, `e` the two travel times, `t2 = t1 + o + d` and `t4 = t3 - o + e`. Hence
//!
//! ```text
//! offset = ((t2 - t1) + (t3 - t4)) / 2 = o + (d - e) / 2
//! delay  =  (t4 - t1) - (t3 - t2)      = d + e
//! ```
//!
//! (RFC 5905, section 8.) Travel times are not negative, so the computed offset is wrong by
//! at most `delay / 2`, however lopsided the path. Nothing here assumes that `d = e`:
//!
//! ```text
//! t3 - t4 <= o <= t2 - t1
//! ```
//!
//! The server's clock is itself off UTC by up to its root distance (half its root delay plus its root
//! dispersion) and its timestamps are no finer than its precision; the correctness interval of UTC minus
//! counter is the one above, widened by both, and by what our counter can drift between `t1` and `t4`.

use std::fmt;

use crate::mac::Forgery;
use crate::packet::{self, Mode, Packet};
use crate::status::{Leap, Reason};
use crate::units::{Counter, Nanos, NtpTime, Ppb, UnixTime};

/// Longest time a server may hold a request: longer is no NTP server but a replay or a broken queue.
const HOLD_MAX: Nanos = Nanos::from_seconds(4);

/// A root distance from here on means "not synchronised" (RFC 5905, MAXDISP).
const ROOT_DISTANCE_MAX: Nanos = Nanos::from_seconds(16);

/// Strata from here on mean "not synchronised" (RFC 5905, MAXSTRAT).
const STRATUM_MAX: u8 = 16;

/// Two ends of a span in which a quantity lies for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) low: Nanos,
    pub(crate) high: Nanos,
}

impl Interval {
    pub(crate) fn new(low: Nanos, high: Nanos) -> Self {
        Self { low, high }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.low > self.high
    }

    pub(crate) fn intersect(self, other: Self) -> Self {
        Self { low: self.low.max(other.low), high: self.high.min(other.high) }
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        !self.intersect(other).is_empty()
    }

    pub(crate) fn clamp(self, value: Nanos) -> Nanos {
        // Not `Ord::clamp`, which panics on an empty interval.
        value.max(self.low).min(self.high)
    }

    pub(crate) fn half_width(self) -> Nanos {
        (self.high - self.low).half_up()
    }
}

/// The four timestamps of one exchange, the server's era resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// Not later than the request left us.
    pub(crate) t1: Counter,
    pub(crate) t2: UnixTime,
    pub(crate) t3: UnixTime,
    /// Not earlier than the reply reached us.
    pub(crate) t4: Counter,
}

impl Stamps {
    /// UTC minus raw counter: add it to a counter value to get the server's time.
    pub(crate) fn offset(&self) -> Nanos {
        // The sum of two such differences would not fit in 64 bits: halve the second difference instead.
        let outbound = self.t2.0.saturating_sub(self.t1.0);
        let inbound = self.t3.0.saturating_sub(self.t4.0);
        Nanos(outbound.midpoint(inbound))
    }

    /// Time on the path, both ways together.
    pub(crate) fn delay(&self) -> Nanos {
        (self.t4 - self.t1) - (self.t3 - self.t2)
    }

    /// Where UTC minus counter lies at `t4` if the server tells the truth and is off by at most `distance`,
    /// with a counter whose frequency is off by at most `frequency`.
    pub(crate) fn interval(&self, distance: Nanos, frequency: Ppb) -> Interval {
        let drift = (self.t4 - self.t1).gain_outward(frequency);
        let slack = distance + drift;
        Interval::new(
            self.t3 - UnixTime(0) - (self.t4 - Counter(0)) - slack,
            self.t2 - UnixTime(0) - (self.t1 - Counter(0)) + slack,
        )
    }
}

/// What a server says of itself in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerState {
    pub(crate) leap: Leap,
    pub(crate) version: u8,
    pub(crate) stratum: u8,
    pub(crate) precision: i8,
    pub(crate) root_delay: Nanos,
    pub(crate) root_dispersion: Nanos,
    pub(crate) reference_id: u32,
    /// When its clock was last set; `None` if it does not say.
    pub(crate) reference_time: Option<UnixTime>,
}

/// Whom a server follows, since when and how far away: no two servers say the same unless they are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) id: u32,
    pub(crate) time: Option<UnixTime>,
    pub(crate) root_delay: Nanos,
}

impl ServerState {
    /// A primary server that is off by a microsecond at most.
    #[cfg(test)]
    pub(crate) fn primary() -> Self {
        Self {
            leap: Leap::None,
            version: 4,
            stratum: 1,
            precision: -25,
            root_delay: Nanos::ZERO,
            root_dispersion: Nanos(1_000),
            reference_id: 0,
            reference_time: None,
        }
    }

    pub(crate) fn reference(&self) -> Reference {
        Reference { id: self.reference_id, time: self.reference_time, root_delay: self.root_delay }
    }

    /// How far the server's timestamps may be from UTC, rounded up.
    pub(crate) fn distance(&self) -> Nanos {
        self.root_delay.half_up() + self.root_dispersion + Nanos::from_log2_seconds(self.precision)
    }
}

/// The root dispersion to claim beside `root_delay` for a clock whose error is at most `bound`: a client adds half the
/// root delay to it, and what is left of the bound is dispersion.
pub(crate) fn root_dispersion(bound: Nanos, root_delay: Nanos) -> Nanos {
    (bound - root_delay.half_up()).max(Nanos::ZERO)
}

/// One exchange that passed all checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) stamps: Stamps,
    pub(crate) server: ServerState,
}

/// The server's word that it does not serve us now (RFC 5905, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kiss {
    /// `RATE`: we ask too often.
    Rate,
    /// `DENY`: it does not want us at all.
    Deny,
    /// `RSTR`: by its policy, which comes to the same.
    Restrict,
    /// Any other code.
    Other([u8; 4]),
}

/// Why a datagram is no measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No NTP header.
    Short,
    /// What follows the header is neither extension fields nor an authenticator.
    Tail,
    Version(u8),
    Mode,
    /// Not the answer to our request: perhaps forged, perhaps old. The request stays open.
    Origin,
    /// Not proven to be the server's, where proof is asked for; in words.
    Unproven(&'static str),
    /// It is not authenticated by the key that the server was given.
    Forged(Forgery),
    Kiss(Kiss),
    /// Leap indicator 3, or stratum 16 and above.
    Unsynchronized,
    /// The server follows us: its time is our own.
    Loop,
    /// A receive or transmit timestamp of zero.
    NoTimestamp,
    /// Root distance, or root delay alone, of 16 s or more.
    RootDistance,
    /// The reply left before the request came, or long after.
    Hold(Nanos),
    /// The server claims to have held the request for longer than the whole exchange took.
    NegativeDelay(Nanos),
    /// It came when its time was over.
    Late,
}

impl Refusal {
    /// Whether the datagram may have come from anybody: it proves nothing about the server.
    pub(crate) fn is_anonymous(self) -> bool {
        matches!(
            self,
            Self::Short
                | Self::Tail
                | Self::Version(_)
                | Self::Mode
                | Self::Origin
                | Self::Unproven(_)
                | Self::Forged(_)
        )
    }

    /// Whether the datagram proves that the server lies, or that somebody lies in its name: no clock, however wrong,
    /// tells such times.
    pub(crate) fn is_a_lie(self) -> bool {
        matches!(self, Self::Hold(_) | Self::NegativeDelay(_))
    }

    /// Under which it is counted.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Short | Self::Tail | Self::Version(_) | Self::Mode => Reason::Malformed,
            Self::Origin => Reason::Origin,
            Self::Forged(Forgery::Nak) => Reason::Nak,
            Self::Unproven(_) | Self::Forged(Forgery::Missing | Forgery::Wrong) => Reason::Authentication,
            Self::Kiss(Kiss::Rate) => Reason::Rate,
            Self::Kiss(Kiss::Deny | Kiss::Restrict) => Reason::Deny,
            Self::Kiss(Kiss::Other(_)) => Reason::Kiss,
            Self::Unsynchronized => Reason::Unsynchronized,
            Self::Loop => Reason::Loop,
            Self::NoTimestamp => Reason::NoTimestamp,
            Self::RootDistance => Reason::RootDistance,
            Self::Hold(_) => Reason::Hold,
            Self::NegativeDelay(_) => Reason::NegativeDelay,
            Self::Late => Reason::Late,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the datagram is shorter than an NTP header"),
            Self::Tail => f.write_str("what follows the NTP header is malformed"),
            Self::Version(version) => write!(f, "the reply has NTP version {version}"),
            Self::Mode => f.write_str("the packet is not a server's reply"),
            Self::Origin => f.write_str("the reply does not answer our request"),
            Self::Unproven(why) => write!(f, "the reply is not believed: {why}"),
            Self::Forged(Forgery::Missing) => f.write_str("the reply is not authenticated by the server's key"),
            Self::Forged(Forgery::Wrong) => f.write_str("the reply's authentication is wrong"),
            Self::Forged(Forgery::Nak) => f.write_str("the server says that it does not know our key (crypto-NAK)"),
            Self::Kiss(Kiss::Rate) => f.write_str("the server says we ask too often (RATE)"),
            Self::Kiss(Kiss::Deny) => f.write_str("the server denies service (DENY)"),
            Self::Kiss(Kiss::Restrict) => f.write_str("the server denies service by its policy (RSTR)"),
            Self::Kiss(Kiss::Other(code)) => write!(f, "the server sent the kiss code {}", code.escape_ascii()),
            Self::Unsynchronized => f.write_str("the server is not synchronised"),
            Self::Loop => f.write_str("the server follows this very host"),
            Self::NoTimestamp => f.write_str("the reply lacks a timestamp"),
            Self::RootDistance => f.write_str("the server's root distance or delay is 16 s or more"),
            Self::Hold(hold) if *hold < Nanos::ZERO => {
                write!(f, "the server answered {} ns before it was asked", hold.0.unsigned_abs())
            }
            Self::Hold(hold) => write!(f, "the server held the request for {} ns", hold.0),
            Self::NegativeDelay(delay) => write!(f, "the delay is negative, {} ns: the server lies", delay.0),
            Self::Late => f.write_str("the reply came too late"),
        }
    }
}

/// Judges `datagram`, received at `t4`, as the answer to the request sent at `t1` with `transmit`.
///
/// `pivot` begins the era in which the server's timestamps are resolved; `frequency` bounds our counter's.
pub(crate) fn judge(
    datagram: &[u8],
    transmit: NtpTime,
    t1: Counter,
    t4: Counter,
    pivot: UnixTime,
    frequency: Ppb,
) -> Result<Exchange, Refusal> {
    measure(&answer(datagram, transmit)?, t1, t4, pivot, frequency)
}

/// The server's packet in `datagram`, if it answers the request that was sent with `transmit`. Nothing in it is
/// believed yet.
pub(crate) fn answer(datagram: &[u8], transmit: NtpTime) -> Result<Packet, Refusal> {
    let packet = Packet::parse(datagram).ok_or(Refusal::Short)?;
    if !(3..=4).contains(&packet.version) {
        return Err(Refusal::Version(packet.version));
    }
    if packet.mode != Mode::Server {
        return Err(Refusal::Mode);
    }
    // Before everything that is believed: who did not see our request cannot know `transmit`.
    if packet.origin != transmit {
        return Err(Refusal::Origin);
    }
    if !packet::has_sound_tail(datagram) {
        return Err(Refusal::Tail);
    }
    Ok(packet)
}

/// What `packet`, the answer received at `t4` to what was sent at `t1`, measures.
pub(crate) fn measure(
    packet: &Packet,
    t1: Counter,
    t4: Counter,
    pivot: UnixTime,
    frequency: Ppb,
) -> Result<Exchange, Refusal> {
    if packet.stratum == 0 {
        return Err(Refusal::Kiss(match &packet.reference_id.to_be_bytes() {
            b"RATE" => Kiss::Rate,
            b"DENY" => Kiss::Deny,
            b"RSTR" => Kiss::Restrict,
            other => Kiss::Other(*other),
        }));
    }
    let gives_time = packet.leap != Leap::Unknown && packet.stratum < STRATUM_MAX;
    // A server that does not know the time need not tell one.
    if gives_time && (packet.receive == NtpTime::ZERO || packet.transmit == NtpTime::ZERO) {
        return Err(Refusal::NoTimestamp);
    }
    let server = ServerState {
        leap: packet.leap,
        version: packet.version,
        stratum: packet.stratum,
        precision: packet.precision,
        root_delay: packet.root_delay.nanos_up(),
        root_dispersion: packet.root_dispersion.nanos_up(),
        reference_id: packet.reference_id,
        reference_time: (packet.reference != NtpTime::ZERO).then(|| packet.reference.resolve(pivot)),
    };
    let (t2, t3) = (packet.receive.resolve(pivot), packet.transmit.resolve(pivot));
    let exchange = Exchange { stamps: Stamps { t1, t2, t3, t4 }, server };
    check(&exchange, frequency)?;
    Ok(exchange)
}

/// Checks that the server claims to know the time, and that the four timestamps can belong together; also for exchanges
/// read from a trace.
pub(crate) fn check(exchange: &Exchange, frequency: Ppb) -> Result<(), Refusal> {
    let Exchange { stamps, server } = exchange;
    if server.leap == Leap::Unknown || !(1..STRATUM_MAX).contains(&server.stratum) {
        return Err(Refusal::Unsynchronized);
    }
    if server.distance().max(server.root_delay) >= ROOT_DISTANCE_MAX {
        return Err(Refusal::RootDistance);
    }
    let hold = stamps.t3 - stamps.t2;
    // Two timestamps of a clock may be in disorder by its reading error.
    let grain = Nanos::from_log2_seconds(server.precision);
    if hold < -grain || hold > HOLD_MAX {
        return Err(Refusal::Hold(hold));
    }
    let delay = stamps.delay();
    let drift = (stamps.t4 - stamps.t1).gain_outward(frequency);
    if delay < -(grain + drift) {
        return Err(Refusal::NegativeDelay(delay));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{NtpShort, unix_seconds};

    const PIVOT: UnixTime = unix_seconds(1_700_000_000);
    const LIMIT: Ppb = Ppb::from_ppm(100.0);

    fn stamps([t1, t2, t3, t4]: [i64; 4]) -> Stamps {
        Stamps { t1: Counter(t1), t2: UnixTime(t2), t3: UnixTime(t3), t4: Counter(t4) }
    }

    #[test]
    fn offset_errs_by_half_the_difference_of_the_travel_times() {
        // Server 10 ns ahead; 3 ns there, 1 ns back.
        let stamps = stamps([100, 113, 114, 105]);
        assert_eq!(stamps.offset(), Nanos(10 + (3 - 1) / 2));
        assert_eq!(stamps.delay(), Nanos(3 + 1));
    }

    #[test]
    fn the_interval_holds_the_truth_however_lopsided_the_path() {
        for (there, back) in [(0, 40_000), (40_000, 0), (7, 9)] {
            let truth = 1_795_000_000_000_000_000;
            let t1 = 5_000_000;
            let t4 = t1 + there + 1_000 + back;
            let s = stamps([t1, truth + t1 + there, truth + t1 + there + 1_000, t4]);
            let interval = s.interval(Nanos::ZERO, Ppb(0.0));
            assert!(interval.low <= Nanos(truth) && Nanos(truth) <= interval.high);
            assert_eq!(interval.high - interval.low, Nanos(there + back));
        }
    }

    fn reply() -> Packet {
        Packet {
            mode: Mode::Server,
            stratum: 2,
            precision: -20,
            root_delay: NtpShort(10),
            root_dispersion: NtpShort(20),
            origin: NtpTime(42),
            receive: NtpTime::from_unix(unix_seconds(1_795_000_000)),
            transmit: NtpTime::from_unix(unix_seconds(1_795_000_000) + Nanos(5_000)),
            ..Packet::request(NtpTime::ZERO)
        }
    }

    fn judged(packet: Packet) -> Result<Exchange, Refusal> {
        judge(&packet.bytes(), NtpTime(42), Counter(1_000), Counter(101_000), PIVOT, LIMIT)
    }

    #[test]
    fn a_good_reply_of_version_3_or_4_is_a_measurement() {
        assert_eq!(judged(reply()).unwrap().stamps.delay(), Nanos(100_000 - 5_000));
        assert!(judged(Packet { version: 3, ..reply() }).is_ok());
    }

    #[test]
    fn each_check_refuses_what_it_is_there_for() {
        let kiss = |code: &[u8; 4]| Packet { stratum: 0, reference_id: u32::from_be_bytes(*code), ..reply() };
        let early = Packet { transmit: NtpTime::from_unix(unix_seconds(1_794_999_999)), ..reply() };
        let late = Packet { transmit: NtpTime::from_unix(unix_seconds(1_795_000_005)), ..reply() };
        let slow = Packet { transmit: NtpTime::from_unix(unix_seconds(1_795_000_000) + Nanos(200_000)), ..reply() };
        for (packet, refusal) in [
            (Packet { version: 2, ..reply() }, Refusal::Version(2)),
            (Packet { version: 5, ..reply() }, Refusal::Version(5)),
            (Packet { mode: Mode::Client, ..reply() }, Refusal::Mode),
            (Packet { mode: Mode::Other(5), ..reply() }, Refusal::Mode),
            (Packet { origin: NtpTime(41), ..reply() }, Refusal::Origin),
            (Packet { origin: NtpTime::ZERO, ..reply() }, Refusal::Origin),
            (kiss(b"RATE"), Refusal::Kiss(Kiss::Rate)),
            (kiss(b"DENY"), Refusal::Kiss(Kiss::Deny)),
            (kiss(b"RSTR"), Refusal::Kiss(Kiss::Restrict)),
            (kiss(b"INIT"), Refusal::Kiss(Kiss::Other(*b"INIT"))),
            (Packet { leap: Leap::Unknown, ..reply() }, Refusal::Unsynchronized),
            (Packet { stratum: 16, ..reply() }, Refusal::Unsynchronized),
            (Packet { receive: NtpTime::ZERO, ..reply() }, Refusal::NoTimestamp),
            (Packet { transmit: NtpTime::ZERO, ..reply() }, Refusal::NoTimestamp),
            (Packet { root_delay: NtpShort::MAX, ..reply() }, Refusal::RootDistance),
            (Packet { root_delay: NtpShort(16 << 16), ..reply() }, Refusal::RootDistance),
            (Packet { precision: 127, ..reply() }, Refusal::RootDistance),
            (early, Refusal::Hold(Nanos::from_seconds(-1))),
            (late, Refusal::Hold(Nanos::from_seconds(5))),
            (slow, Refusal::NegativeDelay(Nanos(-100_000))),
        ] {
            assert_eq!(judged(packet).unwrap_err(), refusal);
        }
        assert_eq!(judge(&[0; 47], NtpTime(42), Counter(0), Counter(0), PIVOT, LIMIT), Err(Refusal::Short));
    }

    #[test]
    fn a_refusal_says_what_the_server_said_and_did() {
        for (refusal, sentence) in [
            (Refusal::Kiss(Kiss::Deny), "the server denies service (DENY)"),
            (Refusal::Kiss(Kiss::Restrict), "the server denies service by its policy (RSTR)"),
            (Refusal::Hold(Nanos(-5_760_222_435)), "the server answered 5760222435 ns before it was asked"),
            (Refusal::Hold(Nanos(7)), "the server held the request for 7 ns"),
        ] {
            assert_eq!(refusal.to_string(), sentence);
        }
        assert_eq!(Refusal::Kiss(Kiss::Restrict).reason(), Reason::Deny);
    }

    #[test]
    fn only_what_anybody_could_have_sent_is_anonymous() {
        assert!(Refusal::Origin.is_anonymous() && Refusal::Mode.is_anonymous());
        assert!(!Refusal::Kiss(Kiss::Rate).is_anonymous() && !Refusal::Unsynchronized.is_anonymous());
        // An on-path stranger can write these; the request stays open for the server's own answer.
        assert!(Refusal::Forged(Forgery::Nak).is_anonymous() && Refusal::Tail.is_anonymous());
    }
}

//! The words in which a clock speaks of itself: state, flags, report, source table.
//!
//! Plain data without behaviour; the core and the engine fill it, every face passes it on.

use std::fmt;
use std::net::SocketAddr;

/// How far a clock's interval can be trusted. The numbers are the C API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum State {
    /// Never synchronised (the reading is the system clock's), or the bound has passed its cap.
    Unsynchronized = 0,
    /// Exchanges are fresh and enough sources agree.
    Synchronized = 1,
    /// No fresh exchange, or no agreement, or a forked child: the interval is valid and growing.
    Holdover = 2,
    /// Suspend, migration or a counter fault: not to be trusted until judged anew.
    Disrupted = 3,
}

impl State {
    /// Whether the interval means anything.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Synchronized | Self::Holdover)
    }

    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Synchronized,
            2 => Self::Holdover,
            3 => Self::Disrupted,
            _ => Self::Unsynchronized,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsynchronized => "UNSYNCHRONIZED",
            Self::Synchronized => "SYNCHRONIZED",
            Self::Holdover => "HOLDOVER",
            Self::Disrupted => "DISRUPTED",
        })
    }
}

/// Facts beside the state, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u32);

impl Flags {
    /// What is published rests on authenticated sources alone, whose certificates hold at that very time.
    pub const AUTHENTICATED: Self = Self(1 << 0);
    /// What is published rests on a source whose certificate could be checked at no trustworthy time yet.
    pub const PROVISIONAL: Self = Self(1 << 1);
    /// A correction is being slewed in: the rate differs from the oscillator's by up to 500 ppm.
    pub const SLEWING: Self = Self(1 << 2);
    /// The sources announce a leap second.
    pub const LEAP_PENDING: Self = Self(1 << 4);

    /// Other servers of the pools contradict those that are polled: what these say is not believed, and what was
    /// published before may be wrong (`set_khronos`).
    pub const VETOED: Self = Self(1 << 5);

    /// Whether every bit of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn with(self, other: Self, set: bool) -> Self {
        if set { Self(self.0 | other.0) } else { self }
    }
}

/// What a server of the list is given beside its name: a key, and how far it is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerOptions {
    /// The id of the key its answers must be authenticated by; others are refused.
    pub key: Option<u32>,
    /// No time is published unless at least one of the required sources agrees with it.
    pub require: bool,
    /// As long as preferred sources are believed, the others have no part in the estimate. The interval stays what all
    /// agree on.
    pub prefer: bool,
    /// As long as trusted sources answer, they alone say where UTC lies: whoever misses that is a falseticker.
    pub trust: bool,
    /// Network Time Security is asked for; ` nts` behind the name does the same. Not beside a key.
    pub nts: bool,
}

/// Why an answer, or a source, was refused. The numbers are the C API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Reason {
    /// No NTP packet of a server, or of another version.
    Malformed = 0,
    /// It does not answer our request: forged, old, or a second answer.
    Origin = 1,
    /// It is not authenticated, or wrongly.
    Authentication = 2,
    /// The server says that it cannot authenticate us; anybody can say so.
    Nak = 3,
    /// The server says that we ask too often.
    Rate = 4,
    /// The server denies service.
    Deny = 5,
    /// The server sent another kiss code.
    Kiss = 6,
    /// The server says that it is not synchronised.
    Unsynchronized = 7,
    /// The server follows this very host.
    Loop = 8,
    /// A timestamp is missing.
    NoTimestamp = 9,
    /// The server says that it is 16 s or more from UTC.
    RootDistance = 10,
    /// The server answered before it was asked, or held the request for more than 4 s: a lie.
    Hold = 11,
    /// The server held the request for longer than the exchange took: a lie.
    NegativeDelay = 12,
    /// It came after its time.
    Late = 13,
    /// No answer came in time.
    Silence = 14,
    /// The network, or the system, refused the request.
    Network = 15,
    /// The source's own exchanges contradicted each other.
    Contradiction = 16,
    /// The other sources agree on another time.
    Falseticker = 17,
    /// A request could not be made: there was no cookie left for it.
    NoCookie = 18,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::Malformed,
        Self::Origin,
        Self::Authentication,
        Self::Nak,
        Self::Rate,
        Self::Deny,
        Self::Kiss,
        Self::Unsynchronized,
        Self::Loop,
        Self::NoTimestamp,
        Self::RootDistance,
        Self::Hold,
        Self::NegativeDelay,
        Self::Late,
        Self::Silence,
        Self::Network,
        Self::Contradiction,
        Self::Falseticker,
        Self::NoCookie,
    ];

    /// Its name, as it stands in the command line's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Origin => "origin",
            Self::Authentication => "authentication",
            Self::Nak => "nak",
            Self::Rate => "rate",
            Self::Deny => "deny",
            Self::Kiss => "kiss",
            Self::Unsynchronized => "unsynchronized",
            Self::Loop => "loop",
            Self::NoTimestamp => "no_timestamp",
            Self::RootDistance => "root_distance",
            Self::Hold => "hold",
            Self::NegativeDelay => "negative_delay",
            Self::Late => "late",
            Self::Silence => "silence",
            Self::Network => "network",
            Self::Contradiction => "contradiction",
            Self::Falseticker => "falseticker",
            Self::NoCookie => "no_cookie",
        }
    }
}

/// How often a source, or an answer of it, was refused, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Refusals([u64; Reason::ALL.len()]);

#[expect(clippy::indexing_slicing, reason = "there is an entry for every reason")]
impl Refusals {
    pub(crate) fn add(&mut self, reason: Reason) {
        self.0[reason as usize] += 1;
    }

    /// How often it was for this reason.
    pub fn count(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// Every reason and how often it was, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.0)
    }
}

/// The leap indicator of RFC 5905, as the sources agree on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Leap {
    /// No leap second is announced.
    #[default]
    None = 0,
    /// The last minute of the month has 61 seconds.
    Insert = 1,
    /// The last minute of the month has 59 seconds.
    Delete = 2,
    /// Not synchronised: nothing is known.
    Unknown = 3,
}

impl Leap {
    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Insert,
            2 => Self::Delete,
            _ => Self::Unknown,
        }
    }
}

/// Whose work the time is that a clock shows. The numbers are the C API's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Role {
    /// The clock's own: it shares no page.
    #[default]
    Alone = 0,
    /// The clock's own, and it writes the page that others share.
    Leader = 1,
    /// That of another clock, which leads; nobody's, where none is left.
    Follower = 2,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "alone",
            Self::Leader => "leader",
            Self::Follower => "follower",
        })
    }
}

/// The state of a whole clock in numbers; those of the clock that leads, where a page is shared.
#[derive(Clone, Debug)]
pub struct Report {
    /// As a reader would have seen it when the report was made.
    pub state: State,
    /// The epoch of the published model; 0 before the first synchronisation.
    pub epoch: u32,
    /// Steps since the start: epochs begun after the first.
    pub steps: u32,
    /// n: sources configured, usable pool members included, duplicates counted once.
    pub configured: u32,
    /// r: sources that answer (reach register not zero).
    pub answering: u32,
    /// The most sources whose intervals have one point in common.
    pub agreeing: u32,
    /// f: sources assumed to lie at most.
    pub fault_limit: u32,
    /// More than `fault_limit` sources lie: the interval rests on a strict majority only.
    pub faults_exceeded: bool,
    /// Frequency of UTC against the raw counter, parts per 10^9; positive: UTC gains.
    pub frequency_ppb: f64,
    /// The error bound when the report was made, ns; `i64::MAX` when unknown.
    pub bound_ns: i64,
    /// Standard deviation of the reading as estimated at the newest exchange, ns: a statistical figure, not a bound;
    /// `i64::MAX` when unknown.
    pub estimated_error_ns: i64,
    /// One below the stratum of the source that is followed most, or 16.
    pub stratum: u8,
    /// Round trip to the root of the source that is followed most, ns.
    pub root_delay_ns: i64,
    /// What a client of ours must allow for beside half the root delay, ns.
    pub root_dispersion_ns: i64,
    /// Reference id of that source as RFC 5905 defines it for the next stratum.
    pub reference_id: u32,
    /// UTC of the newest exchange that counted, ns since 1970; 0 before the first.
    pub reference_time_ns: i64,
    /// The announced leap second.
    pub leap: Leap,
    /// Exchanges that counted, since the start.
    pub exchanges: u64,
    /// Replies refused, since the start.
    pub rejected: u64,
    /// Of what was published last: [`Flags::AUTHENTICATED`], [`Flags::VETOED`].
    pub flags: Flags,
    /// Whether the clock shares a page, and whether it leads.
    pub role: Role,
    /// The process that leads, as the lock file names it; 0 if none does, or it is not known.
    pub leader_pid: u32,
}

/// One source as the clock sees it.
#[derive(Clone, Debug)]
pub struct SourceInfo {
    /// The entry of the server list it comes from.
    pub name: String,
    /// Its address, once resolved.
    pub address: Option<SocketAddr>,
    /// What selection thinks of it.
    pub selection: Selection,
    /// Of the last eight polls, which were answered; the newest is bit 0.
    pub reach: u8,
    /// The poll interval is 2^this seconds.
    pub poll_exponent: i8,
    /// Distance from a reference clock; 0 before the first reply.
    pub stratum: u8,
    /// Its leap indicator.
    pub leap: Leap,
    /// Its time minus ours, ns: add it to our reading to get the source's; `i64::MAX` while it tells no time, or we have
    /// none.
    pub offset_ns: i64,
    /// Round trip of the newest exchange, ns; `i64::MAX` without one.
    pub delay_ns: i64,
    /// Standard deviation of its offset as estimated: a statistical figure, not a bound, ns; `i64::MAX` while it tells no
    /// time.
    pub estimated_error_ns: i64,
    /// Half the width of its correctness interval now, ns; `i64::MAX` when it has none.
    pub bound_ns: i64,
    /// The round trip to its own root that it claims, ns.
    pub root_delay_ns: i64,
    /// The root dispersion it claims, ns.
    pub root_dispersion_ns: i64,
    /// Its reference id.
    pub reference_id: u32,
    /// Nanoseconds since its newest exchange that counted; `i64::MAX` before the first.
    pub age_ns: i64,
    /// Exchanges that counted.
    pub exchanges: u64,
    /// Replies refused.
    pub rejected: u64,
    /// Times it contradicted itself and was begun anew.
    pub restarts: u32,
    /// Its Network Time Security.
    pub nts: NtsInfo,
    /// What is wrong with it: why it is not believed, else its last fault since it last answered well, else why it is
    /// believed and yet not used.
    pub fault: Option<String>,
    /// Whether its answers are authenticated; others are refused.
    pub authenticated: bool,
    /// What it was given beside its name.
    pub options: ServerOptions,
    /// How often it, or an answer of it, was refused, and why.
    pub refusals: Refusals,
}

/// What a source has of Network Time Security. The numbers are the C API's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum NtsState {
    /// Not asked for.
    #[default]
    Off = 0,
    /// Asked for, and there are no keys: nothing is sent, and nothing believed.
    NoKeys = 1,
    /// There are keys. The certificate behind them could be checked at no trustworthy time yet.
    Provisional = 2,
    /// There are keys. The certificate behind them was checked at the system clock's time, not yet at the time
    /// obtained.
    Unreviewed = 3,
    /// There are keys, and the certificate behind them holds at the time obtained.
    Authenticated = 4,
}

impl fmt::Display for NtsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::NoKeys => "no keys",
            Self::Provisional => "provisional",
            Self::Unreviewed => "unreviewed",
            Self::Authenticated => "authenticated",
        })
    }
}

/// A source's Network Time Security.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NtsInfo {
    /// What there is of it.
    pub state: NtsState,
    /// The cipher, by its number among AEAD algorithms: 15, 17 or 30; 0 without keys.
    pub algorithm: u16,
    /// Cookies left: so many requests can be made without an answer.
    pub cookies: u8,
    /// Key exchanges that brought keys.
    pub key_exchanges: u32,
    /// Answers that said the keys are not known to the server; whoever sees a request can send them.
    pub naks: u32,
    /// Why the last key exchange brought no keys, or why they were given up.
    pub fault: Option<String>,
}

/// What selection thinks of a source. The numbers are the C API's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Selection {
    /// It has not answered yet, or no longer answers.
    #[default]
    Unreachable = 0,
    /// Its interval overlaps the agreed one: it can be telling the truth.
    Truechimer = 1,
    /// Its interval misses what the others agree on: it lies.
    Falseticker = 2,
    /// It answers, but says itself that its time is no good, or denies service.
    Unusable = 3,
    /// Another name for a source that is counted already.
    Duplicate = 4,
    /// It answers, but no agreement has been found.
    Candidate = 5,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "unreachable",
            Self::Truechimer => "truechimer",
            Self::Falseticker => "falseticker",
            Self::Unusable => "unusable",
            Self::Duplicate => "duplicate",
            Self::Candidate => "candidate",
        })
    }
}

/// What one exchange with a server told ([`crate::query`]).
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// The address that answered.
    pub address: SocketAddr,
    /// UTC minus the system clock: add it to the system clock, ns.
    pub offset_ns: i64,
    /// The offset is within ± this if the server's own root distance is true, ns.
    pub bound_ns: i64,
    /// Round trip less the server's time in between, ns.
    pub delay_ns: i64,
    /// The server's UTC when the reply arrived, ns since 1970.
    pub unix_ns: i64,
    /// Distance from a reference clock.
    pub stratum: u8,
    /// NTP version of the reply.
    pub version: u8,
    /// The leap indicator.
    pub leap: Leap,
    /// The server's precision as an exponent of 2, in seconds.
    pub precision: i8,
    /// The server's round trip to its root, ns.
    pub root_delay_ns: i64,
    /// The server's root dispersion, ns.
    pub root_dispersion_ns: i64,
    /// The server's reference id.
    pub reference_id: u32,
    /// When the server's clock was last set, ns since 1970; 0 if it does not say.
    pub reference_time_ns: i64,
    /// Whether the kernel stamped the arrival.
    pub kernel_timestamp: bool,
    /// Whether the answer was authenticated, by a server whose certificate holds at the time it tells.
    pub authenticated: bool,
}

//! What C receives: plain data, without hidden padding, and how it is handed over.

use std::ffi::c_char;

pub(super) use super::growing::{Growing, check_size, hand_over};
use super::text::fixed_text;
use crate::reading::Reading;
use crate::status::{
    Flags, Leap, NtsState, QueryResult, Reason, Report, Role, Selection, ServerOptions, SourceInfo, State,
};

/// `ntp_reading.flags` and `ntp_report.flags`: what is published rests on authenticated sources alone, whose
/// certificates hold at that very time.
pub const NTP_FLAG_AUTHENTICATED: u32 = 1 << 0;
/// `ntp_reading.flags`: the time rests on a source whose certificate could be checked at no trustworthy time yet: the
/// system clock is out of the question, and too few sources agree.
pub const NTP_FLAG_PROVISIONAL: u32 = 1 << 1;
/// `ntp_reading.flags`: a correction is being slewed in, at up to 500 ppm.
pub const NTP_FLAG_SLEWING: u32 = 1 << 2;
/// `ntp_reading.flags`: reserved for sources that smear a leap second; no version sets it yet.
pub const NTP_FLAG_SMEARED: u32 = 1 << 3;
/// `ntp_reading.flags`: a leap second is announced.
pub const NTP_FLAG_LEAP_PENDING: u32 = 1 << 4;

/// `ntp_reading.flags` and `ntp_report.flags`: other servers of the pools contradict those that are polled, so that
/// what these say is not believed, and what was published before may be wrong (`ntp_config_set_khronos`).
pub const NTP_FLAG_VETOED: u32 = 1 << 5;

/// A server's option: nothing is published unless at least one of the required sources agrees with it.
pub const NTP_SERVER_REQUIRE: u32 = 1 << 0;
/// A server's option: as long as preferred sources are believed, the others have no part in the estimate. The interval
/// stays what all agree on.
pub const NTP_SERVER_PREFER: u32 = 1 << 1;
/// A server's option: as long as trusted sources answer, they alone say where UTC lies; whoever misses that is a
/// falseticker. The interval then rests on them: at most (t-1)/3 of the t trusted ones lie, unless set otherwise.
pub const NTP_SERVER_TRUST: u32 = 1 << 2;
/// `ntp_source_info.options`: the source's answers are authenticated; others are refused.
pub const NTP_SERVER_AUTHENTICATED: u32 = 1 << 3;

/// Room in `ntp_source_info.refusals` for reasons, known and to come.
pub const NTPCLOCK_REASONS: usize = 32;
/// A server's option: Network Time Security; ` nts` behind the name does the same.
pub const NTP_SERVER_NTS: u32 = 1 << 4;

/// `ntp_reading.tai_minus_utc` when it is not known: INT16_MIN.
pub const NTPCLOCK_TAI_UNKNOWN: i16 = i16::MIN;

/// Room for an entry of a server list and its NUL.
pub const NTPCLOCK_NAME_SIZE: usize = 272;
/// Room for an address with a port and its NUL.
pub const NTPCLOCK_ADDRESS_SIZE: usize = 64;
/// Room for a source's last fault and its NUL.
pub const NTPCLOCK_FAULT_SIZE: usize = 256;

const _: () = assert!(Flags::AUTHENTICATED.0 == NTP_FLAG_AUTHENTICATED && Flags::PROVISIONAL.0 == NTP_FLAG_PROVISIONAL);
const _: () = assert!(Flags::SLEWING.0 == NTP_FLAG_SLEWING && Flags::LEAP_PENDING.0 == NTP_FLAG_LEAP_PENDING);
const _: () = assert!(Flags::VETOED.0 == NTP_FLAG_VETOED);
const _: () = assert!(Flags::AUTHENTICATED.0 == NTP_FLAG_AUTHENTICATED && Reason::ALL.len() <= NTPCLOCK_REASONS);
const _: () = assert!(size_of::<ntp_reading>() == 64);

/// How far a clock's interval can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_state {
    /// Never synchronised (the reading is the system clock's), or the bound has passed its cap.
    NTP_STATE_UNSYNCHRONIZED = 0,
    /// Exchanges are fresh and enough sources agree.
    NTP_STATE_SYNCHRONIZED = 1,
    /// No fresh exchange, or no agreement, or a forked child: the interval is valid and growing.
    NTP_STATE_HOLDOVER = 2,
    /// Suspend, migration or a counter fault: not to be trusted until judged anew.
    NTP_STATE_DISRUPTED = 3,
}

/// The leap indicator (RFC 5905), as found in the `leap` members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_leap {
    /// No leap second is announced.
    NTP_LEAP_NONE = 0,
    /// The last minute of the month has 61 seconds.
    NTP_LEAP_INSERT = 1,
    /// The last minute of the month has 59 seconds.
    NTP_LEAP_DELETE = 2,
    /// Not synchronised: nothing is known.
    NTP_LEAP_UNKNOWN = 3,
}

/// What selection thinks of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_selection {
    /// It has not answered yet, or no longer answers.
    NTP_SELECTION_UNREACHABLE = 0,
    /// Its interval overlaps the agreed one: it can be telling the truth.
    NTP_SELECTION_TRUECHIMER = 1,
    /// Its interval misses what the others agree on: it lies.
    NTP_SELECTION_FALSETICKER = 2,
    /// It answers, but says itself that its time is no good, or denies service.
    NTP_SELECTION_UNUSABLE = 3,
    /// Another name for a source that is counted already.
    NTP_SELECTION_DUPLICATE = 4,
    /// It answers, but no agreement has been found.
    NTP_SELECTION_CANDIDATE = 5,
}

/// Why an answer, or a source, was refused: places in `ntp_source_info.refusals`. Newer libraries may have further
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_reason {
    /// No NTP packet of a server, or of another version.
    NTP_REASON_MALFORMED = 0,
    /// It does not answer our request: forged, old, or a second answer.
    NTP_REASON_ORIGIN = 1,
    /// It is not authenticated, or wrongly.
    NTP_REASON_AUTHENTICATION = 2,
    /// The server says that it cannot authenticate us; anybody can say so.
    NTP_REASON_NAK = 3,
    /// The server says that we ask too often.
    NTP_REASON_RATE = 4,
    /// The server denies service.
    NTP_REASON_DENY = 5,
    /// The server sent another kiss code.
    NTP_REASON_KISS = 6,
    /// The server says that it is not synchronised.
    NTP_REASON_UNSYNCHRONIZED = 7,
    /// The server follows this very host.
    NTP_REASON_LOOP = 8,
    /// A timestamp is missing.
    NTP_REASON_NO_TIMESTAMP = 9,
    /// The server says that it is 16 s or more from UTC.
    NTP_REASON_ROOT_DISTANCE = 10,
    /// The server answered before it was asked, or held the request for more than 4 s: a lie.
    NTP_REASON_HOLD = 11,
    /// The server held the request for longer than the exchange took: a lie.
    NTP_REASON_NEGATIVE_DELAY = 12,
    /// It came after its time.
    NTP_REASON_LATE = 13,
    /// No answer came in time.
    NTP_REASON_SILENCE = 14,
    /// The network, or the system, refused the request.
    NTP_REASON_NETWORK = 15,
    /// The source's own exchanges contradicted each other.
    NTP_REASON_CONTRADICTION = 16,
    /// The other sources agree on another time.
    NTP_REASON_FALSETICKER = 17,
    /// A request could not be made: there was no cookie left for it.
    NTP_REASON_NO_COOKIE = 18,
}

/// What authenticated servers are to those that are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_authentication {
    /// Nothing: all are judged alike.
    NTP_AUTHENTICATION_IGNORE = 0,
    /// Where there are both kinds, the authenticated ones are required and trusted (`NTP_SERVER_REQUIRE`,
    /// `NTP_SERVER_TRUST`); the others may refine the estimate within.
    NTP_AUTHENTICATION_MIX = 1,
    /// The others have no say at all. A clock without any authenticated server does not start.
    NTP_AUTHENTICATION_REQUIRE = 2,
}

/// What a source has of Network Time Security.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_nts_state {
    /// Not asked for.
    NTP_NTS_OFF = 0,
    /// Asked for, and there are no keys: nothing is sent, and nothing believed.
    NTP_NTS_NO_KEYS = 1,
    /// There are keys. The certificate behind them could be checked at no trustworthy time yet.
    NTP_NTS_PROVISIONAL = 2,
    /// There are keys. The certificate behind them was checked at the system clock's time, not yet at the time
    /// obtained.
    NTP_NTS_UNREVIEWED = 3,
    /// There are keys, and the certificate behind them holds at the time obtained.
    NTP_NTS_AUTHENTICATED = 4,
}

/// Whose work the time is that a clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum ntp_role {
    /// The clock's own: it shares no page.
    NTP_ROLE_ALONE = 0,
    /// The clock's own, and it writes the page that others share.
    NTP_ROLE_LEADER = 1,
    /// That of another clock, which leads; nobody's, where none is left.
    NTP_ROLE_FOLLOWER = 2,
}

/// One reading of a clock: the time, and the interval that holds UTC. 64 bytes, frozen.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ntp_reading {
    /// UTC, nanoseconds since 1970-01-01T00:00:00Z, POSIX counting (no leap seconds).
    pub unix_ns: i64,
    /// UTC is not before this; INT64_MIN when unknown. Never above `unix_ns`.
    pub earliest_ns: i64,
    /// UTC is not after this; INT64_MAX when unknown. Never below `unix_ns`.
    pub latest_ns: i64,
    /// The raw counter as nanoseconds at its nominal rate; one origin per boot, the same in every process to some 0.1
    /// us.
    pub raw_ns: i64,
    /// Nanoseconds since the newest exchange that counted; INT64_MAX before the first.
    pub age_ns: i64,
    /// Numbers the stretches between steps: within one, readings never run backwards. 0 before the first
    /// synchronisation.
    pub epoch: u32,
    /// How far the interval can be trusted.
    pub state: ntp_state,
    /// What else is to be known: `NTP_FLAG_...`.
    pub flags: u32,
    /// What the sources announce for the end of the month: `NTP_LEAP_...`.
    pub leap: u8,
    /// Zero.
    pub reserved: u8,
    /// TAI minus UTC in seconds, or `NTPCLOCK_TAI_UNKNOWN`.
    pub tai_minus_utc: i16,
    /// Zero.
    pub reserved_tail: [u8; 8],
}

/// The state of a whole clock in numbers; those of the clock that leads, where a page is shared. Grows at its end: pass
/// its size.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ntp_report {
    /// As a reader would have seen it when the report was made.
    pub state: ntp_state,
    /// The epoch of the published model; 0 before the first synchronisation.
    pub epoch: u32,
    /// Steps since the start: epochs begun after the first.
    pub steps: u32,
    /// Sources configured, usable pool members included, duplicates counted once.
    pub configured: u32,
    /// Sources that answer (reach register not zero).
    pub answering: u32,
    /// The most sources whose intervals have one point in common.
    pub agreeing: u32,
    /// Sources assumed to lie at most.
    pub fault_limit: u32,
    /// 1 if more than `fault_limit` sources lie: the interval then rests on a strict majority only.
    pub faults_exceeded: u8,
    /// One below the stratum of the source that is followed most, or 16.
    pub stratum: u8,
    /// The announced leap second: `NTP_LEAP_...`.
    pub leap: u8,
    /// Zero.
    pub reserved: u8,
    /// Frequency of UTC against the raw counter, parts per 10^9; positive: UTC gains.
    pub frequency_ppb: f64,
    /// The error bound when the report was made, ns; INT64_MAX when unknown.
    pub bound_ns: i64,
    /// Standard deviation of the reading as estimated at the newest exchange, ns: a statistical figure, not a bound;
    /// INT64_MAX when unknown.
    pub estimated_error_ns: i64,
    /// Round trip to the root of the source that is followed most, ns.
    pub root_delay_ns: i64,
    /// What a client of ours must allow for beside half the root delay, ns.
    pub root_dispersion_ns: i64,
    /// UTC of the newest exchange that counted, ns since 1970; 0 before the first.
    pub reference_time_ns: i64,
    /// Exchanges that counted, since the start.
    pub exchanges: u64,
    /// Replies refused, since the start.
    pub rejected: u64,
    /// Reference id as RFC 5905 defines it for the next stratum.
    pub reference_id: u32,
    /// The process that leads among those that share a page, as the lock file names it; 0 if there is none, or it is
    /// not known.
    pub leader_pid: u32,
    /// Whether the clock shares a page, and whether it leads.
    pub role: ntp_role,
    /// Of what was published last: `NTP_FLAG_AUTHENTICATED`, `NTP_FLAG_VETOED`.
    pub flags: u32,
}

/// One source as the clock sees it. Grows at its end: pass its size.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ntp_source_info {
    /// What selection thinks of it.
    pub selection: ntp_selection,
    /// Its reference id.
    pub reference_id: u32,
    /// Of the last eight polls, which were answered; the newest is bit 0.
    pub reach: u8,
    /// The poll interval is 2^this seconds.
    pub poll_exponent: i8,
    /// Distance from a reference clock; 0 before the first reply.
    pub stratum: u8,
    /// Its leap indicator: `NTP_LEAP_...`.
    pub leap: u8,
    /// Times it contradicted itself and was begun anew.
    pub restarts: u32,
    /// Its time minus ours, ns: add it to our reading to get the source's; INT64_MAX while it tells no time, or we have
    /// none.
    pub offset_ns: i64,
    /// Round trip of the newest exchange, ns; INT64_MAX without one.
    pub delay_ns: i64,
    /// Standard deviation of its offset as estimated: a statistical figure, not a bound, ns; INT64_MAX while it tells no
    /// time.
    pub estimated_error_ns: i64,
    /// Half the width of its correctness interval now, ns; INT64_MAX when it has none.
    pub bound_ns: i64,
    /// The round trip to its own root that it claims, ns.
    pub root_delay_ns: i64,
    /// The root dispersion it claims, ns.
    pub root_dispersion_ns: i64,
    /// Nanoseconds since its newest exchange that counted; INT64_MAX before the first.
    pub age_ns: i64,
    /// Exchanges that counted.
    pub exchanges: u64,
    /// Replies refused.
    pub rejected: u64,
    /// The entry of the server list it comes from, UTF-8.
    pub name: [c_char; NTPCLOCK_NAME_SIZE],
    /// Its address and port; empty until resolved.
    pub address: [c_char; NTPCLOCK_ADDRESS_SIZE],
    /// What is wrong with it, UTF-8: why it is not believed, else its last fault since it last answered well, else why
    /// it is believed and yet not used; empty if nothing is.
    pub fault: [c_char; NTPCLOCK_FAULT_SIZE],
    /// What the server was given beside its name, and whether it is authenticated: `NTP_SERVER_...`.
    pub options: u32,
    /// The id of its key; 0 without one.
    pub key_id: u32,
    /// How often the source, or an answer of it, was refused, by reason: `refusals[NTP_REASON_...]`.
    pub refusals: [u64; NTPCLOCK_REASONS],
    /// What it has of Network Time Security.
    pub nts: ntp_nts_state,
    /// The cipher, by its number among AEAD algorithms: 15, 17 or 30; 0 without keys.
    pub nts_algorithm: u16,
    /// Cookies left: so many requests can be made without an answer.
    pub nts_cookies: u8,
    /// Zero.
    pub nts_reserved: u8,
    /// Key exchanges that brought keys.
    pub nts_key_exchanges: u32,
    /// Answers that said the keys are not known to the server; whoever sees a request can send them.
    pub nts_naks: u32,
    /// Why the last key exchange brought no keys, or why they were given up, UTF-8; empty if all is well.
    pub nts_fault: [c_char; NTPCLOCK_FAULT_SIZE],
}

/// What one exchange with a server told. Grows at its end: pass its size.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ntp_query_result {
    /// UTC minus the system clock: add it to the system clock, ns.
    pub offset_ns: i64,
    /// The offset is within ± this if the server's own root distance is true, ns.
    pub bound_ns: i64,
    /// Round trip less the server's time in between, ns.
    pub delay_ns: i64,
    /// The server's UTC when the reply arrived, ns since 1970.
    pub unix_ns: i64,
    /// The server's round trip to its root, ns.
    pub root_delay_ns: i64,
    /// The server's root dispersion, ns.
    pub root_dispersion_ns: i64,
    /// When the server's clock was last set, ns since 1970; 0 if it does not say.
    pub reference_time_ns: i64,
    /// The server's reference id.
    pub reference_id: u32,
    /// Distance from a reference clock.
    pub stratum: u8,
    /// NTP version of the reply.
    pub version: u8,
    /// The server's leap indicator: `NTP_LEAP_...`.
    pub leap: u8,
    /// The server's precision as an exponent of 2, in seconds.
    pub precision: i8,
    /// 1 if the kernel stamped the arrival.
    pub kernel_timestamp: u8,
    /// 1 if the answer was authenticated, by a server whose certificate holds at the time it tells.
    pub authenticated: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// The address that answered, with its port.
    pub address: [c_char; NTPCLOCK_ADDRESS_SIZE],
}

impl From<State> for ntp_state {
    fn from(state: State) -> Self {
        match state {
            State::Unsynchronized => Self::NTP_STATE_UNSYNCHRONIZED,
            State::Synchronized => Self::NTP_STATE_SYNCHRONIZED,
            State::Holdover => Self::NTP_STATE_HOLDOVER,
            State::Disrupted => Self::NTP_STATE_DISRUPTED,
        }
    }
}

impl From<Role> for ntp_role {
    fn from(role: Role) -> Self {
        match role {
            Role::Alone => Self::NTP_ROLE_ALONE,
            Role::Leader => Self::NTP_ROLE_LEADER,
            Role::Follower => Self::NTP_ROLE_FOLLOWER,
        }
    }
}

impl From<Leap> for ntp_leap {
    fn from(leap: Leap) -> Self {
        match leap {
            Leap::None => Self::NTP_LEAP_NONE,
            Leap::Insert => Self::NTP_LEAP_INSERT,
            Leap::Delete => Self::NTP_LEAP_DELETE,
            Leap::Unknown => Self::NTP_LEAP_UNKNOWN,
        }
    }
}

/// A leap indicator as the byte the structs hold.
pub(super) fn leap_byte(leap: Leap) -> u8 {
    ntp_leap::from(leap) as u8
}

impl From<Selection> for ntp_selection {
    fn from(selection: Selection) -> Self {
        match selection {
            Selection::Unreachable => Self::NTP_SELECTION_UNREACHABLE,
            Selection::Truechimer => Self::NTP_SELECTION_TRUECHIMER,
            Selection::Falseticker => Self::NTP_SELECTION_FALSETICKER,
            Selection::Unusable => Self::NTP_SELECTION_UNUSABLE,
            Selection::Duplicate => Self::NTP_SELECTION_DUPLICATE,
            Selection::Candidate => Self::NTP_SELECTION_CANDIDATE,
        }
    }
}

impl From<NtsState> for ntp_nts_state {
    fn from(state: NtsState) -> Self {
        match state {
            NtsState::Off => Self::NTP_NTS_OFF,
            NtsState::NoKeys => Self::NTP_NTS_NO_KEYS,
            NtsState::Provisional => Self::NTP_NTS_PROVISIONAL,
            NtsState::Unreviewed => Self::NTP_NTS_UNREVIEWED,
            NtsState::Authenticated => Self::NTP_NTS_AUTHENTICATED,
        }
    }
}

impl From<Reading> for ntp_reading {
    fn from(reading: Reading) -> Self {
        Self {
            unix_ns: reading.unix_ns,
            earliest_ns: reading.earliest_ns,
            latest_ns: reading.latest_ns,
            raw_ns: reading.raw_ns,
            age_ns: reading.age_ns,
            epoch: reading.epoch,
            state: reading.state.into(),
            flags: reading.flags.0,
            leap: leap_byte(reading.leap),
            reserved: 0,
            tai_minus_utc: reading.tai_minus_utc.unwrap_or(NTPCLOCK_TAI_UNKNOWN),
            reserved_tail: [0; 8],
        }
    }
}

impl From<&Report> for ntp_report {
    fn from(report: &Report) -> Self {
        Self {
            state: report.state.into(),
            epoch: report.epoch,
            steps: report.steps,
            configured: report.configured,
            answering: report.answering,
            agreeing: report.agreeing,
            fault_limit: report.fault_limit,
            faults_exceeded: report.faults_exceeded.into(),
            stratum: report.stratum,
            leap: leap_byte(report.leap),
            reserved: 0,
            frequency_ppb: report.frequency_ppb,
            estimated_error_ns: report.estimated_error_ns,
            bound_ns: report.bound_ns,
            root_delay_ns: report.root_delay_ns,
            root_dispersion_ns: report.root_dispersion_ns,
            reference_time_ns: report.reference_time_ns,
            exchanges: report.exchanges,
            rejected: report.rejected,
            reference_id: report.reference_id,
            leader_pid: report.leader_pid,
            role: report.role.into(),
            flags: report.flags.0,
        }
    }
}

impl From<&SourceInfo> for ntp_source_info {
    fn from(source: &SourceInfo) -> Self {
        let address = source.address.map(|address| address.to_string()).unwrap_or_default();
        let mut refusals = [0; NTPCLOCK_REASONS];
        refusals.iter_mut().zip(source.refusals.iter()).for_each(|(place, (_, count))| *place = count);
        Self {
            selection: source.selection.into(),
            reference_id: source.reference_id,
            reach: source.reach,
            poll_exponent: source.poll_exponent,
            stratum: source.stratum,
            leap: leap_byte(source.leap),
            restarts: source.restarts,
            offset_ns: source.offset_ns,
            delay_ns: source.delay_ns,
            estimated_error_ns: source.estimated_error_ns,
            bound_ns: source.bound_ns,
            root_delay_ns: source.root_delay_ns,
            root_dispersion_ns: source.root_dispersion_ns,
            age_ns: source.age_ns,
            exchanges: source.exchanges,
            rejected: source.rejected,
            name: fixed_text(&source.name),
            address: fixed_text(&address),
            fault: fixed_text(source.fault.as_deref().unwrap_or_default()),
            options: option_bits(source),
            key_id: source.options.key.unwrap_or(0),
            refusals,
            nts: source.nts.state.into(),
            nts_algorithm: source.nts.algorithm,
            nts_cookies: source.nts.cookies,
            nts_reserved: 0,
            nts_key_exchanges: source.nts.key_exchanges,
            nts_naks: source.nts.naks,
            nts_fault: fixed_text(source.nts.fault.as_deref().unwrap_or_default()),
        }
    }
}

fn option_bits(source: &SourceInfo) -> u32 {
    let ServerOptions { key: _, require, prefer, trust, nts } = source.options;
    let bits = [
        (require, NTP_SERVER_REQUIRE),
        (prefer, NTP_SERVER_PREFER),
        (trust, NTP_SERVER_TRUST),
        (nts, NTP_SERVER_NTS),
        (source.authenticated, NTP_SERVER_AUTHENTICATED),
    ];
    bits.into_iter().filter(|(given, _)| *given).fold(0, |all, (_, bit)| all | bit)
}

impl From<&QueryResult> for ntp_query_result {
    fn from(result: &QueryResult) -> Self {
        Self {
            offset_ns: result.offset_ns,
            bound_ns: result.bound_ns,
            delay_ns: result.delay_ns,
            unix_ns: result.unix_ns,
            root_delay_ns: result.root_delay_ns,
            root_dispersion_ns: result.root_dispersion_ns,
            reference_time_ns: result.reference_time_ns,
            reference_id: result.reference_id,
            stratum: result.stratum,
            version: result.version,
            leap: leap_byte(result.leap),
            precision: result.precision,
            kernel_timestamp: result.kernel_timestamp.into(),
            authenticated: result.authenticated.into(),
            reserved: [0; 6],
            address: fixed_text(&result.address.to_string()),
        }
    }
}

impl Growing for ntp_report {
    const LEAST: usize = size_of::<ntp_state>();
}

impl Growing for ntp_source_info {
    const LEAST: usize = size_of::<ntp_selection>();
}

impl Growing for ntp_query_result {
    const LEAST: usize = size_of::<i64>();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query_result() -> ntp_query_result {
        let result = QueryResult {
            address: ([192, 0, 2, 1], 123).into(),
            offset_ns: -1,
            bound_ns: 2,
            delay_ns: 3,
            unix_ns: 4,
            stratum: 5,
            version: 4,
            leap: Leap::Delete,
            precision: -20,
            root_delay_ns: 6,
            root_dispersion_ns: 7,
            reference_id: 8,
            reference_time_ns: 9,
            kernel_timestamp: true,
            authenticated: false,
        };
        (&result).into()
    }

    #[test]
    fn an_older_caller_gets_a_prefix_and_a_newer_one_zeros() {
        for size in [8, 9, 135, 136, 137, 200] {
            let mut bytes = [0xAAu8; 256];
            // SAFETY: 256 bytes are there.
            unsafe { hand_over(&query_result(), bytes.as_mut_ptr().cast(), size) };
            let known = size.min(size_of::<ntp_query_result>());
            assert_eq!(bytes[..8], (-1i64).to_ne_bytes());
            assert!(bytes[known..size].iter().all(|&byte| byte == 0), "{size}");
            assert!(bytes[size..].iter().all(|&byte| byte == 0xAA), "{size}");
        }
    }

    #[test]
    fn a_size_that_can_hold_nothing_is_refused() {
        for size in [0, 7, usize::MAX] {
            assert!(check_size::<ntp_query_result>("size", size).is_err());
        }
        for size in [8, 136, 10_000] {
            assert!(check_size::<ntp_query_result>("size", size).is_ok());
        }
        assert!(check_size::<ntp_report>("size", 4).is_ok());
    }

    #[test]
    fn reasons_have_the_same_numbers_and_names_in_c_and_in_rust() {
        let text = include_str!("values.rs");
        for reason in Reason::ALL {
            let line = format!("    NTP_REASON_{} = {},\n", reason.name().to_ascii_uppercase(), reason as usize);
            assert!(text.contains(&line), "{line}");
        }
        let numbered = text.lines().filter(|line| line.starts_with("    NTP_REASON_"));
        assert_eq!(numbered.count(), Reason::ALL.len());
    }

    #[test]
    fn numbers_mean_the_same_in_c_and_in_rust() {
        for number in 0..4 {
            let (state, leap) = (State::from_number(number), Leap::from_number(number));
            assert_eq!(ntp_state::from(state) as u64, number);
            assert_eq!(leap_byte(leap), leap as u8);
        }
        for selection in [
            Selection::Unreachable,
            Selection::Truechimer,
            Selection::Falseticker,
            Selection::Unusable,
            Selection::Duplicate,
            Selection::Candidate,
        ] {
            assert_eq!(ntp_selection::from(selection) as i32, selection as i32);
        }
        use NtsState::{Authenticated, NoKeys, Off, Provisional, Unreviewed};
        for state in [Off, NoKeys, Provisional, Unreviewed, Authenticated] {
            assert_eq!(ntp_nts_state::from(state) as i32, state as i32);
        }
    }
}

//! One server over time: when to ask it, what it said, what is wrong with it.

pub(crate) mod filter;
pub(crate) mod poll;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::config::Settings;
use crate::exchange::{self, Exchange, Kiss, Refusal, ServerState, Stamps};
use crate::model::estimator::{Prior, Sample};
use crate::nts;
use crate::nts::session::{Association, Grant, KeyFault, Reply};
use crate::nts::trust::{Basis, Invalid};
use crate::packet::{self, Packet};
use crate::status::Selection;
use crate::units::{Counter, Nanos, NtpTime, UnixTime};
use filter::{Filter, Testimony};
use poll::Poll;

/// Exchanges in a row that selection may call false before another server is wanted.
const PATIENCE: u8 = 8;

/// Longest distance between attempts to find an address, as an exponent of 2 in seconds.
const RESOLVE_RETRY_MAX: i8 = 6;

/// One source: a place in the list of sources, and the server that fills it at present.
#[derive(Debug)]
pub(crate) struct Source {
    address: Option<SocketAddr>,
    /// What Network Time Security asks for here: an address then comes with keys, and nothing is sent or believed without.
    nts: Option<Association>,
    /// When an address should next be looked for.
    resolve_due: Option<Counter>,
    /// An address is being looked for.
    resolving: bool,
    resolve_failures: i8,
    poll: Poll,
    pending: Option<Pending>,
    filter: Filter,
    pub(crate) server: Option<ServerState>,
    /// Of the newest exchange that counted.
    stamps: Option<Stamps>,
    fresh_until: Option<Counter>,
    pub(crate) selection: Selection,
    /// Exchanges in a row at which selection called this source false.
    false_streak: u8,
    denied: bool,
    fault: Option<Fault>,
    /// What selection has against it.
    objection: Option<Objection>,
    /// When its own exchanges contradicted each other last, if that is not yet explained.
    contradicted: Option<Counter>,
    /// Half the width of its correctness interval when its newest exchange came.
    width: Option<Nanos>,
    /// An exchange came that selection has not yet seen.
    fresh: bool,
    pub(crate) exchanges: u64,
    pub(crate) rejected: u64,
    pub(crate) restarts: u32,
}

/// A request that awaits its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    transmit: NtpTime,
    t1: Counter,
    /// What a server would write as its reference id if it followed the address we send from.
    own_id: Option<u32>,
    deadline: Counter,
}

/// The last thing that went wrong with a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Refused(Refusal),
    /// No answer came in time.
    Silence,
    /// The operating system's or the resolver's word.
    World(String),
    /// Its own exchanges contradicted each other.
    Contradiction,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Silence => f.write_str("no answer"),
            Self::World(text) => f.write_str(text),
            Self::Contradiction => f.write_str("its exchanges contradict each other; begun anew"),
        }
    }
}

/// What selection has against a source that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    /// By how much its interval misses the agreed one.
    Misses(Nanos),
    /// Its interval may be true, but its estimate lies so far from what the others say.
    Apart(Nanos),
}

/// What one request needs of chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    transmit: NtpTime,
    dither: u64,
    nts: nts::Chance,
}

impl Chance {
    /// From random words.
    pub(crate) fn new([transmit, dither, nts @ ..]: [u64; 8]) -> Self {
        // 64 random bits: who has not seen the request cannot answer it. Zero would mean "none".
        Self { transmit: NtpTime(transmit.max(1)), dither, nts: nts::Chance::new(nts) }
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It counted; the request is answered.
    Accepted,
    /// It may be anybody's; the request stays open.
    Ignored,
    /// It was the server's, and no good; the request is over.
    Refused,
}

impl Source {
    /// A source without an address: one is wanted at once.
    pub(crate) fn new(settings: &Settings, now: Counter) -> Self {
        Self {
            address: None,
            nts: None,
            resolve_due: Some(now),
            resolving: false,
            resolve_failures: 0,
            poll: Poll::new(settings, now),
            pending: None,
            filter: Filter::default(),
            server: None,
            stamps: None,
            fresh_until: None,
            selection: Selection::Unreachable,
            false_streak: 0,
            denied: false,
            fault: None,
            objection: None,
            contradicted: None,
            width: None,
            fresh: false,
            exchanges: 0,
            rejected: 0,
            restarts: 0,
        }
    }

    /// From the beginning on, Network Time Security is asked for.
    pub(crate) fn require_nts(&mut self, now: Counter) {
        self.nts = Some(Association::new(now));
    }

    pub(crate) fn nts(&self) -> Option<&Association> {
        self.nts.as_ref()
    }

    /// The keys it has are from a session whose certificate was not checked at a time that was obtained.
    pub(crate) fn awaits_review(&self) -> bool {
        self.nts.as_ref().and_then(Association::basis).is_some_and(|basis| basis != Basis::Obtained)
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn reach(&self) -> u8 {
        self.poll.reach()
    }

    pub(crate) fn poll_exponent(&self) -> i8 {
        self.poll.exponent()
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// What is wrong with it, in words: why it is not believed, else its last fault, else why it is believed and not
    /// used.
    pub(crate) fn complaint(&self) -> Option<String> {
        match (self.objection, &self.fault) {
            (Some(Objection::Misses(miss)), _) => Some(format!("its interval misses the agreed one by {} ns", miss.0)),
            (_, Some(fault)) => Some(fault.to_string()),
            (Some(Objection::Apart(miss)), None) => Some(format!("set apart: {} ns from what the others say", miss.0)),
            (None, None) => None,
        }
    }

    /// Whether it was set apart last time: believed, but not used.
    pub(crate) fn is_apart(&self) -> bool {
        matches!(self.objection, Some(Objection::Apart(_)))
    }

    pub(crate) fn contradicted(&self) -> Option<Counter> {
        self.contradicted
    }

    /// The oscillator was at fault, nobody knows when: what was seen before `now` means nothing.
    pub(crate) fn handle_disruption(&mut self, now: Counter) {
        self.contradicted = None;
        if self.newest().is_some_and(|newest| newest.at < now) {
            self.filter.clear();
        }
    }

    /// The counter stood still or was replaced before `now`: that holds for what is under way, too.
    pub(crate) fn handle_gap(&mut self, now: Counter) {
        self.pending = None;
        self.handle_disruption(now);
        self.poll.hasten(now);
    }

    /// Whether selection may still expect something of the very first request.
    pub(crate) fn is_untried(&self) -> bool {
        self.exchanges == 0
            && match self.address {
                Some(_) => self.poll.is_untried(),
                None => self.resolve_failures == 0,
            }
    }

    pub(crate) fn newest(&self) -> Option<Sample> {
        self.filter.newest()
    }

    /// Half the width of its correctness interval when its newest exchange came: what it is worth at any distance of
    /// polls.
    pub(crate) fn width(&self) -> Nanos {
        self.width.unwrap_or(Nanos::MAX)
    }

    /// The present distance of its polls.
    pub(crate) fn interval(&self) -> Nanos {
        self.poll.interval()
    }

    /// The newest exchange that counted, as it was.
    pub(crate) fn newest_exchange(&self) -> Option<Exchange> {
        Some(Exchange { stamps: self.stamps?, server: self.server? })
    }

    /// Begins anew, with an expectation of our oscillator's frequency.
    pub(crate) fn seed(&mut self, prior: Prior) {
        self.filter.seed(prior);
    }

    /// Our oscillator's frequency as this source's exchanges tell it.
    pub(crate) fn frequency(&self) -> Prior {
        self.filter.frequency()
    }

    /// Until when the newest exchange counts as fresh.
    ///
    /// What happens to the polls afterwards does not change it: a server that denies service does not stay fresh.
    pub(crate) fn fresh_until(&self) -> Option<Counter> {
        self.fresh_until
    }

    /// When something is to be done next.
    pub(crate) fn due(&self) -> Counter {
        let address = self.resolve_due.unwrap_or(Counter(i64::MAX));
        let request = match (self.address, self.pending) {
            (None, _) => Counter(i64::MAX),
            (Some(_), Some(pending)) => pending.deadline,
            (Some(_), None) => self.poll.due(),
        };
        address.min(request)
    }

    /// Whether an address should be looked for now; the question is asked once per attempt.
    pub(crate) fn take_address_wish(&mut self, now: Counter) -> bool {
        let wished = self.resolve_due.is_some_and(|due| due <= now);
        if wished {
            (self.resolve_due, self.resolving) = (None, true);
            self.nts.iter_mut().for_each(|nts| nts.handle_asked(now));
        }
        wished
    }

    /// The server to ask from now on. The same one again changes nothing but the wait.
    pub(crate) fn assign(&mut self, address: SocketAddr, now: Counter) {
        self.resolve_failures = 0;
        (self.resolve_due, self.resolving) = (None, false);
        if self.address == Some(address) {
            // Nothing better was found: go on, and look again when patience ends anew.
            self.false_streak = 0;
            return;
        }
        self.address = Some(address);
        self.poll.restart(now);
        self.filter.clear();
        self.pending = None;
        (self.server, self.stamps, self.width) = (None, None, None);
        (self.selection, self.objection) = (Selection::Unreachable, None);
        (self.false_streak, self.denied, self.fault) = (0, false, None);
    }

    /// No address was found; another attempt follows.
    pub(crate) fn handle_no_address(&mut self, why: String, now: Counter) {
        if self.address.is_none() {
            self.fault = Some(Fault::World(why));
        }
        self.resolving = false;
        self.resolve_failures = (self.resolve_failures + 1).min(RESOLVE_RETRY_MAX + 1);
        self.resolve_due = Some(now + Nanos::from_log2_seconds(self.resolve_failures - 1));
    }

    /// Keys were exchanged: the server to ask from now on, and how.
    pub(crate) fn grant(&mut self, address: SocketAddr, grant: Grant, now: Counter) {
        self.assign(address, now);
        if let Some(nts) = &mut self.nts {
            nts.grant(grant);
        }
    }

    /// No keys were to be had; another attempt follows.
    pub(crate) fn handle_no_keys(&mut self, fault: &KeyFault, now: Counter) {
        let (KeyFault::Unreached(why) | KeyFault::Failed(why)) = fault;
        self.handle_no_address(why.clone(), now);
        let Some(nts) = &mut self.nts else { return };
        nts.handle_no_keys(fault, now);
        self.resolve_due = self.resolve_due.map(|due| due.max(nts.not_before()));
    }

    /// Checks the certificate of the session, at a time that was obtained.
    pub(crate) fn check_certificate(&self, at: UnixTime) -> Result<(), Invalid> {
        self.nts.as_ref().map_or(Ok(()), |nts| nts.check_certificate(at))
    }

    /// The certificate has passed that check.
    pub(crate) fn certify(&mut self) {
        self.nts.iter_mut().for_each(Association::certify);
    }

    /// It has not: what was said under these keys means nothing, and others are wanted.
    pub(crate) fn revoke(&mut self, why: &str, now: Counter) {
        self.nts.iter_mut().for_each(|nts| nts.revoke(why));
        self.pending = None;
        self.filter.clear();
        self.fault = Some(Fault::World(why.to_owned()));
        self.wish_for_another(now);
    }

    /// Whether a request is due.
    pub(crate) fn wants_to_send(&self, now: Counter) -> bool {
        self.address.is_some() && self.pending.is_none() && self.poll.due() <= now
    }

    /// A request, if one is due.
    pub(crate) fn poll_transmit(&mut self, now: Counter, chance: &Chance) -> Option<(SocketAddr, Vec<u8>)> {
        let address = self.address.filter(|_| self.wants_to_send(now))?;
        self.poll.handle_sent(now, chance.dither);
        let header = Packet::request(chance.transmit).bytes();
        let request = match &mut self.nts {
            None => Some(header.to_vec()),
            Some(nts) => nts.request(&header, &chance.nts),
        };
        let Some(request) = request else {
            // The poll is missed: whatever is asked without keys, no answer could be believed.
            self.handle_miss(Fault::World("there are no cookies left".to_owned()), now);
            self.wish_for_another(now);
            return None;
        };
        let (transmit, deadline) = (chance.transmit, now + self.poll.timeout());
        self.pending = Some(Pending { transmit, t1: now, own_id: None, deadline });
        Some((address, request))
    }

    /// The request really left at `t1` (or just after), from the address `local`.
    pub(crate) fn handle_sent(&mut self, t1: Counter, local: Option<IpAddr>) {
        if let Some(pending) = &mut self.pending {
            pending.t1 = t1;
            // Servers of one host may well follow each other over its loopback.
            pending.own_id = local.filter(|local| !local.is_loopback()).map(packet::reference_id);
        }
    }

    /// A datagram came from the source's address at `t4`.
    pub(crate) fn handle_datagram(
        &mut self,
        datagram: &[u8],
        t4: Counter,
        pivot: UnixTime,
        settings: &Settings,
    ) -> Outcome {
        let Some(pending) = self.pending else { return Outcome::Ignored };
        let proof = self.nts.as_ref().map(|nts| nts.open(datagram));
        let judged = match proof {
            Some(Reply::Unproven(why)) => Err(Refusal::Unproven(why)),
            _ => exchange::judge(datagram, pending.transmit, pending.t1, t4, pivot, settings.frequency_limit),
        };
        // Above stratum 1 the reference id is the address of the server's own server (RFC 5905, section 7.3).
        let judged = judged.and_then(|exchange| match (&exchange.server, pending.own_id) {
            (server, Some(own)) if server.stratum > 1 && server.reference_id == own => Err(Refusal::Loop),
            _ => Ok(exchange),
        });
        let judged = match (&mut self.nts, proof) {
            (Some(nts), Some(Reply::Proven(cookies))) => {
                // One that answers another request may come again and again.
                if !judged.is_err_and(Refusal::is_anonymous) {
                    nts.accept(cookies);
                }
                judged
            }
            (Some(nts), _) => {
                if matches!(judged, Err(Refusal::Kiss(_))) {
                    nts.handle_nak();
                }
                let anonymous = judged.err().filter(|refusal| refusal.is_anonymous());
                Err(anonymous.unwrap_or(Refusal::Unproven("it is not authenticated")))
            }
            (None, _) => judged,
        };
        match judged {
            Ok(exchange) => {
                self.handle_exchange(&exchange, settings);
                Outcome::Accepted
            }
            Err(refusal) => {
                self.rejected += 1;
                if refusal.is_anonymous() {
                    return Outcome::Ignored;
                }
                self.pending = None;
                match refusal {
                    Refusal::Kiss(Kiss::Rate) => self.poll.handle_rate_kiss(t4),
                    Refusal::Kiss(Kiss::Deny) => {
                        self.denied = true;
                        self.poll.handle_deny_kiss(t4);
                    }
                    _ => {}
                }
                self.handle_miss(Fault::Refused(refusal), t4);
                Outcome::Refused
            }
        }
    }

    /// An exchange that passed all checks; also the way in for recorded ones.
    pub(crate) fn handle_exchange(&mut self, exchange: &Exchange, settings: &Settings) {
        let stamps = &exchange.stamps;
        let fits = self.filter.fits(stamps.t4, stamps.offset(), stamps.delay());
        self.pending = None;
        self.denied = false;
        (self.server, self.stamps) = (Some(exchange.server), Some(exchange.stamps));
        self.filter.add(exchange, settings);
        self.exchanges += 1;
        self.fresh = true;
        self.fault = None;
        let testimony = self.filter.testify(stamps.t4, self.poll.horizon(), settings);
        let told = testimony.as_ref().ok().and_then(Option::as_ref);
        self.width = told.map(|told| told.witness.offset.half_width());
        self.poll.handle_answer(fits, |span| told.is_some_and(|told| stays_useful(told, span, settings)));
        self.fresh_until = Some(stamps.t4 + Nanos(self.poll.interval().0.saturating_mul(3)));
        if testimony.is_err() {
            self.filter.restart();
            self.contradicted = Some(stamps.t4);
            self.restarts = self.restarts.saturating_add(1);
            self.fault = Some(Fault::Contradiction);
        }
    }

    /// A recorded exchange, asked for and answered.
    pub(crate) fn handle_recorded(&mut self, exchange: &Exchange, settings: &Settings) {
        self.poll.handle_sent(exchange.stamps.t1, 0);
        match exchange::check(exchange, settings.frequency_limit) {
            Ok(()) => self.handle_exchange(exchange, settings),
            Err(refusal) => {
                self.rejected += 1;
                self.handle_miss(Fault::Refused(refusal), exchange.stamps.t4);
            }
        }
    }

    /// A recorded request that was not answered.
    pub(crate) fn handle_silence(&mut self, now: Counter) {
        self.poll.handle_sent(now, 0);
        self.handle_miss(Fault::Silence, now);
    }

    /// Ends a request whose time is over; says whether there was one.
    pub(crate) fn expire(&mut self, now: Counter) -> bool {
        let over = self.pending.is_some_and(|pending| pending.deadline <= now);
        if over {
            self.handle_failure(Fault::Silence, now);
        }
        over
    }

    /// The request came to nothing: `fault` says why.
    pub(crate) fn handle_failure(&mut self, fault: Fault, now: Counter) {
        if self.pending.take().is_none() {
            return;
        }
        let refused = self.nts.as_mut().is_some_and(Association::take_refused);
        let fault =
            if refused { Fault::World("the server no longer knows the keys (NTS NAK)".to_owned()) } else { fault };
        self.handle_miss(fault, now);
        if refused || self.nts.as_ref().is_some_and(Association::is_out_of_cookies) {
            self.wish_for_another(now);
        }
    }

    fn handle_miss(&mut self, fault: Fault, now: Counter) {
        self.fault = Some(fault);
        self.poll.handle_miss(now);
        if self.poll.is_unreachable() || self.denied {
            self.wish_for_another(now);
        }
    }

    /// Selection's verdict, after exchanges of this source or of others.
    pub(crate) fn handle_selection(&mut self, selection: Selection, objection: Option<Objection>, now: Counter) {
        (self.selection, self.objection) = (selection, objection);
        if !std::mem::take(&mut self.fresh) {
            return;
        }
        if selection != Selection::Falseticker {
            self.false_streak = 0;
            return;
        }
        self.false_streak = self.false_streak.saturating_add(1);
        if self.false_streak >= PATIENCE {
            self.false_streak = 0;
            self.wish_for_another(now);
        }
    }

    /// Whether the address that was wished for is still of use: the old one may have come back to its senses meanwhile.
    pub(crate) fn wants_address(&self) -> bool {
        let good = self.reach() != 0 && !self.denied && self.selection != Selection::Falseticker;
        self.address.is_none() || !good
    }

    /// Asks for a (perhaps different) address, one question at a time.
    fn wish_for_another(&mut self, now: Counter) {
        if self.resolve_due.is_none() && !self.resolving {
            // Keys are exchanged no more often than that, whoever wishes for it.
            let earliest = self.nts.as_ref().map_or(now, Association::not_before);
            self.resolve_due = Some(now.max(earliest));
        }
    }

    /// What the source says about `now`, if it answers and does not contradict itself.
    pub(crate) fn testimony(&self, now: Counter, settings: &Settings) -> Option<Testimony> {
        if self.reach() == 0 || self.denied {
            return None;
        }
        self.filter.testimony(now, self.poll.horizon(), settings).ok().flatten()
    }
}

/// Whether an interval, as it will be after `span`, is not yet twice as wide as it is: asked that late, a nearby server
/// would tell no more than a distant one, and a liar's lie would hide in what the oscillator may have drifted
/// meanwhile.
fn stays_useful(told: &Testimony, span: Nanos, settings: &Settings) -> bool {
    let later = told.witness.after(span, &settings.drift);
    later.half_width().0 <= told.witness.offset.half_width().0.saturating_mul(2)
}

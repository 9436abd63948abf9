//! One server over time: when to ask it, what it said, what is wrong with it.

mod address;
mod fault;
pub(crate) mod filter;
pub(crate) mod interleaving;
mod keys;
mod ours;
pub(crate) mod poll;
mod standing;

use std::net::{IpAddr, SocketAddr};

use crate::config::Settings;
use crate::exchange::{self, Exchange, Kiss, Refusal, ServerState, Stamps};
use crate::mac::Forgery;
use crate::model::estimator::{Prior, Sample};
use crate::nts;
use crate::nts::session::{Association, Reply};
use crate::packet::{HEADER_LEN, Packet};
use crate::status::{Reason, Refusals, Selection};
use crate::units::{Counter, Nanos, NtpTime, UnixTime};
pub(crate) use fault::{Fault, Objection};
use filter::{Filter, Testimony};
use interleaving::{Interleaving, Told};
use ours::Ours;
pub(crate) use ours::is_private;
use poll::Poll;
pub(crate) use standing::{Chance, Standing};

/// Exchanges in a row that selection may call false before another server is wanted.
const PATIENCE: u8 = 8;

/// Denials in a row before another server is wanted. One may be a forgery by somebody on the path, or a mistake.
const DENIALS: u8 = 3;

/// Good exchanges in a row before a source that was caught lying is heard again.
const PROBATION: u8 = 4;

/// One source: a place in the list of sources, and the server that fills it at present.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) standing: Standing,
    address: Option<SocketAddr>,
    /// What Network Time Security asks for here: an address then comes with keys, and nothing is sent or believed
    /// without.
    nts: Option<Association>,
    /// When an address should next be looked for.
    resolve_due: Option<Counter>,
    /// An address is being looked for.
    resolving: bool,
    resolve_failures: i8,
    poll: Poll,
    pending: Option<Pending>,
    /// Interleaved mode, where it is asked for.
    interleaving: Option<Interleaving>,
    filter: Filter,
    pub(crate) server: Option<ServerState>,
    /// Of the newest exchange that counted.
    stamps: Option<Stamps>,
    fresh_until: Option<Counter>,
    pub(crate) selection: Selection,
    /// Exchanges in a row at which selection called this source false.
    false_streak: u8,
    /// Denials in a row.
    denials: u8,
    /// Good exchanges that it must show before it is heard: it was caught lying.
    probation: u8,
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
    pub(crate) refusals: Refusals,
    pub(crate) restarts: u32,
    pub(crate) ours: Ours,
}

/// A request that awaits its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    transmit: NtpTime,
    t1: Counter,
    deadline: Counter,
    /// Replies that may be anybody's, and what was wrong with the last.
    ignored: Option<(u32, Refusal)>,
}

impl Pending {
    /// A reply came that may be anybody's.
    fn note(&mut self, refusal: Refusal) {
        let before = self.ignored.map_or(0, |(replies, _)| replies);
        self.ignored = Some((before.saturating_add(1), refusal));
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
    /// It was the server's, and told nothing new; the request is over.
    Answered,
}

impl Source {
    /// A source without an address: one is wanted at once.
    pub(crate) fn new(standing: Standing, settings: &Settings, now: Counter) -> Self {
        // Of the one request that carries a cookie there is nothing to be asked for later.
        let interleaved = settings.interleaved && !standing.options.nts;
        Self {
            nts: standing.options.nts.then(|| Association::new(now)),
            standing,
            address: None,
            resolve_due: Some(now),
            resolving: false,
            resolve_failures: 0,
            poll: Poll::new(settings, now),
            pending: None,
            interleaving: interleaved.then(Interleaving::default),
            filter: Filter::default(),
            server: None,
            stamps: None,
            fresh_until: None,
            selection: Selection::Unreachable,
            false_streak: 0,
            denials: 0,
            probation: 0,
            fault: None,
            objection: None,
            contradicted: None,
            width: None,
            fresh: false,
            exchanges: 0,
            rejected: 0,
            refusals: Refusals::default(),
            restarts: 0,
            ours: Ours::default(),
        }
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

    /// Whether it has denied service so often that it is taken at its word.
    fn is_denied(&self) -> bool {
        self.denials >= DENIALS
    }

    /// Whether its word counts for nothing at present, whatever it says.
    fn is_discredited(&self) -> bool {
        self.is_denied() || self.probation > 0
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

    /// The counter stood still or was replaced before `now`: that holds for what is under way, too. It may have been
    /// set back, and no counter value from before compares with one from after; nor does this very `now`, for a counter
    /// that stands still shows the same.
    pub(crate) fn handle_gap(&mut self, now: Counter) {
        self.pending = None;
        self.contradicted = None;
        self.interleaving.iter_mut().for_each(Interleaving::forget);
        self.filter.clear();
        self.nts.iter_mut().for_each(|nts| nts.handle_gap(now));
        let earliest = self.earliest_wish(now);
        self.resolve_due = self.resolve_due.map(|due| due.min(now + Nanos::from_seconds(1)).max(earliest));
        self.poll.handle_gap(now);
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
        self.interleaving.iter_mut().for_each(Interleaving::forget);
        (self.server, self.stamps, self.width) = (None, None, None);
        (self.selection, self.objection) = (Selection::Unreachable, None);
        (self.false_streak, self.denials, self.probation, self.fault) = (0, 0, 0, None);
    }

    /// Whether a request is due.
    pub(crate) fn wants_to_send(&self, now: Counter) -> bool {
        self.address.is_some() && self.pending.is_none() && self.poll.due() <= now
    }

    /// A request, if one is due, and whither.
    pub(crate) fn poll_transmit(&mut self, now: Counter, chance: &Chance) -> Option<(SocketAddr, Vec<u8>)> {
        let address = self.address.filter(|_| self.wants_to_send(now))?;
        let &Chance { transmit, dither, ref nts } = chance;
        self.poll.handle_sent(now, dither);
        let Some(datagram) = self.request(transmit, dither, nts) else {
            // The poll is missed: whatever is asked without keys, no answer could be believed.
            self.handle_miss(Fault::NoCookie, now);
            self.wish_for_another(now);
            return None;
        };
        self.pending = Some(Pending { transmit, t1: now, deadline: now + self.poll.timeout(), ignored: None });
        self.renew_keys(now);
        Some((address, datagram))
    }

    /// The next request; `None` if there is no cookie for it.
    fn request(&mut self, transmit: NtpTime, dither: u64, chance: &nts::Chance) -> Option<Vec<u8>> {
        if let Some(nts) = &mut self.nts {
            return nts.request(&Packet::request(transmit).bytes(), chance);
        }
        let request = match &mut self.interleaving {
            // What the polls are moved by is seen by nobody before the request is, and means nothing afterwards.
            Some(interleaving) => interleaving.request(transmit, dither),
            None => Packet::request(transmit),
        };
        let mut datagram = request.bytes().to_vec();
        if let Some(key) = &self.standing.key {
            key.authenticate(&mut datagram);
        }
        Some(datagram)
    }

    /// The request really left at `t1` (or just after), from the address `local`; servers of ours are at `served`.
    pub(crate) fn handle_sent(&mut self, t1: Counter, local: Option<IpAddr>, served: &[IpAddr]) {
        self.handle_departure(t1);
        if let Some(address) = self.address {
            self.ours.take_names(address.ip(), local, served);
        }
    }

    /// The request left at `t1` (or just after), as is known by now.
    pub(crate) fn handle_departure(&mut self, t1: Counter) {
        if let Some(pending) = &mut self.pending {
            pending.t1 = t1;
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
        let packet = Packet::parse(datagram);
        let told = self.interleaving.zip(packet).and_then(|(state, packet)| state.told(&packet, pending.transmit));
        let proof = self.nts.as_ref().map(|nts| nts.open(datagram));
        let judged = self.judge(datagram, told.as_ref(), proof.as_ref(), &pending, t4, pivot, settings);
        self.heed(proof, judged.err());
        match judged {
            Ok(exchange) => {
                if let (Some(interleaving), Some(packet)) = (&mut self.interleaving, packet) {
                    interleaving.note(&packet, pending.t1, t4, told.is_none());
                }
                if told.is_some_and(|told| told.counted) {
                    self.handle_repetition();
                } else {
                    self.handle_exchange(&exchange, settings);
                }
                // However old what it told is, the server has just told it.
                self.fresh_until = Some(t4 + Nanos(self.poll.interval().0.saturating_mul(3)));
                if told.is_some_and(|told| told.counted) { Outcome::Answered } else { Outcome::Accepted }
            }
            Err(refusal) => {
                self.rejected += 1;
                if refusal.is_anonymous() {
                    self.refusals.add(refusal.reason());
                    self.pending.iter_mut().for_each(|pending| pending.note(refusal));
                    return Outcome::Ignored;
                }
                self.pending = None;
                match refusal {
                    Refusal::Kiss(Kiss::Rate) => self.poll.handle_rate_kiss(t4),
                    Refusal::Kiss(Kiss::Deny | Kiss::Restrict) => {
                        self.denials = self.denials.saturating_add(1);
                        self.poll.handle_deny_kiss(t4, self.is_denied());
                    }
                    _ => {}
                }
                self.handle_refusal(refusal, t4);
                Outcome::Refused
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    fn judge(
        &self,
        datagram: &[u8],
        told: Option<&Told>,
        proof: Option<&Reply>,
        pending: &Pending,
        t4: Counter,
        pivot: UnixTime,
        settings: &Settings,
    ) -> Result<Exchange, Refusal> {
        let packet = exchange::answer(datagram, told.map_or(pending.transmit, |told| told.origin))?;
        // Nothing of what is not authenticated is believed, not even that we are refused.
        if let Some(key) = &self.standing.key {
            key.verify(datagram, HEADER_LEN).map_err(Refusal::Forged)?;
        }
        match proof {
            None | Some(Reply::Proven(_)) => {}
            Some(Reply::Nak) => return Err(Refusal::Forged(Forgery::Nak)),
            Some(Reply::Unproven(why)) => return Err(Refusal::Unproven(why)),
        }
        if t4 > pending.deadline {
            return Err(Refusal::Late);
        }
        // What is told of the exchange before is judged as the reply that would have been sent then.
        let (packet, t1, t4) = told.map_or((&packet, pending.t1, t4), |told| (&told.packet, told.t1, told.t4));
        let exchange = exchange::measure(packet, t1, t4, pivot, settings.frequency_limit)?;
        if self.ours.are_led_by(&exchange.server) { Err(Refusal::Loop) } else { Ok(exchange) }
    }

    /// The server's own answer was no good.
    fn handle_refusal(&mut self, refusal: Refusal, now: Counter) {
        if refusal.is_a_lie() {
            // Nothing that it said before is worth more. Who lies while on probation is given up.
            if self.probation > 0 {
                self.wish_for_another(now);
            }
            self.probation = PROBATION;
            self.filter.clear();
        }
        self.handle_miss(Fault::Refused(refusal), now);
    }

    /// An exchange that passed all checks; also the way in for recorded ones.
    pub(crate) fn handle_exchange(&mut self, exchange: &Exchange, settings: &Settings) {
        let stamps = &exchange.stamps;
        let fits = self.filter.fits(stamps.t4, stamps.offset(), stamps.delay());
        self.pending = None;
        self.denials = 0;
        self.probation = self.probation.saturating_sub(1);
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
            self.refusals.add(Reason::Contradiction);
            self.fault = Some(Fault::Contradiction);
        }
    }

    /// The server has answered, and told once more of an exchange that counted already.
    fn handle_repetition(&mut self) {
        self.pending = None;
        self.denials = 0;
        self.fault = None;
        self.poll.handle_answer(true, |_| true);
    }

    /// A recorded exchange, asked for and answered.
    pub(crate) fn handle_recorded(&mut self, exchange: &Exchange, settings: &Settings) {
        self.poll.handle_sent(exchange.stamps.t1, 0);
        match exchange::check(exchange, settings.frequency_limit) {
            Ok(()) => self.handle_exchange(exchange, settings),
            Err(refusal) => {
                self.rejected += 1;
                self.handle_refusal(refusal, exchange.stamps.t4);
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
            let ignored = self.pending.and_then(|pending| pending.ignored);
            let fault = ignored.map_or(Fault::Silence, |(replies, last)| Fault::NoneGood(replies, last));
            self.handle_failure(fault, now);
        }
        over
    }

    /// A request that is due cannot be made, for now: says whether that is news.
    pub(crate) fn handle_hindrance(&mut self, why: &str, now: Counter) -> bool {
        let due = self.address.is_some() && self.pending.is_none() && self.poll.due() <= now;
        let news = due && !matches!(&self.fault, Some(Fault::World(known)) if known == why);
        if news {
            self.fault = Some(Fault::World(why.to_owned()));
        }
        news
    }

    /// The request came to nothing: `fault` says why.
    pub(crate) fn handle_failure(&mut self, fault: Fault, now: Counter) {
        if self.pending.take().is_none() {
            return;
        }
        let refused = self.nts.as_mut().is_some_and(Association::take_refused);
        self.handle_miss(if refused { Fault::Nak } else { fault }, now);
        if refused || self.nts.as_ref().is_some_and(Association::is_out_of_cookies) {
            self.wish_for_another(now);
        }
    }

    fn handle_miss(&mut self, fault: Fault, now: Counter) {
        let reason = match &fault {
            Fault::Refused(refusal) => Some(refusal.reason()),
            // Each of them was counted when it came.
            Fault::Silence | Fault::NoneGood(..) => Some(Reason::Silence),
            Fault::World(_) | Fault::NoAddress(_) => Some(Reason::Network),
            // It was counted when it came.
            Fault::Nak => None,
            Fault::NoCookie => Some(Reason::NoCookie),
            Fault::Contradiction => Some(Reason::Contradiction),
        };
        reason.into_iter().for_each(|reason| self.refusals.add(reason));
        self.fault = Some(fault);
        self.poll.handle_miss(now);
        if self.poll.is_unreachable() || self.is_denied() {
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
        self.refusals.add(Reason::Falseticker);
        self.false_streak = self.false_streak.saturating_add(1);
        if self.false_streak >= PATIENCE {
            self.false_streak = 0;
            self.wish_for_another(now);
        }
    }

    /// What the source says about `now`, if it answers and does not contradict itself.
    pub(crate) fn testimony(&self, now: Counter, settings: &Settings) -> Option<Testimony> {
        if self.reach() == 0 || self.is_discredited() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Mode;
    use crate::units::{NtpShort, unix_seconds};

    const PIVOT: UnixTime = unix_seconds(1_700_000_000);

    /// The server's clock at a counter value.
    fn utc(counter: Counter) -> UnixTime {
        unix_seconds(1_795_000_000) + (counter - Counter(0))
    }

    /// A server 100 µs away that takes 40 µs over a reply, 30 of them after it has written its transmit timestamp; and
    /// that knows of the last one when it left.
    struct Server {
        speaks_interleaved: bool,
        last: Option<(NtpTime, NtpTime)>,
    }

    impl Server {
        fn answer(&mut self, request: &Packet, t1: Counter) -> (Packet, Counter) {
            let came = t1 + Nanos(100_000);
            let (written, left) = (came + Nanos(10_000), came + Nanos(40_000));
            let stamp = |counter| NtpTime::from_unix(utc(counter));
            let known = self.last.filter(|(receive, _)| self.speaks_interleaved && request.origin == *receive);
            self.last = Some((stamp(came), stamp(left)));
            let (origin, transmit) =
                known.map_or((request.transmit, stamp(written)), |(_, left)| (request.receive, left));
            let packet = Packet {
                mode: Mode::Server,
                stratum: 1,
                precision: -25,
                root_dispersion: NtpShort(2),
                origin,
                receive: stamp(came),
                ..Packet::request(transmit)
            };
            (packet, left + Nanos(100_000))
        }
    }

    /// Outcomes and delays of exchanges 2 s apart.
    fn exchanges(settings: &Settings, server: &mut Server, count: u64) -> Vec<(Outcome, i64)> {
        let mut source = Source::new(Standing::default(), settings, Counter(0));
        source.assign(SocketAddr::from(([192, 0, 2, 1], 123)), Counter(0));
        let mut told = Vec::new();
        for number in 0..count {
            let now = source.due();
            let (_, request) =
                source.poll_transmit(now, &Chance::new([1_000 + number, 9_000 + number, 0, 0, 0, 0, 0, 0])).unwrap();
            source.handle_sent(now, None, &[]);
            let (reply, t4) = server.answer(&Packet::parse(&request).unwrap(), now);
            let outcome = source.handle_datagram(&reply.bytes(), t4, PIVOT, settings);
            assert!(source.fresh_until().unwrap() > t4 + source.interval());
            told.push((outcome, source.newest().unwrap().delay.0));
        }
        assert_eq!((source.rejected, source.reach().count_ones()), (0, count.min(8) as u32));
        told
    }

    #[test]
    fn in_interleaved_mode_an_exchange_counts_once_and_by_when_its_reply_really_left() {
        let settings = Settings { interleaved: true, ..Settings::default() };
        let mut server = Server { speaks_interleaved: true, last: None };
        let told = exchanges(&settings, &mut server, 6);
        let outcomes: Vec<_> = told.iter().map(|(outcome, _)| *outcome).collect();
        // The second tells of the first, which counted by what its own reply said.
        assert_eq!(outcomes[..2], [Outcome::Accepted, Outcome::Answered]);
        assert_eq!(outcomes[2..], [Outcome::Accepted; 4]);
        // A nanosecond is what the wire rounds by.
        let near = |delay: i64, expected: i64| (delay - expected).abs() <= 1;
        assert!(near(told[0].1, 230_000) && told[2..].iter().all(|(_, delay)| near(*delay, 200_000)), "{told:?}");
    }

    #[cfg(feature = "_nts")]
    #[test]
    fn keys_are_wished_for_when_they_are_four_weeks_old_and_polls_go_on_with_the_old_ones() {
        use crate::nts::Algorithm;
        use crate::nts::session::tests::Server;
        use crate::nts::trust::Basis;
        use crate::status::ServerOptions;
        let options = ServerOptions { nts: true, ..ServerOptions::default() };
        let mut source = Source::new(Standing { options, key: None }, &Settings::default(), Counter(0));
        assert!(source.take_address_wish(Counter(0)));
        let (grant, _) = Server::grant(Algorithm::Aes128GcmSiv, 8, Basis::Host, i64::MAX);
        source.grant(SocketAddr::from(([192, 0, 2, 1], 123)), grant, Counter(0));
        for (days, wishes) in [(27, false), (28, true)] {
            let now = Counter(0) + Nanos::from_seconds(days * 86_400);
            assert!(source.poll_transmit(now, &Chance::new([1, 2, 3, 4, 5, 6, 7, 8])).is_some());
            assert_eq!(source.take_address_wish(now), wishes, "{days}");
            source.handle_failure(Fault::Silence, now);
        }
        // After a gap neither what is to come waits for a value that is far away, nor are keys exchanged more often.
        let (late, now) = (Counter(0) + Nanos::from_seconds(29 * 86_400), Counter(1));
        source.handle_no_keys(&crate::nts::session::KeyFault::Failed("refused".into()), late);
        source.handle_gap(now);
        assert!(!source.take_address_wish(now + Nanos::from_seconds(15)));
        assert!(source.take_address_wish(now + Nanos::from_seconds(32)));
    }

    #[cfg(feature = "_nts")]
    #[test]
    fn a_nak_counts_once_and_a_poll_without_a_cookie_under_a_reason_of_its_own() {
        use crate::nts::Algorithm;
        use crate::nts::session::tests::Server;
        use crate::nts::trust::Basis;
        use crate::status::ServerOptions;
        let options = ServerOptions { nts: true, ..ServerOptions::default() };
        let mut source = Source::new(Standing { options, key: None }, &Settings::default(), Counter(0));
        let (grant, mut server) = Server::grant(Algorithm::Aes128GcmSiv, 1, Basis::Host, i64::MAX);
        source.grant(SocketAddr::from(([192, 0, 2, 1], 123)), grant, Counter(0));
        let chance = Chance::new([1, 2, 3, 4, 5, 6, 7, 8]);
        let (_, request) = source.poll_transmit(Counter(0), &chance).unwrap();
        let (unique, _) = server.read(&request);
        let kiss = Packet {
            mode: Mode::Server,
            reference_id: u32::from_be_bytes(*b"NTSN"),
            origin: chance.transmit,
            ..Packet::request(NtpTime(1))
        };
        let mut nak = kiss.bytes().to_vec();
        crate::packet::extension::push(&mut nak, crate::nts::field::UNIQUE, &unique);
        assert_eq!(source.handle_datagram(&nak, Counter(1_000), PIVOT, &Settings::default()), Outcome::Ignored);
        assert!(source.expire(Counter(0) + Nanos::from_seconds(9)));
        assert_eq!(source.fault(), Some(&Fault::Nak));
        assert_eq!(source.poll_transmit(Counter(0) + Nanos::from_seconds(99), &chance), None);
        let counted: Vec<_> = source.refusals.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Reason::Nak, 1), (Reason::NoCookie, 1)]);
    }

    #[test]
    fn a_server_that_does_not_know_the_mode_or_has_forgotten_is_heard_as_ever() {
        for interleaved in [true, false] {
            let settings = Settings { interleaved, ..Settings::default() };
            let mut server = Server { speaks_interleaved: false, last: None };
            assert!(exchanges(&settings, &mut server, 6).iter().all(|(outcome, _)| *outcome == Outcome::Accepted));
        }
        // Who does not ask for it is not answered in it.
        let mut server = Server { speaks_interleaved: true, last: None };
        let told = exchanges(&Settings::default(), &mut server, 6);
        assert!(told.iter().all(|(outcome, delay)| *outcome == Outcome::Accepted && *delay > 229_000), "{told:?}");
    }
}

//! The whole core against a world that the fuzzer makes up: who answers what and when, who lies, what is lost, what
//! strangers send, when the counter stands still. The oscillator stays within its limits and no more sources lie than
//! are assumed to; so, at any time: UTC lies in the published interval, no reading of an epoch runs backwards, what
//! proves nothing moves nothing, and the memory does not grow.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::Input;
use super::keyed;
use crate::config::Settings;
use crate::mac::Key;
use crate::nts::Algorithm;
use crate::nts::session::KeyFault;
use crate::packet::{HEADER_LEN, Mode, Packet};
use crate::source::{Chance, Outcome, Standing};
#[cfg(test)]
use crate::status::State;
use crate::status::{Leap, ServerOptions};
use crate::synchronizer::{Request, SourceId, Synchronizer};
use crate::units::{Counter, NANOS_PER_SECOND, Nanos, NtpShort, NtpTime, UnixTime, unix_seconds};

const PIVOT: UnixTime = unix_seconds(1_790_000_000);
const BEGIN: UnixTime = unix_seconds(1_795_000_000);

/// Things that happen in one world, at most.
const EVENTS: usize = 200;

/// Requests under way and replies that are kept to be sent again, at most.
const KEPT: usize = 16;

/// What the frequency changes by, ppb: within the drift limit over any time.
const CHANGE: i64 = 1_900;

/// All that the core says of itself is shorter than this, whatever came; it grows with the sources (7), their
/// exchanges (48 each) and nothing else.
const DESCRIPTION_MAX: usize = 150_000;

/// UTC as a function of the counter.
#[derive(Clone, Copy)]
struct Oscillator {
    base: Counter,
    utc: UnixTime,
    ppb: i64,
}

impl Oscillator {
    fn utc_at(&self, counter: Counter) -> UnixTime {
        let elapsed = i128::from((counter - self.base).0);
        self.utc + Nanos((elapsed + (elapsed * i128::from(self.ppb)).div_euclid(NANOS_PER_SECOND.into())) as i64)
    }

    /// The same up to `counter`, with another frequency from there on.
    fn with(&self, counter: Counter, ppb: i64) -> Self {
        Self { base: counter, utc: self.utc_at(counter), ppb }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    None,
    Key,
    Nts(Algorithm),
}

struct Server {
    proof: Proof,
    lies: bool,
    /// What it claims to be off by at most.
    dispersion: NtpShort,
    /// The receive timestamp of the last reply, and when that really left.
    last: Option<(NtpTime, UnixTime)>,
    cookies: u32,
}

struct World<'a> {
    input: Input<'a>,
    settings: Settings,
    core: Synchronizer,
    now: Counter,
    oscillator: Oscillator,
    slow: i64,
    /// Names and key exchanges may fail, and certificates, too, which may have been checked at no clock's time.
    troubled: bool,
    servers: Vec<Server>,
    /// Requests, and when they left.
    sent: Vec<(Request, Counter)>,
    replies: Vec<(SourceId, Vec<u8>)>,
    drawn: u64,
    /// Epoch and time of the last reading.
    shown: Option<(u32, UnixTime)>,
}

/// One after the other until the input is used up.
pub(super) fn core(data: &[u8]) {
    let mut world = World::new(Input(data));
    for _ in 0..EVENTS {
        if world.input.is_over() {
            break;
        }
        world.happen();
        world.keep_house();
        world.publish();
        world.look();
    }
    let length = format!("{:?}", world.core).len();
    assert!(length < DESCRIPTION_MAX, "it has grown to {length}");
}

fn key() -> Key {
    Key::parse("5", "AES128", "sixteen letters!").expect("a key")
}

impl<'a> World<'a> {
    fn new(mut input: Input<'a>) -> Self {
        let marks = input.byte();
        let poll_min = (marks & 7).min(6).cast_signed();
        let settings = Settings {
            poll_min,
            poll_max: poll_min + 4,
            khronos: marks & 8 != 0,
            interleaved: marks & 16 != 0,
            ..Settings::default()
        };
        let now = Counter(input.sized().saturating_abs() >> 4);
        let slow = i64::from(input.short().cast_signed()) * 5;
        let count = 1 + usize::from(input.byte()) % 7;
        let mut servers: Vec<Server> = (0..count).map(|_| Server::new(&mut input)).collect();
        // Where there are both kinds, those without proof may all lie; else as many as are assumed to.
        let proven = servers.iter().filter(|server| server.proof != Proof::None).count();
        // One whose certificate stands is believed against those that are provisional, so that of those none may lie.
        let troubled = marks & 64 != 0;
        let may_lie = match proven {
            0 => settings.faults(count),
            _ if proven < count => count - proven,
            _ if troubled => 0,
            _ => settings.faults(count),
        };
        let liars = servers.iter_mut().filter(|server| proven == count || server.proof == Proof::None);
        let lie = usize::from(input.byte()) % (may_lie + 1);
        liars.take(lie).for_each(|server| server.lies = true);
        let mut world = Self {
            input,
            core: Synchronizer::new(settings.clone(), PIVOT, 0),
            settings,
            now,
            oscillator: Oscillator { base: now, utc: BEGIN, ppb: slow },
            slow,
            troubled,
            servers,
            sent: Vec::new(),
            replies: Vec::new(),
            drawn: 0,
            shown: None,
        };
        world.add_sources();
        world.keep_house();
        world
    }

    fn add_sources(&mut self) {
        for server in &self.servers {
            let nts = matches!(server.proof, Proof::Nts(_));
            let key = (server.proof == Proof::Key).then(|| Arc::new(key()));
            let options = ServerOptions { nts, ..ServerOptions::default() };
            self.core.add_source_of(Standing { options, key }, self.now);
        }
    }

    /// A number that nobody can guess; but all differ.
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ 0x5555_aaaa_0f0f_3c3c
    }

    fn utc(&self) -> UnixTime {
        self.oscillator.utc_at(self.now)
    }

    fn happen(&mut self) {
        let what = self.input.byte();
        match what % 16 {
            0..=3 => self.answer(what >> 4),
            4 => self.hear_again(),
            5 => drop(self.take_request()),
            6 => self.hear_junk(),
            7 => self.hear_a_forgery(),
            8 => {
                let span = self.input_span(50);
                self.pass(Nanos(span));
            }
            9 | 10 => {
                self.pass((self.core.next_due(self.now) - self.now).max(Nanos(1)).min(Nanos::from_seconds(86_400)))
            }
            11 => {
                let fast = self.oscillator.ppb != self.slow;
                self.oscillator = self.oscillator.with(self.now, if fast { self.slow } else { self.slow + CHANGE });
            }
            12 if what & 16 == 0 => {
                // Time passes that the counter does not count, and the engine is told.
                let lost = self.input_span(46);
                self.oscillator.utc += Nanos(lost);
                self.core.handle_disruption(self.now);
            }
            12 => self.start_anew(),
            13 => {
                let Some((request, _)) = self.take_request() else { return };
                self.core.handle_failure(request.source, "unreachable".to_owned(), self.now);
            }
            14 => self.core.handle_hindrance("no sockets", self.now),
            _ => self.answer_a_stranger(),
        }
    }

    /// A span of up to 2^`bits` ns.
    fn input_span(&mut self, bits: u32) -> i64 {
        self.input.sized().saturating_abs() & ((1 << bits) - 1)
    }

    fn pass(&mut self, span: Nanos) {
        self.now += span;
    }

    /// What the engine does besides: ends what is overdue, finds addresses and keys, sends what is due.
    fn keep_house(&mut self) {
        let now = self.now;
        while self.core.expire(now).is_some() {}
        while let Some(id) = self.core.take_address_wish(now) {
            let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, id.0 as u8 + 1), 123));
            let how = if self.troubled { self.input.byte() } else { 0 };
            match (self.servers[id.0].proof, how & 7) {
                (Proof::Nts(_), 1) => self.core.handle_no_keys(id, &KeyFault::Unreached("nobody".into()), now),
                (Proof::Nts(_), 2) => self.core.handle_no_keys(id, &KeyFault::Failed("refused".into()), now),
                (_, 1 | 2) => self.core.handle_no_address(id, "no such name".into(), now),
                (Proof::Nts(algorithm), _) => {
                    let host = if how & 8 == 0 { self.utc() } else { UnixTime(0) };
                    let time = self.core.certificate_time(host, now);
                    let until = if how & 16 == 0 { Nanos::MAX } else { Nanos(self.input_span(50) - (1 << 49)) };
                    self.core.grant(id, address, keyed::grant(algorithm, 3, time.basis, BEGIN + until), now);
                }
                _ => self.core.assign(id, address, now),
            }
        }
        if self.core.take_round_wish(now) {
            let strangers: Vec<SocketAddr> =
                (1..10).map(|last| SocketAddr::from((Ipv4Addr::new(203, 0, 113, last), 123))).collect();
            self.core.start_round(&strangers);
        }
        loop {
            let chance = Chance::new(std::array::from_fn(|_| self.draw()));
            let Some(request) = self.core.poll_request(now, &chance) else { break };
            self.core.handle_sent(request.source, now, None, &[]);
            if self.sent.len() == KEPT {
                self.sent.remove(0);
            }
            self.sent.push((request, now));
        }
    }

    fn publish(&mut self) {
        if !self.core.wants_plan(self.now) {
            return;
        }
        self.core.review(self.now);
        let plan = self.core.plan(self.now);
        self.core.commit(plan, self.now);
    }

    /// A reader looks, now and after some time in which nobody publishes anything.
    fn look(&mut self) {
        let model = *self.core.model();
        let later = self.now + Nanos(self.input_span(52));
        let changed = self.oscillator.with(self.now, self.slow * 2 + CHANGE - self.oscillator.ppb);
        for (at, utc) in
            [(self.now, self.utc()), (later, self.oscillator.utc_at(later)), (later, changed.utc_at(later))]
        {
            if model.state_at(at).is_usable() {
                let (earliest, shown, latest) = model.at(at);
                assert!(earliest <= shown && shown <= latest, "{model:?}");
                let sides = (utc - earliest, latest - utc);
                assert!(earliest <= utc && utc <= latest, "UTC is outside, {sides:?}, at {at:?}: {model:?}");
            }
        }
        if model.has_line() {
            let shown = model.line.utc_at(self.now);
            if let Some((epoch, before)) = self.shown {
                assert!(model.epoch >= epoch, "epochs run backwards");
                assert!(model.epoch > epoch || shown >= before, "time runs backwards by {:?}", before - shown);
            }
            self.shown = Some((model.epoch, shown));
        }
    }

    /// The process ends, and another goes on from what it left.
    fn start_anew(&mut self) {
        let epoch = self.shown.map_or(0, |(epoch, _)| epoch);
        let memory = self.core.memory(self.now);
        self.core = Synchronizer::new(self.settings.clone(), PIVOT, epoch);
        if let Some(memory) = memory {
            self.core.restore(&memory, self.now);
        }
        self.sent.clear();
        self.add_sources();
    }

    fn take_request(&mut self) -> Option<(Request, Counter)> {
        let index = usize::from(self.input.byte());
        if self.sent.is_empty() { None } else { Some(self.sent.remove(index % self.sent.len())) }
    }

    /// A server answers a request: the truth, if it is honest.
    fn answer(&mut self, how: u8) {
        let Some((request, t1)) = self.take_request() else { return };
        let id = request.source;
        if id.0 >= self.servers.len() {
            return self.sent.push((request, t1));
        }
        let (there, hold, back) = (self.input_span(31), self.input_span(31), self.input_span(31));
        let asked = Packet::parse(&request.datagram).expect("our own request");
        let server = &mut self.servers[id.0];
        let off = i64::from(server.dispersion.0) * 15_000 * i64::from(self.input.byte().cast_signed()) / 128;
        let t2 = self.oscillator.utc_at(t1 + Nanos(there)) + Nanos(off);
        let t3 = t2 + Nanos(hold);
        let honest = Packet {
            mode: Mode::Server,
            stratum: 2,
            precision: -25,
            root_dispersion: server.dispersion,
            reference_id: id.0 as u32,
            reference: NtpTime::from_unix(BEGIN),
            origin: asked.transmit,
            receive: NtpTime::from_unix(t2),
            transmit: NtpTime::from_unix(t3),
            ..Packet::request(NtpTime::ZERO)
        };
        // In interleaved mode: when the reply before really left.
        let interleaved = server.last.filter(|(receive, _)| how & 1 != 0 && asked.origin == *receive);
        let honest = match interleaved {
            Some((_, left)) => Packet { origin: asked.receive, transmit: NtpTime::from_unix(left), ..honest },
            None => honest,
        };
        server.last = Some((honest.receive, t3));
        let lies = server.lies;
        let reply = if lies { self.tampered(honest) } else { honest };
        let datagram = self.proven(id, &request.datagram, &reply);
        let t4 = (t1 + Nanos(there) + Nanos(hold) + Nanos(back)).max(self.now);
        // The server's clock and ours do not run alike: the reply leaves when UTC is t3, not before.
        let t4 = t4 + Nanos(hold / 1_000);
        self.now = t4;
        self.core.handle_datagram(id, &datagram, t4);
        if self.replies.len() == KEPT {
            self.replies.remove(0);
        }
        self.replies.push((id, datagram));
    }

    /// Whatever a liar says.
    fn tampered(&mut self, honest: Packet) -> Packet {
        let marks = self.input.byte();
        let mut reply = honest;
        if marks & 1 != 0 {
            let by = self.input.sized().cast_unsigned();
            (reply.receive.0, reply.transmit.0) = (reply.receive.0.wrapping_add(by), reply.transmit.0.wrapping_add(by));
        }
        if marks & 2 != 0 {
            reply.transmit.0 = reply.transmit.0.wrapping_add(self.input.sized().cast_unsigned());
        }
        if marks & 4 != 0 {
            (reply.root_delay.0, reply.root_dispersion.0) =
                (u32::from(self.input.short()), u32::from(self.input.short()));
        }
        if marks & 8 != 0 {
            (reply.stratum, reply.precision) = (self.input.byte(), self.input.byte().cast_signed());
        }
        if marks & 16 != 0 {
            // It says that it is another one.
            reply.reference_id = u32::from(self.input.byte() & 7);
        }
        if marks & 32 != 0 {
            reply.leap = Leap::from_number(u64::from(marks >> 6));
            reply.reference_id =
                [*b"RATE", *b"DENY", *b"RSTR", *b"NTSN"].map(u32::from_be_bytes)[usize::from(marks >> 6)];
        }
        reply
    }

    /// `reply` with the server's proof, if it has one.
    fn proven(&mut self, id: SourceId, request: &[u8], reply: &Packet) -> Vec<u8> {
        let server = &mut self.servers[id.0];
        match server.proof {
            Proof::None => reply.bytes().to_vec(),
            Proof::Key => {
                let mut datagram = reply.bytes().to_vec();
                key().authenticate(&mut datagram);
                datagram
            }
            Proof::Nts(algorithm) => {
                server.cookies += 1;
                keyed::answer(algorithm, reply, request, server.cookies)
            }
        }
    }

    /// What arrives a second time, or after its request was answered otherwise, is nobody's answer.
    fn hear_again(&mut self) {
        let index = usize::from(self.input.byte());
        let Some((id, datagram)) = self.replies.get(index % self.replies.len().max(1)).cloned() else { return };
        let outcome = self.unmoved(id, &datagram);
        assert_eq!(outcome, Outcome::Ignored, "a reply was believed twice");
    }

    /// Anything at all, from the server's address and port, by somebody who has not seen the request.
    fn hear_junk(&mut self) {
        let id = SourceId(usize::from(self.input.byte()) % self.servers.len());
        let length = usize::from(self.input.byte());
        let mut datagram = self.input.bytes(length).to_vec();
        if length & 1 == 0 {
            // At least it looks like a reply.
            datagram.splice(0..0, Packet { mode: Mode::Server, stratum: 1, ..Packet::request(NtpTime(7)) }.bytes());
        }
        let guessed = Packet::parse(&datagram).map(|packet| packet.origin);
        let asks = |request: &Request| {
            let asked = Packet::parse(&request.datagram).expect("our own request");
            [Some(asked.transmit), Some(asked.receive)].contains(&guessed)
        };
        if !self.sent.iter().any(|(request, _)| asks(request)) {
            assert_eq!(self.unmoved(id, &datagram), Outcome::Ignored, "who has not seen the request was heard");
        }
    }

    /// By somebody on the path, who has seen the request but has no keys.
    fn hear_a_forgery(&mut self) {
        let index = usize::from(self.input.byte());
        let Some((request, _)) = self.sent.get(index % self.sent.len().max(1)) else { return };
        let (id, datagram) = (request.source, request.datagram.clone());
        if self.servers.get(id.0).is_none_or(|server| server.proof == Proof::None) {
            return;
        }
        let asked = Packet::parse(&datagram).expect("our own request");
        let forged = Packet {
            mode: Mode::Server,
            stratum: 1,
            origin: asked.transmit,
            receive: NtpTime::from_unix(BEGIN),
            transmit: NtpTime::from_unix(BEGIN),
            ..asked
        };
        let forged = self.tampered(forged);
        let mut bytes = forged.bytes().to_vec();
        // The proof of our own request is the only one that he has seen; or he makes one up.
        match self.input.byte() {
            0..128 => bytes.extend(&datagram[HEADER_LEN..]),
            length => bytes.extend(self.input.bytes(usize::from(length & 127)).iter().copied()),
        }
        // By a NAK nothing is believed, but keys may be exchanged once more.
        assert_eq!(self.unmoved(id, &bytes), Outcome::Ignored, "who has no keys was heard");
    }

    /// What proves nothing moves nothing: neither what would be published nor what is to be done.
    fn unmoved(&mut self, id: SourceId, datagram: &[u8]) -> Outcome {
        let planned = |core: &Synchronizer, now| (core.plan(now).model, core.next_due(now), core.wants_plan(now));
        let before = planned(&self.core, self.now);
        let outcome = self.core.handle_datagram(id, datagram, self.now);
        assert_eq!(planned(&self.core, self.now), before);
        outcome
    }

    /// A server that is not polled says anything at all; it can raise doubts, and nothing else.
    fn answer_a_stranger(&mut self) {
        let Some(place) = self.sent.iter().position(|(request, _)| request.source.0 >= self.servers.len()) else {
            return;
        };
        let (request, t1) = self.sent.remove(place);
        let asked = Packet::parse(&request.datagram).expect("our own request");
        let utc = NtpTime::from_unix(self.oscillator.utc_at(t1));
        let truth =
            Packet { mode: Mode::Server, stratum: 1, origin: asked.transmit, receive: utc, transmit: utc, ..asked };
        let reply = self.tampered(truth);
        self.core.handle_datagram(request.source, &reply.bytes(), self.now);
    }
}

impl Server {
    fn new(input: &mut Input) -> Self {
        let marks = input.byte();
        let proof = match marks & 7 {
            0..=4 => Proof::None,
            5 | 6 => Proof::Key,
            _ => Proof::Nts(Algorithm::OFFERED[usize::from(marks >> 6) % 3]),
        };
        Self { proof, lies: false, dispersion: NtpShort(u32::from(input.short() >> 3)), last: None, cookies: 0 }
    }
}

#[cfg(test)]
use super::seeds::Output;

/// A world of so many servers without proof, and settings by these marks.
#[cfg(test)]
fn world_of(marks: u8, proofs: &[u8], liars: u8) -> Output {
    let begin = Output::default().bytes(&[marks]).sized(1 << 50).short(4_000).bytes(&[proofs.len() as u8 - 1]);
    let servers = proofs.iter().fold(begin, |world, proof| world.bytes(&[*proof]).short(3_000));
    servers.bytes(&[liars])
}

/// The oldest request is answered, after as many ns, by an honest server; and a reader looks.
#[cfg(test)]
fn answered(world: Output, how: u8, there: i64, back: i64) -> Output {
    let answer = world.bytes(&[how << 4, 0]).sized(there).sized(20_000).sized(back).bytes(&[20]);
    answer.sized(1 << 40)
}

/// Worlds in which ordinary things happen.
#[cfg(test)]
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let due = |world: Output| world.bytes(&[9]).sized(1 << 30);
    let rounds = |mut world: Output, servers: usize, rounds: i64, how: u8| {
        for round in 0..rounds {
            for server in 0..servers as i64 {
                world = answered(world, how, 100_000 * (server + 1), 90_000 + 5_000 * round);
            }
            world = due(world);
        }
        world
    };
    let mixed = [0, 5, 7, 0x47, 0];
    vec![
        rounds(world_of(4, &[0], 0), 1, 8, 0).done(),
        rounds(world_of(0, &[0; 4], 0), 4, 4, 0).bytes(&[11]).sized(0).done(),
        rounds(world_of(16 + 8, &[0, 0, 5], 0), 3, 6, 1).done(),
        rounds(world_of(2, &mixed, 0), 5, 3, 0).done(),
        // Keys whose certificates were checked at no clock's time, that hold or have expired, or that there are none
        // of.
        rounds(world_of(64, &[7, 7, 7], 0).bytes(&[8, 8, 24]).sized(0), 3, 4, 0).done(),
        rounds(world_of(64 + 2, &mixed, 0).bytes(&[0, 1, 2, 8, 0]), 5, 3, 0).done(),
        // The counter stands still, and a process ends.
        rounds(rounds(world_of(1, &[0, 0], 0), 2, 3, 0).bytes(&[12]).sized(1 << 40).sized(0), 2, 3, 0)
            .bytes(&[28])
            .sized(0)
            .done(),
    ]
}

/// Whether somebody who plays `input` sees a synchronised clock on the way.
#[cfg(test)]
pub(super) fn synchronizes(input: &[u8]) -> bool {
    let mut world = World::new(Input(input));
    let mut turn = || {
        world.happen();
        world.keep_house();
        world.publish();
        world.look();
        world.core.model().state_at(world.now) == State::Synchronized
    };
    (0..20).any(|_| turn())
}

/// All servers are 7 s ahead: the interval cannot hold, and whoever looks is to say so.
#[cfg(test)]
pub(super) fn believe_a_majority_of_liars() {
    let lying = |world: Output| answered(world, 0, 100_000, 100_000);
    let input = lying(lying(lying(world_of(0, &[0; 3], 0)))).bytes(&[9]).sized(0).done();
    let mut world = World::new(Input(&input));
    for _ in 0..4 {
        world.oscillator.utc = BEGIN + Nanos::from_seconds(7);
        world.happen();
        world.oscillator.utc = BEGIN;
        world.keep_house();
        world.publish();
        world.look();
    }
}

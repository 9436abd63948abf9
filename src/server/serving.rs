//! The threads that answer: each with sockets, buffers and a translator of stamps of its own; what they share takes no
//! lock.
//!
//! A turn takes up to [`BATCH`] datagrams in one call, looks once at the system clock and the counter, and answers in
//! parts: for each part the page is read once, which gives its transmit timestamp and all that is said of the time, and
//! the replies leave in one call. A transmit timestamp is older than its reply's departure by what the calls for the
//! part take, 1 µs a reply or so, and never younger.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::limit::{Allowance, Limiter};
use super::moment::Source;
use super::pairs::{Key, Pair, Pairs, Unique};
use super::respond::{self, Silence, Template};
use super::security::{Guard, Secured};
use super::statistics::{Board, Count, Tally};
use crate::packet::{HEADER_LEN, Packet};
use crate::sys::batch::{BATCH, Batch};
use crate::sys::counter::{self, Bracket};
use crate::sys::socket::{self, DATAGRAM_MAX, Received};
use crate::sys::thread::{Order, attempt};
use crate::sys::translate::{Translator, View};
use crate::sys::wake::Sleeper;
use crate::sys::{futex, listen};
use crate::units::{Counter, NtpShort, NtpTime};

/// Batches taken from one socket in a row, so that a flood at one cannot starve the others, nor keep us from an end.
const TURN: usize = 16;

/// Replies that share a transmit timestamp, which is older than the last of them by the time that these take to leave:
/// some 30 µs, and only if so many came at once.
const PART: usize = 32;

/// Replies of which the kernel is still to tell when they left.
const LEAVING: usize = 4 * BATCH;

/// Longest sleep: the translator is shown the system clock at least so often.
const NAP: Duration = Duration::from_secs(1);

/// What all threads of a server share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) access: Access,
    pub(super) limiter: Option<Limiter>,
    pub(super) pairs: Pairs,
    pub(super) is_silent: bool,
    /// One for each thread.
    pub(super) boards: Box<[Board]>,
}

/// A request that is answered.
struct Admitted {
    /// Its place in the batch.
    index: usize,
    request: Packet,
    from: IpAddr,
    received: Received,
    came: Counter,
    is_kissed: bool,
    /// What NTS adds to the reply: its place among those of the batch.
    secured: Option<usize>,
}

/// A reply of which the kernel is to tell when it left.
struct Leaving {
    /// As the reply has it: the only one of that value.
    receive: NtpTime,
    key: Key,
    root_distance: NtpShort,
    epoch: u32,
}

/// One thread.
pub(super) struct Attendant {
    common: Arc<Common>,
    seat: usize,
    source: Source,
    batch: Batch,
    admitted: Vec<Admitted>,
    secured: Vec<Secured>,
    translator: Translator,
    /// The last look, and whether there was one since the last sleep.
    looked: Bracket,
    has_looked: bool,
    unique: Unique,
    leaving: VecDeque<Leaving>,
    /// The sockets that were asked to tell departures.
    telling: Vec<RawFd>,
    /// Where NTS is served.
    guard: Option<Guard>,
    tally: Tally,
    keys: RandomState,
    drawn: u64,
}

impl Attendant {
    /// Thread number `seat`.
    pub(super) fn new(common: Arc<Common>, seat: usize, source: Source, guard: Option<Guard>) -> Self {
        let looked = Bracket::read();
        Self {
            common,
            seat,
            source,
            batch: Batch::new(),
            admitted: Vec::with_capacity(BATCH),
            secured: Vec::with_capacity(if guard.is_some() { BATCH } else { 0 }),
            translator: Translator::new(looked),
            looked,
            has_looked: false,
            unique: Unique::new(seat),
            leaving: VecDeque::with_capacity(LEAVING),
            telling: Vec::new(),
            guard,
            tally: Tally::new(counter::now()),
            keys: RandomState::new(),
            drawn: 0,
        }
    }

    /// Answers what comes to `sockets` until told to stop.
    pub(super) fn serve(&mut self, sockets: &[UdpSocket], order: &Order) {
        let descriptors = sockets.iter().map(AsRawFd::as_raw_fd).chain([order.waker.as_raw_fd()]);
        let mut sleeper = Sleeper::new(descriptors);
        while !order.is_over() {
            if sleeper.wait(Some(NAP)).is_err() {
                // Out of memory in the kernel: do not turn in circles at full speed meanwhile.
                futex::pause(Duration::from_millis(10));
                continue;
            }
            for (socket, _) in sockets.iter().zip(sleeper.ready()).filter(|(_, ready)| *ready) {
                let turn = attempt(|| {
                    self.empty(socket);
                    // Also what could not be of use is taken: a socket that has something to tell is always ready.
                    if self.telling.contains(&socket.as_raw_fd()) {
                        self.note_departures(socket);
                    }
                });
                // A bug that one datagram finds is not the end of all answers: what was received with it is lost.
                if turn.is_none() {
                    self.tally.add(Count::Unsent, 1);
                }
            }
            self.tell();
        }
    }

    /// Tells what was done, after a look at the clocks.
    pub(super) fn tell(&mut self) {
        if !std::mem::take(&mut self.has_looked) {
            self.look();
        }
        let board = self.common.boards.get(self.seat);
        board.into_iter().for_each(|board| self.tally.tell(board, self.looked.after));
    }

    /// Shows the translator the system clock and the counter as they are.
    fn look(&mut self) -> View {
        let view = self.translator.view(Bracket::read());
        (self.looked, self.has_looked) = (*view.now(), true);
        view
    }

    /// Answers what has come to `socket`.
    pub(super) fn empty(&mut self, socket: &UdpSocket) {
        for _ in 0..TURN {
            // An error is that of an earlier reply, or none.
            let Ok(received) = self.batch.receive(socket) else { return };
            // Under load more has come meanwhile: to ask for it costs less than to ask whether to ask.
            self.answer(socket, received);
        }
    }

    /// Answers the `received` datagrams of the batch.
    fn answer(&mut self, socket: &UdpSocket, received: usize) {
        let view = self.look();
        self.guard.iter_mut().for_each(Guard::renew);
        self.tally.add(Count::Requests, received);
        let mut admitted = std::mem::take(&mut self.admitted);
        for index in 0..received {
            match self.admit(index, &view) {
                Ok(request) => admitted.push(request),
                Err(silence) => self.tally.add(silence.into(), 1),
            }
        }
        for part in admitted.chunks(PART) {
            self.answer_part(socket, part, &view);
        }
        self.secured.clear();
        admitted.clear();
        self.admitted = admitted;
    }

    /// Datagram number `index`, if it is a request that is to be answered.
    fn admit(&mut self, index: usize, view: &View) -> Result<Admitted, Silence> {
        let received = self.batch.received(index);
        let from = received.from.ok_or(Silence::Malformed)?;
        let request = respond::accept(self.batch.datagram(index), from.port())?;
        // Of what was sent to many the kernel gives every thread a copy, and every host of a network may be one that
        // would answer: one datagram that names its victim as its sender would bring it many.
        if received.is_to_many || !self.common.access.allows(from.ip()) {
            return Err(Silence::Denied);
        }
        let arrived = view.arrival(received.stamp);
        let mut is_kissed = false;
        if let Some(limiter) = &self.common.limiter {
            let random = || {
                self.drawn = self.drawn.wrapping_add(1);
                self.keys.hash_one(self.drawn)
            };
            match limiter.judge(from.ip(), arrived.at, random) {
                Allowance::Served => {}
                Allowance::Leaked => self.tally.add(Count::Leaked, 1),
                Allowance::Kiss => is_kissed = true,
                Allowance::Refused => return Err(Silence::Limited),
            }
        }
        let secured = match &mut self.guard {
            Some(guard) if request.version == 4 && received.length > HEADER_LEN => {
                guard.judge(self.batch.datagram_mut(index))?
            }
            _ => None,
        };
        let secured = secured.map(|secured| {
            self.secured.push(secured);
            self.secured.len() - 1
        });
        self.tally.add(Count::Secure, usize::from(secured.is_some()));
        self.tally.add(Count::Unstamped, usize::from(!arrived.stamped_by_kernel));
        Ok(Admitted { index, request, from: from.ip(), received, came: arrived.at, is_kissed, secured })
    }

    fn answer_part(&mut self, socket: &UdpSocket, part: &[Admitted], view: &View) {
        let oldest = part.iter().map(|admitted| admitted.came).min().unwrap_or(view.now().before);
        let moment = self.source.moment(oldest, view.now());
        if self.common.is_silent && !moment.identity.is_synchronized() {
            self.tally.add(Silence::Unsynchronized.into(), part.len());
            return;
        }
        let template = Template::new(&moment.identity);
        let transmit = NtpTime::from_unix(moment.leaving);
        for admitted in part {
            let request = &admitted.request;
            let receive = NtpTime::from_unix(moment.received(admitted.came));
            let (reply, stamped) = if admitted.is_kissed {
                self.tally.add(Count::Kisses, 1);
                (respond::rate_kiss(request), false)
            } else if respond::names_an_origin(request) && moment.identity.is_synchronized() {
                self.interleave(socket, admitted, &template, moment.epoch, (receive, transmit))
            } else {
                (template.reply(request, receive, transmit), false)
            };
            let Admitted { index, request, received, .. } = admitted;
            let Some(secured) = admitted.secured.and_then(|place| self.secured.get(place)) else {
                self.batch.queue(*index, &reply, received, stamped);
                continue;
            };
            let place = self.batch.datagram_mut(*index);
            if let Some(count) = secured.finish(&reply, &respond::kiss(request, *b"NTSN"), place) {
                self.batch.queue_written(*index, secured.len(), received, false);
                self.tally.add(count, 1);
            }
        }
        let sent = self.batch.send(socket);
        self.tally.add(Count::Replies, sent.sent);
        self.tally.add(Count::Unsent, sent.failed);
    }

    /// The reply to one that may speak interleaved mode, and whether its departure is to be told: in that mode if it
    /// names a reply that we remember, else as any other. This one is remembered.
    fn interleave(
        &mut self,
        socket: &UdpSocket,
        admitted: &Admitted,
        template: &Template,
        epoch: u32,
        (receive, transmit): (NtpTime, NtpTime),
    ) -> ([u8; HEADER_LEN], bool) {
        let Admitted { request, from, .. } = admitted;
        let pairs = &self.common.pairs;
        let unique = self.unique.next(receive);
        if transmit.0.wrapping_sub(unique.0).cast_signed() < 0 {
            // So many came at once that one of them would have come after it was answered.
            return (template.reply(request, receive, transmit), false);
        }
        let earlier =
            if respond::is_interleaved(request) { pairs.take(pairs.key(*from, request.origin, epoch)) } else { None };
        let (key, root_distance) = (pairs.key(*from, unique, epoch), template.root_distance());
        pairs.store(key, Pair { transmit, root_distance });
        let Some(earlier) = earlier else { return (template.reply(request, unique, transmit), false) };
        self.tally.add(Count::Interleaved, 1);
        if admitted.secured.is_some() {
            // What the kernel tells is found by a header at its end.
            return (template.interleaved(request, unique, &earlier), false);
        }
        if !self.telling.contains(&socket.as_raw_fd()) {
            // Where that is forbidden, the times of before they were sent are all there is.
            let _ = listen::tell_departures(socket);
            self.telling.push(socket.as_raw_fd());
        }
        if self.leaving.len() == LEAVING {
            self.leaving.pop_front();
        }
        self.leaving.push_back(Leaving { receive: unique, key, root_distance, epoch });
        (template.interleaved(request, unique, &earlier), true)
    }

    /// Takes down what the kernel tells of replies that have left `socket`.
    pub(super) fn note_departures(&mut self, socket: &UdpSocket) {
        let mut buffer = [0; DATAGRAM_MAX];
        for _ in 0..LEAVING {
            let Ok(told) = socket::departure(socket, &mut buffer) else { return };
            let view = self.look();
            // All headers are in front of ours.
            let packet = buffer.get(..told.length.min(DATAGRAM_MAX)).and_then(|told| told.last_chunk::<HEADER_LEN>());
            let Some(packet) = packet.and_then(|bytes| Packet::parse(bytes)) else { continue };
            let Some(place) = self.leaving.iter().position(|leaving| leaving.receive == packet.receive) else {
                continue;
            };
            let Some(leaving) = self.leaving.remove(place) else { continue };
            let Some(left) = told.stamp.and_then(|stamp| view.departure(stamp)) else { continue };
            let moment = self.source.moment(left, view.now());
            if moment.epoch == leaving.epoch && moment.identity.is_synchronized() {
                let transmit = NtpTime::from_unix(moment.sent(left));
                // Never before what was told already: that was not late either. And what was asked for meanwhile is not
                // asked for again.
                let known = self.common.pairs.find(leaving.key);
                if known.is_some_and(|known| transmit.0.wrapping_sub(known.transmit.0).cast_signed() >= 0) {
                    let now = Template::new(&moment.identity).root_distance();
                    let root_distance = NtpShort(leaving.root_distance.0.max(now.0));
                    self.common.pairs.store(leaving.key, Pair { transmit, root_distance });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::ServerConfig;
    use crate::sys::listen::{Kinds, listening};
    use crate::sys::thread::Worker;

    #[test]
    fn a_bug_that_one_request_finds_is_not_the_end_of_the_thread() {
        let board = Board::default();
        let rules = ServerConfig::new();
        let common = Arc::new(Common {
            access: rules.rules.compile(),
            limiter: None,
            pairs: Pairs::new(),
            is_silent: false,
            boards: Box::new([board]),
        });
        let sockets = listening("127.0.0.1:0".parse().unwrap(), 1, Kinds::AsUsual).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(sockets[0].local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (shared, source) = (Arc::clone(&common), Source::Broken { moments: 1 });
        let _worker = Worker::start("test", move |order| {
            Attendant::new(shared, 0, source, None).serve(&sockets, &order);
        });
        let request = Packet::request(NtpTime(7)).bytes();
        let unsent = || super::super::ServerStatistics::of(&common.boards).unsent;
        client.send(&request).unwrap();
        let begun = std::time::Instant::now();
        while unsent() == 0 {
            assert!(begun.elapsed().as_secs() < 20, "the lost one is counted");
            std::thread::sleep(Duration::from_millis(1));
        }
        client.send(&request).unwrap();
        assert_eq!(client.recv(&mut [0; 64]).unwrap(), HEADER_LEN);
        assert_eq!(unsent(), 1);
    }
}

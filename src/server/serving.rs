//! The threads that answer: each with sockets, buffers and a translator of stamps of its own; what they share takes no
//! lock.
//!
//! A turn takes up to [`BATCH`] datagrams in one call, looks once at the system clock and the counter, and answers in
//! parts: for each part the page is read once, which gives its transmit timestamp and all that is said of the time, and
//! the replies leave in one call. A transmit timestamp is older than its reply's departure by what the calls for the part
//! take, 1 µs a reply or so, and never younger.

use std::hash::{BuildHasher, RandomState};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::limit::{Allowance, Limiter};
use super::moment::{Moment, Source};
use super::pairs::{Key, Pair, Pairs, Unique};
use super::respond::{self, Silence, Template};
use super::statistics::{Board, Count, Tally};
use crate::packet::Packet;
use crate::sys::batch::{BATCH, Batch};
use crate::sys::counter::{self, Bracket};
use crate::sys::socket::{self, Received};
use crate::sys::thread::Order;
use crate::sys::translate::{Translator, View};
use crate::sys::wake::Sleeper;
use crate::units::{Counter, NtpShort, NtpTime};

/// Batches taken from one socket in a row, so that a flood at one cannot starve the others, nor keep us from an end.
const TURN: usize = 16;

/// Replies that share a transmit timestamp.
const PART: usize = 16;

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
    received: Received,
    came: Counter,
    is_kissed: bool,
}

/// One thread.
pub(super) struct Attendant {
    common: Arc<Common>,
    seat: usize,
    source: Source,
    batch: Batch,
    admitted: Vec<Admitted>,
    translator: Translator,
    unique: Unique,
    tally: Tally,
    keys: RandomState,
    drawn: u64,
}

impl Attendant {
    /// Thread number `seat`.
    pub(super) fn new(common: Arc<Common>, seat: usize, source: Source) -> Self {
        Self {
            common,
            seat,
            source,
            batch: Batch::new(),
            admitted: Vec::with_capacity(BATCH),
            translator: Translator::new(Bracket::read()),
            unique: Unique::new(seat),
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
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            for (socket, _) in sockets.iter().zip(sleeper.ready()).filter(|(_, ready)| *ready) {
                self.empty(socket);
            }
            let view = self.translator.view(Bracket::read());
            self.tally.tell(&self.common.boards[self.seat], view.now().after);
        }
    }

    /// Answers what has come to `socket`.
    fn empty(&mut self, socket: &UdpSocket) {
        for _ in 0..TURN {
            // An error is that of an earlier reply, or none.
            let Ok(received) = self.batch.receive(socket) else { return };
            self.answer(socket, received);
            if received < BATCH {
                return;
            }
        }
    }

    /// Answers the `received` datagrams of the batch.
    fn answer(&mut self, socket: &UdpSocket, received: usize) {
        let view = self.translator.view(Bracket::read());
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
        admitted.clear();
        self.admitted = admitted;
    }

    /// Datagram number `index`, if it is a request that is to be answered.
    fn admit(&mut self, index: usize, view: &View) -> Result<Admitted, Silence> {
        let received = self.batch.received(index);
        let from = received.from.ok_or(Silence::Malformed)?;
        let request = respond::accept(self.batch.datagram(index), from.port())?;
        if !self.common.access.allows(from.ip()) {
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
        self.tally.add(Count::Unstamped, usize::from(!arrived.stamped_by_kernel));
        Ok(Admitted { index, request, received, came: arrived.at, is_kissed })
    }

    fn answer_part(&mut self, socket: &UdpSocket, part: &[Admitted], view: &View) {
        let oldest = part.iter().map(|admitted| admitted.came).min().unwrap_or(view.now().before);
        let moment = self.source.moment(oldest, view.now());
        if self.common.is_silent && !moment.identity.is_synchronized() {
            self.tally.add(Count::Unsynchronized, part.len());
            return;
        }
        let template = Template::new(&moment.identity);
        let transmit = NtpTime::from_unix(moment.leaving);
        for admitted in part {
            let receive = NtpTime::from_unix(moment.received(admitted.came));
            let reply = template.reply(&admitted.request, receive, transmit);
            self.batch.queue(admitted.index, &reply, &admitted.received, false);
        }
        let sent = self.batch.send(socket);
        self.tally.add(Count::Replies, sent.sent);
        self.tally.add(Count::Unsent, sent.failed);
    }
}

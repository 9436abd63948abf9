//! What a server has done: each thread counts for itself, and whoever asks adds up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::respond::Silence;
use crate::units::{Counter, NANOS_PER_SECOND, Nanos};

/// What a server has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServerStatistics {
    /// Datagrams received, whatever they were.
    pub requests: u64,
    /// Replies sent, kisses included.
    pub replies: u64,
    /// Replies in interleaved mode (RFC 9769).
    pub interleaved: u64,
    /// Clients that were told to ask less (`RATE`).
    pub kisses: u64,
    /// Requests beyond the rate limit that were answered all the same.
    pub leaked: u64,
    /// Dropped: no NTP header, or no sender.
    pub malformed: u64,
    /// Dropped: of another version than 1 to 4.
    pub wrong_version: u64,
    /// Dropped: no request of a client.
    pub wrong_mode: u64,
    /// Dropped: of a client that is denied, or sent to a broadcast or multicast address.
    pub denied: u64,
    /// Dropped: beyond the rate limit.
    pub limited: u64,
    /// Dropped: there was no time to give.
    pub unsynchronized: u64,
    /// Requests with NTS whose fields made sense.
    pub nts_requests: u64,
    /// Replies that were authenticated.
    pub nts_replies: u64,
    /// Clients that were told to exchange keys anew: their cookies were too old, or nobody's.
    pub nts_naks: u64,
    /// Dropped: of NTS, with fields that made no sense, or left no room for a reply.
    pub nts_malformed: u64,
    /// Key exchanges that gave keys.
    pub key_exchanges: u64,
    /// Key exchanges that gave none: too slow, too long, refused, or no TLS at all.
    pub key_exchange_failures: u64,
    /// How often the file of cookie keys had changed and was of no use.
    pub cookie_key_faults: u64,
    /// Replies that the system would not send.
    pub unsent: u64,
    /// Requests answered that had no receive stamp of the kernel that could be used: their times are a little late.
    pub unstamped: u64,
    /// Datagrams that the kernel dropped since we were too slow and the receive buffer was full.
    pub overflowed: u64,
    /// Datagrams received in a second, lately.
    pub requests_per_second: f64,
    /// Replies sent in a second, lately.
    pub replies_per_second: f64,
    /// Threads that serve.
    pub threads: u32,
    /// The smallest receive buffer of a socket, in bytes as the kernel counts them: less than 16 MiB where the system's
    /// limit (`net.core.rmem_max`) allows no more and we are not root.
    pub receive_buffer_bytes: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Requests,
    Replies,
    Interleaved,
    Kisses,
    Leaked,
    Malformed,
    WrongVersion,
    WrongMode,
    Denied,
    Limited,
    Unsynchronized,
    Unsent,
    Unstamped,
    Secure,
    SecureReplies,
    Naks,
    Insecure,
}

const COUNTS: usize = Count::Insecure as usize + 1;

impl From<Silence> for Count {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Malformed => Self::Malformed,
            Silence::Version => Self::WrongVersion,
            Silence::Mode => Self::WrongMode,
            Silence::Denied => Self::Denied,
            Silence::Limited => Self::Limited,
            Silence::Unsynchronized => Self::Unsynchronized,
            Silence::Insecure => Self::Insecure,
        }
    }
}

/// What one thread tells of its counts. On cache lines of its own: it is written for every batch.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Board {
    counts: [AtomicU64; COUNTS],
    /// In a thousand seconds.
    request_rate: AtomicU64,
    reply_rate: AtomicU64,
}

/// What one thread has counted.
#[derive(Debug)]
pub(super) struct Tally {
    counts: [u64; COUNTS],
    /// When the rates were told last, and the counts then.
    told: Counter,
    requests: u64,
    replies: u64,
}

/// Over how long a rate is taken.
const RATE_SPAN: Nanos = Nanos::from_seconds(1);

impl Tally {
    pub(super) fn new(now: Counter) -> Self {
        Self { counts: [0; COUNTS], told: now, requests: 0, replies: 0 }
    }

    pub(super) fn add(&mut self, count: Count, number: usize) {
        self.counts[count as usize] += number as u64;
    }

    /// Tells all on `board`.
    pub(super) fn tell(&mut self, board: &Board, now: Counter) {
        for (told, count) in board.counts.iter().zip(self.counts) {
            told.store(count, Relaxed);
        }
        let span = now - self.told;
        if span >= RATE_SPAN {
            let rate =
                |count: u64, before: u64| (count - before) * 1_000 * NANOS_PER_SECOND as u64 / span.0.unsigned_abs();
            let (requests, replies) = (self.counts[Count::Requests as usize], self.counts[Count::Replies as usize]);
            board.request_rate.store(rate(requests, self.requests), Relaxed);
            board.reply_rate.store(rate(replies, self.replies), Relaxed);
            (self.told, self.requests, self.replies) = (now, requests, replies);
        }
    }
}

impl ServerStatistics {
    /// The sum of all threads'.
    pub(super) fn of<'a>(boards: impl IntoIterator<Item = &'a Board>) -> Self {
        let mut sum = Self::default();
        for board in boards {
            let count = |count: Count| board.counts[count as usize].load(Relaxed);
            sum.requests += count(Count::Requests);
            sum.replies += count(Count::Replies);
            sum.interleaved += count(Count::Interleaved);
            sum.kisses += count(Count::Kisses);
            sum.leaked += count(Count::Leaked);
            sum.malformed += count(Count::Malformed);
            sum.wrong_version += count(Count::WrongVersion);
            sum.wrong_mode += count(Count::WrongMode);
            sum.denied += count(Count::Denied);
            sum.limited += count(Count::Limited);
            sum.unsynchronized += count(Count::Unsynchronized);
            sum.unsent += count(Count::Unsent);
            sum.unstamped += count(Count::Unstamped);
            sum.nts_requests += count(Count::Secure);
            sum.nts_replies += count(Count::SecureReplies);
            sum.nts_naks += count(Count::Naks);
            sum.nts_malformed += count(Count::Insecure);
            sum.requests_per_second += board.request_rate.load(Relaxed) as f64 / 1e3;
            sum.replies_per_second += board.reply_rate.load(Relaxed) as f64 / 1e3;
            sum.threads += 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_summed_up_and_rates_are_of_the_last_second_or_more() {
        let boards = [Board::default(), Board::default()];
        for board in &boards {
            let mut tally = Tally::new(Counter(0));
            tally.add(Count::Requests, 1_000);
            tally.add(Count::Limited, 3);
            tally.tell(board, Counter(0) + Nanos::from_millis(999));
            assert_eq!(ServerStatistics::of([board]).requests_per_second, 0.0);
            tally.add(Count::Requests, 1_000);
            tally.add(Count::Replies, 500);
            tally.tell(board, Counter(0) + Nanos::from_seconds(2));
        }
        let sum = ServerStatistics::of(&boards);
        assert_eq!((sum.requests, sum.replies, sum.limited, sum.threads), (4_000, 1_000, 6, 2));
        assert_eq!((sum.requests_per_second, sum.replies_per_second), (2_000.0, 500.0));
    }
}

//! Interleaved mode (RFC 9769), as a server speaks it (case 17 of the list) and as a client gains by it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config, Server, State};

use crate::peers::{Chronyd, system_clock_ns};
use crate::wire::{Client, Reply, eventually, local, request};

/// A request that names the receive timestamp of an earlier reply as its origin, and `receive` as its own.
fn interleaved(origin: u64, receive: u64, transmit: u64) -> [u8; 48] {
    let mut bytes = request(4, 3, transmit);
    bytes[24..32].copy_from_slice(&origin.to_be_bytes());
    bytes[32..40].copy_from_slice(&receive.to_be_bytes());
    bytes
}

fn server() -> Server {
    local("127.0.0.1:0", |_| ())
}

/// A first reply to a client that makes itself known as one that may speak the mode.
fn first(client: &Client, transmit: u64) -> Reply {
    let reply = client.ask(&interleaved(1, 2, transmit));
    assert_eq!(reply.origin, transmit, "nothing is known yet: basic mode");
    reply
}

#[test]
fn case_17_a_client_that_names_our_receive_timestamp_is_told_when_that_reply_really_left() {
    let server = server();
    let client = Client::of(server.addresses()[0]);
    let mut last = first(&client, 100);
    let mut gained = 0;
    for round in 0..20_u64 {
        // The kernel tells a little later.
        std::thread::sleep(Duration::from_millis(5));
        let (receive, transmit) = (7_000 + round, 9_000 + round);
        let reply = client.ask(&interleaved(last.receive, receive, transmit));
        assert_eq!(reply.origin, receive, "interleaved mode");
        assert!(reply.receive > last.receive);
        // When the last one left: after it came, and before this request did.
        assert!(reply.transmit > last.receive && reply.transmit < reply.receive, "{last:?} {reply:?}");
        // In the first round it is what was told then; from the second on the kernel's stamp, which is later.
        if round == 0 {
            assert_eq!(reply.transmit, last.transmit);
        } else {
            gained += u32::from(reply.transmit > last.receive + 4_295);
        }
        last = reply;
    }
    // More than 1 µs after it came: nobody answers faster.
    assert_eq!(gained, 19);
    eventually("all are counted", || server.statistics().interleaved == 20);
}

#[test]
fn case_17_a_receive_timestamp_of_another_address_or_of_another_server_is_answered_in_basic_mode() {
    let server = server();
    let client = Client::of(server.addresses()[0]);
    let reply = first(&client, 100);
    // Known to somebody else; never given; given by a server that is no more; not asked for.
    let stranger = Client::at("127.0.0.2:0", server.addresses()[0]);
    assert_eq!(stranger.ask(&interleaved(reply.receive, 5, 6)).origin, 6);
    assert_eq!(client.ask(&interleaved(reply.receive + 64, 5, 6)).origin, 6);
    assert_eq!(client.ask(&interleaved(reply.receive, 6, 6)).origin, 6);
    assert_eq!(client.ask(&interleaved(reply.receive, 0, 6)).origin, 6);
    assert_eq!(client.ask(&interleaved(reply.receive, 5, 6)).origin, 5);
    // Not a second time (RFC 9769, section 2), not even once the kernel has told when the first one left.
    assert_eq!(client.ask(&interleaved(reply.receive, 5, 6)).origin, 6);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(client.ask(&interleaved(reply.receive, 7, 8)).origin, 8);
    let restarted = self::server();
    assert_eq!(Client::of(restarted.addresses()[0]).ask(&interleaved(reply.receive, 5, 6)).origin, 6);
}

#[test]
fn case_17_clients_behind_one_address_are_never_mixed() {
    let server = local("127.0.0.1:0", |config| {
        config.set_threads(4).unwrap().set_rate_limit(0, 1).unwrap();
    });
    let clients: Vec<_> = (0..32).map(|_| Client::of(server.addresses()[0])).collect();
    let mut last: Vec<_> =
        clients.iter().enumerate().map(|(number, client)| first(client, 100 + number as u64)).collect();
    let mut seen: Vec<u64> = last.iter().map(|reply| reply.receive).collect();
    for round in 0..20_u64 {
        let number = |client: usize| 1_000_000 * (client as u64 + 1) + round;
        for (index, client) in clients.iter().enumerate() {
            client.send(&interleaved(last[index].receive, number(index), 5 + number(index)));
        }
        for (index, client) in clients.iter().enumerate() {
            let reply = Reply::parse(&client.receive(Duration::from_secs(5)).unwrap());
            assert_eq!(reply.origin, number(index));
            // The pair is this client's own: what left did so after it came, and within the last round.
            let hold = reply.transmit.wrapping_sub(last[index].receive);
            assert!(hold > 0 && reply.transmit < reply.receive && hold < 1 << 31, "{index} {round}: {hold}");
            last[index] = reply;
            seen.push(reply.receive);
        }
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count, "receive timestamps that are remembered are unique");
}

/// From arrival to departure by a server's own account, ns, the median: of replies that tell it themselves, and as the
/// next reply in interleaved mode tells it.
fn holds(server: SocketAddr, rounds: u64) -> [f64; 2] {
    let client = Client::of(server);
    let ns = |reply: &Reply, transmit: u64| transmit.wrapping_sub(reply.receive) as f64 / 4.294_967_296;
    let mut holds = [Vec::new(), Vec::new()];
    let mut last = first(&client, 1);
    for round in 2..rounds {
        let reply = client.ask(&interleaved(last.receive, 1_000_000 + round, round));
        if reply.origin == 1_000_000 + round {
            holds[1].push(ns(&last, reply.transmit));
        }
        last = reply;
        let basic = client.ask(&request(4, 3, round));
        holds[0].push(ns(&basic, basic.transmit));
        // As far apart as polls: a server that has slept is slower than one that is at it.
        std::thread::sleep(Duration::from_millis(2));
    }
    holds.map(|mut holds| {
        assert!(holds.len() as u64 > rounds / 2, "{} of {rounds}", holds.len());
        holds.sort_unstable_by(f64::total_cmp);
        holds[holds.len() / 2]
    })
}

#[test]
fn interleaved_mode_tells_of_more_of_a_reply_s_way_out_than_the_reply_itself_can() {
    let (ours, chronyd) = (server_without_limit(), Chronyd::start());
    for (name, address) in [("ntpclock", ours.addresses()[0]), ("chronyd", chronyd.address())] {
        let [basic, interleaved] = holds(address, 1_000).map(|ns| ns / 1e3);
        let gain = interleaved - basic;
        println!(
            "{name}: {basic:.2} µs from arrival to departure as the reply tells, {interleaved:.2} µs as the next one does"
        );
        println!("{name}: interleaved mode takes {gain:.2} µs off the delay, and half of that off the error");
        assert!(gain > 0.5, "{name}: {gain} µs");
    }
}

fn server_without_limit() -> Server {
    local("127.0.0.1:0", |config| _ = config.set_rate_limit(0, 1).unwrap())
}

#[test]
fn a_clock_that_asks_in_interleaved_mode_is_right_whoever_serves_it() {
    let (ours, chronyd) = (server(), Chronyd::start());
    for address in [ours.addresses()[0], chronyd.address()] {
        let mut config = Config::with_servers(&address.to_string()).unwrap();
        config.set_poll_exponents(0, 0).unwrap().set_interleaved(true);
        let clock = Clock::start(config).unwrap();
        clock.wait(None, Some(Duration::from_secs(20))).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(6) {
            let before = system_clock_ns();
            let reading = clock.now();
            let after = system_clock_ns();
            assert_eq!(reading.state, State::Synchronized, "{reading:?}");
            assert!(
                reading.earliest_ns <= after && before <= reading.latest_ns,
                "{address}: {before} {reading:?} {after}"
            );
            std::thread::sleep(Duration::from_millis(3));
        }
        let source = &clock.sources()[0];
        assert!(source.rejected == 0 && source.restarts == 0 && source.exchanges >= 4, "{source:?}");
    }
    assert!(ours.statistics().interleaved >= 3, "{:?}", ours.statistics());
}

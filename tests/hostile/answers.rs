//! Answers that are none: forged, repeated, late, malformed.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

use ntpclock::Reason;

use crate::scripted::{HEADER, ORIGIN, RECEIVE, Scripted, TRANSMIT, get, milliseconds, now, put};
use crate::{assert_right, await_exchanges, await_that, clock_of, refused, source};

/// An hour, and what a liar adds to the time.
const HOUR: u64 = 3_600_000;

/// (case 1)
#[test]
fn a_wrong_origin_is_dropped_and_counted_and_the_request_stays_open() {
    let server = Scripted::start(|turn| {
        // One bit off; and all of it.
        turn.send(&turn.spoilt(|reply| {
            reply[ORIGIN + 7] ^= 1;
            put(reply, TRANSMIT, now() + milliseconds(HOUR));
        }));
        turn.send(&turn.spoilt(|reply| put(reply, ORIGIN, 0x0123_4567_89ab_cdef)));
        turn.answer();
    });
    let clock = clock_of(&server);
    await_exchanges(&clock, 3);
    assert_right(&clock);
    let source = source(&clock);
    assert_eq!(source.refusals.count(Reason::Origin), 2 * source.exchanges);
    assert_eq!(source.rejected, 2 * source.exchanges);
    assert_eq!((source.reach & 1, source.fault), (1, None));
}

#[test]
fn whoever_is_only_answered_with_what_is_refused_is_told_so_and_why() {
    let server = Scripted::start(|turn| {
        turn.send(&turn.spoilt(|reply| put(reply, ORIGIN, 1)));
        turn.send(&turn.good()[..HEADER - 1]);
    });
    let name = server.address().to_string();
    let told = ntpclock::query(&name, Duration::from_millis(300)).expect_err("nothing of it is an answer").to_string();
    let short = "the datagram is shorter than an NTP header";
    assert_eq!(told, format!("the reply of {name} ({name}) is unusable: {short} (so the last of 2)"));
    let clock = clock_of(&server);
    let fault = format!("2 replies came and were refused, the last: {short}");
    await_that("the source says so, too", 20, &clock, || source(&clock).fault.as_ref() == Some(&fault));
    assert!(refused(&clock, Reason::Silence) >= 1 && refused(&clock, Reason::Malformed) >= 1);
    let waited = clock.wait(None, Some(Duration::ZERO)).expect_err("there is no time").to_string();
    assert!(waited.contains(&fault), "{waited}");
    // Nobody at all is something else.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("loopback is ours");
    let name = silent.local_addr().expect("it is bound").to_string();
    let told = ntpclock::query(&name, Duration::from_millis(50)).expect_err("nobody answers").to_string();
    assert_eq!(told, format!("the time ran out: {name}: no answer"));
}

/// (case 2)
#[test]
fn timestamps_of_zero_are_no_timestamps() {
    let server = Scripted::start(|turn| match turn.number % 3 {
        0 => {
            // Zero is what a client that sends nothing in clear is tempted to expect.
            turn.send(&turn.spoilt(|reply| put(reply, ORIGIN, 0)));
            turn.answer();
        }
        1 => turn.send(&turn.spoilt(|reply| put(reply, RECEIVE, 0))),
        _ => turn.send(&turn.spoilt(|reply| put(reply, TRANSMIT, 0))),
    });
    let clock = clock_of(&server);
    await_that("both were seen twice", 20, &clock, || refused(&clock, Reason::NoTimestamp) >= 4);
    let source = source(&clock);
    assert!(source.refusals.count(Reason::Origin) >= 2, "{source:#?}");
    let asked = server.requests() as u64;
    assert!(source.exchanges <= asked / 3 + 1, "{asked} requests, {source:#?}");
}

/// (case 3)
#[test]
fn a_stranger_with_the_right_answer_is_never_seen() {
    let strangers: Vec<UdpSocket> =
        ["127.0.0.1:0", "127.0.0.2:0"].map(|address| UdpSocket::bind(address).expect("loopback is ours")).into();
    let server = Scripted::start(move |turn| {
        let lie = turn.spoilt(|reply| {
            put(reply, RECEIVE, now() + milliseconds(HOUR));
            put(reply, TRANSMIT, now() + milliseconds(HOUR));
        });
        for stranger in &strangers {
            stranger.send_to(&lie, turn.from).expect("it can be sent, to no avail");
        }
        sleep(Duration::from_millis(30));
        turn.answer();
    });
    let clock = clock_of(&server);
    await_exchanges(&clock, 3);
    assert_right(&clock);
    assert_eq!(source(&clock).rejected, 0);
}

/// (case 4)
#[test]
fn an_answer_counts_once_whenever_it_is_repeated() {
    let mut kept: Option<[u8; HEADER]> = None;
    let server = Scripted::start(move |turn| {
        // The one of the last poll comes first.
        if let Some(old) = kept {
            turn.send(&old);
        }
        let reply = turn.good();
        (0..3).for_each(|_| turn.send(&reply));
        kept = Some(reply);
    });
    let clock = clock_of(&server);
    await_exchanges(&clock, 4);
    let (source, asked) = (source(&clock), server.requests() as u64);
    assert!(source.exchanges <= asked, "{} exchanges of {asked} requests", source.exchanges);
    assert!(source.refusals.count(Reason::Origin) >= 3, "{source:#?}");
    assert_right(&clock);
}

/// (case 5)
#[test]
fn an_answer_after_its_time_is_dropped() {
    let server = Scripted::start(|turn| {
        if turn.number >= 3 {
            return turn.answer();
        }
        // At a poll of one second a second is waited: this one comes when the next request is out.
        let (reply, from) = (turn.good(), turn.from);
        let socket = turn.socket.try_clone().expect("a descriptor can be copied");
        thread::spawn(move || {
            sleep(Duration::from_millis(1300));
            let _ = socket.send_to(&reply, from);
        });
    });
    let clock = clock_of(&server);
    await_that("three requests went unanswered", 20, &clock, || refused(&clock, Reason::Silence) >= 3);
    assert_eq!(source(&clock).exchanges, 0);
    await_exchanges(&clock, 2);
    assert_right(&clock);
    assert_eq!(source(&clock).rejected, 0);
}

/// (case 7)
#[test]
fn of_every_length_and_every_extension_field_only_the_valid_ones_are_answers() {
    /// Lengths whose tails, all zero, are nothing or an authenticator.
    const SOUND: [usize; 4] = [HEADER, HEADER + 4, HEADER + 20, HEADER + 24];
    let lengths: Vec<usize> = (0..=1500).filter(|length| !SOUND.contains(length)).collect();
    let per_turn = lengths.len().div_ceil(5);
    let server = Scripted::start(move |turn| {
        let good = turn.good();
        let mut sent = 0;
        let mut send = |datagram: &[u8]| {
            turn.send(datagram);
            sent += 1;
            if sent % 50 == 0 {
                // What nobody has room for would be lost, and prove nothing.
                sleep(Duration::from_millis(2));
            }
        };
        for &length in lengths.chunks(per_turn).nth(turn.number).unwrap_or_default() {
            let mut datagram = good.to_vec();
            datagram.resize(length, 0);
            send(&datagram);
        }
        // Extension fields that are too short, too long, or no multiple of four; and that overlap what follows.
        for said in [0, 1, 3, 4, 12, 15, 17, 29, 65, 68, 1 << 15, u16::MAX] {
            let mut field = [0xa5; 64];
            field[2..4].copy_from_slice(&said.to_be_bytes());
            send(&[good.as_slice(), &field].concat());
        }
        // And one that is sound, or none.
        let mut field = [0; 64];
        field[3] = 64;
        send(if turn.number % 2 == 0 { good.to_vec() } else { [good.as_slice(), &field].concat() }.as_slice());
    });
    let clock = clock_of(&server);
    await_exchanges(&clock, 6);
    assert_right(&clock);
    // The kernel may have had no room for some.
    let malformed = refused(&clock, Reason::Malformed);
    assert!(malformed > 1400, "{malformed}");
    assert_eq!(source(&clock).rejected, malformed);
}

/// (case 8)
#[test]
fn only_a_servers_mode_and_the_versions_3_and_4_are_answers() {
    let server = Scripted::start(|turn| {
        for mode in [0, 1, 2, 3, 5, 6, 7] {
            turn.send(&turn.spoilt(|reply| reply[0] = 4 << 3 | mode));
        }
        for version in [0, 1, 2, 5, 6, 7] {
            turn.send(&turn.spoilt(|reply| reply[0] = version << 3 | 4));
        }
        let version = if turn.number % 2 == 0 { 3 } else { 4 };
        turn.send(&turn.spoilt(|reply| reply[0] = version << 3 | 4));
    });
    let clock = clock_of(&server);
    await_exchanges(&clock, 3);
    assert_right(&clock);
    let source = source(&clock);
    assert_eq!(source.refusals.count(Reason::Malformed), 13 * source.exchanges);
}

#[test]
fn a_request_tells_nothing_and_comes_from_another_port_each_time() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let server = Scripted::start(move |turn| {
        noted.lock().expect("no test has failed").push((turn.from.port(), turn.request.to_vec()));
        turn.answer();
    });
    let clock = clock_of(&server);
    await_exchanges(&clock, 5);
    let seen = seen.lock().expect("no test has failed");
    for (place, (port, request)) in seen.iter().enumerate() {
        assert_eq!(request.len(), HEADER);
        // Version 4, mode 3, and a number that is no time: nothing else.
        assert_eq!((request[0], &request[1..TRANSMIT]), (0x23, [0; TRANSMIT - 1].as_slice()));
        let transmit = get(request, TRANSMIT);
        assert!(transmit.abs_diff(now()) > milliseconds(HOUR), "{transmit:x} is the time, to the hour");
        let others = || seen[..place].iter();
        assert!(others().all(|(_, other)| get(other, TRANSMIT) != transmit));
        assert!(others().all(|(other, _)| other != port), "port {port} twice");
    }
}

//! Kisses of death: servers that ask to be left alone, and those who say so in their names.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config, Reason, Selection, Server, ServerConfig};

use crate::namespace::{inside, loopback_up, replace_file};
use crate::peers::Directory;
use crate::scripted::{ORIGIN, POLL, Scripted, put};
use crate::{assert_right, await_exchanges, await_that, clock_of, fast_clock, refused, source};

/// (case 9) That the interval sinks again after many good answers is the poll schedule's own test.
#[test]
fn rate_is_heeded_by_a_step_and_never_beyond_the_longest_interval() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let server = Scripted::start(move |turn| {
        noted.lock().expect("no test has failed").push(Instant::now());
        if turn.number < 2 { turn.send(&turn.kiss(b"RATE")) } else { turn.answer() }
    });
    let mut config = Config::with_servers(&server.address().to_string()).expect("an address is a server");
    config.set_poll_exponents(0, 1).expect("1 s and 2 s can be asked for");
    let clock = Clock::start(config).expect("a clock can be started");
    await_that("the server answers at last", 20, &clock, || source(&clock).exchanges >= 1);
    assert_right(&clock);
    assert_eq!(refused(&clock, Reason::Rate), 2);
    assert_eq!(source(&clock).poll_exponent, 1);
    let times = times.lock().expect("no test has failed");
    let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    // Up to 3 % of dither, and what the machine may be late.
    assert!(gaps.len() >= 2 && gaps.iter().all(|gap| (1.9..3.5).contains(gap)), "{gaps:?}");
}

/// (case 10) Of a server that has answered, which is asked anew by the interval alone.
#[test]
fn what_a_kiss_writes_as_its_poll_neither_hastens_nor_delays_the_next_request() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let server = Scripted::start(move |turn| {
        noted.lock().expect("no test has failed").push(Instant::now());
        let polls = [(2, -128), (3, 127), (4, -1)];
        match polls.into_iter().find(|(number, _)| *number == turn.number) {
            None => turn.answer(),
            Some((_, poll)) => {
                let mut kiss = turn.kiss(b"RATE");
                kiss[POLL] = i8::cast_unsigned(poll);
                turn.send(&kiss);
            }
        }
    });
    let mut config = Config::with_servers(&server.address().to_string()).expect("an address is a server");
    config.set_poll_exponents(0, 1).expect("1 s and 2 s can be asked for");
    let clock = Clock::start(config).expect("a clock can be started");
    await_that("it answers again", 30, &clock, || source(&clock).exchanges >= 4);
    assert_eq!((refused(&clock, Reason::Rate), source(&clock).poll_exponent), (3, 1));
    let times = times.lock().expect("no test has failed");
    let gaps: Vec<f64> = times.windows(2).skip(2).take(3).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(gaps.len() == 3 && gaps.iter().all(|gap| (1.9..3.5).contains(gap)), "{gaps:?}");
}

/// (cases 10 and 11)
#[test]
fn pool_members_that_kiss_for_ever_are_replaced_whatever_their_poll_field_says() {
    inside(module_path!(), "pool_members_that_kiss_for_ever_are_replaced_whatever_their_poll_field_says", || {
        loopback_up();
        let address = |last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 123));
        let hosts: String = (11..=17).map(|last| format!("127.0.0.{last} time.test\n")).collect();
        let directory = Directory::new();
        replace_file(&directory, "/etc/hosts", &hosts);
        let kissing = |last, code: &'static [u8; 4], poll: i8| {
            Scripted::start_at(address(last), move |turn| {
                let mut kiss = turn.kiss(code);
                kiss[POLL] = poll.cast_unsigned();
                turn.send(&kiss);
            })
        };
        let kissing = [kissing(11, b"RATE", 127), kissing(12, b"RATE", -128), kissing(13, b"RSTR", -128)];
        let mut config = ServerConfig::new();
        for last in 14..=17 {
            config.add_listen(&address(last).to_string()).expect("an address can be listened on");
        }
        config.set_local(1, Duration::from_millis(1)).expect("a stratum of 1 can be claimed");
        let _honest = Server::start(None, &config).expect("port 123 of the namespace is free");

        let clock = fast_clock("pool:time.test");
        let has = |bad: &Scripted| clock.sources().iter().any(|source| source.address == Some(bad.address()));
        await_that("all three are members at first", 5, &clock, || kissing.iter().all(has));
        await_that("all three are replaced", 30, &clock, || !kissing.iter().any(has));
        await_that("four members tell the truth", 20, &clock, || {
            clock.sources().iter().filter(|source| source.selection == Selection::Truechimer).count() == 4
        });
        // Neither was asked in vain for long, and neither silenced us.
        let asked = kissing.each_ref().map(Scripted::requests);
        assert!(asked[..2].iter().all(|asked| (8..=10).contains(asked)) && asked[2] == 3, "{asked:?}");
    });
}

/// (case 11)
#[test]
fn a_server_that_denies_service_is_told_so_asked_on_and_believed_when_it_relents() {
    let server =
        Scripted::start(
            |turn| {
                if (2..6).contains(&turn.number) { turn.send(&turn.kiss(b"DENY")) } else { turn.answer() }
            },
        );
    let clock = clock_of(&server);
    await_exchanges(&clock, 2);
    await_that("it denies", 10, &clock, || refused(&clock, Reason::Deny) >= 1);
    // Once, or twice, may be anybody's on the path: what it has told counts on.
    assert_right(&clock);
    assert_eq!(source(&clock).fault.as_deref(), Some("the server denies service (DENY)"));
    await_that("it is taken at its word", 10, &clock, || source(&clock).selection == Selection::Unusable);
    assert!(refused(&clock, Reason::Deny) >= 3);
    await_that("it is believed again", 20, &clock, || source(&clock).selection == Selection::Truechimer);
    assert_right(&clock);
}

/// (case 12)
#[test]
fn a_kiss_that_answers_no_request_is_ignored() {
    let server = Scripted::start(|turn| {
        for code in [b"DENY", b"RSTR", b"RATE"] {
            let mut kiss = turn.kiss(code);
            put(&mut kiss, ORIGIN, 0);
            turn.send(&kiss);
        }
        turn.answer();
    });
    let clock = clock_of(&server);
    let begun = Instant::now();
    await_exchanges(&clock, 5);
    assert!(begun.elapsed() < Duration::from_secs(9), "polls became rarer: {:?}", begun.elapsed());
    assert_right(&clock);
    let source = source(&clock);
    assert_eq!(source.refusals.count(Reason::Origin), 3 * source.exchanges);
    assert_eq!([Reason::Deny, Reason::Rate].map(|reason| source.refusals.count(reason)), [0, 0]);
}

//! A resolver in the hands of an attacker.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use ntpclock::{Clock, Selection, Server, ServerConfig};

use crate::namespace::{inside, ip, loopback_up, replace_file};
use crate::peers::Directory;
use crate::{await_that, fast_clock};

/// What the name server does at present: offers the attacker's addresses; those of others; knows no name; says nothing.
const POISONED: u8 = 0;
const HONEST: u8 = 3;
const DENYING: u8 = 1;
const HANGING: u8 = 2;

/// The attacker's networks: in 89 of the first kind he has a server each, in the other all. And three others' servers.
const ATTACKER: [u8; 2] = [198, 18];
const ATTACKERS_ONE: [u8; 3] = [198, 51, 100];
const OTHERS: [[u8; 4]; 3] = [[203, 0, 113, 1], [192, 0, 2, 1], [192, 0, 2, 2]];

/// (case 28)
#[test]
fn an_attacker_with_89_addresses_gets_half_of_the_places_and_a_silent_resolver_disturbs_nobody() {
    let name = "an_attacker_with_89_addresses_gets_half_of_the_places_and_a_silent_resolver_disturbs_nobody";
    inside(module_path!(), name, || {
        loopback_up();
        for network in ["198.18.0.0/16", "198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24"] {
            ip(&format!("route add local {network} dev lo"));
        }
        let directory = Directory::new();
        replace_file(&directory, "/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:3\n");
        let mood = Arc::new(AtomicU8::new(POISONED));
        let resolver = UdpSocket::bind("127.0.0.1:53").expect("the namespace's port 53 is ours");
        let its_mood = Arc::clone(&mood);
        thread::spawn(move || serve_names(&resolver, &its_mood));
        // All addresses answer, as honestly as this machine's clock is right.
        let mut config = ServerConfig::new();
        config.add_listen("0.0.0.0:123").expect("an address can be listened on");
        config.set_local(1, Duration::from_millis(1)).expect("a stratum of 1 can be claimed");
        let _server = Server::start(None, &config).expect("port 123 of the namespace is free");

        let clock = fast_clock("pool:many.test");
        let believed = || clock.sources().iter().filter(|source| source.selection == Selection::Truechimer).count();
        await_that("four places are filled", 20, &clock, || believed() == 4);
        // Nobody else is known yet.
        assert_eq!(places_of(&clock, &ATTACKER), 4, "{:#?}", clock.sources());

        // One network gets no more than half, whatever else is offered or not.
        let only = fast_clock("pool:only.test");
        await_that("two places are filled", 20, &only, || places_of(&only, &ATTACKERS_ONE) == 2);
        mood.store(HONEST, Ordering::SeqCst);
        await_that("half of them are others'", 40, &clock, || places_of(&clock, &ATTACKER) == 2 && believed() == 4);

        assert_eq!(places_of(&only, &ATTACKERS_ONE), 2);
        for mood_now in [DENYING, HANGING] {
            mood.store(mood_now, Ordering::SeqCst);
            // Its name is looked up all the time, to no avail; the other's polls go on every second.
            let helpless = fast_clock("pool:many.test");
            let before = clock.report().exchanges;
            await_that("polls go on", 8, &clock, || clock.report().exchanges >= before + 12);
            assert_eq!((believed(), helpless.report().exchanges), (4, 0));
            let told = helpless.sources()[0].fault.clone();
            let expected = (mood_now == DENYING).then_some(true);
            assert_eq!(told.map(|fault| fault.contains("cannot be resolved")), expected);
        }
        assert_eq!(clock.sources().len(), 4);
    });
}

fn places_of(clock: &Clock, network: &[u8]) -> usize {
    let inside = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => v4.octets().starts_with(network),
        IpAddr::V6(_) => false,
    };
    clock.sources().into_iter().filter_map(|source| source.address).filter(|address| inside(*address)).count()
}

/// Answers questions for IPv4 addresses (RFC 1035, section 4): 89 of the attacker, in many networks or in one, or a few
/// of others.
fn serve_names(socket: &UdpSocket, mood: &AtomicU8) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        let query = &query[..length];
        let mood = mood.load(Ordering::SeqCst);
        let Some(question) = question(query).filter(|_| mood != HANGING) else { continue };
        let is_for_ipv4 = question.ends_with(&[0, 1, 0, 1]);
        let mut addresses: Vec<Ipv4Addr> = Vec::new();
        match mood {
            POISONED | HONEST if !is_for_ipv4 => {}
            POISONED if question.starts_with(b"\x04many") => {
                let [a, b] = ATTACKER;
                addresses.extend((1..=89).map(|network| Ipv4Addr::new(a, b, network, 1)));
            }
            POISONED => {
                let [a, b, c] = ATTACKERS_ONE;
                addresses.extend((1..=89).map(|last| Ipv4Addr::new(a, b, c, last)));
            }
            HONEST if question.starts_with(b"\x04many") => addresses.extend(OTHERS.map(Ipv4Addr::from)),
            _ => {}
        }
        let name_error = if mood == DENYING { 3 } else { 0 };
        let mut reply = vec![query[0], query[1], 0x81, 0x80 | name_error, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0];
        reply.extend(question);
        for address in addresses {
            // The name of the question, an address of IPv4, a week, four bytes.
            reply.extend([0xc0, 12, 0, 1, 0, 1]);
            reply.extend(604_800_u32.to_be_bytes());
            reply.extend([0, 4]);
            reply.extend(address.octets());
        }
        let _ = socket.send_to(&reply, from);
    }
}

/// The first question of a query: name, type and class.
fn question(query: &[u8]) -> Option<&[u8]> {
    let after = query.get(12..)?;
    let end = after.iter().position(|&byte| byte == 0)? + 5;
    after.get(..end)
}

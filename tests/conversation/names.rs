//! Names: a resolver that never answers, and a pool whose members die and lie.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ntpclock::{Clock, Config, Error, Selection};

use crate::bracket::Track;
use crate::namespace::{inside, loopback_up, replace_file};
use crate::peers::{Chronyd, Directory};
use crate::{LIMIT_NS, await_that, beside_others, fast_clock, synchronize, table};

/// What `stop` may take (contract), whatever the clock is doing.
const STOP_LIMIT: Duration = Duration::from_millis(100);

#[test]
fn stop_returns_at_once_in_the_middle_of_a_name_query() {
    let _beside = beside_others();
    inside(module_path!(), "stop_returns_at_once_in_the_middle_of_a_name_query", || {
        loopback_up();
        let directory = Directory::new();
        replace_file(&directory, "/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:3\n");
        let name_server = UdpSocket::bind("127.0.0.1:53").expect("the namespace's port 53 is ours");
        name_server.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");

        // The second time the helper thread is still busy with the first clock's name.
        for name in ["silence.test", "still-silence.test"] {
            let clock = Clock::start(Config::with_servers(name).expect("a name is a server")).expect("it starts");
            if name == "silence.test" {
                // A query has gone out, so the resolver waits for an answer now.
                name_server.recv(&mut [0; 512]).expect("the resolver asks our name server");
            }
            let wait = clock.wait(None, Some(Duration::from_millis(300)));
            assert!(matches!(wait, Err(Error::Timeout { .. })), "{wait:?}");
            let before = Instant::now();
            clock.stop();
            let stopping = before.elapsed();
            assert!(stopping <= STOP_LIMIT, "{name}: stop took {stopping:?}");
            let before = Instant::now();
            drop(clock);
            let dropping = before.elapsed();
            assert!(dropping <= STOP_LIMIT, "{name}: drop took {dropping:?}");
        }
    });
}

#[test]
fn a_pool_member_that_dies_or_lies_is_replaced_by_another_address_of_the_name() {
    let _beside = beside_others();
    inside(module_path!(), "a_pool_member_that_dies_or_lies_is_replaced_by_another_address_of_the_name", || {
        loopback_up();
        let addresses: Vec<Ipv4Addr> = (11..=16).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
        let hosts = addresses.iter().map(|address| format!("{address} time.test\n")).collect::<String>();
        let directory = Directory::new();
        replace_file(&directory, "/etc/hosts", &hosts);
        let at = |address: Ipv4Addr| SocketAddr::new(IpAddr::V4(address), 123);
        let mut servers: BTreeMap<_, _> =
            addresses.iter().map(|&address| (at(address), Chronyd::start_at(at(address), 0))).collect();

        let clock = fast_clock("pool:time.test");
        synchronize(&clock);
        let four_without = |banned: &[SocketAddr]| {
            let sources = clock.sources();
            let good = sources.iter().filter(|source| source.selection == Selection::Truechimer);
            let good = good.filter_map(|source| source.address).filter(|address| !banned.contains(address)).count();
            good == 4 && sources.len() == 4
        };
        await_that("four members tell the truth", 20, || four_without(&[]), || table(&clock));
        let mut track = Track::default();
        let mut member = |place: usize| {
            track.sample(0, || clock.now());
            clock.sources()[place].address.expect("a member that answers has an address")
        };

        let dead = member(0);
        servers.remove(&dead).expect("members are servers of ours").kill();
        await_that("the dead member is replaced", 60, || four_without(&[dead]), || table(&clock));

        let liar = member(1);
        servers.remove(&liar).expect("members are servers of ours").kill();
        servers.insert(liar, Chronyd::start_at(liar, 5));
        await_that("the lying member is replaced", 60, || four_without(&[dead, liar]), || table(&clock));

        member(0);
        track.assert_right("while members were replaced", LIMIT_NS * 5);
    });
}

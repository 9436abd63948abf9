//! What is sent to many hosts at once.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use ntpclock::{Server, ServerConfig};

use crate::namespace::{inside, ip, loopback_up};
use crate::system::{inner_link, pass};
use crate::wire::{SILENCE, local, request};

/// Replies to one request from `from` to `to`, as long as they come.
fn replies(from: &str, to: SocketAddr) -> usize {
    let client = UdpSocket::bind(from).unwrap();
    client.set_broadcast(true).unwrap();
    client.set_read_timeout(Some(SILENCE)).unwrap();
    client.send_to(&request(4, 3, 7), to).unwrap();
    std::iter::from_fn(|| client.recv_from(&mut [0; 200]).ok()).count()
}

/// (case 8) The kernel gives a copy of it to every socket that shares the port.
#[test]
fn case_8_a_request_to_a_broadcast_or_multicast_address_is_answered_by_none_of_many_threads() {
    let name = "case_8_a_request_to_a_broadcast_or_multicast_address_is_answered_by_none_of_many_threads";
    inside(module_path!(), name, || {
        loopback_up();
        let link = inner_link();
        ip("addr add 192.0.2.1/24 brd 192.0.2.255 dev inner");
        ip("addr add 2001:db8::1/64 dev inner nodad");
        let all_nodes = |port| SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), port, 0, link);

        let server = local("0.0.0.0:0", |config| _ = config.set_threads(4).unwrap());
        let port = server.addresses()[0].port();
        for (asked, expected) in [("192.0.2.255", 0), ("224.0.0.1", 0), ("255.255.255.255", 0), ("192.0.2.1", 1)] {
            let told = replies("192.0.2.1:0", SocketAddr::new(asked.parse().unwrap(), port));
            assert_eq!(told, expected, "{asked}");
        }
        let statistics = server.statistics();
        // That they came at all is what this shows; how many of the copies do is the kernel's.
        assert!(statistics.denied >= 4 && statistics.replies == 1, "{statistics:?}");

        let server = local("[::]:0", |config| _ = config.set_threads(4).unwrap());
        let port = server.addresses()[0].port();
        assert_eq!(replies("[2001:db8::1]:0", all_nodes(port).into()), 0);
        assert_eq!(replies("[2001:db8::1]:0", SocketAddr::new("2001:db8::1".parse().unwrap(), port)), 1);
        assert!(server.statistics().denied >= 4, "{:?}", server.statistics());
    });
}

/// (case 8) Where that is all that an address is for, nobody listens: what is bound to it alone is not told where a
/// datagram was sent.
#[test]
fn case_8_a_networks_broadcast_address_is_not_listened_on() {
    inside(module_path!(), "case_8_a_networks_broadcast_address_is_not_listened_on", || {
        loopback_up();
        inner_link();
        ip("addr add 192.0.2.1/24 brd 192.0.2.255 dev inner");
        for (address, is_refused) in [("127.255.255.255:0", true), ("192.0.2.255:0", true), ("192.0.2.1:0", false)] {
            let mut config = ServerConfig::new();
            config.set_local(3, Duration::from_millis(1)).unwrap().add_listen(address).unwrap();
            let told = Server::start(None, &config).map(drop).map_err(|error| error.to_string());
            assert_eq!(told.is_err(), is_refused, "{address}: {told:?}");
            let names = |why: &String| why.contains(address) && why.contains("it is a broadcast address");
            assert!(told.as_ref().err().is_none_or(names), "{told:?}");
        }
        for (address, kind) in [
            ("192.0.2.255:0", "broadcast"),
            ("[::ffff:192.0.2.255]:0", "broadcast"),
            ("224.0.1.1:0", "multicast"),
            ("[::ffff:224.0.1.1]:0", "multicast"),
            ("[ff02::1%1]:0", "multicast"),
        ] {
            let passed = UdpSocket::bind(address).unwrap();
            let mut shell = Command::new("sh");
            shell.args([
                "-c",
                "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --local 3 --root-dispersion 1 --duration 0",
            ]);
            pass(shell.arg(env!("CARGO_BIN_EXE_ntpclock")), [passed.as_raw_fd()]);
            let output = shell.env_remove("NTPCLOCK_SERVERS").output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(&format!("taking over descriptor 3: it is a {kind} address")), "{address}: {said}");
        }
    });
}

//! Key exchanges with servers that say what they should not (cases 25 and 26).

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ntpclock::{Config, Error, query_with};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::{Authority, Identity};
use crate::client::{ciphers, record};
use crate::namespace::{inside, ip, loopback_up, replace_file};
use crate::peers::Directory;
use crate::together::live_through;
use crate::trusting;

/// Longer than a key exchange may ever take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a key exchange ends that is given no end, and a little more.
const LIMIT: Duration = Duration::from_secs(9);

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// Answers every key exchange at `listener` with what `say` says; the request has been read by then.
fn serve(listener: TcpListener, identity: &Identity, alpn: &[u8], say: impl Fn(&mut Stream) + Send + 'static) {
    serve_with_tickets(0, listener, identity, alpn, say);
}

/// The same, after so many TLS tickets that nobody has asked for.
fn serve_with_tickets(
    tickets: usize,
    listener: TcpListener,
    identity: &Identity,
    alpn: &[u8],
    say: impl Fn(&mut Stream) + Send + 'static,
) {
    let certificate = CertificateDer::from_pem_file(identity.certificate()).expect("it was written there");
    let key = PrivateKeyDer::from_pem_file(identity.key()).expect("it was written there");
    let mut config = ServerConfig::builder_with_provider(Arc::new(ciphers::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring knows TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("certificate and key belong together");
    config.alpn_protocols = if alpn.is_empty() { Vec::new() } else { vec![alpn.to_vec()] };
    config.send_tls13_tickets = tickets;
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("the configuration is sound");
            let mut stream = StreamOwned::new(tls, socket);
            // Who goes away in the middle is the client's affair.
            if stream.read(&mut [0; 1024]).is_ok() {
                say(&mut stream);
                let _ = stream.flush();
            }
        }
    });
}

/// Why a key exchange with a server that says this, after the request, brings no keys; in less than the limit.
fn fault(alpn: &[u8], say: impl Fn(&mut Stream) + Send + 'static) -> String {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it has one");
    serve(listener, &authority.identity("127.0.0.1"), alpn, say);
    refused(address, &authority)
}

fn refused(address: SocketAddr, authority: &Authority) -> String {
    let begun = Instant::now();
    match query_with(&trusting(Config::new(), &authority.file()), &format!("{address} nts"), PATIENCE) {
        Err(Error::KeyExchange { why, .. }) => {
            assert!(begun.elapsed() < LIMIT, "{why}: after {:?}", begun.elapsed());
            why
        }
        other => panic!("{other:?}"),
    }
}

/// NTPv4, AES-SIV-CMAC-256.
fn beginning() -> Vec<u8> {
    [record(0x8001, &[0, 0]), record(0x8004, &[0, 15])].concat()
}

fn cookies(number: usize, length: usize) -> Vec<u8> {
    record(5, &vec![7; length]).repeat(number)
}

fn end() -> Vec<u8> {
    record(0x8000, &[])
}

/// Messages that are wrong (case 25).
#[test]
fn a_message_that_is_not_as_it_should_be_brings_no_keys() {
    for (message, complaint) in [
        (vec![], "no cookies"),
        (cookies(10_000, 100), "longer than 16384"),
        (cookies(1, 0), "cookie has 0 bytes"),
        (cookies(1, 65_535), "longer than 16384"),
        (record(0x8123, b"what"), "critical record of the unknown type 291"),
        (record(0x8002, &[0, 1]), "calls the request bad"),
        (record(0x8003, &[0, 7]), "warning 7"),
    ] {
        let message = [beginning(), message, end()].concat();
        let why = fault(b"ntske/1", move |stream| drop(stream.write_all(&message)));
        assert!(why.contains(complaint), "{complaint}: {why}");
    }
}

/// Half a message (case 25).
#[test]
fn a_message_without_an_end_ends_by_itself() {
    live_through("no_end");
}

pub(crate) fn no_end() {
    let half = || [beginning(), cookies(8, 100), vec![0x80]].concat();
    let why = fault(b"ntske/1", move |stream| {
        let _ = stream.write_all(&half()).and_then(|()| stream.flush());
        stream.conn.send_close_notify();
    });
    assert!(why.contains("ends too early"), "{why}");
    // Cut off where TLS would say goodbye.
    let why = fault(b"ntske/1", move |stream| {
        let _ = stream.write_all(&half()).and_then(|()| stream.flush());
        let _ = stream.sock.shutdown(std::net::Shutdown::Both);
    });
    assert!(why.contains("ends too early"), "{why}");
    let why = fault(b"ntske/1", move |stream| {
        let _ = stream.write_all(&half()).and_then(|()| stream.flush());
        sleep(PATIENCE);
    });
    assert!(why.contains("too long"), "{why}");
}

/// A message that drips (case 25).
#[test]
fn a_message_of_one_byte_a_second_is_not_waited_for() {
    live_through("drip");
}

pub(crate) fn drip() {
    let why = fault(b"ntske/1", |stream| {
        for byte in [beginning(), cookies(8, 100), end()].concat() {
            if stream.write_all(&[byte]).and_then(|()| stream.flush()).is_err() {
                return;
            }
            sleep(Duration::from_secs(1));
        }
    });
    assert!(why.contains("too long"), "{why}");
}

/// Silence, and noise (case 25).
#[test]
fn who_listens_and_says_nothing_is_not_waited_for_either() {
    live_through("silence");
}

pub(crate) fn silence() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let why = refused(listener.local_addr().expect("it has one"), &Authority::new());
    assert!(why.contains("too long"), "{why}");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it has one");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            // No TLS, without end.
            while socket.write_all(&[0x16; 4096]).is_ok() {}
        }
    });
    let why = refused(address, &Authority::new());
    assert!(why.contains("received corrupt message of type UnknownProtocolVersion"), "{why}");
}

/// A message of keys for a server at a port where nobody is; `further` records are in it.
fn grant(further: &[u8]) -> Vec<u8> {
    [&beginning()[..], &cookies(8, 100), further, &record(0x8007, &9_u16.to_be_bytes()), &end()].concat()
}

/// Listens at each of these addresses of the loopback, all at one port.
fn listen_at(last: &[u8]) -> Vec<TcpListener> {
    let address = |last: u8, port| SocketAddr::from(([127, 0, 0, last], port));
    let mut listeners = vec![TcpListener::bind(address(last[0], 0)).expect("there is a free port")];
    let port = listeners[0].local_addr().expect("it has one").port();
    // In a network of our own the port is free everywhere.
    listeners.extend(last[1..].iter().map(|&last| TcpListener::bind(address(last, port)).expect("the port is free")));
    listeners
}

/// Keys were given, and nobody is where they are good for.
fn assert_granted(result: Result<ntpclock::QueryResult, Error>) {
    match result {
        Err(Error::Io { what, .. }) if what.starts_with("exchanging with") => {}
        other => panic!("{other:?}"),
    }
}

/// Tickets without end (case 25).
#[test]
fn more_bytes_than_a_key_exchange_may_take_are_not_read_however_many_addresses_send_them() {
    inside(
        module_path!(),
        "more_bytes_than_a_key_exchange_may_take_are_not_read_however_many_addresses_send_them",
        || {
            loopback_up();
            let directory = Directory::new();
            replace_file(&directory, "/etc/hosts", "127.0.0.2 both.test\n127.0.0.3 both.test\n");
            let (authority, mut listeners) = (Authority::new(), listen_at(&[2, 3]));
            let port = listeners[0].local_addr().expect("it has one").port();
            let (second, first) = (listeners.pop().expect("two"), listeners.pop().expect("two"));
            let identity = authority.identity("both.test");
            serve_with_tickets(10_000, first, &identity, b"ntske/1", |_| ());
            serve(second, &identity, b"ntske/1", |stream| drop(stream.write_all(&grant(&[]))));
            let asked = query_with(
                &trusting(Config::new(), &authority.file()),
                &format!("both.test:{port} nts"),
                Duration::from_secs(8),
            );
            match asked {
                Err(Error::KeyExchange { why, .. }) => assert!(why.contains("more than 28672 bytes"), "{why}"),
                other => panic!("{other:?}"),
            }
        },
    );
}

/// A name of which two addresses say nothing, not even that nobody is there.
#[test]
fn silent_addresses_leave_those_after_them_the_time_for_keys() {
    inside(module_path!(), "silent_addresses_leave_those_after_them_the_time_for_keys", || {
        loopback_up();
        let directory = Directory::new();
        let hosts = "127.0.0.2 many.test\n127.0.0.3 many.test\n127.0.0.4 many.test\n";
        replace_file(&directory, "/etc/hosts", hosts);
        let (authority, mut listeners) = (Authority::new(), listen_at(&[2, 3, 4]));
        let port = listeners[0].local_addr().expect("it has one").port();
        let good = listeners.pop().expect("three");
        let identity = authority.identity("many.test");
        serve(good, &identity, b"ntske/1", |stream| drop(stream.write_all(&grant(&[]))));
        // Whoever accepts nobody is silent when the queue is full.
        let full: Vec<Vec<TcpStream>> = listeners.iter().map(fill).collect();
        let asked = query_with(
            &trusting(Config::new(), &authority.file()),
            &format!("many.test:{port} nts"),
            Duration::from_secs(8),
        );
        assert_granted(asked);
        drop(full);
    });
}

/// Connects until nobody answers any more.
fn fill(listener: &TcpListener) -> Vec<TcpStream> {
    let address = listener.local_addr().expect("it has one");
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    std::iter::from_fn(connect).take(10_000).collect()
}

/// A negotiated name that leads to a name server which never answers: nobody else waits for it. (case 26)
#[test]
fn a_name_that_a_server_chooses_keeps_no_other_server_waiting() {
    inside(module_path!(), "a_name_that_a_server_chooses_keeps_no_other_server_waiting", || {
        loopback_up();
        let directory = Directory::new();
        let hosts = "127.0.0.2 hostile.test\n127.0.0.3 good.test\n127.0.0.4 theirs.test\n";
        replace_file(&directory, "/etc/hosts", hosts);
        replace_file(&directory, "/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:20 attempts:2\n");
        let resolver = std::net::UdpSocket::bind("127.0.0.1:53").expect("the namespace's port 53 is ours");
        let (authority, mut listeners) = (Authority::new(), listen_at(&[2, 3]));
        let port = listeners[0].local_addr().expect("it has one").port();
        let (good, hostile) = (listeners.pop().expect("two"), listeners.pop().expect("two"));
        serve(hostile, &authority.identity("hostile.test"), b"ntske/1", |stream| {
            drop(stream.write_all(&grant(&record(0x8006, b"slow.test"))));
        });
        serve(good, &authority.identity("good.test"), b"ntske/1", |stream| {
            drop(stream.write_all(&grant(&record(0x8006, b"theirs.test"))));
        });
        let config = || trusting(Config::new(), &authority.file());
        let ask =
            |name: &str, seconds| query_with(&config(), &format!("{name}:{port} nts"), Duration::from_secs(seconds));
        std::thread::scope(|scope| {
            let begun = Instant::now();
            let slow = scope.spawn(|| ask("hostile.test", 15));
            resolver.recv_from(&mut [0; 512]).expect("the name is looked up");
            // One that is named well, and whose own choice of a name is looked up beside the slow one.
            assert_granted(ask("good.test", 3));
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            match slow.join().expect("it does not panic") {
                Err(Error::KeyExchange { why, .. }) => {
                    assert!(why.contains("`slow.test`") && why.contains("too long"), "{why}");
                }
                other => panic!("{other:?}"),
            }
            assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        });
    });
}

#[test]
fn a_server_that_does_not_say_ntske_is_none() {
    for alpn in [&b""[..], b"http/1.1"] {
        let why = fault(alpn, |stream| drop(stream.write_all(&[beginning(), cookies(8, 100), end()].concat())));
        assert!(
            why.contains("ntske/1") || why.contains("no_application_protocol") || why.contains("NoApplicationProtocol"),
            "{why}"
        );
    }
}

/// Negotiation of whom nobody is (case 26).
#[test]
fn a_server_that_is_negotiated_must_be_one_hosts() {
    for name in ["224.0.1.1", "255.255.255.255", "0.0.0.0", "240.0.0.1", "::", "ff02::101", "::ffff:224.0.0.1"] {
        let message = [beginning(), cookies(8, 100), record(0x8006, name.as_bytes()), end()].concat();
        let why = fault(b"ntske/1", move |stream| drop(stream.write_all(&message)));
        assert!(why.contains(name) && why.contains("out of the question"), "{name}: {why}");
    }
}

/// Negotiation of this very host (case 26).
#[test]
fn a_stranger_cannot_make_us_ask_this_host() {
    inside(module_path!(), "a_stranger_cannot_make_us_ask_this_host", || {
        loopback_up();
        let stranger = "192.0.2.7";
        ip(&format!("addr add {stranger} dev lo"));
        let authority = Authority::new();
        let address: IpAddr = stranger.parse().expect("an address");
        for name in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            let listener = TcpListener::bind((address, 0)).expect("there is a free port");
            let exchanger = listener.local_addr().expect("it has one");
            let message = [beginning(), cookies(8, 100), record(0x8006, name.as_bytes()), end()].concat();
            serve(listener, &authority.identity(stranger), b"ntske/1", move |stream| drop(stream.write_all(&message)));
            let why = refused(exchanger, &authority);
            assert!(why.contains(name) && why.contains("out of the question"), "{name}: {why}");
        }
    });
}
